"""Writes a policy with another target: an HPA as YAML, target tracking as Terraform. Figures stand in comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from loadgen.capacity.scaling.policy import ScalingPolicy
from loadgen.errors import UsageError
from loadgen.outside_text import one_line

__all__ = ["check_form", "policy_text"]

_LINE_MOST: Final = 200
_NUMBERS: Final = frozenset(
    ("minReplicas", "maxReplicas", "averageUtilization", "value", "periodSeconds", "stabilizationWindowSeconds")
)
"""The fields of an HPA that are integers. All other texts are quoted, so that no YAML reader takes `no` for false."""
_INTEGER: Final = re.compile(r"-?\d+")
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_HPA_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec")


def check_form(suffix: str, policy: ScalingPolicy) -> None:
    """Check that a policy can be written to a file of this suffix.

    Raises:
        UsageError: it cannot.
    """
    if policy.target is None:
        raise UsageError("--write-policy: step scaling has no target to write", hint="give an HPA or target tracking")
    wanted = (".yaml", ".yml") if policy.kind == "hpa" else (".tf",)
    if suffix.lower() not in wanted:
        what = "an HPA is written as YAML" if policy.kind == "hpa" else "target tracking is written as Terraform"
        raise UsageError(f"--write-policy: {what}", hint=f"name a file that ends in {wanted[0]}")


def policy_text(policy: ScalingPolicy, target: float, comments: Sequence[str]) -> str:
    """Return the text of a policy with a new target, a utilisation from 0 to 1, and comments above it."""
    head = [f"# {one_line(line, _LINE_MOST)}" for line in comments]
    body = _hpa(policy, target) if policy.kind == "hpa" else _terraform(policy, target)
    return "\n".join([*head, *body]) + "\n"


# -- Kubernetes ---------------------------------------------------------------------------------


def _hpa(policy: ScalingPolicy, target: float) -> Iterator[str]:
    document = {key: policy.document[key] for key in _HPA_FIELDS if key in policy.document}
    spec = dict(document["spec"])
    spec["minReplicas"], spec["maxReplicas"] = str(policy.limits.least), str(policy.limits.most)
    spec["metrics"] = [_metric(policy, target)]
    document["spec"] = spec
    yield from _yaml(document, 0)


def _metric(policy: ScalingPolicy, target: float) -> Mapping[str, Any]:
    """Return the metric of a target. Of several metrics, only CPU is written: the target was found for one of them."""
    if policy.unit == "percent":
        return {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": str(round(target * 100))},
            },
        }
    value = f"{round(target * policy.scale * 1000)}m"
    for one in policy.document["spec"]["metrics"]:
        if one.get("type") == "Pods":
            return {"type": "Pods", "pods": {**one["pods"], "target": {"type": "AverageValue", "averageValue": value}}}
    raise AssertionError("a target in requests/s comes from a metric of kind Pods")


def _yaml(value: Any, depth: int, key: str = "") -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, Mapping) and value:
        for name, one in value.items():
            shown = name if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) else json.dumps(str(name))
            if isinstance(one, (Mapping, list)) and one:
                yield f"{indent}{shown}:"
                yield from _yaml(one, depth + 1)
            else:
                yield f"{indent}{shown}: {_scalar(one, str(name))}"
    elif isinstance(value, list) and value:
        for one in value:
            lines = list(_yaml(one, depth + 1, key))
            yield f"{indent}- {lines[0].lstrip()}"
            yield from lines[1:]
    else:
        yield f"{indent}{_scalar(value, key)}"


def _scalar(value: Any, key: str) -> str:
    if isinstance(value, (Mapping, list)):
        return "{}" if isinstance(value, Mapping) else "[]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    if key in _NUMBERS and _INTEGER.fullmatch(text):
        return text
    return json.dumps(text)


# -- AWS ----------------------------------------------------------------------------------------


def _terraform(policy: ScalingPolicy, target: float) -> Iterator[str]:
    document = policy.document
    config = document.get("TargetTrackingScalingPolicyConfiguration") or document.get("TargetTrackingConfiguration")
    config = config if isinstance(config, Mapping) else document
    is_group = "TargetTrackingConfiguration" in document or "AutoScalingGroupName" in document
    kind = "aws_autoscaling_policy" if is_group else "aws_appautoscaling_policy"
    label = _NOT_IN_NAME.sub("_", policy.name).strip("_-")[:60]
    label = label if label[:1].isalpha() else f"policy_{label}"
    yield f'resource "{kind}" "{label}" {{'
    yield f"  name = {_hcl(policy.name)}"
    yield '  policy_type = "TargetTrackingScaling"'
    if is_group:
        yield f"  autoscaling_group_name = {_named(document, 'AutoScalingGroupName', 'autoscaling_group_name')}"
        if "EstimatedInstanceWarmup" in document:
            yield f"  estimated_instance_warmup = {int(document['EstimatedInstanceWarmup'])}"
        block = "target_tracking_configuration"
    else:
        yield f"  service_namespace = {_hcl(document.get('ServiceNamespace', 'ecs'))}"
        yield f"  scalable_dimension = {_hcl(document.get('ScalableDimension', 'ecs:service:DesiredCount'))}"
        yield f"  resource_id = {_named(document, 'ResourceId', 'resource_id')}"
        block = "target_tracking_scaling_policy_configuration"
    yield ""
    yield f"  {block} {{"
    yield f"    target_value = {round(target * policy.scale, 3):g}"
    if str(config.get("DisableScaleIn", False)).lower() == "true":
        yield "    disable_scale_in = true"
    for key, name in (("ScaleOutCooldown", "scale_out_cooldown"), ("ScaleInCooldown", "scale_in_cooldown")):
        if key in config and not is_group:
            yield f"    {name} = {int(config[key])}"
    yield from _metric_blocks(config)
    yield "  }"
    yield "}"
    name, variable = ("AutoScalingGroupName", "autoscaling_group_name") if is_group else ("ResourceId", "resource_id")
    if name not in document:
        yield f'\nvariable "{variable}" {{\n  type = string\n}}'


def _named(document: Mapping[str, Any], key: str, variable: str) -> str:
    """Return a name in the policy's file, or the variable that asks for it: the file may be only a configuration."""
    return _hcl(document[key]) if key in document else f"var.{variable}"


def _metric_blocks(config: Mapping[str, Any]) -> Iterator[str]:
    given, own = config.get("PredefinedMetricSpecification"), config.get("CustomizedMetricSpecification")
    yield ""
    if isinstance(given, Mapping):
        yield "    predefined_metric_specification {"
        yield f"      predefined_metric_type = {_hcl(given.get('PredefinedMetricType', ''))}"
        if given.get("ResourceLabel"):
            yield f"      resource_label = {_hcl(given['ResourceLabel'])}"
        yield "    }"
    elif isinstance(own, Mapping):
        yield "    customized_metric_specification {"
        for key, name in (("MetricName", "metric_name"), ("Namespace", "namespace"), ("Statistic", "statistic")):
            if own.get(key):
                yield f"      {name} = {_hcl(own[key])}"
        yield "    }"


def _hcl(value: object) -> str:
    """Return a quoted string of HCL: one line, without interpolation."""
    text = json.dumps(one_line(str(value), _LINE_MOST), ensure_ascii=False)
    return text.replace("${", "$${").replace("%{", "%%{")
