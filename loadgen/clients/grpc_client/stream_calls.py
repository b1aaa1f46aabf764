"""gRPC calls that stream their request, their answer, or both, as grpc.aio has them: `read`, `write`, `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from contextlib import suppress
from functools import partial
from time import perf_counter_ns
from typing import Any, Final, cast
from weakref import ReferenceType, ref

import grpc
from grpc import aio

from loadgen.clients.grpc_client.calls import Call
from loadgen.clients.grpc_client.exchange_text import REQUEST_CLASSES, learn_request
from loadgen.clients.grpc_client.failures import GrpcFailed
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.grpc_client.options import Method, Options
from loadgen.clients.grpc_client.status import UNKNOWN, Status, number_for_http, outcome_for
from loadgen.clients.grpc_client.stream import CappedMessageStream, MessageStream
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.outcomes import PROTOCOL
from loadgen.clients.protocol.request_body_encoding import OpenBody
from loadgen.clients.response.replies import Reply
from loadgen.clients.response.reply_class_for_plan import reply_class
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import CUT_OFF, OK

__all__ = ["StreamCall", "StreamUnaryCall"]

_CANCELLED: Final = 1


class StreamCall(Call):
    """A call that streams its request, its answer, or both."""

    def __init__(
        self,
        method: Method,
        options: Options,
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
        self._stream: MessageStream | None = None
        self._opening: asyncio.Task[Reply] | None = None
        self._made: asyncio.Future[MessageStream] | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._feed_error: Exception | None = None
        """Raised by the journey's iterator of messages, or because one of these cannot be sent."""
        self._is_over = self._has_ended_writing = False

    # -- opening ----------------------------------------------------------------------------------

    def _took(self, stream: MessageStream) -> None:
        """Take the stream, when its request is about to be sent."""
        stream.has_times = self._key is not None
        self._stream = stream
        if self._made is not None and not self._made.done():
            self._made.set_result(stream)

    def _begin(self) -> asyncio.Task[Reply]:
        if self._opening is None:
            method, options = self._method, self._options
            self._made = asyncio.get_running_loop().create_future()
            if REQUEST_CLASSES.get(method.path) is None and not self._streams_request:
                learn_request(method.path, self._request)
            body: bytes | OpenBody
            if self._streams_request:
                body = OpenBody()
            else:
                body = framed(method.serialize(self._request), is_packed=options.is_packed)
            kind = MessageStream if method.http.meter.message_cap is None else CappedMessageStream
            if method.http.pool.has_phases:
                kind = reply_class(kind, MAX_BODY_BYTES, has_phases=True)
            make = partial(_new_stream, ref(self), kind)
            self._opening = asyncio.create_task(
                method.http.post_prepared(
                    method.path, options.lines, body, make, name=method.name, limit_ns=options.limit_ns
                )
            )
            if self._streams_request and self._request is not None:
                self._feeding = asyncio.create_task(_feed(ref(self), self._request))
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
            if self._feed_error is None:
                self.cancel()
                raise
            self._finish()
            raise self._feed_error from None
        assert self._stream is not None
        return self._stream

    def _break_feeding(self, error: Exception) -> None:
        """End the call because of an exception of the journey's own messages, which `read` raises."""
        self._feed_error = error
        if not self._begin().cancel() and self._stream is not None:
            self._stream.break_off()

    # -- writing ----------------------------------------------------------------------------------

    async def write(self, request: Any) -> None:
        """Send a message.

        Raises:
            GrpcFailed: the call has failed. asyncio.InvalidStateError: writing has ended, or the call has ended well.
        """
        if self._has_ended_writing:
            raise asyncio.InvalidStateError("write() was called after done_writing()")
        if not await self._write(request):
            await self._end()
            if self._failure is not None:
                raise self._failure
            raise asyncio.InvalidStateError("the server has already ended the call, so no message can be sent")

    async def _write(self, request: Any) -> bool:
        """Send a message. Return False if the call has ended."""
        stream, message = await self._ready(request)
        return stream is not None and await stream.write(message)

    async def _ready(self, request: Any) -> tuple[MessageStream | None, bytes]:
        """Return the stream when it can be written, None for a call that has ended, and the bytes of the message."""
        method = self._method
        if REQUEST_CLASSES.get(method.path) is None:
            learn_request(method.path, request)
        message = framed(method.serialize(request), is_packed=self._options.is_packed)
        stream = await self._writable()
        if stream is not None and self._key is not None:
            self._asked[self._key(request)] = perf_counter_ns()
        return stream, message

    async def done_writing(self) -> None:
        """End the messages of this side."""
        if not self._has_ended_writing:
            self._has_ended_writing = True
            stream = await self._writable()
            if stream is not None:
                await stream.write(b"", is_end=True)

    async def _writable(self) -> MessageStream | None:
        """Return the stream when its request can be written; None if it could not be opened."""
        if self._stream is not None and self._stream.can_write.done():  # `asyncio.wait` below costs 40 µs
            return self._stream
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

    async def read(self) -> Any:
        """HOT. Return the next message, or `grpc.aio.EOF` after the last one.

        Raises:
            GrpcFailed: the call has failed.
        """
        if self._is_over:
            if self._failure is not None:
                raise self._failure
            return aio.EOF
        stream = self._stream
        if stream is None or not stream.messages:
            stream = await self._opened()
        try:
            is_there = stream.waiting or await stream.wait()
        except RequestFailed as failure:
            self._finish()
            if self._feed_error is not None:
                raise self._feed_error from None
            raise self._lost(failure) from failure
        except asyncio.CancelledError:
            self.cancel()
            raise
        if not is_there:
            self._finish()
            self._conclude(stream)
            return aio.EOF
        return self._parsed(stream)

    def _parsed(self, stream: MessageStream) -> Any:
        """HOT. Take the first of the waiting messages, parse it, and record its time after ours of the same key."""
        try:
            parsed = self._method.parse(stream.take())
        except Exception as error:
            stream.outcome = PROTOCOL
            stream.give_up()
            self._finish()
            raise self._failed(
                stream, PROTOCOL, Status(UNKNOWN, f"the server's message cannot be parsed: {error}")
            ) from error
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

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Messages(self)

    async def _end(self) -> None:
        if not self._is_over:
            with suppress(GrpcFailed):  # the row has its outcome; the caller asks for the status or the metadata
                while await self.read() is not aio.EOF:
                    pass

    def _leave(self) -> None:
        """Reset the stream, if the journey stops reading before the end. Its row ends now, as ok.

        Without the head of an answer there is nothing to record: the row is cut off, as that of a cancelled request.
        """
        if not self._is_over and self._opening is not None:
            if not self._opening.done():
                self._opening.cancel()  # resets the stream
            elif self._stream is not None and not self._opening.cancelled():
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
        self._leave()
        self._failure = GrpcFailed(CUT_OFF, f"{self._method.name}: cancelled", Status(_CANCELLED, "cancelled"))
        return True

    def __del__(self) -> None:
        # The journey has dropped the call without reading its end. Without a reset the stream would stay open as long
        # as the connection, and a thread or a task of the server with it (decision 169).
        if self._opening is not None and not self._is_over:
            with suppress(RuntimeError):  # the loop is closed
                self._leave()


