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
assumes independence finds changes in that. `ar=True` allows for it: |t| is multiplied by
the factor by which a lag-1 correlation r makes such a split look clearer than it is
(`_deflation`). r is estimated around the two levels of the split and drawn towards 0.2, as
if 30 more values had that correlation. There is no threshold, because 100 values with a
correlation of 0.4 often show less than 0.3. Steps are then found some runs later.

Rounded values make steps of their own: between 33 and 34 ms there are 3 %. If the series
is rounded (`rounding.py`), levels are measured by the mean of their middle half instead of
the median, and a change must exceed `min_effect` by half a unit. Rounding moves such a mean
by half a unit at most, and it rarely moves both of them, in opposite directions.

`tools/how_often_wrong/change_points.py` simulates how often a history without a
change is split, and how often a step is found.

The newest two values never form a level of their own: the gate judges them (`gate.py`).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import exp, inf, log1p, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.rounding import middle_mean, rounding_share
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
_AR_PRIOR: Final = 0.2
"""The correlation of neighbours that is assumed without data. Successive runs on one VM have 0.4 to 0.65, runs on a new
VM each time almost none."""
_AR_WEIGHT: Final = 30.0
"""The number of values that the prior counts as. Without a prior there are more false alarms. With a higher one, or a
larger weight, fewer steps are found: 67 instead of 71 % (rho 0.4, noise 2 %, +5 %, ten runs) with a prior of 0.3."""
_AR_MOST: Final = 0.9
"""The largest correlation, because the factor goes to 0 as it approaches 1."""
_NO_NOISE: Final = 1e-12


def scan(values: npt.ArrayLike, *, alpha: float = 0.01, min_effect: float = 0.03, ar: bool = False) -> tuple[int, ...]:
    """Find the changes of level in a series: return the index of the first value of each new level, in rising order.

    Args:
        values: shape (runs,), natural logarithms of one figure of each run, oldest first. A list, an array or a pandas
            Series; indices are positions, and a Series' own index is ignored.
        alpha: the probability that a segment without a change is split.
        min_effect: relative; smaller changes of the median are ignored. Half a unit is added to it for rounded values.
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

    Subtracting a mean reduces the measured correlation by (1 + 3 r) / n, which is corrected first. Two means reduce it
    by more; the prior stands for the rest.

    split: the position at which the second of the two levels starts.
    Source: F. Marriott, J. Pope, Biometrika 41, 1954, for the correction of r.
    """
    rest = np.concatenate((scores[:split] - scores[:split].mean(), scores[split:] - scores[split:].mean()))
    squares = float((rest**2).sum())
    n = len(rest)
    if squares < _NO_NOISE * n:  # two levels without noise: the rest is rounding
        return 1.0
    seen = float((rest[1:] * rest[:-1]).sum()) / squares
    r = (n * seen + 1 + 3 * seen + _AR_WEIGHT * _AR_PRIOR) / (n + _AR_WEIGHT)
    return _deflation_of(split, n - split, min(max(r, 0.0), _AR_MOST))


def _deflation_of(left: int, right: int, r: float) -> float:
    """Return the standard error of the difference of two means of independent values, over that of an AR(1) process.

    Both errors are those that the t statistic uses or should use, so the factor contains that the correlation also
    makes the deviation within the levels look smaller. For long levels it is sqrt((1 - r) / (1 + r)), and more for
    short ones.

    left, right: the numbers of values. r: the correlation of neighbours, 0 to below 1.
    """
    sums = [m * (1 + r) / (1 - r) - 2 * r * (1 - r**m) / (1 - r) ** 2 for m in (left, right)]
    together = r * (1 - r**left) * (1 - r**right) / (1 - r) ** 2
    variance = sums[0] / left**2 + sums[1] / right**2 - 2 * together / (left * right)
    within = (left - sums[0] / left + right - sums[1] / right) / (left + right - 2)
    return sqrt((1 / left + 1 / right) * within / variance)


def _pruned(values: Array, changes: list[int], least: float) -> list[int]:
    """Return the changes without those whose levels differ by less than `least`, or by rounding only.

    The smallest is removed first, because each removal makes the neighbouring levels longer. `changes` itself is
    modified.
    """
    if not changes:
        return []
    unit = rounding_share(values)
    height = middle_mean if unit else _median
    middle = _median(values)
    while changes:
        heights = [height(part) for part in np.split(values, changes)]
        steps = [
            # The unit is the same number of ms everywhere, so it is a larger share of a lower level.
            abs(after - before) - log1p(unit * exp(middle - min(before, after))) / 2
            for before, after in pairwise(heights)
        ]
        smallest = min(range(len(steps)), key=steps.__getitem__)
        if steps[smallest] >= least:
            break
        del changes[smallest]
    return changes


def _median(values: Array) -> float:
    return float(np.median(values))


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
