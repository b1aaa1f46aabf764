"""The simulated shop: its spans add up, its weights stand for all requests, its faults are where they should be."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from loadgen.traces.timed import WIRE
from loadgen.traces.trace_attributes import attributes_along
from loadgen.traces.what_if import Timeline
from tests.support.made_spans import span, timed_trace, tree
from tests.support.made_traces import FAULTS, PAY, ROOT, STOCK_PATH, Fault, made


@pytest.mark.parametrize("fault", FAULTS)
def test_own_times_of_each_trace_add_up_to_its_response(fault: Fault) -> None:
    run = made(fault, 1, seconds=30)
    for one in run.timed:
        assert sum(time.own_ns for time in one.paths.values()) == one.observed.response_ns
        wire = one.paths[WIRE].own_ns
        assert one.observed.service_ns == wire + (one.tree.root.end_ns or 0) - one.tree.root.start_ns


def test_weights_stand_for_all_requests_of_the_run() -> None:
    run = made("more calls", 1)
    limit = run.objective.threshold_ns or 0
    for is_over in (True, False):
        weight = sum(one.weight for one in run.asked if (one.response_ns > limit) is is_over)
        assert weight == pytest.approx(((run.responses_ns > limit) == is_over).sum(), rel=0.1)


def test_same_seed_makes_the_same_run() -> None:
    one, other = (made("pause", 4, seconds=30) for _ in range(2))
    assert one.asked == other.asked
    assert np.array_equal(one.responses_ns, other.responses_ns)


def test_attributes_along_a_path_are_those_of_its_spans_of_the_spans_above_and_our_own() -> None:
    (one, *_) = made("none", 1, seconds=30).timed
    found = attributes_along(one, Timeline.of(one), STOCK_PATH)
    assert set(found["stock", "service.version"]) <= {"2.0", "2.1"}
    assert ("shop", "tenant") in found
    assert ("", "region") in found
    assert ("catalog", "service.name") not in found


def test_attributes_of_a_path_without_spans_are_those_of_the_root_and_of_the_given_service() -> None:
    (one, *_) = made("none", 1, seconds=30).timed
    assert ("stock", "zone") not in attributes_along(one, Timeline.of(one), WIRE)
    assert ("stock", "zone") in attributes_along(one, Timeline.of(one), WIRE, "stock")


def test_only_the_first_call_of_each_step_counts_however_many_calls_there_are() -> None:
    run = made("more requests", 1, seconds=30)
    many = [one for one in run.timed if one.paths[STOCK_PATH].calls > 1]
    assert many
    for one in many:
        timeline = Timeline.of(one)
        (instance,) = attributes_along(one, timeline, STOCK_PATH)["stock", "service.instance.id"]
        calls = [each for each in one.tree.spans.values() if each.name == STOCK_PATH[-1]]
        first = min(calls, key=lambda each: each.start_ns)
        assert instance == first.resource["service.instance.id"]
        paused = attributes_along(one, timeline, ("stock: standing still of stock-2",), "stock")
        assert paused["stock", "service.instance.id"] == (instance,)
    chosen = {attributes_along(one, Timeline.of(one), STOCK_PATH)["stock", "zone"] for one in many}
    assert chosen == {("a",), ("b",)}


def test_what_lies_below_a_later_call_does_not_count_if_the_first_one_has_nothing_below_it() -> None:
    run = made("retries", 1, seconds=100)
    retried = [one for one in run.timed if one.paths[*ROOT, "shop: POST pay"].calls > 1]
    assert retried
    for one in retried:
        found = attributes_along(one, Timeline.of(one), PAY)
        assert ("pay", "service.name") not in found
        assert found["shop: POST pay", "status"] == ("error",)


def test_status_of_the_root_is_the_responses_own_and_no_attribute() -> None:
    root = replace(span("A", 0, 100), status="error")
    one = timed_trace(tree(root, replace(span("B", 10, 90, "A"), status="error"), span("C", 20, 80, "B")))
    found = attributes_along(one, Timeline.of(one), ("A: do", "B: do", "C: do"))
    assert {where: values for (where, key), values in found.items() if key == "status"} == {"B: do": ("error",)}
