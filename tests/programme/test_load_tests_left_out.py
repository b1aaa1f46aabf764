"""Load tests spend no error budget: their traffic is left out of the counts, and each page states how."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen.errors import ScenarioError
from loadgen.programme.ledger.ledger import Counts
from loadgen.programme.load_tests.leave_out import with_dimensions, with_tags
from loadgen.programme.load_tests.said import LoadTests, load_tests_of, older_slices
from loadgen.programme.openslo.read import read_text
from loadgen.programme.openslo.write import as_openslo, openslo_losses
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator, RollingWindow
from loadgen.programme.promises.slo_set import SloSet
from loadgen.programme.pulling.pull import Job, job_of
from loadgen.programme.pulling.source_settings import Source, read_sources
from loadgen.programme.sources.cloudwatch_answers import MetricQuery
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.gather import Gathered
from loadgen_controller import cli

DAY = 86_400
NOW = 1_784_505_600
NOT_OURS = 'client!="loadgen"'
PROMETHEUS = Source("prod", "prometheus", url="http://prometheus:9090", load_tests=NOT_OURS)
TABLE = '[sources.prod]\nkind = "prometheus"\nurl = "http://prometheus:9090"\n'


def promise(total: dict[str, Any], good: dict[str, Any], load_tests: str = "") -> Objective:
    indicator = RatioIndicator(Query("", "", json.dumps(total)), Query("", "", json.dumps(good)), counter=True)
    window = RollingWindow(28 * DAY)
    return Objective("fast", "shop", Decimal("0.995"), window, indicator, source="prod", load_tests=load_tests)


SCRAPED = promise({"query": "sum(rate(shop_seconds_count[5m]))"}, {"query": 'shop_seconds_bucket{le="0.3"}'})


def job(objective: Objective, source: Source) -> Job:
    return job_of(objective, {"prod": source}, (), None, (NOW - DAY, NOW, NOW))


def queries(objective: Objective, source: Source) -> tuple[str, str]:
    found = job(objective, source)
    assert found.why == ""
    return found.asked[0].total, found.asked[0].good


def test_prometheus_is_asked_for_series_without_load_tests_only() -> None:
    assert queries(SCRAPED, PROMETHEUS) == (
        'shop_seconds_count{client!="loadgen"}',
        'shop_seconds_bucket{le="0.3",client!="loadgen"}',
    )
    assert queries(SCRAPED, replace(PROMETHEUS, load_tests="")) == (
        "shop_seconds_count",
        'shop_seconds_bucket{le="0.3"}',
    )


def test_the_annotation_of_a_promise_goes_before_the_setting_of_its_source() -> None:
    own = replace(SCRAPED, load_tests='agent!~"loadgen.*"')
    absent = replace(SCRAPED, load_tests="absent: the shop drops them")

    assert queries(own, PROMETHEUS)[0] == 'shop_seconds_count{agent!~"loadgen.*"}'
    assert queries(absent, PROMETHEUS)[0] == "shop_seconds_count"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum:hits{service:shop}.as_count()", "sum:hits{service:shop,!client:loadgen}.as_count()"),
        ("sum:hits{*}.as_count()", "sum:hits{!client:loadgen}.as_count()"),
        # Datadog takes words or signs in a scope, and not both.
        ("sum:hits{env:a OR env:b}.as_count()", "sum:hits{(env:a OR env:b) AND NOT client:loadgen}.as_count()"),
    ],
)
def test_datadog_is_asked_without_the_tag_of_load_tests(query: str, expected: str) -> None:
    assert with_tags(query, "!client:loadgen") == expected
    source = Source("prod", "datadog", site="datadoghq.eu", load_tests="!client:loadgen")
    assert queries(promise({"query": query}, {"query": query}), source) == (expected, expected)


def test_cloudwatch_is_asked_for_the_dimension_that_only_users_have() -> None:
    spec = {"namespace": "Shop", "metricName": "Time", "stat": "SampleCount", "dimensions": {"Service": "shop"}}
    source = Source("prod", "cloudwatch", region="eu-west-1", load_tests="Client=users")
    total, _ = queries(promise(spec, spec), source)
    assert MetricQuery.of(total).dimensions == (("Client", "users"), ("Service", "shop"))

    listed = with_dimensions([{"name": "Service", "value": "shop"}], "Client=users")
    assert listed == [{"name": "Service", "value": "shop"}, {"name": "Client", "value": "users"}]
    other = promise({**spec, "dimensions": {"Client": "all"}}, spec)
    assert job(other, source).why == (
        "load_tests has Client=users, and the query has Client=all: leave one of them out"
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (TABLE + "load_tests = 'client is loadgen'", 'has conditions that are not like label="value"'),
        (TABLE + 'load_tests = "absent:"', "load_tests: the reason is missing"),
        (TABLE + "load_tests = true", "load_tests: not a text"),
        ('[sources.a]\nkind = "csv"\nfile = "a.csv"\nload_tests = "client=x"', "a file has counts already"),
        ('[sources.a]\nkind = "cloudwatch"\nload_tests = "!Client"', "is not a list of dimensions"),
        (
            '[sources.a]\nkind = "datadog"\nsite = "datadoghq.eu"\napi_key_secret = "a"\napplication_key_secret = "b"\n'
            'load_tests = "not client"',
            "is not a list of tags",
        ),
    ],
)
def test_a_setting_that_its_source_cannot_take_is_a_fault_of_programme_toml(
    tmp_path: Path, table: str, says: str
) -> None:
    path = tmp_path / "programme.toml"
    path.write_text(table)
    with pytest.raises(ScenarioError) as raised:
        read_sources(path)
    assert says in str(raised.value)


def test_a_file_of_counts_can_state_that_it_has_no_load_tests(tmp_path: Path) -> None:
    path = tmp_path / "programme.toml"
    path.write_text('[sources.prod]\nkind = "csv"\nfile = "a.csv"\nload_tests = "absent: only paid orders"')
    said = load_tests_of([SCRAPED], read_sources(path), ())["fast"]
    assert said.says == "no load tests are in the counts, as the team states: only paid orders"


def test_what_nobody_has_set_is_unknown_and_never_left_out() -> None:
    unset, none = (
        load_tests_of([SCRAPED], sources, ())["fast"] for sources in ({"prod": replace(PROMETHEUS, load_tests="")}, {})
    )
    assert (unset.state, none.state) == ("unknown", "unknown")
    assert unset.says == (
        "load tests are not known to be left out, so they may spend this error budget;"
        " write load_tests into [sources.prod] of programme.toml"
    )
    bad = load_tests_of([replace(SCRAPED, load_tests="client is x")], {"prod": PROMETHEUS}, ())["fast"]
    assert bad.state == "unknown"


def counts(evidence: list[str], codes: list[int]) -> Counts:
    n = len(codes)
    whole = np.full(n, 100, np.int64)
    zero = np.zeros(n, np.int64)
    return Counts(
        np.arange(n, dtype=np.int64) * 300,
        np.full(n, 300, np.int64),
        whole,
        whole,
        zero,
        np.zeros(n, np.bool_),
        zero,
        (np.array(codes, np.int32), tuple(evidence)),
    )


def test_slices_from_before_the_setting_are_counted_by_their_evidence() -> None:
    said = load_tests_of([SCRAPED], {"prod": PROMETHEUS}, ())["fast"]
    old, new = "counters total a and good b", 'counters total a{client!="loadgen"} and good b{client!="loadgen"}'
    found = counts([old, new, "x" * 400], [0, 0, 0, 1, 1, 2])

    assert older_slices(said, found, 0, 1800) == 3
    assert older_slices(said, found, 600, 1800) == 1
    assert older_slices(LoadTests("absent", "staging"), found, 0, 1800) == 0


def test_the_annotation_survives_export_to_openslo_and_is_a_loss_for_others() -> None:
    query = Query("", "Prometheus", '{"query": "all_total"}')
    indicator = RatioIndicator(query, query, counter=True)
    text = as_openslo(SloSet.of([replace(SCRAPED, load_tests=NOT_OURS, indicator=indicator)]))
    slos = read_text(text, "a.yaml").check()

    assert slos.objectives[0].load_tests == NOT_OURS
    assert "loadgen.dev/load-tests" in text
    assert any("load-tests" in str(one) for one in openslo_losses(slos))


def test_the_weekly_page_states_how_load_tests_are_left_out_and_where_nobody_knows(gathered: Gathered) -> None:
    names = [one.objective.name for one in gathered.promises]
    left_out = LoadTests("left out", NOT_OURS, (NOT_OURS,))
    known = {name: left_out for name in names[1:]} | {names[0]: LoadTests("unknown", "write load_tests")}
    page = build_page(replace(gathered, load_tests=known))
    found = [one for section in page.sections for one in section.items if one.key == "load tests"]

    assert found[0].text == (
        f"Load tests spend no error budget of {len(names) - 1} of {len(names)} promises: load tests are left out: each"
        f" query has {NOT_OURS}."
    )
    assert (
        found[1].text == f"Load tests are not known to be left out of {names[0]}: they may spend these error budgets."
    )
    # The made counts are not from a query with the condition.
    assert "of the window were counted before this was set, so they may contain load tests." in found[2].text
    assert {one.id for one in page.evidence} >= set(found[0].evidence)


SLO = """apiVersion: openslo/v1
kind: SLO
metadata: {name: fast, annotations: {loadgen.dev/source: prod}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.995}]
  indicator:
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: good_total}}}
        total: {metricSource: {type: Prometheus, spec: {query: all_total}}}
"""


@pytest.mark.parametrize("command", ["check --explain", "status --explain", "pull --plan"])
def test_each_command_states_it(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos" / "fast.yaml").write_text(SLO)
    (tmp_path / "programme.toml").write_text(TABLE + f"load_tests = '{NOT_OURS}'\n")

    def run(*more: str) -> str:
        return CliRunner().invoke(cli.app, ["slo", *command.split(), *more], env={"COLUMNS": "400"}).stdout

    assert f"load tests are left out: each query has {NOT_OURS}" in run()
    document = json.loads(run("--format", "json"))
    rows = document.get("promises") or document["objectives"]
    assert {"state": "left out", "by": NOT_OURS}.items() <= rows[0]["load_tests"].items()

    (tmp_path / "programme.toml").write_text(TABLE)
    assert "load tests are not known to be left out" in run()
