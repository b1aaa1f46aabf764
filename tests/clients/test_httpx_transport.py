"""user.httpx: a real httpx.AsyncClient whose requests are rows, over our own connections."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import httpx
import pytest

from loadgen.clients.httpx_api import transport
from loadgen.clients.httpx_api.errors import failure_in
from loadgen.clients.httpx_api.libraries import HTTPX
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.errors import RequestFailed
from tests.support.measured import measured
from tests.support.proxy import proxy
from tests.support.scripted import CLOSE, HANG, RESET, Answer, Received, ok, scripted

MS = 1_000_000


# -- rows -----------------------------------------------------------------------------------------


async def test_each_request_is_a_row_named_as_user_http_names_it() -> None:
    async with scripted(ok(b"hello")) as server, measured(server.url) as it:
        for _ in range(3):
            assert (await it.client.get("/a", params={"q": 1})).text == "hello"
        await it.client.post("/b?x=2", json={"a": 1})
        await it.client.request("purge", "/c%20d")
        assert it.names == [("GET /a", "ok")] * 3 + [("POST /b", "ok"), ("PURGE /c%20d", "ok")]
        assert server.connections == 1
        assert len(server.requests) == it.recorder.counters.requests_finished == 5


async def test_a_request_is_asked_sent_answered_and_done_in_this_order() -> None:
    parts = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"ab", b"cd"]
    async with scripted(lambda _: parts) as server, measured(server.url) as it:
        await it.client.get("/")
        (sample,) = it.samples
        assert sample.asked_ns < sample.sent_ns < sample.first_byte_ns <= sample.done_ns
        assert sample.size_bytes == sum(map(len, parts))


async def test_a_name_of_its_own_goes_by_the_extensions() -> None:
    async with scripted(ok()) as server, measured(server.url) as it:
        await it.client.get("/products/7", extensions={"name": "/products/{sku}"})

        async def named(request: httpx.Request) -> None:
            request.extensions["name"] = "a hook's"

        it.client.event_hooks["request"].append(named)
        await it.client.get("/products/8")
        assert it.names == [("/products/{sku}", "ok"), ("a hook's", "ok")]


async def test_rows_of_other_targets_bear_their_name_and_others_their_origin() -> None:
    async with (
        scripted(ok()) as one,
        scripted(ok()) as two,
        scripted(ok()) as three,
        measured(one.url, targets={"api": one.url, "login": two.url}) as it,
    ):
        await it.client.get("/x")
        await it.client.get(f"{two.url}/x")
        await it.client.get(f"{three.url}/x")
        assert it.names == [("GET /x", "ok"), ("GET login:/x", "ok"), (f"GET {three.url}/x", "ok")]


async def test_the_hops_of_a_redirect_are_rows() -> None:
    def answer(request: Received) -> bytes:
        return (
            ok(b"", f"Location: /{int(request.target[1:]) + 1}", status="302 Found") if request.target < "/3" else ok()
        )

    async with scripted(answer) as server, measured(server.url) as it:
        reply = await it.client.get("/1", follow_redirects=True)
        assert reply.url.path == "/3"
        await it.client.get("/1", follow_redirects=True, extensions={"name": "home"})
        assert it.names == [
            (name, "ok") for name in ("GET /1", "GET /2", "GET /3", "home", "home (hop 2)", "home (hop 3)")
        ]


async def test_rows_are_split_by_tags_and_requests_traced_as_those_of_user_http() -> None:
    answers = iter([ok(b"", "X-Cache: HIT"), ok(b"", "X-Cache: MISS"), ok()])
    tracer = Tracer(Trace(sample=1), Random(1))
    async with (
        scripted(lambda _: next(answers)) as server,
        measured(server.url, tags=("x-cache",), tracer=tracer) as it,
    ):
        await it.client.get("/")
        await it.client.get("/")
        await it.client.get("/", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        tags = [sample.series.key.tags for sample in it.samples]
        assert tags == [(("x-cache", "HIT"),), (("x-cache", "MISS"),), (("x-cache", ""),)]
        sent = [request.header("traceparent") or "" for request in server.requests]
        assert [sample.trace for sample in it.samples] == [value.split("-")[1] for value in sent]
        assert sent[2].split("-")[1] == "a" * 32


async def test_redirected_requests_are_one_trace() -> None:
    def answer(request: Received) -> bytes:
        return ok(b"", "Location: /b", status="307 T") if request.target == "/a" else ok()

    tracer = Tracer(Trace(sample=1), Random(1))
    async with scripted(answer) as server, measured(server.url, tracer=tracer) as it:
        await it.client.post("/a", content=b"x", follow_redirects=True)
        traces = [(request.header("traceparent") or "").split("-")[1:3] for request in server.requests]
        assert traces[0][0] == traces[1][0]
        assert traces[0][1] != traces[1][1]


async def test_a_failure_is_kept_with_what_was_sent_and_received() -> None:
    async with scripted(ok(b"no such thing", status="404 Not Found")) as server, measured(server.url) as it:
        await it.client.post("/a", json={"a": 1})
        sent, received = it.samples[0].exchange()
        assert sent.startswith("POST /a HTTP/1.1\nHost: ")
        assert sent.endswith('\n\n{"a":1}')
        assert received.endswith("\n\nno such thing")


# -- outcomes -------------------------------------------------------------------------------------


async def test_an_error_status_is_the_rows_and_the_iterations_outcome() -> None:
    async with scripted(ok(status="503 Busy")) as server, measured(server.url) as it:
        assert (await it.client.get("/")).status_code == 503
        assert it.names == [("GET /", "http 503")]
        assert it.meter.failed == "http 503"


async def test_a_status_that_is_accepted_is_no_error() -> None:
    async with scripted(ok(status="404 No")) as server, measured(server.url) as it:
        await it.client.get("/", extensions={"accept": {404}})
        assert it.names == [("GET /", "ok")]
        assert it.meter.failed is None


@pytest.mark.parametrize(
    ("answer", "kind", "outcome"),
    [
        (CLOSE, httpx.RemoteProtocolError, "reset"),
        (RESET, httpx.ReadError, "reset"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", httpx.RemoteProtocolError, "protocol"),
        ((b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE), httpx.RemoteProtocolError, "protocol"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CLOSE), httpx.RemoteProtocolError, "protocol"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", RESET), httpx.ReadError, "reset"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",), httpx.RemoteProtocolError, "protocol"),
    ],
    ids=["closed", "reset", "no HTTP", "half a head", "half a body", "reset in the body", "bad chunk"],
)
async def test_a_transport_failure_is_httpxs_exception_and_our_outcome(answer: Any, kind: type, outcome: str) -> None:
    async with scripted(lambda _: answer) as server:
        async with measured(server.url) as it:
            with pytest.raises(kind) as caught:
                await it.client.post("/a", json=1)
            assert isinstance(caught.value, RequestFailed)
            assert isinstance(caught.value, httpx.TransportError)
            assert caught.value.outcome == outcome
            assert caught.value.request.url.path == "/a"
            assert it.names == [("POST /a", outcome)]
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
            with pytest.raises(kind):
                await stock.post("/a", json=1)


async def test_nobody_there_is_a_connect_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with measured(url) as it:
            with pytest.raises(httpx.ConnectError) as caught:
                await it.client.get("/")
            assert isinstance(caught.value, RequestFailed)
            assert it.names == [("GET /", "refused")]
            assert not it.rows[0].was_sent


async def test_a_host_without_address_and_https_without_trust_are_connect_errors() -> None:
    async with measured("http://nowhere.invalid") as it:
        with pytest.raises(httpx.ConnectError, match="nowhere"):
            await it.client.get("/")
        with pytest.raises(httpx.ConnectError):
            await it.client.get("https://127.0.0.1:9/")
        assert [outcome for _, outcome in it.names] == ["dns", "tls"]


async def test_what_is_no_request_has_no_row() -> None:
    async with scripted(ok()) as server, measured(server.url) as it:
        with pytest.raises(httpx.UnsupportedProtocol):
            await it.client.get("ftp://x.example/")
        with pytest.raises(httpx.LocalProtocolError, match="CR, LF or NUL"):
            await it.client.get("/", headers={"X": "a\r\nX-Evil: 1"})
        assert it.rows == []
        assert it.recorder.counters.requests_started == 0


# -- time-outs ------------------------------------------------------------------------------------


async def test_no_head_in_time_is_a_read_timeout_censored_at_its_deadline() -> None:
    async with scripted(HANG) as server, measured(server.url) as it:
        with pytest.raises(httpx.ReadTimeout) as caught:
            await it.client.get("/", timeout=httpx.Timeout(5, read=0.05))
        assert isinstance(caught.value, RequestFailed)
        assert it.names == [("GET /", "timeout")]
        (sample,) = it.samples
        assert sample.done_ns - sample.asked_ns >= 50 * MS
        assert sample.done_ns - sample.sent_ns <= 50 * MS  # the wheel comes round up to 8 ms later


async def test_a_body_that_stops_is_a_read_timeout() -> None:
    parts: Answer = (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", HANG)
    async with scripted(lambda _: parts) as server, measured(server.url) as it:
        with pytest.raises(httpx.ReadTimeout):
            await it.client.get("/", timeout=httpx.Timeout(5, read=0.05))
        assert it.names == [("GET /", "timeout")]
        assert it.rows[0].response_ns >= 50 * MS


async def test_a_long_answer_has_no_time_limit_while_pieces_come() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.06)  # the target's own pace: in all longer than the time-out
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, measured(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as it:
        reply = await it.client.get("/", timeout=httpx.Timeout(60, read=1))
        assert reply.content == b"." * 20
        assert it.rows[0].response_ns > 1_000 * MS


async def test_a_reader_that_takes_its_time_is_no_timeout() -> None:
    body = bytes(1_000_000)
    async with scripted(ok(body)) as server, measured(server.url) as it:
        async with it.client.stream("GET", "/", timeout=httpx.Timeout(60, read=0.5)) as reply:
            got = 0
            async for piece in reply.aiter_raw():
                if not got:
                    await asyncio.sleep(0.8)
                got += len(piece)
        assert got == len(body)
        assert it.names == [("GET /", "ok")]


async def test_a_body_that_nobody_takes_is_a_write_timeout() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await gone.wait()
        writer.close()

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(256 * 1024)

    gone = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, measured(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as it:
        with pytest.raises(httpx.WriteTimeout):
            await it.client.post("/", content=pieces(), timeout=httpx.Timeout(5, write=0.1))
        assert it.names == [("POST /", "timeout")]
        gone.set()


async def test_code_that_makes_a_body_slowly_is_no_timeout() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.6)
        yield b"b"

    async with scripted(ok()) as server, measured(server.url) as it:
        await it.client.post("/", content=pieces(), timeout=httpx.Timeout(60, write=0.4))
        assert server.requests[0].body == b"ab"
        assert it.names == [("POST /", "ok")]


class _Nowhere:
    """A network that never gets there."""

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_no_connection_in_time_is_a_connect_timeout() -> None:
    async with measured("http://shop.test", network=_Nowhere()) as it:
        with pytest.raises(httpx.ConnectTimeout):
            await it.client.get("/", timeout=httpx.Timeout(5, connect=0.05))
        assert it.names == [("GET /", "timeout")]
        assert it.rows[0].response_ns >= 50 * MS


async def test_no_place_among_shared_connections_is_a_pool_timeout() -> None:
    def answer(request: Received) -> Any:
        return HANG if request.target == "/slow" else ok()

    async with scripted(answer) as server, measured(server.url, pool=SharedPool(1, TcpNetwork())) as it:
        slow = asyncio.create_task(it.client.get("/slow", timeout=None))
        while not server.requests:
            await asyncio.sleep(0)
        with pytest.raises(httpx.PoolTimeout):
            await it.client.get("/", timeout=httpx.Timeout(5, pool=0.05))
        assert it.names == [("GET /", "timeout")]
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await it.client.get("/")).status_code == 200  # its place is free again


async def test_who_gives_no_timeout_has_the_plans() -> None:
    timeouts = Timeouts(connect_ns=3_000 * MS, total_ns=50 * MS)
    async with scripted(HANG) as server, measured(server.url, timeouts=timeouts) as it:
        assert it.client.timeout == httpx.Timeout(0.05, connect=3)
        with pytest.raises(httpx.ReadTimeout):
            await it.client.get("/")


# -- what is cut short ------------------------------------------------------------------------------


async def test_a_request_that_is_cancelled_was_started_and_never_finished() -> None:
    async with scripted(HANG) as server, measured(server.url) as it:
        task = asyncio.create_task(it.client.get("/"))
        while not server.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert it.rows == []
        counters = it.recorder.counters
        assert (counters.requests_started, counters.requests_finished) == (1, 0)
        assert len(it.pool) == 0


@pytest.mark.parametrize("how", ["while it reads", "while it does something else"])
async def test_a_stream_that_is_cancelled_has_no_row(how: str) -> None:
    parts: Answer = (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", HANG)
    began = asyncio.Event()

    async def read(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/") as reply:
            began.set()
            if how == "while it reads":
                await reply.aread()
            await asyncio.Event().wait()

    async with scripted(lambda _: parts) as server, measured(server.url) as it:
        task = asyncio.create_task(read(it.client))
        await began.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert it.rows == []
        assert len(it.pool) == 0


async def test_a_stream_that_is_left_is_done_at_that_moment() -> None:
    parts: Answer = (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", HANG)
    async with scripted(lambda _: parts) as server, measured(server.url) as it:
        async with it.client.stream("GET", "/") as reply:
            assert reply.status_code == 200
        assert it.names == [("GET /", "ok")]
        assert len(it.pool) == 0


async def test_an_answer_that_came_whole_is_a_row_although_nobody_reads_it() -> None:
    async with scripted(ok(b"abc")) as server, measured(server.url) as it:
        request = it.client.build_request("GET", "/")
        await it.client.send(request, stream=True)
        assert it.names == [("GET /", "ok")]
        await it.client.get("/")
        assert server.connections == 1


async def test_a_stream_is_read_piece_by_piece_and_done_at_its_last_byte() -> None:
    body = bytes(range(256)) * 8000
    async with scripted(ok(body)) as server, measured(server.url) as it:
        async with it.client.stream("GET", "/") as reply:
            got = [piece async for piece in reply.aiter_bytes()]
        assert b"".join(got) == body
        assert len(got) > 1
        assert it.names == [("GET /", "ok")]
        assert it.rows[0].size_bytes > len(body)


# -- what comes back --------------------------------------------------------------------------------

ANSWERS: dict[str, bytes | list[bytes]] = {
    "plain": ok(b"hello", "Content-Type: text/plain; charset=latin-1", "X-A: 1", "x-a: 2"),
    "no body": ok(),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunked": b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "packed": ok(gzip.compress(b"hello" * 99), "Content-Encoding: gzip"),
    "until it is closed": [b"HTTP/1.0 200 OK\r\n\r\nabc", b"def", b""],
    "in pieces": [b"HTTP/1.1 200 OK\r\nCon", b"tent-Length: 6\r\n\r\nab", b"cd", b"ef"],
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(b"yes"),
    "cookies": ok(b"", "Set-Cookie: a=b", "Set-Cookie: c=d; Path=/x"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_what_stock_httpx_makes_of_it(name: str) -> None:
    given: Any = ANSWERS[name]
    if name == "until it is closed":
        given = [*given, CLOSE]
    seen = []
    async with scripted(lambda _: given) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
            for _ in range(2):
                seen.append(_all_of(await stock.get("/"), stock))
        async with measured(server.url) as it:
            for _ in range(2):  # the second time the head is known
                seen.append(_all_of(await it.client.get("/"), it.client))
            assert [outcome for _, outcome in it.names] == ["ok", "ok"]
    assert seen[2:] == seen[:2]


def _all_of(reply: httpx.Response, client: httpx.AsyncClient) -> list[Any]:
    return [
        reply.status_code,
        reply.reason_phrase,
        reply.http_version,
        reply.headers.raw,
        reply.content,
        reply.text,
        reply.num_bytes_downloaded,
        sorted(client.cookies.items()),
        reply.is_closed,
    ]


async def test_a_head_request_has_no_body_whatever_its_head_says() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    async with scripted(head) as server, measured(server.url) as it:
        for _ in range(2):
            reply = await it.client.head("/")
            assert (reply.content, reply.headers["content-length"]) == (b"", "5")
        assert server.connections == 1
        assert it.names == [("HEAD /", "ok")] * 2


async def test_a_kept_connection_that_was_closed_is_tried_once_more() -> None:
    given: list[Answer] = [ok(), CLOSE, ok(), CLOSE]
    answers = iter(given)
    async with scripted(lambda _: next(answers)) as server, measured(server.url) as it:
        await it.client.get("/")
        await it.client.get("/")
        assert it.names == [("GET /", "ok")] * 2
        assert it.pool.stale_retries == 1
        with pytest.raises(httpx.RemoteProtocolError):
            await it.client.post("/")  # may have done something: not sent again
        assert len(server.requests) == 4


# -- whose error it is ------------------------------------------------------------------------------


async def test_a_challenge_that_an_auth_flow_answers_is_no_error() -> None:
    def answer(request: Received) -> bytes:
        if request.header("authorization") is None:
            return ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5', status="401 No")
        return ok(b"in")

    async with scripted(answer) as server, measured(server.url) as it:
        assert (await it.client.get("/private", auth=httpx.DigestAuth("me", "secret"))).text == "in"
        assert it.names == [("GET /private", "ok")] * 2
        assert it.meter.failed is None
        await it.client.get("/private")
        assert it.names[2:] == [("GET /private", "http 401")]
        assert it.meter.failed == "http 401"


async def test_an_error_that_is_answered_when_sent_again_is_the_rows_only() -> None:
    statuses = iter(["429 Slow", "503 Busy", "200 OK"])
    async with scripted(lambda _: ok(status=next(statuses))) as server, measured(server.url) as it:
        for _ in range(3):
            await it.client.post("/a", json={"a": 1})
        assert it.names == [("POST /a", "http 429"), ("POST /a", "http 503"), ("POST /a", "ok")]
        assert it.meter.failed is None


async def test_an_error_is_the_iterations_when_something_else_is_answered() -> None:
    statuses = iter(["500 A", "429 B", "200 OK", "200 OK"])
    async with scripted(lambda _: ok(status=next(statuses))) as server, measured(server.url) as it:
        await it.client.post("/a", json={"a": 1})
        await it.client.get("/b")
        await it.client.post("/a", json={"a": 2})
        assert it.meter.failed == "http 500"
        await it.client.post("/a", json={"a": 1})
        it.meter.settle()
        assert it.meter.failed == "http 429"  # the first is answered now, the second is not


async def test_an_error_of_the_iteration_before_has_no_say() -> None:
    statuses = iter(["500 A", "404 B", "200 OK"])
    async with scripted(lambda _: ok(status=next(statuses))) as server, measured(server.url) as it:
        await it.client.get("/a")
        it.meter.begin("journey", warmup=False, pool_limited=False, n=1)
        await it.client.get("/b")
        await it.client.get("/a")
        assert it.meter.failed == "http 404"


def test_a_status_error_of_a_client_that_is_not_measured_is_the_scenarios() -> None:
    reply = httpx.Response(500, request=httpx.Request("GET", "http://x.test"))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        reply.raise_for_status()
    assert failure_in(caught.value) is None


# -- many at once -------------------------------------------------------------------------------------


async def test_requests_at_once_are_each_one_row() -> None:
    def answer(request: Received) -> bytes:
        return ok(status="404 No") if request.target.endswith("7") else ok(b"x")

    async with scripted(answer) as server, measured(server.url) as it:
        await asyncio.gather(*(it.client.get(f"/{n}", extensions={"name": "n"}) for n in range(40)))
        assert sorted(it.names) == [("n", "http 404")] * 4 + [("n", "ok")] * 36
        assert len(server.requests) == 40
        assert it.meter.failed == "http 404"


async def test_a_shared_pool_is_shared_with_it() -> None:
    async with scripted(ok()) as server, measured(server.url, pool=SharedPool(2, TcpNetwork())) as it:
        await asyncio.gather(*(it.client.get("/") for _ in range(10)))
        assert server.connections == 2
        assert len(it.rows) == 10


async def test_closing_the_client_leaves_the_connections() -> None:
    pool = ConnectionPool(TcpNetwork())
    async with scripted(ok()) as server, measured(server.url, pool=pool) as it:
        await it.client.get("/")
        await it.client.aclose()
        assert len(pool) == 1


async def test_it_goes_through_the_plans_proxy() -> None:
    async with scripted(ok(b"x")) as server, proxy() as seen:
        http = Http(proxy=seen.url)
        async with measured(server.url, network=network_of(http), forward=Forward.of(http)) as it:
            assert (await it.client.get("/a?b=1")).text == "x"
            assert [one.target for one in seen.requests] == [f"{server.url}/a?b=1"]
            assert it.names == [("GET /a", "ok")]


# -- URLs that are remembered -----------------------------------------------------------------------


async def test_the_same_path_of_two_clients_goes_to_the_base_of_each() -> None:
    async with scripted(ok(b"one")) as one, scripted(ok(b"two")) as two:
        async with measured(one.url) as a, measured(f"{two.url}/v2") as b:
            for _ in range(2):
                assert (await a.client.get("/x")).text == "one"
                assert (await b.client.get("/x")).text == "two"
        assert [received.target for received in one.requests] == ["/x"] * 2
        assert [received.target for received in two.requests] == ["/v2/x"] * 2


async def test_a_base_that_is_set_anew_is_the_base_from_then_on() -> None:
    async with scripted(ok()) as server, measured(server.url) as it:
        await it.client.get("/x")
        it.client.base_url = httpx.URL(f"{server.url}/v2")
        await it.client.get("/x")
        it.client.base_url = httpx.URL(server.url)
        await it.client.get("/x")
        assert [received.target for received in server.requests] == ["/x", "/v2/x", "/x"]


async def test_parameters_are_added_to_a_url_that_was_asked_for_without() -> None:
    async with scripted(ok()) as server, measured(server.url) as it:
        for params in (None, {"n": 1}, None, {"n": 2}):
            await it.client.get("/x", params=params)
        assert [received.target for received in server.requests] == ["/x", "/x?n=1", "/x", "/x?n=2"]


async def test_urls_without_end_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MOST_URLS", 8)
    async with scripted(ok()) as server, measured(server.url) as it:
        for n in range(20):
            await it.client.get(f"/{n}", extensions={"name": "n"})
            assert len(HTTPX.urls) <= 8
        assert [received.target for received in server.requests] == [f"/{n}" for n in range(20)]
