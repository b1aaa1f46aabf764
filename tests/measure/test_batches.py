"""Intervals from batches: what they say of runs whose answer is known. How often they are right: tests/statistics."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, pi, sqrt

import msgspec
import numpy as np
import pytest

from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, SloResult, evaluate
from loadgen.measure.statistics.batch_means import BATCHES, T_QUANTILE, Batches, Interval
from loadgen.measure.statistics.correlation import neighbours_rho
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, journey_key
from tests.support.simulated import ROW, ar1, batches_of, deltas_of, quick_batches_of


def steady(seconds: int = 100, values: int = 100, seed: int = 1, sigma: float = 0.5) -> list[np.ndarray]:
    """Independent lognormal response times around 20 ms."""
    rng = np.random.default_rng(seed)
    return [(20e6 * np.exp(rng.normal(0, sigma, values))).astype(np.int64) for _ in range(seconds)]


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None, interval.why
    assert interval.high is not None
    return interval.low, interval.high


def test_interval_holds_the_observed_percentile_and_the_truth_of_a_steady_run() -> None:
    batches = batches_of(steady())
    for q, z in ((50, 0.0), (90, 1.2816), (95, 1.6449), (99, 2.3263)):
        low, high = ends(batches.interval(ROW, q))
        observed = batches.select_row(ROW)[0].percentile_us(q) / 1_000
        assert low < observed < high
        assert low < 20 * exp(0.5 * z) < high
        assert high / low < 1.2


@pytest.mark.parametrize("seconds", [20, 60, 301])
def test_batches_without_deltas_have_the_intervals_of_those_with_deltas(seconds: int) -> None:
    runs = steady(seconds)
    assert quick_batches_of(runs).intervals(ROW, (50, 95, 99)) == batches_of(runs).intervals(ROW, (50, 95, 99))


@pytest.mark.parametrize("seed", range(1, 5))
def test_interval_is_the_larger_of_two_in_the_textbook(seed: int) -> None:
    runs = steady(seed=seed)
    logs = [np.log(np.median(np.concatenate(runs[20 * b : 20 * b + 20]))) for b in range(5)]
    # (1 + 1.6 * 0.08) / (1 - 0.4 * 0.08) = 1.165 for what neighbours have in common, 1 + 6 / 100 for 100 intervals
    of_batches = T_QUANTILE * float(np.std(logs, ddof=1)) / sqrt(5) * sqrt(1.165) * 1.06
    # The median of n values has the standard error 1 / (2 f sqrt(n)), with the density f = 1 / (sd sqrt(2 pi)) there.
    of_order = 1.96 * 0.5 * sqrt(2 * pi) / (2 * sqrt(10_000))
    low, high = ends(batches_of(runs).interval(ROW, 50))
    # More only where the seconds of this run look correlated by chance.
    assert 0.95 < np.log(high / low) / 2 / max(of_batches, of_order) < 1.6


def test_slow_changes_make_the_interval_wide() -> None:
    rng = np.random.default_rng(4)
    factor = np.exp(ar1(rng, 300, 0.99, 0.3))
    slow = [(f * v).astype(np.int64) for f, v in zip(factor, steady(300), strict=True)]
    low, high = ends(batches_of(slow).interval(ROW, 95))
    quick = [(f * v).astype(np.int64) for f, v in zip(rng.permutation(factor), steady(300), strict=True)]
    near, far = ends(batches_of(quick).interval(ROW, 95))
    assert np.log(high / low) > 2 * np.log(far / near)


def test_load_that_grows_has_a_wide_interval_unless_batches_begin_after_its_ramp() -> None:
    ramp = [(v * (2 - k / 50)).astype(np.int64) for k, v in enumerate(steady(50))]
    runs = [*ramp, *steady(150, seed=2)]
    low, high = ends(batches_of(runs).interval(ROW, 50))
    after = Batches(0, 200 * NS_PER_S, steady_ns=50 * NS_PER_S)
    after.read(deltas_of(runs))
    near, far = ends(after.interval(ROW, 50))
    assert after.text == "5 batches of 30.0 s"
    assert after.select_row(ROW)[0].total == 20_000, "the figures are still those of the whole run"
    assert np.log(high / low) > 3 * np.log(far / near)


def test_percentile_between_two_modes_may_be_either() -> None:
    """9 of 1,000 requests are slow: p99 is fast here, and may well be slow in the next run."""
    rng = np.random.default_rng(6)
    runs = [np.where(rng.random(50) < 0.009, 20 * v, v).astype(np.int64) for v in steady(60, 50, sigma=0.1)]
    observed = batches_of(runs).select_row(ROW)[0].percentile_us(99) / 1_000
    low, high = ends(batches_of(runs).interval(ROW, 99))
    assert low < 30
    assert high > 300
    assert low <= observed <= high


def test_freeze_leaves_no_interval_beyond_the_largest_value() -> None:
    runs = steady(60, 50)
    runs[30] = runs[30] + NS_PER_S
    largest_ms = max(v.max() for v in runs) / NS_PER_MS
    for q in (50, 95, 99):
        assert ends(batches_of(runs).interval(ROW, q))[1] <= largest_ms * 1.001


def test_tail_that_comes_in_bursts_has_an_interval_over_both_levels() -> None:
    rng = np.random.default_rng(6)
    runs = steady(300)
    slow = (np.arange(300) // 75) % 2 == 1  # 75 s with, 75 s without
    for k in np.flatnonzero(slow):
        runs[k] = np.where(rng.random(100) < 0.06, 30 * runs[k], runs[k]).astype(np.int64)
    low, high = ends(batches_of(runs).interval(ROW, 99))
    assert low < 70
    assert high > 500


def test_fewer_than_ten_intervals_are_too_short_a_run() -> None:
    assert batches_of(steady(9)).interval(ROW, 50).why == "too short"
    assert batches_of(steady(10)).interval(ROW, 50).why == ""


@pytest.mark.parametrize(("q", "needed"), [(50, 20), (95, 200), (99, 1_000), (99.9, 10_000)])
def test_percentile_wants_ten_values_beyond_it(q: float, needed: int) -> None:
    per_interval = needed // 20
    assert batches_of(steady(20, per_interval)).interval(ROW, q).why != "too few samples"
    fewer = steady(20, per_interval)
    fewer[0] = fewer[0][1:]
    assert batches_of(fewer).interval(ROW, q).why == "too few samples"


def test_batch_without_a_value_is_too_few_samples() -> None:
    runs = steady(100)
    for k in range(40, 60):
        runs[k] = runs[k][:0]
    assert batches_of(runs).interval(ROW, 50).why == "too few samples"


def test_row_that_is_not_there_has_too_few_samples() -> None:
    assert batches_of([]).interval(ROW, 50).why == "too few samples"


def test_constant_times_have_an_interval_of_one_slot_and_not_of_nothing() -> None:
    # Not of integer µs steps: the slot of 20 ms is 16 µs wide.
    low, high = ends(batches_of([np.full(100, 20 * NS_PER_MS)] * 100).interval(ROW, 95))
    assert low <= 20 <= high
    assert high - low == pytest.approx(0.015, abs=0.002)


def agents_batches(values: Sequence[dict[SeriesKey, list[int]]], interval_ns: int = NS_PER_S) -> Batches:
    agent = FakeAgent("a", interval_ns=interval_ns)
    batches = Batches(0, len(values) * interval_ns, interval_ns)
    batches.read(("us", agent.delta(v)) for v in values)
    return batches


LATE = journey_key(outcome="timeout", censored=True)


def test_percentile_among_the_censored_has_no_interval() -> None:
    rng = np.random.default_rng(8)
    rows = [{journey_key(): rng.integers(10**7, 2 * 10**7, 97).tolist(), LATE: [60 * NS_PER_S] * 3} for _ in range(40)]
    batches = agents_batches(rows)
    row = batches.rows("journey")[0]
    assert batches.interval(row, 99).why == "censored"
    assert batches.interval(row, 95).why == ""
    assert batches.interval(row, 99, outcome="ok").why == ""


def test_batches_are_of_equal_length_and_hold_all_that_the_run_does() -> None:
    batches = batches_of(steady(103, 10))
    counts = [part.select_row(ROW)[0].total for part in batches._batches]
    assert sum(counts) == 1_030
    assert max(counts) - min(counts) <= 10
    assert batches.text == "5 batches of 20.6 s"
    assert len(batches._batches) == BATCHES


def test_what_ends_in_the_drain_is_in_the_last_batch() -> None:
    batches = Batches(0, 50 * NS_PER_S)
    batches.read(deltas_of(steady(60, 10)))
    assert [part.select_row(ROW)[0].total for part in batches._batches] == [100, 100, 100, 100, 200]


@pytest.mark.parametrize("interval_ms", [100, 250, 1_000, 10_000])
def test_no_code_assumes_intervals_of_a_second(interval_ms: int) -> None:
    batches = batches_of(steady(100), interval_ms * NS_PER_MS)
    assert batches.interval(ROW, 95).why == ""
    assert batches.length_s == pytest.approx(20 * interval_ms / 1_000)


def test_long_run_is_looked_at_in_at_most_300_parts() -> None:
    assert Batches(0, 3_600 * NS_PER_S).bins == 300
    assert Batches(0, 601 * NS_PER_S).bins == 201
    assert Batches(0, 300 * NS_PER_S).bins == 300
    assert Batches(0, 0).bins == 1


def test_batches_are_a_whole_merge() -> None:
    merge = Merge()
    for region, delta in deltas_of(steady(30)):
        merge.accept(region, delta)
    batches = batches_of(steady(30))
    assert batches.select_row(ROW) == merge.select_row(ROW)
    assert batches.counters() == merge.counters()


# -- objectives -----------------------------------------------------------------------------------

P95 = Objective(kind="percentile", q=95, limit=3e8, text="p(95) < 300ms")
ERRORS = Objective(kind="error_ratio", limit=0.05, text="error_ratio() < 5%")


def test_objective_over_a_percentile_has_the_interval_of_what_was_due() -> None:
    rng = np.random.default_rng(9)
    rows = [
        {journey_key(): rng.integers(10**7, 2 * 10**7, 98).tolist(), journey_key(outcome="http 503"): [10**6] * 2}
        for _ in range(40)
    ]
    batches = agents_batches(rows)
    (result,) = with_intervals(evaluate(P95, batches), (P95,), batches)
    # 95 of 100 due ended ok within the 95th of 98 ok ones, uniform from 10 to 20 ms: 19.69 ms.
    assert isinstance(result.observed, float)
    assert result.low is not None
    assert result.high is not None
    assert result.low < 10 + 10 * 95 / 98 < result.high
    assert result.low <= result.observed <= result.high


def test_ratio_of_errors_has_the_interval_of_the_batches_ratios() -> None:
    rng = np.random.default_rng(10)
    rows = []
    for _ in range(100):
        bad = int(rng.binomial(100, 0.02))
        rows.append({journey_key(): [10**7] * (100 - bad), journey_key(outcome="http 503"): [10**6] * bad})
    batches = agents_batches(rows)
    (result,) = with_intervals(evaluate(ERRORS, batches), (ERRORS,), batches)
    assert result.low is not None
    assert result.high is not None
    assert result.low < 0.02 < result.high
    assert result.high - result.low < 0.02


def test_no_error_at_all_leaves_three_in_n_possible() -> None:
    batches = batches_of(steady())
    (result,) = with_intervals(evaluate(ERRORS, batches), (ERRORS,), batches)
    assert (result.low, result.high) == (0, 3 / 10_000)
    short = batches_of(steady(7))
    (result,) = with_intervals(evaluate(ERRORS, short), (ERRORS,), short)
    assert (result.low, result.high) == (0, round(3 / 700, 9)), "of 700, however short the run is"


def test_objective_that_observed_only_a_bound_or_is_over_windows_has_no_interval() -> None:
    windowed = Objective(kind="percentile", q=95, limit=3e8, text="p(95, window=1m) < 300ms", window_ns=60 * NS_PER_S)
    batches = batches_of(steady())
    worst = SloResult(
        objective=windowed.text, journey="shop", observed=0.02, unit="ratio", count=6_000, good=5_880, verdict="passed"
    )
    assert with_intervals([worst], (windowed,), batches) == (msgspec.structs.replace(worst, sure=False),)
    rows = [{journey_key(): [10**7] * 90, LATE: [60 * NS_PER_S] * 10} for _ in range(40)]
    late = agents_batches(rows)
    (bound,) = with_intervals(evaluate(P95, late), (P95,), late)
    assert isinstance(bound.observed, str)
    assert (bound.low, bound.high) == (None, None)


# -- correlation ------------------------------------------------------------------------------------


def test_correlation_of_neighbouring_batches_is_known_for_a_strong_and_for_no_process() -> None:
    rng = np.random.default_rng(12)
    white = [neighbours_rho(rng.normal(size=300), 5).mean for _ in range(200)]
    slow = [neighbours_rho(ar1(rng, 300, 0.97, 1.0), 5).mean for _ in range(200)]
    quick = [neighbours_rho(ar1(rng, 300, 0.9, 1.0), 5).mean for _ in range(200)]
    # Truth by the formula of correlation.py: 0, 0.094 and 0.357; the prior draws the ends towards the middle.
    assert np.median(white) < 0.1
    assert 0.06 < np.median(quick) < 0.16
    assert 0.28 < np.median(slow) < 0.45


def test_series_of_zeros_says_no_more_than_white_noise() -> None:
    rho = neighbours_rho(np.zeros(300), 5)
    assert 0 < rho.mean < 0.1
    assert rho.mean < rho.upper < 0.2


def test_objective_of_a_short_correlated_run_has_an_interval_up_to_the_largest_value() -> None:
    rng = np.random.default_rng(13)
    factor = np.exp(ar1(rng, 30, 0.95, 0.5))
    runs = [(f * v).astype(np.int64) for f, v in zip(factor, steady(30, 10), strict=True)]
    batches = batches_of(runs)
    (result,) = with_intervals(evaluate(P95, batches), (P95,), batches)
    assert result.low is not None
    assert result.high is not None
    assert isinstance(result.observed, float)
    assert result.low <= result.observed <= result.high <= max(v.max() for v in runs) / NS_PER_MS * 1.001
