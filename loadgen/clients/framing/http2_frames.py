"""HTTP/2 frames: bytes in, frames out, and the other way round (RFC 9113, sections 4 and 6).

`FrameReader` splits received bytes, which may be cut anywhere. The rest is functions: some build the frames that a
client sends, others read the payloads that it receives. The rules about streams and connections are in
`http2_state.py`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEADERS",
    "MAX_FRAME_BYTES",
    "MAX_ID",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITIES",
    "PRIORITY",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "ErrorCode",
    "Frame",
    "FrameError",
    "FrameReader",
    "before_number",
    "block_part",
    "frame",
    "frame_name",
    "goaway",
    "goaway_of",
    "head_frames",
    "number_of",
    "pack_frame_head",
    "pack_number",
    "settings",
    "settings_of",
    "unpack_frame_head",
    "unpack_number",
    "unpack_words",
    "unpadded",
    "window_update",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client (RFC 9113, section 3.4)."""
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
_NAMES: Final = (
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
)
"""RFC 9113, section 6, by number."""
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIES: Final = 0x20
MAX_ID: Final = 2**31 - 1
"""The largest number of a stream, and the largest window."""
MAX_FRAME_BYTES: Final = 64 * 1024
"""Size limit of received payloads, which our SETTINGS contain."""

Frame = tuple[int, int, int, bytes]
"""A received frame: its kind, its flags, the number of its stream (0: the connection), and its payload."""

_HEAD: Final = Struct(">HBBBI")
"""A frame's first 9 bytes. The length has 24 bits: here the upper 16 and the lower 8."""
_HEAD_BYTES: Final = 9
_pack, _unpack = _HEAD.pack, _HEAD.unpack_from
pack_frame_head: Final = _pack
"""HOT. Returns a frame's first 9 bytes. Takes what `unpack_frame_head` returns."""
unpack_frame_head: Final = _unpack
"""HOT. Takes bytes and an offset. Returns the upper 16 bits of the length, its lower 8 bits, the kind, the flags, and
the stream's number with the reserved bit."""
unpack_words: Final = Struct(">BHHI").unpack_from
"""HOT. The same as four numbers, which spares some steps: the upper 8 bits of the length, its lower 16, the kind in the
upper and the flags in the lower 8, and the stream's number."""
before_number: Final = Struct(">HBBB").pack
"""HOT. Returns a frame's first 5 bytes, which come before the number of its stream. Takes what `unpack_frame_head`
returns, without that number."""
pack_number: Final = Struct(">I").pack
"""HOT. Returns a number as 4 bytes."""
unpack_number: Final = Struct(">I").unpack_from
"""HOT. Takes bytes and an offset. Returns a tuple of one number of 4 bytes."""
_SETTING: Final = Struct(">HI")
_GOAWAY: Final = Struct(">II")


class ErrorCode:
    """The error codes of RFC 9113, section 7, that a client sends or treats in a special way."""

    NO_ERROR: Final = 0
    PROTOCOL_ERROR: Final = 1
    FLOW_CONTROL_ERROR: Final = 3
    STREAM_CLOSED: Final = 5
    FRAME_SIZE_ERROR: Final = 6
    REFUSED_STREAM: Final = 7
    CANCEL: Final = 8
    COMPRESSION_ERROR: Final = 9
    ENHANCE_YOUR_CALM: Final = 11


