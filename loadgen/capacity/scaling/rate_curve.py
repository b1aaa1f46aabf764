"""Reads a curve of rates: a CSV file with a row for each time, as rates by second.

    time,rate
    2026-07-20T08:00:00Z,412
    2026-07-20T08:01:00Z,455.5

`time` is ISO 8601 with its zone; a file without a calendar names its column `time_s`, seconds from any start. `rate` is
requests/s. The rows have one distance; between them the rate is a straight line. Nothing is repaired: a gap, a row
twice, rows out of order, a negative rate and a time without a zone are errors with their lines.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.capacity.scaling.faults import FaultList
from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.outside_text import one_line, plain_float
from loadgen.units import parse_rate

__all__ = ["MOST_ROWS", "MOST_SECONDS", "RateCurve", "curve_of_rows", "read_rate_curve"]

MOST_ROWS: Final = 1_000_000
MOST_SECONDS: Final = 10_000_000
"""The longest curve: 115 days."""
_MOST_BYTES: Final = 128 << 20
_MOST_RATE: Final = 1e9
_MOST_STEP_S: Final = 3600
_MOST_UNIX_S: Final = 1e11
"""Times in seconds from here on are those of another unit: it is the year 5138 as a Unix time."""
_FORM: Final = "write a header time,rate and rows such as 2026-07-20T08:00:00Z,412"


@dataclass(frozen=True, slots=True)
class RateCurve:
    """A curve by second. rate: (seconds,) float64, requests/s, >= 0."""

    name: str
    rate: NDArray[np.float64]
    step_s: float
    """The distance of the rows of the file."""
    start: datetime | None = None
    """The time of second 0, with zone; None: the file has no calendar."""


def read_rate_curve(path: Path) -> RateCurve:
    """Read a CSV file.

    Raises:
        StorageError: the file cannot be read.
        UsageError: the file is no curve; several faults are an ExceptionGroup of them, each with its line.
    Cost: 2 s for 10^6 rows.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than 128 MiB", hint=f"give at most {MOST_ROWS:,} rows")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return curve_of_rows(path.name, csv.reader(file))
    except OSError as exc:
        raise storage_error(path, exc, doing="read", elsewhere="name a CSV file with time,rate") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8", hint="save it as UTF-8") from exc
    except csv.Error as exc:
        raise UsageError(f"{path} is not CSV: {one_line(str(exc), 200)}", hint=_FORM) from exc


def curve_of_rows(name: str, rows: Iterator[list[str]]) -> RateCurve:
    """Return the curve in the rows of a CSV file, the header first. name: of the file, for errors."""
    faults = FaultList(name)
    header = [cell.strip().lower() for cell in next(rows, [])]
    if not header or "rate" not in header or not {"time", "time_s"} & set(header):
        faults.add(1, f"the header is {','.join(header) or 'empty'}, without time and rate", _FORM)
        faults.check()
    for name in ("time", "time_s", "rate"):
        if header.count(name) > 1:
            faults.add(1, f"{header.count(name)} columns are named {name}", "rename or delete one of them")
    has_calendar = "time" in header
    time_at, rate_at = header.index("time" if has_calendar else "time_s"), header.index("rate")
    times: list[float] = []
    rates: list[float] = []
    lines: list[int] = []
    start: datetime | None = None
    for line, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(times) >= MOST_ROWS:
            faults.add(line, f"more than {MOST_ROWS:,} rows", "give rows of a minute instead of a second")
            break
        if len(row) <= max(time_at, rate_at):
            faults.add(line, f"{len(row)} columns instead of {len(header)}", _FORM)
            continue
        at = _time(faults, line, row[time_at].strip(), has_calendar)
        rate = _rate(faults, line, row[rate_at].strip())
        if at is None or rate is None:
            continue
        if isinstance(at, datetime):
            start = at if start is None else start
            at = (at - start).total_seconds()
        times.append(at)
        rates.append(rate)
        lines.append(line)
    if len(times) < 2:
        faults.add(len(times) + 2, f"{len(times)} usable rows", "give at least two rows")
    step_s = _check_order(faults, np.array(times), lines, start) if len(times) >= 2 else 0.0
    faults.check()
    return RateCurve(name, _by_second(np.array(times) - times[0], np.array(rates), step_s), step_s, start)


