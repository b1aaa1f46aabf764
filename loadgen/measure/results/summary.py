"""Builds `summary.json`: the figures of a run, its verdict and the reasons. Pure.

The counts of requests, iterations and agents cover the whole run. Series and SLOs cover only the time
after the warm-up, by due time; the warm-up has rows of its own.

Rows: for each region and for "*" (all), for each outcome and for "*" (all). So every finished
request is in exactly one request row of its region that names an outcome. Times are ms; "> 1234.5"
if only a lower bound is known.

Rows over all outcomes and rows of `ok` also have 95 % intervals of their percentiles
(`measure/statistics/batch_means.py`): [low, high], or the reason for a missing interval.

Rows of steps and requests have `bound`: "lower" if more than 1 % of the iterations of their journey waited for a free
user (`max_users`). Only the journey's row contains this wait, so the true times of these rows are at least the shown
ones. A note explains it.

Rows of requests over all outcomes have `phases_ms`: blocked, dns, connect and tls of the connections
that were opened for them, and send, wait and receive if the plan asks for them.

Those of calls with messages (gRPC) have `message_ms`: first_message, message_gap and answer.
Rows of requests to AI models also have `stream_ms` and `tokens` (`stream_figures.py`), and `llm` has their totals.
Rows of pages in browsers have `page_ms` and `cls` (`page_figures.py`).

`levels` has a line for each level of a load, and `knee` the level above which the throughput no longer grows
(`level_figures.py`).

`tagged` has the rows once more, split by the values of a tag; "(none)" has the values without the tag. `loads` has
them split by load, if a plan has several. `custom` has the scenario's own metrics, over the whole run, the warm-up
included; `custom_tagged` has them split by the values of a tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final, Literal

import msgspec

from loadgen.measure.deltas.custom import CustomStats, MetricSpec
from loadgen.measure.deltas.limits import SUMMARY_LINES, SUMMARY_OUTCOMES
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.measure.deltas.series_key import LOAD_TAG, OK, SKIPPED, UNTAGGED, Kind, Metric, Tags
from loadgen.measure.deltas.stream_health import MetricValidity
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.histograms.histogram import Histogram, mean_us, percentiles
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.measure.objectives.objective import SloResult
from loadgen.measure.results.clock_figures import answer_clock_notes, clock_block
from loadgen.measure.results.figures import PERCENTILES, figures
from loadgen.measure.results.level_figures import LevelFacts, level_figures
from loadgen.measure.results.message_figures import message_rows
from loadgen.measure.results.page_figures import page_rows
from loadgen.measure.results.stream_figures import clock_notes, llm_block, stream_rows
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.measure.statistics.batch_means import Batches
from loadgen.units import NS_PER_S, format_ratio

__all__ = [
    "FORMAT",
    "POOL_LIMITED_SHARE",
    "AgentFacts",
    "RunFacts",
    "build",
    "rows",
    "waited_share",
]

FORMAT: Final = 1
POOL_LIMITED_SHARE: Final = 0.01
"""If a larger share of requests was started while all users were busy, the run advises to "add users"."""

_WITH_INTERVALS: Final = {name: q for name, q in PERCENTILES.items() if q < 100}

Result = Literal["passed", "failed", "incomplete", "invalid", "interrupted", "error"]

_METRICS: Final[dict[Kind, dict[str, Metric]]] = {
    "journey": {"duration_ms": "duration", "user_wait_ms": "user_wait", "generator_lag_ms": "generator_lag"},
    "step": {"duration_ms": "duration"},
    "request": {"service_ms": "service"},
}
"""Metrics of each kind in addition to the response time."""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent that was assigned a share of the load."""

    id: str
    region: str
    complete: bool
    """True if its Fin arrived and its deltas add up to it."""
    missing: str | None = None
    """Description of the missing part; None if nothing is missing."""
    missing_s: float = 0.0
    """Seconds of the run without merged deltas of this agent."""
    planned: int | None = None
    """Iterations of open and counted loads that the plan assigned to it; None: unknown."""
    unaccounted: int = 0
    """Planned iterations that were neither started nor missed."""
    pid: int | None = None
    clock_error_ms: float | None = None
    start_skew_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts of a run that the measurements do not contain."""

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
    validity_advice: tuple[str, ...] = ()
    """Advice about the validity reasons, by region."""
    stream_validity: Mapping[str, MetricValidity] = field(default_factory=dict)
    """By metric of streams, whether it could be measured."""
    agents: tuple[AgentFacts, ...] = ()
    load: str = ""
    """The load in words."""
    is_open: bool = True
    """False: a closed load, whose rate followed the target."""
    has_warmup: bool = False
    warmup_s: float = 0.0
    """Length of the warm-up."""
    measured_s: float | None = None
    """Length of the measured window, from the end of the warm-up to the end of the load; None: unknown."""
    warmup_found: str = ""
    """If the warm-up was searched after the run: why it was cut there, or why nothing was cut. Empty: the plan stated
    it.
    """
    model: str = ""
    """The name of the AI model that the plan's requests ask; "" without one, or if the set-up did not find its name."""
    metrics: tuple[MetricSpec, ...] = ()
    """The metrics that the scenario declares, for their units; others (checks) have none."""
    levels: LevelFacts = field(default_factory=LevelFacts)
    """The levels of the load that has some."""
    notes: tuple[str, ...] = ()
    """Further remarks for the operator."""
    extra: dict[str, object] = field(default_factory=dict)
    """Further top-level keys of the summary; keys of `build` itself are ignored."""


