"""The peak request rate of a promise by day and week, from its counts in the ledger. Pure.

The peak of a day is the highest rate of a whole slice; that of an ISO week is the highest of its days (UTC). A slice
with missing time has no rate, because its requests were not all seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from loadgen.outside_text import one_line
from loadgen.programme.ledger.ledger import Counts
from loadgen.programme.ledger.ledger_file import Revision
from loadgen.programme.ledger.slices import DAY_S
from loadgen.units import quantity

__all__ = ["PeakHistory", "WeekPeak", "peak_history"]

_DAYS: Final = 7
_MISSING_MOST_S: Final = DAY_S
"""A week with more missing time has no peak: it may have been in that time."""
_NAMED_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class WeekPeak:
    """The peak of one week. monday: its first day. rate: requests/s. missing_s: time without whole slices, s."""

    monday: date
    rate: float
    missing_s: int = 0


@dataclass(frozen=True, slots=True)
class PeakHistory:
    """Peaks by week, oldest first, and by day. notes: sentences about missing slices."""

    weeks: tuple[WeekPeak, ...]
    days: tuple[tuple[date, float], ...]
    notes: tuple[str, ...] = ()


def peak_history(slo: str, counts: Counts, revisions: Sequence[Revision], now: int) -> PeakHistory:
    """Return the peaks of a promise in the weeks that ended before `now` (Unix time, s).

    Weeks with more than a day of missing time are left out and named.

    Args:
        revisions: of the reading that `counts` is from.
    Raises:
        ValueError: counts are estimated, or come from several sources; the text of the error is a sentence.
    """
    name = one_line(slo, 100)
    if counts.estimated.any():
        share = 100 * float(np.mean(counts.estimated))
        raise ValueError(
            f"{share:.0f} % of the slices of {name} are estimated, so their highest rate is an estimate, too:"
            " use a promise whose source counts requests"
        )
    sources = sorted({revisions[n].source for n in np.unique(counts.revision).tolist()})
    if len(sources) > 1:
        raise ValueError(
            f"the counts of {name} come from {quantity(len(sources), 'source')} ({', '.join(sources)}), and a step"
            " between them would look like growth: use a promise with one source"
        )
    is_whole = (counts.missing_s == 0) & (counts.start + counts.width <= now)
    start, width, total = counts.start[is_whole], counts.width[is_whole], counts.total[is_whole]
    day_of = start // DAY_S
    days: dict[int, tuple[float, int]] = {}
    for day in np.unique(day_of).tolist():
        of = day_of == day
        days[day] = float((total[of] / width[of]).max()), int(width[of].sum())
    weeks, notes = _weeks(days, now)
    return PeakHistory(weeks, tuple((_date(day), rate) for day, (rate, _) in sorted(days.items())), notes)


def _weeks(days: dict[int, tuple[float, int]], now: int) -> tuple[tuple[WeekPeak, ...], tuple[str, ...]]:
    """Return the weeks between the first day and `now`, and what is missing. days: peak and covered time by day."""
    weeks: list[WeekPeak] = []
    left_out: list[str] = []
    partly: list[str] = []
    if not days:
        return (), ()
    monday = _date(min(days)) - timedelta(_date(min(days)).weekday())
    while (first := (monday - date(1970, 1, 1)).days) + _DAYS <= now // DAY_S:
        found = [days[day] for day in range(first, first + _DAYS) if day in days]
        missing_s = _DAYS * DAY_S - sum(covered for _, covered in found)
        peak = max((rate for rate, _ in found), default=0.0)
        year, number, _ = monday.isocalendar()
        text = f"{year}-W{number:02} ({quantity(round(missing_s / 60), 'minute')})"
        if missing_s > _MISSING_MOST_S or not peak:
            left_out.append(text)
        else:
            weeks.append(WeekPeak(monday, peak, missing_s))
            if missing_s:
                partly.append(text)
        monday += timedelta(_DAYS)
    notes = []
    if left_out:
        notes.append(f"left out, because more than a day is missing: {_some(left_out)}")
    if partly:
        notes.append(f"the peak may be higher, because time is missing: {_some(partly)}")
    return tuple(weeks), tuple(notes)


def _some(texts: Sequence[str]) -> str:
    more = f" and {quantity(len(texts) - _NAMED_MOST, 'more week')}" if len(texts) > _NAMED_MOST else ""
    return f"{', '.join(texts[:_NAMED_MOST])}{more}"


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_S, UTC).date()
