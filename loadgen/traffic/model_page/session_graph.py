"""Draws the graph of one kind of sessions as SVG, in a form that a telephone shows at its natural size.

The busiest nodes stand in a column, so that no name is turned or covered. Steps down the column are blue: straight to
the next node, or in an arc on the right. Steps back up are orange arcs on the left, and so are steps from a node to
itself. The width of a line is the number of steps, its text the share of the node's successors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.short_texts import cut_in_middle
from loadgen.traffic.scenario.draft import DraftGraph
from loadgen.units import format_count, format_share

__all__ = ["Drawn", "drawn_graph"]

_NODES: Final = 8
_EDGES: Final = 14
_LEAST: Final = 0.03
"""Steps with a smaller share of what follows a node are not drawn."""
_LEAST_VISITS: Final = 0.005
"""Nodes with a smaller share of the actions are not drawn."""
_WIDTH: Final = 368
_LEFT, _RIGHT, _CENTRE = 102, 266, 184
_HEIGHT, _ROW, _TOP = 42, 70, 8
_REACH: Final = {"on": (0, 0, 26, 38, 48, 56, 62, 66), "back": (18, 38, 46, 53, 59, 64, 67, 70)}
"""The reach of an arc in pixels, by the number of rows that it spans; 0 rows: from a node to itself."""
_LABEL: Final = (30, 12)
"""Width and height of the share of an edge."""
_AWAY: Final = (0, 13, -13, 26, -26)
"""Distances in pixels by which a label may move."""
_LETTERS: Final = 20
_WIDEST: Final = 8.0


@dataclass(frozen=True)
class Drawn:
    """svg: the drawing. share: of all steps between nodes, those that are drawn."""

    svg: str
    nodes: int
    share: float


@dataclass(frozen=True)
class _Edge:
    at: int
    to: int
    count: int
    share: float
    title: str

    @property
    def side(self) -> str:
        """Whether it leads down the column, or back up or to the same node."""
        return "on" if self.to > self.at else "back"


def drawn_graph(graph: DraftGraph) -> Drawn:
    """Return the drawing of the busiest nodes and edges of a graph."""
    totals = {name: sum(edge.count for edge in row) for name, row in graph.edges.items()}
    enough = [name for name in totals if totals[name] >= _LEAST_VISITS * sum(totals.values())]
    busiest = sorted(enough, key=lambda name: (-totals[name], name))[:_NODES]
    moves = {(name, edge.to): edge.count for name, row in graph.edges.items() for edge in row if edge.to}
    order = in_order_of_flow(busiest, moves)
    at = {name: n for n, name in enumerate(order)}
    edges = [
        _Edge(at[name], at[to], count, count / totals[name], f"{name} to {to}")
        for (name, to), count in moves.items()
        if name in at and to in at and count >= _LEAST * totals[name]
    ]
    edges = sorted(edges, key=lambda edge: (-edge.count, edge.at, edge.to))[:_EDGES]
    steps = sum(moves.values())
    most = max((edge.count for edge in edges), default=1)
    height = _TOP + (len(order) - 1) * _ROW + _HEIGHT + 8
    svg = [
        f'<svg class="walk" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Graph of {in_html(graph.name)}">',
        *(line for edge in reversed(edges) for line in _lines(edge, most)),
        *(line for n, name in enumerate(order) for line in _node(graph, n, name, totals)),
        *_labels(edges),
        "</svg>",
    ]
    return Drawn("\n".join(svg), len(order), sum(edge.count for edge in edges) / steps if steps else 1.0)


def in_order_of_flow(names: Sequence[str], moves: Mapping[tuple[str, str], int]) -> list[str]:
    """Return the nodes in an order in which most steps go down.

    The next node is the one with the largest surplus: its steps to the remaining nodes, minus the steps from these to
    it. This is the greedy half of the method of Eades, Lin and Smyth (1993).
    """
    rest, found = list(names), list[str]()
    while rest:

        def surplus(name: str) -> int:
            return sum(moves.get((name, one), 0) - moves.get((one, name), 0) for one in rest)

        found.append(max(rest, key=lambda name: (surplus(name), -names.index(name))))
        rest.remove(found[-1])
    return found


def _middle(row: int) -> float:
    return _TOP + row * _ROW + _HEIGHT / 2


def _lines(edge: _Edge, most: int) -> Iterator[str]:
    """Yield the line of an edge with its head."""
    width = max(1.0, edge.count / most * _WIDEST)
    path, tip = (_straight if edge.to == edge.at + 1 else _arc)(edge, 4 + width)
    title = f"<title>{in_html(edge.title)}: {format_count(edge.count)}, {format_share(edge.share)}</title>"
    yield f'<g class="{edge.side}"><path class="line" d="{path}" stroke-width="{width:.1f}">{title}</path>'
    yield f'<path class="head" d="{tip}"/></g>'


def _straight(edge: _Edge, head: float) -> tuple[str, str]:
    """Return line and head of a step to the next row."""
    x, y, end = _CENTRE, _TOP + edge.at * _ROW + _HEIGHT, _TOP + edge.to * _ROW
    tip = f"M{x} {end}l{-head * 0.7:.1f} {-head:.1f}h{head * 1.4:.1f}z"
    return f"M{x} {y}V{end - head:.1f}", tip


def _arc(edge: _Edge, head: float) -> tuple[str, str]:
    """Return line and head of a step to another row, or to the same node."""
    # Lines leave and reach a node at different heights, so that their ends do not cover each other.
    gap = 15 if edge.to == edge.at else -6 if edge.to < edge.at else 6
    start, end = _middle(edge.at) + gap, _middle(edge.to) - gap
    x, away = (_LEFT, -1) if edge.side == "back" else (_RIGHT, 1)
    far = x + away * _reach(edge) / 0.75  # the middle of such a Bezier curve is at 3/4 of its control points
    path = f"M{x} {start:g}C{far:.1f} {start:g} {far:.1f} {end:g} {x + away * head:.1f} {end:g}"
    return path, f"M{x} {end:g}l{away * head:.1f} {-head * 0.7:.1f}v{head * 1.4:.1f}z"


def _reach(edge: _Edge) -> float:
    """Return how far an arc goes out."""
    return _REACH[edge.side][abs(edge.to - edge.at)]


def _labels(edges: Sequence[_Edge]) -> Iterator[str]:
    """Yield the shares of edges as labels, the most frequent first. A label moves if it would cover an earlier one."""
    taken: list[tuple[float, float]] = []
    for edge in edges:
        x, middle, anchor = _place(edge)
        left = x - _LABEL[0] if anchor == "end" else x
        free = (y for y in (middle + away for away in _AWAY) if not any(_cover(left, y, *one) for one in taken))
        y = next(free, middle)
        taken.append((left, y))
        text = f"{edge.share:.0%}".replace("%", " %")
        yield f'<text x="{x}" y="{y:g}" text-anchor="{anchor}">{text}</text>'


def _place(edge: _Edge) -> tuple[float, float, str]:
    """Return x, y and side of the text of an edge."""
    y = (_middle(edge.at) + _middle(edge.to)) / 2 + 4
    if edge.to == edge.at + 1:
        return _CENTRE + 12, y, "start"
    if edge.side == "back":
        return _LEFT - _reach(edge) - 5, y, "end"
    return _RIGHT + _reach(edge) + 5, y, "start"


def _cover(x: float, y: float, other_x: float, other_y: float) -> bool:
    return abs(x - other_x) < _LABEL[0] and abs(y - other_y) < _LABEL[1]


def _node(graph: DraftGraph, row: int, name: str, totals: Mapping[str, int]) -> Iterator[str]:
    y = _TOP + row * _ROW
    visits, sessions = totals[name], sum(graph.starts.values())
    share = visits / sum(totals.values())
    leaves = sum(edge.count for edge in graph.edges[name] if not edge.to)
    facts = [f"{format_share(share)} of actions"]
    start = graph.starts.get(name, 0)
    if start >= 0.005 * sessions:
        facts.append(f"start {start / sessions:.0%}")
    if leaves:
        facts.append(f"leave {leaves / visits:.0%}")
    box = f'x="{_LEFT}" y="{y}" width="{_RIGHT - _LEFT}" height="{_HEIGHT}" rx="5"'
    title = in_html(
        f"{name}: {format_count(visits)} actions, {format_count(start)} sessions start here, {format_count(leaves)} end"
    )
    yield f'<g class="node"><title>{title}</title><rect class="paper" {box}/>'
    yield f'<rect class="visits" {box} fill-opacity="{min(share, 0.5):.3f}"/>'
    yield f'<text class="name" x="{_CENTRE}" y="{y + 18}">{in_html(cut_in_middle(name, _LETTERS))}</text>'
    text = " · ".join(facts[1:]).replace("%", " %") or facts[0]
    yield f'<text class="facts" x="{_CENTRE}" y="{y + 33}">{in_html(text)}</text></g>'
