"""OpenSLO files: what is read, and every fault and note with its line."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from loadgen.errors import Fault, ScenarioError
from loadgen.programme.openslo.read import read_files, read_text
from loadgen.programme.openslo.write import openslo_losses
from loadgen.programme.promises.checks import check_edges, check_events, check_journeys, check_owners
from loadgen.programme.promises.objectives import (
    CalendarWindow,
    Method,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
    Threshold,
    ThresholdIndicator,
)
from loadgen.programme.promises.slo_set import Reading
from loadgen.programme.slo_files import yaml_nodes

DATA = Path(__file__).parent.parent / "data/slo"
SLO = """apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-fast
  labels: {team: payments}
  annotations:
    loadgen.dev/owner: payments-oncall@shop.example
    loadgen.dev/journey: checkout
    loadgen.dev/threshold: 300ms
    loadgen.dev/source: prod-prometheus
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives:
    - target: 0.995
  indicator:
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: 'latency_bucket{le="0.3"}'}}}
        total: {metricSource: {type: Prometheus, spec: {query: latency_count}}}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: checkout}
spec: {}
"""
THRESHOLD_METRIC = """      thresholdMetric:
        metricSource: {type: Prometheus, spec: {query: p95}}
"""


def changed(*pairs: tuple[str, str]) -> Reading:
    """The file above with some texts replaced; each has to be in it."""
    text = SLO
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return read_text(text, "shop.yaml")


def shown(faults: tuple[Fault, ...]) -> list[tuple[int, str]]:
    return [(one.line, one.message) for one in faults]


def with_threshold_metric() -> tuple[str, str]:
    return SLO[SLO.index("      ratioMetric") : SLO.index("---")], THRESHOLD_METRIC


def test_whole_file_has_neither_faults_nor_notes() -> None:
    reading = changed()
    assert (reading.faults, reading.notes) == ((), ())
    (one,) = reading.check(strict=True).objectives
    assert (one.name, one.service, one.owner, one.journey) == (
        "checkout-fast",
        "checkout",
        "payments-oncall@shop.example",
        "checkout",
    )
    assert one.target == Decimal("0.995")
    assert one.budget == Decimal("0.005")
    assert one.threshold == Threshold(Decimal(300), "ms")
    assert one.window == RollingWindow(28 * 86_400)
    assert one.method is Method.OCCURRENCES
    assert one.labels == (("team", "payments"),)
    assert one.sources == ("prod-prometheus",)
    assert one.indicator == RatioIndicator(
        total=Query("", "Prometheus", '{"query":"latency_count"}'),
        good=Query("", "Prometheus", '{"query":"latency_bucket{le=\\"0.3\\"}"}'),
        counter=True,
    )


FOUR = {
    "openslo_budgeting-method_occurences-slo.yaml": (
        [],
        [(9, "service"), (17, "Any"), (27, "not judged"), (29, "null")],
    ),
    "openslo_budgeting-method_ratio-timeslices.yaml": ([], [(9, "service"), (18, "Any"), (23, "Any"), (32, "op")]),
    "openslo_budgeting-method_timeslices-slo.yaml": (
        [(27, "1m is 1 minute")],
        [(9, "service"), (18, "Any"), (23, "Any"), (35, "op"), (43, "null")],
    ),
    "openslo_treat-low-traffic-as-equally-important_timeslices-slo.yaml": (
        [],
        [(7, "service"), (16, "Any"), (21, "Any"), (33, "op")],
    ),
}


@pytest.mark.parametrize("name", FOUR)
def test_examples_of_openslo_have_exactly_their_faults_and_notes(name: str) -> None:
    reading = read_files([DATA / name])
    faults, notes = FOUR[name]
    for found, expected in ((reading.faults, faults), (reading.notes, notes)):
        assert [one.line for one in found] == [line for line, _ in expected]
        for one, (_, word) in zip(found, expected, strict=True):
            assert word in one.message


def test_notes_become_faults_when_the_reader_is_strict() -> None:
    reading = read_files([DATA / "openslo_budgeting-method_ratio-timeslices.yaml"])
    reading.check()
    with pytest.raises(ScenarioError) as caught:
        reading.check(strict=True)
    assert len(caught.value.faults) == 4


def test_thresholdmetric_by_occurrences_is_read_and_not_judged() -> None:
    (one,) = read_files([DATA / "openslo_budgeting-method_occurences-slo.yaml"]).check().objectives
    assert isinstance(one.indicator, ThresholdIndicator)
    assert one.indicator.value == 500
    assert one.threshold is None
    assert "a share of its points is not a share of requests" in one.why_not_judged


def test_month_of_minutes_is_a_fault_that_names_the_month() -> None:
    (fault,) = read_files([DATA / "openslo_budgeting-method_timeslices-slo.yaml"]).faults
    assert "1M" in fault.hint


def test_slo_with_several_objectives_becomes_one_objective_for_each() -> None:
    text = (DATA / "openslo_budgeting-method_timeslices-slo.yaml").read_text().replace("duration: 1m", "duration: 1M")
    objectives = read_text(text, "sla.yaml").check().objectives
    assert [one.name for one in objectives] == [
        "service-availability-internal-objective",
        "service-availability-sla",
    ]
    assert objectives[0].window == CalendarWindow(1, "M", objectives[0].window.start, "America/New_York")  # type: ignore[union-attr]


WRONG = {
    "target of 1": ([("0.995", "1")], 16, "must be above 0 and below 1"),
    "target of 0": ([("0.995", "0")], 16, "must be above 0 and below 1"),
    "target in percent": ([("0.995", "99.5")], 16, "must be above 0 and below 1"),
    "both targets": ([("target: 0.995", "{target: 0.995, targetPercent: 99.5}")], 16, "both target and targetPercent"),
    "no target": ([("target: 0.995", "displayName: x")], 16, "target is missing"),
    "target not a number": ([("0.995", "1e-3")], 16, "is not a decimal number"),
    "both windows": (
        [("isRolling: true", "isRolling: true, calendar: {startTime: 2026-01-01, timeZone: UTC}")],
        14,
        "both rolling and by calendar",
    ),
    "no window": ([("  timeWindow: [{duration: 4w, isRolling: true}]\n", "")], 12, "timeWindow is missing"),
    "two windows": ([("isRolling: true}", "isRolling: true}, {duration: 1w, isRolling: true}")], 14, "has 2 items"),
    "neither kind of window": ([(", isRolling: true", "")], 14, "neither rolling nor by calendar"),
    "duration without unit": ([("4w", "4")], 14, "is not a duration"),
    "upper-case name": ([("checkout-fast", "Checkout")], 4, "not a name of RFC 1123"),
    "name of 64 characters": ([("checkout-fast", "a" * 64)], 4, "not a name of RFC 1123"),
    "threshold without unit": ([("300ms", "300")], 9, "has no unit"),
    "threshold of another unit": ([("300ms", "300mw")], 9, "has an unknown unit"),
    "threshold unlike the query": ([("300ms", "250ms")], 9, "counts up to le="),
    "slice target by occurrences": (
        [("target: 0.995", "target: 0.995\n      timeSliceTarget: 0.9")],
        17,
        "timeSliceTarget with budgetingMethod Occurrences",
    ),
    "no slice": ([("Occurrences", "RatioTimeslices")], 16, "timeSliceWindow is missing"),
    "unknown method": ([("Occurrences", "Occurences")], 13, "is unknown"),
    "unknown version": ([("openslo/v1", "openslo/v1alpha")], 1, "is not read here"),
    "unknown kind": ([("kind: SLO", "kind: SLOs")], 2, "is unknown"),
    "unresolved indicator": ([("  indicator:\n", "  indicatorRef: nothing\n  other:\n")], 17, "there is no SLI"),
    "unresolved source": ([("{type: Prometheus", "{metricSourceRef: x")], 21, "there is no DataSource"),
    "unresolved alert": ([("  service:", "  alertPolicies: [x]\n  service:")], 12, "there is no AlertPolicy"),
    "yes for true": ([("isRolling: true", "isRolling: yes")], 14, "must be true or false"),
    "duplicate key": ([("  service: checkout\n", "  service: checkout\n  service: cart\n")], 13, "duplicate key"),
    "no total": ([("        total:", "        bad:")], 20, "must have total"),
    "no source": ([("{type: Prometheus, ", "{")], 21, "type is missing"),
    "standard alerts at 90 percent": (
        [("0.995", "0.9"), ("loadgen.dev/source: prod-prometheus", "loadgen.dev/alerts: standard")],
        10,
        "13.44, which can never fire",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_fault_names_its_line_and_says_what_to_write(case: str) -> None:
    pairs, line, message = WRONG[case]
    faults = changed(*pairs).faults
    assert [one for one in faults if one.line == line and message in one.message], shown(faults)
    assert all(one.hint for one in faults), faults


def test_all_faults_are_found_at_once() -> None:
    reading = changed(("0.995", "2"), ("4w", "4x"), ("300ms", "300"), ("checkout-fast", "A B"))
    assert [line for line, _ in shown(reading.faults)] == [4, 9, 14, 16]


CALENDARS = {
    "startTime: 2026-01-01T00:00:00Z, timeZone: UTC": "has an offset",
    "startTime: 2026-13-01 00:00:00, timeZone: UTC": "is not a time",
    "startTime: 2026-01-01, timeZone: Europe/Berlim": "is not a zone",
    "startTime: 2026-01-01, timeZone: ../etc": "is not a zone",
    "startTime: 2026-01-01": "timeZone is missing",
}


@pytest.mark.parametrize("calendar", CALENDARS)
def test_invalid_calendar_is_a_fault(calendar: str) -> None:
    reading = changed(("4w, isRolling: true", f"1M, calendar: {{{calendar}}}"))
    assert CALENDARS[calendar] in str(reading.faults[0])


def test_alert_that_can_never_fire_is_a_fault_at_its_threshold() -> None:
    policy = """  alertPolicies:
    - kind: AlertPolicy
      metadata: {name: fast}
      spec:
        conditions:
          - kind: AlertCondition
            spec:
              severity: page
              condition:
                op: gte
                threshold: 14.4
                lookbackWindow: 1h
  service:"""
    (fault,) = changed(("0.995", "0.9"), ("  service:", policy)).faults
    assert fault.line == 22
    assert "at most 10 at a target of 0.9" in fault.message
    (one,) = changed(("0.995", "0.95"), ("  service:", policy)).check().objectives
    assert [alert.factor for alert in one.alerts] == [Decimal("14.4")]


def test_references_are_resolved_by_name_and_kind_across_documents() -> None:
    reading = read_text(
        """apiVersion: openslo/v1
