"""Converts the time stamps of logs to µs since 1970 in UTC, with caches: many lines have the same second."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from loadgen.traffic.rows.period import Period

__all__ = ["Timestamps"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_EPOCH: Final = date(1970, 1, 1).toordinal()
_YEARS: Final = range(1970, 2200)
_MOST_CACHED: Final = 100_000
_CLF: Final = re.compile(rb"(\d\d?)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? ([+-])(\d\d):?(\d\d)")
_ISO: Final = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))? ?(?:(Z|z|UTC)|([+-])(\d\d):?(\d\d)?)?"
)
_NUMBER: Final = re.compile(rb"\d{9,19}(?:\.\d{1,9})?")


class Timestamps:
    """Converts time stamps. Every method returns µs since 1970, and raises ValueError for an invalid stamp.

    A leap second (:60) becomes the first second of the next minute. The year must be 1970 to 2199.
    """

    def __init__(self) -> None:
        self.clf_cache: dict[bytes, int] = {}
        """Converted stamps of CLF by text. Formats look here first, to save a call."""
        self.iso_cache: dict[bytes, int] = {}
        """Converted seconds of ISO stamps in UTC by text up to the point: `2018-07-02T22:23:00.`. As `clf_cache`."""
        self._days: dict[tuple[int, int, int], int] = {}

    def clf(self, text: bytes) -> int:
        """Convert a stamp of Apache and nginx, `17/May/2015:10:05:03 +0000`, or an ISO stamp in its place."""
        known = self.clf_cache.get(text)
        if known is not None:
            return known
        found = _CLF.fullmatch(text)
        if found is None:
            return self.iso(text)
        day, month, year, hour, minute, second, part, sign, zone_h, zone_m = found.groups()
        us = self._us(int(year), _month(month), int(day), int(hour), int(minute), int(second))
        us += _part_us(part) - _zone_us(sign, zone_h, zone_m)
        if len(self.clf_cache) >= _MOST_CACHED:
            self.clf_cache.clear()
        self.clf_cache[text] = us
        return us

    def iso(self, text: bytes) -> int:
        """Convert a stamp of ISO 8601 or RFC 3339, `2018-07-02T22:23:00.186641Z`. A stamp without a zone is UTC."""
        if len(text) == 27:  # 2018-07-02T22:23:00.186641Z
            second = self.iso_cache.get(text[:20])
            digits = text[20:26]
            if second is not None and digits.isdigit() and text[26] == 90:
                return second + int(digits)
        found = _ISO.fullmatch(text)
        if found is None:
            raise ValueError("invalid time stamp")
        year, month, day, hour, minute, second_text, part, _, sign, zone_h, zone_m = found.groups()
        us = self._us(int(year), int(month), int(day), int(hour), int(minute), int(second_text))
        if sign is None:
            if len(self.iso_cache) >= _MOST_CACHED:
                self.iso_cache.clear()
            self.iso_cache[text[:19] + b"."] = us
            return us + _part_us(part)
        return us + _part_us(part) - _zone_us(sign, zone_h, zone_m or b"00")

    def number(self, text: bytes) -> int:
        """Convert a number of seconds, ms, µs or ns since 1970. Its magnitude shows the unit."""
        if _NUMBER.fullmatch(text) is None:
            raise ValueError("invalid time stamp")
        whole, _, part = text.partition(b".")
        value = int(whole)
        for most, factor in ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1)):
            if value < most:
                us = value * factor + (round(float(b"0." + part) * factor) if part else 0)
                break
        else:
            us = value // 1_000
        if us >= Period.LAST_US:
            raise ValueError("invalid time stamp")
        return us

    def _us(self, year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
        if hour > 23 or minute > 59 or second > 60:
            raise ValueError("invalid time stamp")
        days = self._days.get((year, month, day))
        if days is None:
            if year not in _YEARS:
                raise ValueError("invalid time stamp")
            days = date(year, month, day).toordinal() - _EPOCH
            if len(self._days) >= _MOST_CACHED:
                self._days.clear()
            self._days[year, month, day] = days
        return ((days * 24 + hour) * 3600 + minute * 60 + second) * 1_000_000


def _month(name: bytes) -> int:
    if name not in _MONTHS:
        raise ValueError("invalid time stamp")
    return _MONTHS[name]


def _part_us(digits: bytes | None) -> int:
    return int(digits.ljust(6, b"0")[:6]) if digits else 0


def _zone_us(sign: bytes, hours: bytes, minutes: bytes) -> int:
    us = (int(hours) * 60 + int(minutes)) * 60_000_000
    if int(hours) > 15 or int(minutes) > 59:
        raise ValueError("invalid time stamp")
    return -us if sign == b"-" else us
