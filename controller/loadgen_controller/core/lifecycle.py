"""The life of a run as a pure function: events in, effects out.

This module reads no clock, sends nothing and stores nothing; the conductor performs the
effects. Time arrives as a `Tick`. The conductor sends a tick before every other event,
so `run.now_ns` is the time of the event. All times are ns of the controller's monotonic
clock.

A run ends with at least one `End`, each with a reason of a closed type. The verdict
translates the reasons into an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from loadgen.errors import IllegalTransition
from loadgen.units import NS_PER_MS, NS_PER_S, quantity
from loadgen_controller.core.events import (
    Adjusted,
    AgentJoined,
    AgentLeaving,
    AgentLost,
    AgentReady,
    AgentRefused,
    AgentReturned,
    Effect,
    End,
    Event,
    FinReceived,
    Merged,
    Reason,
    Reassign,
    Resumed,
    SendPrepare,
    SendSetUp,
    SendStart,
    SendStop,
    SendTearDown,
    SetUpEnded,
    StopRequested,
    StorageFailed,
    TakeIn,
    TearDownEnded,
    Tick,
    WindUp,
)

__all__ = ["SHARE_NS", "Phase", "Run", "Terms", "step"]


SHARE_NS = 5 * NS_PER_MS
"""The minimum pause between two share changes, per member of the run. Each change sends all shares to all agents: for
1,000 agents 8 MB, and 0.3 s of the controller. Without the pause, a burst of lost agents delays heartbeats past the
lease, and more agents are lost."""

_NAMED = 10
"""Agents that the text of an end names."""


class Phase(Enum):
    """The phases of a run, in order; a run may skip some. The values are shown to the operator."""

    WAITING = "waiting for agents"
    PREPARING = "preparing"
    SETTING_UP = "setting up"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    FINISHING = "finishing"
    TEARING_DOWN = "tearing down"
    DONE = "done"

    @property
    def has_load(self) -> bool:
        """Return whether iterations may be running in this phase."""
        return self in (Phase.STARTING, Phase.RUNNING, Phase.DRAINING, Phase.FINISHING)


@dataclass(frozen=True, slots=True)
class Terms:
    """The conditions of a run that never change while it goes on."""

    agents: int
    """The number of agents to wait for, over all regions; each region needs at least one."""
    regions: tuple[str, ...]
    """The plan's regions that have a share; agents of other regions do not take part."""
    duration_ns: int | None
    """From T0 to the planned end; None if the load ends by count."""
    drain_ns: int = 30 * NS_PER_S
    """How long running iterations may take to end after the load has ended."""
    has_set_up: bool = False
    has_tear_down: bool = False
    aborts_on_loss: bool = False
    """Whether the loss of an agent ends the load; otherwise the other agents take over its share."""
    join_timeout_ns: int = 120 * NS_PER_S
    """How long to wait for agents."""
    ready_timeout_ns: int = 120 * NS_PER_S
    """How long the agents may take to prepare."""
    set_up_timeout_ns: int = 60 * NS_PER_S
    """How long the plan's set-up may take, and how long its tear-down."""
    start_lead_ns: int = 700 * NS_PER_MS
    """From sending StartAt to T0. The message must reach every agent before T0."""
    finish_timeout_ns: int = 30 * NS_PER_S
    """How long to wait for missing data after the drain."""
    return_ns: int = 10 * NS_PER_S
    """How long to wait for the data of an agent that is lost because it was silent."""
    all_return_ns: int = 90 * NS_PER_S
    """The same if no agent is left. Then the network is the likely cause, so waiting longer is worthwhile."""
    stop_now_timeout_ns: int = 5 * NS_PER_S
    """How long to wait for missing data after an immediate stop, because an operator waits at the terminal."""


