"""The critical path and the partition of a trace by the specification's rule, plain and slow: an oracle for tests."""

from __future__ import annotations

from collections import defaultdict

from loadgen.traces.model import Path, Piece, Span, Tree
from loadgen.traces.timed import OUR_SIDE, WIRE, Observed, PathTime, TimedTrace

__all__ = ["critical_path", "timed"]


def critical_path(tree: Tree) -> list[Piece]:
    """From the end backward: the child that ends last among those that began before t and ended by then."""
    pieces: list[Piece] = []
    stack = [(tree.root, tree.root.start_ns, end_of(tree.root))]
    while stack:
        span, begin, t = stack.pop()
        tolerance = max(span.resolution_ns, (end_of(span) - span.start_ns) // 100)
        while True:
            candidates = [c for c in tree.children.get(span.id, ()) if c.start_ns < t and end_of(c) <= t + tolerance]
            if not candidates:
                break
            child = max(candidates, key=lambda c: (end_of(c), c.start_ns, c.id))
            end = min(end_of(child), t)
            if t > end:
                pieces.append(Piece(span, end, t))
            stack.append((child, child.start_ns, end))
            t = child.start_ns
        if t > begin:
            pieces.append(Piece(span, begin, t))
    return sorted(pieces, key=lambda piece: piece.begin_ns)


def timed(observed: Observed, tree: Tree) -> TimedTrace:
    own: defaultdict[Path, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    calls: defaultdict[Path, int] = defaultdict(int)
    paths: dict[str, Path] = {}
    for span in tree.spans.values():
        paths[span.id] = tree.path_of(span)
        calls[paths[span.id]] += 1
    for piece in critical_path(tree):
        ns = piece.end_ns - piece.begin_ns
        children = tree.children.get(piece.span.id, ())
        is_before = bool(children) and piece.end_ns <= min(child.start_ns for child in children)
        is_after = bool(children) and piece.begin_ns >= max(end_of(child) for child in children)
        sums = own[paths[piece.span.id]]
        sums[0] += ns
        sums[1 if is_before else 3 if is_after else 2] += ns
    root_ns = end_of(tree.root) - tree.root.start_ns
    times = {path: PathTime(sums[0], calls[path], *sums[1:]) for path, sums in own.items()}
    times[WIRE] = PathTime(observed.service_ns - root_ns, 0)
    times[OUR_SIDE] = PathTime(observed.response_ns - observed.service_ns, 0)
    return TimedTrace(observed, tree, times)


def end_of(span: Span) -> int:
    return span.start_ns if span.end_ns is None else span.end_ns
