"""A first objective: queries of Prometheus to begin with, for counters and histograms with the usual names."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Final

from loadgen.programme.promises.checks import standard_factors
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator, RollingWindow, Threshold

__all__ = ["DEFAULT_WINDOW", "new_promise"]

DEFAULT_WINDOW: Final = RollingWindow(28 * 86_400)


def new_promise(
    name: str,
    *,
    service: str,
    target: Decimal,
    threshold: Threshold | None = None,
    window: RollingWindow = DEFAULT_WINDOW,
    owner: str = "",
    journey: str = "",
    source: str = "",
    good: str = "",
    total: str = "",
    description: str = "",
) -> Objective:
    """Return an objective by Occurrences with the standard alerts.

    threshold: a time; good requests are ok and within it. None: good requests are those without an error.
    good, total: queries of counters. "": those of an HTTP server with the metrics of Prometheus's client libraries.
    """
    job = json.dumps(service)
    seconds = threshold.seconds if threshold is not None else None
    if seconds is not None:
        metric = "http_request_duration_seconds"
        good = good or f'{metric}_bucket{{job={job},code!~"5..",le="{seconds.normalize():f}"}}'
        total = total or f"{metric}_count{{job={job}}}"
    good = good or f'http_requests_total{{job={job},code!~"5.."}}'
    total = total or f"http_requests_total{{job={job}}}"
    objective = Objective(
        name=name,
        service=service,
        target=target.normalize(),
        window=window,
        indicator=RatioIndicator(_counter(total), good=_counter(good), counter=True),
        threshold=threshold,
        owner=owner,
        journey=journey,
        description=description,
        source=source,
    )
    return _with_standard_alerts(objective)


def _counter(query: str) -> Query:
    return Query("", "Prometheus", json.dumps({"query": query}, ensure_ascii=False, separators=(",", ":")))


def _with_standard_alerts(one: Objective) -> Objective:
    """Return the objective with the standard alerts, unless it has none, or one of them could never fire."""
    factors = standard_factors(one.window.nominal_s)
    can_fire = bool(factors) and max(factors) <= one.largest_burn
    return replace(one, alert_set="standard") if can_fire else one
