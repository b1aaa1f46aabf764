"""Times a trace again, with one path as fast as usual: how long does the request take then, at most?

The spans of a trace are a timeline: a span's children begin after a gap of own time, measured from the end of the last
sibling that had ended by then, or from the parent's start. A sibling has ended if its end is at most a tolerance after
the child's start, as on the critical path. If a path becomes faster, its own gaps shrink in proportion; later
siblings move earlier with the end of *all* siblings that they followed, and keep their gaps. So the second one
of two parallel siblings can become the one that the parent waits for. The parent's last gap is kept, too.

The result is an upper bound of the remaining time as far as the order of spans is an order of dependence: a child that
followed another one by chance could have begun earlier still. The bound is no promise about a changed program.

Times are integer ns. Cost: about 1 µs for each span that is above a changed one, and for each of their children.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush

from loadgen.traces.model import Path, Span, Tree
from loadgen.traces.path_times import paths_of
from loadgen.traces.timed import TimedTrace

__all__ = ["Shortened", "Timeline", "answered_ns"]

Shortened = Callable[[int, int], int]
"""Returns the new length of a gap of own time from its begin and end, in ns since 1970; at most its old length."""


class Timeline:
    """The spans of one trace in an order in which they can be timed again.

    spans: parents before their children, without children of the root that went on after the answer.
    """

    __slots__ = ("_by_path", "_children", "_ends", "_parents", "spans")

    def __init__(self, tree: Tree, until_ns: int | None = None) -> None:
        """Order the spans of a tree. until_ns: an earlier end than the root's, as for `critical_path`."""
        paths = paths_of(tree)
        root = tree.root
        end = _end(root) if until_ns is None else max(root.start_ns, min(_end(root), until_ns))
        latest = end + _tolerance(root, end)
        self.spans: list[Span] = [root]
        self._ends: list[int] = [end]
        self._parents: list[int] = [-1]
        self._children: list[Sequence[int]] = []
        self._by_path: defaultdict[Path, list[int]] = defaultdict(list)
        at = 0
        while at < len(self.spans):
            above = self.spans[at]
            self._by_path[paths[above.id]].append(at)
            first = len(self.spans)
            for child in sorted(tree.children.get(above.id, ()), key=_order):
                # A child that goes on after the answer did not hold it up.
                if at == 0 and _end(child) > latest:
                    continue
                self.spans.append(child)
                self._ends.append(_end(child))
                self._parents.append(at)
            self._children.append(range(first, len(self.spans)))
            at += 1

    @classmethod
    def of(cls, one: TimedTrace) -> Timeline:
        """Return the timeline of a request, up to its answer."""
        return cls(one.tree, answered_ns(one))

    @property
    def duration_ns(self) -> int:
        """Return the duration of the root, up to the answer."""
        return self._ends[0] - self.spans[0].start_ns

    def spans_of(self, path: Path) -> list[Span]:
        """Return all spans with a path, in no special order."""
        return [self.spans[n] for n in self._by_path.get(path, ())]

    def parent_of(self, number: int) -> int:
        """Return the number of a span's parent in `spans`; -1 for the root."""
        return self._parents[number]

    def children_of(self, number: int) -> Sequence[int]:
        """Return the numbers of a span's children in `spans`, by their start."""
        return self._children[number]

    def saved_by(self, targets: Mapping[Path, tuple[int, int]]) -> int:
        """Return by how much the trace becomes shorter if the own times of paths fall to targets, at most; 0 or more.

        targets: for each path its own time on the critical path of this trace, and its new one. All spans with the path
        become faster in this proportion, also those beside the critical path.
        """
        changes: dict[int, Shortened] = {}
        for path, (own_ns, target_ns) in targets.items():
            if own_ns > target_ns:
                changes.update(dict.fromkeys(self._by_path.get(path, ()), _in_proportion(target_ns, own_ns)))
        return self.saved(changes)

    def saved(self, changes: Mapping[int, Shortened]) -> int:
        """Return by how much the trace becomes shorter if the own time of some spans does; 0 or more.

        changes: for numbers of spans in `spans` a function that returns the new length of a gap of own time.
        """
        durations: dict[int, int] = {}
        for n in sorted(self._with_ancestors(changes), reverse=True):
            durations[n] = self._duration(n, durations, changes.get(n))
        return max(0, self.duration_ns - durations[0]) if durations else 0

    def _duration(self, n: int, durations: dict[int, int], shortened: Shortened | None) -> int:
        """Return the new duration of a span from those of its children. `durations` has the changed ones."""
        span = self.spans[n]
        start, end = span.start_ns, self._ends[n]
        tolerance = _tolerance(span, end)
        # Of each sibling that has been placed: old end, new end. The heap gives those that had ended by a time.
        placed: list[tuple[int, int]] = []
        old_end = new_end = start
        last_old = last_new = start
        for child in self._children[n]:
            of, ends = self.spans[child], self._ends[child]
            allowed = of.start_ns + max(tolerance, of.resolution_ns)
            while placed and placed[0][0] <= allowed:
                ended, moved = heappop(placed)
                old_end, new_end = max(old_end, ended), max(new_end, moved)
            begin = new_end + _gap(old_end, of.start_ns, shortened)
            moved = begin + durations.get(child, ends - of.start_ns)
            heappush(placed, (ends, moved))
            last_old, last_new = max(last_old, ends), max(last_new, moved)
        return last_new + _gap(last_old, end, shortened) - start

    def _with_ancestors(self, numbers: Iterable[int]) -> set[int]:
        found: set[int] = set()
        for number in numbers:
            n = number
            while n >= 0 and n not in found:
                found.add(n)
                n = self._parents[n]
        return found


def answered_ns(one: TimedTrace) -> int:
    """Return the time at which the root had answered: its end, or earlier if the answer had arrived by then."""
    root, observed = one.tree.root, one.observed
    service = min(max(observed.service_ns, 0), max(observed.response_ns, 0))
    return min(_end(root), root.start_ns + service)


def _in_proportion(target_ns: int, own_ns: int) -> Shortened:
    return lambda begin, end: (end - begin) * target_ns // own_ns


def _gap(begin: int, end: int, shortened: Shortened | None) -> int:
    """Return the new length of a gap. A negative one, after a sibling that ended within the tolerance, stays."""
    return shortened(begin, end) if shortened and end > begin else end - begin


def _end(span: Span) -> int:
    return span.start_ns if span.end_ns is None else span.end_ns


def _tolerance(span: Span, end_ns: int) -> int:
    return max(span.resolution_ns, (end_ns - span.start_ns) // 100)


def _order(span: Span) -> tuple[int, int, str]:
    return span.start_ns, _end(span), span.id
