"""Messages between the process of the command and those that parse logs, over their standard input and output.

A frame is its length, u32 little endian, and one message in MessagePack. Both ends belong to the same installation.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, get_origin

import msgspec

from loadgen.traffic.inputs.log_input import LogInput
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.reading.parse_input import ParsedInput
from loadgen.traffic.reading.row_batches import RowBatch

__all__ = [
    "Begin",
    "Done",
    "Failed",
    "FromWorker",
    "Parse",
    "ToWorker",
    "begin_of",
    "frame",
    "message_of",
    "parse_of",
    "read_frame",
]

_LENGTH: Final = struct.Struct("<I")
_MOST_BYTES: Final = 1 << 30


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker. salt: the key of the hashes of users, which only pipes transport."""

    options: LogOptions
    salt: bytes


class Parse(msgspec.Struct, frozen=True, tag=True):
    """Parse an input. task: its place in the order of all inputs."""

    task: int
    source: LogInput


class Done(msgspec.Struct, frozen=True, tag=True):
    """An input was parsed. Some of its rows may be in a later batch."""

    task: int
    parsed: ParsedInput


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An input cannot be parsed. is_usage: the input is wrong; if not, loadgen has a bug."""

    task: int
    is_usage: bool
    message: str
    hint: str


ToWorker = Begin | Parse
FromWorker = RowBatch | Done | Failed

_to_bytes: Final = msgspec.msgpack.Encoder().encode


def _made(kind: Any, value: Any) -> Any:
    """Return a value of a class that msgspec does not know."""
    return Counter(value) if get_origin(kind) is Counter or kind is Counter else value


begin_of: Final = msgspec.msgpack.Decoder(Begin).decode
parse_of: Final = msgspec.msgpack.Decoder(Parse).decode
message_of: Final = msgspec.msgpack.Decoder(FromWorker, dec_hook=_made).decode


def frame(message: ToWorker | FromWorker) -> bytes:
    """Return the bytes of a message."""
    data = _to_bytes(message)
    return _LENGTH.pack(len(data)) + data


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """Return the next message, still encoded; None if the other process has closed its end or ended within a message.

    read: returns at most this number of bytes, and no bytes at the end.
    """
    head = _exactly(read, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    return _exactly(read, length) if length <= _MOST_BYTES else None


def _exactly(read: Callable[[int], bytes], length: int) -> bytes | None:
    parts = []
    while length:
        part = read(length)
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
