"""Joins the sampled requests of a run with their traces: repaired, and with an exact partition of the response time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgen.report.why_slow.cause_file import Example
from loadgen.report.why_slow.requests import Sampled
from loadgen.report.why_slow.waterfall import example_of
from loadgen.traces.clock_offsets import ClockOffsets, clock_offsets, offset_sentence
from loadgen.traces.clocks.exchanges import exchanges_of
from loadgen.traces.critical_path import critical_path
from loadgen.traces.model import Trace
from loadgen.traces.path_times import timed
from loadgen.traces.repair import Refused, repaired
from loadgen.traces.timed import TimedTrace

__all__ = ["Joined", "examples_of", "joined", "waterfall_of"]

_SHORT: Final = 16
"""Hex digits of a 64-bit trace id."""


@dataclass(slots=True)
class Joined:
    """The requests whose traces were found.

    found: their trace ids. cut: ids of incomplete traces. refused: reasons with counts. clocks: sentences on clocks of
    the target that differ.
    """

    timed: list[TimedTrace] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    clocks: tuple[str, ...] = ()

    def add(self, one: Sampled, traces: Sequence[Trace], offsets: ClockOffsets, spans: Collection[str]) -> None:
        """Add a request with its traces. spans: ids of the spans of all of our requests in them."""
        whole = _whole(traces)
        mine = {span for _, span in one.parts if span}
        clocks = offsets.at(max((span.start_ns for span in whole.spans), default=0))
        self.found.add(one.observed.trace)
        tree = repaired(whole, mine, clocks, others=set(spans) - mine)
        if isinstance(tree, Refused):
            self.refused[tree.reason] += 1
            return
        if not tree.is_complete:
            self.cut.add(one.observed.trace)
        self.timed.append(timed(one.observed, tree))


def joined(read: Callable[[], Iterable[Trace]], requests: Sequence[Sampled], t0_ns: int = 0) -> Joined:
    """Join requests with their traces. Traces of no request are ignored.

    A target that keeps only the lower 64 bits of a trace id is recognised, if these are unique among the requests.
    A step or an iteration is joined if all of its traces were found.

    read: returns the traces, each once. It is called twice: first for the offsets of the target's clocks, because the
    calls of all traces together bound them. So only the timed requests stay in memory. t0_ns: T0 of the run, since
    1970, for sentences.
    """
    by_trace: defaultdict[str, list[Sampled]] = defaultdict(list)
    for one in requests:
        for trace_id in dict(one.parts):
            by_trace[trace_id].append(one)
    short = _by_short_id(by_trace)

    def ours() -> Iterator[tuple[str, Trace]]:
        for trace in read():
            if name := trace.id if trace.id in by_trace else short.get(trace.id, ""):
                yield name, trace

    offsets = clock_offsets(exchange for _, trace in ours() for exchange in exchanges_of(trace))
    made = Joined(clocks=tuple(_clock_sentences(offsets, t0_ns)))
    waiting: dict[int, dict[str, Trace]] = {}
    for name, trace in ours():
        spans = {span for one in by_trace[name] for trace_id, span in one.parts if trace_id == name and span}
        for one in by_trace[name]:
            needed = dict(one.parts)
            have = {name: trace} if len(needed) == 1 else waiting.get(id(one), {}) | {name: trace}
            if len(have) < len(needed):
                waiting[id(one)] = have
                continue
            waiting.pop(id(one), None)
            made.add(one, tuple(have.values()), offsets, spans)
    return made


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


def examples_of(slow: Sequence[TimedTrace], fast: Sequence[TimedTrace]) -> tuple[Example | None, Example | None]:
    """Return one slow and one fast trace as waterfalls: those whose response times are nearest to their medians."""
    return _median(slow), _median(fast)


def _median(traces: Sequence[TimedTrace]) -> Example | None:
    if not traces:
        return None
    in_order = sorted(traces, key=lambda one: (one.observed.response_ns, one.observed.trace))
    return waterfall_of(in_order[len(in_order) // 2])


def waterfall_of(one: TimedTrace) -> Example:
    """Return the waterfall of one request."""
    return example_of(one.observed, one.tree, critical_path(one.tree))
