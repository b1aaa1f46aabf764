"""Writes objectives as files of sloth, `prometheus/v1`: one document for each service, with every loss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from loadgen.probes.prometheus.selectors import SELECTOR
from loadgen.programme.load_tests.exported import with_condition
from loadgen.programme.load_tests.loss import condition_loss
from loadgen.programme.promises.objectives import (
    Method,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
    ThresholdIndicator,
)
from loadgen.programme.promises.slo_set import Loss, SloSet
from loadgen.programme.slo_files.yaml_writer import Value, as_yaml
from loadgen.programme.sloth.alert_windows import GOOGLE_30D
from loadgen.programme.sloth.read import PLUGIN, VERSION

__all__ = ["as_sloth", "sloth_losses"]

_WINDOW: Final = "{{.window}}"
_SELECTOR: Final = re.compile(SELECTOR)
_LEFT_OUT: Final = "the objective is left out"


def as_sloth(slos: SloSet) -> str:
    """Return the objectives that sloth can express as YAML; "" without any."""
    written = [one for one in map(with_condition, slos.objectives) if not _why_left_out(one)]
    documents: list[dict[str, Value]] = []
    for service in sorted({one.service for one in written}):
        entries: list[Value] = [_slo(one) for one in written if one.service == service]
        documents.append({"version": VERSION, "service": service, "slos": entries})
    return as_yaml(documents)


def sloth_losses(slos: SloSet) -> list[Loss]:
    """Return everything that files of sloth cannot say."""
    apart = [
        Loss(one.name, "the composite", "sloth has no composites", "each part is written as an SLO of its own")
        for one in slos.composites
    ]
    return [*(loss for one in map(with_condition, slos.objectives) for loss in _losses(one)), *apart]


def _losses(one: Objective) -> Iterator[Loss]:
    if why := _why_left_out(one):
        yield Loss(one.name, why[0], why[1], _LEFT_OUT)
        return
    days = one.window.nominal_s // 86_400
    if days != 30:
        yield Loss(
            one.name,
            f"the window of {days} days",
            "files of sloth have no field for a window",
            f"run sloth with --default-slo-period={days}d",
        )
    if not one.name.startswith(f"{one.service}-"):
        reason = f"sloth puts the service before it: {one.service}-{one.name}"
        yield Loss(one.name, "the name", reason, "an import gives the objective the longer name")
    lost = {
        "displayName": one.display_name or one.part_name,
        "journey": one.journey,
        "threshold": one.threshold,
        "source": one.source,
        "annotations": one.annotations,
        "the name of the indicator": one.indicator.name or one.indicator.display_name,
    }
    for name, value in lost.items():
        if value:
            yield Loss(one.name, name, "sloth has no field for it", "it is not written")
    yield from condition_loss(one, "its rules")
    if one.owner and dict(one.labels).get("owner") != one.owner:
        yield Loss(one.name, "the owner", "sloth has no field for it", "it is written as the label owner")
    if isinstance(one.indicator, RatioIndicator) and one.indicator.good is not None:
        yield Loss(
            one.name,
            "the query of good requests",
            "sloth needs a query of bad requests",
            "bad requests are written as all minus good",
        )
    if one.alerts and _severities(one) is None:
        yield Loss(
            one.name,
            "the alert policies",
            "sloth has alerts of its own, which differ from these",
            "alerts are switched off in the file",
        )


def _why_left_out(one: Objective) -> tuple[str, str] | None:
    """Return field and reason if sloth cannot express an objective; None if it can."""
    if one.method is not Method.OCCURRENCES:
        return f"the method {one.method}", "sloth supports Occurrences only"
    if not isinstance(one.window, RollingWindow) or one.window.seconds % 86_400:
        return f"the window of {one.window.text}", "sloth supports rolling windows of whole days only"
    indicator = one.indicator
    if isinstance(indicator, ThresholdIndicator):
        return "the thresholdMetric", "sloth supports ratioMetric only"
    if isinstance(indicator, RawRatioIndicator):
        if indicator.is_success:
            return "the raw ratio of successes", "sloth supports raw ratios of failures only"
        if indicator.query.type == PLUGIN:
            return None
    if any(query.type != "Prometheus" for query in one.queries):
        return "the source", "sloth supports Prometheus only"
    if any(_expression(query) is None for query in one.queries):
        return "a query", f'it must be a counter such as requests_total{{job="shop"}}, or have {_WINDOW} as its range'
    return None


def _expression(query: Query) -> str | None:
    """Return a query as sloth wants it, with a place for the window; None: it cannot be written so."""
    text = query.text.strip()
    if _WINDOW in text:
        return query.text
    return f"sum(rate({text}[{_WINDOW}]))" if _SELECTOR.fullmatch(text) else None


def _slo(one: Objective) -> dict[str, Value]:
    labels = dict(one.labels) | ({"owner": one.owner} if one.owner else {})
    severities = _severities(one) or ()
    alerting: dict[str, Value] = {
        f"{severity}_alert": {"disable": True} for severity in ("page", "ticket") if severity not in severities
    }
    if severities:
        alerting["name"] = one.name
    slo: dict[str, Value] = {
        "name": one.name.removeprefix(f"{one.service}-") or one.name,
        "objective": Decimal((one.target * 100).normalize()),
        "sli": _sli(one),
        "alerting": alerting,
    }
    if one.description:
        slo["description"] = one.description
    if labels:
        slo["labels"] = labels
    return slo


def _sli(one: Objective) -> dict[str, Value]:
    indicator = one.indicator
    if isinstance(indicator, RawRatioIndicator):
        if indicator.query.type == PLUGIN:
            return {"plugin": {key: value for key, value in indicator.query.spec.items() if value}}
        return {"raw": {"error_ratio_query": _expression(indicator.query)}}
    assert isinstance(indicator, RatioIndicator)
    total = _expression(indicator.total) or ""
    if indicator.bad is not None:
        return {"events": {"error_query": _expression(indicator.bad), "total_query": total}}
    assert indicator.good is not None
    return {"events": {"error_query": f"({total}) - ({_expression(indicator.good)})", "total_query": total}}


def _severities(one: Objective) -> tuple[str, ...] | None:
    """Return which alerts of sloth an objective has; None: its alerts are others."""
    if one.alert_set == "standard" and not one.alerts:
        return ("page", "ticket")
    if one.alert_set:
        return None
    choices: tuple[tuple[str, ...], ...] = (("page",), ("ticket",), ("page", "ticket"))
    return next((names for names in choices if one.alerts == GOOGLE_30D.alerts(*names)), () if not one.alerts else None)
