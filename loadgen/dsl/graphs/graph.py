"""Graphs of journeys: a session walks from node to node at random and carries a typed state.

    shop = graph(
        {
            browse: {browse: edge(.5, think=(1, 3)), buy: .2, leave: .3},
            buy: {leave: 1},
        },
        start=browse,
        state=Cart,
    )
    plan = Plan(target=..., load=arrivals("20/s").hold("10m"), mix=shop)      # one arrival is one session

A graph is a journey, and one iteration of it is a session. Each visit of a node is a
step with the node's name. A session starts with a new state: `state()`, or with data
`state(row)`, or the row itself. Journeys may be nodes as well: they get only the user,
and the state stays unchanged. The think time of an edge is idle time of the session
and belongs to no step.

`graph_validation.py` reads the rows, and `run_graph_session.py` runs sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import fsum
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from loadgen.dsl.graphs import markov_analysis
from loadgen.dsl.graphs.graph_validation import Place, Taken, Transitions
from loadgen.dsl.graphs.nodes_and_edges import Edge, Edges, Leave, Node, Think, read_think
from loadgen.dsl.graphs.run_graph_session import AlongPath, Hop, Row, Stop, Walk
from loadgen.dsl.journey import Each, Journey, state_wrong
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError, UsageError
from loadgen.units import format_ratio

if TYPE_CHECKING:
    from datetime import datetime

    from loadgen.clients.llm.settings import Llm
    from loadgen.dsl.data.feed import Feed
    from loadgen.dsl.pytest_trial import Trial
    from loadgen.dsl.users.user import User

__all__ = ["MAX_VISITS", "Graph", "graph"]

R = TypeVar("R")
S = TypeVar("S")

MAX_VISITS: Final = 1_000
LONG_SHARE: Final = 0.001
"""Warn before the run if at least this share of sessions has more than `max_visits` visits."""

Start = Node[S] | Journey[None] | Mapping[Node[S] | Journey[None], float] | None


class Graph(Journey[R]):
    """A journey made by `graph`, which documents the arguments. `R` is the type of its data row; None: no data.

    walk: runs its sessions. Undefined if the graph has errors.
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
        self._faults += wrong
        self._transitions = Transitions(edges, start, name=self.name, origin=origin, think=between, counts=bool(counts))
        self._check_begin(state)
        if isinstance(max_visits, bool) or not isinstance(max_visits, int) or max_visits < 1:
            self._faults.append(
                origin.fault(
                    f"max_visits={max_visits!r}: must be a whole number of at least 1", "leave it out for 1,000"
                )
            )
            max_visits = MAX_VISITS
        self._stops = {one: Stop(one.name, one.fn, one.origin, has_state=isinstance(one, Node)) for one in self.nodes}
        for stop, row in zip(self._stops.values(), self._transitions.rows, strict=True):
            stop.row = self._row(row)
        self.walk = Walk(self._row(self._transitions.entry), _begin(state, has_data=feed is not None), max_visits)
        self.fn = self.walk.session

    # -- what it is -------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Place, ...]:
        """Return all nodes of the graph, in the order of their rows."""
        return self._transitions.nodes

    @property
    def parts(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        return tuple((one.name, one.fn) for one in self.nodes)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return all errors of the graph and its nodes. Errors in the rows of its feed are not included."""
        of_nodes = (fault for one in self.nodes for fault in one.faults)
        return (*super().faults, *self._transitions.faults, *of_nodes, *self._once_wrong())

    @property
    def warnings(self) -> tuple[Fault, ...]:
        if self.faults:
            return ()
        most = self.walk.max_visits
        share = markov_analysis.longer_than(self._transitions.entering(), self._transitions.hops(), most)
        if share < LONG_SHARE:
            return ()
        message = f"graph {self.name}: {format_ratio(share)} of its sessions have more than {most:,} visits, and fail"
        mean = sum(self.visits.values())
        hint = f"raise max_visits, or the probabilities of leave: a session has {mean:,.0f} visits on average"
        return (self.origin.fault(message, hint),)

    @cached_property
    def visits(self) -> dict[str, float]:
        """Return the mean number of visits per session of each node, by name. The sum is the mean length of a session.

        Computed with the fundamental matrix of the Markov chain, as if there were no `max_visits` and no node failed.

        Raises:
            ScenarioError: the graph has errors.
        """
        self._refuse()
        return {one.name: float(count) for one, count in zip(self.nodes, self._transitions.visits, strict=True)}

    @property
    def think_s(self) -> float:
        """Return the mean total think time of a session in seconds: the pauses on edges, not those within nodes.

        Raises:
            ScenarioError: the graph has errors.
        """
        rows = zip(self.visits.values(), self._transitions.rows, strict=True)
        return fsum(
            visits * taken.share * max(0.0, taken.think.mean)
            for visits, row in rows
            for taken in row
            if taken.think is not None
        )

    def path(self, n: int, *, seed: int, load: int = 0) -> tuple[str, ...]:
        """Return the names of the nodes that one session visits, in order, if no node fails.

        Args:
            n: the number of the iteration.
            seed: the run's seed.
            load: the index of the load in the plan.

        Raises:
            ScenarioError: the graph has errors.
        """
        self._refuse()
        return tuple(stop.name for stop in self.walk.stops(seed, load, n))

    def covering(self) -> Iterator[tuple[tuple[str, ...], Walk]]:
        """Yield a few short sessions that together visit every node: each as its nodes' names and the `Walk` to run.

        Raises:
            ScenarioError: the graph has errors.
        """
        self._refuse()
        stops, rows = list(self._stops.values()), self._transitions
        for way in markov_analysis.covering(rows.begins(), rows.onward(), rows.exits()):
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
        llm: Llm | None = None,
        clients: Mapping[Any, Callable[[User], Any]] | None = None,
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
        llm: Llm | None = None,
        clients: Mapping[Any, Callable[[User], Any]] | None = None,
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
        llm: Llm | None = None,
        clients: Mapping[Any, Callable[[User], Any]] | None = None,
        path: Sequence[Node[Any] | Journey[None]] | None = None,
    ) -> Trial:
        """Run one session on canned replies, without network, and return what it did, as `Journey.trial` does.

        Args:
            replies, shared, now, llm, clients: as in `Journey.trial`.
            seed: also decides the path: the session is iteration 0 of a run with this seed.
            path: visit these nodes in this order, and leave after the last one.

        Raises:
            UsageError: no session can follow the path.
        """
        from loadgen.dsl.pytest_trial import try_journey

        one = self
        if path is not None:
            self._refuse()
            one = copy(self)
            one.fn = self._along([self._stop_of(it) for it in path]).session
        return await try_journey(one, row, replies, seed=seed, shared=shared, now=now, llm=llm, clients=clients)

    def _stop_of(self, one: object) -> Stop:
        stop = self._stops.get(one) if isinstance(one, Node | Journey) else None
        if stop is None:
            raise UsageError(f"{one!r} is not a node of graph {self.name}", hint=f"use one of {', '.join(self.visits)}")
        return stop

    def _along(self, path: Sequence[Stop]) -> AlongPath:
        if not path:
            raise UsageError("path is empty", hint=f"name at least one node: path=[{self.nodes[0].name}]")
        row, hops = self.walk.entry, list[Hop]()
        for stop in path:
            hop = row.to(stop)
            if hop is None:
                never = f"{hops[-1]} never leads to" if hops else f"no session of {self.name} starts at"
                raise UsageError(f"{never} {stop.name}", hint=f"use one of {', '.join(map(str, row.hops))}")
            hops.append(hop)
            row = stop.row
        return AlongPath(self.walk, [*hops, row.to(None) or Hop(None)])

    # -- reading ----------------------------------------------------------------------------------

    def _check_begin(self, state: object) -> None:
        """Add an error if `state` is invalid, or if a node needs a state that nothing creates."""
        takes = next((one for one in self.nodes if isinstance(one, Node)), None)
        if state is not None:
            self._faults += state_wrong(state, f"graph {self.name}", self.origin, 0 if self.feed is None else 1)
        elif self.feed is None and takes is not None:
            message = f"graph {self.name}: node {takes.name} needs a state, but the graph has no state="
            self._faults.append(
                self.origin.fault(message, "add state=Cart, a class or function that creates the state")
            )

    def _once_wrong(self) -> Iterator[Fault]:
        """Yield an error for each node that is a journey with its own set-up or tear-down.

        Checked late, because `@journey.set_up` may come after the graph in the file.
        """
        for one in self.nodes:
            if isinstance(one, Journey) and (one.set_up_fn is not None or one.tear_down_fn is not None):
                message = f"journey {one.name} is a node of graph {self.name}, so its set-up or tear-down does not run"
                yield one.origin.fault(message, "use set_up and tear_down of the graph instead")

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
    """Return a journey that walks from node to node at random; each of its iterations is one session.

        graph({browse: {browse: .5, buy: .2, leave: .3}, buy: {leave: 1}}, state=Cart)

    Args:
        edges: for each node, the next nodes with their probabilities; `leave` ends the session. Each row sums to 1.
        start: the first node of a session, or {node: probability}. None: the node of the first row.
        state: creates the state of a new session. Called without arguments, or with the row if there is `data`.
        data: a feed of which each session takes a row. Without `state`, the row is the state.
        name: the journey's name in reports and objectives.
        think: default think time of edges: 2, "500ms", (1, 3) or a distribution. Edges to `leave` have none by default.
        counts: True: the numbers are counts, as from a log; each row is divided by its sum.
        max_visits: limit per session; a session that exceeds it ends as `fail: more than 1,000 visits`.
        each: "user" or "iteration", as in `journey`.

    Errors do not raise here; the loader reports them with the others.
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
    """Return the function that creates a session's first state from its data row (None without data).

    Without `state`, the row itself is the state.
    """
    if state is None:
        return lambda row: row
    return state if has_data else lambda _: state()


async def _nothing_to_walk(user: User, row: Any = None) -> None:
    """Do nothing. A graph has this function until its constructor has read the rows and sets the real one."""
