"""HTTP/2: many requests on one connection, and every way in which one of them or all can end."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool, Http2SharedPool
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.http2 import STREAM_WINDOW_BYTES, Http2Connection
from loadgen.clients.response.replies import Reply
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_MS
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.scripted import client_of, ok, rows_of, scripted
from tests.support.turns import turns

MB = 1_000_000


async def hello(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, b"hello " + asked.path.encode())


async def outcome_of(call: Awaitable[Reply]) -> str:
    try:
        return (await call).outcome
    except RequestFailed as failure:
        return failure.outcome


def only_connection(client: HttpClient) -> Http2Connection:
    (connection,) = client._pool._open
    assert isinstance(connection, Http2Connection)
    return connection


# -- which protocol is spoken -------------------------------------------------------------------


@pytest.fixture(scope="module")
def nginx() -> Iterator[RunningNginx]:
    with running_nginx(tls=True) as running:
        yield running


async def test_nginx_answers_a_url_of_9_000_letters(nginx: RunningNginx) -> None:
    pool = Http2Pool(TcpNetwork(), tls_context(nginx.ca, Http(http2=True)))
    async with client_of(nginx.http2_url, pool=pool) as client:
        reply = await client.get("/json?q=" + "abcdefghijklmnopqrstuvwxyz" * 346)
    assert (reply.status_code, reply.http_version) == (200, "HTTP/2")


async def test_fifty_requests_at_once_share_one_connection_and_each_is_in_the_access_log(nginx: RunningNginx) -> None:
    before = nginx.access_log_count()
    pool = Http2Pool(TcpNetwork(), tls_context(nginx.ca, Http(http2=True)))
    async with client_of(nginx.http2_url, pool=pool) as client:
        replies = await asyncio.gather(*(client.get(f"/1k?n={n}", expect=200) for n in range(50)))
        assert {reply.http_version for reply in replies} == {"HTTP/2"}
        assert all(len(reply.content) == 1024 for reply in replies)
        posted = await client.post("/json", json={"sku": "a"}, expect=200)
        assert posted.json()["ok"] is True
        assert (await client.get("/status/404")).status_code == 404
        assert (await client.head("/1k")).headers["content-length"] == "1024"
        assert pool.opened == 1
        assert len(rows_of(client)) == 53
    assert nginx.settled_count(before + 53) == before + 53
    lines = nginx.access_log.read_text().splitlines()[before:]
    assert len({line.split()[3] for line in lines}) == 1  # nginx's number of the connection


async def test_a_target_that_chooses_http_1_gets_it_on_connections_of_their_own(nginx: RunningNginx) -> None:
    pool = Http2Pool(TcpNetwork(), tls_context(nginx.ca, Http(http2=True)))
    async with client_of(nginx.tls_url, pool=pool) as client:
        replies = await asyncio.gather(*(client.get("/1k", expect=200) for _ in range(5)))
        assert {reply.http_version for reply in replies} == {"HTTP/1.1"}
        assert (await client.get("/", expect=200)).http_version == "HTTP/1.1"
        assert 1 < pool.opened <= 5


async def test_cleartext_without_prior_knowledge_is_http_1() -> None:
    async with (
        scripted(ok(b"one")) as server,
        client_of(server.url, pool=Http2Pool(TcpNetwork())) as client,
    ):
        assert (await client.get("/", expect=200)).http_version == "HTTP/1.1"


async def test_with_prior_knowledge_cleartext_is_http_2() -> None:
    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        reply = await client.get("/a?b=c", expect=200)
        assert (reply.http_version, reply.reason_phrase, reply.text) == ("HTTP/2", "OK", "hello /a?b=c")
        assert reply.headers["content-length"] == "12"
        assert reply.elapsed.total_seconds() > 0
        shown = reply.exchange()[1]
        assert shown.startswith("HTTP/2 200 OK\ncontent-length: 12\n")


async def test_the_target_chooses_in_the_handshake(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    pool = Http2Pool(TcpNetwork(), tls_context(tmp_path / "ca.pem", Http(http2=True)))
    async with http2_server(hello, tls=context) as server, client_of(server.url, pool=pool) as client:
        await asyncio.gather(*(client.get("/", expect=200) for _ in range(20)))
        assert len(server.connections) == 1
        assert server.asked[0].header(":scheme") == "https"
        assert server.peak > 1


async def test_a_target_that_answers_prior_knowledge_in_http_1_is_protocol() -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, client_of(url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed, match=r"does not speak HTTP/2: it answers in HTTP/1") as failure:
            await client.get("/")
        assert failure.value.outcome == "protocol"


def test_the_plan_says_what_http2_may_be() -> None:
    assert not list(Http(http2=True).wrongs())
    assert not list(Http(http2="prior").wrongs())


# -- what is sent ---------------------------------------------------------------------------------


async def test_headers_go_in_lower_case_and_without_those_of_http_1_connections() -> None:
    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        client.headers["X-Token"] = "A b"
        client.cookies.set("sid", "1")
        await client.post(
            "/p", json={"a": 1}, headers={"TE": "trailers", "Upgrade": "x", "Keep-Alive": "1", "X-Odd": " a:b "}
        )
        (asked,) = server.asked
        assert asked.headers == [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", server.url.removeprefix("http://")),
            (":path", "/p"),
            ("accept", "*/*"),
            ("accept-encoding", client.headers["accept-encoding"]),
            ("user-agent", "loadgen"),
            ("x-token", "A b"),
            ("te", "trailers"),
            ("x-odd", "a:b"),
            ("content-length", "7"),
            ("content-type", "application/json"),
            ("cookie", "sid=1"),
        ]
        assert asked.body == b'{"a":1}'


async def test_a_host_of_ones_own_is_the_authority() -> None:
    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/", headers={"Host": "shop.example"})
        assert server.asked[0].header(":authority") == "shop.example"
        assert server.asked[0].header("host") is None


async def test_the_same_and_other_requests_in_turn_arrive_as_they_were_made() -> None:
    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        for n in range(30):
            client.headers["X-Turn"] = str(n % 3)
            await client.get(f"/same/{n % 2}")
            await client.post("/other", content=b"x" * (n % 4))
            client.headers["X-New"] = str(n)
        got = [(a.header(":method"), a.path, a.header("x-turn"), len(a.body)) for a in server.asked]
        expected = [
            one
            for n in range(30)
            for one in (("GET", f"/same/{n % 2}", str(n % 3), 0), ("POST", "/other", str(n % 3), n % 4))
        ]
        assert got == expected
        assert [a.header("x-new") for a in server.asked[2::2]] == [str(n) for n in range(29)]


async def test_a_smaller_table_of_headers_is_kept_to() -> None:
    async with (
        http2_server(hello, settings={SettingCodes.HEADER_TABLE_SIZE: 0}) as server,
        client_of(server.url, pool=prior_pool()) as client,
    ):
        for n in range(5):
            client.headers["X-Turn"] = str(n)
            await client.get("/")
            await client.get("/")
        assert [a.header("x-turn") for a in server.asked] == [str(n) for n in range(5) for _ in (1, 2)]


# -- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3 * MB])
async def test_a_body_keeps_to_the_windows_of_the_target(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.post("/", content=body, expect=200)
        assert server.asked[0].body == body


async def test_two_large_bodies_at_once_both_arrive() -> None:
    bodies = [b"a" * MB, b"b" * MB]
    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        await asyncio.gather(*(client.post("/", content=body, expect=200) for body in bodies))
        assert sorted(a.body for a in server.asked) == bodies
        assert len(server.connections) == 1


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "300000"}])
async def test_a_body_of_pieces_is_sent_as_the_windows_allow_and_without_chunk_lengths(headers: dict[str, str]) -> None:
    async def pieces() -> Any:
        for n in range(30):
            yield bytes([n]) * 10_000

    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.post("/", content=pieces(), headers=headers, expect=200)
        assert server.asked[0].body == b"".join(bytes([n]) * 10_000 for n in range(30))
        assert server.asked[0].header("transfer-encoding") is None
        assert server.asked[0].header("content-length") == headers.get("Content-Length")


async def test_an_upload_waits_while_the_target_gives_no_window() -> None:
    sent = 0

    async def pieces() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 10_000
            yield b"x" * 10_000

    async with http2_server(hello, stingy=True) as server, client_of(server.url, pool=prior_pool()) as client:
        call = asyncio.create_task(client.post("/", content=pieces(), expect=200))
        while not server.asked or len(server.asked[0].body) < 65_535:
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sent <= 80_000
        served = server.connections[0]
        served.is_stingy = False
        served.h2.acknowledge_received_data(65_535, 1)
        served.flush()
        await call
        assert len(server.asked[0].body) == MB


async def test_an_answer_in_the_middle_of_an_upload_ends_it_and_the_connection_serves_on() -> None:
    async def too_much(served: Served, asked: Asked) -> None:
        if asked.path == "/up":
            await served.until(lambda: len(asked.body) >= 30_000)
            served.ok(asked.stream, b"enough", status=413)
            await served.until(lambda: asked.reset is not None)
        else:
            served.ok(asked.stream, b"fine")

    async def endless() -> Any:
        while True:
            yield b"x" * 10_000
            await asyncio.sleep(0)

    async with http2_server(too_much, early=True) as server, client_of(server.url, pool=prior_pool()) as client:
        reply = await client.post("/up", content=endless(), expect=413)
        assert reply.content == b"enough"
        assert (await client.get("/", expect=200)).content == b"fine"
        assert len(server.connections) == 1
        assert server.asked[0].reset == ErrorCodes.CANCEL


async def test_a_body_whose_code_fails_ends_its_stream_only() -> None:
    async def pieces() -> Any:
        yield b"x" * 100
        raise ZeroDivisionError

    async with http2_server(hello) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/")
        with pytest.raises(ZeroDivisionError):
            await client.post("/", content=pieces())
        await client.get("/", expect=200)
        assert server.asked[1].reset == ErrorCodes.CANCEL
        assert len(server.connections) == 1


async def test_an_answer_of_any_length_comes_whole() -> None:
    body = bytes(range(256)) * 80_000

    async def big(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200)
        await served.stream(asked.stream, body)

    async with http2_server(big) as server, client_of(server.url, pool=prior_pool()) as client:
        reply = await client.get("/", expect=200)
        assert reply.content == body
        assert rows_of(client)[0].size_bytes > len(body)


async def test_a_body_that_is_too_large_ends_its_stream_only() -> None:
    async def big(served: Served, asked: Asked) -> None:
        if asked.path == "/big":
            served.headers(asked.stream, 200)
            served.data(asked.stream, b"x" * 2000)
            await served.until(lambda: asked.reset is not None)
        elif asked.path == "/says":
            served.headers(asked.stream, 200, ("content-length", "1001"))
            await served.until(lambda: asked.reset is not None)
        else:
            served.ok(asked.stream, b"x" * 1000)

    async with http2_server(big) as server, client_of(server.url, pool=prior_pool(limit_bytes=1000)) as client:
        for path in ("/big", "/says"):
            with pytest.raises(RequestFailed) as failure:
                await client.get(path)
            assert failure.value.outcome == "body too large"
        assert len((await client.get("/", expect=200)).content) == 1000
        assert len(server.connections) == 1


# -- shapes of answers ----------------------------------------------------------------------------


async def test_interim_answers_and_trailers_are_passed_over() -> None:
    async def with_more(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 103, ("link", "</a.css>"))
        served.headers(asked.stream, 200, ("x-a", "b"))
        served.data(asked.stream, b"body")
        served.headers(asked.stream, None, ("x-sum", "1"), end=True)

    async with http2_server(with_more) as server, client_of(server.url, pool=prior_pool()) as client:
        for _ in range(3):
            reply = await client.get("/", expect=200)
            assert (reply.content, reply.headers.multi_items()) == (b"body", [("x-a", "b")])


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("POST", 204)])
async def test_answers_without_a_body(method: str, status: int) -> None:
    async def bare(served: Served, asked: Asked) -> None:
        length = [("content-length", "5")] if status in (200, 304) else []
        served.headers(asked.stream, status, *length, end=True)

    async with http2_server(bare) as server, client_of(server.url, pool=prior_pool()) as client:
        for _ in range(2):
            reply = await client.request(method, "/")
            assert (reply.status_code, reply.content) == (status, b"")
        assert len(server.connections) == 1


async def test_cookies_and_redirects_are_those_of_any_answer() -> None:
    async def login(served: Served, asked: Asked) -> None:
        if asked.path == "/in":
            served.headers(
                asked.stream, 302, ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("location", "/out"), end=True
            )
        else:
            served.ok(asked.stream, (asked.header("cookie") or "").encode())

    async with http2_server(login) as server, client_of(server.url, pool=prior_pool()) as client:
        client.follow_redirects = True
        assert (await client.get("/in", expect=200)).text == "a=1; b=2"
        assert [row.name for row in rows_of(client)] == ["GET /in", "GET /out"]


@pytest.mark.parametrize(
    "fields",
    [
        [(":status", "200"), ("Upper", "x")],
        [(":status", "200"), ("connection", "close")],
        [(":status", "200"), ("transfer-encoding", "chunked")],
        [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
        [(":status", "200"), ("content-length", "-1")],
        [(":status", "200"), ("content-length", "9")],
        [(":status", "200"), ("a", "b\r\nc: d")],
        [(":status", "200"), (":path", "/")],
        [("a", "b"), (":status", "200")],
        [(":status", "200"), (":status", "200")],
        [(":status", "abc")],
        [("a", "b")],
    ],
    ids=str,
)
async def test_a_malformed_answer_is_protocol_for_its_request_only(fields: list[tuple[str, str]]) -> None:
    async def answer(served: Served, asked: Asked) -> None:
        if asked.path == "/bad":
            served.h2.send_headers(asked.stream, fields, end_stream=False)
            served.flush()
            served.data(asked.stream, b"12345678", end=True)
        else:
            await served.until(lambda: len(served.server.asked) == 2)
            served.ok(asked.stream, b"good")

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        good = asyncio.create_task(client.get("/good", expect=200))
        with pytest.raises(RequestFailed) as failure:
            await client.get("/bad")
        assert failure.value.outcome == "protocol"
        assert (await good).content == b"good"
        assert len(server.connections) == 1


async def test_more_data_than_the_head_says_is_protocol() -> None:
    async def answer(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200, ("content-length", "2"))
        served.data(asked.stream, b"123", end=True)

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        for method in ("GET", "HEAD"):
            with pytest.raises(RequestFailed) as failure:
                await client.request(method, "/")
            assert failure.value.outcome == "protocol"


# -- answers that are read as streams ----------------------------------------------------------------


async def test_an_answer_is_read_while_it_comes() -> None:
    go_on = asyncio.Event()

    async def slow(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200)
        served.data(asked.stream, b"first")
        await go_on.wait()
        served.data(asked.stream, b"second", end=True)

    async with http2_server(slow) as server, client_of(server.url, pool=prior_pool()) as client:
        async with client.stream("GET", "/", expect=200) as reply:
            pieces = reply.aiter_raw()
            assert await anext(pieces) == b"first"
            go_on.set()
            assert await anext(pieces) == b"second"
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)
        assert [row.outcome for row in rows_of(client)] == ["ok"]
        assert only_connection(client).is_free


async def test_a_slow_reader_stops_its_stream_at_the_window_and_others_go_on() -> None:
    total = 3 * STREAM_WINDOW_BYTES

    async def flood(served: Served, asked: Asked) -> None:
        if asked.path == "/flood":
            served.headers(asked.stream, 200)
            await served.stream(asked.stream, b"x" * total)
        else:
            served.ok(asked.stream, b"fine")

    async with http2_server(flood) as server, client_of(server.url, pool=prior_pool()) as client:
        async with client.stream("GET", "/flood") as reply:
            served = server.connections[0]
            while served.h2.local_flow_control_window(1):
                await asyncio.sleep(0.001)
            for _ in range(3):
                assert (await client.get("/", expect=200)).content == b"fine"
            assert served.h2.local_flow_control_window(1) == 0
            size = 0
            async for piece in reply.aiter_raw():
                size += len(piece)
            assert size == total
        assert len(server.connections) == 1


async def test_leaving_a_stream_early_ends_it_and_keeps_the_connection() -> None:
    async def endless(served: Served, asked: Asked) -> None:
        if asked.path == "/":
            served.headers(asked.stream, 200)
            while asked.reset is None:
                served.data(asked.stream, b"event\n")
                await asyncio.sleep(0.001)
        else:
            served.ok(asked.stream)

    async with http2_server(endless) as server, client_of(server.url, pool=prior_pool()) as client:
        async with client.stream("GET", "/") as reply:
            async for _ in reply.aiter_raw():
                break
        await client.get("/other", expect=200)
        assert server.asked[0].reset == ErrorCodes.CANCEL
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"]
        assert len(server.connections) == 1


async def test_a_stream_that_is_reset_in_the_middle_says_how() -> None:
    async def breaks(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200)
        served.data(asked.stream, b"first")
        served.reset(asked.stream, ErrorCodes.INTERNAL_ERROR)

    async with http2_server(breaks) as server, client_of(server.url, pool=prior_pool()) as client:
        async with client.stream("GET", "/") as reply:
            with pytest.raises(RequestFailed) as failure:
                await reply.aread()
        assert failure.value.outcome == "h2 internal_error"
        assert [row.outcome for row in rows_of(client)] == ["h2 internal_error"]


# -- how many at once -----------------------------------------------------------------------------


async def test_requests_made_at_once_are_under_way_at_once_on_one_connection() -> None:
    everyone = asyncio.Event()

    async def together(served: Served, asked: Asked) -> None:
        if len(served.server.asked) == 40:
            everyone.set()
        await everyone.wait()
        served.ok(asked.stream)

    async with http2_server(together) as server, client_of(server.url, pool=prior_pool()) as client:
        await asyncio.gather(*(client.get("/", expect=200) for _ in range(40)))
        assert (len(server.connections), server.peak) == (1, 40)
        assert client._pool.opened == 1


async def test_more_than_the_target_allows_at_once_go_over_another_connection() -> None:
    release = asyncio.Event()

    async def held(served: Served, asked: Asked) -> None:
        await release.wait()
        served.ok(asked.stream)

    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 10}
    async with http2_server(held, settings=settings) as server, client_of(server.url, pool=prior_pool()) as client:
        first = asyncio.create_task(client.get("/", expect=200))
        while not server.asked or not only_connection(client)._reader.is_greeted:
            await asyncio.sleep(0.001)
        calls = [asyncio.create_task(client.get("/", expect=200)) for _ in range(24)]
        while len(server.asked) < 25:
            await asyncio.sleep(0.001)
        release.set()
        await asyncio.gather(first, *calls)
        assert server.peak == 10
        assert len(server.connections) == 3


async def test_a_limit_that_is_known_is_kept_to_from_the_first_byte_of_the_next_connection() -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    async with http2_server(hello, settings=settings) as server:
        for _ in range(2):  # of the second user nothing is refused, however many requests begin at once
            pool = prior_pool()
            async with client_of(server.url, pool=pool) as client:
                await client.get("/", expect=200)
                await asyncio.gather(*(client.get("/", expect=200) for _ in range(40)))
                assert pool.stale_retries == 0
        assert server.peak <= 3


async def test_a_limit_that_is_lowered_meanwhile_holds_for_what_follows() -> None:
    release = asyncio.Event()

    async def held(served: Served, asked: Asked) -> None:
        if asked.path == "/hold":
            await release.wait()
        served.ok(asked.stream)

    async with http2_server(held) as server, client_of(server.url, pool=prior_pool()) as client:
        calls = [asyncio.create_task(client.get("/hold", expect=200)) for _ in range(3)]
        while len(server.asked) < 3:
            await asyncio.sleep(0.001)
        served = server.connections[0]
        known = served.acknowledged
        served.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        await served.until(lambda: served.acknowledged > known)
        await client.get("/", expect=200)
        assert len(server.connections) == 2
        release.set()
        await asyncio.gather(*calls)
        for _ in range(2):
            await client.get("/", expect=200)
        assert len(server.connections) == 2


async def test_a_window_that_is_changed_meanwhile_holds_for_bodies_under_way() -> None:
    async with (
        http2_server(hello, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000}, stingy=True) as server,
        client_of(server.url, pool=prior_pool()) as client,
    ):
        await client.get("/")
        call = asyncio.create_task(client.post("/", content=b"x" * 5000, expect=200))
        while len(server.asked) < 2 or len(server.asked[1].body) < 1000:
            await asyncio.sleep(0.001)
        server.connections[0].settings({SettingCodes.INITIAL_WINDOW_SIZE: 5000})
        await call
        assert len(server.asked[1].body) == 5000


# -- how a request ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (ErrorCodes.INTERNAL_ERROR, "h2 internal_error"),
        (ErrorCodes.CANCEL, "h2 cancel"),
        (ErrorCodes.ENHANCE_YOUR_CALM, "h2 enhance_your_calm"),
        (ErrorCodes.NO_ERROR, "h2 no_error"),
        (0xFACE, "h2 unknown_error"),
    ],
)
async def test_a_reset_by_the_target_is_its_outcome_and_the_connection_serves_on(code: int, outcome: str) -> None:
    async def reset(served: Served, asked: Asked) -> None:
        if asked.path == "/bad":
            served.reset(asked.stream, code)
        else:
            served.ok(asked.stream)

    async with http2_server(reset) as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/bad")
        assert failure.value.outcome == outcome
        await client.get("/", expect=200)
        assert [row.outcome for row in rows_of(client)] == [outcome, "ok"]
        assert len(server.connections) == 1


async def test_a_refused_request_is_sent_again_whatever_its_method_and_stays_one_row() -> None:
    async def refuse_once(served: Served, asked: Asked) -> None:
        if len(served.server.asked) == 1:
            served.reset(asked.stream, ErrorCodes.REFUSED_STREAM)
        else:
            served.ok(asked.stream, asked.body)

    async with http2_server(refuse_once) as server, client_of(server.url, pool=prior_pool()) as client:
        assert (await client.post("/", json={"a": 1}, expect=200)).json() == {"a": 1}
        assert [row.outcome for row in rows_of(client)] == ["ok"]
        assert len(server.asked) == 2
        assert client._pool.stale_retries == 1


async def test_a_target_that_always_refuses_is_asked_a_few_times_only() -> None:
    async def refuse(served: Served, asked: Asked) -> None:
        served.reset(asked.stream, ErrorCodes.REFUSED_STREAM)

    async with http2_server(refuse) as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == "h2 refused_stream"
        assert 2 <= len(server.asked) <= 4
        assert [row.outcome for row in rows_of(client)] == ["h2 refused_stream"]


async def test_after_goaway_what_was_seen_is_answered_and_the_rest_is_sent_again() -> None:
    async def leave(served: Served, asked: Asked) -> None:
        if served.number == 1:
            await served.until(lambda: len(served.server.asked) >= 4)
            if asked.stream == 1:
                served.goaway(3)
            if asked.stream <= 3:
                served.ok(asked.stream, b"old")
        else:
            served.ok(asked.stream, b"new")

    async with http2_server(leave) as server, client_of(server.url, pool=prior_pool()) as client:
        replies = await asyncio.gather(*(client.post("/", content=b"x", expect=200) for _ in range(4)))
        assert [reply.content for reply in replies] == [b"old", b"old", b"new", b"new"]
        assert len(server.connections) == 2
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 4
        assert await client.get("/", expect=200)
        assert len(server.connections) == 2
        await server.connections[0].is_closed.wait()


async def test_goaway_with_an_error_is_an_outcome_that_says_what_the_target_said() -> None:
    async def calm(served: Served, asked: Asked) -> None:
        served.goaway(asked.stream, ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")
        served.close()

    async with http2_server(calm) as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed, match="enhance_your_calm too_many_pings") as failure:
            await client.get("/")
        assert failure.value.outcome == "h2 goaway"


async def test_a_target_that_says_goaway_to_every_connection_is_asked_a_few_times_only() -> None:
    async def away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        calm = b"\0\0\0\0" + b"\0\0\0\x0b" + b"go home"
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        writer.write(len(calm).to_bytes(3, "big") + b"\x07\x00\x00\x00\x00\x00" + calm)
        await writer.drain()
        await reader.read()
        writer.close()

    connections: list[int] = []
    listener = await asyncio.start_server(away, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, client_of(url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed, match="enhance_your_calm go home") as failure:
            await client.post("/", json={})
        assert failure.value.outcome == "h2 goaway"
        assert 1 < len(connections) <= 4
        assert [row.outcome for row in rows_of(client)] == ["h2 goaway"]


async def test_goaway_on_an_idle_connection_costs_no_request() -> None:
    async def bye(served: Served, asked: Asked) -> None:
        served.ok(asked.stream)
        served.goaway(asked.stream)

    async with http2_server(bye) as server, client_of(server.url, pool=prior_pool()) as client:
        for _ in range(4):
            await client.get("/", expect=200)
        assert client._pool.stale_retries <= 3
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 4


async def test_a_connection_that_breaks_breaks_all_that_is_under_way() -> None:
    async def breaks(served: Served, asked: Asked) -> None:
        if asked.path == "/begun":
            served.headers(asked.stream, 200)
            served.data(asked.stream, b"half")
        await served.until(lambda: len(served.server.asked) >= 2)
        served.close()

    async with http2_server(breaks) as server, client_of(server.url, pool=prior_pool()) as client:
        results = await asyncio.gather(client.post("/begun"), client.post("/mute"), return_exceptions=True)
        assert [getattr(result, "outcome", None) for result in results] == ["protocol", "reset"]
        assert len(server.asked) == 2


async def test_a_request_without_a_byte_of_answer_on_a_used_connection_is_sent_again_if_it_may() -> None:
    async def once(served: Served, asked: Asked) -> None:
        if served.number == 1 and asked.stream > 1:
            served.close()
        else:
            served.ok(asked.stream)

    async with http2_server(once) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/", expect=200)
        await client.get("/", expect=200)
        assert len(server.connections) == 2
        assert client._pool.stale_retries == 1


async def test_a_cancelled_request_ends_its_stream_and_not_the_connection() -> None:
    async def held(served: Served, asked: Asked) -> None:
        if asked.path == "/hold":
            await served.until(lambda: asked.reset is not None)
        else:
            served.ok(asked.stream)

    async with http2_server(held) as server, client_of(server.url, pool=prior_pool()) as client:
        call = asyncio.create_task(client.get("/hold"))
        while not server.asked:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await client.get("/", expect=200)
        assert server.asked[0].reset == ErrorCodes.CANCEL
        assert [row.name for row in rows_of(client)] == ["GET /"]
        assert len(server.connections) == 1


async def test_a_late_answer_to_a_cancelled_request_harms_nobody() -> None:
    async def late(served: Served, asked: Asked) -> None:
        if asked.path == "/late":
            await served.until(lambda: len(served.server.asked) == 2)
            # As if the reset had not come yet: written past the library, which knows of it.
            served.raw(b"\x00\x00\x01\x01\x04" + asked.stream.to_bytes(4, "big") + b"\x88")
            served.raw(b"\x00\x00\x02\x00\x01" + asked.stream.to_bytes(4, "big") + b"hi")
        else:
            await asyncio.sleep(0.01)
            served.ok(asked.stream, b"fine")

    async with http2_server(late) as server, client_of(server.url, pool=prior_pool()) as client:
        call = asyncio.create_task(client.get("/late"))
        while not server.asked:
            await asyncio.sleep(0.001)
        call.cancel()
        assert (await client.get("/", expect=200)).content == b"fine"
        assert (await client.get("/", expect=200)).content == b"fine"
        assert len(server.connections) == 1


async def test_late_heads_of_many_cancelled_requests_keep_the_tables_of_headers_in_step() -> None:
    async def late(served: Served, asked: Asked) -> None:
        if asked.path == "/late":
            await served.until(lambda: len(served.server.asked) == 91)
        served.h2.streams.pop(asked.stream, None)  # it writes past the library, which knows of the resets
        block = served.h2.encoder.encode(
            [(":status", "200"), ("x-of", asked.path + str(asked.stream % 7)), ("x-b", "c")]
        )
        number = asked.stream.to_bytes(4, "big")
        served.raw(len(block).to_bytes(3, "big") + b"\x01\x05" + number + block)

    async with http2_server(late) as server, client_of(server.url, pool=prior_pool()) as client:
        calls = [asyncio.create_task(client.get("/late")) for _ in range(90)]
        while len(server.asked) < 90:
            await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        for _ in range(20):
            reply = await client.get("/", expect=200)
            assert reply.headers["x-of"] == f"/{server.asked[-1].stream % 7}"
        assert len(server.connections) == 1


async def test_an_answer_after_its_deadline_is_late_also_where_the_wheel_has_not_come_round() -> None:
    async def slow(served: Served, asked: Asked) -> None:
        time.sleep(0.03)  # nobody turns the wheel meanwhile
        served.ok(asked.stream)

    async with http2_server(slow) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/", expect=200)
        assert await outcome_of(client.get("/", timeout="20ms")) == "timeout"
        assert [row.response_ns for row in rows_of(client)][1:] == [20 * NS_PER_MS]


async def test_the_window_of_the_connection_is_opened_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.protocol.http2._CONNECTION_WINDOW_BYTES", 200_000)

    async def big(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200)
        await served.stream(asked.stream, b"x" * 500_000)

    async with http2_server(big) as server, client_of(server.url, pool=prior_pool()) as client:
        assert {len((await client.get("/", expect=200)).content) for _ in range(3)} == {500_000}
        assert len(server.connections) == 1


async def test_a_time_out_is_censored_at_its_deadline_and_others_go_on() -> None:
    async def held(served: Served, asked: Asked) -> None:
        if asked.path == "/hold":
            served.headers(asked.stream, 103)  # it is not dead
            await served.until(lambda: asked.reset is not None)
        else:
            await asyncio.sleep(0.05)
            served.ok(asked.stream)

    async with http2_server(held) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/", expect=200)
        other = asyncio.create_task(client.get("/", expect=200))
        with pytest.raises(RequestFailed) as failure:
            await client.get("/hold", timeout="80ms")
        assert failure.value.outcome == "timeout"
        await other
        await client.get("/", expect=200)
        row = next(row for row in rows_of(client) if row.outcome == "timeout")
        assert row.response_ns == 80 * NS_PER_MS
        assert len(server.connections) == 1
        assert next(a for a in server.asked if a.path == "/hold").reset == ErrorCodes.CANCEL


async def test_a_connection_on_which_nothing_comes_any_more_is_not_used_again() -> None:
    async def dead(served: Served, asked: Asked) -> None:
        if served.number == 1:
            await served.until(lambda: asked.reset is not None)
        else:
            served.ok(asked.stream)

    async with http2_server(dead) as server, client_of(server.url, pool=prior_pool()) as client:
        while not server.connections or not only_connection(client)._reader.is_greeted:
            call = asyncio.create_task(client.get("/", timeout="50ms"))
            await asyncio.wait([call])
        with pytest.raises(RequestFailed):
            await client.get("/", timeout="50ms") if len(server.connections) == 1 else await call
        await client.get("/", expect=200)
        assert len(server.connections) == 2


async def test_closing_the_pool_cancels_who_waits() -> None:
    async def mute(served: Served, asked: Asked) -> None:
        await served.is_closed.wait()

    async with http2_server(mute) as server, client_of(server.url, pool=prior_pool()) as client:
        calls = [asyncio.create_task(client.get("/")) for _ in range(3)]
        while len(server.asked) < 3:
            await asyncio.sleep(0.001)
        await client.close()
        assert [await asyncio.wait([call]) and call.cancelled() for call in calls] == [True] * 3
        assert len(client._pool) == 0
        assert rows_of(client) == []


# -- what is no HTTP/2 ----------------------------------------------------------------------------------

_FRAMES = {
    "no settings first": b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"12345678",
    "garbage": b"220 mail.example ESMTP ready\r\n",
    "a frame beyond our limit": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
}


@pytest.mark.parametrize("name", _FRAMES)
async def test_what_is_no_http_2_is_protocol_for_all_under_way(name: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(_FRAMES[name])
        await writer.drain()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, client_of(url, pool=prior_pool()) as client:
        results = await asyncio.gather(client.get("/a"), client.get("/b"), return_exceptions=True)
        assert [getattr(result, "outcome", None) for result in results] == ["protocol", "protocol"]


async def _says(served: Served, frame: bytes) -> None:
    served.raw(frame)


_ODD = {
    "an answer on stream 0": (b"\x00\x00\x01\x01\x05\x00\x00\x00\x09\x88", "protocol"),
    "a push that was refused": (b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x88", "protocol"),
    "a header table index that is none": (b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\xff", "protocol"),
    "a continuation of nothing": (b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x88", "protocol"),
    "data before a head": (b"\x00\x00\x02\x00\x01\x00\x00\x00\x01hi", "protocol"),
    "a window of nothing": (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", "protocol"),
    "a window beyond all bounds": (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff", "protocol"),
    "settings of half a size": (b"\x00\x00\x03\x04\x00\x00\x00\x00\x00abc", "protocol"),
    "a frame of an unknown kind": (b"\x00\x00\x02\xfe\x00\x00\x00\x00\x01hi", "ok"),
    "priorities": (b"\x00\x00\x05\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x10", "ok"),
}


@pytest.mark.parametrize("name", _ODD)
async def test_frames_that_should_not_be(name: str) -> None:
    frame, outcome = _ODD[name]

    async def odd(served: Served, asked: Asked) -> None:
        served.raw(frame)
        await asyncio.sleep(0.01)
        if outcome == "ok":
            served.ok(asked.stream)
        elif not served.is_closed.is_set():
            await served.is_closed.wait()

    async with http2_server(odd) as server, client_of(server.url, pool=prior_pool()) as client:
        assert await outcome_of(client.get("/", timeout=60)) == outcome
        server.failures.clear()  # the library says that the client's GOAWAY ends it


async def test_data_after_the_end_of_an_answer_harms_nobody() -> None:
    async def twice(served: Served, asked: Asked) -> None:
        served.ok(asked.stream, b"one")
        if asked.stream == 1:
            served.raw(b"\x00\x00\x02\x00\x01" + asked.stream.to_bytes(4, "big") + b"hi")

    async with http2_server(twice) as server, client_of(server.url, pool=prior_pool()) as client:
        for _ in range(3):
            assert (await client.get("/", expect=200)).content == b"one"
        server.failures.clear()


async def test_pings_are_answered() -> None:
    async def ping(served: Served, asked: Asked) -> None:
        served.h2.ping(b"12345678")
        served.flush()
        await served.until(lambda: served.pings == 1)
        served.ok(asked.stream)

    async with http2_server(ping) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/", expect=200)
        assert server.connections[0].pings == 1


async def test_a_head_that_unpacks_without_bounds_is_named() -> None:
    """4 KB in the table, and then a byte for each time that it is repeated."""

    async def bomb(served: Served, asked: Asked) -> None:
        served.h2.send_headers(asked.stream, [(":status", "103"), ("x-bomb", "x" * 3500)])
        served.flush()
        index = b"\xbe"  # the newest entry of the table
        block = b"\x88" + index * 10_000
        served.raw(len(block).to_bytes(3, "big") + b"\x01\x05" + asked.stream.to_bytes(4, "big") + block)
        await served.is_closed.wait()

    async with http2_server(bomb) as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", timeout=60)
        assert failure.value.outcome == "head too large"
        server.failures.clear()


async def test_a_head_without_an_end_is_named() -> None:
    async def endless(served: Served, asked: Asked) -> None:
        number = asked.stream.to_bytes(4, "big")
        served.raw(b"\x00\x00\x01\x01\x00" + number + b"\x88")
        part = b"\x00\x03abc\x7f\xd0\x3d" + b"y" * 8000  # 8,127 bytes of a header that is not indexed
        while not served.is_closed.is_set():
            served.raw(len(part).to_bytes(3, "big") + b"\x09\x00" + number + part)
            await asyncio.sleep(0)

    async with http2_server(endless) as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", timeout=60)
        assert failure.value.outcome == "head too large"
        server.failures.clear()


# -- the first connection --------------------------------------------------------------------------------


class Gated(TcpNetwork):
    """Each connection waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked = 0

    async def connect(self, *args: Any, **options: Any) -> Any:
        self.asked += 1
        await self.gate.wait()
        return await super().connect(*args, **options)


