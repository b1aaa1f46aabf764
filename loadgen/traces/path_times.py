"""Splits the response time of a request exactly: our side, the network, and each path of the target's spans.

All times are integers in ns, and they add up to the response time without a remainder.
"""

from __future__ import annotations

from sys import intern
from typing import Final

from loadgen.traces.critical_path import Place, walk
from loadgen.traces.model import Path, Span, Tree
from loadgen.traces.repair import FOLDED
from loadgen.traces.timed import OUR_SIDE, WIRE, Observed, PathTime, TimedTrace

__all__ = ["DEEPER", "DEEPEST", "PathNode", "answered_ns", "parted", "paths_of", "timed"]

DEEPEST: Final = 100
"""Most elements of a path. Deeper spans share one path, which ends with DEEPER."""
DEEPER: Final = "deeper spans"


class PathNode:
    """A path, with the paths that are longer by one span. Nodes are shared by all traces, see `_top`."""

    __slots__ = ("below", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.below: dict[tuple[str, str], PathNode] = {}


def timed(observed: Observed, tree: Tree) -> TimedTrace:
    """Return the exact partition of the response time of a request. Cost: about 1 µs a span.

    OUR_SIDE is response minus service time. WIRE is service time minus the root. If the root lasts longer than the
    service time, the answer had left before it ended: then the root is cut and WIRE is 0. The own time of a span
    without children on the critical path counts as `between`. If the trace answers several requests of ours, the time
    between them is the own time of the path of OUR_ROOT.
    """
    return TimedTrace(observed, tree, parted(observed, tree)[0])


def answered_ns(observed: Observed, root: Span) -> int:
    """Return the time at which the root had answered: its end, or earlier if the answer had arrived by then."""
    service = min(max(observed.service_ns, 0), max(observed.response_ns, 0))
    return min(root.start_ns if root.end_ns is None else root.end_ns, root.start_ns + service)


def parted(
    observed: Observed, tree: Tree
) -> tuple[dict[Path, PathTime], list[tuple[Span, int, int, Place]], dict[str, PathNode]]:
    """Return the partition of `timed`, the pieces of the critical path as `walk` does, and the node of each span's id.

    HOT: called for each trace.
    """
    root = tree.root
    response = max(observed.response_ns, 0)
    service = min(max(observed.service_ns, 0), response)
    root_ns = (root.end_ns or 0) - root.start_ns
    nodes, calls = _nodes(tree)
    times: dict[PathNode, list[int]] = {}
    pieces = walk(tree, root.start_ns + min(root_ns, service))
    for span, begin, end, place in pieces:
        node = nodes[span.id]
        try:
            times[node][place] += end - begin
        except KeyError:
            times[node] = [0, 0, 0, 0]
            times[node][place] = end - begin
    paths = {OUR_SIDE: _between(response - service), WIRE: _between(max(service - root_ns, 0))}
    for node, called in calls.items():
        if node in times:
            before, between, after, alone = times[node]
            between += alone
            paths[node.path] = PathTime(before + between + after, called, before, between, after)
        else:
            paths[node.path] = _OFF[called] if called < len(_OFF) else PathTime(0, called)
    return paths, pieces, nodes


def paths_of(tree: Tree) -> dict[str, Path]:
    """Return the path of each span by its id, as `timed` counts it: cut at DEEPEST."""
    nodes, _ = _nodes(tree)
    return {id_: node.path for id_, node in nodes.items()}


_OFF: Final = [PathTime(0, calls) for calls in range(100)]
"""Times of paths off the critical path, by calls; shared, because they are most of all."""


def _between(own_ns: int) -> PathTime:
    return PathTime(own_ns, 1, 0, own_ns, 0)


def _nodes(tree: Tree) -> tuple[dict[str, PathNode], dict[PathNode, int]]:
    """Return the node of each span by its id, and how many spans each node has. HOT: called for each trace."""
    root = tree.root
    top = _child(_top(), (root.service, root.operation))
    nodes = {root.id: top}
    calls = {top: 1}
    for span in tree.spans.values():
        if span is root:
            continue
        above = nodes.get(span.parent)
        if above is None:
            above = _above(tree, span, nodes)
        key = (span.service, span.operation)
        node = above.below.get(key)
        if node is None:
            node = _child(above, key)
        nodes[span.id] = node
        calls[node] = calls.get(node, 0) + 1
        if FOLDED in span.attributes:
            calls[node] += int(span.attributes[FOLDED]) - 1
    return nodes, calls


def _child(above: PathNode, key: tuple[str, str]) -> PathNode:
    """Return the node below another one, which is made if it is not there yet."""
    node = above.below.get(key)
    if node is None:
        if len(above.path) >= DEEPEST:
            return above
        name = intern(f"{key[0]}: {key[1]}") if len(above.path) < DEEPEST - 1 else DEEPER
        node = above.below[key] = PathNode((*above.path, name))
        _made[0] += 1
    return node


def _above(tree: Tree, span: Span, nodes: dict[str, PathNode]) -> PathNode:
    """Return the node of the parent of a span, for a tree whose spans are not in the order of `repaired`."""
    missing: list[Span] = []
    parent = tree.spans.get(span.parent)
    while parent is not None and parent.id not in nodes and len(missing) <= len(tree.spans):
        missing.append(parent)
        parent = tree.spans.get(parent.parent)
    if parent is None or parent.id not in nodes:
        raise ValueError(f"span {span.id} is not below the root of its tree")
    node = nodes[parent.id]
    for one in reversed(missing):
        node = _child(node, (one.service, one.operation))
    return node


_shared = [PathNode(())]
_made = [0]
_MOST_NODES: Final = 50_000


def _top() -> PathNode:
    """Return the node above all roots. All traces share this node, so 10,000 traces share their paths. A new node
    replaces it after _MOST_NODES paths, so that traces with ever new names cannot fill the memory."""
    if _made[0] > _MOST_NODES:
        _shared[0] = PathNode(())
        _made[0] = 0
    return _shared[0]
