"""Reads the spans of files: `--file PATH`, a file or a folder, plain or packed with gzip or zstd.

A file with one object a line is read line by line, so its size does not matter; every other file is read as a whole.
The spans of a trace may be spread over lines and files. The format is recognized by the content, see
`loadgen/traces/convert/detect.py`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from loadgen.errors import TraceFormatError, UsageError
from loadgen.traces.convert.detect import collect, collect_object, is_object
from loadgen.traces.convert.spans import SpanCollector
from loadgen.unpack import ArchiveDamaged, unpacked

__all__ = [
    "MOST_DOCUMENT_BYTES",
    "MOST_FILES",
    "MOST_LINE_BYTES",
    "Place",
    "collect_files",
    "collected_places",
    "last_places",
    "trace_files",
]

_T = TypeVar("_T")
MOST_FILES: Final = 10_000
MOST_DOCUMENT_BYTES: Final = 512 << 20
"""The most bytes of a file without lines, unpacked. Its spans need about as much memory again."""
MOST_LINE_BYTES: Final = 128 << 20
"""The most bytes of a line: 120,000 spans have 67 MB."""
_LEAST_LIMIT_BYTES: Final = 64 << 20
_MOST_RATIO: Final = 500
"""The most bytes of a packed file's content, for each of its own bytes. Traces shrink to a tenth up to a hundredth."""
_PIECE_BYTES: Final = 1 << 20
_TRACE_ID: Final = re.compile(rb'"trace(?:I[dD]|_id)"\s*:\s*"([^"\\]{1,64})"')
Place = tuple[int, int]
"""The number of a file and of a line in it, from 1; line 0 is a whole file."""
_HINT: Final = "give a file of OTLP, Jaeger, Zipkin, X-Ray or Datadog traces, or a folder with such files"


def trace_files(path: Path) -> list[Path]:
    """Return the file, or all files of a folder and its subfolders, sorted. Hidden files are left out.

    Raises:
        UsageError: there is no such file, or the folder has none or more than `MOST_FILES`.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder", hint=_HINT)
    found: list[Path] = []
    for one in path.rglob("*"):
        if not one.name.startswith(".") and one.is_file():
            found.append(one)
            if len(found) > MOST_FILES:
                raise UsageError(f"{path} has more than {MOST_FILES:,} files", hint="give a folder with fewer files")
    if not found:
        raise UsageError(f"{path}: the folder has no files", hint=_HINT)
    return sorted(found)


def collect_files(
    files: list[Path], into: SpanCollector, on_file: Callable[[int, int], None] = lambda done, of: None
) -> None:
    """Add the spans of all files. Memory: the collected spans, and a line or a document.

    on_file: called after each file with the number of files that were read, and of all.

    Raises:
        TraceFormatError: a file has an unknown format or is damaged; the message has its path and line.
        UsageError: a file cannot be read, its archive is damaged, or it is too large.
    """
    for _ in collected_places(files, into, on_file):
        pass


def collected_places(
    files: list[Path], into: SpanCollector, on_file: Callable[[int, int], None] = lambda done, of: None
) -> Iterator[Place]:
    """Add the spans of all files as `collect_files` does, and yield the place after each line and each whole file."""
    for number, file in enumerate(files, 1):
        for line in _opened(file, _collected(file, into)):
            yield number, line
        on_file(number, len(files))


def last_places(files: list[Path], into: SpanCollector) -> dict[Place, list[str]] | None:
    """Return the ids of the traces that a collector wants by the place of their last mention, without decoding.

    None if that is unknown: a file is not one object a line, or a line has no trace id in a form that is found by its
    bytes. Cost: 1 ms for each MB.
    """
    last: dict[str, Place] = {}
    for number, file in enumerate(files, 1):
        pieces = _content(file)
        lines = _opened(file, _object_lines(file, pieces))
        n = 0
        for n, line in enumerate(lines, 1):
            ids = set(_TRACE_ID.findall(line))
            if not ids and line and not line.isspace():
                return None
            for one in ids:
                try:
                    trace = into.wanted(one.decode())
                except (TraceFormatError, UnicodeDecodeError):
                    return None
                if trace is not None:
                    last[trace] = number, n
        if not n:
            return None
    places: defaultdict[Place, list[str]] = defaultdict(list)
    for trace, place in last.items():
        places[place].append(trace)
    return places


def _opened(file: Path, parts: Iterator[_T]) -> Iterator[_T]:
    """Yield the parts of a file, with a sentence for each error."""
    try:
        yield from parts
    except ArchiveDamaged as error:
        raise UsageError(f"{file}: the archive {error}", hint=error.hint) from None
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read: {error.strerror or error}", hint="check the path and its permissions"
        ) from None


def _begin(pieces: Iterator[bytes]) -> tuple[list[bytes], int]:
    """Return the first pieces of a file, up to the end of its first line, and their length."""
    parts: list[bytes] = []
    length = 0
    for piece in pieces:
        is_blank = not length  # so far: white space before the first line
        parts.append(piece)
        length += len(piece) if length else len(piece.lstrip())
        if b"\n" in (piece.lstrip() if is_blank else piece) or length > MOST_LINE_BYTES:
            break
    return parts, length


def _has_lines(begin: bytes) -> bool:
    """Return whether a file that begins so has one object a line."""
    # A file of one line has no line end before its last byte, and is a document like any other.
    first, end, _ = begin.lstrip(b" \t\r\n\xef\xbb\xbf").partition(b"\n")
    return bool(end) and is_object(first)


def _object_lines(path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file with one object a line; nothing of any other file."""
    begin = b"".join(_begin(pieces)[0])
    if _has_lines(begin):
        yield from _lines(path, begin, pieces)


