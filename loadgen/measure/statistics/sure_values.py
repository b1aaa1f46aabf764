"""Computes whether the verdict of an objective on any metric is sure, from a 95 % interval.

A verdict is sure if the 95 % interval of the limited value lies wholly on the verdict's side of the limit:

    percentile, ratio, goodput       the interval of the bad share (`bad_share_interval.py`)
    mean, throughput                 batch means: Student's t with 4 degrees of freedom, corrected for correlation
    total, last                      a fact about the run: it has no interval, and is sure
    maximum, minimum                 sure if a value beyond the limit was seen. Otherwise never: a longer run has a
                                     larger maximum

A mean has two intervals, from the batches' means and from their logarithms, and the result covers both: with a few long
times, the upper end of the first one is too low. The interval of a throughput is made in the same way from the batches'
counts.

An objective on a level of a load (`tags={"level": "8"}`) has batches of that level's time. A fifth of the whole run
would be another level.

Over sliding windows the intervals are those of the worst window, with the level divided by a number of windows
(`share_in_worst_window.py`). The variance of a window's mean or count comes from the differences of neighbouring
intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from loadgen.measure.deltas.outcomes_by_due_interval import BAD, GOOD, TOTAL, DueTable
from loadgen.measure.deltas.series_key import LEVEL_TAG
from loadgen.measure.objectives.terms import Objective, SloResult
from loadgen.measure.objectives.words import RUN_LONGER, bad_share_text, value_text
from loadgen.measure.statistics.bad_share_interval import ShareInterval, share_interval
from loadgen.measure.statistics.correlation import neighbours_rho
from loadgen.measure.statistics.mean_of_batches import (
    BATCHES,
    LEAST_INTERVALS,
    LEAST_RHO,
    MOST_RHO,
    half_length,
    t_quantile,
)
from loadgen.measure.statistics.objective_bins import Binned
from loadgen.measure.statistics.share_in_worst_window import LEVEL, compared, counts_of, share_in_worst_window
from loadgen.units import NS_PER_S, NS_PER_US

__all__ = [
    "Ends",
    "is_sure",
    "judged",
    "judged_in_windows",
    "mean_ends",
    "rate_ends",
    "refused",
    "share_of",
    "with_share",
]

Floats = npt.NDArray[np.float64]

_LEAST_EVENTS: Final = 10
"""The mean of fewer events has no interval."""
_FEW_OF_SHARE: Final = 15.0
_FEW_OF_MEAN: Final = 18.0
"""The intervals of a run of n seconds are wider by this over n. This keeps the stated error in runs of 20 s whose level
has a correlation of 0.9 from second to second, and a spread of 20 %. With the widths of plain objectives, 6 % of sure
verdicts on means, rates and ratios of 30 % were wrong in such runs.
"""
_FEW_BAD: Final = 100
_RHO_OF_FEW: Final = 0.5
"""Fewer than `_FEW_BAD` bad events do not show how much neighbouring batches correlate, so at least this correlation is
assumed. With the estimated one, 5 % of sure verdicts on a check with 30 clustered failures were wrong.
"""
_EDGES: Final = 1 / 6
"""The least variance of a batch's count: both edges lie by chance between two events (two uniform numbers)."""
_WITHOUT_BOUNDS: Final = "Raise the time-out, or limit a percentile"
_TIMED_OUT: Final = "time-outs are only lower bounds"


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a 95 % interval, in the unit of the value; or the reason for which it is unknown."""

    low: float = -inf
    high: float = inf
    why: str = ""


# -- over the whole run ---------------------------------------------------------------------------


def share_of(found: Binned, whole: tuple[int, int], least: float | None = None) -> ShareInterval:
    """Return the 95 % interval of the bad share of an objective.

    whole: (bad, all) events of the run. least: the dispersion of similar events, as in `share_interval`.
    """
    bad, count = _by_batch(found.bad), _by_batch(found.count)
    bins = len(found.count)
    share = found.bad.sum() / max(1.0, found.count.sum())
    rho = _rho(found.bad - found.count * share, _level(found)) if bins >= LEAST_INTERVALS else MOST_RHO
    if min(sum(bad), sum(count) - sum(bad)) < _FEW_BAD:
        rho = max(rho, _RHO_OF_FEW)
    counts = [round(one) for one in count]
    return share_interval(
        [min(round(one), of) for one, of in zip(bad, counts, strict=True)],
        counts,
        rho=rho,
        intervals=bins,
        few=_FEW_OF_SHARE,
        least=least,
        whole=whole,
    )


def mean_ends(found: Binned) -> Ends:
    """Return the interval of a mean, in the unit of `found.total`."""
    if why := refused(found):
        return Ends(why=why)
    totals, counts = _by_batch(found.total), _by_batch(found.count)
    means = [total / n for total, n in zip(totals, counts, strict=True)]
    return _both(found.whole_total / found.whole_count, means, _rho(_level(found)), len(found.count))


def _both(observed: float, batches: Sequence[float], rho: float, bins: int, least: float = 0.0) -> Ends:
    """Return the interval of a run's mean from those of its batches, on the plain scale and on that of logarithms.

    least: lower limit of the variance of the batches.
    """
    half = half_length(batches, rho, bins, few=_FEW_OF_MEAN, least=least)
    low, high = observed - half, observed + half
    if observed > 0 and min(batches) > 0:
        of_logs = half_length([log(one) for one in batches], rho, bins, few=_FEW_OF_MEAN)
        low, high = min(low, observed * exp(-of_logs)), max(high, observed * exp(of_logs))
    return Ends(low, high)


def rate_ends(found: Binned, intervals: npt.NDArray[np.int64], per_s: float, *, of_totals: bool = False) -> Ends:
    """Return the interval of a throughput, per second.

    intervals: (bins,) number of the run's intervals in each bin. per_s: the throughput of the whole run. of_totals: it
    is a throughput of `found.total`, such as tokens, instead of events.
    """
    if why := refused(found):
        return Ends(why=why)
    of = _by_batch(intervals.astype(np.float64))
    counts = _by_batch(found.count)
    amounts = found.total if of_totals else found.count
    if min(of) <= 0:
        return Ends(why="too short")
    if not amounts.sum():
        return Ends(why="too few samples")
    rates = [n / length for n, length in zip(_by_batch(amounts), of, strict=True)]
    each = amounts / np.maximum(intervals, 1)
    rho = _rho(each - each.mean())
    mean = sum(rates) / len(rates)
    # The whole run may have a ramp that the batches do not have.
    relative = _both(
        1.0, [one / mean for one in rates], rho, len(found.count), _EDGES / (sum(counts) / len(counts)) ** 2
    )
    return Ends(max(0.0, per_s * relative.low), per_s * relative.high)


def refused(found: Binned) -> str:
    """Return why a mean, a throughput or the goodput of a level has no interval; "" if it has one."""
    if len(found.count) < LEAST_INTERVALS:
        return "too short"
    if found.count.sum() < _LEAST_EVENTS or min(_by_batch(found.count)) < 1:
        return "too few samples"
    return ""


def _rho(*series: Floats) -> float:
    """Return the correlation of neighbouring batches: the largest plausible one of all series of bins."""
    return min(MOST_RHO, max(LEAST_RHO, *(neighbours_rho(one, BATCHES).upper for one in series)))


def _level(found: Binned) -> Floats:
    level: Floats = found.total - found.count * (found.total.sum() / max(1.0, found.count.sum()))
    return level


def _by_batch(values: Floats) -> list[float]:
    at = np.arange(len(values)) * BATCHES // max(1, len(values))
    found: list[float] = np.bincount(at, values, BATCHES).tolist()
    return found


def judged(
    result: SloResult,
    objective: Objective,
    found: Binned | None,
    intervals: npt.NDArray[np.int64],
    least: float | None = None,
) -> SloResult:
    """Return the result of an objective over the whole run with its interval, and whether it is sure.

    Args:
        found: its bins. None: their data were not kept, so a share, a mean or a rate has no interval.
        intervals: (bins,) number of the run's intervals in each bin.
        least: the dispersion of similar events, for a share.
    """
    if result.verdict == "inconclusive":
        return replace(result, sure=False)
    if (fact := _of_fact(result, objective)) is not None:
        return fact
    if found is None or not result.count:
        return replace(result, sure=False, unsure="no interval: its values by second were not kept")
    if _is_of_level(objective):
        used = found.used
        found, intervals = found.part(used), intervals[used]
    if objective.is_share:
        return with_share(result, objective, share_of(found, (result.count - result.good, result.count), least))
    if objective.kind == "throughput":
        per_s = result.observed if isinstance(result.observed, float) else 0.0
        ends = rate_ends(found, intervals, per_s, of_totals=objective.counts_tokens)
        return _with_ends(result, objective, ends)
    ends = mean_ends(found)
    scale = objective.resolution / NS_PER_US if objective.of_kind else 1 / objective.unit_ns
    return _with_ends(result, objective, Ends(ends.low * scale, ends.high * scale, ends.why))


def _of_fact(result: SloResult, objective: Objective) -> SloResult | None:
    """Return the result of a total, a last value or an extreme, which have no interval; None for other kinds."""
    if objective.kind in ("total", "last"):
        return replace(result, sure=True)
    if objective.kind not in ("maximum", "minimum"):
        return None
    # A value beyond the limit makes the verdict sure. Without one, a longer run may still have such a value.
    is_seen = (result.verdict == "failed") == ((objective.kind == "maximum") == objective.is_upper)
    if is_seen:
        return replace(result, sure=True)
    what = "larger maximum" if objective.kind == "maximum" else "smaller minimum"
    hint = "p(99.9)" if objective.kind == "maximum" else "p(1)"
    return replace(result, sure=False, unsure=f"a longer run may have a {what}. Limit a percentile, such as {hint}")


def is_sure(result: SloResult, objective: Objective, share: ShareInterval) -> bool:
    """Return whether the interval of the bad share lies wholly on the verdict's side of the error budget."""
    if result.verdict == "inconclusive":
        return False
    if result.verdict == "passed":
        return share.high < result.allowed or (share.high == result.allowed and not objective.budget.is_strict)
    return share.low > result.allowed


