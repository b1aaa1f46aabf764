"""Reads what the rows of a graph say: nodes, the edges that are taken, and all that is wrong with them.

Nothing raises, and one fault hides no other: what makes no sense is told and then
taken for an edge that may lead anywhere, so that nothing is told that only follows.
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
from loadgen.dsl.graphs import chain
from loadgen.dsl.graphs.node import Edge, Leave, Node, leave
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.source import read_source
from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault, ScenarioError

__all__ = ["TOLERANCE", "Place", "Taken", "Transitions"]

TOLERANCE: Final = 1e-9
"""By how much the probabilities of a row may miss 1."""
MOST_VISITS: Final = 1e9
"""Of a session, on average: more is a slip of the pen, and beyond what the figures can be computed for."""

Place = Node[Any] | Journey[Any]
"""What a session can be at."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An edge that is taken at all. to: `leave`, or None for one that makes no sense and may lead anywhere."""

    share: float
    to: Place | Leave | None
    think: Distribution | None = None


class Transitions:
    """See the module.

    nodes: in the order of their rows. rows: the edges from each. entry: those by which sessions begin.

    Args:
        name: of the graph, for texts; origin: where it is written.
        think: of edges between nodes that have none of their own.
        counts: the numbers are counts, and each row is divided by its sum.
    """

    def __init__(
        self, edges: Any, start: Any, *, name: str, origin: Origin, think: Distribution | None, counts: bool
    ) -> None:
        self._name, self._origin, self._think, self._has_counts = name, origin, think, counts
        self._wrong: list[tuple[int | None, str, str]] = []
        """Of which row (None: of none), what is wrong, and what to do."""
        self._of_edges: list[Fault] = []
        self._at: list[int] = []
        """Which entry of the mapping each node's row is."""
        given = self._read_nodes(edges)
        self.nodes: tuple[Place, ...] = tuple(given)
        self._index = {one: i for i, one in enumerate(self.nodes)}
        self.rows = tuple(self._read_row(one, row) for one, row in given.items())
        self.entry = self._read_start(start) if given else ()
        self._check_ways()
        self.visits = np.zeros(len(self.nodes))
        """(n,) float64: of each node in a session, on average; zeros where something is wrong."""
        if not self._wrong:
            self._count_visits()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Each at the line of its row, where the rows stand in the call itself; else at the call."""
        lines = _row_lines(self._origin) if self._wrong else []

        def line(row: int | None) -> int:
            return lines[row] if row is not None and row < len(lines) else self._origin.line

        told = [Fault(self._origin.file, line(row), message, hint) for row, message, hint in self._wrong]
        return (*told, *self._of_edges)

    def hops(self) -> np.ndarray:
        """(n, n) float64: from node to node; what a row lacks to 1 leaves."""
        matrix = np.zeros((len(self.nodes), len(self.nodes)))
        for i, row in enumerate(self.rows):
            for j, share in self._inner(row):
                matrix[i, j] += share
        return matrix

    def entering(self) -> np.ndarray:
        """(n,) float64, sums to 1: where sessions begin."""
        vector = np.zeros(len(self.nodes))
        for j, share in self._inner(self.entry):
            vector[j] += share
        return vector

    def onward(self) -> list[list[int]]:
        """Of each node the nodes that it leads to."""
        return [[j for j, _ in self._inner(row)] for row in self.rows]

    def begins(self) -> list[int]:
        return [j for j, _ in self._inner(self.entry)]

    def exits(self) -> list[int]:
        """The nodes from which a session may leave."""
        return [i for i, row in enumerate(self.rows) if any(taken.to is leave for taken in row)]

    def _inner(self, row: tuple[Taken, ...]) -> Iterator[tuple[int, float]]:
        for taken in row:
            if isinstance(taken.to, Node | Journey):
                yield self._index[taken.to], taken.share

    # -- reading ----------------------------------------------------------------------------------

    def _read_nodes(self, edges: Any) -> dict[Place, Any]:
        """The rows, by what is a node; what is none is told."""
        if not isinstance(edges, Mapping) or not edges:
            what = "has no rows" if isinstance(edges, Mapping) else f"is no mapping of nodes but {edges!r}"
            self._tell(
                None, f"graph {self._name} {what}", "write graph({browse: {buy: .2, leave: .8}, buy: {leave: 1}})"
            )
            return {}
        given: dict[Place, Any] = {}
        names: set[str] = set()
        for i, (one, row) in enumerate(edges.items()):
            if (wrong := _no_node(one)) is not None:
                self._tell(i, f"graph {self._name}: {wrong[0]}", wrong[1])
                continue
            if one.name in names:
                message = f'graph {self._name}: two nodes are named "{one.name}"'
                self._tell(i, message, 'their steps would be one row: give one of them @node(name="...")')
            names.add(one.name)
            given[one] = row
            self._at.append(i)
        return given

    def _read_row(self, one: Place, row: Any) -> tuple[Taken, ...]:
        at = self._at[self._index[one]]
        if not isinstance(row, Mapping):
            self._tell(at, f"the row of {one.name} is {row!r}", f"write {one.name}: {{leave: 1}}")
            return (Taken(1.0, None),)
        read: list[tuple[Any, Taken]] = []
        for to, said in row.items():
            value, think = said, self._think if to is not leave else None
            if isinstance(said, Edge):
                value, think = said.probability, said.think or think
                self._of_edges += said.faults
            if to is not leave and to not in self._index:
                message, hint = _no_node(to) or (
                    f"{to.name} has no row",
                    f"write a row for it: {to.name}: {{leave: 1}}",
                )
                self._tell(at, f"{one.name} leads to what is no node of {self._name}: {message}", hint)
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
            self._tell(None, f"start: {shown} has no row in graph {self._name}", "begin at a node that has one")
            read.append((value, Taken(0, None)))
        if not read:
            self._tell(None, "start: nowhere", f"write start={self.nodes[0].name}")
            return (Taken(1.0, None),)
        return self._shared(None, "start", read)

    def _shared(self, at: int | None, what: str, read: list[tuple[Any, Taken]]) -> tuple[Taken, ...]:
        """Edges with their shares; those of probability 0 are none."""
        kind, is_bad = "count" if self._has_counts else "probability", False
        for value, taken in read:
            if not _is_share(value):
                shown = getattr(taken.to, "name", "leave" if taken.to is leave else "what is no node")
                self._tell(at, f"{what}: the {kind} of {shown} is {value!r}", "write a number, 0 or more")
                is_bad = True
        if is_bad:
            return tuple(Taken(1.0, taken.to, taken.think) for _, taken in read)
        total = fsum(value for value, _ in read)
        if self._has_counts and not 0 < total < float("inf"):
            self._tell(at, f"{what} counts {total:g} in all", "give it the transitions that were logged")
            return (Taken(1.0, None),)
        if not self._has_counts and abs(total - 1) > TOLERANCE:
            is_rest = total < 1 and at is not None and all(taken.to is not leave for _, taken in read)
            rest = f"say what is left, too: leave: {1 - total:.9g}"
            whole = "the probabilities of a row sum to 1; with counts=True it is divided by its sum"
            self._tell(at, f"{what} sums to {total:.9g}", rest if is_rest else whole)
            if is_rest or not total:
                return (*(Taken(value, taken.to, taken.think) for value, taken in read if value), Taken(1.0, None))
        return tuple(Taken(value / total, taken.to, taken.think) for value, taken in read if value)

    def _check_ways(self) -> None:
        """Every node is reached, and has a way out."""
        onward, anywhere = self.onward(), {i for i, row in enumerate(self.rows) if any(t.to is None for t in row)}
        back: list[list[int]] = [[] for _ in self.nodes]
        for i, more in enumerate(onward):
            for j in more:
                back[j].append(i)
        is_known = not anywhere and all(taken.to is not None for taken in self.entry)
        seen = chain.reached(self.begins(), onward) if is_known else set(range(len(self.nodes)))
        ending = chain.reached({*self.exits(), *anywhere}, back)
        for i, one in enumerate(self.nodes):
            if i not in seen:
                message = f"graph {self._name}: no session ever comes to {one.name}"
                self._tell(self._at[i], message, "lead an edge to it, begin there, or take its row out")
            if i not in ending:
                message = f"graph {self._name}: from {one.name} there is no way out"
                self._tell(self._at[i], message, "give leave a probability in its row, or in one that it leads to")

    def _count_visits(self) -> None:
        found = chain.visits(self.entering(), self.hops())
        if not 1 <= float(found.sum()) < MOST_VISITS:
            message = f"graph {self._name}: its sessions as good as never end"
            self._tell(None, message, "give leave a larger probability in some row that they come to")
            return
        self.visits = found

    def _tell(self, at: int | None, message: str, hint: str) -> None:
        self._wrong.append((at, message, hint))


def _is_share(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value) and value >= 0
    except OverflowError:  # a whole number beyond all floats
        return False


def _no_node(one: Any) -> tuple[str, str] | None:
    """Why it is no node, and what to do; None where it is one."""
    if isinstance(one, Node):
        return None
    if isinstance(one, Journey):
        if one.is_graph:
            return f"{one.name} is a graph itself", "name its nodes here"
        if one.feed is not None:
            hint = "give the graph the data, and make it a @node, whose state is the row or made of it"
            return f"journey {one.name} has data of its own", hint
        if one.state is not None:
            return f"journey {one.name} has a state of its own", "make it a @node, and give the state to the graph"
        return None
    name = getattr(one, "__name__", repr(one))
    if one is leave:
        return "leave is the end, and has no row", "take its row out"
    if isinstance(one, str):
        return f'"{one}" is a text', "name the function itself, without quotes"
    hint = f"decorate it: @node, above `async def {name}`" if callable(one) else "a function with @node above it"
    return f"{name} is no node", hint


def _row_lines(origin: Origin) -> list[int]:
    """The line of each row of the graph that is written there; empty where they cannot be told."""
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
