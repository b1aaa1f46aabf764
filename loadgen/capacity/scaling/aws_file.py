"""Reads scaling policies of AWS as the policy of a replay, in the JSON form that the AWS CLI takes.

    aws application-autoscaling put-scaling-policy --cli-input-json file://asg.json
    aws autoscaling put-scaling-policy --cli-input-json file://asg.json

The file is one such document, or only its target tracking configuration, or a list of documents. A step scaling policy
has its threshold in a CloudWatch alarm, so the list contains that, too: the document of `put-metric-alarm`. Documents
with `MinSize` and `MaxSize`, or `MinCapacity` and `MaxCapacity`, give the limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, Literal, cast

from loadgen.analysis.scaling.alarms import Threshold
from loadgen.analysis.scaling.aws_group import AwsGroup
from loadgen.analysis.scaling.controllers import Controller, Limits
from loadgen.analysis.scaling.step_scaling import Adjustment, Step, StepPolicy
from loadgen.analysis.scaling.target_tracking import OUT_POINTS, TrackingPolicy
from loadgen.capacity.scaling.faults import FaultList
from loadgen.capacity.scaling.fields import MOST_INSTANCES, Fields
from loadgen.capacity.scaling.policy import PolicyKind, ScalingPolicy, Units

__all__ = ["read_aws"]

_DEFAULT_COOLDOWN_S: Final = 300
_MOST_POLICIES: Final = 50
_TRACKING: Final = ("TargetTrackingScalingPolicyConfiguration", "TargetTrackingConfiguration")
_STEPS: Final = "StepScalingPolicyConfiguration"
_OPERATORS: Final = (
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanOrEqualToThreshold",
    "LessThanThreshold",
)
_METRICS: Final = "use CPU utilisation (percent) or requests per target (a minute)"
_LISTS: Final = ("ScalingPolicies", "MetricAlarms", "policies", "alarms")


def read_aws(
    faults: FaultList, document: object, units: Units, least: int | None = None, most: int | None = None
) -> ScalingPolicy | None:
    """Return the policy in one document or a list of them; None if faults were added.

    least, most: instances, in place of those of the documents; AWS's policies contain none.
    """
    parts = [Fields(faults, one, path) for path, one in _documents(document)]
    alarms = [one for one in parts if one.has("ComparisonOperator")]
    sizes = [one for one in parts if any(one.has(key) for key in ("MinSize", "MinCapacity", "MaxSize", "MaxCapacity"))]
    given = [one for one in parts if one not in alarms and one not in sizes]
    if not given or len(given) > _MOST_POLICIES:
        faults.add(1, f"{len(given)} scaling policies", "give the document of put-scaling-policy")
        return None
    found = _limits(faults, sizes, least, most)
    policies = [(one, part.document) for part in given if (one := _policy(part, alarms, units)) is not None]
    if faults.count or found is None:
        return None
    return _joined(policies, found)


def _joined(read: Sequence[tuple[StepPolicy | TrackingPolicy, Mapping[str, Any]]], limits: Limits) -> ScalingPolicy:
    """Return all policies as one. Its target and its document are those of the strictest target tracking."""
    policies = [one for one, _ in read]
    tracking = [one for one in policies if isinstance(one, TrackingPolicy)]
    kind: PolicyKind = "step scaling"
    if tracking:
        kind = "target tracking" if len(tracking) == len(policies) else "step scaling and target tracking"
    strictest = min(tracking, key=lambda one: one.target / one.scale, default=None)
    notes = ["the metric grows with the rate in proportion; requests that wait do not raise it above 100 %"]
    if tracking:
        notes.append("target tracking is a model of observed behaviour: AWS publishes no formula")
    only = ""
    if strictest is not None and len(policies) > 1:
        only = f"of {len(policies)} policies, {strictest.name} has the strictest target; --write-policy writes only it"
        notes.append(only)

    def make(other: float | None) -> Controller:
        chosen = [
            replace(one, target=other * one.scale) if other is not None and isinstance(one, TrackingPolicy) else one
            for one in policies
        ]
        return AwsGroup(chosen, limits)

    return ScalingPolicy(
        kind=kind,
        name=(strictest or policies[0]).name,
        target=None if strictest is None else strictest.target / strictest.scale,
        shown_target=f"{len(policies)} step policies" if strictest is None else _shown(strictest),
        tolerance=0.0,
        period_s=60,
        points=OUT_POINTS if strictest is not None else 1,
        limits=limits,
        make=make,
        notes=tuple(notes),
        unit="percent" if strictest is None or strictest.scale == 100 else "requests/min",
        scale=100.0 if strictest is None else strictest.scale,
        only=only,
        document=next((document for one, document in read if one is strictest), {}),
    )


def _shown(policy: TrackingPolicy) -> str:
    return f"{policy.target:g} %" if policy.scale == 100 else f"{policy.target:g} requests a minute and target"


def _documents(document: object) -> list[tuple[str, object]]:
    if isinstance(document, Mapping) and any(key in document for key in _LISTS):
        return [
            (f"{key}[{number}]", one)
            for key in _LISTS
            if isinstance(document.get(key), list)
            for number, one in enumerate(document[key])
        ]
    if isinstance(document, list):
        return [(f"[{number}]", one) for number, one in enumerate(document)]
    return [("", document)]


def _limits(
    faults: FaultList, sizes: Sequence[Fields], given_least: int | None, given_most: int | None
) -> Limits | None:
    if given_least is not None and given_most is not None:
        return Limits(given_least, max(given_least, given_most))
    if not sizes:
        faults.add(1, "the policies of AWS contain no limits", "give --min and --max")
        return None
    one = sizes[0]
    if len(sizes) > 1:
        faults.add(
            sizes[1].path or 1, f"{len(sizes)} documents have limits", "keep one of them, or give --min and --max"
        )
    is_group = one.has("MinSize") or one.has("MaxSize")
    low, high = ("MinSize", "MaxSize") if is_group else ("MinCapacity", "MaxCapacity")
    for key, given in ((low, given_least), (high, given_most)):
        if given is None and not one.has(key):
            one.wrong(key, "missing", "write it, or give --min and --max")
    least = given_least or one.whole(low, 1, low=1, high=MOST_INSTANCES)
    most = given_most or one.whole(high, least, low=1, high=MOST_INSTANCES)
    if most < least:
        one.wrong(high, f"{most} is below {low} {least}", "write a larger number")
    return Limits(least, max(least, most))


def _policy(part: Fields, alarms: Sequence[Fields], units: Units) -> StepPolicy | TrackingPolicy | None:
    name = part.text("PolicyName", "policy")
    for key in _TRACKING:
        if part.has(key):
            return _tracking(part.object(key), part, name, is_group=key == _TRACKING[1], units=units)
    if part.has("TargetValue"):
        metric = part.object("PredefinedMetricSpecification").text("PredefinedMetricType")
        return _tracking(part, part, name, is_group=metric.startswith("ASG"), units=units)
    if part.has(_STEPS):
        return _stepping(part.object(_STEPS), part, name, alarms, is_group=False, units=units)
    if part.has("StepAdjustments"):
        return _stepping(part, part, name, alarms, is_group=True, units=units)
    kind = part.text("PolicyType", "no PolicyType")
    part.wrong("PolicyType", f'"{kind[:40]}" cannot be replayed', "give a StepScaling or TargetTrackingScaling policy")
    return None


def _tracking(config: Fields, part: Fields, name: str, *, is_group: bool, units: Units) -> TrackingPolicy | None:
    target = config.number("TargetValue", None, low=1e-6, high=1e9)
    if target is None:
        if config.is_object and not config.has("TargetValue"):
            config.wrong("TargetValue", "missing", "write the target of the metric")
        return None
    own = config.object("CustomizedMetricSpecification")
    metric = config.object("PredefinedMetricSpecification").text("PredefinedMetricType") or own.text("MetricName")
    scale = _scale(config, "PredefinedMetricSpecification", metric, units)
    if scale is None:
        return None
    out_s = in_s = warm_s = 0
    if is_group:
        warm_s = part.whole("EstimatedInstanceWarmup", _DEFAULT_COOLDOWN_S, low=0, high=86400)
    else:
        out_s = config.whole("ScaleOutCooldown", _DEFAULT_COOLDOWN_S, low=0, high=86400)
        in_s = config.whole("ScaleInCooldown", _DEFAULT_COOLDOWN_S, low=0, high=86400)
    scales_in = not config.truth("DisableScaleIn", False)
    return TrackingPolicy(name, target, scale, scales_in, warm_s, out_s, in_s)


def _stepping(
    config: Fields, part: Fields, name: str, alarms: Sequence[Fields], *, is_group: bool, units: Units
) -> StepPolicy | None:
    kind = config.choice(
        "AdjustmentType", ("ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"), "ChangeInCapacity"
    )
    steps = tuple(_step(one) for one in config.objects("StepAdjustments"))
    if not steps:
        config.wrong("StepAdjustments", "missing", "write at least one step")
        return None
    _check_steps(config, steps)
    grows = max(one.change for one in steps) > 0 and kind != "ExactCapacity"
    alarm = _alarm_of(part, name, alarms, grows=grows if kind != "ExactCapacity" else None)
    threshold = None if alarm is None else _threshold(alarm, units)
    if threshold is None:
        return None
    return StepPolicy(
        name,
        steps,
        threshold,
        cast(Adjustment, kind),
        config.whole("MinAdjustmentMagnitude", 0, low=0, high=MOST_INSTANCES),
        warm_s=part.whole("EstimatedInstanceWarmup", _DEFAULT_COOLDOWN_S, low=0, high=86400) if is_group else 0,
        cooldown_s=0 if is_group else config.whole("Cooldown", _DEFAULT_COOLDOWN_S, low=0, high=86400),
    )


def _step(part: Fields) -> Step:
    return Step(
        part.number("MetricIntervalLowerBound", None, low=-1e9, high=1e9),
        part.number("MetricIntervalUpperBound", None, low=-1e9, high=1e9),
        part.whole("ScalingAdjustment", 0, low=-MOST_INSTANCES, high=MOST_INSTANCES),
    )


def _check_steps(config: Fields, steps: Sequence[Step]) -> None:
    """Add a fault for steps that overlap, leave a gap, or have no range: AWS refuses them."""
    low, high = float("-inf"), float("inf")
    ranges = sorted(
        (low if one.lower is None else one.lower, high if one.upper is None else one.upper) for one in steps
    )
    for (_, before), (after, _) in pairwise(ranges):
        if after != before:
            word = "overlap" if after < before else "leave a gap"
            config.wrong("StepAdjustments", f"two steps {word} at {before:g}", "let each step begin where one ends")
    for start, end in ranges:
        if start >= end or (start == low and end == high):
            config.wrong("StepAdjustments", f"a step from {start:g} to {end:g}", "give it one bound or both, ascending")


def _alarm_of(part: Fields, name: str, alarms: Sequence[Fields], *, grows: bool | None) -> Fields | None:
    """Return the alarm that names the policy in its actions, or the only one in its direction."""
    named = [one for one in alarms if any(name in action for action in one.texts("AlarmActions"))]
    if not named and grows is not None:
        named = [one for one in alarms if one.text("ComparisonOperator").startswith("Greater") == grows]
    if len(named) == 1:
        return named[0]
    hint = "add the document of put-metric-alarm to the list, with the policy's name in its AlarmActions"
    part.wrong("PolicyName", f"{len(named)} alarms for the step scaling policy {name[:60]}", hint)
    return None


def _threshold(alarm: Fields, units: Units) -> Threshold | None:
    operator = alarm.choice("ComparisonOperator", _OPERATORS, _OPERATORS[0])
    value = alarm.number("Threshold", None, low=-1e9, high=1e9)
    if value is None and not alarm.has("Threshold"):
        alarm.wrong("Threshold", "missing", "write the threshold")
    if alarm.whole("Period", 60, low=1, high=86400) != 60:
        alarm.wrong("Period", f"{alarm.text('Period')} s", "alarms are replayed with a Period of 60 s")
    scale = _scale(alarm, "MetricName", alarm.text("MetricName"), units)
    points = alarm.whole("EvaluationPeriods", 1, low=1, high=100)
    breaches = alarm.whole("DatapointsToAlarm", points, low=1, high=100)
    if breaches > points:
        alarm.wrong("DatapointsToAlarm", f"{breaches} of {points} points", "write at most EvaluationPeriods")
    if value is None or scale is None:
        return None
    return Threshold(value, operator.startswith("Greater"), "OrEqual" in operator, points, min(breaches, points), scale)


def _scale(part: Fields, key: str, metric: str, units: Units) -> float | None:
    unit: Literal["percent", "requests/min"]
    if metric.endswith("CPUUtilization"):
        unit = "percent"
    elif metric in ("ALBRequestCountPerTarget", "RequestCountPerTarget"):
        unit = "requests/min"
    else:
        part.wrong(key, f'the metric "{metric[:60]}" cannot be replayed', _METRICS)
        return None
    return units.scale_of(unit)
