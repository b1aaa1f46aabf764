"""Objectives: what comparing builds, and what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import (
    User,
    any_of,
    checks,
    counter,
    error_ratio,
    gauge,
    journey,
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
from loadgen.errors import ScenarioError
from loadgen.measure.objectives.objective import Objective
from loadgen.units import NS_PER_MS, NS_PER_S


@journey
async def checkout(user: User) -> None: ...


def objective(slo: Slo) -> Objective:
    assert slo.faults == ()
    assert slo.objective is not None
    return slo.objective


def test_a_percentile_below_a_time() -> None:
    assert objective(p(95) < "300ms") == Objective(kind="percentile", text="p(95) < 300ms", limit=300 * NS_PER_MS, q=95)


def test_a_percentile_of_a_step_says_so_in_its_text() -> None:
    found = objective(p(99.9, step="add to cart", region="eu") < "1.5s")
    assert found.text == 'p(99.9, step="add to cart", region="eu") < 1.5s'
    assert (found.q, found.limit, found.step, found.region) == (99.9, 1.5 * NS_PER_S, "add to cart", "eu")


@pytest.mark.parametrize("named", [checkout, "checkout"])
def test_a_journey_is_given_itself_or_by_name(named: Any) -> None:
    assert objective(p(95, journey=named) < "1s").journey == "checkout"


@pytest.mark.parametrize(("limit", "text"), [("0.1%", "0.1%"), (0.001, "0.1%"), ("1 %", "1 %")])
def test_an_error_ratio_below_a_share(limit: str | float, text: str) -> None:
    found = objective(error_ratio(request="GET /") < limit)
    assert found.kind == "error_ratio"
    assert found.limit == pytest.approx(0.01 if text == "1 %" else 0.001)
    assert found.text == f'error_ratio(request="GET /") < {text}'


def test_an_objective_over_windows_says_so_in_its_text() -> None:
    found = objective(p(95, step="pay", window="1m", abort=True) < "300ms")
    assert found.text == 'p(95, step="pay", window="1m", abort=True) < 300ms'
    assert (found.window_ns, found.abort, found.step) == (60 * NS_PER_S, True, "pay")
    ratio = objective(error_ratio(journey=checkout, region="eu", window=30) < "5%")
    assert ratio.text == 'error_ratio(journey="checkout", region="eu", window="30s") < 5%'
    assert (ratio.window_ns, ratio.abort) == (30 * NS_PER_S, False)


def test_without_a_window_it_is_over_the_whole_run() -> None:
    assert objective(p(95) < "1s").window_ns == 0


@pytest.mark.parametrize(
    ("slo", "text"),
    [
        (checks("has results") > "99.9%", 'checks("has results") > 99.9%'),
        (checks(region="eu") > "99%", 'checks(region="eu") > 99%'),
        (mean(request="GET /", metric="service") < "80ms", 'mean(request="GET /", metric="service") < 80ms'),
        (maximum(step="pay", window="1m") < "5s", 'maximum(step="pay", window="1m") < 5s'),
        (minimum(step="pay") > "1ms", 'minimum(step="pay") > 1ms'),
        (total("iterations") >= 100_000, 'total("iterations") >= 100_000'),
        (throughput("requests", load="day") > "20/s", 'throughput("requests", load="day") > 20/s'),
        (error_ratio(outcome="http 503") < "1%", 'error_ratio(outcome="http 503") < 1%'),
        (p(95, tags={"a": any_of("x", "y")}) < "1s", 'p(95, tags={"a": any_of("x", "y")}) < 1s'),
        (p(95, tags={"a": none_of("x")}) < "1s", 'p(95, tags={"a": none_of("x")}) < 1s'),
        (rate("hits").ratio(window="1m", abort=True) > "90%", 'rate("hits").ratio(window="1m", abort=True) > 90%'),
        (trend("basket").p(99.9) < 0.5, 'trend("basket").p(99.9) < 0.5'),
        (counter("orders").total() <= 10, 'counter("orders").total() <= 10'),
        (gauge("stock").minimum(region="eu") > -3, 'gauge("stock").minimum(region="eu") > -3'),
    ],
    ids=lambda one: "" if isinstance(one, Slo) else one,
)
def test_an_objective_on_any_metric_reads_as_it_was_written(slo: Slo, text: str) -> None:
    found = objective(slo)
    assert found.text == text
    assert not found.is_plain
    assert msgspec.json.decode(msgspec.json.encode(found), type=Objective) == found


def test_a_tag_is_given_itself_or_by_name() -> None:
    class Tenant:
        name = "tenant"

    (by_name,) = objective(p(95, tags={"tenant": "gold"}) < "1s").tags
    (by_tag,) = objective(p(95, tags={Tenant(): "gold"}) < "1s").tags
    assert by_name == by_tag
    assert by_name.matches((("tenant", "gold"), ("load", "day")))
    assert not by_name.matches(())


def test_an_objective_of_an_older_manifest_is_read() -> None:
    old = b'{"kind":"percentile","text":"p(95) < 300ms","limit":300000000.0,"q":95.0,"journey":null,"window_ns":0}'
    assert msgspec.json.decode(old, type=Objective) == objective(p(95) < "300ms")


def test_an_objective_survives_json() -> None:
    found = objective(p(99, step="a/b") < "1s")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Objective) == found


P: Any = p
RATIO: Any = error_ratio
CHECKS: Any = checks
TOTAL: Any = total
THROUGHPUT: Any = throughput
MAXIMUM: Any = maximum
ORDERS: Any = counter("orders")
BASKET: Any = trend("basket", unit="EUR", resolution=0.01)
HITS: Any = rate("cache hits")
STOCK: Any = gauge("stock")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: P(95) >= "300ms", "an objective must use < or >"),
        (lambda: P(95) <= "300ms", "an objective must use < or >"),
        (lambda: "300ms" <= P(95), "an objective must use < or >"),  # noqa: SIM300
        (lambda: P(95) < 300, "the limit has no unit"),
        (lambda: P(95) < "fast", 'invalid duration "fast"'),
        (lambda: P(95) < "0s", "the limit must be above 0, since no time is below 0"),
        (lambda: P(95) < None, "the limit must be a number or a text"),
        (lambda: P(95) < True, "the limit must be a number or a text"),
        (lambda: P(95) < P(99), "the limit must be a number or a text"),
        (lambda: P(0.95) < "1s", "percentiles are given in percent"),
        (lambda: P(0) < "1s", "above 0 and at most 100"),
        (lambda: P(101) < "1s", "above 0 and at most 100"),
        (lambda: P("95") < "1s", "above 0 and at most 100"),
        (lambda: P(float("nan")) < "1s", "above 0 and at most 100"),
        (lambda: P(95, step=3) < "1s", "a step must be a non-empty text"),
        (lambda: P(95, region="") < "1s", "a region must be a non-empty text"),
        (lambda: P(95, abort=True) < "1s", "abort=True) without a window"),
        (lambda: P(95, window="1m", abort=1) < "1s", "abort must be True or False"),
        (lambda: P(95, window="0s") < "1s", "a window must be longer than 0"),
        (lambda: P(95, window="500ms") < "1s", "the shortest window is 1.00 s"),
        (lambda: P(95, window="soon") < "1s", 'invalid duration "soon"'),
        (lambda: P(95, window=-1) < "1s", "invalid duration -1"),
        (lambda: P(95, window=True) < "1s", "True is not a duration"),
        (lambda: P(95, window=1e300) < "1s", "longer than any run can be"),
        (lambda: RATIO(window=[1]) < "1%", "[1] is not a duration"),
        (lambda: RATIO(abort=True) < "1%", "abort=True) without a window"),
        (lambda: RATIO() < 2, "must be from 0 to 100 %"),
        (lambda: RATIO() < 0, "the limit must be above 0, since no ratio is below 0"),
        (lambda: RATIO() < "300ms", "invalid ratio"),
        (lambda: RATIO() >= "1%", "an objective must use < or >"),
        (lambda: RATIO() > "100%", "the limit must be below 100 %"),
        (lambda: P(95) < "=< 300ms", "the limit begins with an operator"),
        (lambda: P(95) < "90%", "the unit of another metric"),
        (lambda: P(95, metric="tfb") < "1s", "unknown metric"),
        (lambda: P(95, metric="ttfb") < "1s", "a journey has no ttfb"),
        (lambda: P(95, request="GET /", metric="wait", window="1m") < "1s", "not counted by due time"),
        (lambda: P(95, tags=["gold"]) < "1s", "not a dictionary of tags"),
        (lambda: P(95, tags={"tenant": ""}) < "1s", "a value must be a non-empty text"),
        (lambda: RATIO(outcome="503") < "1%", "unknown outcome"),
        (lambda: RATIO(outcome="ok") < "1%", '"ok" is not an error'),
        (lambda: CHECKS(3) > "1%", "must be a non-empty text"),
        (lambda: CHECKS(window="1m") > "1%", "each check needs windows of its own"),
        (lambda: TOTAL("users") > 3, "unknown count"),
        (lambda: TOTAL("iterations", request="GET /") > 3, "a request is no part of an iteration count"),
        (lambda: TOTAL("iterations") < 0, "no count is below 0"),
        (lambda: TOTAL("iterations") > "20/s", "the unit of another metric"),
        (lambda: THROUGHPUT("requests") > 20, "the limit has no unit"),
        (lambda: THROUGHPUT("requests") > "20ms", "invalid rate"),
        (lambda: THROUGHPUT("requests") < "0/s", "no rate is below 0"),
        (lambda: MAXIMUM(window="1m") > "1s", "in windows, maximum() must use <"),
        (lambda: ORDERS.p(95) < 3, "a counter has no percentile"),
        (lambda: ORDERS.ratio() > "1%", "a counter has no ratio"),
        (lambda: BASKET.p(95) < "300ms", "the unit of another metric"),
        (lambda: BASKET.p(0.95) < 300, "percentiles are given in percent"),
        (lambda: BASKET.total() < 300, "a trend has no total"),
        (lambda: HITS.ratio() > 90, "must be from 0 to 100 %"),
        (lambda: HITS.mean() > 3, "a rate has no mean"),
        (lambda: HITS.ratio(window="500ms") > "1%", "the shortest window is 1.00 s"),
        (lambda: STOCK.last() < float("nan"), "must be a finite number"),
    ],
)
def test_nonsense_is_a_fault_with_a_place_and_never_raises(build: Any, message: str) -> None:
    slo = build()
    assert isinstance(slo, Slo)
    assert message in slo.faults[0].message
    assert slo.faults[0].file == __file__
    assert slo.faults[0].hint


def test_a_fault_has_the_line_of_the_comparison_within_a_list() -> None:
    first, second = [
        p(95) < "fast",
        p(99) < "faster",
    ]
    assert second.faults[0].line == first.faults[0].line + 1


@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())))
def test_no_comparison_raises(limit: Any) -> None:
    measures = (P(95), RATIO(), P(95, window=limit), RATIO(window=limit, abort=limit), CHECKS(limit), TOTAL(limit))
    for measured in (*measures, P(95, metric=limit), RATIO(tags=limit, outcome=limit), BASKET.p(limit), STOCK.last()):
        for slo in (measured < limit, measured > limit, measured <= limit, measured >= limit):
            assert (slo.objective is None) == bool(slo.faults)


@pytest.mark.parametrize(
    "build",
    [
        lambda: "1ms" < P(95) < "2ms",
        lambda: P(95) < "1s" and RATIO() < "1%",
        lambda: P(95) < "1s" or RATIO() < "1%",
        lambda: P(95) and P(99) < "1s",
        lambda: not P(95) < "1s",
        lambda: "a" if P(95) < "1s" else "b",
        lambda: list(filter(None, [P(95) < "1s"])),
        lambda: any([P(95) < "1s", None]),
        lambda: BASKET.mean() or 3,
    ],
)
def test_testing_the_truth_of_an_objective_is_an_error_at_its_line(build: Any) -> None:
    with pytest.raises(ScenarioError) as raised:
        build()

    (fault,) = raised.value.faults
    assert fault.file == __file__
    assert fault.line == build.__code__.co_firstlineno
    assert all(word in fault.message for word in ("`and`", "`or`", "`not`", "`if`", "chains"))
    assert "slos=[" in fault.hint
    assert "is not None" in fault.hint


def test_objectives_can_be_compared_and_found_in_a_list() -> None:
    one, other = P(95) < "1s", P(99) < "1s"
    assert one in [other, one]
    assert one != other
