"""Joins the sampled requests of a run with their traces: repaired, and with an exact partition of the response time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic

from loadgen.report.why_slow.cause_file import Example
from loadgen.report.why_slow.requests import Sampled
from loadgen.report.why_slow.waterfall import example_of
from loadgen.traces.clock_offsets import ClockOffsets, clock_offsets, offset_sentence
from loadgen.traces.clocks.exchanges import exchanges_of
from loadgen.traces.compact_trace import CompactTrace, compact_of
from loadgen.traces.critical_path import critical_path
from loadgen.traces.model import Trace, Tree
from loadgen.traces.path_times import timed
from loadgen.traces.repair import Refused, repaired
from loadgen.traces.timed import Observed, SomeParted, TimedTrace

__all__ = ["Joined", "ReadAgain", "examples_of", "joined", "joined_compact", "waterfall_of"]

_SHORT: Final = 16
"""Hex digits of a 64-bit trace id."""


ReadAgain = Callable[[Observed], TimedTrace | None]
"""Returns a request with its whole tree; None if its traces are not there any more."""


@dataclass(slots=True)
class Joined(Generic[SomeParted]):
    """The requests whose traces were found.

    timed: in the order of the requests. found: their trace ids. cut: ids of incomplete traces. refused: reasons with
    counts. clocks: sentences on clocks of the target that differ. whole: reads a request of `timed` again.
    """

    timed: list[SomeParted]
    whole: ReadAgain
    found: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    clocks: tuple[str, ...] = ()


def joined(read: Callable[[], Iterable[Trace]], requests: Sequence[Sampled], t0_ns: int = 0) -> Joined[TimedTrace]:
    """Join requests with their traces, and keep the whole trees. Traces of no request are ignored.

    A target that keeps only the lower 64 bits of a trace id is recognised, if these are unique among the requests.
    A step or an iteration is joined if all of its traces were found.

    read: returns the traces, each once. It is called twice: first for the offsets of the target's clocks, because the
    calls of all traces together bound them. So only the timed requests stay in memory. t0_ns: T0 of the run, since
    1970, for sentences.
    """
    return _Join(read, requests, t0_ns).made(timed)


def joined_compact(
    read: Callable[[], Iterable[Trace]],
    requests: Sequence[Sampled],
    t0_ns: int = 0,
    again: Callable[[Collection[str]], Iterable[Trace]] | None = None,
) -> Joined[CompactTrace]:
    """Join requests with their traces as `joined` does, but hold each in the compact form, in a tenth of the memory.

    again: returns the traces with these ids only, for `Joined.whole`.
    """
    return _Join(read, requests, t0_ns, again).made(compact_of)


class _Join:
    """The requests by the ids of their traces, and the offsets of the clocks in all traces."""

    def __init__(
        self,
        read: Callable[[], Iterable[Trace]],
        requests: Sequence[Sampled],
        t0_ns: int,
        again: Callable[[Collection[str]], Iterable[Trace]] | None = None,
    ) -> None:
        self._read = read
        self._again = again
        self._requests = requests
        self._by_trace: defaultdict[str, list[Sampled]] = defaultdict(list)
        for one in requests:
            for trace_id in dict(one.parts):
                self._by_trace[trace_id].append(one)
        self._short = _by_short_id(self._by_trace)
        self._offsets = clock_offsets(exchange for _, trace in self._ours(read()) for exchange in exchanges_of(trace))
        self._clocks = tuple(_clock_sentences(self._offsets, t0_ns))

    def made(self, part: Callable[[Observed, Tree], SomeParted]) -> Joined[SomeParted]:
        """Return the requests with their traces. part: makes what is held of each."""
        found: dict[int, SomeParted | str] = {}
        made: Joined[SomeParted] = Joined([], self._whole_again, clocks=self._clocks)
        for one, tree in self._trees(self._read()):
            made.found.add(one.observed.trace)
            if isinstance(tree, Refused):
                found[id(one)] = tree.reason
                continue
            if not tree.is_complete:
                made.cut.add(one.observed.trace)
            found[id(one)] = part(one.observed, tree)
        # The order in which traces were stored has no meaning, and sums of floats depend on it.
        for one in self._requests:
            result = found.get(id(one))
            if isinstance(result, str):
                made.refused[result] += 1
            elif result is not None:
                made.timed.append(result)
        return made

    def _whole_again(self, observed: Observed) -> TimedTrace | None:
        ids = {
            trace_id
            for one in self._by_trace.get(observed.trace, ())
            if one.observed is observed
            for trace_id, _ in one.parts
        }
        short = {known for known, whole in self._short.items() if whole in ids}
        traces = self._read() if self._again is None else self._again(ids | short)
        for one, tree in self._trees(traces):
            if one.observed is observed:
                return None if isinstance(tree, Refused) else timed(one.observed, tree)
        return None

    def _ours(self, traces: Iterable[Trace]) -> Iterator[tuple[str, Trace]]:
        """Yield the traces of our requests, each with the id by which we know it."""
        for trace in traces:
            if name := trace.id if trace.id in self._by_trace else self._short.get(trace.id, ""):
                yield name, trace

    def _trees(self, traces: Iterable[Trace]) -> Iterator[tuple[Sampled, Tree | Refused]]:
        """Yield each request all of whose traces were found, with its tree."""
        waiting: dict[int, dict[str, Trace]] = {}
        for name, trace in self._ours(traces):
            spans = {span for one in self._by_trace[name] for trace_id, span in one.parts if trace_id == name and span}
            for one in self._by_trace[name]:
                needed = dict(one.parts)
                have = {name: trace} if len(needed) == 1 else waiting.get(id(one), {}) | {name: trace}
                if len(have) < len(needed):
                    waiting[id(one)] = have
                    continue
                waiting.pop(id(one), None)
                yield one, self._tree(one, tuple(have.values()), spans)

    def _tree(self, one: Sampled, traces: Sequence[Trace], spans: Collection[str]) -> Tree | Refused:
        """Return the tree of a request. spans: ids of the spans of all of our requests in its traces."""
        whole = _whole(traces)
        mine = {span for _, span in one.parts if span}
        clocks = self._offsets.at(max((span.start_ns for span in whole.spans), default=0))
        return repaired(whole, mine, clocks, others=set(spans) - mine)


def _clock_sentences(offsets: ClockOffsets, t0_ns: int) -> Iterator[str]:
    """Yield a sentence for each instance whose clock is likely off, jumped, or cannot be compared."""
    for offset in offsets.told():
        if offset.is_off or offset.jumped_at_ns or (offset.bounds is None and offset.contradicting):
            yield f"clock: {offset_sentence(offset, t0_ns)}"


def _by_short_id(by_trace: Mapping[str, Sequence[Sampled]]) -> dict[str, str]:
    counts = Counter(trace_id[-_SHORT:] for trace_id in by_trace)
    return {trace_id[-_SHORT:].zfill(2 * _SHORT): trace_id for trace_id in by_trace if counts[trace_id[-_SHORT:]] == 1}


def _whole(traces: Sequence[Trace]) -> Trace:
    """Return the traces of one step or iteration as one."""
    if len(traces) == 1:
        return traces[0]
    spans = tuple(span for trace in traces for span in trace.spans)
    return Trace(traces[0].id, spans, is_cut=any(trace.is_cut for trace in traces))


def examples_of(
    slow: Sequence[SomeParted], fast: Sequence[SomeParted], whole_slow: ReadAgain, whole_fast: ReadAgain
) -> tuple[Example | None, Example | None]:
    """Return one slow and one fast trace as waterfalls: those whose response times are nearest to their medians.

    whole_slow, whole_fast: read a trace of each group again, with its whole tree.
    """
    return _median(slow, whole_slow), _median(fast, whole_fast)


def _median(traces: Sequence[SomeParted], whole: ReadAgain) -> Example | None:
    if not traces:
        return None
    in_order = sorted(traces, key=lambda one: (one.observed.response_ns, one.observed.trace))
    found = whole(in_order[len(in_order) // 2].observed)
    return None if found is None else waterfall_of(found)


def waterfall_of(one: TimedTrace) -> Example:
    """Return the waterfall of one request."""
    return example_of(one.observed, one.tree, critical_path(one.tree))
