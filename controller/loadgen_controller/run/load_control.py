"""The load control of one run: load changes, share changes and steered loads.

Every change is a numbered message; agents apply each number once, in order. A change
takes effect late enough that every agent receives it before. Each change is also an event
in the journal, so that a restarted controller restores the same state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import FleetError, UsageError
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import time_text
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.messages import (
    ADJUSTABLE_MINOR,
    PROTOCOL_MAJOR,
    REASSIGNABLE_MINOR,
    Ack,
    Message,
    StartAt,
    Steered,
)
from loadgen_controller.core.events import Adjusted, Event
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.load_change_messages import Adjustment, Adjustments, LoadChange
from loadgen_controller.core.registry import Fleet
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.core.shares import Assignment, candidates, joined, reassigned
from loadgen_controller.core.steered_loads_state import RateDecision, RateRequest, SteeredLoads
from loadgen_controller.run.delta_journal import Journal

__all__ = ["ADJUST_LEAD_NS", "JOIN_LEAD_NS", "LoadControl", "load_name"]

ADJUST_LEAD_NS = 300 * NS_PER_MS
"""From a request for a load change until the change takes effect. It must reach every agent before that."""
JOIN_LEAD_NS = 2 * NS_PER_S
"""The same for a late joiner: before that, all other agents must have confirmed the share change."""
LATEST_LEAVE_NS = 10 * NS_PER_S
"""The longest notice that an agent may give before it leaves."""
_AGAIN_NS = NS_PER_S
"""The minimum time before changes are sent to an agent again: the shares of 1,000 agents take 8 kB for each agent."""
_FEW = 10
"""Up to this number, a notice names all agents."""


class LoadControlPort(Protocol):
    """The methods of the run that load control calls."""

    @property
    def run(self) -> Run: ...

    @property
    def order(self) -> Order: ...

    def apply(self, event: Event) -> None:
        """Apply an event to the run."""

    def send_to(self, agent: str, message: Message) -> None:
        """Send a message to an agent; never raises. A message that cannot be sent is counted."""

    def write_manifest(self) -> None:
        """Write the manifest again, because the shares have changed."""

    def write_members(self) -> None:
        """Record the members and their epochs, because they have changed."""

    def has_returned(self, agent: str) -> None:
        """Note that an agent that was gone has a share again."""


class LoadControl:
    """The load of one run: the plan's loads, all changes so far, and the shares of the agents."""

    def __init__(
        self,
        port: LoadControlPort,
        record: RunRecord,
        fleet: Fleet,
        journal: Journal,
        clock: Callable[[], int],
        adjustments: Adjustments | None = None,
        steered_loads: SteeredLoads | None = None,
    ) -> None:
        """Create the part of a run that changes its load.

        adjustments, steered_loads: the state that a restarted controller has restored; None for a new run.
        """
        self._port, self._record, self._fleet, self._journal, self._clock = port, record, fleet, journal, clock
        spec = port.order.spec
        self.adjustments = Adjustments.of(spec) if adjustments is None else adjustments
        self.spec: PlanSpec = self.adjustments.in_force(spec)
        """The plan with all load changes so far."""
        self.steered_loads = SteeredLoads(spec, record.run_id) if steered_loads is None else steered_loads
        self.changes: deque[str] = deque(maxlen=3)
        """The newest load changes, as texts for the live view; the report shows all."""
        self._joining: dict[str, int] = {}
        """For each late joiner: the number of the share change that all others must confirm before it may start."""
        self._began: dict[str, tuple[int, int]] = {}
        """For each late joiner: when it starts, and since when the share is its own, in ns after T0."""
        self._first: tuple[Assignment | None, frozenset[str]] = None, frozenset()
        """The present assignment, and the agents that have a share from the start. All agents wait for the start with a
        heartbeat each second, and a search in the assignment takes 0.2 ms with 5,000 agents."""
        self._heard: dict[str, int] = {}
        """For each agent: the number of the last change that it has confirmed."""
        self._again_ns: dict[str, int] = {}
        """For each agent: the earliest time at which missed changes are sent to it again."""

    @property
    def is_paused(self) -> bool:
        """Return whether the run is running and all of its loads that are not over are paused."""
        return self._port.run.phase is Phase.RUNNING and self.adjustments.is_paused(self._since_t0_ns())

    def on_heartbeat(self, agent: str, phase: str, adjusted: int) -> None:
        """Process an agent's heartbeat: send again what the agent has missed, the start or later changes.

        phase: the agent's own phase. adjusted: the number of the last change that it has received.
        """
        run = self._port.run
        self._heard[agent] = adjusted
        if phase == "ready" and self._is_late_joiner(agent):
            self._joining.setdefault(agent, len(self.adjustments.told))  # no entry: this controller was restarted
        elif phase == "ready" and run.phase.has_load and run.t0_ns is not None:
            self.send_start(agent, run.t0_ns)
        elif phase == "running" and run.phase is Phase.RUNNING and self._clock() >= self._again_ns.get(agent, 0):
            self._send_changes(agent, adjusted)

    def send_start(self, agent: str, t0_ns: int) -> None:
        """Send T0, the time at which the load starts, to an agent, after the report interval and all changes so far."""
        record = self._record
        if record.asked_ns:
            self._send_interval(agent)
        self._send_changes(agent, 0)
        from_ns, since_ns = self._began.get(agent, (0, 0))
        self._port.send_to(agent, StartAt(record.run_id, t0_ns, record.shared_json, from_ns, since_ns))

    def _send_interval(self, agent: str) -> None:
        """Send the requested report interval before the agent's first delta: an acknowledgement of no further delta."""
        record = self._record
        if (epoch := record.epochs.get(agent)) is not None:
            seq = record.durable.get((agent, epoch), -1)
            self._port.send_to(agent, Ack(record.run_id, epoch, seq, record.asked_ns))

    def _send_changes(self, agent: str, after: int) -> None:
        """Send the agent all changes with a number above `after`. The agent ignores those that it has applied."""
        if after < len(self.adjustments.told):
            self._again_ns[agent] = self._clock() + _AGAIN_NS
        for adjust in self.adjustments.told[after:]:
            self._port.send_to(agent, adjust)

    # -- load changes ---------------------------------------------------------------------------------

    def adjust(self, change: LoadChange) -> tuple[Adjustment, ...]:
        """Change the running load, and return one adjustment for each load concerned.

        Raises:
            UsageError: the change is not possible now, or the allow-list does not permit it.
            FleetError: the protocol of an agent is too old for load changes.
        """
        self._must_be_adjustable()
        order, at_ns = self._port.order, self._adjust_ns()
        changed = self.adjustments.requested(change, at_ns, self._record.run_id)
        if why := order.limits.of_changed(changed.in_force(order.spec)):
            raise UsageError(
                f"the allow-list does not permit this change: {why}", hint="request less load, or raise the limit there"
            )
        # `recovery` computes the same change again from the request and its time, so the result is not stored.
        self._journal.event("wished", wish=change, at_ns=at_ns)
        return self._adjusted(changed)

    def _must_be_adjustable(self) -> None:
        run = self._port.run
        if run.phase is Phase.WAITING:
            raise UsageError("the run is still waiting for its agents", hint="try again when they have joined")
        if run.phase not in (Phase.PREPARING, Phase.SETTING_UP, Phase.STARTING, Phase.RUNNING):
            raise UsageError(
                f"the load cannot be changed any more: the run is {run.phase.value}",
                hint="change the load of a run while it is running",
            )
        for agent in run.live:
            member = self._fleet.get(agent)
            if member is not None and member.minor < ADJUSTABLE_MINOR:
                raise FleetError(
                    f"agent {agent} does not support load changes: it has protocol {PROTOCOL_MAJOR}.{member.minor},"
                    f" and they need {PROTOCOL_MAJOR}.{ADJUSTABLE_MINOR}",
                    hint="run the same version of loadgen on every agent",
                )

    def _since_t0_ns(self) -> int:
        t0_ns = self._port.run.t0_ns
        return 0 if t0_ns is None else self._clock() - t0_ns

    def _adjust_ns(self, lead_ns: int = ADJUST_LEAD_NS) -> int:
        """Return when a change takes effect, in ns after T0: now plus `lead_ns`, or 0 if T0 is not fixed yet."""
        return 0 if self._port.run.t0_ns is None else max(0, self._since_t0_ns() + lead_ns)

    def _adjusted(self, adjustments: Adjustments) -> tuple[Adjustment, ...]:
        """Apply changed loads: send the changes, record them, and return the new adjustments."""
        known, self.adjustments = self.adjustments, adjustments
        self.spec = adjustments.in_force(self._port.order.spec)
        self._record.adjustments = adjustments.made
        run = self._port.run
        if run.phase in (Phase.STARTING, Phase.RUNNING):
            for agent in run.live:
                self._send_changes(agent, len(known.told))
        made = adjustments.made[len(known.made) :]
        for one in made:
            self._journal.event("adjusted", adjustment=one)
            if one.kind == "steer":  # there are many, and the view shows the state of steered loads anyway
                continue
            subject = f"load {one.load} " if one.load else ""
            self.changes.append(f"{time_text(one.at_ns / NS_PER_S)}: {subject}{one.text} ({one.by})")
        self._port.apply(Adjusted(adjustments.end_ns))
        return made

    # -- steered loads --------------------------------------------------------------------------------

    def observe(self, merge: Merge) -> None:
        """Observe newly complete intervals of steered loads, and send requests for rate decisions to agents."""
        run, assignment = self._port.run, self._record.assignment
        if not self.steered_loads or assignment is None or run.phase is not Phase.RUNNING:
            return
        before, done = self.steered_loads.problems, run.merged | run.fins
        known = [len(steered.looks) for steered in self.steered_loads.steered_loads]
        requests = self.steered_loads.tick(merge, assignment, run.live, done, self._since_t0_ns(), self.adjustments)
        for request in requests:
            self._port.send_to(request.agent, request.message)
        for steered, first in zip(self.steered_loads.steered_loads, known, strict=True):
            for look in steered.looks[first:]:
                self._journal.event("look", load=steered.load, next_k=steered.next_k, look=look)
        self._note_troubles(before)

    def steered(self, agent: str, steered: Steered) -> None:
        """Process an answer of an agent's steering executor: apply its decision, or send the observations that it
        lacks.
        """
        before = self.steered_loads.problems
        match self.steered_loads.answered(agent, steered, self._since_t0_ns()):
            case RateDecision() as decision:
                self._apply_decision(decision)
            case RateRequest(agent, message):
                self._port.send_to(agent, message)
        self._note_troubles(before)

    def _note_troubles(self, before: Mapping[int, str]) -> None:
        for steered in self.steered_loads.steered_loads:
            if steered.trouble and not before[steered.load]:
                self._record.notice(f"{f'load {steered.name} ' if steered.name else ''}{steered.trouble}")

    def _apply_decision(self, decision: RateDecision) -> None:
        """Set the decided rate until the planned end of the load.

        A paused load, or a decision for the present rate, changes nothing.
        """
        course, at_ns = self.adjustments.courses[decision.load], self._adjust_ns()
        is_running = self._port.run.phase is Phase.RUNNING
        if not is_running or course.is_paused or course.end_ns is None or course.end_ns <= at_ns:
            return
        stages: tuple[Stage, ...] = ()
        if (rate := decision.rate_per_s) is not None:
            if course.value_at(at_ns) == rate:
                return
            stages = (Stage(rate, rate, course.end_ns - at_ns),)
        try:
            self._must_be_adjustable()
            replaced = self.adjustments.replaced(decision.load, stages, at_ns, self._record.run_id, why=decision.why)
            self._journal.event("replaced", load=decision.load, stages=stages, at_ns=at_ns, why=decision.why)
            self._adjusted(replaced)
        except (UsageError, FleetError) as error:
            self._record.notice(f"the rate could not be changed: {error.message}")
            return
        self.steered_loads.turned(decision)
        self._journal.event(
            "steered",
            load=load_name(self._port.order.spec, decision.load),
            lane=decision.load,
            at_ns=at_ns,
            rate_per_s=rate,
            looks=decision.looks,
            why=decision.why,
        )

    # -- shares ---------------------------------------------------------------------------------------

    def take_in(self, agents: tuple[str, ...], drivers: tuple[str, ...]) -> None:
        """Give late joiners a share: send the reduced shares to all drivers; the joiners start once all have confirmed.

        Nothing happens if the load ends before, or if an agent's protocol is too old.
        """
        record = self._record
        at_ns, end_ns = self.adjustments.not_before(self._adjust_ns(JOIN_LEAD_NS)), self.adjustments.end_ns
        if record.assignment is None or (end_ns is not None and at_ns >= end_ns) or self._too_old((*drivers, *agents)):
            return
        fleet = candidates(member for member in self._fleet if member.id in (*drivers, *agents))
        record.assignment = joined(record.assignment, self._port.order.spec.regions, fleet, agents, at_ns)
        names = _some(agents)
        for agent in agents:
            if (member := self._fleet.get(agent)) is not None and record.epochs.get(agent) != member.epoch:
                self._began.pop(agent, None)  # it came back as another process
                record.begin_epoch(agent, member.epoch)
                self._port.has_returned(agent)
        self._port.write_members()
        self._send_shares(record.assignment, at_ns, f"{names} joined")
        self._joining.update(dict.fromkeys(agents, len(self.adjustments.told)))
        subject = f"agent {names} takes" if len(agents) == 1 else f"agents {names} take"
        record.notice(f"{subject} part from {time_text(at_ns / NS_PER_S)} on")

    def start_joiners(self) -> None:
        """Start each late joiner as soon as all other drivers have confirmed the change that gives it a share."""
        run = self._port.run
        for agent, number in tuple(self._joining.items()):
            others = (one for one in run.drivers if one not in self._joining)
            if run.t0_ns is None or any(self._heard.get(one, 0) < number for one in others):
                continue
            at_ns = self.adjustments.told[number - 1].at_ns
            # The share is its own from `at_ns` on. If the others confirmed later, it counts the arrivals until
            # `from_ns` as missed; starting them now would cause a burst.
            from_ns = max(at_ns, self._adjust_ns())
            del self._joining[agent]
            self._began[agent] = from_ns, at_ns
            self.send_start(agent, run.t0_ns)

    def reassign_moved(self) -> None:
        """After a restart: move the shares that the earlier controller had decided to move and had not sent."""
        run, assignment = self._port.run, self._record.assignment
        if assignment is None or run.phase not in (Phase.STARTING, Phase.RUNNING) or run.ends or not run.drivers:
            return
        held = zip(assignment.agents, assignment.weights_now, strict=True)
        gone = tuple(agent for agent, weight in held if weight and agent in run.moved and agent not in run.drivers)
        if gone:
            self.reassign(gone, run.drivers, 0)

    def reassign(self, agents: tuple[str, ...], drivers: tuple[str, ...], from_ns: int) -> None:
        """Move the shares of `agents` to `drivers` at `from_ns` after T0; 0 means as soon as possible.

        Nothing happens if the load ends before. All agents are handled in one change: if 50 of 1,000 agents are lost,
        the others receive one message each instead of 50. With 50, the controller was so busy that the others heard
        nothing for longer than their lease, and were lost too. Arrivals that are due between `from_ns` and the moment
        when the drivers receive the change are missed; the drivers count them as missed.
        """
        record, names = self._record, _some(agents)
        soon_ns, end_ns = self._adjust_ns(), self.adjustments.end_ns
        at_ns = self.adjustments.not_before(min(from_ns, soon_ns + LATEST_LEAVE_NS) if from_ns else soon_ns)
        if record.assignment is None or (end_ns is not None and at_ns >= end_ns):
            return
        if old := self._too_old(drivers):
            record.notice(
                f"no agent takes over the share of {names}: the protocol of {', '.join(old)} is too old for that"
            )
            return
        try:
            held = list(self._port.run.vacant)  # may still drive theirs: their leases have not ended
            assignment = record.assignment = reassigned(record.assignment, drivers, at_ns, held)
        except ValueError as error:
            record.notice(f"no agent takes over the share of {names}: {error}")
            return
        self._send_shares(assignment, at_ns, names)
        when = time_text(at_ns / NS_PER_S)
        record.notice(f"the share of {names} is driven by {_some(drivers)} from {when} on")
        for lane in self._port.order.spec.lanes:
            if lane.stays:
                load = f"load {lane.name}" if lane.name else "the load"
                record.notice(f"no agent takes over the share of {names} in {load}: {lane.stays}")

    def _is_late_joiner(self, agent: str) -> bool:
        """Return whether the agent is a late joiner that has a share and was not started yet."""
        assignment, is_back = self._record.assignment, agent in self._port.run.rejoined
        if assignment is None or agent in self._began:
            return False
        if self._first[0] is not assignment:
            self._first = assignment, assignment.first_agents()
        return is_back or agent not in self._first[1]

    def _too_old(self, agents: Iterable[str]) -> list[str]:
        """Return those of the agents whose protocol does not support share changes."""
        return [agent for agent in agents if (one := self._fleet.get(agent)) and one.minor < REASSIGNABLE_MINOR]

    def _send_shares(self, assignment: Assignment, at_ns: int, cause: str) -> None:
        known, weights = len(self.adjustments.told), assignment.weights_now
        self.adjustments = self.adjustments.reassigned(assignment.generation, at_ns, weights, self._record.run_id)
        for agent in self._port.run.live:
            self._send_changes(agent, known)
        self._journal.event(
            "reassigned",
            generation=assignment.generation,
            at_ns=at_ns,
            cause=cause,
            shares=dict(zip(assignment.agents, weights, strict=True)),
        )
        self._port.write_manifest()


def _some(agents: Sequence[str]) -> str:
    """Return the names for a notice: up to ten all of them, else three and the number of the others."""
    return ", ".join(agents) if len(agents) <= _FEW else f"{', '.join(agents[:3])} and {len(agents) - 3} more"


def load_name(spec: PlanSpec, load: int) -> str:
    """Return the name of the load with this index in the plan; empty if it has none, or if the index is unknown."""
    return spec.lanes[load].name if load < len(spec.lanes) else ""
