"""Reads recorded traffic: a CSV of times and rates (or counts), or of one time for each arrival.

Times may be RFC 3339 ("2014-04-10T00:04:00Z"), the same with a space and without a
zone (UTC then), or seconds. They become integer nanoseconds without a float between,
so that what was recorded to 100 ns stays so. A file whose name ends in .gz is
decompressed. All faults are told with file and line.

    points = read_points(path, origin, time=0, value=1)     each row as it stands
    bins = held(points, gaps="refuse", faults)              each with its own length

Nothing here knows of loads: what is read are values.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from loadgen.dsl.data.rowfile import FileFaults, closest, unreadable
from loadgen.dsl.source_location import Origin
from loadgen.errors import ScenarioError
from loadgen.units import NS_PER_S, format_count, format_duration

__all__ = ["MAX_POINTS", "MAX_TIMES", "Bin", "Column", "Gaps", "Point", "held", "read_points", "read_times"]

MAX_POINTS: Final = 110_000
"""Rows of a curve: a year of bins of five minutes. Each becomes a stage, exact, in every worker: 4 s of CPU for so many
(measured with `loadgen plan --no-trial`)."""
MAX_TIMES: Final = 10_000_000
"""Arrivals of a recording: 80 MB in each worker."""
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d*)? ?(Z|z|UTC|[+-]\d\d:?\d\d)?", re.ASCII
)
_SECONDS: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)

Column = str | int
"""By the name in the header, or by the place, from 0."""
Gaps = Literal["refuse", "zero", "hold"]
"""What a bin that is not there means: a fault, nothing, or what was before it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a curve: what it says, at what time, and where it stands."""

    at_ns: int
    value: Fraction
    line: int


@dataclass(frozen=True, slots=True)
class Bin:
    """From one time to the next, one value: a rate that holds, or the count of what falls into it."""

    start_ns: int
    """From the first bin's start."""
    end_ns: int
    value: Fraction


# -- reading --------------------------------------------------------------------------------------


def read_points(path: Path, origin: Origin, time: Column, value: Column) -> list[Point]:
    """All rows of a curve, in order of time. `origin`: where the scenario names the file.

    Raises:
        ScenarioError: it cannot be read, or with the faults of its rows.
    Cost: 7 µs a row.
    """
    faults = FileFaults(path)
    points: list[Point] = []
    last_ns: int | None = None
    for line, (at, cell) in _cells(path, origin, (time, value), faults, MAX_POINTS):
        at_ns = _time_ns(at)
        if at_ns is None:
            faults.add(line, f"{_quoted(at)} is no time", _TIME_HINT)
        elif last_ns is not None and at_ns <= last_ns:
            is_same = at_ns == last_ns
            message = f"{at} is there twice" if is_same else f"{at} is before the row above it"
            faults.add(line, message, "one row for each bin" if is_same else "sort the file by time")
        number = _number(cell)
        if number is None:
            faults.add(line, f"{_quoted(cell)} is no number")
        elif number < 0:
            faults.add(line, f"{cell} is negative")
        if at_ns is not None:
            last_ns = at_ns if last_ns is None else max(at_ns, last_ns)
            points.append(Point(at_ns, number or Fraction(0), line))
    if len(points) == 1 and not faults:
        faults.add(points[0].line, "one row: how long its rate holds is not known", "a row for each bin, two at least")
    faults.refuse()
    return points


def read_times(path: Path, origin: Origin, column: Column) -> array[int]:
    """When each arrival was, ns since the first; non-decreasing.

    Raises:
        ScenarioError: it cannot be read, or with the faults of its rows.
    Cost: 3 µs a row.
    """
    faults = FileFaults(path)
    times: array[int] = array("q")
    first_ns: int | None = None
    last_ns = 0
    for line, (at,) in _cells(path, origin, (column,), faults, MAX_TIMES):
        at_ns = _time_ns(at)
        if at_ns is None:
            faults.add(line, f"{_quoted(at)} is no time", _TIME_HINT)
            continue
        if first_ns is None:
            first_ns = last_ns = at_ns
        if at_ns < last_ns:
            faults.add(line, f"{at} is before the row above it", "sort the file by time")
            continue
        last_ns = at_ns
        if at_ns - first_ns < 1 << 62:
            times.append(at_ns - first_ns)
    if len(times) == 1 and not faults:
        faults.add(0, "one row: nothing to replay", "a row for each arrival, two at least")
    faults.refuse()
    return times


_TIME_HINT: Final = 'write "2026-01-31T23:59:59Z", or seconds'