def _collected(path: Path, into: SpanCollector) -> Iterator[int]:
    """Add the spans of a file, and yield the number of each line after it was added, or 0 after a whole file."""
    pieces = _content(path)
    parts, length = _begin(pieces)
    begin = b"".join(parts)
    if _has_lines(begin):
        yield from _collected_lines(path, begin, pieces, into)
        return
    for piece in pieces:
        parts.append(piece)
        length += len(piece)
        if length > MOST_DOCUMENT_BYTES:
            break
    if length > MOST_DOCUMENT_BYTES:
        raise UsageError(
            f"{path} is larger than {MOST_DOCUMENT_BYTES >> 20} MiB, the limit for a single JSON document",
            hint="split the file, or write one JSON object in each line",
        )
    name = path.name.lower()
    try:
        collect(name.removesuffix(".gz").removesuffix(".zst"), b"".join(parts), into)
    except TraceFormatError as error:
        raise TraceFormatError(f"{path}: {error.message}", hint=error.hint) from None
    yield 0


def _collected_lines(path: Path, begin: bytes, pieces: Iterator[bytes], into: SpanCollector) -> Iterator[int]:
    number = 0
    for line in _lines(path, begin, pieces):
        number += 1
        if not line or line.isspace():
            continue
        try:
            collect_object(line, into)
        except TraceFormatError as error:
            raise TraceFormatError(f"{path}:{number}: {error.message}", hint=error.hint) from None
        yield number


def _lines(path: Path, begin: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file without their ends. begin: its first bytes, before the other pieces."""
    *whole, last = begin.split(b"\n")
    yield from whole
    rest, length = [last], len(last)
    for piece in pieces:
        first, end, more = piece.partition(b"\n")
        rest.append(first)
        length += len(first)
        if length > MOST_LINE_BYTES:
            raise UsageError(f"{path}: a line has more than {MOST_LINE_BYTES >> 20} MiB", hint="split its trace")
        if end:
            yield b"".join(rest)
            *whole, last = more.split(b"\n")
            yield from whole
            rest, length = [last], len(last)
    yield b"".join(rest)


def _content(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, unpacked, in pieces of about 1 MiB.

    Raises:
        UsageError: the content of an archive is too large for its size, as that of a bomb.
        ArchiveDamaged, OSError: it cannot be unpacked or read.
    """
    packed_bytes = path.stat().st_size
    length, most = 0, max(_LEAST_LIMIT_BYTES, _MOST_RATIO * packed_bytes)
    for piece in unpacked(_pieces(path)):
        length += len(piece)
        if length > most:
            raise UsageError(
                f"{path}: the archive has {packed_bytes:,} bytes, and its content more than {most >> 20} MiB",
                hint="unpack it, and check what is in it",
            )
        yield piece


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
