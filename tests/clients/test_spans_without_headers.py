"""Rows of protocols without headers: TCP, UDP and messages of WebSockets have spans of ours, and pass no trace on."""

from __future__ import annotations

import asyncio
from random import Random
from time import perf_counter_ns
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from loadgen.clients.request.tracing import Trace
from loadgen.clients.span_export.otlp_spans import encoded
from loadgen.clients.span_export.sender import SpanSender
from loadgen.clients.tcp_udp.frames import lines
from loadgen.dsl.users.user import User
from loadgen.engine.recording.exemplars import Exemplars
from loadgen.engine.tracing.client_spans import ClientSpan, Request
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import OK
from tests.support.links import Rows, tcp_peer, udp_peer, user_for
from tests.support.ws_servers import ws_server


class Kept(SpanSender):
    """Keeps the spans instead of sending them."""

    def __init__(self) -> None:
        super().__init__(None, {}, str, Random(3))  # type: ignore[arg-type]
        self.kept: list[ClientSpan] = []

    def put(self, spans: list[ClientSpan], left_out: int) -> None:
        self.kept += spans


def traced_rows() -> Rows:
    """A recorder as that of a plan with tracing."""
    recorder = Rows()
    recorder.exemplars = Exemplars(probability=1.0)
    return recorder


def ended(user: User, recorder: Rows) -> None:
    """End the iteration of a user, as its runner does."""
    user._meter.settle()
    now_ns = perf_counter_ns()
    series = recorder.journey_series("shop")
    recorder.iteration(series, 2_000, 2_000, None, None, OK, False, now_ns, spans=user._meter.spans)


def trace_of(per: Any, sample: float = 1.0) -> dict[str, Any]:
    return {"trace": Trace(sample, per=per)}


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        writer.write(line)


async def run_links(per: Any, sample: float = 1.0, recorder: Rows | None = None) -> list[ClientSpan]:
    """Run one iteration with a TCP connection and a datagram, and return its spans."""
    kept, recorder = Kept(), recorder or Rows()
    async with tcp_peer(echo) as tcp, udp_peer(lambda message: [message]) as udp:
        targets = {"gate": f"tcp://{tcp}", "dns": f"udp://{udp}"}
        async with user_for(targets, recorder, ways=trace_of(per, sample), export=kept) as user:
            user._meter.begin("shop", warmup=False, pool_limited=False)
            async with user.step("pay"), user.tcp("gate", frame=lines()) as link:
                await link.ask(b"PING", name="ping")
            await user.udp("dns").ask(b"who")
            ended(user, recorder)
    return kept.kept


async def test_in_one_trace_rows_of_tcp_and_udp_lie_below_their_steps_with_the_address_of_the_target() -> None:
    spans = await run_links("trace")
    by_name = {one.name: one for one in spans}
    assert set(by_name) == {"TCP gate (connect)", "ping", "UDP dns", "pay", "shop"}
    assert len({one.trace for one in spans}) == 1
    assert by_name["ping"].parent == by_name["pay"].span
    assert by_name["UDP dns"].parent == by_name["pay"].parent == by_name["shop"].span
    request = by_name["ping"].request
    assert isinstance(request, Request)
    assert (request.method, request.url, request.host, request.status) == ("", "", "127.0.0.1", 0)
    assert request.port > 0
    message = ExportTraceServiceRequest.FromString(encoded([by_name["ping"]], {}, 0))
    (sent,) = message.resource_spans[0].scope_spans[0].spans
    assert sent.kind == sent.SPAN_KIND_CLIENT
    assert {one.key for one in sent.attributes} == {"server.address", "server.port", "loadgen.step"}


async def test_with_a_trace_for_each_call_a_row_is_the_root_of_its_own() -> None:
    spans = [one for one in await run_links("iteration") if one.request is not None]
    assert len({one.trace for one in spans}) == 3
    assert {one.parent for one in spans} == {""}
    alone = await run_links("request")
    assert {one.name for one in alone} == {"TCP gate (connect)", "ping", "UDP dns"}, "no journey, no step"


async def test_a_measured_call_of_a_library_is_a_span_without_an_address() -> None:
    kept, recorder = Kept(), traced_rows()
    async with user_for({"cache": "redis://127.0.0.1"}, recorder, ways=trace_of("trace"), export=kept) as user:
        user._meter.begin("shop", warmup=False, pool_limited=False)
        with pytest.raises(KeyError):
            async with user.measure("GET sku", outcomes={KeyError: "missing"}):
                raise KeyError("sku")
        ended(user, recorder)
    (call, journey) = kept.kept
    assert (call.name, call.outcome, call.parent) == ("GET sku", "missing", journey.span)
    assert call.request == Request("", "", "", 0, 0)
    (exemplar,) = [one for one in recorder.flip(0, 1).exemplars if one.request]
    assert (exemplar.trace, exemplar.span) == (call.trace, call.span)


