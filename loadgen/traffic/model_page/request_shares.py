"""The shares of requests that a draft sends on average, from its graphs alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from loadgen.traffic.scenario.draft import Call, Draft, DraftGraph, Pick

__all__ = ["expected_shares", "visits_by_session"]


def expected_shares(draft: Draft, sessions: Sequence[int]) -> dict[str, float]:
    """Return the expected share of each name in the requests. sessions: of each graph.

    A chain with the starts s and the steps P visits its states s (I - P)^-1 times on average before it leaves.
    """
    requests: defaultdict[str, float] = defaultdict(float)
    nodes = draft.node_of
    for graph, count in zip(draft.graphs, sessions, strict=True):
        for name, visits in visits_by_session(graph).items():
            node = nodes[name]
            requests[node.of] += count * visits * len(node.calls)
            for child in node.children:
                requests[_name(child.call)] += count * visits * child.mean
    total = sum(requests.values())
    return {name: value / total for name, value in requests.items()} if total else {}


def visits_by_session(graph: DraftGraph) -> Mapping[str, float]:
    """Return how often a session visits each node on average; nothing if a part of the graph has no way out."""
    names = [*graph.edges]
    at = {name: n for n, name in enumerate(names)}
    moves, starts = np.zeros((len(names), len(names))), np.zeros(len(names))
    for name, row in graph.edges.items():
        total = sum(edge.count for edge in row)
        for edge in row:
            if edge.to and total:
                moves[at[name], at[edge.to]] = edge.count / total
    for name, count in graph.starts.items():
        starts[at[name]] = count
    try:
        visits = np.linalg.solve((np.eye(len(names)) - moves).T, starts / max(1.0, starts.sum()))
    except np.linalg.LinAlgError:
        return {}
    return {name: float(value) for name, value in zip(names, visits, strict=True)}


def _name(call: Call) -> str:
    if call.name:
        return call.name
    path = "".join(f"{{{part.variable}}}" if isinstance(part, Pick) else part for part in call.path)
    return f"{call.method} {path}"
