"""Combined searches: known answers from a table of Student's t, and how often the interval is wrong."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.knees.combine_knees import CombinedKnee, SearchedKnee, combine_knees

Z = 1.6448536269514722
"""The 95th percentile of the normal distribution."""
T2, T4 = 2.919986, 2.131847
"""The 95th percentiles of Student's t with 2 and 4 degrees of freedom, from a printed table."""


def knee(rate: float, sd: float = 0.02) -> SearchedKnee:
    return SearchedKnee(rate, rate * exp(-Z * sd), rate * exp(Z * sd))


def test_one_search_keeps_its_own_interval() -> None:
    one = combine_knees([SearchedKnee(80, 76, 83)])

    assert (one.rate_per_s, one.low_per_s, one.high_per_s, one.repeats) == (80, 76, 83, 1)
    assert one.between_sd is None
    assert one.excess_sd is None


def test_searches_that_differ_by_more_than_their_own_error_get_the_interval_of_students_t() -> None:
    rates = [80 * exp(-0.1), 80, 80 * exp(0.1)]  # the sample deviation of -0.1, 0, 0.1 is 0.1

    found = combine_knees([knee(rate, sd=0.02) for rate in rates])

    assert found.rate_per_s == pytest.approx(80)
    assert found.between_sd == pytest.approx(0.1)
    assert found.within_sd == pytest.approx(0.02)
    assert found.excess_sd == pytest.approx(sqrt(0.01 - 0.0004))
    assert found.low_per_s == pytest.approx(80 * exp(-T2 * 0.1 / sqrt(3)), rel=1e-6)
    assert found.high_per_s == pytest.approx(80 * exp(T2 * 0.1 / sqrt(3)), rel=1e-6)


def test_searches_that_agree_by_chance_count_with_their_own_error() -> None:
    found = combine_knees([knee(80, sd=0.03)] * 5)

    assert found.between_sd == pytest.approx(0, abs=1e-12)
    assert found.excess_sd == 0
    assert found.half_width == pytest.approx(T4 * 0.03 / sqrt(5), rel=1e-6)


def test_no_search_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one search"):
        combine_knees([])


@pytest.mark.parametrize("values", [(0, 1, 2), (1, 2, float("nan")), (3, 2, 4), (1, 5, 4), (-1, 1, 2)])
def test_a_rate_outside_of_its_interval_or_not_above_0_is_an_error(values: tuple[float, float, float]) -> None:
    low, rate, high = values
    with pytest.raises(ValueError, match="must"):
        SearchedKnee(rate, low, high)


rates = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=8)


@given(rates, st.randoms(use_true_random=False))
def test_the_order_of_searches_does_not_matter(given_rates: list[float], random: object) -> None:
    shuffled = sorted(given_rates, key=lambda _: random.random())  # type: ignore[attr-defined]

    assert combine_knees([knee(one) for one in shuffled]) == combine_knees([knee(one) for one in given_rates]) or (
        combine_knees([knee(one) for one in shuffled]).rate_per_s
        == pytest.approx(combine_knees([knee(one) for one in given_rates]).rate_per_s)
    )


@given(rates, st.floats(0.01, 100))
def test_another_unit_of_rate_changes_nothing_but_the_unit(given_rates: list[float], factor: float) -> None:
    found, other = (combine_knees([knee(one * by) for one in given_rates]) for by in (1, factor))

    assert other.rate_per_s == pytest.approx(found.rate_per_s * factor)
    assert other.low_per_s == pytest.approx(found.low_per_s * factor)
    assert found.low_per_s <= found.rate_per_s <= found.high_per_s


def drawn(random: np.random.Generator, repeats: int, own: float, between: float, stated: float) -> CombinedKnee:
    """own: the true error of a search; between: of its condition; stated: what its interval says of its own error."""
    truth = np.exp(random.normal(0, between, repeats) + random.normal(0, own, repeats))
    return combine_knees([knee(100 * float(one), stated) for one in truth])


@pytest.mark.parametrize("repeats", [3, 5])
@pytest.mark.parametrize(("own", "between", "stated"), [(0.018, 0, 0.03), (0.018, 0.03, 0.03), (0.018, 0.1, 0.03)])
def test_at_least_85_percent_of_the_intervals_have_the_true_rate(
    repeats: int, own: float, between: float, stated: float
) -> None:
    random = np.random.default_rng(11)
    covers = [
        one.low_per_s <= 100 <= one.high_per_s
        for one in (drawn(random, repeats, own, between, stated) for _ in range(400))
    ]

    assert np.mean(covers) >= 0.85


def test_the_interval_of_very_different_searches_is_wide() -> None:
    assert log(combine_knees([knee(50), knee(100)]).high_per_s / 100) > 1
