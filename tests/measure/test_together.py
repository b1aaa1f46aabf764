"""Deltas that are merged together come to what they come to one by one, and each is added once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta, SeriesStats
from loadgen.measure.deltas.validate import Wellformed, check_all, check_delta
from loadgen.measure.histograms.counts_of_all_series import Stats, Store
from loadgen.measure.histograms.sparse_rows import index_of
from loadgen.measure.merging.checkpoint import freeze
from loadgen.measure.merging.interval_sum import Sum
from loadgen.measure.merging.merge import Accepted, Merge, check_invariant
from loadgen.measure.merging.stored_interval import cell_of
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.measure.test_cells import runs
from tests.measure.test_checkpoint import windows_of
from tests.measure.test_merge import GOOD, MALFORMED
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples

Said = Sequence[tuple[str, Delta]]


def one_by_one(merge: Merge, deltas: Said) -> list[str]:
    found = []
    for region, delta in deltas:
        try:
            found.append(str(merge.accept(region, delta)))
        except WireError as error:
            found.append(str(error))
    return found


def together(merge: Merge, deltas: Said, sizes: Sequence[int]) -> list[str]:
    found: list[str] = []
    while len(found) < len(deltas):
        size = sizes[len(found) % len(sizes)]
        found += map(str, merge.accept_all(deltas[len(found) : len(found) + size]))
    return found


@settings(max_examples=examples(15), deadline=None)
@given(
    runs(),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 70), st.sampled_from(sorted(MALFORMED))), max_size=6),
    st.lists(st.integers(0, 70), max_size=6),
)
def test_deltas_in_batches_of_any_size_come_to_what_they_come_to_one_by_one(
    deltas: list[tuple[str, Delta]], sizes: list[int], bad: list[tuple[int, str]], twice: list[int]
) -> None:
    """Malformed ones among them, and some that come twice: each is answered as by itself."""
    said = list(deltas)
    for place in twice:
        said.insert(place, said[place % len(said)])
    for place, how in bad:
        region, delta = said[place % len(said)]
        if len(delta.stats) and len(delta.new_series) > 1:
            said.insert(place, (region, MALFORMED[how](delta)))
    right, ours = Merge(), Merge()
    right.kept, ours.kept = [], []
    assert together(ours, said, sizes) == one_by_one(right, said)
    assert freeze(ours) == freeze(right)
    assert windows_of(ours) == windows_of(right)
    assert check_invariant(ours) == []
    assert totals(ours.kept) == totals(right.kept)


def totals(kept: Sequence[Sum]) -> dict[tuple[int, int], object]:
    """Of each interval, whatever the number of its sums."""
    found: dict[tuple[int, int], object] = {}
    for interval in sorted({one.interval for one in kept}):
        both = Store()
        some = [one for one in kept if one.interval == interval]
        for one in some:
            both.add_store(one.store)
        counters: dict[str, list[int]] = {}
        for one in some:
            for region, counts in one.counters.items():
                counters[region] = [a + b for a, b in zip(counters.get(region, [0] * len(counts)), counts, strict=True)]
        found[interval] = (both.state(), counters, sum(one.deltas for one in some))
    return found


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED.keys())
def test_one_malformed_delta_among_others_is_told_and_the_others_are_merged(spoil: Callable[[Delta], Delta]) -> None:
    merge, agents = Merge(), [FakeAgent(name) for name in "abc"]
    good = [("eu", agent.delta(GOOD)) for agent in agents]
    found = merge.accept_all([good[0], ("eu", spoil(good[1][1])), good[2]])
    assert isinstance(found[1], WireError)
    assert found[::2] == [Accepted.MERGED] * 2
    assert merge.agents() == ("a", "c")
    assert merge.count("request") == 6
    assert merge.accept_all(good) == [Accepted.DUPLICATE, Accepted.MERGED, Accepted.DUPLICATE]
    assert merge.count("request") == 9


# -- checked together -------------------------------------------------------------------------------


def arrays(checked: Wellformed) -> list[list[int]]:
    stats = [getattr(checked.stats, name).tolist() for name in Stats.__slots__]
    pairs = checked.pairs
    lengths = np.diff(pairs.starts, append=len(pairs.gaps))
    slots = index_of(pairs, np.zeros(len(pairs.lasts), dtype=np.int64))
    return [*stats, *(one.tolist() for one in (slots, pairs.counts, lengths, pairs.lasts, checked.rows))]


@settings(max_examples=examples(10), deadline=None)
@given(runs())
def test_what_is_let_through_together_is_what_is_let_through_one_by_one(deltas: list[tuple[str, Delta]]) -> None:
    firsts = [delta for _, delta in deltas if delta.seq == 0]
    checked = check_all(firsts, [len(delta.new_series) for delta in firsts])
    assert checked is not None
    each = [arrays(check_delta(delta, 0)) for delta in firsts]
    assert arrays(checked) == [[n for one in column for n in one] for column in zip(*each, strict=True)]


@settings(max_examples=examples(300))
@given(
    st.lists(st.integers(0, 3 * 23_552), max_size=4),
    st.lists(st.integers(0, 3), max_size=4),
    st.lists(st.tuples(*[st.integers(-1, 4)] * 5), max_size=3),
    st.integers(0, 2),
)
def test_counts_and_sums_at_random_are_let_through_together_only_if_by_themselves(
    index: list[int], counts: list[int], stats: list[tuple[int, int, int, int, int]], place: int
) -> None:
    good = [FakeAgent(name).delta(GOOD) for name in "ab"]
    odd = replace(
        FakeAgent("c").delta(GOOD),
        index=np.array(index, dtype="<u4").tobytes(),
        count=np.array(counts, dtype="<u4").tobytes(),
        stats=tuple(SeriesStats(*row) for row in stats),
    )
    all_ = [*good[:place], odd, *good[place:]]
    if check_all(all_, [2] * 3) is not None:
        check_delta(odd, 0)


def plain(pairs: Sequence[tuple[int, int]], *stats: SeriesStats) -> Delta:
    index, count = (np.array(column, dtype="<u4").tobytes() for column in zip(*pairs, strict=True))
    return Delta("a", 1, 0, 0, NS_PER_S, (request_key(), journey_key()), index, count, stats)


A_ROW = SeriesStats(0, 3, 30, 5, 15)


def test_a_count_that_one_delta_lacks_and_the_next_has_too_much_is_not_let_through() -> None:
    """All together they add up, and row by row, too."""
    good = [plain([(10, 1), (20, 2)], A_ROW), plain([(30, 3)], A_ROW)]
    assert check_all(good, [2, 2]) is not None
    assert check_all([plain([(10, 1)], A_ROW), plain([(20, 2), (30, 3)], A_ROW)], [2, 2]) is None
    assert check_all([plain([(10, 1), (20, 2), (30, 3)], A_ROW, A_ROW)], [2]) is None


def test_a_series_that_has_two_rows_or_one_of_another_delta_is_not_let_through() -> None:
    first, second = replace(A_ROW, n=1, sum_ns=10), replace(A_ROW, n=2, sum_ns=20)
    assert check_all([plain([(10, 1), (20, 2)], first, second)], [2]) is None
    assert check_all([plain([(10, 1)], first), plain([(20, 2)], second)], [2, 2]) is not None
    assert (
        check_all([plain([(10, 1), (20, 2)], first, second), replace(plain([(1, 1)]), index=b"", count=b"")], [2, 2])
        is None
    )


@pytest.mark.parametrize("n", [-1, 0, 2, 4, 3 + (1 << 32), 3 - (1 << 32), (1 << 63) - 1])
def test_a_sum_that_is_not_that_of_its_counts_is_not_let_through_whatever_it_is(n: int) -> None:
    row = replace(A_ROW, n=n, sum_ns=max(0, n) * 10)
    for others in ([], [plain([(30, 3)], A_ROW)]):
        assert check_all([*others, plain([(10, 1), (20, 2)], row), *others], [2] * (1 + 2 * len(others))) is None


def test_counts_that_add_up_only_in_32_bits_are_not_let_through() -> None:
    half = 1 << 31
    assert check_all([plain([(10, half), (20, half + 3)], A_ROW)], [2]) is None


# -- sums -------------------------------------------------------------------------------------------


def test_counts_beyond_32_bits_of_one_interval_stay_exact() -> None:
    """A sum's buckets have 4 bytes: it is closed before it could overflow, and the window asks both."""
    merge, most = Merge(), (1 << 32) - 1
    for name in "ab":
        made = FakeAgent(name).delta({request_key(): [NS_PER_MS]})
        made.counters.requests_finished = most
        (row,) = made.stats
        row = replace(row, n=most, sum_ns=most * NS_PER_MS)
        merge.accept("eu", replace(made, count=np.array([most], "<u4").tobytes(), stats=(row,)))
    (window,) = merge.windows()
    for asked in (merge, window):
        assert asked.count("request") == asked.select("request")[0].total == 2 * most
    merge.close()
    assert merge.select("request")[0].total == 2 * most


