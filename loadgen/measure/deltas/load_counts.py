"""The counts of each load of a plan in one interval, and why a load ended. They are compared with the plan.

The number of iterations that each agent must have had due follows from the plan. These counts show how they ended,
load by load: started, missed, or waiting for a free user. For closed loads they hold the number of users.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import FIRST_ARRIVALS_IN_DELTA, LOADS

__all__ = [
    "Ending",
    "FirstArrival",
    "LoadCounts",
    "add_loads",
    "check_loads",
    "joined_loads",
]

_MOST: Final = 1 << 53


class Ending(IntEnum):
    """Why a share of the load ended. The numbers are those of the wire.

    An agent of protocol 1.4 or later always has a reason; UNSAID from it is a fault of ours.
    """

    UNSAID = 0
    """An agent of a protocol before 1.4."""
    DONE = 1
    """All of the share was driven, up to the end that the plan and its changes give it."""
    STOPPED = 2
    """The controller ended the load."""
    LEFT = 3
    """The agent left, and other agents have its share from then on."""
    LEASE = 4
    """The controller acknowledged nothing for longer than the lease."""
    TIME_LIMIT = 5
    """The longest duration that the allow-list admits was over."""
    DIED = 6
    """Processes of the agent died, and some of them were not replaced."""


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """One load of one agent in one interval.

    load: index in the plan's loads.
    started, missed: iterations of the load that were started, or given up, within the interval.
    waiting: due iterations that wait for a free user at the end of the interval.
    users: of a closed load, users that are there at the end of the interval and that the plan wants there.
    """

    load: int
    started: int = 0
    missed: int = 0
    waiting: int = 0
    users: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.started or self.missed or self.waiting or self.users)


@dataclass(frozen=True, slots=True)
class FirstArrival:
    """Where a change of shares takes effect in an open load, as the agent computed it.

    load: index in the plan's loads. number: of the change, from 1; 0: the end of the load.
    n: the first arrival of the whole fleet, counted from 0, that the change holds for.
    """

    load: int
    number: int
    n: int


def add_loads(parts: Iterable[Sequence[LoadCounts]]) -> tuple[LoadCounts, ...]:
    """The counts of several workers in the same interval, by load. All columns add up."""
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
    """Two intervals of one agent as one: what was started and missed adds up, the state is that of the second."""
    before = [LoadCounts(one.load, one.started, one.missed) for one in first]
    return add_loads((before, second))


def check_loads(
    name: str, loads: Sequence[LoadCounts], first_arrivals: Sequence[FirstArrival], started: int, missed: int
) -> None:
    """Raise WireError unless the counts by load are possible and add up to the delta's own counters.

    An empty `loads` is an agent of a protocol before 1.4, or an interval in which nothing was counted.
    """
    if len(loads) > LOADS or len(first_arrivals) > FIRST_ARRIVALS_IN_DELTA:
        raise WireError(f"{name} has {len(loads):,} loads and {len(first_arrivals):,} first arrivals: too many")
    if not loads:
        return
    if len({one.load for one in loads}) != len(loads) or max(one.load for one in loads) >= LOADS:
        raise WireError(f"{name} counts a load twice, or one beyond {LOADS:,}")
    if max(max(one.started, one.missed, one.waiting, one.users) for one in loads) > _MOST:
        raise WireError(f"{name} has an impossible count of a load")
    sums = sum(one.started for one in loads), sum(one.missed for one in loads)
    if sums != (started, missed):
        raise WireError(
            f"{name} counts {sums[0]:,} started and {sums[1]:,} missed by load, {started:,} and {missed:,} in all"
        )
