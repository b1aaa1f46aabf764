"""gRPC services without generated code: by the reflection of a server, and by descriptor sets."""

from __future__ import annotations

import asyncio
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_schema.reflected import MAX_SET_BYTES, Reflected, sets_in
from loadgen.clients.grpc_schema.schema import Schema
from loadgen.clients.grpc_schema.values import as_value, message_of
from loadgen.clients.http import HttpClient
from loadgen.dsl.data.descriptor_set import descriptor_set
from loadgen.errors import ScenarioError, UsageError
from tests.support.grpc_server import grpc_server
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of, rows_of
from tests.support.shop_service import CART, FILES, POOL, ShopServer, kind, shop_server, shop_set

INFO = "ServerReflection/ServerReflectionInfo"


@asynccontextmanager
async def shop(*reflects: str) -> AsyncIterator[tuple[GrpcChannel, HttpClient, ShopServer]]:
    async with shop_server(*reflects) as server, client_of(server.url, pool=prior_pool()) as client:
        yield GrpcChannel(client), client, server


# -- values ---------------------------------------------------------------------------------------

ITEM = st.fixed_dictionaries(
    {
        "sku": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        "cents": st.integers(-(2**63), 2**63 - 1),
        "colour": st.sampled_from(["COLOUR_NONE", "RED"]),
        "photo": st.binary(max_size=9),
    }
)


@given(st.lists(ITEM, max_size=3), st.dictionaries(st.text("ab", max_size=3), st.integers(0, 2**62), max_size=3))
def test_a_dict_comes_back_as_it_was(items: list[dict[str, Any]], counts: dict[str, int]) -> None:
    value = {"id": "7", "items": items, "counts": counts, "password": ""}
    message = message_of(kind("CartOf"), value, POOL)
    assert as_value(message, POOL) == value
    # protobuf's own JSON is the oracle for what was set.
    shown = json_format.MessageToDict(message)
    assert [int(item.get("cents", 0)) for item in shown.get("items", [])] == [item["cents"] for item in items]
    assert message_of(kind("CartOf"), message) is message


def test_types_of_protobuf_have_the_form_of_its_json() -> None:
    message = message_of(kind("Item"), {"added": "2026-11-29T12:00:00Z"})
    assert message.added.seconds == 1_795_953_600  # type: ignore[attr-defined]
    assert as_value(message) == {
        "sku": "", "cents": 0, "colour": "COLOUR_NONE", "photo": b"", "added": "2026-11-29T12:00:00Z"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said", "hint"),
    [
        ({"idd": "7"}, 'has no field named "idd"', "did you mean id?"),
        (
            {"id": 7},
            "cannot convert {'id': 7} to shop.v1.CartOf",
            "the fields of shop.v1.CartOf: id, items, counts, password",
        ),
        ({"items": [{"cents": "many"}]}, "cents", "the fields of"),
        (["7"], "cannot convert ['7'] to", "the fields of"),
        (kind("Item")(), "the method takes a shop.v1.CartOf, got a shop.v1.Item", None),
    ],
)
def test_a_wrong_request_is_named_with_the_nearest_field(value: Any, said: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        message_of(kind("CartOf"), value, POOL)
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert (hint or "") in (caught.value.hint or "")


# -- reflection -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "asked"), [(("v1",), ["v1"]), (("v1alpha",), ["v1", "v1alpha"]), (("v1", "v1alpha"), ["v1"])]
)
async def test_a_service_is_found_by_reflection_and_called_with_dicts(
    versions: tuple[str, ...], asked: list[str]
) -> None:
    async with shop(*versions) as (channel, client, server):
        live = await channel.reflect(CART)
        value = {"id": "7", "items": [{"sku": "lamp", "cents": 2**60}]}
        answer = await live.Get(value, timeout=5, metadata=(("x-tenant", "a"),))
        assert (answer["id"], answer["items"][0]["cents"]) == ("7", 2**60)
        assert [one["id"] async for one in live.Watch({"id": "8"})] == ["8"] * 3
        assert (await live.Fill([{"id": "1"}, {"id": "2"}]))["id"] == "2"
        call = live.Chat(key=lambda message: message["id"])
        await call.write({"id": "9"})
        assert (await call.read())["id"] == "9"
        await call.done_writing()
        assert await call.read() is aio.EOF
        again = await channel.reflect(CART, as_messages=True)
        message: Any = await again.Get(again.message("Get")(id="5"))
        assert message.id == "5"
        rows = Counter((row.name, row.outcome) for row in rows_of(client))
    assert server.calls == [
        *(f"grpc.reflection.{version}.{INFO}" for version in asked), f"{CART}/Get", f"{CART}/Watch", f"{CART}/Fill",
        f"{CART}/Chat", f"{CART}/Get",
    ]  # fmt: skip
    assert rows == Counter((name, "ok") for name in server.calls)
    assert server.metadata[len(asked)]["x-tenant"] == "a"


async def test_a_server_without_reflection_is_named_and_asked_once() -> None:
    async with shop() as (channel, client, server):
        for _ in range(3):
            with pytest.raises(UsageError) as caught:
                await channel.reflect(CART)
            assert caught.value.message == "cannot find shop.v1.Cart: the server does not offer gRPC reflection"
            assert "descriptor_set" in (caught.value.hint or "")
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"], "not a failure of the target's service"
    assert len(server.calls) == 2


