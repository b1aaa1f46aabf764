"""Targets that do what is allowed and seldom done: they close one side, answer early, drip, or set others' cookies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.errors import RequestFailed
from tests.support.scripted import client_of, ok, rows_of

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(handle: Handler) -> AsyncIterator[str]:
    """A server that does what the test says with each connection; its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handle(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


# -- half-closed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_target_that_closes_its_side_after_a_body_without_a_length_has_answered(is_stream: bool) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.write_eof()
        await reader.read()  # its other side stays open until ours is closed

    async with served(handle) as url, client_of(url) as client:
        for _ in range(2):
            if is_stream:
                async with client.stream("GET", "/") as stream:
                    assert await stream.aread() == b"all of it"
            else:
                assert (await client.get("/")).text == "all of it"
            assert len(client._pool) == 0
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 200 OK\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", "protocol"),
    ],
)
async def test_a_target_that_closes_its_side_too_early_has_not(said: bytes, outcome: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(said)
        writer.write_eof()
        await reader.read()

    async with served(handle) as url, client_of(url) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == outcome
        assert len(client._pool) == 0


async def test_a_kept_connection_of_which_the_target_closed_its_side_is_not_used_again() -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head_of(reader)
        writer.write(ok(b"x"))
        writer.write_eof()
        await reader.read()

    async with served(handle) as url, client_of(url) as client:
        await client.get("/")
        while len(client._pool):
            await asyncio.sleep(0.001)
        await client.get("/")
        assert connections == 2
        assert client._pool.stale_retries == 0


# -- interim and early answers ------------------------------------------------------------------------


async def test_expect_100_continue_is_sent_as_it_is_and_the_body_is_not_held_back() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))
        seen.append(await reader.readexactly(5))  # before any 100
        writer.write(b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(ok(b"done"))
        await reader.read()

    async with served(handle) as url, client_of(url) as client:
        answer = await client.post("/", content=b"hello", headers={"Expect": "100-continue"}, expect=200)
        assert answer.text == "done"
        assert "x-interim" not in answer.headers
        assert b"\r\nExpect: 100-continue\r\n" in seen[0]
        assert seen[1] == b"hello"
        assert len(client._pool) == 1


async def test_an_answer_that_comes_instead_of_100_continue_ends_the_sending() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(ok(b"too much", status="417 Expectation Failed"))
        await reader.read()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0)

    async with served(handle) as url, client_of(url) as client:
        answer = await client.post("/", content=endless(), headers={"Expect": "100-continue"}, expect=417)
        assert answer.text == "too much"
        assert len(client._pool) == 0


async def test_any_number_of_interim_answers_is_passed_over_in_whatever_pieces_they_come() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 20

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await head_of(reader)
            said = interim + ok(b"final")
            for at in range(0, len(said), 97):
                writer.write(said[at : at + 97])
                await writer.drain()
                await asyncio.sleep(0)
        await reader.read()

    async with served(handle) as url, client_of(url) as client:
        for _ in range(2):
            assert (await client.get("/")).text == "final"
        assert client._pool.opened == 1


# -- dripping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 5_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"y" * 4_999,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\ny\r\n" * 1_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
    ],
    ids=["head", "body", "chunks", "interim"],
)
@pytest.mark.parametrize("how", ["whole", "stream", "discard"])
async def test_who_drips_byte_by_byte_does_not_outlive_the_time_out(said: bytes, how: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        for byte in said:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.002)

    async with served(handle) as url, client_of(url, timeouts=Timeouts(total_ns=50_000_000)) as client:
        with pytest.raises(RequestFailed) as failure:
            await _read(client, how)
        assert failure.value.outcome == "timeout"
        (row,) = rows_of(client)
        assert row.response_ns == 50_000_000  # censored at its deadline, whatever dripped on
        assert len(client._pool) == 0


async def _read(client: HttpClient, how: str) -> None:
    if how == "stream":
        async with client.stream("GET", "/") as stream:
            await stream.aread()
    else:
        await client.get("/", discard=how == "discard")


# -- others' cookies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "set_cookie", "goes_to"),
    [
        ("shop.test", "a=1", {"http://shop.test/"}),
        ("api.shop.test", "a=1", {"http://api.shop.test/"}),
        ("shop.test", "a=1; Domain=shop.test", {"http://shop.test/", "http://api.shop.test/"}),
        ("api.shop.test", "a=1; Domain=shop.test", {"http://shop.test/", "http://api.shop.test/"}),
        ("api.shop.test", "a=1; Domain=.shop.test", {"http://shop.test/", "http://api.shop.test/"}),
        ("shop.test", "a=1; Domain=api.shop.test", set()),  # below it
        ("shop.test", "a=1; Domain=other.test", set()),
        ("shop.test", "a=1; Domain=op.test", set()),  # ends alike
        ("shop.test", "a=1; Domain=test", set()),  # a public suffix
        ("shop.test", "a=1; Domain=.test", set()),
        ("shop.co.uk", "a=1; Domain=co.uk", set()),
        ("shop.com.au", "a=1; Domain=.com.au", set()),
        ("shop.test", "a=1; Secure", set()),  # not over http
        ("shop.test", "a=1; Path=/cart", {"http://shop.test/cart/x"}),
        ("shop.test", "a=1; Max-Age=0", set()),
    ],
)
async def test_a_cookie_goes_to_nobody_whom_it_is_not_for(host: str, set_cookie: str, goes_to: set[str]) -> None:
    network = CannedNetwork({"GET /set": reply(headers={"Set-Cookie": set_cookie}), "GET /*": 200})
    elsewhere = ["http://other.test/", "http://xshop.test/", "http://shop.test.evil.example/", "http://other.co.uk/"]
    places = ["http://shop.test/", "http://api.shop.test/", "http://shop.test/cart/x", "http://co.uk/", *elsewhere]
    async with client_of(f"http://{host}", network=network) as client:
        await client.get("/set")
        asked = [place for place in places if "/cart" in place or "/cart" not in set_cookie]
        for place in asked:
            await client.get(place)
        sent = {
            place: request.headers.get("cookie")
            for place, request in zip(asked, network.requests[1:], strict=True)
            if "cookie" in request.headers
        }
        if "/cart" not in set_cookie and "http://shop.test/" in goes_to:
            goes_to = goes_to | {"http://shop.test/cart/x"}
        assert sent == dict.fromkeys(goes_to, "a=1")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "SHOP.test", "b\u00fccher.test"])
@pytest.mark.parametrize("port", ["", ":8080"])
async def test_a_cookie_goes_back_to_whoever_set_it_however_it_is_called(host: str, port: str) -> None:
    network = CannedNetwork({"GET /set": reply(headers={"Set-Cookie": "a=1"}), "GET /*": 200})
    async with client_of(f"http://{host}{port}", network=network) as client:
        await client.get("/set")
        await client.get("/")
        assert network.requests[1].headers["cookie"] == "a=1"


async def test_a_redirect_to_another_host_takes_no_cookie_along() -> None:
    def answer(request: Any) -> bytes:
        if request.headers["host"] == "shop.test":
            return reply(302, headers={"Location": "http://other.test/", "Set-Cookie": "session=secret"})
        return reply(text="there")

    network = CannedNetwork({"GET /*": answer})
    async with client_of("http://shop.test", network=network) as client:
        client.cookies.set("mine", "1", domain="shop.test")
        await client.get("/", follow_redirects=True, expect=200)
        hops = [(request.headers["host"], request.headers.get("cookie")) for request in network.requests]
        assert hops == [("shop.test", "mine=1"), ("other.test", None)]
