"""Counters of a worker's WebSockets: messages both ways, answers that fit no question, and the open connections."""

from __future__ import annotations

from typing import Final

from loadgen.engine.health.machine_clock import wall_error_ns
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters
from loadgen.measure.deltas.custom import CustomStats
from loadgen.units import NS_PER_MS

__all__ = ["WsCounts"]

SENT: Final = "ws: messages sent"
RECEIVED: Final = "ws: messages received"
UNMATCHED: Final = "ws: unmatched answers"
DOUBLED: Final = "ws: doubled answers"
LATE: Final = "ws: late answers"
DROPPED: Final = "ws: unread messages dropped"
EARLY_STAMPS: Final = "ws: stamps in the future"
OPEN: Final = "ws: open connections"


class _Level:
    """A custom metric that is a level: its lowest, highest and last value of each interval."""

    __slots__ = ("_high", "_low", "_name", "now")

    def __init__(self, name: str) -> None:
        self._name, self.now = name, 0
        self._low = self._high = 0

    def add(self, change: int) -> None:
        self.now += change
        self._low, self._high = min(self._low, self.now), max(self._high, self.now)

    def take(self) -> CustomStats | None:
        if not self._high and not self.now:
            return None
        taken = CustomStats(self._name, "gauge", 1, 0, float(self._low), float(self._high), float(self.now))
        self._low = self._high = self.now
        return taken


class WsCounts(WorkerCounters):
    """The counters of one worker. Get them with `WsCounts.of`."""

    def __init__(self, recorder: Recorder) -> None:
        self.sent, self.received = WorkerCounter(SENT), WorkerCounter(RECEIVED)
        self.unmatched, self.doubled, self.late = WorkerCounter(UNMATCHED), WorkerCounter(DOUBLED), WorkerCounter(LATE)
        self.dropped, self.early_stamps = WorkerCounter(DROPPED), WorkerCounter(EARLY_STAMPS)
        self.open = _Level(OPEN)
        self._recorder = recorder
        self.has_clock_note = False
        recorder.customs += [
            *(self.sent, self.received, self.unmatched, self.doubled, self.late, self.dropped, self.early_stamps),
            self.open,
        ]

    def note_clock(self) -> None:
        """Note by how much this machine's clock may be off, because ages of messages contain it. Call it once."""
        self.has_clock_note = True
        found = wall_error_ns()  # None: no time service keeps the clock
        # Whole ms, so that the workers of an agent have the same note.
        bound = "" if found is None else f"is off by at most {-(-found // NS_PER_MS)} ms"
        known = bound or "is synchronised by no time service"
        self._recorder.note(
            f"message_age: the clock of this agent {known}; the error of the target's clock is unknown and adds to it"
        )
