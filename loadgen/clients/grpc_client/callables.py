"""The methods of a stub, one class for each kind of call: what `grpc.aio` calls multi-callables.

Their signatures are those of `grpc.aio`, so each is written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc import aio

from loadgen.clients.grpc_client.calls import UnaryCall
from loadgen.clients.grpc_client.options import Method, options_of
from loadgen.clients.grpc_client.stream_calls import StreamCall, StreamUnaryCall

__all__ = ["StreamStream", "StreamUnary", "UnaryStream", "UnaryUnary"]


class _OfMethod:
    """Base of the four classes: it keeps the method that they call."""

    def __init__(self, method: Method) -> None:
        self._method = method


class UnaryUnary(_OfMethod, aio.UnaryUnaryMultiCallable):  # type: ignore[misc]  # grpcio has no types
    """`stub.Get`: `await stub.Get(request, timeout=2)`."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> UnaryCall:
        return UnaryCall(self._method, options_of(timeout, metadata, credentials, compression), request)


class UnaryStream(_OfMethod, aio.UnaryStreamMultiCallable):  # type: ignore[misc]
    """`stub.Watch`: `async for change in stub.Watch(request):`."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> StreamCall:
        options = options_of(timeout, metadata, credentials, compression)
        return StreamCall(self._method, options, request, streams_request=False)


class StreamUnary(_OfMethod, aio.StreamUnaryMultiCallable):  # type: ignore[misc]
    """`stub.Upload`: `await stub.Upload(requests)`, or `call = stub.Upload()`, `call.write`, and `await call`."""

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> StreamUnaryCall:
        options = options_of(timeout, metadata, credentials, compression)
        return StreamUnaryCall(self._method, options, request_iterator, streams_request=True)


class StreamStream(_OfMethod, aio.StreamStreamMultiCallable):  # type: ignore[misc]
    """`stub.Chat`: `call = stub.Chat(key=lambda m: m.id)`, then `call.write` and `call.read`.

    key: returns what a message and its answer have in common; the time between them is recorded as the metric `answer`.
    """

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
        *,
        key: Callable[[Any], Any] | None = None,
    ) -> StreamCall:
        options = options_of(timeout, metadata, credentials, compression)
        return StreamCall(self._method, options, request_iterator, streams_request=True, key=key)
