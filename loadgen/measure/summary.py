"""What stands in `summary.json`: the figures of a run, its verdict and the reasons. Pure.

The counts of requests, iterations and agents are of all that happened; series
and SLOs only of what was due after the warm-up, which has rows of its own.

Rows: for each region and for "*" (all), for each outcome and for "*" (all), so
every finished request is in exactly one request row of its region that names an
outcome. Times are ms; "> 1234.5" where only a lower bound is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import floor
from typing import Final, Literal

import msgspec

from loadgen.measure.histogram import Histogram, Value, mean_us, percentiles
from loadgen.measure.measured import ALL, Measured, Row
from loadgen.measure.merge import Merge
from loadgen.measure.objective import SloResult, number_text
from loadgen.measure.rundir import utc_text
from loadgen.measure.series import Kind, Metric

__all__ = [
    "FORMAT",
    "PERCENTILES",
    "POOL_LIMITED_SHARE",
    "AgentFacts",
    "RunFacts",
    "build",
    "figure",
    "figures",
    "rows",
]

FORMAT: Final = 1
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
POOL_LIMITED_SHARE: Final = 0.01
"""Above this share of requests that were asked while all users were busy, a run says "add users"."""

Figure = float | str | None
Result = Literal["passed", "failed", "incomplete", "invalid", "interrupted", "error"]

_METRICS: Final[dict[Kind, dict[str, Metric]]] = {
    "journey": {"duration_ms": "duration", "user_wait_ms": "user_wait", "generator_lag_ms": "generator_lag"},
    "step": {"duration_ms": "duration"},
    "request": {"service_ms": "service"},
}
"""Beside the response time."""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent that was assigned a share."""

    id: str
    region: str
    complete: bool
    """Its Fin came and its deltas add up to it."""
    missing: str | None = None
    """What is missing, in words; None when nothing is."""
    missing_s: float = 0.0
    """Seconds of the run for which nothing of it was merged."""
    pid: int | None = None
    clock_error_ms: float | None = None
    start_skew_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the measurements do not tell."""

    run_id: str
    scenario: str
    plan: str
    placement: Literal["embedded", "fleet"]
    started_at: datetime
    duration_s: float
    result: Result
    exit_code: int
    reasons: tuple[str, ...] = ()
    validity: Literal["valid", "suspect", "invalid"] = "valid"
    validity_reasons: tuple[str, ...] = ()
    agents: tuple[AgentFacts, ...] = ()
    load: str = ""
    """The load in words."""
    is_open: bool = True
    """False: a closed load, whose rate followed the target."""
    has_warmup: bool = False
    notes: tuple[str, ...] = ()
    """What a person should know beside the reasons."""
    extra: dict[str, object] = field(default_factory=dict)
    """Further top-level keys; none may be one of ours."""


def build(facts: RunFacts, merge: Merge, slos: Sequence[SloResult] = ()) -> dict[str, object]:
    """The whole of summary.json, as plain values."""
    counters = merge.counters()
    limited = counters.requests_pool_limited
    share = limited / counters.requests_started if counters.requests_started else 0.0
    built: dict[str, object] = {
        "format": FORMAT,
        "run_id": facts.run_id,
        "scenario": facts.scenario,
        "plan": facts.plan,
        "placement": facts.placement,
        "started_at": utc_text(facts.started_at),
        "duration_s": round(facts.duration_s, 3),
        "result": facts.result,
        "exit_code": facts.exit_code,
        "reasons": list(facts.reasons),
        "validity": {"verdict": facts.validity, "reasons": list(facts.validity_reasons)},
        "load": {"text": facts.load, "open": facts.is_open},
        "requests": {
            "started": counters.requests_started,
            "finished": counters.requests_finished,
            "errors": counters.requests_errors,
            "bytes_received": counters.bytes_received,
        },
        "iterations": {
            "due": counters.iterations_due,
            "started": counters.iterations_started,
            "finished": counters.iterations_finished,
            "missed": counters.iterations_missed,
            "cut_off": counters.iterations_cut_off,
            "errors": counters.iterations_errors,
            "script_faults": counters.script_faults,
        },
        "pool_limited": {"requests": limited, "share": round(share, 6), "add_users": share > POOL_LIMITED_SHARE},
        "slos": [msgspec.to_builtins(slo) for slo in slos],
        "series": list(rows(merge)),
        "warmup": {"series": list(rows(merge, warmup=True))} if facts.has_warmup else None,
        "agents": [_agent(agent, merge) for agent in facts.agents],
        "notes": list(facts.notes),
    }
    return built | {key: value for key, value in facts.extra.items() if key not in built}


def rows(merge: Measured, *, warmup: bool = False) -> Iterator[dict[str, object]]:
    """All rows of figures, global ones first; within a region journeys, steps, requests as they were first seen.

    Cost: about 0.2 ms a row.
    """
    order: list[Kind] = ["journey", "step", "request"]
    for region in (ALL, *merge.regions()):
        found = sorted(merge.rows(region=region, warmup=warmup), key=lambda row: order.index(row.kind))
        for row in found:
            for outcome in (ALL, *merge.row_outcomes(row, region, warmup)):
                yield _row(merge, row, outcome, region, warmup)


def figures(observed: Histogram, censored: Histogram | None = None) -> dict[str, Figure] | None:
    """Mean and percentiles, ms; None when there is no value."""
    mean = mean_us(observed, censored)
    if mean is None:
        return None
    values = percentiles(observed, censored, tuple(PERCENTILES.values()))
    return {"mean": figure(mean)} | {name: figure(v) for name, v in zip(PERCENTILES, values, strict=True)}


def figure(value: Value | None) -> Figure:
    """ms with three decimals; the string "> 1234.5" for a bound, which is never rounded up."""
    if value is None:
        return None
    if value.is_bound:
        return f"> {number_text(floor(value.us) / 1_000)}"
    return round(value.ms, 3)


def _row(merge: Measured, row: Row, outcome: str, region: str, warmup: bool) -> dict[str, object]:
    observed, censored = merge.select_row(row, outcome, "response", region, warmup)
    built: dict[str, object] = {
        "kind": row.kind,
        "journey": row.journey,
        "step": row.step,
        "request": row.request,
        "outcome": outcome,
        "region": region,
        "count": observed.total + censored.total,
        "censored": censored.total,
        "response_ms": figures(observed, censored),
        "service_ms": None,
    }
    for name, metric in _METRICS[row.kind].items():
        built[name] = figures(*merge.select_row(row, outcome, metric, region, warmup))
    return built


def _agent(agent: AgentFacts, merge: Merge) -> dict[str, object]:
    counters = merge.counters(agent=agent.id)
    fitness = merge.fitness.get(agent.id)
    return {
        "id": agent.id,
        "region": agent.region,
        "complete": agent.complete,
        "requests": counters.requests_finished,
        "iterations": counters.iterations_started,
        "missing": agent.missing,
        "missing_s": round(agent.missing_s, 3),
        "pid": agent.pid,
        "clock_error_ms": agent.clock_error_ms,
        "start_skew_ms": agent.start_skew_ms,
        "unfit_intervals": fitness.unfit if fitness else 0,
        "intervals": fitness.intervals if fitness else 0,
    }