kind: DataSource
metadata: {name: prom}
spec: {type: Prometheus, connectionDetails: {url: http://127.0.0.1:9090}}
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: ok}
spec:
  ratioMetric:
    bad: {metricSource: {metricSourceRef: prom, spec: {query: errors}}}
    total: {metricSource: {metricSourceRef: prom, spec: {query: all}}}
---
apiVersion: openslo/v1
kind: AlertNotificationTarget
metadata: {name: chat}
spec: {target: slack}
---
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: fast}
spec: {severity: page, condition: {kind: burnrate, op: gte, threshold: 14, lookbackWindow: 1h, alertAfter: 5m}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast}
spec: {conditions: [{conditionRef: fast}], notificationTargets: [{targetRef: chat}]}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: works}
spec:
  service: prom
  indicatorRef: ok
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{targetPercent: 99.9}]
  alertPolicies: [{alertPolicyRef: fast}]
""",
        "all.yaml",
    )
    assert not reading.faults
    (one,) = reading.slos.objectives
    assert one.target == Decimal("0.999")
    assert one.sources == ("prom",)
    assert {query.type for query in one.queries} == {"Prometheus"}
    (alert,) = one.alerts
    assert (alert.factor, alert.long_s, alert.after_s) == (Decimal(14), 3_600, 300)
    assert [target.target for target in alert.targets] == ["slack"]


def test_reference_to_another_kind_says_so() -> None:
    (fault, *_) = changed(("  indicator:\n", "  indicatorRef: checkout\n  other:\n")).faults
    assert "of kind Service" in fault.hint


def test_two_documents_of_one_kind_and_name_are_a_fault() -> None:
    faults = read_text(f"{SLO}---\n{SLO}", "twice.yaml").faults
    assert ["second SLO" in one.message for one in faults].count(True) == 1
    assert ["second Service" in one.message for one in faults].count(True) == 1


def test_raw_ratio_is_read_and_not_judged() -> None:
    start, end = SLO.index("        counter"), SLO.index("---")
    raw = "        raw: {metricSource: {type: Prometheus, spec: {query: r}}}\n        rawType: failure\n"
    (one,) = changed((SLO[start:end], raw)).check().objectives
    assert one.indicator == RawRatioIndicator(Query("", "Prometheus", '{"query":"r"}'), is_success=False)
    assert "no counts" in one.why_not_judged


def test_unknown_field_is_a_note_with_the_nearest_name() -> None:
    (note,) = changed(("  service: checkout\n", "  service: checkout\n  descripton: x\n")).notes
    assert note.line == 13
    assert 'did you mean "description"' in note.hint


def test_secret_in_a_source_is_noted_without_its_value() -> None:
    text = f"{SLO}---\napiVersion: openslo/v1\nkind: DataSource\nmetadata: {{name: d}}\n"
    reading = read_text(f"{text}spec: {{type: X, connectionDetails: {{secretAccessKey: hunter2}}}}\n", "s.yaml")
    (note,) = reading.notes
    assert "secretAccessKey" in note.message
    assert "hunter2" not in str(note)


def test_rolling_month_is_read_as_30_days_and_noted() -> None:
    reading = changed(("4w", "1M"))
    assert reading.slos.objectives[0].window == RollingWindow(30 * 86_400)
    assert "no fixed length" in reading.notes[0].message


def test_value_of_timeslices_without_a_unit_is_a_note() -> None:
    reading = changed(
        with_threshold_metric(),
        ("    loadgen.dev/threshold: 300ms\n", ""),
        ("Occurrences", "Timeslices"),
        ("target: 0.995", "{target: 0.995, timeSliceTarget: 0.9, timeSliceWindow: 5, op: lte, value: 300}"),
    )
    (one,) = reading.check().objectives
    assert (one.slice_s, one.why_not_judged) == (300, "")
    assert ["has no unit" in note.message for note in reading.notes] == [True]


def test_target_finer_than_the_slices_of_its_window_is_a_fault() -> None:
    slices = "{target: 0.9999, timeSliceTarget: 0.9, timeSliceWindow: 1h}"
    (fault,) = changed(("Occurrences", "Timeslices"), ("target: 0.995", slices)).faults
    assert "0.9999 of 672 slices allows 0.0672 of a slice" in fault.message


def test_target_finer_than_the_events_of_its_window_is_a_fault() -> None:
    reading = changed(("0.995", "0.9999"))
    (fault,) = check_events(reading, {"checkout-fast": 500})
    assert "0.05 of a request" in fault.message
    assert fault.line == 16
    assert not check_events(reading, {"checkout-fast": 10_000})


def test_journey_that_no_scenario_has_is_a_fault_with_the_nearest_name() -> None:
    (fault,) = check_journeys(changed(), {"checkouts", "browse"})
    assert (fault.line, fault.hint) == (8, 'did you mean "checkouts"?')
    assert not check_journeys(changed(), {"checkout"})


def test_missing_owner_is_a_fault_where_the_standard_demands_one() -> None:
    assert not check_owners(changed())
    (fault,) = check_owners(changed(("    loadgen.dev/owner: payments-oncall@shop.example\n", "")))
    assert "has no owner" in fault.message


def test_threshold_that_is_no_edge_of_the_histogram_names_its_neighbours() -> None:
    (fault,) = check_edges(changed(), [Decimal("0.25"), Decimal("0.5")])
    assert "0.25s or 0.5s" in fault.hint
    assert not check_edges(changed(), [Decimal("0.3")])


BROKEN = {
    "empty": ("", "empty"),
    "only comments": ("# nothing\n---\n", "empty"),
    "a tab": ("a:\n\tb: 1\n", "a tab cannot indent"),
    "33 levels": ("[" * 33 + "]" * 33, "more than 32 levels"),
    "101 aliases": (f"a: &a 1\nb: [{', '.join(['*a'] * 101)}]\n", "more than 100 aliases"),
    "own anchor": ("a: &a [*a]\n", "inside of its own anchor"),
    "no anchor": ("a: *b\n", "no anchor before it"),
    "merge key": ("a: &a {b: 1}\nc: {<<: *a}\n", "merge key"),
    "a tag": ("a: !!python/object:os.system x\n", "tag"),
    "list as key": ("? [a]\n: 1\n", "as a key"),
    "open list": ("a: [1\n", "invalid YAML"),
    "a control character": ("a: b\x01c\n", "invalid YAML"),
    "a text": ("hello\n", "must be a mapping"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_one_sentence_and_no_traceback(case: str) -> None:
    text, message = BROKEN[case]
    faults = read_text(text, "broken.yaml").faults
    assert any(message in str(one) for one in faults), faults


def test_alias_bomb_below_100_aliases_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (fault, *_) = read_text("\n".join(lines), "bomb.yaml").faults
    assert "aliases expanded" in fault.message


def test_byte_order_mark_and_crlf_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SLO.replace("\n", "\r\n").encode())
    reading = read_files([path])
    assert (reading.faults, reading.slos) == ((), changed().slos)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"a: \xff\xfe", "not UTF-8"), (b"#" * (yaml_nodes.MOST_BYTES + 1), "larger than 10 MB")],
)
def test_file_that_is_no_text_is_a_fault(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)
    (fault,) = read_files([path]).faults
    assert message in fault.message


def test_missing_file_is_a_fault(tmp_path: Path) -> None:
    (fault,) = read_files([tmp_path / "none.yaml"]).faults
    assert "cannot be read" in fault.message


def test_values_of_sexagesimals_dates_and_booleans_stay_texts() -> None:
    labels = "labels: {team: payments, a: 12:30:00, b: 2026-01-01, c: no, d: 0o17, e: 1_000}"
    (one,) = changed(("labels: {team: payments}", labels)).check().objectives
    assert dict(one.labels) == {
        "team": "payments",
        "a": "12:30:00",
        "b": "2026-01-01",
        "c": "no",
        "d": "0o17",
        "e": "1_000",
    }


def test_standard_alerts_are_told_as_lost_for_other_readers() -> None:
    slos = changed(("loadgen.dev/source: prod-prometheus", "loadgen.dev/alerts: standard")).check()
    (loss,) = openslo_losses(slos)
    assert re.match(r"checkout-fast: the alert set standard: .*; other tools make no alerts from it", str(loss))
