"""Objectives on custom metrics: the warm-up is left out, a gauge keeps its last value, no data never pass."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from loadgen import checks, counter, gauge, p, rate, throughput, total
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, describe, evaluate
from loadgen.measure.objectives.words import events_text
from loadgen.measure.statistics.warmup import Recount
from loadgen.units import NS_PER_S
from loadgen.wire import codec
from tests.support.deltas import FakeAgent, journey_key

ORDERS, HITS, STOCK = counter("orders"), rate("hits"), gauge("stock")


def objective(slo: Slo) -> Objective:
    assert slo.objective is not None, slo.faults
    return slo.objective


def merged(merge: Merge, *intervals: tuple[CustomStats, ...]) -> Merge:
    agent = FakeAgent("a")
    for custom in intervals:
        merge.accept("eu", replace(agent.delta({journey_key(): [1_000]}), custom=custom))
    return merge


def test_an_objective_leaves_out_what_was_recorded_in_the_warm_up() -> None:
    stated = merged(
        Merge(),
        (CustomStats("orders", "counter", 1, 90, warmup=True), CustomStats("hits", "rate", 10, 0, warmup=True)),
        (CustomStats("orders", "counter", 1, 20), CustomStats("hits", "rate", 10, 10)),
    )
    (orders,) = evaluate(objective(ORDERS.total() > 50), stated)
    (hits,) = evaluate(objective(HITS.ratio() > "99%"), stated)
    assert (orders.verdict, orders.observed, hits.verdict, hits.count) == ("failed", 20.0, "passed", 10)
    whole = stated.custom.of("orders")
    assert whole is not None
    assert whole.total == 110  # reports still cover the whole run


def test_a_detected_warm_up_is_left_out_too() -> None:
    intervals = [(CustomStats("orders", "counter", 1, 10),)] * 5
    (cut,) = evaluate(objective(ORDERS.total() > 40), merged(Recount(NS_PER_S, 2 * NS_PER_S), *intervals))
    (uncut,) = evaluate(objective(ORDERS.total() > 40), merged(Recount(NS_PER_S, 0), *intervals))
    assert (cut.observed, cut.verdict, uncut.observed, uncut.verdict) == (30.0, "failed", 50.0, "passed")


def test_the_last_value_of_a_gauge_is_the_later_one_also_after_the_warm_up() -> None:
    warm, later = CustomStats("stock", "gauge", 1, 0, 9.0, 9.0, 9.0, warmup=True), CustomStats("stock", "gauge", 1)
    merge = merged(Merge(), (replace(later, low=3.0, high=3.0, last=3.0),), (warm,))
    whole, measured = merge.custom.of("stock"), merge.custom.of("stock", measured=True)
    assert whole is not None
    assert measured is not None
    assert (whole.last, whole.high, measured.last, measured.high) == (3.0, 9.0, 3.0, 3.0)


def test_a_checkpoint_keeps_the_warm_up_apart() -> None:
    merge = merged(
        Merge(), (CustomStats("orders", "counter", 1, 90, warmup=True),), (CustomStats("orders", "counter", 1, 2),)
    )
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(merge.freeze()), type=type(merge.freeze()))
    (result,) = evaluate(objective(ORDERS.total() > 50), Merge.thaw(state))
    assert result.observed == 2.0


@pytest.mark.parametrize(
    "slo", [ORDERS.total() < 10, HITS.ratio() > "1%", STOCK.last() < 3, checks() > "1%", checks("x") > "1%"]
)
def test_a_metric_that_is_never_filled_does_not_pass(slo: Slo) -> None:
    (result,) = evaluate(objective(slo), merged(Merge(), ()))
    assert (result.verdict, result.count) == ("inconclusive", 0)
    assert describe(result) == "there are no data for it"


def test_each_check_is_judged_by_itself() -> None:
    merge = merged(Merge(), (CustomStats("check: a", "rate", 10, 10), CustomStats('check: b "x"', "rate", 10, 4)))
    found = {one.objective: one.verdict for one in evaluate(objective(checks(region="eu") > "99%"), merge)}
    assert found == {
        'checks("a", region="eu") > 99%': "passed",
        'checks("b \'x\'", region="eu") > 99%': "failed",
    }


def test_a_lower_limit_that_the_reported_part_reaches_passes_without_a_lost_agent() -> None:
    merge = merged(Merge(), *[()] * 60)
    few, many = objective(total("iterations") > 59), objective(total("iterations") > 150)
    (reached,) = evaluate(few, merge, False, 0.5)
    (saved,) = evaluate(objective(total("iterations") > 100), merge, False, 0.5)
    (lost,) = evaluate(many, merge, False, 0.5)
    assert [one.verdict for one in (reached, saved, lost)] == ["passed", "inconclusive", "failed"]
    (upper,) = evaluate(objective(total("iterations") < 100), merge, False, 0.5)
    assert upper.verdict == "inconclusive"


def test_a_count_is_not_judged_in_the_interval_in_which_the_load_ended() -> None:
    merge, agent = Merge(), FakeAgent("a")
    for k, count in enumerate((30, 30, 2)):
        merge.accept("eu", replace(agent.delta({}), due=(DueCounts(0, "shop", k, good=count),)))
    slo = objective(throughput("requests", window="1s") > "20/s")
    (cut,) = evaluate(slo, merge, index=0, end_ns=NS_PER_S * 21 // 10)
    (full,) = evaluate(slo, merge, index=0, end_ns=3 * NS_PER_S)
    (unknown,) = evaluate(slo, merge, index=0)
    assert [(one.verdict, one.windows) for one in (cut, full, unknown)] == [("passed", 2), ("failed", 3), ("passed", 2)]


def test_texts_name_the_denominator() -> None:
    slo = objective(p(95, request="GET /", metric="connect") < "1s")
    assert events_text(slo, 9_812, 10_000) == "9,812 of 10,000 requests that connected"
    assert events_text(objective(p(95) < "1s"), 1, None) == "1 iteration"


def test_the_warm_up_of_a_custom_metric_travels() -> None:
    delta = replace(FakeAgent("a").delta({}), custom=(CustomStats("orders", "counter", 1, 9, warmup=True),))
    assert codec.decode(codec.encode(delta)) == delta
