"""Counts of many series: one numpy addition for a whole delta.

A dense HdrHistogram takes 188 kB, so 10 regions of 300 series would take 565 MB. Counts are
therefore stored in pages of 128 slots in one growing array, and a table maps each series and range
of slots to its page. Most series use a dozen pages. Pairs are added some 40,000 at a time, which
costs 2 ns each. One store is added to another page by page.

A store of few series can be made dense: every page has its place from the start, so no pair needs a look into
the table. The system provides memory only for the pages that are written to. Its counts have 2 bytes until a
series has more than 65,535 values, because half the memory is twice as often in the cache.

In this module series are numbers; `measure/merging/merge.py` maps them to names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

import msgspec
import numpy as np

from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Counts, Histogram
from loadgen.measure.histograms.sparse_rows import SparseRows, index_of

__all__ = ["DENSE_SERIES", "Stats", "Store", "StoreState", "joined"]

_PAGE_BITS: Final = 7
"""A slot's number without these last bits is the number of its page within the histogram."""
_PAGE_SLOTS: Final = 1 << _PAGE_BITS
"""Histogram slots of a page."""
_MOST_WAITING_PAIRS: Final = 40_000
"""Pairs of slot and count that may wait to be added: as many as fit the processor's cache. A delta of 2,250 pairs,
added to two stores, costs 55 µs by itself, 30 µs in portions of this size, and 84 µs in portions of 200,000.
"""
_PAGES_AT_ONCE: Final = 512
"""Pages of another store that are added at once: as many as fit the cache."""
_PAGES_OF_SERIES: Final = SLOTS // _PAGE_SLOTS
"""Pages of a series with all slots, and columns of the table: exactly 184."""
DENSE_SERIES: Final = 640
"""Most series of a dense store: 60 MB of addresses. The system provides memory for those that are written to."""
_MOST_VALUES_IN_2_BYTES: Final = (1 << 16) - 1
"""A dense store keeps its counts in 2 bytes while no series has more values: all of them may be in one slot."""
_BLOCK_BYTES: Final = 4_096
"""The system provides memory in blocks of this size."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Exact statistics of the series of a delta, as arrays of shape (n_series,) int64.

    In one delta `series` has no repeats. Statistics of several deltas together have a series once for each
    delta that has it.

    The sum has two parts, whole µs and the ns left over: as one int64 of ns it would overflow at 1e10 values of 1 s.
    """

    series: Counts
    n: Counts
    sum_us: Counts
    sum_rest_ns: Counts
    min_ns: Counts
    max_ns: Counts


class StoreState(msgspec.Struct, frozen=True, array_like=True):
    """The contents of a Store as bytes: its counts other than 0 with the distances of their slots, and its columns."""

    series: int
    distance_type: str
    """The smallest numpy type that holds every distance, such as "|u1"."""
    distances: bytes
    """From each slot to the next one that has a count; the first distance is from slot 0 of series 0."""
    count_type: str
    counts: bytes
    columns: list[bytes]


