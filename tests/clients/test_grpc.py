"""gRPC calls over our own HTTP/2, against a server of grpcio."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from grpc import aio

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.http import HttpClient
from loadgen.errors import RequestFailed, UsageError
from tests.support.grpc_server import SERVICE, GrpcServer, connections_to, grpc_server
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of, rows_of


@asynccontextmanager
async def channel_to(url: str) -> AsyncIterator[tuple[GrpcChannel, HttpClient]]:
    async with client_of(url, pool=prior_pool()) as client:
        yield GrpcChannel(client), client


@pytest.fixture
async def server() -> AsyncIterator[GrpcServer]:
    async with grpc_server() as found:
        yield found


def outcomes(client: HttpClient) -> Counter[tuple[str | None, str]]:
    return Counter((row.name, row.outcome) for row in rows_of(client))


def counted(client: HttpClient, *metrics: str) -> list[int]:
    """How many values each metric has, over all rows."""
    delta = client.meter.recorder.flip(0, 1)
    found = Counter[str]()
    for one in delta.stats:
        found[delta.new_series[one.series].metric] += one.n
    return [found[metric] for metric in metrics]


def stub(channel: Any, kind: str, name: str) -> Any:
    return getattr(channel, kind)(f"/{SERVICE}/{name}")


async def test_a_unary_call_returns_the_message_and_is_one_row(server: GrpcServer) -> None:
    async with channel_to(server.url) as (channel, client):
        get = stub(channel, "unary_unary", "Get")
        assert await get(b"abc", timeout=2, metadata=(("x-tenant", "a"), ("x-key-bin", b"\xff\0"))) == b"abc"
        call = get(b"")
        assert await call == b""
        assert await call.code() is grpc.StatusCode.OK
        assert dict(await call.trailing_metadata()) == {"x-cost": "7", "x-raw-bin": b"\0\1"}
        assert dict(await call.initial_metadata())["x-head"] == "1"
        assert outcomes(client) == {("shop.v1.Cart/Get", "ok"): 2}
        assert connections_to(server.port) == client.pool.opened == 1, "grpcio has opened a connection of its own"
    assert server.metadata[0]["x-tenant"] == "a"
    assert server.metadata[0]["x-key-bin"] == b"\xff\0"
    assert server.calls == ["Get", "Get"]


async def test_each_status_is_an_outcome_and_an_exception_of_grpcio(server: GrpcServer) -> None:
    async with channel_to(server.url) as (channel, client):
        fail = stub(channel, "unary_unary", "Fail")
        for code in list(grpc.StatusCode)[1:]:
            with pytest.raises(grpc.RpcError) as caught:
                await fail(bytes([code.value[0]]))
            assert isinstance(caught.value, RequestFailed)
            error: Any = caught.value
            assert error.code() is code
            assert error.details() == "as äsked: 100 %"
            assert dict(error.trailing_metadata()) == {"x-why": "asked"}
            assert error.outcome == f"grpc {code.name.lower()}"
        wanted = {("shop.v1.Cart/Fail", f"grpc {code.name.lower()}"): 1 for code in list(grpc.StatusCode)[1:]}
        assert outcomes(client) == wanted


async def test_an_accepted_status_is_no_failure_of_the_row(server: GrpcServer) -> None:
    async with channel_to(server.url) as (channel, client):
        fail = stub(channel.accepting(grpc.StatusCode.NOT_FOUND), "unary_unary", "Fail")
        for code in (5, 6):
            with pytest.raises(grpc.RpcError):
                await fail(bytes([code]))
        assert outcomes(client) == {("shop.v1.Cart/Fail", "ok"): 1, ("shop.v1.Cart/Fail", "grpc already_exists"): 1}


@pytest.mark.parametrize(("count", "size"), [(0, 5), (1, 1), (300, 7), (20, 100_000), (3, 0)])
async def test_a_stream_of_the_server_is_one_row_with_the_times_of_its_messages(
    server: GrpcServer, count: int, size: int
) -> None:
    async with channel_to(server.url) as (channel, client):
        found: list[bytes] = []
        call = stub(channel, "unary_stream", "Watch")(f"{count},{size}".encode())
        with suppress(grpc.RpcError):
            async for message in call:
                found.append(message)
        assert await call.code() is (grpc.StatusCode.OK if size else grpc.StatusCode.ABORTED)
        assert found == [bytes([n % 256]) * size for n in range(count)]
        assert outcomes(client) == {("shop.v1.Cart/Watch", "ok" if size else "grpc aborted"): 1}
        assert counted(client, "first_message", "message_gap") == [min(count, 1), max(count - 1, 0)]


async def test_a_stream_of_the_client_has_one_answer(server: GrpcServer) -> None:
    async def messages() -> AsyncIterator[bytes]:
        for n in range(50):
            yield b"x" * n

    async with channel_to(server.url) as (channel, client):
        total = stub(channel, "stream_unary", "Sum")
        assert await total(messages()) == b"1225"
        assert await total([b"a", b"bc"]) == b"3"
        call = total()
        await call.write(b"abcd")
        await call.write(b"")
        assert await call == b"4"
        assert await total([b"y" * 3_000_000]) == b"3000000"
        assert outcomes(client) == {("shop.v1.Cart/Sum", "ok"): 4}


async def test_both_sides_write_in_turn(server: GrpcServer) -> None:
    async with channel_to(server.url) as (channel, client):
        call = stub(channel, "stream_stream", "Chat")(key=lambda message: message[:1])
        for n in range(20):
            await call.write(bytes([n]) * 1000)
            assert await call.read() == bytes([n]) * 1000
        await call.done_writing()
        assert await call.read() is aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"late")
        assert counted(client, "first_message", "message_gap", "answer") == [1, 19, 20]
        assert outcomes(client) == {("shop.v1.Cart/Chat", "ok"): 1}


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
async def test_messages_are_compressed_both_ways_if_asked(compression: Any) -> None:
    more = {"grpc.default_compression_algorithm": 2 if compression is grpc.Compression.Gzip else 0}
    async with grpc_server(**more) as server, channel_to(server.url) as (channel, client):
        message = b"abc" * 10_000
        assert await stub(channel, "unary_unary", "Get")(message, compression=compression) == message
        assert await stub(channel, "stream_unary", "Sum")([message], compression=compression) == b"30000"
        (get, _) = rows_of(client)
        assert (get.size_bytes < 5_000) == (compression is grpc.Compression.Gzip)


async def test_a_deadline_is_sent_and_our_own_time_out_is_censored() -> None:
    async with grpc_server() as server, channel_to(server.url) as (channel, client):
        call = stub(channel, "stream_stream", "Chat")(timeout=0.15)
        await call.write(b"a")
        assert await call.read() == b"a"
        with pytest.raises(grpc.RpcError) as caught:
            await call.read()
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        (row,) = rows_of(client)
        # The server gives up at the same moment as we do, and its answer may be the first.
        assert row.outcome in ("timeout", "grpc deadline_exceeded")


async def test_a_stream_that_the_journey_leaves_ends_its_row_and_its_stream(server: GrpcServer) -> None:
    async with channel_to(server.url) as (channel, client):
        async for message in stub(channel, "unary_stream", "Watch")(b"100000,1000"):
            assert len(message) == 1000
            break
        await asyncio.sleep(0.01)
        assert outcomes(client) == {("shop.v1.Cart/Watch", "ok"): 1}
        assert await stub(channel, "unary_unary", "Get")(b"a") == b"a"
        call = stub(channel, "stream_stream", "Chat")()
        await call.write(b"a")
        assert await call.read() == b"a"
        assert call.cancel()
        assert not call.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            await call.read()
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.CANCELLED


async def test_a_refusing_target_is_an_outcome() -> None:
    async with channel_to("http://127.0.0.1:9") as (channel, client):
        for kind, name, request in (
            ("unary_unary", "Get", b""),
            ("unary_stream", "Watch", b"1,1"),
            ("stream_unary", "Sum", [b"a"]),
            ("stream_stream", "Chat", [b"a"]),
        ):
            call = stub(channel, kind, name)(request)
            with pytest.raises(grpc.RpcError) as caught:
                await (call.read() if kind.endswith("stream") else call)
            error: Any = caught.value
            assert (error.outcome, error.code()) == ("refused", grpc.StatusCode.UNAVAILABLE)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert {row.outcome for row in rows_of(client)} == {"refused"}
        assert len(rows_of(client)) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"credentials": object()}, "credentials= of a gRPC call is not supported"),
        ({"compression": "deflate"}, "is not supported"),
        ({"timeout": 0}, "invalid timeout=0 of a gRPC call"),
        ({"metadata": (("X Y", "a"), ("te", "b"), ("a-bin", "c"), ("d", "e\n"), "f")}, "'x y' must be a name"),
    ],
)
async def test_wrong_options_are_named_before_anything_is_sent(options: Any, said: str) -> None:
    async with channel_to("http://127.0.0.1:9") as (channel, client):
        with pytest.raises(UsageError) as caught:
            await stub(channel, "unary_unary", "Get")(b"", **options)
        assert said in caught.value.message
        assert rows_of(client) == []
