"""Sampled requests and the others are summed apart, exactly, and only where each request has a decision."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.request.traced_meter import TracedMeter
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.sampling import Sampling
from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.sampled_sums import SampledSums, add_sampled, check_sampled
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.deltas.validate import check_delta
from loadgen.measure.histograms.histogram import MAX_NS
from loadgen.report.why_slow.decided import DecidedTable
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode
from loadgen_agent.delivery.aggregate import AddUp
from tests.support.traced import Sampled

YES, NO = Trace(1.0), Trace(0.0)
Request = tuple[str, int, str, bool]
"""Name, response time in ns, outcome, whether it is sampled."""


def recorder_of(requests: list[Request], **begin: Any) -> Recorder:
    recorder = Recorder(sampling=Sampling(0.5))
    record(recorder, requests, **begin)
    return recorder


def record(recorder: Recorder, requests: list[Request], **begin: Any) -> None:
    tracers = {True: Tracer(YES, Random(1)), False: Tracer(NO, Random(1))}
    meter = TracedMeter(recorder)
    for name, response_ns, outcome, is_sampled in requests:
        meter.begin("shop", **{"warmup": False, "pool_limited": False} | begin)
        meter.hold(Sampled(meter, tracers[is_sampled], name, response_ns, outcome))
        meter.settle()


def by_name(*deltas: Delta) -> dict[str, SampledSums]:
    keys: list[SeriesKey] = []
    rows: list[SampledSums] = []
    for delta in deltas:
        keys += delta.new_series
        rows += delta.sampled
    assert all((keys[one.series].outcome, keys[one.series].metric) == (OK, "response") for one in rows)
    return {keys[one.series].request or "": replace(one, series=0) for one in add_sampled(rows)}


def expected(requests: list[Request]) -> dict[str, SampledSums]:
    found: dict[str, list[int]] = {}
    for name, response_ns, outcome, is_sampled in requests:
        if outcome == OK and response_ns <= MAX_NS:
            sums = found.setdefault(name, [0] * 4)
            sums[0 if is_sampled else 2] += 1
            sums[1 if is_sampled else 3] += response_ns
    return {name: SampledSums(0, *sums) for name, sums in found.items()}


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["GET /a", "GET /b"]),
        st.one_of(st.integers(0, 10**9), st.just(MAX_NS), st.just(MAX_NS + 1)),
        st.sampled_from([OK, "http 503"]),
        st.booleans(),
    ),
    max_size=30,
)


@given(REQUESTS, REQUESTS, REQUESTS)
def test_what_two_workers_send_in_two_intervals_adds_up_exactly_on_each_way(
    first: list[Request], second: list[Request], third: list[Request]
) -> None:
    one, two = Recorder(sampling=Sampling(0.5)), recorder_of(third)
    record(one, first)
    early = one.flip(0, NS_PER_S)
    record(one, second)
    late = one.flip(NS_PER_S, 2 * NS_PER_S)
    assert by_name(early, late) == expected(first + second)
    joined = join(early, late)
    assert joined is not None
    assert by_name(joined) == expected(first + second)
    both = AddUp(2)
    both.begin(0)
    both.begin(1)
    both.take(0, joined)
    (whole,) = both.take(1, two.flip(0, 2 * NS_PER_S))
    assert by_name(whole) == expected(first + second + third)
    check_delta(replace(whole, agent="eu"), 0)
    assert decode(encode(replace(whole, agent="eu"))) == replace(whole, agent="eu", stats=whole.stats)


def test_plans_without_tracing_and_the_warm_up_have_no_sums() -> None:
    assert recorder_of([("GET /", 5, OK, True)], warmup=True).flip(0, 1).sampled == ()
    plain = Recorder()
    meter = Meter(plain)
    meter.begin("shop", warmup=False, pool_limited=False)
    meter.hold(Sampled(meter, Tracer(NO, Random(1)), "GET /", 5))
    meter.settle()
    assert plain.flip(0, 1).sampled == ()


def test_a_series_with_a_request_without_a_decision_has_no_sums_from_then_on() -> None:
    recorder = recorder_of([("GET /a", 5, OK, True), ("GET /b", 7, OK, False)])
    assert set(by_name(recorder.flip(0, 1))) == {"GET /a", "GET /b"}

    class Piece:
        """A measured piece of a journey: no request of ours."""

        asked_ns, sent_ns, first_byte_ns, done_ns, outcome, size_bytes = 1, 1, 2, 3, OK, 0

    meter = TracedMeter(recorder)
    meter.begin("shop", warmup=False, pool_limited=False)
    piece: Any = Piece()
    piece.series = meter.ask("GET /a")
    meter.hold(piece)
    meter.settle()
    for second in (1, 2):
        record(recorder, [("GET /a", 5, OK, True), ("GET /b", 7, OK, False)])
        deltas = recorder.flip(second, second + 1)
        assert [one.sampled_n for one in deltas.sampled] == [0], "GET /b alone, which was not sampled"


@pytest.mark.parametrize(
    "rows",
    [
        (SampledSums(2, 1, 1, 1, 1),),
        (SampledSums(-1, 1, 1, 1, 1),),
        (SampledSums(1, 1, 1, 1, 1), SampledSums(1, 1, 1, 1, 1)),
        (SampledSums(0, -1, 0, 1, 1),),
        (SampledSums(0, 0, 1, 1, 1),),
        (SampledSums(0, 1, 1, 1, MAX_NS + 1),),
        (SampledSums(0, 1 << 60, 1, 1, 1),),
    ],
)
def test_impossible_sums_are_rejected(rows: tuple[SampledSums, ...]) -> None:
    with pytest.raises(WireError, match="delta has"):
        check_sampled("delta", rows, 2)


def test_seconds_in_which_an_agent_was_unfit_are_left_out_and_agents_add_up() -> None:
    table = DecidedTable()
    for agent in ("a", "b"):
        recorder = Recorder(sampling=Sampling(0.5))
        for second in range(3):
            record(recorder, [("GET /", 5, OK, True), ("GET /", 7, OK, False)])
            delta = recorder.flip(second * NS_PER_S, (second + 1) * NS_PER_S)
            is_unfit = (agent, second) in {("a", 1), ("b", 1), ("b", 2)}
            health = Health(unfit=("lag",)) if is_unfit else Health()
            table.add("eu", replace(delta, agent=agent, health=health))
    assert [row[1:] for row in table.rows()] == [(0, 2, 10, 2, 14), (2, 1, 5, 1, 7)]
    assert {row.series.request for row in table.rows()} == {"GET /"}
    assert table.rows(lambda series: series.region != "eu") == []