async def test_unknown_services_and_methods_are_named_with_the_nearest() -> None:
    async with shop("v1") as (channel, _, _):
        with pytest.raises(UsageError) as caught:
            await channel.reflect("shop.v1.Card")
        assert (caught.value.message, caught.value.hint) == (
            "the server does not offer the gRPC service shop.v1.Card", "did you mean shop.v1.Cart?",
        )  # fmt: skip
        live = await channel.reflect(CART)
        with pytest.raises(UsageError) as caught:
            live.Gett  # noqa: B018
        assert (caught.value.message, caught.value.hint) == (
            "the gRPC service shop.v1.Cart has no method Gett", "did you mean Get?",
        )  # fmt: skip
        assert not hasattr(live, "__wrapped__")
        with pytest.raises(UsageError, match="takes a stream of requests"):
            live.Fill({"id": "1"})
        with pytest.raises(UsageError, match="key= needs a method that streams in both directions"):
            live.Get({}, key=lambda message: message)


async def test_a_failed_call_of_reflection_is_tried_again() -> None:
    async with client_of("http://127.0.0.1:9", pool=prior_pool()) as client:
        channel = GrpcChannel(client)
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                await channel.reflect(CART)
        assert [row.outcome for row in rows_of(client)] == ["refused", "refused"]


async def test_many_users_reflect_at_once_with_one_call() -> None:
    async with shop("v1") as (channel, _, server):
        await asyncio.gather(*(channel.reflect(CART) for _ in range(20)))
    assert server.calls == [f"grpc.reflection.v1.{INFO}"]


async def test_a_server_that_lies_in_reflection_is_a_clear_error() -> None:
    """Its answers are no messages of reflection: it echoes."""

    async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b"\xff\xff\xff"

    server = aio.server()
    handler = grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(chat)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with client_of(f"http://127.0.0.1:{port}", pool=prior_pool()) as client:
            with pytest.raises(UsageError, match="invalid answer to a reflection request"):
                await GrpcChannel(client).reflect(CART)
    finally:
        await server.stop(None)


def test_schemas_of_the_set_up_reach_other_workers() -> None:
    first, second = Reflected(), Reflected()
    assert first.wrap({"a": 1}) == {"a": 1}
    first.keep("", CART, Schema(FILES))
    value = first.wrap({"a": 1})
    assert [(target, service) for target, service, _ in sets_in(value)] == [("", CART)]
    assert sets_in({"llm": {}, "shared": value}) == sets_in(value)
    assert sets_in({"a": 1}) == []
    assert second.unwrap(value) == {"a": 1}
    found = second.known("", CART)
    assert found is not None
    assert found.service(CART).method("Get").path == "/shop.v1.Cart/Get"


def test_a_hostile_value_of_a_set_up_is_bounded() -> None:
    def one(data: bytes) -> dict[str, str]:
        packed = b64encode(zlib.compress(data, 9)).decode()
        return {"target": "", "service": "a.B", "set": packed}

    def sets(*values: Any) -> list[int]:
        return [len(data) for _, _, data in sets_in({"loadgen.grpc": list(values), "shared": None})]

    small, large = one(b"a" * 10), one(bytes(MAX_SET_BYTES))
    assert sets(small, large) == [10, MAX_SET_BYTES]
    assert sets(one(bytes(MAX_SET_BYTES + 1)), small) == [10]
    assert sum(sets(*[large] * 50)) <= 32 * 1024 * 1024
    assert len(sets(*[small] * 1_000)) == 100
    broken: tuple[Any, ...] = ({}, 7, None, {"target": "", "service": "", "set": "!"}, {**small, "set": "AAAA"})
    assert sets(*broken, small) == [10]


# -- descriptor sets --------------------------------------------------------------------------------


async def test_a_descriptor_set_needs_no_reflection(tmp_path: Path) -> None:
    file = tmp_path / "shop.binpb"
    file.write_bytes(shop_set())
    found = descriptor_set(str(file))
    assert found.faults == ()
    assert found.services == (CART,)
    async with shop() as (channel, _, server):
        assert (await channel.service(CART, found).Get({"id": "7"}))["id"] == "7"
        with pytest.raises(UsageError) as caught:
            channel.service("shop.v1.Crat", found)
        assert caught.value.hint == "did you mean shop.v1.Cart?"
    assert server.calls == [f"{CART}/Get"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a descriptor set: it contains no .proto files"),
        (b"<html>", "not a descriptor set"),
        (shop_set(FILES[1]), "shop/v1/cart.proto imports shop/v1/item.proto, and the descriptors do not contain it"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_descriptor_set_is_an_error_of_the_scenario(tmp_path: Path, data: bytes | None, said: str) -> None:
    file = tmp_path / "shop.binpb"
    if data is not None:
        file.write_bytes(data)
    (fault,) = descriptor_set(str(file)).faults
    assert said in fault.message
    assert fault.hint
    (fault,) = descriptor_set("").faults
    assert "is not a path" in fault.message
    with pytest.raises(ScenarioError):
        descriptor_set("").schema  # noqa: B018


def test_broken_descriptors_are_refused() -> None:
    broken = type(FILES[0])()
    broken.CopyFrom(FILES[1])
    broken.service[0].method[0].input_type = ".shop.v1.Nothing"
    with pytest.raises(UsageError, match=r"cart\.proto is invalid"):
        Schema([FILES[0], broken])
    circular = type(FILES[0])(name="a.proto", dependency=["a.proto"])
    with pytest.raises(UsageError):
        Schema([circular])


async def test_methods_of_bytes_still_work_beside_a_known_service() -> None:
    async with grpc_server() as server, client_of(server.url, pool=prior_pool()) as client:
        assert await GrpcChannel(client).unary_unary(f"/{CART}/Get")(b"\xff") == b"\xff"
