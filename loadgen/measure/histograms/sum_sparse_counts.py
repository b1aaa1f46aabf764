"""Adds up (index, count) pairs from many sources without a Store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from loadgen.measure.histograms.histogram import Counts

__all__ = ["sum_pairs"]

_PAGE_BITS: Final = 7
_AT_ONCE: Final = 40_000


def sum_pairs(indices: Sequence[Counts], all_counts: Sequence[Counts]) -> tuple[Counts, Counts]:
    """Return the sum of many lists of (index, count) pairs as (indices, counts), sorted and without repeats.

    indices, all_counts: for each source, an array of indices and one of their counts. Nothing is sorted in the process:
    pages of 128 indices that are in use get numbers, and counts are added into them.
    """
    greatest = max((int(index.max()) for index in indices if len(index)), default=-1)
    is_used = np.zeros((greatest >> _PAGE_BITS) + 1, dtype=bool)
    for index in indices:
        is_used[index >> _PAGE_BITS] = True
    used = np.flatnonzero(is_used)
    place = np.cumsum(is_used) - 1
    sums = np.zeros(len(used) << _PAGE_BITS, dtype=np.int64)
    for index, counts in _portions(indices, all_counts):
        flat = (place[index >> _PAGE_BITS] << _PAGE_BITS) | (index & ((1 << _PAGE_BITS) - 1))
        np.add.at(sums, flat, counts)
    at = np.flatnonzero(sums)
    return (used[at >> _PAGE_BITS] << _PAGE_BITS) | (at & ((1 << _PAGE_BITS) - 1)), sums[at]


def _portions(indices: Sequence[Counts], all_counts: Sequence[Counts]) -> Iterator[tuple[Counts, Counts]]:
    """Yield all pairs as (indices, counts), concatenated into portions that fit the processor's cache."""
    first = waiting = 0
    for last, index in enumerate(indices, 1):
        waiting += len(index)
        if waiting > _AT_ONCE or last == len(indices):
            yield np.concatenate(indices[first:last]), np.concatenate(all_counts[first:last])
            first, waiting = last, 0
