"""The metrics of live outputs: one table of names and labels for scrape, remote write, OTLP and the dashboard.

Names follow the conventions of Prometheus: times are seconds, counts end in `_total`.
`loadgen_request_duration_seconds` is a request's response time, from its start to its end.
The *duration* of steps and journeys would include think times, so their metrics are called
response.

Values with tags are also in families of their own, `loadgen_tagged_...`, with a label for each tag: `tag_tenant`.
So a query of the other families counts each value once, with or without tags.

Requests to AI models, calls with messages and pages are requests, so their response times are in
`loadgen_request_duration_seconds`. Their other metrics are in the families `STREAMS`, `MESSAGES` and `PAGES`, which
only a run with such requests has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from loadgen.measure.deltas.series_key import (
    TOKEN_METRICS,
    TOKEN_NS,
    Kind,
    Metric,
)
from loadgen.sinks.snapshot import MORE_METRICS, Levels, Series, Snapshot

__all__ = [
    "CLOCK",
    "COUNTERS",
    "FAMILIES",
    "HISTOGRAMS",
    "INFO",
    "LEVELS",
    "MESSAGES",
    "PAGES",
    "STREAMS",
    "TAGGED",
    "Family",
    "Point",
    "families",
    "values_of",
]

_RUN: Final = ("run_id", "plan")
_REGION: Final = (*_RUN, "region")
_STEP: Final = (*_RUN, "journey", "step")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: all series with one name."""

    name: str
    """The name in Prometheus, without `_total`, `_bucket`, `_sum`, `_count`."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One series of a family in one snapshot."""

    labels: tuple[str, ...]
    """The values of the labels, in the order of `Family.labels`."""
    value: float = 0.0
    series: Series | None = None
    """The histogram, if the family is one; then `value` is unused."""


_OF: Final = "outcome", "region", "warmup"
_BOUND: Final = "those with only a known lower bound are above every bucket"

HISTOGRAMS: Final[dict[Kind, Family]] = {
    "request": Family(
        "loadgen_request_duration_seconds",
        "histogram",
        f"Response times of requests, from start to end; {_BOUND}.",
        (*_STEP, "request", *_OF),
        "s",
    ),
    "step": Family(
        "loadgen_step_response_seconds",
        "histogram",
        f"Response times of steps, without think times; {_BOUND}.",
        (*_STEP, *_OF),
        "s",
    ),
    "journey": Family(
        "loadgen_journey_response_seconds",
        "histogram",
        f"Response times of iterations, from their due time, without think times; {_BOUND}.",
        (*_RUN, "journey", *_OF),
        "s",
    ),
}

TAGGED: Final[dict[Kind, Family]] = {
    kind: replace(
        family,
        name=family.name.replace("loadgen_", "loadgen_tagged_", 1),
        help=f"The part with tags, by their values; already counted in {family.name}.",
    )
    for kind, family in HISTOGRAMS.items()
}
"""Of values with tags. The labels of tags follow those of the family."""

_TIMES: Final[dict[Metric, str]] = {
    "ttft": "Times to first token of requests to AI models",
    "ttft_due": "Times to first token, from when the request was due",
    "ttfo": "Times to the first token that is no reasoning",
    "itl": "Gaps before each token, one value for each token",
    "icl": "Gaps between two reads with tokens",
    "stall": "The longest gap of each request",
    "tpot": "The mean gap of each request",
}
_NUMBERS: Final[dict[Metric, str]] = {
    "prompt_tokens": "Tokens of prompts",
    "cached_tokens": "Tokens of prompts that the server had cached",
    "output_tokens": "Tokens of answers",
    "reasoning_tokens": "Tokens of reasoning, which are in those of answers, too",
}
STREAMS: Final[dict[Metric, Family]] = {
    metric: Family(
        f"loadgen_stream_{metric}_seconds", "histogram", f"{text}; {_BOUND}.", (*_STEP, "request", *_OF), "s"
    )
    for metric, text in _TIMES.items()
} | {
    metric: Family(f"loadgen_stream_{metric}", "counter", f"{text}.", (*_STEP, "request", *_OF))
    for metric, text in _NUMBERS.items()
}
"""The metrics of requests to AI models, by our own convention (docs/llm-conventions.md)."""

