"""Combines the highest rates that several searches found into one rate with its interval.

Each search measures one condition of its target: one start of its processes, one layout of its memory, one state of its
caches. So the results of several searches differ by more than their own intervals say. The interval of the combined
rate must contain that, and one search alone cannot show it.

The rates are combined as logarithms, since the error of a rate grows with the rate:

    y_i = log(rate_i)       s_i = log(high_i / low_i) / (2 z)       z = 1.645, as each interval has a level of 90 %
    S² = sample variance of y (k - 1 degrees of freedom)       w² = mean of s_i²
    interval = exp(mean(y) ± t(k - 1, 0.95) sqrt(max(S², w²) / k))

S² estimates the sum of two variances: that between conditions, and that of the searches' own error. With few searches
it is often too small by chance. The searches' own error is known, so w² is the lower bound of the sum. A single search
keeps its own interval. docs/decisions/128-combined-searches.md compares this with other rules.

Source: the mean of a random-effects model with equal weights; Student, "The probable error of a mean", 1908.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log, sqrt
from typing import Final

import numpy as np
from scipy import stats

__all__ = ["LEVEL", "CombinedKnee", "SearchedKnee", "combine_knees"]

LEVEL: Final = 0.9
"""The level of all intervals here."""
_UPPER: Final = (1 + LEVEL) / 2


@dataclass(frozen=True, slots=True)
class SearchedKnee:
    """The highest rate that one search found, iterations/s, and its 90 % interval. All are above 0."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float

    def __post_init__(self) -> None:
        values = (self.low_per_s, self.rate_per_s, self.high_per_s)
        if not all(isfinite(one) and one > 0 for one in values):
            raise ValueError(f"a rate and its interval must be finite and above 0, got {values}")
        if not self.low_per_s <= self.rate_per_s <= self.high_per_s:
            raise ValueError(f"a rate must lie in its interval, got {values}")


@dataclass(frozen=True, slots=True)
class CombinedKnee:
    """The combined rate, iterations/s, with its 90 % interval. The deviations are shares of the rate."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float
    repeats: int
    within_sd: float
    """Standard error of one search, by its own interval: the root of the mean square."""
    between_sd: float | None
    """Standard deviation of the rates that the searches found; None for a single search."""
    excess_sd: float | None
    """The part of `between_sd` that the searches' own errors do not explain, 0 or more; None for a single search."""

    @property
    def half_width(self) -> float:
        """Return half the width of the interval, as a share of the rate (on the logarithmic scale)."""
        return log(self.high_per_s / self.low_per_s) / 2


def combine_knees(knees: Sequence[SearchedKnee]) -> CombinedKnee:
    """Return the rate that the searches found together. The order of the searches does not matter.

    Raises:
        ValueError: there is no search.
    """
    if not knees:
        raise ValueError("at least one search is needed")
    z = float(stats.norm.ppf(_UPPER))
    own = np.array([log(one.high_per_s / one.low_per_s) / (2 * z) for one in knees])
    within = sqrt(float(np.mean(own**2)))
    if len(knees) == 1:
        (only,) = knees
        return CombinedKnee(only.rate_per_s, only.low_per_s, only.high_per_s, 1, within, None, None)
    rates = np.sort(np.log([one.rate_per_s for one in knees]))
    middle, spread = float(rates.mean()), float(rates.std(ddof=1))
    error = max(spread, within) / sqrt(len(knees))
    half = float(stats.t.ppf(_UPPER, len(knees) - 1)) * error
    excess = sqrt(max(0.0, spread**2 - within**2))
    return CombinedKnee(exp(middle), exp(middle - half), exp(middle + half), len(knees), within, spread, excess)
