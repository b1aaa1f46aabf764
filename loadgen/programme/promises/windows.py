"""The window of a promise: the time over which production is judged. Pure: no clock.

A rolling window always has the same length and ends now. A calendar window
follows the clock on the wall of its time zone: the windows follow each other
without a gap from `start` on, so a day is 23 or 25 hours long when the clock
changes, and a month has 28 to 31 days. Hours are elapsed hours.

A wall time that the clock skips in spring is read with the offset before the
change, and one that occurs twice in autumn is its first occurrence.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

__all__ = ["CALENDAR_UNITS", "CalendarUnit", "CalendarWindow", "RollingWindow", "Window"]

CalendarUnit = Literal["h", "d", "w", "M", "Q", "Y"]
CALENDAR_UNITS: Final[tuple[CalendarUnit, ...]] = ("h", "d", "w", "M", "Q", "Y")
_MONTHS: Final = {"M": 1, "Q": 3, "Y": 12}
_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60}


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The last `seconds` seconds. seconds: a positive multiple of 60."""

    seconds: int

    @property
    def text(self) -> str:
        """Return the canonical duration of OpenSLO: the largest of w, d, h, m without a remainder, such as "4w"."""
        unit = next(unit for unit, size in _SECONDS.items() if self.seconds % size == 0)
        return f"{self.seconds // _SECONDS[unit]}{unit}"

    @property
    def nominal_s(self) -> int:
        """Return the length in seconds."""
        return self.seconds

    def around(self, moment: datetime) -> tuple[datetime, datetime]:
        """Return the window that ends at `moment`, as UTC. moment: with a time zone."""
        end = moment.astimezone(UTC)
        return end - timedelta(seconds=self.seconds), end


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """Windows of `count` units that follow each other from `start` on, by the wall clock of a zone.

    count: at least 1. start: a wall time without offset. zone: a name of the tz database, such as "Europe/Berlin".
    """

    count: int
    unit: CalendarUnit
    start: datetime
    zone: str

    @property
    def text(self) -> str:
        """Return the duration of OpenSLO, such as "1M"."""
        return f"{self.count}{self.unit}"

    @property
    def nominal_s(self) -> int:
        """Return the length in seconds, with 30 days for a month, 90 for a quarter and 365 for a year. Real windows
        differ: `around` has their limits.
        """
        days = {"M": 30, "Q": 90, "Y": 365}
        return self.count * (days[self.unit] * 86_400 if self.unit in days else _SECONDS[self.unit])

    def around(self, moment: datetime) -> tuple[datetime, datetime]:
        """Return the window that contains `moment`, as UTC: from its start to its end, which is the next one's start.

        moment: with a time zone. It may be before `start`; windows continue backwards.

        Raises:
            OverflowError: the window begins before the year 1 or ends after the year 9999.
        """
        at = moment.astimezone(UTC)
        low = self._guess(at)
        while self._limit(low) > at:
            low -= 1
        while self._limit(low + 1) <= at:
            low += 1
        return self._limit(low), self._limit(low + 1)

    def _guess(self, at: datetime) -> int:
        """Return a number near that of the window at a time: wrong by a few at most."""
        wall = at.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        if self.unit in _MONTHS:
            months = (wall.year - self.start.year) * 12 + wall.month - self.start.month
            return months // (_MONTHS[self.unit] * self.count)
        return int((wall - self.start).total_seconds() // (self.count * _SECONDS[self.unit]))

    def _limit(self, number: int) -> datetime:
        """Return the start of the window with this number; 0 is the one that begins at `start`. In UTC."""
        zone, steps = ZoneInfo(self.zone), number * self.count
        if self.unit == "h":
            return self.start.replace(tzinfo=zone).astimezone(UTC) + timedelta(hours=steps)
        if self.unit in _MONTHS:
            wall = _months_later(self.start, steps * _MONTHS[self.unit])
        else:
            wall = self.start + timedelta(seconds=steps * _SECONDS[self.unit])
        return wall.replace(tzinfo=zone).astimezone(UTC)


Window = RollingWindow | CalendarWindow


def _months_later(start: datetime, months: int) -> datetime:
    """Return a wall time some months later; the 31st becomes the last day of a shorter month."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError(f"the year {year} is outside 1 to 9999")
    return start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))
