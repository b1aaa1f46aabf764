"""Laws of chance in plain arithmetic, and the test of Kolmogorov and Smirnov: scipy is no dependency of the tests.

What `scipy.stats` says of the same is in tests/profile/test_spacing.py, as numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma

import numpy as np

__all__ = ["gamma_cdf", "ks"]


def gamma_cdf(shape: float, x: np.ndarray) -> np.ndarray:
    """Of gamma spacings of mean 1: the incomplete gamma function, by its series, all terms of which are positive."""
    scaled = np.asarray(x, dtype=np.float64) * shape
    term = np.ones_like(scaled)
    series = np.ones_like(scaled)
    k = 0
    while np.max(term / series) > 1e-17:
        k += 1
        term = term * scaled / (shape + k)
        series += term
    cdf: np.ndarray = np.exp(shape * np.log(np.maximum(scaled, 1e-300)) - scaled - lgamma(shape + 1)) * series
    return cdf


def ks(values: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    """The greatest distance between two distribution functions, times sqrt(n).

    Above 1.63 in 1 % of samples of the right law, above 1.95 in 0.1 % (Kolmogorov's distribution).
    """
    n = len(values)
    at = cdf(np.sort(values))
    steps = np.arange(n + 1) / n
    return float(max(np.max(steps[1:] - at), np.max(at - steps[:-1])) * n**0.5)
