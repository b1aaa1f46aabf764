"""Whatever becomes of agents and of the lines to them, all of them together never drive more than the plan.

The controller's fleet, its run and its assignments as they are, in virtual time. The agents are simulated by what
they promise: one follows the changes of the shares that it has heard, and starts nothing more when for 8 s no
heartbeat of it was acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.messages import Hello
from loadgen_controller.core.events import (
    AgentJoined,
    AgentLeaving,
    AgentReady,
    Effect,
    Event,
    FinReceived,
    Reassign,
    Tick,
)
from loadgen_controller.core.lifecycle import Phase, Run, Terms, step
from loadgen_controller.core.registry import Fleet
from loadgen_controller.core.shares import Assignment, Candidate, assign, reassigned
from tests.support.examples import examples

TICK_NS = 250 * NS_PER_MS
LEASE_NS = 8 * NS_PER_S
LEAD_NS = 300 * NS_PER_MS
LEAVE_NS = 700 * NS_PER_MS
IDS = ("a", "b", "c", "d", "e")
names = st.sampled_from(IDS)


@dataclass
class Agent:
    """As an agent is to behave."""

    acked_ns: int = 0
    is_cut: bool = False
    is_dead: bool = False
    is_stopped: bool = False
    heard: int = 0
    """How many changes of the shares."""
    leaves_ns: int | None = None
    """From when on, after T0, it begins nothing; it says so until it is heard."""
    sent_ns: list[int] = field(default_factory=list)

    def share(self, assignment: Assignment, name: str, now_ns: int) -> float:
        if self.is_dead or self.is_stopped or (self.leaves_ns is not None and now_ns >= self.leaves_ns):
            return 0.0
        known = replace(assignment, changes=assignment.changes[: self.heard])
        return next((share for start, end, share in known.tenures(name, now_ns + 1) if start <= now_ns < end), 0.0)


class Losses(RuleBasedStateMachine):
    """A run that is going on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = NS_PER_S
        self.fleet = Fleet()
        self.agents = {name: Agent(self.now_ns) for name in IDS}
        regions = {"eu": 0.6, "us": 0.4}
        of = dict(zip(IDS, ("eu", "eu", "us", "us", "eu"), strict=True))
        self.run = Run.begin(Terms(len(IDS), ("eu", "us"), None), self.now_ns)
        self.assignment = assign(regions, [Candidate(name, of[name], 1 + k % 3) for k, name in enumerate(IDS)])
        for name in IDS:
            self.fleet.hello(Hello(name, of[name], 1, 3, 1, "host", 2), name.encode(), self.now_ns)
            self.tell(AgentJoined(name, of[name]))
        for name in IDS:
            self.tell(AgentReady(name))
        self.pass_ns(NS_PER_S)
        assert self.run.phase is Phase.RUNNING

    # -- the world --------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.25, 0.5, 1, 3, 8, 12]))
    def time_goes_by(self, seconds: float) -> None:
        self.pass_ns(round(seconds * NS_PER_S))

    @rule(name=names)
    def the_line_is_cut(self, name: str) -> None:
        self.agents[name].is_cut = True

    @rule(name=names)
    def the_line_is_whole_again(self, name: str) -> None:
        self.agents[name].is_cut = False

    @rule(name=names)
    def it_is_killed(self, name: str) -> None:
        self.agents[name].is_dead = True

    @rule(name=names)
    def it_says_when_it_leaves(self, name: str) -> None:
        agent = self.agents[name]
        agent.leaves_ns = self.since_t0_ns + LEAVE_NS if agent.leaves_ns is None else agent.leaves_ns

    @rule(name=names)
    def it_is_to_leave(self, name: str) -> None:
        agent = self.agents[name]
        agent.is_stopped = True
        if not agent.is_cut and not agent.is_dead:
            self.tell(AgentLeaving(name))

    @rule(name=names)
    def it_ends_early(self, name: str) -> None:
        agent = self.agents[name]
        if not agent.is_cut and not agent.is_dead and name not in self.run.fins:
            agent.is_stopped = True
            self.tell(FinReceived(name, "all of its workers died"))

    @rule(seconds=st.sampled_from([2, 5, 20]))
    def the_controller_sleeps(self, seconds: int) -> None:
        """Stopped, or its machine suspended: nothing is heard and nothing is acknowledged."""
        self.now_ns += seconds * NS_PER_S
        for agent in self.agents.values():
            agent.is_stopped |= self.now_ns - agent.acked_ns > LEASE_NS
        self.pass_ns(TICK_NS)

    # -- what must hold -----------------------------------------------------------------------------

    @invariant()
    def never_more_than_the_plan(self) -> None:
        shares = {name: agent.share(self.assignment, name, self.since_t0_ns) for name, agent in self.agents.items()}
        assert sum(shares.values()) <= 1 + 1e-9, (shares, self.assignment)

    @invariant()
    def generations_only_grow(self) -> None:
        assert [one.generation for one in self.assignment.changes] == [*range(2, len(self.assignment.changes) + 2)]

    @property
    def since_t0_ns(self) -> int:
        return self.now_ns - (self.run.t0_ns or 0)

    # -- the controller -----------------------------------------------------------------------------

    def pass_ns(self, duration_ns: int) -> None:
        for _ in range(max(1, duration_ns // TICK_NS)):
            self.now_ns += TICK_NS
            self.tell(Tick(self.now_ns))
            for event in self.fleet.tick(self.now_ns):
                self.tell(event)
            for name, agent in self.agents.items():
                if not agent.is_stopped and self.now_ns - agent.acked_ns > LEASE_NS:
                    agent.is_stopped = True
                if agent.is_cut or agent.is_dead:
                    continue
                for event in self.fleet.heard(name, self.now_ns):
                    self.tell(event)
                agent.acked_ns = self.now_ns
                if agent.leaves_ns is not None and not agent.is_stopped:
                    self.tell(AgentLeaving(name, agent.leaves_ns))
                agent.heard = len(self.assignment.changes)
            self.never_more_than_the_plan()

    def tell(self, event: Event) -> None:
        for one in (Tick(self.now_ns), event):
            self.run, effects = step(self.run, one)
            for effect in effects:
                self.perform(effect)

    def perform(self, effect: Effect) -> None:
        if isinstance(effect, Reassign):
            at_ns = effect.at_ns or self.since_t0_ns + LEAD_NS
            last_ns = max((one.at_ns for one in self.assignment.changes), default=0)
            self.assignment = reassigned(self.assignment, effect.drivers, max(at_ns, last_ns))


TestLosses = Losses.TestCase
TestLosses.settings = settings(max_examples=examples(60), stateful_step_count=25, deadline=None)
