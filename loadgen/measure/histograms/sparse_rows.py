"""Histogram counts of many series as they come from agents: the slots in use, and their counts.

A row is one series of one delta. A slot is stored as its distance from the one before, in 2 bytes, and most counts take
one byte. So the pairs of 60 deltas fit the cache of one core until they are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen.measure.histograms.histogram import SLOTS, Counts

__all__ = ["SparseRows", "index_of", "pairs_of", "rows_of"]


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Rows of (slot, count) pairs. Every row has at least one pair, and its slots grow."""

    gaps: np.ndarray
    """(n_pairs,) u16: the first slot of a row, then the distance of each slot from the one before it."""
    counts: np.ndarray
    """(n_pairs,) of an unsigned type of at most 4 bytes."""
    starts: Counts
    """(n_rows,) int64: the position of the first pair of each row."""
    lasts: Counts
    """(n_rows,) int64: the last slot of each row."""


def rows_of(index: Counts, counts: Counts, starts: Counts, series: Counts) -> SparseRows:
    """Return pairs with an index (series * SLOTS + slot, growing) as rows.

    starts, series: (n_rows,) int64. counts: values below 2^32.
    """
    if not len(index):
        return SparseRows(index.astype(np.uint16), counts.astype(np.uint32), starts, starts)
    gaps = np.diff(index, prepend=0)
    gaps[starts] = index[starts] - series * SLOTS
    lasts = index[np.append(starts[1:], len(index)) - 1] - series * SLOTS
    return SparseRows(gaps.astype(np.uint16), counts.astype(np.uint32), starts, lasts)


def index_of(rows: SparseRows, firsts: Counts) -> Counts:
    """HOT: return for each pair its slot plus the element of `firsts` for its row, as (n_pairs,) int64.

    firsts: (n_rows,) int64.
    """
    index = rows.gaps.astype(np.int64)
    if len(index):
        # One running sum over all rows: it also jumps from the last slot of a row to the first slot of the next one.
        jumps = firsts.copy()
        jumps[1:] -= (firsts + rows.lasts)[:-1]
        index[rows.starts] += jumps
    return index.cumsum(out=index)


def pairs_of(rows: SparseRows, series: Counts) -> tuple[Counts, Counts]:
    """Return (index, counts) of all pairs in the form of `Store.add`. The counts are integers of 4 bytes.

    series: the number of the series of each row.
    """
    counts: np.ndarray = rows.counts.astype(np.uint32)
    return index_of(rows, series * SLOTS), counts
