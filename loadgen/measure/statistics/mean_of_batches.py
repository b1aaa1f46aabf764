"""The 95 % interval of a mean from batches of a run: Student's t, corrected for the correlation of neighbours.

The formula and its reasons are in `batch_means.py`, which uses it for percentiles. `sure_values.py` uses it for means
and rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Final

__all__ = [
    "BATCHES",
    "FEW_INTERVALS",
    "LEAST_INTERVALS",
    "LEAST_RHO",
    "MOST_RHO",
    "T_QUANTILE",
    "correction",
    "half_length",
    "t_quantile",
]

BATCHES: Final = 5
"""Batches of a run. Neighbours among more of them would be too alike."""
T_QUANTILE: Final = 2.776
"""Student's t, two-sided 95 %, 4 degrees of freedom."""
LEAST_RHO: Final = 0.08
MOST_RHO: Final = 0.8
"""The largest correlation that is used. With a larger one, the interval would be too wide to be of use."""
LEAST_INTERVALS: Final = 10
FEW_INTERVALS: Final = 6.0
"""In a run of n intervals of time, the result is wider by 6 / n. The coverage at 20 s, 60 s and 300 s is then alike."""


def half_length(
    values: Sequence[float], rho: float, intervals: int, *, few: float = FEW_INTERVALS, least: float = 0.0
) -> float:
    """Return half the length of the 95 % interval of the mean of `values`, one for each of five batches.

    Args:
        rho: correlation of neighbouring batches, for which the length is corrected.
        intervals: number of intervals in which `rho` was estimated.
        few: the result is longer by the factor 1 + few / intervals.
        least: lower limit of the variance of the values.
    """
    m = len(values)
    mean = sum(values) / m
    variance = max(least, sum((value - mean) ** 2 for value in values) / (m - 1))
    return T_QUANTILE * sqrt(variance / m * correction(rho, m)) * (1 + few / intervals)


def correction(rho: float, batches: int = BATCHES) -> float:
    """Return the factor for the variance of a mean of batches whose neighbours have the correlation `rho`.

    The variance of the mean is larger than that of independent batches, and the spread of the batches is smaller.
    """
    return (1 + 2 * (1 - 1 / batches) * rho) / (1 - 2 / batches * rho)


def t_quantile(tail: float, freedom: float) -> float:
    """Return the quantile 1 - `tail` of Student's t, within 1 % for 6 degrees of freedom or more and tails from 0.001.

    Source: the expansion in Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5. With 2
    degrees of freedom it is 3 % too small in a tail of 0.025.
    """
    z = NormalDist().inv_cdf(1 - tail)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (n + 1) for n, term in enumerate(terms))
