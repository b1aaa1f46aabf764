"""Flags hours that neither trend nor season explains.

    found = flag(hours.count, observed=hours.observed)       # counts; nan is a gap
    np.flatnonzero(found.is_flagged)

1. Counts are replaced by their square roots, because the noise of a square root does not depend on the count (M.
   Bartlett, J. R. Stat. Soc. Suppl. 3, 1936). Latencies are replaced by their logarithms.
2. STL (`season.py`), robust, takes trend and season out. The period is a week from 4 weeks on, and before that a day,
   whose shape may change slowly. In the week of 168 hours, the day is contained.
3. An hour is flagged if its rest is more than 6 robust standard deviations from the median of all rests.

The robust deviation is 1.4826 median absolute deviations. Of counts it is at least 0.5, that of Poisson counts, so
quiet series of rare events have no finds. With a period of a week, each position has few values, and robust fits come
too close to half of them. Then the 90th percentile of the rests, divided by that of the normal distribution, counts if
it is larger. The same holds for short series whose rests repeat after a week: they have a weekly shape, and too few
weeks to remove it.

Gaps are never flagged and never zero. The fit sees trend and season there.
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
_ROUNDS: Final = 2
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
    if known.sum() < LEAST_HOURS:
        why = f"{int(known.sum())} hours with counts are too few: {LEAST_HOURS} are needed, which are 2 weeks"
        return Flags(nothing, nothing, limit, why=why)
    if known.mean() < 1 - _MOST_GAPS:
        return Flags(nothing, nothing, limit, why="more than half of the hours have no counts")
    period = WEEK if len(array) >= _WEEKLY_FROM else DAY
    stable = np.sqrt(array) if kind == "counts" else np.log(array)
    rest, fitted = _rests(stable, known, period)
    seen = rest[known]
    middle = float(np.median(seen))
    floor = np.full(len(array), _TINY)
    if kind == "counts":
        part = np.minimum(np.broadcast_to(np.asarray(observed, np.float64), array.shape), 1.0)
        floor = _POISSON / np.sqrt(np.where(known, part, 1.0))
    is_wider = period == WEEK or _repeats(rest)
    deviations = (rest - middle) / np.maximum(_deviation(np.abs(seen - middle), is_wider), floor)
    fitted = fitted + middle
    expected = np.maximum(fitted, 0.0) ** 2 if kind == "counts" else np.exp(fitted)
    return Flags(expected, deviations, limit, period)


def _rests(stable: Array, known: npt.NDArray[np.bool_], period: int) -> tuple[Array, Array]:
    """Return the rests, nan in gaps, and trend and season. Gaps are filled with trend and season, and fitted again."""
    filled = stable if known.all() else _filled(stable, known, period)
    for _ in range(1 if known.all() else _ROUNDS):
        parts = decompose(filled, period, may_change=period == DAY, is_coarse=True)
        fitted: Array = parts.trend + parts.season
        filled = np.where(known, stable, fitted)
    return np.where(known, stable - fitted, np.nan), fitted


def _filled(stable: Array, known: npt.NDArray[np.bool_], period: int) -> Array:
    """Return the values with the median of the same hour in each gap; of the day if the week has none."""
    filled = stable.copy()
    for one in (period, DAY, 1):
        place = np.arange(len(stable)) % one
        for at in np.unique(place[np.isnan(filled)]):
            same = place == at
            if (same & known).any():
                filled[same & np.isnan(filled)] = np.median(stable[same & known])
    return filled


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