@dataclass(frozen=True, slots=True)
class Run:
    """The whole state of a run. Create it with `Run.begin`; `step` returns the next state."""

    terms: Terms
    now_ns: int
    deadline_ns: int | None
    """When the phase ends at the latest; None if only events end it."""
    phase: Phase = Phase.WAITING
    joined: tuple[tuple[str, str], ...] = ()
    """(agent, region) of the agents that can take part, before the members are fixed."""
    members: tuple[str, ...] = ()
    """The agents that take part. At first sorted by id; late joiners are appended."""
    ready: frozenset[str] = frozenset()
    """Members that have prepared."""
    lost: frozenset[str] = frozenset()
    """Members that are lost."""
    vacant: Mapping[str, int] = field(default_factory=dict)
    """Agent -> the time from which no agent drives its share, which waits for the next share change."""
    joining: frozenset[str] = frozenset()
    """Late joiners that are preparing."""
    arrived: tuple[str, ...] = ()
    """Late joiners that have prepared, and get a share with the next share change."""
    silent: Mapping[str, int] = field(default_factory=dict)
    """Lost agent -> the time until which it may still come back with its data."""
    shared_ns: int | None = None
    """When the last share change took place."""
    moved: frozenset[str] = frozenset()
    """Members whose share others have taken over; they do not get it back when they return."""
    rejoined: frozenset[str] = frozenset()
    """Members that had a share, were gone, and have a share again as another process."""
    left: tuple[tuple[str, int], ...] = ()
    """(agent, ns after T0) of members that leave on their own and start no arrivals from that time on."""
    fins: frozenset[str] = frozenset()
    """Members whose Fin has arrived."""
    merged: frozenset[str] = frozenset()
    """Members whose Fin has arrived and whose deltas before it are durable and merged."""
    is_set_up: bool = False
    """Whether the plan's set-up has run, also if it failed."""
    t0_ns: int | None = None
    """When the load starts; None before that is decided."""
    duration_ns: int | None = None
    """From T0 to the planned end, with all load changes so far; None if that is unknown."""
    ends: tuple[End, ...] = ()
    """Why the run ends; empty while it goes on."""
    grace_until_ns: int = 0
    """Until then agents may still be reconnecting to a restarted controller."""

    @classmethod
    def begin(cls, terms: Terms, now_ns: int) -> Run:
        """Return a new run that waits for agents."""
        deadline_ns = now_ns + terms.join_timeout_ns
        return cls(terms=terms, now_ns=now_ns, deadline_ns=deadline_ns, duration_ns=terms.duration_ns)

    @property
    def live(self) -> tuple[str, ...]:
        """Return the members that are not lost, in order."""
        return tuple(agent for agent in self.members if agent not in self.lost)

    @property
    def has_live(self) -> bool:
        """Return whether a member is not lost, by numbers only."""
        return len(self.lost) < len(self.members)

    @property
    def drivers(self) -> tuple[str, ...]:
        """Return the live members that have a share of the load and start due arrivals."""
        return tuple(a for a in self.live if a not in self.fins and a not in self.moved and a not in self.vacant)

    @property
    def owing(self) -> tuple[str, ...]:
        """Return the live members whose data have not all arrived yet."""
        return tuple(agent for agent in self.live if agent not in self.merged)

    @property
    def is_owed(self) -> bool:
        """Return whether `owing` is not empty.

        It compares numbers only, and an intersection costs as much as the smaller set: 5,000 agents finish or are lost
        at the same time, and each of these events asks for this.
        """
        return len(self.merged) + len(self.lost) - len(self.lost & self.merged) < len(self.members)

    @property
    def has_all_fins(self) -> bool:
        """Return whether every live member has sent its Fin, by numbers only."""
        return len(self.fins) + len(self.lost) - len(self.lost & self.fins) == len(self.members)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Return the lost members that may still come back with their data."""
        return tuple(agent for agent, until_ns in self.silent.items() if agent in self.lost and self.now_ns < until_ns)


Moved = tuple[Run, tuple[Effect, ...]]


def step(run: Run, event: Event) -> Moved:
    """Return the next state of a run and the effects to perform. No I/O, no clock, no logging.

    event          | waiting            | preparing          | setting up         | starting, running   | draining        | finishing           | tearing down
    Tick           | deadline -> done   | deadline -> done   | deadline -> ends   | T0 -> running,      | drain over      | deadline -> ends,   | deadline -> done
                   |                    |                    |                    | end -> draining     | -> finishing    | naming late agents  |
    AgentJoined    | enough -> preparing| ignored            | ignored            | new, or returning:  | ignored         | ignored             | ignored
                   |                    |                    |                    | prepares            |                 |                     |
    AgentReturned  | as joined          | ignored            | ignored            | not lost any more   | the same        | the same            | ignored
    AgentReady     | illegal            | last -> set up or  | ignored            | a late joiner takes | ignored         | ignored             | ignored
                   |                    | starting           |                    | part                |                 |                     |
    AgentRefused   | illegal            | -> done            | -> ends            | as lost             | as lost         | as lost             | as lost
    AgentLost      | forgotten          | -> done            | -> ends            | counted; the last   | the same        | the same            | the agent that tears
                   |                    |                    |                    | one -> ends         |                 |                     | down -> done
    AgentLeaving   | illegal            | ignored            | ignored            | its share is moved  | ignored         | ignored             | ignored
    FinReceived    | illegal            | as refused         | as refused         | all -> finishing    | the same        | counted             | ignored
    Merged         | illegal            | illegal            | illegal            | all -> ends         | all -> ends     | all -> ends         | ignored
    SetUpEnded     | illegal            | illegal            | -> starting; error | ignored             | ignored         | ignored             | ignored
                   |                    |                    | -> ends            |                     |                 |                     |
    TearDownEnded  | illegal            | illegal            | illegal            | illegal             | illegal         | illegal             | -> done
    StopRequested  | -> done            | -> done            | -> ends            | -> draining;        | now: finishing  | now: sooner         | now: done
                   |                    |                    |                    | now: finishing      |                 |                     |
    Adjusted       | the new duration is stored for later                         | the new end applies | ignored         | ignored             | ignored
                   |                    |                    |                    | if it is running    |                 |                     |
    Resumed        | before the grace period is over, no phase ends for missing data; the phase does not change
    StorageFailed  | -> done            | -> done            | -> ends            | -> ends             | -> ends         | -> ends             | -> done

    An agent that is lost because it was silent may come back with its data. As long as that is possible, the run stays
    in finishing instead of the last "-> ends". If a loss ends the load, it acts like a stop, and no share is moved.

    Under load, the share of an agent that is lost, leaves or ends early goes to the remaining drivers. That happens at
    the next turn, or at the first turn after its lease has ended, or at the time at which the agent announced to leave.
    Late joiners get a share in the same way. No share is moved while the run ends, or if no driver is left. In a large
    fleet a pause follows (SHARE_NS). After the pause, all shares that became free and all late joiners that became
    ready meanwhile are handled in one change.

    "ends" means tearing down if the run was set up or started, was not killed, the plan has a tear-down and a live
    agent can do it; otherwise done. Done ignores everything.
    An event about an agent that is not a member is ignored.
    """  # noqa: E501
    if run.phase is Phase.DONE:
        return run, ()
    if isinstance(event, Tick):
        # A clock that goes back is a mistake of the caller; then the time of the run does not change.
        moved = _at_time(replace(run, now_ns=max(run.now_ns, event.now_ns)))
        return _then_shared(moved) if event.is_turn else moved
    if isinstance(event, StorageFailed):
        stop = (SendStop(run.live, event.text, now=True),) if run.phase.has_load else ()
        return _after(stop, _end(run, End(Reason.STORAGE_FAILED, event.text)))
    if isinstance(event, Adjusted):
        return _adjusted(run, event.duration_ns), ()
    if isinstance(event, Resumed):
        return _resumed(run, event.grace_until_ns), ()
    match run.phase:
        case Phase.WAITING:
            return _waiting(run, event)
        case Phase.PREPARING | Phase.SETTING_UP:
            return _before_start(run, event)
        case Phase.STARTING | Phase.RUNNING | Phase.DRAINING | Phase.FINISHING:
            return _under_load(run, event)
        case _:
            return _tearing_down(run, event)


# -- phases ------------------------------------------------------------------------------------


def _at_time(run: Run) -> Moved:
    """Move the run to its next phase if its deadline is over; return the new state and its effects.

    One step at a time: after a long pause the next tick does the next step.
    """
    # Checked at every tick, because awaited agents are given up by time alone, without an event.
    if run.phase is Phase.FINISHING and not run.is_owed and not run.awaited:
        return _over(run)
    if run.deadline_ns is None or run.now_ns < run.deadline_ns:
        return run, ()
    terms = run.terms
    match run.phase:
        case Phase.WAITING:
            return _end(run, End(Reason.TOO_FEW_AGENTS, _too_few(run)))
        case Phase.PREPARING:
            missing = tuple(agent for agent in run.members if agent not in run.ready)
            text = f"not ready within {terms.ready_timeout_ns / NS_PER_S:.0f} s: {_names(missing)}"
            return _end(run, End(Reason.NOT_READY, text, missing))
        case Phase.SETTING_UP:
            text = f"the plan's set-up did not end within {terms.set_up_timeout_ns / NS_PER_S:.0f} s"
            return _end(run, End(Reason.SET_UP_FAILED, text))
        case Phase.STARTING:
            # In this phase the deadline is T0.
            planned_end = None if run.duration_ns is None else run.deadline_ns + run.duration_ns
            return replace(run, phase=Phase.RUNNING, deadline_ns=planned_end), ()
        case Phase.RUNNING:  # agents know the planned end themselves: nothing to send
            return replace(run, phase=Phase.DRAINING, deadline_ns=run.deadline_ns + terms.drain_ns), ()
        case Phase.DRAINING:
            # If this process was suspended, agents' messages of that time are still in the sockets. Give them time.
            least_ns = max(run.now_ns + terms.stop_now_timeout_ns, run.grace_until_ns)
            return _finish(run, "the time to drain is over", max(run.deadline_ns + terms.finish_timeout_ns, least_ns))
        case Phase.FINISHING:
            owing = run.owing or run.awaited
            text = f"gave up waiting for the data of {_names(owing)}"
            return _end(run, End(Reason.OVERDUE, text, owing))
        case _:
            text = f"the plan's tear-down did not end within {terms.set_up_timeout_ns / NS_PER_S:.0f} s"
            return _done(run, End(Reason.TEAR_DOWN_FAILED, text))


def _waiting(run: Run, event: Event) -> Moved:
    match event:
        case AgentJoined(agent, region) | AgentReturned(agent, region):
            if region not in run.terms.regions:
                return run, ()
            others = tuple(pair for pair in run.joined if pair[0] != agent)
            run = replace(run, joined=(*others, (agent, region)))
            return _prepare(run) if _is_enough(run) else (run, ())
        case AgentLost(agent):
            return replace(run, joined=tuple(pair for pair in run.joined if pair[0] != agent)), ()
        case StopRequested(text, _, reason):
            return _end(run, End(reason, text))
    raise IllegalTransition(run, event)


def _before_start(run: Run, event: Event) -> Moved:
    """Process an event while agents prepare or the plan is set up; return the new state and its effects.

    The run starts with all of its members or not at all.
    """
    match event:
        case AgentJoined() | AgentReturned():
            return run, ()
        case AgentReady(agent):
            if run.phase is Phase.SETTING_UP or agent not in run.members:
                return run, ()
            run = replace(run, ready=run.ready | {agent})
            return _set_up(run) if len(run.ready) == len(run.members) else (run, ())
        case AgentRefused(agent, text, faults) if agent in run.members:
            return _end(run, End(Reason.REFUSED, f"agent {agent} cannot take part: {text}", (agent,), faults))
        case FinReceived(agent, text) if agent in run.members:
            text = f"agent {agent} cannot take part: {text or 'it ended before the start'}"
            return _end(run, End(Reason.REFUSED, text, (agent,)))
        case AgentLost(agent, text) if agent in run.members:
            run = replace(run, lost=run.lost | {agent})
            return _end(
                run, End(Reason.LOST_BEFORE_START, f"agent {agent} was lost before the start: {text}", (agent,))
            )
        case AgentRefused() | FinReceived() | AgentLost() | AgentLeaving():
            return run, ()
        case SetUpEnded(error) if run.phase is Phase.SETTING_UP:
            # A failed set-up may have created something too, so the tear-down runs after an error as well.
            run = replace(run, is_set_up=True)
            return _end(run, End(Reason.SET_UP_FAILED, f"the plan's set-up failed: {error}")) if error else _start(run)
        case StopRequested(text, _, reason):
            return _end(run, End(reason, text))
    raise IllegalTransition(run, event)


def _under_load(run: Run, event: Event) -> Moved:
    match event:
        case AgentJoined(agent, region, is_new=True) if _can_join(run, agent, region):
            return replace(run, joining=run.joining | {agent}), (SendPrepare((agent,)),)
        case AgentReady(agent) if agent in run.joining:
            run = replace(run, joining=run.joining - {agent})
            if run.phase is not Phase.RUNNING or run.ends or not run.drivers:
                return run, ()
            return replace(run, arrived=(*run.arrived, agent)), ()
        # Before the general cases: a late joiner has no share yet, but may be a member that comes back.
        case AgentLost(agent) | AgentRefused(agent) | FinReceived(agent) if agent in (*run.joining, *run.arrived):
            left = tuple(one for one in run.arrived if one != agent)
            return replace(run, joining=run.joining - {agent}, arrived=left), ()
        case AgentJoined() | AgentReady() | SetUpEnded():
            return run, ()
        case AgentReturned(agent):
            return replace(run, lost=run.lost - {agent}), ()
        case AgentLost(agent) | AgentRefused(agent):
            if agent not in run.members or agent in run.merged:  # all of its data has arrived
                return run, ()
            run, stop = _aborted(replace(run, lost=run.lost | {agent}), agent, event.text)
            if not isinstance(event, AgentLost):
                return _after(stop, _settled(_vacated(run, agent, 0)))
            if event.is_silent:
                run = replace(run, silent=_with_silent(run, agent))
            return _after(stop, _settled(_vacated(run, agent, event.free_ns)))
        case AgentLeaving(agent, at_ns):
            if run.ends or not at_ns:
                return (run if run.ends else _vacated(run, agent, 0)), ()
            return _leave(run, agent, at_ns)
        case FinReceived(agent, text):
            if agent not in run.members:
                return run, ()
            if text and not run.ends:
                run = _vacated(run, agent, 0)
            return _settled(replace(run, fins=run.fins | {agent}, lost=run.lost - {agent}))
        case Merged(agent):
            if agent not in run.members:
                return run, ()
            merged = run.merged | {agent}
            return _settled(replace(run, merged=merged, fins=run.fins | {agent}, lost=run.lost - {agent}))
        case StopRequested(text, now, reason):
            return _stop(run, End(reason, text), now)
    raise IllegalTransition(run, event)


def _aborted(run: Run, agent: str, why: str) -> Moved:
    """Stop the load because `agent` was lost, if the run's terms demand that. Return the new state and its effects."""
    if not run.terms.aborts_on_loss or run.phase not in (Phase.STARTING, Phase.RUNNING) or run.ends:
        return run, ()
    return _stop(run, End(Reason.AGENT_LOST, f"agent {agent} was lost: {why}", (agent,)), now=False)


