"""What Nobl9 refuses or ignores of OpenSLO files.

Sources: nobl9/nobl9-openslo at 3278c61, the converter of `sloctl convert openslo` (README, `validation_rules.go`,
`conversion_rules.go`), and nobl9/nobl9-go at 450a87e, the rules for its own objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loadgen.programme.promises.objectives import (
    CalendarWindow,
    Method,
    Objective,
    Query,
    RawRatioIndicator,
    RollingWindow,
    Window,
)
from loadgen.programme.promises.slo_set import Loss, SloSet

__all__ = ["nobl9_losses"]

_REFUSED: Final = "Nobl9 refuses the objective"
_TYPES: Final = {
    one.lower(): one
    for one in (
        "prometheus",
        "datadog",
        "newRelic",
        "appDynamics",
        "splunk",
        "lightstep",
        "splunkObservability",
        "dynatrace",
        "elasticsearch",
        "thousandEyes",
        "graphite",
        "bigQuery",
        "opentsdb",
        "grafanaLoki",
        "cloudWatch",
        "pingdom",
        "amazonPrometheus",
        "redshift",
        "sumoLogic",
        "instana",
        "influxdb",
        "gcm",
        "azureMonitor",
        "generic",
        "honeycomb",
        "logicMonitor",
        "azurePrometheus",
        "coralogix",
        "atlas",
        "dash0",
    )
}
"""The types of its metrics, by the word in lower case. Nobl9 distinguishes capital letters."""
_NEEDS: Final = {"prometheus": "promql", "datadog": "query", "cloudwatch": "region"}
"""A field that the queries of a type must have."""
_SEVERITIES: Final = ("Low", "Medium", "High")
_TARGETS: Final = (
    "webhook",
    "pagerduty",
    "slack",
    "discord",
    "opsgenie",
    "servicenow",
    "jira",
    "msteams",
    "email",
)
_ROLLING_MOST_S: Final = 31 * 86_400
_CALENDAR_MOST_S: Final = 366 * 86_400
_SLICE_S: Final = 60


def nobl9_losses(slos: SloSet) -> Iterator[Loss]:
    """Yield what Nobl9 would refuse or ignore of an exported set."""
    for one in slos.objectives:
        yield from _of_objective(one)
        yield from _of_alerts(one)
    for composite in slos.composites:
        reason = "Nobl9's converter supports neither weights nor an indicator for each objective"
        yield Loss(composite.name, "the composite", reason, "Nobl9 refuses the SLO: write one SLO for each part")


def _of_objective(one: Objective) -> Iterator[Loss]:
    if one.method is Method.RATIO_TIMESLICES:
        yield Loss(one.name, f"the method {one.method}", "Nobl9 supports Occurrences and Timeslices only", _REFUSED)
    elif one.method is Method.TIMESLICES and one.slice_s != _SLICE_S:
        slices = RollingWindow(one.slice_s).text
        yield Loss(
            one.name,
            f"slices of {slices}",
            "Nobl9 ignores timeSliceWindow and uses slices of a minute",
            "its attainment differs",
        )
    if isinstance(one.indicator, RawRatioIndicator):
        yield Loss(one.name, "the raw ratio", "Nobl9's converter supports good, bad and total only", _REFUSED)
    if reason := _window(one.window):
        yield Loss(one.name, f"the window of {one.window.text}", reason, _REFUSED)
    seen: set[tuple[str, str]] = set()
    for query in one.queries:
        for found in _of_query(query):
            if found not in seen:
                seen.add(found)
                yield Loss(one.name, *found, _REFUSED)


def _window(window: Window) -> str:
    """Return why Nobl9 refuses a window; "" if it does not."""
    if isinstance(window, CalendarWindow):
        return "Nobl9 supports calendar windows of at most 366 days" if window.nominal_s > _CALENDAR_MOST_S else ""
    if window.seconds > _ROLLING_MOST_S:
        return "Nobl9 supports rolling windows of at most 31 days"
    if window.text.endswith("w"):
        days = f"{window.seconds // 86_400}d"
        return f"Nobl9 does not support weeks in rolling windows: write {days} in the exported file"
    return ""


def _of_query(query: Query) -> Iterator[tuple[str, str]]:
    """Yield (field, reason) of everything in a query that Nobl9 refuses."""
    if not query.source:
        yield "metricSource without metricSourceRef", "Nobl9 needs the name of a data source in each metric"
    word = query.type.lower()
    right = _TYPES.get(word, "")
    if query.type != right or not right:
        reason = f"Nobl9 needs the spelling {right}" if right else "Nobl9 does not support it"
        yield f"the type {query.type or '(missing)'}", reason
    if (field := _NEEDS.get(word, "")) and field not in query.spec:
        yield "the query", f"Nobl9 needs the field {field} in a query of the type {right}"


def _of_alerts(one: Objective) -> Iterator[Loss]:
    for alert in one.alerts:
        if alert.severity not in _SEVERITIES:
            reason = f"Nobl9 supports {', '.join(_SEVERITIES)}"
            yield Loss(one.name, f"alert {alert.name}: severity {alert.severity}", reason, "Nobl9 refuses the policy")
        for target in alert.targets:
            if target.target not in _TARGETS:
                reason = f"Nobl9 supports {', '.join(_TARGETS)}"
                yield Loss(one.name, f"alert {alert.name}: target {target.target}", reason, "Nobl9 refuses the target")
