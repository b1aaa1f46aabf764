"""What answers say of traces and of the target's own times is read, bounded, and counted where it is unreadable."""

from __future__ import annotations

from random import Random
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.request.answer_traces import INVALID, answer_headers, named_trace
from loadgen.clients.request.named_traces import FOREIGN, INVALID_NAMES
from loadgen.clients.request.server_timing import LEFT_OUT, MOST_NAMES, durations, metric_name
from loadgen.clients.request.traced_meter import TracedMeter, with_traces
from loadgen.clients.request.tracing import Trace, TraceFormat, Tracer
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.sampling import Sampling
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.histograms.histogram import MAX_NS
from tests.support.scripted import client_of, ok, scripted

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BOTH: tuple[TraceFormat, ...] = ("w3c", "xray")


# -- the trace that an answer names ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("formats", "name", "value", "found"),
    [
        (BOTH, "traceresponse", f"00-{ID}-{SPAN}-01", ID),
        (BOTH, "TraceResponse", f"00-{ID}--01", ID),
        (BOTH, "traceresponse", f"00-{ID}-{SPAN}-00", ""),  # not sampled, so nobody can read it
        (BOTH, "Server-Timing", f'traceparent;desc="00-{ID}-{SPAN}-01"', ID),
        (BOTH, "server-timing", f'cache;dur=3, traceparent;desc="00-{ID}-{SPAN}-01", db;dur=2', ID),
        (BOTH, "server-timing", "cache;dur=3", ""),
        (BOTH, "X-Amzn-Trace-Id", f"Root=1-{ID[:8]}-{ID[8:]};Sampled=1", ID),
        (BOTH, "X-Amzn-Trace-Id", f"Self=1-1-1;Root=1-{ID[:8]}-{ID[8:]}", ID),
        (BOTH, "X-Amzn-Trace-Id", f"Root=1-{ID[:8]}-{ID[8:]};Parent={SPAN};Sampled=0", ""),
        (("w3c",), "X-Amzn-Trace-Id", f"Root=1-{ID[:8]}-{ID[8:]}", ""),  # a gateway's, of another system
        (("xray",), "traceresponse", f"00-{ID}-{SPAN}-01", ""),
        (("b3", "datadog"), "traceresponse", f"00-{ID}-{SPAN}-01", ""),
        (BOTH, "traceresponse", f"00-{'0' * 32}-{SPAN}-01", INVALID),
        (BOTH, "traceresponse", f"00-{ID.upper()}-{SPAN}-01", INVALID),
        (BOTH, "traceresponse", f"00-{ID}-{SPAN}-01\x1b[31m", INVALID),
        (BOTH, "traceresponse", " " * 5_000 + f"00-{ID}-{SPAN}-01", INVALID),
        (BOTH, "X-Amzn-Trace-Id", "Root=1-" + "9" * 100_000, INVALID),
    ],
)
def test_id_of_an_answer_is_read_by_the_plans_formats(
    formats: tuple[TraceFormat, ...], name: str, value: str, found: str
) -> None:
    headers = [(b"Date", b"today"), (name.encode(), value.encode())]
    assert named_trace(headers, answer_headers(formats)) == found


@given(st.lists(st.tuples(st.sampled_from([b"traceresponse", b"server-timing", b"x-amzn-trace-id"]), st.binary())))
def test_whatever_an_answer_says_the_result_is_an_id_or_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    found = named_trace(headers, answer_headers(BOTH))
    assert found in ("", INVALID) or (len(found) == 32 and set(found) <= set("0123456789abcdef"))


async def delta_of(trace: Trace, *answers: bytes) -> tuple[Delta, list[str]]:
    """The delta of a request for each answer, and the ids that were sent."""
    recorder = Recorder(sampling=Sampling(trace.probability))
    meter = with_traces(Meter, trace)(recorder)
    assert isinstance(meter, TracedMeter)
    meter.begin("shop", warmup=False, pool_limited=False)
    sent, tracer = [], Tracer(trace, Random(1))
    coming = iter(answers)
    async with (
        scripted(lambda _: next(coming)) as server,
        client_of(server.url, tracer=tracer) as client,
    ):
        client._meter = meter
        for n in range(len(answers)):
            sent.append((await client.get(f"/{n}")).trace)
        meter.settle()
    return recorder.flip(0, 1), sent


