"""Any way in which bytes of a response may come gives the same reply."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import Network
from loadgen.clients.protocol import response_heads
from loadgen.clients.protocol.http1 import Connection
from loadgen.errors import RequestFailed
from tests.support.examples import examples
from tests.support.scripted import CLOSE, client_of, ok, rows_of, scripted


class FedTransport(asyncio.Transport):
    """Keeps what is written, and tells the connection that it is closed."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.written = b""
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.is_aborted = True


class FedNetwork(Network):
    """Each connection is handed to `feed` once a request was written."""

    def __init__(self, feed: Callable[[Connection], None]) -> None:
        self.feed = feed
        self.opened = 0

    async def connect(
        self,
        host: str,
        port: int,
        tls: Any,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        self.opened += 1
        connection = factory()
        transport = FedTransport(connection)
        connection.connection_made(transport)
        asyncio.get_running_loop().call_soon(self.feed, connection)
        return transport, connection


async def fed(parts: list[bytes], method: str = "GET", eof: bool = False) -> tuple[Any, ...]:
    """What a reply made of these reads looks like, and whether the connection is kept."""

    def feed(connection: Connection) -> None:
        for part in parts:
            connection.data_received(part)
        if eof:
            connection.eof_received()

    async with client_of("http://target.test", network=FedNetwork(feed)) as client:
        try:
            async with asyncio.timeout(60):
                reply = await client.request(method, "/")
        except RequestFailed as failure:
            return failure.outcome, rows_of(client)[0].size_bytes
        return (
            reply.status_code,
            reply.reason_phrase,
            reply.http_version,
            reply.headers.multi_items(),
            reply.content,
            rows_of(client)[0].size_bytes,
            client._pool.idle[reply.route.origin] != [],
        )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# name -> (method, bytes, ends with EOF, expected status, expected body, connection kept)
RESPONSES: dict[str, tuple[str, bytes, bool, int, bytes, bool]] = {
    "length": ("GET", ok(b"hello"), False, 200, b"hello", True),
    "empty": ("GET", ok(), False, 200, b"", True),
    "chunked": ("GET", CHUNKED + b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", False, 200, b"hello!", True),
    "trailers": ("GET", CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", False, 200, b"hi", True),
    "until close": ("GET", b"HTTP/1.1 200 OK\r\n\r\nto the end", True, 200, b"to the end", False),
    "nothing until close": ("GET", b"HTTP/1.1 200 OK\r\n\r\n", True, 200, b"", False),
    "http 1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", False, 200, b"hi", False),
    "http 1.0 until close": ("GET", b"HTTP/1.0 200 OK\r\n\r\nhi", True, 200, b"hi", False),
    "http 1.0 kept": (
        "GET",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        False,
        200,
        b"hi",
        True,
    ),
    "connection close": ("GET", ok(b"bye", "Connection: close"), False, 200, b"bye", False),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", False, 200, b"", True),
    "head chunked": ("HEAD", CHUNKED, False, 200, b"", True),
    "head 404": ("HEAD", b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n", False, 404, b"", True),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 10\r\n\r\n", False, 304, b"", True),
    "100": ("POST", b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"go"), False, 200, b"go", True),
    "103 twice": ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + ok(b"x"), False, 200, b"x", True),
    "100 chunked": ("GET", b"HTTP/1.1 100 C\r\n\r\n" + CHUNKED + b"1\r\nx\r\n0\r\n\r\n", False, 200, b"x", True),
    "no reason": ("GET", b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", False, 200, b"x", True),
    "many headers": ("GET", ok(b"x", *(f"X-{n}: {n}" for n in range(50)), "X-1: again"), False, 200, b"x", True),
    "large": ("GET", ok(bytes(range(256)) * 300), False, 200, bytes(range(256)) * 300, True),
    "body like a head": ("GET", ok(b"HTTP/1.1 200 OK\r\n\r\n"), False, 200, b"HTTP/1.1 200 OK\r\n\r\n", True),
}
BROKEN: dict[str, tuple[bytes, bool, str]] = {
    "not http": (b"220 mail.example ESMTP ready\r\n\r\n", False, "protocol"),
    "zeros": (b"\0" * 100, False, "protocol"),
    "bad status": (b"HTTP/1.1 abc OK\r\n\r\n", False, "protocol"),
    "bad version": (b"HTTP/9.9 200 OK\r\n\r\n", False, "protocol"),
    "bad chunk": (CHUNKED + b"5\r\nhello\r\nzz\r\n", False, "protocol"),
    "chunk too long": (CHUNKED + b"3\r\nhello\r\n0\r\n\r\n", False, "protocol"),
    "bad length": (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", False, "protocol"),
    "negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", False, "protocol"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", False, "protocol"),
    "length and chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        False,
        "protocol",
    ),
    "header without colon": (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", False, "protocol"),
    "short body": (ok(b"hello")[:-1], True, "protocol"),
    "short head": (ok(b"hello")[:20], True, "protocol"),
    "short chunk": (CHUNKED + b"5\r\nhel", True, "protocol"),
    "no last chunk": (CHUNKED + b"5\r\nhello\r\n", True, "protocol"),
    "only a 100": (b"HTTP/1.1 100 Continue\r\n\r\n", True, "protocol"),
    "upgrade": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", False, "protocol"),
    "nothing": (b"", True, "reset"),
}


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({c % (len(data) + 1) for c in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


@settings(max_examples=examples(30), deadline=None)
@pytest.mark.parametrize("name", RESPONSES)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=8), known=st.booleans())
def test_any_way_of_splitting_a_response_gives_the_same_reply(name: str, cuts: list[int], known: bool) -> None:
    method, data, eof, status, body, kept = RESPONSES[name]
    response_heads.HEADS.clear()
    if known:  # the head was seen before, whole
        asyncio.run(fed([data], method, eof))
    found = asyncio.run(fed(split(data, cuts), method, eof))
    assert (found[0], found[4], found[5], found[6]) == (status, body, len(data), kept)
    assert found == asyncio.run(fed([bytes([b]) for b in data] if len(data) < 2000 else [data], method, eof))


@settings(max_examples=examples(15), deadline=None)
@pytest.mark.parametrize("name", BROKEN)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=8))
def test_any_way_of_splitting_a_broken_response_gives_the_same_outcome(name: str, cuts: list[int]) -> None:
    data, eof, outcome = BROKEN[name]
    assert asyncio.run(fed(split(data, cuts), "GET", eof))[0] == outcome


