"""Measure what it costs to take traces apart: repair, critical path, exact times by path, clocks, comparison.

Budget: 10,000 traces of 40 spans in 10 s, and one trace of 120,000 spans in 10 s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import thread_time_ns

from bench.report import Section, held, spread
from loadgen.traces.clock_offsets import clock_offsets
from loadgen.traces.clocks.exchanges import exchanges_of
from loadgen.traces.critical_path import critical_path
from loadgen.traces.model import Kind, Span, Trace, Tree
from loadgen.traces.path_table import path_table
from loadgen.traces.path_times import timed
from loadgen.traces.repair import repaired
from loadgen.traces.shapes import difference
from loadgen.traces.timed import Observed, TimedTrace
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US

SPANS = 40
DEEP = 10_000
BUDGET_S = 10.0
HOW = """\
Traces of {spans} spans of a shop that calls three services with ten statements each, all on the critical path; \
{traces:,} of them, made one at a time, in this process, CPU time of the thread. *repair*: from spans to a tree, with \
offsets of clocks; *critical path* alone; *times*: the exact partition of the response time by path, critical path \
included; *calls*: bounds of clock offsets from the calls of a trace; *table* and *difference*: means, quantiles and \
the exact split of 200 traces against 200. *One trace of n spans*: repair and times."""


def measure(*, traces: int = 10_000, large: int = 120_000, turns: int = 5) -> Section:
    cost: dict[str, list[float]] = {"repair": [], "critical path": [], "times": [], "calls": []}
    for _ in range(turns):
        spent = dict.fromkeys(cost, 0)
        offsets = clock_offsets(one for number in range(200) for one in exchanges_of(made(number)))
        for number in range(traces // turns):
            trace = made(number)
            known = offsets.at(trace.spans[0].start_ns)
            began = thread_time_ns()
            tree = _tree(trace, known)
            mended = thread_time_ns()
            critical_path(tree)
            walked = thread_time_ns()
            timed(observed(number), tree)
            parted = thread_time_ns()
            exchanges_of(trace)
            spent["calls"] += thread_time_ns() - parted
            spent["repair"] += mended - began
            spent["critical path"] += walked - mended
            spent["times"] += parted - walked
        for name, ns in spent.items():
            cost[name].append(ns / (traces // turns) / NS_PER_US)
    rows = [[f"{name}, µs a trace", *spread(values)] for name, values in cost.items()]
    whole_s = sum(sorted(cost[name])[turns // 2] for name in ("repair", "times", "calls")) * 10_000 / 1e6
    slow, fast = ([_timed(number) for number in range(first, first + 200)] for first in (0, 1_000))
    rows.append(["table of 200 traces, ms", *spread(_ms(lambda: path_table(slow), turns))])
    rows.append(["difference of 200 and 200 traces, ms", *spread(_ms(lambda: difference(slow, fast), turns))])
    wide, deep = made_large(large), made_deep()
    large_ms = _ms(lambda: _apart(wide), turns)
    is_fast = sorted(large_ms)[turns // 2] <= BUDGET_S * 1e3
    rows.append([f"one trace of {large:,} spans, ms", *spread(large_ms)])
    rows.append([f"one trace {DEEP:,} spans deep, ms", *spread(_ms(lambda: _apart(deep), turns))])
    return Section(
        "Traces",
        HOW.format(spans=SPANS, traces=traces),
        ["", "least", "median"],
        rows,
        f"Budget: 10,000 traces of {SPANS} spans in {BUDGET_S:.0f} s of CPU: {whole_s:.2f} s, "
        f"{held(whole_s <= BUDGET_S)}. "
        f"Budget: a trace of {large:,} spans in {BUDGET_S:.0f} s: {held(is_fast)}.",
    )


def made(number: int) -> Trace:
    """Return a trace of SPANS spans. Its times depend on the number."""
    chance = random.Random(number)
    at = number * NS_PER_S
    spans: list[Span] = []
    resources = {name: {"service.instance.id": f"{name}-1"} for name in ("shop", "stock", "price", "ship")}

    def add(parent: str, service: str, operation: str, begin: int, end: int, kind: Kind = "internal") -> str:
        id_ = f"{number * 100 + len(spans) + 1:016x}"
        spans.append(Span(id_, parent, service, operation, begin, end, kind, resource=resources[service]))
        return id_

    root = add("ours", "shop", "POST /checkout", at, at + 120 * NS_PER_MS, "server")
    begin = at + NS_PER_MS
    for service in ("stock", "price", "ship"):
        end = begin + 30 * NS_PER_MS
        client = add(root, "shop", f"GET /{service}", begin, end, "client")
        server = add(client, service, f"GET /{service}", begin + 300_000, end - 300_000, "server")
        call = begin + NS_PER_MS
        for _ in range(10):
            took = chance.randrange(1_900_000, 2_100_000)
            add(server, service, "SELECT item", call, call + took, "client")
            call += 2_400_000
        begin = end + NS_PER_MS
    for _ in range(SPANS - len(spans)):
        add(root, "shop", "render", begin, begin + NS_PER_MS)
        begin += NS_PER_MS
    return Trace(f"{number:032x}", tuple(spans))


def made_large(count: int) -> Trace:
    """Return a trace of many spans: of 1,000 names, 300 below each span that has children."""
    spans = [Span(f"{1:016x}", "", "shop", "POST /checkout", 0, count * NS_PER_US, "server")]
    for number in range(1, count):
        parent = spans[(number - 1) // 300]
        assert parent.end_ns is not None
        step = (parent.end_ns - parent.start_ns) // 301
        begin = parent.start_ns + step * ((number - 1) % 300)
        spans.append(
            Span(f"{number + 1:016x}", parent.id, f"s{number % 7}", f"op {number % 1_000}", begin, begin + step)
        )
    return Trace("b" * 32, tuple(spans))


def made_deep() -> Trace:
    """Return a trace in which each span is the only child of the one before it."""
    return Trace(
        "c" * 32,
        tuple(
            Span(f"{n + 1:016x}", f"{n:016x}" if n else "", "shop", f"op {n % 9}", n, 10 * DEEP - n)
            for n in range(DEEP)
        ),
    )


def observed(number: int) -> Observed:
    return Observed(
        trace=f"{number:032x}",
        journey="buy",
        step="",
        request="POST /checkout",
        outcome="ok",
        region="",
        at_s=float(number),
        response_ns=130 * NS_PER_MS + number,
        service_ns=125 * NS_PER_MS,
        weight=1.0 + number % 7,
    )


def _tree(trace: Trace, offsets: dict[str, tuple[int, int]] | None = None) -> Tree:
    tree = repaired(trace, ("ours",), offsets)
    assert isinstance(tree, Tree)
    return tree


def _timed(number: int) -> TimedTrace:
    return timed(observed(number), _tree(made(number)))


def _apart(trace: Trace) -> None:
    timed(observed(1), _tree(trace))


def _ms(work: Callable[[], object], turns: int) -> list[float]:
    took = []
    for _ in range(turns):
        began = thread_time_ns()
        work()
        took.append((thread_time_ns() - began) / NS_PER_MS)
    return took