def test_what_is_kept_is_whole_although_its_window_was_dropped() -> None:
    """A store is used again only when nobody needs it any more."""
    merge, agent = Merge(), FakeAgent("a")
    merge.kept = []
    for k in range(100):
        merge.accept("eu", agent.delta({request_key(): [(k + 1) * NS_PER_MS] * (k + 1)}))
    assert merge.waiting == 100
    merge.close()
    assert [int(cell_of(one).counts.sum()) for one in merge.kept] == list(range(1, 101))
    for one in merge.kept[:90]:
        one.is_free = True
    merge.kept = []
    for _ in range(100):
        merge.accept("eu", agent.delta({request_key(): [NS_PER_MS]}))
    assert merge.waiting == 100
    assert merge.count("request") == 5_150


def test_window_of_sums_that_were_taken_away_and_of_what_came_after_is_the_sum_of_both() -> None:
    merge, a, b = Merge(), FakeAgent("a"), FakeAgent("b")
    merge.kept = []
    merge.accept("eu", a.delta(GOOD))
    merge.close()
    (first,), merge.kept = merge.kept, []
    merge.accept("eu", b.delta(GOOD))
    (window,) = merge.windows()
    assert (window.count("request"), window.counters().requests_finished, len(window.sums)) == (6, 6, 2)
    first.is_free = True
    merge.accept("eu", a.delta({}, k=9))  # two intervals are over
    assert (window.count("request"), window.count("journey"), len(window.sums)) == (6, 2, 1)
    assert merge.count("request") == 6
    assert [one.deltas for one in merge.kept] == [1]