@settings(max_examples=examples(200), deadline=None)
@given(data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, ok()[:-2]]))
def test_random_bytes_end_in_a_reply_or_an_outcome_and_nothing_else(data: bytes, prefix: bytes) -> None:
    found = asyncio.run(fed([prefix + data], eof=True))
    assert isinstance(found[0], int) or found[0] in ("protocol", "reset", "body too large", "timeout")


def test_a_known_head_of_a_get_does_not_give_a_head_request_a_body() -> None:
    response_heads.HEADS.clear()
    assert asyncio.run(fed([ok(b"hello")]))[4] == b"hello"
    assert response_heads.HEADS
    head_only = ok(b"hello")[:-5]
    found = asyncio.run(fed([head_only], "HEAD"))
    assert (found[4], found[6]) == (b"", True)
    assert asyncio.run(fed([ok(b"hello")]))[4] == b"hello"


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("data", [ok(b"hello"), CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"])
def test_bytes_after_a_response_end_the_connection_and_not_the_reply(data: bytes, extra: bytes, known: bool) -> None:
    response_heads.HEADS.clear()
    if known:
        asyncio.run(fed([data]))
    for parts in ([data + extra], [data[:-1], data[-1:] + extra]):
        found = asyncio.run(fed(parts))
        assert (found[0], found[4], found[6]) == (200, b"hello", False)


def test_remembered_heads_are_few_and_only_those_with_a_length() -> None:
    response_heads.HEADS.clear()
    for n in range(response_heads.MAX_CACHED_HEADS + 10):
        asyncio.run(fed([ok(b"x", f"X-Id: {n}")])) if n < 3 else response_heads.keep_head(b"%d" % n, _head())
    asyncio.run(fed([CHUNKED + b"0\r\n\r\n"]))
    asyncio.run(fed([b"HTTP/1.1 200 OK\r\n\r\n"], eof=True))
    asyncio.run(fed([ok(b"x", "X-Long: " + "y" * 5000)]))
    assert len(response_heads.HEADS) <= 10
    assert all(head.length is not None for head in response_heads.HEADS.values())
    response_heads.HEADS.clear()


def _head() -> response_heads.Head:
    return response_heads.Head(200, b"OK", "1.1", [(b"Content-Length", b"0")], True)


# -- content encodings -----------------------------------------------------------------------

PAGE = "<p>éäü</p>".encode() * 500


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(PAGE, mtime=0)),
        ("GZIP", gzip.compress(PAGE, mtime=0)),
        ("x-gzip", gzip.compress(PAGE, mtime=0)),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", _raw_deflate(PAGE)),
        ("deflate, gzip", gzip.compress(zlib.compress(PAGE), mtime=0)),
        ("identity", PAGE),
        ("something", PAGE),
    ],
)
async def test_a_packed_body_is_unpacked(encoding: str, data: bytes) -> None:
    async with scripted(ok(data, f"Content-Encoding: {encoding}")) as server, client_of(server.url) as client:
        reply = await client.get("/")
        assert reply.content == PAGE
        assert reply.text == PAGE.decode()
        assert reply.num_bytes_downloaded == len(data)
        assert list(reply.iter_lines()) == [PAGE.decode()]


