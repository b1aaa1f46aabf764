"""Unpacks an archive in memory, up to a limit: a small archive can expand to gigabytes."""

from __future__ import annotations

from typing import Final

from loadgen.unpack import ArchiveDamaged, unpacked

__all__ = ["TooLarge", "unpacked_whole"]

_PIECE_BYTES: Final = 64 << 10


class TooLarge(ArchiveDamaged):
    """An archive has more content than is allowed."""


def unpacked_whole(data: bytes, most: int) -> bytes:
    """Return the content of an archive of gzip or zstd, or the data themselves if they are none.

    most: the most bytes of the content. An archive of zstd may need 128 MiB more before it is found out.

    Raises:
        TooLarge: there are more.
        ArchiveDamaged: the archive is cut or damaged.
    """
    content = bytearray()
    pieces = (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
    for piece in unpacked(pieces):
        content += piece
        if len(content) > most:
            what = f"has more than {most >> 20} MiB" if most >= 1 << 20 else f"has more than {most:,} bytes"
            raise TooLarge(what, "send less at once")
    return bytes(content)
