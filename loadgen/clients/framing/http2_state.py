"""The rules of an HTTP/2 connection, seen by its client: pure, without I/O and without clock.

Which frame is legal where (RFC 9113, sections 5.1 and 6). A frame belongs to the connection or to a stream, and a
stream is in one of four states:

    frame           CONNECTION  IDLE    OPEN    ENDED   THEIRS
    DATA            wrong       wrong   take    late    wrong
    HEADERS         wrong       wrong   take    late    wrong
    PRIORITY        wrong       pass    pass    pass    pass
    RST_STREAM      wrong       wrong   take    pass    wrong
    SETTINGS        take        wrong   wrong   wrong   wrong
    PUSH_PROMISE    wrong       wrong   wrong   wrong   wrong
    PING            take        wrong   wrong   wrong   wrong
    GOAWAY          take        wrong   wrong   wrong   wrong
    WINDOW_UPDATE   take        wrong   take    pass    wrong
    CONTINUATION    wrong       wrong   wrong   wrong   wrong
    unknown         pass        pass    pass    pass    pass

IDLE: a stream that we have not opened yet. OPEN: its answer is not complete. ENDED: its answer is complete, or one side
has reset it; frames of such a stream may still be on their way. THEIRS: a stream with an even number, which only a push
would open. CONTINUATION is legal only after HEADERS that are not complete (`HeadParts`); until they are, no other frame
is legal.

take: process the frame. late: process only its effect on the connection: the flow-control window and the table of
HPACK. pass: ignore the frame. wrong: the connection ends.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from loadgen.clients.framing.http2_frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    MAX_FRAME_BYTES,
    MAX_ID,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    FrameError,
    frame_name,
    settings,
    settings_of,
    window_update,
)

__all__ = [
    "HeadParts",
    "Peer",
    "Place",
    "Rule",
    "check_length",
    "greeting",
    "place_of",
    "raised",
    "rule_of",
    "why_wrong",
]

_FIRST_WINDOW_BYTES: Final = 65_535
"""The size of each window before SETTINGS and WINDOW_UPDATEs (RFC 9113, section 6.9.2)."""
_FIRST_FRAME_BYTES: Final = 16_384
_NO_LIMIT: Final = 2**32 + 1
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = range(1, 4)
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(4, 7)


class Place(IntEnum):
    """The connection or the kind of stream that a frame belongs to: a column of the table."""

    CONNECTION = 0
    IDLE = 1
    OPEN = 2
    ENDED = 3
    THEIRS = 4


class Rule(IntEnum):
    """The action for a frame: a cell of the table."""

    TAKE = 0
    LATE = 1
    PASS = 2
    WRONG = 3


# Python 3.11 takes ten times as long for a member of an Enum as for a name.
_CONNECTION, _IDLE, _OPEN, _ENDED, _THEIRS = Place
_T, _L, _P, _W = Rule
_RULES: Final[tuple[tuple[Rule, ...], ...]] = (
    (_W, _W, _T, _L, _W),  # DATA
    (_W, _W, _T, _L, _W),  # HEADERS
    (_W, _P, _P, _P, _P),  # PRIORITY
    (_W, _W, _T, _P, _W),  # RST_STREAM
    (_T, _W, _W, _W, _W),  # SETTINGS
    (_W, _W, _W, _W, _W),  # PUSH_PROMISE
    (_T, _W, _W, _W, _W),  # PING
    (_T, _W, _W, _W, _W),  # GOAWAY
    (_T, _W, _T, _P, _W),  # WINDOW_UPDATE
    (_W, _W, _W, _W, _W),  # CONTINUATION
)
"""The table above: a row for each kind, a column for each place."""
_LENGTHS: Final = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


def place_of(number: int, next_id: int, is_open: bool) -> Place:
    """Return what a frame with this stream number belongs to. next_id: the number of the next stream that we open."""
    if is_open:
        return _OPEN
    if not number:
        return _CONNECTION
    if not number & 1:
        return _THEIRS
    return _ENDED if number < next_id else _IDLE


def rule_of(kind: int, place: Place) -> Rule:
    """Return what to do with a frame of this kind, outside of a head in several frames."""
    return _RULES[kind][place] if kind < len(_RULES) else Rule.PASS


def check_length(kind: int, flags: int, length: int) -> None:
    """Check the length of a frame's payload.

    Raises:
        FrameError: the length is not one that frames of this kind may have.
    """
    if kind == SETTINGS:
        is_valid = not length if flags & ACK else length % 6 == 0
    elif kind == GOAWAY:
        is_valid = length >= 8
    else:
        is_valid = length == _LENGTHS.get(kind, length)
    if not is_valid:
        raise FrameError(f"a {frame_name(kind)} with {length} bytes", ErrorCode.FRAME_SIZE_ERROR)


def raised(window: int, increment: int) -> int:
    """Return a flow-control window after a WINDOW_UPDATE or a change of SETTINGS.

    Raises:
        FrameError: the window would be larger than 2^31 - 1.
    """
    window += increment
    if window > MAX_ID:
        raise FrameError("it opened a flow-control window beyond the limit", ErrorCode.FLOW_CONTROL_ERROR)
    return window


def greeting(stream_window: int, connection_window: int, max_head_bytes: int) -> bytes:
    """Return the first bytes of a client: the preface, its SETTINGS, and the window of the connection.

    Push is refused. max_head_bytes: size limit of a decoded head.
    """
    ours = {
        ENABLE_PUSH: 0,
        INITIAL_WINDOW_SIZE: stream_window,
        MAX_FRAME_SIZE: MAX_FRAME_BYTES,
        MAX_HEADER_LIST_SIZE: max_head_bytes,
    }
    # SETTINGS do not change the connection's window (RFC 9113, section 6.9.2).
    return PREFACE + settings(ours) + window_update(0, connection_window - _FIRST_WINDOW_BYTES)


class Peer:
    """The target's SETTINGS, and its window for the whole connection. One instance a connection."""

    __slots__ = ("max_frame", "max_streams", "stream_window", "table_size", "window")

    def __init__(self) -> None:
        self.max_streams = _NO_LIMIT
        self.max_frame = _FIRST_FRAME_BYTES
        self.stream_window = _FIRST_WINDOW_BYTES
        """The window of a new stream."""
        self.window = _FIRST_WINDOW_BYTES
        """The number of body bytes that we may send on this connection. Each stream has a window of its own, too."""
        self.table_size = 4096
        """The largest table of headers that the target accepts."""

    def change(self, payload: bytes) -> int:
        """Apply a SETTINGS frame, and return by how much the windows of open streams change.

        Unknown settings are ignored (RFC 9113, section 6.5.2), as is the limit on headers, which is only advice.

        Raises:
            FrameError: a value is not valid. Settings before it were applied.
        """
        before = self.stream_window
        for number, value in settings_of(payload):
            if number == HEADER_TABLE_SIZE:
                self.table_size = value
            elif number == ENABLE_PUSH:
                if value > 1:
                    raise FrameError(f"SETTINGS with ENABLE_PUSH={value}")
            elif number == MAX_CONCURRENT_STREAMS:
                self.max_streams = value
            elif number == INITIAL_WINDOW_SIZE:
                if value > MAX_ID:
                    raise FrameError(f"SETTINGS with a window of {value} bytes", ErrorCode.FLOW_CONTROL_ERROR)
                self.stream_window = value
            elif number == MAX_FRAME_SIZE:
                if not _FIRST_FRAME_BYTES <= value < 2**24:
                    raise FrameError(f"SETTINGS with frames of {value} bytes")
                self.max_frame = value
        return self.stream_window - before


