"""Runs one session of a graph: from its entry along nodes and edges until it leaves.

Each visit of a node is a step. The think time of an edge lies between steps, so it
belongs to none of them. The path depends only on (run seed, load, arrival) and the
number of the visit. It does not depend on random numbers that nodes draw or on the
target's replies. So the same arrival takes the same path in a trial, on any number of
agents, and in a repeated run.
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
"""A factor other than GOLDEN, so that load k of one seed and load 0 of another have different sessions."""


class Hop:
    """An edge of a walk. to: None leaves the graph. think: the pause before the next visit."""

    __slots__ = ("think", "to")

    def __init__(self, to: Stop | None, think: Distribution | None = None) -> None:
        self.to, self.think = to, think

    def __str__(self) -> str:
        return "leave" if self.to is None else self.to.name


class Row:
    """The edges from one node, or into the graph. Each has a probability above 0; they sum to 1."""

    __slots__ = ("_ends", "hops")

    def __init__(self, hops: Sequence[tuple[float, Hop]]) -> None:
        self.hops = tuple(hop for _, hop in hops)
        self._ends = tuple(accumulate(probability for probability, _ in hops))[:-1]  # the last edge takes the rest

    def at(self, u: float) -> Hop:
        """Return the edge that a random number `u` selects, 0 <= u < 1: each edge with its probability."""
        return self.hops[bisect_right(self._ends, u)]

    def to(self, stop: Stop | None) -> Hop | None:
        """Return the edge that leads to `stop` (None: that leaves the graph); None if there is no such edge."""
        return next((hop for hop in self.hops if hop.to is stop), None)


class Stop:
    """A node of a walk. has_state: its function takes the state and returns the one for the next node."""

    __slots__ = ("fn", "has_state", "name", "origin", "row")

    def __init__(self, name: str, fn: Callable[..., Awaitable[Any]], origin: Origin, *, has_state: bool) -> None:
        self.name, self.fn, self.origin, self.has_state = name, fn, origin, has_state
        self.row = Row([(1.0, Hop(None))])
        """Edges from this node; set when all stops exist, because they refer to each other."""


class Walk:
    """Runs sessions of a graph.

    Args:
        entry: the edges that enter the graph.
        begin: creates the first state from the data row (None without data).
        max_visits: a session with more visits fails.
    """

    def __init__(self, entry: Row, begin: Callable[[Any], Any], max_visits: int) -> None:
        self.entry, self.begin, self.max_visits = entry, begin, max_visits

    async def session(self, user: User, row: Any = None) -> None:
        """Run one session of the graph: visit nodes until an edge leaves it. A session with too many visits fails.

        HOT for graphs: 0.7 µs per visit in addition to its step (bench/walk.py).
        """
        key = _key(*user._chance_key)
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
                            f"node {stop.name} ({place}) returned None, but the next node needs a state",
                            hint=f"return the state at the end of {stop.name}",
                        )
                else:
                    await stop.fn(user)
            hop = self.hop(stop.row, key, visit)
            if hop.think is not None:
                await user.think(hop.think)
        if hop.to is not None:
            user.fail(f"more than {self.max_visits:,} visits")

    def hop(self, row: Row, key: int, visit: int) -> Hop:
        """Return the edge of `row` that the session `key` takes after its visit number `visit` (0: when it enters)."""
        return row.at(_uniform(key, visit))

    def stops(self, seed: int, load: int, n: int) -> Iterator[Stop]:
        """Yield the nodes that one session visits if none fails; at most `max_visits`. The session is not run.

        seed, load, n: the run's seed, the index of the load and the number of the iteration. Cost: 0.5 µs per node.
        """
        for hop in self.hops(seed, load, n):
            if hop.to is not None:
                yield hop.to

    def hops(self, seed: int, load: int, n: int) -> Iterator[Hop]:
        """Yield the edges that one session follows if no node fails: into the graph, from node to node, and out of it.

        A session with more than `max_visits` visits has no edge out of the graph. seed, load, n: as in `stops`.
        """
        key = _key(seed, load, n)
        hop = self.hop(self.entry, key, 0)
        for visit in range(1, self.max_visits + 1):
            yield hop
            if hop.to is None:
                return
            hop = self.hop(hop.to.row, key, visit)


class AlongPath(Walk):
    """Sessions that follow one given path of edges, the first of which enters the graph."""

    def __init__(self, walk: Walk, hops: Sequence[Hop]) -> None:
        super().__init__(walk.entry, walk.begin, max(walk.max_visits, len(hops)))
        self._hops = tuple(hops)

    def hop(self, row: Row, key: int, visit: int) -> Hop:
        return self._hops[visit]


def _key(seed: int, load: int, n: int) -> int:
    """Return the 64 bits from which all choices of one session follow. Neighbouring sessions get unrelated bits."""
    return mixed(mixed(seed * GOLDEN + load * _LOAD_STEP + 2) + n * GOLDEN)


def _uniform(key: int, visit: int) -> float:
    """Return the random number for one visit of the session `key`, 0 <= u < 1; the same on each call."""
    # The upper 53 bits: a float holds no more, and with more it could be rounded up to 1.0.
    return (mixed(key + visit * GOLDEN) >> 11) * 2.0**-53
