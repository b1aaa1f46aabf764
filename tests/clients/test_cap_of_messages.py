"""The cap of an allow-list counts what a journey sends, by one rule for all protocols (docs/guard.md, Caps)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc import aio

from loadgen.allowlist import CapShare
from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.request.rate_cap import Cap, OverTheCap, capped
from loadgen.clients.tcp_udp.frames import lines
from loadgen.clients.ws_client.websocket import WebSocket
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import OK
from tests.support.grpc_server import SERVICE, GrpcServer, grpc_server
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.links import Rows as LinkRows
from tests.support.links import tcp_peer, user_for
from tests.support.scripted import Rows, rows_of
from tests.support.ws_servers import opened, ws_server

CANCEL = 8
"""The code of HTTP/2."""


def cap_of(count: int) -> Cap:
    """A cap of `count` requests in a second that does not pass within a test."""
    return Cap(lambda per_s: CapShare(count, per_s), float(count), clock=lambda: 0)


@asynccontextmanager
async def client_with(cap: Cap, url: str, pool: Any = None) -> AsyncIterator[HttpClient]:
    meter = capped(Meter, cap)(Rows())
    meter.begin("journey", warmup=False, pool_limited=False)
    client = HttpClient(meter, ConnectionPool(TcpNetwork()) if pool is None else pool, url)
    try:
        yield client
    finally:
        await client.close()


# -- WebSocket -----------------------------------------------------------------------------------


async def test_each_message_of_send_counts_and_the_one_above_the_cap_is_not_sent() -> None:
    cap = cap_of(4)
    async with ws_server() as server, client_with(cap, server.url) as client:
        ws = await opened(client).__aenter__()  # 1
        await ws.send({"op": "silent", "n": 1})  # 2
        await ws.ask("hello")  # 3
        await ws.send({"op": "silent", "n": 2})  # 4
        with pytest.raises(OverTheCap):
            await ws.send({"op": "silent", "n": 3})
        with pytest.raises(OverTheCap):
            await ws.close()
        assert [row.name for row in rows_of(client)] == ["WS /feed (connect)", "WS /feed (ask)"]
    assert len(server.received) == 3
    assert cap.refused == 2, "the message and the close"


async def test_a_journey_that_sends_less_than_the_cap_is_not_limited() -> None:
    cap = cap_of(12)
    async with ws_server() as server, client_with(cap, server.url) as client, opened(client) as ws:
        for _ in range(10):
            await ws.send({"op": "silent"})
    assert (len(server.received), cap.refused) == (10, 0)


async def test_messages_of_the_target_and_the_end_that_it_chose_do_not_count() -> None:
    cap = cap_of(3)
    async with ws_server() as server, client_with(cap, server.url) as client:
        async with opened(client) as ws:  # 1
            await ws.send({"op": "feed", "n": 5})  # 2
            assert len([message async for message in ws.messages(upto=5)]) == 5
            await ws.send("close 4001")  # 3
            with pytest.raises(RequestFailed, match="4001"):
                await anext(aiter(ws.messages()))
        assert (rows_of(client)[-1].name, rows_of(client)[-1].outcome) == ("WS /feed (close)", "ws 4001")
    assert cap.refused == 0


async def test_a_send_on_a_closed_connection_raises_its_end_and_spends_nothing() -> None:
    cap = cap_of(3)
    async with ws_server() as server, client_with(cap, server.url) as client, opened(client) as ws:
        await ws.close()
        with pytest.raises(RequestFailed, match="ws closed"):
            await ws.send("x")
        assert cap.take(), "the third is still free"


async def test_without_a_cap_the_classes_of_the_hot_path_are_the_plain_ones() -> None:
    async with ws_server() as server:
        client = HttpClient(Meter(Rows()), ConnectionPool(TcpNetwork()), server.url)
        async with opened(client) as ws:
            assert type(ws) is WebSocket
            assert type(ws).send is WebSocket.send
        await client.close()


# -- gRPC ----------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[GrpcServer]:
    async with grpc_server() as found:
        yield found


def stub(client: HttpClient, kind: str, name: str) -> Any:
    return getattr(GrpcChannel(client), kind)(f"/{SERVICE}/{name}")


async def test_a_grpc_call_counts_once_and_each_message_that_it_streams_to_the_server_once(server: GrpcServer) -> None:
    cap = cap_of(8)
    async with client_with(cap, server.url, prior_pool()) as client:
        assert await stub(client, "unary_unary", "Get")(b"a") == b"a"  # 1
        found = [message async for message in stub(client, "unary_stream", "Watch")(b"9,1")]  # 2, answers are free
        assert await stub(client, "stream_unary", "Sum")([b"a", b"bc"]) == b"3"  # 5
        call = stub(client, "stream_stream", "Chat")()  # 6
        for n in range(2):  # 8
            await call.write(bytes([n]))
            assert await call.read() == bytes([n])
        await call.done_writing()
        assert await call.read() is aio.EOF
        assert len(found) == 9
        assert cap.refused == 0
        assert not cap.take()


@pytest.mark.parametrize("is_iterator", [True, False])
async def test_a_grpc_message_above_the_cap_ends_its_call_and_the_journey_gets_the_refusal(is_iterator: bool) -> None:
    async def opens(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200, ("content-type", "application/grpc"))
        await served.is_closed.wait()

    cap = cap_of(3)
    async with http2_server(opens, early=True) as server, client_with(cap, server.url, prior_pool()) as client:
        chat = stub(client, "stream_stream", "Chat")  # 1
        async with asyncio.timeout(10):
            if is_iterator:
                with pytest.raises(OverTheCap):
                    await chat([b"a", b"b", b"c"]).read()
            else:
                call = chat()
                await call.write(b"a")
                await call.write(b"b")
                with pytest.raises(OverTheCap):
                    await call.write(b"c")
            while server.asked[0].reset is None:
                await asyncio.sleep(0)
        assert (server.asked[0].body, server.asked[0].reset) == (framed(b"a") + framed(b"b"), CANCEL)
        assert rows_of(client) == []
        assert (client.meter.recorder.counters.requests_started, cap.refused) == (1, 1)


# -- TCP -----------------------------------------------------------------------------------------


async def test_a_tcp_receive_sends_nothing_and_never_counts() -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\nand welcome\n")
        await reader.readline()

    cap, rows = cap_of(2), LinkRows()
    async with (
        tcp_peer(greets) as place,
        user_for({"gate": f"tcp://{place}"}, rows, cap=cap) as user,
        user.tcp("gate", frame=lines()) as link,  # 1
    ):
        assert await link.receive() == b"hello"
        await link.send(b"thanks")  # 2
        assert await link.receive() == b"and welcome"
        with pytest.raises(OverTheCap):
            await link.send(b"more")
    assert [outcome for _, outcome in rows.rows] == [OK] * 4
    assert cap.refused == 1
