"""Rate curves and policies as files: what is read, each fault with its place, and policies that are written back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.analysis.scaling.controllers import Fleet
from loadgen.capacity.scaling.aws_file import read_aws
from loadgen.capacity.scaling.faults import FaultList
from loadgen.capacity.scaling.hpa_file import read_hpa
from loadgen.capacity.scaling.policy import ScalingPolicy, Units
from loadgen.capacity.scaling.policy_file import read_policy
from loadgen.capacity.scaling.policy_text import policy_text
from loadgen.capacity.scaling.rate_curve import curve_of_rows, read_rate_curve
from loadgen.errors import LoadgenError
from loadgen.yaml_file import parse_yaml
from tools.deploy.hcl import read_text

UNITS = Units(230.0, 0.85)
HPA: dict[str, Any] = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "shop"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "minReplicas": 2,
        "maxReplicas": 40,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
            }
        ],
    },
}
TRACKING: dict[str, Any] = {
    "PolicyName": "cpu60",
    "ServiceNamespace": "ecs",
    "ResourceId": "service/shop/web",
    "ScalableDimension": "ecs:service:DesiredCount",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 60.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        "ScaleOutCooldown": 30,
        "ScaleInCooldown": 90,
    },
}
STEPS: list[dict[str, Any]] = [
    {"MinSize": 1, "MaxSize": 50},
    {
        "PolicyName": "out",
        "PolicyType": "StepScaling",
        "AdjustmentType": "PercentChangeInCapacity",
        "EstimatedInstanceWarmup": 0,
        "StepAdjustments": [
            {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 0},
            {"MetricIntervalLowerBound": 10, "MetricIntervalUpperBound": 20, "ScalingAdjustment": 10},
            {"MetricIntervalLowerBound": 20, "ScalingAdjustment": 30},
        ],
    },
    {
        "PolicyName": "in",
        "PolicyType": "StepScaling",
        "AdjustmentType": "PercentChangeInCapacity",
        "StepAdjustments": [
            {"MetricIntervalLowerBound": -10, "MetricIntervalUpperBound": 0, "ScalingAdjustment": 0},
            {"MetricIntervalLowerBound": -20, "MetricIntervalUpperBound": -10, "ScalingAdjustment": -10},
            {"MetricIntervalUpperBound": -20, "ScalingAdjustment": -30},
        ],
    },
    {
        "AlarmName": "high", "MetricName": "CPUUtilization", "Threshold": 50, "Period": 60, "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    },
    {
        "AlarmName": "low", "MetricName": "CPUUtilization", "Threshold": 50, "Period": 60, "EvaluationPeriods": 1,
        "ComparisonOperator": "LessThanOrEqualToThreshold",
    },
]  # fmt: skip


def messages(action: Callable[[], object]) -> list[str]:
    """The messages of the errors that an action raises."""
    try:
        action()
    except ExceptionGroup as group:
        return [one.with_hint for one in group.exceptions if isinstance(one, LoadgenError)]
    except LoadgenError as error:
        return [error.with_hint]
    return []


def read(tmp_path: Path, document: object, name: str = "policy.json", **limits: int) -> ScalingPolicy:
    path = tmp_path / name
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return read_policy(path, UNITS, **limits)


def changed(document: Any, path: str, value: object) -> Any:
    """Return a copy with another value at a path such as "spec.metrics.0.type"; None removes it."""
    copy = json.loads(json.dumps(document))
    at, keys = copy, path.split(".")
    for key in keys[:-1]:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if value is None:
        del at[keys[-1]]
    elif isinstance(at, list):
        at[int(keys[-1])] = value
    else:
        at[keys[-1]] = value
    return copy


# -- curves ---------------------------------------------------------------------------------------


def rows(text: str) -> Any:
    return iter([line.split(",") for line in text.strip().split("\n")])


def test_rates_between_two_rows_are_a_straight_line() -> None:
    curve = curve_of_rows("c", rows("time,rate\n2026-07-20T08:00:00Z,100\n2026-07-20T08:01:00Z,160\n"))
    assert len(curve.rate) == 120
    assert curve.rate[:3].tolist() == [100, 101, 102]
    assert set(curve.rate[60:]) == {160.0}
    assert curve.start is not None
    assert curve.start.isoformat() == "2026-07-20T08:00:00+00:00"


def test_curve_without_a_calendar_has_seconds_and_rates_may_have_units() -> None:
    curve = curve_of_rows("c", rows("time_s,rate\n0,60/min\n1,2/s\n2,3\n"))
    assert curve.rate.tolist() == [1, 2, 3]
    assert curve.start is None


def test_rows_of_parts_of_a_second_are_summed_to_seconds() -> None:
    curve = curve_of_rows("c", rows("time_s,rate\n0,10\n0.5,30\n1,50\n1.5,70\n"))
    assert curve.rate.tolist() == pytest.approx([20, 60])


def test_every_fault_of_a_curve_is_reported_with_its_line() -> None:
    text = """time,rate
