"""Finds GOAWAY on the control stream of an HTTP/3 target, because aioquic skips this frame. No I/O.

The target opens a few unidirectional streams, each of which begins with its type. Only the stream of type 0 is the
control stream (RFC 9114, section 6.2). It consists of frames: type, length, payload.
"""

from __future__ import annotations

from typing import Final

__all__ = ["GoawayReader", "InvalidGoaway"]

_CONTROL: Final = 0
_GOAWAY: Final = 7
_LONGEST_INTEGER: Final = 8


class InvalidGoaway(Exception):
    """A GOAWAY frame without a whole stream number."""


class GoawayReader:
    """Reads the target's control stream.

    first_refused: the number of the first stream that the target did not and will not process; None: no GOAWAY came.
    """

    __slots__ = ("_buffers", "_is_goaway", "_left", "first_refused")

    def __init__(self) -> None:
        self.first_refused: int | None = None
        self._buffers: dict[int, bytes | None] = {}
        """By stream: bytes that are not yet read; None: not the control stream."""
        self._left: int | None = None
        """Bytes that the frame under way still has; None: its head has not arrived."""
        self._is_goaway = False

    def feed(self, stream: int, data: bytes) -> None:
        """Read bytes of a unidirectional stream.

        Raises:
            InvalidGoaway: see there.
        """
        buffer = self._buffers.get(stream, b"")
        if buffer is None:
            return
        is_new = stream not in self._buffers
        data = buffer + data
        if is_new:
            kind, at = integer(data, 0)
            if at:
                if kind != _CONTROL:
                    self._buffers[stream] = None
                    return
                self._buffers[stream] = self._read_frames(data[at:])
            # A type takes one byte, and RFC 9000 allows no empty piece of data without an end, so this is rare.
            return
        self._buffers[stream] = self._read_frames(data)

    def _read_frames(self, data: bytes) -> bytes:
        """Read whole frames, and return the bytes that are left over."""
        while data or self._left == 0:
            if self._left is None:
                kind, at = integer(data, 0)
                length, end = integer(data, at) if at else (0, 0)
                if not end:
                    return data
                self._is_goaway, self._left, data = kind == _GOAWAY, length, data[end:]
                if self._is_goaway and length > _LONGEST_INTEGER:
                    raise InvalidGoaway(f"a GOAWAY of {length} bytes")
            if self._is_goaway:
                if len(data) < self._left:
                    return data
                number, at = integer(data[: self._left], 0)
                if at != self._left or not at:
                    raise InvalidGoaway("a GOAWAY without a stream number")
                self.first_refused = number
            skipped = min(self._left, len(data))
            data, self._left = data[skipped:], self._left - skipped
            if not self._left:
                self._left = None
            else:
                return b""
        return data


def integer(data: bytes, at: int) -> tuple[int, int]:
    """Decode the variable-length integer that begins at index `at`.

    Return (its value, the index after it), or (0, 0) if `data` ends before the integer does.

    Source: RFC 9000, section 16.
    """
    if at >= len(data):
        return 0, 0
    end = at + (1 << (data[at] >> 6))
    if end > len(data):
        return 0, 0
    bits = 8 * (end - at) - 2
    return int.from_bytes(data[at:end], "big") & ((1 << bits) - 1), end
