"""Compares a scenario as it is now with the log that it was made from, without a target and without the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.traffic.fidelity.compare import session_distances, session_parts
from loadgen.traffic.fidelity.judge import no_time_rows, session_rows, time_rows
from loadgen.traffic.fidelity.plan_sessions import PlanSessions, nodes_of, placed, sessions_of_plan
from loadgen.traffic.fidelity.plan_times import closed_load, starts_of, times_of_plan
from loadgen.traffic.fidelity.reference import Reference
from loadgen.traffic.fidelity.session_summary import summary_of
from loadgen.traffic.fidelity.verdict import Row, Verdict, verdict_of
from loadgen.traffic.sessions.session_table import SessionTable, joined

__all__ = ["CheckedPlan", "checked_plan", "sessions_placed", "shared_out"]


@dataclass(frozen=True)
class CheckedPlan:
    """The verdict on a plan. unknown: its nodes whose requests `traffic.json` does not have."""

    verdict: Verdict
    unknown: tuple[str, ...]


def checked_plan(
    lanes: Sequence[DrivenLoad], document: Mapping[str, Any], reference: Reference, *, seed: int = 0
) -> CheckedPlan:
    """Return the verdict on the loads of a plan. document: the whole of `traffic.json`."""
    nodes = nodes_of(document, reference.states)
    counts = shared_out(lanes, reference.summary.sessions)
    pools = sessions_of_plan(lanes, nodes, reference.answers, counts, seed)
    rng = np.random.default_rng(seed)
    table = sessions_placed(lanes, pools, reference.span_s, rng, whole_seconds=reference.whole_seconds)
    simulated = summary_of(table, reference.summary)
    rows = session_rows(
        session_distances(simulated, reference.summary),
        reference.floors,
        {},
        session_parts(simulated, reference.summary),
    )
    rows += rows_of_times(lanes, pools, reference, seed)
    return CheckedPlan(verdict_of(rows, reference.not_measurable), pools.unknown)


def rows_of_times(lanes: Sequence[DrivenLoad], pools: PlanSessions, reference: Reference, seed: int) -> list[Row]:
    """Return the rows of times of a plan."""
    why = reference.no_times or closed_load(lanes)
    if why or reference.times is None:
        return no_time_rows(why)
    simulated = times_of_plan(lanes, pools.by_load, reference, seed)
    return time_rows(simulated, reference.times, reference.time_floors)


def shared_out(lanes: Sequence[DrivenLoad], sessions: int) -> list[int]:
    """Divide sessions among the loads, in proportion to the sessions that each load starts. Each gets at least 1."""
    if closed_load(lanes):
        shares = np.array([lane.profile.peak for lane in lanes], np.float64)
    else:
        # The area under the rate curve: the total of random starts would bring their chance into the shares.
        shares = np.array([float(lane.schedule().timeline.area) for lane in lanes])
    shares = shares / shares.sum() if shares.any() else np.full(len(lanes), 1 / len(lanes))
    return [max(1, round(share * sessions)) for share in shares.tolist()]


def sessions_placed(
    lanes: Sequence[DrivenLoad],
    pools: PlanSessions,
    span_s: int,
    rng: np.random.Generator,
    *,
    whole_seconds: bool,
) -> SessionTable:
    """Return the simulated sessions of all loads in one table, at starts of the plan."""
    starts = [_some_starts(lane, pool.count, span_s, rng) for lane, pool in zip(lanes, pools.by_load, strict=True)]
    return placed(joined(pools.by_load), np.concatenate(starts), whole_seconds=whole_seconds)


def _some_starts(lane: DrivenLoad, count: int, span_s: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if not closed_load([lane]):
        starts = starts_of(lane)
        if len(starts):
            return starts[np.linspace(0, len(starts) - 1, count).astype(np.int64)]
    return np.sort(rng.integers(0, span_s * 1_000_000 + 1, count))
