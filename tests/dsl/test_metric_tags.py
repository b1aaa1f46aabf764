"""Tags of custom metrics: each value is in exactly one part, on each way from a worker to the report."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.dsl.loading.loader import load
from loadgen.dsl.metric import Metric, counter, gauge, rate, trend
from loadgen.engine.recording import recorder as recorder_module
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.tagging import MAX_PARTS, MAX_TAGGED_SERIES, Tagging, TagSpec
from loadgen.errors import LimitExceeded, UsageError
from loadgen.measure.deltas.custom import MAX_CUSTOM, CustomStats, fitting_tags
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.limits import TAGGED_CUSTOM_OF_AGENT, TAGS_OF_SERIES
from loadgen.measure.deltas.series_key import OTHER, UNTAGGED
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.objectives.objective import evaluate_all
from loadgen.measure.results.summary import RunFacts, build
from loadgen.report.report_tables import final_report
from loadgen.report.summary_reader import read
from loadgen.units import NS_PER_S
from loadgen.wire.check_limits import check_message
from loadgen.wire.codec import decode, encode
from loadgen_agent.delivery.aggregate import AddUp
from tests.support.examples import examples
from tests.support.scenarios import faults_of, write

S = NS_PER_S
TENANT = TagSpec(name="tenant", values=("gold", "silver", "free"))
KIND = TagSpec(name="kind", values=("first", "more"))
METRICS: Mapping[str, Callable[[], Any]] = {
    "orders": lambda: counter("orders"),
    "stock": lambda: gauge("stock"),
    "hits": lambda: rate("hits"),
    "basket": lambda: trend("basket", unit="EUR", resolution=0.01),
}

FACTS = RunFacts(
    *("run", "shop.py", "plan", "fleet", datetime(2026, 1, 1, tzinfo=UTC), 3.0, "passed", 0),
    metrics=tuple(make().spec for make in METRICS.values()),
)


def recorder_of(*specs: TagSpec) -> Recorder:
    return Recorder(tagging=Tagging(specs, is_strict=True))


def bound(recorder: Recorder) -> dict[str, Any]:
    made = {name: make() for name, make in METRICS.items()}
    for metric in made.values():
        metric.bind(recorder)
    return made


def use(metric: Any, value: float, tags: Mapping[str, str] | None = None) -> None:
    (metric.set if metric.kind == "gauge" else metric.add)(value, tags=tags)


@dataclass(frozen=True)
class Value:
    """One value of a metric, recorded by a worker of an agent in interval `k`."""

    agent: int
    worker: int
    k: int
    metric: str
    value: int
    tags: tuple[tuple[str, str], ...]


VALUES = st.lists(
    st.builds(
        Value,
        agent=st.integers(0, 1),
        worker=st.integers(0, 1),
        k=st.integers(0, 2),
        metric=st.sampled_from(sorted(METRICS)),
        value=st.integers(0, 1),
        tags=st.dictionaries(st.sampled_from(["tenant", "kind"]), st.sampled_from(["gold", "first", "odd"])).map(
            lambda tags: tuple(tags.items())
        ),
    ),
    max_size=60,
)


def run_of(values: Sequence[Value], warmup_ns: int = 0) -> Merge:
    """Record the values in two agents of two workers, and merge what the controller receives."""
    merge = Merge()
    for agent, (name, region) in enumerate((("a", "eu"), ("b", "us"))):
        add_up = AddUp(2)
        workers = []
        for worker in range(2):
            add_up.begin(worker)
            recorder = recorder_of(TENANT, KIND)
            recorder.warmup_ns = warmup_ns
            workers.append((recorder, bound(recorder)))
        for k in range(3):
            for worker, (recorder, metrics) in enumerate(workers):
                for one in values:
                    if (one.agent, one.worker, one.k) == (agent, worker, k):
                        use(metrics[one.metric], one.value, dict(one.tags) if one.tags else None)
                for delta in add_up.take(worker, recorder.flip(k * S, (k + 1) * S)):
                    sent = decode(encode(replace(delta, agent=name, epoch=1)))
                    assert isinstance(sent, Delta)
                    assert merge.accept(region, sent) is Accepted.MERGED
    return merge


def value_of(of: str, tags: tuple[tuple[str, str], ...], name: str) -> bool:
    """Whether a value with these tags is in the line `of` of the tag."""
    given = dict(tags).get(name, UNTAGGED)
    declared = {"tenant": TENANT, "kind": KIND}[name].values
    return of == (given if given in (*declared, UNTAGGED) else OTHER)


def figures_of(values: Sequence[Value], metric: str) -> dict[str, object]:
    """What the lines of a metric must show, added up without our code."""
    own = [one.value for one in values if one.metric == metric]
    if not own:
        return {"n": 0}
    match metric:
        case "orders":
            return {"n": len(own), "total": sum(own)}
        case "hits":
            return {"n": len(own), "hits": sum(own)}
        case "stock":
            lasts = {
                (one.agent, one.worker, shown(one.tags)): one.value
                for k in range(3)
                for one in values
                if one.metric == metric and one.k == k
            }
            return {"n": len(own), "low": min(own), "high": max(own), "last": sum(lasts.values())}
    return {"n": len(own)}


def shown(tags: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The tags of the part that counts a value."""
    declared = {"tenant": TENANT.values, "kind": KIND.values}
    return tuple(sorted((name, value if value in declared[name] else OTHER) for name, value in tags))


