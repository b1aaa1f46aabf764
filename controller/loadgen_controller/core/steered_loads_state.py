"""The controller's state of steered loads: observations, rate requests and rate decisions.

An interval that all live agents have reported becomes an observation (`Look`). The
executor is code of the scenario, so it runs in a worker of one live agent. If that
agent is lost, the next live agent takes over and receives all observations so far.
The executor's answer becomes a rate decision; the conductor turns the decision into
a load change for all agents.

This module sends nothing and reads no clock. Times are ns after T0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec, SteeringSpec
from loadgen.measure.deltas.outcomes_by_due_interval import BAD, OVERDUE
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Window
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.objectives.steering_observation import RUNGS, Look, Part
from loadgen.measure.objectives.windowed_values import has_requests
from loadgen.units import NS_PER_S, NS_PER_US, format_rate
from loadgen.wire.messages import Steer, Steered
from loadgen_controller.core.load_change_messages import Adjustments
from loadgen_controller.core.shares import Assignment

__all__ = ["Finding", "RateDecision", "RateRequest", "SteeredLoad", "SteeredLoads"]

MOST_LOOKS: Final = 1_000
"""Observations in one message at most; together they take some 150 kB."""
_SILENT_INTERVALS: Final = 2


class Finding(msgspec.Struct, frozen=True):
    """The final result of a steering executor, in the form in which agents send it.

    The fields are those of `loadgen.dsl.executors.steering_executor.Finding`. Rates are iterations/s.
    """

    verdict: str
    text: str
    rate_per_s: float | None = None
    low: float | None = None
    high: float | None = None
    held_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateRequest:
    """A request for a rate decision, and the agent that receives it."""

    agent: str
    message: Steer


@dataclass(frozen=True, slots=True)
class RateDecision:
    """A steering executor's answer: the next rate, or the end of the load, with its reason."""

    load: int
    rate_per_s: float | None
    """Iterations/s; None ends the load."""
    why: str
    looks: int
    """The number of observations that the executor had received when it decided."""


@dataclass(slots=True)
class SteeredLoad:
    """The mutable state of one steered load, which changes during the run."""

    load: int
    lane: LaneSpec
    steering: SteeringSpec
    first_objective: int
    """The index of this load's first objective among all objectives that agents count."""
    looks: list[Look] = field(default_factory=list)
    rate_per_s: float = 0.0
    """The rate of the newest decision, iterations/s."""
    why: str = ""
    finding: Finding | None = None
    trouble: str = ""
    """Why no decision can be made at the moment; empty when nothing is wrong."""
    is_over: bool = False
    turns: int = 0
    """The number of rate changes so far."""
    next_k: int = -1
    """The number of the next interval to observe; -1 before the first one."""
    agent: str = ""
    """The agent whose worker runs the executor."""
    known: int = 0
    """The number of observations that this agent has received."""
    decided: int = 0
    """The number of observations behind the newest decision."""
    answered_ns: int = 0
    bad: dict[tuple[int, str], int] = field(default_factory=dict)
    """Bad iterations in all observations so far, by objective and journey."""

    @property
    def name(self) -> str:
        return self.lane.name


