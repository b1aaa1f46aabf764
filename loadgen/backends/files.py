"""Reads traces from files: `--file PATH`, a file or a folder, plain or packed with gzip or zstd.

The formats are recognized by their content: OTLP as JSON (one object, or one a line) and protobuf, Jaeger's JSON,
Zipkin's version 2, X-Ray's segments, Datadog's traces. Only the spans of asked traces are kept in memory, beside the
content of one file. The spans of a trace may be spread over lines and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from loadgen.backends.backend import Answer, CallPlan, Found, Missing, OnProgress, Progress, no_progress
from loadgen.backends.unpack import Unpacked, unpacked
from loadgen.errors import TraceFormatError, UsageError
from loadgen.outside_text import one_line
from loadgen.traces.convert.detect import collect
from loadgen.traces.convert.spans import SpanCollector
from loadgen.traces.model import Trace

__all__ = ["FilesBackend", "traces_in_files"]

FILE_BYTES: Final = 1 << 30
"""The most bytes of a file, unpacked."""
FILES_MOST: Final = 10_000
_HINT: Final = "give a file of OTLP, Jaeger, Zipkin, X-Ray or Datadog traces, or a folder with such files"
_PACKED: Final = (".gz", ".zst", ".zstd")


class FilesBackend:
    """Traces in a file, or in all files of a folder and its subfolders.

    keep: names of attributes that are kept besides the usual ones.

    Raises:
        UsageError: there is no such file, or the folder is empty.
    """

    def __init__(self, path: Path, keep: Sequence[str] = ()) -> None:
        self._files = _files_at(path)
        self._keep = tuple(keep)

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, len(self._files), noun="file")

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        """Yield each id with its answer, after all files were read.

        Raises:
            UsageError: a file cannot be read, or has another format.
        """
        found = SpanCollector(self._keep, only=ids)
        for number, file in enumerate(self._files, 1):
            _collect(file, found)
            on_progress(Progress(0, len(ids), f"read {number} of {len(self._files)} files"))
        traces = {one.id: one for one in found.traces()}
        for done, one in enumerate(ids, 1):
            yield one, Found(traces[one]) if one in traces else Missing()
            on_progress(Progress(done, len(ids)))

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""


def traces_in_files(path: Path, keep: Sequence[str] = ()) -> list[Trace]:
    """Return all traces in a file or folder, at most a million spans.

    Raises:
        UsageError: a file is missing, cannot be read, or has another format.
    """
    found = SpanCollector(tuple(keep))
    for file in _files_at(path):
        _collect(file, found)
    return found.traces()


def _collect(file: Path, into: SpanCollector) -> None:
    name = file.name
    while name.lower().endswith(_PACKED):  # spans.pb.gz is protobuf
        name = name.rpartition(".")[0]
    try:
        collect(name, _content(file), into)
    except TraceFormatError as error:
        raise UsageError(f"{file}: {error.message}", hint=error.hint) from None


def _files_at(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder", hint=_HINT)
    found: list[Path] = []
    for one in path.rglob("*"):
        if one.is_file() and not one.name.startswith("."):
            found.append(one)
            if len(found) > FILES_MOST:
                raise UsageError(f"{path} has more than {FILES_MOST:,} files", hint="give a smaller folder")
    if not found:
        raise UsageError(f"{path}: the folder has no files", hint=_HINT)
    return sorted(found)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise UsageError(f"{path} has more than {FILE_BYTES >> 30} GiB", hint="split the file, and give a folder")
        data = path.read_bytes()
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}"
        raise UsageError(what, hint="check the path and its permissions") from None
    try:
        return unpacked(data, FILE_BYTES)
    except Unpacked as error:
        raise UsageError(
            f"{path}: the archive {one_line(str(error), 160)}", hint="test it with gzip -t or zstd -t; copy it again"
        ) from None