class Store:
    """Counts, sums, least and greatest values by series number."""

    __slots__ = (
        "_dtype", "_first_new_page", "_has_new_pages", "_is_dense", "_last_new_page", "_max_ns", "_min_ns",
        "_n", "_pages", "_sum_rest_ns", "_sum_us", "_table", "_used", "_waiting_pairs",
        "_waiting_parts", "_waiting_rows"
    )  # fmt: skip

    def __init__(
        self, dtype: type[np.int64] | type[np.uint32] = np.int64, pages: int = 0, *, is_dense: bool = False
    ) -> None:
        """Create an empty store.

        Args:
            dtype: integer type of a count; 4 bytes are enough for one interval.
            pages: expected number of pages (blocks of 128 histogram slots); growing later costs as much as adding.
            is_dense: every page has a fixed place as long as there are at most 640 series.
        """
        self._waiting_parts: list[tuple[Counts, Counts, Stats]] = []
        """The arguments of `add` that are not in the arrays yet. Adding many together costs a fraction."""
        self._waiting_rows: list[tuple[SparseRows, Stats]] = []
        """The arguments of `add_rows` that are not in the arrays yet."""
        self._waiting_pairs = 0
        """Number of pairs in `_waiting_parts` and `_waiting_rows`."""
        self._is_dense = is_dense
        """Whether a page has the number 1 + its position in the table."""
        self._dtype = dtype
        self._pages: np.ndarray = (
            np.zeros((1, _PAGE_SLOTS), dtype=np.uint16)
            if is_dense
            else np.zeros((max(16, pages + 1), _PAGE_SLOTS), dtype=dtype)
        )
        self._used = 1
        """Pages in use, including page 0, which stands for "no page" and stays empty. Not updated in a dense store."""
        self._table = np.zeros((0, _PAGES_OF_SERIES), dtype=np.int32)
        """Shape (n_series, 184): the place in `_pages` of each page of each series, or 0. Rows of series without values
        take no memory, because the system provides zeroed memory only when it is written to.
        """
        self._n: Counts = np.zeros(0, dtype=np.int64)
        self._sum_us: Counts = np.zeros(0, dtype=np.int64)
        self._sum_rest_ns: Counts = np.zeros(0, dtype=np.int64)
        self._min_ns: Counts = np.zeros(0, dtype=np.int64)
        self._max_ns: Counts = np.zeros(0, dtype=np.int64)
        self._first_new_page: Counts = np.zeros(0, dtype=np.int64)
        """Only in a dense store, whose new pages are entered into the table when the store is read. By series: the
        number (0 to 183) of the first page whose counts may be missing in the table; 184 if there is none.
        """
        self._last_new_page: Counts = np.zeros(0, dtype=np.int64)
        """By series: the number of the last such page; -1 if there is none."""
        self._has_new_pages = False
        """Whether any series has such pages."""

    @property
    def pages(self) -> int:
        """Return the number of pages in use. A page holds 128 neighbouring histogram slots of one series."""
        self._settle()
        return int(np.count_nonzero(self._table)) if self._is_dense else self._used - 1

    @property
    def size_bytes(self) -> int:
        """Return the approximate memory use of the store in bytes."""
        self._settle()
        filled = int(np.count_nonzero(self._n))
        if self._is_dense:
            # A series begins and ends within a block.
            pages_bytes = self.pages * _PAGE_SLOTS * self._pages.itemsize + 2 * _BLOCK_BYTES * filled
        else:
            pages_bytes = self._pages.nbytes
        return pages_bytes + 4 * _PAGES_OF_SERIES * filled + 5 * self._n.nbytes

    def add(self, index: Counts, counts: Counts, stats: Stats) -> None:
        """HOT, once a delta: add histogram counts and statistics of several series.

        The caller must not change the arrays afterwards, because they are added to the store later, many together.

        Args:
            index: (n_pairs,) series number * SLOTS + histogram slot.
            counts: (n_pairs,) counts to add, one for each element of `index`.
            stats: number of values, sum, least and greatest value of each series.
        """
        if not len(index):
            return
        self._waiting_parts.append((index, counts, stats))
        self._waiting_pairs += len(index)
        if self._waiting_pairs > _MOST_WAITING_PAIRS:
            self._add_waiting()

    def add_rows(self, rows: SparseRows, stats: Stats) -> None:
        """HOT, once for some deltas: add the rows of several series, as in `add`.

        stats: of each row; its `series` are the numbers of the rows' series.
        """
        if not len(rows.gaps):
            return
        self._waiting_rows.append((rows, stats))
        self._waiting_pairs += len(rows.gaps)
        if self._waiting_pairs > _MOST_WAITING_PAIRS:
            self._add_waiting()

    def _settle(self) -> None:
        """Bring all arrays up to date: each reader calls this first."""
        if self._waiting_pairs:
            self._add_waiting()
        if self._has_new_pages:
            self._enter_new_pages()

    def _enter_new_pages(self) -> None:
        """Enter new pages into the table of a dense store. Some pages between the first and the last may be empty."""
        self._has_new_pages = False
        changed, at = np.flatnonzero(self._last_new_page >= 0), np.arange(_PAGES_OF_SERIES)
        is_used = (at >= self._first_new_page[changed, None]) & (at <= self._last_new_page[changed, None])
        self._table[changed] = np.where(
            is_used | (self._table[changed] > 0), changed[:, None] * _PAGES_OF_SERIES + at + 1, 0
        )
        self._first_new_page[changed], self._last_new_page[changed] = _PAGES_OF_SERIES, -1

    def _add_waiting(self) -> None:
        """Add everything that was passed to `add` and `add_rows` and is still waiting to the counts."""
        given, rows = self._waiting_parts, self._waiting_rows
        self._waiting_parts, self._waiting_rows, self._waiting_pairs = [], [], 0
        stats = _joined([*(one[2] for one in given), *(one[1] for one in rows)])
        series = stats.series
        self._grow_series(int(series.max()) + 1)
        np.add.at(self._n, series, stats.n)
        self._widen_if_needed()
        if given:
            self._add_pairs(_concatenated([one[0] for one in given]), _concatenated([one[1] for one in given]))
        for some, their_stats in rows:
            if self._is_dense:
                self._add_dense(some, their_stats.series)
            else:
                self._add_pairs(index_of(some, their_stats.series * SLOTS), some.counts)
        np.add.at(self._sum_us, series, stats.sum_us)
        np.add.at(self._sum_rest_ns, series, stats.sum_rest_ns)
        np.minimum.at(self._min_ns, series, stats.min_ns)
        np.maximum.at(self._max_ns, series, stats.max_ns)

    def _add_dense(self, rows: SparseRows, series: Counts) -> None:
        """Add rows to a dense store. Cost: about 3 ns a pair, and as much again for memory outside of the cache."""
        # `add.at` and not `+=`: several deltas may have counts for the same place.
        at = index_of(rows, series * SLOTS + _PAGE_SLOTS)
        np.add.at(self._pages.reshape(-1), at, rows.counts.astype(self._pages.dtype, copy=False))
        np.minimum.at(self._first_new_page, series, rows.gaps[rows.starts].astype(np.int64) >> _PAGE_BITS)
        np.maximum.at(self._last_new_page, series, rows.lasts >> _PAGE_BITS)
        self._has_new_pages = True

    def _add_pairs(self, index: Counts, counts: Counts) -> None:
        """Add counts to those of `index`, series number * SLOTS + slot. Cost: about 7 ns a pair."""
        positions = index >> _PAGE_BITS
        table = self._table.reshape(-1)
        pages = table.take(positions)
        if not pages.all():
            is_new = np.zeros(len(table), dtype=np.bool_)  # np.unique takes ten times as long
            is_new[positions[pages == 0]] = True
            self._allocate(np.flatnonzero(is_new))
            pages = table.take(positions)
        # at = page * 128 + index % 128, computed in place so that the array stays in the cache.
        at = pages - positions
        at <<= _PAGE_BITS
        at += index
        np.add.at(self._pages.reshape(-1), at, counts.astype(self._pages.dtype, copy=False))

    @property
    def total(self) -> int:
        """Return the number of values of all series together."""
        self._settle()
        return int(self._n.sum())

    def count(self, numbers: Iterable[int]) -> int:
        """Return the number of values of the series with these numbers together, without building their histograms."""
        self._settle()
        known = len(self._n)
        return sum(int(self._n[number]) for number in numbers if number < known)

    def histogram(self, numbers: Iterable[int]) -> Histogram:
        """Return one histogram with the values of all series with these numbers. Cost: about 5 µs for each series."""
        made = Histogram()
        self.add_to(made, numbers)
        return made

    def add_to(self, made: Histogram, numbers: Iterable[int]) -> None:
        """Add the values of all series with these numbers to the histogram `made`."""
        self._settle()
        filled = [number for number in numbers if number < len(self._n) and self._n[number]]
        if not filled:
            return
        for begin in range(0, len(filled), _PAGES_AT_ONCE):
            tables = self._table[filled[begin : begin + _PAGES_AT_ONCE]]
            columns = np.flatnonzero(tables.any(axis=0))
            first, last = int(columns[0]), int(columns[-1])
            dense = np.zeros((last - first + 1, _PAGE_SLOTS), dtype=np.int64)
            for table in tables:
                own = np.flatnonzero(table)
                dense[own - first] += self._pages[table[own]]
            made.add_dense(first * _PAGE_SLOTS, dense.reshape(-1))
        sum_ns = int(self._sum_us[filled].sum()) * 1_000 + int(self._sum_rest_ns[filled].sum())
        made.note(sum_ns, int(self._min_ns[filled].min()), int(self._max_ns[filled].max()))

    def add_store(self, other: Store) -> None:
        """Add all counts and statistics of another store to this one. The other store is not changed.

        Its counts may have another integer type. Cost: about 0.4 µs a page.
        """
        other._settle()
        self._settle()
        size = other._size()
        if not size:
            return
        self._grow_series(size)
        self._n[:size] += other._n[:size]
        self._widen_if_needed()
        theirs = other._table[:size].reshape(-1)
        positions = np.flatnonzero(theirs)
        for first in range(0, len(positions), _PAGES_AT_ONCE):
            some = positions[first : first + _PAGES_AT_ONCE]
            pages = other._pages[theirs[some]]
            if other._is_dense and not (has_counts := pages.any(axis=1)).all():
                some, pages = some[has_counts], pages[has_counts]
            if len(new := some[self._table.reshape(-1)[some] == 0]):
                self._allocate(new)
            self._pages[self._table.reshape(-1)[some]] += pages.astype(self._pages.dtype, copy=False)
        self._sum_us[:size] += other._sum_us[:size]
        self._sum_rest_ns[:size] += other._sum_rest_ns[:size]
        np.minimum(self._min_ns[:size], other._min_ns[:size], out=self._min_ns[:size])
        np.maximum(self._max_ns[:size], other._max_ns[:size], out=self._max_ns[:size])

    def sparse(self) -> tuple[Counts, Counts, Stats]:
        """Return all values of the store as (index, counts, statistics) in the form of `add`; the index ascends.

        Cost: about 1 ns for each slot of a page in use.
        """
        self._settle()
        table = self._table.reshape(-1)
        used = np.flatnonzero(table)
        pages = self._pages[table[used]].reshape(-1)
        at = np.flatnonzero(pages != 0)  # numpy finds bools in a third of the time
        series = np.flatnonzero(self._n)
        columns = (self._n, self._sum_us, self._sum_rest_ns, self._min_ns, self._max_ns)
        stats = Stats(series, *(array[series] for array in columns))
        return (used[at >> _PAGE_BITS] << _PAGE_BITS) | (at & (_PAGE_SLOTS - 1)), pages[at].astype(np.int64), stats

    def state(self) -> StoreState:
        """Return the contents of the store as bytes for a checkpoint. Only a store of the same dtype can load them.

        Equal counts give equal bytes, in whatever order they were added. Most slots of a page are 0, so this is a tenth
        of the pages' size.
        """
        index, counts, _ = self.sparse()
        size = self._size()
        columns = [self._n, self._sum_us, self._sum_rest_ns, self._min_ns, self._max_ns]
        return StoreState(
            size,
            *_narrowed(np.diff(index, prepend=0)),
            *_narrowed(counts),
            [column[:size].tobytes() for column in columns],
        )

    def take_state(self, state: StoreState) -> None:
        """Replace the contents of the store with those that `state()` returned."""
        self._waiting_parts, self._waiting_rows, self._waiting_pairs, self._is_dense = [], [], 0, False
        self._has_new_pages = False
        index = np.frombuffer(state.distances, dtype=state.distance_type).cumsum(dtype=np.int64)
        pages = index >> _PAGE_BITS
        is_first = np.diff(pages, prepend=-1) > 0
        used = pages[is_first]
        self._used = len(used) + 1
        self._pages = np.zeros((self._used, _PAGE_SLOTS), dtype=self._dtype)
        counts = np.frombuffer(state.counts, dtype=state.count_type)
        self._pages[np.cumsum(is_first), index & (_PAGE_SLOTS - 1)] = counts
        self._table = np.zeros((state.series, _PAGES_OF_SERIES), dtype=np.int32)
        self._table.reshape(-1)[used] = np.arange(1, self._used, dtype=np.int32)
        # An array over bytes would be read-only, hence the copies.
        self._n, self._sum_us, self._sum_rest_ns, self._min_ns, self._max_ns = (
            np.frombuffer(bytearray(column), dtype=np.int64) for column in state.columns
        )

    def clear(self) -> None:
        """Remove all values but keep the memory for reuse: fresh memory costs twice as much as zeroing the old."""
        self._waiting_parts, self._waiting_rows, self._waiting_pairs = [], [], 0
        filled = np.flatnonzero(self._n)
        if self._is_dense:
            self._enter_new_pages()
            tables = self._table[filled]
            self._pages[tables[tables > 0]] = 0
        else:
            self._pages[: self._used] = 0
            self._used = 1
        self._table[filled] = 0
        self._min_ns[:] = MAX_NS
        for array in (self._n, self._sum_us, self._sum_rest_ns, self._max_ns):
            array[:] = 0

    def _size(self) -> int:
        """Return 1 + the highest number of a series that has values; 0 for an empty store."""
        filled = np.flatnonzero(self._n)
        return int(filled[-1]) + 1 if len(filled) else 0

    def _allocate(self, positions: Counts) -> None:
        """Give a page to each of these positions of the flat table, series * 184 + page number; they must have none."""
        if self._is_dense:
            self._table.reshape(-1)[positions] = positions + 1
            return
        needed = self._used + len(positions)
        if needed > len(self._pages):
            grown = np.zeros((max(needed, len(self._pages) * 3 // 2), _PAGE_SLOTS), dtype=self._pages.dtype)
            grown[: self._used] = self._pages[: self._used]
            self._pages = grown
        self._table.reshape(-1)[positions] = np.arange(self._used, needed, dtype=np.int32)
        self._used = needed

    def _grow_series(self, needed: int) -> None:
        """Make room for the series with the numbers 0 to `needed` - 1."""
        known = len(self._n)
        if needed <= known:
            return
        size = max(needed, known * 3 // 2, 16)
        if self._is_dense:
            self._enter_new_pages()
            if needed > DENSE_SERIES:
                self._make_sparse()
            else:
                size = min(size, DENSE_SERIES)
                self._pages = _dense_pages(self._pages, self._table, size, self._pages.dtype)
                self._first_new_page, self._last_new_page = (
                    _grown(self._first_new_page, size, fill=_PAGES_OF_SERIES),
                    _grown(self._last_new_page, size, fill=-1),
                )
        table = np.zeros((size, _PAGES_OF_SERIES), dtype=np.int32)
        filled = np.flatnonzero(self._n)
        # Only rows with values are copied: writing zeros would take memory for all the others.
        table[filled] = self._table[filled]
        self._table = table
        self._n = _grown(self._n, size)
        self._sum_us = _grown(self._sum_us, size)
        self._sum_rest_ns = _grown(self._sum_rest_ns, size)
        self._min_ns = _grown(self._min_ns, size, fill=MAX_NS)
        self._max_ns = _grown(self._max_ns, size)

    def _widen_if_needed(self) -> None:
        """Give the counts of a dense store their full size if a series has too many values for 2 bytes."""
        if self._pages.itemsize == 2 and len(self._n) and int(self._n.max()) > _MOST_VALUES_IN_2_BYTES:
            self._enter_new_pages()
            self._pages = _dense_pages(self._pages, self._table, len(self._table), np.dtype(self._dtype))

    def _make_sparse(self) -> None:
        """Turn a dense store into one that numbers its pages as it needs them."""
        used, pages = self._used_pages(len(self._table))
        self._pages = pages.astype(self._dtype, copy=False)
        self._table[:] = 0
        self._table.reshape(-1)[used] = np.arange(1, len(used) + 1, dtype=np.int32)
        self._used, self._is_dense = len(used) + 1, False

    def _used_pages(self, series: int) -> tuple[Counts, np.ndarray]:
        """Return the positions of the first `series` series in the table that have counts, and a copy of their pages.

        The copy has the empty page 0 before them.
        """
        table = self._table[:series].reshape(-1)
        used = np.flatnonzero(table)
        pages = self._pages[np.concatenate(([0], table[used]))]
        if self._is_dense:
            has_counts = np.asarray(pages.any(axis=1))
            used = used[has_counts[1:]]
            has_counts[0] = True
            pages = pages[has_counts]
        return used, pages


def joined(stores: Sequence[Store], dtype: type[np.int64] | type[np.uint32] = np.int64) -> Store:
    """Return one store with the sum of all `stores`, with counts of type `dtype`.

    If there is only one, that store itself is returned, so the caller must not change the result.
    """
    if len(stores) == 1:
        return stores[0]
    whole = Store(dtype)
    for store in stores:
        whole.add_store(store)
    return whole


def _narrowed(values: Counts) -> tuple[str, bytes]:
    """Return the smallest type that holds all of `values`, which are at least 0, and their bytes in it."""
    dtype = np.min_scalar_type(int(values.max(initial=0)))
    return dtype.str, values.astype(dtype).tobytes()


def _grown(old: Counts, size: int, fill: int = 0) -> Counts:
    grown = np.full(size, fill, dtype=np.int64)
    grown[: len(old)] = old
    return grown


def _dense_pages(old: np.ndarray, table: np.ndarray, series: int, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Return the pages of a dense store with places for `series` series. Only pages in the table are copied."""
    # numpy would use huge pages, and the system would then provide all of the memory at the first write.
    memory = mmap(-1, (series * _PAGES_OF_SERIES + 1) * _PAGE_SLOTS * dtype.itemsize, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    made: np.ndarray = np.frombuffer(memory, dtype=dtype).reshape(-1, _PAGE_SLOTS)
    used = table[table > 0]
    made[used] = old[used]
    return made


def _concatenated(arrays: Sequence[Counts]) -> Counts:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _joined(all_stats: Sequence[Stats]) -> Stats:
    if len(all_stats) == 1:
        return all_stats[0]
    return Stats(*(np.concatenate([getattr(stats, name) for stats in all_stats]) for name in Stats.__slots__))