def build(
    facts: RunFacts, merge: Merge, slos: Sequence[SloResult] = (), batches: Batches | None = None
) -> dict[str, object]:
    """Return the contents of summary.json as a dict of plain values, from facts about the run and its measurements.

    Args:
        merge: the measurements of the whole run.
        slos: the results of the plan's objectives.
        batches: made of the same deltas, for confidence intervals. None: the summary has no intervals. `merge` itself
            may be passed, if it is a Batches.
    """
    counters = merge.counters()
    limited = counters.requests_pool_limited
    share = limited / counters.requests_started if counters.requests_started else 0.0
    series = list(rows(merge, batches=batches))
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
        "validity": {
            "verdict": facts.validity,
            "reasons": list(facts.validity_reasons),
            "advice": list(facts.validity_advice),
        },
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
            "skipped": sum(merge.outcomes("journey", warmup=w).get(SKIPPED, 0) for w in (False, True)),
            "script_faults": counters.script_faults,
        },
        "pool_limited": {"requests": limited, "share": round(share, 6), "add_users": share > POOL_LIMITED_SHARE},
        "slos": [msgspec.to_builtins(slo) for slo in slos],
        "series": series,
        "tagged": list(islice(_tagged(merge), SUMMARY_LINES)),
        "loads": list(_loads(merge)),
        "clock": clock_block(merge.fitness.values()),
        "llm": llm_block(merge, facts.measured_s, facts.stream_validity, merge.fitness.values(), model=facts.model),
        **level_figures(merge, facts.levels),
        "custom": list(_custom(merge, facts.metrics)),
        "custom_tagged": list(islice(_custom_tagged(merge, facts.metrics), SUMMARY_LINES)),
        "warmup": _warmup(facts, merge) if facts.has_warmup or facts.warmup_found else None,
        "agents": [_agent(agent, merge) for agent in facts.agents],
        "notes": [
            *facts.notes,
            *answer_clock_notes(merge.fitness.values()),
            *clock_notes(merge.fitness.values()),
            *_waits(merge),
            *_left_out(merge, series),
        ],
    }
    return built | {key: value for key, value in facts.extra.items() if key not in built}


def rows(merge: Measured, *, warmup: bool = False, batches: Batches | None = None) -> Iterator[dict[str, object]]:
    """Yield the lines of the summary's table: a dict of figures for each row (journey, step or request) and outcome.

    Lines over all regions come first, then those of each region. Within a region journeys come first, then steps and
    requests.

    warmup: yield the figures of the warm-up instead of those after it.

    Cost: about 0.2 ms a row; with intervals also that of `Batches.intervals`, at most twice a name and region.
    """
    for region in (ALL, *merge.regions()):
        for row, outcomes in _chosen(merge, region, warmup):
            intervals = _intervals(batches, row, ALL, region)
            yield _row(merge, row, ALL, region, warmup) | intervals
            for outcome in outcomes:
                if len(outcomes) > 1:
                    intervals = _intervals(batches, row, outcome, region)
                yield _row(merge, row, outcome, region, warmup) | intervals


