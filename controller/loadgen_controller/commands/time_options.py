"""Parses options that are days or times, such as --as-of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from loadgen.outside_text import one_line

__all__ = ["in_known_years", "parse_as_of", "parse_time"]

_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 2999
"""Years of times that can have counts or a history."""


def parse_time(text: str) -> datetime:
    """Parse a day or a time of ISO 8601, such as the value of --as-of. A time without a zone is in UTC.

    Raises:
        ValueError: the text has another form.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'invalid time "{one_line(text, 60)}"; write 2026-07-27 or 2026-07-27T06:00Z') from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def parse_as_of(text: str) -> datetime:
    """Parse the value of --as-of; see `parse_time`.

    Raises:
        ValueError: the text has another form, or the year is one in which no history was ever written.
    """
    return in_known_years(parse_time(text), text)


def in_known_years(found: datetime, text: str) -> datetime:
    """Return a time of a ledger or a history, if its year can be one; text: as it was given.

    Times near the ends of the calendar would overflow when windows are added to them.

    Raises:
        ValueError: the year is not from 2000 to 2999.
    """
    if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise ValueError(f'invalid time "{one_line(text, 60)}": must be from {_FIRST_YEAR} to {_LAST_YEAR}')
    return found
