"""Whether a promise was kept in a closed window: a fact, or undecided with what would settle it.

    judge(ledger, 0.999, window=(monday, next_monday))

A closed window of production is a census: all requests are in it. So there is
no interval for observed requests. Missing time gives two bounds:
all missing requests were bad (lower), or all were good (upper). Their number
is the median volume of the same hour of the week. The promise was kept if even
the lower bound reaches the target, and it was not kept if even the upper bound
is below it. Between the two it is undecided.

[Error budgets](../../../docs/error-budgets.md) explains it with examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final, Literal

import numpy as np

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.shown import percent_text
from loadgen.analysis.attainment.slices import CountedBy, Slices, counted, within
from loadgen.analysis.attainment.volume import volume_per_second
from loadgen.analysis.values_to_float_array import Array

__all__ = ["Attainment", "Gap", "Judgement", "State", "attained", "judge", "sampling_error"]

_Z: Final = 1.959963984540054
State = Literal["kept", "not kept", "undecided", "no traffic"]


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
    units = counted(slices, method, slice_target)
    return Attainment(
        method,
        float(units.good.sum()),
        float(units.total.sum()),
        slices.without_traffic,
        bool((slices.estimated & (slices.total > 0)).any()),
    )


def judge(
    slices: Slices,
    target: object,
    *,
    window: tuple[float, float],
    method: CountedBy = CountedBy.OCCURRENCES,
    slice_target: float | None = None,
    history: Slices | None = None,
    gap_width_s: float = 300.0,
    sampled_error: float = 0.0,
) -> Judgement:
    """Judge a closed window.

    Args:
        slices: of the window, and possibly of more time. Time that no slice covers is missing.
        target: as a float or Decimal, above 0 and below 1; compared as it is written.
        window: start (included) and end (excluded), s since the epoch.
        slice_target: the good ratio that makes a slice good; for Timeslices only.
        history: slices from which the usual volume of missing hours is taken; by default `slices`.
        gap_width_s: the assumed width of slices where the ledger has none, s.
        sampled_error: half the width of the interval that the counts of an estimated source have, as a share. The
            lower bound falls and the upper bound rises by it.

    Raises:
        ValueError: an invalid target or window, or Timeslices without `slice_target`.
    """
    wanted = exact_share(target)
    inside = within(slices, window, gap_width_s=gap_width_s)
    observed = attained(inside, method, slice_target)
    if not inside.missing_s and not observed.of:
        return Judgement("no traffic", observed, None, None, 0.0, None, None, ())
    volume = volume_per_second(slices if history is None else history, inside.start)
    unseen = np.where(inside.missing > 0, volume * inside.missing, 0.0)
    worst, best, units = _extremes(inside, unseen, method, slice_target)
    gaps = _gaps(inside, best - worst)
    of = float(units.sum())
    is_known = bool(np.isfinite(volume[inside.missing > 0]).all())
    if not is_known or not of:
        # No hour shows how many requests the missing time had. Nothing follows from the observed part then.
        return Judgement("undecided", observed, 0.0, 1.0, inside.missing_s, None, None, gaps)
    error = sampled_error if observed.is_estimate else 0.0
    low, high = float(worst.sum()), float(best.sum())
    lower, upper = max(low / of - error, 0.0), min(high / of + error, 1.0)
    state: State = "undecided"
    if lower >= float(wanted):
        state = "kept"
    elif upper < float(wanted):
        state = "not kept"
    if_good = if_bad = None
    if state == "undecided":
        if_good = _fewest_minutes(inside.missing, best - worst, (float(wanted) + error) * of - low)
        if_bad = _fewest_minutes(inside.missing, best - worst, high - (float(wanted) - error) * of)
    return Judgement(state, observed, lower, upper, inside.missing_s, if_good, if_bad, gaps)


def sampling_error(slices: Slices, kept: float) -> float:
    """Return half the width of the 95 % interval of the good share, for a source that keeps a part of the requests.

    It is `sampled_error` of `judge` for Occurrences. Interpolation between the edges of a histogram is another error,
    and it is not included.

    Args:
        slices: with counts that are scaled up to all requests; those without `estimated` have no error.
        kept: the part that the source keeps, above 0 and at most 1.

    Raises:
        ValueError: `kept` is out of range.

    Source: A. Agresti, B. Coull, The American Statistician 52, 1998, with the correction for a finite population.
    """
    if not 0 < kept <= 1:
        raise ValueError(f"kept is {kept:g}, but must be above 0 and at most 1")
    of, sampled = float(slices.total.sum()), slices.take(slices.estimated)
    seen = float(sampled.total.sum()) * kept
    if not seen:
        return 0.0
    share = (float(sampled.bad.sum()) * kept + 2) / (seen + 4)
    half = _Z * sqrt(share * (1 - share) / (seen + 4) * (1 - kept))
    return half * float(sampled.total.sum()) / of


def _extremes(
    slices: Slices, missing: Array, method: CountedBy, slice_target: float | None
) -> tuple[Array, Array, Array]:
    """Return the smallest and the largest good count of each slice, and its units; shape (slices,) each.

    missing: the requests that each slice lacks.
    """
    lacks = slices.missing > 0
    total = slices.total + missing
    if method is CountedBy.OCCURRENCES:
        return slices.good, slices.good + missing, total
    whole = counted(slices, method, slice_target)
    # A slice of which a part is missing may have had any ratio between these two, and any at all without a request.
    none = ~(total > 0)
    worst = np.divide(slices.good, total, out=np.zeros(len(slices)), where=~none)
    best = np.divide(slices.good + missing, total, out=np.ones(len(slices)), where=~none)
    if method is CountedBy.TIMESLICES and slice_target is not None:
        worst = (worst >= slice_target).astype(np.float64)
        best = (best >= slice_target).astype(np.float64)
    return (
        np.where(lacks, worst, whole.good),
        np.where(lacks, best, whole.good),
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
