"""A service that is known by its descriptors: `cart = await user.grpc.reflect("shop.v1.Cart")`, then `cart.Get({...})`.

Requests are dicts or messages, answers dicts, or messages with `as_messages=True` (`grpc_schema/values.py` has the
form of dicts). Everything else is as with generated stubs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from google.protobuf.message import Message

from loadgen.clients.grpc_client.callables import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from loadgen.clients.grpc_client.metadata import Metadata
from loadgen.clients.grpc_schema.schema import MethodShape, ServiceShape
from loadgen.clients.grpc_schema.values import as_value, message_of
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.clients.grpc_client.channel import GrpcChannel

__all__ = ["DynamicCall", "DynamicMethod", "DynamicService"]

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class DynamicCall(Protocol[M_co]):
    """A call of a method. Await it if the answer is one message; otherwise read it with `async for` or `read`."""

    def __await__(self) -> Generator[Any, None, M_co]: ...

    def __aiter__(self) -> AsyncIterator[M_co]: ...

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF`."""

    async def write(self, request: Any) -> None: ...

    async def done_writing(self) -> None: ...

    async def code(self) -> Any: ...

    async def details(self) -> str: ...

    async def initial_metadata(self) -> Metadata: ...

    async def trailing_metadata(self) -> Metadata: ...

    def cancel(self) -> bool: ...


class DynamicMethod(Generic[M]):
    """A method of a service, such as `cart.Get`."""

    __slots__ = ("_callable", "shape")

    def __init__(self, channel: GrpcChannel, shape: MethodShape, pool: Any, *, as_messages: bool) -> None:
        self.shape = shape
        request, response = shape.request, shape.response

        def serialize(value: Any) -> bytes:
            return message_of(request, value, pool).SerializeToString()

        def parse(data: bytes) -> Any:
            return as_value(response.FromString(data), pool)

        method = channel.method(
            shape.path, serialize, response.FromString if as_messages else parse, classes=(request, response)
        )
        kinds = {
            (False, False): UnaryUnary,
            (False, True): UnaryStream,
            (True, False): StreamUnary,
            (True, True): StreamStream,
        }
        self._callable: Any = kinds[shape.streams_request, shape.streams_response](method)

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | str | None = None,
        metadata: Any = None,
        compression: Any = None,
        key: Callable[[Any], Any] | None = None,
    ) -> DynamicCall[M]:
        """Return a call.

        Args:
            request: a dict or a message. For a method that streams its requests, an iterable of these, or None to use
                `write`.
            key: for a method with two streams, as with generated stubs.

        Raises:
            UsageError: invalid options. A request with an unknown field raises it when the call is sent.
        """
        shape = self.shape
        if shape.streams_request and isinstance(request, dict | Message):
            raise UsageError(
                f"{shape.path[1:]} takes a stream of requests, got a single one",
                hint="pass a list of requests, or call it without arguments and then await write()",
            )
        more: dict[str, Any] = {"timeout": timeout, "metadata": metadata, "compression": compression}
        if key is not None:
            if not (shape.streams_request and shape.streams_response):
                raise UsageError(
                    f"{shape.path[1:]}: key= needs a method that streams in both directions",
                    hint="remove key=: only such methods have pairs of a request and its answer",
                )
            more["key"] = key
        return cast("DynamicCall[M]", self._callable(request, **more))

    def __repr__(self) -> str:
        return f"<gRPC method {self.shape.path[1:]}>"


class DynamicService(Generic[M]):
    """A service whose methods are attributes. Their names are those of the .proto file.

    Raises:
        UsageError: an attribute that is not a method of the service; the hint has the nearest name.
    """

    def __init__(self, channel: GrpcChannel, shape: ServiceShape, *, as_messages: bool) -> None:
        self._channel, self._shape, self._as_messages = channel, shape, as_messages

    def __getattr__(self, name: str) -> DynamicMethod[M]:
        if name.startswith("_"):  # what copy, pickle and debuggers look for
            raise AttributeError(name)
        shape = self._shape
        made: DynamicMethod[M] = DynamicMethod(
            self._channel, shape.method(name), shape.pool, as_messages=self._as_messages
        )
        setattr(self, name, made)
        return made

    def message(self, name: str) -> type[Message]:
        """Return the class of a method's requests: `cart.message("Get")(id="7")`.

        Raises:
            UsageError: the service has no such method.
        """
        return self._shape.method(name).request

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._shape.methods]

    def __repr__(self) -> str:
        return f"<gRPC service {self._shape.name}: {', '.join(self._shape.methods)}>"
