"""ISO weeks and quarters in a time zone. Pure: no clock.

    week_of("2026-W30", ZoneInfo("Europe/Berlin"))      # Period("2026-W30", start, end)

A week begins on Monday at 0 h of the wall clock. The weeks in which the clock changes have 167 or 169 hours. Years with
53 weeks are those of ISO 8601. A midnight that the clock skips is the first moment after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["Period", "last_complete_week", "period_of", "quarter_of", "week_at", "week_of", "weeks_before"]

_WEEK: Final = re.compile(r"(\d{4})-W(\d{2})")
_QUARTER: Final = re.compile(r"(\d{4})-Q([1-4])")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_YEARS: Final = (1971, 9998)


@dataclass(frozen=True, slots=True)
class Period:
    """A week or a quarter. start (included), end (excluded): Unix time, s. first, last: its first and last day."""

    name: str
    start: int
    end: int
    first: date
    last: date

    @property
    def is_quarter(self) -> bool:
        """Return whether it is a quarter."""
        return "Q" in self.name

    @property
    def hours(self) -> float:
        """Return its length: 168 h for most weeks, 167 or 169 if the clock changes."""
        return (self.end - self.start) / 3_600

    @property
    def number(self) -> int:
        """Return the number of the week or of the quarter."""
        return int(self.name[6:])

    @property
    def text(self) -> str:
        """Return it for people: "week 30 (20 to 26 Jul 2026)"."""
        word = "quarter" if self.is_quarter else "week"
        a, b = self.first, self.last
        begin = f"{a.day}"
        if (a.month, a.year) != (b.month, b.year):
            begin += f" {_MONTHS[a.month - 1]}" + (f" {a.year}" if a.year != b.year else "")
        return f"{word} {self.number} ({begin} to {b.day} {_MONTHS[b.month - 1]} {b.year})"


def period_of(text: str, zone: ZoneInfo) -> Period:
    """Return the week or the quarter with this name.

    Raises:
        ValueError: it is neither.
    """
    return quarter_of(text, zone) if "Q" in text.upper() else week_of(text, zone)


def week_of(text: str, zone: ZoneInfo) -> Period:
    """Return the ISO week with this name, such as "2026-W30".

    Raises:
        ValueError: the text has another form, or the year has no such week.
    """
    found = _WEEK.fullmatch(text.upper())
    if found is None or not _YEARS[0] <= int(found[1]) <= _YEARS[1]:
        raise ValueError(f'invalid week "{text[:40]}"; write 2026-W30')
    year, number = int(found[1]), int(found[2])
    last = date(year, 12, 28).isocalendar().week
    if not 1 <= number <= last:
        raise ValueError(f"{year} has the weeks 1 to {last}, not {number}")
    return _period(f"{year}-W{number:02d}", date.fromisocalendar(year, number, 1), 7, zone)


def quarter_of(text: str, zone: ZoneInfo) -> Period:
    """Return the quarter with this name, such as "2026-Q3".

    Raises:
        ValueError: the text has another form.
    """
    found = _QUARTER.fullmatch(text.upper())
    if found is None or not _YEARS[0] <= int(found[1]) <= _YEARS[1]:
        raise ValueError(f'invalid quarter "{text[:40]}"; write 2026-Q3')
    year, number = int(found[1]), int(found[2])
    first = date(year, 3 * number - 2, 1)
    after = date(year + (number == 4), (3 * number) % 12 + 1, 1)
    return _period(f"{year}-Q{number}", first, (after - first).days, zone)


def week_at(at: int, zone: ZoneInfo) -> Period:
    """Return the ISO week that contains a Unix time, s."""
    year, number, _ = datetime.fromtimestamp(at, zone).isocalendar()
    return week_of(f"{year}-W{number:02d}", zone)


def last_complete_week(at: int, zone: ZoneInfo) -> Period:
    """Return the newest ISO week that is over at a Unix time, s."""
    return week_at(week_at(at, zone).start - 1, zone)


def weeks_before(period: Period, count: int, zone: ZoneInfo) -> tuple[Period, ...]:
    """Return the ISO weeks up to the one that contains the end of a period, oldest first."""
    found = [week_at(period.end - 1, zone)]
    while len(found) < count:
        found.append(week_at(found[-1].start - 1, zone))
    return tuple(reversed(found))


def _period(name: str, first: date, days: int, zone: ZoneInfo) -> Period:
    after = first + timedelta(days=days)
    return Period(name, _midnight(first, zone), _midnight(after, zone), first, after - timedelta(days=1))


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Return the first moment of a day, Unix time in s. A midnight that the clock skips is read with the offset before
    it, which is the first moment after the gap.
    """
    wall = datetime(day.year, day.month, day.day, tzinfo=zone)
    return round(wall.astimezone(UTC).timestamp())
