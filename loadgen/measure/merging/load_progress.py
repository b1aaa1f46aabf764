"""The progress of one agent in one load: totals, and samples of them over time.

A run is compared with its plan at its end, and each second while it goes on. Both need the number of
iterations of an agent that were due up to a time, and its number of users. This module keeps samples
at the ends of intervals: at most `KEPT` of each kind. Beyond that every other one is dropped, so an
hour costs no more memory than ten minutes. The totals are exact.

Times are ns from T0.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec

from loadgen.measure.deltas.load_counts import LoadCounts

__all__ = ["KEPT", "LoadProgress"]

KEPT: Final = 1_024


class LoadProgress(msgspec.Struct):
    """Totals and samples of one load of one registration of an agent."""

    started: int = 0
    missed: int = 0
    waiting: int = 0
    """Due iterations that waited for a free user at the end of the newest interval."""
    due: list[tuple[int, int]] = []
    """(end of an interval, iterations due by then), in order; the newest is always kept."""
    users: list[tuple[int, int]] = []
    """(end of an interval, users at that time), one entry for each change of the number, in order."""

    @property
    def total(self) -> int:
        """Return the number of iterations that were due so far: started, missed, or waiting for a free user."""
        return self.started + self.missed + self.waiting

    def add(self, end_ns: int, counts: LoadCounts) -> None:
        """Add the counts of an interval that ended at `end_ns` (ns from T0) to the totals, and keep samples."""
        self.started += counts.started
        self.missed += counts.missed
        self.waiting = counts.waiting
        self.due.append((end_ns, self.total))
        if len(self.due) > KEPT:
            self.due = _thinned(self.due)
        if counts.users != (self.users[-1][1] if self.users else 0):
            self.users.append((end_ns, counts.users))
            if len(self.users) > KEPT:
                self.users = _thinned(self.users)

    def users_at(self, end_ns: int) -> int:
        """Return the number of users at the end of the newest interval that ended by `end_ns`; 0 without one."""
        at = bisect_right(self.users, end_ns, key=lambda one: one[0])
        return self.users[at - 1][1] if at else 0


def _thinned(samples: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return every second sample of the list, so that the newest one is kept."""
    return samples[(len(samples) + 1) % 2 :: 2]