class SteeredLoads:
    """All steered loads of a run.

    Cost: 0.6 ms for each objective, journey and interval, because a histogram is built. Nothing between intervals.
    """

    def __init__(self, spec: PlanSpec, run_id: str) -> None:
        self._run_id, self._interval_ns = run_id, spec.interval_ns
        self.steered_loads: list[SteeredLoad] = []
        first = len(spec.slos)
        for load, lane in enumerate(spec.lanes):
            if lane.steering is not None:
                steered_load = SteeredLoad(load, lane, lane.steering, first, rate_per_s=lane.steering.start_per_s)
                self.steered_loads.append(steered_load)
                first += len(lane.steering.objectives)

    def __bool__(self) -> bool:
        return bool(self.steered_loads)

    @property
    def problems(self) -> dict[int, str]:
        """Return why no rate can be decided now, by index of each steered load in the plan; "" if nothing is wrong."""
        return {steered_load.load: steered_load.trouble for steered_load in self.steered_loads}

    def tick(
        self,
        merge: Merge,
        assignment: Assignment,
        live: Sequence[str],
        finished: Collection[str],
        clock_ns: int,
        adjustments: Adjustments,
    ) -> list[RateRequest]:
        """Observe each interval that has become complete; return the requests for rate decisions to send to agents.

        The call is cheap when no interval is complete. `clock_ns` is the time after T0.
        """
        reporting = [agent for agent in live if agent not in finished]
        newest = merge.latest_window(reporting, clock_ns) if reporting else None
        asks: list[RateRequest] = []
        for steered_load in self.steered_loads:
            if steered_load.is_over or newest is None:
                continue
            seen = len(steered_load.looks)
            for window in self._windows(steered_load, merge, newest.k, adjustments):
                steered_load.looks.append(self._look(steered_load, merge, window, assignment, adjustments))
            if len(steered_load.looks) > seen:
                asks.append(self._ask(steered_load, reporting, clock_ns))
                self._watch(steered_load, clock_ns)
        return asks

    def answered(self, agent: str, steered: Steered, clock_ns: int) -> RateDecision | RateRequest | None:
        """Process an agent's answer; return its rate decision, or a request with observations that the agent still
        needs.

        Returns None if the answer is outdated, repeated, or reports an error of the executor.
        """
        steered_load = next((one for one in self.steered_loads if one.load == steered.load), None)
        if (
            steered_load is None
            or steered_load.is_over
            or agent != steered_load.agent
            or steered.known > len(steered_load.looks)
        ):
            return None
        was_known, steered_load.known = steered_load.known, steered.known
        steered_load.answered_ns = clock_ns
        if steered.error:
            steered_load.trouble = f"{steered.error}; the rate stays {format_rate(steered_load.rate_per_s)}"
            return None
        if not steered.ends and steered.rate_per_s is None:
            return (
                # Fewer than before: the executor was started again, and lost what it had.
                self._next(steered_load)
                if steered.known < was_known or steered.known < len(steered_load.looks)
                else None
            )
        if steered.known < steered_load.decided:
            return None
        steered_load.decided, steered_load.trouble, steered_load.why = steered.known, "", steered.why
        steered_load.finding = _finding(steered.finding_json) or steered_load.finding
        steered_load.is_over = steered.ends
        if steered.rate_per_s is not None:
            steered_load.rate_per_s = steered.rate_per_s
        return RateDecision(steered_load.load, steered.rate_per_s, steered.why, steered.known)

    def turned(self, turn: RateDecision) -> None:
        """Count a rate decision that was applied as a load change."""
        for steered_load in self.steered_loads:
            steered_load.turns += steered_load.load == turn.load

    def seen_before(self, load: int, next_k: int, look: Look) -> None:
        """Restore an observation that an earlier controller process made. Call it once for each, in order."""
        for steered_load in self.steered_loads:
            if steered_load.load == load:
                steered_load.looks.append(look)
                steered_load.next_k = next_k
                for part in look.parts:
                    place = part.objective, part.journey
                    steered_load.bad[place] = steered_load.bad.get(place, 0) + part.bad

    def turned_before(self, turn: RateDecision) -> None:
        """Restore a decision that an earlier controller process received. Call it once for each, in order."""
        for steered_load in self.steered_loads:
            if steered_load.load == turn.load:
                steered_load.decided, steered_load.why, steered_load.is_over = (
                    turn.looks,
                    turn.why,
                    turn.rate_per_s is None,
                )
                steered_load.rate_per_s = steered_load.rate_per_s if turn.rate_per_s is None else turn.rate_per_s
        self.turned(turn)

    # -- requests ---------------------------------------------------------------------------------

    def _ask(self, steered_load: SteeredLoad, reporting: Sequence[str], clock_ns: int) -> RateRequest:
        if steered_load.agent not in reporting:
            # The new agent's executor has no observation yet, so it gets all of them again, in several messages if
            # necessary.
            steered_load.agent, steered_load.known, steered_load.answered_ns = reporting[0], 0, clock_ns
        return self._next(steered_load)

    def _next(self, steered_load: SteeredLoad) -> RateRequest:
        first = steered_load.known
        looks = tuple(steered_load.looks[first : first + MOST_LOOKS])
        return RateRequest(
            steered_load.agent, Steer(self._run_id, steered_load.load, first, len(steered_load.looks), looks)
        )

    def _watch(self, steered_load: SteeredLoad, clock_ns: int) -> None:
        silent_ns = clock_ns - steered_load.answered_ns
        if silent_ns > (_SILENT_INTERVALS + 1) * self._interval_ns:
            seconds = f"{silent_ns / NS_PER_S:.0f} s"
            rate = format_rate(steered_load.rate_per_s)
            steered_load.trouble = (
                f"no answer from {steered_load.steering.executor} for {seconds}; the rate stays {rate}"
            )

    # -- observations -----------------------------------------------------------------------------

    def _windows(
        self, steered_load: SteeredLoad, merge: Merge, newest: int, adjustments: Adjustments
    ) -> Iterator[Window]:
        """Yield the load's complete intervals that were not observed yet, in order, up to interval `newest`."""
        if steered_load.next_k < 0:
            steered_load.next_k = -(-steered_load.lane.after_ns // self._interval_ns)
        end_ns = adjustments.courses[steered_load.load].end_ns
        while steered_load.next_k <= newest:
            window = merge.window(steered_load.next_k)
            steered_load.next_k += 1
            if window is None:  # no agent reported it, or the merge has dropped it
                continue
            if end_ns is not None and window.start_ns >= end_ns:
                return
            yield window

    def _look(
        self, steered_load: SteeredLoad, merge: Merge, window: Window, assignment: Assignment, adjustments: Adjustments
    ) -> Look:
        course = adjustments.courses[steered_load.load]
        steady = not any(
            one.load == steered_load.load and window.start_ns < one.at_ns < window.end_ns for one in adjustments.adjusts
        )
        counters = window.counters()
        after_ns = steered_load.lane.after_ns
        unfit = tuple(f"{agent}: {why}" for agent, health in sorted(window.health.items()) for why in health.unfit)
        return Look(
            from_s=(window.start_ns - after_ns) / NS_PER_S,
            to_s=(window.end_ns - after_ns) / NS_PER_S,
            rate_per_s=float(course.value_at(window.end_ns - 1)),
            due=counters.iterations_due,
            started=counters.iterations_started,
            finished=counters.iterations_finished,
            parts=tuple(self._parts(steered_load, merge, window)),
            observed_ms=self._observed_ms(steered_load, window),
            in_flight=window.in_flight,
            waiting=window.waiting,
            unfit=unfit,
            reported=len(window.health),
            agents=len(assignment.agents),
            is_steady=steady,
        )

    def _parts(self, steered_load: SteeredLoad, merge: Merge, window: Window) -> Iterator[Part]:
        own = [journey.name for journey in steered_load.lane.journeys]
        for index, objective in enumerate(steered_load.steering.objectives):
            journeys = own if objective.journey is None else [objective.journey]
            for journey in journeys:
                good, slower = _good(objective, journey, window)
                bad = self._bad(steered_load, merge, objective, index, journey)
                if good or bad:
                    yield Part(index, journey, good, bad, slower)

    def _bad(self, steered_load: SteeredLoad, merge: Merge, objective: Objective, index: int, journey: str) -> int:
        """Return how many iterations became bad for one objective of the load since the last observation.

        An iteration is bad if it ended badly, or if it is still running and older than the limit.
        """
        number = steered_load.first_objective + index
        if objective.kind == "goodput" and not has_requests(number, merge.due, journey):
            return 0  # it asks no models, or has not done so yet
        counts = merge.due.counts(number, journey, 0, merge.due.end(number))
        total = int(counts[BAD].sum() + counts[OVERDUE].sum())
        before = steered_load.bad.get((index, journey), 0)
        # The total falls when an overdue iteration ends without counting as bad. The executor has already seen the
        # larger number, so keep it: the next observations report fewer new bad iterations instead.
        steered_load.bad[index, journey] = max(total, before)
        return max(0, total - before)

    def _observed_ms(self, steered_load: SteeredLoad, window: Window) -> float | None:
        if not steered_load.steering.objectives or steered_load.steering.objectives[0].kind != "percentile":
            return None
        objective = msgspec.structs.replace(steered_load.steering.objectives[0], window_ns=0)
        found = [result.observed for result in evaluate(objective, window)]
        return max((one for one in found if isinstance(one, float)), default=None)


def _good(objective: Objective, journey: str, window: Window) -> tuple[int, tuple[int, ...]]:
    """Return how many ended ok within the limit in this interval, and how many of those took longer than each rung.

    A rung is a fraction of the limit (`RUNGS`); error ratios and goodput have no rungs.
    """
    if objective.kind == "goodput" or objective.is_of_streams:
        metric = objective.metric if objective.is_of_streams else objective.counting_metric

        def test(region: str, key: SeriesKey) -> bool:
            # An ok answer without a token, such as one of hidden reasoning, has only a lower bound.
            is_ok = key.outcome == OK and key.metric == metric and not (key.warmup or key.censored)
            return is_ok and objective.region in (None, region) and key.journey == journey and objective.covers(key)

        numbers = [n for n, _ in window.matching((objective, journey, "good"), test)]
        return _within(window.sum_of(numbers), objective) if objective.is_of_streams else (window.count_of(numbers), ())
    kind, region = objective.kind_of_series, objective.region or ALL
    if objective.kind == "error_ratio":
        return window.outcomes(kind, journey, objective.step, objective.request, region).get(OK, 0), ()
    ok, _ = window.select(kind, journey, objective.step, objective.request, outcome=OK, region=region)
    return _within(ok, objective)


def _within(ok: Histogram, objective: Objective) -> tuple[int, tuple[int, ...]]:
    """Return how many values are within the limit of an objective, and how many of those are above each rung."""
    limit_us = objective.limit / NS_PER_US
    good = ok.count_at_most_us(int(limit_us))
    return good, tuple(good - ok.count_at_most_us(int(limit_us * rung)) for rung in RUNGS)


def _finding(data: bytes) -> Finding | None:
    try:
        return msgspec.json.decode(data, type=Finding) if data else None
    except msgspec.MsgspecError:
        return None


def as_rows(steered_loads: SteeredLoads) -> list[dict[str, Any]]:
    """Return one row for each steered load, for `summary.json`."""
    return [
        {
            "load": steered_load.name,
            "executor": steered_load.steering.executor,
            "objectives": [one.text for one in steered_load.steering.objectives],
            "verdict": steered_load.finding.verdict if steered_load.finding is not None else None,
            "text": steered_load.finding.text if steered_load.finding is not None else "",
            "rate_per_s": steered_load.finding.rate_per_s if steered_load.finding is not None else None,
            "low": steered_load.finding.low if steered_load.finding is not None else None,
            "high": steered_load.finding.high if steered_load.finding is not None else None,
            "held_per_s": steered_load.finding.held_per_s if steered_load.finding is not None else None,
            "last_rate_per_s": round(steered_load.rate_per_s, 6),
            "why": steered_load.why,
            "trouble": steered_load.trouble,
            "looks": len(steered_load.looks),
            "turns": steered_load.turns,
        }
        for steered_load in steered_loads.steered_loads
    ]
