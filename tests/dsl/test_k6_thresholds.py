"""Each row of the page's table of k6's thresholds: ours gives the verdict that k6's aggregates give."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean as average
from statistics import median
from typing import Any

import pytest

import loadgen
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import Metric, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent

PAGE = Path(__file__).parents[2] / "docs" / "language-objectives.md"
SECONDS = 20
Data = Mapping[str, Sequence[float]]

GOOD: Data = {
    "duration": [5.0 + n % 90 for n in range(2_000)],
    "waiting": [2.0 + n % 60 for n in range(2_000)],
    "connecting": [3.0, 4.0, 9.0],
    "failed": [0.0] * 2_000,
    "has results": [1.0] * 500,
    "orders": [3.0] * 200,
    "hits": [1.0] * 95 + [0.0] * 5,
    "stock": [40.0, 3.0],
    "basket": [30.0, 40.0, 55.5],
    "iterations": [1.0] * 200,
}
BAD: Data = {
    "duration": [0.5] + [150.0 + n for n in range(400)] + [2_500.0] * 600,
    "waiting": [90.0] * 1_000,
    "connecting": [80.0] * 3,
    "failed": [0.0] * 300 + [1.0] * 20,
    "has results": [1.0] * 90 + [0.0] * 10,
    "orders": [1.0] * 30,
    "hits": [1.0] * 80 + [0.0] * 20,
    "stock": [40.0, 300.0],
    "basket": [0.0, 0.02, 0.02, 600.0] * 2 + [0.01],
    "iterations": [1.0] * 40,
}


def p(q: float) -> Callable[[Sequence[float]], float]:
    """k6's percentile: linear between the two nearest values."""

    def found(values: Sequence[float]) -> float:
        rank = q / 100 * (len(values) - 1)
        low = sorted(values)[int(rank)]
        high = sorted(values)[min(int(rank) + 1, len(values) - 1)]
        return low + (high - low) * (rank - int(rank))

    return found


def last(values: Sequence[float]) -> float:
    return values[-1]


K6: Mapping[str, Callable[[Data], bool]] = {
    "http_req_duration{name:X}: p(95)<300": lambda data: p(95)(data["duration"]) < 300,
    "http_req_duration{name:X}: med<100": lambda data: median(data["duration"]) < 100,
    "http_req_duration{name:X}: max<2000": lambda data: max(data["duration"]) < 2_000,
    "http_req_duration{name:X}: min>1": lambda data: min(data["duration"]) > 1,
    "http_req_waiting{name:X}: avg<80": lambda data: average(data["waiting"]) < 80,
    "http_req_connecting{name:X}: p(90)<50": lambda data: p(90)(data["connecting"]) < 50,
    "http_req_duration{name:X,tenant:gold}: p(99)<300": lambda data: p(99)(data["duration"]) < 300,
    "http_req_duration{name:X,scenario:spike}: avg<900": lambda data: average(data["duration"]) < 900,
    "http_req_failed{name:X}: rate<0.01": lambda data: average(data["failed"]) < 0.01,
    "checks{check:has results}: rate>0.99": lambda data: average(data["has results"]) > 0.99,
    "checks: rate>0.99": lambda data: average(data["has results"]) > 0.99,
    "http_reqs: rate>20": lambda data: len(data["failed"]) / SECONDS > 20,
    "http_reqs{name:X}: count>1000": lambda data: len(data["failed"]) > 1_000,
    "iterations: rate>5": lambda data: len(data["iterations"]) / SECONDS > 5,
    "iterations: count>=200": lambda data: len(data["iterations"]) >= 200,
    "orders: count>500": lambda data: sum(data["orders"]) > 500,
    "hits: rate>0.9": lambda data: average(data["hits"]) > 0.9,
    "stock: value<100": lambda data: last(data["stock"]) < 100,
    "basket: p(95)<300": lambda data: p(95)(data["basket"]) < 300,
    "basket: avg>20": lambda data: average(data["basket"]) > 20,
    "basket: min>0": lambda data: min(data["basket"]) > 0,
    "basket: max<500": lambda data: max(data["basket"]) < 500,
    "basket: med<50": lambda data: median(data["basket"]) < 50,
}
ABORT = 'abortOnFail: true, delayAbortEval: "1m"'
SAME_IN_BOTH = {"basket: avg>20", "basket: med<50", "basket: min>0"}


