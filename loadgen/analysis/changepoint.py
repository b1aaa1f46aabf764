"""Finds the changes of level in a history. The method is robust against outliers, with a known error rate.

    scan(np.log(p95_of_each_run))        # (37,): the 38th run starts a new level

The values of a segment are replaced by the normal scores of their ranks, so an outlier
is only the largest of them. The best split has the largest two-sample |t|. It counts if
its |t| is larger than in all but `alpha` of 3,000 permutations of the scores; these
depend only on the segment's length. Then both parts are scanned in the same way. A level
that returns to its old height is not a good split of the whole segment. So if there is
no split, halves and two thirds of the segment are searched too; there |t| must be a
quarter larger. At the end, changes smaller than `min_effect` are removed, the smallest
first. This happens after the scan, because a removed small change could hide a larger
one inside it. The remaining changes move by a few values at most, to the best fit.

Successive runs are often similar (the same machine, the same hour), and a scan that
assumes independence finds changes in that. `ar=True` allows for it: if 20 values or more
have a lag-1 correlation r above 0.3 around the two levels of a split, |t| is multiplied
by sqrt((1 - r) / (1 + r)). Changes are then found some runs later.

The newest two values never form a level of their own: the gate judges them (`gate.py`).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import inf, log1p, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.values_to_float_array import Array, read_values, setting_wrong

__all__ = ["LEAST", "scan"]

LEAST: Final = 3
"""The minimum number of values on each side of a change."""
_DRAWS: Final = 3_000
"""Permutations for each critical value."""
_PARTS: Final = ((0, 2 / 3), (1 / 3, 1), (0, 1 / 2), (1 / 4, 3 / 4), (1 / 2, 1))
"""The parts of a segment that are searched if the whole segment has no split."""
_CLEARER: Final = 1.25
"""The factor by which the split of a part must exceed the critical value, because several parts are searched."""
_NEAR: Final = 5
"""The most values by which a change is moved at the end."""
_AR_LEAST: Final = 20
"""The minimum number of values to estimate the correlation of neighbours."""
_AR_ABOVE: Final = 0.3
"""Smaller correlations are ignored: independent values also show them by chance."""
_NO_NOISE: Final = 1e-12


def scan(values: npt.ArrayLike, *, alpha: float = 0.01, min_effect: float = 0.03, ar: bool = False) -> tuple[int, ...]:
    """Find the changes of level in a series: return the index of the first value of each new level, in rising order.

    Args:
        values: shape (runs,), natural logarithms of one figure of each run, oldest first. A list, an array or a pandas
            Series; indices are positions, and a Series' own index is ignored.
        alpha: the probability that a segment without a change is split.
        min_effect: relative; smaller changes of the median are ignored.
        ar: allow for correlation between neighbouring runs.

    Raises:
        ValueError: values are not finite or not one-dimensional, or a setting is out of range.

    Cost: some 10 ms for 1,000 values; the first scan of each segment length up to 0.5 s, for its permutations.
    """
    array = read_values(values, "the series")
    wrong = (
        setting_wrong("alpha", alpha, "between 0 and 1", lambda value: 0 < value < 1),
        setting_wrong("min_effect", min_effect, "0 or more", lambda value: 0 <= value < inf),
    )
    if any(wrong):
        raise ValueError("; ".join(filter(None, wrong)))
    found: list[int] = []
    parts = [(0, len(array))]
    while parts:
        start, end = parts.pop()
        split = _split(array[start:end], alpha, ar)
        if split is not None:
            found.append(start + split)
            parts += [(start, start + split), (start + split, end)]
    return tuple(_placed(array, _pruned(array, sorted(found), log1p(min_effect))))


def _split(values: Array, alpha: float, ar: bool) -> int | None:
    """Return the position at which a segment is best split into two levels; None if the difference is not significant.

    ar: allow for correlation between neighbouring runs.
    """
    n = len(values)
    excess, split = _best(values, alpha, ar)
    if excess > 1:
        return split
    parts = [(round(start * n), round(end * n)) for start, end in _PARTS]
    found = [(*_best(values[start:end], alpha, ar), start) for start, end in parts]
    excess, split, start = max(found)
    return start + split if excess > _CLEARER else None


def _best(values: Array, alpha: float, ar: bool) -> tuple[float, int]:
    """Return how clear the best split of a segment is, and its position.

    The first value is |t| divided by its critical value: above 1, the split is significant. It is 0 for few or equal
    values.
    """
    n = len(values)
    if n < 2 * LEAST or values.min() == values.max():
        return 0.0, 0
    scores = _scores(_ranks(values))
    t = _t_of_splits(scores[None, :])[0]
    best = int(t.argmax())
    split = best + LEAST
    return float(t[best]) * (_deflation(scores, split) if ar else 1.0) / _critical(n, alpha), split


def _ranks(values: Array) -> Array:
    """Return the rank of each value, from 1; equal values share their mean rank.

    `scipy.stats` has this, but takes 0.4 s to import.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (counts.cumsum() - (counts - 1) / 2)[places]
    return ranks


