"""Exported rules and files of sloth leave load tests out, as the queries of a pull do."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen.programme.load_tests.in_expressions import with_matchers_everywhere
from loadgen.programme.prometheus_rules import prometheus_losses, rules_of
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator, RawRatioIndicator, RollingWindow
from loadgen.programme.promises.slo_set import SloSet
from loadgen.programme.sloth.write import as_sloth, sloth_losses
from loadgen_controller import cli
from tests.programme.test_prometheus_rules import counter, needs_promtool, proof

NOT_OURS = 'client!="loadgen"'

EXPRESSIONS = [
    ("a", 'a{client!="loadgen"}'),
    ('a{x="}"}', 'a{x="}",client!="loadgen"}'),
    ("a{x='y'}", "a{x='y',client!=\"loadgen\"}"),
    (f"a{{{NOT_OURS}}}", f"a{{{NOT_OURS}}}"),
    ('{__name__="x"}[5m]', '{__name__="x",client!="loadgen"}[5m]'),
    ("sum(rate(a[{{.window}}]))", 'sum(rate(a{client!="loadgen"}[{{.window}}]))'),
    ("sum(x) by (le)", 'sum(x{client!="loadgen"}) by (le)'),
    (
        'sum(rate(a{x="y"}[5m])) / sum by (job) (b)',
        'sum(rate(a{x="y",client!="loadgen"}[5m])) / sum by (job) (b{client!="loadgen"})',
    ),
    (
        "sum by (job, a) (rate(x[5m])) - on (le) group_left (z) y",
        'sum by (job, a) (rate(x{client!="loadgen"}[5m])) - on (le) group_left (z) y{client!="loadgen"}',
    ),
    ("a * on(x) group_right b", 'a{client!="loadgen"} * on(x) group_right b{client!="loadgen"}'),
    ("1e-3 * a + 0x1f * b", '1e-3 * a{client!="loadgen"} + 0x1f * b{client!="loadgen"}'),
    (
        'label_replace(a, "x", "$1", "y", "(.*)") # of c\n unless b offset 5m',
        'label_replace(a{client!="loadgen"}, "x", "$1", "y", "(.*)") # of c\n unless b{client!="loadgen"} offset 5m',
    ),
    ("max_over_time(rate(a[5m])[1h:1m] @ end())", 'max_over_time(rate(a{client!="loadgen"}[5m])[1h:1m] @ end())'),
    ("sum", 'sum{client!="loadgen"}'),
]
"""As promtool 2.53.3 adds it (`promql label-matchers set --type='!=' EXPRESSION client loadgen`); not `{{.window}}`."""


def promise(good: str = "good_total", total: str = "requests_total", load_tests: str = NOT_OURS) -> Objective:
    def query(text: str) -> Query:
        return Query("", "Prometheus", json.dumps({"query": text}))

    indicator = RatioIndicator(query(total), good=query(good), counter=True)
    month = RollingWindow(30 * 86_400)
    return Objective("shop-ok", "shop", Decimal("0.999"), month, indicator, alert_set="standard", load_tests=load_tests)


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_each_selector_of_an_expression_gets_the_condition_once(expression: str, expected: str) -> None:
    assert with_matchers_everywhere(expression, NOT_OURS) == expected
    assert with_matchers_everywhere(expected, NOT_OURS) == expected


def test_values_in_backticks_stay_as_they_are() -> None:
    found = with_matchers_everywhere(r"sum(rate(a{path=~`/(a|b)\.html`}[5m]))", NOT_OURS)

    assert found == r'sum(rate(a{path=~`/(a|b)\.html`,client!="loadgen"}[5m]))'


@pytest.mark.parametrize(
    ("expression", "condition", "why"),
    [
        ("5 + 3", NOT_OURS, "the query has no selector"),
        ("rate(a[$w])) + $x", NOT_OURS, "'$x' in the query is not PromQL"),
        ("a{x=y}", NOT_OURS, "has conditions that are not like"),
        ("a", "client is x", "'client is x' has conditions that are not like"),
    ],
)
def test_an_expression_that_is_not_understood_is_refused_with_the_part(
    expression: str, condition: str, why: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        with_matchers_everywhere(expression, condition)


@needs_promtool
@pytest.mark.process
@pytest.mark.parametrize(("load_tests", "firing"), [(NOT_OURS, 0), ("absent: they run in staging", 1)])
def test_failed_requests_of_a_load_test_fire_no_alert_of_the_exported_rules(
    tmp_path: Path, load_tests: str, firing: int
) -> None:
    users, ours = np.full(120, 60.0), np.full(120, 60.0)
    series = {
        'requests_total{client="users"}': counter(users),
        'good_total{client="users"}': counter(users),
        'requests_total{client="loadgen"}': counter(ours),
        'good_total{client="loadgen"}': counter(0 * ours),
    }
    assert proof(tmp_path, promise(load_tests=load_tests), series, {60: firing, 119: firing}, "1h")


def test_files_of_sloth_have_the_condition_in_each_query() -> None:
    slos = SloSet.of([promise()])

    assert 'sum(rate(requests_total{client!="loadgen"}[{{.window}}]))' in as_sloth(slos)
    assert 'sum(rate(good_total{client!="loadgen"}[{{.window}}]))' in as_sloth(slos)
    assert [one for one in (*sloth_losses(slos), *prometheus_losses(slos)) if "load-tests" in one.field] == []


def test_a_raw_ratio_of_sloth_has_it_too() -> None:
    text = "sum(rate(bad_total[{{.window}}])) / sum(rate(requests_total[{{.window}}]))"
    raw = RawRatioIndicator(Query("", "Prometheus", json.dumps({"query": text})), is_success=False)

    written = as_sloth(SloSet.of([replace(promise(), indicator=raw)]))

    assert written.count(f"{{{NOT_OURS}}}") == 2


def test_a_condition_that_cannot_be_added_is_a_loss_with_the_reason_and_the_queries_stay() -> None:
    slos = SloSet.of([promise(total="requests_total{x=y}"), promise(load_tests="client is x")])

    (of_query, of_condition) = (one for one in prometheus_losses(slos) if "load-tests" in one.field)

    assert "it cannot be added to a query: 'requests_total{x=y}'" in of_query.reason
    assert "'client is x'" in of_condition.reason
    assert of_query.effect == "the rules count load tests: add the condition to the queries"
    assert 'loadgen"}' not in rules_of(slos.objectives)


SLO = """apiVersion: openslo/v1
kind: SLO
metadata: {name: fast, annotations: {loadgen.dev/source: prod, loadgen.dev/alerts: standard}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.995}]
  indicator:
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: good_total}}}
        total: {metricSource: {type: Prometheus, spec: {query: all_total}}}
"""


def test_export_adds_the_setting_of_the_source_except_to_openslo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos.yaml").write_text(SLO)
    (tmp_path / "programme.toml").write_text(
        f'[sources.prod]\nkind = "prometheus"\nurl = "http://prometheus:9090"\nload_tests = \'{NOT_OURS}\'\n'
    )

    def export(to: str) -> tuple[str, str]:
        found = CliRunner().invoke(cli.app, ["slo", "export", "slos.yaml", "--to", to])
        return found.stdout, found.stderr

    assert all('all_total{client!="loadgen"}' in export(to)[0] for to in ("prometheus", "sloth"))
    assert "client" not in export("openslo")[0]

    (tmp_path / "programme.toml").write_text("[sources.prod]\nkind = 5\n")
    rules, said = export("prometheus")
    assert "all_total" in rules
    assert "load_tests of the sources: programme.toml has errors" in " ".join(said.split())
