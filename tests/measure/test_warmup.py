"""The warm-up that is found after a run: where it is cut, and that cutting loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Merge, check_invariant
from loadgen.measure.statistics.batches_of_run import recounted
from loadgen.measure.statistics.warmup import Levels, Recount, find_cut
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples
from tests.support.simulated import ROW, ar1, batches_of, deltas_of


def noise(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, n)


def test_steady_run_is_not_cut() -> None:
    cut = find_cut(noise(300))
    assert cut.cut_ns == 0
    assert "steady from the start" in cut.why


def test_step_is_cut_where_it_ends_to_one_group_of_five() -> None:
    levels = noise(300) + 0.5 * (np.arange(300) < 60)
    cut = find_cut(levels)
    assert 60 * NS_PER_S <= cut.cut_ns <= 65 * NS_PER_S
    assert cut.why.startswith("until ")
    assert "longer than after it" in cut.why


def test_slow_start_is_cut_before_what_is_left_of_it_matters() -> None:
    # 1.0 * exp(-t / 24 s): at 72 s 5 % are left, which is as much as one interval's noise.
    levels = noise(300) + np.exp(-np.arange(300) / 24)
    assert 40 * NS_PER_S <= find_cut(levels).cut_ns <= 110 * NS_PER_S


def test_times_that_were_shorter_at_first_are_cut_too() -> None:
    assert "shorter" in find_cut(noise(300) - 0.5 * (np.arange(300) < 60)).why


def test_run_that_never_becomes_steady_is_not_cut_and_says_so() -> None:
    cut = find_cut(noise(300) + np.arange(300) / 100)
    assert cut.cut_ns == 0
    assert "had not become steady" in cut.why


def test_at_most_half_of_the_run_is_cut() -> None:
    for share in (0.3, 0.45, 0.55, 0.7, 0.9):
        levels = noise(200, 7) + 0.5 * (np.arange(200) < 200 * share)
        assert find_cut(levels).cut_ns <= 100 * NS_PER_S


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_intervals_are_not_cut_and_say_so(n: int) -> None:
    cut = find_cut(noise(n))
    assert cut.cut_ns == 0
    assert f"{n} intervals are too few" in cut.why


def test_empty_intervals_are_passed_over() -> None:
    levels = noise(300) + 0.5 * (np.arange(300) < 60)
    levels[::7] = np.nan
    assert 60 * NS_PER_S <= find_cut(levels).cut_ns <= 68 * NS_PER_S


def test_levels_that_are_all_the_same_are_not_cut() -> None:
    assert find_cut(np.zeros(100)).cut_ns == 0


def test_levels_are_of_journeys_each_against_its_own_mean() -> None:
    # The mix changes half-way, and nothing gets slower: no journey is told from another by its level.
    agent, levels = FakeAgent("a"), Levels()
    for k in range(40):
        quick, slow = (9, 1) if k < 20 else (1, 9)
        levels.add(
            agent.delta(
                {
                    journey_key("quick"): [10 * NS_PER_MS] * quick,
                    journey_key("slow"): [900 * NS_PER_MS] * slow,
                    request_key(): [5 * NS_PER_MS * (k + 1)],
                }
            )
        )
    assert levels.series(40 * NS_PER_S) == pytest.approx(np.zeros(40), abs=1e-9)
    assert np.isnan(levels.series(41 * NS_PER_S)[40])


def test_cut_of_a_whole_simulated_run_is_found_from_its_deltas() -> None:
    rng = np.random.default_rng(4)
    slow = 1 + 2 * (np.arange(120) < 30)
    runs = [(10e6 * factor * np.exp(rng.normal(0, 0.3, 200))).astype(np.int64) for factor in slow]
    levels = Levels()
    for _, delta in deltas_of(runs):
        levels.add(delta)
    cut = find_cut(levels.series(120 * NS_PER_S))
    assert 30 * NS_PER_S <= cut.cut_ns <= 45 * NS_PER_S  # MSER errs on the late side, by groups of five
    recount = Recount(cut_ns=cut.cut_ns)
    recount.read(deltas_of(runs))
    measured, _ = recount.select_row(ROW)
    warm, _ = recount.select_row(ROW, warmup=True)
    warm_s = cut.cut_ns // NS_PER_S
    assert (measured.total, warm.total) == ((120 - warm_s) * 200, warm_s * 200)
    assert measured.percentile_us(50) == pytest.approx(10_000, rel=0.05)
    assert 20_000 < warm.percentile_us(50) < 31_000


def test_run_is_recounted_from_where_its_warm_up_was_found() -> None:
    rng = np.random.default_rng(4)
    slow = 1 + 2 * (np.arange(200) < 30)
    runs = [(10e6 * factor * np.exp(rng.normal(0, 0.3, 200))).astype(np.int64) for factor in slow]
    batches, cut = recounted(lambda: deltas_of(runs), end_ns=200 * NS_PER_S, is_found=True)
    assert cut is not None
    assert 30 * NS_PER_S <= cut.cut_ns <= 45 * NS_PER_S
    assert (batches.start_ns, batches.end_ns) == (cut.cut_ns, 200 * NS_PER_S)
    assert batches.count("journey", warmup=True) == cut.cut_ns // NS_PER_S * 200
    assert batches.interval(ROW, 95).why == ""

    stated, none = recounted(lambda: deltas_of(runs), end_ns=None, warmup_ns=10 * NS_PER_S)
    assert none is None
    assert (stated.start_ns, stated.end_ns) == (10 * NS_PER_S, 200 * NS_PER_S)
    assert stated.count("journey") == 200 * 200  # the agents mark what is due in a stated warm-up


def test_recount_of_nothing_is_the_merge() -> None:
    rng = np.random.default_rng(4)
    runs = [rng.integers(1, 10**9, 20) for _ in range(10)]
    merge, recount = Merge(), Recount()
    for region, delta in deltas_of(runs):
        merge.accept(region, delta)
    recount.read(deltas_of(runs))
    assert recount.select_row(ROW) == merge.select_row(ROW)
    assert recount.counters() == merge.counters()


SERVICE = SeriesKey("request", "checkout", "browse", "GET /", "ok", "service")
KEYS = [
    journey_key(),
    journey_key(warmup=True),
    journey_key(outcome="missed", censored=True),
    request_key(),
    request_key(warmup=True),
    SERVICE,
]
VALUES = st.lists(st.integers(0, 3_600 * NS_PER_S), max_size=4)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), max_size=8), st.integers(0, 9))
def test_warm_and_measured_together_are_always_all_that_was_counted(
    intervals: list[dict[SeriesKey, list[int]]], cut: int
) -> None:
    merge, recount = Merge(), Recount(cut_ns=cut * NS_PER_S)
    for target in (merge, recount):
        one, other = FakeAgent("a"), FakeAgent("b")
        for values in intervals:
            target.accept("us", one.delta(values))
            target.accept("eu", other.delta(dict(reversed(values.items()))))
    for region in ("*", "us", "eu"):
        assert recount.counters(region) == merge.counters(region)
        for metric in ("response", "service"):
            for kind in ("journey", "request"):
                parts = [recount.select(kind, metric=metric, region=region, warmup=w) for w in (False, True)]
                whole = [merge.select(kind, metric=metric, region=region, warmup=w) for w in (False, True)]
                for part in (0, 1):
                    both, all_of_it = parts[0][part], whole[0][part]
                    both.add_histogram(parts[1][part])
                    all_of_it.add_histogram(whole[1][part])
                    assert both == all_of_it
                    assert both.sum_ns == all_of_it.sum_ns
    assert check_invariant(recount) == check_invariant(merge)
    if cut >= len(intervals):
        assert not recount.rows()


def test_what_was_due_before_the_cut_is_in_no_window_of_an_objective() -> None:
    recount = Recount(cut_ns=2 * NS_PER_S)
    agent = FakeAgent("a")
    delta = agent.delta({journey_key(): [1]})
    object.__setattr__(delta, "due", (DueCounts(0, "", 1, good=3), DueCounts(0, "", 2, good=4)))
    recount.accept("us", delta)
    assert recount.due.counts(0, "", 0, 4)[0].tolist() == [0, 0, 4, 0]


def test_batches_of_a_recount_leave_the_warm_up_out() -> None:
    rng = np.random.default_rng(5)
    factors = np.where(np.arange(150) < 50, 5.0, 1.0) * np.exp(ar1(rng, 150, 0.3, 0.02))
    runs = [(10e6 * f * np.exp(rng.normal(0, 0.3, 50))).astype(np.int64) for f in factors]
    batches = batches_of(runs, start=50)
    interval = batches.interval(ROW, 50)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < 10 < interval.high
    assert batches.text == "5 batches of 20.0 s"
