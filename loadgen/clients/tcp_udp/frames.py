"""How messages are cut out of a stream of bytes. Pure: no sockets, no clock.

A frame has no state. It looks at all bytes that have arrived and not been used, so the way in which the network cuts
the stream cannot change its result. A custom frame is any object with the three members of `Frame`.

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
    """The received bytes are not a message. `take` of a custom frame raises it, and the connection is closed.

    detail: what is wrong, for the text of the failure. outcome: the outcome of the requests that wait for an answer.
    """

    def __init__(self, detail: str, outcome: str = "protocol") -> None:
        super().__init__(detail)
        self.outcome = outcome


@runtime_checkable
class Frame(Protocol):
    """Cuts a stream of bytes into messages. A custom frame is an object with these three members."""

    @property
    def max_bytes(self) -> int:
        """The most bytes of an incomplete message. If more arrive, the connection ends with `message too large`.

        loadgen checks this limit for every frame, and adds 1,024 bytes for the head and the end of a message.
        """

    def encode(self, message: bytes) -> bytes:
        """Return the bytes to send for a message.

        Raises:
            UsageError: this frame cannot send the message, for example because it is too long.
        """

    def take(self, received: bytearray) -> tuple[bytes, int] | None:
        """Return the first message, and the number of its bytes in `received`; None if the message is incomplete.

        received: all bytes that have arrived and belong to no earlier message. The method must not change them. After
        None, the next call gets the same bytes and further ones.

        Raises:
            FrameError: the bytes are not a message.
        """


def message_too_large(max_bytes: int) -> FrameError:
    """Return the error for a message above the limit of its frame."""
    return FrameError(
        f"a message has more than {max_bytes:,} bytes: check that the frame fits the protocol, or raise its max_bytes=",
        MESSAGE_TOO_LARGE,
    )


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
                f"a message of {len(message):,} bytes is too long for a length of {self.size} bytes",
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
    """Return a frame of lines, which end with LF or CR LF. A sent message gets an LF unless it ends with one.

    A protocol that demands CR LF, such as SMTP, needs `until(b"\\r\\n")`.

    max_bytes: the longest line, without its end.

    Raises:
        UsageError: `max_bytes` is not a whole number of at least 1.
    """
    return _Until(b"\n", _limit("lines", max_bytes), strips_cr=True)


def until(end: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Frame:
    """Return a frame of messages that end with the bytes `end`.

    `encode` appends `end` to a sent message, unless the message ends with it already.

    max_bytes: the longest message, without its end.

    Raises:
        UsageError: `end` is empty or not bytes; `max_bytes` is not a whole number of at least 1.
    """
    if not isinstance(end, bytes) or not end:
        raise UsageError(f"until: the end must be bytes that are not empty, not {end!r}", hint='write until(b"\\0")')
    return _Until(end, _limit("until", max_bytes))


def fixed_size(size: int) -> Frame:
    """Return a frame of messages of `size` bytes each. Messages are sent as they are.

    Raises:
        UsageError: `size` is not a whole number of at least 1.
    """
    return _FixedSize(_limit("fixed_size", size, "size"), size)


def length_prefix(size: int = 4, *, little_endian: bool = False, max_bytes: int = MAX_MESSAGE_BYTES) -> Frame:
    """Return a frame of messages, each after its length in `size` bytes. A sent message gets its length.

    The length does not count its own bytes, and is big endian unless `little_endian` is true.

    max_bytes: the longest message, without its length.

    Raises:
        UsageError: `size` is not 1 to 8; `max_bytes` is not a whole number of at least 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _LONGEST_PREFIX:
        raise UsageError(f"length_prefix: size={size!r} must be 1 to {_LONGEST_PREFIX}", hint="write length_prefix(4)")
    return _LengthPrefix(size, little_endian, _limit("length_prefix", max_bytes))


def _limit(word: str, value: object, argument: str = "max_bytes") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{word}: {argument}={value!r} must be a whole number of at least 1", hint="write bytes: 4096")
    return value