def test_sums_of_very_many_intervals_are_not_open_at_once() -> None:
    merge, agent = Merge(), FakeAgent("a")
    for k in range(500):
        odd = replace(agent.delta(GOOD), start_ns=k, end_ns=NS_PER_S + k)
        assert merge.accept("eu", odd) is Accepted.MERGED
    assert len(merge._stores) < 10
    assert len(merge.windows()[0].sums) < 10
    assert merge.count("request") == 1_500
    assert merge.windows()[0].count("request") == 1_500


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 4 * 23_551), st.integers(1, 9), max_size=6), max_size=6))
def test_a_store_added_to_another_adds_what_it_has(parts: list[dict[int, int]]) -> None:
    whole, joined = Store(), Store()
    for part in parts:
        index = np.array(sorted(part), dtype=np.int64)
        counts = np.array([part[at] for at in sorted(part)], dtype=np.int64)
        series, starts = np.unique(index // 23_552, return_index=True)
        n = np.add.reduceat(counts, starts) if len(index) else series
        stats = Stats(series, n, n * 2, n, series + 1, n + 7)
        one = Store(np.uint32)
        one.add(index, counts, stats)
        whole.add(index, counts, stats)
        joined.add_store(one)
    assert joined.state() == whole.state()
    expected: dict[int, int] = {}
    for part in parts:
        for at, count in part.items():
            expected[at] = expected.get(at, 0) + count
    index, counts, stats = joined.sparse()
    assert dict(zip(index.tolist(), counts.tolist(), strict=True)) == expected
    assert index.tolist() == sorted(expected)
    assert int(stats.n.sum()) == sum(expected.values())


def test_agents_without_anything_to_tell_are_merged_together_with_those_that_have() -> None:
    merge = Merge()
    deltas = [("eu", FakeAgent(name).delta({journey_key(): [NS_PER_S]} if name in "bd" else {})) for name in "abcde"]
    assert merge.accept_all(deltas) == [Accepted.MERGED] * 5
    assert [sum(epoch.recorded for epoch in merge.epochs(name)) for name in merge.agents()] == [0, 1, 0, 1, 0]
