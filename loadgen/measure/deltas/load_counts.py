"""The counts of each load of a plan in one interval, and the reasons why a load ended.

The number of due iterations of each agent follows from the plan. These counts show how they ended,
load by load: started, missed, or waiting for a free user. For closed loads they hold the number of
users. The controller compares them with the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import FIRST_ARRIVALS_IN_DELTA, LOADS, SAME_VERSION

__all__ = [
    "Ending",
    "FirstArrival",
    "LoadCounts",
    "add_loads",
    "check_loads",
    "is_only_load",
    "joined_loads",
]

_MOST: Final = 1 << 53


class Ending(IntEnum):
    """The reason why a share of the load ended. The numbers are those of the wire.

    An agent of protocol 1.4 or later always sends a reason; UNSAID from such an agent is a bug.
    """

    UNSAID = 0
    """No reason, because the agent has a protocol before 1.4."""
    DONE = 1
    """The whole share was driven, up to the end that follows from the plan and its changes."""
    STOPPED = 2
    """The controller ended the load."""
    LEFT = 3
    """The agent left, and other agents took over its share."""
    LEASE = 4
    """The controller acknowledged nothing for longer than the lease."""
    TIME_LIMIT = 5
    """The longest duration that the allow-list permits was over."""
    DIED = 6
    """Processes of the agent died, and some of them were not replaced."""


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """Counts of one load of one agent in one interval.

    load: index in the plan's loads.
    started, missed: iterations of the load that were started, or counted as missed, within the interval.
    waiting: due iterations that wait for a free user at the end of the interval.
    users: for a closed load, users at the end of the interval, as far as the plan asks for them.
    """

    load: int
    started: int = 0
    missed: int = 0
    waiting: int = 0
    users: int = 0

    @property
    def is_empty(self) -> bool:
        """Return True if all counts are 0, so that a delta may leave this load out."""
        return not (self.started or self.missed or self.waiting or self.users)


@dataclass(frozen=True, slots=True)
class FirstArrival:
    """The first arrival for which a share change holds, in an open load, as the agent computed it.

    load: index in the plan's loads. number: of the share change, from 1; 0 is the end of the load.
    n: the first arrival for which the change holds, counted from 0 over the whole fleet.
    """

    load: int
    number: int
    n: int


def add_loads(parts: Iterable[Sequence[LoadCounts]]) -> tuple[LoadCounts, ...]:
    """Return the sums, load by load, of the counts that several workers sent for the same interval, sorted by load."""
    found: dict[int, LoadCounts] = {}
    for some in parts:
        for one in some:
            had = found.get(one.load)
            if had is not None:
                one = LoadCounts(
                    one.load,
                    had.started + one.started,
                    had.missed + one.missed,
                    had.waiting + one.waiting,
                    had.users + one.users,
                )
            found[one.load] = one
    return tuple(found[load] for load in sorted(found))


def joined_loads(first: Sequence[LoadCounts], second: Sequence[LoadCounts]) -> tuple[LoadCounts, ...]:
    """Return the counts of two successive intervals of one agent as those of one longer interval.

    `started` and `missed` add up; `waiting` and `users` are those of the second interval.
    """
    before = [LoadCounts(one.load, one.started, one.missed) for one in first]
    return add_loads((before, second))


def is_only_load(counts: LoadCounts, started: int, missed: int) -> bool:
    """Return whether `check_loads` accepts these counts as those of the only load of a delta with these totals."""
    return (
        counts.load < LOADS
        and counts.started == started
        and counts.missed == missed
        and counts.started <= _MOST
        and counts.missed <= _MOST
        and counts.waiting <= _MOST
        and counts.users <= _MOST
    )


def check_loads(
    name: str, loads: Sequence[LoadCounts], first_arrivals: Sequence[FirstArrival], started: int, missed: int
) -> None:
    """Check the counts by load of one delta, and raise WireError if they are impossible or do not match the totals.

    Args:
        name: names the delta in the error message.
        loads: empty from an agent of a protocol before 1.4, or without counts; this is valid.
        started, missed: the delta's own totals of iterations, to which the loads must add up.
    """
    if len(loads) > LOADS or len(first_arrivals) > FIRST_ARRIVALS_IN_DELTA:
        raise WireError(
            f"{name} has {len(loads):,} loads and {len(first_arrivals):,} first arrivals, more than a delta may have",
            hint=SAME_VERSION,
        )
    if not loads:
        return
    if len({one.load for one in loads}) != len(loads) or max(one.load for one in loads) >= LOADS:
        raise WireError(f"{name} counts a load twice, or a load with an index of {LOADS:,} or more", hint=SAME_VERSION)
    if max(max(one.started, one.missed, one.waiting, one.users) for one in loads) > _MOST:
        raise WireError(f"{name} has an impossible count of a load", hint=SAME_VERSION)
    sums = sum(one.started for one in loads), sum(one.missed for one in loads)
    if sums != (started, missed):
        raise WireError(
            f"{name} counts {sums[0]:,} started and {sums[1]:,} missed by load, {started:,} and {missed:,} in total",
            hint=SAME_VERSION,
        )
