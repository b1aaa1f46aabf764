"""Own times of paths as tables, and the additive difference of two cohorts.

The difference of the mean response times of two cohorts is the sum over all paths of the differences of their mean own
times, because the own times of a trace add up to its response time. Each path's part is split once more: more calls,
at the time of a call in the fast cohort, and slower calls, at the number of calls in the slow one. Nothing remains.

    n_slow t_slow - n_fast t_fast = (n_slow - n_fast) t_fast + n_slow (t_slow - t_fast)

Calls of a trace count in n if the path has time on its critical path. A call beside it, behind a slower sibling, has
no own time, and would make the usual call look faster than it is. `shapes.py` counts all calls instead.

Times are ns, as float64. Sums agree with the difference within 1e-9 of the largest mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.traces.model import Path
from loadgen.traces.timed import Parted, PathTime

__all__ = ["MOST_PATHS", "OTHERS", "Added", "OwnTimes", "added", "own_times", "weighted_means"]

Floats = npt.NDArray[np.float64]

MOST_PATHS: Final = 2_000
"""The most paths that are compared. The rest, those with the least time, are added up in one line."""
OTHERS: Final[Path] = ("all other paths",)


@dataclass(frozen=True, slots=True)
class OwnTimes:
    """Own times of paths in traces: all arrays have shape (traces, paths).

    own_ns: a row's sum is the response time. calls: spans with this path, also beside the critical path. before_ns,
    between_ns: the parts of own_ns before the first child and between children. has_children: shape (paths,).
    """

    paths: tuple[Path, ...]
    own_ns: Floats
    calls: Floats
    before_ns: Floats
    between_ns: Floats
    has_children: npt.NDArray[np.bool_]

    def column(self, path: Path) -> int:
        """Return the index of a path. Raises ValueError if no trace has it."""
        return self.paths.index(path)


@dataclass(frozen=True, slots=True)
class Added:
    """The time that each path adds to the slow cohort's mean response time. Arrays have shape (paths,).

    own_ns: the sum of all is the difference of the cohorts. more_calls_ns + slower_calls_ns = own_ns. before_ns,
    between_ns: the parts of own_ns before the first child and between children. slow_calls, fast_calls: mean calls
    of a trace, also those beside the critical path.
    """

    own_ns: Floats
    more_calls_ns: Floats
    slower_calls_ns: Floats
    before_ns: Floats
    between_ns: Floats
    slow_calls: Floats
    fast_calls: Floats


def own_times(
    traces: Sequence[Parted], moved: Sequence[Mapping[Path, Mapping[Path, int]]] = (), *, most: int = MOST_PATHS
) -> OwnTimes:
    """Return the own times of traces as tables; paths in the order of their total time, the largest first.

    Args:
        traces: those to compare, one row each.
        moved: for each trace the ns that belong to another path: {from: {to: ns}}. The row's sum stays the same.
        most: the most columns; the last one is then `OTHERS`.
    """
    totals: defaultdict[Path, int] = defaultdict(int)
    rows: list[Mapping[Path, PathTime]] = []
    for n, one in enumerate(traces):
        row = _moved(one.paths, moved[n]) if moved and moved[n] else one.paths
        rows.append(row)
        for path, time in row.items():
            totals[path] += time.own_ns
    paths = sorted(totals, key=lambda path: (-totals[path], path))
    if len(paths) > most:
        paths = [*paths[: most - 1], OTHERS]
    columns = {path: n for n, path in enumerate(paths)}
    others = columns.get(OTHERS, -1)
    own, calls, before, between = np.zeros((4, len(rows), len(paths)))
    for n, row in enumerate(rows):
        for path, time in row.items():
            at = columns.get(path, others)
            own[n, at] += time.own_ns
            calls[n, at] += time.calls
            before[n, at] += time.before_ns
            between[n, at] += time.between_ns
    parents = {path[:-1] for path in totals}
    has_children = np.array([path in parents for path in paths], dtype=np.bool_)
    return OwnTimes(tuple(paths), own, calls, before, between, has_children)


def added(times: OwnTimes, slow: Floats, fast: Floats) -> Added:
    """Split the difference of two cohorts by path.

    slow, fast: the weight of each trace in each cohort, 0 outside of it; shape (traces,), each with a sum above 0.
    """
    own, calls, before, between = (
        [weighted_means(table, weights) for weights in (slow, fast)]
        for table in (times.own_ns, times.calls, times.before_ns, times.between_ns)
    )
    counted = np.where(times.own_ns > 0, times.calls, 0.0)
    slow_calls, fast_calls = (weighted_means(counted, weights) for weights in (slow, fast))
    with np.errstate(divide="ignore", invalid="ignore"):
        # A path without calls in the fast cohort is new there: all of its time is more calls.
        usual = np.where(fast_calls > 0, own[1] / fast_calls, own[0] / slow_calls)
    whole = own[0] - own[1]
    # Time without calls, as of paths that are added up, can only be slower.
    slower = np.where((slow_calls > 0) | (fast_calls > 0), own[0] - slow_calls * np.nan_to_num(usual), whole)
    return Added(whole, whole - slower, slower, before[0] - before[1], between[0] - between[1], calls[0], calls[1])


def weighted_means(values: Floats, weights: Floats) -> Floats:
    """Return the weighted mean of each column. values: shape (traces, paths). weights: shape (traces,), sum above 0."""
    means: Floats = weights @ values / weights.sum()
    return means


def _moved(row: Mapping[Path, PathTime], moves: Mapping[Path, Mapping[Path, int]]) -> dict[Path, PathTime]:
    """Return a row in which some ns belong to other paths. A path loses at most what it has."""
    new = dict(row)
    for source, targets in moves.items():
        for target, ns in targets.items():
            had = new.get(source)
            ns = min(ns, had.own_ns) if had else 0
            if had is None or ns <= 0:
                continue
            left = had.own_ns - ns
            new[source] = PathTime(left, had.calls, *_parts(had, left))
            gained = new.get(target, PathTime(0, 0))
            new[target] = PathTime(gained.own_ns + ns, 1)
    return new


def _parts(time: PathTime, left: int) -> tuple[int, int, int]:
    """Return the parts of the rest of a path's own time, in the old proportions."""
    parts = (time.before_ns, time.between_ns, time.after_ns)
    before, between, after = (part * left // time.own_ns for part in parts)
    return before, between, after
