"""Checks on objectives that need more than one field: alerts, slices, thresholds, journeys, owners, traffic.

The first three run whenever a file is read. The others need something from outside of the file (scenarios, the house
standard, the traffic of the window, the edges of a histogram), and `loadgen slo check` runs them where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from loadgen.errors import Fault
from loadgen.programme.promises.objectives import Alert, Method, Objective, RatioIndicator
from loadgen.programme.promises.slo_set import Findings, Place, Reading
from loadgen.programme.slo_files.fields import quoted
from loadgen.similar_names import did_you_mean

__all__ = [
    "STANDARD_ALERTS",
    "check_alerts",
    "check_edges",
    "check_events",
    "check_journeys",
    "check_owners",
    "check_slices",
    "check_threshold_in_query",
    "standard_factors",
]

STANDARD_ALERTS: Final = (
    (Decimal("0.02"), 3_600, 300),
    (Decimal("0.05"), 21_600, 1_800),
    (Decimal("0.10"), 86_400, 7_200),
    (Decimal("0.10"), 259_200, 21_600),
)
"""The four standard burn rules: share of the budget, long and short window in s. Source: Google's SRE workbook,
"Alerting on SLOs", recommended parameters.
"""
_SHORT_WINDOW_FACTORS: Final = (Decimal("13.44"), Decimal("3.5"), Decimal("1.4"), Decimal("0.98"))
"""The factors for windows below 28 days: those of sloth for 7 days. Why: `analysis.burn.rules.rules_of_window`."""
_28_DAYS_S: Final = 28 * 86_400
_LE: Final = re.compile(r'\ble\s*=\s*"([^"]*)"')


def standard_factors(period_s: int) -> tuple[Decimal, ...]:
    """Return the burn factors of the standard rules: share of the budget · period / long window. period_s: seconds.

    Windows below 28 days have fewer or other factors, as `rules_of_window` has.
    """
    if period_s >= _28_DAYS_S:
        return tuple(share * period_s / long_s for share, long_s, _ in STANDARD_ALERTS)
    windows = zip(_SHORT_WINDOW_FACTORS, STANDARD_ALERTS, strict=True)
    return tuple(factor for factor, (_, long_s, _) in windows if factor * long_s <= period_s)


def check_alerts(one: Objective, findings: Findings, place: Place, alerts: Sequence[tuple[Alert, str, int]]) -> None:
    """Add a fault for each alert that can never fire: burn cannot exceed 1/(1 - target).

    alerts: each with the file and line of its factor.
    """
    largest = one.largest_burn
    reason = f"the burn of {quoted(one.name)} is at most {_short(largest)} at a target of {one.target.normalize():f}"
    for alert, file, line in alerts:
        if alert.factor > largest:
            message = f"alert {quoted(alert.name)} can never fire: its burn is {_short(alert.factor)}, and {reason}"
            hint = f"use a burn of at most {_short(largest)}, or a higher target"
            findings.faults.append(Fault(file, line, message, hint))
    if one.alert_set == "standard":
        dead = [factor for factor in standard_factors(one.window.nominal_s) if factor > largest]
        if dead:
            message = f"the standard alerts contain {' and '.join(map(_short, dead))}, which can never fire: {reason}"
            findings.fault(place.of("alerts"), message, "write alert policies with lower burns, or a higher target")


def check_slices(one: Objective, findings: Findings, place: Place) -> None:
    """Add a fault if the budget of a Timeslices objective is less than one slice of its window."""
    if one.method is Method.TIMESLICES and one.slice_s:
        slices = one.window.nominal_s // one.slice_s
        if (allowed := one.budget * slices) < 1:
            findings.fault(
                place.of("target"),
                f"the target {one.target.normalize():f} of {slices:,} slices allows {_short(allowed)} of a slice",
                "use a lower target, shorter slices, or a longer window",
            )


def check_threshold_in_query(one: Objective, findings: Findings, place: Place) -> None:
    """Add a fault if the query of a histogram counts up to another edge than the objective's threshold."""
    indicator, threshold = one.indicator, one.threshold
    if not isinstance(indicator, RatioIndicator) or threshold is None or (limit := threshold.seconds) is None:
        return
    query = indicator.good or indicator.bad
    for text in _LE.findall(query.text if query is not None else ""):
        try:
            edge = Decimal(text)
        except ArithmeticError:
            continue
        if edge.is_finite() and edge != limit:
            findings.fault(
                place.of("threshold"),
                f"the threshold is {threshold.text}, but the query counts up to le={quoted(text)}",
                f'write le="{limit.normalize():f}" in the query, or correct the threshold',
            )


def check_journeys(reading: Reading, journeys: Collection[str]) -> list[Fault]:
    """Return a fault for each journey that no scenario has. journeys: those of all scenarios."""
    return [
        _fault(
            reading,
            one,
            "journey",
            f"no scenario has the journey {quoted(one.journey)}",
            did_you_mean(one.journey, journeys),
        )
        for one in reading.slos.objectives
        if one.journey and one.journey not in journeys
    ]


def check_owners(reading: Reading) -> list[Fault]:
    """Return a fault for each objective without an owner, which the house standard demands."""
    return [
        _fault(reading, one, "name", f"{quoted(one.name)} has no owner", "add the annotation loadgen.dev/owner: NAME")
        for one in reading.slos.objectives
        if not one.owner.strip()
    ]


def check_events(reading: Reading, events: Mapping[str, int]) -> list[Fault]:
    """Return a fault for each target that is finer than the events of its window. events: by an objective's name."""
    found = []
    for one in reading.slos.objectives:
        count = events.get(one.name)
        if count is None or one.method is not Method.OCCURRENCES:
            continue
        if (allowed := one.budget * count) < 1:
            message = (
                f"the target {one.target.normalize():f} of {count:,} requests allows {_short(allowed)} of a request"
            )
            found.append(_fault(reading, one, "target", message, "use a lower target, or a longer window"))
    return found


def check_edges(reading: Reading, edges_s: Iterable[Decimal], *, source: str = "") -> list[Fault]:
    """Return a fault for each threshold that is no edge of the source's histogram.

    edges_s: upper edges in seconds. source: only objectives of this source; "": all.
    """
    edges = sorted(set(edges_s))
    found = []
    for one in reading.slos.objectives:
        limit = one.threshold.seconds if one.threshold is not None else None
        if limit is None or limit in edges or (source and source not in one.sources):
            continue
        near = [edge for edge in edges if edge < limit][-1:] + [edge for edge in edges if edge > limit][:1]
        hint = " or ".join(f"{edge.normalize():f}s" for edge in near)
        message = f"the threshold {one.threshold.text if one.threshold else ''} is no edge of the source's histogram"
        found.append(_fault(reading, one, "threshold", message, f"use {hint}, or add a bucket to the histogram"))
    return found


def _fault(reading: Reading, one: Objective, key: str, message: str, hint: str) -> Fault:
    place = reading.places.get(one.name, Place("", 0))
    return Fault(place.file, place.of(key), message, hint)


def _short(value: Decimal) -> str:
    """Return a number with at most four digits: "14.4", "10", "0.05"."""
    rounded = Decimal(f"{value:.4g}")
    return f"{rounded.normalize():f}"