def rows() -> dict[str, str]:
    """The rows of the table: k6's threshold -> our expression."""
    part = PAGE.read_text(encoding="utf-8").partition("### Thresholds of k6")[2]
    found = {}
    for line in part.splitlines():
        cells = re.findall(r"`([^`]+)`", line) if line.startswith("| ") else []
        if len(cells) == 2:
            found[cells[0]] = cells[1]
    return found


def objective(text: str) -> Objective:
    words: dict[str, Any] = {name: getattr(loadgen, name) for name in loadgen.__all__}
    metrics = {
        "orders": loadgen.counter("orders"),
        "hits": loadgen.rate("hits"),
        "stock": loadgen.gauge("stock"),
        "basket": loadgen.trend("basket", resolution=0.01),
    }
    slo: Slo = eval(text, words | metrics)
    assert slo.objective is not None, slo.faults
    return slo.objective


def merged(data: Data) -> Merge:
    """The data as one agent would send them."""
    made, tags = Merge(), (("load", "spike"), ("tenant", "gold"))

    def request(metric: Metric, outcome: str = "ok") -> SeriesKey:
        return SeriesKey("request", "shop", None, "X", outcome, metric, tags=tags)

    times = {"service": data["duration"], "wait": data["waiting"], "connect": data["connecting"]}
    values = {request(metric): [round(ms * NS_PER_MS) for ms in some] for metric, some in times.items()}  # type: ignore[arg-type]
    failed = int(sum(data["failed"]))
    values[request("response")] = [NS_PER_MS] * (len(data["failed"]) - failed)
    values[request("response", "http 500")] = [NS_PER_MS] * failed
    values[SeriesKey("journey", "shop", None, None, "ok", "response", tags=tags[:1])] = [NS_PER_MS] * len(
        data["iterations"]
    )
    basket = SeriesKey("trend", "", None, "basket", "ok", "value")
    values[basket] = [round(value / 0.01) * 1_000 for value in data["basket"]]
    rated = [(name, len(data[of]), int(sum(data[of]))) for name, of in (("hits", "hits"), (CHECK, "has results"))]
    custom = (
        CustomStats("orders", "counter", len(data["orders"]), int(sum(data["orders"]))),
        *(CustomStats(name, "rate", n, total) for name, n, total in rated),
        CustomStats("stock", "gauge", 2, 0, min(data["stock"]), max(data["stock"]), data["stock"][-1]),
    )
    made.accept("us", replace(FakeAgent("a").delta(values), custom=custom))
    return made


CHECK = "check: has results"


def test_the_table_and_this_test_have_the_same_rows() -> None:
    assert set(rows()) == {*K6, ABORT}


@pytest.mark.parametrize("threshold", K6)
@pytest.mark.parametrize("data", [GOOD, BAD], ids=["good", "bad"])
def test_ours_gives_the_verdict_of_k6(threshold: str, data: Data) -> None:
    found = evaluate(objective(rows()[threshold]), merged(data), journeys=["shop"], end_ns=SECONDS * NS_PER_S)
    assert [one.verdict for one in found] == ["passed" if K6[threshold](data) else "failed"], found


def test_each_threshold_is_met_by_one_of_the_runs_and_broken_by_the_other() -> None:
    for threshold, is_met in K6.items():
        if threshold not in SAME_IN_BOTH:
            assert (is_met(GOOD), is_met(BAD)) == (True, False), threshold


def test_an_abort_needs_a_full_window_that_is_broken() -> None:
    slo = objective(f'error_ratio({rows()[ABORT]}) < "5%"')
    assert (slo.window_ns, slo.abort) == (60 * NS_PER_S, True)
    merge, agent = Merge(), FakeAgent("a")
    for k in range(60):
        merge.accept("us", replace(agent.delta({}), due=(DueCounts(0, "shop", k, good=90, bad=10),)))
        (found,) = evaluate(slo, merge, index=0, journeys=["shop"], end_ns=(k + 1) * NS_PER_S, is_over=False)
        assert found.verdict == ("failed" if k == 59 else "inconclusive")
