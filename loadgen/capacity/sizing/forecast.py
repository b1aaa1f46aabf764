"""Forecasts of the peak by week: reads them from CSV, and finds the week in which a capacity ends.

    week,low,point,high
    2026-W30,1800/s,2000/s,2300/s
    2026-W31,1850/s,2060/s,2400/s

A week is written as 2026-W30, or as the date of any of its days. Rates are per second without a unit. Low and high are
the ends of a 95 % range.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.capacity.sizing.ranges import Range
from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line
from loadgen.units import parse_rate

__all__ = [
    "LEAST_HISTORY",
    "MOST_BYTES",
    "Crossing",
    "Forecast",
    "Week",
    "crossing",
    "read_forecast",
    "week_text",
    "weeks_missing",
]

LEAST_HISTORY: Final = 8
"""A forecast from past peaks needs at least this many weeks."""
MOST_BYTES: Final = 1 << 20
_MOST_ROWS: Final = 2_000
_MOST_FAULTS: Final = 20
_TIMES: Final = ("week", "time", "date")
_POINTS: Final = ("point", "peak", "rate")
_WEEK: Final = re.compile(r"(\d{4})-?W(\d{2})")
_HINT: Final = "the columns are week, low, point, high: 2026-W30,1800/s,2000/s,2300/s"


@dataclass(frozen=True, slots=True)
class Week:
    """The peak of one week. monday: the week's first day."""

    monday: date
    peak: Range

    @property
    def name(self) -> str:
        """Return the week as "2026-W30"."""
        return week_text(self.monday)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Peaks by week, oldest first. source: where they come from, for the page."""

    weeks: tuple[Week, ...]
    source: str

    @property
    def highest(self) -> Week:
        """Return the first week with the highest point."""
        return max(self.weeks, key=lambda week: week.peak.point)


@dataclass(frozen=True, slots=True)
class Crossing:
    """The first week in which the forecast is above what the instances carry. None: not within the forecast."""

    plan: Week | None
    """The forecast's point against the low end of the capacity: the week to plan with."""
    earliest: Week | None
    middle: Week | None
    latest: Week | None
    """earliest, middle, latest: 2.5 %, 50 % and 97.5 % of the draws."""
    share: float
    """The share of the draws that cross within the forecast."""


def read_forecast(text: str, name: str) -> tuple[tuple[Week, ...], bool]:
    """Return the weeks in a CSV text, and whether they have low and high; without these, they are past peaks.

    name: how errors name the file.

    Raises:
        ScenarioError: with the first 20 errors, each with its line.
    """
    faults: list[Fault] = []
    rows = _rows(text, name, faults)
    header = [cell.strip().lower() for cell in next(rows, (0, []))[1]]
    when, point = _column(header, _TIMES), _column(header, _POINTS)
    low, high = _column(header, ("low",)), _column(header, ("high",))
    if not faults and (when is None or point is None or (low is None) != (high is None)):
        shown = one_line(", ".join(header), 100) or "nothing"
        faults.append(Fault(name, 1, f"the columns are {shown}: week, low, point and high are needed", _HINT))
    for column in (*_TIMES, *_POINTS, "low", "high"):
        if header.count(column) > 1:
            faults.append(Fault(name, 1, f"{header.count(column)} columns are named {column}", "rename or delete one"))
    if faults:
        raise ScenarioError(faults)
    assert when is not None
    assert point is not None
    found: list[tuple[int, date, Range]] = []
    for line, cells in rows:
        if len(faults) >= _MOST_FAULTS:
            break
        if len(found) >= _MOST_ROWS:
            faults.append(Fault(name, line, f"more than {_MOST_ROWS:,} weeks", "leave out weeks that are far away"))
            break
        if len(cells) != len(header):
            faults.append(Fault(name, line, f"{len(cells)} cells, but the header has {len(header)}", _HINT))
            continue
        monday = _monday(cells[when])
        rates = [_rate(cells[at]) for at in ([point] if low is None or high is None else [low, point, high])]
        if monday is None:
            message = f'invalid week "{one_line(cells[when], 40)}"'
            faults.append(Fault(name, line, message, "write 2026-W30, or the date of one of its days: 2026-07-20"))
        for wrong in (rate for rate in rates if isinstance(rate, str)):
            faults.append(Fault(name, line, wrong, "write a rate above 0, such as 2000/s"))
        numbers = [rate for rate in rates if not isinstance(rate, str)]
        if numbers != sorted(numbers):
            faults.append(Fault(name, line, "low, point and high must rise", "write the smallest first"))
        if monday is not None and len(numbers) == len(rates):
            found.append((line, monday, Range(numbers[0], numbers[len(numbers) // 2], numbers[-1])))
    for (_, before, _), (line, monday, _) in pairwise(found):
        if monday <= before and len(faults) < _MOST_FAULTS:
            message = f"{week_text(monday)} comes after {week_text(before)}"
            faults.append(Fault(name, line, message, "write each week once, the oldest first"))
    if not found and not faults:
        faults.append(Fault(name, 0, "there are no weeks", _HINT))
    if faults:
        raise ScenarioError(faults)
    return tuple(Week(monday, peak) for _, monday, peak in found), low is not None


def weeks_missing(weeks: Sequence[Week]) -> int:
    """Return how many weeks between the first and the last have no row. weeks: rising."""
    return (weeks[-1].monday - weeks[0].monday).days // 7 + 1 - len(weeks) if weeks else 0


def week_text(monday: date) -> str:
    """Return the ISO week of a day as "2026-W30"."""
    year, week, _ = monday.isocalendar()
    return f"{year}-W{week:02}"


def crossing(
    weeks: Sequence[Week],
    carries: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    capacity: Range,
    *,
    draws: int,
    seed: int,
) -> Crossing:
    """Return the first week whose peak is above what the instances carry, as a range over draws.

    A draw has one level of the forecast for all weeks: a forecast that is too low this week is too low in the next.

    Args:
        weeks: rising.
        carries: what the instances carry, from the capacity of one, elementwise.
        capacity: of one instance.
    """

    def at(value: float) -> float:
        return float(carries(np.array([value]))[0])

    plan = next((week for week in weeks if week.peak.point > at(capacity.low)), None)
    normal = np.random.default_rng(seed).standard_normal((draws, 2))
    carried = carries(capacity.draws(normal[:, 0]))
    first = np.full(draws, len(weeks))
    for number in range(len(weeks) - 1, -1, -1):
        first[weeks[number].peak.draws(normal[:, 1]) > carried] = number
    low, middle, high = (int(one) for one in np.quantile(first, (0.025, 0.5, 0.975), method="inverted_cdf"))
    ends = [*weeks, None]
    return Crossing(plan, ends[low], ends[middle], ends[high], float(np.mean(first < len(weeks))))


def _rows(text: str, name: str, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            faults.append(Fault(name, reader.line_num, f"invalid CSV: {one_line(str(exc), 100)}", _HINT))
            return
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _monday(text: str) -> date | None:
    text = text.strip()
    try:
        if week := _WEEK.fullmatch(text):
            return date.fromisocalendar(int(week[1]), int(week[2]), 1)
        day = date.fromisoformat(text[:10])
        return day - timedelta(days=day.weekday())
    except (ValueError, OverflowError):
        return None


def _rate(text: str) -> float | str:
    """Return a rate above 0; what is wrong with it otherwise."""
    try:
        rate = parse_rate(text)
    except ValueError:
        return f'invalid rate "{one_line(text, 40)}"'
    return rate if rate > 0 else f"the rate {rate:g}/s is not above 0"
