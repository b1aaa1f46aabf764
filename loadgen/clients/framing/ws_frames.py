"""Frames of WebSocket (RFC 6455): written for one message, and read from bytes that are cut anywhere. Pure.

A frame is two bytes (end of message, kind, mask, size), up to eight more bytes of size, a key of four bytes if it is
masked, and the payload. Clients mask all frames, servers none. A message is one frame or several; control frames
(close, ping, pong) may come between those.

No extension is supported, so the reserved bits of a frame must be 0.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from typing import Final

__all__ = [
    "BINARY",
    "CLOSE",
    "NO_CODE",
    "PING",
    "PONG",
    "TEXT",
    "Found",
    "FrameReader",
    "Violation",
    "accept_of",
    "close_payload",
    "masked_frame",
    "plain_frame",
    "read_close",
]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NO_CODE: Final = 1005
"""Stands for a close frame without a code."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_CONTROL_BYTES: Final = 125
_MOST_EMPTY: Final = 1024
"""The most frames without a byte in one message. Frames with bytes are limited by the size of the message: a target may
send one character at a time."""

Found = tuple[int, str | bytes]
"""The kind and payload of a message or control frame. Only TEXT has a str."""


class Violation(Exception):  # internal: the connection makes an outcome of it
    """The other side broke the protocol or a limit.

    code: the close code to send. outcome: of the measurements.
    """

    def __init__(self, code: int, outcome: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.outcome, self.detail = code, outcome, detail


_ONES: Final = tuple(sum(1 << 32 * n for n in range(words)) for words in range(34))
"""For a number of words of 32 bits: the integer whose words are all 1. A key times it is the repeated key."""


def masked_frame(kind: int, payload: bytes, key: int) -> bytes:
    """HOT, once a message that is sent. Return a message as one frame of a client. key: 32 random bits."""
    size = len(payload)
    if size < 126:  # the whole frame is one integer: two bytes, the key, and the payload XOR the repeated key
        words = (size + 7) >> 2
        keys = key * _ONES[words] >> (words - 1 << 5) - (size << 3)
        first = (0x8080 | kind << 8 | size) << 32 + (size << 3)
        return (first | keys ^ int.from_bytes(payload, "big")).to_bytes(6 + size, "big")
    mask = key.to_bytes(4, "big")
    if size < 65_536:
        head = b"%c\xfe%b%b" % (0x80 | kind, size.to_bytes(2, "big"), mask)
    else:
        head = b"%c\xff%b%b" % (0x80 | kind, size.to_bytes(8, "big"), mask)
    return head + _masked(payload, mask)


def plain_frame(kind: int, payload: bytes) -> bytes:
    """Return a message as one frame of a server."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (0x80 | kind, size, payload)
    if size < 65_536:
        return b"%c\x7e%b%b" % (0x80 | kind, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (0x80 | kind, size.to_bytes(8, "big"), payload)


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame. A reason of more than 123 bytes is cut."""
    return code.to_bytes(2, "big") + reason.encode()[: _MOST_CONTROL_BYTES - 2].decode(errors="ignore").encode()


def read_close(payload: bytes) -> tuple[int, str]:
    """Return (code, reason) of a close frame; (NO_CODE, "") if it has none.

    Raises:
        Violation: a code that must not be sent, or a reason that is not UTF-8.
    """
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise _broken(f"a close frame with the invalid code {code}")
    return code, _text(payload[2:])


def accept_of(key: str) -> str:
    """Return the value of Sec-WebSocket-Accept that answers this Sec-WebSocket-Key."""
    return b64encode(sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324  # RFC 6455 defines it with SHA-1


class FrameReader:
    """Reads the frames of the other side. HOT: once for each read of the socket.

    failure: why nothing more is read; None as long as all is well. Messages before it are valid.
    need, kind: both 0 if the next byte begins a message.
    """

    __slots__ = ("_buffer", "_empty", "_fragments", "_is_server", "_limit_bytes", "_message", "failure", "kind", "need")

    def __init__(self, limit_bytes: int, *, is_server: bool = False) -> None:
        """limit_bytes: of a message. is_server: the other side is a client, so its frames are masked."""
        self._limit_bytes, self._is_server = limit_bytes, is_server
        self._buffer = bytearray()
        self.need = 0
        """The size that the buffer must have before it is worth reading; 0: the buffer is empty."""
        self.kind = self._fragments = self._empty = 0
        """Kind, number of frames, and number of empty ones of the message that has begun and not ended; the kind is 0
        between two messages."""
        self._message = bytearray()
        self.failure: Violation | None = None

    def feed(self, data: bytes) -> list[Found]:
        """Read the next bytes, and return the messages and control frames that are complete."""
        if self.need:
            self._buffer += data
            if len(self._buffer) < self.need:
                return []
            data, self.need = bytes(self._buffer), 0
            self._buffer = bytearray()
        found: list[Found] = []
        if self.failure is None:
            try:
                self._read(data, found)
            except Violation as violation:
                self.failure = violation
        return found

    def _read(self, data: bytes, found: list[Found]) -> None:
        at, end = 0, len(data)
        is_server = self._is_server
        while at < end:
            if end - at < 2:
                self._wait_for(data, at, 2)
                return
            first, size = data[at], data[at + 1]
            if first & 0x70:
                raise _broken("reserved bits are set, although no extension was agreed on")
            if (size >= 128) is not is_server:
                raise _broken("a frame without a mask" if is_server else "a masked frame")
            size &= 127
            begin = at + 2
            if size >= 126:
                begin += 2 if size == 126 else 8
                if begin > end:
                    self._wait_for(data, at, begin - at)
                    return
                size = int.from_bytes(data[at + 2 : begin], "big")
            kind = first & 15
            if kind != TEXT or first < 128 or self.kind or size > self._limit_bytes:
                self._check(first, kind, size)
            if is_server:
                begin += 4
            stop = begin + size
            if stop > end:
                self._wait_for(data, at, stop - at)
                return
            payload = data[begin:stop]
            if is_server:
                payload = _masked(payload, data[begin - 4 : begin])
            at = stop
            if first == 0x81:  # nearly all: a text in one frame
                found.append((TEXT, _text(payload)))
            elif kind >= CLOSE:
                found.append((kind, payload))
                if kind == CLOSE:  # RFC 6455, section 5.5.1: nothing after it counts
                    self.failure = _broken("bytes after a close frame")
                    return
            else:
                self._fragment(first, kind, payload, found)

    def _wait_for(self, data: bytes, at: int, size: int) -> None:
        """Keep the bytes from `at` on until there are `size` of them."""
        self._buffer += data[at:] if at else data
        self.need = size

    def _check(self, first: int, kind: int, size: int) -> None:
        """Check the head of a frame, before its payload is there."""
        if kind >= CLOSE:
            if kind > PONG:
                raise _broken(f"a frame of the unknown kind {kind}")
            if first < 128 or size > _MOST_CONTROL_BYTES:
                raise _broken("a control frame that is fragmented or too large")
            return
        if kind > BINARY:
            raise _broken(f"a frame of the unknown kind {kind}")
        if bool(kind) is bool(self.kind):
            raise _broken("a new message within a message" if kind else "a continuation without a message")
        total = len(self._message) + size
        if total > self._limit_bytes:
            detail = f"a message of at least {total:,} bytes, above the limit of {self._limit_bytes:,}"
            raise Violation(1009, "ws message too large", detail)

    def _fragment(self, first: int, kind: int, payload: bytes, found: list[Found]) -> None:
        if kind:
            self.kind = kind
        if first >= 128:
            whole = bytes(self._message) + payload if self._fragments else payload
            found.append((TEXT, _text(whole)) if self.kind == TEXT else (BINARY, whole))
            self.kind = self._fragments = self._empty = 0
            self._message = bytearray()
            return
        self._message += payload
        self._fragments += 1
        if not payload:
            self._empty += 1
            if self._empty > _MOST_EMPTY:
                raise Violation(1008, "ws flood", f"a message with {self._empty:,} frames that are empty")


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    keys = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise Violation(1007, "ws bad text", f"a text that is not UTF-8: {error.reason}") from error


def _broken(detail: str) -> Violation:
    return Violation(1002, "ws protocol", detail)
