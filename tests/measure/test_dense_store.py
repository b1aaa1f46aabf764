"""A dense store and one of pages hold the same, whatever is added and in which form."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.histograms import counts_of_all_series
from loadgen.measure.histograms.counts_of_all_series import Stats, Store
from loadgen.measure.histograms.histogram import SLOTS, Counts
from loadgen.measure.histograms.sparse_rows import SparseRows, index_of, pairs_of, rows_of
from tests.support.examples import examples

Added = list[tuple[int, dict[int, int]]]
"""Rows: the series, and counts by slot."""

slots = st.one_of(st.integers(0, SLOTS - 1), st.integers(1_000, 1_300), st.sampled_from([0, 127, 128, SLOTS - 1]))
rows_at_random = st.lists(
    st.tuples(st.integers(0, 9), st.dictionaries(slots, st.integers(1, 70_000), min_size=1, max_size=6)), max_size=6
)


def rows_and_stats(added: Added) -> tuple[SparseRows, Stats]:
    index = np.array([k * SLOTS + slot for k, (_, row) in enumerate(added) for slot in sorted(row)], dtype=np.int64)
    counts = np.array([row[slot] for _, row in added for slot in sorted(row)], dtype=np.int64)
    starts = np.cumsum([0, *(len(row) for _, row in added)])[:-1].astype(np.int64)
    series = np.array([number for number, _ in added], dtype=np.int64)
    n = np.array([sum(row.values()) for _, row in added], dtype=np.int64)
    rows = rows_of(index, counts, starts, np.arange(len(added)))
    return rows, Stats(series, n, n * 2, n, series + 1, n + 7)


def bucket_counts(store: Store) -> dict[int, int]:
    index, counts, _ = store.sparse()
    assert np.all(np.diff(index) > 0)
    return dict(zip(index.tolist(), counts.tolist(), strict=True))


def expected(parts: list[Added]) -> dict[int, int]:
    found: Counter[int] = Counter()
    for number, row in (one for part in parts for one in part):
        found.update({number * SLOTS + slot: count for slot, count in row.items()})
    return found


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(rows_at_random, max_size=5),
    st.integers(0, 31),
    st.integers(0, 5),
    st.sampled_from([1, 4, 640]),
    st.sampled_from([0, 8, 40_000]),
)
def test_a_dense_store_holds_what_a_store_of_pages_holds(
    parts: list[Added], as_rows: int, looked: int, most: int, waiting: int
) -> None:
    """Parts as rows or as pairs, with readers in between, and with more series than a dense store may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts_of_all_series, "DENSE_SERIES", most)
        patch.setattr(counts_of_all_series, "_MOST_WAITING_PAIRS", waiting)
        dense, paged, whole = Store(np.uint32, is_dense=True), Store(np.uint32), Store()
        for k, part in enumerate(parts):
            rows, stats = rows_and_stats(part)
            if as_rows & (1 << k):
                dense.add_rows(rows, stats)
            else:
                dense.add(*pairs_of(rows, stats.series), stats)
            paged.add(*pairs_of(rows, stats.series), stats)
            if k == looked:
                assert dense.state() == paged.state()
        assert bucket_counts(dense) == bucket_counts(paged) == expected(parts)
        whole.add_store(dense)
        again = Store()
        again.add_store(paged)
        assert whole.state() == again.state()
        assert dense.state() == paged.state()
        assert dense.pages >= paged.pages
        numbers = range(10)
        assert dense.histogram(numbers).sparse()[0].tolist() == paged.histogram(numbers).sparse()[0].tolist()
        dense.clear()
        assert dense.total == 0
        for part in parts:
            dense.add_rows(*rows_and_stats(part))
        assert dense.state() == paged.state()
        dense.add_store(paged)
        assert bucket_counts(dense) == expected([*parts, *parts])


def test_a_dense_store_takes_memory_for_its_values_and_not_for_its_series() -> None:
    store = Store(np.uint32, is_dense=True)
    store.add_rows(*rows_and_stats([(number, {1_000: 1, 1_100: 2}) for number in range(600)]))
    assert store.size_bytes < 600 * 13_000
    store.add_rows(*rows_and_stats([(641, {5: 1})]))
    assert store.size_bytes < 5_000_000
    assert store.total == 1_801


@settings(max_examples=examples(60), deadline=None)
@given(rows_at_random)
def test_the_index_of_rows_is_that_of_their_pairs(added: Added) -> None:
    rows, stats = rows_and_stats(added)
    firsts: Counts = stats.series * SLOTS
    assert index_of(rows, firsts).tolist() == [number * SLOTS + slot for number, row in added for slot in sorted(row)]
    assert rows.lasts.tolist() == [max(row) for _, row in added]
    assert firsts.tolist() == [number * SLOTS for number, _ in added]


huge_rows = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 9, 639, 200_000]),
        st.dictionaries(slots, st.sampled_from([1, 255, 256, 65_536, 1 << 31]), min_size=1, max_size=4),
    ),
    max_size=4,
)


@settings(max_examples=examples(40), deadline=None)
@given(huge_rows, rows_at_random, st.booleans())
def test_a_store_from_a_state_holds_the_same_and_goes_on(before: Added, after: Added, is_dense: bool) -> None:
    store, again = Store(is_dense=is_dense), Store()
    parts = [before] * 3  # counts beyond 4 bytes, too
    for part in parts:
        store.add_rows(*rows_and_stats(part))
    state = store.state()
    again.take_state(state)
    assert again.state() == state, "equal counts give equal bytes"
    assert bucket_counts(again) == expected(parts)
    again.add_rows(*rows_and_stats(after))
    assert bucket_counts(again) == expected([*parts, after])
    assert again.total == sum(expected([*parts, after]).values())


def test_a_state_grows_with_the_counts_and_not_with_the_pages() -> None:
    store = Store()
    store.add_rows(*rows_and_stats([(number, {slot: 1 for slot in range(0, SLOTS, 128)}) for number in range(10)]))
    state = store.state()
    assert store.pages == 10 * (SLOTS // 128)
    assert len(state.distances) + len(state.counts) == 2 * store.pages, "a byte each for a distance and a count"