class HeadParts:
    """A header block that is sent in several frames, while it is not complete. One instance a connection."""

    __slots__ = ("_parts", "flags", "frames", "size", "stream")

    def __init__(self) -> None:
        self.stream = 0
        """The stream whose head it is; 0 while no head is incomplete."""
        self.flags = self.frames = self.size = 0
        """The flags of the HEADERS frame; and the number of frames and bytes of the block so far."""
        self._parts: list[bytes] = []

    def begin(self, stream: int, flags: int, part: bytes) -> None:
        """Store the first part, from a HEADERS frame without END_HEADERS."""
        self.stream, self.flags, self.frames, self.size = stream, flags, 1, len(part)
        self._parts = [part]

    def add(self, kind: int, flags: int, stream: int, part: bytes) -> bytes | None:
        """Store the next part. Return the whole block if it is complete, else None.

        Raises:
            FrameError: the frame is not a CONTINUATION of this head (RFC 9113, section 6.10).
        """
        if kind != CONTINUATION or stream != self.stream:
            raise FrameError("a frame in the middle of a head")
        self.frames += 1
        self.size += len(part)
        self._parts.append(part)
        if not flags & END_HEADERS:
            return None
        block = b"".join(self._parts)
        self.stream, self._parts = 0, []
        return block


def why_wrong(kind: int, place: Place) -> str:
    """Return why a frame of this kind is illegal there, as a part of a sentence."""
    if kind == PUSH_PROMISE:
        return "a pushed stream, which our SETTINGS forbid"
    if kind == CONTINUATION:
        return "a CONTINUATION frame without a head"
    return f"a {frame_name(kind)} for {_PLACES[place]}"


_PLACES: Final = (
    "the whole connection",
    "a stream that is not open yet",
    "a stream",
    "a stream that has ended",
    "a stream with an even number",
)