def with_share(result: SloResult, objective: Objective, share: ShareInterval) -> SloResult:
    """Return the result of a share with the interval of its bad share, and whether its verdict is sure."""
    sure = is_sure(result, objective, share)
    low, high = round(share.low, 9), round(share.high, 9)
    unsure = ""
    if not sure and result.verdict != "inconclusive":
        unsure = bad_share_text(
            low, high, result.allowed, "in its worst window " if result.window_s is not None else ""
        )
    ends: tuple[float | None, float | None] = (None, None)
    if objective.kind in ("ratio", "error_ratio", "goodput") and result.window_s is None:
        ends = (low, high) if objective.is_upper else (round(1 - high, 9), round(1 - low, 9))
    return replace(result, bad_share_low=low, bad_share_high=high, sure=sure, unsure=unsure, low=ends[0], high=ends[1])


def _with_ends(result: SloResult, objective: Objective, ends: Ends) -> SloResult:
    """Return the result of a mean or a rate with its interval, in the unit of the result."""
    if ends.why:
        remedy = _WITHOUT_BOUNDS if ends.why == _TIMED_OUT else RUN_LONGER
        return replace(result, sure=False, unsure=f"no interval: {ends.why}. {remedy}")
    limit = result.limit if result.limit is not None else 0.0
    # Time-outs have only lower bounds, so the upper end is unknown.
    high = inf if result.bounds else ends.high
    is_above = result.verdict == ("failed" if objective.is_upper else "passed")
    sure = ends.low > limit if is_above else high < limit
    unsure = ""
    if not sure:
        unit = result.unit
        interval, remedy = "the upper end of its 95 % interval is unknown", _WITHOUT_BOUNDS
        if high < inf:
            remedy = RUN_LONGER
            interval = f"its 95 % interval is {value_text(ends.low, unit)} to {value_text(high, unit)}"
        unsure = f"{interval}, and the limit is {value_text(limit, unit)}. {remedy}"
    shown = (None, None) if result.bounds else (round(ends.low, 6), round(ends.high, 6))
    return replace(result, low=shown[0], high=shown[1], sure=sure, unsure=unsure)


