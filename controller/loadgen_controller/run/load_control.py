"""What the agents of a run drive: whose share it is, how it is changed while it goes on, and who steers it.

Every change is a message with a number, which agents follow once each, in order. Whatever is decided here holds from
a time on that is far enough away for all of them to hear of it, and is an event in the journal, so that a controller
that is started anew comes to the same.
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
    Message,
    StartAt,
    Steered,
)
from loadgen_controller.core.adjustments import Adjustment, Adjustments, LoadChange
from loadgen_controller.core.events import Adjusted, Event
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.order import Order
from loadgen_controller.core.registry import Fleet
from loadgen_controller.core.run_record import RunRecord
from loadgen_controller.core.shares import Assignment, candidates, joined, reassigned
from loadgen_controller.core.steering import RateDecision, RateRequest, SteeredLoads
from loadgen_controller.run.journal import Journal

__all__ = ["ADJUST_LEAD_NS", "JOIN_LEAD_NS", "LoadControl", "load_name"]

ADJUST_LEAD_NS = 300 * NS_PER_MS
"""From asking for a change until it holds: must reach every agent before."""
JOIN_LEAD_NS = 2 * NS_PER_S
"""The same for an agent that joins: the others must have said before that they have heard."""
LATEST_LEAVE_NS = 10 * NS_PER_S
"""From hearing that an agent leaves until it does, at most: later than that it may not leave."""
_AGAIN_NS = NS_PER_S
"""Who was told less long ago is not told again: the shares of 1,000 agents are 8 kB for each of them."""
_FEW = 10
"""Agents that are all named."""


class LoadControlPort(Protocol):
    """What it needs of the run that it is about."""

    @property
    def run(self) -> Run: ...

    @property
    def order(self) -> Order: ...

    def tell(self, event: Event) -> None:
        """Step the run."""

    def say(self, agent: str, message: Message) -> None: ...

    def write_manifest(self) -> None:
        """The shares have changed."""

    def write_members(self) -> None:
        """Who takes part, and in which epoch, has changed."""

    def is_back(self, agent: str) -> None:
        """An agent that was gone has a share again."""


class LoadControl:
    """The load of one run, from the plan to what it has become."""

    def __init__(
        self,
        desk: LoadControlPort,
        books: RunRecord,
        fleet: Fleet,
        journal: Journal,
        clock: Callable[[], int],
        adjustments: Adjustments | None = None,
        steered_loads: SteeredLoads | None = None,
    ) -> None:
        """adjustments, steered_loads: what a controller before this one has made of the load, and why."""
        self._desk, self._record, self._fleet, self._journal, self._clock = desk, books, fleet, journal, clock
        spec = desk.order.spec
        self.adjustments = Adjustments.of(spec) if adjustments is None else adjustments
        self.spec: PlanSpec = self.adjustments.in_force(spec)
        """The plan, with its loads as they are now."""
        self.steered_loads = SteeredLoads(spec, books.run_id) if steered_loads is None else steered_loads
        self.changes: deque[str] = deque(maxlen=3)
        """The last of them, for who watches; the report tells all."""
        self._joining: dict[str, int] = {}
        """Who takes part as soon as all others have heard the change of this number."""
        self._began: dict[str, tuple[int, int]] = {}
        """From when on those that joined take part, and since when the share is theirs, from T0."""
        self._heard: dict[str, int] = {}
        """The last change that an agent says to have heard."""
        self._again_ns: dict[str, int] = {}
        """Before that an agent is not told again of what it has not heard."""

    @property
    def is_paused(self) -> bool:
        return self._desk.run.phase is Phase.RUNNING and self.adjustments.is_paused(self._since_t0_ns())

    def beating(self, agent: str, phase: str, adjusted: int) -> None:
        """A live agent stands there, and says which change was the last that it heard: it hears the rest again."""
        run = self._desk.run
        self._heard[agent] = adjusted
        if phase == "ready" and self._comes_late(agent):
            self._joining.setdefault(agent, len(self.adjustments.told))  # also where we were started anew meanwhile
        elif phase == "ready" and run.phase.has_load and run.t0_ns is not None:
            self.say_start(agent, run.t0_ns)
        elif phase == "running" and run.phase is Phase.RUNNING and self._clock() >= self._again_ns.get(agent, 0):
            self._say_changes(agent, adjusted)

    def say_start(self, agent: str, t0_ns: int) -> None:
        """After what was changed before the start."""
        books = self._record
        self._say_changes(agent, 0)
        from_ns, since_ns = self._began.get(agent, (0, 0))
        self._desk.say(agent, StartAt(books.run_id, t0_ns, books.shared_json, from_ns, since_ns))

    def _say_changes(self, agent: str, after: int) -> None:
        """All changes of the load with a higher number. It follows each once, however often it hears it."""
        if after < len(self.adjustments.told):
            self._again_ns[agent] = self._clock() + _AGAIN_NS
        for adjust in self.adjustments.told[after:]:
            self._desk.say(agent, adjust)

    # -- changes that somebody wants ------------------------------------------------------------------

    def adjust(self, wish: LoadChange) -> tuple[Adjustment, ...]:
        """Change the load as it goes on; what was made of the wish, for each load that it holds for.

        Raises:
            UsageError: it makes no sense now.
            FleetError: an agent is too old to be told.
        """
        self._must_be_adjustable()
        order, at_ns = self._desk.order, self._adjust_ns()
        wished = self.adjustments.wished(wish, at_ns, self._record.run_id)
        if why := order.limits.of_changed(wished.in_force(order.spec)):
            raise UsageError(f"the allow-list does not admit this: {why}", hint="ask for less")
        self._journal.event("wished", wish=wish, at_ns=at_ns)
        return self._adjusted(wished)

    def _must_be_adjustable(self) -> None:
        run = self._desk.run
        if run.phase is Phase.WAITING:
            raise UsageError("the run waits for its agents", hint="ask again when they are there")
        if run.phase not in (Phase.PREPARING, Phase.SETTING_UP, Phase.STARTING, Phase.RUNNING):
            raise UsageError(f"the run is {run.phase.value}: nothing more is started that could be changed")
        for agent in run.live:
            member = self._fleet.get(agent)
            if member is not None and member.minor < ADJUSTABLE_MINOR:
                raise FleetError(
                    f"agent {agent} cannot be told of changes: it speaks protocol {PROTOCOL_MAJOR}.{member.minor},"
                    f" and they came with {PROTOCOL_MAJOR}.{ADJUSTABLE_MINOR}",
                    hint="run the same version of loadgen on every agent",
                )

    def _since_t0_ns(self) -> int:
        t0_ns = self._desk.run.t0_ns
        return 0 if t0_ns is None else self._clock() - t0_ns

    def _adjust_ns(self, lead_ns: int = ADJUST_LEAD_NS) -> int:
        """From when on a change holds: late enough for every agent to hear of it before."""
        return 0 if self._desk.run.t0_ns is None else max(0, self._since_t0_ns() + lead_ns)

    def _adjusted(self, adjustments: Adjustments) -> tuple[Adjustment, ...]:
        """Make it so: the load has been changed."""
        known, self.adjustments = self.adjustments, adjustments
        self.spec = adjustments.in_force(self._desk.order.spec)
        self._record.adjustments = adjustments.made
        run = self._desk.run
        if run.phase in (Phase.STARTING, Phase.RUNNING):
            for agent in run.live:
                self._say_changes(agent, len(known.told))
        made = adjustments.made[len(known.made) :]
        for one in made:
            self._journal.event("adjusted", adjustment=one)
            if one.kind == "steer":  # there are many, and the view says where it stands
                continue
            whose = f"load {one.load} " if one.load else ""
            self.changes.append(f"{time_text(one.at_ns / NS_PER_S)}: {whose}{one.text} ({one.by})")
        self._desk.tell(Adjusted(adjustments.end_ns))
        return made

    # -- loads that follow what is seen ---------------------------------------------------------------

    def look(self, merge: Merge) -> None:
        """Whoever steers is asked about every interval that is complete by now."""
        run, assignment = self._desk.run, self._record.assignment
        if not self.steered_loads or assignment is None or run.phase is not Phase.RUNNING:
            return
        before, done = self.steered_loads.troubles, run.merged | run.fins
        known = [len(steered.looks) for steered in self.steered_loads.steered_loads]
        for ask in self.steered_loads.tick(merge, assignment, run.live, done, self._since_t0_ns(), self.adjustments):
            self._desk.say(ask.agent, ask.message)
        for steered, first in zip(self.steered_loads.steered_loads, known, strict=True):
            for look in steered.looks[first:]:
                self._journal.event("look", load=steered.load, next_k=steered.next_k, look=look)
        self._say_troubles(before)

    def steered(self, agent: str, steered: Steered) -> None:
        before = self.steered_loads.troubles
        match self.steered_loads.answered(agent, steered, self._since_t0_ns()):
            case RateDecision() as turn:
                self._turn(turn)
            case RateRequest(agent, message):
                self._desk.say(agent, message)
        self._say_troubles(before)

    def _say_troubles(self, before: Mapping[int, str]) -> None:
        for steered in self.steered_loads.steered_loads:
            if steered.trouble and not before[steered.load]:
                self._record.notice(f"{f'load {steered.name} ' if steered.name else ''}{steered.trouble}")

    def _turn(self, turn: RateDecision) -> None:
        """From soon on the load has this rate, until its planned end. Said again where somebody has changed it."""
        course, at_ns = self.adjustments.courses[turn.load], self._adjust_ns()
        is_running = self._desk.run.phase is Phase.RUNNING
        if not is_running or course.is_paused or course.end_ns is None or course.end_ns <= at_ns:
            return
        stages: tuple[Stage, ...] = ()
        if (rate := turn.rate_per_s) is not None:
            if course.value_at(at_ns) == rate:
                return
            stages = (Stage(rate, rate, course.end_ns - at_ns),)
        try:
            self._must_be_adjustable()
            replaced = self.adjustments.replaced(turn.load, stages, at_ns, self._record.run_id, why=turn.why)
            self._journal.event("replaced", load=turn.load, stages=stages, at_ns=at_ns, why=turn.why)
            self._adjusted(replaced)
        except (UsageError, FleetError) as error:
            self._record.notice(f"the rate could not be changed: {error.message}")
            return
        self.steered_loads.turned(turn)
        self._journal.event(
            "steered",
            load=load_name(self._desk.order.spec, turn.load),
            lane=turn.load,
            at_ns=at_ns,
            rate_per_s=rate,
            looks=turn.looks,
            why=turn.why,
        )

    # -- shares ---------------------------------------------------------------------------------------

    def take_in(self, agents: tuple[str, ...], drivers: tuple[str, ...]) -> None:
        """The others are told what they have less; when all of them have heard it, the agents may begin."""
        books = self._record
        at_ns, end_ns = self.adjustments.not_before(self._adjust_ns(JOIN_LEAD_NS)), self.adjustments.end_ns
        if books.assignment is None or (end_ns is not None and at_ns >= end_ns) or self._too_old((*drivers, *agents)):
            return
        fleet = candidates(member for member in self._fleet if member.id in (*drivers, *agents))
        books.assignment = joined(books.assignment, self._desk.order.spec.regions, fleet, agents, at_ns)
        names = _some(agents)
        for agent in agents:
            if (member := self._fleet.get(agent)) is not None and books.epochs.get(agent) != member.epoch:
                self._began.pop(agent, None)  # it is back, as another process
                books.begin_epoch(agent, member.epoch)
                self._desk.is_back(agent)
        self._desk.write_members()
        self._tell_shares(books.assignment, at_ns, f"{names} joined")
        self._joining.update(dict.fromkeys(agents, len(self.adjustments.told)))
        whose = f"agent {names} takes" if len(agents) == 1 else f"agents {names} take"
        books.notice(f"{whose} part from {time_text(at_ns / NS_PER_S)} on")

    def let_in(self) -> None:
        """Agents that may begin, since nobody drives any more what they are to have."""
        run = self._desk.run
        for agent, number in tuple(self._joining.items()):
            others = (one for one in run.drivers if one not in self._joining)
            if run.t0_ns is None or any(self._heard.get(one, 0) < number for one in others):
                continue
            at_ns = self.adjustments.told[number - 1].at_ns
            from_ns = max(at_ns, self._adjust_ns())
            del self._joining[agent]
            self._began[agent] = from_ns, at_ns
            self.say_start(agent, run.t0_ns)

    def reassign_moved(self) -> None:
        """After a restart: what was to be moved, and nobody was told before the controller ended."""
        run, assignment = self._desk.run, self._record.assignment
        if assignment is None or run.phase not in (Phase.STARTING, Phase.RUNNING) or run.ends or not run.drivers:
            return
        held = zip(assignment.agents, assignment.weights_now, strict=True)
        gone = tuple(agent for agent, weight in held if weight and agent in run.moved and agent not in run.drivers)
        if gone:
            self.reassign(gone, run.drivers, 0)

    def reassign(self, agents: tuple[str, ...], drivers: tuple[str, ...], from_ns: int) -> None:
        """What `agents` had is the drivers' from `from_ns` or, that being 0, from soon on, unless the load ends before.

        All of them at once: that 50 of 1,000 agents are gone is one message to each of the others and not 50. Those
        kept the controller so busy that the others heard nothing for longer than their lease, and were gone, too.
        What is due between `from_ns` and when the drivers hear of it is missed, and counted by them as that.
        """
        books, names = self._record, _some(agents)
        soon_ns, end_ns = self._adjust_ns(), self.adjustments.end_ns
        at_ns = self.adjustments.not_before(min(from_ns, soon_ns + LATEST_LEAVE_NS) if from_ns else soon_ns)
        if books.assignment is None or (end_ns is not None and at_ns >= end_ns):
            return
        if old := self._too_old(drivers):
            books.notice(f"nobody takes over the share of {names}: {', '.join(old)} cannot be told, being too old")
            return
        try:
            held = [agent for _, agent in self._desk.run.vacant]  # they may still drive it: their leases are not over
            assignment = books.assignment = reassigned(books.assignment, drivers, at_ns, held)
        except ValueError as error:
            books.notice(f"nobody takes over the share of {names}: {error}")
            return
        self._tell_shares(assignment, at_ns, names)
        when = time_text(at_ns / NS_PER_S)
        books.notice(f"the share of {names} is driven by {_some(drivers)} from {when} on")
        for lane in self._desk.order.spec.lanes:
            if lane.stays:
                whose = f"of load {lane.name}" if lane.name else "of the load"
                books.notice(f"what {names} had {whose} is driven by nobody: {lane.stays}")

    def _comes_late(self, agent: str) -> bool:
        """Whether it is to have a share, and nobody has let it begin."""
        assignment, is_back = self._record.assignment, agent in self._desk.run.rejoined
        return assignment is not None and agent not in self._began and (is_back or not assignment.first_share(agent))

    def _too_old(self, agents: Iterable[str]) -> list[str]:
        """Who cannot be told that the shares have changed."""
        return [agent for agent in agents if (one := self._fleet.get(agent)) and one.minor < REASSIGNABLE_MINOR]

    def _tell_shares(self, assignment: Assignment, at_ns: int, cause: str) -> None:
        known, weights = len(self.adjustments.told), assignment.weights_now
        self.adjustments = self.adjustments.reassigned(assignment.generation, at_ns, weights, self._record.run_id)
        for agent in self._desk.run.live:
            self._say_changes(agent, known)
        self._journal.event(
            "reassigned",
            generation=assignment.generation,
            at_ns=at_ns,
            cause=cause,
            shares=dict(zip(assignment.agents, weights, strict=True)),
        )
        self._desk.write_manifest()


def _some(agents: Sequence[str]) -> str:
    """All of a few; of many the first, and how many more."""
    return ", ".join(agents) if len(agents) <= _FEW else f"{', '.join(agents[:3])} and {len(agents) - 3} more"


def load_name(spec: PlanSpec, load: int) -> str:
    """How the plan calls it; empty where it has one load, or no such one."""
    return spec.lanes[load].name if load < len(spec.lanes) else ""