_OF_MESSAGES: Final[dict[Metric, str]] = {
    "first_message": "Times from a call, or from opening a WebSocket, to the first message of the target",
    "message_gap": "Gaps between two messages of the target",
    "answer": "Times from a message of a gRPC stream to the one that answers it",
    "message_age": "Ages of messages on arrival, by the clocks of two machines",
}
_OF_PAGES: Final[dict[Metric, str]] = {
    "lcp": "Largest contentful paint of pages in browsers",
    "inp": "Interaction to next paint of pages in browsers",
    "fcp": "First contentful paint of pages in browsers",
    "cls": "Cumulative layout shift of pages in browsers, a score without a unit",
    "ttfb": "Times to the first byte of the answer, of pages, and of requests if an objective limits it",
}


def _more(texts: Mapping[Metric, str]) -> dict[Metric, Family]:
    found: dict[Metric, Family] = {}
    for metric, text in texts.items():
        unit = "" if metric == "cls" else "s"
        name = f"loadgen_{MORE_METRICS[metric]}" + ("_seconds" if unit else "")
        found[metric] = Family(name, "histogram", f"{text}.", (*_STEP, "request", *_OF), unit)
    return found


MESSAGES: Final = _more(_OF_MESSAGES)
"""The times of messages of gRPC and WebSocket."""
PAGES: Final = _more(_OF_PAGES)
"""The web vitals of pages in browsers."""
_MORE: Final[tuple[Mapping[Metric, Family], ...]] = (STREAMS, MESSAGES, PAGES)

COUNTERS: Final[dict[str, Family]] = {
    "requests_started": Family("loadgen_requests_started", "counter", "Requests that were started.", _REGION),
    "requests_finished": Family(
        "loadgen_requests_finished", "counter", "Requests that ended, with any outcome.", _REGION
    ),
    "requests_errors": Family("loadgen_request_errors", "counter", "Requests that did not end ok.", _REGION),
    "requests_pool_limited": Family(
        "loadgen_requests_pool_limited", "counter", "Requests of iterations that had to wait for a free user.", _REGION
    ),
    "iterations_due": Family("loadgen_iterations_due", "counter", "Iterations that were due.", _REGION),
    "iterations_started": Family("loadgen_iterations_started", "counter", "Iterations that were started.", _REGION),
    "iterations_finished": Family("loadgen_iterations_finished", "counter", "Iterations that ended.", _REGION),
    "iterations_missed": Family(
        "loadgen_iterations_missed", "counter", "Iterations that were due and never started.", _REGION
    ),
    "iterations_cut_off": Family(
        "loadgen_iterations_cut_off", "counter", "Iterations that were stopped by the drain.", _REGION
    ),
    "iterations_errors": Family("loadgen_iteration_errors", "counter", "Iterations that did not end ok.", _REGION),
    "script_faults": Family(
        "loadgen_script_faults", "counter", "Iterations in which the scenario raised an exception.", _REGION
    ),
    "bytes_received": Family("loadgen_received_bytes", "counter", "Bytes received in responses.", _REGION, "By"),
}
"""The counters, by the field names of `Counters`."""

LEVELS: Final[dict[Family, Callable[[Levels], float]]] = {
    Family("loadgen_agents_reported", "gauge", "Agents that reported in the interval.", _REGION): lambda of: of.agents,
    Family(
        "loadgen_agents_unfit", "gauge", "Agents that reported and were not able to measure validly.", _REGION
    ): lambda of: of.unfit,
    Family("loadgen_users", "gauge", "Users.", _REGION): lambda of: of.users,
    Family("loadgen_iterations_in_flight", "gauge", "Iterations that are running.", _REGION): lambda of: of.in_flight,
    Family(
        "loadgen_iterations_waiting", "gauge", "Iterations that are due and wait for a free user.", _REGION
    ): lambda of: of.waiting,
    Family(
        "loadgen_http_connections", "gauge", "Open connections of HTTP of all versions, in use or idle.", _REGION
    ): lambda of: of.http_connections,
    Family("loadgen_websockets", "gauge", "Open WebSockets.", _REGION): lambda of: of.websockets,
    Family("loadgen_tcp_connections", "gauge", "Open connections of `user.tcp`.", _REGION): lambda of: (
        of.tcp_connections
    ),
    Family(
        "loadgen_generator_lag_p99_seconds",
        "gauge",
        "p99 of the generator lag of the worst worker.",
        _REGION,
        "s",
    ): lambda of: of.generator_lag_p99_s,
    Family(
        "loadgen_loop_lag_p99_seconds", "gauge", "p99 of the event loop's lag of the worst worker.", _REGION, "s"
    ): lambda of: of.loop_lag_p99_s,
    Family(
        "loadgen_read_lag_p99_seconds",
        "gauge",
        "p99 of the read lag of the worst worker; 0 in plans that do not ask for the kernel's clock.",
        _REGION,
        "s",
    ): lambda of: of.read_lag_p99_s,
    Family("loadgen_cpu_share", "gauge", "CPU time divided by wall time, of the busiest worker.", _REGION): lambda of: (
        of.cpu_share
    ),
}

