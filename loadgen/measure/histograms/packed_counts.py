"""The histograms of one delta as four byte strings, the form in which they travel since protocol 1.13.

The controller concatenates the strings of many deltas and reads each as one numpy array, so no series costs an object.
A slot is stored as its distance from the one before it, in 2 bytes, and most counts take one byte. So a delta has half
the bytes of the index (series * SLOTS + slot) that other readers use, and compresses to less than half. The reasons for
this form are in docs/decisions/159-packed-deltas-and-one-pass.md.

All numbers are little endian. The pairs of a series follow each other in the order of their slots, and series follow
each other in the order of their ids.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from loadgen.measure.histograms.histogram import SLOTS

__all__ = ["COLUMNS", "EMPTY", "ROW_BYTES", "PackedCounts", "form_fault", "pack", "unpack"]

COLUMNS: Final = 5
"""Columns of `rows`: the fields of `SeriesStats`, in their order."""
ROW_BYTES: Final = 8 * COLUMNS
_MOST_SERIES: Final = (1 << 32) // SLOTS
"""Ids from here on do not fit into the index of 4 bytes."""
_WIDTHS: Final = (1, 2, 4)


class PackedCounts(NamedTuple):
    """The pairs (slot, count) and the statistics of the series that have values in one interval."""

    rows: bytes
    """i64 of shape (n_series, 5): series id, number of values, sum, least and greatest value in ns."""
    pairs: bytes
    """u16 of shape (n_series,): number of pairs of each series."""
    gaps: bytes
    """u16 of shape (n_pairs,): the first slot of a series, then the distance of each slot from the one before it."""
    counts: bytes
    """Shape (n_pairs,): u8, u16 or u32, the smallest type that holds all of them; never 0."""

    @property
    def count_bytes(self) -> int:
        """Return the size of one element of `counts`: 1, 2 or 4 bytes."""
        return 2 * len(self.counts) // len(self.gaps) if self.gaps else 1


EMPTY: Final = PackedCounts(b"", b"", b"", b"")


def form_fault(packed: PackedCounts) -> str:
    """HOT, once a delta. Return why the lengths of the four strings contradict each other; empty if they do not.

    The numbers in them are not checked here.
    """
    rows, pairs, gaps, counts = packed
    n_series, n_pairs = len(pairs) // 2, len(gaps) // 2
    if (
        len(rows) == ROW_BYTES * n_series
        and len(pairs) == 2 * n_series
        and len(gaps) == 2 * n_pairs
        and len(counts) in (n_pairs, 2 * n_pairs, 4 * n_pairs)
    ):
        return ""
    return f"{len(rows)} bytes of rows, {len(pairs)} of pairs, {len(gaps)} of gaps and {len(counts)} of counts"


def pack(index: bytes, count: bytes, columns: Sequence[Sequence[int]]) -> PackedCounts | None:
    """Return histograms in the packed form; None if they contradict themselves, so that this form cannot hold them.

    index, count: as in `Delta`. columns: those of its `StatsColumns`. Cost: 30 µs for 46 series with 2,000 pairs.
    """
    if len(index) != len(count) or len(index) % 4:
        return None
    try:
        table = np.array(columns, dtype="<i8").reshape(COLUMNS, -1)
    except (OverflowError, ValueError):
        return None
    at, counts, series = np.frombuffer(index, dtype="<u4").astype(np.int64), np.frombuffer(count, dtype="<u4"), table[0]
    if not len(at) and not len(series):
        return EMPTY
    if not len(at) or not len(series) or series[0] < 0 or series[-1] >= _MOST_SERIES or not counts.all():
        return None
    gaps = np.diff(at, prepend=-1)
    if (gaps <= 0).any() or (series[1:] <= series[:-1]).any():
        return None
    starts = at.searchsorted(series * SLOTS)
    pairs = np.diff(starts, append=len(at))
    if starts[0] or not pairs.all() or (at[starts + pairs - 1] >= (series + 1) * SLOTS).any():
        return None
    gaps[starts] = at[starts] - series * SLOTS
    most = int(counts.max())
    width = next(width for width in _WIDTHS if most < 1 << (8 * width))
    return PackedCounts(
        table.T.tobytes(),
        pairs.astype("<u2").tobytes(),
        gaps.astype("<u2").tobytes(),
        counts.astype(f"<u{width}").tobytes(),
    )


def unpack(packed: PackedCounts) -> tuple[bytes, bytes, tuple[array[int], ...]]:
    """Return (index, count, columns) of the packed form: index and count as in `Delta`, columns for a `StatsColumns`.

    The three results may contradict each other: a slot beyond the last one gets the index of the next series, and an id
    that is too large gets the index of the largest one. Cost: 25 µs for 46 series with 2,000 pairs.

    Raises:
        ValueError: the numbers of pairs do not add up to the length of `gaps`.
    """
    table = np.frombuffer(packed.rows, dtype="<i8").reshape(-1, COLUMNS).T
    pairs = np.frombuffer(packed.pairs, dtype="<u2").astype(np.int64)
    gaps = np.frombuffer(packed.gaps, dtype="<u2").astype(np.int64)
    if pairs.sum() != len(gaps):
        raise ValueError(f"its series have {pairs.sum()} pairs, and there are {len(gaps)}")
    upto, starts = gaps.cumsum(), pairs.cumsum() - pairs
    has_pairs = pairs > 0
    before = np.zeros(len(pairs), dtype=np.int64)
    before[has_pairs] = (upto - gaps)[starts[has_pairs]]
    series = np.clip(table[0], 0, _MOST_SERIES - 1)
    index = (upto + np.repeat(series * SLOTS - before, pairs)).astype("<u4")
    counts = np.frombuffer(packed.counts, dtype=f"<u{packed.count_bytes}")
    columns = tuple(array("q", column.astype(np.int64).tobytes()) for column in table)
    return index.tobytes(), counts.astype("<u4").tobytes(), columns
