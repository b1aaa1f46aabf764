"""What is kept of failed gRPC calls: both sides as text, without secrets, cut; and the trace of each call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
import pytest
from grpc import aio

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.exchange_text import learn, messages_text
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.http import HttpClient
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.clients.response.format_exchange import MAX_SHOWN_BYTES
from loadgen.measure.deltas.exemplar import Failure
from tests.support.grpc_server import grpc_server
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of
from tests.support.shop_service import CART, kind, shop_server

WORD = "correct-horse"


@asynccontextmanager
async def shop(tracer: Tracer | None = None) -> AsyncIterator[tuple[Any, HttpClient, Any]]:
    """A client with generated-like methods of the shop: their serializers say nothing of the requests' class."""
    cart = kind("CartOf")

    async with shop_server() as server, client_of(server.url, pool=prior_pool(), tracer=tracer) as client:
        channel = GrpcChannel(client)

        def stub(make: str, name: str) -> Any:
            return getattr(channel, make)(
                f"/{CART}/{name}",
                request_serializer=cart.SerializeToString,
                response_deserializer=cart.FromString,
            )

        yield stub, client, server


def kept(client: HttpClient) -> list[Failure]:
    client.meter.settle()
    failures = client.meter.recorder.failures
    failures.finish()
    return list(failures.take(0, 1 << 62))


async def test_a_failed_unary_call_shows_both_sides_as_text_without_secrets() -> None:
    async with shop() as (stub, client, _):
        request = kind("CartOf")(id="none", password=WORD, items=[kind("Item")(sku="lamp", photo=b"\xff\0")])
        with pytest.raises(grpc.RpcError):
            await stub("unary_unary", "Get")(request, metadata=(("authorization", f"Bearer {WORD}"),))
        (failure,) = kept(client)
    assert failure.outcome == "grpc not_found"
    assert '{"id": "none", "items": [{"sku": "lamp", "cents": 0, "colour": "COLOUR_NONE", "photo": "<2 bytes>"}]' in (
        failure.sent
    )
    assert '"password": "****"' in failure.sent
    assert failure.sent.startswith(f"POST /{CART}/Get")
    assert WORD not in failure.sent
    assert "grpc-status: 5\ngrpc-message: no such cart" in failure.received


async def test_a_failed_stream_shows_its_first_messages_and_the_number_of_others() -> None:
    async with shop() as (stub, client, _):
        with pytest.raises(grpc.RpcError):
            async for _message in stub("unary_stream", "Watch")(kind("CartOf")(id="none", password=WORD)):
                pass
        (failure,) = kept(client)
        assert failure.sent.count('"id": "none"') == 1
        assert failure.received.count('"id": "none"') == 3
        assert "grpc-status: 10" in failure.received
        assert WORD not in failure.sent + failure.received


async def test_a_stream_of_both_sides_shows_what_was_written() -> None:
    async with shop() as (stub, client, server):
        call = stub("stream_stream", "Chat")(timeout="300ms")
        for n in range(15):
            await call.write(kind("CartOf")(id=f"n{n}"))
            await call.read()
        with pytest.raises(grpc.RpcError):
            await call.read()
        (failure,) = kept(client)
    assert failure.outcome in ("timeout", "grpc deadline_exceeded")
    for text in (failure.sent, failure.received):
        assert '"id": "n9"' in text
        assert '"id": "n10"' not in text
        assert "<5 more messages, not shown>" in text
    assert server.calls == [f"{CART}/Chat"]


async def test_a_refused_call_shows_the_message_that_was_not_sent() -> None:
    async with client_of("http://127.0.0.1:9", pool=prior_pool()) as client:
        cart = kind("CartOf")
        get = GrpcChannel(client).unary_unary(f"/{CART}/Get", cart.SerializeToString, cart.FromString)
        with pytest.raises(grpc.RpcError):
            await get(cart(id="7"))
        (failure,) = kept(client)
    assert '"id": "7"' in failure.sent
    assert failure.received == ""


async def test_messages_without_a_known_class_are_shown_by_their_sizes() -> None:
    async with grpc_server() as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(grpc.RpcError):
            await GrpcChannel(client).unary_unary(f"/{CART}/Fail")(b"\x05")
        (failure,) = kept(client)
    assert "<1 bytes>" in failure.sent


def test_long_and_broken_messages_are_cut_and_named() -> None:
    cart = kind("CartOf")
    path = f"/{CART}/Long"
    learn(path, cart, cart)
    long = framed(cart(id="a" * 5_000).SerializeToString())
    text = messages_text(f"/base{path}", long + framed(b"") * 3, is_request=True)
    assert len(text) < MAX_SHOWN_BYTES + 100
    assert f"<cut: {MAX_SHOWN_BYTES} of {len(long) + 15} bytes>" in text
    assert text.endswith("<3 more messages>")
    assert "no CartOf" in messages_text(path, framed(b"\xff\xff"), is_request=False)
    assert messages_text(path, framed(b"")[:4], is_request=True) == "<the last message is not complete>"
    assert messages_text(path, b"\2\0\0\0\0", is_request=True).startswith(
        "<5 bytes: the compression flag of a message is 2"
    )
    large = framed(cart(id="a" * 200_000).SerializeToString())
    assert messages_text(path, large, is_request=True) == f"<{len(large) - 5} bytes>"
    assert "the limit is 1,048,576" in messages_text(path, framed(b"a" * 2_000_000), is_request=True)
    packed = framed(cart(id="b").SerializeToString(), is_packed=True)
    assert '"id": "b"' in messages_text(path, packed, is_request=False)


async def test_each_call_carries_its_trace_and_the_failure_names_it() -> None:
    tracer = Tracer(Trace(1.0, ("w3c",), per="request"), Random(1))
    async with shop(tracer) as (stub, client, server):
        await stub("unary_unary", "Get")(kind("CartOf")(id="7"), metadata=(("x-tenant", "a"),))
        async for _message in stub("unary_stream", "Watch")(kind("CartOf")(id="7")):
            pass
        call = stub("stream_stream", "Chat")()
        await call.write(kind("CartOf")(id="7"))
        await call.done_writing()
        while await call.read() is not aio.EOF:
            pass
        with pytest.raises(grpc.RpcError):
            await stub("unary_unary", "Get")(kind("CartOf")(id="none"))
        (failure,) = kept(client)
        parents = [seen["traceparent"] for seen in server.metadata]
    assert len(set(parents)) == len(parents) == 4
    assert all(len(parent.split("-")) == 4 for parent in parents)
    assert failure.trace == parents[-1].split("-")[1]
    assert server.metadata[0]["x-tenant"] == "a"


async def test_an_error_of_the_journeys_own_messages_reaches_the_journey() -> None:
    async def messages() -> AsyncIterator[Any]:
        yield kind("CartOf")(id="1")
        raise KeyError("no more carts")

    async with shop() as (stub, _, _):
        with pytest.raises(KeyError, match="no more carts"):
            await stub("stream_unary", "Fill")(messages())
        with pytest.raises(KeyError):
            async for _message in stub("stream_stream", "Chat")(messages()):
                pass
        assert (await stub("unary_unary", "Get")(kind("CartOf")(id="7"))).id == "7"
