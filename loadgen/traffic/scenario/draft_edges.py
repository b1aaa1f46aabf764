"""Makes the edges of a draft: the successors of each node, with their counts and pauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.dsl.data.quantile_file import quantile_columns
from loadgen.traffic.model.gap_bins import Think, fitted
from loadgen.traffic.model.second_order import SplitWalks
from loadgen.traffic.model.walks import Walks
from loadgen.traffic.scenario.draft import DataFile, DraftEdge, Expression
from loadgen.traffic.scenario.draft_calls import ModelState

__all__ = ["LEAST_EDGE_SHARE", "EdgeMaker", "SplitEdges", "edges_kept", "lognormal_of", "thinks_of"]

LEAST_EDGE_SHARE: Final = 0.005
"""Edges with a smaller share of all edges from their node are left out."""
_LEAST_TIMES: Final = 50
_LOGNORMAL: Final = 0.05


@dataclass(frozen=True)
class SplitEdges:
    """Starts and edges of one kind of sessions by node, and the nodes that do the same as another: both names."""

    starts: dict[str, int]
    edges: dict[str, tuple[DraftEdge, ...]]
    again: tuple[tuple[str, str], ...]


class EdgeMaker:
    """Makes the edges of all kinds of sessions, and the file of the pauses that are not lognormal."""

    def __init__(self, states: Sequence[ModelState], *, whole_seconds: bool) -> None:
        self._states = states
        self._nodes = {state.at: state.node for state in states}
        self._whole_seconds = whole_seconds
        self._rows: list[tuple[str, ...]] = []
        self.words: set[str] = set()
        """Names from `loadgen` that the edges use."""

    @property
    def files(self) -> list[DataFile]:
        """The file of pauses, if there is one."""
        return [DataFile("data/think.csv", (quantile_columns(), *self._rows))] if self._rows else []

    def edges(self, walks: Walks, split: SplitWalks, kind: str) -> SplitEdges:
        """Return the edges of the sessions of one kind, by node.

        kind: its name in the file of pauses; empty if there is only one kind.
        """
        thinks = thinks_of(walks, whole_seconds=self._whole_seconds)
        names = self._names_of(split)
        visits = split.visits
        kept = edges_kept(split, [at for at in names if visits[at]])
        edges = {}
        for at, row in kept.items():
            pairs = ((to, thinks.get((split.base[at], split.base[to])) if to >= 0 else None, n) for to, n in row)
            base = self._nodes[split.base[at]]
            edges[names[at]] = tuple(
                self._edge(names.get(to, ""), base, "" if to < 0 else self._nodes[split.base[to]], found, kind, n)
                for to, found, n in pairs
            )
        states = len(walks.starts)
        again = tuple((names[at], self._nodes[split.base[at]]) for at in kept if at >= states)
        return SplitEdges({names[at]: int(split.starts[at]) for at in names if split.starts[at]}, edges, again)

    def _names_of(self, split: SplitWalks) -> dict[int, str]:
        """Return the name of the node of each state, in the order of the states."""
        names = dict(self._nodes)
        outside = len(split.base) - len(split.splits)
        for number, one in enumerate(split.splits):
            before = "first" if one.before == outside else f"after_{self._nodes[one.before]}"
            names[outside + number] = self._again_name(f"{self._nodes[one.state]}_{before}")
        return names

    def _again_name(self, name: str) -> str:
        while name in self._nodes.values():
            name += "_"
        return name

    def _edge(self, name: str, at: str, to: str, found: tuple[Think, bool] | None, kind: str, count: int) -> DraftEdge:
        """Return an edge. name: of the next node; empty for the end. at, to: nodes without splits."""
        if found is None:
            return DraftEdge(name, count)
        think, is_pooled = found
        self.words.add("edge")
        if think.distance <= _LOGNORMAL:
            self.words.add("lognormal")
            return DraftEdge(name, count, lognormal_of(think))
        self.words.add("quantiles")
        label = f"to {to}" if is_pooled else f"{at} to {to}"
        if kind:
            label = f"{kind}: {label}"
        row = (label, *(f"{value:.4g}" for value in think.quantiles))
        if row not in self._rows:
            self._rows.append(row)
        return DraftEdge(name, count, Expression("quantiles", ('"data/think.csv"', f'row="{label}"')))


def edges_kept(walks: SplitWalks, states: list[int]) -> dict[int, list[tuple[int, int]]]:
    """Return the successors of each state with counts, the most frequent first; -1 is the end of the session.

    Edges with less than `LEAST_EDGE_SHARE` of their row are left out. But each state keeps its most frequent edge, and
    the most frequent edge that leads to it, so that every state is reached and no session is trapped.
    """
    kept: dict[int, set[int]] = {}
    for at in states:
        row = {int(to): int(count) for to, count in enumerate(walks.moves[at]) if count}
        if walks.leaves[at]:
            row[-1] = int(walks.leaves[at])
        total = sum(row.values())
        kept[at] = {to for to, count in row.items() if count >= LEAST_EDGE_SHARE * total}
        if row:
            kept[at].add(max(row, key=lambda to: (row[to], -to)))
        if walks.leaves[at]:
            kept[at].add(-1)
    for at in states:
        if walks.moves[:, at].any() and not any(at in kept[before] for before in states if before != at):
            others = [(int(walks.moves[before, at]), -before) for before in states if before != at]
            if others and max(others)[0]:
                kept[-max(others)[1]].add(at)
    return {
        at: sorted(
            ((to, int(walks.leaves[at] if to < 0 else walks.moves[at, to])) for to in kept[at]),
            key=lambda edge: (-edge[1], edge[0] if edge[0] >= 0 else len(walks.starts)),
        )
        for at in states
    }


def thinks_of(walks: Walks, *, whole_seconds: bool) -> dict[tuple[int, int], tuple[Think, bool]]:
    """Return the pauses of each edge, and whether they are pooled.

    An edge with too few pauses has those of all edges to the same state. If these are too few, too, the edge is left
    out: it has the usual pause of its graph.
    """
    found = {}
    to_state = [fitted(walks.gaps[:, to].sum(0), whole_seconds=whole_seconds) for to in range(len(walks.starts))]
    for at, to in np.argwhere(walks.moves):
        own = fitted(walks.gaps[at, to], whole_seconds=whole_seconds)
        pooled = to_state[to]
        if own is not None and own.count >= _LEAST_TIMES:
            found[int(at), int(to)] = own, False
        elif pooled is not None and pooled.count >= _LEAST_TIMES:
            found[int(at), int(to)] = pooled, True
    return found


def lognormal_of(think: Think) -> Expression:
    """Return the pause as a call of `lognormal`."""
    return Expression("lognormal", (f"{think.mu:.3f}", f"{think.sigma:.3f}"))
