"""Counts from CSV files: `time,slo,good,total` with the unit and the zone of `time` in its header. Pure.

    time[UTC],slo,good,total                          time[Europe/Berlin],slo,good,total
    2026-07-20T00:00:00,checkout-fast,990,1000        2026-07-20 00:00,checkout-fast,990,1000

    time[unix s],slo,good,total                       time[unix ms],slo,good,total
    1784505600,checkout-fast,990,1000                 1784505600000,checkout-fast,990,1000

    time,slo,good,total                               each time has its own zone: 2026-07-20T00:00:00+02:00

A row is a slice that begins at `time`. Rows are ordered by time within each objective. All faults come with their lines
and at once; a file with a fault gives nothing. A gap is a fault too, unless the caller takes gaps as missing slices.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from loadgen.outside_text import one_line
from loadgen.parquet import read_csv_arrays
from loadgen.programme.ledger.ledger_file import Rows, rows_of
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.asked import NoCounts
from loadgen.units import quantity

__all__ = ["ROWS_MOST", "CsvCounts", "gap_texts", "parse_csv", "time_text"]

ROWS_MOST: Final = 10_000_000
_FAULTS_MOST: Final = 20
_LINE_MOST: Final = 10_000
_COLUMNS: Final = ("slo", "good", "total")
_TIME: Final = re.compile(r"time(?:\s*\[([^\[\]]{1,60})\])?")
_COUNT: Final = re.compile(r"-?[0-9]{1,18}")
_Wrong = Callable[[int, str], None]
_UNIX: Final = {"unix s": 1, "unix ms": 1_000}
_HEADER: Final = 'write the header "time[UTC],slo,good,total", with the zone, or "time[unix s],slo,good,total"'


@dataclass(frozen=True, slots=True)
class CsvCounts:
    """The slices of a file as columns, or its faults. gaps: a sentence for each objective with missing slices.

    missing: the number of missing slices.
    """

    rows: Rows | None = None
    faults: tuple[NoCounts, ...] = ()
    gaps: tuple[str, ...] = ()
    missing: int = 0


class _TooMany(Exception):
    """Enough faults were found."""


@dataclass(slots=True)
class _Times:
    """Reads times by the header. unit: of Unix times, in parts of a second; 0: times are texts."""

    unit: int = 0
    zone: tzinfo | None = None

    def unix_s(self, text: str) -> int:
        """Return Unix time in s.

        Raises:
            ValueError: the text is not a time, has no zone, or is twice or never on the clock.
        """
        if self.unit:
            if not text.isdecimal() or len(text) > 15:
                raise ValueError("is not a Unix time")
            value, rest = divmod(int(text), self.unit)
            if rest:
                raise ValueError("is not a whole second")
            return value
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("is not a time such as 2026-07-20T00:00:00") from None
        if at.microsecond:
            raise ValueError("is not a whole second")
        if at.tzinfo is None:
            at = self._in_zone(at)
        return round(at.timestamp())

    def _in_zone(self, at: datetime) -> datetime:
        if self.zone is None:
            raise ValueError("has no zone: write it in the header, time[UTC], or at each time, +02:00")
        first, second = (at.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() != second.utcoffset():
            is_twice = first.astimezone(UTC) < second.astimezone(UTC)
            which = "is twice on the clock" if is_twice else "is not on the clock"
            raise ValueError(f"{which} when summer time changes: write it with its offset, +01:00 or +02:00")
        return first


def parse_csv(data: bytes, width: int, name: str = "the file", *, takes_gaps: bool = False) -> CsvCounts:
    """Return the slices of a CSV file, or all its faults, at most 20, each with its line.

    Regular files are read as columns. A file with anything irregular is read line by line, which names its faults.

    Args:
        data: of the file, UTF-8. A byte order mark is ignored.
        width: of the slices, s.
        name: of the file, for messages.
        takes_gaps: leave the slices of gaps out, where they are missing; otherwise a gap is a fault.
    Raises:
        UsageError: pyarrow is not installed.
    Cost: 1 s for 10^6 rows of a regular file, some 30 s line by line.
    """
    name = one_line(name, 120)
    return _columns(data, width, name, takes_gaps) or _by_lines(data, width, name, takes_gaps)


def _columns(data: bytes, width: int, name: str, takes_gaps: bool) -> CsvCounts | None:
    """Return the slices of a regular file; None: it has to be read line by line."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        header = next(csv.reader(io.StringIO(data[:_LINE_MOST].partition(b"\n")[0].decode()), strict=True), [])
        times, order = _header(header, lambda _line, _text: None)
        if times is None or data.count(b"\n") > ROWS_MOST + 1:
            return None
        columns: dict[str, type | None] = {
            header[order[0]]: int if times.unit else None,
            header[order[1]]: str,
            header[order[2]]: int,
            header[order[3]]: int,
        }
        table = read_csv_arrays(data, columns, None if times.zone is None else str(times.zone))
    except (csv.Error, UnicodeDecodeError, ValueError):
        return None
    start, slo, good, total = (table[one] for one in columns)
    if times.unit:
        if (start % times.unit).any():
            return None
        start = start // times.unit
    codes, texts = slo
    wrong = (good < 0) | (good > total) | (start % width != 0) | (start < 0) | (total > 1 << 53)
    if not len(start) or wrong.any() or not all(0 < len(one) <= 200 and one.strip() for one in texts):
        return None
    order_ = np.argsort(codes, kind="stable")
    steps = np.diff(start[order_])
    is_same = np.diff(codes[order_]) == 0
    if (steps[is_same] < width).any():
        return None
    is_gap = is_same & (steps > width)
    gaps: dict[str, list[tuple[int, int]]] = {}
    if is_gap.any():
        if not takes_gaps:
            return None
        for n in np.flatnonzero(is_gap).tolist():
            at = order_[n]
            gaps.setdefault(texts[codes[at]], []).append((int(start[at]) + width, int(start[order_[n + 1]])))
    count = len(start)
    rows = Rows(
        slo,
        start,
        np.full(count, width, np.int64),
        good,
        total,
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
        (np.zeros(count, np.int32), (f"file {name}",)),
    )
    return _result(rows, gaps, width)


