"""Anomalies in the ledger: hours with unusually many or few requests, or unusually many bad ones. Pure.

Fewer bad requests than usual are no find. Excluded times and missing times are gaps.

Trend and season are fitted to the counts that are read, so another span of counts gives other expected values, and at
times other finds. `search` therefore reads a fixed span: `PAST_S` before its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from loadgen.analysis.anomalies.flag import DEVIATIONS, Flags, flag
from loadgen.analysis.anomalies.hours import HOUR_S, Hours, hours_of
from loadgen.programme.evidence.entry import evidence_id
from loadgen.programme.ledger.exclusions import Exclusion, is_excluded
from loadgen.programme.ledger.ledger import Counts

__all__ = [
    "FORMULA",
    "PAST_S",
    "Anomaly",
    "Direction",
    "Past",
    "Search",
    "What",
    "anomalies_of",
    "anomaly_id",
    "hourly",
    "offsets_of",
    "search",
]

What = Literal["requests", "bad requests"]
Direction = Literal["more", "fewer"]
_STEP_S: Final = 900
"""Clocks change at multiples of 15 minutes."""
PAST_S: Final = 8 * 7 * 86_400
"""The time of the ledger that one search reads, s."""
FORMULA: Final = (
    "square roots of hourly counts; trend and season by robust STL (period 168 h from 4 weeks on, 24 h before);"
    f" a rest above {DEVIATIONS:.0f} robust standard deviations"
)
"""How a find was computed, in words."""


@dataclass(frozen=True, slots=True)
class Past:
    """The counts that a find rests on. start, end: Unix time, s. hours: with counts. gaps: hours without."""

    start: int
    end: int
    hours: int
    gaps: int
    is_weekly: bool


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Adjacent hours that season and trend do not explain. start, end: Unix time, s.

    observed, expected: events in that time, at the observed rate where a part of an hour is missing. deviations: of the
    furthest hour, in robust standard deviations, signed.
    """

    id: str
    slo: str
    start: int
    end: int
    what: What
    observed: float
    expected: float
    deviations: float
    direction: Direction
    revisions: tuple[str, ...] = ()
    """Names of revisions of the ledger; empty if the caller gave no names."""
    past: Past | None = None
    """None: no search found it."""


@dataclass(frozen=True, slots=True)
class Search:
    """The result of looking for anomalies of one promise. why: not empty if nothing could be looked at.

    start, end: the time of the counts that were read, Unix time in s. hours: with counts, in the newest `PAST_S`. gaps:
    hours without. partly: why older hours could not be looked at; "" if all were.
    """

    slo: str
    found: tuple[Anomaly, ...] = ()
    start: int = 0
    end: int = 0
    hours: int = 0
    gaps: int = 0
    is_weekly: bool = False
    why: str = ""
    partly: str = ""


def anomaly_id(slo: str, start: int, what: What, direction: Direction) -> str:
    """Return the id of a find: from its promise, its first hour and its kind, so later data rarely change it."""
    return evidence_id("anomaly", {"slo": slo, "hour": start, "what": what, "direction": direction})


def anomalies_of(counts: Counts, slo: str, zone: str, exclusions: Sequence[Exclusion] = ()) -> tuple[Anomaly, ...]:
    """Return the anomalies of a promise by time; see `search`."""
    return search(counts, slo, zone, exclusions).found


def search(
    counts: Counts | None,
    slo: str,
    zone: str,
    exclusions: Sequence[Exclusion] = (),
    revisions: Sequence[str] = (),
    *,
    end: int | None = None,
) -> Search:
    """Look for anomalies in the counts of a promise, in the `PAST_S` before `end`.

    Args:
        zone: of the tz database; traffic follows its wall clock.
        revisions: the names that `counts.revision` numbers; () if they are not needed.
        end: Unix time, s; None: the end of the counts.
    Raises:
        ImportError: statsmodels is missing (install the extra `analysis`).

    Cost: some 70 ms for 28 days.
    """
    if counts is not None and len(counts):
        last = int((counts.start + counts.width).max()) if end is None else end
        first = (last - PAST_S) // HOUR_S * HOUR_S
        counts = counts.chosen((counts.start >= first) & (counts.start < last))
    if counts is None or not len(counts):
        return Search(slo, why="the ledger has no counts of it")
    kept = ~is_excluded(slo, counts.start, counts.width, exclusions)
    if not kept.any():
        return Search(slo, why="all of its time is excluded")
    try:
        requests = hourly(counts, zone, counts.total, kept)
        bad = hourly(counts, zone, counts.total - counts.good, kept)
    except ValueError as error:
        return Search(slo, why=str(error))
    gaps = int(requests.is_gap.sum())
    flags = flag(requests.count, observed=requests.observed)
    past = Past(
        int(counts.start.min()),
        int((counts.start + counts.width).max()),
        len(requests) - gaps,
        gaps,
        flags.period == 168,
    )
    if flags.why:
        return Search(slo, (), past.start, past.end, past.hours, gaps, why=flags.why)
    found = [
        replace(one, past=past)
        for one in (
            *_joined(slo, "requests", requests, flags),
            *_joined(slo, "bad requests", bad, flag(bad.count, observed=bad.observed)),
        )
    ]
    if revisions:
        found = [_with_revisions(one, counts, revisions) for one in found]
    found.sort(key=lambda one: (one.start, one.what))
    return Search(slo, tuple(found), past.start, past.end, past.hours, gaps, past.is_weekly)


def hourly(
    counts: Counts, zone: str, events: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_] | None = None
) -> Hours:
    """Return events of the ledger by hours of the wall clock. kept: which slices are used; the others are gaps.

    Raises:
        ValueError: slices are longer than an hour.
    """
    missing = counts.missing_s if kept is None else np.where(kept, counts.missing_s, counts.width)
    return hours_of(counts.start, counts.width, events, missing, offsets_of(counts.start, zone))


def offsets_of(start: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.int64]:
    """Return the offset of the wall clock from UTC at each Unix time, s."""
    if zone == "UTC":
        return np.zeros(len(start), np.int64)
    tz = ZoneInfo(zone)
    times, where = np.unique(start // _STEP_S, return_inverse=True)
    found = [datetime.fromtimestamp(at * _STEP_S, tz).utcoffset() for at in times.tolist()]
    return np.array([0 if one is None else round(one.total_seconds()) for one in found], np.int64)[where]


def _joined(slo: str, what: What, hours: Hours, flags: Flags) -> Iterator[Anomaly]:
    """Yield adjacent flagged hours of one direction as one find."""
    sign = np.where(flags.is_flagged, np.sign(np.nan_to_num(flags.deviations)), 0).astype(np.int64)
    if what == "bad requests":
        sign = np.maximum(sign, 0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], sign, [0]))))
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if not sign[a]:
            continue
        # A slot with two hours, when clocks go back, counts twice.
        length = (hours.end[a:b] - hours.start[a:b]) / 3_600
        deviations = flags.deviations[a:b]
        direction: Direction = "more" if sign[a] > 0 else "fewer"
        start = int(hours.start[a])
        yield Anomaly(
            anomaly_id(slo, start, what, direction),
            slo,
            start,
            int(hours.end[b - 1]),
            what,
            float((hours.count[a:b] * length).sum()),
            float((flags.expected[a:b] * length).sum()),
            float(deviations[np.abs(deviations).argmax()]),
            direction,
        )


def _with_revisions(one: Anomaly, counts: Counts, names: Sequence[str]) -> Anomaly:
    inside = (counts.start < one.end) & (counts.start + counts.width > one.start)
    return replace(one, revisions=counts.revision_names(inside, names))
