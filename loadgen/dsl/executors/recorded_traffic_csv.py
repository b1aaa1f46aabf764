"""Reads recorded traffic: a CSV of times with rates or counts, or a CSV or JSON lines with one time per arrival.

Times are RFC 3339 ("2014-04-10T00:04:00Z"), the same with a space and without a zone
(UTC then), or numbers of a unit. They become integer nanoseconds without a float in between, so a
precision of 100 ns is kept. An archive (.gz, .zst) is unpacked first (unpack.py). All errors
are reported with file and line.

    points = read_points(path, origin, time=0, value=1)     each row as written
    bins = held(points, gaps="refuse", faults)              each row with its length

This module only returns values; `recorded_traffic_load.py` makes loads from them.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from loadgen.dsl.data.json_cells import is_json_lines, json_cells
from loadgen.dsl.data.rowfile import FileFaults, closest, unreadable
from loadgen.dsl.data.unpack import plain_file
from loadgen.dsl.source_location import Origin
from loadgen.errors import ScenarioError
from loadgen.units import NS_PER_S, format_count, format_duration

__all__ = ["MAX_POINTS", "MAX_TIMES", "Bin", "Column", "Gaps", "Point", "held", "read_points", "read_times"]

MAX_POINTS: Final = 110_000
"""Maximum number of rows of a curve: more than a year of 5-minute bins.

Each row becomes an exact stage in every worker: 4 s of CPU for this many (measured with `loadgen plan --no-trial`).
"""
MAX_TIMES: Final = 10_000_000
"""Maximum number of arrivals of a recording: 80 MB in each worker."""
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d*)? ?(Z|z|UTC|[+-]\d\d:?\d\d)?", re.ASCII
)
_SECONDS: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)

Column = str | int
"""A column, by its name in the header or its index from 0."""
Gaps = Literal["refuse", "zero", "hold"]
"""The meaning of a missing bin: an error, no load, or the value before it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a curve, with its line in the file."""

    at_ns: int
    value: Fraction
    line: int


@dataclass(frozen=True, slots=True)
class Bin:
    """A time range with one value: a rate that is held, or the number of arrivals in it."""

    start_ns: int
    """Counted from the start of the first bin."""
    end_ns: int
    value: Fraction


# -- reading --------------------------------------------------------------------------------------


def read_points(path: Path, origin: Origin, time: Column, value: Column) -> list[Point]:
    """Return the points (time, value) of a recorded curve from all rows of a CSV file, in order of time.

    Args:
        origin: the line of the scenario that names the file, for errors.
        time, value: the columns to read.

    Raises:
        ScenarioError: the file cannot be read, or with all errors in its rows.
    Cost: 7 µs per row.
    """
    faults = FileFaults(path)
    points: list[Point] = []
    last_ns: int | None = None
    for line, (at, cell) in _cells(path, origin, (time, value), faults, MAX_POINTS):
        at_ns = _time_ns(at)
        if at_ns is None:
            faults.add(line, f"{_quoted(at)} is not a time", _TIME_HINT)
        elif last_ns is not None and at_ns <= last_ns:
            is_same = at_ns == last_ns
            message = f"{at} occurs twice" if is_same else f"{at} is earlier than the row above it"
            faults.add(line, message, "keep one row for each bin" if is_same else "sort the file by time")
        number = _number(cell)
        if number is None:
            faults.add(line, f"{_quoted(cell)} is not a number", "write a number of at least 0")
        elif number < 0:
            faults.add(line, f"{cell} is negative", "write a number of at least 0")
        if at_ns is not None:
            last_ns = at_ns if last_ns is None else max(at_ns, last_ns)
            points.append(Point(at_ns, number or Fraction(0), line))
    if len(points) == 1 and not faults:
        faults.add(
            points[0].line,
            "the file has only one row, so the length of a bin is unknown",
            "write at least two rows, one for each bin",
        )
    faults.refuse()
    return points


def read_times(
    path: Path, origin: Origin, column: Column, unit_ns: int = NS_PER_S, conversation: Column | None = None
) -> array[int]:
    """Return the times of recorded arrivals, in ns since the first; non-decreasing.

    Args:
        origin: the line of the scenario that names the file, for errors.
        column: the column of times in a CSV file, or their key in JSON lines.
        unit_ns: the unit of times that are numbers.
        conversation: the column of the conversation. Only the first row of each conversation is an arrival; the others
            need no time.

    Raises:
        ScenarioError: the file cannot be read, or with all errors in its rows.
    Cost: 3 µs per row.
    """
    faults = FileFaults(path)
    times: array[int] = array("q")
    first_ns: int | None = None
    last_ns = 0
    begun: set[str] = set()
    columns = (column,) if conversation is None else (column, conversation)
    optional = () if conversation is None else (str(column),)
    for line, (at, *keys) in _cells(path, origin, columns, faults, MAX_TIMES, optional):
        if not at and keys and keys[0] in begun:
            continue  # a later turn, with a delay instead
        at_ns = _time_ns(at, unit_ns)
        if at_ns is None:
            message = f"{_quoted(at)} is not a time"
            if not at and keys:
                message = f'the first row of a conversation has no time in "{column}"'
            faults.add(line, message, _TIME_HINT)
            continue
        if first_ns is None:
            first_ns = last_ns = at_ns
        if at_ns < last_ns:
            faults.add(line, f"{at} is earlier than the row above it", "sort the file by time")
            continue
        last_ns = at_ns
        if keys and not keys[0]:
            faults.add(line, f'no conversation in column "{conversation}"', "write one in each row")
        if keys and keys[0] in begun:
            continue
        begun.update(keys)
        if at_ns - first_ns < 1 << 62:
            times.append(at_ns - first_ns)
    if len(times) == 1 and not faults:
        what = "row" if conversation is None else "conversation"
        faults.add(0, f"the file has only one {what}", f"write at least two {what}s, one for each arrival")
    faults.refuse()
    return times


_TIME_HINT: Final = 'write "2026-01-31T23:59:59Z", or a number such as seconds'


def _cells(
    path: Path,
    origin: Origin,
    columns: Sequence[Column],
    faults: FileFaults,
    most: int,
    optional: Collection[str] = (),
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, texts in the given columns) for each row of a CSV file, except the header, or of JSON lines.

    At most `most` rows are read. An error that ends the reading is added to `faults`. optional: keys that a row of JSON
    lines may leave out, as an empty cell of CSV.

    Raises:
        ScenarioError: the file cannot be opened, or is an archive that cannot be used.
    """
    try:
        file = plain_file(path).open("rb")
    except OSError as error:
        raise ScenarioError([unreadable(origin, path, error)]) from None
    with file:
        if is_json_lines(path):
            yield from json_cells(file, [str(column) for column in columns], faults, most, optional=optional)
            return
        lines = _Lines(file)
        try:
            yield from _rows(lines, columns, faults, most)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            is_utf16 = lines.count == 1 and byte in (0xFE, 0xFF)
            message = "the file is UTF-16" if is_utf16 else f"byte 0x{byte:02x} is not UTF-8"
            faults.add(lines.count, message, "save the file as UTF-8")
        except csv.Error as error:
            faults.add(lines.count, f"invalid CSV: {error}", "correct this line")
        except OSError as error:  # a disk error
            faults.add(lines.count, f"cannot read on: {error}", "check whether the file is complete")


