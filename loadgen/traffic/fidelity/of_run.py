"""Compares what agents recorded of a run with the log of the model, and with what the run's plan was to send.

Agents record requests by name and second. They do not record sessions: those follow from the seed and the number of
each iteration. So a run shows the properties in `PROPERTIES_OF_RUNS`; the target's own log shows all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.traffic.fidelity.compare import session_distances, session_parts
from loadgen.traffic.fidelity.distances import js_bits
from loadgen.traffic.fidelity.floors import session_floors_of_all, time_floors
from loadgen.traffic.fidelity.judge import LEAST_SESSIONS, MOST_SESSIONS, no_time_rows, session_rows, thinned, time_rows
from loadgen.traffic.fidelity.of_plan import sessions_placed
from loadgen.traffic.fidelity.plan_sessions import nodes_of, sessions_of_plan
from loadgen.traffic.fidelity.plan_times import closed_load, starts_of, times_of_plan
from loadgen.traffic.fidelity.reference import Reference
from loadgen.traffic.fidelity.session_summary import summary_of
from loadgen.traffic.fidelity.time_summary import Times, time_summary
from loadgen.traffic.fidelity.verdict import Row, Verdict, unmeasured, verdict_of
from loadgen.traffic.sessions.session_table import SessionTable
from loadgen.units import quantity

__all__ = ["PROPERTIES_OF_RUNS", "RunTraffic", "checked_run"]

PROPERTIES_OF_RUNS: Final = (
    "request mix",
    "transitions",
    "edges",
    "sequences",
    "combinations",
    "session length",
    "rate curve",
    "total",
    "burstiness",
)
_INTERVALS: Final = 3
"""Counts of fewer intervals depend on where the intervals begin."""
_MOST_POOL: Final = 20_000


@dataclass(frozen=True)
class RunTraffic:
    """The traffic that agents recorded. seed: of the run. interval_s: the longest interval in which they counted, in s.

    requests: ended requests by name. by_second: ended requests in each second of the run, at the beginning of their
    interval. started: iterations.
    """

    seed: int
    interval_s: float
    requests: Mapping[str, int]
    by_second: NDArray[np.int64]
    started: int


def checked_run(
    run: RunTraffic, lanes: Sequence[DrivenLoad], document: Mapping[str, Any], reference: Reference
) -> Verdict:
    """Return the verdict on a run. lanes: the loads as they were driven. document: the whole of `traffic.json`."""
    if run.started < LEAST_SESSIONS:
        why = f"the run started {quantity(run.started, 'session')}, and {LEAST_SESSIONS} are needed"
        return Verdict(tuple(unmeasured(why, PROPERTIES_OF_RUNS)))
    if why := closed_load(lanes):
        return Verdict(tuple(unmeasured(why, PROPERTIES_OF_RUNS)))
    rng = np.random.default_rng(run.seed)
    starts = [starts_of(lane) for lane in lanes]
    # The first sessions of each load, which take the ways that they took in the run.
    share = min(1.0, _MOST_POOL / max(1, sum(map(len, starts))))
    counts = [max(1, int(len(one) * share)) for one in starts]
    pools = sessions_of_plan(lanes, nodes_of(document, reference.states), reference.answers, counts, run.seed)
    table = sessions_placed(lanes, pools, len(run.by_second), rng, whole_seconds=False)
    table = thinned(table, min(MOST_SESSIONS, reference.summary.sessions), rng)
    found = summary_of(table, reference.summary, has_caches=False)
    distances = session_distances(found, reference.summary)
    distances["request mix"] = js_bits(_by_state(run.requests, reference.states), reference.summary.requests)
    floors = session_floors_of_all(table, table.count, rng)
    rows = session_rows(distances, floors, {}, session_parts(found, reference.summary))
    if reference.no_times or not len(run.by_second):
        rows += no_time_rows(reference.no_times or "the run recorded no request")
    else:
        rows += _time_rows(run, lanes, starts, pools.by_load, reference)
    reasons = dict(reference.not_measurable)
    if any(row.property == "burstiness" and row.distance is None for row in rows) and not reference.no_times:
        reasons.setdefault(
            "burstiness", f"the run is too short, or busy agents counted in intervals of up to {run.interval_s:g} s"
        )
    return verdict_of([row for row in rows if row.property in PROPERTIES_OF_RUNS], reasons)


def _time_rows(
    run: RunTraffic,
    lanes: Sequence[DrivenLoad],
    starts: Sequence[NDArray[np.int64]],
    pools: Sequence[SessionTable],
    reference: Reference,
) -> list[Row]:
    rng = np.random.default_rng(run.seed)
    all_starts = np.concatenate(starts)
    order = np.argsort(all_starts, kind="stable")
    lengths = [rng.choice(np.diff(pool.bounds), len(own)) for own, pool in zip(starts, pools, strict=True)]
    # Durations of sessions are not known, and no row of a run needs them.
    durations = np.zeros(len(all_starts), np.int64)
    times = Times(0, run.by_second, all_starts[order], durations, np.concatenate(lengths)[order])
    like = time_summary(times)
    shortest_s = 1 if run.interval_s <= 1 else _INTERVALS * run.interval_s
    steps = {step: value for step, value in like.dispersions.items() if step >= shortest_s}
    like = replace(like, dispersions=steps, variation=None)
    planned = replace(reference, times=like, span_s=times.span_s, whole_seconds=False)
    expected = times_of_plan(lanes, pools, planned, run.seed)
    return time_rows(like, replace(expected, variation=None), time_floors(times, rng, expected=expected))


def _by_state(requests: Mapping[str, int], states: Sequence[str]) -> NDArray[np.int64]:
    at = {name: n for n, name in enumerate(states)}
    found = np.zeros(len(states), np.int64)
    for name, count in requests.items():
        found[at.get(name, len(states) - 1)] += count
    return found