def _new_stream(
    owner: ReferenceType[StreamCall],
    kind: type[MessageStream],
    meter: Any,
    route: Any,
    sent: bytes,
    series: RequestSeries,
    asked_ns: int,
) -> MessageStream:
    """Return a stream for a call. The task that opens the stream calls this, and does not keep the call alive."""
    stream = kind(meter, route, sent, series, asked_ns)
    if (call := owner()) is not None:
        call._took(stream)
    return stream


async def _feed(owner: ReferenceType[StreamCall], requests: AsyncIterable[Any] | Iterable[Any]) -> None:
    """Write the messages of the journey's iterator. This does not keep the call alive."""
    try:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                if not await _fed(owner, request):
                    return
        else:
            for request in requests:
                if not await _fed(owner, request):
                    return
        if (call := owner()) is not None:
            await call.done_writing()
    except Exception as error:  # noqa: BLE001  # of the journey's own iterator
        if (call := owner()) is not None:
            call._break_feeding(error)


async def _fed(owner: ReferenceType[StreamCall], request: Any) -> bool:
    """Write one message. Return False if the call has ended, or the journey has dropped it."""
    call = owner()
    if call is None:
        return False
    stream, message = await call._ready(request)
    del call  # the window may be closed for long
    return stream is not None and await stream.write(message)


class _Messages:
    """The messages of a call, for `async for`. An async generator costs twice as much for each message."""

    __slots__ = ("_call",)

    def __init__(self, call: StreamCall) -> None:
        self._call = call

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Any:
        """HOT, once a message: 6 µs for one that comes alone (`python -m bench.grpc_in_memory`)."""
        call = self._call
        stream = call._stream
        if stream is not None and not call._is_over:
            waiting = stream.waiting
            # `read` and `wait` do the same, in two more coroutines. Before the first message, `read` opens the call.
            if not waiting and stream.messages and (wanted := stream.next_piece()) is not None:
                try:
                    await wanted
                except asyncio.CancelledError:
                    call.cancel()
                    raise
            if waiting:
                return call._parsed(stream)
        message = await call.read()
        if message is aio.EOF:
            raise StopAsyncIteration
        return message

    def __del__(self) -> None:
        # The journey has left its loop: the iterator is dropped at once then, also by `break` and by an exception.
        self._call._leave()


class StreamUnaryCall(StreamCall):
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
            text = f"the server sent {len(found)} messages in response to a call that needs exactly 1"
            raise self._failed(self._stream, PROTOCOL, Status(UNKNOWN, text))
        return found[0]
