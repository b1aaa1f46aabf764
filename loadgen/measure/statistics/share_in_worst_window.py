"""The interval of the bad share in the worst of an objective's sliding windows.

The worst window is chosen because it is bad, so its share is above its true one by chance. The lower end therefore
uses the level divided by a number of windows (Bonferroni): a target whose true share is within the budget in all
windows gets a sure failure in at most 2.5 % of runs. The number is 8 for each window that does not overlap another,
and at most that of all sliding windows: the highest of windows that slide exceeds a limit of z standard deviations
z² times as often as that of separate ones, and z² is 8 at the level of ten windows. The upper end needs no correction.

The dispersion comes from differences of neighbouring intervals of the whole run. They contain bursts that are shorter
than an interval, and neither the outages nor the drifts that such an objective is there to find.

Sources: of z², D. Siegmund, "Sequential Analysis", ch. 11 (maxima of scan statistics); of the differences,
J. von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", Annals of
Mathematical Statistics 12 (1941).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.outcomes_by_due_interval import BAD, OVERDUE, TOTAL, DueTable
from loadgen.measure.objectives.terms import Objective, SloResult
from loadgen.measure.objectives.windowed_values import oriented
from loadgen.measure.statistics.bad_share_interval import ShareInterval, share_interval

__all__ = ["LEVEL", "compared", "counts_of", "dispersion_of_neighbours", "share_in_worst_window"]

Ints = npt.NDArray[np.int64]

LEVEL: Final = 0.95
SLIDING: Final = 8
"""Windows that slide count as this many for each one that does not overlap another."""


def share_in_worst_window(
    result: SloResult, objective: Objective, due: DueTable, index: int, interval_ns: int
) -> ShareInterval | None:
    """Return the interval of the bad share in the worst window of a result; None if no window has events.

    index: position of the objective in the plan's `slos`. interval_ns: length of the run's intervals.
    """
    if result.worst_window_s is None or not result.count:
        return None
    counts = oriented(counts_of(result, objective, due, index)[:TOTAL], objective)
    bad, n = counts[BAD] + counts[OVERDUE], counts.sum(axis=0)
    windows = compared(n, objective.window_intervals(interval_ns))
    spread = dispersion_of_neighbours(bad, n)
    seen, of = [result.count - result.good], [result.count]
    low = share_interval(seen, of, level=1 - (1 - LEVEL) / windows, dispersion=spread).low
    return ShareInterval(low, share_interval(seen, of, level=LEVEL, dispersion=spread).high, spread)


def counts_of(result: SloResult, objective: Objective, due: DueTable, index: int) -> Ints:
    """Return the counts by due interval behind a result, shape (6, n): the rows of `DueTable.sums`."""
    names = due.journeys(index) if objective.of and result.journey is None else [result.journey or ""]
    end = due.end(index)
    return sum((due.sums(index, name, 0, end) for name in names), np.zeros((6, end), dtype=np.int64))


def compared(count: npt.NDArray[np.generic], width: int) -> int:
    """Return the effective number of windows from which the worst one was chosen, at least 1.

    These are all sliding windows, but at most 8 for each window that overlaps no other. Intervals without events do not
    count.

    count: events of each interval. width: number of intervals in a window.
    """
    intervals = int(np.count_nonzero(count))
    return max(1, min(intervals - width + 1, SLIDING * (intervals // width)))


def dispersion_of_neighbours(bad: npt.NDArray[np.int64], count: npt.NDArray[np.int64]) -> float:
    """Return the dispersion of bad events within intervals, from differences of neighbouring intervals; at least 1.

    bad, count: (n,) bad events and all events of consecutive intervals. Intervals without events are left out.
    """
    bad, count = bad[count > 0], count[count > 0]
    total = int(count.sum())
    share = int(bad.sum()) / total if total else 0.0
    if len(count) < 2 or not 0 < share < 1:
        return 1.0
    ratios, spread = bad / count, 1 / count
    expected = share * (1 - share) * float((spread[1:] + spread[:-1]).sum())
    return max(1.0, float(((ratios[1:] - ratios[:-1]) ** 2).sum()) / expected)
