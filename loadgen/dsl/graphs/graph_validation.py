"""Reads and checks the rows of a graph: its nodes and the edges between them.

Nothing here raises, and one error hides no other. An invalid edge is reported, and then
treated as an edge that may lead anywhere, so that no errors are reported that only
follow from it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum, isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen.dsl.distributions import Distribution
from loadgen.dsl.graphs import markov_analysis
from loadgen.dsl.graphs.nodes_and_edges import Edge, Leave, Node, leave
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.source_analysis import read_source
from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault, ScenarioError

__all__ = ["TOLERANCE", "Place", "Taken", "Transitions"]

TOLERANCE: Final = 1e-9
"""Allowed difference between the sum of a row's probabilities and 1."""
MOST_VISITS: Final = 1e9
"""Maximum mean number of visits per session. More is a typing error, and too many for exact calculation."""

Place = Node[Any] | Journey[Any]
"""A node of a graph: a `@node` or a journey."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An edge with a probability above 0. `to` is None for an invalid edge, which may lead anywhere."""

    share: float
    to: Place | Leave | None
    think: Distribution | None = None


class Transitions:
    """The rows of a graph, read and checked.

    nodes: in the order of their rows. rows: the edges from each node. entry: the edges by which sessions start.

    Args:
        edges, start, counts: as in `graph`.
        name: the graph's name, for messages.
        origin: the place of the graph in the scenario.
        think: default think time of edges between nodes.
    """

    def __init__(
        self, edges: Any, start: Any, *, name: str, origin: Origin, think: Distribution | None, counts: bool
    ) -> None:
        self._name, self._origin, self._think, self._has_counts = name, origin, think, counts
        self._wrong: list[tuple[int | None, str, str]] = []
        """Row index (None: the whole graph), message and hint of each error."""
        self._of_edges: list[Fault] = []
        self._at: list[int] = []
        """Index of each node's row in the mapping."""
        given = self._read_nodes(edges)
        self.nodes: tuple[Place, ...] = tuple(given)
        self._index = {one: i for i, one in enumerate(self.nodes)}
        self.rows = tuple(self._read_row(one, row) for one, row in given.items())
        self.entry = self._read_start(start) if given else ()
        self._check_ways()
        self.visits = np.zeros(len(self.nodes))
        """(n,) float64: mean visits of each node per session; zeros if there are errors."""
        if not self._wrong:
            self._count_visits()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return all errors in the rows.

        Each has the line of its row if the rows are written in the call of `graph`, else the line of the call.
        """
        lines = _row_lines(self._origin) if self._wrong else []

        def line(row: int | None) -> int:
            return lines[row] if row is not None and row < len(lines) else self._origin.line

        found = [Fault(self._origin.file, line(row), message, hint) for row, message, hint in self._wrong]
        return (*found, *self._of_edges)

    def hops(self) -> np.ndarray:
        """Return the probabilities of going from node i to node j, (n, n) float64.

        What row i lacks to 1 is the probability to leave the graph after node i.
        """
        matrix = np.zeros((len(self.nodes), len(self.nodes)))
        for i, row in enumerate(self.rows):
            for j, share in self._inner(row):
                matrix[i, j] += share
        return matrix

    def entering(self) -> np.ndarray:
        """Return the probability of each node to be the first, (n,) float64; sums to 1."""
        vector = np.zeros(len(self.nodes))
        for j, share in self._inner(self.entry):
            vector[j] += share
        return vector

    def onward(self) -> list[list[int]]:
        """Return for each node the indexes of the nodes to which it has an edge."""
        return [[j for j, _ in self._inner(row)] for row in self.rows]

    def begins(self) -> list[int]:
        return [j for j, _ in self._inner(self.entry)]

    def exits(self) -> list[int]:
        """Return the indexes of the nodes after which a session may leave."""
        return [i for i, row in enumerate(self.rows) if any(taken.to is leave for taken in row)]

    def _inner(self, row: tuple[Taken, ...]) -> Iterator[tuple[int, float]]:
        for taken in row:
            if isinstance(taken.to, Node | Journey):
                yield self._index[taken.to], taken.share

    # -- reading ----------------------------------------------------------------------------------

    def _read_nodes(self, edges: Any) -> dict[Place, Any]:
        """Return each valid node with its row as written; add an error for each invalid node."""
        if not isinstance(edges, Mapping) or not edges:
            what = "has no rows" if isinstance(edges, Mapping) else f"must be a mapping of nodes, got {edges!r}"
            self._report(
                None, f"graph {self._name} {what}", "write graph({browse: {buy: .2, leave: .8}, buy: {leave: 1}})"
            )
            return {}
        given: dict[Place, Any] = {}
        names: set[str] = set()
        for i, (one, row) in enumerate(edges.items()):
            if (wrong := _no_node(one)) is not None:
                self._report(i, f"graph {self._name}: {wrong[0]}", wrong[1])
                continue
            if one.name in names:
                message = f'graph {self._name}: two nodes are named "{one.name}"'
                self._report(i, message, 'rename one with @node(name="..."), because their steps would share a row')
            names.add(one.name)
            given[one] = row
            self._at.append(i)
        return given

    def _read_row(self, one: Place, row: Any) -> tuple[Taken, ...]:
        at = self._at[self._index[one]]
        if not isinstance(row, Mapping):
            self._report(
                at, f"the row of {one.name} must be a dictionary, got {row!r}", f"write {one.name}: {{leave: 1}}"
            )
            return (Taken(1.0, None),)
        read: list[tuple[Any, Taken]] = []
        for to, given in row.items():
            value, think = given, self._think if to is not leave else None
            if isinstance(given, Edge):
                value, think = given.probability, given.think or think
                self._of_edges += given.faults
            if to is not leave and to not in self._index:
                message, hint = _no_node(to) or (
                    f"{to.name} has no row",
                    f"write a row for it: {to.name}: {{leave: 1}}",
                )
                self._report(at, f"{one.name} leads to something that is not a node of {self._name}: {message}", hint)
                read.append((value, Taken(0, None)))
            else:
                read.append((value, Taken(0, to, think)))
        return self._shared(at, f"the row of {one.name}", read)

    def _read_start(self, start: Any) -> tuple[Taken, ...]:
        if start is None:
            return (Taken(1.0, self.nodes[0]),)
        read: list[tuple[Any, Taken]] = []
        for one, value in start.items() if isinstance(start, Mapping) else [(start, 1)]:
            if isinstance(one, Node | Journey) and one in self._index:
                read.append((value, Taken(0, one)))
                continue
            shown = getattr(one, "name", None) or getattr(one, "__name__", repr(one))
            self._report(None, f"start: {shown} has no row in graph {self._name}", "start at a node that has a row")
            read.append((value, Taken(0, None)))
        if not read:
            self._report(None, "start: no node is given", f"write start={self.nodes[0].name}")
            return (Taken(1.0, None),)
        return self._shared(None, "start", read)

    def _shared(self, at: int | None, what: str, read: list[tuple[Any, Taken]]) -> tuple[Taken, ...]:
        """Return the edges of a row with probabilities that sum to 1; add errors for invalid ones.

        Edges of probability 0 are left out. After an error, the edges are replaced by valid ones, so that no other
        error follows from it.

        Args:
            at: the index of the row; None: the edges by which sessions start.
            what: the row's name in messages.
            read: the probability or count of each edge as written, and the edge without it.
        """
        kind, is_bad = "count" if self._has_counts else "probability", False
        for value, taken in read:
            if not _is_share(value):
                shown = getattr(taken.to, "name", "leave" if taken.to is leave else "an invalid node")
                self._report(at, f"{what}: the {kind} of {shown} is {value!r}", "write a finite number of at least 0")
                is_bad = True
        if is_bad:
            return tuple(Taken(1.0, taken.to, taken.think) for _, taken in read)
        total = fsum(value for value, _ in read)
        if self._has_counts and not 0 < total < float("inf"):
            self._report(
                at, f"{what} has a total count of {total:g}", "write the logged number of transitions, above 0 in total"
            )
            return (Taken(1.0, None),)
        if not self._has_counts and abs(total - 1) > TOLERANCE:
            is_rest = total < 1 and at is not None and all(taken.to is not leave for _, taken in read)
            rest = f"add the missing probability: leave: {1 - total:.9g}"
            whole = "correct the probabilities so that they sum to 1, or write counts=True to divide the row by its sum"
            self._report(at, f"{what} sums to {total:.9g}", rest if is_rest else whole)
            if is_rest or not total:
                return (*(Taken(value, taken.to, taken.think) for value, taken in read if value), Taken(1.0, None))
        return tuple(Taken(value / total, taken.to, taken.think) for value, taken in read if value)

    def _check_ways(self) -> None:
        """Add an error for each node that no session reaches, and for each node after which no session can leave."""
        onward, anywhere = self.onward(), {i for i, row in enumerate(self.rows) if any(t.to is None for t in row)}
        back: list[list[int]] = [[] for _ in self.nodes]
        for i, more in enumerate(onward):
            for j in more:
                back[j].append(i)
        is_known = not anywhere and all(taken.to is not None for taken in self.entry)
        seen = markov_analysis.reached(self.begins(), onward) if is_known else set(range(len(self.nodes)))
        ending = markov_analysis.reached({*self.exits(), *anywhere}, back)
        for i, one in enumerate(self.nodes):
            if i not in seen:
                message = f"graph {self._name}: no session ever reaches {one.name}"
                self._report(self._at[i], message, "add an edge to it, start there, or remove its row")
            if i not in ending:
                message = f"graph {self._name}: no session can leave after {one.name}"
                self._report(self._at[i], message, "add leave to its row, or to a row that it leads to")

    def _count_visits(self) -> None:
        found = markov_analysis.visits(self.entering(), self.hops())
        if not 1 <= float(found.sum()) < MOST_VISITS:
            message = f"graph {self._name}: its sessions practically never end"
            self._report(None, message, "raise the probability of leave in a row that sessions reach")
            return
        self.visits = found

    def _report(self, at: int | None, message: str, hint: str) -> None:
        self._wrong.append((at, message, hint))


def _is_share(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value) and value >= 0
    except OverflowError:  # an int too large for a float
        return False


def _no_node(one: Any) -> tuple[str, str] | None:
    """Return why an object cannot be a node of a graph, and the hint how to correct it; None for a valid node."""
    if isinstance(one, Node):
        return None
    if isinstance(one, Journey):
        if one.is_graph:
            return f"{one.name} is a graph itself", "write its nodes here"
        if one.feed is not None:
            hint = "pass the data to the graph, and make this journey a @node with the row, or a state made from it"
            return f"journey {one.name} has data of its own", hint
        if one.state is not None:
            return f"journey {one.name} has a state of its own", "make it a @node, and pass the state to the graph"
        return None
    name = getattr(one, "__name__", repr(one))
    if one is leave:
        return "leave ends a session and cannot have a row", "remove its row"
    if isinstance(one, str):
        return f'"{one}" is a text', "write the function itself, without quotes"
    hint = f"write @node above `async def {name}`" if callable(one) else "use a function with @node above it"
    return f"{name} is not a node", hint


def _row_lines(origin: Origin) -> list[int]:
    """Return the line of each row of the graph written at `origin`; [] if the rows are not written in the call."""
    try:
        tree = read_source(Path(origin.file)).tree
    except ScenarioError:
        return []
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and call.lineno == origin.line and call.args:
            name, rows = ast.unparse(call.func), call.args[0]
            if name.rpartition(".")[2] == "graph" and isinstance(rows, ast.Dict) and None not in rows.keys:
                return [key.lineno for key in rows.keys if key is not None]
    return []
