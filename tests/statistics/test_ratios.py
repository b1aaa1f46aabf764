"""Error ratios: known answers, how often more errors are seen that are none, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from loadgen.analysis.error_ratio_gate import Counts, judge_ratios
from loadgen.analysis.gate import holm
from loadgen.measure.statistics.batch_means import Batches
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, request_key
from tools.how_often_wrong import error_ratios

NONE = Counts([0] * 20, [10_000] * 20)


def test_interval_is_that_of_welch_where_runs_differ_more_than_chance_would() -> None:
    old = np.array([0.010, 0.020, 0.015, 0.030, 0.012, 0.022, 0.018, 0.027])
    new = np.array([0.02, 0.05, 0.08, 0.03, 0.06, 0.045, 0.07])
    found = judge_ratios({"GET /": Counts(old * 1e6, [1e6] * 8)}, {"GET /": Counts(new * 1e6, [1e6] * 7)})[0]
    both = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((both.low, both.high), rel=1e-6)


def batches_of(errors: np.ndarray, requests: int = 10_000) -> Counts:
    """Counts of runs from the errors of their five batches, shape (runs, 5)."""
    within = (errors * 5 / requests).std(axis=1, ddof=1) / np.sqrt(5)
    totals = errors.sum(axis=1)
    return Counts(totals, np.full(len(totals), requests), np.where(totals > 0, within, np.nan))


def test_p_is_that_of_the_binomial_test_where_errors_do_not_come_in_bursts() -> None:
    """Two errors in each batch: no more dispersion than of independent requests, rather less."""
    old, new = np.full((20, 5), 2.0), np.full((3, 5), 3.0)
    found = judge_ratios({"GET /": batches_of(old)}, {"GET /": batches_of(new)})[0]
    expected = stats.binomtest(45, 245, 3 / 23, alternative="greater").pvalue
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert found.p_adjusted == holm(np.array([found.p]))[0]


def test_bursts_of_a_size_count_as_single_errors() -> None:
    """One burst of 50 in each batch, or none: as 1 or 0, apart from the burst that is added for the unseen."""
    chance = np.random.default_rng(3)
    old, new = chance.integers(0, 2, (20, 5)) * 50.0, np.tile([50.0, 0.0, 50.0, 50.0, 50.0], (3, 1))
    found = judge_ratios({"GET /": batches_of(old)}, {"GET /": batches_of(new)})[0]
    bursts = round(old.sum() / 50)
    of_bursts = stats.binomtest(12, bursts + 12, 3 / 23, alternative="greater").pvalue
    of_requests = stats.binomtest(600, round(old.sum()) + 600, 3 / 23, alternative="greater").pvalue
    assert of_requests < 1e-6 < of_bursts / 10 < found.p < of_bursts * 10


def test_errors_where_there_were_none_fail() -> None:
    found = judge_ratios({"GET /": NONE}, {"GET /": Counts([50] * 3, [10_000] * 3, [0.001] * 3)})[0]
    assert (found.has_failed, found.before, found.after) == (True, 0.0, 0.005)


def test_certain_excess_below_a_tenth_of_a_point_is_none() -> None:
    found = judge_ratios({"GET /": Counts([0] * 20, [10**7] * 20)}, {"GET /": Counts([5000] * 3, [10**7] * 3)})[0]
    assert (found.p < 1e-6, found.has_failed) == (True, False)


def test_burst_in_one_of_three_runs_decides_nothing() -> None:
    assert not judge_ratios({"GET /": NONE}, {"GET /": Counts([0, 0, 500], [10_000] * 3)})[0].has_failed


def test_errors_of_one_run_without_batches_can_be_a_single_burst() -> None:
    """Of 10,000 requests, 500 can be one outage. Four times as many, in each of three runs, cannot."""
    assert not judge_ratios({"GET /": NONE}, {"GET /": Counts([500], [10_000])})[0].has_failed
    assert judge_ratios({"GET /": NONE}, {"GET /": Counts([2_000] * 3, [10_000] * 3)})[0].has_failed


def test_runs_of_the_history_without_batches_do_not_make_the_new_runs_unknown() -> None:
    old = Counts([100] * 20, [10_000] * 20, [0.001] * 19 + [np.nan])
    new = Counts([200] * 3, [10_000] * 3, [0.0014] * 3)
    assert judge_ratios({"GET /": old}, {"GET /": new})[0].has_failed
    assert not judge_ratios({"GET /": old}, {"GET /": Counts([200] * 3, [10_000] * 3)})[0].has_failed


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


BURSTS = error_ratios.Kind(0.02, 50.0)


def test_outages_of_the_same_target_fail_in_few_cases_and_four_times_as_many_in_most() -> None:
    for kind in (BURSTS, replace(BURSTS, new=1), replace(BURSTS, new=1, has_batches=False)):
        (cell,) = error_ratios.cells([kind], 150, 1)
        assert stats.binomtest(cell.false_alarms, cell.trials, 0.01, alternative="greater").pvalue > 0.01
        assert cell.found > 0.55 * cell.trials


@pytest.mark.slow
def test_outages_fail_in_at_most_1_percent_of_gates_in_every_cell(
    record_property: Callable[[str, object], None],
) -> None:
    """The goal holds up to two standard errors of the simulation. 60 names take most of the time."""
    cells = error_ratios.cells(error_ratios.KINDS, 1_000, 17)
    record_property("seen", str([(str(one.kind), one.false_alarms, one.found) for one in cells]))
    for one in cells:
        assert one.false_alarms <= 10 + 2 * np.sqrt(10), one
    by_kind = {one.kind: one for one in cells}
    assert by_kind[error_ratios.Kind(0.005, 50.0)].found > 500
    assert by_kind[error_ratios.Kind(0.02, 50.0)].found > 990
    assert by_kind[error_ratios.Kind(0.005, 100.0, names=60, requests=200_000)].found > 900


def run_of_seconds(chance: np.random.Generator, seconds: int, a_second: int) -> Batches:
    """A run whose requests take 100 ms, with about two outages of 50 requests that fail in 2 ms."""
    bad = np.zeros(seconds * a_second, dtype=bool)
    for start in chance.integers(0, len(bad), 1 + chance.poisson(1)):
        bad[start : start + chance.geometric(1 / 50)] = True
    took = np.where(bad, 2.0, 100 * np.exp(chance.normal(0, 0.3, len(bad)))) * NS_PER_MS
    agent, batches = FakeAgent("a"), Batches(0, seconds * NS_PER_S)
    ok, failed = request_key(), request_key(outcome="http 503")
    by_second = zip(np.split(took.astype(int), seconds), np.split(bad, seconds), strict=True)
    batches.read(("us", agent.delta({ok: t[~b].tolist(), failed: t[b].tolist()})) for t, b in by_second)
    return batches


def test_most_runs_with_outages_deliver_the_error_of_their_ratio() -> None:
    """If a burst made a run "too short", it would be judged as if it had no batches."""
    chance = np.random.default_rng(8)
    runs = [run_of_seconds(chance, 60, 40) for _ in range(10)]
    errors = [one.ratio_error(one.rows("request")[0]) for one in runs]
    assert sum(one.value is not None for one in errors) >= 8


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"GET / must have one value per run in errors and totals; POST / has a run without requests"
    ):
        judge_ratios(
            {"GET /": Counts([1, 2], [10]), "POST /": Counts([1], [10])},
            {"GET /": Counts([1], [10]), "POST /": Counts([0], [0])},
        )
