"""Finds since when a path is slower: a change of level in means of 10 s, by the scan of `changepoint.py`."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.changepoint import LEAST, scan

__all__ = ["since"]

Floats = npt.NDArray[np.float64]

_BINS_S: Final = (10.0, 30.0)
"""If the first length shows no change, the second one is tried: with few traces, means of 10 s differ too much."""
_LEAST_BINS: Final = 4 * LEAST
_SMALL: Final = 0.01
"""A share of the overall mean that is added to each mean: intervals without the path have no logarithm."""
_LEAST_RISE: Final = 0.1
_ALPHA: Final = 0.01
_RESAMPLES: Final = 400


def since(due_s: Floats, own_ns: Floats, weights: Floats) -> tuple[float, float] | None:
    """Return the time at which the mean own time of a path rises, in s from T0, and its error, s; None without a rise.

    Args:
        due_s, own_ns, weights: of all compared traces, shape (traces,).

    The rise lies within the error of the time in 95 % of cases (`_error`). With several rises this is the largest one.
    Fewer than 12 intervals with traces show no change.
    """
    for length_s in _BINS_S:
        found = _rise(due_s, own_ns, weights, length_s)
        if found is not None:
            return found
    return None


def _rise(due_s: Floats, own_ns: Floats, weights: Floats, length_s: float) -> tuple[float, float] | None:
    numbers = np.floor(due_s / length_s).astype(np.int64)
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
    rises = [(levels[n] - levels[n - 1], n) for n in range(1, len(levels))]
    rise, n = max(rises, default=(0.0, 0))
    if rise <= 0:
        return None
    before, at, end = edges[n - 1 : n + 2]
    # Ranks, as in the scan: a single large mean moves no split.
    ranks = np.argsort(np.argsort(values[before:end], kind="stable")).astype(np.float64)
    error = _error(ranks[: at - before], ranks[at - before :])
    return float(bins[at] * length_s), (1 + error) * length_s


def _error(before: Floats, after: Floats) -> int:
    """Return by how many values the change between two levels may be misplaced: 95 % of resamples are within it.

    The values of both levels are resampled apart, and the best split of each resample is compared with the true one.
    """
    chance = np.random.default_rng(len(before) * 1_000 + len(after))
    rows = np.concatenate((_drawn(before, chance), _drawn(after, chance)), axis=1)
    n = rows.shape[1]
    left = np.arange(1, n)
    sums = rows.cumsum(axis=1)
    # The sum of squares between both parts of a split is largest at the best one.
    parts = sums[:, :-1]
    between = parts**2 / left + (sums[:, -1:] - parts) ** 2 / (n - left)
    shifts = np.abs(between.argmax(axis=1) + 1 - len(before))
    return int(np.quantile(shifts, 0.95, method="higher"))


def _drawn(values: Floats, chance: np.random.Generator) -> Floats:
    drawn: Floats = values[chance.integers(0, len(values), (_RESAMPLES, len(values)))]
    return drawn