def _can_join(run: Run, agent: str, region: str) -> bool:
    """Return whether the run is under load and may admit this agent.

    It may admit a new agent, and a new process of an agent that is lost or has finished.
    """
    is_coming = agent in (*run.joining, *run.arrived)
    is_gone = agent in run.lost or agent in run.fins
    is_new = not is_coming and (agent not in run.members or is_gone)
    return is_new and region in run.terms.regions and run.phase is Phase.RUNNING and not run.ends


def _vacated(run: Run, agent: str, free_ns: int) -> Run:
    """Return the run with a note that the agent's share is free from `free_ns` on, unless it was moved before."""
    if agent not in run.members or agent in run.fins or agent in run.moved:
        return run
    # A later event may prove that the share is free sooner: 0 once the process is known to have ended its load.
    return replace(run, vacant={**run.vacant, agent: min(free_ns, run.vacant.get(agent, free_ns))})


def _leave(run: Run, agent: str, at_ns: int) -> Moved:
    """Move the share of an agent that will leave at `at_ns` after T0, so that others drive it from then on.

    Return the new state and its effects.
    """
    if agent not in run.drivers:
        return run, ()
    run = replace(run, moved=run.moved | {agent}, left=(*run.left, (agent, at_ns)))
    if run.phase not in (Phase.STARTING, Phase.RUNNING) or not run.drivers:
        return run, ()
    return run, (Reassign((agent,), run.drivers, at_ns),)


