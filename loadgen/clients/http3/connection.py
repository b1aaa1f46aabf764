"""One HTTP/3 connection, client side: many concurrent requests over QUIC.

`Http3Connection` has the interface of the other connections (`connection_interface.py`) and gets the same HTTP/1.1
bytes. A connection stays on its stack as long as it has room for another request, so a user's concurrent requests share
one connection. QUIC and HTTP/3 are in `quic_session.py`. How requests end, and when there is room for more, is in
`protocol/many_streams.py`, for HTTP/2 as well. This module does the I/O, and decides the outcome of each request:

- A stream that the target resets: `h3 request_cancelled`, `h3 internal_error` ..., named by the error code. The target
  did not look at a request that it rejected (`h3 request_rejected`), so it is sent once more (`Unprocessed`).
- GOAWAY: no new requests on this connection. Requests before its stream number continue. The target did not look at
  later ones; they are sent once more.
- The end of the connection: see `close_outcomes.py`.
- A malformed answer: `protocol`, or `h3 message_error` if aioquic finds it; then the whole connection ends, because
  aioquic knows no other way.
- Datagrams without a part of an answer, more of them than any server needs: `h3 flood`.
- A time-out or a cancelled request ends its stream and not the connection. But if nothing arrived on the connection
  since that request was sent, it accepts no more requests.

With 0-RTT (`early_data=True`) a connection takes requests before its handshake has ended. Requests that are not
idempotent wait for that.

Lost packets are sent again by aioquic. While requests are under way and the target is silent, a PING is sent after half
of the idle time-out, so that a slow answer does not end the connection.

Not supported: priorities, CONNECT, server push, datagrams, migration to another address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing
from time import perf_counter_ns
from typing import Any, Final, cast

from loadgen.clients.framing.http2_floods import (
    EARNING_BITS,
    IDLE_FRAMES,
    INTERIM_COST,
    PER_PIECE,
    PER_REQUEST,
    FrameBudget,
)
from loadgen.clients.http3.close_outcomes import (
    H3_FLOOD,
    H3_GOAWAY,
    NO_ALPN,
    NO_ERROR,
    REQUEST_CANCELLED,
    REQUEST_REJECTED,
    Close,
    close_failure,
    h3_outcome,
)
from loadgen.clients.http3.goaway_reader import GoawayReader, InvalidGoaway
from loadgen.clients.http3.quic_session import (
    DataReceived,
    HandshakeCompleted,
    HeadersReceived,
    QuicSession,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from loadgen.clients.http3.tally import Tally
from loadgen.clients.protocol.connection_interface import Connection, Exchange, Lost, Sink, Unprocessed
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES, MAX_HEAD_BYTES
from loadgen.clients.protocol.http2_heads import Received, fields_of
from loadgen.clients.protocol.join_body_pieces import MANY_PIECES, join_tail
from loadgen.clients.protocol.many_streams import ManyStreams, Stream
from loadgen.clients.protocol.outcomes import (
    HEAD_TOO_LARGE,
    PROTOCOL,
    REFUSED,
    RESET,
    TIMEOUT,
    connect_failure,
)
from loadgen.clients.protocol.request_body_encoding import StreamedRequest, Upload
from loadgen.clients.protocol.timeouts import TimeoutWheel
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = ["IDEMPOTENT", "Http3Connection"]

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_MOST_STREAMS: Final = 100
"""The most concurrent requests of a connection, if the target allows more."""
_UNSENT_BYTES: Final = 512 * 1024
"""An upload waits while more bytes than this are unsent or not acknowledged."""
_SHORTEST_WAIT_S: Final = 0.0005
"""Timers of loops fire up to 1 ms early, so shorter waits would repeat."""
_EARLY_S: Final = 0.001
"""How long a handshake with 0-RTT waits for its first request."""
_FRAME_ERROR: Final = 0x106
_MOST_HEADS: Final = 512

_heads: dict[tuple[tuple[bytes, bytes], ...], Received] = {}
"""Checked heads of answers, by their fields. Most answers of a second have the same head."""


class _Stream(Stream):
    """One request and its answer."""

    __slots__ = ("is_stopped",)

    connection: Http3Connection

    def __init__(
        self,
        connection: Http3Connection,
        exchange: Exchange,
        waiter: asyncio.Future[None],
        head_only: bool,
        deadline_ns: int,
    ) -> None:
        super().__init__(connection, exchange, waiter, head_only, deadline_ns)
        self.is_stopped = False
        """The target accepts no more of the request's body."""

    def resume(self) -> None:
        connection = self.connection
        connection._quic.paused.discard(self.id)
        connection._transmit()


