"""`Plan(client="httpx")`: what our client makes of a call, the stock one makes of it too: rows, outcomes, replies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from random import Random
from typing import Any

import httpx
import pytest

from loadgen import blob, gql
from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_api.rows import HttpxRows
from loadgen.clients.httpx_api.stock import StockPool, StockTransport
from loadgen.clients.httpx_api.transport import httpx_client
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, IterationEnded, UsageError
from tests.support.measured import stock_of
from tests.support.scripted import (
    CLOSE,
    HANG,
    RESET,
    Answer,
    Received,
    Row,
    Rows,
    client_of,
    ok,
    rows_of,
    scripted,
)


def _answer(request: Received) -> Answer:
    path = request.target.partition("?")[0]
    answers: dict[str, Answer] = {
        "/": ok(b"hello", "Content-Type: text/plain"),
        "/json": ok(b'{"a": [1, 2]}', "Content-Type: application/json", "Set-Cookie: s=1"),
        "/missing": ok(b"no", status="404 Not Found"),
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "/moved": ok(b"", "Location: /json", status="302 Found"),
        "/loop": ok(b"", "Location: /loop", status="302 Found"),
        "/reset": RESET,
        "/closed": CLOSE,
        "/garbage": b"SSH-2\r\n\r\n",
        "/half": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CLOSE),
        "/slow": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", HANG),
        "/hang": HANG,
        "/packed": ok(b"no gzip at all", "Content-Encoding: gzip"),
    }
    if path == "/private" and request.header("authorization") is None:
        return ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status="401 No")
    return answers.get(path, ok(b"" if request.method == "HEAD" else b"{}"))


def _signed(request: httpx.Request) -> httpx.Request:
    request.headers["X-Signature"] = request.method
    return request


async def _stream(client: HttpClient, url: str, *, left: bool = False, **options: Any) -> Any:
    async with client.stream("GET", url, **options) as reply:
        if left:
            return reply.status_code
        return [piece async for piece in reply.aiter_text(2)]


CALLS: dict[str, Callable[[HttpClient], Any]] = {
    "get": lambda c: c.get("/", params={"q": "é"}),
    "named": lambda c: c.get("/", name="home", expect=200),
    "json": lambda c: c.post("/json", json={"a": 1}),
    "all methods": lambda c: _all(c),
    "form and files": lambda c: c.post("/f", data={"a": "1"}, files={"f": ("x.txt", b"hello")}),
    "a blob": lambda c: c.post("/f", content=blob(50_000, seed=1)),
    "pieces": lambda c: c.post("/f", content=iter([b"a", b"b"])),
    "a 404": lambda c: c.get("/missing"),
    "a 404 expected": lambda c: c.get("/missing", expect=404),
    "a 404 accepted": lambda c: c.get("/missing", accept={404}),
    "a failed expectation": lambda c: c.get("/", expect=201),
    "chunked": lambda c: c.get("/chunked"),
    "a redirect": lambda c: c.get("/moved", follow_redirects=True),
    "a named redirect": lambda c: c.get("/moved", follow_redirects=True, name="hop"),
    "a redirect not followed": lambda c: c.get("/moved"),
    "a loop": lambda c: c.get("/loop", follow_redirects=True),
    "basic": lambda c: c.get("/", auth=("me", "secret")),
    "digest": lambda c: c.get("/private", auth=httpx.DigestAuth("me", "secret"), expect=200),
    "signed by a function": lambda c: c.get("/", auth=_signed),
    "a limit of redirects": lambda c: c.get("/loop", follow_redirects=True, max_redirects=2),
    "a redirect within the limit": lambda c: c.get("/moved", follow_redirects=True, max_redirects=1),
    "no redirect allowed": lambda c: c.get("/moved", follow_redirects=True, max_redirects=0),
    "a jar of its own": lambda c: c.get("/moved", follow_redirects=True, jar=httpx.Cookies({"mine": "1"})),
    "gql": lambda c: c.post("/json", json=gql("query Q { a }")),
    "reset": lambda c: c.post("/reset"),
    "closed": lambda c: c.post("/closed"),
    "garbage": lambda c: c.get("/garbage"),
    "half": lambda c: c.get("/half"),
    "slow": lambda c: c.get("/slow", timeout=0.3),
    "hang": lambda c: c.get("/hang", timeout="300ms"),
    "a stream": lambda c: _stream(c, "/chunked"),
    "a stream that is left": lambda c: _stream(c, "/slow", left=True),
    "a stream that breaks": lambda c: _stream(c, "/half"),
    "a stream that stops": lambda c: _stream(c, "/slow", timeout=0.3),
}


UNKNOWN_SIZES = {"garbage", "half", "slow", "chunked", "hang", *(name for name in CALLS if name.startswith("a stream"))}
"""httpx does not say how many bytes chunks had around them, nor what came of what broke."""


async def _all(client: HttpClient) -> None:
    for method in ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PURGE"):
        await client.request(method, "/x")


async def _told(client: HttpClient, call: Callable[[HttpClient], Any]) -> tuple[Any, ...]:
    try:
        reply = await call(client)
        end: Any = "ok"
        if hasattr(reply, "status_code"):
            end = (
                reply.status_code,
                reply.text,
                reply.headers.raw,
                str(reply.url.path),
                [one.status_code for one in reply.history],
                reply.num_bytes_downloaded,
            )
        elif reply is not None:
            end = reply
    except IterationEnded as ended:
        end = ended.outcome
    rows = [(row.name, row.outcome, row.was_sent, row.size_bytes) for row in rows_of(client)]
    return end, rows, client._meter.failed, sorted(client.cookies.items())


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_has_the_same_rows_and_the_same_reply(name: str) -> None:
    told, sent = [], []
    for make in (client_of, stock_of):
        async with scripted(_answer) as server, make(server.url) as client:
            told.append(await _told(client, CALLS[name]))
            sent.append([(r.method, r.target, r.body if "file" not in name else b"") for r in server.requests])
    ours, stock = told
    if name in UNKNOWN_SIZES:
        ours, stock = _without_sizes(ours), _without_sizes(stock)
    assert stock == ours
    assert sent[1] == sent[0]


def _without_sizes(told: tuple[Any, ...]) -> tuple[Any, ...]:
    return told[0], [row[:3] for row in told[1]], told[2]


async def test_a_body_that_is_not_packed_as_it_says_is_protocol_when_it_is_read() -> None:
    async with scripted(_answer) as server, stock_of(server.url) as client:
        with pytest.raises(IterationEnded, match="protocol"):
            await client.get("/packed")
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("GET /packed", "protocol")]


async def test_nobody_there_and_no_such_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for url, outcome in ((f"http://127.0.0.1:{taken.getsockname()[1]}", "refused"), ("http://no.invalid", "dns")):
            async with stock_of(url) as client:
                with pytest.raises(IterationEnded) as caught:
                    await client.get("/")
                assert caught.value.outcome == outcome
                (row,) = rows_of(client)
                assert (row.outcome, row.was_sent) == (outcome, False)


async def test_one_that_is_cancelled_has_no_row() -> None:
    async with scripted(_answer) as server, stock_of(server.url) as client:
        for call in (client.get("/hang"), client.get("/slow"), _stream(client, "/slow")):
            before = len(server.requests)
            task = asyncio.create_task(call)
            while len(server.requests) == before:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert rows_of(client) == []
        assert client._meter.recorder.counters.requests_started == 3


async def test_a_reply_can_be_expected_and_picked_from_afterwards() -> None:
    async with scripted(_answer) as server, stock_of(server.url) as client:
        reply = await client.get("/json")
        assert reply.pick("$.a[1]", int) == 2
        with pytest.raises(ExpectFailed):
            reply.expect(json={"b": 1})
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("GET /json", "expect json")]


async def test_a_row_has_the_four_times_in_order_and_a_kept_connection() -> None:
    seen: list[Row] = []
    async with scripted(_answer) as server, stock_of(server.url) as client:
        for _ in range(3):
            reply = await client.get("/")
            assert reply.asked_ns < reply.sent_ns < reply.first_byte_ns <= reply.done_ns
        seen = rows_of(client)
        assert server.connections == 1
    assert len(seen) == 3


async def test_what_is_not_there_is_said() -> None:
    async with scripted(_answer) as server, stock_of(server.url) as client:
        with pytest.raises(UsageError, match="retries="):
            await client.get("/", retries=2)
        assert not server.requests


@pytest.mark.parametrize("make", [client_of, stock_of])
async def test_statuses_to_accept_are_checked_before_anything_is_sent(make: Any) -> None:
    async with scripted(_answer) as server, make(server.url) as client:
        with pytest.raises(UsageError, match="accept: 404 is not a collection of statuses"):
            await client.get("/", accept=404)
        assert not server.requests


async def test_user_httpx_on_the_stock_transport_is_measured_alike() -> None:
    async with scripted(_answer) as server:
        meter = Meter(Rows())
        meter.begin("journey", warmup=False, pool_limited=False)
        pool = StockPool(TcpNetwork(), None)
        client = httpx_client(StockTransport(HttpxRows(meter, server.url, {}), pool), server.url, Timeouts())
        await client.get("/")
        await client.get("/moved", follow_redirects=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/closed")
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/hang", timeout=httpx.Timeout(5, read=0.05))
        assert isinstance(meter.recorder, Rows)
        assert [(row.name, row.outcome) for row in meter.recorder.rows] == [
            ("GET /", "ok"),
            ("GET /moved", "ok"),
            ("GET /json", "ok"),
            ("POST /closed", "reset"),
            ("GET /hang", "timeout"),
        ]
        await pool.transport.aclose()


async def test_rows_are_split_by_tags_and_requests_traced() -> None:
    def answer(request: Received) -> Answer:
        return ok(b"", "Location: /b", "X-Cache: MISS", status="302 F") if request.target == "/a" else ok()

    tracer = Tracer(Trace(sample=1), Random(1))
    async with scripted(answer) as server, stock_of(server.url, tags=("x-cache",), tracer=tracer) as client:
        reply = await client.get("/a", follow_redirects=True)
        ids = [(request.header("traceparent") or "").split("-")[1:3] for request in server.requests]
        assert ids[0][0] == ids[1][0] == reply.trace
        assert ids[0][1] != ids[1][1]
        assert [one.series.key.tags for one in (*reply.history, reply)] == [(("x-cache", "MISS"),), (("x-cache", ""),)]