INFO: Final = Family("loadgen_run_info", "gauge", "1 for each run in the output.", (*_RUN, "placement"))
CLOCK: Final = Family(
    "loadgen_run_clock_seconds", "gauge", "Time after the start of the run up to which the figures count.", _RUN, "s"
)

FAMILIES: Final = (
    *HISTOGRAMS.values(),
    *TAGGED.values(),
    *(family for group in _MORE for family in group.values()),
    *COUNTERS.values(),
    *LEVELS,
    INFO,
    CLOCK,
)


def families(snapshots: Iterable[Snapshot]) -> Iterator[tuple[Family, list[Point]]]:
    """Yield each metric family (a name, its type and labels) with its points from all snapshots. Each snapshot must
    belong to a different run.
    """
    snapshots = tuple(snapshots)
    for kind, family in HISTOGRAMS.items():
        yield (
            family,
            [
                Point(_labels(family, snapshot, series), series=series)
                for snapshot in snapshots
                for series in snapshot.series
                if series.labels.kind == kind
            ],
        )
    names = tuple(dict.fromkeys(label for one in snapshots for label in one.tag_labels.values()))
    for kind, family in TAGGED.items() if names else ():
        points = [
            Point((*_labels(family, snapshot, series), *_tag_labels(names, snapshot, series)), series=series)
            for snapshot in snapshots
            for series in snapshot.tagged
            if series.labels.kind == kind
        ]
        yield replace(family, labels=(*family.labels, *names)), points
    metrics = {series.labels.metric for one in snapshots for series in one.more}
    for group in _MORE:
        for metric, family in group.items() if not metrics.isdisjoint(group) else ():
            yield family, list(_points_of_metric(family, metric, snapshots))
    for name, family in COUNTERS.items():
        yield (
            family,
            [
                Point((*_run(one), region), getattr(of, name))
                for one in snapshots
                for region, of in one.counters.items()
            ],
        )
    for family, level in LEVELS.items():
        yield family, [Point((*_run(one), region), level(of)) for one in snapshots for region, of in one.levels.items()]
    yield INFO, [Point((*_run(one), one.run.placement), 1.0) for one in snapshots]
    yield CLOCK, [Point(_run(one), one.end_ns / 1e9) for one in snapshots]


def _points_of_metric(family: Family, metric: Metric, snapshots: Iterable[Snapshot]) -> Iterator[Point]:
    is_count = metric in TOKEN_METRICS
    for snapshot in snapshots:
        for series in snapshot.more:
            if series.labels.metric == metric:
                labels = _labels(family, snapshot, series)
                yield Point(labels, series.sum_ns / TOKEN_NS) if is_count else Point(labels, series=series)


def values_of(point: Point) -> Iterator[int]:
    """Yield the cumulative counts of a histogram point: for each bucket edge the number of values up to it, and last
    the total.
    """
    assert point.series is not None
    total = 0
    for count in point.series.buckets.tolist():
        total += count
        yield total


def _tag_labels(names: tuple[str, ...], snapshot: Snapshot, series: Series) -> Iterator[str]:
    """Yield the values of the labels `names`; "" for a tag that the series does not have."""
    values = {snapshot.tag_labels[name]: value for name, value in series.labels.tags}
    return (values.get(name, "") for name in names)


def _run(snapshot: Snapshot) -> tuple[str, str]:
    return snapshot.run.run_id, snapshot.run.plan


def _labels(family: Family, snapshot: Snapshot, series: Series) -> tuple[str, ...]:
    of = series.labels
    known = {
        "run_id": snapshot.run.run_id,
        "plan": snapshot.run.plan,
        "journey": of.journey,
        "step": of.step or "",
        "request": of.request or "",
        "outcome": of.outcome,
        "region": of.region,
        "warmup": "true" if of.warmup else "false",
    }
    return tuple(known[name] for name in family.labels)