def _chosen(merge: Measured, region: str, warmup: bool) -> list[tuple[Row, list[str]]]:
    """Return the rows of a region that get lines in the summary, in order, each with its most frequent outcomes.

    If there are too many rows, the journeys and the most frequent other rows are chosen.
    """
    found = []
    for row in _in_order(merge.rows(region=region, warmup=warmup)):
        outcomes = merge.row_outcomes(row, region, warmup)
        found.append((row, list(outcomes)[:SUMMARY_OUTCOMES], sum(outcomes.values())))
    kept: set[Row] = set()
    lines = 0
    for row, names, _ in sorted(found, key=lambda one: (one[0].kind != "journey", -one[2])):
        lines += 1 + len(names)
        if lines > SUMMARY_LINES:
            break
        kept.add(row)
    return [(row, names) for row, names, _ in found if row in kept]


def waited_share(
    merge: Measured, journey: str, region: str = ALL, *, warmup: bool = False, load: str | None = None
) -> float:
    """Return the share of a journey's iterations that waited for a free user, 0 to 1; 0 for closed loads.

    Missed iterations count as having waited. load: only the iterations of this load of the plan.
    """
    tags = None if load is None else ((LOAD_TAG, load),)
    row = Row("journey", journey)
    parts = merge.select_row(row, metric="user_wait", region=region, warmup=warmup, tags=tags)
    total = sum(part.total for part in parts)
    return (total - sum(part.count_at_most_us(0) for part in parts)) / total if total else 0.0


def _waits(merge: Measured) -> Iterator[str]:
    """Yield one note if iterations waited for a free user, so that rows of steps and requests are lower bounds."""
    shares = {row.journey: waited_share(merge, row.journey) for row in merge.rows("journey")}
    limited = {journey: share for journey, share in shares.items() if share > POOL_LIMITED_SHARE}
    if limited:
        waited = ", ".join(f"{format_ratio(share)} of {journey}" for journey, share in limited.items())
        yield (
            f"iterations waited for a free user ({waited}): the times of their steps and requests leave this wait out,"
            " so they are lower bounds. Use the rows of the journeys, or raise max_users"
        )


def _left_out(merge: Measured, series: Sequence[dict[str, object]]) -> Iterator[str]:
    """Yield one note with the number of rows that have no line in the summary, or nothing if all rows have one.

    series: the lines of the summary.
    """
    rows = sum(line["region"] == ALL and line["outcome"] == ALL for line in series)
    if (left := len(merge.rows()) - rows) > 0:
        yield f"{left:,} rows with the fewest values are left out of the summary; `histograms.hlog` has all of them"


def _in_order(found: Iterable[Row]) -> list[Row]:
    order: list[Kind] = ["journey", "step", "request"]
    return sorted(found, key=lambda row: order.index(row.kind))


def _intervals(batches: Batches | None, row: Row, outcome: str, region: str) -> dict[str, object]:
    """Return the entries `response_ci_ms` and `interval` of a line: confidence intervals, and what they come from.

    For each percentile, `response_ci_ms` has [low, high] or the reason for a missing interval. `interval` is a text
    such as "5 batches of 24.0 s", or the reason if no percentile has an interval. Both are None without batches, or for
    single outcomes other than ok.
    """
    if batches is None or outcome not in (ALL, OK):
        return {"response_ci_ms": None, "interval": None}
    found = batches.intervals(row, tuple(_WITH_INTERVALS.values()), outcome, region)
    ends = {
        name: interval.why or [interval.low, interval.high]
        for name, interval in zip(_WITH_INTERVALS, found, strict=True)
    }
    whys = [interval.why for interval in found if interval.why]
    return {"response_ci_ms": ends, "interval": batches.text if len(whys) < len(found) else whys[0]}


def _row(
    merge: Measured, row: Row, outcome: str, region: str, warmup: bool, tags: Tags | None = None
) -> dict[str, object]:
    observed, censored = merge.select_row(row, outcome, "response", region, warmup, tags)
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
        "bound": _bound(merge, row, region, warmup, tags),
    }
    for name, metric in _METRICS[row.kind].items():
        built[name] = figures(*merge.select_row(row, outcome, metric, region, warmup, tags))
    if row.kind == "request" and outcome == ALL and tags is None:
        built["phases_ms"] = _phases(merge, row, region, warmup)
        if messages := message_rows(merge, (row,), region, warmup):
            built["message_ms"] = messages
        built |= page_rows(merge, (row,), region, warmup)
    if row.kind == "request":
        built |= stream_rows(merge, row, outcome, region, warmup, tags)
    return built


