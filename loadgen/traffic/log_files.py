"""Opens log files, unpacks gzip, and splits them into lines of limited length."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from loadgen.errors import UsageError

__all__ = ["MOST_LINE_BYTES", "Block", "blocks", "log_files"]

MOST_LINE_BYTES: Final = 256 << 10
"""Longer lines are rejected. Servers limit a request line and a header to 8 KiB, or 32 KiB each with escapes."""
_PIECE_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Neighbouring lines of a file, without their ends.

    is_odd: whether a line may be too long or contain NUL bytes. A line that is too long is cut off.
    """

    lines: list[bytes]
    is_odd: bool


def log_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files of some paths, each once, sorted by name. A folder means all its files, except hidden ones.

    Raises:
        UsageError: a path does not exist, or a folder is empty.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not inside:
                raise UsageError(f"{path}: the folder has no files", hint="name a folder or files with logs")
        elif path.exists():
            inside = [path]
        else:
            raise UsageError(f"{path}: file not found", hint="name existing files or folders with logs")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return sorted(found.values(), key=str)


def blocks(path: Path) -> Iterator[Block]:
    """Yield the lines of a file in blocks of about 1 MiB. Gzip is recognized by its first bytes.

    Raises:
        UsageError: the file cannot be read, or its archive is cut or damaged.
    """
    try:
        with path.open("rb") as raw:
            first = raw.read(4)
            raw.seek(0)
            if first == _ZSTD:
                raise UsageError(
                    f"{path}: zstd is not supported", hint="unpack it with: zstd -d, and name the plain file"
                )
            if first[:2] == _GZIP:
                with gzip.open(raw) as unpacked:
                    yield from _blocks(cast(BinaryIO, unpacked))
            else:
                yield from _blocks(raw)
    except EOFError:
        raise UsageError(
            f"{path}: the archive ends too early", hint="copy the file again: its end is missing"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path}: the archive is damaged: {error}", hint="test it with: gzip -t") from None
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check path and permissions"
        ) from None


def _blocks(file: BinaryIO) -> Iterator[Block]:
    rest = b""
    is_skipping = False
    is_first = True
    while piece := file.read(_PIECE_BYTES):
        if is_first:
            piece = piece.removeprefix(_BOM)
            is_first = False
        if is_skipping:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece = piece[end + 1 :]
            is_skipping = False
        text = rest + piece
        is_odd = b"\0" in text
        lines = text.split(b"\n")
        rest = lines.pop()
        if len(rest) > MOST_LINE_BYTES:
            # The beginning is enough to reject the line; the rest of it is read and dropped.
            lines.append(rest[: MOST_LINE_BYTES + 1])
            rest = b""
            is_skipping = True
        if b"\r" in text:
            lines = [line.removesuffix(b"\r") for line in lines]
        if lines:
            yield Block(lines, is_odd or max(map(len, lines)) > MOST_LINE_BYTES)
    if rest:
        yield Block([rest.removesuffix(b"\r")], True)
