"""Objectives on any metric agree with a second evaluator, plain Python over the events, on made-up runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from loadgen import (
    any_of,
    counter,
    error_ratio,
    gauge,
    maximum,
    mean,
    minimum,
    none_of,
    p,
    rate,
    throughput,
    total,
    trend,
)
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.measure.objectives.objective import Objective, evaluate_all
from tests.support.made_up_runs import L, expected, made_up, recorded

RUNS = 160
PARTS = [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))]
"""Each part is every fourth run."""
GET, PAY = "GET /", "POST /pay"
hits, basket = rate("hits"), trend("basket", unit="EUR", resolution=0.01)
orders, stock = counter("orders"), gauge("stock")

WHOLE: tuple[Slo, ...] = (
    p(90, request=GET, load="day") < "700us",
    p(50, request=GET) > "300us",
    p(90, request=GET, metric="service") < "1ms",
    p(75, request=PAY, metric="ttfb") < "500us",
    p(50, request=PAY, metric="ttfb", region="us") < "200us",
    mean(request=GET) < "400us",
    mean(request=GET, metric="service") > "100us",
    mean(request=PAY, metric="ttfb") < "300us",
    maximum(request=GET) < "1.5ms",
    maximum(request=GET, metric="service") > "900us",
    minimum(request=GET) > "20us",
    minimum(request=PAY, metric="service") < "30us",
    error_ratio(request=GET, outcome="http 503") < "10%",
    error_ratio(request=GET) > "5%",
    error_ratio(request=PAY, outcome="timeout", load="spike") < "20%",
    throughput("requests") > "4000/s",
    throughput("requests", request=PAY) < "3000/s",
    total("requests") >= 40,
    total("requests", request=GET, load="day") <= 12,
    total("requests", tags={"load": none_of("spike")}) > 10,
    p(75, request=GET, tags={"tenant": "gold"}) < "700us",
    mean(request=GET, tags={"x-cache": none_of("miss")}) < "400us",
    error_ratio(request=GET, tags={"x-cache": "hit", "tenant": none_of("gold")}) < "10%",
    hits.ratio() > "75%",
    hits.ratio(region="us") < "95%",
    basket.p(95) < 19,
    basket.p(50) > 8,
    basket.mean() > 9.5,
    basket.maximum() < 19.99,
    basket.minimum() > 0.05,
    orders.total() > 40,
    orders.total() <= 60,
    stock.minimum() > -5,
    stock.maximum() < 50,
    stock.maximum() > 45,
)
WINDOWED: tuple[Slo, ...] = (
    p(50, request=GET, window="2s") > "100us",
    p(75, request=GET, metric="service", window="2s") < "1ms",
    p(75, request=PAY, metric="ttfb", window="3s") < "1ms",
    p(75, request=PAY, load="day", window="2s") < "1ms",
    mean(request=GET, window="2s") < "900us",
    mean(request=GET, metric="service", window="1s") > "50us",
    maximum(request=GET, window="1s") < "1.8ms",
    minimum(request=GET, metric="service", window="2s") > "5us",
    error_ratio(request=GET, outcome="http 503", window="2s") < "40%",
    error_ratio(request=GET, window="2s") > "2%",
    throughput("requests", window="2s") > "1000/s",
    throughput("requests", request=PAY, window="2s") < "20000/s",
    total("requests", window="3s") >= 3,
    p(75, request=GET, tags={"tenant": "gold"}, window="2s") < "1ms",
    p(75, request=GET, tags={"tenant": "gold", "x-cache": "hit"}, metric="service", window="2s") < "1ms",
    p(75, request=PAY, tags={"x-cache": none_of("miss")}, window="3s") < "1ms",
    mean(request=GET, tags={"x-cache": any_of("hit", "(none)")}, window="2s") < "900us",
    maximum(request=GET, tags={"tenant": none_of("gold")}, window="1s") < "1.8ms",
    error_ratio(request=GET, tags={"x-cache": "hit"}, window="2s") < "40%",
    error_ratio(request=PAY, tags={"tenant": "silver"}, outcome="timeout", window="2s") < "40%",
    throughput("requests", tags={"x-cache": "miss"}, window="2s") > "500/s",
    total("requests", tags={"tenant": "(none)"}, window="3s") >= 1,
    hits.ratio(window="2s") > "60%",
    hits.ratio(window="2s") < "99%",
    basket.p(50, window="2s") < 15,
    basket.mean(window="2s") > 4,
    basket.maximum(window="1s") < 19.9,
    basket.minimum(window="1s") > 0.5,
    orders.total(window="2s") > 2,
    stock.minimum(window="1s") > -5,
    stock.maximum(window="1s") < 50,
)


def objectives(slos: tuple[Slo, ...]) -> list[Objective]:
    """The objectives, with windows in the made-up runs' intervals of 1 ms instead of 1 s."""
    found = []
    for slo in slos:
        assert slo.objective is not None, slo.faults
        found.append(msgspec.structs.replace(slo.objective, window_ns=slo.objective.window_ns // 1_000))
    return found


def results(run: Any, judged: list[Objective]) -> list[Any]:
    merge, given = recorded(run, judged)
    found = evaluate_all(judged, merge, journeys=["shop"], **given)
    assert [one.objective for one in found] == [one.text for one in judged]
    return list(found)


@pytest.mark.parametrize("part", PARTS)
def test_over_the_whole_run_both_evaluators_agree(part: int) -> None:
    judged, seen = objectives(WHOLE), Counter[str]()
    for seed in range(part, RUNS, 4):
        run = made_up(seed)
        for objective, result in zip(judged, results(run, judged), strict=True):
            verdict, count = expected(objective, run)
            assert (result.verdict, result.count) == (verdict, count), (seed, objective.text, result.detail)
            assert result.detail
            seen[result.verdict] += 1
    assert min(seen[verdict] for verdict in ("passed", "failed", "inconclusive")) > 100


@pytest.mark.parametrize("part", PARTS)
def test_over_windows_both_evaluators_agree(part: int) -> None:
    judged, seen = objectives(WINDOWED), Counter[str]()
    for seed in range(part, RUNS, 4):
        run = made_up(seed)
        if run.lost_from is not None:
            continue
        for objective, result in zip(judged, results(run, judged), strict=True):
            verdict, broken = expected(objective, run)
            assert (result.verdict, result.windows_failed) == (verdict, broken), (seed, objective.text, result.detail)
            seen[result.verdict] += 1
    assert min(seen[verdict] for verdict in ("passed", "failed", "inconclusive")) > 50


def test_windows_of_a_run_without_all_data_pass_only_if_more_data_could_not_break_them() -> None:
    judged, seen = objectives(WINDOWED), 0
    for seed in range(RUNS):
        run = made_up(seed)
        if run.lost_from is None or run.lost_from == run.intervals:
            continue
        for objective, result in zip(judged, results(run, judged), strict=True):
            seen += 1
            if result.verdict == "passed":
                assert objective.kind in ("throughput", "total")
                assert not objective.is_upper
            # A window of few reported events is filled up with good ones, so shares differ from the plain count.
            if result.verdict == "failed" and not objective.is_share:
                assert expected(objective, run)[0] == "failed", (seed, objective.text)
    assert seen > 200


def test_intervals_of_the_made_up_runs_are_those_of_the_merge() -> None:
    merge, _ = recorded(made_up(3), objectives(WHOLE))
    assert merge.interval_ns == L
