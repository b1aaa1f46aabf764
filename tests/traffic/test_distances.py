"""Distances of fidelity against answers from outside: by hand, by formulas from books, and by naive programs."""

from __future__ import annotations

from math import log, log2

import numpy as np
import pytest

from loadgen.traffic.fidelity.burstiness import dispersion, variation, window_sums
from loadgen.traffic.fidelity.distances import edge_excess, js_bits, ks, nrmse, relative, rows_js, weighted_ks
from loadgen.traffic.fidelity.locality import lru_hit_ratio, top_share


def counts(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_the_divergence_of_shares_is_that_of_its_formula() -> None:
    assert js_bits(counts(3, 1), counts(300, 100)) == 0
    assert js_bits(counts(5, 0), counts(0, 2)) == 1
    assert js_bits(counts(0, 0), counts(1, 0)) == 1
    assert js_bits(counts(0, 0), counts(0, 0)) == 0
    # H(middle) - mean of both entropies, for (1, 0) and (1/2, 1/2): the middle is (3/4, 1/4).
    expected = -(0.75 * log2(0.75) + 0.25 * log2(0.25)) - 0.5
    assert js_bits(counts(8, 0), counts(4, 4)) == pytest.approx(expected)


def test_samples_of_one_distribution_differ_by_the_names_per_sample() -> None:
    """The expected value is (k - 1) / (4 n ln 2): 0.0189 bits for 263 names and two samples of 5,000."""
    rng = np.random.default_rng(1)
    shares = np.full(263, 1 / 263)

    found = [js_bits(rng.multinomial(5_000, shares), rng.multinomial(5_000, shares)) for _ in range(200)]

    assert np.mean(found) == pytest.approx(262 / (4 * 5_000 * log(2)), rel=0.03)


def test_rows_count_by_their_visits() -> None:
    a = np.array([[30, 10], [0, 60]], np.int64)
    b = np.array([[10, 10], [80, 0]], np.int64)

    weights = (0.4 + 0.2) / 2, (0.6 + 0.8) / 2
    expected = weights[0] * js_bits(a[0], b[0]) + weights[1] * 1
    assert rows_js(a, b) == pytest.approx(expected)
    # A row that only one of both has is as different as possible.
    assert rows_js(a, np.array([[30, 10], [0, 0]], np.int64)) == pytest.approx(0.3)


def test_an_edge_may_differ_by_3_5_standard_errors_or_one_point() -> None:
    a, b = np.array([[60, 40]], np.int64), np.array([[4_000, 6_000]], np.int64)
    assert edge_excess(a, b) == pytest.approx(0.2 / (3.5 * np.sqrt(0.5 * 0.5 / 100)))
    many = np.array([[600_000, 400_000]], np.int64)
    assert edge_excess(many, np.array([[615_000, 385_000]], np.int64)) == pytest.approx(1.5)
    rare = np.array([[990, 9], [5, 5]], np.int64)
    assert edge_excess(rare, np.array([[999, 0], [0, 0]], np.int64)) < 1


def test_the_largest_difference_of_distributions_is_that_by_hand() -> None:
    # Shares below each bin: 0.2, 0.5, 1 and 0.5, 0.5, 1.
    assert ks(counts(2, 3, 5), counts(5, 0, 5)) == pytest.approx(0.3)
    assert ks(counts(1), counts(0, 0, 7)) == 1
    assert ks(counts(0), counts(0, 4)) == 1
    assert ks(counts(0), counts(0)) == 0
    a, b = np.array([[2, 3, 5], [1, 1, 0], [9, 0, 0]]), np.array([[5, 0, 5], [30, 0, 0], [0, 0, 0]])
    assert weighted_ks(a, b) == pytest.approx((10 * 0.3 + 30 * 0.5) / 40)
    assert weighted_ks(a * 0, b) is None


def test_curves_differ_relative_to_the_mean_of_the_second() -> None:
    assert nrmse(np.array([3.0, 5.0]), np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert relative(9, 10) == pytest.approx(0.1)
    assert (relative(0, 0), relative(1, 0)) == (0, 1)


def naive_lru(keys: list[int], size: int) -> float:
    """Of each request, whether its key is among the last `size` different keys before it."""
    hits = 0
    for n, key in enumerate(keys):
        recent: list[int] = []
        for earlier in reversed(keys[:n]):
            if earlier not in recent:
                recent.append(earlier)
        hits += key in recent[:size]
    return hits / len(keys)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_a_cache_of_recent_keys_hits_as_often_as_a_naive_one(size: int) -> None:
    keys = (np.random.default_rng(size).zipf(1.5, 200) % 40).tolist()

    assert lru_hit_ratio(keys, size) == pytest.approx(naive_lru(keys, size))


def test_the_top_keys_have_their_share() -> None:
    assert top_share(counts(1, 6, 3), 1) == pytest.approx(0.6)
    assert top_share(counts(1, 6, 3), 9) == 1


def test_random_even_and_bunched_times_have_their_dispersion() -> None:
    rng = np.random.default_rng(3)
    rate = np.repeat(rng.uniform(1, 40, 120), 600)
    for step_s in (1, 10, 60):
        at_random = window_sums(rng.poisson(rate), step_s)
        assert at_random.shape == (120, 600 // step_s)
        assert dispersion(at_random) == pytest.approx(1, abs=0.1)
        # Arrivals in groups of four: the variance of 4 N is 16 N, the mean 4 N.
        assert dispersion(window_sums(4 * rng.poisson(rate), step_s)) == pytest.approx(4, rel=0.1)
        assert dispersion(window_sums(np.full(6_000, 7), step_s)) == 0


def test_random_gaps_vary_as_much_as_their_mean() -> None:
    rng = np.random.default_rng(4)
    assert variation(rng.exponential(3, 100_000)) == pytest.approx(1, abs=0.02)
    assert variation(rng.gamma(1 / 4, 1, 400_000)) == pytest.approx(2, abs=0.03)
