"""A sampled request with its partition in little memory: what comparisons of thousands of traces hold of each.

A whole tree of 40 spans needs some 30 KB. This form needs 3 KB: times as arrays of integers, and one shared object for
all spans with the same service, kind, status and attributes. Ids of spans and their links are not in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from loadgen.traces.critical_path import Place
from loadgen.traces.model import Path, Rule, Span, Tree
from loadgen.traces.path_times import answered_ns, parted
from loadgen.traces.span_facts import Instance, facts_of, instance_at
from loadgen.traces.timed import WIRE, Observed, PathTime, TimedTrace
from loadgen.traces.what_if import Timeline

__all__ = ["CompactTrace", "Waits", "compact_of", "compacted"]


class Waits(msgspec.Struct, frozen=True):
    """The pieces of the critical path of a trace, in the order of time, and the wait between client and server.

    instances: the instance that may have made each wait: the called one, if a client waits for the start of its call.
    paths: by which path the wait is counted. begins, ends: ns since 1970.
    """

    instances: tuple[Instance, ...]
    paths: tuple[Path, ...]
    begins: Sequence[int]
    ends: Sequence[int]


class CompactTrace(msgspec.Struct, frozen=True):
    """A request with the exact partition of its response time, and what pauses and second timings need of its spans.

    paths: as in `TimedTrace`. root_end_ns: the end of the root; the timeline ends with the answer. beside: instance,
    start and end of each span that the timeline lacks.
    """

    observed: Observed
    paths: Mapping[Path, PathTime]
    timeline: Timeline
    waits: Waits
    root_end_ns: int
    beside: tuple[tuple[Instance, int, int], ...] = ()
    is_complete: bool = True
    repaired: Mapping[Rule, int] = {}

    def with_weight(self, weight: float) -> CompactTrace:
        """Return the same with another weight."""
        return msgspec.structs.replace(self, observed=msgspec.structs.replace(self.observed, weight=weight))

    def events(self) -> Iterator[tuple[Instance, int, int]]:
        """Yield the instance, the start and the end of each span."""
        yield from self.timeline.events(self.root_end_ns)
        yield from self.beside


def compact_of(observed: Observed, tree: Tree) -> CompactTrace:
    """Return the compact form of a request with its trace. HOT: called for each trace; about 3 µs a span."""
    paths, pieces, nodes = parted(observed, tree)
    path_of = {id_: node.path for id_, node in nodes.items()}
    timeline, left_out = Timeline.packed(tree, answered_ns(observed, tree.root), path_of)
    root_end_ns = tree.root.end_ns
    assert root_end_ns is not None
    return CompactTrace(
        observed,
        paths,
        timeline,
        _waits(pieces, tree, path_of, paths[WIRE].own_ns),
        root_end_ns,
        tuple([(instance_at(span), span.start_ns, span.end_ns or span.start_ns) for span in left_out]),
        tree.is_complete,
        tree.repaired,
    )


def compacted(traces: Iterable[CompactTrace | TimedTrace]) -> list[CompactTrace]:
    """Return traces in the compact form."""
    return [one if isinstance(one, CompactTrace) else _compact(one) for one in traces]


def _compact(one: TimedTrace) -> CompactTrace:
    # The times are those of the trace, also if somebody changed them.
    return msgspec.structs.replace(compact_of(one.observed, one.tree), paths=one.paths)


def _waits(
    pieces: Sequence[tuple[Span, int, int, Place]], tree: Tree, path_of: Mapping[str, Path], wire_ns: int
) -> Waits:
    """Return the waits of one trace. pieces: as `walk` returns them, the last in time first."""
    instances: list[Instance] = []
    paths: list[Path] = []
    begins: list[int] = []
    ends: list[int] = []
    # The children of clients by their start.
    calls: dict[str, dict[int, Span]] = {}
    for span, begin, end, _ in reversed(pieces):
        at = span
        if span.kind == "client" and (below := tree.children.get(span.id)):
            by_start = calls.get(span.id)
            if by_start is None:
                by_start = calls[span.id] = {child.start_ns: child for child in below}
            # A client that waits for the start of its call waits for the called instance.
            at = by_start.get(end, span)
        instances.append(facts_of(at).instance)
        paths.append(path_of[span.id])
        begins.append(begin)
        ends.append(end)
    if wire_ns:
        root = tree.root
        instances.append(facts_of(root).instance)
        paths.append(WIRE)
        begins.append(root.start_ns - wire_ns)
        ends.append(root.start_ns)
    return Waits(tuple(instances), tuple(paths), array("q", begins), array("q", ends))