def _time(faults: FaultList, line: int, text: str, has_calendar: bool) -> datetime | float | None:
    if not has_calendar:
        try:
            seconds = plain_float(text)
        except ValueError:
            seconds = float("nan")
        if abs(seconds) >= _MOST_UNIX_S and isfinite(seconds):
            hint = "divide the times by 1,000 if they are Unix times in milliseconds"
            faults.add(line, f"{text[:40]} s is after the year 5000", hint)
            return None
        if isfinite(seconds):
            return seconds
        faults.add(line, f'"{text[:40]}" is not a number of seconds', "write seconds from the start, such as 60")
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        hint = "write ISO 8601 with a zone, such as 2026-07-20T08:00:00Z"
        is_number = text.replace(".", "", 1).isdigit()
        faults.add(
            line, f'"{text[:40]}" is not a time', f"{hint}; name a column of seconds time_s" if is_number else hint
        )
        return None
    if at.tzinfo is None:
        faults.add(line, f'"{text[:40]}" has no zone', "add Z for UTC, or an offset such as +02:00")
        return None
    return at


def _rate(faults: FaultList, line: int, text: str) -> float | None:
    try:
        rate = parse_rate(text) if "/" in text else plain_float(text)
    except ValueError:
        faults.add(line, f'"{text[:40]}" is not a rate', "write requests/s as a number, such as 412.5")
        return None
    if not isfinite(rate) or rate > _MOST_RATE:
        faults.add(line, f"the rate {text[:40]} is not a finite number up to 10^9", "correct this row")
        return None
    if rate < 0:
        faults.add(line, f"the rate {text[:40]} is negative", "correct this row; a time without requests has rate 0")
        return None
    return rate


def _check_order(faults: FaultList, times: NDArray[np.float64], lines: list[int], start: datetime | None) -> float:
    """Add a fault for each row that is not one step after the row before it, and return the step.

    The step is the most frequent distance: a gap makes one row different, not all.
    """
    apart = np.round(np.diff(times), 6)
    forward = apart[apart > 0]
    if not len(forward):
        faults.add(lines[1], "no row is later than the row before it", "sort the rows by time")
        return 0.0
    values, counts = np.unique(forward, return_counts=True)
    step_s = float(values[np.argmax(counts)])
    for at in np.flatnonzero(apart != step_s):
        by, line = float(apart[at]), lines[at + 1]
        if by == 0:
            faults.add(line, f"the time of line {lines[at]} again", "keep one of the two rows")
        elif by < 0:
            faults.add(line, f"{-by:g} s before line {lines[at]}", "sort the rows by time")
        elif by > step_s:
            faults.add(
                line,
                f"a gap of {by:g} s after line {lines[at]}, and the rows are {step_s:g} s apart",
                "fill the gap with measured rows, or give the part before or after it",
            )
        else:
            faults.add(
                line, f"{by:g} s after line {lines[at]}, and the rows are {step_s:g} s apart", "use one distance"
            )
    if step_s > _MOST_STEP_S:
        faults.add(
            lines[1], f"the rows are {step_s:g} s apart", "give rows of an hour or less: peaks hide between rows"
        )
    if times[-1] - times[0] + step_s > MOST_SECONDS:
        faults.add(lines[-1], f"the curve is longer than {MOST_SECONDS // 86400} days", "give a part of it")
    return step_s


def _by_second(times: NDArray[np.float64], rates: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
    """Return the rate of each second: a straight line from row to row, and the last row for its own step."""
    if step_s < 1:
        edges = np.arange(0.0, np.floor(times[-1] + step_s) + 1)
        sums = np.concatenate(([0.0], np.cumsum(rates) * step_s))
        total = np.interp(edges, np.append(times, times[-1] + step_s), sums)
        return np.asarray(np.diff(total), dtype=np.float64)
    seconds = np.arange(0.0, np.floor(times[-1] + step_s))
    return np.asarray(np.interp(seconds, times, rates), dtype=np.float64)
