"""The output `ndjson=FILE`: one line of JSON for each series and interval, and one for each region; `-` is stdout.

A time of which only a lower bound is known is a string, "> 1234.5", as in summary.json.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from loadgen.measure.deltas.series_key import TOKEN_METRICS, TOKEN_NS
from loadgen.measure.results.figures import figure
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import in_json
from loadgen.sinks.changes import Since, recent_of, score_of
from loadgen.sinks.output_queue import Sink
from loadgen.sinks.snapshot import Snapshot

__all__ = ["NdjsonSink"]


class NdjsonSink(Sink):
    """Appends lines to a file, which it opens for the first snapshot; path None is stdout."""

    wants_recent = True

    def __init__(self, path: Path | None) -> None:
        super().__init__("ndjson", "-" if path is None else str(path))
        self._path, self._since = path, Since()
        self._file: int | None = None
        self._rest = b""
        """The rest of a line that was written in part before the disk was full."""

    def deliver(self, snapshot: Snapshot) -> None:
        self._write(self._rest, is_begun=True)
        self._write(b"".join(self._encoded(line) + b"\n" for line in self._lines(snapshot)))
        self._since.took_all(snapshot)

    def close(self) -> None:
        if self._file is not None and self._path is not None:
            os.close(self._file)
        self._file = None

    def _encoded(self, line: dict[str, Any]) -> bytes:
        encoded = msgspec.json.encode(line)
        return encoded if self._path is not None else in_json(encoded.decode()).encode()  # stdout may be a terminal

    def _write(self, data: bytes, *, is_begun: bool = False) -> None:
        """Write all of `data` to the file or stdout. After an error, keep the rest of a line that is partly written,
        for the next call, so that the file has whole lines.

        is_begun: `data` begins in the middle of a line.
        """
        if self._file is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._file = sys.stdout.fileno() if self._path is None else os.open(self._path, flags, 0o644)
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._file, view) :]
            except OSError:
                left = bytes(view)
                written = data[: len(data) - len(left)]
                is_begun = (is_begun or bool(written)) and not written.endswith(b"\n")
                self._rest = left[: left.index(b"\n") + 1] if is_begun else b""
                raise
        self._rest = b""

    def _lines(self, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
        run = {
            "run_id": snapshot.run.run_id,
            "plan": snapshot.run.plan,
            "interval": None if snapshot.is_final else snapshot.k,
            "time": utc_text(datetime.fromtimestamp(snapshot.time_ns / 1e9, UTC)),
            "final": snapshot.is_final,
        }
        grown = {change.series.labels: change.count for change in self._since.changes(snapshot)}
        for series in snapshot.all_series:
            count = grown.get(series.labels, 0)
            if not count and not snapshot.is_final:
                continue
            counts = {"count": series.count, "censored": series.censored, "interval_count": count}
            times = {name: figure(value) for name, value in recent_of(series).items()}
            labels = asdict(series.labels)
            del labels["tags"], labels["metric"]
            if series.labels.tags:
                # Another kind, so that a sum over the lines of one kind counts each value once.
                labels |= {"kind": f"tagged_{series.labels.kind}", "tags": dict(series.labels.tags)}
            if series.labels.metric != "response":
                labels["kind"] = series.labels.what
            if series.labels.metric in TOKEN_METRICS:
                yield run | labels | counts | {"tokens": series.sum_ns // TOKEN_NS}
                continue
            if series.labels.metric == "cls":
                scores = {name: score_of(value) for name, value in recent_of(series).items()}
                yield run | labels | counts | {"interval_scores": scores or None}
                continue
            yield run | labels | counts | {"interval_ms": times or None}
        for region, counters in snapshot.counters.items():
            yield run | {"kind": "region", "region": region} | asdict(counters) | asdict(snapshot.levels[region])
