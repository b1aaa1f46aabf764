"""Deltas that are joined say together what they said one by one, except when within the joint it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import WireError
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Counters, Delta, Health, WorkerHealth
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS, MAX_FAILURES, Exemplar, ExemplarTable, Failure
from loadgen.measure.deltas.join_successive_deltas import MAX_INTERVALS, join
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.validate import check_delta
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.merging.merge import Accepted, Merge, check_invariant
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode
from tests.support.counts import counts_of
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples

S = NS_PER_S
KEYS = (request_key("GET /a"), request_key("GET /b"), request_key("GET /b", "status 500"), journey_key())
UNFIT = ("lag p99 12 ms of 100 ms", "garbage collection paused it for 80 ms")


# -- random runs of one agent ---------------------------------------------------------------------


@st.composite
def runs(draw: st.DrawFn, most: int = 12) -> list[Delta]:
    """Deltas of one agent as they come: without gaps, some with nothing in them, some that only tell of a loss."""
    agent = FakeAgent("eu")
    found: list[Delta] = []
    losses = 0
    for _ in range(draw(st.integers(1, most))):
        values = {
            key: draw(st.lists(st.sampled_from([1_000, 5_000_000, 5_001_000, 900_000_000]), max_size=3)) for key in KEYS
        }
        made = agent.delta(values)
        at_ns = found[-1].end_ns if found else 0
        if draw(st.integers(0, 5)) == 0:
            losses += 1
            loss = Loss(0, 2, at_ns + losses, at_ns, NOBODY, 1, "was killed by SIGKILL")
            blank = replace(made, index=b"", count=b"", stats=(), counters=Counters(), new_series=())
            agent.ids = {key: n for key, n in agent.ids.items() if key not in made.new_series}
            found.append(replace(blank, start_ns=at_ns, end_ns=at_ns, losses=(loss,)))
            continue
        health = Health(
            users=draw(st.integers(0, 9)),
            loop_lag_max_us=draw(st.integers(0, 9)),
            memory_free_bytes=draw(st.integers(0, 3)),
            unfit=draw(st.sampled_from([(), UNFIT[:1], UNFIT])),
            notes=draw(st.sampled_from([(), ("s.py:3 (browse) blocked the event loop for 2 s",)])),
        )
        due = tuple(
            DueCounts(0, "checkout", k, *draw(st.tuples(*[st.integers(0, 3)] * 4)))
            for k in sorted(draw(st.sets(st.integers(0, 6), max_size=3)))
        )
        custom = (
            CustomStats("stock", "gauge", draw(st.integers(0, 1)), 0, 1.0, 3.0, draw(st.sampled_from([1.0, 3.0]))),
        )
        exemplars = tuple(
            Exemplar("checkout", "", "", "ok", "slowest", 0, len(found), at_ns, draw(st.integers(0, 999)))
            for _ in range(draw(st.integers(0, 2)))
        )
        failures = tuple(
            Failure("checkout", "", "GET /b", "status 500", 0, n, at_ns, 5) for n in range(draw(st.integers(0, 2)))
        )
        workers = (
            WorkerHealth(0, made.counters.iterations_started, health),
            WorkerHealth(1, 0, msgspec.structs.replace(health, unfit=())),
        )
        found.append(
            replace(
                made,
                start_ns=at_ns,
                end_ns=at_ns + S,
                health=health,
                due=due,
                custom=custom,
                exemplars=exemplars,
                failures=failures,
                workers=workers,
            )
        )
    return [replace(delta, seq=seq) for seq, delta in enumerate(found)]


@st.composite
def joined(draw: st.DrawFn, run: Sequence[Delta]) -> list[Delta]:
    """Some neighbours of the run joined, and those again."""
    found = list(run)
    for _ in range(draw(st.integers(0, len(found) - 1))):
        at = draw(st.integers(0, len(found) - 2))
        joint = join(found[at], found[at + 1])
        assert joint is not None
        found[at : at + 2] = [joint]
        if len(found) == 1:
            break
    return [replace(delta, seq=seq) for seq, delta in enumerate(found)]


def merged(deltas: Sequence[Delta]) -> Merge:
    merge = Merge()
    for delta in deltas:
        assert merge.accept("eu", delta) is Accepted.MERGED
    return merge


@settings(max_examples=examples(300), deadline=None)
@given(st.data())
def test_whatever_is_joined_the_merge_is_the_same(data: st.DataObject) -> None:
    run = data.draw(runs())
    some = data.draw(joined(run))
    one_by_one, together = merged(run), merged(some)
    assert counts_of(some) == counts_of(run)
    assert together.counters() == one_by_one.counters()
    assert check_invariant(together) == []
    for row in one_by_one.rows():
        for mine, theirs in zip(together.select_row(row), one_by_one.select_row(row), strict=True):
            assert (mine.total, mine.min_ns, mine.max_ns, mine.sum_ns) == (
                theirs.total,
                theirs.min_ns,
                theirs.max_ns,
                theirs.sum_ns,
            )
    (epoch,), (other,) = together.epochs("eu"), one_by_one.epochs("eu")
    assert (epoch.counters, epoch.recorded, epoch.request_values) == (
        other.counters,
        other.recorded,
        other.request_values,
    )
    assert epoch.spans == other.spans
    assert together.losses("eu") == one_by_one.losses("eu")
    for journey in one_by_one.due.journeys(0):
        assert np.array_equal(together.due.counts(0, journey, 0, 9), one_by_one.due.counts(0, journey, 0, 9))
    assert together.custom.of("stock") == one_by_one.custom.of("stock")
    assert list(together.exemplars) == list(one_by_one.exemplars)
    assert [f for delta in some for f in delta.failures] == [f for delta in run for f in delta.failures]


@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_how_many_intervals_were_measured_and_how_many_were_unfit_is_still_known(data: st.DataObject) -> None:
    run = data.draw(runs())
    one_by_one, together = merged(run), merged(data.draw(joined(run)))
    for mine, theirs in (
        (together.fitness.get("eu"), one_by_one.fitness.get("eu")),
        (together.worker_fitness.get("eu", {}).get(0), one_by_one.worker_fitness.get("eu", {}).get(0)),
    ):
        assert (mine is None) == (theirs is None)
        if mine is None or theirs is None:
            continue
        assert (mine.intervals, mine.unfit) == (theirs.intervals, theirs.unfit)
        assert mine.causes.keys() == theirs.causes.keys()
        assert mine.notes == theirs.notes
        assert (mine.users_max, mine.loop_lag_max_us) <= (theirs.users_max, theirs.loop_lag_max_us)
        assert mine.loop_lag_max_us == theirs.loop_lag_max_us
        assert mine.memory_free_bytes_min == theirs.memory_free_bytes_min


@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_a_joint_is_well_formed_and_can_be_sent(data: st.DataObject) -> None:

    known = 0
    for delta in data.draw(joined(data.draw(runs()))):
        check_delta(delta, known)
        known += len(delta.new_series)
        assert decode(encode(delta)) == delta


# -- what must stay two ---------------------------------------------------------------------------


def pair(**of_second: object) -> Iterator[Delta]:
    agent = FakeAgent("eu")
    yield agent.delta({KEYS[0]: [5]})
    yield replace(agent.delta({KEYS[0]: [5]}), **of_second)  # type: ignore[arg-type]


def test_a_time_in_which_nobody_measured_is_not_covered_by_a_joint() -> None:
    first, second = pair(start_ns=2 * S, end_ns=3 * S)
    assert join(first, second) is None


def test_a_bucket_beyond_32_bits_stays_two() -> None:
    first, second = (replace(one, count=np.array([2**31], "<u4").tobytes()) for one in pair())
    assert join(first, second) is None
    assert join(first, replace(second, count=np.array([2**31 - 1], "<u4").tobytes())) is not None


def test_failures_are_never_left_out_of_a_joint() -> None:
    some = tuple(Failure("j", "", "r", "o", 0, n, 0, 0) for n in range(MAX_FAILURES))
    first, second = pair(failures=some)
    joint = join(first, second)
    assert joint is not None
    assert joint.failures == some
    assert join(replace(first, failures=some[:1]), second) is None


def test_no_delta_claims_more_intervals_than_a_run_has() -> None:
    first, second = pair(health=Health(intervals=MAX_INTERVALS))
    assert join(first, second) is None


# -- exemplars ------------------------------------------------------------------------------------


def test_of_too_many_exemplars_the_slowest_of_each_series_stay() -> None:
    def some(base: int) -> tuple[Exemplar, ...]:
        return tuple(
            Exemplar(
                "j", "", f"GET /{n % 3}", "ok", "slowest" if n % 2 else "random", 0, base + n, 0, (n * 7919) % 10_007
            )
            for n in range(MAX_EXEMPLARS)
        )

    first, second = pair()
    first, second = replace(first, exemplars=some(0)), replace(second, exemplars=some(1_000))
    joint = join(first, second)
    assert joint is not None
    assert len(joint.exemplars) <= MAX_EXEMPLARS

    def slowest(*all_: Sequence[Exemplar]) -> list[list[int]]:
        table = ExemplarTable()
        for one in all_:
            table.add("eu", "a", one)
        return [
            [kept.exemplar.response_ns for kept in table.of(*key)[: table.SLOWEST]] for key in sorted(table.series())
        ]

    assert slowest(joint.exemplars) == slowest(first.exemplars, second.exemplars)


# -- the view of a coarse interval ----------------------------------------------------------------


def test_what_was_done_in_a_joint_is_told_of_each_of_its_intervals_alike() -> None:
    agent = FakeAgent("eu")
    joint: Delta | None = agent.delta({KEYS[0]: [5] * 4})
    for _ in range(2):
        assert joint is not None
        joint = join(joint, agent.delta({KEYS[0]: [5] * 3}))
    assert joint is not None
    merge = merged([joint])
    assert [window.counters().requests_finished for window in merge.windows()] == [3, 3, 4]
    assert [window.count("request") for window in merge.windows()] == [0, 0, 10]
    assert merge.fitness["eu"].coarse_spans_ns == [(0, 3 * S)]


def test_an_unfit_joint_counts_as_many_unfit_intervals_as_it_has() -> None:
    health = Health(unfit=UNFIT, intervals=5, unfit_intervals=2)
    first, _ = pair()
    merge = merged([replace(first, end_ns=5 * S, health=health)])
    assert (merge.fitness["eu"].intervals, merge.fitness["eu"].unfit) == (5, 2)
    assert merge.fitness["eu"].causes == {"lag": 2, "gc": 2}


@pytest.mark.parametrize("said", [(0, 1), (3, 4), (-1, -1), (MAX_INTERVALS + 1, 0)])
def test_impossible_numbers_of_intervals_are_refused(said: tuple[int, int]) -> None:

    first, _ = pair(health=Health())
    with pytest.raises(WireError, match="intervals"):
        check_delta(replace(first, health=Health(intervals=said[0], unfit_intervals=said[1])), 0)


def test_every_field_of_a_delta_is_joined_or_the_same_in_both() -> None:
    """A new field must be thought of here."""
    encoded = {"packed", "exemplar_rows"}  # both are empty before a delta is encoded
    same = {"agent", "epoch", "seq", "start_ns", "run_id", *encoded}
    added = {f.name for f in fields(Delta)} - same
    assert added == {
        "sampling",
        "end_ns", "new_series", "index", "count", "stats", "counters", "health", "due", "custom", "exemplars",
        "failures", "workers", "losses", "loads", "first_arrivals", "streams", "streams_left_out",
        "sampled",
    }  # fmt: skip
