"""Writes and reads `histograms.hlog`: a run in HdrHistogram's own log format, for any HdrHistogram tool.

One line for each series and 10 s, values in µs, times relative to the run's start. The tag is the
series: `kind=request&journey=...`, each value percent-encoded, since commas and spaces break readers.
The package's log writer writes no tags, so this module writes the lines around its `encode()`. The
package's reader reads them.

A trend (`kind=trend`, a metric of the scenario) has multiples of its resolution in place of µs. A
warm-up that was found after the run is not marked: the lines are as the agents measured.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, TextIO, cast
from urllib.parse import parse_qsl, quote, urlencode

import numpy as np

from loadgen.atomic_files import atomic_file
from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, Counts, Histogram
from loadgen.measure.merging.stored_interval import Cell
from loadgen.measure.run_folder.rundir import storage_error, utc_text
from loadgen.secret_files import file_mode
from loadgen.units import NS_PER_S

__all__ = ["HlogLine", "key_of", "read_hlog", "tag_of", "write_hlog", "write_hlog_of_cells"]

_MOST_PARTS: Final = 16
"""Parts of one series in one window that are kept before they are added up."""
_LATE_WINDOWS: Final = 6
"""Windows kept open for agents that report late. Counts that arrive even later get a line further down."""
_DAMAGED: Final = "the file is damaged, or is not an HdrHistogram V2 log: copy it again"


def tag_of(region: str, key: SeriesKey) -> str:
    """Return a series of a region as the tag of a line in the log: "kind=request&journey=...", percent-encoded.

    Missing parts are left out.
    """
    parts = {"region": region, **{f.name: getattr(key, f.name) for f in fields(key) if f.name != "tags"}}
    named = [(name, _text(value)) for name, value in parts.items() if value not in (None, False)]
    return urlencode([*named, *((f"tag.{name}", value) for name, value in key.tags)], quote_via=quote, safe="")


def key_of(tag: str) -> tuple[str, SeriesKey]:
    """Return (region, key of the series) from a tag that `tag_of` returned.

    Raises:
        ValueError: the tag was not written by `tag_of`.
    """
    given = dict(parse_qsl(tag, keep_blank_values=True, strict_parsing=True))
    tags = tuple((name[4:], given.pop(name)) for name in list(given) if name.startswith("tag."))
    region = given.pop("region", None)
    flags = {name: given.pop(name, "") == "true" for name in ("censored", "warmup")}
    names = {f.name for f in fields(SeriesKey)}
    if region is None or not {"kind", "journey", "outcome", "metric"} <= given.keys() <= names:
        raise ValueError(f"the tag does not name a series of loadgen: {tag}")
    texts = cast("dict[str, str]", {"step": None, "request": None, **given})
    return region, SeriesKey(**texts, **flags, tags=tags)  # type: ignore[arg-type]


def write_hlog(path: Path, deltas: Iterable[tuple[str, Delta]], start_wall: datetime, window_s: int = 10) -> int:
    """Write `histograms.hlog` from a run's deltas, whole or not at all, and return its number of lines.

    Args:
        path: the file to write.
        deltas: (region, delta) in the order in which they were merged; each once.
        start_wall: wall-clock time of T0.
        window_s: the time that one line covers.

    Raises:
        StorageError: the file could not be written.

    Cost: about 0.35 ms a line; memory for a minute of counts.
    """
    return _write(path, _pieces_of_deltas(deltas), start_wall, window_s * NS_PER_S)


def write_hlog_of_cells(path: Path, cells: Iterable[Cell], start_wall: datetime, window_s: int = 10) -> int:
    """Write the same file as `write_hlog`, from a run's cells (its stored intervals). Return its number of lines.

    cells: in the order of their file (see `stored_interval.py`).
    """
    return _write(path, _pieces_of_cells(cells), start_wall, window_s * NS_PER_S)


def _write(path: Path, pieces: Iterable[_Piece], start_wall: datetime, window_ns: int) -> int:
    try:
        with atomic_file(path, file_mode(path.parent), is_durable=True) as raw:
            file = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
            _head(file, start_wall)
            lines = sum(_write_lines(file, window) for window in _windows(pieces, window_ns))
            file.detach()  # flushes; `raw` is closed by its owner
    except OSError as exc:
        raise storage_error(path, exc) from exc
    return lines


@dataclass(frozen=True, slots=True)
class HlogLine:
    """One interval of one tag."""

    tag: str | None
    start_s: float
    """As written in the file: relative to the file's BaseTime if it has one."""
    length_s: float
    histogram: Histogram


_LINE: Final = re.compile(r"(?:Tag=([^,]*),)?([\d.]+),([\d.]+),([\d.]+),(\S+)\s*")


