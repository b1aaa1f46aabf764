"""Splits the content of an input into lines of limited length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen.errors import UsageError
from loadgen.traffic.inputs.log_input import Buckets, LogInput, bytes_of
from loadgen.unpack import ArchiveDamaged, unpacked

__all__ = ["MOST_LINE_BYTES", "Block", "blocks"]

MOST_LINE_BYTES: Final = 256 << 10
"""Longer lines are rejected. Servers limit a request line and a header to 8 KiB, or 32 KiB each with escapes."""
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Neighbouring lines of an input, without their ends.

    is_odd: whether a line may be too long or contain NUL bytes. A line that is too long is cut off.
    """

    lines: list[bytes]
    is_odd: bool


def blocks(source: LogInput, buckets: Buckets) -> Iterator[Block]:
    """Yield the lines of an input in blocks of about 1 MiB. Archives are recognized by their first bytes.

    Raises:
        UsageError: the file cannot be read, or its archive is cut or damaged.
        CloudError, CredentialsError: the object cannot be read, or its transfer was interrupted.
    """
    pieces = bytes_of(source, buckets)
    if not source.begin:
        pieces = unpacked(pieces)
    try:
        yield from _blocks(pieces, may_have_bom=not source.begin)
    except ArchiveDamaged as error:
        raise UsageError(f"{source.name}: the archive {error}", hint=error.hint) from None
    except OSError as error:
        raise UsageError(
            f"{source.name}: cannot be read: {error.strerror or error}", hint="check path and permissions"
        ) from None


def _blocks(pieces: Iterator[bytes], *, may_have_bom: bool) -> Iterator[Block]:
    rest = b""
    is_skipping = False
    for piece in pieces:
        if may_have_bom:
            piece = piece.removeprefix(_BOM)
            may_have_bom = False
        if is_skipping:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece = piece[end + 1 :]
            is_skipping = False
        is_odd = b"\0" in piece or b"\0" in rest
        has_returns = b"\r" in piece or b"\r" in rest
        lines = piece.split(b"\n")
        lines[0] = rest + lines[0]
        rest = lines.pop()
        if len(rest) > MOST_LINE_BYTES:
            # The beginning is enough to reject the line; the rest of it is read and dropped.
            lines.append(rest[: MOST_LINE_BYTES + 1])
            rest = b""
            is_skipping = True
        if has_returns:
            lines = [line.removesuffix(b"\r") for line in lines]
        if lines:
            yield Block(lines, is_odd or max(map(len, lines)) > MOST_LINE_BYTES)
    if rest:
        yield Block([rest.removesuffix(b"\r")], True)
