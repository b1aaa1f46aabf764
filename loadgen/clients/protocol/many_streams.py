"""The requests under way on one connection that serves many at once: when each ends, and whether another may start.

`ManyStreams` is the base class of the connections of HTTP/2 (`http2.py`) and HTTP/3 (`http3/connection.py`). A `Stream`
is one request and its answer. This module decides when a request ends, and what its caller gets:

| event                                  | the caller gets                | the target gets                          |
| -------------------------------------- | ------------------------------ | ---------------------------------------- |
| the whole answer has arrived           | the answer                     | a reset, if a part of the body is unsent |
| the deadline has passed                | `timeout`, at the deadline     | a reset                                  |
| the answer is malformed                | `protocol`                     | a reset                                  |
| the answer is too large                | `body too large`               | a reset                                  |
| the caller no longer waits             | a cancellation                 | a reset                                  |
| the target reset the stream            | the outcome of the error code  | nothing                                  |
| the target rejected it, or sent GOAWAY | `Unprocessed`: sent once more  | nothing                                  |
| the connection is full or closed       | `Unprocessed`, or why it ended | nothing                                  |

The connection is on its pool's stack of usable connections while it has room for another stream. A retired connection
takes no more requests, and closes when its last request has ended.

A subclass reads and writes frames: it opens streams (`_begin`), sends bodies (`_write_pieces`), resets streams
(`_reset`, `_stop_upload`), has the texts of failures (`_malformed`, `_why_refused`), and closes its transport
(`_end_transport`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any, Generic, TypeVar, cast

from loadgen.clients.protocol.connection_interface import Connection, Exchange, Lost, Sink, Unprocessed, peer_text
from loadgen.clients.protocol.outcomes import TIMEOUT, TOO_LARGE
from loadgen.clients.protocol.request_body_encoding import StreamedRequest, Upload
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed
from loadgen.run_until_done import run_until_done

__all__ = ["ManyStreams", "Stream"]


class Stream(ABC):
    """One request and its answer: the `Source` from which a Sink reads. Subclasses add `resume`."""

    __slots__ = (
        "chunks",
        "connection",
        "deadline_ns",
        "drained",
        "exchange",
        "have",
        "head",
        "head_only",
        "id",
        "is_over",
        "is_sent",
        "joined",
        "sink",
        "waiter",
    )

    def __init__(
        self,
        connection: ManyStreams[Any],
        exchange: Exchange,
        waiter: asyncio.Future[None],
        head_only: bool,
        deadline_ns: int,
    ) -> None:
        self.connection, self.exchange, self.waiter = connection, exchange, waiter
        self.head_only, self.deadline_ns = head_only, deadline_ns
        self.id = -1
        self.head: Head | None = None
        self.chunks: list[bytes] = []
        self.joined = 0
        """See `join_body_pieces.join_tail`."""
        self.have = 0
        self.sink: Sink | None = None
        self.is_sent = True
        self.is_over = False
        """The target has ended the stream: nothing more comes."""
        self.drained: asyncio.Future[None] | None = None
        """The writer of the body waits for this future, until more can be sent."""

    def read_by(self, sink: Sink) -> None:
        """Pass the answer to `sink`, piece by piece."""
        self.sink, sink.source = sink, self

    @abstractmethod
    def resume(self) -> None:
        """Continue to read the body after a pause."""

    def abort(self) -> None:
        self.connection._cut(self)

    def allow_until(self, exchange: Exchange, deadline_ns: int) -> None:
        self.deadline_ns = deadline_ns
        connection = self.connection
        if self.id in connection._streams:
            connection._watch_until(deadline_ns)

    def released(self) -> None:
        """Wake the writer of the body, because the stream has ended or can send more."""
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)


S = TypeVar("S", bound=Stream)


class ManyStreams(ABC, Generic[S]):
    """HOT. A client-side connection with many requests under way: what HTTP/2 and HTTP/3 have in common."""

    __slots__ = (
        "_freed",
        "_heard_ns",
        "_is_leaving",
        "_is_offered",
        "_limit_bytes",
        "_loop",
        "_lost",
        "_max_streams",
        "_streams",
        "_transport",
        "_wheel",
        "check_ns",
        "deadline_ns",
        "is_closed",
        "requests",
        "stack",
        "where",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: TimeoutWheel,
        stack: list[Connection],
        lost: Lost,
        where: str,
        limit_bytes: int,
        max_streams: int,
    ) -> None:
        self._loop, self._wheel, self._lost, self._limit_bytes = loop, wheel, lost, limit_bytes
        self.where = where
        self.stack = stack
        """The connection is on this stack while it has room for another stream."""
        self._freed: Callable[[Connection], None] | None = getattr(stack, "freed", None)
        """The callback of a shared pool's stack: no request is under way any more."""
        self.is_closed = False
        self.requests = 0
        self.deadline_ns = 0
        """The earliest deadline of the streams, or an earlier one of an ended stream; updated when it passes."""
        self.check_ns = NEVER_NS
        self._transport: asyncio.BaseTransport
        self._streams: dict[int, S] = {}
        self._max_streams = max_streams
        self._is_leaving = False
        """The connection takes no more requests."""
        self._is_offered = True
        """The connection is on its stack, or was just opened or taken by a caller that is about to send on it."""
        self._heard_ns = 0
        """When the last bytes arrived."""

    @property
    def remote(self) -> str:
        return peer_text(self._transport)

    @property
    def is_free(self) -> bool:
        return not self._streams

    # -- what a subclass adds -----------------------------------------------------------------

    @abstractmethod
    def is_hung_up(self) -> bool:
        """Return True if the target has closed the connection, as described at `connection_interface.Connection`."""

    @abstractmethod
    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> Awaitable[None]:
        """HOT. Send a request and wait for its answer, as `send` does, for a request without a streamed body whose
        method is not HEAD.
        """

    @abstractmethod
    def _begin(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int, is_whole: bool) -> S:
        """Open a stream, write the request to it, and return the stream. is_whole: `data` contains the whole body."""

    @abstractmethod
    async def _write_pieces(self, upload: Upload, stream: S) -> None:
        """Send the streamed body of a request, as fast as the target permits."""

    @abstractmethod
    def _reset(self, stream: S, code: int | None = None) -> None:
        """End a stream from our side, at once. code: the error code; None for a cancelled request."""

    @abstractmethod
    def _stop_upload(self, stream: S) -> None:
        """End a stream whose whole answer has arrived, because the target needs no more of the request's body."""

    @abstractmethod
    def _malformed(self, stream: S, why: str) -> None:
        """Fail a request whose answer is not valid."""

    @abstractmethod
    def _why_refused(self) -> RequestFailed:
        """Return why the connection takes no more requests: `Unprocessed`, or the failure that closed it."""

    @abstractmethod
    def _end_transport(self) -> None:
        """Close the transport, and what belongs to it."""

    # -- what the client and the pool call ----------------------------------------------------

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Send a request and wait for its answer, as described at `connection_interface.Connection.send`. The
        caller's own task sends the body of a StreamedRequest.
        """
        if type(data) is not bytes:
            return self._send_streamed(cast("StreamedRequest", data), exchange, head_only, deadline_ns)
        return self._begin(data, exchange, head_only, deadline_ns, True).waiter

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        stream = self._begin(data, sink, head_only, deadline_ns, True)
        if not stream.waiter.done():
            stream.read_by(sink)
        return stream.waiter

    def cancel(self, exchange: Exchange) -> None:
        for stream in self._streams.values():
            if stream.exchange is exchange:
                self._cut(stream)
                return

    def retire(self) -> None:
        self._is_leaving = True
        self._withdraw()
        if not self._streams:
            self._close()

    def abort(self) -> None:
        streams = tuple(self._streams.values())
        self._streams.clear()
        self._close()
        for stream in streams:
            self._notify_cut(stream)

    def expire(self) -> None:
        """Fail all requests whose deadline has passed with a time-out. The timing wheel calls this method."""
        now_ns = perf_counter_ns()
        for stream in tuple(self._streams.values()):
            if stream.deadline_ns <= now_ns:
                self._time_out(stream)
        if self.is_closed:
            return
        self.deadline_ns = min((stream.deadline_ns for stream in self._streams.values()), default=0)
        if 0 < self.deadline_ns < NEVER_NS:
            self._wheel.watch(self)

    def _watch_until(self, deadline_ns: int) -> None:
        """Update the connection's deadline, because a stream has got the deadline `deadline_ns`."""
        if deadline_ns < self.deadline_ns or not self.deadline_ns:
            self.deadline_ns = deadline_ns
            if deadline_ns < self.check_ns:
                self._wheel.watch(self)

    def _refuse(self, stream: S) -> None:
        """Fail a request that cannot be sent, because the connection became full or closed after the caller had chosen
        it.
        """
        self._fail_with(stream, self._why_refused())
        if not self.is_closed and not self._is_leaving:
            self._make_room()

    # -- streamed bodies ----------------------------------------------------------------------

    async def _send_streamed(
        self, request: StreamedRequest, exchange: Exchange, head_only: bool, deadline_ns: int
    ) -> None:
        upload = request.upload
        stream = self._begin(bytes(request), exchange, head_only, deadline_ns, upload is None)
        waiter = stream.waiter
        if not waiter.done():
            if request.wants_stream:
                stream.read_by(cast("Sink", exchange))
            if upload is not None:
                try:
                    await self._push(upload, stream)
                except BaseException:
                    if waiter.done() and not waiter.cancelled():
                        waiter.exception()  # retrieve it, or asyncio logs "exception was never retrieved"
                    raise
        await waiter

    async def _push(self, upload: Upload, stream: S) -> None:
        """Send the streamed body of a request until it ends, or until an answer or a failure arrives, even while the
        body's own code is waiting.
        """
        waiter = stream.waiter
        try:
            await run_until_done(waiter, self._write_pieces(upload, stream))
        except RequestFailed as failure:  # the body comes from another request, which failed
            if not waiter.done():
                self._drop(stream, failure.outcome, f"while its body was sent: {failure.detail}")

    # -- ends of one stream -------------------------------------------------------------------

    def _on_head(self, stream: S, head: Head) -> None:
        """Process the head of an answer, but not an interim one (1xx)."""
        stream.head = head
        sink = stream.sink
        if sink is not None:
            if not stream.waiter.done():
                sink.took_head(head)
                stream.waiter.set_result(None)
        elif head.length is not None and head.length > self._limit_bytes and not stream.head_only:
            self._too_large(stream)

    def _finish(self, stream: S, now_ns: int) -> None:
        """HOT. End a request, because its whole answer has arrived; after its deadline, fail it with a time-out."""
        head = stream.head
        if now_ns > stream.deadline_ns:  # late, but the wheel has not checked it yet
            self._time_out(stream)
            return
        if head is None or (head.length is not None and stream.have != head.length and not stream.head_only):
            self._malformed(stream, f"the answer ends after {stream.have} bytes of its body")
            return
        del self._streams[stream.id]
        if not stream.is_sent:
            self._stop_upload(stream)
        self.requests += 1
        # On the hot path the connection is usually offered already. Without streams `_make_room` is needed
        # nevertheless: it closes a leaving connection, and a shared pool waits for `_freed`.
        if not self._is_offered or not self._streams:
            self._make_room()
        sink = stream.sink
        if sink is not None:
            sink.done_ns = now_ns
            sink.ended()
            stream.released()
            return
        exchange, waiter = stream.exchange, stream.waiter
        chunks = stream.chunks
        exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        exchange.head, exchange.done_ns = head, now_ns
        if not waiter.done():  # otherwise it was cancelled, and its task has not run yet
            waiter.set_result(None)

    def _too_large(self, stream: S) -> None:
        self._drop(
            stream,
            TOO_LARGE,
            f"{self.where} sent a body of more than {self._limit_bytes} bytes; raise Http(max_body=...)",
        )

    def _time_out(self, stream: S) -> None:
        """Fail a request with a time-out. Its time ends at the deadline; bytes that arrived later do not count."""
        exchange = stream.exchange
        at_ns = max(stream.deadline_ns, exchange.sent_ns)
        if exchange.first_byte_ns > at_ns:
            exchange.first_byte_ns = 0
        # Nothing has arrived since the request was sent, so perhaps nothing ever will: later requests must not wait
        # for the same time-out.
        is_dead = self._heard_ns < exchange.sent_ns
        self._drop(
            stream, TIMEOUT, "no complete answer within the time-out; timeout=... sets a longer one", at_ns=at_ns
        )
        if is_dead:
            self.retire()

    def _on_reset_by_target(self, stream: S, outcome: str, *, is_unprocessed: bool) -> None:
        kind = Unprocessed if is_unprocessed else RequestFailed
        self._fail_with(stream, kind(outcome, f"{self.where} reset the stream"))
        self._make_room()

    def _leave_from(self, number: int, outcome: str, why: str) -> None:
        """Handle a GOAWAY: take no more requests, and fail those from stream `number` on, because the target did not
        look at them.
        """
        for stream in tuple(self._streams.values()):
            if stream.id >= number:
                self._fail_with(stream, Unprocessed(outcome, why))
        self.retire()

    def _drop(
        self,
        stream: S,
        outcome: str,
        detail: str,
        code: int | None = None,
        at_ns: int | None = None,
    ) -> None:
        """Fail a request because of our own decision, and reset its stream with the error code `code`."""
        self._fail(stream, outcome, detail, at_ns)
        self._reset(stream, code)
        self._make_room()

    def _cut(self, stream: S) -> None:
        """Cancel a request whose caller no longer waits, and reset its stream."""
        if self._streams.pop(stream.id, None) is None:
            return
        self._reset(stream)
        self._make_room()
        self._notify_cut(stream)

    @staticmethod
    def _notify_cut(stream: Stream) -> None:
        if not stream.waiter.done():
            stream.waiter.cancel()
        elif stream.sink is not None:
            stream.sink.cut()
        stream.released()

    def _fail_all(self, outcome: str, detail: str) -> None:
        for stream in tuple(self._streams.values()):
            self._fail(stream, outcome, detail)

    def _fail(self, stream: S, outcome: str, detail: str, at_ns: int | None = None) -> None:
        self._fail_with(stream, RequestFailed(outcome, detail), at_ns)

    def _fail_with(self, stream: S, failure: RequestFailed, at_ns: int | None = None) -> None:
        self._streams.pop(stream.id, None)
        stream.exchange.done_ns = perf_counter_ns() if at_ns is None else at_ns
        if not stream.waiter.done():
            stream.waiter.set_exception(failure)
        elif stream.sink is not None:
            stream.sink.broke(failure)
        stream.released()

    # -- room, and the end of all -------------------------------------------------------------

    def _offer(self) -> None:
        """HOT. Put the connection on the pool's stack of usable connections, because it has room for another stream."""
        if not self._is_offered:
            self._is_offered = True
            self.stack.append(self)

    def _withdraw(self) -> None:
        if self._is_offered:
            self._is_offered = False
            if self in self.stack:
                self.stack.remove(self)

    def _make_room(self) -> None:
        """Update the pool's stack of usable connections after the number of streams, or its limit, has changed. Close a
        connection that accepts no more requests and has none under way.
        """
        if self.is_closed:
            return
        if not self._streams:
            self.deadline_ns = 0
            if self._is_leaving:
                self._close()
                return
        if self._is_leaving or len(self._streams) >= self._max_streams:
            self._withdraw()
        elif not self._is_offered:
            self._offer()
        elif self._freed is not None and not self._streams:
            self._freed(self)

    def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.deadline_ns = 0
        self._wheel.forget(self)
        self._is_offered = False
        self._lost(self)
        self._end_transport()
