"""Times a trace again, with one path as fast as usual: how long does the request take then, at most?

The spans of a trace are a timeline: a span's children begin after a gap of own time, measured from the end of the last
sibling that had ended by then, or from the parent's start. A sibling has ended if its end is at most a tolerance after
the child's start, as on the critical path. If a path becomes faster, its own gaps shrink in proportion; later
siblings move earlier with the end of *all* siblings that they followed, and keep their gaps. So the second one
of two parallel siblings can become the one that the parent waits for. The parent's last gap is kept, too.

The result is an upper bound of the remaining time as far as the order of spans is an order of dependence: a child that
followed another one by chance could have begun earlier still. The bound is no promise about a changed program.

Times are integer ns. Cost: about 0.5 µs for each span that is above a changed one, and for each of their children.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from operator import attrgetter

from loadgen.traces.model import Path, Span, Tree
from loadgen.traces.path_times import answered_ns, paths_of
from loadgen.traces.span_facts import Instance, SpanFacts, facts_of
from loadgen.traces.timed import TimedTrace

__all__ = ["Shortened", "Timeline"]

Shortened = Callable[[int, int], int]
"""Returns the new length of a gap of own time from its begin and end, in ns since 1970; at most its old length."""


class Timeline:
    """The spans of one trace in an order in which they can be timed again, in little memory.

    facts: of each span, parents before their children, without children of the root that went on after the answer.
    """

    __slots__ = ("_ends", "_first", "_parents", "_paths", "_resolutions", "_starts", "facts")

    def __init__(self, tree: Tree, until_ns: int | None = None) -> None:
        """Order the spans of a tree. until_ns: an earlier end than the root's, as for `critical_path`."""
        self._fill(tree, until_ns, paths_of(tree))

    @classmethod
    def of(cls, one: TimedTrace) -> Timeline:
        """Return the timeline of a request, up to its answer."""
        return cls(one.tree, answered_ns(one.observed, one.tree.root))

    @classmethod
    def packed(cls, tree: Tree, until_ns: int, paths: Mapping[str, Path]) -> tuple[Timeline, list[Span]]:
        """Return the timeline of a tree, and the spans that are not in it. paths: those of all spans, by id."""
        made = cls.__new__(cls)
        spans = made._fill(tree, until_ns, paths)
        if len(spans) == len(tree.spans):
            return made, []
        inside = {span.id for span in spans}
        return made, [span for span in tree.spans.values() if span.id not in inside]

    def _fill(self, tree: Tree, until_ns: int | None, paths: Mapping[str, Path]) -> list[Span]:
        """Order the spans, and return them. HOT: called for each trace."""
        root = tree.root
        end = _end(root) if until_ns is None else max(root.start_ns, min(_end(root), until_ns))
        spans = [root]
        parents = [-1]
        # The children of a span stand together, those of the next one after them.
        first: list[int] = []
        below = tree.children
        for at, above in enumerate(spans):
            first.append(len(spans))
            children: Sequence[Span] = below.get(above.id, ())
            if not children:
                continue
            if len(children) > 1:
                children = sorted(children, key=_order)
            if at == 0:
                # A child that goes on after the answer did not hold it up.
                latest = end + max(root.resolution_ns, (end - root.start_ns) // 100)
                children = [child for child in children if _end(child) <= latest]
            spans += children
            parents += [at] * len(children)
        first.append(len(spans))
        self._starts = array("q", [span.start_ns for span in spans])
        self._ends = array("q", map(_end, spans))
        self._ends[0] = end
        self._parents = array("i", parents)
        self._first = array("i", first)
        self._paths = tuple([paths[span.id] for span in spans])
        resolutions = [span.resolution_ns for span in spans]
        self._resolutions = array("q", resolutions) if max(resolutions) > 1 else None
        self.facts: tuple[SpanFacts, ...] = tuple(map(facts_of, spans))
        return spans

    @property
    def duration_ns(self) -> int:
        """Return the duration of the root, up to the answer."""
        return self._ends[0] - self._starts[0]

    @property
    def start_ns(self) -> int:
        """Return the start of the root, ns since 1970."""
        return self._starts[0]

    def facts_at(self, path: Path) -> list[SpanFacts]:
        """Return the facts of all spans with a path, in no special order."""
        return [self.facts[n] for n in self._numbers(path)]

    def path_of(self, number: int) -> Path:
        """Return the path of a span, by its number in `facts`."""
        return self._paths[number]

    def first_calls(self, path: Path) -> list[int]:
        """Return the number of the root, and of the first call of each further step of a path below the one before."""
        found = [0]
        for length in range(2, len(path) + 1):
            above, step = found[-1], path[:length]
            # Children stand in the order of their starts.
            below = (n for n in range(self._first[above], self._first[above + 1]) if self._paths[n] == step)
            first = next(below, None)
            if first is None:
                break
            found.append(first)
        return found

    def first_of(self, service: str) -> int | None:
        """Return the number of a service's earliest span; None: it has none."""
        numbers = (n for n, facts in enumerate(self.facts) if facts.service == service)
        return min(numbers, key=self._starts.__getitem__, default=None)

    def parent_of(self, number: int) -> int:
        """Return the number of a span's parent in `facts`; -1 for the root."""
        return self._parents[number]

    def events(self, root_end_ns: int) -> Iterator[tuple[Instance, int, int]]:
        """Yield the instance, the start and the end of each span. root_end_ns: the end of the root itself."""
        ends = self._ends[:]
        ends[0] = root_end_ns
        for facts, start, end in zip(self.facts, self._starts, ends, strict=True):
            yield facts.instance, start, end

    def saved_by(self, targets: Mapping[Path, tuple[int, int]]) -> int:
        """Return by how much the trace becomes shorter if the own times of paths fall to targets, at most; 0 or more.

        targets: for each path its own time on the critical path of this trace, and its new one. All spans with the path
        become faster in this proportion, also those beside the critical path.
        """
        changes: dict[int, Shortened] = {}
        for path, (own_ns, target_ns) in targets.items():
            if own_ns > target_ns:
                changes.update(dict.fromkeys(self._numbers(path), _in_proportion(target_ns, own_ns)))
        return self.saved(changes)

    def saved(self, changes: Mapping[int, Shortened]) -> int:
        """Return by how much the trace becomes shorter if the own time of some spans does; 0 or more.

        changes: for numbers of spans in `facts` a function that returns the new length of a gap of own time.
        """
        durations: dict[int, int] = {}
        for n in sorted(self._with_ancestors(changes), reverse=True):
            durations[n] = self._duration(n, durations, changes.get(n))
        return max(0, self.duration_ns - durations[0]) if durations else 0

    def _numbers(self, path: Path) -> list[int]:
        try:
            first = self._paths.index(path)
        except ValueError:
            return []
        # The spans of a trace with one path share it, and comparing long paths is slow.
        shared = self._paths[first]
        return [n for n in range(first, len(self._paths)) if self._paths[n] is shared]

    def _duration(self, n: int, durations: dict[int, int], shortened: Shortened | None) -> int:
        """Return the new duration of a span from those of its children. `durations` has the changed ones.

        HOT: called for each changed span and each span above it.
        """
        starts, ends, resolutions = self._starts, self._ends, self._resolutions
        start, end = starts[n], ends[n]
        first, last = self._first[n], self._first[n + 1]
        if first == last:
            return _gap(start, end, shortened)
        tolerance = max(1 if resolutions is None else resolutions[n], (end - start) // 100)
        # Of each sibling that has been placed: old end, new end. The heap gives those that had ended by a time. Mostly
        # only the last one has not been asked for, and needs no heap.
        placed: list[tuple[int, int]] = []
        old_end = new_end = last_old = last_new = start
        waiting_old = waiting_new = 0
        is_waiting = False
        for child in range(first, last):
            begins, ended = starts[child], ends[child]
            allowed = begins + (tolerance if resolutions is None else max(tolerance, resolutions[child]))
            if is_waiting:
                if waiting_old <= allowed:
                    if waiting_old > old_end:
                        old_end = waiting_old
                    if waiting_new > new_end:
                        new_end = waiting_new
                else:
                    heappush(placed, (waiting_old, waiting_new))
            while placed and placed[0][0] <= allowed:
                before, moved = heappop(placed)
                old_end, new_end = max(old_end, before), max(new_end, moved)
            gap = begins - old_end
            begin = new_end + (shortened(old_end, begins) if shortened is not None and gap > 0 else gap)
            waiting_old, waiting_new = ended, begin + durations.get(child, ended - begins)
            is_waiting = True
            if ended > last_old:
                last_old = ended
            if waiting_new > last_new:
                last_new = waiting_new
        return last_new + _gap(last_old, end, shortened) - start

    def _with_ancestors(self, numbers: Iterable[int]) -> set[int]:
        found: set[int] = set()
        for number in numbers:
            n = number
            while n >= 0 and n not in found:
                found.add(n)
                n = self._parents[n]
        return found


def _in_proportion(target_ns: int, own_ns: int) -> Shortened:
    return lambda begin, end: (end - begin) * target_ns // own_ns


def _gap(begin: int, end: int, shortened: Shortened | None) -> int:
    """Return the new length of a gap. A negative one, after a sibling that ended within the tolerance, stays."""
    return shortened(begin, end) if shortened and end > begin else end - begin


def _end(span: Span) -> int:
    return span.start_ns if span.end_ns is None else span.end_ns


_order = attrgetter("start_ns", "end_ns", "id")
