"""Names and labels of what is told, by Prometheus' conventions: one table for scrape, remote write, OTLP and dashboard.

Times are seconds, counts end in `_total`. `loadgen_request_duration_seconds` is a request's response time, asked to
done; of steps and journeys the *duration* has think times in it, so theirs is called response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from loadgen.measure.deltas.series import Kind
from loadgen.sinks.snapshot import Levels, Series, Snapshot

__all__ = ["CLOCK", "COUNTERS", "FAMILIES", "HISTOGRAMS", "INFO", "LEVELS", "Family", "Point", "families", "values_of"]

_RUN: Final = ("run_id", "plan")
_REGION: Final = (*_RUN, "region")
_STEP: Final = (*_RUN, "journey", "step")


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one name."""

    name: str
    """As Prometheus has it, without `_total`, `_bucket`, `_sum`, `_count`."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    labels: tuple[str, ...]
    """Values, as the family names them."""
    value: float = 0.0
    series: Series | None = None
    """Of a histogram."""


_OF: Final = "outcome", "region", "warmup"
_BOUND: Final = "those that are known by a lower bound only are above every bucket"

HISTOGRAMS: Final[dict[Kind, Family]] = {
    "request": Family(
        "loadgen_request_duration_seconds",
        "histogram",
        f"Response times of requests, from asked to done; {_BOUND}.",
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
        f"Response times of iterations, from when they were due, without think times; {_BOUND}.",
        (*_RUN, "journey", *_OF),
        "s",
    ),
}

COUNTERS: Final[dict[str, Family]] = {
    "requests_started": Family("loadgen_requests_started", "counter", "Requests that were begun.", _REGION),
    "requests_finished": Family("loadgen_requests_finished", "counter", "Requests that ended, well or not.", _REGION),
    "requests_errors": Family("loadgen_request_errors", "counter", "Requests that did not end ok.", _REGION),
    "requests_pool_limited": Family(
        "loadgen_requests_pool_limited", "counter", "Requests of iterations that had waited for a free user.", _REGION
    ),
    "iterations_due": Family("loadgen_iterations_due", "counter", "Iterations that were due.", _REGION),
    "iterations_started": Family("loadgen_iterations_started", "counter", "Iterations that were begun.", _REGION),
    "iterations_finished": Family("loadgen_iterations_finished", "counter", "Iterations that ended.", _REGION),
    "iterations_missed": Family(
        "loadgen_iterations_missed", "counter", "Iterations that were due and never begun.", _REGION
    ),
    "iterations_cut_off": Family(
        "loadgen_iterations_cut_off", "counter", "Iterations that were stopped by the drain.", _REGION
    ),
    "iterations_errors": Family("loadgen_iteration_errors", "counter", "Iterations that did not end ok.", _REGION),
    "script_faults": Family("loadgen_script_faults", "counter", "Iterations in which the scenario raised.", _REGION),
    "bytes_received": Family("loadgen_received_bytes", "counter", "Bytes of answers.", _REGION, "By"),
}
"""By the names of `Counters`."""

LEVELS: Final[dict[Family, Callable[[Levels], float]]] = {
    Family("loadgen_agents_reported", "gauge", "Agents that reported the interval.", _REGION): lambda of: of.agents,
    Family("loadgen_agents_unfit", "gauge", "Of those, agents not fit to measure.", _REGION): lambda of: of.unfit,
    Family("loadgen_users", "gauge", "Users that are there.", _REGION): lambda of: of.users,
    Family("loadgen_iterations_in_flight", "gauge", "Iterations under way.", _REGION): lambda of: of.in_flight,
    Family(
        "loadgen_iterations_waiting", "gauge", "Iterations that are due and wait for a free user.", _REGION
    ): lambda of: of.waiting,
    Family(
        "loadgen_generator_lag_p99_seconds",
        "gauge",
        "p99 of the generator's own lag, of its worst worker.",
        _REGION,
        "s",
    ): lambda of: of.generator_lag_p99_s,
    Family(
        "loadgen_loop_lag_p99_seconds", "gauge", "p99 of the event loop's lag, of its worst worker.", _REGION, "s"
    ): lambda of: of.loop_lag_p99_s,
    Family("loadgen_cpu_share", "gauge", "CPU time by wall time, of the busiest worker.", _REGION): lambda of: (
        of.cpu_share
    ),
}

INFO: Final = Family("loadgen_run_info", "gauge", "1 for each run that is told of.", (*_RUN, "placement"))
CLOCK: Final = Family(
    "loadgen_run_clock_seconds", "gauge", "How far into the run the figures go, since its start.", _RUN, "s"
)

FAMILIES: Final = (*HISTOGRAMS.values(), *COUNTERS.values(), *LEVELS, INFO, CLOCK)


def families(snapshots: Iterable[Snapshot]) -> Iterator[tuple[Family, list[Point]]]:
    """Everything of all the snapshots, by family, each of a run of its own."""
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


def values_of(point: Point) -> Iterator[int]:
    """Of a histogram's point, how many values are at or below each edge, and at last all."""
    assert point.series is not None
    total = 0
    for count in point.series.buckets.tolist():
        total += count
        yield total


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
