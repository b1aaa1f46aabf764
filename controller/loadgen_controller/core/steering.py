"""Steered loads as the controller sees them: what was seen of each interval, who is asked, what was answered.

An interval that all live agents have reported becomes a `Look`. The executor is code
of the scenario, so it is asked in one worker of one live agent, and in the next one
if that is lost; whoever is asked gets all looks that it has not. Its answer becomes a
change of the load for all agents, which is the conductor's to make.

Nothing here sends or reads a clock. Times are ns after T0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec, SteeringSpec
from loadgen.measure.deltas.due_counts import BAD, OVERDUE
from loadgen.measure.deltas.series import OK
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Window
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.objectives.steering_observation import RUNGS, Look, Part
from loadgen.units import NS_PER_S, NS_PER_US, format_rate
from loadgen.wire.messages import Steer, Steered
from loadgen_controller.core.adjustments import Adjustments
from loadgen_controller.core.shares import Assignment

__all__ = ["Ask", "Finding", "Helm", "Helms", "Turn"]

MOST_LOOKS: Final = 1_000
"""In one message: some 150 kB."""
_SILENT_INTERVALS: Final = 2


class Finding(msgspec.Struct, frozen=True):
    """`loadgen.dsl.executors.steering.Finding`, as it travels."""

    verdict: str
    text: str
    rate_per_s: float | None = None
    low: float | None = None
    high: float | None = None
    held_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    agent: str
    message: Steer


@dataclass(frozen=True, slots=True)
class Turn:
    """A decision."""

    load: int
    rate_per_s: float | None
    """None: the load ends."""
    why: str
    looks: int
    """After how many looks it was made."""


@dataclass(slots=True)
class Helm:
    """One steered load. Mutable: it goes on with the run."""

    load: int
    lane: LaneSpec
    steering: SteeringSpec
    first_objective: int
    """Index of its first among all that agents count by."""
    looks: list[Look] = field(default_factory=list)
    rate_per_s: float = 0.0
    """What was decided last."""
    why: str = ""
    finding: Finding | None = None
    trouble: str = ""
    """Why there is no decision at the moment; empty when there is one."""
    is_over: bool = False
    turns: int = 0
    """How often the rate was changed."""
    next_k: int = -1
    """The interval that is looked at next; -1: none yet."""
    agent: str = ""
    """Who is asked."""
    known: int = 0
    """Looks that it has."""
    decided: int = 0
    """Looks that the last decision was made after."""
    answered_ns: int = 0
    bad: dict[tuple[int, str], int] = field(default_factory=dict)
    """Told so far, by objective and journey."""

    @property
    def name(self) -> str:
        return self.lane.name


class Helms:
    """All steered loads of a run.

    Cost: 0.6 ms for each objective, journey and interval (a histogram is built), nothing in between.
    """

    def __init__(self, spec: PlanSpec, run_id: str) -> None:
        self._run_id, self._interval_ns = run_id, spec.interval_ns
        self.helms: list[Helm] = []
        first = len(spec.slos)
        for load, lane in enumerate(spec.lanes):
            if lane.steering is not None:
                helm = Helm(load, lane, lane.steering, first, rate_per_s=lane.steering.start_per_s)
                self.helms.append(helm)
                first += len(lane.steering.objectives)

    def __bool__(self) -> bool:
        return bool(self.helms)

    @property
    def troubles(self) -> dict[int, str]:
        """Why there is no decision at the moment, by load; empty texts where there is one."""
        return {helm.load: helm.trouble for helm in self.helms}

    def tick(
        self,
        merge: Merge,
        assignment: Assignment,
        live: Sequence[str],
        finished: Collection[str],
        clock_ns: int,
        adjustments: Adjustments,
    ) -> list[Ask]:
        """Look at every interval that is complete by now, and ask. Cheap where none is."""
        reporting = [agent for agent in live if agent not in finished]
        newest = merge.latest_window(reporting, clock_ns) if reporting else None
        asks: list[Ask] = []
        for helm in self.helms:
            if helm.is_over or newest is None:
                continue
            seen = len(helm.looks)
            for window in self._windows(helm, merge, newest.k, adjustments):
                helm.looks.append(self._look(helm, merge, window, assignment, adjustments))
            if len(helm.looks) > seen:
                asks.append(self._ask(helm, reporting, clock_ns))
                self._watch(helm, clock_ns)
        return asks

    def answered(self, agent: str, steered: Steered, clock_ns: int) -> Turn | Ask | None:
        """What comes of an answer: a decision, or what the agent has to be told first."""
        helm = next((one for one in self.helms if one.load == steered.load), None)
        if helm is None or helm.is_over or agent != helm.agent or steered.known > len(helm.looks):
            return None
        was_known, helm.known = helm.known, steered.known
        helm.answered_ns = clock_ns
        if steered.error:
            helm.trouble = f"{steered.error}; the rate stays {format_rate(helm.rate_per_s)}"
            return None
        if not steered.ends and steered.rate_per_s is None:
            return self._next(helm) if steered.known < was_known or steered.known < len(helm.looks) else None
        if steered.known < helm.decided:
            return None
        helm.decided, helm.trouble, helm.why = steered.known, "", steered.why
        helm.finding = _finding(steered.finding_json) or helm.finding
        helm.is_over = steered.ends
        if steered.rate_per_s is not None:
            helm.rate_per_s = steered.rate_per_s
        return Turn(helm.load, steered.rate_per_s, steered.why, steered.known)

    def turned(self, turn: Turn) -> None:
        """The decision is in force, or will be soon."""
        for helm in self.helms:
            helm.turns += helm.load == turn.load

    def seen_before(self, load: int, next_k: int, look: Look) -> None:
        """What a controller before this one has seen; each is told once, in order."""
        for helm in self.helms:
            if helm.load == load:
                helm.looks.append(look)
                helm.next_k = next_k
                for part in look.parts:
                    place = part.objective, part.journey
                    helm.bad[place] = helm.bad.get(place, 0) + part.bad

    def turned_before(self, turn: Turn) -> None:
        """What a controller before this one has decided; each is told once, in order."""
        for helm in self.helms:
            if helm.load == turn.load:
                helm.decided, helm.why, helm.is_over = turn.looks, turn.why, turn.rate_per_s is None
                helm.rate_per_s = helm.rate_per_s if turn.rate_per_s is None else turn.rate_per_s
        self.turned(turn)

    # -- asking -----------------------------------------------------------------------------------

    def _ask(self, helm: Helm, reporting: Sequence[str], clock_ns: int) -> Ask:
        if helm.agent not in reporting:
            helm.agent, helm.known, helm.answered_ns = reporting[0], 0, clock_ns
        return self._next(helm)

    def _next(self, helm: Helm) -> Ask:
        first = helm.known
        looks = tuple(helm.looks[first : first + MOST_LOOKS])
        return Ask(helm.agent, Steer(self._run_id, helm.load, first, len(helm.looks), looks))

    def _watch(self, helm: Helm, clock_ns: int) -> None:
        silent_ns = clock_ns - helm.answered_ns
        if silent_ns > (_SILENT_INTERVALS + 1) * self._interval_ns:
            seconds = f"{silent_ns / NS_PER_S:.0f} s"
            rate = format_rate(helm.rate_per_s)
            helm.trouble = f"no answer of {helm.steering.executor} for {seconds}; the rate stays {rate}"

    # -- looking ----------------------------------------------------------------------------------

    def _windows(self, helm: Helm, merge: Merge, newest: int, adjustments: Adjustments) -> Iterator[Window]:
        """Whole intervals of the load, in order, up to the newest that is complete."""
        if helm.next_k < 0:
            helm.next_k = -(-helm.lane.after_ns // self._interval_ns)
        end_ns = adjustments.courses[helm.load].end_ns
        while helm.next_k <= newest:
            window = merge.window(helm.next_k)
            helm.next_k += 1
            if window is None:  # it was not reported at all, or is not kept any more
                continue
            if end_ns is not None and window.start_ns >= end_ns:
                return
            yield window

    def _look(self, helm: Helm, merge: Merge, window: Window, assignment: Assignment, adjustments: Adjustments) -> Look:
        course = adjustments.courses[helm.load]
        steady = not any(
            one.load == helm.load and window.start_ns < one.at_ns < window.end_ns for one in adjustments.adjusts
        )
        counters = window.counters()
        after_ns = helm.lane.after_ns
        unfit = tuple(f"{agent}: {why}" for agent, health in sorted(window.health.items()) for why in health.unfit)
        return Look(
            from_s=(window.start_ns - after_ns) / NS_PER_S,
            to_s=(window.end_ns - after_ns) / NS_PER_S,
            rate_per_s=float(course.value_at(window.end_ns - 1)),
            due=counters.iterations_due,
            started=counters.iterations_started,
            finished=counters.iterations_finished,
            parts=tuple(self._parts(helm, merge, window)),
            observed_ms=self._observed_ms(helm, window),
            in_flight=window.in_flight,
            waiting=window.waiting,
            unfit=unfit,
            reported=len(window.health),
            agents=len(assignment.agents),
            is_steady=steady,
        )

    def _parts(self, helm: Helm, merge: Merge, window: Window) -> Iterator[Part]:
        own = [journey.name for journey in helm.lane.journeys]
        for index, objective in enumerate(helm.steering.objectives):
            journeys = own if objective.journey is None else [objective.journey]
            for journey in journeys:
                good, slower = _good(objective, journey, window)
                bad = self._bad(helm, merge, index, journey)
                if good or bad:
                    yield Part(index, journey, good, bad, slower)

    def _bad(self, helm: Helm, merge: Merge, index: int, journey: str) -> int:
        """What has become bad since the last look: ended so, or got older than the limit."""
        number = helm.first_objective + index
        counts = merge.due.counts(number, journey, 0, merge.due.end(number))
        total = int(counts[BAD].sum() + counts[OVERDUE].sum())
        before = helm.bad.get((index, journey), 0)
        # It falls where something overdue ended as nobody's fault: what was told stays, and the next are fewer.
        helm.bad[index, journey] = max(total, before)
        return max(0, total - before)

    def _observed_ms(self, helm: Helm, window: Window) -> float | None:
        if not helm.steering.objectives or helm.steering.objectives[0].kind != "percentile":
            return None
        objective = msgspec.structs.replace(helm.steering.objectives[0], window_ns=0)
        found = [result.observed for result in evaluate(objective, window)]
        return max((one for one in found if isinstance(one, float)), default=None)


def _good(objective: Objective, journey: str, window: Window) -> tuple[int, tuple[int, ...]]:
    """Ended ok within the limit in this interval; and how many of those took longer than each rung."""
    kind, region = objective.kind_of_series, objective.region or ALL
    if objective.kind == "error_ratio":
        return window.outcomes(kind, journey, objective.step, objective.request, region).get(OK, 0), ()
    ok, _ = window.select(kind, journey, objective.step, objective.request, outcome=OK, region=region)
    limit_us = objective.limit / NS_PER_US
    good = ok.count_at_most_us(int(limit_us))
    return good, tuple(good - ok.count_at_most_us(int(limit_us * rung)) for rung in RUNGS)


def _finding(data: bytes) -> Finding | None:
    try:
        return msgspec.json.decode(data, type=Finding) if data else None
    except msgspec.MsgspecError:
        return None


def as_rows(helms: Helms) -> list[dict[str, Any]]:
    """For `summary.json`."""
    return [
        {
            "load": helm.name,
            "executor": helm.steering.executor,
            "objectives": [one.text for one in helm.steering.objectives],
            "verdict": helm.finding.verdict if helm.finding is not None else None,
            "text": helm.finding.text if helm.finding is not None else "",
            "rate_per_s": helm.finding.rate_per_s if helm.finding is not None else None,
            "low": helm.finding.low if helm.finding is not None else None,
            "high": helm.finding.high if helm.finding is not None else None,
            "held_per_s": helm.finding.held_per_s if helm.finding is not None else None,
            "last_rate_per_s": round(helm.rate_per_s, 6),
            "why": helm.why,
            "trouble": helm.trouble,
            "looks": len(helm.looks),
            "turns": helm.turns,
        }
        for helm in helms.helms
    ]
