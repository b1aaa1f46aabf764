"""The interval of a bad share: known answers, hard cases and bad input. How often it is wrong: tests/statistics."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadgen.analysis.proportion_interval import clopper_pearson
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate, unsure_text
from loadgen.measure.objectives.words import count_for_sure
from loadgen.measure.statistics import bad_share_interval
from loadgen.measure.statistics.bad_share_interval import BATCHES, dispersion_of, share_interval
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.measure.statistics.share_in_worst_window import dispersion_of_neighbours, share_in_worst_window
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, journey_key
from tests.support.simulated import batches_of

P95 = Objective(kind="percentile", q=95, limit=300 * NS_PER_MS, text="p(95) < 300ms")
ERRORS = Objective(kind="error_ratio", limit=0.05, text="error_ratio() < 5%")
MINUTE = Objective(
    kind="percentile", q=95, limit=300 * NS_PER_MS, text='p(95, window="1m") < 300ms', window_ns=60 * NS_PER_S
)


# -- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [0.025, 0.005, 0.0005])
def test_quantile_of_t_is_that_of_the_tables(tail: float) -> None:
    assert bad_share_interval._t4(tail) == pytest.approx(float(stats.t.ppf(1 - tail, 4)), rel=1e-9)


@pytest.mark.parametrize(
    ("bad", "of"), [(0, 10), (0, 3_000), (1, 24), (2, 20), (3, 1_000), (10, 20), (50, 1_000), (997, 1_000), (20, 20)]
)
def test_independent_events_have_the_interval_of_clopper_and_pearson(bad: int, of: int) -> None:
    found, (low, high) = share_interval([bad], [of], dispersion=1.0), clopper_pearson(bad, of)
    # With few events the closed form errs on the cautious side.
    error = {2: 0.08, 3: 0.03}
    assert found.low == pytest.approx(low, rel=error.get(bad, 0.01))
    assert found.low <= low * 1.002
    assert found.high == pytest.approx(high, rel=0.01)
    assert 1 - found.high == pytest.approx(1 - high, rel=error.get(of - bad, 0.01))


def test_no_bad_event_in_n_leaves_some_four_in_n_possible() -> None:
    assert share_interval([0] * 5, [1_000] * 5).high == pytest.approx(3.69 / 5_000, rel=0.001)
    assert share_interval([0] * 5, [1_000] * 5).low == 0.0


def test_only_bad_events_leave_some_four_in_n_good_ones_possible() -> None:
    found = share_interval([1_000] * 5, [1_000] * 5)
    assert 1 - found.low == pytest.approx(3.69 / 5_000, rel=0.001)
    assert found.high == 1.0


def test_dispersion_is_the_variance_of_the_batches_over_that_of_independent_events() -> None:
    bad = [10, 14, 9, 12, 15]
    share = 60 / 5_000
    expected = float(np.var(bad, ddof=1)) / (1_000 * share * (1 - share))
    assert dispersion_of(bad, [1_000] * 5) == pytest.approx(expected)


def test_events_with_a_dispersion_of_4_count_as_a_quarter_of_the_events() -> None:
    found, (low, high) = share_interval([400], [4_000], dispersion=4.0), clopper_pearson(100, 1_000)
    assert found.low == pytest.approx(low, rel=0.01)
    assert found.high == pytest.approx(high, rel=0.01)


def test_estimated_dispersion_also_takes_t_in_place_of_the_normal_quantile() -> None:
    bad = [30, 70, 50, 20, 80]
    dispersion = dispersion_of(bad, [1_000] * 5)
    assert dispersion is not None
    effective = 5_000 / (dispersion * (2.776 / 1.96) ** 2)
    scaled = share_interval([round(effective * 0.05)], [round(effective)], dispersion=1.0)
    found = share_interval(bad, [1_000] * 5)
    assert found.low == pytest.approx(scaled.low, rel=0.02)
    assert found.high == pytest.approx(scaled.high, rel=0.02)


def test_correlated_neighbours_widen_the_interval_as_in_batch_means() -> None:
    bad = [30, 70, 50, 20, 80]
    plain, corrected = share_interval(bad, [1_000] * 5), share_interval(bad, [1_000] * 5, rho=0.2)
    assert corrected.dispersion / plain.dispersion == pytest.approx((1 + 1.6 * 0.2) / (1 - 0.4 * 0.2))


def test_correlation_from_20_intervals_makes_the_interval_wider_by_3_in_20() -> None:
    bad = [30, 70, 50, 20, 80]
    plain, wider = (share_interval(bad, [1_000] * 5, rho=0.2, intervals=n) for n in (None, 20))
    assert wider.dispersion / plain.dispersion == pytest.approx(1.15**2)


def test_equal_batches_are_not_taken_as_more_certain_than_independent_events() -> None:
    low, high = clopper_pearson(60, 5_000)
    found = share_interval([12] * 5, [1_000] * 5)
    assert found.low == pytest.approx(low, rel=0.01)
    assert found.high == pytest.approx(high, rel=0.01)


def test_more_batches_than_five_are_joined() -> None:
    assert share_interval([1, 2] * 5, [100] * 10) == share_interval([3] * 5, [200] * 5)


def test_interval_of_a_part_of_the_run_is_for_the_whole_run() -> None:
    found = share_interval([5] * 5, [100] * 5, dispersion=1.0, whole=(10, 1_000))
    low, high = clopper_pearson(10, 1_000)
    assert found.low == pytest.approx(low, rel=0.01)
    assert found.high == pytest.approx(high, rel=0.01)


# -- hard cases -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=12), st.floats(0, 0.8))
def test_every_interval_holds_the_observed_share(pairs: list[tuple[int, int]], rho: float) -> None:
    bad, count = [min(pair) for pair in pairs], [max(pair) for pair in pairs]
    found = share_interval(bad, count, rho=rho)
    assert 0 <= found.low <= found.high <= 1
    if sum(count):
        assert found.low <= sum(bad) / sum(count) <= found.high


@pytest.mark.parametrize(("bad", "count"), [([], []), ([0], [0]), ([0] * 5, [0] * 5)])
def test_without_events_everything_is_possible(bad: list[int], count: list[int]) -> None:
    assert share_interval(bad, count) == bad_share_interval.ShareInterval(0.0, 1.0, 1.0)


def test_three_events_have_an_interval() -> None:
    found = share_interval([0, 0, 1, 0, 0], [1, 0, 1, 0, 1])
    assert found.low < 0.01
    assert found.high > 0.9


@pytest.mark.parametrize(
    ("bad", "count", "more", "message"),
    [
        ([1], [1, 2], {}, "as many"),
        ([3], [2], {}, "more bad events than events"),
        ([-1], [2], {}, "fewer than 0"),
        ([1], [2], {"level": 1.0}, "level is 1"),
        ([1], [2], {"rho": 1.0}, "rho is 1"),
        ([1], [2], {"whole": (3, 2)}, "3 bad of 2 events"),
    ],
)
def test_impossible_counts_are_rejected(bad: list[int], count: list[int], more: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        share_interval(bad, count, **more)  # type: ignore[arg-type]


# -- objectives -----------------------------------------------------------------------------------


def run_of(bad: int, of: int = 100, seconds: int = 100) -> Batches:
    """A run in whose seconds so many of the iterations took 400 ms in place of 10 ms, or failed."""
    agent, batches = FakeAgent("a"), Batches(0, seconds * NS_PER_S)
    values = {journey_key(): [10 * NS_PER_MS] * (of - bad) + [400 * NS_PER_MS] * bad}
    for _ in range(seconds):
        batches.accept("us", agent.delta(values))
    return batches


@pytest.mark.parametrize(
    ("bad", "verdict", "sure"), [(0, "passed", True), (2, "passed", True), (5, "passed", False), (20, "failed", True)]
)
def test_objective_far_from_its_budget_is_sure(bad: int, verdict: str, sure: bool) -> None:
    batches = run_of(bad)
    (result,) = with_intervals(evaluate(P95, batches), (P95,), batches)
    assert (result.verdict, result.sure) == (verdict, sure)
    assert result.bad_share_low is not None
    assert result.bad_share_high is not None
    assert result.bad_share_low <= bad / 100 <= result.bad_share_high


def test_objective_just_beyond_its_budget_has_failed_and_is_not_sure() -> None:
    agent, batches = FakeAgent("a"), Batches(0, 100 * NS_PER_S)
    for k in range(100):
        bad = 6 if k % 4 else 3  # 5.25 % in all
        values = {journey_key(): [10 * NS_PER_MS] * (100 - bad), journey_key(outcome="http 503"): [NS_PER_MS] * bad}
        batches.accept("us", agent.delta(values))
    (result,) = with_intervals(evaluate(ERRORS, batches), (ERRORS,), batches)
    assert (result.verdict, result.sure) == ("failed", False)
    text = unsure_text(result)
    assert text.startswith("not surely: with 95 % confidence ")
    assert text.endswith(" are bad, and 5 % is allowed. Run longer, or at a higher rate")
    assert (result.low, result.high) == (result.bad_share_low, result.bad_share_high), "one figure has one interval"


@pytest.mark.parametrize("allowed", [0.0005, 0.01, 0.05, 0.5])
@pytest.mark.parametrize("count", [1, 40, 300, 100_000])
@pytest.mark.parametrize("dispersion", [1.0, 3.7])
def test_the_number_that_makes_it_sure_is_the_least_one_without_a_bad_one(
    allowed: float, count: int, dispersion: float
) -> None:
    def high(n: int) -> float:
        return share_interval([0], [n], dispersion=dispersion).high

    needed = count_for_sure(count, round(high(count), 9), allowed)
    assert high(needed) < allowed
    if count == 300:
        assert high(needed - 1) >= allowed


def test_no_number_is_enough_if_none_may_be_bad() -> None:
    assert count_for_sure(300, 0.0122, 0.0) == 0


def test_too_few_iterations_without_an_error_say_how_many_are_enough_and_no_interval() -> None:
    batches = run_of(0, of=60, seconds=1)
    (result,) = with_intervals(evaluate(ERRORS, batches), (ERRORS,), batches)
    assert (result.verdict, result.sure) == ("passed", False)
    assert unsure_text(result) == (
        "not surely: none of 60 iterations failed, but a sure verdict needs 72 iterations, and none of them may fail."
        " Run longer, or at a higher rate"
    )
    for of, sure in ((71, False), (72, True)):
        batches = run_of(0, of=of, seconds=1)
        assert with_intervals(evaluate(ERRORS, batches), (ERRORS,), batches)[0].sure is sure


def test_run_of_three_seconds_has_an_interval_of_its_bad_share() -> None:
    batches = batches_of([np.full(50, 10 * NS_PER_MS) for _ in range(3)])
    (result,) = with_intervals(evaluate(ERRORS, batches), (ERRORS,), batches)
    assert (result.bad_share_low, result.sure) == (0.0, True)
    assert result.bad_share_high == pytest.approx(3.69 / 150, rel=0.02)


def test_few_bad_values_take_the_dispersion_of_the_slowest_values() -> None:
    """In batch 1, all of the slowest 100 values; 5 of them are beyond the limit."""
    rng = np.random.default_rng(1)
    runs = [(1e7 * np.exp(rng.normal(0, 0.1, 100))).astype(np.int64) for _ in range(100)]
    spread = [one.copy() for one in runs]
    for k in range(10):
        runs[k][:10] = 200 * NS_PER_MS
    for k in range(100):
        spread[k][0] = 200 * NS_PER_MS
    for k in (2, 30, 50, 70, 90):
        runs[k][50] = spread[k][50] = 400 * NS_PER_MS
    clustered, even = (batches_of(one) for one in (runs, spread))
    of_clustered, of_even = (
        with_intervals(evaluate(P95, one), (P95,), one)[0].bad_share_high for one in (clustered, even)
    )
    assert of_clustered is not None
    assert of_even is not None
    assert of_clustered > 3 * of_even


def test_objective_without_data_is_not_sure_and_has_no_interval() -> None:
    other = Objective(kind="percentile", q=95, limit=3e8, text="p(95, step=x) < 300ms", step="x")
    batches = run_of(0)
    (result,) = with_intervals(evaluate(other, batches), (other,), batches)
    assert (result.verdict, result.sure, result.bad_share_low) == ("inconclusive", False, None)


def test_result_of_a_running_run_has_no_interval_yet() -> None:
    (result,) = evaluate(P95, run_of(0))
    assert (result.sure, result.bad_share_low, result.bad_share_high) == (None, None, None)


def test_new_keys_are_in_the_json_of_a_result() -> None:
    batches = run_of(0)
    (result,) = with_intervals(evaluate(P95, batches), (P95,), batches)
    assert msgspec.to_builtins(result).items() >= {"sure": True, "bad_share_low": 0.0}.items()


# -- windows --------------------------------------------------------------------------------------


def windowed(bad: list[int], of: int) -> Merge:
    merge = Merge()
    merge.due.add("a", [DueCounts(0, "shop", k, of - one, one) for k, one in enumerate(bad)])
    return merge


def test_failure_by_a_few_more_than_the_budget_in_one_window_is_not_sure() -> None:
    bad = [2] * 300
    bad[100:110] = [4] * 10  # 140 bad of 2,400 in the worst minute: 5.8 %
    merge = windowed(bad, 40)
    (result,) = evaluate(MINUTE, merge, index=0, end_ns=300 * NS_PER_S)
    found = share_in_worst_window(result, MINUTE, merge.due, 0, NS_PER_S)
    assert result.verdict == "failed"
    assert found is not None
    assert found.low < 0.05 < found.high


def test_failure_by_an_outage_of_a_minute_is_sure() -> None:
    bad = [1] * 300
    bad[100:160] = [40] * 60
    merge = windowed(bad, 40)
    (result,) = evaluate(MINUTE, merge, index=0, end_ns=300 * NS_PER_S)
    found = share_in_worst_window(result, MINUTE, merge.due, 0, NS_PER_S)
    assert found is not None
    assert found.low > 0.9


def test_windows_without_events_have_no_interval() -> None:
    merge = Merge()
    (result,) = evaluate(MINUTE, merge, index=0, end_ns=300 * NS_PER_S, journeys=("shop",))
    assert share_in_worst_window(result, MINUTE, merge.due, 0, NS_PER_S) is None


def test_dispersion_of_neighbours_is_1_for_independent_events_and_larger_for_groups() -> None:
    rng = np.random.default_rng(3)
    alone = rng.binomial(100, 0.05, 5_000)
    groups = 3 * rng.binomial(33, 0.05, 5_000)
    count = np.full(5_000, 100)
    assert dispersion_of_neighbours(alone, count) == pytest.approx(1.0, abs=0.06)
    assert dispersion_of_neighbours(groups, count) == pytest.approx(3.0, rel=0.08)
    assert dispersion_of_neighbours(alone * 0, count) == 1.0


def test_number_of_batches_is_that_of_batch_means() -> None:
    from loadgen.measure.statistics import batch_means

    assert BATCHES == batch_means.BATCHES
