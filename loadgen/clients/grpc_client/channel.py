"""`user.grpc`: a channel as `grpc.aio` has it, over the user's own HTTP/2 connections.

Generated stubs get it and work unchanged: `CartStub(user.grpc)`. grpcio sends nothing, because its threads would bypass
the allow-list, the pools and the recording. Only its names are used: its base classes, status codes and errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from loadgen.clients.grpc_client.callables import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from loadgen.clients.grpc_client.options import Method
from loadgen.clients.http import HttpClient
from loadgen.errors import UsageError

__all__ = ["GrpcChannel"]


def _as_is(message: bytes) -> bytes:
    return message


class GrpcChannel(aio.Channel):  # type: ignore[misc]  # grpcio has no types
    """The channel of one user and one target. Calls are rows, named "shop.v1.Cart/Get".

    Raises:
        UsageError: the connections of `http` never use HTTP/2.
    """

    def __init__(self, http: HttpClient, accepted: frozenset[int] = frozenset()) -> None:
        if not http.pool.speaks_http2:
            raise UsageError(
                "gRPC needs HTTP/2, and the plan does not use it",
                hint='write Plan(http=Http(http2=True)), or Http(http2="prior") for a target without TLS',
            )
        self._http, self._accepted = http, accepted

    def accepting(self, *codes: grpc.StatusCode) -> GrpcChannel:
        """Return a channel for which these statuses are no failures: their rows are ok.

        The call still raises `grpc.RpcError`, because there is no message to return.

        Raises:
            UsageError: a value that is no `grpc.StatusCode`.
        """
        wrong = [code for code in codes if not isinstance(code, grpc.StatusCode)]
        if wrong:
            raise UsageError(
                f"accepting: {wrong[0]!r} is not a grpc.StatusCode", hint="write accepting(grpc.StatusCode.NOT_FOUND)"
            )
        return GrpcChannel(self._http, self._accepted | {code.value[0] for code in codes})

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
        return Method(self._http, path, serialize or _as_is, parse or _as_is, self._accepted)

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
        raise UsageError("user.grpc has no connection state to wait for", hint="send a call: it opens a connection")

    async def channel_ready(self) -> None:
        """Return at once: the first call opens a connection."""