def _cells(
    path: Path, origin: Origin, columns: Sequence[Column], faults: FileFaults, most: int
) -> Iterator[tuple[int, list[str]]]:
    """(line, the cells of these columns) of each row but the header. What ends the reading is added to `faults`.

    Raises:
        ScenarioError: the file cannot be opened.
    """
    try:
        file = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise ScenarioError([unreadable(origin, path, error)]) from None
    with file:
        lines = _Lines(file)
        try:
            yield from _rows(lines, columns, faults, most)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            is_utf16 = lines.count == 1 and byte in (0xFE, 0xFF)
            message = "the file is UTF-16" if is_utf16 else f"byte 0x{byte:02x} is not UTF-8"
            faults.add(lines.count, message, "save the file as UTF-8")
        except csv.Error as error:
            faults.add(lines.count, f"no CSV: {error}")
        except (OSError, EOFError, zlib.error) as error:  # a gzip's damage; or the disk's
            faults.add(lines.count, f"cannot be read further: {error}", "is the file whole?")


class _Lines:
    """The lines of a file as text, one at a time; a byte order mark is left out."""

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
                f"{len(cells)} cell{'s' * (len(cells) != 1)}, and column {max(places)} is to be read",
                "columns count from 0",
            )
            continue
        count += 1
        if count > most:
            faults.add(line, f"more than {format_count(most)} rows", "a part of it, or coarser bins")
            return
        yield line, [cells[place].strip() for place in places]
    if not places:
        faults.add(0, "the file is empty")
    elif not count:
        faults.add(1, "a header and no rows")


def _places(
    cells: Sequence[str], columns: Sequence[Column], line: int, faults: FileFaults, *, is_header: bool
) -> list[int]:
    """Where the columns are in a row; empty where one of them is not there, which is told."""
    names = [cell.strip() for cell in cells] if is_header else []
    places: list[int] = []
    for column in columns:
        if isinstance(column, int):
            if column < len(cells):
                places.append(column)
            else:
                faults.add(line, f"no column {column}: the row has {len(cells)}", "columns count from 0")
        elif column in names:
            places.append(names.index(column))
            if names.count(column) > 1:
                faults.add(line, f'column "{column}" is there {names.count(column)} times')
        elif names:
            there = ", ".join(f'"{name}"' for name in names)
            faults.add(line, f'no column "{column}": {there}', closest(column, names))
        else:
            faults.add(line, f'no column "{column}": the file has no header', "name it by its place: 0 is the first")
    return places if len(places) == len(columns) else []


_seconds_of: dict[str, int] = {}
"""The last second that was read: arrivals come many in a second, and reading a date is what costs."""


def _time_ns(text: str) -> int | None:
    """Since 1970, or of plain seconds since whenever; None where it is no time."""
    found = _TIME.fullmatch(text)
    if found is None:
        if not _SECONDS.fullmatch(text):
            return None
        try:
            return int((Decimal(text) * NS_PER_S).to_integral_value())
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
    """Exact: "0.1" is 1/10. None where it is none, NaN and infinity among them."""
    if not _SECONDS.fullmatch(text) or len(text) > 40 or abs(int(re.split("[eE]", text + "e0")[1])) > 30:
        return None
    return Fraction(text)


def _quoted(cell: str) -> str:
    return f'"{cell}"' if cell else "nothing"


# -- bins -----------------------------------------------------------------------------------------


def held(points: Sequence[Point], gaps: Gaps, faults: FileFaults, *, is_count: bool) -> list[Bin]:
    """Each row as a bin that lasts until the next one; the last one as long as most of them do.

    The length of a bin is that which most rows have. Where the next row is a whole number of bins away, those
    between are missing: `gaps` says what they are. Rates may also hold for any other time, with `gaps="hold"`;
    counts may not, since what they count would not be known.

    Args:
        points: two or more, in order.
        faults: gets what is wrong, at the row before which something is missing.
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
                f"{format_duration(length_ns)} after the row above it, where bins last {format_duration(usual_ns)}",
                "" if is_count else 'gaps="hold" lets a rate hold however long',
            )
        elif gaps == "refuse":
            few = "a bin is" if missing == 2 else f"{format_count(missing - 1)} bins are"
            faults.add(
                following.line if following else 0,
                f"{few} missing before this row: {format_duration(length_ns)} after the one above it",
                'gaps="zero" if nothing came then, gaps="hold" for as much as before',
            )
        bins.append(Bin(start_ns, start_ns + usual_ns, point.value))
        between = point.value * (missing - 1 if is_count else 1) if gaps == "hold" else Fraction(0)
        bins.append(Bin(start_ns + usual_ns, end_ns, between))
    return bins