def _scores(ranks: Array) -> Array:
    # Hazen's plotting positions, which never reach 0 or 1, where the normal score is infinite.
    scores: Array = special.ndtri((ranks - 0.5) / len(ranks))
    return scores


def _t_of_splits(rows: Array) -> Array:
    """Return the two-sample |t| statistic of each possible split of each row, shape (rows, n - 2 LEAST + 1)."""
    n = rows.shape[1]
    left = np.arange(LEAST, n - LEAST + 1)
    right = n - left
    sums = rows.cumsum(axis=1)
    whole = sums[:, -1:]
    before = sums[:, left - 1]
    between = before / left - (whole - before) / right
    squares = (rows**2).sum(axis=1, keepdims=True) - before**2 / left - (whole - before) ** 2 / right
    variance = np.maximum(squares, _NO_NOISE) / (n - 2)
    t: Array = np.abs(between) / np.sqrt(variance * (1 / left + 1 / right))
    return t


@lru_cache(maxsize=4096)
def _critical(n: int, alpha: float) -> float:
    """Return the |t| that the best split of n values without a change exceeds with probability `alpha`."""
    # The seed depends only on n, so the same history always gives the same changes.
    generator = np.random.default_rng(n)
    rows = np.tile(_scores(np.arange(1.0, n + 1)), (_DRAWS, 1))
    highest = _t_of_splits(generator.permuted(rows, axis=1)).max(axis=1)
    return float(np.quantile(highest, 1 - alpha))


def _deflation(scores: Array, split: int) -> float:
    """Return the factor (at most 1) for |t| that allows for correlation between neighbouring values.

    split: the position at which the second of the two levels starts.
    """
    if len(scores) < _AR_LEAST:
        return 1.0
    rest = np.concatenate((scores[:split] - scores[:split].mean(), scores[split:] - scores[split:].mean()))
    squares = float((rest**2).sum())
    if squares < _NO_NOISE * len(rest):  # two levels without noise: the rest is rounding
        return 1.0
    r = float((rest[1:] * rest[:-1]).sum()) / squares
    return sqrt((1 - r) / (1 + r)) if r > _AR_ABOVE else 1.0


def _pruned(values: Array, changes: list[int], least: float) -> list[int]:
    """Return the changes without those whose medians differ by less than `least`.

    The smallest is removed first, because each removal makes the neighbouring levels longer. `changes` itself is
    modified.
    """
    while changes:
        medians = [float(np.median(part)) for part in np.split(values, changes)]
        steps = [abs(after - before) for before, after in pairwise(medians)]
        smallest = min(range(len(steps)), key=steps.__getitem__)
        if steps[smallest] >= least:
            break
        del changes[smallest]
    return changes


def _placed(values: Array, changes: list[int]) -> list[int]:
    """Return the changes, each moved by at most 5 values to where the absolute errors of both levels are smallest."""
    edges = [0, *changes, len(values)]
    for k in range(1, len(edges) - 1):
        start, end = edges[k - 1], edges[k + 1]
        near = range(max(edges[k] - _NEAR, start + LEAST), min(edges[k] + _NEAR, end - LEAST) + 1)
        edges[k] = min(near, key=lambda at: (_error(values[start:at]) + _error(values[at:end]), at))
    return edges[1:-1]


def _error(values: Array) -> float:
    return float(np.abs(values - np.median(values)).sum())
