"""Finds since when a path is slower: a change of level in its means of 10 s, by the scan of `changepoint.py`."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.changepoint import LEAST, scan

__all__ = ["ERROR_S", "since"]

Floats = npt.NDArray[np.float64]

_BIN_S: Final = 10.0
ERROR_S: Final = _BIN_S
"""The change lies within this time of the result, if the scan finds the right interval."""
_LEAST_BINS: Final = 4 * LEAST
_SMALL: Final = 0.01
"""A share of the overall mean that is added to each mean: intervals without the path have no logarithm."""
_LEAST_RISE: Final = 0.1
_ALPHA: Final = 0.01


def since(due_s: Floats, own_ns: Floats, weights: Floats) -> float | None:
    """Return the time in s from T0 from which on a path's mean own time is higher; None without a rise.

    Args:
        due_s, own_ns, weights: of all compared traces, shape (traces,).

    With several rises this is the largest one. Fewer than 12 intervals of 10 s with traces show no change.
    """
    numbers = np.floor(due_s / _BIN_S).astype(np.int64)
    bins, place = np.unique(numbers, return_inverse=True)
    if len(bins) < _LEAST_BINS:
        return None
    sums = np.bincount(place, weights=weights * own_ns)
    means = sums / np.bincount(place, weights=weights)
    overall = float(np.average(own_ns, weights=weights))
    if overall <= 0:
        return None
    values = np.log(means + _SMALL * overall)
    edges = [0, *scan(values, alpha=_ALPHA, min_effect=_LEAST_RISE), len(values)]
    levels = [float(np.median(values[start:end])) for start, end in itertools.pairwise(edges)]
    rises = [(levels[n] - levels[n - 1], edges[n]) for n in range(1, len(levels))]
    rise, at = max(rises, default=(0.0, 0))
    return float(bins[at] * _BIN_S) if rise > 0 else None
