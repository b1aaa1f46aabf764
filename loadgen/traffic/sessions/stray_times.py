"""Finds requests far away in time from all others: a clock was wrong, or a file of another time is among the logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

__all__ = ["StrayTimes", "stray_times"]

_LEAST_GAP_DAYS: Final = 2
_MOST_SHARE: Final = 0.01
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class StrayTimes:
    """Requests that are few and far away. begin, end: first and last day of all other requests."""

    requests: int
    nearest: date
    """The first stray day after the others, or the last one before them."""
    begin: date
    end: date


def stray_times(requests_by_day: Mapping[int, int]) -> StrayTimes | None:
    """Return the stray requests; None without such requests.

    The days around the busiest one, up to gaps of at least 2 days without a request, are the log. The rest is stray if
    it has at most 1 % of the requests. More than that is a log with holes.

    requests_by_day: by day since 1970. At least one.
    """
    busiest = max(requests_by_day, key=lambda day: (requests_by_day[day], -day))
    begin = end = busiest
    for day in sorted(requests_by_day):
        if end < day <= end + _LEAST_GAP_DAYS:
            end = day
    for day in sorted(requests_by_day, reverse=True):
        if begin - _LEAST_GAP_DAYS <= day < begin:
            begin = day
    outside = [day for day in requests_by_day if not begin <= day <= end]
    requests = sum(requests_by_day[day] for day in outside)
    if not outside or requests > _MOST_SHARE * sum(requests_by_day.values()):
        return None
    nearest = min(outside, key=lambda day: (min(abs(day - begin), abs(day - end)), day))
    return StrayTimes(requests, _date(nearest), _date(begin), _date(end))


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)
