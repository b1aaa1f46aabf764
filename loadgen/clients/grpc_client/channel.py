"""`user.grpc`: a channel as `grpc.aio` has it, over the user's own HTTP/2 connections.

Generated stubs get it and work unchanged: `CartStub(user.grpc)`. grpcio sends nothing, because its threads would bypass
the allow-list, the pools and the recording. Only its names are used: its base classes, status codes and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import grpc
from grpc import aio

from loadgen.clients.grpc_client.callables import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from loadgen.clients.grpc_client.exchange_text import learn
from loadgen.clients.grpc_client.options import Method
from loadgen.clients.grpc_schema.reflected import Reflected
from loadgen.clients.grpc_schema.service_arguments import check_descriptors, check_service_name
from loadgen.clients.http import HttpClient
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from loadgen.clients.grpc_client.service import DynamicService
    from loadgen.clients.grpc_schema.schema import Schema

__all__ = ["GrpcChannel", "check_codes"]


class HasSchema(Protocol):
    """A file of descriptors: what `descriptor_set("shop.binpb")` returns."""

    @property
    def schema(self) -> Schema: ...


def check_codes(codes: Iterable[object]) -> None:
    """Raise UsageError for a value that is not a `grpc.StatusCode`."""
    wrong = [code for code in codes if not isinstance(code, grpc.StatusCode)]
    if wrong:
        near = get_close_matches(str(wrong[0]).rpartition(".")[2].upper(), grpc.StatusCode.__members__, n=1)
        hint = f"write accepting(grpc.StatusCode.{near[0] if near else 'NOT_FOUND'})"
        raise UsageError(f"accepting: {wrong[0]!r} is not a grpc.StatusCode", hint=hint)


def _as_is(message: bytes) -> bytes:
    return message


class GrpcChannel(aio.Channel):  # type: ignore[misc]  # grpcio has no types
    """The channel of one user and one target. Calls are rows, named "shop.v1.Cart/Get".

    reflected: the schemas that the worker knows by reflection. target: the name of the channel's target in the plan.

    Raises:
        UsageError: the connections of `http` never use HTTP/2.
    """

    def __init__(
        self,
        http: HttpClient,
        accepted: frozenset[int] = frozenset(),
        *,
        reflected: Reflected | None = None,
        target: str = "",
    ) -> None:
        if not http.pool.speaks_http2:
            raise UsageError(
                "gRPC needs HTTP/2, and this plan uses HTTP/1.1 only",
                hint="write grpcs:// (without TLS: grpc://) in the target's URL, or Plan(http=Http(http2=True));"
                ' without TLS: Http(http2="prior")',
            )
        self._http, self._accepted = http, accepted
        self._reflected, self._target = reflected or Reflected(), target

    def accepting(self, *codes: grpc.StatusCode) -> GrpcChannel:
        """Return a channel for which these statuses are no failures: their rows are ok.

        The call still raises `grpc.RpcError`, because there is no message to return.

        Raises:
            UsageError: a value that is not a `grpc.StatusCode`.
        """
        check_codes(codes)
        accepted = self._accepted | {code.value[0] for code in codes}
        return GrpcChannel(self._http, accepted, reflected=self._reflected, target=self._target)

    # -- services without generated code ----------------------------------------------------------

    @overload
    async def reflect(self, service: str, *, as_messages: Literal[False] = False) -> DynamicService[dict[str, Any]]: ...
    @overload
    async def reflect(self, service: str, *, as_messages: Literal[True]) -> DynamicService[Message]: ...
    async def reflect(self, service: str, *, as_messages: bool = False) -> Any:
        """Return a service of the server, without generated code: `cart = await user.grpc.reflect("shop.v1.Cart")`,
        then `await cart.Get({"id": "7"})`.

        The server is asked once in each worker. In the plan's set-up it is asked once in the whole run, before the
        load, and the descriptors are kept in the run folder.

        Args:
            service: its full name.
            as_messages: answers are messages; otherwise dicts.

        Raises:
            UsageError: the server has no reflection, or no such service.
            GrpcFailed: the call to the server failed.
        """
        check_service_name("reflect", service)
        from loadgen.clients.grpc_client.reflection import reflected

        schema = await self._reflected.schema(self._target, service, lambda: reflected(self, service))
        return self._service(service, schema, as_messages=as_messages)

    @overload
    def service(
        self, name: str, descriptors: HasSchema, *, as_messages: Literal[False] = False
    ) -> DynamicService[dict[str, Any]]: ...
    @overload
    def service(self, name: str, descriptors: HasSchema, *, as_messages: Literal[True]) -> DynamicService[Message]: ...
    def service(self, name: str, descriptors: HasSchema, *, as_messages: bool = False) -> Any:
        """Return a service that a descriptor set describes: `user.grpc.service("shop.v1.Cart", SHOP)`, with
        `SHOP = descriptor_set("shop.binpb")` in the scenario.

        Raises:
            UsageError: the set has no such service, or `descriptors` is not a descriptor set.
        """
        check_service_name("service", name)
        check_descriptors(descriptors)
        return self._service(name, descriptors.schema, as_messages=as_messages)

    def _service(self, name: str, schema: Schema, *, as_messages: bool) -> Any:
        from loadgen.clients.grpc_client.service import DynamicService

        return DynamicService(self, schema.service(name), as_messages=as_messages)

    # -- what stubs call ------------------------------------------------------------------------

    def unary_unary(
        self,
        method: str | bytes,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        return UnaryUnary(self._method(method, request_serializer, response_deserializer))

    def unary_stream(
        self,
        method: str | bytes,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        return UnaryStream(self._method(method, request_serializer, response_deserializer))

    def stream_unary(
        self,
        method: str | bytes,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        return StreamUnary(self._method(method, request_serializer, response_deserializer))

    def stream_stream(
        self,
        method: str | bytes,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        return StreamStream(self._method(method, request_serializer, response_deserializer))

    def _method(
        self, method: str | bytes, serialize: Callable[[Any], bytes] | None, parse: Callable[[bytes], Any] | None
    ) -> Method:
        path = method.decode("ascii") if isinstance(method, bytes) else method
        # `Cart.FromString` of generated code is bound to its class.
        return self.method(path, serialize or _as_is, parse or _as_is, classes=(None, getattr(parse, "__self__", None)))

    def method(
        self,
        path: str,
        serialize: Callable[[Any], bytes],
        parse: Callable[[bytes], Any],
        *,
        classes: tuple[Any, Any],
    ) -> Method:
        """Return a method. classes: of requests and answers, to show messages as text; None: unknown."""
        learn(path, *classes)
        return Method(self._http, path, serialize, parse, self._accepted)

    # -- the rest of a channel of grpc.aio --------------------------------------------------------

    async def __aenter__(self) -> GrpcChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def close(self, grace: float | None = None) -> None:
        """Do nothing: the connections are the user's, and are closed with the user."""

    def get_state(self, try_to_connect: bool = False) -> Any:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: Any) -> None:
        raise UsageError(
            "user.grpc does not support wait_for_state_change()", hint="remove it: the first call opens a connection"
        )

    async def channel_ready(self) -> None:
        """Return at once: the first call opens a connection."""
