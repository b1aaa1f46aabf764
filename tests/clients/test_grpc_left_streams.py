"""Streams that a journey leaves early: each is reset by a frame of its own, and its row ends.

A server with one thread for a stream, such as grpcio's health service, stops when streams that nobody reads stay open.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
from h2.exceptions import StreamClosedError

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.http import HttpClient
from tests.support.http2 import Asked, Http2Server, Served, http2_server, prior_pool
from tests.support.scripted import client_of, rows_of

pytestmark = pytest.mark.usefixtures("small_heap")

CANCEL = 8
GRPC = ("content-type", "application/grpc")
Leave = Callable[[GrpcChannel, Http2Server], Awaitable[None]]


async def watch(served: Served, asked: Asked) -> None:
    """Send no end: to /s/Watch two messages, to /s/Large more than a reader that pauses takes, to /s/Silent nothing."""
    if asked.path == "/s/Silent":
        await asyncio.Event().wait()
    served.headers(asked.stream, 200, GRPC)
    if asked.path == "/s/Large":
        with suppress(StreamClosedError):
            await served.stream(asked.stream, framed(b"x" * 100_000) * 100)
        return
    if asked.path == "/s/Chat":
        await served.until(lambda: bool(asked.body))
    if asked.path != "/s/Head":
        served.data(asked.stream, framed(b"a") + framed(b"b"))
    await asyncio.Event().wait()


async def after_a_message_of_a_loop(channel: GrpcChannel, server: Http2Server) -> None:
    async for message in channel.unary_stream("/s/Watch")(b""):
        assert message == b"a"
        break


async def by_an_exception_in_a_loop(channel: GrpcChannel, server: Http2Server) -> None:
    with suppress(ZeroDivisionError):
        async for _ in channel.unary_stream("/s/Watch")(b""):
            raise ZeroDivisionError


async def by_a_time_out_after_the_last_message(channel: GrpcChannel, server: Http2Server) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            async for _ in channel.unary_stream("/s/Watch")(b""):
                pass


async def by_a_time_out_before_the_head(channel: GrpcChannel, server: Http2Server) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            async for _ in channel.unary_stream("/s/Silent")(b""):
                pass


async def by_a_time_out_before_the_first_message(channel: GrpcChannel, server: Http2Server) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await channel.unary_stream("/s/Head")(b"").read()


async def by_its_own_deadline(channel: GrpcChannel, server: Http2Server) -> None:
    with suppress(Exception):
        await channel.unary_stream("/s/Silent")(b"", timeout=0.05).read()


async def while_reading_pauses(channel: GrpcChannel, server: Http2Server) -> None:
    async for _ in channel.unary_stream("/s/Large")(b""):
        await asyncio.sleep(0.05)  # the server fills the window, and the reader pauses
        break


async def by_cancel_after_a_message(channel: GrpcChannel, server: Http2Server) -> None:
    call = channel.unary_stream("/s/Watch")(b"")
    await call.read()
    assert call.cancel()


async def by_cancel_before_the_head(channel: GrpcChannel, server: Http2Server) -> None:
    call = channel.stream_stream("/s/Silent")()
    await call.write(b"a")
    assert call.cancel()


async def by_dropping_a_call_after_a_read(channel: GrpcChannel, server: Http2Server) -> None:
    call = channel.unary_stream("/s/Watch")(b"")
    await call.read()


async def by_dropping_a_call_after_a_write(channel: GrpcChannel, server: Http2Server) -> None:
    call = channel.stream_stream("/s/Chat")()
    await call.write(b"a")
    await call.read()


async def by_dropping_a_call_before_the_head(channel: GrpcChannel, server: Http2Server) -> None:
    call = channel.stream_stream("/s/Silent")()
    await call.write(b"a")


async def by_dropping_a_call_that_is_fed(channel: GrpcChannel, server: Http2Server) -> None:
    async def messages() -> Any:
        yield b"a"
        await asyncio.Event().wait()

    call = channel.stream_stream("/s/Chat")(messages())
    await call.read()


LEAVES: dict[Leave, str | None] = {
    after_a_message_of_a_loop: "ok",
    by_an_exception_in_a_loop: "ok",
    by_a_time_out_after_the_last_message: "ok",
    by_a_time_out_before_the_head: None,
    by_a_time_out_before_the_first_message: "ok",
    by_its_own_deadline: "timeout",
    while_reading_pauses: "ok",
    by_cancel_after_a_message: "ok",
    by_cancel_before_the_head: None,
    by_dropping_a_call_after_a_read: "ok",
    by_dropping_a_call_after_a_write: "ok",
    by_dropping_a_call_before_the_head: None,
    by_dropping_a_call_that_is_fed: "ok",
}
"""By way: the outcome of the row; None: the row is cut off, which counts as started and not finished."""


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("leave", LEAVES, ids=lambda leave: leave.__name__)
async def test_a_stream_that_is_left_is_reset_and_its_connection_goes_on(leave: Leave) -> None:
    async with http2_server(watch, early=True) as server, client_of(server.url, pool=prior_pool()) as client:
        channel = GrpcChannel(client)
        for n in range(1, 4):
            await leave(channel, server)
            gc.collect()
            await until(lambda n=n: [asked.reset for asked in server.asked] == [CANCEL] * n)  # type: ignore[misc]
        if leave is not by_its_own_deadline:  # a connection on which nothing came is not used again
            assert len(server.connections) == 1
            assert _open_streams(client) == 0
        client.meter.settle()
        outcome = LEAVES[leave]
        assert [row.outcome for row in rows_of(client)] == ([] if outcome is None else [outcome] * 3)


@pytest.mark.parametrize(
    "leave", [after_a_message_of_a_loop, by_dropping_a_call_after_a_read], ids=lambda leave: leave.__name__
)
async def test_a_server_with_two_threads_answers_after_many_streams_that_were_left(leave: Leave) -> None:
    server = grpc.server(ThreadPoolExecutor(2))

    def endless(request: bytes, context: Any) -> Iterator[bytes]:
        ended = threading.Event()
        context.add_callback(ended.set)
        yield b"a"
        ended.wait()

    handlers = {
        "Watch": grpc.unary_stream_rpc_method_handler(endless),
        "Get": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        async with client_of(f"http://127.0.0.1:{port}", pool=prior_pool()) as client:
            channel = GrpcChannel(client)
            for _ in range(8):
                await leave(channel, Http2Server())
            assert await channel.unary_unary("/s/Get")(b"b", timeout=20) == b"b"
    finally:
        server.stop(None).wait()


def _open_streams(client: HttpClient) -> int:
    pool: Any = client.pool
    (connection,) = pool._open
    return len(connection._streams)
