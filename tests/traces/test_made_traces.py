"""The simulated shop: its spans add up, its weights stand for all requests, its faults are where they should be."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.traces.timed import WIRE
from loadgen.traces.trace_attributes import attributes_along
from loadgen.traces.what_if import Timeline
from tests.support.made_traces import FAULTS, STOCK_PATH, Fault, made


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
