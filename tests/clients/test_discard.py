"""`discard=True`: the body is counted, not kept; who asks for it is told."""

from __future__ import annotations

import asyncio
import gzip
import re
import tracemalloc
from typing import Any

import httpx
import pytest

from loadgen import gql
from loadgen.clients.protocol.http2 import STREAM_WINDOW_BYTES
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.response.discarded import DiscardedReply
from loadgen.clients.response.replies import Reply
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from tests.support.badserver import Badness, bad_server
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.scripted import HANG, Received, client_of, ok, rows_of, samples_of, scripted
from tests.support.turns import turns

BODY = b"0123456789" * 50_000


async def test_the_body_is_counted_and_the_rest_is_as_of_any_reply() -> None:
    async with scripted(ok(BODY, "X-A: 1", "Set-Cookie: a=b")) as server, client_of(server.url) as client:
        kept = await client.get("/")
        reply = await client.get("/", discard=True, expect=200)
        assert isinstance(reply, DiscardedReply)
        assert (reply.status_code, reply.headers["x-a"], reply.is_closed) == (200, "1", True)
        assert reply.num_bytes_downloaded == len(BODY)
        assert reply.size_bytes == kept.size_bytes
        assert reply.pick("header:x-a") == "1"
        assert client.cookies["a"] == "b"
        assert reply.asked_ns <= reply.sent_ns <= reply.first_byte_ns <= reply.done_ns
        assert server.connections == 1
        assert [(row.outcome, row.size_bytes) for row in rows_of(client)] == [("ok", kept.size_bytes)] * 2


@pytest.mark.parametrize(
    "read",
    [
        lambda reply: reply.content,
        lambda reply: reply.text,
        lambda reply: reply.json(),
        lambda reply: reply.read(),
        lambda reply: reply.pick("$.a"),
        lambda reply: reply.expect(json={"a": 1}),
        lambda reply: reply.expect(text=re.compile("a")),
    ],
)
async def test_whoever_asks_for_the_body_is_told_that_it_was_discarded(read: Any) -> None:
    async with scripted(ok(b"{}")) as server, client_of(server.url) as client:
        reply = await client.get("/", discard=True)
        with pytest.raises(UsageError, match=r"the body of GET .*/ was discarded") as told:
            read(reply)
        assert "discard=True" in (told.value.hint or "")
        with pytest.raises(UsageError, match="was discarded"):
            await reply.aread()
        assert [row.outcome for row in rows_of(client)] == ["ok"]


async def test_a_body_of_any_size_takes_no_memory() -> None:
    pieces = 320  # of 128 KiB: more than a body may have that is kept
    chunk = b"20000\r\n" + bytes(131_072) + b"\r\n"
    answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[chunk] * pieces, b"0\r\n\r\n"]
    async with scripted(answer) as server, client_of(server.url, limit_bytes=1_000_000) as client:
        tracemalloc.start()
        try:
            reply = await client.get("/", discard=True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert reply.num_bytes_downloaded == pieces * 131_072
        assert peak < 6_000_000
        assert len(client._pool) == 1


async def test_as_a_stream_it_has_the_times_of_its_pieces_and_the_block_ends_when_the_body_did() -> None:
    async with scripted([ok(BODY)[:100], ok(BODY)[100:]]) as server, client_of(server.url) as client:
        async with client.stream("GET", "/", discard=True) as reply:
            reply.expect(status=200)
            with pytest.raises(UsageError, match="was discarded"):
                [piece async for piece in reply.aiter_bytes()]
        assert reply.events == len(reply.event_ns) >= 2
        assert reply.event_ns == sorted(reply.event_ns)
        assert reply.num_bytes_downloaded == len(BODY)
        await client.get("/")
        assert server.connections == 1  # it was read to its end
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"]


async def test_a_packed_body_is_not_unpacked() -> None:
    packed = gzip.compress(bytes(10_000))
    async with scripted(ok(packed, "Content-Encoding: gzip")) as server, client_of(server.url) as client:
        reply = await client.get("/", discard=True)
        assert reply.num_bytes_downloaded == len(packed)
        async with client.stream("GET", "/", discard=True) as stream:
            pass
        assert stream.num_bytes_downloaded == len(packed)


async def test_of_an_error_the_beginning_is_kept_for_whoever_wants_to_know_why() -> None:
    answer = ok(b"disk full " * 1000, "Content-Type: text/plain", status="507 No Room")
    async with scripted(answer) as server, client_of(server.url) as client:
        reply = await client.get("/", discard=True)
        assert reply.outcome == "http 507"
        _, received = samples_of(client)[0].exchange()
        assert "disk full disk full" in received
        assert len(received) < 5_000
        with pytest.raises(UsageError):
            _ = reply.content
        await client.get("/", discard=True, expect=507)
        with pytest.raises(ExpectFailed):
            await client.get("/", discard=True, expect=200)
        assert [row.outcome for row in rows_of(client)] == ["http 507", "ok", "expect status"]


@pytest.mark.parametrize(
    ("badness", "outcome"),
    [
        ("reset", "reset"),
        ("reset midway", "reset"),
        ("close midway", "protocol"),
        ("hang midway", "timeout"),
        ("bad chunk", "protocol"),
        ("two lengths", "protocol"),
    ],
)
async def test_a_fault_is_an_outcome_that_is_recorded_once(badness: Badness, outcome: str) -> None:
    timeouts = Timeouts(total_ns=60_000_000) if outcome == "timeout" else Timeouts()
    async with bad_server(badness) as url, client_of(url, timeouts=timeouts) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", discard=True)
        assert failure.value.outcome == outcome
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("GET /", outcome)]
        assert len(client._pool) == 0


