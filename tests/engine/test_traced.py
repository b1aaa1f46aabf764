"""Plans with tracing store sampled requests first, with what is known of each, and know which ones are slow."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.protocol.phased import PhasedMeter
from loadgen.clients.request.traced_meter import TracedMeter, with_traces
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.engine.recording.first_byte_meter import with_first_byte
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.tracing.over_limits import NEVER_NS, OverLimits, RecentValues
from loadgen.engine.tracing.sampling import Sampling
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.measure.deltas.load_counts import LoadCounts
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.objectives.terms import Objective
from tests.support.scripted import CLOSE, client_of, ok, scripted
from tests.support.traced import Sampled


def recorder_of(sample: float = 1.0, *objectives: Objective) -> Recorder:
    return Recorder(sampling=Sampling(Trace(sample).probability, OverLimits(objectives)))


def meter_of(recorder: Recorder, n: int = 0, per: Any = "iteration", **begin: Any) -> TracedMeter:
    meter = type("OneMeter", (TracedMeter,), {"__slots__": (), "per": per})(recorder)
    meter.begin("shop", **{"warmup": False, "pool_limited": False, "n": n, "load": 1} | begin)
    assert isinstance(meter, TracedMeter)
    return meter


def by_why(delta: Delta) -> dict[str, list[Exemplar]]:
    found: dict[str, list[Exemplar]] = {}
    for one in delta.exemplars:
        found.setdefault(one.why, []).append(one)
    return found


def objective(limit_ns: int, **of: Any) -> Objective:
    given: dict[str, Any] = {"kind": "percentile", "text": "p(99)", "limit": limit_ns, "q": 99.0} | of
    return Objective(**given)


# -- what is stored ----------------------------------------------------------------------------


def test_of_requests_that_are_not_sampled_only_the_slowest_and_failed_ones_are_stored_without_weight() -> None:
    recorder, tracer = recorder_of(0.5), Tracer(Trace(0.0), Random(1))
    for n in range(50):
        meter = meter_of(recorder, n)
        meter.hold(Sampled(meter, tracer, "GET /", 1_000 + n, "http 503" if n in (3, 4, 5) else OK))
        meter.settle()
    found = by_why(recorder.flip(0, 1))
    assert [one.n for one in found["slowest"]] == [49]
    assert [one.n for one in found["failed"]] == [3, 4]
    assert set(found) == {"slowest", "failed"}
    for one in (*found["slowest"], *found["failed"]):
        assert (one.sampled, one.stands_for, one.may_be_read) == (False, 0.0, False)
        assert one.trace  # it is in the target's logs, perhaps
        assert one.span


def test_a_sampled_request_that_is_slower_than_all_others_is_stored_once() -> None:
    recorder = recorder_of(0.5)
    yes, no = Tracer(Trace(1.0), Random(1)), Tracer(Trace(0.0), Random(1))
    for n, (tracer, response_ns) in enumerate([(no, 900), (yes, 1_000), (no, 950)]):
        meter = meter_of(recorder, n)
        meter.hold(Sampled(meter, tracer, "GET /", response_ns))
        meter.settle()
    requests = [one for one in recorder.flip(0, 1).exemplars if one.request]
    assert [(one.why, one.n, one.sampled, one.stands_for) for one in requests] == [("slowest", 1, True, 2.0)]
    assert requests[0].may_be_read


def test_a_trace_of_the_scenario_may_be_read_and_stands_for_nothing() -> None:
    recorder = recorder_of(0.5)
    meter = meter_of(recorder)
    sample = Sampled(meter, Tracer(Trace(1.0), Random(1)), "GET /", 1_000)
    sample.span, sample.is_sampled = "", False
    meter.hold(sample)
    meter.settle()
    (one,) = recorder.flip(0, 1).exemplars
    assert (one.trace, one.may_be_read, one.stands_for) == (sample.trace, True, 0.0)


def test_slow_ones_are_those_above_the_objective_of_their_series() -> None:
    recorder = recorder_of(1.0, objective(500, request="GET /a"), objective(100, request="GET /b"))
    meter, tracer = meter_of(recorder), Tracer(Trace(1.0), Random(1))
    for name in ("GET /a", "GET /b", "GET /c"):
        for response_ns in (50, 200, 300, 400, 600, 700, 800, 900):
            meter.hold(Sampled(meter, tracer, name, response_ns))
    meter.settle()
    over = by_why(recorder.flip(0, 1))["over"]
    assert {one.request for one in over} == {"GET /a", "GET /b"}
    assert all(one.response_ns > (500 if one.request == "GET /a" else 100) for one in over)
    assert {one.request: round(2 * one.stands_for) for one in over} == {"GET /a": 3, "GET /b": 6}


def test_without_an_objective_slow_ones_are_above_the_p95_of_the_time_before() -> None:
    recorder = recorder_of(1.0)
    meter, tracer = meter_of(recorder), Tracer(Trace(1.0), Random(1))

    def second(at: int) -> dict[str, list[Exemplar]]:
        for n in range(100):
            meter.hold(Sampled(meter, tracer, "GET /", 1_000 + 10 * n))
        meter.settle()
        return by_why(recorder.flip(at, at + 1))

    assert "over" not in second(0)  # nothing is known yet
    over = second(1)["over"]
    assert all(1_900 <= one.response_ns < 2_000 for one in over)
    assert sum(one.stands_for for one in over) == pytest.approx(4, abs=1)


def test_iterations_and_steps_of_sampled_iterations_list_their_requests() -> None:
    recorder = recorder_of(0.5)
    meter, tracer = meter_of(recorder, 7), Tracer(Trace(1.0), Random(1))
    first = Sampled(meter, tracer, "GET /", 100, asked_ns=10)
    meter.hold(first)
    outer = meter.enter("pay")
    second = Sampled(meter, tracer, "POST /pay", 300, asked_ns=200)
    meter.hold(second)
    meter.settle()
    meter.leave(outer, 310, 310, OK, False, 190)
    recorder.iteration(recorder.journey_series("shop"), 500, 500, 0, 0, OK, False, 5, 7, 1, None, meter.spans)
    found = {(one.step, one.request): one for one in recorder.flip(0, 1).exemplars}
    texts = tuple(f"{one.trace}-{one.span}" for one in (first, second))
    assert first.trace != second.trace
    assert found["", ""].requests == texts
    assert found["pay", ""].requests == texts[1:]
    assert {(one.sampled, one.stands_for, one.n) for one in found.values()} == {(True, 2.0, 7)}
    assert (found["pay", ""].at_ns, found["pay", ""].response_ns) == (190, 310)


def test_one_trace_for_an_iteration_is_the_trace_of_its_exemplar() -> None:
    recorder = recorder_of(0.5)
    meter, tracer = meter_of(recorder, per="trace"), Tracer(Trace(1.0, per="trace"), Random(1))
    some = [Sampled(meter, tracer, "GET /", 100 + n) for n in range(3)]
    for one in some:
        meter.hold(one)
    meter.settle()
    recorder.iteration(recorder.journey_series("shop"), 500, 500, 0, 0, OK, False, spans=meter.spans)
    (iteration,) = [one for one in recorder.flip(0, 1).exemplars if not one.request]
    assert {one.trace for one in some} == {iteration.trace}
    assert len(set(iteration.requests)) == 3


def test_if_each_call_is_decided_by_itself_iterations_are_not_sampled() -> None:
    recorder = recorder_of(0.5)
    meter, tracer = meter_of(recorder, per="request"), Tracer(Trace(1.0, per="request"), Random(1))
    meter.hold(Sampled(meter, tracer, "GET /", 100))
    meter.settle()
    assert meter.spans is None
    recorder.iteration(recorder.journey_series("shop"), 500, 500, 0, 0, OK, False, spans=meter.spans)
    found = {one.request: one for one in recorder.flip(0, 1).exemplars}
    assert (found[""].sampled, found["GET /"].sampled) == (False, True)


def test_the_next_iteration_begins_without_the_traces_of_the_last() -> None:
    meter, tracer = meter_of(recorder_of()), Tracer(Trace(1.0), Random(1))
    meter.hold(Sampled(meter, tracer, "GET /", 100))
    meter.begin("shop", warmup=False, pool_limited=False, n=2)
    assert (meter.spans, meter.trace_unit) == (None, "")


def test_an_iteration_of_any_length_lists_a_bounded_number_of_requests() -> None:
    recorder = recorder_of()
    meter, tracer = meter_of(recorder), Tracer(Trace(1.0), Random(1))
    for n in range(500):
        meter.hold(Sampled(meter, tracer, "GET /", 100, asked_ns=n))
    meter.settle()
    assert meter.spans is not None
    assert len(meter.spans.since(0)) == 50


def test_an_interval_tells_whether_the_generator_was_unfit_and_which_loads_ran() -> None:
    recorder = recorder_of()
    recorder.take_loads = lambda: (LoadCounts(0), LoadCounts(1, started=3), LoadCounts(2, users=5))
    meter = meter_of(recorder)
    meter.hold(Sampled(meter, Tracer(Trace(1.0), Random(1)), "GET /", 100))
    meter.settle()
    (one,) = recorder.flip(0, 1, lambda lag_ns, response_ns: Health(unfit=("lag",))).exemplars
    assert (one.unfit, one.active_loads) == (True, (1, 2))


def test_meters_that_record_more_are_traced_as_well() -> None:
    recorder = recorder_of()
    meter = with_traces(with_first_byte(PhasedMeter), Trace(per="request"))(recorder)
    assert isinstance(meter, TracedMeter)
    assert meter.per == "request"
    meter.begin("shop", warmup=False, pool_limited=False)
    meter.hold(Sampled(meter, Tracer(Trace(1.0), Random(1)), "GET /", 100))
    meter.settle()
    delta = recorder.flip(0, 1)
    assert {key.metric for key in delta.new_series} >= {"ttfb", "response"}
    assert len(delta.exemplars) == 1


# -- of real requests --------------------------------------------------------------------------


async def test_an_exemplar_has_what_the_client_knows_of_its_request() -> None:
    recorder, tracer = recorder_of(), Tracer(Trace(1.0), Random(1))
    meter = meter_of(recorder, 7, pool_limited=True)
    async with scripted(ok(b"x" * 100, status="201 C")) as server, client_of(server.url, tracer=tracer) as client:
        client._meter = meter
        first = await client.get("/a")
        second = await client.get("/b")
        meter.settle()
        found = {one.request: one for one in recorder.flip(0, 1).exemplars}
    fresh, kept = found["GET /a"], found["GET /b"]
    assert (fresh.trace, fresh.span) == (first.trace, first.span)
    assert (kept.trace, kept.span) == (second.trace, second.span)
    assert fresh.status == kept.status == 201
    assert (fresh.reused, kept.reused) == (False, True)
    assert fresh.remote == kept.remote == server.url.removeprefix("http://")
    assert fresh.pool_limited
    blocked, dns, connect, tls, send, wait, receive = fresh.phases
    assert (blocked, dns, tls, send) == (0, dns, 0, 0)
    assert connect > 0
    assert wait == fresh.first_byte_ns > 0
    assert wait + receive == fresh.service_ns
    assert kept.phases[:5] == (0, 0, 0, 0, 0)
    assert sum(kept.phases) == kept.service_ns <= kept.response_ns


async def test_a_request_without_an_answer_has_neither_status_nor_first_byte() -> None:
    recorder, tracer = recorder_of(), Tracer(Trace(1.0), Random(1))
    meter = meter_of(recorder)
    async with scripted(CLOSE) as server, client_of(server.url, tracer=tracer) as client:
        client._meter = meter
        with pytest.raises(RequestFailed):
            await client.post("/a", json={})
        (one,) = [one for one in recorder.flip(0, 1).exemplars if one.request]
    assert (one.why, one.sampled, one.status, one.first_byte_ns) == ("failed", True, 0, 0)
    assert one.remote


# -- thresholds --------------------------------------------------------------------------------


KEY = SeriesKey("request", "shop", None, "GET /", OK, "response")


@pytest.mark.parametrize(
    ("one", "limit"),
    [
        (objective(300, request="GET /"), 300),
        (objective(300, request="GET /", q=50.0), None),
        (objective(300, request="GET /", kind="maximum", q=0.0), 300),
        (objective(300, request="GET /", kind="mean", q=0.0), None),
        (objective(300, request="GET /", metric="service"), None),
        (objective(300, request="GET /", region="us"), None),
        (objective(300, request="GET /", operator=">"), None),
        (objective(300), None),  # of the journey
    ],
)
def test_objectives_on_the_tail_of_a_series_limit_it(one: Objective, limit: int | None) -> None:
    assert OverLimits([one], "eu").of_objectives(KEY) == limit


def test_the_lowest_of_several_objectives_counts() -> None:
    some = [objective(limit, request="GET /") for limit in (500, 300, 900)]
    assert OverLimits(some).of_objectives(KEY) == 300


@given(st.lists(st.lists(st.integers(0, 1_000), max_size=80), max_size=40))
def test_the_p95_is_one_of_the_values_of_the_last_30_intervals(intervals: list[list[int]]) -> None:
    recent = RecentValues()
    for values in intervals:
        recent.add(values)
    kept = [values for values in intervals if values][-30:]
    p95_ns = recent.p95_ns()
    assert (p95_ns is None) == (sum(min(len(values), 20) for values in kept) < 20)
    assert p95_ns is None or any(p95_ns in values for values in kept)


def test_the_p95_of_many_values_is_near_theirs() -> None:
    """600 of 30,000: standard error of the level 0.9 points, so within 4 of them it is 91.4 to 98.6."""
    chance, recent, all_ = Random(2), RecentValues(), []
    for _ in range(30):
        values = [chance.randrange(1_000_000) for _ in range(1_000)]
        recent.add(values)
        all_ += values
    p95_ns = recent.p95_ns()
    assert p95_ns is not None
    assert 0.914 < sum(value < p95_ns for value in all_) / len(all_) < 0.986


def test_thresholds_of_many_series_are_computed_in_turns() -> None:
    limits = OverLimits()
    some = [(SeriesKey("request", "shop", None, f"GET /{n}", OK, "response"), list(range(100))) for n in range(40)]
    limits.learn(some)
    limits.learn(some)
    seen = [set(limits.learn(some)) for _ in range(3)]
    assert [len(found) for found in seen] == [16, 16, 16]
    assert set.union(*seen) == {key for key, _ in some}


def test_a_series_without_a_threshold_has_no_slow_ones() -> None:
    assert recorder_of().request_series("shop", None, "GET /").over_ns == NEVER_NS
