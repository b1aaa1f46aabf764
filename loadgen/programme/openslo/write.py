"""Writes objectives as OpenSLO v1. The same set gives the same bytes, and reading them gives an equal set.

Each objective becomes an SLO of its own, with its indicator and alerts in place. The parts of a composite become one
SLO. Everything that other readers of the file cannot see as it is meant is a `Loss`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from loadgen.programme.composites.composite import Composite
from loadgen.programme.load_tests.loss import annotation_loss
from loadgen.programme.openslo.alerts import WINDOWS_OF
from loadgen.programme.openslo.documents import API_VERSION
from loadgen.programme.promises.objectives import (
    Alert,
    Indicator,
    NotificationTarget,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
    ThresholdIndicator,
    Window,
)
from loadgen.programme.promises.slo_set import Loss, SloSet
from loadgen.programme.slo_files.yaml_writer import Value, as_yaml

__all__ = ["as_openslo", "openslo_losses"]

_MOST_NAME: Final = 63


def as_openslo(slos: SloSet) -> str:
    """Return a set as a YAML file with one document for each service, source and objective, in this order."""
    documents: list[dict[str, Value]] = []
    for service in slos.services:
        documents.append(
            _object("Service", service.name, service.display_name, _given(description=service.description))
        )
    for source in slos.sources:
        spec = _given(type=source.type, connectionDetails=source.connection, description=source.description)
        documents.append(_object("DataSource", source.name, "", spec))
    composites = _whole_composites(slos)
    documents.extend(_composite(slos, one) for one in composites)
    inside = {part.objective for one in composites for part in one.parts}
    documents.extend(_slo(one) for one in slos.objectives if one.name not in inside)
    return as_yaml(documents)


def openslo_losses(slos: SloSet) -> list[Loss]:
    """Return what other readers of the file do not see as it is meant. `loadgen` itself reads back an equal set."""
    whole = _whole_composites(slos)
    apart = [
        Loss(
            one.name,
            "the composite",
            "a part is missing, or the parts differ in more than their targets and indicators",
            "each part is written as an SLO of its own",
        )
        for one in slos.composites
        if one not in whole
    ]
    return [*(loss for one in slos.objectives for loss in _losses(one)), *apart]


def _whole_composites(slos: SloSet) -> list[Composite]:
    """Return the composites that one SLO can hold: their parts differ in nothing but what an objective has."""
    known = {one.name: one for one in slos.objectives}
    found = []
    for composite in slos.composites:
        members = composite.members(known)
        if members is not None and len({_shared(one) for one in members}) == 1:
            found.append(composite)
    return found


def _shared(one: Objective) -> Objective:
    """Return what the objectives of an SLO have in common, as an objective with the same own fields for all."""
    own = RatioIndicator(Query())
    return replace(one, name="", part_name="", target=Decimal(0), indicator=own, slice_s=0, slice_target=None)


def _losses(one: Objective) -> Iterator[Loss]:
    for alert in one.alerts:
        if alert.short_s:
            yield Loss(
                one.name,
                f"alert {alert.name}",
                "it needs two windows, and an AlertPolicy has one, so two policies are written",
                "other tools alert on each window alone, so more often; loadgen reads back one alert",
            )
    if one.alert_set:
        yield Loss(
            one.name,
            f"the alert set {one.alert_set}",
            "OpenSLO has no field for it, so it is written as an annotation",
            "other tools make no alerts from it; `--to prometheus` writes alert rules",
        )
    yield from annotation_loss(one)


def _given(**fields: Value) -> dict[str, Value]:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value not in (None, "", (), {}, [])}


def _object(kind: str, name: str, display_name: str, spec: dict[str, Value]) -> dict[str, Value]:
    metadata = _given(name=name, displayName=display_name)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _composite(slos: SloSet, composite: Composite) -> dict[str, Value]:
    members = composite.members({one.name: one for one in slos.objectives})
    assert members is not None
    document = _slo(replace(members[0], name=composite.name))
    spec = document["spec"]
    assert isinstance(spec, dict)
    del spec["indicator"]
    spec["objectives"] = [
        _item(one) | {"indicator": _indicator(one.indicator), "compositeWeight": part.weight}
        for part, one in zip(composite.parts, members, strict=True)
    ]
    return document


def _item(one: Objective) -> dict[str, Value]:
    """Return the own fields of an objective, without its indicator."""
    objective = _given(target=one.target, displayName=one.part_name, timeSliceTarget=one.slice_target)
    if one.slice_s:
        objective["timeSliceWindow"] = RollingWindow(one.slice_s).text
    if isinstance(one.indicator, ThresholdIndicator):
        objective |= {"op": one.indicator.op, "value": one.indicator.value}
    return objective


def _slo(one: Objective) -> dict[str, Value]:
    ours = _given(
        owner=one.owner,
        journey=one.journey,
        threshold=one.threshold.text if one.threshold is not None else "",
        source=one.source,
        alerts=one.alert_set,
        **{"load-tests": one.load_tests},
    )
    annotations: dict[str, Value] = dict(one.annotations) | {f"loadgen.dev/{key}": value for key, value in ours.items()}
    spec: dict[str, Value] = {
        "service": one.service,
        "budgetingMethod": str(one.method),
        "timeWindow": [_window(one.window)],
        "objectives": [_item(one)],
        "indicator": _indicator(one.indicator),
    }
    spec |= _given(
        description=one.description, alertPolicies=[policy for alert in one.alerts for policy in _policies(alert)]
    )
    document = _object("SLO", one.name, one.display_name, spec)
    metadata: dict[str, Value] = _given(name=one.name, displayName=one.display_name)
    metadata |= _given(labels=dict(one.labels), annotations=annotations)
    document["metadata"] = metadata
    return document


def _window(window: Window) -> dict[str, Value]:
    if isinstance(window, RollingWindow):
        return {"duration": window.text, "isRolling": True}
    start = window.start.isoformat(sep=" ", timespec="seconds")
    return {
        "duration": window.text,
        "isRolling": False,
        "calendar": {"startTime": start, "timeZone": window.zone},
    }


def _indicator(indicator: Indicator) -> dict[str, Value]:
    spec: dict[str, Value]
    match indicator:
        case ThresholdIndicator(query=query):
            spec = {"thresholdMetric": _metric(query)}
        case RawRatioIndicator(query=query, is_success=is_success):
            spec = {"ratioMetric": {"raw": _metric(query), "rawType": "success" if is_success else "failure"}}
        case RatioIndicator(total=total, good=good, bad=bad, counter=counter):
            ratio: dict[str, Value] = {"counter": counter, "total": _metric(total)}
            ratio |= {key: _metric(query) for key, query in (("good", good), ("bad", bad)) if query is not None}
            spec = {"ratioMetric": ratio}
    metadata = _given(name=indicator.name, displayName=indicator.display_name)
    return {"spec": spec} | _given(metadata=metadata)


def _metric(query: Query) -> dict[str, Value]:
    source: dict[str, Value] = _given(metricSourceRef=query.source, type=query.type)
    return {"metricSource": source | {"spec": query.spec}}


def _policies(alert: Alert) -> Iterator[dict[str, Value]]:
    if not alert.short_s:
        yield _policy(alert, alert.name, alert.long_s, {})
        return
    for word, window_s in (("long", alert.long_s), ("short", alert.short_s)):
        name = f"{alert.name[: _MOST_NAME - 6].rstrip('-')}-{word}"
        yield _policy(alert, name, window_s, {WINDOWS_OF: alert.name})


def _policy(alert: Alert, name: str, window_s: int, annotations: dict[str, Value]) -> dict[str, Value]:
    rule: dict[str, Value] = {
        "kind": "burnrate",
        "op": "gte",
        "threshold": alert.factor,
        "lookbackWindow": RollingWindow(window_s).text,
    }
    if alert.after_s:
        rule["alertAfter"] = RollingWindow(alert.after_s).text
    condition: dict[str, Value] = {
        "kind": "AlertCondition",
        "metadata": {"name": name},
        "spec": {"severity": alert.severity, "condition": rule},
    }
    spec: dict[str, Value] = {
        "alertWhenNoData": alert.on_no_data,
        "alertWhenResolved": alert.on_resolved,
        "alertWhenBreaching": alert.on_breaching,
        "conditions": [condition],
    }
    spec |= _given(description=alert.description, notificationTargets=[_target(one) for one in alert.targets])
    metadata = _given(name=name, annotations=annotations)
    return {"kind": "AlertPolicy", "metadata": metadata, "spec": spec}


def _target(target: NotificationTarget) -> dict[str, Value]:
    spec = _given(target=target.target, description=target.description)
    return _given(kind="AlertNotificationTarget", spec=spec, metadata=_given(name=target.name))
