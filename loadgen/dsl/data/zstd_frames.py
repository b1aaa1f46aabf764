"""Walks through the blocks of a zstd file without unpacking it, to find out whether its end is missing.

The format is that of RFC 8878: frames one after another, each with a header, blocks that carry their length, and
perhaps a checksum; skippable frames carry their length.
"""

from __future__ import annotations

from typing import BinaryIO, Final

__all__ = ["is_whole"]

_MAGIC: Final = 0xFD2FB528
_SKIPPABLE: Final = 0x184D2A50
_RLE: Final = 1


def is_whole(file: BinaryIO) -> bool | None:
    """Return whether a file consists of whole zstd frames; None if it does not begin as a zstd file."""
    size = file.seek(0, 2)
    file.seek(0)
    is_first = True
    while True:
        magic = file.read(4)
        if not magic and not is_first:
            return True
        number = int.from_bytes(magic, "little")
        if len(magic) < 4 or (number != _MAGIC and number & ~0xF != _SKIPPABLE):
            return None if is_first else False
        is_first = False
        if not (_skip(file, size) if number != _MAGIC else _frame(file, size)):
            return False


def _skip(file: BinaryIO, size: int) -> bool:
    length = file.read(4)
    return len(length) == 4 and file.seek(int.from_bytes(length, "little"), 1) <= size


def _frame(file: BinaryIO, size: int) -> bool:
    descriptor = file.read(1)
    if not descriptor:
        return False
    flags = descriptor[0]
    is_single = bool(flags & 0x20)
    content_bytes = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    file.seek((not is_single) + (0, 1, 2, 4)[flags & 3] + content_bytes, 1)
    is_last = False
    while not is_last:
        header = file.read(3)
        if len(header) < 3:
            return False
        block = int.from_bytes(header, "little")
        is_last = bool(block & 1)
        length = 1 if block >> 1 & 3 == _RLE else block >> 3
        if file.seek(length, 1) > size:
            return False
    return file.seek(4 if flags & 4 else 0, 1) <= size
