"""Unpacks gzip and zstd, recognized by their first bytes, in pieces of limited size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Final

import zstandard

__all__ = ["ArchiveDamaged", "is_packed", "unpacked"]

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_PIECE_BYTES: Final = 1 << 20
_ZSTD_BYTES: Final = 4 << 10
"""zstandard cannot limit its output, so its input is limited: 4 bytes expand to at most 128 KiB, and so 4 KiB to at
most 128 MiB. In smaller steps, the calls would cost more than the unpacking."""
_WINDOW_BYTES: Final = 1 << 27
"""The largest window that is accepted, that of `zstd --long=27`: unpacking takes as much memory."""


class ArchiveDamaged(Exception):
    """An archive ends too early or has wrong bytes. The text completes "the archive ...".

    hint: what to do.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


def is_packed(begin: bytes) -> bool:
    """Return whether a file that begins with these bytes (at least 4) is an archive."""
    return begin.startswith((_GZIP, _ZSTD))


def unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces of about 1 MiB: those of a plain file, or the content of an archive.

    Several archives in one file are one content, as with the programs gzip and zstd.

    Raises:
        ArchiveDamaged: the archive is cut or damaged.
    """
    begin = b""
    while len(begin) < len(_ZSTD) and (piece := next(pieces, b"")):
        begin += piece
    whole = chain((begin,), pieces) if begin else pieces
    if begin.startswith(_GZIP):
        return _gzip(whole)
    if begin.startswith(_ZSTD):
        return _zstd(whole)
    return iter(whole)


def _gzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            while piece:
                if unpacker.eof:
                    piece = piece.lstrip(b"\0")  # padding of tapes and block devices
                    if not piece:
                        break
                    unpacker = zlib.decompressobj(wbits=31)
                text = unpacker.decompress(piece, _PIECE_BYTES)
                piece = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                if text:
                    yield text
        # A piece of the content may have been exactly as long as the limit, so that more is in the unpacker.
        while not unpacker.eof and (text := unpacker.decompress(b"", _PIECE_BYTES)):
            yield text
    except zlib.error as error:
        raise ArchiveDamaged(f"is damaged: {error}", "test it with: gzip -t") from None
    if not unpacker.eof:
        raise _cut()


def _zstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    unpacker = packer.decompressobj()
    content: list[bytes] = []
    length = 0
    try:
        for piece in pieces:
            for at in range(0, len(piece), _ZSTD_BYTES):
                step = piece[at : at + _ZSTD_BYTES]
                while step:
                    if unpacker.eof:
                        unpacker = packer.decompressobj()
                    content.append(unpacker.decompress(step))
                    length += len(content[-1])
                    step = unpacker.unused_data if unpacker.eof else b""
                if length >= _PIECE_BYTES:
                    yield b"".join(content)
                    content.clear()
                    length = 0
    except zstandard.ZstdError as error:
        raise ArchiveDamaged(f"is damaged: {error}", "test it with: zstd -t") from None
    if length:
        yield b"".join(content)
    if not unpacker.eof:
        raise _cut()


def _cut() -> ArchiveDamaged:
    return ArchiveDamaged("ends too early", "copy the file again: its end is missing")
