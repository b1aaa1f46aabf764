"""Unpacks gzip and zstd in memory, up to a limit: a small archive can expand to gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

import zstandard

__all__ = ["Unpacked", "is_packed", "packed", "unpacked"]

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_WINDOW_BYTES: Final = 1 << 27
"""The largest window of zstd that is accepted, that of `zstd --long=27`: unpacking takes as much memory."""

_ZSTD_BYTES: Final = 512
"""zstandard cannot limit its output, so its input is limited: 4 bytes expand to at most 128 KiB, and so 512 bytes to at
most 16 MiB."""


class Unpacked(Exception):
    """An archive cannot be unpacked. The text completes "the archive ..."."""


def is_packed(data: bytes) -> bool:
    """Return whether data that begins like this is an archive of gzip or zstd."""
    return data.startswith((_GZIP, _ZSTD))


def packed(data: bytes) -> bytes:
    """Return data compressed with zstd."""
    return zstandard.ZstdCompressor(level=3).compress(data)


def unpacked(data: bytes, most: int) -> bytes:
    """Return the content of an archive, or the data themselves if they are none. Several archives are one content.

    most: the most bytes of the content.

    Raises:
        Unpacked: the archive is cut, damaged, or larger than `most`.
    """
    if data.startswith(_GZIP):
        return _gzip(data, most)
    if data.startswith(_ZSTD):
        return _zstd(data, most)
    if len(data) > most:
        raise Unpacked(_too_large(most))
    return data


def _gzip(data: bytes, most: int) -> bytes:
    content = bytearray()
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            content += unpacker.decompress(data, most - len(content) + 1)
        except zlib.error as error:
            raise Unpacked(f"is damaged: {error}") from None
        if len(content) > most:
            raise Unpacked(_too_large(most))
        if not unpacker.eof:
            raise Unpacked("ends too early")
        data = unpacker.unused_data.lstrip(b"\0")  # padding of block devices
    return bytes(content)


def _zstd(data: bytes, most: int) -> bytes:
    content: list[bytes] = []
    length = 0
    packer = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    unpacker = packer.decompressobj()
    try:
        for at in range(0, len(data), _ZSTD_BYTES):
            step = data[at : at + _ZSTD_BYTES]
            while step:
                if unpacker.eof:
                    unpacker = packer.decompressobj()
                content.append(unpacker.decompress(step))
                length += len(content[-1])
                step = unpacker.unused_data if unpacker.eof else b""
                if length > most:
                    raise Unpacked(_too_large(most))
    except zstandard.ZstdError as error:
        raise Unpacked(f"is damaged: {error}") from None
    if not unpacker.eof:
        raise Unpacked("ends too early")
    return b"".join(content)


def _too_large(most: int) -> str:
    return f"has more than {most >> 20} MiB" if most >= 1 << 20 else f"has more than {most:,} bytes"
