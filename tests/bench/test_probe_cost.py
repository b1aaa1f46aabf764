"""What a probe costs: which half-minutes have the probe, which requests belong to them, and what the pairs show."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.probe_cost import FAILED_NS, effect_of, order_of, quantile_of, took_between
from bench.probe_cost_client import FAILED, ROW

TIMES = st.floats(1e6, 2e6)


def test_the_interval_is_that_of_a_paired_t_test_of_log_ratios() -> None:
    # Log ratios 0, 0.01 ... 0.10: mean 0.05, standard error 0.01; t of 10 degrees of freedom at 0.975 is 2.2281.
    effect = effect_of([(5 * exp(n / 100), 5.0) for n in range(11)])

    assert effect.pairs == 11
    assert effect.mean == pytest.approx(exp(0.05) - 1)
    assert (effect.low, effect.high) == pytest.approx((exp(0.05 - 0.022281) - 1, exp(0.05 + 0.022281) - 1), rel=1e-3)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=2, max_size=30))
def test_with_and_without_exchanged_give_the_inverse_ratio(pairs: list[tuple[float, float]]) -> None:
    one, other = effect_of(pairs), effect_of([(without, with_) for with_, without in pairs])

    assert (1 + one.mean) * (1 + other.mean) == pytest.approx(1)
    assert (1 + one.low) * (1 + other.high) == pytest.approx(1)


@given(st.integers(0, 50), st.integers())
def test_each_pair_has_the_probe_once_and_a_seed_gives_one_order(pairs: int, seed: int) -> None:
    order = order_of(pairs, seed)

    assert [sum(order[n : n + 2]) for n in range(0, len(order), 2)] == [1] * pairs
    assert order == order_of(pairs, seed)


def test_the_probe_comes_first_in_some_pairs_and_second_in_others() -> None:
    assert set(order_of(30, 23)[::2]) == {True, False}


def test_requests_belong_to_the_part_in_which_they_were_sent_and_failed_ones_count_as_10_s() -> None:
    rows = b"".join(ROW.pack(*one) for one in ((99, 1), (100, 500), (150, FAILED), (199, 2), (200, 3)))

    assert took_between(rows + b"half", 100, 200) == [500, FAILED_NS, 2]


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile_of(list(range(100, 0, -1)), percent) for percent in (1, 50, 99)] == [1, 50, 99]
    assert quantile_of([7], 99) == 7
    assert quantile_of(list(range(1, 102)), 99) == 100
