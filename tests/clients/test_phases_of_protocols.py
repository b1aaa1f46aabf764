"""Phases of gRPC calls and of UDP, and exemplars of gRPC calls that succeed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.series_key import OK, PHASES
from loadgen.units import NS_PER_MS
from tests.support.http2 import Asked, Served, http2_server
from tests.support.links import Rows, user_for
from tests.support.scripted import client_of

WAIT_MS, RECEIVE_MS = 60, 40
GRPC = ("content-type", "application/grpc")


def values_of(recorder: Recorder) -> dict[tuple[str, str], list[int]]:
    """Return the values of (row, metric) in ns: phases, and the service times of successful requests."""
    found: dict[tuple[str, str], list[int]] = {}
    for series in list(recorder._series.values()):
        for key, values in series.swap():
            if key.metric in (*PHASES, "service") and key.outcome == OK:
                found.setdefault((str(getattr(key, "request", "")), key.metric), []).extend(values)
    return found


async def slow(served: Served, asked: Asked) -> None:
    """Answer after WAIT_MS with a message, and after further RECEIVE_MS with the status."""
    await asyncio.sleep(WAIT_MS / 1_000)
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"a"))
    await asyncio.sleep(RECEIVE_MS / 1_000)
    served.headers(asked.stream, None, ("grpc-status", "0"), end=True)


@asynccontextmanager
async def channel_to(url: str, tracer: Tracer | None = None) -> AsyncIterator[tuple[GrpcChannel, HttpClient]]:
    pool = Http2Pool(TcpNetwork(), prior=True, has_phases=True)
    async with client_of(url, pool=pool, has_phases=True, tracer=tracer) as client:
        yield GrpcChannel(client), client


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_grpc_call_has_the_phases_of_its_request_and_they_add_up(kind: str) -> None:
    async with http2_server(slow) as server, channel_to(server.url) as (channel, client):
        for _ in range(2):
            call: Any = getattr(channel, kind)("/s/Slow")([b"x"] if kind.startswith("stream") else b"x")
            if kind.endswith("unary"):
                assert await call == b"a"
            else:
                assert [one async for one in call] == [b"a"]
        client.meter.settle()
        found = values_of(client.meter.recorder)
    assert {row for row, _ in found} == {"s/Slow"}
    assert len(found["s/Slow", "connect"]) == 1, "the second call uses the connection of the first one"
    assert len(found["s/Slow", "wait"]) == len(found["s/Slow", "receive"]) == len(found["s/Slow", "service"]) == 2
    assert min(found["s/Slow", "wait"]) >= WAIT_MS * NS_PER_MS
    for wait_ns, receive_ns, service_ns in zip(
        found["s/Slow", "wait"], found["s/Slow", "receive"], found["s/Slow", "service"], strict=True
    ):
        assert receive_ns > 0
        assert wait_ns + receive_ns <= service_ns


async def test_an_answer_by_udp_has_a_wait_that_contains_the_time_of_the_server() -> None:
    rows = Rows()
    transports: list[asyncio.DatagramTransport] = []

    class Slow(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            transports.append(transport)

        def datagram_received(self, data: bytes, address: Any) -> None:
            asyncio.get_running_loop().call_later(WAIT_MS / 1_000, transports[0].sendto, data, address)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Slow, ("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    async with user_for({"dns": f"udp://{host}:{port}"}, rows, ways={"http": Http(phases=True)}) as user:
        for _ in range(2):
            await user.udp("dns").ask(b"who", name="lookup")
        found = values_of(rows)
    transport.close()
    assert len(found["lookup", "wait"]) == len(found["lookup", "service"]) == 2
    assert min(found["lookup", "wait"]) >= WAIT_MS * NS_PER_MS
    for wait_ns, service_ns in zip(found["lookup", "wait"], found["lookup", "service"], strict=True):
        assert wait_ns <= service_ns


async def test_a_grpc_call_that_succeeds_is_an_exemplar_with_its_trace_and_phases() -> None:
    tracer = Tracer(Trace(1.0, ("w3c",), per="request"), Random(1))
    async with http2_server(slow) as server, channel_to(server.url, tracer) as (channel, client):
        assert await channel.unary_unary("/s/Get")(b"x") == b"a"
        assert [one async for one in channel.unary_stream("/s/Watch")(b"x")] == [b"a"]
        client.meter.settle()
        delta = client.meter.recorder.flip(0, 1)
        traces = [str(asked.header("traceparent")).split("-")[1] for asked in server.asked]
    found = {one.request: one for one in delta.exemplars}
    assert [found[name].trace for name in ("s/Get", "s/Watch")] == traces
    for name in ("s/Get", "s/Watch"):
        assert found[name].outcome == OK
        assert found[name].response_ns >= (WAIT_MS + RECEIVE_MS) * NS_PER_MS
