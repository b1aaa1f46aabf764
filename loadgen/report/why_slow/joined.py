"""Joins the sampled requests of a run with their traces: repaired, and with an exact partition of the response time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgen.report.why_slow.cause_file import Example
from loadgen.report.why_slow.waterfall import example_of
from loadgen.traces.critical_path import critical_path
from loadgen.traces.model import Trace
from loadgen.traces.path_times import timed
from loadgen.traces.repair import Refused, repaired
from loadgen.traces.timed import Observed, TimedTrace

__all__ = ["Joined", "examples_of", "joined", "waterfall_of"]

_SHORT: Final = 16
"""Hex digits of a 64-bit trace id."""


@dataclass(slots=True)
class Joined:
    """The requests whose traces were found.

    found: their trace ids. cut: ids of incomplete traces. refused: reasons with counts. repair: how often each rule was
    applied, over all traces.
    """

    timed: list[TimedTrace] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    repair: Counter[str] = field(default_factory=Counter)


def joined(traces: Iterable[Trace], requests: Sequence[Observed]) -> Joined:
    """Join requests with their traces. Traces of no request are ignored; of a trace that comes again, the last counts.

    A target that keeps only the lower 64 bits of a trace id is recognised, if these are unique among the requests.
    """
    by_trace: defaultdict[str, list[Observed]] = defaultdict(list)
    for one in requests:
        by_trace[one.trace].append(one)
    short = _by_short_id(by_trace)
    of_trace: dict[str, list[TimedTrace]] = {}
    made = Joined()
    problems: dict[str, str] = {}
    rules: dict[str, Mapping[str, int]] = {}
    for trace in traces:
        ours = trace.id if trace.id in by_trace else short.get(trace.id, "")
        if not ours:
            continue
        of_trace[ours], problems[ours], rules[ours] = _timed(trace, by_trace[ours])
    for trace_id, found in of_trace.items():
        made.found.add(trace_id)
        made.repair.update(rules[trace_id])
        if problems[trace_id]:
            made.refused[problems[trace_id]] += 1
        if any(not one.tree.is_complete for one in found):
            made.cut.add(trace_id)
        made.timed += found
    return made


def _by_short_id(by_trace: Mapping[str, Sequence[Observed]]) -> dict[str, str]:
    counts = Counter(trace_id[-_SHORT:] for trace_id in by_trace)
    return {
        trace_id[-_SHORT:].zfill(2 * _SHORT): trace_id for trace_id in by_trace if counts[trace_id[-_SHORT:]] == 1
    }


def _timed(trace: Trace, requests: Sequence[Observed]) -> tuple[list[TimedTrace], str, Mapping[str, int]]:
    """Return the requests of one trace with their times, the last reason for a refusal, and the counts of repairs."""
    made: list[TimedTrace] = []
    problem = ""
    rules: Counter[str] = Counter()
    ours = {one.span for one in requests if one.span}
    for one in requests:
        mine = {one.span} if one.span else set()
        tree = repaired(trace, mine, others=ours - mine)
        if isinstance(tree, Refused):
            problem = tree.reason
            continue
        rules.update(tree.repaired)
        made.append(timed(one, tree))
    return made, problem, rules


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
