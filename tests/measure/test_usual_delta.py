"""The quick check of a usual delta lets nothing through that the check of each field rejects."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas import validate
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.limits import LOADS
from loadgen.measure.deltas.load_counts import LoadCounts
from loadgen.measure.deltas.read_health import ReadHealth
from tests.measure.test_merge import GOOD
from tests.support.deltas import FakeAgent
from tests.support.examples import examples

numbers = st.sampled_from([-1, 0, 1, 2, 50, (1 << 53) + 1])
rarely = st.integers(0, 3).map(lambda n: n == 0)


@st.composite
def odd_deltas(draw: st.DrawFn) -> Delta:
    health = Health(intervals=draw(numbers), unfit_intervals=draw(numbers)) if draw(rarely) else Health()
    if draw(rarely):
        health = Health(reads=ReadHealth(intervals=draw(numbers), kernel_reads=draw(numbers)))
    loads = tuple(
        LoadCounts(draw(st.sampled_from([0, LOADS - 1, LOADS])), draw(numbers), draw(numbers), draw(numbers))
        for _ in range(draw(st.integers(0, 2)))
    )
    counters = Counters(
        iterations_started=loads[0].started if loads and not draw(rarely) else draw(numbers),
        iterations_missed=loads[0].missed if loads and not draw(rarely) else draw(numbers),
    )
    return Delta(
        "a", 1, draw(st.integers(0, 2)), draw(numbers), draw(numbers), counters=counters, health=health, loads=loads
    )


@settings(max_examples=examples(1_000), deadline=None)
@given(odd_deltas())
def test_a_delta_that_is_usual_is_possible(delta: Delta) -> None:
    counters = validate.counter_values(delta.counters)
    if validate._is_usual(delta, counters):
        validate._check_each_field(delta, 0, counters)


def test_a_later_delta_is_usual() -> None:
    agent = FakeAgent("a")
    first, later = agent.delta(GOOD), agent.delta(GOOD)
    later = replace(later, loads=(LoadCounts(0, later.counters.iterations_started, later.counters.iterations_missed),))
    assert not validate._is_usual(first, validate.counter_values(first.counters))
    assert validate._is_usual(later, validate.counter_values(later.counters))
