"""One HTTP/2 connection, client side: many concurrent requests, on the h2 library.

It has the interface of an HTTP/1.1 connection (`connection_interface.py`) and gets the same bytes. It stays on its
stack as long as it has room for another stream, so a user's concurrent requests share one connection.

The library handles the protocol: states, windows, HPACK. We add:
- splitting the input into frames, so that each frame's bytes count for its stream, and frames before a broken one
  still count;
- a cache for heads (`http2_heads.py`);
- the decision when to open a window;
- the outcome of requests when their stream or the connection ends, as follows.

- RST_STREAM by the target: `h2 refused_stream`, `h2 internal_error` ..., named by the error code. The target did not
  look at a refused request, so it is sent once more (`Unprocessed`).
- GOAWAY: no new requests on this connection. Requests up to its last stream continue. The target did not look at later
  ones; they are sent once more.
- Bytes that are not HTTP/2: `protocol` for all requests under way. A malformed answer: `protocol` for its request.
- More frames without an answer in them than any server needs: `h2 flood` for all that is under way
  (`http2_floods.py`). Most of these frames never reach the library, which takes 10 µs for each.
- A time-out or a cancelled request ends its stream (RST_STREAM CANCEL) and not the connection. But if nothing
  arrived on the connection since that request was sent, it accepts no more requests.

A read that holds many frames is processed in parts, with the loop's other work in between (FRAMES_A_TURN).

Windows: each stream may send STREAM_WINDOW_BYTES ahead of its reader, and the connection has room for all of them. A
stream whose reader is slow gets no more window, so we buffer at most that much for it. Push is refused.

Not supported: priorities, CONNECT, upgrades from HTTP/1.1, and PINGs sent by us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from sys import maxsize
from time import perf_counter_ns
from typing import Any, Final, cast

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import DenialOfServiceError, H2Error, ProtocolError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, Frame, HeadersFrame

from loadgen.clients.protocol.connection_interface import Connection, Exchange, Lost, Sink, Unprocessed, peer_text
from loadgen.clients.protocol.hang_up import Look, look_at
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES, MAX_HEAD_BYTES
from loadgen.clients.protocol.http2_floods import (
    COSTLY,
    EARNING_BITS,
    FRAMES_A_TURN,
    IDLE_FRAMES,
    INTERIM_COST,
    LATE_HEAD_BITS,
    MAX_HEAD_FRAMES,
    MAX_SETTINGS,
    PADDING_COST,
    PER_PIECE,
    PER_REQUEST,
    FrameBudget,
    frame_name,
)
from loadgen.clients.protocol.http2_heads import TOO_MANY, Decoder, Encoder, Received, fields_of
from loadgen.clients.protocol.join_body_pieces import MANY_PIECES, join_tail
from loadgen.clients.protocol.outcomes import (
    GOAWAY,
    H2_FLOOD,
    HEAD_TOO_LARGE,
    PROTOCOL,
    RESET,
    TIMEOUT,
    TOO_LARGE,
    connect_failure,
    h2_outcome,
)
from loadgen.clients.protocol.request_body_encoding import StreamedRequest, Upload
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed

__all__ = ["ASSUMED_STREAMS", "STREAM_WINDOW_BYTES", "Http2Connection"]

STREAM_WINDOW_BYTES: Final = 4 * 1024 * 1024
"""The window of Go's client, and therefore of k6."""
_CONNECTION_WINDOW_BYTES: Final = 1 << 30
_MAX_FRAME_BYTES: Final = 64 * 1024
"""Size limit of received frames. The library accepts a head in up to 64 frames, so it buffers at most 4 MiB of one."""
ASSUMED_STREAMS: Final = 100
"""The assumed limit on concurrent streams, until the target's SETTINGS arrive, on this or an earlier connection."""
_allowed: dict[str, int] = {}
_MOST_TARGETS: Final = 1024
_MAX_ID: Final = 2**31 - 1
_BREATH_BYTES: Final = 256 * 1024
"""An upload lets the loop's other tasks run after this many bytes."""
_BACKLOG_BYTES: Final = 256 * 1024
"""Reading pauses when more bytes than this wait to be processed."""
_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS = range(5)
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = range(6, 10)
_MOST_KNOWN_SETTINGS: Final = 16
_OF_HEADS: Final = (1, 5, 9)
"""HEADERS, PUSH_PROMISE, CONTINUATION."""
_END_STREAM, _END_HEADERS, _ODD_FLAGS = 0x1, 0x4, 0x28
"""ODD_FLAGS: padding and priorities."""
_ACK, _PADDED = 0x1, 0x8
_OF_ANSWER: Final = (0, 1, 9)
"""DATA, HEADERS, CONTINUATION."""

_FOR_LIBRARY: Final = ((b":method", b"GET"),)
"""The headers that we pass to the library: our encoder ignores them and uses its own (`Encoder.coming`). The library
reads only the method, to decide whether the answer may have a body. We always pass GET, because for HEAD the library
would end the whole connection if the answer had a body; `_on_data` handles that case for its request alone."""


