"""The traces that were read for a run: `RUN/traces/*.jsonl.zst`, one trace a line as OTLP JSON, attributes redacted.

A trace is fetched once: all later analysis reads these files. Each file is written completely or not at all. It has at
most `BATCH` traces, so a kill costs no more than these; Ctrl-C and errors cost nothing. The name of a file begins with
the name of the source.

A trace that a backend had cut is the exception: it is fetched again, and a fuller answer takes its place. The old line
is removed after the new one is written, so a kill in between leaves both, and the next command fetches the trace again.

`asked.json` has the ids that a file did not have: a file that is still the same is not searched for them again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from loadgen.atomic_files import atomic_write
from loadgen.backends.backend import Answer, Found
from loadgen.backends.limited_unpack import unpacked_whole
from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.crc_record_file import pack
from loadgen.traces.model import Trace
from loadgen.unpack import ArchiveDamaged

__all__ = ["FOLDER", "KeptTraces", "absent_ids", "keep_absent", "kept_ids", "kept_sizes", "kept_traces"]

FOLDER: Final = "traces"
BATCH: Final = 50
_SUFFIX: Final = ".jsonl.zst"
_FILE_BYTES: Final = 1 << 30
_ID: Final = re.compile(rb'"traceId":\s*"([0-9a-fA-F]{32})"')
_IS_CUT: Final = b'"loadgen.is_cut"'
_SPANS: Final = b'"spans"'
_SPAN: Final = b'"spanId":"'
_ASKED: Final = "asked.json"
_ASKED_BYTES: Final = 16 << 20
_NUMBERS: Final = 100_000

Write = Callable[[Trace], bytes]
Read = Callable[[bytes], Trace | None]


class KeptTraces:
    """Stores the traces of one source in the folder of a run, while they are read. Use it in a `with` block.

    Args:
        run: the run's folder.
        source: the name of the source, as in `[trace.NAME]`, or "file".
        write: returns the line of a trace. Default: the house's writer of OTLP JSON.
        cut: the number of stored spans by id, for traces that are stored cut. An answer that is whole or has more
            spans takes their place.
    """

    def __init__(
        self, run: Path, source: str, write: Write | None = None, cut: Mapping[str, int] | None = None
    ) -> None:
        self._cut = dict(cut or {})
        self._replaced: set[str] = set()
        self._new: set[Path] = set()
        self._folder, self._source = run / FOLDER, _plain(source)
        self._write = write or _line
        self._lines: list[bytes] = []
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.flush()  # also after Ctrl-C
        if self._replaced:
            self._remove_old()

    def add(self, answer: Answer) -> None:
        """Store a found trace; other answers are ignored.

        Raises:
            StorageError: a file cannot be written.
        """
        if not isinstance(answer, Found):
            return
        stored = self._cut.pop(answer.trace.id, 0)
        if stored:
            if answer.is_cut and len(answer.trace.spans) <= stored:
                return
            self._replaced.add(answer.trace.id)
        self._lines.append(self._write(answer.trace).strip())
        if len(self._lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last file.

        Raises:
            StorageError: the file cannot be written.
        """
        if not self._lines:
            return
        data = pack(b"\n".join(self._lines) + b"\n")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            while True:
                self._number += 1
                path = self._folder / f"{self._source}-{self._number:05d}{_SUFFIX}"
                try:
                    atomic_write(path, data, 0o600, is_exclusive=True, may_lack_links=True)
                    self._new.add(path)
                    break
                except FileExistsError:  # of an earlier command, or of one that runs now
                    if self._number >= _NUMBERS:
                        raise
        except OSError as error:
            raise StorageError(
                f"traces cannot be stored in {self._folder}: {error.strerror or error}",
                hint="make space, or correct the permissions of the run's folder",
            ) from None
        self._lines = []

    def _remove_old(self) -> None:
        """Remove the lines of traces that were replaced from the files of earlier commands.

        Raises:
            StorageError: a file cannot be written.
        """
        for path in _files(self._folder.parent, None):
            if path in self._new:
                continue
            lines = list(_lines(path))
            kept = [line for line in lines if not self._replaced & {*_ids_of(line)}]
            if len(kept) == len(lines):
                continue
            try:
                if kept:
                    atomic_write(path, pack(b"\n".join(kept) + b"\n"), 0o600)
                else:
                    path.unlink()
            except OSError as error:
                raise StorageError(
                    f"traces cannot be replaced in {path}: {error.strerror or error}",
                    hint="make space, or correct the permissions of the run's folder",
                ) from None