def _then_shared(moved: Moved) -> Moved:
    """Return the given state and effects with the share changes that are possible now.

    The remaining drivers get all free shares, and late joiners get a share of their own. Nothing is added if shares
    were changed just before.
    """
    run, effects = moved
    # A restarted agent waits until the lease of its old process is over: until then the old one may drive the share.
    held = {agent: since_ns for agent, since_ns in run.vacant.items() if since_ns > run.now_ns}
    free = tuple(sorted(run.vacant.keys() - held.keys(), key=lambda agent: (run.vacant[agent], agent)))
    arrived, waiting = (tuple(one for one in run.arrived if (one in held) is is_held) for is_held in (False, True))
    if not (free or arrived) or _has_just_shared(run):
        return moved
    drivers = run.drivers
    run = replace(run, vacant=held, moved=run.moved | set(free), arrived=waiting)
    if run.phase not in (Phase.STARTING, Phase.RUNNING) or run.ends or not drivers:
        return run, effects
    run = replace(_with_back(run, arrived), shared_ns=run.now_ns)
    given = (Reassign(free, drivers),) if free else ()
    return run, (*effects, *given, *((TakeIn(arrived, drivers),) if arrived else ()))


def _with_back(run: Run, arrived: tuple[str, ...]) -> Run:
    """Return the run with these late joiners as members.

    For a member that comes back as a new process, all state of the old one is reset.
    """
    back = frozenset(arrived) & frozenset(run.members)
    return replace(
        run,
        members=(*run.members, *(agent for agent in arrived if agent not in back)),
        rejoined=run.rejoined | back,
        lost=run.lost - back,
        moved=run.moved - back,
        fins=run.fins - back,
        merged=run.merged - back,
        silent={agent: until_ns for agent, until_ns in run.silent.items() if agent not in back},
        left=tuple(one for one in run.left if one[0] not in back),
    )


