"""Cells are a run's deltas in sums: all that is asked after the end comes out as from the deltas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen import error_ratio, mean, p, rate, throughput
from loadgen.errors import StorageError
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.outcomes_by_due_interval import BAD, GOOD, DueCounts
from loadgen.measure.merging.merge import Merge, check_invariant
from loadgen.measure.merging.stored_interval import CELLS_MAGIC, Cell, cell_of, encode_cell, read_cells
from loadgen.measure.results.hlog import read_hlog, write_hlog, write_hlog_of_cells
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.batches_of_run import recounted, recounted_cells
from loadgen.measure.statistics.objective_bins import Binned
from loadgen.units import NS_PER_S
from tests.measure.test_hlog import START
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples

KEYS = (
    request_key(),
    request_key("GET /cart", "http 503", step="cart"),
    request_key("GET /slow", "timeout", censored=True),
    request_key(warmup=True),
    journey_key(),
    journey_key("search"),
)
OBJECTIVES = [
    one.objective
    for one in (
        mean(request="GET /") < "1s",
        p(90, request="GET /", metric="service") < "1s",
        p(90, request="GET /", region="eu", load="day") < "5ms",
        error_ratio(request="GET /cart", outcome="http 503") < "1%",
        throughput("requests", region="eu") > "1/s",
        rate("hits").ratio() < "50%",
    )
    if one.objective is not None
]
REGIONS = {"a": "us", "b": "eu", "c": "eu"}


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[str, Delta]]:
    """Some 25 s of three agents: with epochs, edges that are not exact, joined intervals, and one that comes late."""
    deltas: list[tuple[str, Delta]] = []
    chance = Random(draw(st.integers(0, 1 << 32)))
    for name, region in REGIONS.items():
        own: list[Delta] = []
        for epoch, seconds in ((1, range(14)), (2, range(14, 25))):
            agent = FakeAgent(name, epoch)
            for k in seconds:
                level = 9 if k < 3 else 1  # a warm-up, for those who look for one
                values = {
                    key: [chance.randrange(1_000_000, 9_000_000) * level for _ in range(chance.randrange(4))]
                    for key in KEYS
                }
                made = agent.delta(values, k=k)
                if chance.random() < 0.1:
                    made = replace(made, start_ns=made.start_ns + 1_000, end_ns=made.end_ns - chance.randrange(10**8))
                due = DueCounts(0, "checkout", k, good=chance.randrange(9), bad=chance.randrange(2))
                hits = CustomStats("hits", "rate", 9, chance.randrange(10))
                made = replace(made, due=(due,), custom=(hits,))
                before = own[-1] if own and own[-1].epoch == epoch else None
                if before is not None and chance.random() < 0.1 and (both := join(before, made)) is not None:
                    own[-1], agent.seq = both, agent.seq - 1
                else:
                    own.append(made)
        deltas += [(region, delta) for delta in own]
    late = chance.choice(sorted(REGIONS))
    return sorted(deltas, key=lambda one: one[1].start_ns + (9 * NS_PER_S if one[1].agent == late else 0))


def cells_of(deltas: Sequence[tuple[str, Delta]], cuts: Sequence[int], path: Path) -> tuple[Merge, int]:
    """The merge of all, and the end of a file of their cells, written at the cuts."""
    merge, data, named = Merge(), CELLS_MAGIC, 0
    merge.kept = []
    for number, (region, delta) in enumerate(deltas, 1):
        merge.accept(region, delta)
        if number in cuts or number == len(deltas):
            names = merge._catalogue.names[named:]
            named += len(names)
            merge.close()
            for one in merge.kept:
                data += encode_cell(replace(cell_of(one), names=names))
                one.is_free, names = True, []
            merge.kept = []
    path.write_bytes(data)
    return merge, len(data)


def assert_equal(one: Binned | None, other: Binned | None) -> None:
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        for name in Binned.__slots__:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def asked(batches: Batches) -> Iterator[object]:
    """All that a summary and a verdict ask, but floats."""
    yield sorted(batches.regions())
    yield check_invariant(batches)
    for region in ("*", *batches.regions()):
        yield [getattr(batches.counters(region), name) for name in Counters.__slots__]
        for warm in (False, True):
            for row in sorted(batches.rows(region=region, warmup=warm), key=repr):
                outcomes = batches.row_outcomes(row, region, warm)
                yield row, outcomes
                for part in (batches, *batches._batches):
                    for outcome in outcomes:
                        for histogram in part.select_row(row, outcome, region=region, warmup=warm):
                            yield [one.tolist() for one in histogram.sparse()]
                            yield histogram.sum_ns, histogram.min_ns, histogram.max_ns
    yield batches.due.counts(0, "checkout", 0, 40)[[GOOD, BAD]].tolist()
    yield repr(batches.fitness)
    yield [(e.agent, e.epoch, e.next_seq, e.spans, e.counters) for a in batches.agents() for e in batches.epochs(a)]


@settings(max_examples=examples(9), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deltas=runs(), cuts=st.sets(st.integers(1, 60), max_size=5), warmup=st.sampled_from(["none", "stated", "found"]))
def test_batches_of_cells_are_those_of_the_deltas_bucket_by_bucket(
    deltas: list[tuple[str, Delta]], cuts: set[int], warmup: str, tmp_path: Path
) -> None:
    path = tmp_path / "merged.log"
    merge, end = cells_of(deltas, sorted(cuts), path)
    end_ns, warmup_ns = 25 * NS_PER_S, 2 * NS_PER_S if warmup == "stated" else 0
    is_found = warmup == "found"
    more: Any = {"end_ns": end_ns, "warmup_ns": warmup_ns, "is_found": is_found, "objectives": OBJECTIVES}
    right, right_cut = recounted(lambda: deltas, **more)
    ours, cut = recounted_cells(merge, lambda: read_cells(path, end), **more)
    ours.add_customs(deltas)
    assert cut == right_cut
    for index in range(len(OBJECTIVES)):
        assert_equal(ours._of_objectives.of(index, None), right._of_objectives.of(index, None))
    rates = [of._of_objectives.of_rate("hits", None, hits_are_bad=True) for of in (ours, right)]
    assert_equal(*rates)
    assert list(asked(ours)) == list(asked(right))
    for row in right.rows():
        for interval, other in zip(ours.intervals(row, (50, 90)), right.intervals(row, (50, 90)), strict=True):
            assert interval.why == other.why
            assert (interval.low, interval.high) == pytest.approx((other.low, other.high))


def test_a_warm_up_that_is_found_goes_out_of_what_was_due_as_well(tmp_path: Path) -> None:
    """The strategy above seldom has one that is clear enough."""
    agent, deltas = FakeAgent("a"), []
    for k in range(100):
        made = agent.delta({journey_key(): [(90_000_000 if k < 20 else 5_000_000) + k * 1_000] * 5})
        deltas.append(("eu", replace(made, due=(DueCounts(0, "checkout", k, good=5),))))
    merge, end = cells_of(deltas, [30], tmp_path / "merged.log")
    right, right_cut = recounted(lambda: deltas, end_ns=100 * NS_PER_S, is_found=True)
    ours, cut = recounted_cells(merge, lambda: read_cells(tmp_path / "merged.log", end), end_ns=None, is_found=True)
    assert cut == right_cut
    assert cut is not None
    assert cut.cut_ns >= 20 * NS_PER_S
    assert list(asked(ours)) == list(asked(right))
    assert ours.due.counts(0, "checkout", 0, 100)[GOOD].sum() == 5 * (100 - cut.cut_ns // NS_PER_S)
    assert merge.due.counts(0, "checkout", 0, 100)[GOOD].sum() == 5 * 100


@settings(max_examples=examples(5), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deltas=runs(), cuts=st.sets(st.integers(1, 60), max_size=3))
def test_the_log_of_histograms_is_the_same_from_cells(
    deltas: list[tuple[str, Delta]], cuts: set[int], tmp_path: Path
) -> None:
    path = tmp_path / "merged.log"
    _, end = cells_of(deltas, sorted(cuts), path)
    assert write_hlog(tmp_path / "right", deltas, START) == write_hlog_of_cells(
        tmp_path / "ours", read_cells(path, end), START
    )
    right, ours = read_hlog(tmp_path / "right"), read_hlog(tmp_path / "ours")
    for one, other in zip(right, ours, strict=True):
        assert (one.tag, one.start_s, one.length_s) == (other.tag, other.start_s, other.length_s)
        assert one.histogram == other.histogram


def test_cells_that_are_torn_or_lost_a_bit_are_refused_and_more_than_the_end_is_not_looked_at(tmp_path: Path) -> None:
    agent, path = FakeAgent("a"), tmp_path / "merged.log"
    deltas = [("eu", agent.delta({request_key(): [5_000_000, 7_000_000]})) for _ in range(3)]
    _, end = cells_of(deltas, [1, 2], path)
    sound = path.read_bytes()

    def read() -> list[Cell]:
        return list(read_cells(path, end))

    assert len(read()) == 3
    path.write_bytes(sound + b"written by a controller that was killed then")
    assert len(read()) == 3
    for cut in range(end):
        path.write_bytes(sound[:cut])
        with pytest.raises(StorageError):
            read()
    for at in range(end):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 16]) + sound[at + 1 :])
        with pytest.raises(StorageError):
            read()
    path.unlink()
    with pytest.raises(StorageError):
        read()
