"""Objectives on any metric: what their bins count, and when a verdict is sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from loadgen import checks, counter, error_ratio, gauge, maximum, mean, minimum, p, rate, throughput, total, trend
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, SloResult, evaluate, evaluate_all, unsure_text
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.batches_of_run import read_batches
from loadgen.measure.statistics.mean_of_batches import t_quantile
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.measure.statistics.sure_values import judged_in_windows
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US
from tests.measure.test_made_up_runs import WHOLE, WINDOWED, objectives
from tests.support.deltas import FakeAgent, request_key
from tests.support.made_up_runs import L, deltas_of, made_up

GET = request_key(step=None)
hits, basket, orders, stock = rate("hits"), trend("basket", resolution=0.01), counter("orders"), gauge("stock")
BASKET = SeriesKey("trend", "", None, "basket", OK, "value")


def batches_of(seed: int, judged: list[Objective]) -> tuple[Batches, dict[str, Any]]:
    run = made_up(seed)
    end_ns = run.intervals * L
    batches = read_batches(deltas_of(run, judged), run.warmup_ns, end_ns, L, objectives=judged)
    return batches, {
        "from_ns": run.warmup_ns,
        "end_ns": end_ns,
        "journeys": ["shop"],
        "complete": run.lost_from is None,
    }


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_bins_count_what_the_whole_run_is_judged_by(part: int) -> None:
    judged, seen = objectives(WHOLE), 0
    for seed in range(part, 80, 2):
        batches, given = batches_of(seed, judged)
        for index, (one, result) in enumerate(zip(judged, evaluate_all(judged, batches, **given), strict=True)):
            bins = batches._of_objectives
            if one.kind == "ratio":
                found = bins.of_rate(one.of, one.region, hits_are_bad=one.is_upper)
            elif one.of_kind in ("counter", "gauge"):
                continue
            else:
                found = bins.of(index, result.journey)
            if found is None:
                assert not result.count, (seed, one.text)
                continue
            seen += 1
            assert found.whole_count == result.count, (seed, one.text)
            if one.is_share:
                assert found.bad.sum() == result.count - result.good, (seed, one.text)
            if one.kind == "mean" and isinstance(result.observed, float):
                scale = one.resolution / NS_PER_US if one.of_kind else 1 / NS_PER_MS
                assert found.whole_total / found.whole_count * scale == pytest.approx(result.observed, abs=6e-4)
    assert seen > 300


def test_every_result_says_whether_it_is_sure_and_why_not() -> None:
    kinds: dict[str, set[bool | None]] = {}
    for slos in (WHOLE, WINDOWED):
        judged = objectives(slos)
        kind_of = {o.text: o.kind for o in judged}
        for seed in range(30):
            batches, given = batches_of(seed, judged)
            for one in with_intervals(evaluate_all(judged, batches, **given), judged, batches):
                kinds.setdefault(kind_of[one.objective], set()).add(one.sure)
                assert one.sure is not None, one.objective
                assert bool(one.unsure) == (not one.sure and one.verdict != "inconclusive"), one
    assert all(values >= {False} for values in kinds.values()), kinds
    assert {kind for kind, values in kinds.items() if True in values} >= {"total", "maximum", "minimum", "percentile"}


# -- known answers ---------------------------------------------------------------------------------

Second = Callable[[int], tuple[dict[SeriesKey, Sequence[int]], tuple[CustomStats, ...]]]


def the_result(slo: Slo, second: Second, seconds: int = 100, agents: int = 1, start: int = 0) -> SloResult:
    """The result with its interval of a run whose agents each report the same each second."""
    assert slo.objective is not None, slo.faults
    batches = Batches(0, seconds * NS_PER_S, steady_ns=start * NS_PER_S, objectives=[slo.objective])
    fakes = [FakeAgent(name) for name in ("a", "b")[:agents]]
    for k in range(seconds):
        values, custom = second(k)
        for fake in fakes:
            batches.accept("eu", replace(fake.delta(values), custom=custom))
    found = evaluate(slo.objective, batches, journeys=["checkout"], end_ns=seconds * NS_PER_S)
    (result,) = with_intervals(found, [slo.objective], batches)
    return result


def steady(k: int) -> tuple[dict[SeriesKey, Sequence[int]], tuple[CustomStats, ...]]:
    """20 requests of 10 to 29 ms, 10 values of a trend, a check that is wrong in 1 of 50, and a counter and gauge."""
    custom = (
        CustomStats("check: in stock", "rate", 50, 49),
        CustomStats("hits", "rate", 50, 40 + k % 2),
        CustomStats("orders", "counter", 3, 3),
        CustomStats("stock", "gauge", 1, 0, 5.0, 9.0, 7.0),
    )
    values: dict[SeriesKey, Sequence[int]] = {
        GET: [(10 + n) * NS_PER_MS for n in range(20)],
        BASKET: [n * 100 * 1_000 for n in range(1, 11)],
    }
    return values, custom


SURE: Sequence[tuple[Slo, str, bool]] = (
    (checks("in stock") > "90%", "passed", True),
    (checks() > "90%", "passed", True),
    (checks("in stock") > "98.1%", "failed", False),
    (hits.ratio() > "70%", "passed", True),
    (hits.ratio() < "70%", "failed", True),
    (hits.ratio() > "81.5%", "failed", False),
    (mean(request="GET /") < "30ms", "passed", True),
    (mean(request="GET /") > "30ms", "failed", True),
    (throughput("requests") > "19/s", "passed", True),
    (throughput("requests") > "21/s", "failed", True),
    (throughput("requests", request="GET /") > "20/s", "failed", False),
    (basket.p(90) < 9.5, "passed", False),
    (basket.p(50) < 9.5, "passed", True),
    (basket.p(50) > 9.5, "failed", True),
    (basket.mean() < 6, "passed", True),
    (p(50, request="GET /") > "15ms", "passed", True),
    (total("requests") >= 2_000, "passed", True),
    (total("requests") > 2_000, "failed", True),
    (orders.total() >= 300, "passed", True),
    (stock.last() < 8, "passed", True),
    (maximum(request="GET /") < "1s", "passed", False),
    (maximum(request="GET /") < "20ms", "failed", True),
    (maximum(request="GET /") > "20ms", "passed", True),
    (minimum(request="GET /") > "1ms", "passed", False),
    (minimum(request="GET /") > "11ms", "failed", True),
    (stock.maximum() < 10, "passed", False),
    (stock.minimum() < 6, "passed", True),
)


@pytest.mark.parametrize(
    ("slo", "verdict", "sure"), SURE, ids=lambda one: str(one.objective.text) if one_slo(one) else str(one)
)
def test_verdict_is_sure_if_its_interval_is_on_its_side_or_if_it_is_a_fact(slo: Slo, verdict: str, sure: bool) -> None:
    found = the_result(slo, steady)
    assert (found.verdict, found.sure) == (verdict, sure), found
    assert (
        found.low is None
        or found.high is None
        or not isinstance(found.observed, float)
        or (found.low <= found.observed <= found.high)
    )


def one_slo(one: object) -> bool:
    return isinstance(one, Slo) and one.objective is not None


def test_interval_of_a_mean_is_that_of_five_batches_with_students_t() -> None:
    """Batches of 20 s with means of 10 to 14 ms; all values of a batch are alike, so nothing is known of rho."""
    found = the_result(mean(request="GET /") < "30ms", lambda k: ({GET: [(10 + k // 20) * NS_PER_MS] * 20}, ()))
    plain = stats.t.ppf(0.975, 4) * np.std(range(10, 15), ddof=1) / sqrt(5)
    assert found.low is not None
    assert found.high is not None
    # 1.00 to 2.0 times as long: by the correlation (0.08 to 0.8: factor 1.08 to 1.83), and by 18 / 100.
    widest = 1.83 * 1.18
    assert 1.08 * 1.17 * plain <= 12 - found.low <= widest * plain * 1.1
    assert found.high - 12 >= 12 - found.low - 1e-6


def test_reasons_name_the_interval_and_the_limit() -> None:
    rng = np.random.default_rng(3)
    noise = [[int(ms * NS_PER_MS) for ms in rng.lognormal(3, 0.5, 20)] for _ in range(100)]
    near = float(np.mean(noise)) / NS_PER_MS * 1.0005
    found = the_result(mean(request="GET /") < f"{near:.3f}ms", lambda k: ({GET: noise[k]}, ()))
    assert (found.verdict, found.sure) == ("passed", False)
    assert unsure_text(found).startswith("not surely: its 95 % interval is 2")
    assert unsure_text(found).endswith(f"and the limit is {near:.1f} ms. Run longer, or at a higher rate")
    extreme = the_result(maximum(request="GET /") < "1s", steady)
    assert unsure_text(extreme) == (
        "not surely: a longer run may have a larger maximum. Limit a percentile, such as p(99.9)"
    )
    share = the_result(checks("in stock") > "98.1%", steady)
    assert unsure_text(share).startswith("not surely: with 95 % confidence 1.")


def test_short_run_has_no_interval_and_is_not_sure() -> None:
    found = the_result(mean(request="GET /") < "30ms", steady, seconds=9)
    assert (found.verdict, found.sure, found.low) == ("passed", False, None)
    assert found.unsure == "no interval: too short. Run longer, or at a higher rate"


def test_what_was_not_kept_has_no_interval_and_is_not_sure() -> None:
    slo = checks("in stock") > "90%"
    assert slo.objective is not None
    batches = Batches(0, 100 * NS_PER_S)  # made without the objectives
    fake = FakeAgent("a")
    for k in range(100):
        values, custom = steady(k)
        batches.accept("eu", replace(fake.delta(values), custom=custom))
    (result,) = with_intervals(evaluate(slo.objective, batches), [slo.objective], batches)
    assert (result.verdict, result.sure) == ("passed", False)
    assert result.unsure == "no interval: its values by second were not kept"


def test_time_outs_leave_the_upper_end_of_a_mean_open() -> None:
    late = request_key(step=None, outcome="timeout", censored=True)

    def second(k: int) -> Any:
        return {GET: [20 * NS_PER_MS] * 19, late: [1_000 * NS_PER_MS]}, ()

    failed = the_result(mean(request="GET /") < "30ms", second)
    assert (failed.verdict, failed.sure, failed.low, failed.bounds) == ("failed", True, None, 100)
    unknown = the_result(mean(request="GET /") < "2s", second)
    assert (unknown.verdict, unknown.sure) == ("inconclusive", False)


def test_rates_of_several_agents_and_of_the_cells_of_a_run_are_one_ratio() -> None:
    one, two = (the_result(hits.ratio() > "70%", steady, agents=n) for n in (1, 2))
    assert (two.count, two.good) == (2 * one.count, 2 * one.good)
    assert one.bad_share_high is not None
    assert two.bad_share_high is not None
    assert two.bad_share_high < one.bad_share_high


TENANT = "tenant"
GOLD, IRON = ((TENANT, "gold"),), ((TENANT, "iron"),)


@pytest.mark.parametrize(
    ("slo", "plain"),
    [
        (hits.ratio(tags={TENANT: "gold"}) > "70%", hits.ratio() > "70%"),
        (basket.p(50, tags={TENANT: "gold"}) < 9.5, basket.p(50) < 9.5),
        (basket.mean(tags={TENANT: "gold"}) < 6, basket.mean() < 6),
    ],
    ids=["ratio", "percentile", "mean"],
)
def test_interval_of_a_custom_metric_with_tags_ignores_values_with_other_tags(slo: Slo, plain: Slo) -> None:
    def tagged(k: int) -> Any:
        """The values of `steady` for one tenant, and different ones for another."""
        values, custom = steady(k)
        ours = replace(next(one for one in custom if one.name == "hits"), tags=GOLD)
        others = CustomStats("hits", "rate", 500, 50 + 4 * k, tags=IRON)
        trends = {replace(BASKET, tags=GOLD): values[BASKET], replace(BASKET, tags=IRON): [(1 + k) * 900_000] * 70}
        return trends, (ours, others)

    of_one, alone = the_result(slo, tagged), the_result(plain, steady)
    for name in ("observed", "count", "low", "high", "bad_share_low", "bad_share_high", "sure"):
        assert getattr(of_one, name) == getattr(alone, name), name


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    "slo",
    [
        lambda tags: error_ratio(request="GET /", tags=tags) < "20%",
        lambda tags: mean(request="GET /", tags=tags) < "30ms",
        lambda tags: p(80, request="GET /", tags=tags) < "15ms",
    ],
    ids=["ratio", "mean", "percentile"],
)
def test_interval_of_a_level_is_that_of_a_run_with_this_level_alone(slo: Callable[[Any], Slo], at: int) -> None:
    def second(k: int, name: str, value: str) -> Any:
        ms, key = 10 + k % 7 if value == "4" else 400 + 9 * k, replace(GET, tags=((name, value),))
        return {key: [ms * NS_PER_MS] * 20, replace(key, outcome="http 500"): [NS_PER_MS] * (k % 5)}, ()

    def sweep(k: int) -> Any:
        return second(k % 40, "level", "4" if k // 40 == at else f"{k // 40}")

    of_level = the_result(slo({"level": "4"}), sweep, seconds=120)
    of_run = the_result(slo({TENANT: "4"}), lambda k: second(k, TENANT, "4"), seconds=40)
    for name in ("observed", "count", "good", "verdict", "sure", "low", "high", "bad_share_low", "bad_share_high"):
        assert getattr(of_level, name) == getattr(of_run, name), name


def test_throughput_of_a_level_counts_per_second_of_that_level() -> None:
    def second(k: int) -> Any:
        level = str(k // 40)
        n = 20 + k % 5 if level == "1" else 500
        return {replace(GET, tags=(("level", level),)): [NS_PER_MS] * n}, ()

    slo = throughput("requests", tags={"level": "1"}) > "21/s"
    assert slo.objective is not None
    in_its_time = msgspec.structs.replace(
        slo.objective, begin_ns=40 * NS_PER_S, end_ns=80 * NS_PER_S
    )  # as the plan sets it
    result = the_result(replace(slo, objective=in_its_time), second, seconds=120)

    assert (result.observed, result.verdict) == (22.0, "passed")
    assert result.low is not None
    assert result.high is not None
    assert 21 < result.low < 22 < result.high < 23


def test_throughput_of_a_load_with_a_ramp_is_judged_by_its_steady_part() -> None:
    def second(k: int) -> Any:
        return {GET: [20 * NS_PER_MS] * (20 if k >= 50 else 10)}, ()

    whole, after = (the_result(throughput("requests") > "14/s", second, start=start) for start in (0, 50))
    assert (whole.observed, after.observed) == (15.0, 15.0)
    assert (whole.sure, after.sure) == (False, True)


@pytest.mark.parametrize("tail", [0.025, 0.0025, 0.001])
@pytest.mark.parametrize("freedom", [6.0, 12.7, 60.0])
def test_quantile_of_students_t_is_right_within_one_percent(tail: float, freedom: float) -> None:
    assert t_quantile(tail, freedom) == pytest.approx(float(stats.t.ppf(1 - tail, freedom)), rel=0.012)


@pytest.mark.parametrize(
    ("slo", "verdict", "sure"),
    [
        (mean(request="GET /", window="10s") < "30ms", "passed", True),
        (mean(request="GET /", window="10s") < "15ms", "failed", True),
        (mean(request="GET /", window="10s") < "20.01ms", "failed", False),
        (throughput("requests", window="10s") > "40/s", "passed", True),
        (throughput("requests", window="10s") > "60/s", "failed", True),
        (p(75, request="GET /", metric="service", window="10s") < "1s", "passed", True),
        (total("requests", window="10s") > 400, "passed", True),
        (maximum(request="GET /", window="10s") < "1s", "passed", False),
    ],
    ids=lambda one: str(one.objective.text) if one_slo(one) else str(one),
)
def test_worst_window_is_sure_if_its_interval_is_on_the_verdicts_side(slo: Slo, verdict: str, sure: bool) -> None:
    assert slo.objective is not None, slo.faults
    merge, rng = Merge(), np.random.default_rng(5)
    rows = [DueCounts(0, "checkout", k, good=50, total=int(rng.normal(20_000, 2_000, 50).sum())) for k in range(60)]
    merge.due.add("a", rows)
    (result,) = evaluate(slo.objective, merge, index=0, end_ns=60 * NS_PER_S)
    found = judged_in_windows(result, slo.objective, merge.due, 0, NS_PER_S)
    assert (found.verdict, found.sure) == (verdict, sure), found
    assert bool(found.unsure) == (not sure)
