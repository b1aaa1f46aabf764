"""Whether a promise was kept in a closed window: a fact, or undecided with what would settle it.

    judge(ledger, 0.999, window=(monday, next_monday))

A closed window of production is a census: all requests are in it. So there is
no interval for observed requests. Missing time gives two bounds:
all missing requests were bad (lower), or all were good (upper). Their number
is the median volume of the same hour of the week. The promise was kept if even
the lower bound reaches the target, and it was not kept if even the upper bound
is below it. Between the two it is undecided.

Estimated counts move both bounds by their error: the bounds of an
interpolation, and the 95 % interval of a sampling. If nothing is known about
the error, any number of these requests may have been good.

[Error budgets](../../../docs/error-budgets.md) explains it with examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, fsum
from typing import Final, Literal

import numpy as np

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.shown import percent_text
from loadgen.analysis.attainment.slices import CountedBy, Slices, counted, within
from loadgen.analysis.attainment.volume import volume_per_second
from loadgen.analysis.values_to_float_array import Array

__all__ = ["Attainment", "Gap", "Judgement", "State", "attained", "judge"]

State = Literal["kept", "not kept", "undecided", "no traffic"]

_ROUNDING: Final = 1e-15
"""Smaller differences of mean shares are of the arithmetic: 0.95 is no binary number. With exact sums of the shares,
their mean is off by 1e-16 at most. One bad request of 10^9 in one of 10^4 slices is a hundred times as much as this."""


@dataclass(frozen=True, slots=True)
class Attainment:
    """The observed part of a window, in the units of the method: requests for Occurrences, else slices."""

    method: CountedBy
    good: float
    of: float
    without_traffic: int
    """Observed slices without a request. Such slices are left out: neither good nor bad."""
    is_estimate: bool
    """Whether any counted slice has interpolated, sampled or extrapolated counts."""
    low: float | None = None
    high: float | None = None
    """low, high: the interval of the ratio by the error of estimated counts; both are the ratio if no count is
    estimated; None without traffic."""
    unknown: float = 0.0
    """Requests in estimated slices about whose error nothing is known: any number of them may have been good."""
    kept: float = 1.0
    """The smallest part of its requests that a source samples; 1: none samples."""
    is_interpolated: bool = False
    """Whether the bounds of an interpolation are a part of the interval."""

    @property
    def ratio(self) -> float | None:
        """Return the attainment, 0 to 1; None without traffic, which is never 100 %."""
        return self.good / self.of if self.of else None

    def text(self, target: object) -> str:
        """Return it in percent, rounded down, with one digit more than the target; or "no traffic"."""
        return percent_text(self.good, self.of, target=target)


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing time without a break. start, end: s since the epoch. missing_s: the time that is missing in it."""

    start: float
    end: float
    missing_s: float
    weight: float
    """The largest change of the good count by it, in the units of the method."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer for one window. lower, upper: bounds of the attainment, 0 to 1; None without any traffic."""

    state: State
    observed: Attainment
    lower: float | None
    upper: float | None
    missing_s: float
    minutes_if_good: int | None
    """If undecided: the fewest missing minutes that show "kept", if all of their requests were good; else None."""
    minutes_if_bad: int | None
    """If undecided: the fewest missing minutes that show "not kept", if all of their requests were bad; else None."""
    gaps: tuple[Gap, ...]
    """The missing times, those with the largest weight first."""


def attained(
    slices: Slices, method: CountedBy = CountedBy.OCCURRENCES, slice_target: float | None = None
) -> Attainment:
    """Return the attainment of the observed part. A slice without traffic is left out and counted.

    Raises:
        ValueError: Timeslices without `slice_target`.
    """
    return _attained(slices, method, slice_target, *_sampling(slices, method))


def _attained(
    slices: Slices, method: CountedBy, slice_target: float | None, wide: Slices, spread: tuple[float, float]
) -> Attainment:
    units = counted(wide, method, slice_target)
    of, good = float(units.total.sum()), fsum(units.good)
    has_traffic = slices.total > 0
    is_unknown = slices.estimated & has_traffic & (slices.low == 0) & (slices.high == slices.total)
    return Attainment(
        method,
        good,
        of,
        slices.without_traffic,
        bool((slices.estimated & has_traffic).any()),
        max(fsum(units.low) - spread[0], 0.0) / of if of else None,
        min(fsum(units.high) + spread[1], of) / of if of else None,
        float(slices.total[is_unknown].sum()),
        float(slices.kept[has_traffic].min(initial=1.0)),
        bool((slices.estimated & has_traffic & ~is_unknown & (slices.high > slices.low)).any()),
    )


def _sampling(slices: Slices, method: CountedBy) -> tuple[Slices, tuple[float, float]]:
    """Return the slices with the sampling error of each one, and the spread by sampling of all of them together."""
    if not (slices.kept < 1).any():
        return slices, (0.0, 0.0)
    # Only sampling sources need scipy, whose import takes longer than the judgement of 50 promises.
    from loadgen.analysis.attainment.estimates import sampling_spread, widened

    return (widened(slices) if method is CountedBy.TIMESLICES else slices), sampling_spread(slices, method)


