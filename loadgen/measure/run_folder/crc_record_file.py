"""Files of records, each with its length and CRC. A torn or damaged record ends the file.

8 bytes of magic, then records: length u32, CRC-32 of the payload u32, both little endian, payload.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zstandard

__all__ = ["HEAD_BYTES", "MAGIC_BYTES", "MAX_RECORD", "framed", "pack", "read_framed", "unpack"]

_HEAD: Final = struct.Struct("<II")
HEAD_BYTES: Final = _HEAD.size
MAGIC_BYTES: Final = 8
MAX_RECORD: Final = 1 << 30
"""Longer than any record that loadgen writes: such a length is damage."""


def framed(payload: bytes) -> bytes:
    """Return the payload as one record of a file: its length, its CRC-32 and the payload itself."""
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def pack(data: bytes) -> bytes:
    """Return the data compressed with zstd. Only for our own files: `unpack` does not limit the size of its result."""
    return zstandard.ZstdCompressor(level=1).compress(data)


def unpack(data: bytes) -> bytes:
    """Return the data that `pack` compressed.

    Raises:
        ValueError: the data was not made by `pack`.
    """
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc


def read_framed(path: Path, magic: bytes, start: int = MAGIC_BYTES, most: int = MAX_RECORD) -> Iterator[bytes]:
    """Yield the payload of each record of a file from offset `start` on, up to the end or to the first damaged record.

    magic: the 8 bytes with which the file must begin. most: largest size of a payload, bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file does not begin with `magic`.
    """
    with path.open("rb") as file:
        # A shorter file is accepted: a crash may have come before the whole magic was durable.
        if not magic.startswith(file.read(MAGIC_BYTES)):
            raise ValueError(f"{path} does not begin with {magic.decode()}")
        file.seek(start)
        while len(head := file.read(HEAD_BYTES)) == HEAD_BYTES:
            length, crc = _HEAD.unpack(head)
            if not 0 < length <= most:
                return
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != crc:
                return
            yield payload
