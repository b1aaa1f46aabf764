"""Joins the journal of `loadgen probe run` with a run: the same records, on the clock of the run. Pure.

The two programs ran on machines with clocks of their own. If both ran since the same boot of one kernel, they have the
same clock. Otherwise the wall clocks of both journals give the offset, and the errors of both wall clocks its bound.
Every time becomes as uncertain as that: a record's request is moved back by the bound, and its answer is moved on, so
the error of each point contains it.

All times are ns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from loadgen.probes.journal import (
    Begin,
    Gap,
    NewRows,
    NewSeries,
    NoteRecord,
    Period,
    Record,
    Sample,
    ServerClock,
    TimedRecord,
    Zero,
)
from loadgen.probes.server_clock import MOST_DRIFT
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["ASSUMED_NS", "ClockOffset", "damage_of", "moved", "offset_between", "span_of"]

ASSUMED_NS: Final = NS_PER_S
"""The assumed error of a wall clock that no time service keeps."""
_ROUNDED_NS: Final = NS_PER_MS
"""Wall-clock times in a journal are whole ms, cut off."""

_LONGEST_NS: Final = 366 * 24 * 3_600 * NS_PER_S
"""A journal with times further from its beginning than this is damaged."""
_PROBES_MOST: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_PRINTED_MOST: Final = 2_000


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The difference of two clocks, which is added to times of one for times of the other.

    error_ns: the most by which it is off at the beginning. drift: the growth of this error per ns.
    how: "same clock", "wall clocks", or "wall clocks, error assumed".
    """

    offset_ns: int
    error_ns: int
    drift: float
    how: str

    def error_at(self, distance_ns: int) -> int:
        """Return the error at a distance from the beginning of the journal."""
        return self.error_ns + round(self.drift * max(0, distance_ns))


def offset_between(run: Begin, other: Begin, error_ns: int | None = None) -> ClockOffset:
    """Return the offset from the clock of another journal to the clock of a run.

    run, other: the first records of both journals. error_ns: the error of the wall clocks together, by the user
    instead of by the kernels.
    """
    if run.boot and run.boot == other.boot and error_ns is None:
        return ClockOffset(0, 0, 0.0, "same clock")
    offset_ns = (_wall_ns(other) - other.now_ns) - (_wall_ns(run) - run.now_ns)
    if error_ns is not None:
        return ClockOffset(offset_ns, error_ns + _ROUNDED_NS, MOST_DRIFT, "wall clocks, error given")
    if run.wall_error_ns is not None and other.wall_error_ns is not None:
        # Time services keep the rates of both clocks right, so nothing grows.
        return ClockOffset(offset_ns, run.wall_error_ns + other.wall_error_ns + _ROUNDED_NS, 0.0, "wall clocks")
    known = [ASSUMED_NS if one.wall_error_ns is None else one.wall_error_ns for one in (run, other)]
    return ClockOffset(offset_ns, sum(known) + _ROUNDED_NS, MOST_DRIFT, "wall clocks, error assumed")


def damage_of(records: Sequence[Record]) -> str:
    """Return why a journal from another machine cannot be one of `loadgen probe run`; "" if it can.

    The CRC of each record was right, so the file may be made by hand. Numbers of series that do not fit are found when
    the records are used.
    """
    begin_ns = count = 0
    for record in records:
        match record:
            case Begin(probes=probes, now_ns=now_ns):
                begin_ns, count = now_ns, len(probes)
                if why := _damage_of_begin(record):
                    return why
            case Zero():
                pass
            case _ if not 0 <= record.probe < count:
                return "a record belongs to no probe"
            case Sample() | Gap() | ServerClock():
                times = record.sent_ns, record.received_ns
                if times[0] > times[1] or any(abs(at_ns - begin_ns) > _LONGEST_NS for at_ns in times):
                    return "a record has an impossible time"
                if isinstance(record, Sample) and min(record.ids, default=0) < 0:
                    return "a record belongs to no series"
            case NoteRecord(at_ns=at_ns) if abs(at_ns - begin_ns) > _LONGEST_NS:
                return "a record has an impossible time"
            case TimedRecord(id=number) | NewSeries(first=number) if number < 0:
                return "a record belongs to no series"
            case Period(every_ns=every_ns) if every_ns <= 0:
                return "a period is not above 0"
            case NewRows(rows=rows) if any(len(text) > _PRINTED_MOST for row in rows for text in (row.key, row.title)):
                return "the name of a row is too long"
            case _:
                pass
    return ""


def _damage_of_begin(begin: Begin) -> str:
    names = [one.name for one in begin.probes]
    if not 0 < len(names) <= _PROBES_MOST or len(set(names)) < len(names):
        return f"it must have from 1 to {_PROBES_MOST} probes with different names"
    if not all(map(_NAME.fullmatch, names)):
        return "the name of a probe is invalid"
    if any(one.every_ns <= 0 or len(one.url) > _PRINTED_MOST for one in begin.probes):
        return "the period or the URL of a probe is invalid"
    try:
        _wall_ns(begin)
    except (ValueError, OverflowError):
        return "the time of its beginning is invalid"
    return ""


def span_of(records: Iterable[Record]) -> tuple[int, int] | None:
    """Return the times of the first request and the last answer of a journal; None without samples and gaps."""
    first: int | None = None
    last = 0
    for record in records:
        if isinstance(record, Sample | Gap):
            first = record.sent_ns if first is None else first
            last = record.received_ns
    return None if first is None else (first, last)


def moved(records: Iterable[Record], offset: ClockOffset, t0_ns: int) -> Iterator[Record]:
    """Yield the records of a journal on the clock of a run. t0_ns: T0 of the run, which follows each `Begin`."""
    begin_ns = 0
    for record in records:
        match record:
            case Begin():
                begin_ns = record.now_ns
                yield msgspec.structs.replace(record, now_ns=record.now_ns + offset.offset_ns)
                yield Zero(t0_ns)
            case Zero():
                pass
            case Sample() | Gap() | ServerClock():
                error_ns = offset.error_at(record.received_ns - begin_ns)
                sent_ns = record.sent_ns + offset.offset_ns - error_ns
                received_ns = record.received_ns + offset.offset_ns + error_ns
                wide = msgspec.structs.replace(record, sent_ns=sent_ns, received_ns=received_ns)
                if isinstance(wide, Sample) and wide.cost_ns is None:
                    wide = msgspec.structs.replace(wide, cost_ns=record.received_ns - record.sent_ns)
                yield wide
            case NoteRecord():
                error_ns = offset.error_at(record.at_ns - begin_ns)
                own = record.body.get("error_ns", 0)
                known = own if isinstance(own, int | float) and own >= 0 else 0
                body = {**record.body, "error_ns": round(known) + error_ns}
                yield msgspec.structs.replace(record, at_ns=record.at_ns + offset.offset_ns, body=body)
            case _:
                yield record


def _wall_ns(begin: Begin) -> int:
    return round(datetime.fromisoformat(begin.at).timestamp() * 1_000) * NS_PER_MS