@pytest.mark.parametrize(
    "made", [lambda: b"no gzip!", lambda: gzip.compress(PAGE, mtime=0)[:-9], lambda: gzip.compress(bytes(70_000_000))]
)
async def test_a_body_that_does_not_unpack_within_bounds_is_a_protocol_fault(made: Callable[[], bytes]) -> None:
    async with scripted(ok(made(), "Content-Encoding: gzip")) as server, client_of(server.url) as client:
        reply = await client.get("/")
        with pytest.raises(RequestFailed) as failure:
            _ = reply.content
        assert failure.value.outcome == "protocol"
        assert [row.outcome for row in rows_of(client)] == ["protocol"]


# -- attributes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Type: text/html; charset=iso-8859-1"], "é".encode("latin-1")),
        (["Content-Type: text/html; charset=utf-16"], "é".encode("utf-16")),
        (["Content-Type: text/html; charset=nonsense"], "é".encode()),
        (["Content-Type: text/html"], "é".encode()),
        ([], b"\xff\xfe broken"),
        (["Content-Type: application/json"], b'{"a": [1, 2.5, null]}'),
        (["Link: </a>; rel=next, </b>; rel=last"], b""),
        (["Set-Cookie: a=b; Path=/", "Set-Cookie: c=d"], b"x"),
        (["X-A: 1", "X-A: 2", "x-b:   padded  "], b"x"),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Oh", "302 Found"])
async def test_a_replys_attributes_are_those_of_httpx(headers: list[str], body: bytes, status: str) -> None:
    async with scripted(ok(body, *headers, status=status)) as server, client_of(server.url) as client:
        ours = await client.get("/a?b=c")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock_client:
            stock = await stock_client.get("/a?b=c")
    for name in [
        "status_code",
        "reason_phrase",
        "http_version",
        "content",
        "text",
        "encoding",
        "charset_encoding",
        "url",
        "links",
        "history",
        "is_informational",
        "is_success",
        "is_redirect",
        "is_client_error",
        "is_server_error",
        "is_error",
        "has_redirect_location",
        "num_bytes_downloaded",
        "is_closed",
        "is_stream_consumed",
        "next_request",
    ]:
        assert getattr(ours, name) == getattr(stock, name), name
    assert ours.headers == stock.headers
    assert dict(ours.cookies) == dict(stock.cookies)
    assert ours.request.method == stock.request.method
    assert ours.request.url == stock.request.url
    assert ours.read() == stock.read() == await ours.aread()
    assert list(ours.iter_lines()) == list(stock.iter_lines())
    assert list(ours.iter_text(2)) == list(stock.iter_text(2))
    assert list(ours.iter_bytes(2)) == list(stock.iter_bytes(2))
    assert ours.extensions["http_version"] == stock.extensions["http_version"]
    assert ours.elapsed.total_seconds() > 0
    ours.close()
    await ours.aclose()


async def test_the_encoding_can_be_set_before_the_text_is_read() -> None:
    async with scripted(ok("é".encode("latin-1"))) as server, client_of(server.url) as client:
        reply = await client.get("/")
        reply.encoding = "latin-1"
        assert reply.text == "é"
        with pytest.raises(ValueError, match="read already"):
            reply.encoding = "utf-8"


@pytest.mark.parametrize(
    "body", [b"[NaN, 1e400]", b"\xef\xbb\xbf[1]", '{"é": 1}'.encode("utf-16"), b"[123456789012345678901]"]
)
async def test_json_is_what_the_standard_library_reads(body: bytes) -> None:
    async with scripted(ok(body)) as server, client_of(server.url) as client:
        assert repr((await client.get("/")).json()) == repr(json.loads(body))


async def test_json_of_what_is_no_json_is_a_value_error() -> None:
    async with scripted(ok(b"<html>")) as server, client_of(server.url) as client:
        with pytest.raises(json.JSONDecodeError):
            (await client.get("/")).json()


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_body_over_the_limit_ends_as_too_large(head: bytes) -> None:
    for _ in range(2):  # the second time the head is known
        async with (
            scripted([head, *[b"x" * 500] * 10, CLOSE]) as server,
            client_of(server.url, limit_bytes=1000) as client,
        ):
            with pytest.raises(RequestFailed) as failure:
                await client.get("/")
            assert failure.value.outcome == "body too large"
            assert len(client._pool) == 0


async def test_a_body_of_exactly_the_limit_is_fine() -> None:
    async with scripted(ok(b"x" * 1000)) as server, client_of(server.url, limit_bytes=1000) as client:
        assert len((await client.get("/")).content) == 1000