class _Lines:
    """Yields the lines of a file as text and counts them; removes a byte order mark."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = file
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.count += 1
            yield line.decode() if self.count > 1 else line.removeprefix(b"\xef\xbb\xbf").decode()


def _rows(lines: _Lines, columns: Sequence[Column], faults: FileFaults, most: int) -> Iterator[tuple[int, list[str]]]:
    places: list[int] = []
    count = 0
    for cells in csv.reader(lines, strict=True):
        line = lines.count
        if not any(cell.strip() for cell in cells):
            continue
        if not places:
            is_header = not any(_time_ns(cell.strip()) is not None for cell in cells)
            places = _places(cells, columns, line, faults, is_header=is_header)
            if not places:
                return
            if is_header:
                continue
        if len(cells) <= max(places):
            faults.add(
                line,
                f"{len(cells)} cell{'s' * (len(cells) != 1)}, but column {max(places)} is needed",
                "columns count from 0",
            )
            continue
        count += 1
        if count > most:
            faults.add(line, f"more than {format_count(most)} rows", "use a part of the file, or coarser bins")
            return
        yield line, [cells[place].strip() for place in places]
    if not places:
        faults.add(0, "the file is empty", "write a row for each bin or arrival")
    elif not count:
        faults.add(1, "the file has a header but no rows", "add rows")


def _places(
    cells: Sequence[str], columns: Sequence[Column], line: int, faults: FileFaults, *, is_header: bool
) -> list[int]:
    """Return the position of each column in a row; [] if a column is missing, which is added to `faults`."""
    names = [cell.strip() for cell in cells] if is_header else []
    places: list[int] = []
    for column in columns:
        if isinstance(column, int):
            if column < len(cells):
                places.append(column)
            else:
                faults.add(
                    line, f"no column {column}: the row has {len(cells)}", "write a smaller index; columns count from 0"
                )
        elif column in names:
            places.append(names.index(column))
            if names.count(column) > 1:
                faults.add(line, f'column "{column}" occurs {names.count(column)} times', "rename one of them")
        elif names:
            there = ", ".join(f'"{name}"' for name in names)
            faults.add(line, f'no column "{column}", only {there}', closest(column, names))
        else:
            faults.add(line, f'no column "{column}": the file has no header', "use its index: 0 is the first")
    return places if len(places) == len(columns) else []


_seconds_of: dict[str, int] = {}
"""Cache of the last second parsed: many arrivals share a second, and parsing a date is slow."""


def _time_ns(text: str, unit_ns: int = NS_PER_S) -> int | None:
    """Return the time that a text gives, in ns: since 1970 for a date and time, or as written for a plain number.

    Returns None if the text is not a time. unit_ns: the unit of a plain number.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        if not _SECONDS.fullmatch(text):
            return None
        try:
            return int((Decimal(text) * unit_ns).to_integral_value())
        except InvalidOperation:
            return None
    minute, fraction, zone = found.groups()
    key = f"{minute}{zone or ''}"
    seconds = _seconds_of.get(key)
    if seconds is None:
        try:
            at = datetime.fromisoformat(minute.upper())
            offset = None if zone in (None, "Z", "z", "UTC") else datetime.fromisoformat(f"2000-01-01T00:00:00{zone}")
        except ValueError:
            return None
        utc = at.replace(tzinfo=UTC if offset is None else offset.tzinfo)
        _seconds_of.clear()
        seconds = _seconds_of[key] = int(utc.timestamp())
    return seconds * NS_PER_S + int((fraction or "").ljust(9, "0"))