class FrameError(Exception):
    """The target broke a rule, and the connection must end. code: see `ErrorCode`. why: a part of a sentence."""

    def __init__(self, why: str, code: int = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(why)
        self.why, self.code = why, code


def frame_name(kind: int) -> str:
    """Return the name of a frame type for messages: "PING frame", or "frame of unknown kind 0xfa"."""
    return f"{_NAMES[kind]} frame" if kind < len(_NAMES) else f"frame of unknown kind {kind:#04x}"


# -- what we receive ------------------------------------------------------------------------------


class FrameReader:
    """HOT. Splits received bytes into frames. Budget: 0.5 µs a frame.

    It stores the bytes of frames that are not complete or were not taken yet. It limits the size of a frame, but not
    the number of stored bytes: the caller stops reading if `waiting` is too large.
    """

    __slots__ = ("_at", "_data", "_need", "_tail", "is_greeted", "waiting", "wrong")

    def __init__(self) -> None:
        self._data, self._at = b"", 0
        """Received bytes, and how many of them were taken."""
        self._tail = bytearray()
        """Bytes that came after `_data`. `take` appends them to `_data` once they complete a frame."""
        self._need = _HEAD_BYTES
        """The number of bytes that the next frame needs, as far as it is known."""
        self.is_greeted = False
        """The first frame was taken, which is SETTINGS."""
        self.waiting = 0
        """The number of bytes that were not taken."""
        self.wrong: bytes | None = None
        """The first bytes that are not a frame, at most 80. Nothing after them is read."""

    def feed(self, data: bytes) -> bool:
        """Store received bytes. Return False if they complete no frame, so that `take` would return nothing."""
        if self.waiting:
            self._tail += data
            self.waiting += len(data)
        else:
            self._data, self._at, self.waiting = data, 0, len(data)
        return self.waiting >= self._need

    def take(self, most: int) -> list[Frame]:
        """Remove at most `most` whole frames and return them, in order.

        The list ends before bytes that are no frame: `wrong` is then set. A frame is wrong if it is longer than
        MAX_FRAME_BYTES, or if it is the connection's first frame and not SETTINGS (RFC 9113, section 3.4).
        """
        data, at, tail = self._data, self._at, self._tail
        size, need = len(data), _HEAD_BYTES
        frames: list[Frame] = []
        while len(frames) < most:
            end = at + _HEAD_BYTES
            if end <= size:
                high, low, kind, flags, number = _unpack(data, at)
                length = high << 8 | low
                if length > MAX_FRAME_BYTES or not (self.is_greeted or kind == SETTINGS):
                    self.wrong = data[at : at + 80]
                    most = 0
                    break
                end += length
            if end <= size:
                self.is_greeted = True
                # RFC 9113, section 4.1: the highest bit is reserved, and a receiver must ignore it.
                frames.append((kind, flags, number & MAX_ID, data[at + _HEAD_BYTES : end]))
                at = end
                continue
            need = end - at
            if size - at + len(tail) < need:
                # Copied, because a few bytes would otherwise keep the whole read in memory.
                data, at = data[at:], 0
                break
            data = data[at:] + tail
            tail.clear()
            at, size = 0, len(data)
        self._data, self._at, self._need = data, at, need
        self.waiting = len(data) - at + len(tail)
        return frames


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding.

    Raises:
        FrameError: the padding is longer than the frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise FrameError("a frame whose padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]


def block_part(flags: int, payload: bytes) -> bytes:
    """Return the part of a header block in a HEADERS frame: without padding and priorities, which are ignored.

    Raises:
        FrameError: the frame is too short for them.
    """
    part = unpadded(flags, payload)
    if not flags & PRIORITIES:
        return part
    if len(part) < 5:
        raise FrameError("a HEADERS frame that is too short for its priority", ErrorCode.FRAME_SIZE_ERROR)
    return part[5:]


def settings_of(payload: bytes) -> list[tuple[int, int]]:
    """Return (number, value) of each setting of a SETTINGS frame, whose length must be a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def goaway_of(payload: bytes) -> tuple[int, int, bytes]:
    """Return the last stream, the error code and the text of a GOAWAY frame of at least 8 bytes."""
    last, code = _GOAWAY.unpack_from(payload)
    return last & MAX_ID, code, payload[8:]


def number_of(payload: bytes) -> int:
    """Return the number in a frame of 4 bytes: the error code of RST_STREAM, the increment of WINDOW_UPDATE."""
    return int.from_bytes(payload, "big")


# -- what we send ---------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """HOT. Return the bytes of a frame. The payload must not be longer than the target's SETTINGS allow."""
    size = len(payload)
    return _pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def head_frames(stream: int, block: bytes, is_end: bool, most: int) -> bytes:
    """HOT. Return a header block as a HEADERS frame, with CONTINUATION frames if it is longer than `most` bytes.

    is_end: the request has no body.
    """
    size = len(block)
    if size <= most:
        return _pack(size >> 8, size & 0xFF, HEADERS, END_HEADERS | is_end, stream) + block
    frames = [frame(HEADERS, is_end, stream, block[:most])]
    for at in range(most, size, most):
        frames.append(frame(CONTINUATION, END_HEADERS if at + most >= size else 0, stream, block[at : at + most]))
    return b"".join(frames)


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame with these values by number."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(number, value) for number, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """Return a frame that permits the target to send `increment` bytes more. stream: 0 for the connection."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def goaway(code: int) -> bytes:
    """Return a GOAWAY frame of a client, which has accepted no stream of the server."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(0, code))