def read_hlog(path: Path) -> Iterator[HlogLine]:
    """Yield each line of any HdrHistogram V2 log, with its tag, time and histogram. Values must be below 1 h.

    Raises:
        StorageError: the file cannot be read, or a line is damaged; the message has its number.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.startswith(("#", '"')) or not line.strip():
                    continue
                match = _LINE.fullmatch(line)
                if match is None:
                    raise StorageError(
                        f"cannot read {path}: line {number} is not an interval of an HdrHistogram log", hint=_DAMAGED
                    )
                try:
                    histogram = Histogram.decode(match[5])
                    yield HlogLine(match[1], float(match[2]), float(match[3]), histogram)
                except ValueError as exc:
                    raise StorageError(f"cannot read {path}: line {number}: {exc}", hint=_DAMAGED) from exc
    except UnicodeDecodeError as exc:
        raise StorageError(f"cannot read {path}: it is not a text file: {exc}", hint=_DAMAGED) from exc
    except OSError as exc:
        raise storage_error(path, exc, doing="read") from exc


@dataclass(slots=True)
class _Window:
    start_s: float
    length_s: float
    series: dict[tuple[str, SeriesKey], _Parts]


class _Parts:
    """The counts of one series in one window, as pairs of (slots, counts) that are added up once they are many.

    A whole histogram has up to 188 kB, and there may be 50,000 of them.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[tuple[Counts, Counts]] = []

    def add(self, slots: Counts, counts: Counts) -> None:
        """Add counts to those of this series, as two arrays: slot numbers and the count of each."""
        self._parts.append((slots, counts))
        if len(self._parts) >= _MOST_PARTS:
            slots, place = np.unique(np.concatenate([slots for slots, _ in self._parts]), return_inverse=True)
            sums = np.zeros(len(slots), dtype=np.int64)
            np.add.at(sums, place, np.concatenate([counts for _, counts in self._parts]))
            self._parts = [(slots, sums)]

    def histogram(self) -> Histogram:
        """Return a new histogram with all counts of this series."""
        made = Histogram()
        for slots, counts in self._parts:
            made.add(slots, counts)
        return made


@dataclass(frozen=True, slots=True)
class _Piece:
    start_ns: int
    series: list[tuple[tuple[str, SeriesKey], Counts, Counts]]
    """(region and key, slots, counts) of each series."""


def _pieces_of_deltas(deltas: Iterable[tuple[str, Delta]]) -> Iterator[_Piece]:
    keys: dict[tuple[str, int], list[SeriesKey]] = {}
    for region, delta in deltas:
        known = keys.setdefault((delta.agent, delta.epoch), [])
        known.extend(delta.new_series)
        index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
        counts = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
        parts = _parts(index, counts)
        yield _Piece(delta.start_ns, [((region, known[series]), slots, sums) for series, slots, sums in parts])


def _pieces_of_cells(cells: Iterable[Cell]) -> Iterator[_Piece]:
    names: list[tuple[str, SeriesKey]] = []
    for cell in cells:
        names.extend(cell.names)
        parts = _parts(cell.index, cell.counts)
        yield _Piece(cell.start_ns, [(names[series], slots, sums) for series, slots, sums in parts])


def _windows(pieces: Iterable[_Piece], length_ns: int) -> Iterator[_Window]:
    """Yield the counts of each window of `length_ns` once it is complete, oldest first.

    Counts belong to the window in which their interval began.
    """
    held: dict[int, _Window] = {}
    for piece in pieces:
        k = piece.start_ns // length_ns
        window = held.get(k)
        if window is None:
            window = held[k] = _Window(k * length_ns / NS_PER_S, length_ns / NS_PER_S, {})
        for name, slots, counts in piece.series:
            window.series.setdefault(name, _Parts()).add(slots, counts)
        while min(held) <= max(held) - _LATE_WINDOWS:
            yield held.pop(min(held))
    for k in sorted(held):
        yield held[k]


def _parts(index: Counts, counts: Counts) -> Iterator[tuple[int, Counts, Counts]]:
    """Yield (series number, its slots, their counts) for each series in sorted (index, count) pairs."""
    if not len(index):
        return
    series, slots = np.divmod(index, SLOTS)
    edges = [0, *(np.flatnonzero(np.diff(series)) + 1).tolist(), len(index)]
    for first, last in pairwise(edges):
        yield int(series[first]), slots[first:last], counts[first:last]


def _head(file: TextIO, start_wall: datetime) -> None:
    start_s = start_wall.timestamp()
    file.write("#[loadgen: values are microseconds, of a trend its resolution; tags are percent-encoded series]\n")
    file.write("#[Histogram log format version 1.3]\n")
    file.write(f"#[BaseTime: {start_s:.3f} (seconds since epoch)]\n")
    file.write(f"#[StartTime: {start_s:.3f} (seconds since epoch), {utc_text(start_wall)}]\n")
    file.write('"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n')


def _write_lines(file: TextIO, window: _Window) -> int:
    tagged = {tag_of(*name): parts for name, parts in window.series.items()}
    for tag, parts in sorted(tagged.items()):
        histogram = parts.histogram()
        max_ms = histogram.percentile_us(100) / 1_000
        file.write(f"Tag={tag},{window.start_s:.3f},{window.length_s:.3f},{max_ms:.3f},{histogram.encode()}\n")
    return len(window.series)


def _text(value: object) -> str:
    return "true" if value is True else str(value)