def _has_just_shared(run: Run) -> bool:
    return run.shared_ns is not None and run.now_ns - run.shared_ns < SHARE_NS * len(run.members)


def _tearing_down(run: Run, event: Event) -> Moved:
    match event:
        case TearDownEnded(error):
            if not error:
                return _done(run)
            return _done(run, End(Reason.TEAR_DOWN_FAILED, f"the plan's tear-down failed: {error}"))
        case AgentLost(agent, text) | AgentRefused(agent, text):
            if agent != _first_live(run):
                return run, ()
            return _done(
                run, End(Reason.TEAR_DOWN_FAILED, f"agent {agent} was lost while tearing down: {text}", (agent,))
            )
        case StopRequested(text, True, reason):
            return _done(run, End(reason, text))
    return run, ()


# -- moves -------------------------------------------------------------------------------------


def _prepare(run: Run) -> Moved:
    members = tuple(sorted(agent for agent, _ in run.joined))
    deadline_ns = run.now_ns + run.terms.ready_timeout_ns
    return replace(run, phase=Phase.PREPARING, members=members, deadline_ns=deadline_ns), (SendPrepare(members),)


def _set_up(run: Run) -> Moved:
    if not run.terms.has_set_up:
        return _start(run)
    deadline_ns = run.now_ns + run.terms.set_up_timeout_ns
    return replace(run, phase=Phase.SETTING_UP, deadline_ns=deadline_ns), (SendSetUp(run.members[0]),)


