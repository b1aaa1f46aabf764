"""A gRPC call with one message each way, and what all calls have in common.

Differences from grpc.aio: a unary call is sent when it is awaited, not when it is made; and the exception is
`GrpcFailed`, which is a `grpc.RpcError` as well as a failure with an outcome.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Final

from loadgen.clients.grpc_client.exchange_text import REQUEST_CLASSES, learn_request
from loadgen.clients.grpc_client.failures import GrpcFailed, status_code
from loadgen.clients.grpc_client.messages import MessageReader, framed
from loadgen.clients.grpc_client.metadata import Metadata, metadata_in
from loadgen.clients.grpc_client.options import Method, Options
from loadgen.clients.grpc_client.status import (
    NO_STATUS,
    UNKNOWN,
    Status,
    is_grpc,
    number_for_http,
    outcome_for,
    status_in,
)
from loadgen.clients.protocol.outcomes import PROTOCOL, TIMEOUT
from loadgen.clients.response.replies import Reply
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import OK

__all__ = ["Call", "UnaryCall"]

_DEADLINE: Final = 4
_UNAVAILABLE: Final = 14


class Call(ABC):
    """What all calls have in common: their end, as grpc.aio shows it."""

    def __init__(self, method: Method, options: Options) -> None:
        self._method, self._options = method, options
        self._reply: Reply | None = None
        self._failure: GrpcFailed | None = None

    @abstractmethod
    async def _end(self) -> None:
        """Wait until the call has ended."""

    async def code(self) -> Any:
        """Return the `grpc.StatusCode`, once the call has ended."""
        await self._end()
        return status_code(0) if self._failure is None else self._failure.code()

    async def details(self) -> str:
        await self._end()
        return "" if self._failure is None else self._failure.details()

    async def initial_metadata(self) -> Metadata:
        await self._end()
        return () if self._reply is None else metadata_in(self._reply.head.raw)

    async def trailing_metadata(self) -> Metadata:
        await self._end()
        return () if self._reply is None else metadata_in(self._reply.raw_trailers or self._reply.head.raw)

    def _lost(self, failure: RequestFailed) -> GrpcFailed:
        """Return the exception for a call without an answer."""
        number = _DEADLINE if failure.outcome == TIMEOUT else _UNAVAILABLE
        self._failure = GrpcFailed(failure.outcome, failure.detail, Status(number, failure.detail))
        return self._failure

    def _failed(self, reply: Reply, outcome: str, status: Status) -> GrpcFailed:
        detail = f"{self._method.name}: {status.text or status.name}"
        head, trailers = metadata_in(reply.head.raw), metadata_in(reply.raw_trailers)
        if not reply.raw_trailers:  # an answer without a body has its trailers in its only head
            head, trailers = (), head
        self._failure = GrpcFailed(outcome, detail, status, head, trailers)
        return self._failure


class UnaryCall(Call):
    """A call with one message each way. HOT: once a call."""

    def __init__(self, method: Method, options: Options, request: Any) -> None:
        super().__init__(method, options)
        self._request = request
        if REQUEST_CLASSES.get(method.path) is None:
            learn_request(method.path, request)
        self._answer: Any = None
        self._is_over = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._run().__await__()

    async def _end(self) -> None:
        if not self._is_over:
            with suppress(GrpcFailed):
                await self._run()

    async def _run(self) -> Any:
        if self._is_over:
            if self._failure is not None:
                raise self._failure
            return self._answer
        method, options = self._method, self._options
        body = framed(method.serialize(self._request), is_packed=options.is_packed)
        try:
            reply = await method.http.post_prepared(
                method.path, options.lines, body, None, name=method.name, limit_ns=options.limit_ns
            )
        except RequestFailed as failure:
            self._is_over = True
            raise self._lost(failure) from failure
        self._is_over, self._reply = True, reply
        self._answer = self._judged(reply)
        return self._answer

    def _judged(self, reply: Reply) -> Any:
        """Return the message of an answer, or settle its row with its outcome and raise."""
        method, meter = self._method, self._method.http.meter
        if reply.status_code != 200:
            raise self._failed(reply, reply.outcome, Status(number_for_http(reply.status_code), reply.outcome))
        status = (status_in(reply.raw_trailers) or status_in(reply.head.raw)) if is_grpc(reply.head) else None
        if status is None:
            meter.settle_as(reply, NO_STATUS)
            raise self._failed(
                reply,
                NO_STATUS,
                Status(UNKNOWN, "the response ended without grpc-status: a proxy may have removed the trailers"),
            )
        if status.number:
            outcome = outcome_for(status)
            meter.settle_as(reply, OK if status.number in method.accepted else outcome)
            raise self._failed(reply, outcome, status)
        reader = MessageReader()
        reader.encoding = (reply.head.get(b"grpc-encoding") or b"identity").decode("latin-1")
        try:
            messages = reader.feed(reply.body)
        except RequestFailed as failure:
            meter.settle_as(reply, failure.outcome)
            raise self._failed(reply, failure.outcome, Status(UNKNOWN, failure.detail)) from failure
        if len(messages) != 1 or not reader.is_between:
            meter.settle_as(reply, PROTOCOL)
            text = f"the server sent {len(messages)} messages in response to a call that needs exactly 1"
            raise self._failed(reply, PROTOCOL, Status(UNKNOWN, text))
        try:
            return method.parse(messages[0])
        except Exception as error:
            meter.settle_as(reply, PROTOCOL)
            text = f"the server's message cannot be parsed: {error}"
            raise self._failed(reply, PROTOCOL, Status(UNKNOWN, text)) from error
