"""Error ratios: known answers of Welch's t, how often more errors are seen that are none, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from loadgen.analysis.error_ratio_gate import Counts, judge_ratios

NONE = Counts([0] * 20, [10_000] * 20)


def test_p_and_interval_are_those_of_welch_where_runs_differ_more_than_chance_would() -> None:
    old = np.array([0.010, 0.020, 0.015, 0.030, 0.012, 0.022, 0.018, 0.027])
    new = np.array([0.02, 0.05, 0.08, 0.03, 0.06, 0.045, 0.07])
    found = judge_ratios({"GET /": Counts(old * 1e6, [1e6] * 8)}, {"GET /": Counts(new * 1e6, [1e6] * 7)})[0]
    expected = stats.ttest_ind(new, old, equal_var=False, alternative="greater")
    both = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((both.low, both.high), rel=1e-6)
    assert found.p_adjusted == pytest.approx(found.p / 0.8)


def test_errors_where_there_were_none_fail() -> None:
    found = judge_ratios({"GET /": NONE}, {"GET /": Counts([50] * 3, [10_000] * 3, [0.001] * 3)})[0]
    assert (found.has_failed, found.before, found.after) == (True, 0.0, 0.005)


def test_certain_excess_below_a_tenth_of_a_point_is_none() -> None:
    found = judge_ratios({"GET /": Counts([0] * 20, [10**7] * 20)}, {"GET /": Counts([5000] * 3, [10**7] * 3)})[0]
    assert (found.p < 1e-6, found.has_failed) == (True, False)


def test_burst_in_one_of_three_runs_decides_nothing() -> None:
    assert not judge_ratios({"GET /": NONE}, {"GET /": Counts([0, 0, 500], [10_000] * 3)})[0].has_failed


def test_errors_all_in_one_batch_of_a_run_decide_nothing() -> None:
    assert not judge_ratios({"GET /": NONE}, {"GET /": Counts([100], [10_000], [0.01])})[0].has_failed


def test_names_that_only_one_side_has_are_not_judged() -> None:
    assert judge_ratios({"GET /": NONE}, {"POST /": NONE}) == ()


@pytest.mark.parametrize("new", [1, 3])
def test_clustered_errors_of_the_same_target_fail_in_few_cases(new: int) -> None:
    """Bursts of 20 errors, 0 to many a run: what a test over requests calls different half of the time."""
    chance = np.random.default_rng(new)
    trials, alarms = 400, 0
    for _ in range(trials):
        batches = chance.poisson(2, (20 + new, 5)) * 20
        errors, within = batches.sum(axis=1), (batches / 2000).std(axis=1, ddof=1) / np.sqrt(5)
        sides = [
            {"GET /": Counts(errors[part], np.full(len(errors[part]), 10_000), within[part])}
            for part in (slice(20), slice(20, None))
        ]
        alarms += judge_ratios(*sides, alpha=0.05)[0].has_failed
    assert stats.binomtest(alarms, trials, 0.05, alternative="greater").pvalue > 0.01


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"GET / must have one value per run in errors and totals; POST / has a run without requests"
    ):
        judge_ratios(
            {"GET /": Counts([1, 2], [10]), "POST /": Counts([1], [10])},
            {"GET /": Counts([1], [10]), "POST /": Counts([0], [0])},
        )