def _result(rows: Rows, gaps: dict[str, list[tuple[int, int]]], width: int) -> CsvCounts:
    missing = sum((b - a) // width for spans in gaps.values() for a, b in spans)
    return CsvCounts(rows, (), gap_texts(gaps, width), missing)


def _by_lines(data: bytes, width: int, name: str, takes_gaps: bool) -> CsvCounts:
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    faults: list[NoCounts] = []
    slices: list[Slice] = []
    gaps: dict[str, list[tuple[int, int]]] = {}
    evidence = f"file {name}"

    def wrong(line: int, text: str) -> None:
        faults.append(NoCounts(f"{name}:{line}: {text}"))
        if len(faults) >= _FAULTS_MOST:
            faults.append(NoCounts(f"{name}: there may be more faults; they are looked for when these are gone"))
            raise _TooMany

    try:
        rows = csv.reader(_lines(lines), strict=True)
        header = next(rows, None)
        if header is None:
            return CsvCounts(faults=(NoCounts(f"{name}: the file is empty; {_HEADER}"),))
        times, order = _header(header, wrong)
        if times is None:
            return CsvCounts(faults=tuple(faults))
        last: dict[str, tuple[int, int]] = {}
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if number > ROWS_MOST:
                return CsvCounts(faults=(NoCounts(f"{name}: more than {ROWS_MOST:,} rows; split the file by time"),))
            if len(row) != len(header):
                wrong(rows.line_num, f"{quantity(len(row), 'cell')}, but the header has {len(header)}")
                continue
            at, slo, good, total = (row[n] for n in order)
            try:
                start = times.unix_s(at.strip())
            except (ValueError, OverflowError) as error:
                wrong(rows.line_num, f'"{one_line(at, 40)}" {error}')
                continue
            made = _slice(rows.line_num, (slo, start, width), (good, total), evidence, wrong)
            if made is None:
                continue
            before = last.get(slo)
            if before is not None and start <= before[0]:
                which = "is there twice, first" if start == before[0] else "is not ordered by time: it comes after"
                wrong(rows.line_num, f'"{one_line(at, 40)}" of {one_line(slo, 80)} {which} in line {before[1]}')
                continue
            if before is not None and start != before[0] + width:
                if start < before[0] + width:
                    wrong(rows.line_num, f"only {start - before[0]} s after line {before[1]}: a slice has {width} s")
                    continue
                if not takes_gaps:
                    absent = (start - before[0]) // width - 1
                    said = f"{quantity(absent, 'slice')} of {one_line(slo, 80)} {'is' if absent == 1 else 'are'} absent"
                    where = f"before it, after line {before[1]}"
                    wrong(rows.line_num, f"{said} {where}: add them, or take gaps as missing")
                gaps.setdefault(slo, []).append((before[0] + width, start))
            last[slo] = start, rows.line_num
            slices.append(made)
    except csv.Error as error:
        faults.append(NoCounts(f"{name}:{rows.line_num}: not CSV: {one_line(str(error), 120)}"))
    except UnicodeDecodeError as error:
        faults.append(NoCounts(f"{name}: not a text in UTF-8: {error.reason}"))
    except _TooMany:  # the faults found so far are returned
        pass
    if not faults and not slices:
        faults.append(NoCounts(f"{name}: there are no rows"))
    if faults:
        return CsvCounts(faults=tuple(faults))
    return _result(rows_of(slices), gaps, width)


def _lines(lines: Iterable[str]) -> Iterator[str]:
    for n, line in enumerate(lines):
        if len(line) > _LINE_MOST:
            raise csv.Error(f"a line has more than {_LINE_MOST:,} characters")
        if "\0" in line:
            raise csv.Error("a line has the character NUL")
        yield line.removeprefix("\ufeff") if not n else line


def _header(header: Sequence[str], wrong: _Wrong) -> tuple[_Times | None, tuple[int, ...]]:
    names = [name.strip() for name in header]
    found = [n for n, name in enumerate(names) if _TIME.fullmatch(name)]
    missing = [name for name in _COLUMNS if names.count(name) != 1]
    if len(found) != 1:
        missing.insert(0, "time")
    if missing:
        wrong(1, f"the header needs each of these columns once: {', '.join(missing)}; {_HEADER}")
        return None, ()
    zone = (_TIME.fullmatch(names[found[0]]) or [None, None])[1]
    order = (found[0], *(names.index(name) for name in _COLUMNS))
    if zone is None:
        return _Times(), order
    if zone in _UNIX:
        return _Times(unit=_UNIX[zone]), order
    if zone == "UTC":
        return _Times(zone=UTC), order
    try:
        return _Times(zone=ZoneInfo(zone)), order
    except (OSError, ValueError, KeyError):
        wrong(1, f'"{one_line(zone, 60)}" is neither a zone nor a unit; {_HEADER}')
        return None, ()


def _slice(line: int, key: tuple[str, int, int], counts: tuple[str, str], evidence: str, wrong: _Wrong) -> Slice | None:
    slo, start, width = key
    if not slo.strip() or len(slo) > 200:
        wrong(line, "slo is empty or has more than 200 characters")
        return None
    texts = tuple(text.strip() for text in counts)
    if not all(_COUNT.fullmatch(text) for text in texts):
        bad = next(text for text in texts if not _COUNT.fullmatch(text))
        wrong(line, f'"{one_line(bad, 40)}" is not a whole number: good and total are counts, not ratios')
        return None
    good, total = int(texts[0]), int(texts[1])
    if good < 0 or total < 0:
        wrong(line, f"{min(good, total)} is negative")
        return None
    if good > total:
        wrong(line, f"{good} good requests are more than all {total}")
        return None
    if start % width or start < 0:
        wrong(line, f"a slice of {width} s cannot begin at {time_text(start)}: it begins at a multiple of {width} s")
        return None
    try:
        return Slice(slo, start, width, good, total, 0, False, evidence)
    except ValueError as error:
        wrong(line, str(error))
        return None


def gap_texts(gaps: Mapping[str, Sequence[tuple[int, int]]], width: int) -> tuple[str, ...]:
    """Return a sentence for each objective with gaps. gaps: their beginnings and ends, Unix time in s."""
    return tuple(_gap_text(slo, spans, width) for slo, spans in gaps.items())


def _gap_text(slo: str, spans: Sequence[tuple[int, int]], width: int) -> str:
    absent = sum((b - a) // width for a, b in spans)
    first = f"the first from {time_text(spans[0][0])} to {time_text(spans[0][1])}"
    are = f"{quantity(absent, 'slice')} {'is' if absent == 1 else 'are'}"
    return f"{one_line(slo, 80)}: {are} missing in {quantity(len(spans), 'gap')}, {first}"


def time_text(at: int) -> str:
    """Return a Unix time, s, for people, with its seconds."""
    try:
        return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return str(at)