def _number(text: str) -> Fraction | None:
    """Return the number that a text gives, exactly: "0.1" is 1/10. Returns None if it is not a finite number."""
    # The limits keep a text like "1e999999999" from becoming a fraction with that many digits.
    if not _SECONDS.fullmatch(text) or len(text) > 40 or abs(int(re.split("[eE]", text + "e0")[1])) > 30:
        return None
    return Fraction(text)


def _quoted(cell: str) -> str:
    return f'"{cell}"' if cell else "an empty cell"


# -- bins -----------------------------------------------------------------------------------------


def held(points: Sequence[Point], gaps: Gaps, faults: FileFaults, *, is_count: bool) -> list[Bin]:
    """Return a bin for each row, in which its value holds until the next row; the last bin has the usual length.

    The usual length is that of most rows. If the next row is a multiple of it away, the bins between are missing, and
    `gaps` decides their value. With `gaps="hold"`, rates may be held for any length. Counts may not, because the number
    of arrivals in the gap would be unknown.

    Args:
        points: at least two, in order.
        faults: receives the errors, at the row after a gap.
    """
    lengths = [b.at_ns - a.at_ns for a, b in pairwise(points)]
    usual_ns, _ = max(Counter(lengths).items(), key=lambda one: (one[1], -one[0]))
    begin_ns = points[0].at_ns
    bins: list[Bin] = []
    for point, length_ns, following in zip(points, [*lengths, usual_ns], [*points[1:], None], strict=True):
        start_ns = point.at_ns - begin_ns
        end_ns = start_ns + length_ns
        if length_ns == usual_ns or (gaps == "hold" and not is_count):
            bins.append(Bin(start_ns, end_ns, point.value))
            continue
        missing, rest_ns = divmod(length_ns, usual_ns)
        if rest_ns or not missing:
            faults.add(
                following.line if following else 0,
                f"{format_duration(length_ns)} after the row above it, but most bins last {format_duration(usual_ns)}",
                "" if is_count else 'write gaps="hold" to hold a rate for any length',
            )
        elif gaps == "refuse":
            few = "a bin is" if missing == 2 else f"{format_count(missing - 1)} bins are"
            faults.add(
                following.line if following else 0,
                f"{few} missing before this row: {format_duration(length_ns)} after the row above it",
                'write gaps="zero" for no load there, or gaps="hold" for the load before',
            )
        bins.append(Bin(start_ns, start_ns + usual_ns, point.value))
        between = point.value * (missing - 1 if is_count else 1) if gaps == "hold" else Fraction(0)
        bins.append(Bin(start_ns + usual_ns, end_ns, between))
    return bins
