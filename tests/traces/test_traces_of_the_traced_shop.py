"""Real traces of OpenTelemetry's SDK (`python -m tests.support.traced_shop`): read, repaired and divided exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from loadgen.traces.clock_offsets import ClockOffsets, clock_offsets
from loadgen.traces.clocks.exchanges import exchanges_of
from loadgen.traces.convert.otlp_json import traces_of_otlp_json
from loadgen.traces.model import Path as Names
from loadgen.traces.model import Trace, Tree
from loadgen.traces.path_times import timed
from loadgen.traces.repair import repaired
from loadgen.traces.timed import Observed
from tests.support.traced_shop.request_ids import span_of

DATA = Path(__file__).parents[1] / "data" / "traces" / "traced_shop.jsonl"
FIVE_S = 5_000_000_000
CLOSE_NS = 1_000_000
"""How well a clock is put right on loopback."""


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


def _offsets(traces: Iterable[Trace]) -> ClockOffsets:
    return clock_offsets(exchange for trace in traces for exchange in exchanges_of(trace))


def test_offsets_of_real_services_with_one_clock_are_0_within_1_ms_although_servers_end_up_to_4_ms_late() -> None:
    told = _offsets(_traces()).told()
    assert {one.instance for one in told} == {"catalog-1", "stock-1", "stock-2"}
    for one in told:
        assert one.bounds is not None
        assert one.bounds[0] <= 0 <= one.bounds[1]
        assert one.bounds[1] - one.bounds[0] <= 2_000_000
        assert not one.is_off


def test_without_the_spans_in_which_servers_send_offsets_hold_0_and_are_likely_known_within_1_ms() -> None:
    plain = [
        replace(trace, spans=tuple(span for span in trace.spans if not span.operation.endswith("http send")))
        for trace in _traces()
    ]
    for one in _offsets(plain).told():
        assert one.bounds is not None
        assert one.likely is not None
        assert one.bounds[0] <= one.likely[0] <= 0 <= one.likely[1] <= one.bounds[1]
        # The shortest calls take 3 to 9 ms.
        assert one.bounds[1] - one.bounds[0] <= 9_000_000
        assert one.likely[1] - one.likely[0] <= 2_000_000
        assert not one.is_off


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
    right, offsets = _offsets(_traces()), _offsets(ahead)
    for told in offsets.told():
        assert told.bounds is not None
        is_of_stock = told.instance.startswith("stock") - told.reference.startswith("stock")
        assert told.bounds[0] <= FIVE_S * is_of_stock <= told.bounds[1]

    of_stock = 0
    for trace, wrong in zip(_traces(), ahead, strict=True):
        tree = _tree(wrong, offsets)
        in_tree = sum(span.service == "stock" for span in tree.spans.values())
        assert tree.repaired.get("clock moved", 0) == in_tree
        of_stock += in_tree
        true, found = _own_ns(_tree(trace, right)), _own_ns(tree)
        assert true.keys() == found.keys()
        assert max(abs(true[path] - found[path]) for path in true) < CLOSE_NS
    # The others are those in which a server sends its body after the client has the headers.
    assert of_stock > 0.95 * sum(span.service == "stock" for trace in _traces() for span in trace.spans)
