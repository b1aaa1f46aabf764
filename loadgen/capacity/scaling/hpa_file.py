"""Reads a HorizontalPodAutoscaler (autoscaling/v2) as the policy of a replay. The document comes from YAML or JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal, cast

from loadgen.analysis.scaling.controllers import Controller, Limits
from loadgen.analysis.scaling.hpa import DOWN, UP, ChangeLimit, Direction, Hpa, HpaRules
from loadgen.capacity.scaling.faults import FaultList
from loadgen.capacity.scaling.fields import MOST_INSTANCES, Fields
from loadgen.capacity.scaling.policy import ScalingPolicy, Units

__all__ = ["is_hpa", "read_hpa"]

_VERSION: Final = "autoscaling/v2"
_SUPPORTED: Final = "give a CPU target of kind Resource, or requests/s of kind Pods with an averageValue"
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)(m|k|M)?")
_FACTORS: Final = {None: 1.0, "m": 0.001, "k": 1e3, "M": 1e6}
_DEFAULT_PERCENT: Final = 80
_SPEC: Final = ("scaleTargetRef", "minReplicas", "maxReplicas", "metrics", "behavior")
_RULES: Final = ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance")


def is_hpa(document: object) -> bool:
    """Return whether a document says that it is an HPA."""
    return isinstance(document, Mapping) and (
        document.get("kind") == "HorizontalPodAutoscaler"
        or str(document.get("apiVersion", "")).startswith("autoscaling/")
    )


def read_hpa(
    faults: FaultList, document: Mapping[str, Any], units: Units, least: int | None = None, most: int | None = None
) -> ScalingPolicy | None:
    """Return the policy of an HPA; None if faults were added.

    least, most: pods, in place of those of the document; None: those of the document.
    """
    root = Fields(faults, document)
    if root.text("kind") != "HorizontalPodAutoscaler":
        root.wrong("kind", f'"{root.text("kind")[:60]}" is not supported', "write kind: HorizontalPodAutoscaler")
    if root.text("apiVersion") != _VERSION:
        root.wrong("apiVersion", f'"{root.text("apiVersion")[:60]}" is not supported', f"write apiVersion: {_VERSION}")
    spec = root.object("spec")
    if not root.has("spec"):
        root.wrong("spec", "missing", "write the spec of the HPA")
    spec.check_names(_SPEC)
    limits = _limits(spec, least, most)
    targets = [found for one in spec.objects("metrics") if (found := _target(one, units)) is not None]
    if not spec.has("metrics"):
        targets = [(_DEFAULT_PERCENT / 100, True, f"{_DEFAULT_PERCENT} % CPU, the default")]
    behavior = spec.object("behavior")
    behavior.check_names(("scaleUp", "scaleDown"))
    up, down = (_direction(behavior, key, rule) for key, rule in (("scaleUp", UP), ("scaleDown", DOWN)))
    if faults.count or not targets:
        if not targets and not faults.count:
            spec.wrong("metrics", "no metric that can be replayed", _SUPPORTED)
        return None
    # The largest recommendation counts. All metrics grow with the load, so the lowest target always makes it.
    target, whole, shown = min(targets)
    rules = HpaRules(target, limits, up, down, whole_percents=whole)
    notes = ["the metric grows with the rate in proportion; requests that wait do not raise it above 100 %"]
    only = ""
    if len(targets) > 1:
        only = f"of {len(targets)} metrics, {shown} is the strictest and decides alone; --write-policy writes only it"
        notes.append(only)
    if not spec.has("behavior"):
        notes.append("no behavior in the file: the documented defaults (+100 % or +4 pods in 15 s, 300 s downward)")

    def make(other: float | None) -> Controller:
        return Hpa(rules if other is None else replace(rules, target=other))

    return ScalingPolicy(
        kind="hpa",
        name=root.object("metadata").text("name", "hpa"),
        target=target,
        shown_target=shown,
        tolerance=up.tolerance,
        period_s=rules.sync_s,
        points=1,
        limits=rules.limits,
        make=make,
        notes=tuple(notes),
        unit="percent" if whole else "requests/s",
        scale=units.scale_of("percent" if whole else "requests/s"),
        only=only,
        document=document,
    )


def _limits(spec: Fields, given_least: int | None, given_most: int | None) -> Limits:
    least = given_least if given_least is not None else spec.whole("minReplicas", 1, low=0, high=MOST_INSTANCES)
    if given_most is None and spec.is_object and not spec.has("maxReplicas"):
        spec.wrong("maxReplicas", "missing", "write the largest number of pods")
    own_most = spec.whole("maxReplicas", max(least, 1), low=1, high=MOST_INSTANCES)
    most = own_most if given_most is None else given_most
    if least == 0:
        spec.wrong("minReplicas", "0 pods cannot be replayed: an HPA alone never wakes them", "write at least 1")
    if most < least:
        spec.wrong("maxReplicas", f"{most} is below minReplicas {least}", "write a larger number")
    return Limits(max(1, least), max(1, least, most))


def _target(metric: Fields, units: Units) -> tuple[float, bool, str] | None:
    """Return target utilisation, whether it is compared in whole percents, and its text; None: a fault was added."""
    kind = metric.text("type")
    if kind in ("Resource", "ContainerResource"):
        resource = metric.object("resource" if kind == "Resource" else "containerResource")
        target = resource.object("target")
        if resource.text("name") != "cpu" or target.text("type") != "Utilization":
            resource.wrong(
                "name", f"{resource.text('name')[:40]} {target.text('type')[:40]} cannot be replayed", _SUPPORTED
            )
            return None
        percent = target.number("averageUtilization", None, low=1, high=1000)
        if percent is None:
            if not target.has("averageUtilization"):
                target.wrong("averageUtilization", "missing", "write the target in percent")
            return None
        return percent / 100, True, f"{percent:g} % CPU"
    if kind == "Pods":
        pods = metric.object("pods")
        target = pods.object("target")
        value = _QUANTITY.fullmatch(target.text("averageValue"))
        if value is None or float(value[1]) == 0:
            target.wrong(
                "averageValue", f'"{target.text("averageValue")[:40]}" is not a quantity', "write 100 or 1500m"
            )
            return None
        number = float(value[1]) * _FACTORS[value[2]]
        name = pods.object("metric").text("name", "metric")
        return number / units.scale_of("requests/s"), False, f"{number:g}/s a pod ({name[:60]}, taken as requests/s)"
    metric.wrong("type", f'"{kind[:40]}" cannot be replayed', _SUPPORTED)
    return None


def _direction(behavior: Fields, key: str, default: Direction) -> Direction:
    rules = behavior.object(key)
    rules.check_names(_RULES)
    limits = tuple(_limit(one) for one in rules.objects("policies")) or default.limits
    select = rules.choice("selectPolicy", ("Max", "Min", "Disabled"), default.select)
    return Direction(
        limits,
        rules.whole("stabilizationWindowSeconds", default.stabilise_s, low=0, high=3600),
        cast(Literal["Max", "Min", "Disabled"], select),
        _tolerance(rules, default.tolerance),
    )


def _tolerance(rules: Fields, default: float) -> float:
    """Return the tolerance, which Kubernetes writes as a quantity: 0.05 or 50m."""
    if (value := _QUANTITY.fullmatch(rules.text("tolerance"))) and value[2] == "m":
        return float(value[1]) * _FACTORS["m"]
    found = rules.number("tolerance", default, low=0, high=10)
    return default if found is None else found


def _limit(policy: Fields) -> ChangeLimit:
    kind = policy.choice("type", ("Pods", "Percent"), "Pods")
    for key in ("value", "periodSeconds"):
        if policy.is_object and not policy.has(key):
            policy.wrong(key, "missing", "write a whole number")
    value = policy.whole("value", 1, low=1, high=MOST_INSTANCES)
    return ChangeLimit(
        cast(Literal["Pods", "Percent"], kind), value, policy.whole("periodSeconds", 15, low=1, high=1800)
    )