async def test_who_asks_while_the_first_connection_is_made_waits_for_it() -> None:
    network = Gated()
    async with (
        http2_server(hello) as server,
        client_of(server.url, pool=Http2Pool(network, prior=True)) as client,
    ):
        calls = [asyncio.create_task(client.get("/", expect=200)) for _ in range(5)]
        await turns()
        assert network.asked == 1
        network.gate.set()
        await asyncio.gather(*calls)
        assert len(server.connections) == 1


async def test_if_who_asked_first_is_cancelled_the_next_one_connects() -> None:
    network = Gated()
    async with (
        http2_server(hello) as server,
        client_of(server.url, pool=Http2Pool(network, prior=True)) as client,
    ):
        calls = [asyncio.create_task(client.get("/", expect=200)) for _ in range(3)]
        await turns()
        calls[0].cancel()
        await turns()
        assert network.asked == 2
        network.gate.set()
        assert len(await asyncio.gather(*calls[1:])) == 2
        assert len(server.connections) == 1


async def test_a_first_connection_that_is_refused_fails_for_all_who_waited() -> None:
    network = Gated()
    async with client_of("http://127.0.0.1:1", pool=Http2Pool(network, prior=True)) as client:
        calls = [asyncio.create_task(client.get("/")) for _ in range(5)]
        await turns()
        network.gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(result, "outcome", None) for result in results] == ["refused"] * 5
        assert network.asked == 1


