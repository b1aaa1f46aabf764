"""Simulates the sessions of a plan without a target: the ways and pauses of its graphs, with the durations of the log.

Nodes, pauses and values from `choices` come from the scenario as it is now. The answers of the target come from the
log: durations, statuses and bytes by name of the request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.data.choices import Choices
from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.journey import Journey
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.traffic.fidelity.answers import Answers
from loadgen.traffic.sessions.session_table import SessionTable, joined

__all__ = ["Child", "NodeRequests", "PlanSessions", "nodes_of", "placed", "sessions_of_plan"]

_US_PER_S: Final = 1e6
_PATH_BITS: Final = 21
"""More than a file of choices may have rows."""


@dataclass(frozen=True)
class Child:
    """A part of a node's action. state: of its name. mean: its number for each visit of the node."""

    state: int
    mean: float


@dataclass(frozen=True)
class NodeRequests:
    """The requests of a node. state: of its own request."""

    state: int
    children: tuple[Child, ...] = ()


@dataclass(frozen=True)
class PlanSessions:
    """Simulated sessions. by_load: of each load, in the order of the plan; times count from the start of a session.

    unknown: nodes and journeys whose requests `traffic.json` does not have. They count as other requests.
    """

    by_load: tuple[SessionTable, ...]
    unknown: tuple[str, ...]


def nodes_of(document: Mapping[str, Any], states: Sequence[str]) -> dict[str, NodeRequests]:
    """Return the requests of the nodes in `traffic.json`, by name of the node."""
    at = {name: n for n, name in enumerate(states)}
    other = len(states) - 1
    actions = document.get("actions", {})
    found = {}
    for node, name in document.get("nodes", {}).items():
        children = (Child(at.get(row["name"], other), float(row["mean"])) for row in actions.get(name, ()))
        found[node] = NodeRequests(at.get(name, other), tuple(children))
    for name, node in document.get("again", {}).items():
        if node in found:
            found[name] = found[node]
    return found


def sessions_of_plan(
    lanes: Sequence[DrivenLoad],
    nodes: Mapping[str, NodeRequests],
    answers: Answers,
    counts: Sequence[int],
    seed: int,
) -> PlanSessions:
    """Return simulated sessions. counts: their number for each load, at least 1."""
    rng = np.random.default_rng(seed)
    unknown: dict[str, None] = {}
    tables = []
    for load, (lane, count) in enumerate(zip(lanes, counts, strict=True)):
        shares = np.array(lane.weights) / sum(lane.weights)
        journeys = rng.choice(len(lane.journeys), count, p=shares)
        parts = [
            _sessions(one, np.flatnonzero(journeys == n), load, nodes, answers, seed, rng, unknown)
            for n, one in enumerate(lane.journeys)
            if (journeys == n).any()
        ]
        tables.append(joined(parts))
    return PlanSessions(tuple(tables), tuple(unknown))


@dataclass(frozen=True)
class _Visits:
    """Visits of nodes, one session after the other. node: index in `names`. pause_us: before the visit."""

    session: NDArray[np.int64]
    node: NDArray[np.int64]
    pause_us: NDArray[np.int64]
    names: tuple[str, ...]


def _sessions(
    journey: Journey[Any],
    numbers: NDArray[np.int64],
    load: int,
    nodes: Mapping[str, NodeRequests],
    answers: Answers,
    seed: int,
    rng: np.random.Generator,
    unknown: dict[str, None],
) -> SessionTable:
    """Return the sessions of a journey with these numbers of iterations."""
    other = NodeRequests(len(answers.states) - 1)
    if isinstance(journey, Graph):
        visits = _walked(journey, numbers, load, seed, rng)
        functions = {one.name: one.fn for one in journey.nodes}
    else:
        count = len(numbers)
        visits = _Visits(np.arange(count), np.zeros(count, np.int64), np.zeros(count, np.int64), (journey.name,))
        functions = {journey.name: journey.fn}
    requests = []
    for name in visits.names:
        if name not in nodes:
            unknown[name] = None
        requests.append(nodes.get(name, other))
    return _table(visits, requests, [tuple(choices_of(functions[name])) for name in visits.names], answers, rng)