class _Goes(H2ConnectionStateMachine):
    """A connection state that continues after a GOAWAY. The library itself would accept none of the outstanding
    answers.
    """

    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        if (self.state is ConnectionState.CLIENT_OPEN and input_ in _STAYS) or input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)


_STAYS: Final = frozenset(
    {
        ConnectionInputs.SEND_HEADERS,
        ConnectionInputs.SEND_DATA,
        ConnectionInputs.RECV_HEADERS,
        ConnectionInputs.RECV_DATA,
    }
)
"""Inputs of normal requests, which leave an open connection open."""


class _OneFrame(FrameBuffer):
    """The library's frame buffer, fed with whole frames. It parses DATA and HEADERS itself, faster than the library."""

    def __init__(self) -> None:
        super().__init__(server=False)
        self._frame: bytes | None = None
        self.is_in_head = False
        """A head has begun and continues in CONTINUATION frames, which the library checks."""
        self.head_frames = 0
        """The number of frames of that head so far."""

    def add_data(self, data: Any) -> None:
        """Store one whole frame, given as bytes, for the library to read."""
        kind, flags = data[3], data[4]
        if kind <= 1 and not flags & _ODD_FLAGS and not self.is_in_head and (not kind or flags & _END_HEADERS):
            self._frame = data
            return
        if kind in _OF_HEADS:
            self.is_in_head = not flags & _END_HEADERS
            self.head_frames = self.head_frames + 1 if self.is_in_head else 0
        super().add_data(data)

    def __next__(self) -> Frame:
        data = self._frame
        if data is None:
            return super().__next__()
        self._frame = None
        stream, flags = int.from_bytes(data[5:9], "big") & _MAX_ID, data[4]
        if not stream:
            raise ProtocolError("an answer on stream 0")
        frame: DataFrame | HeadersFrame
        if data[3]:
            frame = HeadersFrame(stream)
            frame.data = data[9:]
            frame.flags.add("END_HEADERS")
        else:
            frame = DataFrame(stream)
            frame.data = data[9:]
        frame.body_len = len(data) - 9
        # The library formats each received frame as text for its log: 14 µs for a frame of 16 KiB.
        frame._body_repr = str  # type: ignore[method-assign]
        if flags & _END_STREAM:
            frame.flags.add("END_STREAM")
        return frame


class _Library(H2Connection):
    MAX_CLOSED_STREAMS = 8
    """The number of closed streams that the library remembers, to check late heads. Late frames of our streams never
    reach the library (`_passes_over`). Its default of 65,536 would take 11 MB a connection."""

    def __init__(self) -> None:
        super().__init__(_CONFIG)
        self.state_machine = _Goes()
        self.incoming_buffer: _OneFrame = _OneFrame()
        self.encoder: Encoder = Encoder()
        self.decoder: Decoder = Decoder(MAX_HEAD_BYTES)
        self.local_settings = Settings(client=True, initial_values=_SETTINGS_OF_OURS)
        del self.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]  # only servers send this setting
        self.max_inbound_frame_size = _MAX_FRAME_BYTES
        self.initiate_connection()
        # RFC 9113, section 6.9.2: a connection's window begins with 65,535 bytes, and SETTINGS do not change it.
        self.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - 65_535)

    def consume_window(self, size: int) -> None:
        """Subtract `size` bytes of DATA, which arrived for a stream that has ended, from the connection's flow control
        window.
        """
        self._inbound_flow_control_window_manager.window_consumed(size)

    def forget_unknown_settings(self) -> None:
        """Delete stored settings of the target with unknown numbers. The library would store all 65,536 of them, 45 MB
        a connection.
        """
        if len(self.remote_settings) > _MOST_KNOWN_SETTINGS:
            for code in tuple(self.remote_settings):
                if code not in _KNOWN_SETTINGS:
                    del self.remote_settings[code]


_KNOWN_SETTINGS: Final = frozenset(SettingCodes)
_CONFIG: Final = H2Configuration(
    client_side=True,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,  # `Received` validates them, once for each block
    normalize_inbound_headers=False,
)
_SETTINGS_OF_OURS: Final[dict[SettingCodes, int]] = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
    SettingCodes.MAX_FRAME_SIZE: _MAX_FRAME_BYTES,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
}


class _Stream:
    """One request and its answer. It is the `Source` from which a Sink reads."""

    __slots__ = (
        "chunks",
        "connection",
        "deadline_ns",
        "drained",
        "exchange",
        "have",
        "head",
        "head_bytes",
        "head_only",
        "id",
        "is_paused",
        "is_sent",
        "joined",
        "sink",
        "unacknowledged",
        "unsent",
        "waiter",
    )

    def __init__(
        self,
        connection: Http2Connection,
        exchange: Exchange,
        waiter: asyncio.Future[None],
        head_only: bool,
        deadline_ns: int,
    ) -> None:
        self.connection, self.exchange, self.waiter = connection, exchange, waiter
        self.head_only, self.deadline_ns = head_only, deadline_ns
        self.id = 0
        self.head: Head | None = None
        self.head_bytes = 0
        """Includes interim heads and trailers."""
        self.chunks: list[bytes] = []
        self.joined = 0
        """See `pieces.join_tail`."""
        self.have = 0
        self.sink: Sink | None = None
        self.is_paused = False
        self.unacknowledged = 0
        """Received bytes that were not yet returned to the stream's window."""
        self.is_sent = True
        self.unsent: memoryview | None = None
        """Body bytes that wait for a window. They are the end of the body, unless `drained` is set."""
        self.drained: asyncio.Future[None] | None = None

    def resume(self) -> None:
        self.is_paused = False
        self.connection._open_window(self)

    def abort(self) -> None:
        self.connection._cut(self)

    def allow_until(self, exchange: Exchange, deadline_ns: int) -> None:
        self.deadline_ns = deadline_ns
        connection = self.connection
        if deadline_ns < connection.deadline_ns and self.id in connection._streams:
            connection.deadline_ns = deadline_ns
            if deadline_ns < connection.check_ns:
                connection._wheel.watch(connection)