async def test_who_waits_for_the_first_connection_has_a_time_out_of_its_own() -> None:
    network = Gated()
    async with client_of("http://127.0.0.1:1", pool=Http2Pool(network, prior=True)) as client:
        first = asyncio.create_task(client.get("/", timeout=60))
        await asyncio.sleep(0)
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", timeout="30ms")
        assert failure.value.outcome == "timeout"
        first.cancel()
        assert [row.response_ns for row in rows_of(client)] == [30 * NS_PER_MS]


# -- connections that all users share ----------------------------------------------------------------------


async def test_a_shared_connection_takes_what_all_users_ask_for() -> None:
    async with http2_server(hello) as server:
        pool = Http2SharedPool(1, TcpNetwork(), prior=True)
        async with (
            client_of(server.url, pool=pool) as one,
            client_of(server.url, pool=pool) as two,
        ):
            for _ in range(3):
                replies = await asyncio.gather(*(who.get("/", expect=200) for who in (one, two) for _ in range(10)))
                assert {reply.http_version for reply in replies} == {"HTTP/2"}
            assert (len(server.connections), server.peak > 2) == (1, True)
            pool.close()


async def test_who_finds_all_streams_of_shared_connections_taken_waits_for_one() -> None:
    release = asyncio.Event()

    async def held(served: Served, asked: Asked) -> None:
        await release.wait()
        served.ok(asked.stream)

    async with http2_server(held, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as server:
        pool = Http2SharedPool(2, TcpNetwork(), prior=True)
        async with client_of(server.url, pool=pool) as client:
            first = [asyncio.create_task(client.get("/", expect=200)) for _ in range(2)]
            while len(server.asked) < 2 or any(not c._reader.is_greeted for c in pool._open):  # type: ignore[attr-defined]
                await asyncio.sleep(0.001)
            rest = [asyncio.create_task(client.get("/", expect=200)) for _ in range(20)]
            while len(server.asked) < 4:
                await asyncio.sleep(0.001)
            assert pool.waits >= 16
            release.set()
            await asyncio.gather(*first, *rest)
            assert (len(server.connections), server.peak) == (2, 2)
            pool.close()


async def test_a_busy_shared_connection_is_not_closed_for_another_target_but_makes_way_for_it() -> None:
    release = asyncio.Event()

    async def held(served: Served, asked: Asked) -> None:
        if asked.path == "/hold":
            await release.wait()
        served.ok(asked.stream, b"done")

    async with http2_server(held) as one, http2_server(hello) as two:
        pool = Http2SharedPool(1, TcpNetwork(), prior=True)
        async with client_of(one.url, pool=pool) as client, client_of(two.url, pool=pool) as other:
            calls = [asyncio.create_task(client.get("/hold", expect=200)) for _ in range(2)]
            while len(one.asked) < 2:
                await asyncio.sleep(0.001)
            waits = asyncio.create_task(other.get("/", expect=200))
            await turns()
            assert not waits.done()
            busy = asyncio.create_task(client.get("/", expect=200))  # the last that goes before it
            await turns()
            later = asyncio.create_task(client.get("/", expect=200))
            await turns()
            assert not later.done()
            release.set()
            assert [(await call).content for call in (*calls, busy)] == [b"done"] * 3
            assert (await waits).content == b"hello /"
            assert (await later).content == b"done"
            assert (len(one.connections), len(two.connections)) == (2, 1)
            pool.close()


async def test_fresh_connections_for_each_iteration_let_end_what_is_under_way() -> None:
    release = asyncio.Event()

    async def held(served: Served, asked: Asked) -> None:
        if asked.path == "/hold":
            await release.wait()
        served.ok(asked.stream)

    async with http2_server(held) as server, client_of(server.url, pool=prior_pool()) as client:
        call = asyncio.create_task(client.get("/hold", expect=200))
        while not server.asked:
            await asyncio.sleep(0.001)
        client._pool.close_idle()
        await client.get("/", expect=200)
        assert len(server.connections) == 2
        release.set()
        await call
        await server.connections[0].is_closed.wait()
        assert len(client._pool) == 1


# -- http/1.1 pays nothing ---------------------------------------------------------------------------------


def test_without_http2_the_pool_is_the_plain_one() -> None:
    from loadgen.clients.pool.connection_policy import Connections
    from loadgen.clients.pool.pool_for_plan import pool_for

    assert type(pool_for(Connections(), TcpNetwork())) is ConnectionPool
    assert type(pool_for(Connections(), TcpNetwork(), http2=True)) is Http2Pool