def _is_of_level(objective: Objective) -> bool:
    """Return whether it covers levels of a load, which are only a part of the measured time."""
    return any(one.name == LEVEL_TAG and not one.is_excluded for one in objective.tags)


# -- over sliding windows -------------------------------------------------------------------------


def judged_in_windows(
    result: SloResult, objective: Objective, due: DueTable, index: int, interval_ns: int
) -> SloResult:
    """Return the result of an objective over sliding windows with its interval, and whether it is sure.

    index: position of the objective in the plan's `slos`. interval_ns: length of the run's intervals.
    """
    if result.verdict == "inconclusive":
        return replace(result, sure=False)
    if (fact := _of_fact(result, objective)) is not None:
        return fact
    if objective.is_share:
        share = share_in_worst_window(result, objective, due, index, interval_ns)
        if share is None:
            return replace(result, sure=False, unsure="no interval: no window has events")
        return with_share(result, objective, share)
    rows = counts_of(result, objective, due, index)
    width = objective.window_intervals(interval_ns)
    n = (rows[GOOD] + rows[BAD]).astype(np.float64)
    if objective.kind == "throughput":
        used = np.trim_zeros(n)
        ends = _ends_of_worst(result, used, np.ones(len(used)), width, NS_PER_S / interval_ns, compared(n, width))
    else:
        has, scale = n > 0, objective.resolution if objective.of_kind else NS_PER_US / objective.unit_ns
        ends = _ends_of_worst(result, rows[TOTAL][has] / n[has], n[has], result.count, scale, compared(n, width))
    return _with_ends(result, objective, ends)


def _ends_of_worst(result: SloResult, values: Floats, weights: Floats, events: int, scale: float, windows: int) -> Ends:
    """Return the interval of the worst window's mean, at a level that accounts for the number of windows.

    Args:
        values, weights: mean and number of events of each interval, shape (n,).
        events: of the worst window. scale: from the unit of `values` to that of the result.
        windows: number of windows from which the worst one was chosen.
    """
    if len(values) < LEAST_INTERVALS:
        return Ends(why="too short")
    if result.bounds or not isinstance(result.observed, float):
        return Ends(why=_TIMED_OUT)
    inverse = 1 / weights
    variance = float(((values[1:] - values[:-1]) ** 2).sum() / (inverse[1:] + inverse[:-1]).sum())
    # Differences of n neighbours have about 2 (n - 1) / 3 degrees of freedom (von Neumann, `share_in_worst_window.py`).
    quantile = t_quantile((1 - LEVEL) / 2 / windows, 2 * (len(values) - 1) / 3)
    half = quantile * sqrt(variance / max(1, events)) * scale
    return Ends(result.observed - half, result.observed + half)
