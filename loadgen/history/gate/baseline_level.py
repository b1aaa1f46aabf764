"""What new runs are held against: of each name the newest runs since its level last changed.

A history goes over changes: a release that was accepted though slower, a machine that was
replaced. Runs from before say nothing about now, so of each name only those count that came
after its last change point, and after a run that somebody accepted in spite of a FAIL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.changepoint import scan
from loadgen.history.store.baseline_run import ALL, Accepted, Figure

__all__ = ["LOOKED_AT", "NEWEST", "Level", "Named", "least_count", "levels_of", "rows_of"]

NEWEST: Final = 20
"""Runs since the last change that are compared with."""
LOOKED_AT: Final = 100
"""The newest runs, in which the last change is looked for."""
_LEAST_BEYOND: Final = 10
"""Values beyond a percentile without which it is mostly chance."""
_LEAST_OF_MEAN: Final = 30

Named = dict[tuple[str, str], Figure]
"""By percentile and name, of all regions and agents."""


@dataclass(frozen=True, slots=True)
class Level:
    """One name at one percentile."""

    name: str
    values: npt.NDArray[np.float64]
    """(runs,), natural logarithms of ms, oldest first: what is compared with."""
    run_ids: tuple[str, ...]
    """Theirs."""
    since: str = ""
    """The run with which the level began; empty where it did not change among those that were looked at."""
    change: float = 0.0
    """Of the medians on both sides of that, relative; 0 where nothing is before."""


def rows_of(run: Accepted) -> Named:
    return {(one.percentile, one.name): one for one in run.figures if one.region == ALL and one.agent == ALL}


def least_count(percentile: str) -> int:
    """Values without which a percentile says little: 10 beyond it. 200 for p95, 1,000 for p99."""
    if percentile == "mean":
        return _LEAST_OF_MEAN
    return round(_LEAST_BEYOND / (1 - float(percentile.removeprefix("p")) / 100))


def levels_of(
    runs: Sequence[Accepted],
    rows: Sequence[Named],
    percentile: str,
    *,
    newest: int = NEWEST,
    begins: Mapping[str, str] | None = None,
) -> tuple[dict[str, Level], dict[str, str]]:
    """The names that most of the newest runs have, and what they are compared with.

    Args:
        runs: oldest first; the newest 100 are looked at. rows: theirs.
        begins: name -> id of a run with which it began anew, whatever the scan finds.

    Returns:
        The levels by name; and why names are in none, by name.

    Cost: some ms a name and percentile; the first time in a process 0.1 s more.
    """
    runs, rows = runs[-LOOKED_AT:], rows[-LOOKED_AT:]
    levels: dict[str, Level] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for of, name in row if of == percentile):
        newest_rows = rows[-newest:]
        found = [one for row in newest_rows if (one := row.get((percentile, name))) is not None]
        least = least_count(percentile)
        if 2 * len(found) <= len(newest_rows):
            left_out[name] = f"{len(found)} of the newest {len(newest_rows)} accepted runs have it"
        elif (count := median(one.count for one in found)) < least:
            left_out[name] = f"{count:g} samples a run, and {percentile} needs {least}"
        else:
            levels[name] = _level(name, list(_values(runs, rows, percentile, name)), newest, (begins or {}).get(name))
    return levels, left_out


def _values(
    runs: Sequence[Accepted], rows: Sequence[Named], percentile: str, name: str
) -> Iterator[tuple[str, str, float]]:
    """Id, start and logarithm of each run that has a finite one."""
    for run, row in zip(runs, rows, strict=True):
        one = row.get((percentile, name))
        if one is not None and (value := one.log_value) is not None:
            yield run.run_id, run.started_at, value


def _level(name: str, found: list[tuple[str, str, float]], newest: int, begin: str | None) -> Level:
    values = np.array([value for _, _, value in found])
    ids = [run_id for run_id, _, _ in found]
    changes = scan(values, ar=True) if len(values) else ()
    start = changes[-1] if changes else 0
    if begin is not None:
        # The run itself may be struck, or have no such figure; run ids sort by time.
        start = max(start, next((n for n, run_id in enumerate(ids) if run_id >= begin), len(ids)))
    since, change = "", 0.0
    if start:
        since = ids[start] if start < len(ids) else begin or ""
        begun = changes[-2] if len(changes) > 1 and changes[-1] == start else 0
        if start < len(ids):
            change = float(np.expm1(np.median(values[start:]) - np.median(values[begun:start])))
    first = max(start, len(ids) - newest)
    return Level(name, values[first:], tuple(ids[first:]), since, change)
