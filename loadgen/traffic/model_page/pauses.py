"""Pauses of the busiest edges: the log's distribution beside the one that the scenario draws from."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erf, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.data.quantile_file import QUANTILES
from loadgen.traffic.model.gap_bins import EDGES_S, shares_below
from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.scenario.draft import DataFile, Draft, Expression

__all__ = ["BUSIEST", "EdgePauses", "busiest_pauses"]

BUSIEST: Final = 6
_KOLMOGOROV: Final = 1.358
"""The 95 % point of Kolmogorov's distribution: a sample of n differs from its distribution by up to 1.358/sqrt(n)."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class EdgePauses:
    """The pauses of an edge. log, model: the share of pauses below each of `EDGES_S`."""

    kind: str
    node: str
    to: str
    count: int
    log: Shares
    model: Shares
    text: str
    """The model, such as `lognormal(1.2, 0.5)`."""

    @property
    def distance(self) -> float:
        """The largest difference between log and model (Kolmogorov and Smirnov)."""
        return float(np.abs(self.log - self.model).max())

    @property
    def by_chance(self) -> float:
        """The largest difference between a sample of this size and its own distribution, in 95 % of the cases."""
        return min(1.0, _KOLMOGOROV / sqrt(self.count))

    def median_s(self) -> tuple[float, float, float]:
        """Return the log's median and its 95 % interval, in s: the order statistics at 0.5 -+ 0.98/sqrt(n)."""
        reach = 0.98 / sqrt(self.count)
        low, middle, high = (quantile(self.log, share) for share in (0.5 - reach, 0.5, 0.5 + reach))
        return middle, low, high


def quantile(below: Shares, share: float) -> float:
    """Return the value below which a share of the pauses is, in s."""
    at = int(np.searchsorted(below, min(max(share, 0.0), 1.0)))
    if not at:
        return float(EDGES_S[0])
    at = min(at, len(EDGES_S) - 1)
    before, after = float(below[at - 1]), float(below[at])
    part = (share - before) / (after - before) if after > before else 1.0
    return float(EDGES_S[at - 1] * (EDGES_S[at] / EDGES_S[at - 1]) ** min(max(part, 0.0), 1.0))


def busiest_pauses(counts: ModelCounts, draft: Draft, *, whole_seconds: bool) -> list[EdgePauses]:
    """Return the pauses of the edges with the most of them, of all kinds of sessions. Ends of sessions have none."""
    at_of = {name: _state(counts, node.of) for name, node in draft.node_of.items()}
    every = [
        (graph, edge, name, one.walks.gaps[at_of[name], at_of[edge.to]])
        for graph, one in zip(draft.graphs, counts.classes, strict=True)
        for name, row in graph.edges.items()
        for edge in row
        if edge.to
    ]
    found = [(int(gaps.sum()), graph, edge, name, gaps) for graph, edge, name, gaps in every]
    found = sorted((one for one in found if one[0]), key=lambda one: (-one[0], one[1].name, one[3], one[2].to))
    return [
        EdgePauses(
            kind=graph.name if len(draft.graphs) > 1 else "",
            node=name,
            to=edge.to,
            count=count,
            log=shares_below(gaps, whole_seconds=whole_seconds),
            model=_shares(think, draft.files),
            text=f"the usual {think}" if edge.think is None else str(think),
        )
        for count, graph, edge, name, gaps in found[:BUSIEST]
        if (think := edge.think or graph.think) is not None
    ]


def _state(counts: ModelCounts, name: str) -> int:
    return counts.states.index(name) if name in counts.states else len(counts.states)


def _shares(think: Expression, files: Sequence[DataFile]) -> Shares:
    if think.function == "lognormal":
        mu, sigma = map(float, think.arguments)
        return lognormal_below(mu, sigma)
    path, row = _arguments(think)
    values = next(row_of(file, row) for file in files if file.path == path)
    return np.interp(EDGES_S, values, np.linspace(0, 1, QUANTILES), left=0.0, right=1.0)


def lognormal_below(mu: float, sigma: float) -> Shares:
    """Return the share of a lognormal distribution below each of `EDGES_S`."""
    z = (np.log(EDGES_S) - mu) / max(sigma, 1e-9)
    return np.array([(1 + erf(value / sqrt(2))) / 2 for value in z])


def row_of(file: DataFile, name: str) -> list[float]:
    """Return the quantiles of a row."""
    rows: Mapping[str, tuple[str, ...]] = {row[0]: row[1:] for row in file.rows[1:]}
    return [float(value) for value in rows[name]]


def _arguments(think: Expression) -> tuple[str, str]:
    path, row = think.arguments
    return str(ast.literal_eval(path)), str(ast.literal_eval(row.partition("=")[2]))
