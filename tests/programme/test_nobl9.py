"""What `loadgen slo export --for nobl9` names: everything that Nobl9's converter would refuse or ignore."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.programme.composites.composite import Composite, Part
from loadgen.programme.openslo.readers import losses_for
from loadgen.programme.promises.objectives import (
    Alert,
    CalendarWindow,
    Method,
    NotificationTarget,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
    ThresholdIndicator,
)
from loadgen.programme.promises.slo_set import SloSet
from loadgen_controller import cli

DAY = 86_400
PROMQL = Query("my-agent", "prometheus", '{"promql": "sum(requests_total)"}')
HITS = Query("dd", "datadog", '{"query": "sum:hits{*}"}')
WEEK = CalendarWindow(1, "w", datetime(2022, 1, 1, 12), "America/New_York")
FINE = Objective("web", "web", Decimal("0.95"), WEEK, RatioIndicator(PROMQL, PROMQL, counter=True))
"""As the example that Nobl9's converter has for a ratio of Prometheus."""


def lost(one: Objective, *composites: Composite) -> list[str]:
    return [str(loss) for loss in losses_for("nobl9", SloSet.of([one], composites=composites))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window": RollingWindow(30 * DAY)},
        {"window": RollingWindow(3_600)},
        {"method": Method.TIMESLICES, "slice_s": 60, "slice_target": Decimal("0.9")},
        {"indicator": ThresholdIndicator(PROMQL, "lt", Decimal(1))},
        {"alerts": (Alert("fast", Decimal(14), 3_600, severity="High", targets=(NotificationTarget("a", "email"),)),)},
        {"indicator": RatioIndicator(HITS, HITS)},
    ],
)
def test_what_nobl9_reads_is_not_named(changes: dict[str, Any]) -> None:
    assert lost(replace(FINE, **changes)) == []


def ratio(query: Query) -> dict[str, Any]:
    return {"indicator": RatioIndicator(query, query)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"window": RollingWindow(28 * DAY)}, "write 28d in the exported file; Nobl9 refuses the objective"),
        ({"window": RollingWindow(90 * DAY)}, "rolling windows of at most 31 days"),
        ({"window": replace(WEEK, count=2, unit="Y")}, "calendar windows of at most 366 days"),
        ({"method": Method.RATIO_TIMESLICES, "slice_s": 60}, "Nobl9 supports Occurrences and Timeslices only"),
        ({"method": Method.TIMESLICES, "slice_s": 300}, "slices of 5m: Nobl9 ignores timeSliceWindow"),
        ({"indicator": RawRatioIndicator(PROMQL)}, "supports good, bad and total only"),
        (ratio(replace(PROMQL, source="")), "Nobl9 needs the name of a data source in each metric"),
        (ratio(replace(PROMQL, type="Prometheus")), "the type Prometheus: Nobl9 needs the spelling prometheus"),
        (ratio(replace(PROMQL, type="CloudWatch")), "needs the field region in a query of the type cloudWatch"),
        (ratio(replace(PROMQL, type="sql")), "the type sql: Nobl9 does not support it"),
        (
            ratio(replace(PROMQL, spec_json='{"query": "x"}')),
            "needs the field promql in a query of the type prometheus",
        ),
        ({"alerts": (Alert("fast", Decimal(14), 3_600),)}, "severity page: Nobl9 supports Low, Medium, High"),
        (
            {"alerts": (Alert("f", Decimal(1), 60, severity="Low", targets=(NotificationTarget("a", "pager"),)),)},
            "target pager: Nobl9 supports webhook,",
        ),
    ],
)
def test_what_nobl9_refuses_is_named_with_the_reason(changes: dict[str, Any], says: str) -> None:
    assert says in " | ".join(lost(replace(FINE, **changes)))


def test_each_fault_of_an_objective_is_named_once() -> None:
    assert len(lost(replace(FINE, **ratio(replace(PROMQL, type="Prometheus"))))) == 1


def test_a_composite_is_refused() -> None:
    found = lost(FINE, Composite("shop", (Part("web"), Part("cart"))))
    assert found == [
        "shop: the composite: Nobl9's converter supports neither weights nor an indicator for each objective;"
        " Nobl9 refuses the SLO: write one SLO for each part"
    ]


def test_the_command_names_it_on_stderr_and_with_strict_writes_nothing(tmp_path: Any) -> None:
    path = tmp_path / "fast.yaml"
    path.write_text(
        """apiVersion: openslo/v1
kind: SLO
metadata: {name: fast}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    spec:
      ratioMetric:
        good: {metricSource: {type: Prometheus, spec: {query: a}}}
        total: {metricSource: {type: Prometheus, spec: {query: b}}}
"""
    )
    given = ["slo", "export", str(path), "--for", "nobl9"]
    done = CliRunner().invoke(cli.app, given, env={"COLUMNS": "400"})
    strict = CliRunner().invoke(cli.app, [*given, "--strict", "-o", str(tmp_path / "out.yaml")], env={"COLUMNS": "400"})

    assert done.exit_code == 0
    assert done.stderr.count("lost: fast: ") == 4
    assert strict.exit_code == 2
    assert not (tmp_path / "out.yaml").exists()
