"""The service shop.v1.Cart without generated code: its descriptors, and a server of grpcio with reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["CART", "FILES", "POOL", "ShopServer", "kind", "shop_server", "shop_set"]

CART = "shop.v1.Cart"
_Field = descriptor_pb2.FieldDescriptorProto


def _files() -> list[descriptor_pb2.FileDescriptorProto]:
    items = descriptor_pb2.FileDescriptorProto(name="shop/v1/item.proto", package="shop.v1", syntax="proto3")
    items.dependency.append("google/protobuf/timestamp.proto")
    colour = items.enum_type.add(name="Colour")
    colour.value.add(name="COLOUR_NONE", number=0)
    colour.value.add(name="RED", number=1)
    item = items.message_type.add(name="Item")
    item.field.add(name="sku", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    item.field.add(name="cents", number=2, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    item.field.add(
        name="colour", number=3, type=_Field.TYPE_ENUM, type_name=".shop.v1.Colour", label=_Field.LABEL_OPTIONAL
    )
    item.field.add(name="photo", number=4, type=_Field.TYPE_BYTES, label=_Field.LABEL_OPTIONAL)
    item.field.add(
        name="added",
        number=5,
        type=_Field.TYPE_MESSAGE,
        type_name=".google.protobuf.Timestamp",
        label=_Field.LABEL_OPTIONAL,
    )
    cart = descriptor_pb2.FileDescriptorProto(name="shop/v1/cart.proto", package="shop.v1", syntax="proto3")
    cart.dependency.append("shop/v1/item.proto")
    message = cart.message_type.add(name="CartOf")
    message.field.add(name="id", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    message.field.add(
        name="items", number=2, type=_Field.TYPE_MESSAGE, type_name=".shop.v1.Item", label=_Field.LABEL_REPEATED
    )
    entry = message.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    message.field.add(
        name="counts",
        number=3,
        type=_Field.TYPE_MESSAGE,
        type_name=".shop.v1.CartOf.CountsEntry",
        label=_Field.LABEL_REPEATED,
    )
    message.field.add(name="password", number=4, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    service = cart.service.add(name="Cart")
    for name, asks, answers in (
        ("Get", False, False),
        ("Watch", False, True),
        ("Fill", True, False),
        ("Chat", True, True),
    ):
        service.method.add(
            name=name,
            input_type=".shop.v1.CartOf",
            output_type=".shop.v1.CartOf",
            client_streaming=asks,
            server_streaming=answers,
        )
    return [items, cart]


FILES = _files()
POOL = DescriptorPool()
_timestamp = descriptor_pb2.FileDescriptorProto()
timestamp_pb2.DESCRIPTOR.CopyToProto(_timestamp)
for _file in (_timestamp, *FILES):
    POOL.AddSerializedFile(_file.SerializeToString())


def kind(name: str) -> Any:
    """The class of a message: "Item", "CartOf"."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"shop.v1.{name}"))


def shop_set(*files: descriptor_pb2.FileDescriptorProto) -> bytes:
    """A descriptor set, as protoc writes it, of all files, or of these."""
    return descriptor_pb2.FileDescriptorSet(file=files or FILES).SerializeToString()


@dataclass
class ShopServer:
    """calls: the paths of the calls that came, in order."""

    port: int = 0
    calls: list[str] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def shop_server(*reflects: str) -> AsyncIterator[ShopServer]:
    """Serve carts: Get returns the request (id "none": NOT_FOUND), Watch it three times, Fill the last one, Chat each.

    reflects: versions of reflection that the server has, "v1" and "v1alpha".
    """
    found = ShopServer()
    cart = kind("CartOf")

    class Counting(aio.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            found.calls.append(details.method[1:])
            found.metadata.append(dict(details.invocation_metadata))
            return await continuation(details)

    async def get(request: Any, context: Any) -> Any:
        if request.id == "none":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such cart")
        return request

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(3):
            yield request
        if request.id == "none":
            await context.abort(grpc.StatusCode.ABORTED, "enough")

    async def fill(requests: AsyncIterator[Any], context: Any) -> Any:
        last = cart()
        async for request in requests:
            last = request
        return last

    async def chat(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield request

    def handler(make: Any, fn: Any) -> Any:
        return make(fn, request_deserializer=cart.FromString, response_serializer=cart.SerializeToString)

    server = aio.server(interceptors=[Counting()])
    handlers = {
        "Get": handler(grpc.unary_unary_rpc_method_handler, get),
        "Watch": handler(grpc.unary_stream_rpc_method_handler, watch),
        "Fill": handler(grpc.stream_unary_rpc_method_handler, fill),
        "Chat": handler(grpc.stream_stream_rpc_method_handler, chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CART, handlers),))
    for version in reflects:
        servicer = reflection.aio.ReflectionServicer([CART, "shop.v1.Orders"], pool=POOL)
        info = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        name = f"grpc.reflection.{version}.ServerReflection"
        one = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": info})
        server.add_generic_rpc_handlers((one,))
    found.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found
    finally:
        await server.stop(None)
