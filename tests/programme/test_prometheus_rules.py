"""Rules for Prometheus: their text, and what promtool says about them."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings

from loadgen.analysis.attainment.slices import CountedBy, Slices, counted, slices_of
from loadgen.analysis.burn.firing import fires
from loadgen.analysis.burn.rules import standard_rules
from loadgen.programme.prometheus_rules import as_prometheus, prometheus_losses, rules_of
from loadgen.programme.promises.objectives import Alert, Method, Objective, Query, RatioIndicator, RollingWindow
from loadgen.programme.promises.slo_set import SloSet
from tests.support.objectives import slo_sets

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
MONTH = RollingWindow(30 * 86_400)


def query(text: str) -> Query:
    return Query("", "Prometheus", json.dumps({"query": text}))


def promise(good: str = "good_total", total: str = "requests_total", **changes: object) -> Objective:
    one = Objective(
        name="checkout-ok",
        service="checkout",
        target=Decimal("0.999"),
        window=MONTH,
        indicator=RatioIndicator(query(total), good=query(good), counter=True),
        alert_set="standard",
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_alert_needs_both_windows_and_five_bad_requests() -> None:
    text = rules_of([promise()])
    expected = (
        r'expr: "loadgen:slo_burn:1h{loadgen_service=\"checkout\",loadgen_slo=\"checkout-ok\"} >= 14.4\nand\n'
        r"loadgen:slo_burn:5m{loadgen_service=\"checkout\",loadgen_slo=\"checkout-ok\"} >= 14.4\nand\n"
        r'loadgen:slo_bad:increase1h{loadgen_service=\"checkout\",loadgen_slo=\"checkout-ok\"} >= 5"'
    )
    assert expected in text
    assert r"loadgen:slo_bad:increase3d{loadgen_service=\"checkout\",loadgen_slo=\"checkout-ok\"} >= 10" in text


def test_the_order_of_objectives_does_not_change_the_text() -> None:
    one, two = promise(), promise(name="search-ok", service="search")
    assert rules_of([one, two]) == rules_of([two, one])
    assert rules_of([]) == ""


@pytest.mark.parametrize(
    ("text", "increase"),
    [
        ("requests_total", "sum(increase(requests_total[1h]))"),
        ('requests_total{job="a{b}"}', 'sum(increase(requests_total{job="a{b}"}[1h]))'),
        (" sum( requests_total ) ", "sum(increase(requests_total[1h]))"),
        ("sum(rate(requests_total[5m]))", "sum(increase(requests_total[1h]))"),
        ("rate(x[{{ .window }}])", "sum(increase(x[1h]))"),
        ("sum(rate(x[{{.window}}])) by (a)", "sum(sum(increase(x[1h])) by (a))"),
        ('sum(rate(x{a="rate("}[{{.window}}]))', 'sum(increase(x{a="rate("}[1h]))'),
    ],
)
def test_queries_become_increases_over_each_window(text: str, increase: str) -> None:
    (group,) = yaml.safe_load(rules_of([promise(total=text)]))["groups"]
    assert increase in [rule["expr"] for rule in group["rules"]]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (promise(total="sum(irate(x[{{.window}}]))"), "a query"),
        (promise(total="sum(x) by (code)"), "a query"),
        (promise(total="sum(rate(x[{{.window}}])) # all"), "a query"),
        (promise(total="sum(rate(x[{{.window}}]))) or (("), "a query"),
        (promise(total="sum(avg_over_time(x[{{.window}}]))"), "a query"),
        (promise(total=""), "a query"),
        (promise(method=Method.TIMESLICES), "the method Timeslices"),
        (promise(indicator=RatioIndicator(Query("", "Datadog"), good=Query("", "Datadog"))), "the source"),
    ],
)
def test_an_objective_that_rules_cannot_say_is_left_out_with_a_reason(one: Objective, why: str) -> None:
    slos = SloSet.of([one])
    assert as_prometheus(slos) == ""
    (loss,) = prometheus_losses(slos)
    assert str(loss).startswith(f"checkout-ok: {why}: ")
    assert str(loss).endswith("; the objective is left out")


def test_an_alert_that_can_never_fire_is_left_out_with_a_reason() -> None:
    slos = SloSet.of([promise(target=Decimal("0.9"))])
    assert "14.4" not in as_prometheus(slos)
    assert [str(loss) for loss in prometheus_losses(slos)] == [
        "checkout-ok: the alert at a burn of 14.4: at this target, a burn above 10 is impossible;"
        " this alert is left out"
    ]


@needs_promtool
@pytest.mark.process
def test_promtool_accepts_hostile_texts_and_alerts_of_files(tmp_path: Path) -> None:
    alert = Alert('{{ template "x" }} $value', Decimal("2.5"), 7200, after_s=120, severity="Page {{ $labels.x }}")
    hostile = promise(owner='{{ .Nope }} "\n- x: 1', alerts=(alert,), name="a", service='s"\\{{')
    latency = latency_promise()
    (tmp_path / "rules.yaml").write_text(rules_of([hostile, promise(), latency]), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "rules", str(tmp_path / "rules.yaml"))


def latency_promise() -> Objective:
    return promise(
        good='http_request_duration_seconds_bucket{job="shop",le="0.3"}',
        total='sum(rate(http_request_duration_seconds_count{job="shop"}[{{.window}}]))',
        name="fast",
        window=RollingWindow(28 * 86_400),
    )


@needs_promtool
@pytest.mark.process
def test_promtool_accepts_the_rules_of_generated_objectives(tmp_path: Path) -> None:
    files: list[Path] = []

    @settings(max_examples=10)
    @given(slo_sets())
    def write_rules(slos: SloSet) -> None:
        usable = [replace(one, indicator=promise().indicator) for one in slos.objectives]
        if usable:
            files.append(tmp_path / f"{len(files)}.yaml")
            files[-1].write_text(rules_of(usable), encoding="utf-8")

    write_rules()
    assert promtool("check", "rules", *map(str, files)).count("SUCCESS") == len(files) > 0


def proof(
    folder: Path,
    one: Objective,
    series: dict[str, np.ndarray],
    expected: dict[int, int],
    long: str,
    interval: str = "1m",
) -> bool:
    """Return whether promtool proves at which minutes the alert of a long window fires.

    series: the value of each counter at each interval, from minute 0 on. expected: minute -> number of firing alerts.
    """
    (folder / "rules.yaml").write_text(rules_of([one]), encoding="utf-8")
    fires_at = f'count(ALERTS{{alertname="LoadgenSloBurn",alertstate="firing",long_window="{long}"}}) or vector(0)'
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": interval,
                "input_series": [
                    {"series": name, "values": " ".join(f"{value:g}" for value in values)}
                    for name, values in series.items()
                ],
                "promql_expr_test": [
                    {"expr": fires_at, "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": number}]}
                    for at, number in expected.items()
                ],
            }
        ],
    }
    (folder / "test.yaml").write_text(json.dumps(test), encoding="utf-8")
    return "SUCCESS" in promtool("test", "rules", str(folder / "test.yaml"))


def minutes_of(total: np.ndarray, bad: np.ndarray) -> Slices:
    return slices_of(60 * np.arange(len(total)), 60, total - bad, total)


def computed(total: np.ndarray, bad: np.ndarray, rule: int) -> dict[int, int]:
    """Return when the rule begins and ends to fire, and the minutes before and after. Both arrays are per minute."""
    firing = fires(minutes_of(total, bad), standard_rules(MONTH.seconds)[rule], 0.999)
    minutes = np.flatnonzero(firing) + 1  # a slice counts at its end
    assert len(minutes) == minutes[-1] - minutes[0] + 1
    return {int(minutes[0]) - 1: 0, int(minutes[0]): 1, int(minutes[-1]): 1, int(minutes[-1]) + 1: 0}


def counter(by_minute: np.ndarray) -> np.ndarray:
    return np.concatenate(([0.0], np.cumsum(by_minute)))


@needs_promtool
@pytest.mark.process
@pytest.mark.parametrize(
    ("rule", "long", "before"), [(0, "1h", 120), pytest.param(1, "6h", 420, marks=pytest.mark.slow)]
)
def test_an_outage_fires_and_ends_at_the_computed_minutes(tmp_path: Path, rule: int, long: str, before: int) -> None:
    total, bad = np.full(before + 90, 60.0), np.zeros(before + 90)
    bad[before : before + 20] = 60
    expected = computed(total, bad, rule)
    assert min(at for at, number in expected.items() if number) == before + [1, 3][rule]
    series = {"requests_total": counter(total), "good_total": counter(total - bad)}
    assert proof(tmp_path, promise(), series, expected, long)


@needs_promtool
@pytest.mark.process
def test_low_traffic_fires_at_the_fifth_bad_request_and_not_before(tmp_path: Path) -> None:
    total, bad = np.zeros(180), np.zeros(180)
    total[2::6] = 1  # 10 requests an hour
    bad[98:125:6] = 1  # five of them bad, from minute 98 to minute 122
    expected = computed(total, bad, 0)
    assert expected == {122: 0, 123: 1, 127: 1, 128: 0}
    assert proof(
        tmp_path, promise(), {"requests_total": counter(total), "good_total": counter(total - bad)}, expected, "1h"
    )
    unguarded = replace(standard_rules(MONTH.seconds)[0], least_bad=1)
    assert np.flatnonzero(fires(minutes_of(total, bad), unguarded, 0.999))[0] == 98  # at the first bad request


@needs_promtool
@pytest.mark.process
def test_a_counter_that_does_not_exist_yet_is_zero_and_not_missing(tmp_path: Path) -> None:
    total = counter(np.full(120, 60.0))
    assert proof(tmp_path, promise(), {"requests_total": total}, {60: 1, 119: 1}, "1h")
    errors = promise(indicator=RatioIndicator(query("requests_total"), bad=query("errors_total"), counter=True))
    assert proof(tmp_path, errors, {"requests_total": total}, {60: 0, 119: 0}, "1h")


@needs_promtool
@pytest.mark.process
def test_no_traffic_and_no_series_fire_nothing(tmp_path: Path) -> None:
    still = np.full(120, 1000.0)
    assert proof(tmp_path, promise(), {"requests_total": still, "good_total": still}, {60: 0, 119: 0}, "1h")
    assert proof(tmp_path, promise(), {"other_total": still}, {60: 0, 119: 0}, "1h")


def slices_promise(**changes: object) -> Objective:
    fields: dict[str, Any] = {
        "method": Method.TIMESLICES,
        "slice_s": 60,
        "slice_target": Decimal("0.95"),
        "target": Decimal("0.99"),
    }
    return promise(**(fields | changes))


def scraped(by_minute: np.ndarray) -> np.ndarray:
    """A counter that is scraped every 15 s."""
    return counter(np.repeat(by_minute / 4, 4))


@needs_promtool
@pytest.mark.process
@pytest.mark.parametrize("method", [Method.TIMESLICES, Method.RATIO_TIMESLICES])
def test_bad_slices_fire_and_end_at_the_computed_minutes_and_slices_without_traffic_do_not_count(
    tmp_path: Path, method: Method
) -> None:
    one = slices_promise(method=method, slice_target=Decimal("0.95") if method is Method.TIMESLICES else None)
    total, bad = np.full(130, 60.0), np.zeros(130)
    total[20:50] = 0
    bad[80:100] = [3, 57] * 10  # every second slice has exactly 95 % good requests, so it is good
    units = counted(minutes_of(total, bad), CountedBy(method.value), 0.95)
    rule = standard_rules(MONTH.seconds)[0]
    firing = np.flatnonzero(fires(units, rule, 0.99)) + 1
    first, last = int(firing[0]), int(firing[-1])
    assert len(firing) == last - first + 1
    expected = {49: 0, first - 1: 0, first: 1, last: 1, last + 1: 0}

    series = {"requests_total": scraped(total), "good_total": scraped(total - bad)}

    assert proof(tmp_path, one, series, expected, "1h", "15s")


def test_alerts_with_windows_below_a_slice_are_left_out_with_the_reason() -> None:
    slos = SloSet.of([slices_promise(slice_s=600)])

    (loss,) = prometheus_losses(slos)
    (group,) = yaml.safe_load(as_prometheus(slos))["groups"]

    assert str(loss) == (
        "checkout-ok: the alert at a burn of 14.4: a slice of 10m is longer than its window of 5m;"
        " this alert is left out"
    )
    assert group["interval"] == "10m"
    assert [rule["labels"]["long_window"] for rule in group["rules"] if "alert" in rule] == ["6h", "1d", "3d"]


STRINGS_WITH_BRACES = [
    r"`/items/\d{2,4}`",  # a backslash is a character: in backticks there are no escapes
    r"`/a\`",  # so this string ends here
    '`/a"{b`',
    r'"/items/\\d{2,4}"',
    r'"/a\"}"',
    r"""'/a\'}"('""",
]


@pytest.mark.parametrize("value", STRINGS_WITH_BRACES)
@pytest.mark.parametrize("form", ["{}", "sum({})", "sum(rate({}[5m]))"])
def test_a_selector_whose_string_contains_braces_is_counted_as_it_was_written(value: str, form: str) -> None:
    selector = f"requests_total{{path={value}}}"
    (group,) = yaml.safe_load(rules_of([promise("good_total", form.format(selector))]))["groups"]
    totals = [rule["expr"] for rule in group["rules"] if rule.get("record", "").startswith("loadgen:slo_total")]
    assert totals
    assert all(f"increase({selector}[" in expression for expression in totals)


@pytest.mark.parametrize("text", ["requests_total{path=`/a}`", "requests_total{path=`a`b`}", "a_total{x=`1`} b_total"])
def test_a_query_that_is_no_selector_of_promql_has_no_rules(text: str) -> None:
    assert rules_of([promise("good_total", text)]) == ""


@needs_promtool
@pytest.mark.parametrize("value", STRINGS_WITH_BRACES)
def test_promtool_accepts_a_selector_whose_string_contains_braces(value: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rules_of([promise("good_total", f"requests_total{{path={value}}}")]))
    assert "SUCCESS" in promtool("check", "rules", str(path))
