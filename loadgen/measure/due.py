"""What became of what was due in each interval: the ground of objectives over sliding windows.

A histogram holds what *ended* in an interval. An objective over a window asks of
what was *due* in it: ended ok within the limit (good), ended otherwise or later
(bad), or is still in flight and older than the limit already (overdue: bad now,
whatever it will end as). Agents count by objective, journey and due interval.

Good and bad add up. Overdue is a snapshot: what an agent says last replaces all
that it said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from loadgen.errors import WireError

__all__ = ["MAX_DUE_ROWS", "DueCounts", "DueTable", "Tally", "check_due"]

MAX_DUE_ROWS: Final = 20_000
"""Of one delta. After 60 s without an answer at 50 objectives they are 3,000."""
_MAX_K: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class DueCounts:
    """Of one objective and journey, what was due in interval `k`: what ended since the last delta, and what waits.

    objective: index in the plan's `slos`. journey: its name; "" where the objective is of no journey alone.
    k: the interval of the due time, [k L, (k + 1) L) from T0. good, bad: ended since the last delta.
    overdue: in flight at the end of the delta's interval and older than the limit.
    """

    objective: int
    journey: str
    k: int
    good: int = 0
    bad: int = 0
    overdue: int = 0


@dataclass(slots=True)
class Tally:
    """Of one due interval, over all agents of a scope."""

    good: int = 0
    bad: int = 0
    overdue: int = 0

    @property
    def decided(self) -> int:
        return self.good + self.bad + self.overdue

    @property
    def missed(self) -> int:
        """Bad, or overdue and so bad already."""
        return self.bad + self.overdue


@dataclass(slots=True)
class DueTable:
    """All of a run, by (objective, journey) and due interval.

    Cost: a dictionary entry for each objective, journey and interval: 2 MB an hour and objective.
    """

    _rows: dict[tuple[int, str], dict[int, Tally]] = field(default_factory=dict)
    _overdue: dict[str, tuple[DueCounts, ...]] = field(default_factory=dict)
    """The last snapshot of each agent."""

    def add(self, agent: str, counts: Iterable[DueCounts]) -> None:
        """One delta's counts; `agent`'s earlier snapshot of what is overdue is void."""
        for old in self._overdue.pop(agent, ()):
            self._tally(old).overdue -= old.overdue
        snapshot = []
        for one in counts:
            tally = self._tally(one)
            tally.good += one.good
            tally.bad += one.bad
            tally.overdue += one.overdue
            if one.overdue:
                snapshot.append(one)
        if snapshot:
            self._overdue[agent] = tuple(snapshot)

    def forget_overdue(self, agent: str) -> None:
        """The agent is lost: what it had in flight will never be told, and is missing, not bad."""
        self.add(agent, ())

    def journeys(self, objective: int) -> list[str]:
        """Journeys of which the objective has counts, in the order in which they came."""
        return [journey for of, journey in self._rows if of == objective]

    def tallies(self, objective: int, journey: str) -> dict[int, Tally]:
        """By due interval; those in which nothing was due are absent."""
        return self._rows.get((objective, journey), {})

    def _tally(self, one: DueCounts) -> Tally:
        row = self._rows.setdefault((one.objective, one.journey), {})
        found = row.get(one.k)
        if found is None:
            found = row[one.k] = Tally()
        return found

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(self._rows)


def check_due(name: str, counts: tuple[DueCounts, ...]) -> None:
    """Raises WireError unless the counts of delta `name` can be true."""
    if len(counts) > MAX_DUE_ROWS:
        raise WireError(f"{name} brings {len(counts):,} rows of due counts, more than {MAX_DUE_ROWS:,}")
    for one in counts:
        if not 0 <= one.k < _MAX_K or min(one.objective, one.good, one.bad, one.overdue) < 0:
            raise WireError(f"{name} has impossible counts of what was due: {one}")
