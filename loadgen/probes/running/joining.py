"""Joins the journal of `loadgen probe run` with a run: the same records, on the clock of the run. Pure.

The two programs ran on machines with clocks of their own. If both ran since the same boot of one kernel, they have the
same clock. Otherwise the wall clocks of both journals give the offset, and the errors of both wall clocks its bound.
Every time becomes as uncertain as that: a record's request is moved back by the bound, and its answer is moved on, so
the error of each point contains it.

All times are ns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from loadgen.probes.journal import (
    Begin,
    Gap,
    NoteRecord,
    Record,
    Sample,
    ServerClock,
    Zero,
)
from loadgen.probes.server_clock import MOST_DRIFT
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["ASSUMED_NS", "ClockOffset", "moved", "offset_between", "span_of"]

ASSUMED_NS: Final = NS_PER_S
"""The assumed error of a wall clock that no time service keeps."""
_ROUNDED_NS: Final = NS_PER_MS
"""Wall-clock times in a journal are whole ms, cut off."""


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
