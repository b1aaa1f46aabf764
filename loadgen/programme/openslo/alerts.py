"""Alert policies of OpenSLO as burn-rate alerts.

A policy has one condition with one window. Our alerts have a long and a short window, so an export writes two policies
with the annotation `loadgen.dev/windows-of`; `read_alerts` joins them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from loadgen.programme.openslo.documents import Document, Documents, as_document
from loadgen.programme.openslo.indicators import OPERATORS
from loadgen.programme.promises.objectives import Alert, NotificationTarget
from loadgen.programme.slo_files.fields import Fields, quoted
from loadgen.programme.slo_files.yaml_nodes import Node, YamlText

__all__ = ["WINDOWS_OF", "ReadAlert", "read_alerts", "read_condition", "read_policy", "read_target"]

WINDOWS_OF: Final = "loadgen.dev/windows-of"
"""Annotation of two policies that are one alert with two windows. Its value is the name of the alert."""


@dataclass(frozen=True, slots=True)
class ReadAlert:
    """An alert, and the line where its factor stands. pair: the name of the alert that it is a window of, or ""."""

    alert: Alert
    file: str
    line: int
    pair: str = ""


def read_alerts(documents: Documents, spec: Fields) -> list[ReadAlert]:
    """Take `alertPolicies` of an SLO: names, references and policies in place."""
    found = []
    for node in spec.items("alertPolicies"):
        policy = _referred(documents, spec, node, "alertPolicies", "alertPolicyRef", "AlertPolicy")
        if policy is not None and (read := read_policy(documents, policy)) is not None:
            found.append(read)
    alerts = list(_joined(found))
    names = [one.alert.name for one in alerts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        spec.fault("alertPolicies", f"two alert policies are named {quoted(name)}", "give each its own name")
    return sorted(alerts, key=lambda one: one.alert.name)


def read_policy(documents: Documents, policy: Document) -> ReadAlert | None:
    """Return the alert of a policy; None with a fault if it has no valid condition."""
    spec, metadata = policy.spec, policy.metadata
    pair = ""
    if metadata is not None:
        metadata.lost("displayName", "labels")
        for key, value, line in metadata.pairs("annotations"):
            if key == WINDOWS_OF:
                pair = value
            else:
                metadata.findings.note(
                    line, f"annotation {quoted(key)} of an alert policy is not kept", "leave it out: an export lacks it"
                )
    policy.end()
    if spec is None:
        return None
    description = spec.description()
    flags = {key: spec.boolean(key) for key in ("alertWhenNoData", "alertWhenResolved", "alertWhenBreaching")}
    conditions = spec.items("conditions")
    if len(conditions) != 1:
        spec.fault("conditions", f"{spec.name_of('conditions')} must have one item", "write one condition a policy")
    condition = (
        _referred(documents, spec, conditions[0], "conditions", "conditionRef", "AlertCondition")
        if conditions
        else None
    )
    targets = [
        _referred(documents, spec, node, "notificationTargets", "targetRef", "AlertNotificationTarget")
        for node in spec.items("notificationTargets")
    ]
    spec.end()
    read = read_condition(condition, policy.name) if condition is not None else None
    if read is None:
        return None
    alert = replace(
        read.alert,
        name=policy.name or (condition.name if condition is not None else "") or "alert",
        description=description,
        targets=tuple(read_target(target) for target in targets if target is not None),
        on_no_data=bool(flags["alertWhenNoData"]),
        on_resolved=bool(flags["alertWhenResolved"]),
        on_breaching=flags["alertWhenBreaching"] is not False,
    )
    return replace(read, alert=alert, pair=pair)


def read_condition(condition: Document, policy: str = "") -> ReadAlert | None:
    """Return a condition as an alert without a name; None with a fault if it is invalid. policy: its policy's name."""
    spec = condition.spec
    if condition.metadata is not None:
        condition.metadata.lost("displayName", "labels", "annotations")
        if policy and condition.name not in ("", policy):
            condition.metadata.note(
                "name",
                f"the name {quoted(condition.name)} of a condition is not kept",
                "leave it out: an export uses the policy's",
            )
    condition.end()
    if spec is None:
        return None
    spec.lost("description")
    severity = spec.text("severity", hint="write severity: page, or ticket")
    rule = spec.sub("condition", hint="write condition: {kind: burnrate, op: gte, threshold: 14.4, ...}")
    spec.end()
    if rule is None:
        return None
    kind = rule.text("kind")
    if kind not in ("", "burnrate"):
        rule.fault("kind", f"{rule.name_of('kind')} {quoted(kind)} is unknown", "write burnrate")
    op = rule.choice("op", OPERATORS)
    if op not in ("", "gte"):
        rule.note(
            "op", f"{rule.name_of('op')} {op} is read as gte", "an alert fires while the burn is at least the threshold"
        )
    factor = rule.number("threshold", hint="write the burn at which it fires, such as 14.4")
    window = rule.seconds("lookbackWindow", hint="write the window, such as 1h")
    after = 0 if rule.text("alertAfter") in ("", "0m") else rule.seconds("alertAfter")
    rule.end()
    if factor is not None and factor <= 0:
        rule.fault("threshold", f"{rule.name_of('threshold')} must be above 0", "write 14.4, or another burn")
        return None
    if factor is None or window is None or after is None:
        return None
    alert = Alert(policy, factor.normalize(), window, after_s=after, severity=severity)
    return ReadAlert(alert, rule.findings.file, rule.line_of("threshold"))


def read_target(document: Document) -> NotificationTarget:
    """Return where alerts go."""
    if document.metadata is not None:
        document.metadata.lost("displayName", "labels", "annotations")
    document.end()
    spec = document.spec
    if spec is None:
        return NotificationTarget(document.name, "")
    target = NotificationTarget(
        document.name, spec.text("target", hint="write where alerts go, such as slack"), spec.description()
    )
    spec.end()
    return target


def _referred(documents: Documents, holder: Fields, node: Node, key: str, reference: str, kind: str) -> Document | None:
    """Return the object that an item of a list names, or contains."""
    if isinstance(node, YamlText):
        return documents.resolve(holder, key, kind, name=node.text) if not node.is_null else None
    fields = Fields.of(holder.findings, node, f"{holder.name_of(key)}[]")
    if fields is None:
        return None
    if fields.has(reference):
        found = documents.resolve(fields, reference, kind)
        fields.end()
        return found
    fields.text("apiVersion")
    if (written := fields.text("kind")) not in ("", kind):
        fields.fault("kind", f"{fields.name_of('kind')} {quoted(written)} must be {kind}", f"write {reference}: NAME")
        return None
    return as_document(fields, kind, is_inline=True)


def _joined(found: Iterable[ReadAlert]) -> Iterable[ReadAlert]:
    """Yield alerts; two that are windows of the same alert become one with a long and a short window."""
    pairs: dict[str, list[ReadAlert]] = {}
    for one in found:
        if one.pair:
            pairs.setdefault(one.pair, []).append(one)
        else:
            yield one
    for name, parts in pairs.items():
        by_length = sorted(parts, key=lambda one: one.alert.long_s)
        same = [replace(one.alert, name=name, long_s=0) for one in parts]
        if len(parts) == 2 and same[0] == same[1]:
            short, long = by_length
            yield replace(long, alert=replace(long.alert, name=name, short_s=short.alert.long_s), pair="")
        else:
            yield from (replace(one, pair="") for one in parts)
