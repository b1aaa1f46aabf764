"""Flags hours that neither trend nor season explains.

    found = flag(hours.count, observed=hours.observed)       # counts; nan is a gap
    np.flatnonzero(found.is_flagged)

1. Counts are replaced by their square roots, because the noise of a square root does not depend on the count (M.
   Bartlett, J. R. Stat. Soc. Suppl. 3, 1936). Latencies are replaced by their logarithms.
2. STL (`season.py`), robust, takes trend and season out. The period is a week from 4 weeks on, and before that a day,
   whose shape may change slowly. In the week of 168 hours, the day is contained.
3. STL begins with means, so one huge value shifts the mean of its hour of the week. With 4 weeks, the other three
   values of that hour would be flagged. Hours that are far from what medians expect are therefore left out of the fit.
   They are tested against it like all others.
4. An hour is flagged if its residual is more than 6 robust standard deviations from the median of all residuals.

The robust deviation is 1.4826 median absolute deviations. For counts it is at least 0.5, the deviation of the square
root of a Poisson count, so series of rare events have no finds. With a period of a week, each hour of the week has few
values, and a robust fit follows half of them too closely. Then the 90th percentile of the absolute residuals / 1.645 is
used, if it is larger. The same holds for short series whose residuals repeat after a week: they have a weekly shape,
and too few weeks to remove it.

Gaps are never flagged and never zero. The fit is interpolated there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from loadgen.analysis.season import decompose
from loadgen.analysis.values_to_float_array import Array

__all__ = ["DAY", "DEVIATIONS", "LEAST_HOURS", "WEEK", "Flags", "flag"]

DEVIATIONS: Final = 6.0
DAY: Final = 24
WEEK: Final = 168
LEAST_HOURS: Final = 2 * WEEK
"""With less, weekends cannot be told from anomalies."""
_WEEKLY_FROM: Final = 4 * WEEK
_MOST_GAPS: Final = 0.5
_POISSON: Final = 0.5
"""The standard deviation of the square root of a Poisson count, for a mean above some 5; it is smaller for less."""
_MAD_TO_SD: Final = 1.4826
_P90_TO_SD: Final = 1 / 1.6449
"""The 90th percentile of |x| of a normal distribution is 1.6449 standard deviations."""
_REPEATS: Final = 0.15
"""Rank correlation of rests one week apart from which on a weekly shape is there. Without one, it stays within 0.12 in
simulated series of 2 weeks; of NAB's load balancer it is -0.01."""
_FAR: Final = {DAY: 12.0, WEEK: 5.0}
"""Hours that are further off, in robust standard deviations, are left out of the fit. By period: a season of a day has
many values at each position, and only huge ones spoil it."""
_MEDIAN_OVER: Final = {DAY: 73, WEEK: 169}
"""Hours of the running median."""
_EACH: Final = 6
"""The running median is computed for each sixth hour, with straight lines between."""
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Flags:
    """The result for each hour. All arrays have shape (hours,).

    expected: in the unit of the values, also in gaps. deviations: the distance in robust standard deviations, signed;
    nan in gaps. period: 24 or 168; 0 if nothing was looked at, and `why` has the reason.
    """

    expected: Array
    deviations: Array
    limit: float
    period: int = 0
    why: str = ""

    @property
    def is_flagged(self) -> npt.NDArray[np.bool_]:
        """Return which hours are further off than the limit."""
        flagged: npt.NDArray[np.bool_] = np.abs(np.nan_to_num(self.deviations)) > self.limit
        return flagged


