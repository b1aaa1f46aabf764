"""Measures how requests and starts of sessions bunch: at random, in bursts, or evenly.

Counts are compared within windows of 10 minutes, so the curve of the day is not part of the index of dispersion.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["WINDOW_S", "dispersion", "variation", "window_sums"]

WINDOW_S: Final = 600


def window_sums(by_second: NDArray[np.int64], step_s: int, window_s: int = WINDOW_S) -> NDArray[np.int64]:
    """Return counts of `step_s` seconds as a matrix with a row for each whole window. `step_s` divides `window_s`."""
    windows = len(by_second) // window_s
    found: NDArray[np.int64] = by_second[: windows * window_s].reshape(windows, window_s // step_s, step_s).sum(2)
    return found


def dispersion(sums: NDArray[np.int64]) -> float:
    """Return the variance of counts around the mean of their window, divided by the mean: the index of dispersion.

    It is 1 for a Poisson process whose rate changes only from window to window, above 1 for bursts, and below 1 for
    even times. sums: from `window_sums`, at least one count above 0.
    """
    count = sums.shape[1]
    squares = ((sums - sums.mean(1, keepdims=True)) ** 2).sum()
    # The mean of a window is estimated from its counts, which takes one of their degrees of freedom.
    return float(squares * count / (count - 1) / sums.sum())


def variation(gaps: NDArray[np.float64]) -> float:
    """Return the coefficient of variation: 1 for a Poisson process of constant rate. gaps: at least one above 0."""
    return float(gaps.std() / gaps.mean())
