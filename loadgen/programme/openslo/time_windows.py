"""The time window of an SLO: exactly one, rolling or by calendar."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, cast
from zoneinfo import ZoneInfo, available_timezones

from loadgen.programme.promises.objectives import CalendarUnit, CalendarWindow, RollingWindow, Window
from loadgen.programme.slo_files.fields import Fields, quoted
from loadgen.similar_names import did_you_mean

__all__ = ["read_window"]

_START: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}(?::\d{2})?))?")
_OFFSET: Final = re.compile(r".*\d([zZ]|\s*[-+]\d{2}:?\d{2})")
_DAYS: Final = {"d": 1, "w": 7, "M": 30, "Q": 90, "Y": 365}
_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MOST_DAYS: Final = 3_660
_EXAMPLE: Final = "write timeWindow: [{duration: 4w, isRolling: true}]"


def read_window(spec: Fields) -> Window | None:
    """Take `timeWindow` of an SLO; None with a fault if it is missing or invalid."""
    if not spec.has("timeWindow"):
        spec.missing("timeWindow", _EXAMPLE)
        return None
    before = len(spec.findings.faults)
    items = spec.items("timeWindow")
    if len(items) != 1:
        if len(spec.findings.faults) == before:
            spec.fault("timeWindow", f"{spec.name_of('timeWindow')} has {len(items)} items", "write exactly one window")
        return None
    window = Fields.of(spec.findings, items[0], spec.name_of("timeWindow"))
    if window is None:
        return None
    duration = window.duration("duration", hint="write duration: 4w")
    rolling = window.boolean("isRolling")
    calendar = window.sub("calendar")
    window.end(("duration", "isRolling", "calendar"))
    if rolling and calendar is not None:
        window.fault("calendar", f"{window.path} is both rolling and by calendar", "keep isRolling or calendar")
        return None
    if calendar is not None:
        start, zone = _start(calendar), _zone(calendar)
        calendar.end()
        if duration is None or start is None or zone is None:
            return None
        return _calendar_window(window, duration, start, zone)
    if not rolling:
        hint = "write isRolling: true, or calendar: {startTime: ..., timeZone: ...}"
        window.fault("isRolling", f"{window.path} is neither rolling nor by calendar", hint)
        return None
    return _rolling(window, duration) if duration is not None else None


def _rolling(window: Fields, duration: tuple[int, str]) -> Window | None:
    count, unit = duration
    if count * _DAYS.get(unit, 0) > _MOST_DAYS or count * _SECONDS.get(unit, 0) > _MOST_DAYS * 86_400:
        window.fault("duration", f"{window.path} is longer than 10 years", "write 4w, or another length")
        return None
    if unit in _SECONDS:
        return RollingWindow(count * _SECONDS[unit])
    days = count * _DAYS[unit]
    window.note(
        "duration",
        f"a rolling window of {count}{unit} has no fixed length; it is read as {days}d",
        f"write {days}d, or a calendar window",
    )
    return RollingWindow(days * 86_400)


def _calendar_window(window: Fields, duration: tuple[int, str], start: datetime, zone: str) -> Window | None:
    count, unit = duration
    if unit == "m":
        if count < 60:
            window.fault(
                "duration",
                f"a calendar window of {count}m is {count} minute{'' if count == 1 else 's'}, and must be at least 1h",
                f"m is minutes and M is months: write {count}M for months",
            )
            return None
        if count % 60:
            window.fault(
                "duration", f"a calendar window of {count}m is not a number of whole hours", "write whole hours"
            )
            return None
        count, unit = count // 60, "h"
    days = count * _DAYS[unit] if unit in _DAYS else count / 24
    if days > _MOST_DAYS:
        window.fault("duration", f"{window.path} is longer than 10 years", "write 1M, or another length")
        return None
    return CalendarWindow(count, cast(CalendarUnit, unit), start, zone)


def _start(calendar: Fields) -> datetime | None:
    text = calendar.text("startTime", hint="write startTime: 2026-01-01 00:00:00")
    if not text:
        return None
    name = calendar.name_of("startTime")
    found = _START.fullmatch(text)
    if found is None and _OFFSET.fullmatch(text):
        calendar.fault("startTime", f"{name} {quoted(text)} has an offset", "write the time on the clock of timeZone")
        return None
    try:
        start = datetime.fromisoformat(f"{found[1]} {found[2] or '00:00'}") if found is not None else None
    except ValueError:
        start = None
    if start is None or not 1970 <= start.year <= 2200:
        calendar.fault("startTime", f"{name} {quoted(text)} is not a time", "write it as 2026-01-01 00:00:00")
        return None
    return start


def _zone(calendar: Fields) -> str | None:
    text = calendar.text("timeZone", hint="write timeZone: Europe/Berlin, or UTC")
    if not text:
        return None
    try:
        ZoneInfo(text)
    except (KeyError, OSError, ValueError):
        near = did_you_mean(text, available_timezones())
        calendar.fault(
            "timeZone",
            f"{calendar.name_of('timeZone')} {quoted(text)} is not a zone of the tz database",
            near if near.startswith("did you mean") else "write a name such as Europe/Berlin, or UTC",
        )
        return None
    return text
