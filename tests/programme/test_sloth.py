"""Files of sloth: objectives, alert windows with their factors, and what an export loses."""

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from loadgen.programme.openslo.read import read_text
from loadgen.programme.openslo.write import as_openslo
from loadgen.programme.promises.objectives import (
    CalendarWindow,
    Method,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
)
from loadgen.programme.promises.slo_set import SloSet
from loadgen.programme.sloth.alert_windows import parse_alert_windows, read_alert_windows
from loadgen.programme.sloth.read import PLUGIN, read_sloth_text
from loadgen.programme.sloth.write import as_sloth, sloth_losses
from tests.support.objectives import slo_sets

DATA = Path(__file__).parent.parent / "data/slo"
SLOTH = """version: "prometheus/v1"
service: "myservice"
labels:
  owner: "myteam"
  tier: "2"
slos:
  - name: "requests-availability"
    objective: 99.9
    description: "Common SLO"
    sli:
      events:
        error_query: sum(rate(http_requests_total{code=~"(5..|429)"}[{{.window}}]))
        total_query: sum(rate(http_requests_total[{{.window}}]))
    alerting:
      name: MyServiceHighErrorRate
      page_alert: {}
      ticket_alert:
        disable: false
  - name: raw
    objective: 95
    sli: {raw: {error_ratio_query: 'errors:ratio{w="{{.window}}"}'}}
    alerting: {page_alert: {disable: true}, ticket_alert: {disable: true}}
  - name: plugged
    objective: 99
    sli: {plugin: {id: sloth-common/noop, options: {filter: 'a="b"'}}}
    alerting: {name: x, page_alert: {disable: true}}
"""


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("sloth_google-30d.yaml", ["14.4", "6", "3", "1"]),
        ("sloth_google-28d.yaml", ["13.44", "5.6", "2.8", "0.9333333333333333333333333333"]),
        ("sloth_7d.yaml", ["13.44", "3.5", "1.4", "0.98"]),
    ],
)
def test_alert_windows_of_sloth_have_its_factors(name: str, factors: list[str]) -> None:
    windows, faults = read_alert_windows(DATA / name)
    assert windows is not None
    assert not faults
    assert [windows.factor(rule) for rule in windows.rules] == list(map(Decimal, factors))
    assert [alert.name for alert in windows.alerts("page")] == ["page-quick", "page-slow"]


def test_faults_of_alert_windows_are_found_at_once() -> None:
    text = (DATA / "sloth_7d.yaml").read_text().replace("12.5", "0").replace("longWindow: 1d", "longWindow: 1x")
    windows, faults = parse_alert_windows(text, "w.yaml")
    assert windows is None
    assert [one.line for one in faults] == [11, 18]
    assert parse_alert_windows("a: b", "w.yaml")[1]
    assert parse_alert_windows("", "w.yaml")[1]


def test_objectives_of_sloth_are_read() -> None:
    reading = read_sloth_text(SLOTH, "sloth.yaml")
    assert not reading.faults
    plugged, raw, events = reading.slos.objectives
    assert (events.name, events.service, events.target) == (
        "myservice-requests-availability",
        "myservice",
        Decimal("0.999"),
    )
    assert (events.owner, dict(events.labels)["tier"]) == ("myteam", "2")
    assert events.window == RollingWindow(30 * 86_400)
    assert isinstance(events.indicator, RatioIndicator)
    assert "{{.window}}" in events.indicator.total.text
    assert (events.alert_set, raw.alert_set, raw.alerts) == ("standard", "", ())
    assert [alert.name for alert in plugged.alerts] == ["ticket-quick", "ticket-slow"]
    for one in (raw, plugged):
        assert isinstance(one.indicator, RawRatioIndicator)
        assert "no counts" in one.why_not_judged
    assert plugged.queries[0].type == PLUGIN


def test_lost_fields_of_sloth_are_notes_with_their_lines() -> None:
    notes = read_sloth_text(SLOTH, "sloth.yaml").notes
    assert [one.line for one in notes if "not kept" in one.message] == [15, 26]
    assert ["not judged" in one.message for one in notes].count(True) == 2


def test_other_windows_give_the_period_and_the_rules() -> None:
    windows, _ = read_alert_windows(DATA / "sloth_7d.yaml")
    assert windows is not None
    one = read_sloth_text(SLOTH, "sloth.yaml", windows).slos.objectives[-1]
    assert one.window == RollingWindow(7 * 86_400)
    assert next((alert.factor, alert.long_s) for alert in one.alerts) == (Decimal("13.44"), 3_600)