@given(values=VALUES)
@settings(max_examples=examples(200), deadline=None)
def test_lines_of_tags_have_the_figures_of_their_values_and_add_up_to_the_metric(values: list[Value]) -> None:
    summary = build(FACTS, run_of(values))
    custom: Any = summary["custom"]
    tagged: Any = summary["custom_tagged"]
    for line in custom:
        if line["region"] == "*":
            expected = figures_of(values, line["name"])
            assert {key: line[key] for key in expected} == expected
    seen = set()
    for line in tagged:
        ((tag, of),) = line["tags"].items()
        seen.add((line["name"], tag))
        own = [one for one in values if value_of(of, one.tags, tag)]
        expected = figures_of(own, line["name"])
        assert {key: line[key] for key in expected} == expected
        if line["name"] == "basket":
            ones = [one.value for one in own if one.metric == "basket"]
            assert line["values"]["mean"] == pytest.approx(sum(ones) / len(ones), abs=0.01)
    for name, tag in seen:
        (whole,) = (line for line in custom if line["name"] == name and line["region"] == "*")
        parts = [line for line in tagged if line["name"] == name and tag in line["tags"]]
        for key in ("n", "total", "hits", "last"):
            if key in whole:
                assert sum(line[key] for line in parts) == whole[key]
    assert seen == {(one.metric, tag) for one in values for tag, _ in one.tags}


def test_values_of_a_call_have_the_tags_of_that_call_only() -> None:
    recorder = recorder_of(TENANT)
    orders = bound(recorder)["orders"]
    orders.add(2)
    orders.add(3, tags={"tenant": "gold"})
    orders.add(4, tags={})
    delta = recorder.flip(0, S)
    assert delta.custom == (
        CustomStats("orders", "counter", 2, 6),
        CustomStats("orders", "counter", 1, 3, tags=(("tenant", "gold"),)),
    )
    orders.add(tags={"tenant": "gold"})
    assert recorder.flip(S, 2 * S).custom == (CustomStats("orders", "counter", 1, 1, tags=(("tenant", "gold"),)),)


def test_a_tag_that_the_plan_does_not_list_splits_nothing() -> None:
    recorder = Recorder()
    orders, basket = (bound(recorder)[name] for name in ("orders", "basket"))
    orders.add(3, tags={"tenant": "gold"})
    basket.add(1, tags={"tenant": "gold"})
    delta = recorder.flip(0, S)
    assert delta.custom == (CustomStats("orders", "counter", 1, 3),)
    assert [key.tags for key in delta.new_series] == [()]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"tennant": "gold"}, 'the plan declares no tag "tennant"'),
        ({"tenant": 3}, 'tag "tenant": 3 is not a text'),
        ({"tenant": ["gold"]}, "tag \"tenant\": ['gold'] is not a text"),
        ("tenant", "tags='tenant' must be a dictionary"),
    ],
)
def test_wrong_tags_are_errors_of_the_scenario(name: str, tags: Any, message: str) -> None:
    metric = bound(recorder_of(TENANT))[name]
    use(metric, 1, {"tenant": "gold"})
    with pytest.raises(UsageError) as caught:
        use(metric, 1, tags)
    assert str(caught.value).startswith(message)