class Http3Connection(ManyStreams[_Stream], asyncio.DatagramProtocol):
    """HOT. A client-side HTTP/3 connection. The whole cost: `python -m bench http3`.

    address: (address, port) of the target. ready: ends when requests can be sent; with 0-RTT, that is at once.
    tally: counts packets and 0-RTT requests for the report.
    """

    _transport: asyncio.DatagramTransport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: TimeoutWheel,
        stack: list[Connection],
        lost: Lost,
        where: str,
        address: tuple[str, int],
        quic: QuicSession,
        tally: Tally,
        limit_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        super().__init__(loop, wheel, stack, lost, where, limit_bytes, _MOST_STREAMS)
        self._address, self._quic, self._tally = address, quic, tally
        self.ready: asyncio.Future[None] = loop.create_future()
        self._shaken: asyncio.Future[None] = loop.create_future()
        """Ends with the handshake."""
        self._goaway = GoawayReader()
        self._writers: set[_Stream] = set()
        """Streams whose uploads wait until sent bytes are acknowledged."""
        self._is_early = False
        """The handshake has not ended, and requests are sent as 0-RTT."""
        self._early_requests = 0
        self._heard_ns = perf_counter_ns()
        self._pinged_ns = 0
        self._budget = FrameBudget(self._heard_ns)
        """Of datagrams without a part of an answer. Requests and uploads earn some, because they are acknowledged."""
        self._has_progress = False
        """The datagram that is being processed has a part of an answer."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._will_transmit = False

    # -- opening ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        OPEN_CONNECTIONS.http += 1
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._is_early = self._quic.begin(self._address, perf_counter_ns() / NS_PER_S)
        if self._is_early:
            self.ready.set_result(None)
            # The first request goes into the first datagram. Without one, the handshake begins nevertheless.
            self._loop.call_later(_EARLY_S, self._transmit)
        else:
            self._transmit()

    def _on_handshake(self, event: HandshakeCompleted) -> None:
        if self._quic.why_not_trusted():
            return
        if event.alpn_protocol != "h3":
            self._quic.close_reason = Close(0, True, outcome=NO_ALPN)
            return
        self._quic.settle_idle_timeout()
        self._max_streams = max(1, min(_MOST_STREAMS, self._quic.most_streams))
        if len(self._streams) >= self._max_streams:
            self._withdraw()
        if self._is_early:
            self._is_early = False
            self._tally.early.add(self._early_requests, self._early_requests if event.early_data_accepted else 0)
        for future in (self.ready, self._shaken):
            if not future.done():
                future.set_result(None)

    # -- what the client and the pool call ----------------------------------------------------

    def is_hung_up(self) -> bool:
        """Return True if the connection has ended. There is no system call: datagrams have no end of file."""
        return self.is_closed or self._is_leaving

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> Awaitable[None]:
        """HOT. Send a request and wait for its answer, as `send` does, for a request without a streamed body whose
        method is not HEAD.
        """
        if self._is_early and not _is_idempotent(data):
            return self._send_after_handshake(data, exchange, False, deadline_ns)
        return self._begin(data, exchange, False, deadline_ns, True).waiter

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Send a request and wait for its answer, as described at `connection_interface.Connection.send`."""
        if self._is_early and not _is_idempotent(data):
            return self._send_after_handshake(data, exchange, head_only, deadline_ns)
        return super().send(data, exchange, head_only, deadline_ns)

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        if self._is_early and not _is_idempotent(data):
            request = StreamedRequest.of(data, wants_stream=True)
            return self._send_after_handshake(request, sink, head_only, deadline_ns)
        return super().ask_stream(data, sink, head_only, deadline_ns)

    # -- requests -----------------------------------------------------------------------------

    async def _send_after_handshake(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> None:
        if not self.is_closed and not self._is_leaving:
            self._offer()  # for idempotent requests
        try:
            async with asyncio.timeout(max(0, deadline_ns - perf_counter_ns()) / NS_PER_S):
                await asyncio.shield(self._shaken)
        except TimeoutError:
            exchange.done_ns = deadline_ns
            raise RequestFailed(TIMEOUT, f"the handshake with {self.where} did not end within the time-out") from None
        except RequestFailed as failure:
            exchange.done_ns = perf_counter_ns()
            kind = Unprocessed if isinstance(failure, Unprocessed) else RequestFailed
            raise kind(failure.outcome, failure.detail) from failure
        self._withdraw()
        await self.send(data, exchange, head_only, deadline_ns)

    def _begin(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int, is_whole: bool) -> _Stream:
        """HOT. Open a stream, write the request to it, and return the stream. is_whole: `data` contains the
        whole body.
        """
        self._is_offered = False  # the caller has taken it from the stack
        stream = _Stream(self, exchange, self._loop.create_future(), head_only, deadline_ns)
        streams = self._streams
        if self.is_closed or self._is_leaving or len(streams) >= self._max_streams:
            self._refuse(stream)
            return stream
        end = data.find(b"\r\n\r\n") + 4
        quic = self._quic
        h3 = quic.h3
        number = stream.id = quic.get_next_available_stream_id()
        is_head_only = is_whole and end == len(data)
        h3.send_headers(number, list(fields_of(data[:end], b"https")), is_head_only)
        if not is_head_only:
            stream.is_sent = is_whole
            if end < len(data):
                h3.send_data(number, data[end:], is_whole)
        streams[number] = stream
        if self._is_early:
            self._early_requests += 1
        self._budget.earned += PER_REQUEST + (len(data) >> EARNING_BITS)
        self._watch_until(deadline_ns)
        exchange.sent_ns = perf_counter_ns()
        self._transmit()
        if len(streams) < self._max_streams:
            self._offer()
        return stream

    def _why_refused(self) -> RequestFailed:
        close = self._quic.close_reason
        if self.is_closed and close is not None and not self._is_leaving:
            return close_failure(close, self.where)
        return Unprocessed(H3_GOAWAY, f"{self.where} accepts no more requests on this connection")

    async def _write_pieces(self, upload: Upload, stream: _Stream) -> None:
        quic = self._quic
        async with aclosing(upload.pieces()) as pieces:
            async for piece in pieces:
                if not self._can_write(stream):
                    return
                quic.h3.send_data(stream.id, piece, False)
                self._budget.earned += PER_PIECE + (len(piece) >> EARNING_BITS)
                self._transmit()
                await asyncio.sleep(0)
                while self._can_write(stream) and quic.unsent_bytes(stream.id) > _UNSENT_BYTES:
                    stream.drained = self._loop.create_future()
                    self._writers.add(stream)
                    try:
                        await stream.drained
                    finally:
                        self._writers.discard(stream)
            if self._can_write(stream):
                stream.is_sent = True
                quic.h3.send_data(stream.id, b"", True)
                self._transmit()

    def _can_write(self, stream: _Stream) -> bool:
        return stream.id in self._streams and not stream.is_stopped and not self.is_closed

    # -- what the loop calls ------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """HOT. Receive a datagram from the target, and process the events in it."""
        if self.is_closed:
            return
        now_ns = self._heard_ns = perf_counter_ns()
        self._has_progress = False
        self._quic.take(data, self._address, now_ns / NS_PER_S)
        self._process(now_ns)
        if not (self._has_progress or self.is_closed or self._budget.spend_late(1, now_ns, is_read=True)):
            self._flood()

    def _flood(self) -> None:
        why = f"{self.where} sent more than {IDLE_FRAMES:,} datagrams without an answer in them"
        self._end_all(RequestFailed(H3_FLOOD, why))

    def error_received(self, exc: Exception) -> None:
        """Handle an ICMP error, for example because no program listens at the target's port."""
        if self.is_closed or not isinstance(exc, OSError):
            return
        failure = connect_failure(exc, self.where)
        if not self._shaken.done():
            self._end_all(failure)
        # Other errors may pass, and QUIC sends lost packets again. But without this one, requests to a program that has
        # ended would wait for their time-outs.
        elif failure.outcome == REFUSED:
            self._end_all(RequestFailed(RESET, failure.detail))

    def connection_lost(self, exc: Exception | None) -> None:
        OPEN_CONNECTIONS.http -= 1
        if not self.is_closed:
            self._end_all(RequestFailed(RESET, f"the socket to {self.where} was closed: {exc}"))

    def _on_timer(self) -> None:
        self._timer = None
        if self.is_closed:
            return
        now_ns = perf_counter_ns()
        now_s = now_ns / NS_PER_S
        if now_s >= (self._quic.get_timer() or now_s):
            self._quic.tick(now_s)
            self._process(now_ns)
        if self._has_ended():
            return
        if self._streams and now_s >= self._ping_at_s():
            self._quic.send_ping(0)
            self._pinged_ns = now_ns
        self._transmit()

    def _ping_at_s(self) -> float:
        return max(self._heard_ns, self._pinged_ns) / NS_PER_S + self._quic.idle_timeout_s / 2

    def _process(self, now_ns: int) -> None:
        """HOT. Process all events of the QUIC connection, and send the datagrams that follow from them."""
        quic = self._quic
        while True:
            event: Any = quic.next_event()
            if event is None:
                break
            kind = type(event)
            if kind is StreamDataReceived:
                self._on_stream_data(event, now_ns)
            elif kind is StreamReset:
                quic.h3.handle_event(event)
                self._on_reset(event.stream_id, event.error_code)
            elif kind is StopSendingReceived:
                quic.h3.handle_event(event)
                stream = self._streams.get(event.stream_id)
                if stream is not None:
                    stream.is_stopped = True
                    stream.released()
            elif kind is HandshakeCompleted:
                self._on_handshake(event)
            if self.is_closed:
                return
        if quic.close_reason is not None:
            self._end_all(close_failure(quic.close_reason, self.where))
            return
        if self._writers:
            for stream in tuple(self._writers):
                if quic.unsent_bytes(stream.id) <= _UNSENT_BYTES:
                    self._writers.discard(stream)
                    stream.released()
        # At the end of the loop's turn: a caller that got its answer sends its next request before that, and both go
        # in one datagram.
        if not self._will_transmit:
            self._will_transmit = True
            self._loop.call_soon(self._transmit_later)

    def _transmit_later(self) -> None:
        if self._will_transmit and not self.is_closed:
            self._transmit()

    def _transmit(self) -> None:
        """HOT. Send all datagrams that are due, and set the timer for the next ones."""
        self._will_transmit = False
        if self.is_closed:
            return
        now_s = perf_counter_ns() / NS_PER_S
        quic, transport = self._quic, self._transport
        for data, _ in quic.datagrams_to_send(now_s):
            transport.sendto(data)
            if self._has_ended():  # by an error of the socket
                return
        at_s = quic.get_timer()
        if at_s is None:
            return
        if self._streams:
            at_s = min(at_s, self._ping_at_s())
        # A timer that fires too early costs less than a new timer for each datagram.
        if self._timer is None or at_s < self._timer_at_s - _SHORTEST_WAIT_S:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at_s = at_s
            self._timer = self._loop.call_later(max(at_s - now_s, _SHORTEST_WAIT_S), self._on_timer)

    # -- what events mean ---------------------------------------------------------------------

    def _on_stream_data(self, event: Any, now_ns: int) -> None:
        """HOT. Process the next bytes of a stream."""
        quic = self._quic
        number = event.stream_id
        if number & 3:
            self._on_control_data(number, event)
        else:
            stream = self._streams.get(number)
            if stream is not None:
                exchange = stream.exchange
                exchange.size_bytes += len(event.data)
                exchange.first_byte_ns = exchange.first_byte_ns or now_ns
                self._has_progress = True
                waiting = quic.h3.buffered_bytes(number)
                # Bytes wait only for the end of a head or of trailers.
                if waiting and waiting + len(event.data) > MAX_HEAD_BYTES:
                    self._too_large_head()
                    return
        found: Any
        for found in quic.h3.handle_event(event):
            stream = self._streams.get(found.stream_id)
            if stream is None or found.push_id is not None:
                continue
            if type(found) is DataReceived:
                self._on_data(stream, found.data, found.stream_ended, now_ns)
            elif type(found) is HeadersReceived:
                self._on_headers(stream, found.headers, found.stream_ended, now_ns)
            if self._has_ended():
                return

    def _has_ended(self) -> bool:
        return self.is_closed

    def _too_large_head(self) -> None:
        self._end_all(RequestFailed(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_HEAD_BYTES} bytes of headers"))

    def _on_control_data(self, number: int, event: Any) -> None:
        try:
            self._goaway.feed(number, event.data)
        except InvalidGoaway as error:
            self._quic.close(_FRAME_ERROR, None, str(error))
            return
        first = self._goaway.first_refused
        if first is not None:
            self._leave_from(first, H3_GOAWAY, f"{self.where} sent GOAWAY")

    def _on_headers(self, stream: _Stream, fields: list[tuple[bytes, bytes]], is_end: bool, now_ns: int) -> None:
        """HOT. Process an answer's head, an interim answer (1xx), or trailers."""
        stream.is_over = is_end
        key = tuple(fields)
        received = _heads.get(key)
        if received is None:
            received = Received(fields)
            if received.head is not None:
                received.head.http_version = "3"
            if sum(len(name) + len(value) for name, value in fields) > MAX_HEAD_BYTES:
                self._too_large_head()
                return
            if received.is_small:
                if len(_heads) >= _MOST_HEADS:
                    _heads.clear()
                _heads[key] = received
        head = received.head
        if received.wrong:
            self._malformed(stream, received.wrong)
            return
        if stream.head is not None:
            if head is not None or not is_end:
                self._malformed(stream, "trailers that do not end it")
                return
            stream.exchange.raw_trailers = received.raw
        elif head is None:
            self._malformed(stream, "missing status")
            return
        elif head.status >= 200:
            self._on_head(stream, head)
        elif not self._budget.spend(INTERIM_COST + len(head.raw), now_ns, is_read=True):
            self._flood()
            return
        if is_end and stream.id in self._streams:
            self._finish(stream, now_ns)

    def _on_data(self, stream: _Stream, data: bytes, is_end: bool, now_ns: int) -> None:
        """HOT. Process the next piece of a body."""
        stream.is_over = is_end
        if data:
            stream.have += len(data)
            sink = stream.sink
            if sink is not None:
                if sink.took(data, now_ns) and not is_end and stream.id in self._streams:
                    self._quic.paused.add(stream.id)
            elif stream.have > self._limit_bytes:
                self._too_large(stream)
                return
            else:
                chunks = stream.chunks
                chunks.append(data)
                if len(chunks) - stream.joined > MANY_PIECES:
                    stream.joined = join_tail(chunks, stream.joined)
        if is_end and stream.id in self._streams:
            self._finish(stream, now_ns)

    def _on_reset(self, number: int, code: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.is_over = True
        # nginx rejects requests after its GOAWAY, which may arrive later.
        self._on_reset_by_target(stream, h3_outcome(code), is_unprocessed=code == REQUEST_REJECTED)

    # -- ends of one stream -------------------------------------------------------------------

    def _malformed(self, stream: _Stream, why: str) -> None:
        self._drop(stream, PROTOCOL, f"{self.where} sent an invalid HTTP/3 answer: {why}")

    def _stop_upload(self, stream: _Stream) -> None:
        self._reset(stream, NO_ERROR)
        stream.released()

    def _reset(self, stream: _Stream, code: int | None = None) -> None:
        if not self.is_closed:
            self._budget.expect_late()
            code = REQUEST_CANCELLED if code is None else code
            self._quic.cancel_stream(stream.id, code, sends=not stream.is_sent, receives=not stream.is_over)
            self._transmit()

    # -- the end of all -----------------------------------------------------------------------

    def _end_all(self, failure: RequestFailed) -> None:
        """Close the connection and fail all its requests, because of something that the target sent or did not send."""
        if self._quic.close_reason is None:
            self._quic.close_reason = Close(NO_ERROR, False, outcome=failure.outcome, reason=failure.detail)
        self._fail_all(failure.outcome, failure.detail)
        self._fail_opening(failure)
        self._close()

    def _fail_opening(self, failure: RequestFailed) -> None:
        """Fail the callers that wait for the end of the handshake."""
        for future in (self.ready, self._shaken):
            if not future.done():
                future.set_exception(failure)
                future.exception()  # retrieved: perhaps nobody waits for it

    def _end_transport(self) -> None:
        self._fail_opening(
            Unprocessed(H3_GOAWAY, f"the connection to {self.where} was closed before its handshake ended")
        )
        if self._is_early:
            self._tally.early.add(self._early_requests, 0)
        self._quic.close()
        for data, _ in self._quic.datagrams_to_send(perf_counter_ns() / NS_PER_S):
            self._transport.sendto(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.close()


def _is_idempotent(data: bytes) -> bool:
    return data[: data.find(b" ")] in IDEMPOTENT
