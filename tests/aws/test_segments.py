"""The time of a trace, split over its spans. Figures are worked out by hand, in seconds from 100."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.aws.target.trace_time_breakdown import parts_of, segments_of


def span(key: str, begin: float, end: float, *inner: dict[str, Any], name: str = "", **more: Any) -> dict[str, Any]:
    made = {"id": key, "name": name or key, "start_time": 100 + begin, "end_time": 100 + end, **more}
    return made | ({"subsegments": list(inner)} if inner else {})


def parts(*segments: dict[str, Any]) -> dict[str, float]:
    return {name: round(seconds, 6) for name, seconds in parts_of(segments).items()}


def test_time_belongs_to_the_deepest_span_and_adds_up_to_the_whole() -> None:
    assert parts(span("shop", 0, 1, span("query", 0.2, 0.9), span("render", 0.9, 1.0))) == {
        "shop": 0.2,
        "shop: query": 0.7,
        "shop: render": 0.1,
    }


def test_service_that_was_called_has_its_own_part_and_the_way_to_it_stays_with_the_call() -> None:
    """Clocks of two machines: the answer is within the call."""
    orders = span("orders", 0.3, 0.8, span("pay", 0.4, 0.7), parent_id="call")
    assert parts(orders, span("shop", 0, 1, span("call", 0.2, 0.9))) == {
        "shop": 0.3,
        "shop: call": 0.2,
        "orders": 0.2,
        "orders: pay": 0.3,
    }


def test_calls_at_once_share_the_time_in_which_both_are_open() -> None:
    assert parts(span("shop", 0, 1, span("a", 0, 0.6), span("b", 0.4, 1))) == {"shop: a": 0.5, "shop: b": 0.5}


def test_spans_of_one_name_are_added() -> None:
    inner = (span("q1", 0, 0.2, name="query"), span("q2", 0.5, 0.9, name="query"))
    assert parts(span("shop", 0, 1, *inner)) == {"shop": 0.4, "shop: query": 0.6}


def test_what_goes_on_after_its_parent_nobody_waited_for() -> None:
    mail = span("mail", 0.5, 9, parent_id="queue")
    assert parts(span("shop", 0, 1, span("queue", 0.4, 0.6)), mail) == {"shop": 0.8, "shop: queue": 0.1, "mail": 0.1}


def test_redirected_request_has_a_part_for_each_hop() -> None:
    """They are one trace, with parents that are requests of ours."""
    hops = (span("a", 0, 1, parent_id="ours1", name="shop"), span("b", 2, 5, parent_id="ours2", name="shop"))
    assert parts(*hops) == {"shop": 4}


def test_span_without_an_end_is_left_out_and_what_is_within_it_stands_for_itself() -> None:
    late = span("shop", 0, 1, span("query", 0.2, 0.5), in_progress=True)
    del late["end_time"]
    assert parts(late) == {"shop: query": 0.3}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "x"},
        {"id": "x", "name": "x", "start_time": "now", "end_time": 1},
        {"name": "x", "start_time": 1, "end_time": 2},
        {"id": "x", "name": "x", "start_time": 2, "end_time": 1},
        {"id": "x", "name": "x", "start_time": 1e999, "end_time": 1e999},
        {"id": "x", "name": "x", "start_time": 1, "end_time": 2, "subsegments": {"id": 1}, "parent_id": "y"}
        | {"subsegments": "none"},
    ],
)
def test_segment_that_makes_no_sense_spoils_no_other(bad: dict[str, Any]) -> None:
    assert parts(span("shop", 0, 1), bad)["shop"] == 1


def test_segments_that_are_each_others_parents_end() -> None:
    assert parts(span("a", 0, 1, parent_id="b"), span("b", 0, 1, parent_id="a"), span("shop", 0, 1)) == {"shop": 1}
    assert parts(span("a", 0, 1, parent_id="a")) == {}


def test_document_that_is_none_makes_a_trace_that_cannot_be_read() -> None:
    assert segments_of([json.dumps(span("shop", 0, 1))]) is not None
    assert segments_of([json.dumps(span("shop", 0, 1)), "{"]) is None
    assert segments_of(["[1]"]) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_parts_add_up_to_the_root_whatever_is_within_it(drawn: list[tuple[int, int, int]]) -> None:
    """Each drawn one is (begin, end, which of those before it is its parent)."""
    keys = ["root"]
    segments = [span("root", 0, 10)]
    for n, (begin, end, parent) in enumerate(drawn):
        segments.append(span(f"s{n}", begin, end, parent_id=keys[parent % len(keys)]))
        keys.append(f"s{n}")
    assert sum(parts_of(segments).values()) == pytest.approx(10)