def _start(run: Run) -> Moved:
    t0_ns = run.now_ns + run.terms.start_lead_ns
    return replace(run, phase=Phase.STARTING, t0_ns=t0_ns, deadline_ns=t0_ns), (SendStart(run.members, t0_ns),)


def _adjusted(run: Run, duration_ns: int | None) -> Run:
    if run.phase in (Phase.DRAINING, Phase.FINISHING, Phase.TEARING_DOWN):
        return run  # no arrivals are started any more
    run = replace(run, duration_ns=duration_ns)
    if run.phase is not Phase.RUNNING or run.t0_ns is None:
        return run
    return replace(run, deadline_ns=None if duration_ns is None else run.t0_ns + duration_ns)


def _resumed(run: Run, grace_until_ns: int) -> Run:
    run = replace(run, grace_until_ns=grace_until_ns)
    if run.deadline_ns is None or run.phase not in (Phase.DRAINING, Phase.FINISHING, Phase.TEARING_DOWN):
        return run
    return replace(run, deadline_ns=max(run.deadline_ns, grace_until_ns))


def _stop(run: Run, end: End, now: bool) -> Moved:
    """End the load for the reason `end`; return the new state and its effects.

    now: cut off running iterations instead of draining.
    """
    if run.phase in (Phase.DRAINING, Phase.FINISHING) and not now:
        return run, ()  # it is ending already
    if end not in run.ends:
        run = replace(run, ends=(*run.ends, end))
    if now:
        soon_ns = run.now_ns + run.terms.stop_now_timeout_ns
        return _finish(run, end.detail, soon_ns if run.deadline_ns is None else min(run.deadline_ns, soon_ns))
    deadline_ns = run.now_ns + run.terms.drain_ns
    # A stop shortly before the planned end must not let iterations run longer than the planned end would.
    if run.deadline_ns is not None and run.phase is Phase.RUNNING:
        deadline_ns = min(deadline_ns, run.deadline_ns + run.terms.drain_ns)
    return replace(run, phase=Phase.DRAINING, deadline_ns=deadline_ns), (SendStop(run.live, end.detail, now=False),)