def flag(
    values: npt.ArrayLike,
    *,
    kind: Literal["counts", "latencies"] = "counts",
    observed: npt.ArrayLike = 1.0,
    limit: float = DEVIATIONS,
) -> Flags:
    """Return which hours are anomalies.

    Args:
        values: shape (hours,), successive hours; nan: a gap. Counts of a whole hour, at least 0; or latencies above 0.
        observed: the observed time in hours: a count of half an hour has more noise.
        limit: in robust standard deviations.
    Raises:
        ValueError: values are negative or infinite, or latencies are not above 0.
        ImportError: statsmodels is missing (install the extra `analysis`).

    Cost: 1 s to import statsmodels; then some 40 ms for 4 weeks.
    """
    array = np.asarray(values, np.float64)
    known = ~np.isnan(array)
    if array.ndim != 1 or np.isinf(array).any() or (array[known] < 0).any():
        raise ValueError("hourly values must be one-dimensional, finite and not negative; nan is a gap")
    if kind == "latencies" and (array[known] <= 0).any():
        raise ValueError("latencies must be above 0")
    nothing = np.full(len(array), np.nan)
    if len(array) < LEAST_HOURS:
        why = f"{len(array)} hours are too few: {LEAST_HOURS} are needed, which are 2 weeks"
        return Flags(nothing, nothing, limit, why=why)
    if known.mean() < 1 - _MOST_GAPS:
        return Flags(nothing, nothing, limit, why="more than half of the hours have no counts")
    period = WEEK if len(array) >= _WEEKLY_FROM else DAY
    stable = np.sqrt(array) if kind == "counts" else np.log(array)
    floor = np.full(len(array), _TINY)
    if kind == "counts":
        part = np.minimum(np.broadcast_to(np.asarray(observed, np.float64), array.shape), 1.0)
        floor = _POISSON / np.sqrt(np.where(known, part, 1.0))
    rest, fitted = _rests(stable, known, period, floor)
    seen = rest[known]
    middle = float(np.median(seen))
    is_wider = period == WEEK or _repeats(rest)
    deviations = (rest - middle) / np.maximum(_deviation(np.abs(seen - middle), is_wider), floor)
    fitted = fitted + middle
    expected = np.maximum(fitted, 0.0) ** 2 if kind == "counts" else np.exp(fitted)
    return Flags(expected, deviations, limit, period)


def _rests(stable: Array, known: npt.NDArray[np.bool_], period: int, floor: Array) -> tuple[Array, Array]:
    """Return the rests, nan in gaps, and trend and season."""
    first = _medians(stable, period)
    far = _FAR[period] * np.maximum(_deviation(np.abs(stable - first)[known], is_wider=True), floor)
    used = known & ~(np.abs(stable - first) > far)
    # A second round with the gaps filled from the first one was tried: it changes no find of the tests, and takes
    # twice the time.
    parts = decompose(np.where(used, stable, first), period, may_change=period == DAY, is_coarse=True)
    fitted = parts.trend + parts.season
    return np.where(known, stable - fitted, np.nan), fitted


def _medians(stable: Array, period: int) -> Array:
    """Return a running median over a period, plus the median of the rests at each position; finite also in gaps."""
    n, half = len(stable), _MEDIAN_OVER[period] // 2
    at = np.unique(np.append(np.arange(0, n, _EACH), n - 1))
    parts = (stable[max(0, one - half) : one + half + 1] for one in at.tolist())
    middles = np.array([np.median(known) if len(known := part[np.isfinite(part)]) else np.nan for part in parts])
    has_any = np.isfinite(middles)
    level = np.interp(np.arange(n), at[has_any], middles[has_any])
    rest = stable - level
    season = np.zeros(n)
    for one in (1, DAY, period):
        for place in range(one):
            values = rest[place::one]
            if len(values := values[np.isfinite(values)]):
                season[place::one] = np.median(values)
    first: Array = level + season
    return first


def _deviation(away: Array, is_wider: bool) -> float:
    robust = _MAD_TO_SD * float(np.median(away))
    return max(robust, _P90_TO_SD * float(np.quantile(away, 0.9))) if is_wider else robust


def _repeats(rest: Array) -> bool:
    """Return whether the rests of an hour resemble those of the same hour a week before."""
    before, after = rest[:-WEEK], rest[WEEK:]
    both = ~(np.isnan(before) | np.isnan(after))
    if both.sum() < WEEK // 2:
        return False
    a, b = (np.argsort(np.argsort(one[both])).astype(np.float64) for one in (before, after))
    return float(np.corrcoef(a, b)[0, 1]) > _REPEATS
