"""Writes dates as people read them, in English and independent of the locale: "20 to 26 July 2026"."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["days_text", "moment_text", "period_name", "short_date", "time_text", "zone_of"]

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)


def zone_of(name: str) -> tzinfo:
    """Return the time zone of a name of the tz database; UTC for a name that is not there."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def short_date(day: date) -> str:
    """Return a date with a short month and without a year: "20 Jul"."""
    return f"{day.day} {_MONTHS[day.month - 1][:3]}"


def moment_text(at: int, zone: tzinfo) -> str:
    """Return a Unix time, s, as date and time of day: "26 July 2026 23:55"."""
    there = datetime.fromtimestamp(at, zone)
    return f"{_day(there)} {there:%H:%M}"


def time_text(text: str) -> str:
    """Return a time in RFC 3339 as people read it: "27 July 2026 06:00 UTC"; another text as it is."""
    try:
        there = datetime.fromisoformat(text)
    except ValueError:
        return text
    if there.tzinfo is None:
        return text
    return f"{_day(there.astimezone(UTC))} {there.astimezone(UTC):%H:%M} UTC"


def days_text(start: int, end: int, zone: tzinfo) -> str:
    """Return the days from a Unix time to another, s, that is not part of it: "20 to 26 July 2026"."""
    first, last = (datetime.fromtimestamp(at, zone).date() for at in (start, max(start, end - 1)))
    if first == last:
        return _day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {_day(last)}"
    if first.year == last.year:
        return f"{first.day} {_MONTHS[first.month - 1]} to {_day(last)}"
    return f"{_day(first)} to {_day(last)}"


def period_name(week: str) -> str:
    """Return the name of an ISO week or of a quarter: "week 30" of "2026-W30", "quarter 3" of "2026-Q3"."""
    kind, number = week[-3:-2], week[-2:]
    if kind == "W" and number.isdecimal():
        return f"week {int(number)}"
    if week[-2:-1] == "Q" and week[-1:].isdecimal():
        return f"quarter {week[-1]}"
    return week


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
