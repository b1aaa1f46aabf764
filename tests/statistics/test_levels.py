"""Levels, steps and outliers: against scipy, how often their intervals hold, and what is named though it is none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import expm1, isnan, log

import numpy as np
import pytest
from scipy import stats

from loadgen.analysis.history_segments import between, levels, outliers, steps
from tests.statistics.trials import series

Seen = Callable[[str, object], None]


def test_without_outliers_a_step_is_welchs() -> None:
    chance = np.random.default_rng(1)
    before, after = chance.uniform(4.00, 4.05, 20), chance.uniform(4.10, 4.13, 7)
    welch = stats.ttest_ind(after, before, equal_var=False)
    low, high = welch.confidence_interval(0.95)
    seen = between(before, after)
    assert seen == pytest.approx((expm1(after.mean() - before.mean()), expm1(low), expm1(high)), abs=2e-4)


def test_a_step_is_of_the_two_levels_beside_it() -> None:
    values = np.repeat([0.0, log(1.10), log(0.99)], 12) + np.random.default_rng(2).normal(0, 0.005, 36)
    first, second = steps(values, (12, 24))
    assert (first.at, second.at) == (12, 24)
    assert first.low < 0.10 < first.high
    assert second.low < -0.10 < second.high


def test_one_outlier_hardly_moves_a_level() -> None:
    values = np.random.default_rng(3).normal(0, 0.01, 20)
    quiet = levels(values)[0]
    values[7] += 5.0
    loud = levels(values)[0]
    assert loud.height == pytest.approx(quiet.height, abs=0.005)
    assert loud.deviation < 2 * quiet.deviation


def test_levels_are_as_long_as_the_changes_say() -> None:
    found = levels(np.arange(10.0), (3, 7))
    assert [(one.start, one.end, one.count) for one in found] == [(0, 3, 3), (3, 7, 4), (7, 10, 3)]


def test_an_outlier_is_one_of_its_level_and_not_of_the_whole() -> None:
    values = np.repeat([0.0, 0.5], 20) + np.random.default_rng(4).normal(0, 0.01, 40)
    values[5] = 0.5
    (found,) = outliers(values, (20,))
    assert found.index == 5
    assert found.change == pytest.approx(expm1(0.5), abs=0.02)
    assert found.deviations > 10


def test_values_that_are_equal_but_for_one_name_that_one() -> None:
    values = np.zeros(12)
    values[3] = 0.2
    assert [one.index for one in outliers(values)] == [3]
    assert outliers(np.zeros(12)) == ()


def test_of_four_values_none_is_an_outlier() -> None:
    assert outliers([0.0, 0.0, 0.0, 9.0]) == ()


@pytest.mark.parametrize("n", [6, 10, 20, 50])
def test_few_clean_levels_have_an_outlier(n: int) -> None:
    chance = np.random.default_rng(n)
    named = sum(bool(outliers(chance.normal(0, 0.02, n))) for _ in range(1000))
    assert named <= 60


@pytest.mark.parametrize(
    ("n", "k", "correlation", "least"), [(20, 3, 0.0, 920), (20, 10, 0.0, 930), (50, 50, 0.4, 900)]
)
def test_the_interval_of_a_step_holds(n: int, k: int, correlation: float, least: int, record_property: Seen) -> None:
    chance = np.random.default_rng(n + k)
    held = 0
    for _ in range(1000):
        values = series(chance, n + k, 0.02, correlation)
        values[n:] += log(1.10)
        (found,) = steps(values, (n,), ar=correlation > 0)
        held += found.low <= 0.10 <= found.high
    record_property("seen", f"{held} of 1,000")
    assert held >= least


def test_one_run_has_no_interval() -> None:
    change, low, high = between([0.0, 0.01, 0.02], [0.11])
    assert change == pytest.approx(expm1(0.10))
    assert isnan(low)
    assert isnan(high)


def test_equal_values_have_an_interval_that_is_not_empty() -> None:
    _, low, high = between([1.0] * 5, [1.0] * 5)
    assert low < 0 < high


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ([], (), "shape"),
        ([1.0, np.inf], (), "not finite"),
        ([1.0, 2.0], (2,), "changes"),
        ([1.0, 2.0], (0,), "changes"),
    ],
)
def test_what_makes_no_sense_is_refused(values: list[float], changes: tuple[int, ...], message: str) -> None:
    for of in (levels, steps, outliers):
        with pytest.raises(ValueError, match=message):
            of(values, changes)


def test_levels_cover_the_series() -> None:
    found = levels(np.zeros(30), (5, 11))
    assert all(a.end == b.start for a, b in pairwise(found))


def test_of_a_level_at_most_a_tenth_are_outliers() -> None:
    two_modes = np.log([100.0] * 12 + [110.0] * 8)
    assert outliers(two_modes) == ()
    assert levels(two_modes)[0].deviation == pytest.approx(two_modes.std(ddof=1))
    one_bad = np.log([100.0, 101.0] * 9 + [100.0, 150.0])
    assert [one.index for one in outliers(one_bad)] == [19]
