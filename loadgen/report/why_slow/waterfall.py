"""A trace as rows of a waterfall: which span ran when, and when the response waited for it. Pure.

At most 40 rows: those in which most of the critical path lies. Spans of one name under one parent become one row if
there are more than three of them, so that 41 equal queries do not push everything else out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from loadgen.report.why_slow.cause_file import Example, WaterfallRow
from loadgen.traces.model import Piece, Span, Tree
from loadgen.traces.timed import Observed

__all__ = ["example_of"]

MOST_ROWS: Final = 40
_FOLDED_FROM: Final = 4
"""Fewest spans of one name under one parent that become one row."""
MOST_PIECES: Final = 40
"""Most pieces of one row that are kept; further ones are joined with their neighbours."""
_DEEPEST: Final = 400
"""Deepest row; what lies below is left out."""


@dataclass(slots=True)
class _Group:
    """Spans that share a row."""

    spans: list[Span]
    depth: int
    pieces: list[tuple[int, int]] = field(default_factory=list)
    inside_ns: int = 0
    """The time on the critical path of these spans and of all below them."""
    order: int = 0

    @property
    def own_ns(self) -> int:
        """The time on the critical path of these spans themselves."""
        return sum(end - begin for begin, end in self.pieces)


def example_of(observed: Observed, tree: Tree, path: Sequence[Piece]) -> Example:
    """Return the waterfall of one request. path: the critical path of its tree.

    The clock of the server is unknown to the client, so the server's part is drawn in the middle of the service time.
    """
    own: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for piece in path:
        own[piece.span.id].append((piece.begin_ns, piece.end_ns))
    groups = _groups(tree, own)
    kept = sorted(groups, key=lambda one: (-one.inside_ns, one.order))[:MOST_ROWS]
    root = tree.root
    assert root.end_ns is not None
    sent_ns = observed.response_ns - observed.service_ns
    begin_ns = sent_ns + (observed.service_ns - (root.end_ns - root.start_ns)) // 2
    shift = begin_ns - root.start_ns
    rows = tuple(_row(one, shift) for one in sorted(kept, key=lambda one: one.order))
    shown = sum(len(one.spans) for one in kept)
    return Example(
        trace=observed.trace,
        response_ns=observed.response_ns,
        at_s=observed.at_s,
        rows=rows,
        left_out=len(tree.spans) - shown,
    )


def _groups(tree: Tree, own: Mapping[str, Sequence[tuple[int, int]]]) -> list[_Group]:
    """Return the rows of all spans, parents before children. Spans that share a row share their children, too."""
    found: list[_Group] = []
    above: list[int] = []
    """The index of the row above each one; -1 for the root's."""
    waiting: list[tuple[list[Span], int, int]] = [([tree.root], 0, -1)]
    while waiting:
        spans, depth, parent = waiting.pop()
        pieces = sorted(piece for span in spans for piece in own.get(span.id, ()))
        group = _Group(spans, depth, pieces, order=len(found))
        here = len(found)
        found.append(group)
        above.append(parent)
        if depth < _DEEPEST:
            children = [child for span in spans for child in tree.children.get(span.id, ())]
            waiting += reversed([(row, depth + 1, here) for row in _sharing(children)])
    for n in range(len(found) - 1, -1, -1):
        found[n].inside_ns += found[n].own_ns
        if above[n] >= 0:
            found[above[n]].inside_ns += found[n].inside_ns
    return found


def _sharing(children: Sequence[Span]) -> list[list[Span]]:
    """Return the children of one row as rows, by start: each span alone, but many of one name together."""
    by_name: dict[str, list[Span]] = defaultdict(list)
    for child in children:
        by_name[child.name].append(child)
    rows = []
    for same in by_name.values():
        if len(same) >= _FOLDED_FROM:
            rows.append(sorted(same, key=lambda span: span.start_ns))
        else:
            rows += [[span] for span in same]
    return sorted(rows, key=lambda row: (row[0].start_ns, row[0].id))


def _row(group: _Group, shift: int) -> WaterfallRow:
    ends = [span.end_ns for span in group.spans if span.end_ns is not None]
    begin = min(span.start_ns for span in group.spans)
    return WaterfallRow(
        name=group.spans[0].name,
        depth=group.depth,
        begin_ns=begin + shift,
        end_ns=max(ends, default=begin) + shift,
        own_ns=group.own_ns,
        is_error=any(span.status == "error" for span in group.spans),
        pieces=tuple((begin + shift, end + shift) for begin, end in _joined(group.pieces)),
        more=len(group.spans) - 1,
    )


def _joined(pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pieces with neighbours joined; of very many, those with the smallest gaps are joined, too."""
    found: list[tuple[int, int]] = []
    least_gap = 0
    if len(pieces) > MOST_PIECES:
        gaps = sorted(after[0] - before[1] for before, after in pairwise(pieces))
        least_gap = gaps[len(gaps) - MOST_PIECES]
    for begin, end in pieces:
        if found and begin - found[-1][1] <= least_gap:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
