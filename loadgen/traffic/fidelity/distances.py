"""Distances between two sets of counts or curves. Each is 0 for equal ones, and depends on the sizes of samples."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_excess", "js_bits", "ks", "nrmse", "relative", "rows_js", "weighted_ks"]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_LEAST_EDGE: Final = 0.01
_EDGE_ERROR: Final = 0.01
_STANDARD_ERRORS: Final = 3.5


def js_bits(a: Counts, b: Counts) -> float:
    """Return the divergence of Jensen and Shannon between the shares of two arrays of counts, 0 to 1 bit.

    Two samples of n from one distribution over k names differ by (k - 1) / (4 n ln 2) on average.
    It is 1 if only one of both has counts, and 0 if neither has.
    """
    totals = a.sum(), b.sum()
    if not all(totals):
        return float(any(totals))
    return float(_js(a / totals[0], b / totals[1]))


def rows_js(a: Counts, b: Counts) -> float:
    """Return the mean of `js_bits` over the rows of two matrices, weighted by the mean share of each row's visits."""
    visits = a.sum(1, keepdims=True), b.sum(1, keepdims=True)
    totals = visits[0].sum(), visits[1].sum()
    if not all(totals):
        return float(any(totals))
    shares = [one / np.maximum(rows, 1) for one, rows in zip((a, b), visits, strict=True)]
    both = ((visits[0] > 0) & (visits[1] > 0)).ravel()
    found = np.where(both, _js(shares[0], shares[1]), 1.0)
    weights = (visits[0] / totals[0] + visits[1] / totals[1]).ravel() / 2
    return float((found * weights).sum())


def _js(p: Floats, q: Floats) -> Floats:
    middle = (p + q) / 2

    def half(one: Floats) -> Floats:
        ratio = np.divide(one, middle, out=np.ones_like(middle), where=one > 0)
        bits: Floats = (one * np.log2(ratio)).sum(-1) / 2
        return bits

    found: Floats = np.maximum(half(p) + half(q), 0.0)
    return found


def edge_excess(a: Counts, b: Counts) -> float:
    """Return the largest difference between the shares of an edge in its row, divided by its bound.

    The bound is max(0.01, 3.5 sqrt(p (1 - p) / n)): p is the mean of both shares, n the smaller of both rows. An edge
    is compared if its share is above 1 % in a or in b, and if its row has visits in both.
    """
    rows = a.sum(1), b.sum(1)
    there = (rows[0] > 0) & (rows[1] > 0)
    if not there.any():
        return 0.0
    first, second = (one[there] / row[there, None] for one, row in zip((a, b), rows, strict=True))
    fewest = np.minimum(rows[0], rows[1])[there, None]
    p = (first + second) / 2
    allowed = np.maximum(_EDGE_ERROR, _STANDARD_ERRORS * np.sqrt(p * (1 - p) / fewest))
    counts = np.maximum(first, second) > _LEAST_EDGE
    return float((np.abs(first - second) / allowed)[counts].max(initial=0.0))


def ks(a: Counts, b: Counts) -> float:
    """Return the largest difference between two distributions that are counted in the same bins (Kolmogorov, Smirnov).

    It is 1 if only one of both has counts, and 0 if neither has.
    """
    totals = a.sum(), b.sum()
    if not all(totals):
        return float(any(totals))
    size = max(len(a), len(b))
    below = [np.cumsum(np.pad(one, (0, size - len(one)))) / total for one, total in zip((a, b), totals, strict=True)]
    return float(np.abs(below[0] - below[1]).max())


def weighted_ks(a: Counts, b: Counts) -> float | None:
    """Return the mean of `ks` over the rows of two matrices, weighted by the counts of b's rows.

    Rows that one of both lacks are left out; None if no row is left.
    """
    rows = a.sum(1), b.sum(1)
    there = (rows[0] > 0) & (rows[1] > 0)
    if not there.any():
        return None
    below = [np.cumsum(one[there], 1) / row[there, None] for one, row in zip((a, b), rows, strict=True)]
    found = np.abs(below[0] - below[1]).max(1)
    return float((found * rows[1][there]).sum() / rows[1][there].sum())


def nrmse(a: Floats, b: Floats) -> float:
    """Return the root of the mean squared difference of two curves, divided by the mean of b. b has a mean above 0."""
    return float(np.sqrt(((a - b) ** 2).mean()) / b.mean())


def relative(a: float, b: float) -> float:
    """Return |a - b| as a share of b; 0 if both are 0, and 1 if only b is."""
    if not b:
        return float(bool(a))
    return abs(a - b) / abs(b)
