"""Shapes of traces, and the exact split of the difference between two cohorts."""

from __future__ import annotations

from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces.shapes import CALL_CLASSES, call_class, difference, shape_of
from loadgen.traces.timed import OUR_SIDE, WIRE, TimedTrace
from tests.support.made_spans import span, timed_trace, tree

SHOP = ("shop: POST /checkout",)
SQL = (*SHOP, "db: SELECT item")


def request(calls: int, each: int, *, weight: float = 1.0, wire: int = 3) -> TimedTrace:
    spans = [
        span(str(at), 100 + at * each, 100 + (at + 1) * each, "A", service="db", name="SELECT item")
        for at in range(calls)
    ]
    root = span("A", 100, 150 + calls * each, service="shop", name="POST /checkout")
    return timed_trace(tree(root, *spans), 50 + calls * each + wire, weight=weight)


@pytest.mark.parametrize(
    ("calls", "expected"), [(1, 1), (2, 2), (4, 2), (5, 5), (9, 5), (10, 10), (19, 10), (9_999, 5_000), (10**6, 10_000)]
)
def test_numbers_of_calls_have_classes(calls: int, expected: int) -> None:
    assert call_class(calls) == expected
    assert expected in CALL_CLASSES


def test_the_shape_is_the_paths_with_the_classes_of_their_calls() -> None:
    assert shape_of(request(7, 10)) == {(SHOP, 1), (SQL, 5), (OUR_SIDE, 1), (WIRE, 1)}
    assert shape_of(request(7, 10)) == shape_of(request(9, 99))


def test_more_calls_are_another_shape() -> None:
    # 1 call of 10 becomes 41 calls of 11.
    result = difference([request(41, 11)], [request(1, 10)])
    assert (result.whole_ns, result.same_shape_ns, result.more_of_shape_ns) == (441, 0, 441)


def test_slower_calls_alone_are_slower_in_the_same_shape() -> None:
    result = difference([request(1, 210)], [request(1, 10)])
    assert (result.same_shape_ns, result.more_of_shape_ns) == (200, 0)


def test_kitagawas_split_of_a_difference_of_shares_and_means() -> None:
    # Slow: 3/4 of shape X (mean 453) and 1/4 of shape Y (mean 63); fast: 1/4 of X (mean 253) and 3/4 of Y (mean 63).
    slow = [request(10, 40, weight=3.0), request(1, 10)]
    fast = [request(10, 20), request(1, 10, weight=3.0)]
    result = difference(slow, fast)
    assert result.whole_ns == pytest.approx((3 * 453 + 63) / 4 - (253 + 3 * 63) / 4)
    assert result.same_shape_ns == pytest.approx(0.5 * (453 - 253))
    assert result.more_of_shape_ns == pytest.approx(0.5 * (453 + 253) / 2 - 0.5 * 63)
    x, y = result.shapes
    assert (x.share_slow, x.share_fast, x.mean_slow_ns, x.mean_fast_ns) == (0.75, 0.25, 453, 253)
    assert x.more_of_shape_ns > 0
    assert y.more_of_shape_ns > 0  # fewer of a shape that is faster than the mean


def test_an_empty_cohort_is_an_error() -> None:
    with pytest.raises(ValueError, match="each of the two cohorts needs at least one trace"):
        difference([], [request(1, 1)])


cohorts = st.lists(
    st.builds(
        request,
        st.integers(0, 6),
        st.integers(0, 10**9),
        weight=st.floats(0.01, 1e6),
        wire=st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=8,
)


@given(cohorts, cohorts)
def test_all_splits_add_up_to_the_difference(slow: list[TimedTrace], fast: list[TimedTrace]) -> None:
    result = difference(slow, fast)
    error = 1e-9 * max(abs(result.whole_ns), 1e-3 * (result.slow_ns + result.fast_ns))
    assert fsum(shape.added_ns for shape in result.shapes) == pytest.approx(result.whole_ns, abs=error)
    assert result.same_shape_ns + result.more_of_shape_ns == pytest.approx(result.whole_ns, abs=error)
