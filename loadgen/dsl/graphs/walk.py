"""One session of a graph: from its entry over nodes and edges until it leaves.

Each visit of a node is a step; the think of an edge comes between steps, so it is
in none of them. Where a session goes depends on (run seed, load, arrival) and the
number of the visit alone, not on what nodes draw or what the target answers: the
same arrival takes the same way in a trial, on any number of agents, and when it is
run again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from loadgen.dsl.distributions import Distribution
from loadgen.dsl.source_location import Origin
from loadgen.dsl.users.user import User
from loadgen.errors import UsageError
from loadgen.splitmix import GOLDEN, mixed

__all__ = ["AlongPath", "Hop", "Row", "Stop", "Walk"]

_LOAD_STEP: Final = 0xD1B54A32D192ED03


class Hop:
    """An edge as it is walked. to: None leaves. think: before what comes next."""

    __slots__ = ("think", "to")

    def __init__(self, to: Stop | None, think: Distribution | None = None) -> None:
        self.to, self.think = to, think

    def __str__(self) -> str:
        return "leave" if self.to is None else self.to.name


class Row:
    """The edges from one node, or those that enter the graph. Each with a probability above 0; they sum to 1."""

    __slots__ = ("_ends", "hops")

    def __init__(self, hops: Sequence[tuple[float, Hop]]) -> None:
        self.hops = tuple(hop for _, hop in hops)
        self._ends = tuple(accumulate(probability for probability, _ in hops))[:-1]  # the last takes what is left

    def at(self, u: float) -> Hop:
        """0 <= u < 1."""
        return self.hops[bisect_right(self._ends, u)]

    def to(self, stop: Stop | None) -> Hop | None:
        """The edge that leads there; None where none does."""
        return next((hop for hop in self.hops if hop.to is stop), None)


class Stop:
    """A node as it is visited. has_state: its function takes the state and returns what the next one gets."""

    __slots__ = ("fn", "has_state", "name", "origin", "row")

    def __init__(self, name: str, fn: Callable[..., Awaitable[Any]], origin: Origin, *, has_state: bool) -> None:
        self.name, self.fn, self.origin, self.has_state = name, fn, origin, has_state
        self.row = Row([(1.0, Hop(None))])
        """Filled in when all stops are there: they lead to each other."""


class Walk:
    """Runs sessions.

    Args:
        entry: the edges that enter the graph.
        begin: makes what the first node gets, of the data row (None without data).
        max_visits: a session that would have more fails.
    """

    def __init__(self, entry: Row, begin: Callable[[Any], Any], max_visits: int) -> None:
        self.entry, self.begin, self.max_visits = entry, begin, max_visits

    async def session(self, user: User, row: Any = None) -> None:
        """HOT for graphs, once a session: 0.7 µs a visit beside its step (bench/walk.py)."""
        key = _key(*user.chance_key)
        begun = state = self.begin(row)
        hop = self.hop(self.entry, key, 0)
        for visit in range(1, self.max_visits + 1):
            stop = hop.to
            if stop is None:
                return
            async with user.step(stop.name):
                if stop.has_state:
                    state = await stop.fn(user, state)
                    if state is None and begun is not None:
                        place = f"{Path(stop.origin.file).name}:{stop.origin.line}"
                        raise UsageError(
                            f"node {stop.name} ({place}) returned None, which is no state for the next node",
                            hint=f"end {stop.name} with `return` and the state",
                        )
                else:
                    await stop.fn(user)
            hop = self.hop(stop.row, key, visit)
            if hop.think is not None:
                await user.think(hop.think)
        if hop.to is not None:
            user.fail(f"more than {self.max_visits:,} visits")

    def hop(self, row: Row, key: int, visit: int) -> Hop:
        """The edge after visit number `visit` (0: the entry)."""
        return row.at(_uniform(key, visit))

    def stops(self, seed: int, load: int, n: int) -> Iterator[Stop]:
        """Which nodes a session visits where none fails; at most `max_visits`. Cost: 0.5 µs each."""
        key = _key(seed, load, n)
        hop = self.hop(self.entry, key, 0)
        for visit in range(1, self.max_visits + 1):
            if hop.to is None:
                return
            yield hop.to
            hop = self.hop(hop.to.row, key, visit)


class AlongPath(Walk):
    """Sessions that go one way: these edges, the first of which enters."""

    def __init__(self, walk: Walk, hops: Sequence[Hop]) -> None:
        super().__init__(walk.entry, walk.begin, max(walk.max_visits, len(hops)))
        self._hops = tuple(hops)

    def hop(self, row: Row, key: int, visit: int) -> Hop:
        return self._hops[visit]


def _key(seed: int, load: int, n: int) -> int:
    """Another 64 bits for each session, far from those of its neighbours."""
    return mixed(mixed(seed * GOLDEN + load * _LOAD_STEP + 2) + n * GOLDEN)


def _uniform(key: int, visit: int) -> float:
    """0 <= u < 1 for a visit of a session."""
    return (mixed(key + visit * GOLDEN) >> 11) * 2.0**-53