def kept_sizes(run: Path) -> dict[str, int]:
    """Return the ids of the stored traces of a run: 0 for whole ones, the number of spans for those that are cut.

    Cost: 10 µs a trace. Damaged files count as absent.
    """
    found: dict[str, int] = {}
    for line in _stored(run, None):
        is_cut = line.find(_IS_CUT, 0, max(0, line.find(_SPANS))) >= 0
        for trace in _ids_of(line):
            found.setdefault(trace, line.count(_SPAN) if is_cut else 0)
    return found


def keep_absent(run: Path, content: str, ids: Collection[str]) -> None:
    """Store the ids of traces that a file does not have. content: tells whether the file is still the same.

    Raises:
        StorageError: the file cannot be written.
    """
    path = run / FOLDER / _ASKED
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        atomic_write(path, msgspec.json.encode(_Asked(content, sorted(ids))), 0o600)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="make space, or correct the permissions of the run's folder",
        ) from None


def absent_ids(run: Path, content: str) -> set[str]:
    """Return the ids of traces that a file does not have; none if the file has changed, or was not searched."""
    path = run / FOLDER / _ASKED
    try:
        if path.stat().st_size > _ASKED_BYTES:
            return set()
        asked = msgspec.json.decode(path.read_bytes(), type=_Asked)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return set()
    return set(asked.absent) if asked.content == content else set()


class _Asked(msgspec.Struct):
    content: str
    absent: list[str]


def kept_ids(run: Path, source: str | None = None) -> set[str]:
    """Return the ids of the stored traces of a run: those that must not be fetched again.

    source: only of this source; None: of all. Damaged files count as absent.
    """
    return {found for line in _stored(run, source) for found in _ids_of(line)}


def kept_traces(
    run: Path, source: str | None = None, read: Read | None = None, only: Collection[str] | None = None
) -> Iterator[Trace]:
    """Yield the stored traces of a run, file by file. If a trace is stored twice, the first one counts.

    source: only of this source; None: of all. Damaged files and lines count as absent: they are fetched again.
    read: returns the trace of a line. Default: the house's reader. only: ids of the traces to return; None: all.
    """
    of_line, seen = read or _trace, set[str]()
    for line in _stored(run, source):
        if only is not None and not any(one in only for one in _ids_of(line)):
            continue
        trace = of_line(line)
        if trace is not None and trace.id not in seen:
            seen.add(trace.id)
            yield trace


def _stored(run: Path, source: str | None) -> Iterator[bytes]:
    for path in _files(run, source):
        yield from _lines(path)


def _files(run: Path, source: str | None) -> list[Path]:
    names = f"{'*' if source is None else _plain(source)}-[0-9][0-9][0-9][0-9][0-9]{_SUFFIX}"
    return sorted((run / FOLDER).glob(names))


def _lines(path: Path) -> Iterator[bytes]:
    try:
        content = unpacked_whole(path.read_bytes(), _FILE_BYTES)
    except (OSError, ArchiveDamaged):
        return
    for line in content.split(b"\n"):
        if line.startswith(b"{") and line.endswith(b"}"):
            yield line


def _ids_of(line: bytes) -> list[str]:
    found = _ID.search(line)
    return [] if found is None else [found[1].decode().lower()]


def _plain(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", source)[:40] or "_"


def _line(trace: Trace) -> bytes:
    from loadgen.traces.convert.otlp_json import otlp_json_line

    return otlp_json_line(trace)


def _trace(line: bytes) -> Trace | None:
    from loadgen.traces.convert.otlp_json import trace_of_kept_line

    try:
        return trace_of_kept_line(line)
    except UsageError:
        return None
