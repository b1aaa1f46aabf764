"""Makes a tree of a trace that was read: each span lies within its parent, and each repair is counted.

The rules are those of `loadgen.traces.model.RULES`; each can be switched off. Cost: about 2 µs a span. Nothing is
recursive, so a chain of 10,000 spans is no problem. The result does not depend on the order of the spans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from loadgen.traces.clock_offsets import shift_of
from loadgen.traces.clocks.exchanges import Bounds, instance_of
from loadgen.traces.model import RULES, Rule, Span, Trace, Tree

__all__ = ["FOLDED", "MOST_OF_ONE_NAME", "OUR_ROOT", "Refused", "repaired"]

MOST_OF_ONE_NAME: Final = 10_000
"""Most spans of one name under one parent. If there are more, spans that overlap or touch become one."""
FOLDED: Final = "loadgen.folded"
"""The attribute of a folded span: how many spans it stands for."""
OUR_ROOT: Final = "loadgen: requests"
"""The name of the root that is added if a trace answers several requests of ours. Its own time is between them."""
_OUR_ROOT_ID: Final = "loadgen"
_SERVER: Final = ".server"
"""Added to the id of the server's span, where client and server share an id."""
_MOST_OUTSIDE: Final = 0.1
"""Spans outside of the tree that last longer than this share of the root make a trace incomplete."""


class Refused(msgspec.Struct, frozen=True):
    """A trace of which no tree can be made. reason: a sentence without the trace's id. rule: the rule that refused."""

    trace: str
    reason: str
    rule: Rule | None = None


def repaired(
    trace: Trace,
    our_spans: Collection[str] = (),
    offsets: Mapping[str, Bounds] | None = None,
    rules: Collection[Rule] = RULES,
    others: Collection[str] = (),
) -> Tree | Refused:
    """Return the tree of a trace, or the reason why no tree can be made.

    our_spans: span ids of the request that the tree is for; the root is the span whose parent is one of them. Several
    such spans (redirects, or the requests of an iteration) become children of an added root, OUR_ROOT. others: span
    ids of further requests of ours in the same trace; the spans below them are left out and not counted. offsets: how
    far the clock of each instance is ahead, in ns, as (least, most); see `clock_offsets.ClockOffsets.at`.
    """
    return _Repair(trace, frozenset(our_spans), offsets or {}, frozenset(rules), frozenset(others)).tree()