class Http2Connection(asyncio.Protocol):
    """HOT. A client-side HTTP/2 connection.

    A request with a cached head costs 38 µs without the loop and TLS, most of it in the library (clock time of 20,000
    GETs of 1 KiB, fed; least of 4). The whole: `python -m bench http2`.
    """

    __slots__ = (
        "_budget",
        "_closed_as",
        "_drained",
        "_freed",
        "_goaway",
        "_has_ended",
        "_heard_ns",
        "_is_behind",
        "_is_greeted",
        "_is_leaving",
        "_is_offered",
        "_is_reading_paused",
        "_library",
        "_limit_bytes",
        "_look",
        "_loop",
        "_lost",
        "_lost_to",
        "_max_streams",
        "_need",
        "_next_id",
        "_part",
        "_part_ns",
        "_scheme",
        "_streams",
        "_transport",
        "_unacknowledged",
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
        scheme: str,
        limit_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._loop, self._wheel, self._lost, self._limit_bytes = loop, wheel, lost, limit_bytes
        self._scheme = scheme.encode("ascii")
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
        self._transport: asyncio.Transport
        self._library = _Library()
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._max_streams = _allowed.get(where, ASSUMED_STREAMS)
        self._is_leaving = self._is_greeted = False
        self._is_offered = True
        """It is on its stack, or was just opened or taken by a caller that is about to send on it."""
        self._part = bytearray()
        """The beginning of a frame that is not complete."""
        self._part_ns = self._need = 0
        """When `_part` arrived, and the size that it needs before it can be read."""
        self._heard_ns = 0
        self._budget = FrameBudget(perf_counter_ns())
        self._is_behind = self._is_reading_paused = False
        """Whole frames wait in `_part` for the loop's next turn; and reading is paused, because there are too many."""
        self._has_ended = False
        """The target closed the connection while frames were waiting."""
        self._lost_to: Exception | None = None
        self._unacknowledged = 0
        self._drained: asyncio.Future[None] | None = None
        self._look: Look | None = None
        self._goaway = ""
        """The target's GOAWAY as a text, if it reported an error."""
        self._closed_as: tuple[str, str] = (RESET, f"{where} closed the connection")

    def is_hung_up(self) -> bool:
        look = self._look
        if look is None:
            look = self._look = look_at(self._transport)
        return bool(look(0))

    @property
    def remote(self) -> str:
        return peer_text(self._transport)

    @property
    def is_free(self) -> bool:
        return not self._streams

    # -- what the client calls --------------------------------------------------------------

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> asyncio.Future[None]:
        """HOT. Send a request and wait for its answer, as `send` does, for a request without a streamed body whose
        method is not HEAD.
        """
        return self._begin(data, exchange, False, deadline_ns, True).waiter

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Send a request and wait for its answer, as described at `connection.Connection.send`. The caller's own task
        sends the body of a StreamedRequest.
        """
        if type(data) is not bytes:
            return self._send_streamed(cast("StreamedRequest", data), exchange, head_only, deadline_ns)
        return self._begin(data, exchange, head_only, deadline_ns, True).waiter

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        stream = self._begin(data, sink, head_only, deadline_ns, True)
        if not stream.waiter.done():
            stream.sink, sink.source = sink, stream
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
        self._flush()
        self.deadline_ns = min((stream.deadline_ns for stream in self._streams.values()), default=0)
        if 0 < self.deadline_ns < NEVER_NS:
            self._wheel.watch(self)

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
        is_bare = end == len(data)
        library = self._library
        # The library passes its headers to our encoder at once, within send_headers. `coming` is the way around it,
        # so it must be set right before and be None after an error.
        library.encoder.coming = fields_of(data if is_bare else data[:end], self._scheme)
        self._budget.earned += PER_REQUEST
        number = stream.id = self._next_id
        # RFC 9113, section 5.1.1: streams of a client have odd numbers.
        self._next_id = number + 2
        try:
            library.send_headers(number, _FOR_LIBRARY, is_bare and is_whole)
        except H2Error as error:
            library.encoder.coming = None
            self._fail(stream, PROTOCOL, f"{self.where}: {error}")
            return stream
        streams[number] = stream
        if not is_bare or not is_whole:
            stream.is_sent = False
            if not is_bare:
                stream.unsent = memoryview(data)[end:]
                self._pump(stream)
        if deadline_ns < self.deadline_ns or not self.deadline_ns:
            self.deadline_ns = deadline_ns
            if deadline_ns < self.check_ns:
                self._wheel.watch(self)
        exchange.sent_ns = perf_counter_ns()
        self._transport.write(library.data_to_send())
        if len(streams) < self._max_streams:
            self._offer()
        return stream

    def _refuse(self, stream: _Stream) -> None:
        """Fail a request that cannot be sent, because the connection became full or closed after the caller had chosen
        it.
        """
        if self.is_closed and not self._is_leaving:
            self._fail(stream, *self._closed_as)
            return
        why = self._goaway or f"{self.where} accepts no more requests on this connection"
        self._fail_with(stream, Unprocessed(GOAWAY, why))
        if not self.is_closed and not self._is_leaving:
            self._make_room()

    # -- bodies and answers that are streams ------------------------------------------------

    async def _send_streamed(
        self, request: StreamedRequest, exchange: Exchange, head_only: bool, deadline_ns: int
    ) -> None:
        upload = request.upload
        stream = self._begin(bytes(request), exchange, head_only, deadline_ns, upload is None)
        waiter = stream.waiter
        if not waiter.done():
            if request.wants_stream:
                sink = stream.sink = cast("Sink", exchange)
                sink.source = stream
            if upload is not None:
                try:
                    await self._push(upload, stream)
                except BaseException:
                    if waiter.done() and not waiter.cancelled():
                        waiter.exception()  # retrieve it, or asyncio logs "exception was never retrieved"
                    raise
        await waiter

    async def _push(self, upload: Upload, stream: _Stream) -> None:
        """Send the streamed body of a request until it ends, or until an answer or a failure arrives, even while the
        body's own code is waiting.
        """
        waiter, loop = stream.waiter, self._loop
        answered = asyncio.timeout(None)

        def stop(_: object) -> None:
            with suppress(RuntimeError):  # the time-out context has just ended
                answered.reschedule(loop.time())

        waiter.add_done_callback(stop)
        unseen = 0
        try:
            async with answered, aclosing(upload.pieces()) as pieces:
                async for piece in pieces:
                    if waiter.done():
                        return
                    stream.unsent = memoryview(piece)
                    # Set before `_pump`: `drained` also shows that the piece is not the end of the body.
                    stream.drained = loop.create_future()
                    self._budget.earned += PER_PIECE
                    self._pump(stream)
                    self._flush()
                    unseen += len(piece)
                    if stream.unsent is not None:
                        await stream.drained
                        unseen = 0
                    if self._drained is not None:
                        await self._drained
                        unseen = 0
                    elif unseen > _BREATH_BYTES:
                        await asyncio.sleep(0)
                        unseen = 0
                if stream.id in self._streams:
                    stream.is_sent = True
                    with suppress(ProtocolError):
                        self._library.end_stream(stream.id)
                    self._flush()
        except TimeoutError:
            if not answered.expired():
                raise
        except RequestFailed as failure:  # the body comes from another request, which failed
            if not waiter.done():
                self._drop(stream, failure.outcome, f"while its body was sent: {failure.detail}")
        finally:
            waiter.remove_done_callback(stop)

    def _pump(self, stream: _Stream) -> None:
        """Give the library as much of a stream's unsent body as flow control permits. The bytes are not written to the
        socket yet.
        """
        unsent, library, number = stream.unsent, self._library, stream.id
        assert unsent is not None
        while unsent:
            room = min(library.local_flow_control_window(number), library.max_outbound_frame_size)
            if room <= 0:  # a change of the settings can make a window negative
                stream.unsent = unsent
                return
            piece, unsent = unsent[:room], unsent[room:]
            is_last = not unsent and stream.drained is None
            library.send_data(number, piece, is_last)
            self._budget.earned += len(piece) >> EARNING_BITS
            if is_last:
                stream.is_sent = True
        stream.unsent = None
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)

    def _pump_all(self) -> None:
        for stream in self._streams.values():
            if stream.unsent is not None:
                self._pump(stream)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # -- what the loop calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's class
        self._transport.write(self._library.data_to_send())

    def data_received(self, data: bytes) -> None:
        """HOT. Receive bytes from the target, and pass them to `_read` as soon as they contain the first 9 bytes of a
        frame.
        """
        now_ns = self._heard_ns = perf_counter_ns()
        begun_ns = now_ns
        if self._part:
            self._part += data
            if len(self._part) < self._need:
                if self._is_behind and len(self._part) > _BACKLOG_BYTES and not self._is_reading_paused:
                    self._is_reading_paused = True
                    self._transport.pause_reading()
                return
            data, begun_ns = bytes(self._part), self._part_ns
            self._part.clear()
        self._read(data, begun_ns, now_ns)

    def _read(self, data: bytes, begun_ns: int, now_ns: int) -> None:
        """HOT. Process received bytes frame by frame, so that each frame is counted for its stream, and an invalid
        frame does not affect those before it.

        begun_ns, now_ns: when the first and the last of the bytes arrived.
        """
        library, streams = self._library, self._streams
        at, size = 0, len(data)
        for _ in range(FRAMES_A_TURN):
            if size - at < 9:
                break
            length = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
            kind = data[at + 3]
            # RFC 9113, section 3.4: the first frame of a server is SETTINGS. A server that answers in HTTP/1 fails
            # here too, and `_not_http2` reports that.
            if length > _MAX_FRAME_BYTES or not (self._is_greeted or kind == _SETTINGS):
                self._not_http2(data[at : at + 80])
                return
            self._is_greeted = True
            end = at + 9 + length
            if end > size:
                self._need = end - at
                break
            # RFC 9113, section 4.1: the highest bit is reserved, and a receiver must ignore it.
            number = int.from_bytes(data[at + 5 : at + 9], "big") & _MAX_ID
            stream = streams.get(number)
            if (kind > 1 or not length or stream is None) and self._passes_over(kind, number, stream, data[at:end]):
                if self.is_closed:
                    return
                at, begun_ns = end, now_ns
                continue
            if stream is not None and kind in _OF_ANSWER:
                stream.exchange.size_bytes += 9 + length
                if kind:
                    if not stream.exchange.first_byte_ns:
                        # Never before the request was sent, even if the target sent the beginning of this frame
                        # earlier.
                        stream.exchange.first_byte_ns = max(begun_ns, stream.exchange.sent_ns)
                    stream.head_bytes += length
                    # The whole connection ends: a head that is not decoded leaves the compression table out of step
                    # for all later heads (RFC 9113, section 4.3).
                    if stream.head_bytes > MAX_HEAD_BYTES:
                        self._end_all(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_HEAD_BYTES} bytes of headers")
                        return
            try:
                events = library.receive_data(data[at:end])
            except DenialOfServiceError:
                self._end_all(
                    HEAD_TOO_LARGE, f"{self.where} sent a head that decodes to more than {MAX_HEAD_BYTES} bytes"
                )
                return
            except ProtocolError as error:
                self._broken(str(error))
                return
            for event in events:
                self._on(event, now_ns)
            if self.is_closed:
                return
            at, begun_ns = end, now_ns
        else:
            # The loop ended without a break: FRAMES_A_TURN frames were processed, and some may be left.
            self._fall_behind(size - at)
        if at < size:
            self._part += data[at:] if at else data
            self._part_ns = begun_ns
            if size - at < 9:
                self._need = 9
        if (out := library.data_to_send()) and not self._has_ended:
            self._transport.write(out)

    def _fall_behind(self, left_bytes: int) -> None:
        """Schedule the processing of the remaining `left_bytes` for the next iteration of the event loop, if they
        contain the head of a frame.
        """
        if left_bytes >= 9:
            self._is_behind, self._need = True, maxsize
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Process the frames that `_fall_behind` left over. Their time of arrival is that of the last read, so no frame
        counts as earlier than it arrived.
        """
        if self.is_closed:
            return
        self._is_behind = False
        data, self._need = bytes(self._part), 0
        self._part.clear()
        self._read(data, self._part_ns, self._heard_ns)
        if self._is_behind or self.is_closed:
            return
        if self._has_ended:
            self.connection_lost(self._lost_to)
        elif self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    # -- frames without an answer in them ---------------------------------------------------

    def _passes_over(self, kind: int, number: int, stream: _Stream | None, frame: bytes) -> bool:
        """Check a frame against the limits on floods, and return True if the library need not process it. It is also
        True if the connection has ended because of the frame.

        number: the stream's number. stream: None if no such stream is open.
        """
        length, flags = len(frame) - 9, frame[4]
        buffer = self._library.incoming_buffer
        if buffer.is_in_head:
            if kind == _CONTINUATION and buffer.head_frames >= MAX_HEAD_FRAMES:
                return self._flood(f"a head of more than {MAX_HEAD_FRAMES} frames")
            return not self._pays(1, kind)
        # An odd number below the next one was ours, so its stream has ended. Frames of such streams are legal for a
        # while after a reset (RFC 9113, section 5.1).
        is_late = stream is None and number & 1 == 1 and number < self._next_id
        if kind == _DATA:
            if is_late and not flags & _PADDED:
                return self._takes_late_data(length)
            if stream is None or flags & (_END_STREAM | _PADDED):
                return False
            # An empty DATA frame. Before a head it is an error, which the library reports.
            if self._pays(1, kind) and stream.head is None:
                return False
            stream.exchange.size_bytes += 9
            return True
        if kind == _HEADERS:
            return is_late and self._takes_late_head(flags, frame)
        if kind == _SETTINGS:
            if length > MAX_SETTINGS * 6:
                return self._flood(f"a SETTINGS frame with more than {MAX_SETTINGS} settings")
            return not self._pays(1 if flags & _ACK else COSTLY, kind)
        if kind == _RST_STREAM and stream is not None:
            # It costs nothing: it ends a request, so a target cannot send more of these than we send requests.
            return False
        is_paid = self._pays(COSTLY if kind == _GOAWAY else 1 + (length >> 10), kind)
        if kind in (_RST_STREAM, _WINDOW_UPDATE):
            # Other lengths are errors of the connection (RFC 9113, sections 6.4 and 6.9), which the library reports.
            return not is_paid or (is_late and length == 4)
        # RFC 9113, section 4.1: frames of unknown kinds must be ignored. PRIORITY is deprecated and means nothing for
        # us (section 5.3).
        return not is_paid or kind > _CONTINUATION or (kind == _PRIORITY and length == 5 and number > 0)

    def _takes_late_data(self, length: int) -> bool:
        """Process DATA for a stream that has ended: only subtract its length from the connection's window. Always
        returns True, because the frame is then handled.
        """
        if not self._pays_late(1):
            return True
        if length:
            # RFC 9113, section 6.9: these bytes count for the connection's window, although nobody reads them.
            # Without this, each cancelled request would shrink the window for good.
            self._library.consume_window(length)
            self._unacknowledged += length
            if self._unacknowledged > _CONNECTION_WINDOW_BYTES // 4:
                self._give_back()
        return True

    def _takes_late_head(self, flags: int, frame: bytes) -> bool:
        """Decode the headers of a stream that has ended, only to update the header compression table. Return False if
        they are in several frames, so that the library must process them.
        """
        if not self._pays_late(1 + (len(frame) >> LATE_HEAD_BITS)):
            return True
        if flags & (_END_HEADERS | _ODD_FLAGS) != _END_HEADERS:
            return False
        if why := self._library.decoder.pass_over(frame[9:]):
            self._broken(why)
        return True

    def _pays(self, cost: int, kind: int) -> bool:
        """Charge `cost` for a frame that may be part of a flood to the connection's budget. If the budget is exceeded,
        end the connection and return False.
        """
        if self._budget.spend(cost, self._heard_ns, is_read=self._drained is None):
            return True
        self._flood(f"more than {IDLE_FRAMES:,} frames without an answer in them, the last a {frame_name(kind)}")
        return False

    def _pays_late(self, cost: int) -> bool:
        """Charge `cost` for a frame of a stream that has ended to the connection's budget. If the budget is exceeded,
        end the connection and return False.
        """
        if self._budget.spend_late(cost, self._heard_ns, is_read=self._drained is None):
            return True
        self._flood("too many frames for requests that have ended")
        return False

    def _flood(self, what: str) -> bool:
        with suppress(H2Error):
            # The GOAWAY is a courtesy: the connection ends, whatever state the library is in.
            self._library.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        self._end_all(H2_FLOOD, f"{self.where} sent {what}")
        return True

    # -- the end of the connection ----------------------------------------------------------

    def eof_received(self) -> None:
        """Handle that the target has closed its side of the connection. The transport then closes our side."""
        if self._is_behind:
            self._end_later()
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_behind:
            self._lost_to = exc
            self._end_later()
            return
        # A GOAWAY explains the end of the connection better than the reset that follows it (`_end`).
        if isinstance(exc, OSError) and not self._goaway:
            failure = connect_failure(exc, self.where)
            self._fail_all(failure.outcome, failure.detail)
        self._end()

    def _end_later(self) -> None:
        """End the connection after all frames that have arrived are processed. Until then send nothing."""
        self._has_ended = self._is_leaving = True
        self._withdraw()

    def _end(self) -> None:
        if self._goaway:
            self._fail_all(GOAWAY, self._goaway)
        for stream in tuple(self._streams.values()):
            size = stream.exchange.size_bytes
            if size:
                self._fail(stream, PROTOCOL, f"{self.where} closed the connection after {size} bytes of the answer")
            else:
                self._fail(stream, RESET, f"{self.where} closed the connection without an answer")
        self._close()

    # -- events of the library --------------------------------------------------------------

    def _on(self, event: Event, now_ns: int) -> None:
        """HOT. Handle one event of the h2 library, such as received headers or the end of a stream."""
        kind = type(event)
        if kind is DataReceived:
            self._on_data(cast("DataReceived", event), now_ns)
        elif kind is StreamEnded:
            stream = self._streams.get(cast("StreamEnded", event).stream_id)
            if stream is not None:
                self._finish(stream, now_ns)
        elif kind is ResponseReceived:
            response = cast("ResponseReceived", event)
            stream = self._streams.get(response.stream_id)
            if stream is not None:
                self._on_head(stream, cast("Received", response.headers[0]))
        elif kind is WindowUpdated:
            self._on_window(cast("WindowUpdated", event))
        elif kind is RemoteSettingsChanged:
            self._on_settings()
        elif kind is StreamReset:
            self._on_reset(cast("StreamReset", event))
        elif kind is ConnectionTerminated:
            self._on_goaway(cast("ConnectionTerminated", event))
        elif kind is TrailersReceived or kind is InformationalResponseReceived:
            self._on_other_head(cast("TrailersReceived", event), kind is TrailersReceived)

    def _on_head(self, stream: _Stream, received: Received) -> None:
        head = received.head
        if head is None:
            self._malformed(stream, received.wrong or "missing status")
            return
        stream.head = head
        sink = stream.sink
        if sink is not None:
            if not stream.waiter.done():
                sink.took_head(head)
                stream.waiter.set_result(None)
        elif head.length is not None and head.length > self._limit_bytes and not stream.head_only:
            self._drop(
                stream,
                TOO_LARGE,
                f"{self.where} sent a body of more than {self._limit_bytes} bytes; raise Http(max_body=...)",
            )

    def _on_other_head(self, event: TrailersReceived, is_trailers: bool) -> None:
        """Check the headers of an interim answer (1xx) or of trailers. They are not used; if they are malformed, the
        request fails.
        """
        stream = self._streams.get(event.stream_id)
        received = cast("Received", event.headers[0])
        if stream is not None and (received.wrong or (is_trailers and received.head is not None)):
            self._malformed(stream, received.wrong or "a status in trailers")
        elif not is_trailers:
            self._pays(INTERIM_COST + (len(received.head.raw) if received.head else 0), _HEADERS)

    def _on_data(self, event: DataReceived, now_ns: int) -> None:
        # The length of the payload with its padding, because padding counts for both windows (RFC 9113, section 6.1).
        size = event.flow_controlled_length
        self._unacknowledged += size
        if self._unacknowledged > _CONNECTION_WINDOW_BYTES // 4:
            self._give_back()
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        data = event.data
        if data:
            self._budget.earned += 1
        elif size and event.stream_ended is None and not self._pays(PADDING_COST, _DATA):
            return
        stream.have += len(data)
        head = stream.head
        length = None if head is None else head.length
        if data and (stream.head_only or (length is not None and stream.have > length)):
            self._malformed(stream, "the body is longer than its content-length")
            return
        stream.unacknowledged += size
        sink = stream.sink
        if sink is not None:
            if data and sink.took(data, now_ns):
                stream.is_paused = True
        elif stream.have > self._limit_bytes:
            self._drop(
                stream,
                TOO_LARGE,
                f"{self.where} sent a body of more than {self._limit_bytes} bytes; raise Http(max_body=...)",
            )
            return
        else:
            chunks = stream.chunks
            chunks.append(data)
            if len(chunks) - stream.joined > MANY_PIECES:
                stream.joined = join_tail(chunks, stream.joined)
        # A stream that ends with this frame needs no window.
        if stream.unacknowledged >= STREAM_WINDOW_BYTES // 2 and event.stream_ended is None:
            self._open_window(stream)

    def _give_back(self) -> None:
        """Permit the target to send as many more bytes on this connection as were received (a WINDOW_UPDATE)."""
        self._library.increment_flow_control_window(self._unacknowledged)
        self._unacknowledged = 0

    def _open_window(self, stream: _Stream) -> None:
        """Permit the target to send as many more bytes on this stream as were received. Do nothing if the stream is
        paused or has ended, or while half of its window is free.
        """
        if stream.is_paused or stream.unacknowledged < STREAM_WINDOW_BYTES // 2 or stream.id not in self._streams:
            return
        with suppress(ProtocolError):
            self._library.increment_flow_control_window(stream.unacknowledged, stream.id)
        stream.unacknowledged = 0
        self._flush()

    def _on_window(self, event: WindowUpdated) -> None:
        if not event.stream_id:
            self._pump_all()
            return
        stream = self._streams.get(event.stream_id)
        if stream is not None and stream.unsent is not None:
            self._pump(stream)

    def _on_settings(self) -> None:
        self._library.forget_unknown_settings()
        self._max_streams = self._library.remote_settings.max_concurrent_streams
        if len(_allowed) >= _MOST_TARGETS:
            _allowed.clear()
        # RFC 9113, section 6.5.2: a limit of 0 should be temporary. With 0 here, a new connection would refuse every
        # request until its own SETTINGS arrive.
        _allowed[self.where] = max(1, self._max_streams)
        self._make_room()
        self._pump_all()

    def _on_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        outcome = h2_outcome(int(event.error_code))
        detail = f"{self.where} reset the stream"
        # The library resets a stream by itself if a WINDOW_UPDATE raises its window above 2^31 - 1 (RFC 9113, section
        # 6.9.1).
        if not event.remote_reset:
            self._fail(stream, PROTOCOL, f"{self.where} opened a flow-control window beyond the limit")
        elif event.error_code == ErrorCodes.REFUSED_STREAM:
            self._fail_with(stream, Unprocessed(outcome, detail))
        else:
            self._fail(stream, outcome, detail)
        self._make_room()

    def _on_goaway(self, event: ConnectionTerminated) -> None:
        if event.error_code != ErrorCodes.NO_ERROR:
            text = (event.additional_data or b"").decode("latin-1")[:200]
            self._goaway = f"{self.where} sent GOAWAY: {h2_outcome(int(event.error_code or 0))[3:]} {text}".rstrip()
        last = event.last_stream_id or 0
        for stream in tuple(self._streams.values()):
            if stream.id > last:
                self._fail_with(stream, Unprocessed(GOAWAY, self._goaway or f"{self.where} sent GOAWAY"))
        self.retire()

    # -- ends of one stream -----------------------------------------------------------------

    def _finish(self, stream: _Stream, now_ns: int) -> None:
        """HOT. End a request, because its whole answer has arrived; after its deadline, fail it with a time-out."""
        head = stream.head
        if now_ns > stream.deadline_ns:  # late, but the wheel has not checked it yet
            self._time_out(stream)
            return
        if head is None or (head.length is not None and stream.have != head.length and not stream.head_only):
            self._malformed(stream, f"the answer ends after {stream.have} bytes of its body")
            return
        del self._streams[stream.id]
        if not stream.is_sent:  # the target has answered and needs no more of the request
            self._reset(stream, ErrorCodes.CANCEL)
        self.requests += 1
        # On the hot path the connection is usually offered already. Without streams `_make_room` is needed
        # nevertheless: it closes a leaving connection, and a shared pool waits for `_freed`.
        if not self._is_offered or not self._streams:
            self._make_room()
        sink = stream.sink
        if sink is not None:
            sink.done_ns = now_ns
            sink.ended()
            return
        exchange, waiter = stream.exchange, stream.waiter
        chunks = stream.chunks
        exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        exchange.head, exchange.done_ns = head, now_ns
        if not waiter.done():  # otherwise it was cancelled, and its task has not run yet
            waiter.set_result(None)

    def _malformed(self, stream: _Stream, why: str) -> None:
        if why is TOO_MANY:
            self._end_all(HEAD_TOO_LARGE, f"{self.where} sent {why}")  # each such head takes 50 ms
            return
        self._drop(stream, PROTOCOL, f"{self.where} sent an invalid HTTP/2 answer: {why}", ErrorCodes.PROTOCOL_ERROR)

    def _time_out(self, stream: _Stream) -> None:
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

    def _drop(
        self,
        stream: _Stream,
        outcome: str,
        detail: str,
        code: ErrorCodes = ErrorCodes.CANCEL,
        at_ns: int | None = None,
    ) -> None:
        """Fail a request because of our own decision, and reset its stream with the error code `code`."""
        self._fail(stream, outcome, detail, at_ns)
        self._reset(stream, code)
        self._flush()
        self._make_room()

    def _cut(self, stream: _Stream) -> None:
        """Cancel a request whose caller no longer waits, and reset its stream."""
        if self._streams.pop(stream.id, None) is None:
            return
        self._reset(stream, ErrorCodes.CANCEL)
        self._flush()
        self._make_room()
        self._notify_cut(stream)

    @staticmethod
    def _notify_cut(stream: _Stream) -> None:
        if not stream.waiter.done():
            stream.waiter.cancel()
        elif stream.sink is not None:
            stream.sink.cut()

    def _reset(self, stream: _Stream, code: ErrorCodes) -> None:
        self._budget.expect_late()
        with suppress(ProtocolError):  # it has ended on both sides
            self._library.reset_stream(stream.id, code)

    def _fail(self, stream: _Stream, outcome: str, detail: str, at_ns: int | None = None) -> None:
        self._fail_with(stream, RequestFailed(outcome, detail), at_ns)

    def _fail_with(self, stream: _Stream, failure: RequestFailed, at_ns: int | None = None) -> None:
        self._streams.pop(stream.id, None)
        stream.exchange.done_ns = perf_counter_ns() if at_ns is None else at_ns
        if not stream.waiter.done():
            stream.waiter.set_exception(failure)
        elif stream.sink is not None:
            stream.sink.broke(failure)

    # -- room, and the end of all -----------------------------------------------------------

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
            # RFC 9113, section 5.1.1: numbers of streams are never used again, so a connection that has used all of
            # them must be replaced.
            if self._is_leaving or self._next_id > _MAX_ID:
                self._close()
                return
        if self._is_leaving or self._next_id > _MAX_ID or len(self._streams) >= self._max_streams:
            self._withdraw()
        elif not self._is_offered:
            self._offer()
        elif self._freed is not None and not self._streams:
            self._freed(self)

    def _flush(self) -> None:
        if not self.is_closed and (out := self._library.data_to_send()) and not self._has_ended:
            self._transport.write(out)

    def _not_http2(self, data: bytes) -> None:
        why = "it answers in HTTP/1" if data.startswith(b"HTTP/1") else f"{data[:40]!r}"
        self._broken(why)

    def _broken(self, why: str) -> None:
        """End the connection and fail its requests, because the bytes received are not valid HTTP/2. The library has
        already written a GOAWAY frame.
        """
        self._end_all(PROTOCOL, f"{self.where} does not speak HTTP/2: {why}")

    def _end_all(self, outcome: str, detail: str) -> None:
        """Close the connection and fail all its requests with `outcome`, because of something that the target sent."""
        self._flush()
        # A caller may have taken the idle connection and not have sent yet: `_refuse` then fails its request with
        # this reason.
        if not self._streams:
            self._closed_as = (outcome, detail)
        self._fail_all(outcome, detail)
        self._close()

    def _fail_all(self, outcome: str, detail: str) -> None:
        for stream in tuple(self._streams.values()):
            self._fail(stream, outcome, detail)

    def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.deadline_ns = 0
        self._wheel.forget(self)
        self.resume_writing()  # wakes a writer, which then sees that the connection is closed
        self._is_offered = False
        self._lost(self)
        self._transport.abort()
