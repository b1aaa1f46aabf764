"""Reads the TOML file of `loadgen runs metrics`: metrics of CloudWatch, and groups that scale.

All errors of the file are reported at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from loadgen.aws.target.cloudwatch import Wanted, faults_of_metrics
from loadgen.aws.target.scaling_activities import Scaling, faults_of_scaling
from loadgen.errors import UsageError

__all__ = ["MetricsFile", "read_metrics_file"]

_MOST_BYTES: Final = 1 << 20
_MOST_TABLES: Final = 5_000
_HINT: Final = "write a table [[metric]] for each metric and [[scaling]] for each scaled group, see docs/aws.md"
_Table = TypeVar("_Table", Wanted, Scaling)


@dataclass(frozen=True, slots=True)
class MetricsFile:
    """The entries of a file, in its order."""

    metrics: tuple[Wanted, ...]
    scaling: tuple[Scaling, ...]


def read_metrics_file(path: Path) -> MetricsFile:
    """Read and check the file.

    Raises:
        UsageError: the file is unreadable or has one error.
        ExceptionGroup: it has several errors, each a UsageError.
    """
    try:
        with path.open("rb") as file:
            tree = tomllib.loads(file.read(_MOST_BYTES).decode())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint="correct the file, see docs/aws.md") from error
    wrong: list[UsageError] = []
    metrics = _tables(path, tree.pop("metric", None), "metric", Wanted, wrong)
    scaling = _tables(path, tree.pop("scaling", None), "scaling", Scaling, wrong)
    wrong += [UsageError(f"{path}: unknown key {name}", hint=_HINT) for name in tree]
    if not metrics and not scaling and not wrong:
        wrong.append(UsageError(f"{path} has no metrics", hint=_HINT))
    wrong += [UsageError(f"{path}: {what}", hint=hint) for what, hint in _faults(metrics, scaling)]
    if len(wrong) > 1:
        raise ExceptionGroup("several things are wrong", wrong)
    if wrong:
        raise wrong[0]
    return MetricsFile(tuple(metrics), tuple(scaling))


def _faults(metrics: list[Wanted], scaling: list[Scaling]) -> Iterator[tuple[str, str]]:
    yield from faults_of_metrics(metrics)
    yield from faults_of_scaling(scaling)
    if (count := len(metrics) + len(scaling)) > _MOST_TABLES:
        yield f"{count} tables, the limit is {_MOST_TABLES}", "remove some, or split it"


def _tables(path: Path, given: Any, kind: str, made: type[_Table], wrong: list[UsageError]) -> list[_Table]:
    """Return the valid tables of one kind, and add an error to `wrong` for each other one."""
    if given is None:
        return []
    if not isinstance(given, list):
        wrong.append(UsageError(f"{path}: {kind} is not a list of tables", hint=_HINT))
        return []
    found: list[_Table] = []
    for n, table in enumerate(given, 1):
        try:
            found.append(msgspec.convert(table, made))
        except msgspec.ValidationError as error:
            wrong.append(UsageError(f"{path}: {kind} {n}: {error}", hint=_HINT))
    return found