def _finish(run: Run, text: str, deadline_ns: int) -> Moved:
    """Begin the phase `finishing`: stop the members that still run, and wait for their data until `deadline_ns`.

    Return the new state and its effects.
    """
    late = tuple(agent for agent in run.live if agent not in run.fins)
    stop = (SendStop(late, text, now=True),) if late else ()
    return replace(run, phase=Phase.FINISHING, deadline_ns=deadline_ns), stop


def _settled(run: Run) -> Moved:
    """Move the run on if all data has arrived, or if every live member has sent its Fin.

    Return the new state and its effects.
    """
    if not run.is_owed and not run.awaited:
        return _over(run)
    if run.phase is not Phase.FINISHING and run.has_all_fins:
        by_ns = run.now_ns + run.terms.finish_timeout_ns
        if not run.has_live:
            # Never empty: without live members nothing is owed, so an awaited one is left.
            by_ns = max(until_ns for agent, until_ns in run.silent.items() if agent in run.lost)
        return _finish(run, "", by_ns)
    return run, ()


def _with_silent(run: Run, agent: str) -> Mapping[str, int]:
    """Return until when each silent agent may come back, as agent -> time, after `agent` fell silent too.

    If it was the last live one, the run waits longer for all.
    """
    terms, until_ns = run.terms, run.now_ns + run.terms.return_ns
    if run.has_live:
        return {**run.silent, agent: until_ns}
    by_ns = run.now_ns + terms.all_return_ns
    if run.t0_ns is not None and run.duration_ns is not None:  # silent agents must not delay the end of the run
        by_ns = min(by_ns, run.t0_ns + run.duration_ns + terms.drain_ns + terms.finish_timeout_ns)
    until_ns = max(until_ns, by_ns)
    known = {one: max(at, until_ns) if at > run.now_ns else at for one, at in run.silent.items()}
    return {**known, agent: until_ns}


def _over(run: Run) -> Moved:
    """End the run because no more data can arrive; return the new state and its effects."""
    if run.has_live:
        return _end(run, End(Reason.FINISHED, "every agent has finished and delivered"))
    return _end(run, End(Reason.ALL_LOST, f"no agent is left; lost: {_names(run.members)}", run.members))


def _end(run: Run, end: End) -> Moved:
    """End the run, after the plan's tear-down if the run was set up or started and a live agent can run it.

    Return the new state and its effects.
    """
    touched = run.is_set_up or run.t0_ns is not None
    is_killed = any(one.reason is Reason.KILLED for one in (*run.ends, end))
    if run.phase is Phase.TEARING_DOWN or is_killed or not (run.terms.has_tear_down and touched):
        return _done(run, end)
    run = replace(run, ends=(*run.ends, end))
    if (agent := _first_live(run)) is None:
        return _done(run, End(Reason.TEAR_DOWN_FAILED, "no agent is left to run the plan's tear-down"))
    deadline_ns = run.now_ns + run.terms.set_up_timeout_ns
    return replace(run, phase=Phase.TEARING_DOWN, deadline_ns=deadline_ns), (SendTearDown(agent),)


def _names(agents: tuple[str, ...]) -> str:
    """Return the names of the first ten agents, and the number of the others."""
    others = len(agents) - _NAMED
    return ", ".join(agents[:_NAMED]) + (f" and {quantity(others, 'more agent')}" if others > 0 else "")


def _done(run: Run, end: End | None = None) -> Moved:
    ends = run.ends if end is None else (*run.ends, end)
    return replace(run, phase=Phase.DONE, deadline_ns=None, ends=ends), (WindUp(),)


def _after(first: tuple[Effect, ...], moved: Moved) -> Moved:
    run, effects = moved
    return run, (*first, *effects)


# -- questions ---------------------------------------------------------------------------------


def _is_enough(run: Run) -> bool:
    return len(run.joined) >= run.terms.agents and {region for _, region in run.joined} == set(run.terms.regions)


def _first_live(run: Run) -> str | None:
    """Return the agent that runs the plan's tear-down: the agent that set up if it is alive, else the next live one.

    None if no agent is alive.
    """
    return next(iter(run.live), None)


def _too_few(run: Run) -> str:
    timeout_s = run.terms.join_timeout_ns / NS_PER_S
    text = f"{len(run.joined)} of {run.terms.agents} agents joined within {timeout_s:.0f} s"
    empty = sorted(set(run.terms.regions) - {region for _, region in run.joined})
    return f"{text}; no agent in {', '.join(empty)}" if empty else text
