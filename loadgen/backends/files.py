"""Traces in files, as a backend: `--file PATH`, a file or a folder. `loadgen/backends/trace_files.py` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from loadgen.backends.backend import Answer, CallPlan, Found, Missing, OnProgress, Progress, no_progress
from loadgen.backends.trace_files import collected_places, last_places, trace_files
from loadgen.traces.convert.spans import SpanCollector

__all__ = ["FilesBackend"]


class FilesBackend:
    """Traces in a file, or in all files of a folder and its subfolders.

    keep: names of attributes that are kept besides the usual ones.

    Raises:
        UsageError: there is no such file, or the folder is empty.
    """

    def __init__(self, path: Path, keep: Sequence[str] = ()) -> None:
        self._files = trace_files(path)
        self._keep = tuple(keep)

    @property
    def content(self) -> str:
        """Return a hash of the paths, sizes and times of change of the files."""
        facts = [(str(file.resolve()), *_facts_of(file)) for file in self._files]
        return sha256(repr((facts, self._keep)).encode()).hexdigest()

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, len(self._files), noun="file")

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        """Yield each id with its answer. Only spans of asked traces are kept in memory.

        If all files have one object a line, a trace is yielded after its last line, so that only traces with further
        lines are in memory. To know the last lines, all files are searched for ids before.

        Raises:
            TraceFormatError, UsageError: a file cannot be read, or has another format.
        """
        found = SpanCollector(self._keep, only=ids)
        places = last_places(self._files, found) or {}
        left = dict.fromkeys(ids)
        done = 0

        def on_file(number: int, of: int) -> None:
            on_progress(Progress(done, len(ids), f"read {number} of {of} files"))

        for place in collected_places(self._files, found, on_file):
            for one in places.get(place, ()):
                if (trace := found.take(one)) is not None and one in left:
                    del left[one]
                    done += 1
                    yield one, Found(trace)
        traces = {one.id: one for one in found.traces()}
        for one in left:
            done += 1
            yield one, Found(traces[one]) if one in traces else Missing()
            on_progress(Progress(done, len(ids)))

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""


def _facts_of(file: Path) -> tuple[int, int]:
    """Return the size of a file and the time of its last change, ns."""
    try:
        facts = file.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
