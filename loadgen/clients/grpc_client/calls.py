"""The four kinds of gRPC calls, as grpc.aio has them, so that generated stubs and code written for them work unchanged.

Differences from grpc.aio: a unary call is sent when it is awaited, not when it is made; and the exception is
`GrpcFailed`, which is a `grpc.RpcError` as well as a failure with an outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Final, cast

import grpc
from grpc import aio

from loadgen.clients.grpc_client.failures import GrpcFailed, status_code
from loadgen.clients.grpc_client.messages import MessageReader, framed
from loadgen.clients.grpc_client.metadata import Metadata, lines_of, metadata_in, timeout_line
from loadgen.clients.grpc_client.status import (
    NO_STATUS,
    UNKNOWN,
    Status,
    is_grpc,
    number_for_http,
    outcome_for,
    status_in,
)
from loadgen.clients.grpc_client.stream import MessageStream
from loadgen.clients.http import HttpClient
from loadgen.clients.protocol.outcomes import PROTOCOL, TIMEOUT
from loadgen.clients.protocol.request_body_encoding import OpenBody
from loadgen.clients.response.replies import Reply
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.errors import RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["Method", "StreamStream", "StreamUnary", "UnaryStream", "UnaryUnary"]

_DEADLINE, _UNAVAILABLE, _CANCELLED = 4, 14, 1
_HEADERS: Final = (
    b"TE: trailers\r\nContent-Type: application/grpc\r\nUser-Agent: loadgen\r\ngrpc-accept-encoding: identity,gzip\r\n"
)
_PACKED: Final = b"grpc-encoding: gzip\r\n"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service. path: "/shop.v1.Cart/Get". accepted: numbers of statuses that are not failures."""

    http: HttpClient
    path: str
    serialize: Callable[[Any], bytes]
    parse: Callable[[bytes], Any]
    accepted: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Return the name of the row: "shop.v1.Cart/Get"."""
        return self.path[1:]


@dataclass(frozen=True, slots=True)
class _Options:
    """lines: header lines. limit_ns: the call's own time-out, or None. is_packed: messages are compressed."""

    lines: bytes
    limit_ns: int | None
    is_packed: bool

    @classmethod
    def of(cls, timeout: float | str | None, metadata: Any, credentials: Any, compression: Any) -> _Options:
        """Check the options of a call.

        Raises:
            UsageError: an invalid time-out or metadata, credentials, or a compression that is not supported.
        """
        if credentials is not None:
            raise UsageError(
                "credentials of a gRPC call are not supported", hint='pass them as metadata=(("authorization", "..."),)'
            )
        packed = {None: False, grpc.Compression.NoCompression: False, grpc.Compression.Gzip: True}
        if compression not in packed:
            raise UsageError(f"compression {compression!r} is not supported", hint="write grpc.Compression.Gzip")
        lines, limit_ns = _HEADERS, None
        if timeout is not None:
            limit_ns = _limit_ns(timeout)
            lines += timeout_line(limit_ns)
        if packed[compression]:
            lines += _PACKED
        if metadata is not None:
            lines += lines_of(metadata)
        return cls(lines, limit_ns, packed[compression])


_PLAIN: Final = _Options(_HEADERS, None, False)


def _options(timeout: float | str | None, metadata: Any, credentials: Any, compression: Any) -> _Options:
    if timeout is None and metadata is None and credentials is None and compression is None:
        return _PLAIN
    return _Options.of(timeout, metadata, credentials, compression)


def _limit_ns(timeout: float | str) -> int:
    limit_ns = parse_duration(timeout) if isinstance(timeout, str) else int(timeout * NS_PER_S)
    if limit_ns <= 0:
        raise UsageError(f"the time-out of a gRPC call is {timeout!r}", hint='write seconds, or text like "500ms"')
    return limit_ns


class _Call:
    """What all calls have in common: their end, as grpc.aio shows it."""

    def __init__(self, method: Method, options: _Options) -> None:
        self._method, self._options = method, options
        self._reply: Reply | None = None
        self._failure: GrpcFailed | None = None

    async def _end(self) -> None:
        """Wait until the call has ended."""
        raise NotImplementedError

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


class _UnaryCall(_Call):
    """A call with one message each way. HOT: once a call."""

    def __init__(self, method: Method, options: _Options, request: Any) -> None:
        super().__init__(method, options)
        self._request = request
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
            raise self._failed(reply, NO_STATUS, Status(UNKNOWN, "the answer has no grpc-status"))
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
            text = f"the answer has {len(messages)} messages instead of 1"
            raise self._failed(reply, PROTOCOL, Status(UNKNOWN, text))
        try:
            return method.parse(messages[0])
        except Exception as error:
            meter.settle_as(reply, PROTOCOL)
            text = f"the message cannot be parsed: {error}"
            raise self._failed(reply, PROTOCOL, Status(UNKNOWN, text)) from error