def _walked(graph: Graph[Any], numbers: NDArray[np.int64], load: int, seed: int, rng: np.random.Generator) -> _Visits:
    at = {one.name: n for n, one in enumerate(graph.nodes)}
    session, node, hops = [], [], []
    for count, number in enumerate(numbers.tolist()):
        for hop in graph.walk.hops(seed, load, number):
            if hop.to is not None:
                session.append(count)
                node.append(at[hop.to.name])
                hops.append(hop.think)
    uniform = np.clip(rng.uniform(0, 1, len(hops)), 1e-12, 1 - 1e-12).tolist()
    pause = [0.0 if think is None else max(0.0, think.quantile(u)) for think, u in zip(hops, uniform, strict=True)]
    found = np.array(session, np.int64), np.array(node, np.int64), np.rint(np.array(pause) * _US_PER_S)
    return _Visits(found[0], found[1], found[2].astype(np.int64), tuple(at))


def choices_of(function: Any) -> Iterator[Choices]:
    """Yield the choices that a function names, in the order in which it first names them."""
    code, known = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    if isinstance(code, CodeType):
        for name in _names(code):
            if isinstance(found := known.get(name), Choices):
                yield found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _table(
    visits: _Visits,
    requests: Sequence[NodeRequests],
    drawn: Sequence[tuple[Choices, ...]],
    answers: Answers,
    rng: np.random.Generator,
) -> SessionTable:
    took = answers.took_us
    own = np.array([one.state for one in requests])[visits.node]
    # One row for each request: its visit, its place in it (0: the main one), its state.
    visit, place, state = [np.arange(len(own))], [np.zeros(len(own), np.int64)], [own]
    for n, one in enumerate(requests):
        here = np.flatnonzero(visits.node == n)
        for number, child in enumerate(one.children, 1):
            times = int(child.mean) + (rng.uniform(0, 1, len(here)) < child.mean % 1)
            at = np.repeat(here, times)
            visit.append(at)
            place.append(np.full(len(at), number))
            state.append(np.full(len(at), child.state))
    all_visits, all_places, all_states = map(np.concatenate, (visit, place, state))
    order = np.lexsort((all_places, all_visits))
    all_visits, all_places, all_states = all_visits[order], all_places[order], all_states[order]
    # Children are sent together when the main request has ended; the visit ends with the last of them.
    first = np.searchsorted(all_visits, np.arange(len(own)))
    lasts = took[own] + np.maximum.reduceat(np.where(all_places > 0, took[all_states], 0), first)
    is_first = np.append(True, visits.session[1:] != visits.session[:-1])
    gone = np.cumsum(visits.pause_us * ~is_first + np.append(0, lasts[:-1]))
    begin = gone - np.repeat(gone[is_first], np.bincount(visits.session))
    start = begin[all_visits] + np.where(all_places > 0, took[own[all_visits]], 0)
    paths = _paths(visits.node[all_visits], all_places, all_states, requests, drawn, answers, rng)
    status, size = answers.drawn(all_states, rng)
    return SessionTable(
        bounds=np.append(0, np.cumsum(np.bincount(visits.session[all_visits]))),
        start=start,
        end=start + took[all_states],
        state=all_states,
        states=len(answers.states),
        is_main=all_places == 0,
        path=paths,
        status=status,
        size=size,
        is_whole=np.ones(int(visits.session[-1]) + 1, bool),
    )


def _paths(
    node: NDArray[np.int64],
    place: NDArray[np.int64],
    state: NDArray[np.int64],
    requests: Sequence[NodeRequests],
    drawn: Sequence[tuple[Choices, ...]],
    answers: Answers,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return a number for the path of each request. A node's first choices belong to its first request with values."""
    path: NDArray[np.int64] = state << _PATH_BITS
    other = len(answers.states) - 1
    for n, one in enumerate(requests):
        states = [one.state, *(child.state for child in one.children)]
        with_values = [at for at, own in enumerate(states) if own == other or "{" in answers.states[own]]
        for at, choices in zip(with_values, drawn[n], strict=False):
            here = np.flatnonzero((node == n) & (place == at))
            path[here] += choices.indexes(rng.uniform(0, 1, len(here)))
    return path


def placed(table: SessionTable, starts: NDArray[np.int64], *, whole_seconds: bool) -> SessionTable:
    """Return the sessions at these starts, sorted by them, with stamps like those of the log.

    starts: of each session, in us.
    """
    order = np.argsort(starts, kind="stable")
    table = table.chosen(order)
    shift = starts[order][table.session]
    start, end = table.start + shift, table.end + shift
    if whole_seconds:
        start, end = (us // 1_000_000 * 1_000_000 for us in (start, end))
    return replace(table, start=start, end=end)
