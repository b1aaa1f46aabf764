"""The critical path of a trace: at each moment of the root, the one span that the response waited for.

The walk goes from the end of the root backwards. The next child is the one that ends last among those that begin before
the current time and end no later, with a tolerance: the resolution of the times, or 1 % of the parent (an allowance
that Uber's CRISP makes, too: Zhang et al., USENIX ATC 2022). Time that no child covers is the parent's own. Of two
children that end together, the one that starts later comes first, then the larger id.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final, Literal, TypeAlias

from loadgen.traces.model import Piece, Span, Tree

__all__ = ["AFTER", "ALONE", "BEFORE", "BETWEEN", "Place", "critical_path", "walk"]


Place: TypeAlias = Literal[0, 1, 2, 3]
"""Where a piece lies relative to the children of its span that are on the critical path: before the first, between
two of them, after the last one; or alone, if the span has no child on it. A number, because it is an index."""
BEFORE: Final = 0
BETWEEN: Final = 1
AFTER: Final = 2
ALONE: Final = 3

_by_end = attrgetter("end_ns", "start_ns", "id")


def critical_path(tree: Tree, until_ns: int | None = None) -> list[Piece]:
    """Return the pieces of the critical path in the order of time. They cover the root without a gap or an overlap.

    until_ns: an earlier end than the root's, for a response that ended before its root. A piece lies within its span.
    Cost: about 0.5 µs a span.
    """
    pieces = [Piece(span, begin, end) for span, begin, end, _ in walk(tree, until_ns)]
    pieces.reverse()
    return pieces


def walk(tree: Tree, until_ns: int | None = None) -> list[tuple[Span, int, int, Place]]:
    """Return the pieces as (span, begin, end, place), the last in time first. HOT: called for each trace."""
    below = tree.children
    pieces: list[tuple[Span, int, int, Place]] = []
    add = pieces.append
    span = tree.root
    begin = span.start_ns
    at = limit = span.end_ns or 0
    if until_ns is not None and until_ns < at:
        at = limit = max(until_ns, begin)
    children = _last_first(below.get(span.id, ()))
    tolerance = _tolerance(span)
    is_last = True
    above: list[tuple[Span, int, int, Iterator[Span], int]] = []
    # limit is the time that a child may end at. It is later than `at` if the span itself ended later than what
    # followed it on the critical path: then its last child, which ended with it, still counts.
    while True:
        for child in children:
            start = child.start_ns
            if start >= at:
                continue
            real_end: int = child.end_ns  # type: ignore[assignment]
            if real_end > limit and real_end > limit + max(tolerance, child.resolution_ns):
                continue
            if start < begin:
                start = begin
            end = real_end if real_end < at else at
            if start >= end:
                continue
            if end < at:
                add((span, end, at, AFTER if is_last else BETWEEN))
            is_last = False
            grandchildren = below.get(child.id)
            if grandchildren:
                above.append((span, begin, start, children, tolerance))
                span, begin, at, limit = child, start, end, real_end
                children = _last_first(grandchildren)
                tolerance = _tolerance(span)
                is_last = True
                break
            add((child, start, end, ALONE))
            at = limit = start
        else:
            if begin < at:
                add((span, begin, at, ALONE if is_last else BEFORE))
            if not above:
                return pieces
            span, begin, at, children, tolerance = above.pop()
            limit = at
            is_last = False


def _tolerance(span: Span) -> int:
    """Return by how many ns a child may end after what followed it."""
    return max(span.resolution_ns, ((span.end_ns or 0) - span.start_ns) // 100)


def _last_first(children: tuple[Span, ...]) -> Iterator[Span]:
    return iter(children if len(children) < 2 else sorted(children, key=_by_end, reverse=True))