def test_values_for_tests_of_a_scenario_contain_those_with_tags() -> None:
    metrics = {name: make() for name, make in METRICS.items()}
    for metric in metrics.values():
        use(metric, 1, {"tenant": "gold"})
    assert [metrics[name].values for name in METRICS] == [(1,), (1, 1, 1), (1, 1), (1,)]
    metrics = bound(recorder_of(TENANT))
    for metric in metrics.values():
        use(metric, 1)
        use(metric, 0, {"tenant": "gold"})
    assert [metrics[name].values for name in ("orders", "stock", "hits")] == [(1,), (0, 1, 1), (1, 2)]


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_ten_thousand_values_of_a_tag_keep_the_memory_flat_and_are_in_other(name: str) -> None:
    recorder = recorder_of(TENANT)
    metric = bound(recorder)[name]

    def meet(values: range) -> None:
        for n in values:
            use(metric, 1, {"tenant": f"name {n}"})
            if n % 1_000 == 999:
                recorder.flip(n * S, (n + 1) * S)

    meet(range(1_000))
    tracemalloc.start()
    meet(range(1_000, 11_000))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 64 * 1024
    metric_parts = [one for one in recorder.tagged_customs] if name != "basket" else recorder._series
    assert len(metric_parts) <= 2
    notes = recorder.take_notes()
    assert 'tag tenant: values that are not declared are in (other), such as "name 0"' in notes
    assert any("looks like an id" in note for note in notes)


