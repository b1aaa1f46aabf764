"""Graphs of journeys: a session walks from node to node by chance, and takes a typed state along.

    shop = graph(
        {
            browse: {browse: edge(.5, think=(1, 3)), buy: .2, leave: .3},
            buy: {leave: 1},
        },
        start=browse,
        state=Cart,
    )
    plan = Plan(target=..., load=arrivals("20/s").hold("10m"), mix=shop)      # sessions arrive

A graph is a journey, and an iteration of it is a session; each visit of a node is a
step by the node's name. A session begins with a new state: `state()`, with data
`state(row)`, or the row itself. Journeys may be nodes, too: they get the user alone,
and the state passes them by. The think of an edge is idle time of the session and in
no step.

How rows are read is in `transitions.py`, how a session runs in `walk.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import fsum
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from loadgen.dsl.graphs import chain
from loadgen.dsl.graphs.node import Edge, Edges, Leave, Node, Think, read_think
from loadgen.dsl.graphs.transitions import Place, Taken, Transitions
from loadgen.dsl.graphs.walk import AlongPath, Hop, Row, Stop, Walk
from loadgen.dsl.journey import Each, Journey, state_wrong
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError, UsageError
from loadgen.units import format_ratio

if TYPE_CHECKING:
    from datetime import datetime

    from loadgen.dsl.data.feed import Feed
    from loadgen.dsl.trial import Trial
    from loadgen.dsl.users.user import User

__all__ = ["MAX_VISITS", "Graph", "graph"]

R = TypeVar("R")
S = TypeVar("S")

MAX_VISITS: Final = 1_000
LONG_SHARE: Final = 0.001
"""From this share of sessions on that have more than `max_visits`, a person is told before the run."""

Start = Node[S] | Journey[None] | Mapping[Node[S] | Journey[None], float] | None


class Graph(Journey[R]):
    """What `graph` makes, whose arguments are told there. `R` is the type of its data row; None: it takes no data.

    walk: what runs its sessions; of one with faults, something.
    """

    is_graph: ClassVar[bool] = True

    def __init__(
        self,
        edges: Any,
        origin: Origin,
        *,
        start: Any,
        state: Any,
        feed: Feed[R] | None,
        name: str,
        think: Any,
        counts: bool,
        max_visits: int,
        each: Each,
    ) -> None:
        super().__init__(_nothing_to_walk, origin, feed=feed, name=name, each=each)
        self.__doc__ = None
        between, wrong = read_think(f"graph {self.name}", think, origin)
        self._said += wrong
        self._transitions = Transitions(edges, start, name=self.name, origin=origin, think=between, counts=bool(counts))
        self._check_begin(state)
        if isinstance(max_visits, bool) or not isinstance(max_visits, int) or max_visits < 1:
            self._said.append(origin.fault(f"max_visits: {max_visits!r}", "a whole number, at least 1"))
            max_visits = MAX_VISITS
        self._stops = {one: Stop(one.name, one.fn, one.origin, has_state=isinstance(one, Node)) for one in self.nodes}
        for stop, row in zip(self._stops.values(), self._transitions.rows, strict=True):
            stop.row = self._row(row)
        self.walk = Walk(self._row(self._transitions.entry), _begin(state, has_data=feed is not None), max_visits)
        self.fn = self.walk.session

    # -- what it is -------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Place, ...]:
        """In the order of their rows."""
        return self._transitions.nodes

    @property
    def parts(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        return tuple((one.name, one.fn) for one in self.nodes)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it and its nodes; its feed's faults are the feed's own."""
        of_nodes = (fault for one in self.nodes for fault in one.faults)
        return (*super().faults, *self._transitions.faults, *of_nodes, *self._once_wrong())

    @property
    def warnings(self) -> tuple[Fault, ...]:
        if self.faults:
            return ()
        most = self.walk.max_visits
        share = chain.longer_than(self._transitions.entering(), self._transitions.hops(), most)
        if share < LONG_SHARE:
            return ()
        message = f"graph {self.name}: {format_ratio(share)} of its sessions have more than {most:,} visits, and fail"
        hint = f"a larger max_visits, or likelier ways out: a session has {sum(self.visits.values()):,.0f} on average"
        return (self.origin.fault(message, hint),)

    @cached_property
    def visits(self) -> dict[str, float]:
        """How often each node is visited in a session, on average; their sum is the length of a session.

        By the fundamental matrix of the chain; as if there were no `max_visits`, and no node failed.

        Raises:
            ScenarioError: the graph has faults.
        """
        self._refuse()
        return {one.name: float(count) for one, count in zip(self.nodes, self._transitions.visits, strict=True)}

    @property
    def think_s(self) -> float:
        """The think on the edges of a session, on average. Raises what `visits` raises."""
        rows = zip(self.visits.values(), self._transitions.rows, strict=True)
        return fsum(
            visits * taken.share * max(0.0, taken.think.mean)
            for visits, row in rows
            for taken in row
            if taken.think is not None
        )

    def path(self, n: int, *, seed: int, load: int = 0) -> tuple[str, ...]:
        """The nodes that iteration `n` of load `load` visits in a run with this seed, if none fails.

        Raises:
            ScenarioError: the graph has faults.
        """
        self._refuse()
        return tuple(stop.name for stop in self.walk.stops(seed, load, n))

    def covering(self) -> Iterator[tuple[tuple[str, ...], Walk]]:
        """A few short sessions that together visit every node: the nodes of each, and what runs it.

        Raises:
            ScenarioError: the graph has faults.
        """
        self._refuse()
        stops, said = list(self._stops.values()), self._transitions
        for way in chain.covering(said.begins(), said.onward(), said.exits()):
            path = [stops[i] for i in way]
            yield tuple(stop.name for stop in path), self._along(path)

    # -- trying -----------------------------------------------------------------------------------

    @overload
    async def trial(
        self: Graph[None],
        row: None = None,
        *,
        replies: Mapping[str, Any],
        seed: int = 0,
        shared: Any = None,
        now: datetime | None = None,
        path: Sequence[Node[Any] | Journey[None]] | None = None,
    ) -> Trial: ...
    @overload
    async def trial(
        self,
        row: R,
        *,
        replies: Mapping[str, Any],
        seed: int = 0,
        shared: Any = None,
        now: datetime | None = None,
        path: Sequence[Node[Any] | Journey[None]] | None = None,
    ) -> Trial: ...
    async def trial(
        self,
        row: Any = None,
        *,
        replies: Any,
        seed: int = 0,
        shared: Any = None,
        now: datetime | None = None,
        path: Sequence[Node[Any] | Journey[None]] | None = None,
    ) -> Trial:
        """One session on canned replies, as `Journey.trial`.

        Args:
            seed: decides the way, too: it is that of iteration 0 of a run with this seed.
            path: visit these nodes, and leave after the last of them.

        Raises:
            UsageError: no session goes along the path.
        """
        from loadgen.dsl.trial import try_journey

        one = self
        if path is not None:
            self._refuse()
            one = copy(self)
            one.fn = self._along([self._stop_of(it) for it in path]).session
        return await try_journey(one, row, replies, seed=seed, shared=shared, now=now)

    def _stop_of(self, one: object) -> Stop:
        stop = self._stops.get(one) if isinstance(one, Node | Journey) else None
        if stop is None:
            raise UsageError(f"{one!r} is no node of graph {self.name}", hint=f"it has {', '.join(self.visits)}")
        return stop

    def _along(self, path: Sequence[Stop]) -> AlongPath:
        if not path:
            raise UsageError("a path visits at least one node", hint=f"path=[{self.nodes[0].name}]")
        row, hops = self.walk.entry, list[Hop]()
        for stop in path:
            hop = row.to(stop)
            if hop is None:
                never = f"{hops[-1]} never leads to" if hops else f"no session of {self.name} begins at"
                raise UsageError(f"{never} {stop.name}", hint=f"there is {', '.join(map(str, row.hops))}")
            hops.append(hop)
            row = stop.row
        return AlongPath(self.walk, [*hops, row.to(None) or Hop(None)])

    # -- reading ----------------------------------------------------------------------------------

    def _check_begin(self, state: object) -> None:
        """What sessions begin with."""
        takes = next((one for one in self.nodes if isinstance(one, Node)), None)
        if state is not None:
            self._said += state_wrong(state, f"graph {self.name}", self.origin, 0 if self.feed is None else 1)
        elif self.feed is None and takes is not None:
            message = f"graph {self.name}: node {takes.name} gets a state, and nothing makes one"
            self._said.append(self.origin.fault(message, "write state=..., what makes it: a class or a function"))

    def _once_wrong(self) -> Iterator[Fault]:
        """Journeys with a set-up of their own; that is said below them, so it is asked for late."""
        for one in self.nodes:
            if isinstance(one, Journey) and (one.set_up_fn is not None or one.tear_down_fn is not None):
                message = (
                    f"journey {one.name} is a node of graph {self.name}, where nothing runs its set-up or tear-down"
                )
                yield one.origin.fault(message, "decorate it with the graph's set_up and tear_down instead")

    def _row(self, row: Sequence[Taken]) -> Row:
        hops = [
            (taken.share, Hop(self._stops[taken.to] if isinstance(taken.to, Node | Journey) else None, taken.think))
            for taken in row
        ]
        return Row(hops)

    def _refuse(self) -> None:
        if self.faults:
            raise ScenarioError(self.faults)

    def __repr__(self) -> str:
        return f"<graph {self.name} at {self.origin}>"


