"""Histograms in the form in which they travel: what goes in comes out, and what contradicts itself is not merged."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta, SeriesStats, StatsColumns, unpacked
from loadgen.measure.deltas.validate import Wellformed, check_all, check_delta, packed_of
from loadgen.measure.histograms.histogram import SLOTS, slot_of_us
from loadgen.measure.histograms.packed_counts import EMPTY, PackedCounts, form_fault, pack, unpack
from loadgen.measure.histograms.sparse_rows import pairs_of
from loadgen.measure.merging.checkpoint import freeze
from loadgen.measure.merging.merge import Merge
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import decode, decode_with_beat, encode, plain_delta
from tests.measure.test_cells import runs
from tests.measure.test_merge import GOOD, MALFORMED
from tests.measure.test_together import one_by_one, together
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples

KEYS = (request_key(), journey_key())


def received(delta: Delta) -> Delta:
    """As the controller gets it."""
    message, _ = decode_with_beat(encode(delta))
    assert isinstance(message, Delta)
    return message


def rows_of(*stats: SeriesStats) -> bytes:
    return b"".join(struct.pack("<5q", one.series, one.n, one.sum_ns, one.min_ns, one.max_ns) for one in stats)


# -- the form ---------------------------------------------------------------------------------------


def test_slots_travel_as_distances_and_counts_in_as_few_bytes_as_hold_them() -> None:
    index = struct.pack("<4I", 5, 9, 2 * SLOTS, 2 * SLOTS + 300)
    stats = (SeriesStats(0, 4, 40, 5, 15), SeriesStats(2, 9, 90, 0, 50))
    columns = StatsColumns.of(stats).columns
    assert pack(index, struct.pack("<4I", 1, 3, 4, 5), columns) == PackedCounts(
        rows_of(*stats), struct.pack("<2H", 2, 2), struct.pack("<4H", 5, 4, 0, 300), bytes((1, 3, 4, 5))
    )
    wide = pack(index, struct.pack("<4I", 1, 256, 4, 5), columns)
    assert wide is not None
    assert (wide.counts, wide.count_bytes) == (struct.pack("<4H", 1, 256, 4, 5), 2)


@settings(max_examples=examples(40), deadline=None)
@given(runs())
def test_unpacked_histograms_are_those_that_were_packed(deltas: list[tuple[str, Delta]]) -> None:
    for _, delta in deltas:
        packed = pack(delta.index, delta.count, StatsColumns.of(delta.stats).columns)
        assert packed is not None
        assert not form_fault(packed)
        index, count, columns = unpack(packed)
        assert (index, count, StatsColumns(*columns)) == (delta.index, delta.count, delta.stats)


def test_a_delta_without_values_has_empty_histograms() -> None:
    assert pack(b"", b"", ((),) * 5) == EMPTY
    assert received(Delta("a", 1, 0, 0, NS_PER_S)).packed == EMPTY
    assert unpack(EMPTY)[:2] == (b"", b"")


@pytest.mark.parametrize(
    "spoil", ["indices fall", "an index stands twice", "count is 0", "count is shorter than index"]
)
def test_histograms_that_contradict_themselves_travel_in_the_old_form_and_are_rejected_with_the_same_words(
    spoil: str,
) -> None:
    bad = MALFORMED[spoil](FakeAgent("a").delta(GOOD))
    assert packed_of(bad) is None
    with pytest.raises(WireError) as here:
        check_delta(bad, 0)
    if len(bad.index) == len(bad.count):  # otherwise the codec itself rejects it
        with pytest.raises(WireError) as there:
            check_delta(received(bad), 0)
        assert str(there.value) == str(here.value)


@pytest.mark.parametrize("part", ["rows", "pairs", "gaps", "counts"])
def test_a_string_that_does_not_belong_to_the_others_makes_the_message_unreadable(part: str) -> None:
    good = received(FakeAgent("a").delta(GOOD))
    assert good.packed is not None
    bad = good.packed._replace(**{part: getattr(good.packed, part)[:-1]})
    with pytest.raises(WireError, match="they do not belong together"):
        decode(encode(replace(good, packed=bad)))


def test_series_with_more_pairs_than_came_make_the_delta_malformed() -> None:
    good = received(FakeAgent("a").delta(GOOD))
    assert good.packed is not None
    bad = replace(good, packed=good.packed._replace(pairs=struct.pack("<2H", 2, 2)))
    assert check_all([bad], [2]) is None
    with pytest.raises(WireError, match="its series have 4 pairs, and there are 3"):
        check_delta(bad, 0)


# -- one pass ---------------------------------------------------------------------------------------


def dense(merge: Merge) -> Counter[tuple[str, object, int]]:
    """Each bucket of the merge, over all regions, and the exact sums."""
    found: Counter[tuple[str, object, int]] = Counter()
    for key in merge.keys():  # noqa: SIM118  # not a mapping
        histogram = merge.histogram(key)
        assert histogram is not None
        for slot, count in zip(*(array.tolist() for array in histogram.sparse()), strict=True):
            found["bucket", key, slot] += count
        found["sum", key, 0] = histogram.sum_ns
    return found


def test_packed_deltas_of_a_fleet_add_up_to_what_a_loop_over_the_values_counts() -> None:
    chance, right = Random(3), Counter[tuple[str, object, int]]()
    merge, said = Merge(), []
    for agent in [FakeAgent(name) for name in "abcdef"]:
        for _ in range(4):
            values = {key: [chance.randrange(4_000_000_000) for _ in range(chance.randrange(1, 400))] for key in KEYS}
            said.append((chance.choice(("eu", "us")), received(agent.delta(values))))
            for key, times in values.items():
                right["sum", key, 0] += sum(times)
                right.update(("bucket", key, slot_of_us(round_half_up(ns))) for ns in times)
    for region, delta in sorted(said, key=lambda one: one[1].seq):
        merge.accept(region, delta)
    assert dense(merge) == right


def round_half_up(ns: int) -> int:
    return (ns + 500) // 1_000


@settings(max_examples=examples(15), deadline=None)
@given(
    runs(),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.lists(st.integers(0, 70), max_size=12),
    st.lists(st.integers(0, 70), max_size=3),
)
def test_packed_deltas_come_to_the_same_as_plain_ones_also_repeated_and_with_gaps(
    deltas: list[tuple[str, Delta]], sizes: list[int], twice: list[int], lost: list[int]
) -> None:
    said = list(deltas)
    for place in twice:
        said.insert(place, said[place % len(said)])
    for place in lost:
        del said[place % len(said)]
    right, ours = Merge(), Merge()
    assert together(ours, [(region, received(delta)) for region, delta in said], sizes) == one_by_one(right, said)
    assert freeze(ours) == freeze(right)


def spoiled(good: PackedCounts, chance: Random) -> Iterator[PackedCounts]:
    """The same with a few bytes changed, in any of the strings."""
    while True:
        parts = [bytearray(part) for part in good]
        for _ in range(chance.randrange(1, 4)):
            part = chance.choice([one for one in parts if one])
            part[chance.randrange(len(part))] = chance.choice((0, 1, 2, 3, 255, chance.randrange(256)))
        yield PackedCounts(*map(bytes, parts))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_histograms_pass_together_only_if_they_pass_by_themselves(seed: int) -> None:
    chance = Random(seed)
    good = [received(FakeAgent(name).delta(GOOD)) for name in "abc"]
    assert good[0].packed is not None
    passed = 0
    for packed, _ in zip(spoiled(good[0].packed, chance), range(300), strict=False):
        odd = replace(good[0], packed=packed)
        place = chance.randrange(3)
        all_ = [*good[1 : 1 + place], odd, *good[1 + place :]]
        if (checked := check_all(all_, [2] * len(all_))) is None:
            continue
        passed += 1
        alone = check_all([odd], [2])
        assert alone is not None
        assert buckets(check_delta(odd, 0)) == buckets(alone)
        assert int(checked.stats.n.sum()) == int(checked.pairs.counts.sum())
    assert passed < 100


def buckets(checked: Wellformed) -> object:
    stats = checked.by_numbers([np.arange(2)])
    index, counts = pairs_of(checked.pairs, stats.series)
    return index.tolist(), counts.tolist(), stats.n.tolist(), stats.sum_us.tolist()


# -- peers of other versions ------------------------------------------------------------------------


def test_an_older_controller_gets_the_form_that_it_reads() -> None:
    delta = FakeAgent("a").delta({request_key(): [NS_PER_MS] * 3})
    packed, plain = encode(delta), plain_delta(encode(delta))
    assert plain == encode(delta, as_row=False) != packed
    assert decode(plain) == decode(packed) == delta
    message, _ = decode_with_beat(plain)
    assert isinstance(message, Delta)
    assert message.packed is None
    assert unpacked(message) is message


def test_deltas_of_old_and_new_agents_are_merged_together() -> None:
    def said(is_new: Sequence[bool]) -> list[tuple[str, Delta]]:
        deltas = [FakeAgent(name).delta(GOOD) for name in "abc"]
        both = [decode_with_beat(encode(one, as_row=new))[0] for one, new in zip(deltas, is_new, strict=True)]
        return [("eu", one) for one in both if isinstance(one, Delta)]

    merges = [Merge() for _ in range(3)]
    for merge, is_new in zip(merges, ([True] * 3, [False] * 3, [True, False, True]), strict=True):
        merge.accept_all(said(is_new))
    assert freeze(merges[0]) == freeze(merges[1]) == freeze(merges[2])
