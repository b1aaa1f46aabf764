"""Reads the target's side of a run, `metrics.json` in its folder: lanes, marks and databases.

A broken file gives a sentence, because a report must not fail for a file that somebody added to the run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from loadgen.probes.shown.database_facts import DatabaseFacts
from loadgen.report.target_side.lanes import Metric, check, lanes_of
from loadgen.report.target_side.marks import Mark

__all__ = ["NAME", "TargetSide", "read_databases", "read_lanes", "read_target_side"]

NAME: Final = "metrics.json"
_BYTES_MOST: Final = 16 << 20
_FORMAT: Final = 1


class _File(msgspec.Struct, frozen=True):
    format: int
    metrics: tuple[Metric, ...]
    source: str = ""
    marks: tuple[Mark, ...] = ()
    databases: tuple[DatabaseFacts, ...] = ()


class _Databases(msgspec.Struct, frozen=True):
    """The same file, of which only the databases are decoded."""

    databases: tuple[DatabaseFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetSide:
    """What a page shows of the target's side."""

    lanes: dict[str, object] = field(default_factory=dict)
    """`metrics` of the report document: the keys of `lanes_of`, `source`, and `fault`, a sentence if the file is
    invalid; {} if the run has no such file."""
    marks: tuple[Mark, ...] = ()
    databases: tuple[DatabaseFacts, ...] = ()


def read_target_side(folder: Path, named: Collection[str] = ()) -> TargetSide:
    """Return the target's side of a run; empty parts if there is no file.

    named: the rows in objectives and stop conditions, as "shopdb.connections".

    Cost: 40 ms per 100,000 points.
    """
    path = folder / NAME
    try:
        if not path.exists():
            return TargetSide()
        if path.stat().st_size > _BYTES_MOST:
            raise ValueError(f"it has more than {_BYTES_MOST >> 20} MiB")
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        if file.format > _FORMAT:
            raise ValueError(f"it has format {file.format}, and this loadgen reads formats up to {_FORMAT}")
        for metric in file.metrics:
            check(metric)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        why = getattr(error, "strerror", None) or error
        fault = f"{NAME} is not shown: {why}. Fetch it again: loadgen runs metrics {folder.name} FILE"
        return TargetSide({"source": "", **lanes_of([]), "fault": fault})
    return TargetSide({"source": file.source, **lanes_of(file.metrics, named), "fault": ""}, file.marks, file.databases)


def read_lanes(folder: Path) -> dict[str, object]:
    """Return `metrics` of the report document; {} if the run has no metrics."""
    return read_target_side(folder).lanes


def read_databases(folder: Path) -> tuple[DatabaseFacts, ...]:
    """Return the facts about the databases of a run; () without them, or if the file is invalid."""
    path = folder / NAME
    try:
        if not path.is_file() or path.stat().st_size > _BYTES_MOST:
            return ()
        return msgspec.json.decode(path.read_bytes(), type=_Databases).databases
    except (OSError, ValueError):
        return ()
