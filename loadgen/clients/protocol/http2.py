"""One HTTP/2 connection, client side: many concurrent requests.

It has the interface of an HTTP/1.1 connection (`connection_interface.py`) and gets the same bytes. It stays on its
stack as long as it has room for another stream, so a user's concurrent requests share one connection.

Frames are read and built in `framing/http2_frames.py`, the rules about them are in `framing/http2_state.py`, heads are
translated and cached in `http2_heads.py`. How requests end, and when there is room for more, is in `many_streams.py`,
for HTTP/3 as well. This module does the I/O, and decides:
- when to open a window;
- the outcome of requests when their stream or the connection ends, as follows.

- RST_STREAM by the target: `h2 refused_stream`, `h2 internal_error` ..., named by the error code. The target did not
  look at a refused request, so it is sent once more (`Unprocessed`).
- GOAWAY: no new requests on this connection. Requests up to its last stream continue. The target did not look at later
  ones; they are sent once more.
- Bytes that are not HTTP/2: `protocol` for all requests under way. A malformed answer: `protocol` for its request.
- More frames without an answer in them than any server needs: `h2 flood` for all that is under way
  (`http2_floods.py`).
- A time-out or a cancelled request ends its stream (RST_STREAM CANCEL) and not the connection. But if nothing
  arrived on the connection since that request was sent, it accepts no more requests.

A read that holds many frames is processed in parts, with the loop's other work in between (FRAMES_A_TURN). Frames
before a broken one count.

Windows: each stream may send STREAM_WINDOW_BYTES ahead of its reader, and the connection has room for all of them. A
stream whose reader is slow gets no more window, so we buffer at most that much for it. Push is refused.

Not supported: priorities, CONNECT, upgrades from HTTP/1.1, and PINGs sent by us.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import perf_counter_ns
from typing import Final, cast

from loadgen.clients.framing.http2_floods import (
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
    cost_of,
)
from loadgen.clients.framing.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME_BYTES,
    MAX_ID,
    PADDED,
    PING,
    PRIORITIES,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    FrameError,
    FrameReader,
    before_number,
    block_part,
    frame,
    frame_name,
    goaway,
    goaway_of,
    head_frames,
    number_of,
    pack_number,
    unpack_frame_head,
    unpack_number,
    unpack_words,
    unpadded,
    window_update,
)
from loadgen.clients.framing.http2_state import (
    HeadParts,
    Peer,
    Rule,
    check_length,
    greeting,
    place_of,
    raised,
    rule_of,
    why_wrong,
)
from loadgen.clients.protocol.connection_interface import Connection, Exchange, Lost, Sink, Unprocessed
from loadgen.clients.protocol.hang_up import HangUps, watched
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES, MAX_HEAD_BYTES
from loadgen.clients.protocol.http2_heads import (
    INVALID_BLOCK,
    NOT_REPEATED,
    TOO_MANY,
    Decoder,
    Encoder,
    Expected,
    OversizedHeaderListError,
    Received,
    Repeated,
    known_wholes,
)
from loadgen.clients.protocol.join_body_pieces import MANY_PIECES, join_tail
from loadgen.clients.protocol.many_streams import ManyStreams, Stream
from loadgen.clients.protocol.outcomes import GOAWAY as GOAWAY_OUTCOME
from loadgen.clients.protocol.outcomes import (
    H2_FLOOD,
    HEAD_TOO_LARGE,
    PROTOCOL,
    RESET,
    connect_failure,
    h2_outcome,
)
from loadgen.clients.protocol.request_body_encoding import OpenBody, Upload
from loadgen.clients.protocol.timeouts import TimeoutWheel
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from loadgen.errors import RequestFailed

__all__ = ["ASSUMED_STREAMS", "STREAM_WINDOW_BYTES", "Http2Connection"]

STREAM_WINDOW_BYTES: Final = 4 * 1024 * 1024
"""The window of Go's client, and therefore of k6."""
_CONNECTION_WINDOW_BYTES: Final = 1 << 30
ASSUMED_STREAMS: Final = 100
"""The assumed limit on concurrent streams, until the target's SETTINGS arrive, on this or an earlier connection."""
_allowed: dict[str, int] = {}
_MOST_TARGETS: Final = 1024
_LF: Final = 0x0A
_BREATH_BYTES: Final = 256 * 1024
"""An upload lets the loop's other tasks run after this many bytes."""
_BACKLOG_BYTES: Final = 256 * 1024
"""Reading pauses when more bytes than this wait to be processed."""
_LATE, _PASS, _WRONG = Rule.LATE, Rule.PASS, Rule.WRONG
"""Python 3.11 takes ten times as long for a member of an Enum as for a name."""
_WHOLE_HEAD: Final = END_HEADERS | PADDED | PRIORITIES
"""If only END_HEADERS of these is set, the payload of HEADERS is a whole block."""
_HEAD_OF_ANSWER: Final = HEADERS << 8 | END_HEADERS
"""Kind and flags of a head in one frame, before a body."""
_RESET: Final = before_number(0, 4, RST_STREAM, 0), b""
"""A RST_STREAM frame before and after the number of its stream, without its error code."""
_TURN: Final = range(FRAMES_A_TURN // 4)
"""The most usual answers that `data_received` processes in a turn."""
_PIECES_A_TURN: Final = FRAMES_A_TURN * 4
"""`_read_pieces` takes about a quarter of the time for a frame."""


_NO_EXCHANGE: Final = cast("Exchange", None)
"""The exchange of a spare stream. Otherwise an idle connection would keep its last answer in memory."""
_NO_WAITER: Final = cast("asyncio.Future[None]", None)


class _Stream(Stream):
    """One request and its answer, with the windows of its stream."""

    __slots__ = (
        "head_bytes",
        "is_paused",
        "is_usual",
        "joins_frames",
        "number",
        "repeated",
        "unacknowledged",
        "unsent",
        "window",
    )

    connection: Http2Connection
    number: bytes
    """`id` as 4 bytes."""
    repeated: Repeated
    """The head of the request, if the connection has sent it before; else NOT_REPEATED."""
    is_usual: bool
    """The whole request was sent at once, no frame of its answer has arrived, and the answer has a body and no sink."""
    head_bytes: int
    """Includes interim heads and trailers."""
    joins_frames: bool
    """The sink needs no piece for each frame: the frames of a read may be joined."""
    is_paused: bool
    unacknowledged: int
    """Received bytes that were not yet returned to the stream's window."""
    window: int
    """The number of body bytes that the target accepts; negative after some changes of its SETTINGS."""
    unsent: memoryview | None
    """Body bytes that wait for a window: the end of the body, unless `drained` is set."""

    def read_by(self, sink: Sink) -> None:
        super().read_by(sink)
        self.is_usual = False
        self.joins_frames = getattr(sink, "joins_frames", False)

    def resume(self) -> None:
        self.is_paused = False
        self.connection._open_window(self)

    async def write(self, data: bytes, *, is_end: bool = False) -> bool:
        return await self.connection.write_open(self, data, is_end=is_end)


class Http2Connection(ManyStreams[_Stream], asyncio.Protocol):
    """HOT. A client-side HTTP/2 connection. The whole cost: `python -m bench http2`."""

    __slots__ = (
        "_budget",
        "_closed_as",
        "_decoder",
        "_drained",
        "_encoder",
        "_goaway",
        "_hang_ups",
        "_has_ended",
        "_head",
        "_is_behind",
        "_is_between_frames",
        "_is_reading_paused",
        "_latest",
        "_lost_to",
        "_next_id",
        "_out",
        "_part_ns",
        "_peer",
        "_reader",
        "_spare",
        "_unacknowledged",
    )

    _transport: asyncio.Transport

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
        super().__init__(loop, wheel, stack, lost, where, limit_bytes, _allowed.get(where, ASSUMED_STREAMS))
        self._peer = Peer()
        self._reader = FrameReader()
        self._head = HeadParts()
        self._encoder, self._decoder = Encoder(scheme.encode("ascii")), Decoder(MAX_HEAD_BYTES)
        self._out: list[bytes] = []
        """Frames that are not written yet."""
        self._next_id = 1
        self._spare: _Stream | None = self._new_stream()
        """A stream whose request has ended, for the next one. Its fields are as in a new stream, except for those that
        `ask` and `_begin` set. This spares a call and 48 bytecode instructions for each request."""
        self._is_between_frames = False
        """The next byte that arrives begins a frame, and no head in several frames is under way."""
        self._latest = self._spare
        """The stream that was opened last, which may have ended."""
        self._part_ns = 0
        """When the first byte arrived that the reader still holds."""
        self._budget = FrameBudget(perf_counter_ns())
        self._is_behind = self._is_reading_paused = False
        """Whole frames wait in the reader for the loop's next turn; and reading is paused, as there are too many."""
        self._has_ended = False
        """The target closed the connection while frames were waiting."""
        self._lost_to: Exception | None = None
        self._unacknowledged = 0
        self._drained: asyncio.Future[None] | None = None
        self._hang_ups: HangUps | None = None
        """Not None from the first look at this connection on."""
        self._goaway = ""
        """The target's GOAWAY as a text, if it reported an error."""
        self._closed_as: tuple[str, str] = (RESET, f"{where} closed the connection")

    def is_hung_up(self) -> bool:
        hang_ups = self._hang_ups
        if hang_ups is None:
            hang_ups = self._hang_ups = watched(self._loop, self, self._transport)
        return hang_ups.has(self, self._heard_ns)

    # -- what the client calls --------------------------------------------------------------

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> asyncio.Future[None]:
        """HOT. Send a request and wait for its answer, as `send` does, for a request without a streamed body whose
        method is not HEAD.
        """
        # `_begin` does the same for any request; this takes half as long, for heads that were sent before. Without a
        # body that is one lookup. With one the head is cut off first, because the hash of a large body takes long.
        peer, size = self._peer, 0
        if data[-1] == _LF:
            repeated = self._encoder.repeated.get(data)
        else:
            at = data.find(b"\r\n\r\n") + 4
            repeated = self._encoder.repeated.get(data[:at])
            size = len(data) - at
            if size > peer.max_frame or size > peer.stream_window or size > peer.window:
                repeated = None
        streams, number = self._streams, self._next_id
        if (
            repeated is None
            or self.is_closed
            or self._is_leaving
            or len(streams) + 1 >= self._max_streams  # there must be room for one more after it
            or number == MAX_ID
        ):
            return self._begin(data, exchange, False, deadline_ns, True).waiter
        stream = self._spare
        if stream is None:
            stream = self._new_stream()
        else:
            self._spare = None
        stream.exchange, stream.deadline_ns = exchange, deadline_ns
        waiter = stream.waiter = self._loop.create_future()
        stream.window, stream.repeated = peer.stream_window, repeated
        stream.id, self._next_id = number, number + 2
        streams[number] = self._latest = stream
        cut = stream.number = pack_number(number)
        if size:
            peer.window -= size
            self._budget.earned += PER_REQUEST + (size >> EARNING_BITS)
            first, block = repeated.begin
            frames = cut.join((first, block + before_number(size >> 8, size & 0xFF, DATA, END_STREAM), data[at:]))
        else:
            self._budget.earned += PER_REQUEST
            frames = cut.join(repeated.frame)
        if deadline_ns < self.deadline_ns or not self.deadline_ns:  # `_watch_until`, inlined
            self.deadline_ns = deadline_ns
            if deadline_ns < self.check_ns:
                self._wheel.watch(self)
        exchange.sent_ns = perf_counter_ns()
        self._transport.write(frames)
        self._is_offered = True  # `_offer`, inlined: the caller has taken the connection from the stack
        self.stack.append(self)
        return waiter

    def _new_stream(self) -> _Stream:
        """Return a stream without the fields that `ask` and `_begin` set."""
        stream = _Stream(self, _NO_EXCHANGE, _NO_WAITER, False, 0)
        stream.head_bytes = stream.unacknowledged = 0
        stream.joins_frames = stream.is_paused = False
        stream.is_usual = True
        stream.unsent = None
        stream.repeated = NOT_REPEATED
        return stream

    def _begin(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int, is_whole: bool) -> _Stream:
        """HOT. Open a stream, write the request to it, and return the stream. is_whole: `data` contains the
        whole body.
        """
        self._is_offered = False  # the caller has taken it from the stack
        peer, streams = self._peer, self._streams
        stream = self._spare or self._new_stream()
        self._spare = None
        stream.exchange, stream.waiter, stream.deadline_ns = exchange, self._loop.create_future(), deadline_ns
        stream.head_only, stream.is_usual = head_only, not head_only
        stream.window, stream.repeated = peer.stream_window, NOT_REPEATED
        if self.is_closed or self._is_leaving or len(streams) >= self._max_streams:
            self._refuse(stream)
            return stream
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end]
        block = self._encoder.known.get(head)
        if block is None:
            block = self._encoder.encode(head)
        else:
            stream.repeated = self._encoder.again(head, block)
        self._budget.earned += PER_REQUEST
        number = stream.id = self._next_id
        stream.number = pack_number(number)
        # RFC 9113, section 5.1.1: streams of a client have odd numbers, which are never used again. A connection that
        # has used all of them must be replaced.
        self._next_id = number + 2
        if number == MAX_ID:
            self._is_leaving = True
        streams[number] = self._latest = stream
        has_body = not is_whole or end != len(data)
        frames = head_frames(number, block, not has_body, peer.max_frame)
        if has_body:
            frames += self._begin_body(stream, data, end, is_whole)
        self._watch_until(deadline_ns)
        exchange.sent_ns = perf_counter_ns()
        self._transport.write(frames)
        if len(streams) < self._max_streams:  # `_offer`, inlined
            self._is_offered = True
            self.stack.append(self)
        return stream

    def _begin_body(self, stream: _Stream, data: bytes, begin: int, is_whole: bool) -> bytes:
        """Return the frames of a request's body, as far as flow control permits. The rest waits for a window.

        begin: where the body begins in `data`. is_whole: `data` contains all of it.
        """
        peer, size = self._peer, len(data) - begin
        if is_whole and size <= peer.max_frame and size <= stream.window and size <= peer.window:
            peer.window -= size
            self._budget.earned += size >> EARNING_BITS
            return frame(DATA, END_STREAM, stream.id, data[begin:])
        stream.is_sent = stream.is_usual = False
        if not size:
            return b""
        stream.unsent = memoryview(data)[begin:]
        self._pump(stream)
        frames = b"".join(self._out)
        self._out.clear()
        return frames

    def _why_refused(self) -> RequestFailed:
        if self.is_closed and not self._is_leaving:
            return RequestFailed(*self._closed_as)
        why = self._goaway or f"{self.where} accepts no more requests on this connection"
        return Unprocessed(GOAWAY_OUTCOME, why)

    # -- streamed bodies --------------------------------------------------------------------

    async def _push(self, upload: Upload, stream: _Stream) -> None:
        if type(upload) is not OpenBody:  # the sink of the answer writes that one
            await super()._push(upload, stream)

    async def _write_pieces(self, upload: Upload, stream: _Stream) -> None:
        unseen = 0
        async with aclosing(upload.pieces()) as pieces:
            async for piece in pieces:
                if stream.waiter.done():
                    return
                unseen += len(piece)
                if await self._write_piece(stream, piece):
                    unseen = 0
                elif unseen > _BREATH_BYTES:
                    await asyncio.sleep(0)
                    unseen = 0
            self._end_body(stream)

    async def write_open(self, stream: _Stream, data: bytes, *, is_end: bool) -> bool:
        """Send the next piece of an open body, as soon as the windows permit. Return False if the stream has ended.

        is_end: nothing follows.
        """
        if stream.is_sent or stream.id not in self._streams:
            return False
        if data:
            await self._write_piece(stream, data)
        is_open = stream.id in self._streams
        if is_end:
            self._end_body(stream)
        return is_open

    async def _write_piece(self, stream: _Stream, piece: bytes) -> bool:
        """Send a piece of a body, and return when all of it is sent: True if that had to wait."""
        stream.unsent = memoryview(piece)
        # Set before `_pump`: `drained` also shows that the piece is not the end of the body.
        stream.drained = self._loop.create_future()
        self._budget.earned += PER_PIECE
        self._pump(stream)
        self._flush()
        has_waited = False
        if stream.unsent is not None:
            has_waited = True
            await stream.drained
        if self._drained is not None:
            has_waited = True
            await self._drained
        return has_waited

    def _end_body(self, stream: _Stream) -> None:
        if stream.id in self._streams:
            stream.is_sent = True
            self._out.append(frame(DATA, END_STREAM, stream.id))
            self._flush()

    def _pump(self, stream: _Stream) -> None:
        """Build DATA frames from as much of a stream's unsent body as flow control permits. They are not written to the
        socket yet.
        """
        unsent, peer = stream.unsent, self._peer
        assert unsent is not None
        while unsent:
            room = min(stream.window, peer.window, peer.max_frame)
            if room <= 0:  # a change of the settings can make a window negative
                stream.unsent = unsent
                return
            piece, unsent = unsent[:room], unsent[room:]
            size = len(piece)
            is_last = not unsent and stream.drained is None
            self._out.append(frame(DATA, END_STREAM if is_last else 0, stream.id, piece))
            stream.window -= size
            peer.window -= size
            self._budget.earned += size >> EARNING_BITS
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
        OPEN_CONNECTIONS.http += 1
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's class
        self._transport.write(greeting(STREAM_WINDOW_BYTES, _CONNECTION_WINDOW_BYTES, MAX_HEAD_BYTES))

    def data_received(self, data: bytes) -> None:
        """HOT. Receive bytes from the target, and process the frames that they complete."""
        now_ns = self._heard_ns = perf_counter_ns()
        if not self._is_between_frames:
            self._read_any(data, now_ns)
            return
        # Usual answers are processed here: one HEADERS frame with a block in a cache, and one DATA frame with the whole
        # body. `_read` would do the same, but takes four times as long, with a function for each step.
        streams = self._streams
        at, size = 0, len(data)
        for _ in _TURN:
            stream = self._latest
            if len(streams) != 1 or stream.id not in streams:  # otherwise it needs no search
                found = streams.get(unpack_number(data, at + 5)[0]) if size - at >= 13 else None
                if found is None:
                    break
                stream = found
            answer = stream.repeated.answer
            # Mostly the answer is the same as the last one to this head, but for the number of the stream. To compare
            # the bytes takes half of the steps of `_usual_answer`.
            if answer is None or not stream.is_usual or not data.startswith(stream.number.join(answer[0]), at):
                answer = self._usual_answer(stream, data, at)
                if answer is None:
                    break
            _, head, adds, length, begin = answer
            begin += at
            end = begin + length
            if end > size or length > self._limit_bytes or now_ns > stream.deadline_ns:
                break
            if adds:
                self._decoder.owed.append(adds)
            exchange, waiter = stream.exchange, stream.waiter
            exchange.size_bytes += end - at
            exchange.first_byte_ns = now_ns
            self._unacknowledged += length
            if self._unacknowledged > _CONNECTION_WINDOW_BYTES // 4:
                self._give_back()
                self._flush()
            self._budget.earned += 1
            # From here on as in `_finish`.
            del streams[stream.id]
            stream.exchange = _NO_EXCHANGE
            self._spare = stream
            self.requests += 1
            if streams:
                if not self._is_offered:
                    self._make_room()
            # Usually nothing is left of `_make_room`. The deadline stays: as an earlier one it only costs a look.
            elif self._is_leaving or self._freed is not None or not self._is_offered:
                self._make_room()
            exchange.body = data[begin:end]
            exchange.head, exchange.done_ns = head, now_ns
            try:  # noqa: SIM105  # `suppress` is a call, and so is `waiter.done()`
                waiter.set_result(None)
            except asyncio.InvalidStateError:  # it was cancelled, and its task has not run yet
                pass
            at = end
            if at == size or self.is_closed:
                return
            # nginx answers a POST without reading its body, and ends the stream with NO_ERROR after the answer.
            if size - at >= 13 and data.startswith(stream.number.join(_RESET), at):
                if not self._pays(1, RST_STREAM):
                    return
                at += 13
                if at == size:
                    return
        rest = data[at:]
        if len(rest) > 9 and rest[3] == DATA:
            rest = self._read_pieces(rest, now_ns)
        if not rest or self.is_closed:
            return
        self._is_between_frames = False
        self._read_any(rest, now_ns)

    def _read_any(self, data: bytes, now_ns: int) -> None:
        """Process the frames that are complete with these bytes, and keep the rest."""
        reader = self._reader
        begun_ns = self._part_ns = self._part_ns if reader.waiting else now_ns
        is_ready = reader.feed(data)
        if self._is_behind:
            if reader.waiting > _BACKLOG_BYTES and not self._is_reading_paused:
                self._is_reading_paused = True
                self._transport.pause_reading()
        elif is_ready:
            self._read(begun_ns, now_ns)

    def _usual_answer(self, stream: _Stream, data: bytes, at: int) -> Expected | None:
        """HOT if answers to a head differ. Return the meaning of the usual answer of `stream` at offset `at`; its body
        may not be complete. Return None if another frame is there.
        """
        size = len(data)
        if size - at < 13 or not stream.is_usual:
            return None
        high, low, kind_and_flags, number = unpack_words(data, at)
        middle = at + 9 + low
        if (
            kind_and_flags != _HEAD_OF_ANSWER
            or high
            or number != stream.id
            or middle + 9 > size
            or unpack_number(data, middle + 5)[0] != number
        ):
            return None
        key = data[at + 9 : middle + 5]
        answer = known_wholes.get(key)
        if answer is None:
            return self._decoder.learn_whole(key)
        if stream.repeated is not NOT_REPEATED:
            stream.repeated.answer = answer
        return answer

    def _read_pieces(self, data: bytes, now_ns: int) -> bytes:
        """HOT. Process the DATA frames at the beginning of a read that belong to one streamed answer, and return the
        bytes after them. The sink gets their payloads as one piece.

        `_read` would do the same, frame by frame: for messages of 10 bytes that takes three times as long.
        """
        high, low, _, flags, number = unpack_frame_head(data, 0)
        stream = self._streams.get(number)
        if stream is None or not stream.joins_frames or stream.sink is None:
            return data
        head = stream.head
        if head is None or head.length is not None or stream.head_only:
            return data
        at, size = 0, len(data)
        pieces: list[bytes] = []
        length = high << 8 | low
        if 9 + length == size and not flags and length <= MAX_FRAME_BYTES:
            pieces.append(data[9:])  # the only frame of the read; the loop below takes longer for it
            at = size
        while size - at > 9 and len(pieces) < _PIECES_A_TURN:
            high, low, kind, flags, of_number = unpack_frame_head(data, at)
            length = high << 8 | low
            end = at + 9 + length
            if kind or flags or of_number != number or not 0 < length <= MAX_FRAME_BYTES or end > size:
                break
            pieces.append(data[at + 9 : end])
            at = end
        if not pieces:
            return data
        # From here on as in `_on_data`, whose checks are the same for a whole run of frames.
        count = len(pieces)
        length = at - 9 * count
        if stream.unacknowledged + length > STREAM_WINDOW_BYTES:
            return data
        stream.exchange.size_bytes += at
        self._unacknowledged += length
        stream.unacknowledged += length
        stream.have += length
        self._budget.earned += count
        if stream.sink.took(pieces[0] if count == 1 else b"".join(pieces), now_ns):
            stream.is_paused = True
        if self._unacknowledged > _CONNECTION_WINDOW_BYTES // 4:
            self._give_back()
        if stream.unacknowledged >= STREAM_WINDOW_BYTES // 2:
            self._open_window(stream)
        if self._out:
            self._flush()
        return data[at:]

    def _read(self, begun_ns: int, now_ns: int) -> None:
        """HOT. Process received frames one by one, so that each is counted for its stream, and an invalid frame does
        not affect those before it.

        begun_ns, now_ns: when the first and the last of the bytes arrived.
        """
        reader, streams, head = self._reader, self._streams, self._head
        frames = reader.take(FRAMES_A_TURN)
        try:
            for kind, flags, number, payload in frames:
                stream = streams.get(number)
                if stream is None or head.stream or kind > HEADERS:
                    self._on_other(kind, flags, number, stream, payload, begun_ns, now_ns)
                elif kind == DATA:
                    if (payload or flags & END_STREAM) and not flags & PADDED:
                        stream.exchange.size_bytes += 9 + len(payload)
                        self._on_data(stream, payload, len(payload), flags & END_STREAM, now_ns)
                    else:
                        self._on_odd_data(stream, flags, payload, now_ns)
                elif self._counts(stream, len(payload), begun_ns):
                    if flags & _WHOLE_HEAD == END_HEADERS:
                        self._on_block(stream, payload, flags & END_STREAM, now_ns)
                    else:
                        self._on_part_of_head(stream, number, flags, payload, now_ns)
                if self.is_closed:
                    return
                begun_ns = now_ns
        except FrameError as error:
            self._broken(error)
            return
        if reader.wrong is not None:
            self._not_http2(reader.wrong)
            return
        if len(frames) == FRAMES_A_TURN and reader.waiting >= 9:
            self._is_behind = True
            self._loop.call_soon(self._catch_up)
        self._part_ns = begun_ns
        self._is_between_frames = reader.is_greeted and not reader.waiting and not head.stream
        if self._out:
            self._flush()

    def _catch_up(self) -> None:
        """Process the frames that one turn left over. Their time of arrival is that of the last read, so no frame
        counts as earlier than it arrived.
        """
        if self.is_closed:
            return
        self._is_behind = False
        self._read(self._part_ns, self._heard_ns)
        if self._is_behind or self.is_closed:
            return
        if self._has_ended:
            self.connection_lost(self._lost_to)
        elif self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def _counts(self, stream: _Stream, length: int, begun_ns: int) -> bool:
        """HOT. Count a frame of a head for its stream. Return False if the connection has ended, because the heads of
        this stream are too large.
        """
        exchange = stream.exchange
        exchange.size_bytes += 9 + length
        if not exchange.first_byte_ns:
            # Never before the request was sent, even if the target sent the beginning of this frame earlier.
            exchange.first_byte_ns = max(begun_ns, exchange.sent_ns)
        stream.is_usual = False
        stream.head_bytes += length
        # The whole connection ends: a head that is not decoded leaves the compression table out of step for all later
        # heads (RFC 9113, section 4.3).
        if stream.head_bytes > MAX_HEAD_BYTES:
            self._end_all(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_HEAD_BYTES} bytes of headers")
            return False
        return True

    # -- frames that are not the usual DATA or HEADERS of an answer ---------------------------

    def _on_other(
        self,
        kind: int,
        flags: int,
        number: int,
        stream: _Stream | None,
        payload: bytes,
        begun_ns: int,
        now_ns: int,
    ) -> None:
        """Process a frame after its check against the limits on floods and the rules about places and lengths.

        number: the stream's number. stream: None if no such stream is open.

        Raises:
            FrameError: the connection must end.
        """
        length = len(payload)
        if self._head.stream:
            if kind == CONTINUATION and self._head.frames >= MAX_HEAD_FRAMES:
                self._flood(f"a head of more than {MAX_HEAD_FRAMES} frames")
            elif self._pays(1, kind) and (stream is None or self._counts(stream, length, begun_ns)):
                flags_of_head = self._head.flags
                block = self._head.add(kind, flags, number, payload)
                if block is not None:
                    self._on_block(stream, block, flags_of_head & END_STREAM, now_ns)
                elif self._head.size > MAX_HEAD_BYTES:
                    self._end_all(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_HEAD_BYTES} bytes of headers")
            return
        place = place_of(number, self._next_id, stream is not None)
        rule = rule_of(kind, place)
        if rule is _LATE:
            if kind == DATA:
                self._takes_late_data(length)
            else:
                self._takes_late_head(number, flags, payload, now_ns)
            return
        if kind == SETTINGS and length > MAX_SETTINGS * 6:
            self._flood(f"a SETTINGS frame with more than {MAX_SETTINGS} settings")
            return
        if not self._pays(cost_of(kind, flags, length, stream is not None), kind):
            return
        if rule is _WRONG:
            raise FrameError(why_wrong(kind, place))
        check_length(kind, flags, length)
        if rule is _PASS:
            return
        if kind == SETTINGS:
            if not flags & ACK:
                self._on_settings(payload)
        elif kind == WINDOW_UPDATE:
            self._on_window(stream, number_of(payload) & MAX_ID)
        elif kind == PING:
            if not flags & ACK:
                self._out.append(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self._on_goaway(*goaway_of(payload))
        elif stream is not None:
            code = number_of(payload)
            self._on_reset_by_target(stream, h2_outcome(code), is_unprocessed=code == ErrorCode.REFUSED_STREAM)

    def _on_odd_data(self, stream: _Stream, flags: int, payload: bytes, now_ns: int) -> None:
        """Process DATA with padding, or empty DATA that does not end its stream.

        Raises:
            FrameError: the padding is invalid.
        """
        data = unpadded(flags, payload)
        is_end = flags & END_STREAM
        if not data and not is_end and not self._pays(PADDING_COST if payload else 1, DATA):
            return
        stream.exchange.size_bytes += 9 + len(payload)
        # The length of the payload with its padding, because padding counts for both windows (RFC 9113, section 6.1).
        self._on_data(stream, data, len(payload), is_end, now_ns)

    def _on_part_of_head(self, stream: _Stream | None, number: int, flags: int, payload: bytes, now_ns: int) -> None:
        """Process HEADERS with padding or priorities, or HEADERS that CONTINUATION frames follow."""
        part = block_part(flags, payload)
        if flags & END_HEADERS:
            self._on_block(stream, part, flags & END_STREAM, now_ns)
        else:
            self._head.begin(number, flags, part)

    def _takes_late_data(self, length: int) -> None:
        """Process DATA for a stream that has ended: only subtract its length from the connection's window."""
        if self._pays_late(1):
            # RFC 9113, section 6.9: these bytes count for the connection's window, although nobody reads them.
            # Without this, each cancelled request would shrink the window for good.
            self._unacknowledged += length
            if self._unacknowledged > _CONNECTION_WINDOW_BYTES // 4:
                self._give_back()

    def _takes_late_head(self, number: int, flags: int, payload: bytes, now_ns: int) -> None:
        """Process the headers of a stream that has ended, only to update the header compression table."""
        if self._pays_late(1 + ((9 + len(payload)) >> LATE_HEAD_BITS)):
            self._on_part_of_head(None, number, flags, payload, now_ns)

    def _pays(self, cost: int, kind: int) -> bool:
        """Charge `cost` for a frame that may be part of a flood to the connection's budget. If the budget is exceeded,
        end the connection and return False.
        """
        if self._budget.spend(cost, self._heard_ns, is_read=self._drained is None):
            return True
        return self._flood(f"more than {IDLE_FRAMES:,} frames without an answer in them, the last a {frame_name(kind)}")

    def _pays_late(self, cost: int) -> bool:
        """Charge `cost` for a frame of a stream that has ended to the connection's budget. If the budget is exceeded,
        end the connection and return False.
        """
        if self._budget.spend_late(cost, self._heard_ns, is_read=self._drained is None):
            return True
        return self._flood("too many frames for requests that have ended")

    def _flood(self, what: str) -> bool:
        """End the connection because of a flood. Always return False."""
        self._out.append(goaway(ErrorCode.ENHANCE_YOUR_CALM))
        self._end_all(H2_FLOOD, f"{self.where} sent {what}")
        return False

    # -- the end of the connection ----------------------------------------------------------

    def eof_received(self) -> None:
        """Handle that the target has closed its side of the connection. The transport then closes our side."""
        if self._is_behind:
            self._end_later()
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        OPEN_CONNECTIONS.http -= 1
        if self._hang_ups is not None:
            self._hang_ups.forget(self)
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
            self._fail_all(GOAWAY_OUTCOME, self._goaway)
        for stream in tuple(self._streams.values()):
            size = stream.exchange.size_bytes
            if size:
                self._fail(stream, PROTOCOL, f"{self.where} closed the connection after {size} bytes of the answer")
            else:
                self._fail(stream, RESET, f"{self.where} closed the connection without an answer")
        self._close()

    # -- what frames mean ---------------------------------------------------------------------

    def _on_block(self, stream: _Stream | None, block: bytes, is_end: int, now_ns: int) -> None:
        """HOT. Process a whole header block: an answer's head, an interim answer (1xx), or trailers.

        stream: None if it has ended; the block is decoded nevertheless, because it may change the header compression
        table. is_end: the block ends the stream.

        Raises:
            FrameError: the block is not valid HPACK.
        """
        try:
            received = self._decoder.decode(block)
        except OversizedHeaderListError:
            self._end_all(HEAD_TOO_LARGE, f"{self.where} sent a head that decodes to more than {MAX_HEAD_BYTES} bytes")
            return
        except INVALID_BLOCK as error:
            raise FrameError(f"invalid HPACK: {error}", ErrorCode.COMPRESSION_ERROR) from error
        if stream is not None:
            self._on_received(stream, received, is_end, now_ns)

    def _on_received(self, stream: _Stream, received: Received, is_end: int, now_ns: int) -> None:
        """HOT. Process the decoded header block of a stream."""
        stream.is_over = bool(is_end)
        head = received.head
        if head is None or stream.head is not None or head.status < 200:
            self._on_other_head(stream, received, is_end)
        else:
            self._on_head(stream, head)
        if is_end and stream.id in self._streams:
            self._finish(stream, now_ns)

    def _on_other_head(self, stream: _Stream, received: Received, is_end: int) -> None:
        """Process a malformed head, an interim answer (1xx) or trailers. Interim answers are not used. Trailers are
        stored in the exchange.
        """
        head = received.head
        if received.wrong:
            self._malformed(stream, received.wrong)
        elif stream.head is None:
            if head is None:
                self._malformed(stream, "missing status")
            elif is_end:
                self._malformed(stream, f"it ends with the interim status {head.status}")
            else:
                self._pays(INTERIM_COST + len(head.raw), HEADERS)
        elif head is not None:
            self._malformed(stream, "a status in trailers")
        elif not is_end:
            self._malformed(stream, "trailers that do not end it")
        else:
            stream.exchange.raw_trailers = received.raw

    def _on_data(self, stream: _Stream, data: bytes, size: int, is_end: int, now_ns: int) -> None:
        """HOT. Process DATA of an open stream. size: the length of the payload, with its padding.

        Raises:
            FrameError: the target sent more than the stream's window.
        """
        self._unacknowledged += size
        if self._unacknowledged > _CONNECTION_WINDOW_BYTES // 4:
            self._give_back()
        stream.is_over = bool(is_end)
        head = stream.head
        if head is None:
            self._malformed(stream, "DATA before its headers")
            return
        stream.unacknowledged += size
        if stream.unacknowledged > STREAM_WINDOW_BYTES:
            raise FrameError("it sent more than the window of a stream", ErrorCode.FLOW_CONTROL_ERROR)
        if data:
            self._budget.earned += 1
            stream.have += len(data)
            if stream.head_only or (head.length is not None and stream.have > head.length):
                self._malformed(stream, "the body is longer than its content-length")
                return
            sink = stream.sink
            if sink is not None:
                if sink.took(data, now_ns):
                    stream.is_paused = True
            elif stream.have > self._limit_bytes:
                self._too_large(stream)
                return
            else:
                chunks = stream.chunks
                chunks.append(data)
                if len(chunks) - stream.joined > MANY_PIECES:
                    stream.joined = join_tail(chunks, stream.joined)
        if is_end:  # no window is needed any more
            self._finish(stream, now_ns)
        elif stream.unacknowledged >= STREAM_WINDOW_BYTES // 2:
            self._open_window(stream)

    def _give_back(self) -> None:
        """Permit the target to send as many more bytes on this connection as were received (a WINDOW_UPDATE)."""
        self._out.append(window_update(0, self._unacknowledged))
        self._unacknowledged = 0

    def _open_window(self, stream: _Stream) -> None:
        """Permit the target to send as many more bytes on this stream as were received. Do nothing if the stream is
        paused or has ended, or while half of its window is free.
        """
        if stream.is_paused or stream.unacknowledged < STREAM_WINDOW_BYTES // 2 or stream.id not in self._streams:
            return
        self._out.append(window_update(stream.id, stream.unacknowledged))
        stream.unacknowledged = 0
        self._flush()

    def _on_window(self, stream: _Stream | None, increment: int) -> None:
        """Process a WINDOW_UPDATE. stream: None for the window of the connection.

        Raises:
            FrameError: the connection's window does not change or becomes too large. If it is a stream's window, only
                this stream ends (RFC 9113, section 6.9).
        """
        if stream is None:
            if not increment:
                raise FrameError("a WINDOW_UPDATE of 0 bytes")
            self._peer.window = raised(self._peer.window, increment)
            self._pump_all()
            return
        if not increment:
            self._malformed(stream, "a WINDOW_UPDATE of 0 bytes")
            return
        try:
            stream.window = raised(stream.window, increment)
        except FrameError as error:
            self._drop(stream, PROTOCOL, f"{self.where}: {error.why}", error.code)
            return
        if stream.unsent is not None:
            self._pump(stream)

    def _on_settings(self, payload: bytes) -> None:
        """Apply the target's SETTINGS and acknowledge them.

        Raises:
            FrameError: a value is not valid, or makes the window of an open stream too large.
        """
        peer = self._peer
        change = peer.change(payload)
        self._encoder.resize_table(peer.table_size)
        if change:
            for stream in self._streams.values():
                stream.window = raised(stream.window, change)
        self._out.append(frame(SETTINGS, ACK, 0))
        self._max_streams = peer.max_streams
        if len(_allowed) >= _MOST_TARGETS:
            _allowed.clear()
        # RFC 9113, section 6.5.2: a limit of 0 should be temporary. With 0 here, a new connection would refuse every
        # request until its own SETTINGS arrive.
        _allowed[self.where] = max(1, self._max_streams)
        self._make_room()
        self._pump_all()

    def _on_goaway(self, last: int, code: int, text: bytes) -> None:
        if code != ErrorCode.NO_ERROR:
            said = text.decode("latin-1")[:200]
            self._goaway = f"{self.where} sent GOAWAY: {h2_outcome(code)[3:]} {said}".rstrip()
        self._leave_from(last + 1, GOAWAY_OUTCOME, self._goaway or f"{self.where} sent GOAWAY")

    # -- ends of one stream -----------------------------------------------------------------

    def _malformed(self, stream: _Stream, why: str) -> None:
        if why is TOO_MANY:
            self._end_all(HEAD_TOO_LARGE, f"{self.where} sent {why}")  # each such head takes 50 ms
            return
        self._drop(stream, PROTOCOL, f"{self.where} sent an invalid HTTP/2 answer: {why}", ErrorCode.PROTOCOL_ERROR)

    def _reset(self, stream: _Stream, code: int | None = None) -> None:
        self._end_stream(stream, ErrorCode.CANCEL if code is None else code)
        self._flush()

    def _stop_upload(self, stream: _Stream) -> None:
        self._end_stream(stream, ErrorCode.CANCEL)

    def _end_stream(self, stream: _Stream, code: int) -> None:
        self._budget.expect_late()
        if not (stream.is_over and stream.is_sent):  # RFC 9113, section 5.1: a closed stream needs and allows no reset
            self._out.append(frame(RST_STREAM, 0, stream.id, code.to_bytes(4, "big")))

    # -- the end of all ---------------------------------------------------------------------

    def _flush(self) -> None:
        out = self._out
        if out and not self.is_closed and not self._has_ended:
            self._transport.write(b"".join(out))
        out.clear()

    def _not_http2(self, data: bytes) -> None:
        why = "it answers in HTTP/1" if data.startswith(b"HTTP/1") else f"{data[:40]!r}"
        self._broken(FrameError(why))

    def _broken(self, error: FrameError) -> None:
        """End the connection and fail its requests, because the bytes received are not valid HTTP/2."""
        self._out.append(goaway(error.code))
        self._end_all(PROTOCOL, f"{self.where} does not speak HTTP/2: {error.why}")

    def _end_all(self, outcome: str, detail: str) -> None:
        """Close the connection and fail all its requests with `outcome`, because of something that the target sent."""
        self._flush()
        # A caller may have taken the idle connection and not have sent yet: `_refuse` then fails its request with
        # this reason.
        if not self._streams:
            self._closed_as = (outcome, detail)
        self._fail_all(outcome, detail)
        self._close()

    def _end_transport(self) -> None:
        self.resume_writing()  # wakes a writer, which then sees that the connection is closed
        self._transport.abort()
