"""Traces in files, as a backend: `--file PATH`, a file or a folder. `loadgen/backends/trace_files.py` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from loadgen.backends.backend import Answer, CallPlan, Found, Missing, OnProgress, Progress, no_progress
from loadgen.backends.trace_files import collect_files, trace_files
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

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, len(self._files), noun="file")

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        """Yield each id with its answer, after all files were read. Only spans of asked traces are kept in memory.

        Raises:
            TraceFormatError, UsageError: a file cannot be read, or has another format.
        """
        found = SpanCollector(self._keep, only=ids)
        collect_files(
            self._files, found, lambda done, of: on_progress(Progress(0, len(ids), f"read {done} of {of} files"))
        )
        traces = {one.id: one for one in found.traces()}
        for done, one in enumerate(ids, 1):
            yield one, Found(traces[one]) if one in traces else Missing()
            on_progress(Progress(done, len(ids)))

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""
