"""A series as trend, season and rest, so that a Monday is not taken for a regression.

    parts = decompose(np.log(p95_of_each_night), 7)
    if parts.is_clear:
        scan(parts.adjusted)              # changes of level, without what every week does

The arithmetic is STL (Cleveland et al., Journal of Official Statistics 6, 1990), as statsmodels has it: seasons and
trend are smoothed in turns, robustly, so that single bad values land in the rest and not in the season. The season is
the same each time it comes round ("periodic"): one that may change follows noise, in histories of a few months. Of
logarithms a season is a ratio: 0.05 is 5 % above.

STL finds a season in pure noise, too, and one that is taken out although it is none makes the rest look quieter than
it is. So `Parts.p` says how likely such a season is by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from loadgen.analysis.values import Array, read_values

__all__ = ["CLEAR", "Days", "Parts", "by_day", "decompose"]

CLEAR: Final = 0.001
"""Of `p`. What the trend takes out makes p too small: at this limit up to 1 % of series of noise have a season."""
_LEAST_SEASONS: Final = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """All of shape (n,) and in the unit of the values: trend + season + rest is what was given."""

    trend: Array
    season: Array
    rest: Array
    weight: Array
    """How much each value counted for trend and season, 0 to 1: outliers count little."""
    period: int

    @property
    def adjusted(self) -> Array:
        """The values without their season, (n,)."""
        return self.trend + self.rest

    @property
    def strength(self) -> float:
        """How much of what is not trend is season, 0 to 1: 1 - var(rest) / var(season + rest), outliers left out.

        Source: Wang, Smith, Hyndman, Data Mining and Knowledge Discovery 13, 2006.
        """
        counted = self.weight > 0.5
        both = (self.season + self.rest)[counted].var()
        return max(0.0, 1 - float(self.rest[counted].var() / both)) if both > 0 else 0.0

    @property
    def p(self) -> float:
        """Kruskal-Wallis over the places within the season, of the values without their trend."""
        rest = self.season + self.rest
        if rest.min() == rest.max():
            return 1.0
        return float(stats.kruskal(*(rest[place :: self.period] for place in range(self.period))).pvalue)

    @property
    def is_clear(self) -> bool:
        """There is a season, and not chance alone."""
        return self.p < CLEAR


def decompose(values: npt.ArrayLike, period: int) -> Parts:
    """Divide a series into trend, season and rest.

    Args:
        values: of shape (n,), oldest first, the same time apart; logarithms where a season is a ratio.
        period: after how many values the season begins again, 2 or more: 7 of a value a day is a week.

    Raises:
        ValueError: not one-dimensional, not finite, or fewer than 3 seasons; a period below 2.
        ImportError: statsmodels is not there (`pip install loadgen[analysis]`).

    Cost: 1 s to import statsmodels; then some 10 ms for 1,000 values.
    """
    from statsmodels.tsa.seasonal import STL  # with pandas behind it, which nobody who only gates should wait for

    array = read_values(values, "the series")
    if period < 2:
        raise ValueError(f"a season of {period} values is none")
    if len(array) < _LEAST_SEASONS * period:
        raise ValueError(
            f"{len(array)} values, and a season of {period} needs {_LEAST_SEASONS * period}: {_LEAST_SEASONS} seasons"
        )
    always = (
        10 * len(array) // period * 2 + 1
    )  # of values one season apart so many are averaged: all, with equal weight
    found = STL(array, period=period, seasonal=always, seasonal_deg=0, robust=True).fit()
    return Parts(found.trend, found.seasonal, found.resid, found.weights, period)


@dataclass(frozen=True, slots=True)
class Days:
    """A series with one value a day, made of values at any times."""

    first: date
    values: Array
    """(days,); the mean of a day's values."""
    index: npt.NDArray[np.intp]
    """(n,): which day each of the given values is of."""
    filled: int
    """Days that had none: theirs lie on the line between their neighbours."""


def by_day(days: Sequence[date], values: npt.ArrayLike) -> Days:
    """One value a day, for `decompose(..., 7)`, of values that are not the same time apart.

    Args:
        days: of each value, in any order.
        values: (n,).

    Raises:
        ValueError: not as many days as values, or none; more than half of the days have no value.
    """
    array = read_values(values, "the series")
    if not len(days) or array.shape != (len(days),):
        raise ValueError(f"{len(days)} days for values of shape {array.shape}")
    first = min(days)
    index = np.array([(day - first).days for day in days], dtype=np.intp)
    length = int(index.max()) + 1
    counts = np.bincount(index, minlength=length)
    has = counts > 0
    filled = int(length - has.sum())
    if filled * 2 > length:
        raise ValueError(f"{filled} of {length} days have no value: too few to know what a week is like")
    sums = np.bincount(index, weights=array, minlength=length)
    at = np.arange(length)
    return Days(first, np.interp(at, at[has], sums[has] / counts[has]), index, filled)