def _bound(merge: Measured, row: Row, region: str, warmup: bool, tags: Tags | None) -> str | None:
    """Return "lower" for a step or request whose journey has many iterations that waited for a free user, else None."""
    if row.kind not in ("step", "request"):
        return None
    load = next((value for name, value in tags or () if name == LOAD_TAG), None)
    share = waited_share(merge, row.journey, region, warmup=warmup, load=load)
    return "lower" if share > POOL_LIMITED_SHARE else None


def _phases(merge: Measured, row: Row, region: str, warmup: bool) -> dict[str, object]:
    """Return {phase: its count, mean and percentiles in ms} for the phases that the requests of a row had.

    Counts differ: few requests open a connection.
    """
    found: dict[str, object] = {}
    for phase in merge.row_phases(row, region, warmup):
        observed, censored = merge.select_row(row, ALL, phase, region, warmup)
        counts = {"count": observed.total + censored.total, "censored": censored.total}
        found[phase] = counts | (figures(observed, censored) or {})
    return found


def _warmup(facts: RunFacts, merge: Measured) -> dict[str, object]:
    return {
        "cut_s": round(facts.warmup_s, 3),
        "how": "found" if facts.warmup_found else "stated",
        "why": facts.warmup_found,
        "series": list(rows(merge, warmup=True)),
    }


def _tagged(merge: Measured) -> Iterator[dict[str, object]]:
    """Yield a line of figures for each row and each value of each tag, the most frequent value first.

    The figures are over all regions and outcomes. The last line of a tag has the values without it, if there are any:
    so the lines of a tag add up to the row. The tag that names the load is left out; `_loads` has its lines.
    """
    for row in _in_order(merge.rows()):
        total = sum(merge.row_outcomes(row).values())
        for name, values in merge.row_tags(row).items():
            if name == LOAD_TAG:
                continue
            rest = [UNTAGGED] if sum(values.values()) < total else []
            for value in (*sorted(values, key=lambda value: -values[value]), *rest):
                yield _row(merge, row, ALL, ALL, False, ((name, value),)) | {"tags": {name: value}}


def _loads(merge: Measured) -> Iterator[dict[str, object]]:
    """Yield {"load": name, "series": lines of figures} for each load of a plan that has several loads.

    The lines are over all regions and outcomes.
    """
    by_load: dict[str, list[dict[str, object]]] = {}
    lines = 0
    for row in _in_order(merge.rows()):
        for load in merge.row_tags(row).get(LOAD_TAG, ()):
            if (lines := lines + 1) > SUMMARY_LINES:
                break
            by_load.setdefault(load, []).append(_row(merge, row, ALL, ALL, False, ((LOAD_TAG, load),)))
    for load, series in by_load.items():
        yield {"load": load, "series": series}


def _custom(merge: Merge, metrics: Sequence[MetricSpec]) -> Iterator[dict[str, object]]:
    """Yield a line for each custom metric of the scenario: over all regions, then by region if there are several.

    Metrics that the scenario declares come first.
    """
    regions = merge.regions()
    for name, spec, is_trend in _own_metrics(merge, metrics):
        for region in (ALL, *(regions if len(regions) > 1 else ())):
            built = _trend(merge, name, region, spec) if is_trend else _added_up(merge.custom.of(name, region), spec)
            if built is not None:
                yield {"name": name, "region": region, "unit": spec.unit if spec else ""} | built


def _custom_tagged(merge: Merge, metrics: Sequence[MetricSpec]) -> Iterator[dict[str, object]]:
    """Yield a line for each custom metric and each value of each of its tags, over all regions, as `_tagged` does.

    The lines of a tag add up to the metric.
    """
    for name, spec, is_trend in _own_metrics(merge, metrics):
        row = Row("trend", "", None, name)
        by_tag = _counts_by_tag(merge, row) if is_trend else merge.custom.tags_of(name)
        if not by_tag:
            continue
        stats = merge.custom.of(name)
        total = _trend_values(merge, row).total if is_trend else stats.n if stats is not None else 0
        for tag, values in by_tag.items():
            rest = [UNTAGGED] if sum(values.values()) < total else []
            for value in (*sorted(values, key=lambda value: -values[value]), *rest):
                tags = ((tag, value),)
                built = (
                    _trend(merge, name, ALL, spec, tags)
                    if is_trend
                    else _added_up(merge.custom.of(name, tags=tags), spec)
                )
                if built is not None:
                    unit = spec.unit if spec else ""
                    yield {"name": name, "region": ALL, "unit": unit, "tags": {tag: value}} | built


