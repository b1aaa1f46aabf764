"""Divides a series into trend, season and rest, so that a Monday is not mistaken for a regression.

    parts = decompose(np.log(p95_of_each_night), 7)
    if parts.is_clear:
        scan(parts.adjusted)              # changes of level, without the weekly pattern

The method is STL (Cleveland et al., Journal of Official Statistics 6, 1990), from statsmodels. It smooths season and
trend in turns, robustly, so single bad values end up in the rest and not in the season. The season is the same in each
period: in histories of a few months, a changing season would follow the noise. For logarithms a season is a ratio:
0.05 is 5 % above.

STL finds a season even in pure noise. Removing such a season makes the rest look less noisy than it is. So `Parts.p`
is the probability of a season of this size by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.values_to_float_array import Array, read_values

__all__ = ["CLEAR", "Days", "Parts", "by_day", "decompose"]

CLEAR: Final = 0.001
"""The limit of `p` for a clear season. Removing the trend makes p too small: with this limit, a season is found in up
to 1 % of pure noise series."""
_LEAST_SEASONS: Final = 3
_SLOW: Final = 7
"""Periods over which a season that may change is smoothed: the least that Cleveland et al. recommend."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a series: trend + season + rest are the values. All have shape (n,) and the values' unit."""

    trend: Array
    season: Array
    rest: Array
    weight: Array
    """The weight of each value for trend and season, 0 to 1: outliers have low weights."""
    period: int

    @property
    def adjusted(self) -> Array:
        """Return the values without their season, shape (n,)."""
        return self.trend + self.rest

    @property
    def strength(self) -> float:
        """Return how strong the season is, 0 to 1: its part of the variance that is left without trend.

        The value is 1 - var(rest) / var(season + rest), without outliers.

        Source: Wang, Smith, Hyndman, Data Mining and Knowledge Discovery 13, 2006.
        """
        counted = self.weight > 0.5
        both = (self.season + self.rest)[counted].var()
        return max(0.0, 1 - float(self.rest[counted].var() / both)) if both > 0 else 0.0

    @property
    def p(self) -> float:
        """Return the p-value of the hypothesis that there is no season.

        The test is Kruskal-Wallis over the positions in the period.
        """
        rest = self.season + self.rest
        if rest.min() == rest.max():
            return 1.0
        from scipy import stats  # imported late: it takes 0.6 s, and every `loadgen slo` command imports this module

        return float(stats.kruskal(*(rest[place :: self.period] for place in range(self.period))).pvalue)

    @property
    def is_clear(self) -> bool:
        """Return True if the series has a season that is not explained by chance."""
        return self.p < CLEAR


def decompose(values: npt.ArrayLike, period: int, *, may_change: bool = False, is_coarse: bool = False) -> Parts:
    """Return the trend, season and rest of a series.

    Args:
        values: shape (n,), oldest first, at equal time steps; logarithms if the season is a ratio.
        period: the length of a season in values, at least 2; 7 for a week of daily values.
        may_change: let the season change slowly, over 7 periods. For long series of short seasons, such as hours.
        is_coarse: smooth at each tenth of a window, with straight lines between. Rests of hourly counts differ by some
            1 %, and a period of 168 takes a fifteenth of the time.

    Raises:
        ValueError: values are not one-dimensional, not finite, or fewer than 3 seasons; or the period is below 2.
        ImportError: statsmodels is missing (install the extra `analysis`).

    Cost: 1 s to import statsmodels; then some 10 ms for 1,000 values of a short period, and 30 ms for 672 values of a
    period of 168 if `is_coarse`.
    """
    from statsmodels.tsa.seasonal import STL  # imported late: it imports pandas, which takes 1 s

    array = read_values(values, "the series")
    if period < 2:
        raise ValueError(f"period is {period}, but must be at least 2")
    if len(array) < _LEAST_SEASONS * period:
        raise ValueError(
            f"{len(array)} values are too few: a season of {period} needs {_LEAST_SEASONS * period},"
            f" which are {_LEAST_SEASONS} seasons"
        )
    always = (
        10 * len(array) // period * 2 + 1
    )  # long enough to average all values at one position of the period with equal weight
    season = {"seasonal": _SLOW} if may_change else {"seasonal": always, "seasonal_deg": 0}
    # Windows of about 1.5 periods for the trend, and of a period for the low-pass filter.
    jumps = {"trend_jump": max(1, 3 * period // 20), "low_pass_jump": max(1, period // 10)} if is_coarse else {}
    found = STL(array, period=period, robust=True, **season, **jumps).fit()
    return Parts(found.trend, found.seasonal, found.resid, found.weights, period)


@dataclass(frozen=True, slots=True)
class Days:
    """A series with one value per day, made from values at any times."""

    first: date
    values: Array
    """Shape (days,): the mean of each day's values."""
    index: npt.NDArray[np.intp]
    """Shape (n,): the index of the day of each given value."""
    filled: int
    """The number of days without values, which were interpolated."""


def by_day(days: Sequence[date], values: npt.ArrayLike) -> Days:
    """Return one value per day, for `decompose(..., 7)`, from values at irregular times.

    Args:
        days: the day of each value, in any order.
        values: shape (n,).

    Raises:
        ValueError: `days` and `values` have different lengths or are empty, or most days have no value.
    """
    array = read_values(values, "the series")
    if not len(days) or array.shape != (len(days),):
        raise ValueError(f"{len(days)} days for values of shape {array.shape}: give one day for each value")
    first = min(days)
    index = np.array([(day - first).days for day in days], dtype=np.intp)
    length = int(index.max()) + 1
    counts = np.bincount(index, minlength=length)
    has = counts > 0
    filled = int(length - has.sum())
    if filled * 2 > length:
        raise ValueError(f"{filled} of {length} days have no value: at least half of the days need one")
    sums = np.bincount(index, weights=array, minlength=length)
    at = np.arange(length)
    return Days(first, np.interp(at, at[has], sums[has] / counts[has]), index, filled)
