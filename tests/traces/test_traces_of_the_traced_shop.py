"""Real traces of OpenTelemetry's SDK (`python -m tests.support.traced_shop`): read, repaired and divided exactly."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from loadgen.traces.clock_offsets import ClockOffsets, clock_offsets, exchanges_of
from loadgen.traces.convert.otlp_json import traces_of_otlp_json
from loadgen.traces.model import Path as Names
from loadgen.traces.model import Trace, Tree
from loadgen.traces.path_times import timed
from loadgen.traces.repair import repaired
from loadgen.traces.timed import Observed
from tests.support.traced_shop.request_ids import span_of

DATA = Path(__file__).parents[1] / "data" / "traces" / "traced_shop.jsonl"
FIVE_S = 5_000_000_000
CLOSE_NS, LATE_NS = 1_000_000, 5_000_000
"""How well a clock is put right on loopback; how much later than its client a server's span ends here (4.2 ms)."""


@cache
def _traces() -> tuple[Trace, ...]:
    return tuple(traces_of_otlp_json(DATA.read_bytes()))


def _tree(trace: Trace, offsets: ClockOffsets | None = None) -> Tree:
    clocks = offsets.at(trace.spans[0].start_ns) if offsets is not None else {}
    tree = repaired(trace, {span_of(trace.id)}, clocks)
    assert isinstance(tree, Tree), tree
    return tree


def _own_ns(tree: Tree) -> dict[Names, int]:
    root_ns = (tree.root.end_ns or 0) - tree.root.start_ns
    ours = Observed(
        trace=tree.trace,
        journey="",
        step="",
        request="",
        outcome="ok",
        region="",
        at_s=0,
        response_ns=root_ns,
        service_ns=root_ns,
        weight=1,
    )
    own = {path: time.own_ns for path, time in timed(ours, tree).paths.items()}
    assert sum(own.values()) == root_ns
    return own


def test_each_trace_is_whole_and_its_root_is_the_span_below_ours() -> None:
    trees = [_tree(trace) for trace in _traces()]
    assert Counter(tree.root.name for tree in trees) == {
        "shop: POST /checkout": 24,
        "shop: GET /basket": 8,
        "shop: GET /browse": 8,
    }
    assert all(tree.is_complete and not tree.outside_ns for tree in trees)


def test_slow_checkouts_are_those_whose_rules_version_2_of_stock_checks_for_long() -> None:
    slow = 0
    for trace in _traces():
        tree = _tree(trace)
        own = {path[-1]: ns for path, ns in _own_ns(tree).items()}
        if own.get("stock: check rules", 0) > 60_000_000:
            slow += 1
            (rules,) = [span for span in tree.spans.values() if span.name == "stock: check rules"]
            assert rules.resource["service.version"] == "2"
            assert own["stock: check rules"] > sum(own.values()) / 2
    assert slow == 5


def test_the_critical_path_is_the_same_if_the_clock_of_one_service_is_5_s_ahead() -> None:
    ahead = [
        replace(
            trace,
            spans=tuple(
                replace(span, start_ns=span.start_ns + FIVE_S, end_ns=(span.end_ns or 0) + FIVE_S)
                if span.service == "stock"
                else span
                for span in trace.spans
            ),
        )
        for trace in _traces()
    ]
    offsets = clock_offsets(exchange for trace in ahead for exchange in exchanges_of(trace))
    for told in offsets.told():
        assert told.bounds is not None
        is_of_stock = told.instance.startswith("stock") - told.reference.startswith("stock")
        assert told.bounds[0] - CLOSE_NS <= FIVE_S * is_of_stock <= told.bounds[1] + CLOSE_NS

    moved = 0
    for trace, wrong in zip(_traces(), ahead, strict=True):
        tree = _tree(wrong, offsets)
        moved += tree.repaired.get("clock moved", 0)
        true, found = _own_ns(_tree(trace)), _own_ns(tree)
        assert true.keys() == found.keys()
        assert max(abs(true[path] - found[path]) for path in true) < LATE_NS
    assert moved >= sum(span.service == "stock" for trace in _traces() for span in trace.spans)