@overload
def graph(
    edges: Mapping[Journey[None], Mapping[Journey[None] | Leave, float | Edge]],
    /,
    *,
    start: Journey[None] | Mapping[Journey[None], float] | None = None,
    name: str = "graph",
    think: Think | None = None,
    counts: bool = False,
    max_visits: int = MAX_VISITS,
) -> Graph[None]: ...
@overload
def graph(
    edges: Edges[S],
    /,
    *,
    state: Callable[[], S],
    start: Start[S] = None,
    name: str = "graph",
    think: Think | None = None,
    counts: bool = False,
    max_visits: int = MAX_VISITS,
) -> Graph[None]: ...
@overload
def graph(
    edges: Edges[S],
    /,
    *,
    data: Feed[R],
    state: Callable[[R], S],
    start: Start[S] = None,
    name: str = "graph",
    think: Think | None = None,
    counts: bool = False,
    max_visits: int = MAX_VISITS,
    each: Each = "user",
) -> Graph[R]: ...
@overload
def graph(
    edges: Edges[S],
    /,
    *,
    data: Feed[S],
    start: Start[S] = None,
    name: str = "graph",
    think: Think | None = None,
    counts: bool = False,
    max_visits: int = MAX_VISITS,
    each: Each = "user",
) -> Graph[S]: ...
def graph(
    edges: Any,
    /,
    *,
    start: Any = None,
    state: Any = None,
    data: Any = None,
    name: str = "graph",
    think: Any = None,
    counts: bool = False,
    max_visits: int = MAX_VISITS,
    each: Any = "user",
) -> Any:
    """A journey that walks: `graph({browse: {browse: .5, buy: .2, leave: .3}, buy: {leave: 1}}, state=Cart)`.

    Args:
        edges: of each node, what comes next and how likely; `leave` ends the session. A row sums to 1.
        start: where sessions begin: a node, or {node: probability}. None: the node of the first row.
        state: makes what a session begins with; called without arguments, with `data` with the row.
        data: a feed, of which each session takes a row. Without `state` the row is the state.
        name: in reports and objectives.
        think: on edges between nodes that have none of their own: 2, "500ms", (1, 3) or a distribution. Whoever
            leaves does so at once, unless the edge says otherwise.
        counts: True: the numbers are counts, as in a log; each row is divided by its sum.
        max_visits: a session that would have more ends as `fail: more than 1,000 visits`.
        each: as of `journey`.
    """
    return Graph[Any](
        edges,
        here(),
        start=start,
        state=state,
        feed=data,
        name=name,
        think=think,
        counts=counts,
        max_visits=max_visits,
        each=each,
    )


def _begin(state: Any, *, has_data: bool) -> Callable[[Any], Any]:
    """What makes a session's first state of its row."""
    if state is None:
        return lambda row: row
    return state if has_data else lambda _: state()


async def _nothing_to_walk(user: User, row: Any = None) -> None:
    """Stands for the walk until the rows are read."""
