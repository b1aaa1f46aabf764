"""One input: a file, a stream such as standard input, or an object in S3."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from loadgen.aws.storage.s3 import Bucket

__all__ = ["STANDARD_INPUT", "Buckets", "LogInput", "bytes_of"]

STANDARD_INPUT: Final = "standard input"
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class LogInput:
    """An input, or a range of a plain file.

    A stream can be read only once and only by this process: standard input, or a pipe of the shell (`<(...)`).
    """

    name: str
    """The path, the address in S3, or `STANDARD_INPUT`. Messages and `traffic.json` contain it."""
    kind: Literal["file", "stream", "s3"] = "file"
    size: int = 0
    """Bytes, packed; 0 for a stream."""
    begin: int = 0
    end: int | None = None
    """The range has the lines that start at the bytes from `begin` to before `end`; None: to the end of the file."""


class Buckets:
    """The buckets of inputs in S3. Each client is made once, because that takes 20 to 100 ms."""

    def __init__(self) -> None:
        self._made: dict[str, Bucket] = {}

    def named(self, name: str) -> Bucket:
        """Return the bucket with this name."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = Bucket(f"s3://{name}")
        return found


def bytes_of(source: LogInput, buckets: Buckets) -> Iterator[bytes]:
    """Yield the bytes of an input in pieces of at most 1 MiB, as they are stored. A range begins with its first line
    and ends with the end of its last line.

    Raises:
        OSError: the file cannot be read.
        CloudError, CredentialsError: the object cannot be read, or its transfer was interrupted.
    """
    if source.kind == "s3":
        name, _, key = source.name.removeprefix("s3://").partition("/")
        yield from buckets.named(name).stream(key)
    elif source.name == STANDARD_INPUT:
        yield from _pieces(sys.stdin.buffer)
    else:
        with Path(source.name).open("rb") as file:
            if source.begin == 0 and source.end is None:
                yield from _pieces(file)
            else:
                yield from _lines_of_range(file, source.begin, source.end)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _lines_of_range(file: BinaryIO, begin: int, end: int | None) -> Iterator[bytes]:
    """Yield the bytes from the first start of a line at or after `begin` to the first one at or after `end`."""
    at = _line_start(file, begin)
    if end is None:
        file.seek(at)
        yield from _pieces(file)
        return
    if at >= end:
        return
    # The line that contains the byte before `end` belongs to this range; the next range begins after it.
    end = _line_start(file, end)
    file.seek(at)
    while at < end and (piece := file.read(min(_PIECE_BYTES, end - at))):
        at += len(piece)
        yield piece


def _line_start(file: BinaryIO, at: int) -> int:
    """Return the place of the first line that starts at or after `at`, or the end of the file."""
    if at == 0:
        return 0
    at = file.seek(at - 1)
    for piece in _pieces(file):
        found = piece.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(piece)
    return at
