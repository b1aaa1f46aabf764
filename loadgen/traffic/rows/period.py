"""The period of time from which requests are taken: `--day`, `--from` and `--to`. All times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar, Final

__all__ = ["ALL_TIMES", "Period"]

_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """Requests count if they start at `begin_us` or later, and before `end_us`: µs since 1970."""

    LAST_US: ClassVar[int] = 7_258_118_400_000_000
    """No log has later stamps: the year 2200."""

    begin_us: int = 0
    end_us: int = LAST_US

    @classmethod
    def of(cls, begin: str, end: str) -> Period:
        """Return the period between two texts such as `2026-11-20` or `2026-11-20T08:30`; empty: no limit.

        The end is excluded, but a date as the end includes its whole day.

        Raises:
            ValueError: a text is invalid, or the period is empty.
        """
        begin_us = _us(_time_of(begin)[0]) if begin else 0
        end_us = cls.LAST_US
        if end:
            last, is_date = _time_of(end)
            end_us = _us(last + _ONE_DAY if is_date else last)
        if not 0 <= begin_us < end_us <= cls.LAST_US:
            raise ValueError(f"the period from {begin or 1970} to {end or 2199} is empty, or not in these years")
        return cls(begin_us, end_us)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self != ALL_TIMES


ALL_TIMES: Final = Period()


def _time_of(text: str) -> tuple[datetime, bool]:
    """Return the time, and whether the text is a date."""
    try:
        is_date = len(text) == len("2026-11-20")
        when = datetime.combine(date.fromisoformat(text), datetime.min.time()) if is_date else None
        when = when or datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'invalid time "{text}"; write 2026-11-20 or 2026-11-20T08:30') from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)), is_date


def _us(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
