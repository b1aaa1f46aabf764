"""The progress of one agent in one load: totals, and samples of them over time.

A run is compared with its plan at its end, and each second while it goes on. Both need the number of
iterations of an agent that were due up to a time, and its number of users. This module keeps samples
at the ends of intervals: at most `KEPT` of each kind. Beyond that every other one is dropped, so an
hour costs no more memory than ten minutes. The totals are exact.

Times are ns from T0.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

import msgspec

from loadgen.measure.deltas.load_counts import LoadCounts

__all__ = ["KEPT", "LoadProgress", "LoadProgressState", "Samples"]

KEPT: Final = 1_024


SamplesState = tuple[bytes, bytes]
"""The columns of a Samples."""


class Samples:
    """A count at the ends of intervals, as pairs (end in ns, count) in order of time.

    At most `KEPT` pairs; `add` thins them out. A pair takes 16 bytes, because the two columns are arrays of integers:
    a fleet of 1,000 agents has a million pairs.
    """

    __slots__ = ("_ends_ns", "_numbers")

    def __init__(self) -> None:
        self._ends_ns, self._numbers = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._ends_ns)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._ends_ns, self._numbers, strict=True)

    def freeze(self) -> SamplesState:
        """Return the contents as a value for a checkpoint, without an object for each of its pairs."""
        return self._ends_ns.tobytes(), self._numbers.tobytes()

    @classmethod
    def thaw(cls, state: SamplesState) -> Samples:
        """Return a new object with the contents that `freeze` returned."""
        made = cls()
        made._ends_ns.frombytes(state[0])
        made._numbers.frombytes(state[1])
        return made

    @property
    def last(self) -> tuple[int, int]:
        """The newest pair, which is always kept; (0, 0) without one."""
        return (self._ends_ns[-1], self._numbers[-1]) if self._ends_ns else (0, 0)

    def add(self, end_ns: int, number: int) -> None:
        """Add a pair that is later than all others. Beyond `KEPT`, every second pair is dropped, but not this one."""
        self._ends_ns.append(end_ns)
        self._numbers.append(number)
        if len(self._ends_ns) > KEPT:
            first = (len(self) + 1) % 2
            self._ends_ns, self._numbers = self._ends_ns[first::2], self._numbers[first::2]

    def at(self, t_ns: int) -> int:
        """Return the count of the last pair at or before `t_ns`; 0 if all pairs are later."""
        at = bisect_right(self._ends_ns, t_ns)
        return self._numbers[at - 1] if at else 0


class LoadProgressState(msgspec.Struct, frozen=True):
    """A LoadProgress as values, for a checkpoint."""

    started: int = 0
    missed: int = 0
    waiting: int = 0
    due: SamplesState = b"", b""
    users: SamplesState = b"", b""


class LoadProgress:
    """Totals and samples of one load of one registration of an agent."""

    __slots__ = ("due", "missed", "started", "users", "waiting")

    def __init__(self) -> None:
        self.started = 0
        self.missed = 0
        self.waiting = 0
        """Due iterations that waited for a free user at the end of the newest interval."""
        self.due = Samples()
        """Iterations due by the ends of intervals."""
        self.users = Samples()
        """Users at the ends of intervals, one entry for each change of the number."""

    def freeze(self) -> LoadProgressState:
        """Return the contents as a value for a checkpoint."""
        return LoadProgressState(self.started, self.missed, self.waiting, self.due.freeze(), self.users.freeze())

    @classmethod
    def thaw(cls, state: LoadProgressState) -> LoadProgress:
        """Return a new object with the contents that `freeze` returned."""
        made = cls()
        made.started, made.missed, made.waiting = state.started, state.missed, state.waiting
        made.due, made.users = Samples.thaw(state.due), Samples.thaw(state.users)
        return made

    @property
    def total(self) -> int:
        """Return the number of iterations that were due so far: started, missed, or waiting for a free user."""
        return self.started + self.missed + self.waiting

    def add(self, end_ns: int, counts: LoadCounts) -> None:
        """Add the counts of an interval that ended at `end_ns` (ns from T0) to the totals, and keep samples."""
        self.started += counts.started
        self.missed += counts.missed
        self.waiting = counts.waiting
        self.due.add(end_ns, self.total)
        if counts.users != self.users.last[1]:
            self.users.add(end_ns, counts.users)

    def users_at(self, t_ns: int) -> int:
        """Return the number of users at the end of the last interval that ended at or before `t_ns`; 0 before that."""
        return self.users.at(t_ns)