async def test_rows_that_are_not_sampled_have_no_span() -> None:
    assert await run_links("iteration", 0.0) == []


async def test_a_failed_row_has_its_outcome_in_its_span() -> None:
    kept, recorder = Kept(), Rows()
    async with user_for({"gate": "tcp://127.0.0.1:1"}, recorder, ways=trace_of("trace"), export=kept) as user:
        user._meter.begin("shop", warmup=False, pool_limited=False)
        with pytest.raises(RequestFailed):
            await user.tcp("gate", frame=lines()).open()
        ended(user, recorder)
    assert [(one.name, one.outcome) for one in kept.kept] == [("TCP gate (connect)", "refused"), ("shop", OK)]


async def test_messages_of_a_websocket_are_spans_beside_that_of_the_handshake_which_carries_the_trace() -> None:
    kept, recorder = Kept(), Rows()
    async with (
        ws_server() as server,
        user_for({"": server.url}, recorder, ways=trace_of("trace"), export=kept) as user,
    ):
        user._meter.begin("shop", warmup=False, pool_limited=False)
        async with user.ws("/feed") as ws:
            await ws.ask("hello")
            await ws.ping()
        ended(user, recorder)
    spans = {one.name: one for one in kept.kept}
    assert set(spans) == {"WS /feed (connect)", "WS /feed (ask)", "WS /feed (ping)", "WS /feed (close)", "shop"}
    assert len({one.trace for one in spans.values()}) == 1
    connect = spans["WS /feed (connect)"]
    assert server.headers[0]["traceparent"] == f"00-{connect.trace}-{connect.span}-01"
    assert {one.parent for one in spans.values()} == {"", spans["shop"].span}


@pytest.mark.parametrize("per", ["trace", "iteration", "request"])
async def test_the_exemplar_of_a_row_leads_to_its_span(per: str) -> None:
    recorder = traced_rows()
    spans = {one.name: (one.trace, one.span) for one in await run_links(per, recorder=recorder)}
    found = {one.request: one for one in recorder.flip(0, 1).exemplars if one.request}
    assert set(found) == {"TCP gate (connect)", "ping", "UDP dns"}
    for name, one in found.items():
        assert (one.trace, one.span) == spans[name]
        assert one.sampled
        assert one.stands_for == 1.0


async def test_the_exemplar_of_a_slow_message_of_a_websocket_leads_to_its_span_and_a_failure_is_kept() -> None:
    kept, recorder = Kept(), traced_rows()
    async with (
        ws_server() as server,
        user_for({"": server.url}, recorder, ways=trace_of("trace"), export=kept) as user,
    ):
        user._meter.begin("shop", warmup=False, pool_limited=False)
        async with user.ws("/feed") as ws:
            with pytest.raises(RequestFailed):
                await ws.ask({"op": "silent"}, name="silent", timeout=0.05)
        ended(user, recorder)
    span = next(one for one in kept.kept if one.name == "silent")
    delta = recorder.flip(0, 1)
    (exemplar,) = [one for one in delta.exemplars if one.request == "silent"]
    assert (exemplar.trace, exemplar.span, exemplar.why) == (span.trace, span.span, "failed")


async def test_rows_that_are_not_sampled_have_exemplars_without_a_trace() -> None:
    recorder = traced_rows()
    await run_links("iteration", 0.0, recorder=recorder)
    found = [one for one in recorder.flip(0, 1).exemplars if one.request]
    assert {(one.request, one.trace, one.sampled, one.why) for one in found} == {
        (name, "", False, "slowest") for name in ("TCP gate (connect)", "ping", "UDP dns")
    }


async def test_without_an_export_such_rows_draw_no_decision() -> None:
    recorder = Rows()
    async with (
        tcp_peer(echo) as tcp,
        user_for({"gate": f"tcp://{tcp}"}, recorder, ways=trace_of("iteration")) as user,
    ):
        user._meter.begin("shop", warmup=False, pool_limited=False)
        async with user.tcp("gate", frame=lines()) as link:
            await link.ask(b"PING")
        assert (user._meter.trace_unit, user._meter.spans) == ("", None)