def test_a_metric_has_at_most_100_combinations() -> None:
    specs = [TagSpec(name=name, values=tuple(map(str, range(12)))) for name in ("a", "b")]
    recorder = recorder_of(*specs)
    metrics = bound(recorder)
    for metric in metrics.values():
        for n in range(144):
            use(metric, 1, {"a": str(n % 12), "b": str(n // 12)})
    delta = recorder.flip(0, S)
    for name in ("orders", "stock", "hits"):
        rows = [one for one in delta.custom if one.name == name]
        assert len(rows) == MAX_PARTS + 1
        assert next(one.n for one in rows if one.tags == (("a", OTHER), ("b", OTHER))) == 44
    assert len([key for key in delta.new_series if key.kind == "trend"]) == MAX_PARTS + 1
    assert "more than 100 combinations of tags for orders: the rest is in (other)" in recorder.take_notes()


def test_tagged_metrics_count_against_the_series_of_a_worker() -> None:
    recorder = recorder_of(TagSpec(name="n", values=tuple(map(str, range(100)))))
    metrics: list[Metric] = [counter(f"m{n}") for n in range(30)]
    for metric in metrics:
        metric.bind(recorder)
        for n in range(100):
            use(metric, 1, {"n": str(n)})
    rows = recorder.flip(0, S).custom
    assert sum(one.tags[0][1] != OTHER for one in rows) == MAX_TAGGED_SERIES
    assert sum(one.n for one in rows) == 30 * 100
    assert "more than 2,000 tagged series in a worker: the rest is in (other)" in recorder.take_notes()


@given(seed=st.integers(0, 1_000))
@settings(max_examples=examples(20), deadline=None)
def test_rows_beyond_a_limit_are_merged_and_none_is_lost(seed: int) -> None:
    draw, most, known = Random(seed), 3 * MAX_CUSTOM, set[tuple[str, Any]]()
    for _ in range(5 * most):
        name = f"m{draw.randrange(MAX_CUSTOM)}"
        tags = tuple((tag, str(draw.randrange(50))) for tag in "abc"[: draw.randint(1, 3)])
        fitting = fitting_tags(name, tags, lambda *row: row in known, len(known), most)
        assert fitting == tags or {value for _, value in fitting} == {OTHER}
        known.add((name, fitting))
    assert len(known) <= most


def test_workers_that_meet_different_values_stay_within_the_limit_of_an_agent() -> None:
    add_up, merge = AddUp(4), Merge()
    for worker in range(4):
        add_up.begin(worker)
    for worker in range(4):
        rows = tuple(
            CustomStats(f"m{n % 50}", "counter", 1, 2, tags=(("n", f"{worker}-{n // 50}"),)) for n in range(2_000)
        )
        blank = Recorder().flip(0, S)
        sent = add_up.take(worker, replace(blank, custom=rows))
    (delta,) = sent
    assert len(delta.custom) <= TAGGED_CUSTOM_OF_AGENT
    decoded = decode(encode(replace(delta, agent="a", epoch=1)))
    assert isinstance(decoded, Delta)
    merge.accept("eu", decoded)
    sums = [merge.custom.of(f"m{n}") for n in range(50)]
    assert sum(one.total for one in sums if one is not None) == 4 * 2_000 * 2


def test_a_joined_delta_keeps_the_parts_apart() -> None:
    recorder = recorder_of(TENANT)
    orders = bound(recorder)["orders"]
    deltas = []
    for k in range(2):
        orders.add(1)
        orders.add(10, tags={"tenant": "gold"})
        deltas.append(replace(recorder.flip(k * S, (k + 1) * S), agent="a", epoch=1))
    joined = join(*deltas)
    assert joined is not None
    assert [(one.tags, one.total) for one in joined.custom] == [((), 2), ((("tenant", "gold"),), 20)]


def test_an_agent_with_too_many_tags_in_one_row_is_refused() -> None:
    tags = tuple((f"t{n}", "x") for n in range(TAGS_OF_SERIES + 1))
    blank = Recorder().flip(0, S)
    delta = replace(blank, agent="a", epoch=1, custom=(CustomStats("m", "counter", 1, 1, tags=tags),))
    with pytest.raises(LimitExceeded, match=r"CustomStats\.tags"):
        check_message(delta)
    with pytest.raises(LimitExceeded, match=r"Tag\.value"):
        check_message(replace(delta, custom=(CustomStats("m", "counter", 1, 1, tags=(("t", "x" * 300),)),)))


def test_a_trend_in_a_full_table_loses_its_tags_and_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen.measure.deltas.series_numbering import Numbering

    monkeypatch.setattr(recorder_module, "Numbering", lambda: Numbering(20))
    recorder = recorder_of(TagSpec(name="n", values=tuple(map(str, range(100)))))
    basket = bound(recorder)["basket"]
    for n in range(100):
        basket.add(1, tags={"n": str(n)})
    keys = recorder.flip(0, S).new_series
    assert len(keys) <= 20
    assert {key.request for key in keys} == {"basket"}
    assert (("n", OTHER),) in {key.tags for key in keys}


# -- objectives -----------------------------------------------------------------------------------

SCENARIO = """\
from loadgen import Load, Plan, User, any_of, arrivals, counter, gauge, journey, none_of, rate, tag, trend

tenant = tag("tenant", "gold", "silver", "free")
kind = tag("kind", "first", "more")
zone = tag("zone", header="x-zone")
orders, basket = counter("orders"), trend("basket", unit="EUR", resolution=0.01)
stock, hits = gauge("stock"), rate("hits")

@journey
async def shop(user: User) -> None:
    if False:
        LINE

plan = Plan(
    target="http://127.0.0.1:1", tags=[tenant, kind, zone], slos=[SLOS],
    loads=[Load(shop, arrivals("10/s").hold("10s"), name="day", tags={"phase": "spike"})],
)
"""


def scenario(folder: Path, line: str = "pass", slos: str = "") -> Path:
    return write(folder, SCENARIO.replace("LINE", line).replace("SLOS", slos))


def judged(folder: Path, slos: str, values: Sequence[Value]) -> list[tuple[str, str, float | str | None, int]]:
    objectives = load(scenario(folder, slos=slos)).plan.spec().slos
    results = evaluate_all(objectives, run_of(values, warmup_ns=S), journeys=["shop"])
    return [(one.objective, one.verdict, one.observed, one.count) for one in results]


def test_objectives_judge_the_values_with_their_tags_after_the_warmup(tmp_path: Path) -> None:
    def values(k: int) -> list[Value]:
        return [
            Value(agent, 0, k, metric, value, tags)
            for agent in (0, 1)
            for metric in METRICS
            for value, tags in (
                (1, (("tenant", "gold"),)),
                (1, (("tenant", "gold"), ("kind", "first"))),
                (0, (("tenant", "free"),)),
                (1, ()),
            )
        ]

    found = judged(
        tmp_path,
        'orders.total(tags={"tenant": "gold"}) > 3, orders.total(tags={tenant: "gold", kind: "first"}) >= 3,'
        'orders.total() >= 6, hits.ratio(tags={tenant: any_of("gold", "free")}) > "60%",'
        'hits.ratio(tags={tenant: "free"}) > "10%", basket.mean(tags={tenant: none_of("gold")}) < 0.6,'
        'basket.p(50, tags={"tenant": "gold"}) > 0.9, stock.minimum(tags={tenant: "gold"}) > 0,'
        'stock.last(tags={tenant: "gold"}) < 5, orders.total(tags={tenant: "silver"}) > 0',
        [*values(0), *values(1)],
    )
    assert [(verdict, observed) for _, verdict, observed, _ in found] == [
        ("passed", 4),
        ("failed", 2),
        ("passed", 6),
        ("passed", pytest.approx(4 / 6)),
        ("failed", 0),
        ("passed", pytest.approx(0.5)),
        ("passed", pytest.approx(1.0, abs=0.01)),
        ("passed", 1),
        ("passed", 4),
        ("inconclusive", None),
    ]
    assert found[0][0] == 'counter("orders").total(tags={"tenant": "gold"}) > 3'


@pytest.mark.parametrize(
    ("slo", "message"),
    [
        ('orders.total(tags={"tennant": "gold"}) > 1', 'the plan has no tag "tennant"'),
        ("orders.total(tags={zone: 'a'}) > 1", 'values of custom metrics have no tag "zone"'),
        ('hits.ratio(tags={"phase": "spike"}) > "1%"', 'values of custom metrics have no tag "phase"'),
        ("orders.total(tags={}) > 1", "not a dictionary of tags"),
        ("basket.p(95, tags={tenant: 3}) < 1", "a value must be a non-empty text"),
        (
            "stock.minimum(tags={tenant: 'gold'}, window='1m') > 1",
            "agents do not count windows of custom metrics by tag",
        ),
    ],
)
def test_a_wrong_tag_of_an_objective_is_an_error_before_the_run(tmp_path: Path, slo: str, message: str) -> None:
    (fault,) = faults_of(scenario(tmp_path, slos=slo))
    assert message in fault.message
    assert fault.line > 14
    assert fault.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("orders.add(tags={tenant: 'golden'})", 'tag "tenant" has no value "golden"'),
        ("orders.add(2, tags={'tenant': 'golden'})", 'tag "tenant" has no value "golden"'),
        ("stock.set(2, tags={'tennant': 'gold'})", 'no plan in this file has a tag "tennant"'),
        ("hits.add(True, tags={tenant: 3})", 'tag "tenant": 3 is not a text'),
        ("basket.add(1.5, tags={zone: 'a'})", 'tag "zone" is read from the response header x-zone'),
    ],
)
def test_a_wrong_literal_is_an_error_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    (fault,) = faults_of(scenario(tmp_path, line))
    assert (fault.message.partition(", so")[0], fault.line) == (message, 12)


def test_a_set_of_the_scenario_may_take_what_it_likes(tmp_path: Path) -> None:
    assert faults_of(scenario(tmp_path, "seen.add(tags={'a': 'b'})")) == ()


# -- shown ----------------------------------------------------------------------------------------


def test_the_report_shows_the_parts_of_a_metric_below_it() -> None:
    values = [
        Value(0, 0, 1, metric, 1, tags) for metric in METRICS for tags in ((("tenant", "gold"),), (("kind", "more"),))
    ]
    report = final_report(read(build(FACTS, run_of(values))))
    tables = {table.title: table.rows for table in report.tables}
    shown = {"orders": "1", "stock": "1 to 1, last 1", "hits": "100 % (1)", "basket": "p50 1, p95 1, p99 1 EUR"}
    assert tables["The scenario's own metrics split by tenant"] == tuple(
        (name, value, text, "1") for name, text in shown.items() for value in ("gold", UNTAGGED)
    )
    assert "The scenario's own metrics split by kind" in tables
