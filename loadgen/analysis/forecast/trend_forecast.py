"""Forecasts the next values of a weekly series: growth by a robust trend, with its range.

The growth of a week is the median of the growths between all pairs of weeks (Theil, 1950; Sen, JASA 63, 1968): a fifth
of the weeks can be wrong without an effect on it. The range comes from a bootstrap of blocks of neighbouring residuals
(Künsch, Annals of Statistics 17, 1989): each draw has a trend of its own, and a residual of the forecast week. From
three years on, the season of a year is removed before and added again, if it is clear.

A trend forecasts what happens if nothing changes. It contains no launch, no campaign and no new market.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.season import decompose
from loadgen.analysis.values_to_float_array import Array, read_values

__all__ = ["LEAST_WEEKS", "LONGEST", "TrendForecast", "forecast_trend"]

LEAST_WEEKS: Final = 8
"""The minimum number of weeks of a history."""
LONGEST: Final = 104
"""The most weeks of a forecast. Beyond as many weeks as the history has, a trend is a guess."""
_DRAWS: Final = 500
_NEWEST: Final = 156
"""Older weeks do not count: the cost grows with the square of their number."""
_YEAR: Final = 52
_FEW: Final = 6.0
"""Residuals are multiplied with 1 + 6 / n, because few blocks of residuals show less than the whole error of a trend.
The factor was simulated: 8 to 52 weeks with a correlation of up to 0.6, 13 weeks ahead."""


@dataclass(frozen=True, slots=True)
class TrendForecast:
    """The next values, each of shape (horizon,): the 95 % range and its middle."""

    low: Array
    middle: Array
    high: Array
    growth: float
    """The slope of a week."""
    has_season: bool


def forecast_trend(weeks: npt.ArrayLike, values: npt.ArrayLike, horizon: int, *, seed: int = 1) -> TrendForecast:
    """Return the `horizon` values after the last week.

    Args:
        weeks: whole numbers of weeks, rising, shape (n,), n >= 8; gaps are allowed. The newest 156 values count.
        values: of these weeks, shape (n,); logarithms if the growth is a ratio.
        horizon: 1 to 104.
        seed: the same seed gives the same range.

    Cost: 0.1 s for a year, 1 s for three years.

    Raises:
        ValueError: an argument is invalid.
    """
    at, known = read_values(weeks, "weeks", least=LEAST_WEEKS), read_values(values, "values", least=LEAST_WEEKS)
    if len(at) != len(known) or (np.diff(at) <= 0).any():
        raise ValueError("weeks must rise, and each must have one value")
    if not 1 <= horizon <= LONGEST:
        raise ValueError(f"horizon is {horizon}, but must be from 1 to {LONGEST}")
    at, known = at[-_NEWEST:] - at[-_NEWEST:][0], known[-_NEWEST:]
    season = _season(at, known)
    known = known - season[at.astype(int) % _YEAR]
    ahead = at[-1] + np.arange(1, horizon + 1)
    slope, level = _trend(at, known[None, :])
    fitted = level[0] + slope[0] * at
    draws = _draws(at, known - fitted, fitted, ahead, np.random.default_rng(seed))
    middle = level[0] + slope[0] * ahead
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    added = season[ahead.astype(int) % _YEAR]
    return TrendForecast(
        low=np.minimum(low, middle) + added,
        middle=middle + added,
        high=np.maximum(high, middle) + added,
        growth=float(slope[0]),
        has_season=bool(season.any()),
    )


def _draws(at: Array, rest: Array, fitted: Array, ahead: Array, rng: np.random.Generator) -> Array:
    """Return logarithms of peaks, shape (draws, horizon): of trends of resampled histories, each with a residual.

    Residuals of a fitted line are too small: by sqrt(n / (n - 2)), and few of them lack the tails of Student's t.
    """
    n = len(rest)
    block = max(round(n ** (1 / 3)), 2)
    factor = (1 + _FEW / n) * sqrt(n / (n - 2)) * float(special.stdtrit(n - 2, 0.975)) / float(special.ndtri(0.975))
    centred = (rest - rest.mean()) * factor
    starts = rng.integers(0, n - block + 1, (_DRAWS, -(-n // block)))
    picked = (starts[:, :, None] + np.arange(block)).reshape(_DRAWS, -1)[:, :n]
    slope, level = _trend(at, fitted + centred[picked])
    own = centred[rng.integers(0, n, (_DRAWS, len(ahead)))]
    drawn: Array = level[:, None] + slope[:, None] * ahead + own
    return drawn


def _trend(at: Array, values: Array) -> tuple[Array, Array]:
    """Return the slope of Theil and Sen and the level at 0 of each row. values: shape (rows, n)."""
    first, second = np.triu_indices(len(at), 1)
    apart = at[second] - at[first]
    slope = np.empty(len(values))
    # By parts: a thousand rows of a hundred weeks have five million slopes.
    for begin in range(0, len(values), 100):
        part = values[begin : begin + 100]
        slope[begin : begin + 100] = np.median((part[:, second] - part[:, first]) / apart, axis=1)
    level: Array = np.median(values - slope[:, None] * at, axis=1)
    return slope, level


def _season(at: Array, values: Array) -> Array:
    """Return the season by week of a year, shape (52,); zeros without three whole years, or if it is not clear."""
    nothing = np.zeros(_YEAR)
    if len(at) < 3 * _YEAR or len(at) != int(at[-1]) + 1:
        return nothing
    parts = decompose(values, _YEAR)
    if not parts.is_clear:
        return nothing
    found: Array = np.array([parts.season[place::_YEAR].mean() for place in range(_YEAR)])
    return found
