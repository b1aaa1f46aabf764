"""Which requests are slow, fast, in between, failed, or left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces.cohorts import cohorts_of, standing_of, weighted_quantile
from tests.support.small_trees import MS, request


def test_slow_ones_are_above_the_objective_and_fast_ones_at_most_at_the_median() -> None:
    cohorts = cohorts_of([request(n, 10 * n) for n in range(1, 11)], threshold_ns=80 * MS)
    times = cohorts.responses_ns / MS
    assert times[cohorts.is_slow].tolist() == [90, 100]
    assert times[cohorts.is_fast].tolist() == [10, 20, 30, 40, 50]
    assert cohorts.has_objective


def test_without_an_objective_the_slowest_twentieth_is_slow() -> None:
    cohorts = cohorts_of([request(n, n) for n in range(1, 101)])
    assert sorted((cohorts.responses_ns / MS)[cohorts.is_slow]) == [95, 96, 97, 98, 99, 100]
    assert not cohorts.has_objective


def test_median_is_that_of_the_requests_which_the_traces_stand_for() -> None:
    # Three quarters of all requests are like the first trace.
    traces = [request(1, 10, weight=30), request(2, 20, weight=5), request(3, 90, weight=5)]
    cohorts = cohorts_of(traces, threshold_ns=80 * MS)
    assert cohorts.fast_ns == 10 * MS
    assert cohorts.n_fast == 1


def test_median_of_the_run_is_taken_if_it_is_known() -> None:
    cohorts = cohorts_of([request(n, n) for n in range(1, 11)], threshold_ns=9 * MS, fast_ns=3 * MS)
    assert cohorts.n_fast == 3


def test_no_request_is_slow_and_fast_if_most_are_above_the_objective() -> None:
    cohorts = cohorts_of([request(n, n) for n in range(1, 11)], threshold_ns=2 * MS)
    assert not (cohorts.is_slow & cohorts.is_fast).any()
    assert (cohorts.n_slow, cohorts.n_fast) == (8, 2)


def test_failed_requests_are_a_cohort_of_their_own() -> None:
    cohorts = cohorts_of([request(1, 10), request(2, 5_000, outcome="timeout")], threshold_ns=80 * MS)
    assert (cohorts.n_slow, len(cohorts.failed)) == (0, 1)


def test_requests_that_the_generator_made_slow_are_left_out_and_counted() -> None:
    traces = [
        request(1, 500, is_fit=False),
        request(2, 500, is_pool_limited=True),
        request(3, 500, is_complete=False),
        request(4, 500),
    ]
    cohorts = cohorts_of(traces, threshold_ns=80 * MS)
    assert cohorts.n_slow == 1
    assert cohorts.left_out == {"unfit second": 1, "waited for our pool": 1, "incomplete trace": 1}


def test_corrections_multiply_weights() -> None:
    cohorts = cohorts_of([request(1, 10, weight=3)], threshold_ns=80 * MS, factors={f"{1:032x}": 2.0})
    assert cohorts.weights.tolist() == [6.0]


def test_traces_are_in_the_order_of_time() -> None:
    cohorts = cohorts_of([request(1, 10, at_s=5), request(2, 10, at_s=1)], threshold_ns=80 * MS)
    assert cohorts.due_s.tolist() == [1, 5]


def test_no_traces_give_empty_cohorts() -> None:
    assert (cohorts_of([]).n_slow, cohorts_of([], threshold_ns=5).threshold_ns) == (0, 5)


@pytest.mark.parametrize(("ms", "standing"), [(81, "slow"), (80, "between"), (21, "between"), (20, "fast")])
def test_standing_of_a_request_follows_its_response_time(ms: float, standing: str) -> None:
    assert standing_of(request(1, ms).observed, 80 * MS, 20 * MS) == standing


def test_failed_unfit_and_pool_limited_requests_stand_nowhere() -> None:
    for one in (request(1, 9, outcome="timeout"), request(1, 9, is_fit=False), request(1, 9, is_pool_limited=True)):
        assert standing_of(one.observed, 80 * MS, 20 * MS) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=20), st.floats(0, 1))
def test_weighted_quantile_is_that_of_the_repeated_values(values: list[tuple[int, int]], share: float) -> None:
    numbers, weights = np.array(values).T
    repeated = np.repeat(numbers, weights)
    expected = np.quantile(repeated, share, method="inverted_cdf")
    got = weighted_quantile(numbers, weights, share)
    # At a boundary both neighbours are right: a sum of weights is compared with a rounded product.
    assert got == expected or np.isclose(share * len(repeated), round(share * len(repeated)))
