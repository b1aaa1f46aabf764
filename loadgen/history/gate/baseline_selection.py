"""Selects the accepted runs with which new runs are compared: for each name, the newest runs of its current level.

A history covers changes, such as a slower release that was accepted or a machine that was replaced. Runs from before
such a change say nothing about the present. So for each name only the runs after its last change point count, and
after the last run that somebody accepted in spite of a FAIL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.changepoint import scan
from loadgen.history.store.stored_run import ALL, Accepted, Figure

__all__ = ["LOOKED_AT", "NEWEST", "Level", "Named", "least_count", "levels_of", "rows_of"]

NEWEST: Final = 20
"""Most runs of the current level with which new runs are compared."""
LOOKED_AT: Final = 100
"""Number of newest runs that are searched for the last change of level."""
_LEAST_BEYOND: Final = 10
"""Least number of values above a percentile; with fewer, the percentile is mostly chance."""
_LEAST_OF_MEAN: Final = 30

Named = dict[tuple[str, str], Figure]
"""The figures of one run over all regions and agents, by (percentile, name)."""


@dataclass(frozen=True, slots=True)
class Level:
    """The current level of one name at one percentile."""

    name: str
    values: npt.NDArray[np.float64]
    """The baseline: natural logarithms of ms, shape (runs,), oldest first."""
    run_ids: tuple[str, ...]
    """The runs of `values`, in the same order."""
    since: str = ""
    """The run with which the level began; empty if the level did not change in the runs that were searched."""
    change: float = 0.0
    """Relative change of the median at `since`; 0 if there are no runs before it."""


def rows_of(run: Accepted) -> Named:
    """Return the run's figures over all regions and agents as {(percentile, name): figure}."""
    return {(one.percentile, one.name): one for one in run.figures if one.region == ALL and one.agent == ALL}


def least_count(percentile: str) -> int:
    """Return how many values a run needs for a meaningful percentile: 200 for "p95", 1,000 for "p99", 30 for "mean".

    With so many, 10 values are expected above the percentile.
    """
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
    """Find the current level of each name that more than half of the newest runs have.

    A level is the stretch of runs since the name's last change.

    Args:
        runs: accepted runs, oldest first; only the newest 100 are used.
        rows: for each run, its figures as `rows_of` returns them.
        newest: most runs of a level.
        begins: for some names, the id of a run with which a new level begins, in addition to detected changes.

    Returns:
        (level by name, reason by name for each name without a level).

    Cost: some ms for each name and percentile, and 0.1 s once a process.
    """
    runs, rows = runs[-LOOKED_AT:], rows[-LOOKED_AT:]
    levels: dict[str, Level] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for of, name in row if of == percentile):
        newest_rows = rows[-newest:]
        found = [one for row in newest_rows if (one := row.get((percentile, name))) is not None]
        least = least_count(percentile)
        if 2 * len(found) <= len(newest_rows):
            left_out[name] = f"only {len(found)} of the newest {len(newest_rows)} accepted runs have it"
        elif (count := median(one.count for one in found)) < least:
            left_out[name] = f"{count:g} samples a run, but {percentile} needs {least}"
        else:
            levels[name] = _level(name, list(_values(runs, rows, percentile, name)), newest, (begins or {}).get(name))
    return levels, left_out


def _values(
    runs: Sequence[Accepted], rows: Sequence[Named], percentile: str, name: str
) -> Iterator[tuple[str, str, float]]:
    """Yield (run id, start time, natural logarithm of ms) for each run in which the figure of this name is known."""
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
        # The run itself may have been removed from the history or lack this figure; run ids sort by time.
        start = max(start, next((n for n, run_id in enumerate(ids) if run_id >= begin), len(ids)))
    since, change = "", 0.0
    if start:
        since = ids[start] if start < len(ids) else begin or ""
        begun = changes[-2] if len(changes) > 1 and changes[-1] == start else 0
        if start < len(ids):
            change = float(np.expm1(np.median(values[start:]) - np.median(values[begun:start])))
    first = max(start, len(ids) - newest)
    return Level(name, values[first:], tuple(ids[first:]), since, change)