async def test_exemplar_has_the_trace_that_the_edge_began_and_both_kinds_are_counted() -> None:
    delta, sent = await delta_of(
        Trace(1.0),
        ok(b"x", f"traceresponse: 00-{ID}-{SPAN}-01"),
        ok(b"x", "traceresponse: nonsense"),
        ok(b"x"),
    )
    found = {one.request: one for one in delta.exemplars}
    assert [found[f"GET /{n}"].trace for n in range(3)] == [ID, sent[1], sent[2]]
    assert all(one.sampled and one.may_be_read for one in found.values())
    assert {one.name: one.total for one in delta.custom} == {FOREIGN: 1, INVALID_NAMES: 1}


async def test_requests_that_are_not_sampled_keep_our_id() -> None:
    delta, sent = await delta_of(Trace(0.0), ok(b"x", f"traceresponse: 00-{ID}-{SPAN}-01"))
    assert [one.trace for one in delta.exemplars if one.request] == sent
    assert delta.custom == ()


# -- Server-Timing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found", "left_out"),
    [
        (b"db;dur=53, app;dur=47.2", [("db", 53_000_000), ("app", 47_200_000)], 0),  # MDN's example
        (b'miss, a;dur=53;desc="x, y; z", b;desc="Read";dur=23.2', [("a", 53_000_000), ("b", 23_200_000)], 0),
        (b'total;DUR="123.4"', [("total", 123_400_000)], 0),
        (b"", [], 0),
        (b"db;dur=-1, db;dur=nan, db;dur=1e9, db;dur=", [], 0),
        (b"db;dur=9999999999", [], 1),
        (b"<b>;dur=1, db;dur=2", [("db", 2_000_000)], 1),
        (b"a|b;dur=1", [], 1),
        (b"n" * 65 + b";dur=1", [], 1),
        (b'db;dur=1, "oops', [("db", 1_000_000)], 1),
        (b"a;dur=1," * 40, [("a", 1_000_000)] * 32, 1),
        (b";" * 100_000, [], 2),
    ],
)  # fmt: skip
def test_durations_are_read_and_the_rest_is_counted(value: bytes, found: list[tuple[str, int]], left_out: int) -> None:
    assert durations(value) == (found, left_out)


@given(st.binary(max_size=300))
def test_no_header_breaks_the_reading(value: bytes) -> None:
    found, left_out = durations(value)
    assert all(set(name) <= set(ascii_letters + digits + "_.-") and 0 <= ns <= MAX_NS for name, ns in found)
    assert len(found) + left_out <= 33


async def test_every_answer_adds_to_a_metric_for_each_name_whether_sampled_or_not() -> None:
    answers = [ok(b"x", f"Server-Timing: db;dur={n}, app;dur=2") for n in (1, 2, 3)]
    delta, _ = await delta_of(Trace(0.0, server_timing=True), *answers)
    sums = {
        delta.new_series[one.series].request: (one.n, one.sum_ns)
        for one in delta.stats
        if delta.new_series[one.series].kind == "trend"
    }
    assert sums == {metric_name("db"): (3, 6_000_000), metric_name("app"): (3, 6_000_000)}


async def test_names_beyond_the_limit_are_counted() -> None:
    header = ", ".join(f"n{n};dur=1" for n in range(MOST_NAMES + 5))
    delta, _ = await delta_of(Trace(0.0, server_timing=True), ok(b"x", f"Server-Timing: {header}"))
    assert sum(key.kind == "trend" for key in delta.new_series) == MOST_NAMES
    assert [(one.name, one.total) for one in delta.custom] == [(LEFT_OUT, 5)]


async def test_without_the_setting_no_durations_are_recorded() -> None:
    delta, _ = await delta_of(Trace(0.0), ok(b"x", "Server-Timing: db;dur=1"))
    assert not any(key.kind == "trend" for key in delta.new_series)