class _Refusal(Exception):
    """The trace cannot be repaired."""

    def __init__(self, reason: str, rule: Rule | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rule: Rule | None = rule


class _Repair:
    """The state of one repair."""

    def __init__(
        self,
        trace: Trace,
        ours: frozenset[str],
        offsets: Mapping[str, Bounds],
        rules: frozenset[Rule],
        others: frozenset[str],
    ) -> None:
        self.trace = trace
        self.ours = ours
        self.offsets = offsets if "clock moved" in rules else {}
        self.root_instance = ""
        self.rules = rules
        self.others = others
        self.counts: dict[Rule, int] = {}

    def count(self, rule: Rule, times: int = 1) -> None:
        self.counts[rule] = self.counts.get(rule, 0) + times

    def tree(self) -> Tree | Refused:
        try:
            return self._tree()
        except _Refusal as refusal:
            return Refused(self.trace.id, refusal.reason, refusal.rule)

    def _tree(self) -> Tree:
        if not self.trace.spans:
            raise _Refusal("the trace has no spans")
        spans = self._with_possible_times(self._with_unique_ids())
        children, tops = _by_parent(spans)
        self._check_cycles(spans, children, tops)
        roots = self._roots(spans, tops)
        self.root_instance = instance_of(roots[0])
        outside_ns = self._outside(spans, tops, roots)
        if "orphan" not in self.rules:
            self._adopt_orphans(spans, children, tops, roots)
        placed, below = self._placed(children, roots)
        root = next(iter(placed.values()))
        is_complete = True
        if "incomplete" in self.rules and (
            self.trace.is_cut or outside_ns > _MOST_OUTSIDE * (_end(root) - root.start_ns)
        ):
            is_complete = False
            self.count("incomplete")
        return Tree(
            trace=self.trace.id,
            root=root,
            spans=placed,
            children=below,
            is_complete=is_complete,
            outside_ns=outside_ns,
            repaired=self.counts,
        )

    def _with_unique_ids(self) -> dict[str, Span]:
        """Return the spans by id. Of spans with one id the longest stays; client and server are split."""
        spans = {span.id: span for span in self.trace.spans}
        if len(spans) == len(self.trace.spans):
            return spans
        groups: dict[str, list[Span]] = {}
        for span in self.trace.spans:
            groups.setdefault(span.id, []).append(span)
        split: dict[str, tuple[Span, Span]] = {}
        spans = {}
        for id_, group in groups.items():
            group.sort(key=_longest_first)
            client = next((span for span in group if span.kind == "client"), None)
            server = next((span for span in group if span.kind == "server"), None)
            kept = group[:1]
            if client and server and "shared id split" in self.rules:
                self.count("shared id split")
                kept = [client, server]
                server = replace(server, id=id_ + _SERVER, parent=id_)
                split[id_] = client, server
                spans[id_] = client
                spans[server.id] = server
            else:
                spans[id_] = group[0]
            more = [span for span in group if all(span is not one for one in kept)]
            if more and "same span twice" in self.rules:
                self.count("same span twice", len(more))
            else:
                for number, span in enumerate(more, 1):
                    spans[f"{id_}.{number}"] = replace(span, id=f"{id_}.{number}")
        return {span.id: _below_the_server(span, split) for span in spans.values()} if split else spans

    def _with_possible_times(self, spans: dict[str, Span]) -> dict[str, Span]:
        """Refuse impossible times, and leave out spans without an end: their parents adopt the children."""
        left_out: set[str] = set()
        for span in spans.values():
            end_ns = span.end_ns
            if end_ns is None:
                if "no end" not in self.rules:
                    raise _Refusal("a span has no end", "no end")
                self.count("no end")
                left_out.add(span.id)
            elif end_ns < span.start_ns or span.start_ns < 0:
                if "impossible times" in self.rules:
                    wrong = "ends before it starts" if end_ns < span.start_ns else "starts before 1970"
                    raise _Refusal(f"a span {wrong}", "impossible times")
                left_out.add(span.id)
        if not left_out:
            return spans
        kept = {}
        for span in spans.values():
            if span.id not in left_out:
                parent = self._adopting_parent(span, spans, left_out)
                kept[span.id] = span if parent == span.parent else replace(span, parent=parent)
        if not kept:
            raise _Refusal("no span of the trace has an end", "no end")
        return kept

    def _adopting_parent(self, span: Span, spans: Mapping[str, Span], left_out: set[str]) -> str:
        """Return the nearest ancestor that is not left out. Our own ids stay, so that the root is found."""
        parent = span.parent
        seen = set()
        while parent in left_out and parent not in self.ours:
            if parent in seen:
                raise _Refusal("the parents of spans form a cycle", "cycle")
            seen.add(parent)
            parent = spans[parent].parent
        return parent

    def _check_cycles(self, spans: Mapping[str, Span], children: Mapping[str, list[Span]], tops: list[Span]) -> None:
        """Refuse the trace if some spans cannot be reached from the top."""
        reached = 0
        stack = list(tops)
        while stack:
            reached += 1
            stack += children.get(stack.pop().id, ())
        if reached == len(spans):
            return
        if "cycle" in self.rules or not tops:
            raise _Refusal("the parents of spans form a cycle", "cycle")

    def _roots(self, spans: Mapping[str, Span], tops: list[Span]) -> list[Span]:
        """Return the spans that answer our request; without any, the earliest span without a parent."""
        ours = self.ours
        if ours:
            found = [
                span
                for span in spans.values()
                if (span.parent in ours and span.id not in ours) or (span.id in ours and span.kind == "server")
            ]
            if found:
                return sorted(found, key=_earliest_first)
        candidates = [span for span in tops if span.parent not in self.others or not span.parent]
        without_parent = [span for span in candidates if not span.parent and not span.links] or [
            span for span in candidates if not span.parent
        ]
        if not candidates:
            raise _Refusal("all spans belong to other requests")
        return [min(without_parent or candidates, key=self._earliest_by_our_clock)]

    def _earliest_by_our_clock(self, span: Span) -> tuple[int, int, str]:
        least, most = self.offsets.get(instance_of(span), (0, 0)) if self.offsets else (0, 0)
        return span.start_ns - (least + most) // 2, span.start_ns - _end(span), span.id

    def _strangers(self, spans: Mapping[str, Span], tops: list[Span], roots: list[Span]) -> Iterator[Span]:
        """Yield the spans at the top that belong neither to this request nor to another one of ours."""
        ours = {root.id for root in roots}
        for root in roots:
            above = spans.get(root.parent)
            while above is not None and above.id not in ours:
                ours.add(above.id)
                above = spans.get(above.parent)
        for top in tops:
            if top.id not in ours and top.parent not in self.others and top.id not in self.others:
                yield top

    def _outside(self, spans: Mapping[str, Span], tops: list[Span], roots: list[Span]) -> int:
        """Count orphans, and return the time in ns during which at least one of them was open."""
        if len(tops) == 1 and tops[0] is roots[0]:
            return 0
        orphans = []
        for top in self._strangers(spans, tops, roots):
            if top.kind == "consumer" or any(link in spans for link in top.links):
                if "not waited for" in self.rules:
                    self.count("not waited for")
            elif "orphan" in self.rules:
                self.count("orphan")
                orphans.append((top.start_ns, _end(top)))
        return sum(end - begin for begin, end, _ in _union(orphans))

    def _adopt_orphans(
        self, spans: Mapping[str, Span], children: dict[str, list[Span]], tops: list[Span], roots: list[Span]
    ) -> None:
        """Make orphans children of the root: what happens without the rule `orphan`."""
        root = roots[0]
        for top in self._strangers(spans, tops, roots):
            children.setdefault(root.id, []).append(replace(top, parent=root.id))

    def _placed(
        self, children: Mapping[str, list[Span]], roots: list[Span]
    ) -> tuple[dict[str, Span], dict[str, tuple[Span, ...]]]:
        """Return all spans of the tree by id, each moved and cut, parents first; and the children of each."""
        root, first = self._first(roots)
        placed = {root.id: root}
        below: dict[str, tuple[Span, ...]] = {}
        sources: dict[str, list[tuple[Span, int]]] = {}
        waiting: list[tuple[Span, Span, int]] = []
        if first:
            below[root.id] = tuple(span for span, _, _ in first)
            placed.update({span.id: span for span, _, _ in first})
            waiting = first
        else:
            waiting = [(root, roots[0], 0)]
        position = 0
        while position < len(waiting):
            parent, raw_parent, moved = waiting[position]
            position += 1
            kept: list[tuple[Span, Span, int]] = []
            for raw_source, moved_source in sources.get(parent.id) or ((raw_parent, moved),):
                for child in children.get(raw_source.id, ()):
                    self._place(child, parent, raw_source, moved_source, kept)
            if not kept:
                continue
            if len(kept) > MOST_OF_ONE_NAME and "folded" in self.rules:
                kept = self._folded(kept, sources)
            for entry in kept:
                placed[entry[0].id] = entry[0]
            below[parent.id] = tuple([entry[0] for entry in kept])
            waiting += kept
        return placed, below

    def _first(self, roots: list[Span]) -> tuple[Span, list[tuple[Span, Span, int]]]:
        """Return the root; if there are several, an added one, and those below it."""
        if len(roots) == 1:
            return roots[0], []
        start = replace(roots[0], kind="internal")
        entries = []
        for raw in roots:
            by = self._shift(start, raw, 0)
            if by:
                self._count_moved(raw)
            entries.append(
                (replace(raw, parent=_OUR_ROOT_ID, start_ns=raw.start_ns - by, end_ns=_end(raw) - by), raw, by)
            )
        service, operation = OUR_ROOT.split(": ")
        root = Span(
            id=_OUR_ROOT_ID,
            parent="",
            service=service,
            operation=operation,
            start_ns=min(span.start_ns for span, _, _ in entries),
            end_ns=max(_end(span) for span, _, _ in entries),
        )
        return root, entries

    def _place(
        self, child: Span, parent: Span, raw_parent: Span, moved: int, kept: list[tuple[Span, Span, int]]
    ) -> None:
        """Move a child by its clock and cut it at its parent; append it unless the parent did not wait for it.

        moved: how far the parent was moved.
        """
        if child.kind == "server" or (self.offsets and child.resource is not raw_parent.resource):
            moved = self._shift(raw_parent, child, moved)
        begin = child.start_ns - moved
        end = _end(child) - moved
        parent_end = _end(parent)
        if "not waited for" in self.rules and (
            child.kind == "producer"
            or child.kind == "consumer"
            or child.parent in child.links
            or begin > parent_end
            or end < parent.start_ns
        ):
            self.count("not waited for")
            return
        if moved:
            self._count_moved(child)
        if (begin < parent.start_ns or end > parent_end) and "cut at parent" in self.rules:
            self.count("cut at parent")
            begin = min(max(begin, parent.start_ns), parent_end)
            end = max(min(end, parent_end), begin)
        span = child
        if begin != child.start_ns or end != child.end_ns or child.parent != parent.id:
            span = replace(child, parent=parent.id, start_ns=begin, end_ns=end)
        kept.append((span, child, moved))

    def _shift(self, parent: Span, child: Span, parent_shift: int) -> int:
        """Return how far the clock of a child is ahead of the root's, in ns, as far as it must be corrected."""
        may_guess = "clock guessed" in self.rules
        return shift_of(parent, child, parent_shift, self.root_instance, self.offsets, may_guess)

    def _count_moved(self, span: Span) -> None:
        self.count("clock moved" if instance_of(span) in self.offsets else "clock guessed")

    def _folded(
        self, kept: list[tuple[Span, Span, int]], sources: dict[str, list[tuple[Span, int]]]
    ) -> list[tuple[Span, Span, int]]:
        """Merge spans of one name that overlap or touch, if the name has more than MOST_OF_ONE_NAME spans."""
        names: dict[str, list[tuple[Span, Span, int]]] = {}
        for entry in kept:
            names.setdefault(entry[0].name, []).append(entry)
        result = []
        for entries in names.values():
            if len(entries) <= MOST_OF_ONE_NAME:
                result += entries
                continue
            self.count("folded", len(entries))
            entries.sort(key=lambda entry: _earliest_first(entry[0]))
            for begin, end, members in _union([(entry[0].start_ns, _end(entry[0])) for entry in entries]):
                group = [entries[member] for member in members]
                span, raw, moved = group[0]
                attributes = {**span.attributes, FOLDED: len(group)}
                result.append((replace(span, start_ns=begin, end_ns=end, attributes=attributes), raw, moved))
                sources[span.id] = [(raw_member, moved_member) for _, raw_member, moved_member in group]
        return result


def _by_parent(spans: Mapping[str, Span]) -> tuple[dict[str, list[Span]], list[Span]]:
    """Return the children by id of the parent, and the spans whose parent is not in the trace."""
    children: dict[str, list[Span]] = {}
    tops = []
    for span in spans.values():
        parent = span.parent
        if parent not in spans:
            tops.append(span)
        elif parent in children:
            children[parent].append(span)
        else:
            children[parent] = [span]
    return children, tops


def _end(span: Span) -> int:
    """Return the end of a span that has one."""
    end_ns = span.end_ns
    assert end_ns is not None
    return end_ns


def _below_the_server(span: Span, split: Mapping[str, tuple[Span, Span]]) -> Span:
    """Give a child of a shared id to the server's half, unless it is of the client's service only."""
    if span.parent not in split or span.id.endswith(_SERVER):
        return span
    client, server = split[span.parent]
    if span.service == client.service != server.service:
        return span
    return replace(span, parent=server.id)


def _longest_first(span: Span) -> tuple[int, int, str]:
    length = -1 if span.end_ns is None else span.end_ns - span.start_ns
    return -length, span.start_ns, str(span)


def _earliest_first(span: Span) -> tuple[int, int, str]:
    return span.start_ns, -_end(span), span.id


def _union(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int, list[int]]]:
    """Return the intervals that cover the same time without an overlap, each with the indices of its parts."""
    result: list[tuple[int, int, list[int]]] = []
    for index, (begin, end) in sorted(enumerate(intervals), key=lambda item: (item[1], item[0])):
        if result and begin <= result[-1][1]:
            last_begin, last_end, members = result[-1]
            members.append(index)
            result[-1] = last_begin, max(last_end, end), members
        else:
            result.append((begin, end, [index]))
    return result