2026-07-20T08:00:00Z,100
2026-07-20T08:01:00Z,-5
2026-07-20T08:02:00Z,120
2026-07-20T08:03:00,120
2026-07-20T08:03:00Z,130
2026-07-20T08:03:00Z,131
2026-07-20T08:02:00Z,140
2026-07-20T08:03:00Z,140
2026-07-20T08:04:00Z,140
2026-07-20T09:04:00Z,many
2026-07-20T08:10:00Z,140
today,140
2026-07-20T08:11:00Z
"""
    found = messages(lambda: curve_of_rows("peak.csv", rows(text)))
    expected = {
        3: "negative", 5: "no zone", 7: "again", 8: "60 s before line 7", 11: "not a rate", 12: "a gap of 360 s",
        13: "not a time", 14: "1 columns instead of 2",
    }  # fmt: skip
    for line, part in expected.items():
        assert any(one.startswith(f"peak.csv:{line}: ") and part in one for one in found), (line, part, found)


def test_more_than_twenty_faults_are_counted() -> None:
    text = "time_s,rate\n" + "\n".join(f"{n},-1" for n in range(30))
    found = messages(lambda: curve_of_rows("c", rows(text)))
    assert len(found) == 21
    assert "11 more errors" in found[-1]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "time,rate\n", "time_s,rate\n1,2\n", "time_s,rate\n1,2\n1,2\n"])
def test_file_without_a_curve_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    assert messages(lambda: read_rate_curve(path))


def test_bytes_that_are_no_text_and_missing_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(b"time,rate\n\xff\xfe,1\n")
    assert "UTF-8" in messages(lambda: read_rate_curve(path))[0]
    assert messages(lambda: read_rate_curve(tmp_path / "none.csv"))


def test_rows_far_apart_and_curves_too_long_are_refused() -> None:
    assert "peaks hide" in messages(lambda: curve_of_rows("c", rows("time_s,rate\n0,1\n86400,2\n")))[0]
    text = "time_s,rate\n0,1\n3600,2\n7200,2\n20000000,3\n"
    assert any("longer than 115 days" in one for one in messages(lambda: curve_of_rows("c", rows(text))))


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(b"\xef\xbb\xbftime_s,rate\r\n0,1\r\n1,2\r\n\r\n")
    assert read_rate_curve(path).rate.tolist() == [1, 2]


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20), st.sampled_from([1, 5, 60]))
def test_curve_has_the_rates_of_its_rows_at_their_times(rates: list[float], step: int) -> None:
    text = "time_s,rate\n" + "\n".join(f"{n * step},{rate!r}" for n, rate in enumerate(rates))
    curve = curve_of_rows("c", rows(text))
    assert len(curve.rate) == len(rates) * step
    assert np.allclose(curve.rate[::step], rates)


# -- HPA ------------------------------------------------------------------------------------------


def test_hpa_is_read_from_json_and_from_yaml(tmp_path: Path) -> None:
    for name in ("hpa.json", "hpa.yaml"):
        policy = read(tmp_path, HPA, name)
        assert (policy.kind, policy.target, policy.shown_target) == ("hpa", 0.6, "60 % CPU")
        assert (policy.limits.least, policy.limits.most, policy.tolerance, policy.period_s) == (2, 40, 0.1, 15)
        assert policy.make(None).decide(0, Fleet(4, 4, 4), 0.9) == 6
        assert policy.make(0.9).decide(0, Fleet(4, 4, 4), 0.9) == 4


def test_behavior_of_an_hpa_is_replayed(tmp_path: Path) -> None:
    behavior = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "tolerance": 0.05},
        "scaleDown": {"stabilizationWindowSeconds": 0},
    }
    policy = read(tmp_path, changed(HPA, "spec.behavior", behavior))
    assert policy.tolerance == 0.05
    one = policy.make(None)
    assert [one.decide(at, Fleet(pods, pods, pods), 0.9) for at, pods in ((0, 4), (15, 5), (60, 5))] == [5, 5, 6]
    assert policy.make(None).decide(0, Fleet(10, 10, 10), 0.3) == 5


def test_strictest_of_several_metrics_decides(tmp_path: Path) -> None:
    pods = {
        "type": "Pods",
        "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "100"}},
    }
    policy = read(tmp_path, changed(HPA, "spec.metrics", [*HPA["spec"]["metrics"], pods]))
    assert policy.target == pytest.approx(100 / 230 * 0.85)
    assert "strictest" in " ".join(policy.notes)


def test_limits_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, HPA, most=7).limits.most == 7
    assert read(tmp_path, HPA, least=3).limits.least == 3


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("apiVersion", "autoscaling/v1", "apiVersion"),
        ("kind", "Deployment", "kind"),
        ("spec", None, "spec: missing"),
        ("spec.maxReplicas", None, "spec.maxReplicas: missing"),
        ("spec.maxReplicas", 1, "below minReplicas"),
        ("spec.minReplicas", 0, "0 pods cannot be replayed"),
        ("spec.minReplicas", "two", "spec.minReplicas"),
        ("spec.minReplicas", 1.5, "not a whole number"),
        ("spec.metrics.0.type", "External", "cannot be replayed"),
        ("spec.metrics.0.resource.name", "memory", "cannot be replayed"),
        ("spec.metrics.0.resource.target.averageUtilization", None, "missing"),
        ("spec.metrics.0.resource.target.averageUtilization", 0, "not a number from 1"),
        ("spec.metrics.0.resource.target.averageUtilization", 1e400, "not a number from 1"),
        ("spec.metrics", {"a": 1}, "a list is expected"),
        ("spec.behavior", {"scaleUp": {"selectPolicy": "Best"}}, "spec.behavior.scaleUp.selectPolicy"),
        ("spec.behavior", {"scaleDown": {"policies": [{"type": "Pods", "value": 1}]}}, "periodSeconds: missing"),
        ("spec.behavior", {"scaleDown": {"stabilizationWindowSeconds": 9999}}, "not a number from 0 to 3600"),
        ("spec.behavior", [], "an object is expected"),
    ],
)
def test_each_fault_of_an_hpa_names_its_field(tmp_path: Path, path: str, value: object, problem: str) -> None:
    found = messages(lambda: read(tmp_path, changed(HPA, path, value)))
    assert any(problem in one for one in found), found


def test_all_faults_of_an_hpa_are_reported_at_once(tmp_path: Path) -> None:
    wrong = changed(changed(HPA, "apiVersion", "autoscaling/v1"), "spec.maxReplicas", "many")
    assert len(messages(lambda: read(tmp_path, wrong))) == 2


@pytest.mark.parametrize(
    "text", ["", "   ", "{", "[", "kind: [", "a: &a [*a]", "- 1\n- 2", "just words", "{}", "[]", "null", "1", "\t- x"]
)
def test_files_that_are_no_policy_are_errors(tmp_path: Path, text: str) -> None:
    for name in ("p.yaml", "p.json"):
        assert messages(lambda name=name: read(tmp_path, text, name, least=1, most=2))  # type: ignore[misc]


KEYS = st.sampled_from(["spec", "kind", "TargetValue", "PolicyName", "StepAdjustments", "metrics", "x"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60)
@given(DOCUMENTS)
def test_no_document_makes_the_reader_fail_otherwise(document: object) -> None:
    faults = FaultList("p")
    if read_aws(faults, document, UNITS, 1, 2) is None:
        assert faults.count
    if isinstance(document, dict):
        faults = FaultList("p")
        if read_hpa(faults, document, UNITS) is None:
            assert faults.count


def test_alias_bombs_and_deep_nesting_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
        for old, new in ("ab", "bc", "cd", "de", "ef", "fg")
    )
    for document in (bomb, "[" * 60 + "]" * 60):
        (found,) = messages(lambda document=document: read(tmp_path, document, "p.yaml"))  # type: ignore[misc]
        assert "20,000 values or 50 levels" in found
    assert "recursive" in messages(lambda: read(tmp_path, "a: &a [*a]", "p.yaml"))[0]


# -- AWS ------------------------------------------------------------------------------------------


def test_target_tracking_of_application_auto_scaling_is_read(tmp_path: Path) -> None:
    policy = read(tmp_path, TRACKING, least=1, most=50)
    assert (policy.kind, policy.target, policy.points, policy.period_s) == ("target tracking", 0.6, 3, 60)
    one = policy.make(None)
    assert [one.decide(at, Fleet(10, 10, 10), 0.9) for at in (0, 60, 120)] == [10, 10, 15]


def test_configuration_alone_and_requests_per_target_are_read(tmp_path: Path) -> None:
    config = {
        "TargetValue": 9000,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ALBRequestCountPerTarget"},
    }
    policy = read(tmp_path, config, least=1, most=50)
    assert policy.target == pytest.approx(9000 / 60 / 230 * 0.85)
    assert policy.unit == "requests/min"


def test_step_policies_with_their_alarms_replay_the_documented_example(tmp_path: Path) -> None:
    policy = read(tmp_path, STEPS)
    assert policy.kind == "step scaling"
    one, seen = policy.make(None), [10]
    for minute, metric in enumerate((0.6, 0.7, 0.4, 0.3)):
        seen.append(one.decide(minute * 60, Fleet(seen[-1], seen[-1], seen[-1]), metric))
    assert seen == [10, 11, 14, 13, 10]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("1.StepAdjustments.1.MetricIntervalLowerBound", 12, "leave a gap"),
        ("1.StepAdjustments.1.MetricIntervalLowerBound", 5, "overlap"),
        ("1.StepAdjustments", [], "StepAdjustments: missing"),
        ("1.StepAdjustments", None, "cannot be replayed"),
        ("1.AdjustmentType", "Percent", "not supported"),
        ("3.Threshold", None, "Threshold: missing"),
        ("3.Period", 300, "Period of 60 s"),
        ("3.MetricName", "Latency", "cannot be replayed"),
        ("3.DatapointsToAlarm", 3, "3 of 1 points"),
        ("3.ComparisonOperator", "LessThanThreshold", "0 alarms"),
        ("0.MaxSize", 0, "MaxSize"),
    ],
)
def test_each_fault_of_step_scaling_names_its_field(tmp_path: Path, path: str, value: object, problem: str) -> None:
    found = messages(lambda: read(tmp_path, changed(STEPS, path, value)))
    assert any(problem in one for one in found), found


def test_policies_of_aws_need_limits(tmp_path: Path) -> None:
    assert "contain no limits" in messages(lambda: read(tmp_path, TRACKING))[0]
    sized = [TRACKING, {"MinCapacity": 2, "MaxCapacity": 9}]
    assert read(tmp_path, sized).limits.most == 9


# -- written policies -----------------------------------------------------------------------------


def test_written_hpa_reads_back_with_its_new_target_and_all_else(tmp_path: Path) -> None:
    limits = [{"type": "Percent", "value": 10, "periodSeconds": 60}]
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 120, "policies": limits}}
    given_one = changed(HPA, "spec.behavior", behavior)
    given_one["metadata"]["annotations"] = {"note": "no", "odd key: #": "a\nb"}
    policy = read(tmp_path, given_one)
    text = policy_text(policy, 0.55, ["0 s of overload", "a line\nbreak"])
    assert text.startswith("# 0 s of overload\n# a line\\nbreak\n")
    (tmp_path / "new.yaml").write_text(text)
    again = read_policy(tmp_path / "new.yaml", UNITS)
    assert (again.target, again.limits) == (0.55, policy.limits)
    document = parse_yaml(text, "new.yaml")
    assert document["metadata"]["annotations"] == {"note": "no", "odd key: #": "a\nb"}
    assert document["spec"]["behavior"]["scaleDown"]["policies"] == [
        {"type": "Percent", "value": "10", "periodSeconds": "60"}
    ]
    assert "averageUtilization: 55\n" in text  # an integer, as the API wants it


def test_written_hpa_keeps_a_metric_of_requests(tmp_path: Path) -> None:
    pods = {
        "type": "Pods",
        "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "100"}},
    }
    policy = read(tmp_path, changed(HPA, "spec.metrics", [pods]))
    (tmp_path / "new.yaml").write_text(policy_text(policy, 0.5, []))
    assert read_policy(tmp_path / "new.yaml", UNITS).target == pytest.approx(0.5, abs=1e-5)


def test_written_terraform_reads_back(tmp_path: Path) -> None:
    hostile = changed(TRACKING, "PolicyName", 'cpu"${env}%{x}\n')
    text = policy_text(read(tmp_path, hostile, least=1, most=9), 0.55, ["0 s of overload"])
    (block,) = read_text(text, tmp_path / "new.tf").blocks
    assert (block.kind, block.labels[0]) == ("resource", "aws_appautoscaling_policy")
    assert block.attributes["resource_id"].literal == "service/shop/web"
    assert block.attributes["name"].literal == 'cpu\\"$${env}%%{x}\\\\n'
    (config,) = block.of("target_tracking_scaling_policy_configuration")
    assert config.attributes["target_value"].text == "55"
    assert config.attributes["scale_out_cooldown"].text == "30"
    (metric,) = config.of("predefined_metric_specification")
    assert metric.attributes["predefined_metric_type"].literal == "ECSServiceAverageCPUUtilization"
    assert "# 0 s of overload" in text


def test_written_policy_of_a_group_is_one_of_ec2(tmp_path: Path) -> None:
    group = {
        "AutoScalingGroupName": "web",
        "PolicyName": "cpu",
        "EstimatedInstanceWarmup": 120,
        "TargetTrackingConfiguration": {
            "TargetValue": 40.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        },
    }
    policy = read(tmp_path, group, least=1, most=9)
    assert policy.make(None).warm_s == 120
    (block,) = read_text(policy_text(policy, 0.5, []), tmp_path / "new.tf").blocks
    assert block.labels == ("aws_autoscaling_policy", "cpu")
    assert block.attributes["autoscaling_group_name"].literal == "web"


def test_a_name_that_the_policy_does_not_have_is_a_variable_of_terraform(tmp_path: Path) -> None:
    unnamed = {key: value for key, value in TRACKING.items() if key != "ResourceId"}
    text = policy_text(read(tmp_path, unnamed, least=1, most=9), 0.5, [])
    policy, variable = read_text(text, tmp_path / "new.tf").blocks
    assert "resource_id = var.resource_id" in text
    assert policy.labels[0] == "aws_appautoscaling_policy"
    assert (variable.kind, variable.labels) == ("variable", ("resource_id",))


def problems(action: Callable[[], object]) -> list[str]:
    """The messages of the errors that an action raises, without hints."""
    return [text.split("; ")[0] for text in messages(action)]


def test_unix_times_in_milliseconds_columns_twice_and_numbers_with_underscores_are_errors() -> None:
    assert problems(lambda: curve_of_rows("r.csv", rows("time_s,rate\n1784534400000,1\n1784534401000,2\n")))[:1] == [
        "r.csv:2: 1784534400000 s is after the year 5000"
    ]
    assert problems(lambda: curve_of_rows("r.csv", rows("time_s,rate,rate\n0,1,5\n60,2,5\n"))) == [
        "r.csv:1: 2 columns are named rate"
    ]
    assert problems(lambda: curve_of_rows("r.csv", rows("time_s,rate\n0,1_000\n1_0,5\n60,2\n70,2\n"))) == [
        'r.csv:2: "1_000" is not a rate',
        'r.csv:3: "1_0" is not a number of seconds',
    ]


def test_misspelt_fields_of_an_hpa_are_errors(tmp_path: Path) -> None:
    wrong = {
        **HPA,
        "spec": {**HPA["spec"], "behaviour": {}, "behavior": {"scaledown": {}, "scaleUp": {"select": "Min"}}},
    }
    assert problems(lambda: read(tmp_path, wrong)) == [
        "policy.json:spec.behaviour: unknown field",
        "policy.json:spec.behavior.scaledown: unknown field",
        "policy.json:spec.behavior.scaleUp.select: unknown field",
    ]


def test_tolerance_is_a_number_or_a_quantity(tmp_path: Path) -> None:
    for text in ("50m", "0.05", 0.05):
        found = read(tmp_path, {**HPA, "spec": {**HPA["spec"], "behavior": {"scaleUp": {"tolerance": text}}}})
        assert found.tolerance == pytest.approx(0.05)


def test_limits_of_aws_are_whole_and_given_once(tmp_path: Path) -> None:
    assert problems(lambda: read(tmp_path, [{"MinSize": 2}, *STEPS[1:]])) == ["policy.json:[0].MaxSize: missing"]
    assert problems(lambda: read(tmp_path, [*STEPS, {"MinSize": 5, "MaxSize": 6}])) == [
        f"policy.json:[{len(STEPS)}]: 2 documents have limits"
    ]
    assert read(tmp_path, [{"MinSize": 2}, *STEPS[1:]], most=9).limits.most == 9


def test_of_several_policies_the_one_with_the_target_is_written(tmp_path: Path) -> None:
    requests = changed(TRACKING, "PolicyName", "requests")
    requests["TargetTrackingScalingPolicyConfiguration"] |= {
        "TargetValue": 6000,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ALBRequestCountPerTarget"},
    }
    for documents in ([TRACKING, requests], [requests, TRACKING]):
        policy = read(tmp_path, documents, least=2, most=9)
        assert "requests has the strictest target" in policy.only
        body = policy_text(policy, 0.6, [])
        assert '"requests"' in body
        assert "target_value = 9741.18" in body
        assert "ALBRequestCountPerTarget" in body, "a target in requests is none of the CPU"