class _StreamCall(_Call):
    """A call that streams its request, its answer, or both."""

    def __init__(
        self,
        method: Method,
        options: _Options,
        request: Any,
        *,
        streams_request: bool,
        key: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(method, options)
        self._streams_request = streams_request
        self._request = request
        self._key = key
        self._asked: dict[Any, int] = {}
        """When the messages were written whose answers are not there yet, by their keys."""
        self._last_ns = 0
        self._stream: MessageStream | None = None
        self._opening: asyncio.Task[Reply] | None = None
        self._made: asyncio.Future[MessageStream] | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._is_over = self._has_ended_writing = False

    # -- opening ----------------------------------------------------------------------------------

    def _make(self, meter: Any, route: Any, sent: bytes, series: RequestSeries, asked_ns: int) -> MessageStream:
        stream = MessageStream(meter, route, sent, series, asked_ns)
        self._last_ns = asked_ns
        stream.on_message = self._arrived
        self._stream = stream
        if self._made is not None and not self._made.done():
            self._made.set_result(stream)
        return stream

    def _begin(self) -> asyncio.Task[Reply]:
        if self._opening is None:
            method, options = self._method, self._options
            self._made = asyncio.get_running_loop().create_future()
            body: bytes | OpenBody
            if self._streams_request:
                body = OpenBody()
            else:
                body = framed(method.serialize(self._request), is_packed=options.is_packed)
            self._opening = asyncio.create_task(
                method.http.post_prepared(
                    method.path, options.lines, body, self._make, name=method.name, limit_ns=options.limit_ns
                )
            )
            if self._streams_request and self._request is not None:
                self._feeding = asyncio.create_task(self._feed(self._request))
        return self._opening

    async def _opened(self) -> MessageStream:
        """Return the stream when the head of the answer is there.

        Raises:
            GrpcFailed: there is no answer.
        """
        if self._failure is not None:
            raise self._failure
        try:
            await self._begin()
        except RequestFailed as failure:
            self._finish()
            raise self._lost(failure) from failure
        except asyncio.CancelledError:
            self.cancel()
            raise
        assert self._stream is not None
        return self._stream

    async def _feed(self, requests: AsyncIterable[Any] | Iterable[Any]) -> None:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                if not await self._write(request):
                    return
        else:
            for request in requests:
                if not await self._write(request):
                    return
        await self.done_writing()

    # -- writing ----------------------------------------------------------------------------------

    async def write(self, request: Any) -> None:
        """Send a message.

        Raises:
            GrpcFailed: the call has failed. asyncio.InvalidStateError: writing has ended, or the call has ended well.
        """
        if self._has_ended_writing:
            raise asyncio.InvalidStateError("done_writing() was called before")
        if not await self._write(request):
            await self._end()
            if self._failure is not None:
                raise self._failure
            raise asyncio.InvalidStateError("the server has ended the call")

    async def _write(self, request: Any) -> bool:
        message = framed(self._method.serialize(request), is_packed=self._options.is_packed)
        stream = await self._writable()
        if stream is None:
            return False
        if self._key is not None:
            self._asked[self._key(request)] = perf_counter_ns()
        return await stream.write(message)

    async def done_writing(self) -> None:
        """End the messages of this side."""
        if not self._has_ended_writing:
            self._has_ended_writing = True
            stream = await self._writable()
            if stream is not None:
                await stream.write(b"", is_end=True)

    async def _writable(self) -> MessageStream | None:
        """Return the stream when its request can be written; None if it could not be opened."""
        opening = self._begin()
        assert self._made is not None
        await asyncio.wait(
            cast("list[asyncio.Future[Any]]", [opening, self._made]), return_when=asyncio.FIRST_COMPLETED
        )
        if not self._made.done():
            return None
        stream = self._made.result()
        await asyncio.wait(
            cast("list[asyncio.Future[Any]]", [opening, stream.can_write]), return_when=asyncio.FIRST_COMPLETED
        )
        return stream if stream.can_write.done() else None

    # -- reading ----------------------------------------------------------------------------------

    def _arrived(self, now_ns: int) -> None:
        """Record the time of a message: after the call for the first one, after the one before for the others."""
        stream = self._stream
        assert stream is not None
        stream.series.phase("message_gap" if stream.messages > 1 else "first_message", now_ns - self._last_ns)
        self._last_ns = now_ns

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF` after the last one.

        Raises:
            GrpcFailed: the call has failed.
        """
        if self._is_over:
            if self._failure is not None:
                raise self._failure
            return aio.EOF
        stream = await self._opened()
        try:
            message = await stream.next_message()
        except RequestFailed as failure:
            self._finish()
            raise self._lost(failure) from failure
        except asyncio.CancelledError:
            self.cancel()
            raise
        if message is None:
            self._finish()
            self._conclude(stream)
            return aio.EOF
        try:
            parsed = self._method.parse(message)
        except Exception as error:
            stream.outcome = PROTOCOL
            stream.give_up()
            self._finish()
            raise self._failed(stream, PROTOCOL, Status(UNKNOWN, f"a message cannot be parsed: {error}")) from error
        if self._key is not None:
            asked_ns = self._asked.pop(self._key(parsed), None)
            if asked_ns is not None:
                stream.series.phase("answer", stream.piece_ns - asked_ns)
        return parsed

    def _conclude(self, stream: MessageStream) -> None:
        """Settle the row of an ended answer, and raise if it has failed."""
        meter, outcome, status = self._method.http.meter, stream.outcome, stream.status
        self._reply = stream
        if status is None:
            status = Status(number_for_http(stream.status_code), outcome)
        if outcome != OK:
            is_accepted = status.number in self._method.accepted and outcome == outcome_for(status)
            meter.settle_as(stream, OK if is_accepted else outcome)
            raise self._failed(stream, outcome, status)

    async def _messages(self) -> AsyncIterator[Any]:
        try:
            while (message := await self.read()) is not aio.EOF:
                yield message
        finally:
            self._leave()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages()

    async def _end(self) -> None:
        if not self._is_over:
            with suppress(GrpcFailed):
                while await self.read() is not aio.EOF:
                    pass

    def _leave(self) -> None:
        """End the row now, if the journey stops reading before the end."""
        if not self._is_over and self._stream is not None and self._stream.can_write.done():
            self._stream.give_up()
        self._finish()

    def _finish(self) -> None:
        self._is_over = True
        if self._feeding is not None and not self._feeding.done():
            self._feeding.cancel()

    def done(self) -> bool:
        return self._is_over

    def cancelled(self) -> bool:
        return self._failure is not None and self._failure.code() is grpc.StatusCode.CANCELLED

    def cancel(self) -> bool:
        """End the call from this side. Return False if it has ended already."""
        if self._is_over:
            return False
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        self._leave()
        self._failure = GrpcFailed("cut off", f"{self._method.name}: cancelled", Status(_CANCELLED, "cancelled"))
        return True


class _StreamUnaryCall(_StreamCall):
    """A call that streams its request, and has one message as its answer."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._run().__await__()

    async def _run(self) -> Any:
        if self._request is None:
            await self.done_writing()
        found = []
        while (message := await self.read()) is not aio.EOF:
            found.append(message)
        if len(found) != 1:
            assert self._stream is not None
            self._method.http.meter.settle_as(self._stream, PROTOCOL)
            text = f"the answer has {len(found)} messages instead of 1"
            raise self._failed(self._stream, PROTOCOL, Status(UNKNOWN, text))
        return found[0]


class UnaryUnary(aio.UnaryUnaryMultiCallable):  # type: ignore[misc]  # grpcio has no types
    """`stub.Get`: `await stub.Get(request, timeout=2)`."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> _UnaryCall:
        return _UnaryCall(self._method, _options(timeout, metadata, credentials, compression), request)


class UnaryStream(aio.UnaryStreamMultiCallable):  # type: ignore[misc]
    """`stub.Watch`: `async for change in stub.Watch(request):`."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> _StreamCall:
        options = _options(timeout, metadata, credentials, compression)
        return _StreamCall(self._method, options, request, streams_request=False)


class StreamUnary(aio.StreamUnaryMultiCallable):  # type: ignore[misc]
    """`stub.Upload`: `await stub.Upload(requests)`, or `call = stub.Upload()`, `call.write`, and `await call`."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | str | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> _StreamUnaryCall:
        options = _options(timeout, metadata, credentials, compression)
        return _StreamUnaryCall(self._method, options, request_iterator, streams_request=True)


class StreamStream(aio.StreamStreamMultiCallable):  # type: ignore[misc]
    """`stub.Chat`: `call = stub.Chat(key=lambda m: m.id)`, then `call.write` and `call.read`.

    key: returns what a message and its answer have in common; the time between them is recorded as the metric `answer`.
    """

    def __init__(self, method: Method) -> None:
        self._method = method

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
    ) -> _StreamCall:
        options = _options(timeout, metadata, credentials, compression)
        return _StreamCall(self._method, options, request_iterator, streams_request=True, key=key)