def test_import_export_import_of_sloth_gives_an_equal_set() -> None:
    slos = read_sloth_text(SLOTH, "sloth.yaml").slos
    text = as_sloth(slos)
    assert read_sloth_text(text, "again.yaml").check() == slos
    assert as_sloth(read_sloth_text(text, "again.yaml").slos) == text
    assert not sloth_losses(slos)


def test_objectives_of_sloth_become_openslo_without_a_loss() -> None:
    slos = read_sloth_text(SLOTH, "sloth.yaml").slos
    assert read_text(as_openslo(slos), "x.yaml").check() == slos


WRONG = {
    "version": ('"prometheus/v1"', "prometheus/v2", 1),
    "objective of 100": ("99.9", "100", 8),
    "two names": ("name: raw", "name: requests-availability", 19),
    "no query": ("        total_query: sum(rate(http_requests_total[{{.window}}]))\n", "", 12),
    "alert that cannot fire": ("objective: 99.9", "objective: 50", 8),
    "no service": ('service: "myservice"', "service: '-'", 2),
}


@pytest.mark.parametrize("case", WRONG)
def test_faults_of_sloth_have_their_lines(case: str) -> None:
    old, new, line = WRONG[case]
    assert old in SLOTH
    faults = read_sloth_text(SLOTH.replace(old, new, 1), "sloth.yaml").faults
    assert [one.line for one in faults] == [line], faults


def test_what_sloth_cannot_say_is_left_out_with_a_reason() -> None:
    one = next(one for one in read_sloth_text(SLOTH, "sloth.yaml").slos.objectives if one.name.endswith("lity"))
    weekly = CalendarWindow(1, "w", datetime(2026, 1, 1), "UTC")
    cases = {
        "the method": replace(one, method=Method.TIMESLICES, slice_s=300, slice_target=Decimal("0.9")),
        "the window": replace(one, window=weekly),
        "the source": replace(one, indicator=RatioIndicator(Query(type="Datadog"), bad=Query(type="Datadog"))),
        "a query": replace(
            one,
            indicator=RatioIndicator(
                Query("", "Prometheus", '{"query":"a+b"}'), bad=Query("", "Prometheus", '{"query":"b"}')
            ),
        ),
    }
    for word, objective in cases.items():
        slos = SloSet.of([objective])
        (loss,) = sloth_losses(slos)
        assert loss.field.startswith(word)
        assert loss.effect == "the objective is left out"
        assert as_sloth(slos) == ""


def test_counters_get_a_rate_and_good_requests_become_errors() -> None:
    one = next(one for one in read_sloth_text(SLOTH, "sloth.yaml").slos.objectives if one.name.endswith("lity"))
    good = Query("", "Prometheus", '{"query":"ok_total{a=\\"}\\"}"}')
    indicator = RatioIndicator(Query("", "Prometheus", '{"query":"all_total"}'), good=good, counter=True)
    text = as_sloth(SloSet.of([replace(one, indicator=indicator)]))
    assert "(sum(rate(all_total[{{.window}}]))) - (sum(rate(ok_total" in text


def test_a_selector_in_backticks_with_braces_is_written_for_sloth() -> None:
    one = next(one for one in read_sloth_text(SLOTH, "sloth.yaml").slos.objectives if one.name.endswith("lity"))
    selector = r"ok_total{path=~`/items/\d{2,4}`}"
    good = Query("", "Prometheus", json.dumps({"query": selector}))
    indicator = RatioIndicator(Query("", "Prometheus", '{"query":"all_total"}'), good=good, counter=True)
    (document,) = yaml.safe_load_all(as_sloth(SloSet.of([replace(one, indicator=indicator)])))
    assert f"sum(rate({selector}[{{{{.window}}}}]))" in document["slos"][0]["sli"]["events"]["error_query"]


@given(slo_sets())
def test_any_set_is_written_for_sloth_and_read_back_or_its_objectives_are_told_as_left_out(slos: SloSet) -> None:
    text = as_sloth(slos)
    left_out = {loss.objective for loss in sloth_losses(slos) if loss.effect == "the objective is left out"}
    kept = [one for one in slos.objectives if one.name not in left_out]
    if not kept:
        assert text == ""
        return
    reading = read_sloth_text(text, "sloth.yaml")
    assert sorted(one.target for one in reading.slos.objectives) == sorted(one.target for one in kept)
