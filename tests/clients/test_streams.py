"""Answers that are read while they come, held against stock httpx, and what breaks them."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.http import HttpClient
from loadgen.clients.net.canned_replies import CannedNetwork
from loadgen.clients.protocol.decoding import DecodingError, Unpacker, decode
from loadgen.clients.protocol.file_and_generated_bodies import Blob
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.response.streams import MAX_EVENTS, StreamedReply, _Lines
from loadgen.errors import ExpectFailed, RequestFailed
from tests.support.badserver import Badness, bad_server
from tests.support.examples import examples
from tests.support.scripted import CLOSE, RESET, Received, client_of, ok, rows_of, scripted
from tests.support.turns import turns

BODY = "Zeile eins\nzwei ü\r\ndrei 日本\n\nfünf".encode()


def chunked(body: bytes, *headers: str, seed: int = 1) -> list[bytes]:
    """An answer in chunks, written piece by piece."""
    draw = random.Random(seed)
    cuts = sorted(draw.randrange(len(body) + 1) for _ in range(9))
    parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if b > a]
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked"]) + "\r\n\r\n"
    return [head.encode(), *(b"%x\r\n%b\r\n" % (len(p), p) for p in parts), b"0\r\n\r\n"]


def until_close(body: bytes, *headers: str) -> list[bytes]:
    return ["\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body, CLOSE]  # type: ignore[list-item]


ANSWERS: dict[str, Any] = {
    "length": ok(BODY),
    "chunks": chunked(BODY),
    "until close": until_close(BODY),
    "empty": ok(b""),
    "gzip": ok(gzip.compress(BODY * 5000), "Content-Encoding: gzip"),
    "gzip in chunks": chunked(gzip.compress(BODY * 50), "Content-Encoding: gzip"),
    "deflate": ok(zlib.compress(BODY), "Content-Encoding: deflate"),
    "raw deflate": ok(zlib.compress(BODY, wbits=-15), "Content-Encoding: deflate"),
    "latin-1": ok("fünf\nsechs".encode("latin-1"), "Content-Type: text/plain; charset=iso-8859-1"),
    "bad utf-8": ok(b"a\xff\xfeb\n\xe6"),
    "large": ok(BODY * 5_000),
    "error": ok(BODY, status="500 No"),
}


async def _all(pieces: AsyncIterator[Any]) -> Any:
    found = [piece async for piece in pieces]
    return found and (b"".join(found) if isinstance(found[0], bytes) else "".join(found))


READS: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda r: _all(r.aiter_bytes()),
    "raw": lambda r: _all(r.aiter_raw()),
    "text": lambda r: _all(r.aiter_text()),
    "aread": lambda r: r.aread(),
}
CUT_READS: dict[str, Callable[[Any], AsyncIterator[Any]]] = {
    "lines": lambda r: r.aiter_lines(),
    "bytes of 7": lambda r: r.aiter_bytes(7),
    "raw of 5": lambda r: r.aiter_raw(5),
    "text of 3": lambda r: r.aiter_text(3),
}


@asynccontextmanager
async def _clients(answer: Any) -> AsyncIterator[tuple[HttpClient, httpx.AsyncClient]]:
    async with (
        scripted(answer) as server,
        client_of(server.url) as ours,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as stock,
    ):
        yield ours, stock


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_stream_reads_as_in_httpx(name: str) -> None:
    async with _clients(ANSWERS[name]) as (ours, stock):
        for read in READS.values():
            async with stock.stream("GET", "/") as wanted, ours.stream("GET", "/") as reply:
                assert reply.status_code == wanted.status_code
                assert await read(reply) == await read(wanted)
                assert reply.num_bytes_downloaded == wanted.num_bytes_downloaded
                assert reply.is_stream_consumed
                assert wanted.is_closed
                assert reply.is_closed
        for cut in CUT_READS.values():
            async with stock.stream("GET", "/") as wanted, ours.stream("GET", "/") as reply:
                assert [p async for p in cut(reply)] == [p async for p in cut(wanted)]
        outcome = "http 500" if name == "error" else "ok"
        assert [row.outcome for row in rows_of(ours)] == [outcome] * len({**READS, **CUT_READS})
        assert len(ours._pool) == (0 if name == "until close" else 1)


@given(text=st.text(st.sampled_from("ab\r\n\v\x85\u2028"), max_size=30), cuts=st.lists(st.integers(0, 30), max_size=6))
@settings(max_examples=examples(400), deadline=None)
def test_lines_are_those_of_splitlines_however_the_text_is_cut(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    lines = _Lines()
    found = [line for a, b in pairwise(edges) for line in lines.feed(text[a:b])]
    assert [*found, *lines.rest()] == text.splitlines()


@given(
    body=st.binary(max_size=3000),
    encoding=st.sampled_from(["gzip", "deflate", "raw", "gzip, deflate", "lzma, gzip"]),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
@settings(max_examples=examples(100), deadline=None)
def test_what_is_unpacked_piece_by_piece_is_what_is_unpacked_at_once(
    body: bytes, encoding: str, cuts: list[int]
) -> None:
    packed = body
    for one in encoding.split(", "):
        if one in ("gzip", "deflate", "raw"):
            pack = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": lambda b: zlib.compress(b, wbits=-15)}
            packed = pack[one](packed)
    name = encoding.replace("raw", "deflate")
    edges = [0, *sorted(min(c, len(packed)) for c in cuts), len(packed)]
    unpacker = Unpacker(name)
    found = [piece for a, b in pairwise(edges) for piece in unpacker.feed(packed[a:b])]
    unpacker.finish()
    assert b"".join(found) == body == decode(packed, name, 10_000)


def test_a_bomb_is_unpacked_in_small_pieces() -> None:
    packed = gzip.compress(gzip.compress(b"\0" * 30_000_000))
    sizes = [len(piece) for piece in Unpacker("gzip, gzip").feed(packed)]
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 64 * 1024


def test_a_packed_body_that_ends_in_the_middle_is_told() -> None:
    unpacker = Unpacker("gzip")
    assert list(unpacker.feed(gzip.compress(b"hello")[:-9])) is not None
    with pytest.raises(DecodingError, match="ends in the middle"):
        unpacker.finish()


# -- the four times -----------------------------------------------------------------------------------


class _Source:
    """Answers in pieces when a test says so."""

    def __init__(self) -> None:
        self.writer: asyncio.StreamWriter
        self.asked = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.writer = writer
        self.asked.set()

    async def say(self, data: bytes) -> None:
        await self.asked.wait()
        self.writer.write(data)
        await self.writer.drain()


@asynccontextmanager
async def source_and_client(**options: Any) -> AsyncIterator[tuple[_Source, HttpClient]]:
    source = _Source()
    server = await asyncio.start_server(source.handle, "127.0.0.1", 0)
    async with client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", **options) as client:
        yield source, client
        if source.asked.is_set():
            source.writer.close()
    server.close()


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_the_block_begins_with_the_head_and_every_piece_has_its_time() -> None:
    async with source_and_client() as (source, client):
        saying = asyncio.create_task(source.say(HEAD))
        async with client.stream("GET", "/events", name="events", expect=200) as reply:
            await saying
            assert reply.headers["transfer-encoding"] == "chunked"
            assert (reply.first_byte_ns > 0, reply.events, reply.done_ns) == (True, 0, 0)
            assert not rows_of(client)
            times = []
            pieces = reply.aiter_bytes()
            for word in (b"one", b"two", b"three"):
                await source.say(b"%x\r\n%b\r\n" % (len(word), word))
                assert await anext(pieces) == word
                times.append(reply.piece_ns)
            assert times == reply.event_ns == sorted(times)
            assert reply.first_byte_ns <= times[0]
            await source.say(b"0\r\n\r\n")
            assert [p async for p in pieces] == []
            assert reply.events == 3
            done_ns = reply.done_ns
            assert done_ns >= times[-1]
            await asyncio.sleep(0.01)
        assert reply.done_ns == done_ns  # the last byte, not the end of the block
        (row,) = rows_of(client)
        assert (row.name, row.outcome, row.size_bytes > 60) == ("events", "ok", True)
        assert row.response_ns == done_ns - reply.asked_ns
        assert len(client._pool.idle[client._gets["/"].origin]) == 1


async def test_times_are_kept_of_so_many_pieces_and_all_are_counted() -> None:
    async with scripted(ok(b"x")) as server, client_of(server.url) as client, client.stream("GET", "/") as reply:
        await reply.aread()
        for n in range(MAX_EVENTS + 5):
            reply.took(b"", n)
        assert len(reply.event_ns) == MAX_EVENTS
        assert reply.events == MAX_EVENTS + 6


async def test_who_leaves_early_is_done_then_and_closes_the_connection() -> None:
    async with source_and_client() as (source, client):
        saying = asyncio.create_task(source.say(HEAD + b"3\r\none\r\n"))
        async with client.stream("GET", "/") as reply:
            await saying
            async for piece in reply.aiter_bytes():
                assert piece == b"one"
                break
            begun_ns = reply.event_ns[0]
            await asyncio.sleep(0.005)
        (row,) = rows_of(client)
        assert row.outcome == "ok"
        assert row.size_bytes == len(HEAD) + 8
        assert reply.done_ns - begun_ns >= 4_000_000
        assert len(client._pool) == 0
        with pytest.raises(httpx.StreamConsumed):
            await reply.aread()


async def test_what_was_wholly_received_and_not_read_is_done_with_its_last_byte_and_keeps_the_connection() -> None:
    async with scripted(ok(b"x" * 1000)) as server, client_of(server.url) as client:
        async with client.stream("GET", "/") as reply:
            while not reply._is_whole:
                await asyncio.sleep(0.001)
            done_ns = reply.done_ns
        assert reply.done_ns == done_ns
        with pytest.raises(httpx.StreamClosed):
            await reply.aread()
        await client.get("/")
        assert server.connections == 1
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"]


async def test_other_requests_can_be_made_while_a_stream_is_read() -> None:
    def answer(request: Received) -> Any:
        return chunked(b"a\nb\nc\n") if request.target == "/stream" else ok(b"x")

    async with scripted(answer) as server, client_of(server.url) as client:
        async with client.stream("GET", "/stream") as reply:
            async for line in reply.aiter_lines():
                (await client.get(f"/{line}")).expect(status=200)
        assert [row.name for row in rows_of(client)] == ["GET /a", "GET /b", "GET /c", "GET /stream"]
        assert {row.outcome for row in rows_of(client)} == {"ok"}


# -- expectations -------------------------------------------------------------------------------------


async def test_expect_works_on_the_head_and_is_recorded_once_when_the_stream_ends() -> None:
    async with scripted(ok(b"x" * 100, status="404 No")) as server, client_of(server.url) as client:
        with pytest.raises(ExpectFailed, match="expect status"):
            async with client.stream("GET", "/", expect=200):
                raise AssertionError("the block was entered")
        with pytest.raises(ExpectFailed, match="expect status"):
            async with client.stream("GET", "/") as reply:
                reply.expect(status=200)
        async with client.stream("GET", "/", expect=404) as reply:
            await reply.aread()
        async with client.stream("GET", "/", accept={404}) as reply:
            pass
        async with client.stream("GET", "/") as reply:
            pass
        outcomes = [row.outcome for row in rows_of(client)]
        assert outcomes == ["expect status", "expect status", "ok", "ok", "http 404"]


async def test_after_aread_it_is_a_reply_like_any_other() -> None:
    async with scripted(ok(b'{"token": "t"}')) as server, client_of(server.url) as client:
        async with client.stream("POST", "/", json={"a": 1}) as reply:
            with pytest.raises(httpx.ResponseNotRead):
                _ = reply.text
            await reply.aread()
            assert reply.pick("$.token") == "t"
            assert reply.json() == {"token": "t"}
            assert reply.as_httpx().text == reply.text
            assert [p async for p in reply.aiter_bytes(5)] == [b'{"tok', b'en": ', b'"t"}']
            with pytest.raises(httpx.StreamConsumed):
                _ = [p async for p in reply.aiter_raw()]
            with pytest.raises(ExpectFailed):
                reply.pick("$.missing")
        assert [row.outcome for row in rows_of(client)] == ["pick $.missing"]


async def test_a_request_can_be_a_stream_too() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    async with scripted(lambda request: ok(request.body)) as server, client_of(server.url) as client:
        async with client.stream("POST", "/", content=pieces(), name="both") as reply:
            assert await reply.aread() == b"abcd"
        assert [row.name for row in rows_of(client)] == ["both"]


async def test_a_head_request_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with scripted(answer) as server, client_of(server.url) as client, client.stream("HEAD", "/") as reply:
        assert await reply.aread() == b""


async def test_interim_answers_are_passed_over() -> None:
    answer = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok(b"x")]
    async with scripted(answer) as server, client_of(server.url) as client, client.stream("GET", "/") as reply:
        assert (reply.status_code, await reply.aread()) == (200, b"x")


# -- redirects and auth -------------------------------------------------------------------------------


async def test_redirects_are_followed_and_each_hop_is_a_row() -> None:
    def answer(request: Received) -> Any:
        if request.target == "/end":
            return chunked(b"there")
        return ok(b"moved" * 10, "Location: /end" if request.target == "/b" else "Location: /b", status="302 Found")

    async with scripted(answer) as server, client_of(server.url) as client:
        async with client.stream("GET", "/a", follow_redirects=True, expect=200) as reply:
            assert isinstance(reply, StreamedReply)
            assert await reply.aread() == b"there"
            assert [hop.status_code for hop in reply.history] == [302, 302]
        async with client.stream("GET", "/a") as reply:
            assert reply.status_code == 302
        assert [row.name for row in rows_of(client)] == ["GET /a", "GET /b", "GET /end", "GET /a"]
        assert {row.outcome for row in rows_of(client)} == {"ok"}
        assert server.connections == 1


async def test_a_long_body_of_a_hop_is_not_read_to_its_end() -> None:
    def answer(request: Received) -> Any:
        if request.target == "/end":
            return ok(b"there")
        return ok(b"x" * 3_000_000, "Location: /end", status="302 Found")

    async with scripted(answer) as server, client_of(server.url) as client:
        async with client.stream("GET", "/a", follow_redirects=True) as reply:
            assert await reply.aread() == b"there"
        assert server.connections == 2


async def test_an_auth_flow_answers_the_challenge_and_then_streams() -> None:
    def answer(request: Received) -> Any:
        if request.header("authorization") is None:
            challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
            return ok(b"who?", challenge, status="401 No")
        return chunked(b"in")

    async with scripted(answer) as server, client_of(server.url) as client:
        async with client.stream("GET", "/", auth=httpx.DigestAuth("me", "secret"), expect=200) as reply:
            assert await reply.aread() == b"in"
        assert len(rows_of(client)) == 2
        assert server.connections == 1


# -- what breaks --------------------------------------------------------------------------------------


async def _read_to_the_end(client: HttpClient) -> None:
    async with client.stream("POST", "/pay") as reply:
        async for _ in reply.aiter_bytes():
            pass


@pytest.mark.parametrize(
    ("badness", "outcome"),
    [
        ("reset", "reset"),
        ("reset midway", "reset"),
        ("close", "reset"),
        ("close midway", "protocol"),
        ("hang", "timeout"),
        ("hang midway", "timeout"),
        ("garbage", "protocol"),
        ("bad chunk", "protocol"),
        ("bad length", "protocol"),
        ("two lengths", "protocol"),
        ("endless header", "head too large"),
        ("bad gzip", "protocol"),
    ],
)
async def test_a_fault_is_an_outcome_that_is_recorded_once(badness: Badness, outcome: str) -> None:
    timeouts = Timeouts(total_ns=60_000_000) if outcome == "timeout" else Timeouts()
    async with bad_server(badness) as url, client_of(url, timeouts=timeouts) as client:
        with pytest.raises(RequestFailed) as failure:
            await _read_to_the_end(client)
        assert failure.value.outcome == outcome
        assert str(failure.value).startswith(f"{outcome}: POST http://127.0.0.1:")
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("POST /pay", outcome)]
        assert len(client._pool) == (1 if badness == "bad gzip" else 0)


async def test_a_stream_without_an_end_has_no_size_limit_but_aread_has_one() -> None:
    async with bad_server("endless chunks") as url, client_of(url, limit_bytes=100_000) as client:
        size = 0
        async with client.stream("GET", "/") as reply:
            async for piece in reply.aiter_bytes():
                size += len(piece)
                if size > 2_000_000:
                    break
        with pytest.raises(RequestFailed, match="body too large"):
            async with client.stream("GET", "/") as reply:
                await reply.aread()
        assert [row.outcome for row in rows_of(client)] == ["ok", "body too large"]


async def test_a_break_that_nobody_read_is_the_outcome_all_the_same() -> None:
    answer: Any = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", RESET]
    async with scripted(answer) as server, client_of(server.url) as client:
        async with client.stream("GET", "/") as reply:
            while reply._failure is None:
                await asyncio.sleep(0.001)
        assert [row.outcome for row in rows_of(client)] in (["reset"], ["protocol"])


async def test_a_slow_reader_holds_the_target_back() -> None:
    written = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n")
        for _ in range(600):
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        async with client.stream("GET", "/") as reply:
            before = -1
            while before != written or not written:
                before = written
                await asyncio.sleep(0.05)
            assert written < 30_000_000  # the kernel's buffers: they grow on loopback
            assert reply._unread_bytes < 1_000_000
            assert sum([len(p) async for p in reply.aiter_bytes()]) == 60_000_000
        assert [row.outcome for row in rows_of(client)] == ["ok"]
        assert len(client._pool) == 1
    server.close()


async def test_who_is_cancelled_while_reading_has_no_row() -> None:
    async with source_and_client() as (source, client):
        reading = asyncio.Event()

        async def read() -> None:
            async with client.stream("GET", "/") as reply:
                reading.set()
                await reply.aread()

        task = asyncio.create_task(read())
        await source.say(HEAD + b"3\r\none\r\n")
        await reading.wait()
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not rows_of(client)
        assert len(client._pool) == 0


async def test_closing_the_user_cuts_the_reader_off() -> None:
    async with source_and_client() as (source, client):
        reading = asyncio.Event()

        async def read() -> None:
            async with client.stream("GET", "/") as reply:
                reading.set()
                await reply.aread()

        task = asyncio.create_task(read())
        await source.say(HEAD)
        await reading.wait()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not rows_of(client)


async def test_a_read_that_the_journey_gave_up_can_go_on() -> None:
    async with source_and_client() as (source, client):
        saying = asyncio.create_task(source.say(HEAD))
        async with client.stream("GET", "/") as reply:
            await saying
            pieces = reply._pieces()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(pieces)
            await source.say(b"3\r\none\r\n0\r\n\r\n")
            assert [p async for p in reply.aiter_raw()] == [b"one"]
        assert [row.outcome for row in rows_of(client)] == ["ok"]


async def test_without_a_time_out_a_stream_outlives_the_plans() -> None:
    async with source_and_client(timeouts=Timeouts(total_ns=30_000_000)) as (source, client):
        saying = asyncio.create_task(source.say(HEAD))
        async with client.stream("GET", "/", timeout=None) as reply:
            await saying
            await asyncio.sleep(0.08)
            await source.say(b"3\r\none\r\n0\r\n\r\n")
            assert await reply.aread() == b"one"


async def test_a_stale_connection_is_replaced() -> None:
    answers: list[Any] = [[ok(b"1"), CLOSE], ok(b"2")]

    async with scripted(lambda r: answers.pop(0)) as server, client_of(server.url) as client:
        await client.get("/")
        while server.open_connections:
            await asyncio.sleep(0.001)
        async with client.stream("GET", "/") as reply:
            assert await reply.aread() == b"2"


async def test_canned_replies_can_be_read_as_streams_and_take_bodies_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    network = CannedNetwork({"GET /lines": "one\ntwo\n" * 100_000, "POST /upload": 201})
    async with client_of("http://shop.example", network=network) as client:
        async with client.stream("GET", "/lines") as reply:
            assert len([line async for line in reply.aiter_lines()]) == 200_000
        await client.post("/upload", content=pieces(), expect=201)
        await client.post("/upload", content=Blob(100_000), expect=201)
        assert [request.body for request in network.requests] == [b"", b"abcd", bytes(Blob(100_000))]
