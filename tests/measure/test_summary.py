"""summary.json has every key that was promised, and its figures are those of the values."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.custom import CustomStats, MetricSpec
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import Histogram, Value
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.results.figures import figure, figures
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.statistics.batch_means import Batches
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples

FACTS = RunFacts(
    run_id="20261124-170312-checkout-a1b2",
    scenario="checkout.py",
    plan="plan",
    placement="embedded",
    started_at=datetime(2026, 11, 24, 17, 3, 12, tzinfo=UTC),
    duration_s=20.12345,
    result="passed",
    exit_code=0,
    agents=(AgentFacts("a", "us", True), AgentFacts("b", "eu", False, missing="3.0 s are missing", missing_s=3)),
)
STEP = SeriesKey("step", "checkout", "browse", None, "ok", "response")
SERVICE = SeriesKey("request", "checkout", "browse", "GET /", "ok", "service")
LAG = SeriesKey("journey", "checkout", None, None, "ok", "generator_lag")


def merged() -> Merge:
    merge = Merge()
    for name, region in (("a", "us"), ("b", "eu")):
        values = {
            request_key(): [10 * NS_PER_MS] * 98,
            SERVICE: [9 * NS_PER_MS] * 98,
            request_key(outcome="http 503"): [NS_PER_MS] * 2,
            request_key("GET /slow", "timeout", censored=True): [60_000 * NS_PER_MS],
            STEP: [11 * NS_PER_MS] * 98,
            journey_key(): [12 * NS_PER_MS] * 98,
            LAG: [NS_PER_MS // 10] * 98,
            journey_key(outcome="missed", censored=True): [5 * NS_PER_MS] * 3,
            request_key(warmup=True): [77 * NS_PER_MS] * 4,
            journey_key(warmup=True): [78 * NS_PER_MS] * 4,
        }
        merge.accept(region, FakeAgent(name).delta(values, health=Health(unfit=("lag",))))
    return merge


def built(facts: RunFacts = FACTS) -> dict[str, Any]:
    """As it comes back from the file."""
    merge = merged()
    slos = evaluate(Objective(kind="percentile", q=95, limit=3e8, text="p(95) < 300ms"), merge)
    return msgspec.json.decode(msgspec.json.encode(build(facts, merge, slos)), type=dict[str, Any])


def _names_outcome_of(row: dict[str, Any], kind: str, region: str) -> bool:
    return (row["kind"], row["region"]) == (kind, region) and row["outcome"] != "*"


def rows_of(summary: dict[str, Any], **wanted: object) -> list[dict[str, Any]]:
    return [row for row in summary["series"] if all(row[key] == value for key, value in wanted.items())]


def test_every_promised_key_is_there() -> None:
    summary = built()
    assert summary.keys() >= {
        "format",
        "run_id",
        "scenario",
        "plan",
        "placement",
        "started_at",
        "duration_s",
        "result",
        "exit_code",
        "reasons",
        "validity",
        "requests",
        "iterations",
        "slos",
        "series",
        "agents",
    }
    assert (summary["format"], summary["started_at"], summary["duration_s"]) == (1, "2026-11-24T17:03:12.000Z", 20.123)
    assert summary["validity"] == {"verdict": "valid", "reasons": [], "advice": []}
    assert summary["requests"].keys() >= {"started", "finished", "errors"}
    assert summary["iterations"].keys() >= {"due", "started", "finished", "missed", "cut_off"}
    (slo,) = summary["slos"]
    assert slo.keys() >= {"objective", "observed", "unit", "count", "low", "high", "verdict"}
    for row in summary["series"]:
        assert row.keys() >= {"kind", "journey", "step", "request", "outcome", "region", "count", "censored"}
        assert row["response_ms"].keys() == {"mean", "p50", "p90", "p95", "p99", "p99.9", "max"}
        assert row["service_ms"] is None or row["service_ms"].keys() == row["response_ms"].keys()
    for agent in summary["agents"]:
        assert agent.keys() >= {"id", "region", "complete", "requests"}


def test_every_finished_request_is_in_one_row_of_its_region() -> None:
    summary = built(replace(FACTS, has_warmup=True))
    by_region = {
        region: sum(r["count"] for r in rows_of(summary, kind="request", region=region) if r["outcome"] != "*")
        for region in ("us", "eu", "*")
    }
    warm = sum(r["count"] for r in summary["warmup"]["series"] if _names_outcome_of(r, "request", "*"))
    assert by_region == {"us": 101, "eu": 101, "*": 202}
    assert by_region["*"] + warm == summary["requests"]["finished"]
    assert summary["requests"] == {"started": 210, "finished": 210, "errors": 6, "bytes_received": 0}


def test_rows_over_all_outcomes_and_regions_are_sums() -> None:
    summary = built()
    for row in rows_of(summary, outcome="*"):
        parts = [
            r["count"]
            for r in rows_of(summary, **{key: row[key] for key in ("kind", "journey", "step", "request", "region")})
            if r["outcome"] != "*"
        ]
        assert row["count"] == sum(parts)
    for row in rows_of(summary, region="*"):
        parts = [
            r["count"]
            for r in rows_of(summary, **{key: row[key] for key in ("kind", "journey", "step", "request", "outcome")})
            if r["region"] != "*"
        ]
        assert row["count"] == sum(parts)


def test_no_row_stands_twice() -> None:
    names = [
        tuple(row[key] for key in ("kind", "journey", "step", "request", "outcome", "region"))
        for row in built()["series"]
    ]
    assert len(names) == len(set(names))


def test_censored_percentiles_are_strings_and_the_rest_numbers() -> None:
    summary = built()
    (slow,) = rows_of(summary, request="GET /slow", region="*", outcome="*")
    assert (slow["count"], slow["censored"]) == (2, 2)
    assert set(slow["response_ms"].values()) == {"> 60000.0"}
    assert slow["service_ms"] is None
    (journey,) = rows_of(summary, kind="journey", region="us", outcome="*")
    assert (journey["count"], journey["censored"]) == (101, 3)
    assert journey["response_ms"]["p50"] == pytest.approx(12, rel=0.001)
    # 3 of 101 never started: the p99 is theirs, and all that is known is that it is more.
    assert all(re.fullmatch(r"> \d+\.\d+", journey["response_ms"][name]) for name in ("mean", "p99", "p99.9", "max"))
    assert journey["generator_lag_ms"]["p99"] == pytest.approx(0.1, rel=0.01)


def test_steps_and_journeys_have_nulls_where_there_is_none() -> None:
    summary = built()
    assert all(r["request"] is None and r["service_ms"] is None for r in rows_of(summary, kind="step"))
    assert all(r["step"] is None and r["request"] is None for r in rows_of(summary, kind="journey"))
    (request,) = rows_of(summary, request="GET /", region="eu", outcome="ok")
    assert request["service_ms"]["p95"] == pytest.approx(9, rel=0.001)


def test_warm_up_has_rows_of_its_own_and_none_in_the_series() -> None:
    summary = built(replace(FACTS, has_warmup=True))
    assert [r["count"] for r in summary["warmup"]["series"] if r["region"] == "*" and r["outcome"] == "ok"] == [8, 8]
    assert all(r["response_ms"]["max"] != pytest.approx(77, rel=0.01) for r in summary["series"])
    assert built()["warmup"] is None


def test_agents_carry_what_they_counted_and_what_is_missing() -> None:
    a, b = built()["agents"]
    assert (a["id"], a["region"], a["complete"], a["requests"], a["missing"]) == ("a", "us", True, 105, None)
    assert (b["complete"], b["missing"], b["missing_s"]) == (False, "3.0 s are missing", 3.0)
    assert (a["intervals"], a["unfit_intervals"]) == (1, 1)


@pytest.mark.parametrize(("limited", "advised"), [(0, False), (1, False), (2, True)])
def test_run_with_too_few_users_says_so(limited: int, advised: bool) -> None:
    agent, merge = FakeAgent("a"), Merge()
    delta = agent.delta({request_key(): [NS_PER_MS] * 100})
    delta.counters.requests_pool_limited = limited
    merge.accept("us", delta)
    found: Any = build(FACTS, merge)["pool_limited"]
    assert found == {"requests": limited, "share": limited / 100, "add_users": advised}


WAIT = SeriesKey("journey", "checkout", None, None, "ok", "user_wait")


@pytest.mark.parametrize(("waited", "bound"), [(1, None), (2, "lower")])
def test_rows_of_steps_and_requests_are_bounds_if_more_than_1_percent_of_iterations_waited(
    waited: int, bound: str | None
) -> None:
    agent, merge = FakeAgent("a"), Merge()
    waits = [0] * (100 - waited) + [300 * NS_PER_MS] * waited
    of_journey = {journey_key(): [NS_PER_MS] * 100, WAIT: waits}
    merge.accept("us", agent.delta({**of_journey, STEP: [NS_PER_MS] * 100, request_key(): [NS_PER_MS] * 100}))
    summary = as_read(build(FACTS, merge))
    assert {row["bound"] for row in rows_of(summary, kind="step") + rows_of(summary, kind="request")} == {bound}
    assert {row["bound"] for row in rows_of(summary, kind="journey")} == {None}
    if bound is None:
        assert summary["notes"] == []
    else:
        (note,) = summary["notes"]
        assert note.startswith("iterations waited for a free user (2.00 % of checkout): ")
        assert note.endswith("Use the rows of the journeys, or raise max_users")


def test_only_the_journeys_that_waited_have_bounds_in_their_rows() -> None:
    agent, merge = FakeAgent("a"), Merge()
    other = SeriesKey("request", "quick", None, "GET /", "ok", "response")
    quick = SeriesKey("journey", "quick", None, None, "ok", "response")
    values = {
        journey_key(): [NS_PER_MS] * 10,
        WAIT: [NS_PER_MS] * 10,
        request_key(): [NS_PER_MS] * 10,
        quick: [NS_PER_MS] * 10,
        other: [NS_PER_MS] * 10,
    }
    merge.accept("us", agent.delta(values))
    rows = as_read(build(FACTS, merge))["series"]
    assert {(row["journey"], row["bound"]) for row in rows if row["kind"] == "request"} == {
        ("checkout", "lower"),
        ("quick", None),
    }


def test_run_without_a_single_request_has_a_summary() -> None:
    summary = build(FACTS, Merge())
    assert summary["series"] == []
    assert summary["pool_limited"] == {"requests": 0, "share": 0.0, "add_users": False}


def as_read(summary: dict[str, object]) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(summary), type=dict[str, Any])


def test_rows_over_all_and_over_ok_have_intervals_or_why_there_is_none() -> None:
    rng = np.random.default_rng(1)
    agent, batches = FakeAgent("a"), Batches(0, 100 * NS_PER_S)
    for _ in range(100):
        batches.accept("us", agent.delta({journey_key(): rng.integers(10**7, 2 * 10**7, 40).tolist()}))
    agent_late = FakeAgent("b")
    batches.accept("us", agent_late.delta({journey_key(outcome="http 503"): [5]}))
    summary = as_read(build(FACTS, batches, batches=batches))
    (everything,) = rows_of(summary, kind="journey", region="*", outcome="*")
    low, high = everything["response_ci_ms"]["p95"]
    assert low < 19.5 < high
    assert low <= everything["response_ms"]["p95"] <= high
    assert everything["response_ci_ms"].keys() == {"p50", "p90", "p95", "p99", "p99.9"}
    assert everything["response_ci_ms"]["p99.9"] == "too few samples"
    assert everything["interval"] == "5 batches of 20.0 s"
    (failed,) = rows_of(summary, kind="journey", region="*", outcome="http 503")
    assert (failed["response_ci_ms"], failed["interval"]) == (None, None)
    (ok,) = rows_of(summary, kind="journey", region="us", outcome="ok")
    assert ok["interval"] == "5 batches of 20.0 s"


def test_run_that_is_too_short_for_intervals_says_so_in_each_row() -> None:
    batches = Batches(0, 9 * NS_PER_S)
    agent = FakeAgent("a")
    for _ in range(9):
        batches.accept("us", agent.delta({journey_key(): [10**7] * 40}))
    (row, *_) = as_read(build(FACTS, batches, batches=batches))["series"]
    assert row["interval"] == "too short"
    assert row["response_ci_ms"]["p50"] == "too short"


def test_without_batches_the_keys_are_there_and_empty() -> None:
    assert all((row["response_ci_ms"], row["interval"]) == (None, None) for row in built()["series"])


def test_warm_up_tells_its_length_and_how_it_is_known() -> None:
    stated = built(replace(FACTS, has_warmup=True, warmup_s=30))["warmup"]
    assert (stated["cut_s"], stated["how"], stated["why"]) == (30, "stated", "")
    nothing = built(replace(FACTS, warmup_found="nothing was cut: steady"))["warmup"]
    assert (nothing["cut_s"], nothing["how"], nothing["why"]) == (0, "found", "nothing was cut: steady")


def test_tags_split_rows_and_loads_have_rows_of_their_own() -> None:
    agent, merge = FakeAgent("a"), Merge()
    hit = replace(request_key(), tags=(("load", "base"), ("x-cache", "hit")))
    miss = replace(request_key(), tags=(("load", "spike"), ("x-cache", "miss")))
    journey = replace(journey_key(), tags=(("load", "spike"),))
    merge.accept("us", agent.delta({hit: [10**6] * 5, miss: [10**7] * 3, journey: [10**7] * 2}))
    summary = as_read(build(FACTS, merge))
    assert [(r["request"], r["tags"], r["count"]) for r in summary["tagged"]] == [
        ("GET /", {"x-cache": "hit"}, 5),
        ("GET /", {"x-cache": "miss"}, 3),
    ]
    assert summary["tagged"][0]["response_ms"]["max"] == pytest.approx(1, rel=0.001)
    by_load = {load["load"]: [(r["kind"], r["count"]) for r in load["series"]] for load in summary["loads"]}
    assert by_load == {"spike": [("journey", 2), ("request", 3)], "base": [("request", 5)]}
    (row,) = rows_of(summary, kind="request", region="*", outcome="*")
    assert row["count"] == 8


def test_skipped_iterations_are_counted() -> None:
    agent, merge = FakeAgent("a"), Merge()
    merge.accept("us", agent.delta({journey_key(outcome="skipped"): [1] * 3, journey_key(): [1]}))
    assert as_read(build(FACTS, merge))["iterations"]["skipped"] == 3


def test_own_metrics_are_added_up_over_regions_in_their_units() -> None:
    merge = Merge()
    basket = SeriesKey("trend", "", None, "basket", "ok", "value")
    for name, region in (("a", "us"), ("b", "eu")):
        delta = FakeAgent(name).delta({basket: [1_999 * 1_000, 4_000 * 1_000]})  # 19.99 and 40 EUR
        own = (
            CustomStats("orders", "counter", n=2, total=5),
            CustomStats("stock", "gauge", n=1, low=1.5, high=3.0, last=2.0),
            CustomStats("check: full", "rate", n=4, total=3),
        )
        merge.accept(region, replace(delta, custom=own))
    specs = (
        MetricSpec(name="basket", kind="trend", unit="EUR", resolution=0.01),
        MetricSpec(name="orders", kind="counter", unit="orders"),
        MetricSpec(name="unused", kind="gauge"),
    )
    custom = as_read(build(replace(FACTS, metrics=specs), merge))["custom"]
    everywhere = {c["name"]: c for c in custom if c["region"] == "*"}
    assert everywhere["orders"] | {"total": 10, "n": 4, "unit": "orders", "kind": "counter"} == everywhere["orders"]
    assert (everywhere["check: full"]["hits"], everywhere["check: full"]["ratio"]) == (6, 0.75)
    assert (everywhere["stock"]["low"], everywhere["stock"]["high"]) == (1.5, 3.0)
    assert everywhere["unused"] == {"name": "unused", "region": "*", "unit": "", "kind": "gauge", "n": 0}
    assert everywhere["basket"]["n"] == 4
    assert everywhere["basket"]["values"]["p50"] == pytest.approx(19.99, rel=0.001)
    assert everywhere["basket"]["values"]["mean"] == pytest.approx(29.995, rel=1e-6)
    assert [c["n"] for c in custom if c["name"] == "orders"] == [4, 2, 2]


def test_extra_keys_cannot_replace_ours() -> None:
    summary = build(replace(FACTS, extra={"result": "passed!", "cost": 3}), Merge())
    assert (summary["result"], summary["cost"]) == ("passed", 3)


@settings(max_examples=examples(50))
@given(st.lists(st.integers(0, 3_600_000_000_000), min_size=1, max_size=50))
def test_figures_are_within_a_thousandth_of_the_raw_values(values_ns: list[int]) -> None:
    found = figures(Histogram.of_ns(values_ns))
    assert found is not None
    ranked = sorted(values_ns)
    for name, q in (("p50", 50), ("p99", 99), ("max", 100)):
        raw_ms = ranked[max(1, int(q * len(ranked) / 100 + 0.5)) - 1] / NS_PER_MS
        assert found[name] == pytest.approx(raw_ms, rel=0.001, abs=0.001)
    assert found["mean"] == pytest.approx(sum(values_ns) / len(values_ns) / NS_PER_MS, rel=1e-6, abs=0.001)


def test_bound_is_never_rounded_up() -> None:
    assert figure(Value(1_234_567.9, True)) == "> 1234.567"
    assert figure(Value(1_234_567.9, False)) == 1234.568
    assert figure(None) is None