def _own_metrics(merge: Merge, metrics: Sequence[MetricSpec]) -> Iterator[tuple[str, MetricSpec | None, bool]]:
    """Yield (name, declaration, whether it is a trend) of each custom metric; declared ones come first."""
    specs = {spec.name: spec for spec in metrics}
    keys = merge.keys()
    trends = dict.fromkeys(key.request or "" for key in keys if key.kind == "trend")
    for name in dict.fromkeys((*specs, *trends, *merge.custom.names())):
        spec = specs.get(name)
        yield name, spec, name in trends or (spec is not None and spec.kind == "trend")


def _counts_by_tag(merge: Measured, row: Row) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for warmup in (False, True):
        for tag, values in merge.row_tags(row, warmup=warmup, metric="value").items():
            by_value = found.setdefault(tag, {})
            for value, count in values.items():
                by_value[value] = by_value.get(value, 0) + count
    return found


def _trend_values(merge: Measured, row: Row, region: str = ALL, tags: Tags | None = None) -> Histogram:
    values = Histogram()
    for warmup in (False, True):
        for part in merge.select_row(row, metric="value", region=region, warmup=warmup, tags=tags):
            values.add_histogram(part)
    return values


def _trend(
    merge: Measured, name: str, region: str, spec: MetricSpec | None, tags: Tags | None = None
) -> dict[str, object]:
    """Return the count, mean and percentiles of a trend (a custom metric with a distribution) in its own unit.

    The trend's histogram stores multiples of its resolution in place of µs.
    """
    values = _trend_values(merge, Row("trend", "", None, name), region, tags)
    resolution = spec.resolution if spec is not None else MetricSpec(name=name, kind="trend").resolution
    mean = mean_us(values)
    found: dict[str, object] = {"kind": "trend", "n": values.total, "values": None}
    if mean is not None:
        at = {
            q: value
            for q, value in zip(PERCENTILES, percentiles(values, None, tuple(PERCENTILES.values())), strict=True)
        }
        found["values"] = {
            q: float(f"{value.us * resolution:.6g}") for q, value in {"mean": mean, **at}.items() if value is not None
        }
    return found


def _added_up(stats: CustomStats | None, spec: MetricSpec | None) -> dict[str, object] | None:
    if stats is None:
        return None if spec is None else {"kind": spec.kind, "n": 0}
    built: dict[str, object] = {"kind": stats.kind, "n": stats.n}
    if stats.kind == "counter":
        built["total"] = stats.total
    elif stats.kind == "rate":
        built |= {"hits": stats.total, "ratio": round(stats.total / stats.n, 9) if stats.n else None}
    else:
        built |= {"low": stats.low, "high": stats.high, "last": stats.last}
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
        "due_by_plan": agent.planned,
        "missing_iterations": agent.unaccounted,
        "pid": agent.pid,
        "clock_error_ms": agent.clock_error_ms,
        "start_skew_ms": agent.start_skew_ms,
        "unfit_intervals": fitness.unfit if fitness else 0,
        "intervals": fitness.intervals if fitness else 0,
        "unfit_s": [list(span) for span in fitness.unfit_spans] if fitness else [],
        "coarse_s": [[start / NS_PER_S, end / NS_PER_S] for start, end in fitness.coarse_spans_ns] if fitness else [],
        "workers": [_worker(*one) for one in sorted(merge.worker_fitness.get(agent.id, {}).items())],
        "losses": [_loss(loss) for loss in merge.losses(agent.id)],
    }


def _worker(worker: int, fitness: Fitness) -> dict[str, object]:
    return {
        "worker": worker,
        "unfit_intervals": fitness.unfit,
        "intervals": fitness.intervals,
        "unfit_s": [list(span) for span in fitness.unfit_spans],
    }


def _loss(loss: Loss) -> dict[str, object]:
    return {
        "worker": loss.worker,
        "cause": loss.cause,
        "died_s": round(loss.died_ns / NS_PER_S, 3),
        "told_s": round(loss.told_ns / NS_PER_S, 3),
        "resumed_s": None if loss.resumed_ns == NOBODY else round(loss.resumed_ns / NS_PER_S, 3),
        "in_flight": loss.in_flight,
        "left_out": loss.left_out,
    }