async def test_who_is_cancelled_in_the_middle_of_a_body_leaves_no_row_and_no_connection() -> None:
    async with scripted([ok(BODY)[:1000], HANG]) as server, client_of(server.url) as client:
        asked = asyncio.create_task(client.get("/", discard=True))
        while not server.requests:
            await asyncio.sleep(0.001)
        await turns()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert rows_of(client) == []
        assert len(client._pool) == 0


async def test_hops_and_challenges_are_discarded_too_and_their_connection_is_kept() -> None:
    def answer(request: Received) -> bytes:
        if request.target == "/old":
            return ok(BODY, "Location: /new", status="302 Found")
        if request.header("authorization") is None:
            return ok(BODY, 'WWW-Authenticate: Digest realm="r", nonce="n"', status="401 Who")
        return ok(BODY)

    async with scripted(answer) as server, client_of(server.url) as client:
        auth = httpx.DigestAuth("u", "p")
        reply: Reply = await client.get("/new", discard=True, auth=auth, expect=200)
        assert reply.num_bytes_downloaded == len(BODY)
        reply = await client.get("/old", discard=True, follow_redirects=True, accept={401})
        assert [hop.status_code for hop in reply.history] == [302]
        assert server.connections == 1


async def test_over_http_2_other_requests_go_on_beside_it_and_the_window_is_given_back() -> None:
    size = 8 * STREAM_WINDOW_BYTES + 17

    async def answer(served: Served, asked: Asked) -> None:
        if asked.path == "/big":
            served.headers(asked.stream)
            await served.stream(asked.stream, bytes(size))
        else:
            served.ok(asked.stream, b"small")

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        big, small = await asyncio.gather(client.get("/big", discard=True, timeout=60), client.get("/small"))
        assert (big.num_bytes_downloaded, small.text) == (size, "small")
        with pytest.raises(UsageError, match="was discarded"):
            _ = big.content
        assert (await client.get("/small")).text == "small"
        assert client._pool.opened == 1


async def test_what_has_to_read_its_answers_is_refused_before_anything_is_sent() -> None:
    class Reads(httpx.Auth):
        requires_response_body = True

    async with scripted(ok()) as server, client_of(server.url) as client:
        with pytest.raises(UsageError, match="Reads has to read the body"):
            await client.get("/", discard=True, auth=Reads())
        with pytest.raises(UsageError, match=r"gql\(\) has to read the body"):
            await client.post("/", json=gql("{ a }"), discard=True)
        assert server.requests == []
