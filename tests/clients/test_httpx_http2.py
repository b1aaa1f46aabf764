"""user.httpx where the plan allows HTTP/2, and where it asks for phases: the same client over other connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from loadgen.clients.httpx_api.transport import HttpxTransport, httpx_client
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.phased import PhasedMeter
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.measure.deltas.series_key import PHASES
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.measured import measured
from tests.support.scripted import Rows, ok, scripted


async def _hello(served: Served, asked: Asked) -> None:
    if asked.path == "/hang":
        return
    if asked.path == "/stops":
        served.headers(asked.stream, 200)
        served.data(asked.stream, b"first")
        return
    served.ok(asked.stream, b"hello " + asked.path.encode() + asked.body)


async def test_what_a_library_asks_at_once_shares_a_connection() -> None:
    async with http2_server(_hello) as server, measured(server.url, pool=prior_pool()) as it:
        replies = await asyncio.gather(*(it.client.get(f"/{n}", extensions={"name": "n"}) for n in range(20)))
        assert [reply.text for reply in replies] == [f"hello /{n}" for n in range(20)]
        assert {reply.http_version for reply in replies} == {"HTTP/2"}
        assert it.names == [("n", "ok")] * 20
        assert len(it.pool) == 1


async def test_bodies_go_both_ways() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"-one"
        yield b"-two"

    async with http2_server(_hello) as server, measured(server.url, pool=prior_pool()) as it:
        assert (await it.client.post("/a", content=pieces())).text == "hello /a-one-two"
        async with it.client.stream("POST", "/b", json=1) as reply:
            assert b"".join([piece async for piece in reply.aiter_raw()]) == b"hello /b1"
        assert it.names == [("POST /a", "ok"), ("POST /b", "ok")]


@pytest.mark.parametrize("path", ["/hang", "/stops"])
async def test_a_time_out_ends_its_stream_only(path: str) -> None:
    async with http2_server(_hello) as server, measured(server.url, pool=prior_pool()) as it:
        await it.client.get("/")
        with pytest.raises(httpx.ReadTimeout):
            await it.client.get(path, timeout=httpx.Timeout(5, read=0.05))
        assert (await it.client.get("/")).text == "hello /"
        assert it.names == [("GET /", "ok"), (f"GET {path}", "timeout"), ("GET /", "ok")]
        assert len(it.pool) == 1


async def test_one_that_is_cancelled_or_left_ends_its_stream_only() -> None:
    async with http2_server(_hello) as server, measured(server.url, pool=prior_pool()) as it:
        await it.client.get("/")
        task = asyncio.create_task(it.client.get("/hang"))
        while len(server.asked) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with it.client.stream("GET", "/stops") as reply:
            assert reply.status_code == 200
        await it.client.get("/")
        assert it.names == [("GET /", "ok"), ("GET /stops", "ok"), ("GET /", "ok")]
        assert len(it.pool) == 1


async def test_phases_are_recorded_of_each() -> None:
    meter = PhasedMeter(Rows())
    meter.begin("journey", warmup=False, pool_limited=False)
    pool = ConnectionPool(TcpNetwork(), None, has_phases=True)
    async with scripted(ok(b"x")) as server:
        client = httpx_client(HttpxTransport(meter, pool, server.url), server.url, Timeouts())
        for _ in range(3):
            await client.get("/")
        meter.settle()
        found = (pair for series in meter.recorder._series.values() for pair in series.swap())
        counted = {key.metric: len(values) for key, values in found if key.metric in PHASES}
        assert counted == {"connect": 1, "send": 3, "wait": 3, "receive": 3}
        pool.close()