def judge(
    slices: Slices,
    target: object,
    *,
    window: tuple[float, float],
    method: CountedBy = CountedBy.OCCURRENCES,
    slice_target: float | None = None,
    history: Slices | None = None,
    gap_width_s: float = 300.0,
) -> Judgement:
    """Judge a closed window.

    Args:
        slices: of the window, and possibly of more time. Time that no slice covers is missing.
        target: as a float or Decimal, above 0 and below 1; compared as it is written.
        window: start (included) and end (excluded), s since the epoch.
        slice_target: the good ratio that makes a slice good; for Timeslices only.
        history: slices from which the usual volume of missing hours is taken; by default `slices`.
        gap_width_s: the assumed width of slices where the ledger has none, s.

    Raises:
        ValueError: an invalid target or window, or Timeslices without `slice_target`.
    """
    wanted = exact_share(target)
    inside = within(slices, window, gap_width_s=gap_width_s)
    wide, spread = _sampling(inside, method)
    observed = _attained(inside, method, slice_target, wide, spread)
    if not inside.missing_s and not observed.of:
        return Judgement("no traffic", observed, None, None, 0.0, None, None, ())
    volume = volume_per_second(slices if history is None else history, inside.start)
    unseen = np.where(inside.missing > 0, volume * inside.missing, 0.0)
    worst, best, units = _extremes(wide, unseen, method, slice_target)
    gaps = _gaps(inside, best - worst)
    of = float(units.sum())
    is_known = bool(np.isfinite(volume[inside.missing > 0]).all())
    if not is_known or not of:
        # No hour shows how many requests the missing time had. Nothing follows from the observed part then.
        return Judgement("undecided", observed, 0.0, 1.0, inside.missing_s, None, None, gaps)
    low, high = max(fsum(worst) - spread[0], 0.0), min(fsum(best) + spread[1], of)
    lower, upper = low / of, high / of
    # Counts of requests are exact, and the good shares of slices are not.
    least = float(wanted) - (_ROUNDING if method is CountedBy.RATIO_TIMESLICES else 0.0)
    state: State = "undecided"
    if lower >= least:
        state = "kept"
    elif upper < least:
        state = "not kept"
    if_good = if_bad = None
    if state == "undecided":
        if_good = _fewest_minutes(inside.missing, best - worst, float(wanted) * of - low)
        if_bad = _fewest_minutes(inside.missing, best - worst, high - float(wanted) * of)
    return Judgement(state, observed, lower, upper, inside.missing_s, if_good, if_bad, gaps)


def _extremes(
    slices: Slices, missing: Array, method: CountedBy, slice_target: float | None
) -> tuple[Array, Array, Array]:
    """Return the smallest and the largest good count of each slice, and its units; shape (slices,) each.

    missing: the requests that each slice lacks.
    """
    lacks = slices.missing > 0
    total = slices.total + missing
    if method is CountedBy.OCCURRENCES:
        return slices.low, slices.high + missing, total
    whole = counted(slices, method, slice_target)
    # A slice of which a part is missing may have had any ratio between these two, and any at all without a request.
    none = ~(total > 0)
    worst = np.divide(slices.low, total, out=np.zeros(len(slices)), where=~none)
    best = np.divide(slices.high + missing, total, out=np.ones(len(slices)), where=~none)
    if method is CountedBy.TIMESLICES and slice_target is not None:
        worst = (worst >= slice_target).astype(np.float64)
        best = (best >= slice_target).astype(np.float64)
    return (
        np.where(lacks, worst, whole.low),
        np.where(lacks, best, whole.high),
        np.where(lacks, 1.0, whole.total),
    )


def _gaps(slices: Slices, weight: Array) -> tuple[Gap, ...]:
    lacking = np.flatnonzero(slices.missing > 0)
    if not len(lacking):
        return ()
    ends = slices.end
    breaks = (np.diff(lacking) > 1) | (slices.start[lacking[1:]] - ends[lacking[:-1]] > 1e-6)
    gaps = [
        Gap(
            float(slices.start[run[0]]),
            float(ends[run[-1]]),
            float(slices.missing[run].sum()),
            float(weight[run].sum()),
        )
        for run in np.split(lacking, np.flatnonzero(breaks) + 1)
    ]
    return tuple(sorted(gaps, key=lambda gap: (-gap.weight if gap.weight == gap.weight else 0.0, gap.start)))


def _fewest_minutes(missing: Array, weight: Array, needed: float) -> int | None:
    """Return how many missing minutes have a weight of at least `needed`, the densest first; None: all are too few."""
    lacks = (missing > 0) & (weight > 0)
    seconds, weights = missing[lacks], weight[lacks]
    order = np.argsort(-weights / seconds, kind="stable")
    reached = np.cumsum(weights[order])
    if not len(reached) or reached[-1] < needed - 1e-9 * max(abs(needed), 1.0):
        return None
    last = min(int(np.searchsorted(reached, needed)), len(reached) - 1)
    before = float(reached[last - 1]) if last else 0.0
    part = min(max((needed - before) / float(weights[order][last]), 0.0), 1.0)
    return max(ceil((float(seconds[order][:last].sum()) + part * float(seconds[order][last])) / 60 - 1e-9), 1)
