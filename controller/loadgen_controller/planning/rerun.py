"""Unpacks the scenario, overrides and seed of an earlier run, to repeat the run or one of its iterations.

Everything is read from the run folder: `manifest.json` and `bundle.tar`. They contain no secrets, so secrets must be
set again.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadgen.bundle import unpack
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import RunDir, find_run
from loadgen.units import format_count

__all__ = ["Earlier", "arrival_of", "arrival_text", "earlier_run"]

_CLOSED = 1 << 32
"""In a closed load, iteration i of user u has the number (u << 32) + i."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An unpacked run. `file` is FILE:PLAN in a temporary folder, which is deleted when `earlier_run` ends."""

    run_id: str
    file: str
    overrides: Overrides
    seed: int
    version: str
    """The version of loadgen that made the run; empty if unknown."""


@contextmanager
def earlier_run(run: str, runs_dir: Path) -> Iterator[Earlier]:
    """Unpack an earlier run's scenario into a temporary folder, which exists inside the `with` block; yield how it ran.

    Args:
        run: an id, the beginning of one, a folder, or "last".

    Raises:
        UsageError: there is no such run.
        StorageError: its folder cannot be read.
    """
    folder = RunDir.open(find_run(run, runs_dir))
    manifest: dict[str, Any] = folder.read_manifest()
    try:
        data = folder.bundle_path.read_bytes()
    except OSError as exc:
        raise StorageError(
            f"cannot read {folder.bundle_path}: {exc.strerror or exc}",
            hint="without this file the run cannot be repeated; run its scenario again instead",
        ) from exc
    with tempfile.TemporaryDirectory(prefix="loadgen-again-") as unpacked:
        unpack(data, manifest["bundle"]["sha256"], Path(unpacked))
        plan = f":{manifest['plan']}" if manifest.get("plan") else ""
        yield Earlier(
            run_id=folder.run_id,
            file=f"{Path(unpacked) / manifest['scenario']}{plan}",
            overrides=msgspec.convert(manifest.get("overrides", {}), Overrides),
            seed=manifest["seed"],
            version=str(manifest.get("versions", {}).get("loadgen", "")),
        )


def arrival_text(n: int) -> str:
    """Return the number of an iteration as text: "4711", or "12.3" (USER.I) for a closed load."""
    return f"{n // _CLOSED}.{n % _CLOSED}" if n >= _CLOSED else str(n)


def arrival_of(text: str) -> int:
    """Parse the number of an iteration: "4711", or "12.3" (USER.I) for a closed load.

    Raises:
        UsageError: the text has neither form.
    """
    match = re.fullmatch(r"(\d{1,10})(?:\.(\d{1,10}))?", text.strip().replace(",", ""))
    if match is None:
        raise UsageError(
            f'--arrival: invalid number "{text}"',
            hint=f"write {format_count(4711)}, or USER.I for a closed load: 12.3",
        )
    return int(match[1]) if match[2] is None else int(match[1]) * _CLOSED + int(match[2])
