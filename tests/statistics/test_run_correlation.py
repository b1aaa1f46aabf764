"""What runs that are close in time have in common: known answers, and what is assumed where nothing is known."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from loadgen.analysis.run_correlation import (
    error_factor,
    neighbour_correlation,
    reference_factor,
    session_factor,
    session_share,
)


def ar1(chance: np.random.Generator, rows: int, n: int, r: float) -> np.ndarray:
    values = chance.standard_normal((rows, n))
    for k in range(1, n):
        values[:, k] = r * values[:, k - 1] + sqrt(1 - r * r) * values[:, k]
    return values


@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("new", [1, 3])
def test_factor_is_that_of_simulated_runs(r: float, new: int) -> None:
    values = ar1(np.random.default_rng(1), 40_000, 20 + new, r)
    before, after = values[:, :20], values[:, 20:]
    difference = after.mean(axis=1) - before.mean(axis=1)
    squares = before.var(axis=1) * 20 + after.var(axis=1) * new
    as_if_independent = sqrt(float(squares.mean()) / (20 + new - 2) * (1 / 20 + 1 / new))
    assert error_factor(r, 20, new) == pytest.approx(float(difference.std()) / as_if_independent, rel=0.03)


def test_factor_against_a_release_of_long_before_is_that_of_simulated_runs() -> None:
    chance = np.random.default_rng(2)
    values, fixed = ar1(chance, 40_000, 23, 0.5), ar1(chance, 40_000, 2, 0.5)
    difference = values[:, 20:].mean(axis=1) - fixed.mean(axis=1)
    squares = values[:, :20].var(axis=1) * 20 + values[:, 20:].var(axis=1) * 3
    as_if_independent = sqrt(float(squares.mean()) / 21 * (1 / 2 + 1 / 3))
    assert reference_factor(0.5, 20, 3, 2) == pytest.approx(float(difference.std()) / as_if_independent, rel=0.03)


def test_independent_runs_need_no_factor_and_more_correlation_needs_a_larger_one() -> None:
    assert error_factor(0.0, 20, 3) == pytest.approx(1)
    factors = [error_factor(r, 20, 3) for r in np.arange(0, 0.91, 0.1)]
    assert factors == sorted(factors)
    assert error_factor(2.0, 20, 3) == error_factor(0.9, 20, 3) == factors[-1]


@pytest.mark.parametrize(("r", "runs"), [(0.5, 500), (0.0, 500), (0.7, 2_000)])
def test_correlation_of_a_long_history_is_found(r: float, runs: int) -> None:
    found = [neighbour_correlation(ar1(np.random.default_rng(seed), 5, runs, r)) for seed in range(10)]
    assert np.mean(found) == pytest.approx(r, abs=0.03)


def test_correlation_of_a_short_history_is_mostly_what_is_assumed() -> None:
    found = [neighbour_correlation(ar1(np.random.default_rng(seed), 1, 20, 0.0)) for seed in range(300)]
    assert 0.1 < np.mean(found) < 0.2
    assert np.std(found) < 0.15


@pytest.mark.parametrize("histories", [[], [np.zeros(20)], [np.zeros(2)], [np.array([1.0, 2.0])]])
def test_history_that_shows_nothing_leaves_what_is_assumed(histories: list[np.ndarray]) -> None:
    assert neighbour_correlation(histories) == pytest.approx(0.26)
    assert session_share(histories, [np.arange(len(one)) for one in histories]) == pytest.approx(0.1)


def test_share_of_a_day_is_found_in_a_history_with_three_runs_a_day() -> None:
    chance = np.random.default_rng(3)
    days = np.repeat(np.arange(200), 3)
    values = [sqrt(0.5) * (chance.standard_normal(200)[days] + chance.standard_normal(600)) for _ in range(10)]
    assert session_share(values, [days] * 10) == pytest.approx(0.5, abs=0.05)


def test_runs_of_one_session_count_for_less() -> None:
    assert session_factor(0.2, 20, (3,)) == pytest.approx(sqrt((0.2 + 0.8 / 3 + 1 / 20) / (1 / 3 + 1 / 20)))
    assert session_factor(0.2, 20, (1, 1, 1)) == pytest.approx(1)
    assert 1 < session_factor(0.2, 20, (2, 1)) < session_factor(0.2, 20, (3,))
    assert session_factor(0.9, 20, (1,)) == pytest.approx(1)
