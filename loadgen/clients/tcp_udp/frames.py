"""How messages are cut out of a stream of bytes. Pure: no sockets, no clock.

A frame has no state. It looks at all bytes that have arrived and not been used, so the way in which the network cuts
the stream cannot change its result. An own frame is any object with the three members of `Frame`.

Each frame limits the size of a message, because a hostile peer may send bytes without an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from loadgen.errors import UsageError

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MESSAGE_TOO_LARGE",
    "Frame",
    "FrameError",
    "fixed_size",
    "length_prefix",
    "lines",
    "message_too_large",
    "until",
]

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""The limit of a message, if the scenario sets none."""
MESSAGE_TOO_LARGE: Final = "message too large"
"""Outcome: a message of the target that is larger than the frame's limit."""
_LONGEST_PREFIX: Final = 8


class FrameError(Exception):
    """The received bytes are no frame. An own frame raises it; the exchange then has the outcome `protocol`.

    outcome: another outcome than `protocol`.
    """

    def __init__(self, detail: str, outcome: str = "protocol") -> None:
        super().__init__(detail)
        self.outcome = outcome


@runtime_checkable
class Frame(Protocol):
    """Cuts a stream of bytes into messages."""

    @property
    def max_bytes(self) -> int:
        """The most bytes that may arrive without a whole message among them."""

    def encode(self, message: bytes) -> bytes:
        """Return the bytes to send for a message.

        Raises:
            UsageError: the message has no form in this frame.
        """

    def take(self, received: bytearray) -> tuple[bytes, int] | None:
        """Return the first message of the received bytes, and how many bytes it took; None if it is not whole yet.

        The method must not change `received`. Later calls get more bytes, or the rest after a message.

        Raises:
            FrameError: the bytes are no message.
        """


def message_too_large(max_bytes: int) -> FrameError:
    """Return the error for a message above the limit of its frame."""
    return FrameError(f"a message of more than {max_bytes:,} bytes: raise max_bytes= of the frame", MESSAGE_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class _Until:
    end: bytes
    max_bytes: int
    strips_cr: bool = False

    def encode(self, message: bytes) -> bytes:
        return message if message.endswith(self.end) else message + self.end

    def take(self, received: bytearray) -> tuple[bytes, int] | None:
        at = received.find(self.end)
        if at < 0:
            return None
        if at > self.max_bytes:
            raise message_too_large(self.max_bytes)
        end = at - 1 if self.strips_cr and at and received[at - 1] == 0x0D else at
        return bytes(received[:end]), at + len(self.end)


@dataclass(frozen=True, slots=True)
class _FixedSize:
    size: int
    max_bytes: int

    def encode(self, message: bytes) -> bytes:
        return message

    def take(self, received: bytearray) -> tuple[bytes, int] | None:
        return (bytes(received[: self.size]), self.size) if len(received) >= self.size else None


@dataclass(frozen=True, slots=True)
class _LengthPrefix:
    size: int
    is_little: bool
    max_bytes: int

    def encode(self, message: bytes) -> bytes:
        if len(message) >= 1 << 8 * self.size:
            raise UsageError(
                f"a message of {len(message):,} bytes has no length of {self.size} bytes",
                hint="send a shorter message, or use a longer prefix: length_prefix(4)",
            )
        return len(message).to_bytes(self.size, "little" if self.is_little else "big") + message

    def take(self, received: bytearray) -> tuple[bytes, int] | None:
        if len(received) < self.size:
            return None
        length = int.from_bytes(received[: self.size], "little" if self.is_little else "big")
        if length > self.max_bytes:
            raise message_too_large(self.max_bytes)
        end = self.size + length
        return (bytes(received[self.size : end]), end) if len(received) >= end else None


def lines(*, max_bytes: int = MAX_MESSAGE_BYTES) -> Frame:
    """Return a frame of lines. They end with LF; a CR before it belongs to the end. A sent message gets an LF if it has
    none.

    max_bytes: the longest line, without its end.

    Raises:
        UsageError: `max_bytes` is no whole number above 0.
    """
    return _Until(b"\n", _limit("lines", max_bytes), strips_cr=True)


def until(end: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Frame:
    """Return a frame of messages that end with the bytes `end`. A sent message gets them if it has no such end.

    max_bytes: the longest message, without its end.

    Raises:
        UsageError: `end` is not bytes, or is empty; `max_bytes` is no whole number above 0.
    """
    if not isinstance(end, bytes) or not end:
        raise UsageError(f"until: the end must be bytes that are not empty, not {end!r}", hint='write until(b"\\0")')
    return _Until(end, _limit("until", max_bytes))


def fixed_size(size: int) -> Frame:
    """Return a frame of messages of `size` bytes each. Messages are sent as they are.

    Raises:
        UsageError: `size` is no whole number above 0.
    """
    return _FixedSize(_limit("fixed_size", size, "size"), size)


def length_prefix(size: int = 4, *, little_endian: bool = False, max_bytes: int = MAX_MESSAGE_BYTES) -> Frame:
    """Return a frame of messages after their length, which has `size` bytes. A sent message gets its length.

    The length does not count its own bytes, and is big endian, as in most protocols, or `little_endian`.

    max_bytes: the longest message, without its length.

    Raises:
        UsageError: `size` is not 1 to 8; `max_bytes` is no whole number above 0.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _LONGEST_PREFIX:
        raise UsageError(f"length_prefix: size={size!r} must be 1 to {_LONGEST_PREFIX}", hint="write length_prefix(4)")
    return _LengthPrefix(size, little_endian, _limit("length_prefix", max_bytes))


def _limit(word: str, value: object, argument: str = "max_bytes") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{word}: {argument}={value!r} must be a whole number of at least 1", hint="write bytes: 4096")
    return value
