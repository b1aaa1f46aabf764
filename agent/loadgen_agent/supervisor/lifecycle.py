"""The agent's state machine as a pure function: events in, effects out.

Nothing here reads a clock, sends, or starts a process; `supervisor.py` performs the effects. Deltas, acknowledgements
and heartbeats bypass this module, because they are handled in every phase (`delivery/`). So do the counts of users at
a rendez-vous, which are only forwarded.

The controller may repeat a message, send it late, or be a different controller than before. So no message of the
controller is illegal; one that does not fit the phase is ignored. An event of our own parts in a wrong phase is a bug.

An agent has one or several workers. Here they are one group, which is ready when all workers are, and whose Fin is the
sum of theirs. `worker_group_state.py` has the table of single workers, and replaces a worker that dies under load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from loadgen.errors import ExitCode, IllegalTransition
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.messages import (
    Adjust,
    Bye,
    Fin,
    Message,
    Prepare,
    Ready,
    Reassign,
    Refused,
    Rejected,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Steer,
    Stop,
    TearDown,
    TornDown,
    Welcome,
)

__all__ = [
    "Agent",
    "Beat",
    "BundleFailed",
    "BundleHere",
    "CloseBooks",
    "Effect",
    "EndWorkers",
    "Event",
    "Exit",
    "Fetch",
    "Forget",
    "KillWorkers",
    "Phase",
    "RenewLease",
    "SendAgain",
    "StartWorkers",
    "Tell",
    "TellWorkers",
    "Terminated",
    "Tick",
    "TickState",
    "WorkersLost",
    "step",
]


WATCHDOG_NS: Final = 2 * NS_PER_S
"""Time after the lease before the supervisor kills a blocked worker; the worker's own watchdog needs less."""
GRACE_NS: Final = 5 * NS_PER_S
"""Time to drain for workers that the agent stops by itself, not the controller."""
LEAVE_NS: Final = 700 * NS_PER_MS
"""Notice before a leaving agent's share goes to others; it must reach the controller and all agents in this time."""
KILL_NS: Final = 600 * NS_PER_MS
"""Time for the Fin of workers that must interrupt their iterations, when a kill was requested."""
CUT_NS: Final = 3 * NS_PER_S
"""Time for the Fin of workers that must interrupt their iterations; the controller waits longer than this."""
FAREWELL_NS: Final = 2 * NS_PER_S
"""Time for which a leaving agent waits for Bye after everything is delivered."""
LEAVING_S: Final = 20.0
"""Longest silence of the controller while a leaving agent delivers its measurements."""
_ORPHANED: Final = "the process that started this agent has ended"


class Phase(Enum):
    """Phase of an agent."""

    JOINING = "joining"
    """The controller has not accepted the agent yet."""
    IDLE = "idle"
    FETCHING = "fetching"
    """The agent fetches the run's bundle."""
    LOADING = "loading"
    """The workers load the scenario and compute their shares."""
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    """No more iterations are started; those in flight may end."""
    FINISHED = "finished"
    """The load has ended; the agent delivers its measurements."""
    GONE = "gone"

    @property
    def has_load(self) -> bool:
        """Whether the workers drive load, or are ending it."""
        return self in (Phase.RUNNING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class Agent:
    """State of an agent."""

    phase: Phase = Phase.JOINING
    epoch: int = -1
    """Number of this process, given by the controller; -1 before the first Welcome."""
    prepare: Prepare | None = None
    """The order of its run; None outside of runs."""
    reason: str = ""
    """Why the load stops early, for the Fin; empty if it does not."""
    is_leaving: bool = False
    """Whether the agent exits as soon as all measurements are delivered."""
    exit_code: ExitCode = ExitCode.PASSED
    now_ns: int = 0
    """Time of the last Tick, on our clock as all times here."""
    began_ns: int = 0
    """Time at which the agent began to join."""
    join_s: float | None = None
    """Time limit for joining the controller; None: no limit."""
    hand_over_s: float = 1800.0
    """Longest silence of the controller while measurements are undelivered; then the agent exits."""
    lease_ns: int = 8 * NS_PER_S
    """Length of the lease, from the last Welcome."""
    t0_ns: int | None = None
    """T0 of the run; None before the start."""
    leaves_ns: int = 0
    """Time after T0 from which other agents have our share; 0: we stay."""
    grace_ends_ns: int | None = None
    """Deadline of the drain of workers that the agent itself stopped; None: it has not stopped them."""
    kill_at_ns: int | None = None
    """Deadline of workers that must interrupt their iterations; None: they need not."""
    handed_ns: int = 0
    """Time of the last Tick at which measurements were undelivered after the load; at first, the end of the load."""

    @property
    def run_id(self) -> str:
        """Id of the agent's present run; empty outside of runs."""
        return self.prepare.run_id if self.prepare is not None else ""


# -- events: the messages of controller and workers, and these ----------------------------------


@dataclass(frozen=True, slots=True)
class BundleHere:
    """The bundle is fetched, verified and unpacked."""

    folder: str


@dataclass(frozen=True, slots=True)
class BundleFailed:
    """The bundle cannot be fetched, verified or unpacked, or the order was refused."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkersLost:
    """The worker group failed: a worker died before the start, or under load every worker died too often."""

    reason: str


@dataclass(frozen=True, slots=True)
class Terminated:
    """The agent must end, because of a signal, an AWS notice, or the end of its parent process."""

    reason: str
    now: bool = False
    """Whether to end the load at once: this is the second request, or the kill flag is set."""
    changed_ns: int = 0
    """Time after T0 at which the last known change takes effect; 0 for none."""


@dataclass(frozen=True, slots=True)
class TickState:
    """The state at a Tick: signs of life of controller, workers and parent, and undelivered measurements."""

    acked_ns: int
    """Send time of our newest message that the controller has answered; the lease counts from here."""
    heard_ns: int
    """Time of the controller's last message."""
    trouble: str = ""
    """Why there is no connection; empty while there is one."""
    is_orphan: bool = False
    """Whether the parent process, with which the agent must end, has ended."""
    is_lapsed: bool = False
    """Whether a worker found its lease lapsed. The controller may have acknowledged something since."""
    changed_ns: int = 0
    """Time after T0 at which the last known change takes effect; 0 for none."""
    owing: tuple[int, ...] = ()
    """Workers whose Fin is still expected."""
    silent: tuple[tuple[int, int], ...] = ()
    """Running workers, each with the ns since its last message."""
    unacked: int = 0
    """Number of the run's deltas that the controller has not stored."""
    is_delivered: bool = True
    """Whether all deltas are acknowledged and the Fin was sent."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. Without a sight it only sets the clock, which the shell does before every other event."""

    now_ns: int
    sight: TickState | None = None


FromController = (
    Welcome | Rejected | Prepare | SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown | Bye
)
FromWorker = Ready | Refused | SetUpDone | Fin | TornDown
Event = FromController | FromWorker | BundleHere | BundleFailed | WorkersLost | Terminated | Tick


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Measure the clock offset, and send everything unacknowledged again, because the connection is new."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Check the order, and fetch the run's bundle."""

    prepare: Prepare


@dataclass(frozen=True, slots=True)
class StartWorkers:
    """Start the worker processes of the run."""

    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a message to the controller."""

    message: Message


@dataclass(frozen=True, slots=True)
class TellWorkers:
    """Send a message to the workers."""

    message: SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown


@dataclass(frozen=True, slots=True)
class Beat:
    """Send a heartbeat now, because it names the time at which this agent leaves."""


@dataclass(frozen=True, slots=True)
class RenewLease:
    """Set the workers' lease: its end and its length."""

    until_ns: int
    length_ns: int


@dataclass(frozen=True, slots=True)
class KillWorkers:
    """Kill workers; their deaths are reported as "worker 1 <why>"."""

    workers: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class EndWorkers:
    """End the worker processes, if there are any."""


@dataclass(frozen=True, slots=True)
class CloseBooks:
    """End the measurements: keep the Fin, and send it until Bye."""

    fin: Fin | None
    """None: the workers died without a Fin."""
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget the run: the fetch of its bundle, its deltas and its Fin."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the agent's process."""

    code: ExitCode
    reason: str


Effect = (
    SendAgain
    | Fetch
    | StartWorkers
    | Tell
    | TellWorkers
    | Beat
    | RenewLease
    | KillWorkers
    | EndWorkers
    | CloseBooks
    | Forget
    | Exit
)
Moved = tuple[Agent, tuple[Effect, ...]]


def step(agent: Agent, event: Event) -> Moved:
    """Return the agent's next state and the effects to perform. No I/O, no clock, no logging.

    event          | joining   | idle        | fetching    | loading     | ready       | running     | stopping    | finished
    Welcome        | -> idle   | same epoch and run: send again; otherwise the controller does not have our run: -> idle
    Rejected       | -> gone (5), whatever was going on
    Prepare        | ignored   | -> fetching | another run or a higher generation:     | ignored     | ignored     | as fetching
                   |           |             | -> fetching; the same: ready again      |             |             |
    SetUp          | ignored   | ignored     | ignored     | ignored     | to workers  | ignored     | ignored     | ignored
    StartAt        | ignored   | ignored     | ignored     | ignored     | -> running  | ignored     | ignored     | ignored
    Adjust,        | ignored   | ignored     | ignored     | ignored     | to workers  | to workers  | ignored     | ignored
    Reassign       |           |             |             |             |             |             |             |
    ReleaseAt      | ignored   | ignored     | ignored     | ignored     | ignored     | to workers  | to workers  | ignored
    Steer          | ignored   | ignored     | ignored     | ignored     | ignored     | to workers  | ignored     | ignored
    Stop           | ignored   | ignored     | -> idle     | -> finished | -> finished | -> stopping | to workers  | ignored
    TearDown       | ignored   | ignored     | ignored     | ignored     | to workers  | ignored     | ignored     | to workers
    Bye            | leave: -> gone (0); otherwise the run is over: -> idle (joining: ignored)
    BundleHere     | illegal   | illegal     | -> loading  | illegal     | illegal     | illegal     | illegal     | illegal
    BundleFailed   | illegal   | illegal     | -> idle     | illegal     | illegal     | illegal     | illegal     | illegal
    Ready          | illegal   | illegal     | illegal     | -> ready    | illegal     | illegal     | illegal     | illegal
    Refused        | illegal   | illegal     | illegal     | -> idle     | -> idle     | -> finished | -> finished | to controller
    SetUpDone,     | illegal   | illegal     | illegal     | illegal     | to          | to          | to          | to
    TornDown       |           |             |             |             | controller  | controller  | controller  | controller
    Fin            | illegal   | illegal     | illegal     | illegal     | illegal     | -> finished | -> finished | ignored
    WorkersLost    | illegal   | illegal     | illegal     | -> idle     | -> idle     | -> finished | -> finished | noted
    Terminated     | -> gone(0)| -> gone (0) | -> gone (0) | -> gone (0) | -> gone (0) | leaving;    | now: at once| leaving; now: gone
                   |           |             |             |             |             | now: at once |             |
    Tick           | time to   | clock       | clock       | clock       | clock       | lease over: | grace over: | leaving, all
                   | join over:|             |             |             |             | -> stopping;| cut; cut or | delivered:
                   | -> gone(5)|             |             |             |             | share left: | silent too  | -> gone;
                   |           |             |             |             |             | -> stopping;| long: kill; | silent too
                   |           |             |             |             |             | silent too  | lease over: | long: -> gone
                   |           |             |             |             |             | long: kill  | cut         | (5)

    A Tick that finds the parent gone terminates the agent first, and a load at once.
    Ready, Refused, SetUpDone, TornDown and Fin are answers of the whole worker group.
    Except for Prepare, a message that names another run is ignored. Gone ignores every event.

    Raises:
        IllegalTransition: the event is illegal in the agent's phase, which is a bug.
    """  # noqa: E501
    if agent.phase is Phase.GONE:
        return agent, ()
    match event:
        case (
            Welcome()
            | Rejected()
            | Prepare()
            | SetUp()
            | StartAt()
            | Adjust()
            | Reassign()
            | ReleaseAt()
            | Steer()
            | Stop()
            | TearDown()
            | Bye()
        ):
            return _on_controller_message(agent, event)
        case Ready() | Refused() | SetUpDone() | Fin() | TornDown() | WorkersLost():
            return _on_worker_message(agent, event)
        case BundleHere(folder) if agent.phase is Phase.FETCHING and agent.prepare is not None:
            prepare = replace(agent.prepare, bundle_dir=folder)
            return replace(agent, phase=Phase.LOADING), (StartWorkers(prepare),)
        case BundleFailed(reason) if agent.phase is Phase.FETCHING:
            return _refuse(agent, Refused(agent.run_id, reason))
        case BundleHere() | BundleFailed():
            raise IllegalTransition(agent, event)
        case Terminated(reason, now, changed_ns):
            return _terminated(agent, reason, now, changed_ns)
        case Tick(now_ns, sight):
            agent = replace(agent, now_ns=max(agent.now_ns, now_ns))
            return (agent, ()) if sight is None else _tick(agent, sight)


# -- time ----------------------------------------------------------------------------------------


def _tick(agent: Agent, sight: TickState) -> Moved:
    effects: tuple[Effect, ...] = ()
    if sight.is_orphan and not agent.is_leaving:
        # A load ends at once, because the controller that could give the share to others was the parent.
        agent, effects = _terminated(agent, _ORPHANED, agent.phase.has_load, sight.changed_ns)
    match agent.phase:
        case Phase.RUNNING | Phase.STOPPING:
            agent, more = _under_load(agent, sight)
        case Phase.JOINING:
            agent, more = _joining(agent, sight)
        case Phase.FINISHED:
            agent, more = _delivering(agent, sight)
        case _:
            more = ()
    return agent, (*effects, *more)


def _under_load(agent: Agent, sight: TickState) -> Moved:
    """Return the state and effects after a tick while the workers have load.

    It checks in this order: the lease (dead-man switch), the time at which this agent leaves, and workers that do not
    stop.
    """
    now_ns = agent.now_ns
    effects: list[Effect] = [RenewLease(sight.acked_ns + agent.lease_ns, agent.lease_ns)]
    # A running stop is left alone: `_stop` would take a second call for impatience, and interrupt the iterations.
    if (why := _lease_over(agent, sight)) and agent.grace_ends_ns is None and agent.kill_at_ns is None:
        agent, more = _stop(agent, why)
        effects += more
    is_due = agent.leaves_ns and agent.t0_ns is not None and now_ns >= agent.t0_ns + agent.leaves_ns
    if is_due and agent.phase is Phase.RUNNING:
        # Nothing is sent: the workers got this time with the Stop of `_leave`, and end by themselves.
        agent = replace(agent, phase=Phase.STOPPING, grace_ends_ns=now_ns + GRACE_NS)
    if agent.grace_ends_ns is not None and agent.kill_at_ns is None and now_ns > agent.grace_ends_ns:
        stop = Stop(agent.run_id, agent.reason, now=True, kill=agent.is_leaving)
        agent = _told_to_stop(agent, stop)
        effects.append(TellWorkers(stop))
    if agent.kill_at_ns is not None and now_ns > agent.kill_at_ns and sight.owing:
        effects.append(KillWorkers(sight.owing, "did not stop on request; its loop is blocked"))
    if agent.phase is Phase.STOPPING:
        limit_ns, why = agent.lease_ns, "was silent while it was to stop; its loop is blocked"
    else:  # a last resort: its own watchdog should have killed it before
        limit_ns = agent.lease_ns + WATCHDOG_NS
        why = f"was silent for more than {limit_ns / NS_PER_S:.0f} s"
    if late := tuple(worker for worker, silent_ns in sight.silent if silent_ns > limit_ns):
        effects.append(KillWorkers(late, why))
    return agent, tuple(effects)


def _lease_over(agent: Agent, sight: TickState) -> str:
    """Return why the load must end, because the lease is over; empty while the lease runs."""
    silent_ns = agent.now_ns - sight.acked_ns
    if silent_ns > agent.lease_ns:
        return f"the controller was silent for {silent_ns / NS_PER_S:.1f} s"
    # A worker may have seen a short lapse before this check did: its load has ended, so stop the others, too.
    if sight.is_lapsed:
        lease_s = agent.lease_ns / NS_PER_S
        return f"the controller acknowledged nothing for longer than the lease of {lease_s:g} s"
    return ""


def _joining(agent: Agent, sight: TickState) -> Moved:
    if agent.join_s is None or agent.now_ns - agent.began_ns <= agent.join_s * NS_PER_S:
        return agent, ()
    why = sight.trouble or "the controller does not answer"
    return _go(agent, ExitCode.FLEET, f"not accepted by the controller within {agent.join_s:.0f} s: {why}")


def _delivering(agent: Agent, sight: TickState) -> Moved:
    now_ns = agent.now_ns
    if not sight.is_delivered:
        agent = replace(agent, handed_ns=now_ns)
    if agent.is_leaving and now_ns - agent.handed_ns > FAREWELL_NS:
        return _go(agent, agent.exit_code, agent.reason)
    limit_s = min(agent.hand_over_s, LEAVING_S) if agent.is_leaving else agent.hand_over_s
    if sight.is_orphan:
        limit_s = 0.0  # the parent was its controller, and its keys and port are gone
    silent_ns = now_ns - sight.heard_ns
    if silent_ns <= limit_s * NS_PER_S:
        return agent, ()
    lost = f"{sight.unacked} deltas are not delivered"
    return _go(agent, ExitCode.FLEET, f"the controller was silent for {silent_ns / NS_PER_S:.0f} s: {lost}")


# -- messages ------------------------------------------------------------------------------------


def _on_controller_message(agent: Agent, event: FromController) -> Moved:
    match event:
        case Welcome():
            return _welcome(agent, event)
        case Rejected(reason):
            return _go(agent, ExitCode.FLEET, f"the controller does not accept this agent: {reason}")
        case Prepare():
            return _prepare(agent, event)
    if agent.phase is Phase.JOINING or event.run_id != agent.run_id:
        # A Bye without a run is for an agent that took part in no run.
        leaves = isinstance(event, Bye) and event.leave and not event.run_id
        return _go(agent, ExitCode.PASSED, "the controller released this agent") if leaves else (agent, ())
    match event:
        case SetUp() if agent.phase is Phase.READY:
            return agent, (TellWorkers(event),)
        case TearDown() if agent.phase in (Phase.READY, Phase.FINISHED):
            return agent, (TellWorkers(event),)
        case StartAt(t0_ns=t0_ns) if agent.phase is Phase.READY:
            return replace(agent, phase=Phase.RUNNING, t0_ns=t0_ns), (TellWorkers(event),)
        case ReleaseAt() if agent.phase.has_load:
            return agent, (TellWorkers(event),)
        case Steer() if agent.phase is Phase.RUNNING:
            return agent, (TellWorkers(event),)
        case Adjust() | Reassign() if agent.phase in (Phase.READY, Phase.RUNNING):
            return agent, (TellWorkers(event),)
        case Stop(reason=reason, now=now, kill=kill):
            return _stop(agent, reason, now, kill=kill, by_controller=True)
        case Bye(leave=leave):
            if leave or agent.is_leaving:
                return _go(agent, agent.exit_code, "the controller released this agent")
            return _forget(agent)
    return agent, ()


def _on_worker_message(agent: Agent, event: FromWorker | WorkersLost) -> Moved:
    match agent.phase, event:
        case Phase.LOADING, Ready():
            return replace(agent, phase=Phase.READY), (Tell(event),)
        case ((Phase.LOADING | Phase.READY), Refused()):
            return _refuse(agent, event)
        case ((Phase.LOADING | Phase.READY), WorkersLost(reason)):
            return _refuse(agent, Refused(agent.run_id, reason))
        case ((Phase.RUNNING | Phase.STOPPING), Refused(reason=reason)):
            return _close(agent, None, reason)
        case ((Phase.RUNNING | Phase.STOPPING), WorkersLost(reason)):
            return _close(agent, None, reason)
        case ((Phase.RUNNING | Phase.STOPPING), Fin(reason=reason)):
            return _close(agent, event, agent.reason or reason)
        case Phase.FINISHED, Refused():
            return agent, (Tell(event),)
        case Phase.FINISHED, (Fin() | WorkersLost()):
            return agent, ()
        case ((Phase.READY | Phase.RUNNING | Phase.STOPPING | Phase.FINISHED), (SetUpDone() | TornDown())):
            return agent, (Tell(event),)
    raise IllegalTransition(agent, event)


def _welcome(agent: Agent, welcome: Welcome) -> Moved:
    joined = replace(agent, epoch=welcome.epoch, lease_ns=round(welcome.lease_s * NS_PER_S))
    if agent.phase is Phase.JOINING:
        return replace(joined, phase=Phase.IDLE), (SendAgain(),)
    # With another epoch the controller counts our deltas from 0, so it can never merge those of the old epoch.
    is_known = welcome.epoch == agent.epoch and welcome.run_id in ("", agent.run_id)
    if is_known or agent.prepare is None:
        return joined, (SendAgain(),)
    idle, effects = _forget(joined)
    return idle, (*effects, SendAgain())


def _prepare(agent: Agent, prepare: Prepare) -> Moved:
    if agent.phase is Phase.JOINING or agent.phase.has_load or agent.is_leaving:
        return agent, ()
    known = agent.prepare
    if known is not None and known.run_id == prepare.run_id:
        if prepare.generation == known.generation and agent.phase is Phase.READY:
            return agent, (Tell(Ready(known.run_id, known.generation, known.bundle_sha256)),)
        # A finished load of the same run is kept: `_forget` would drop its deltas that are not delivered yet.
        if prepare.generation <= known.generation or agent.phase is Phase.FINISHED:
            return agent, ()
    agent, effects = _forget(agent)
    return replace(agent, phase=Phase.FETCHING, prepare=prepare), (*effects, Fetch(prepare))


def _stop(agent: Agent, reason: str, now: bool = False, *, kill: bool = False, by_controller: bool = False) -> Moved:
    """Stop the load, and return the new state and its effects.

    A stop by the controller is not an early end, so it sets no reason for the Fin.
    """
    match agent.phase:
        case Phase.FETCHING if by_controller:
            return _forget(agent)
        case Phase.LOADING | Phase.READY if by_controller:
            return _close(agent, None, reason)
        case Phase.RUNNING | Phase.STOPPING:
            # A second stop that does not come from the controller ends the drain: it has had its time.
            now = now or (agent.phase is Phase.STOPPING and not by_controller)
            kept = agent.reason or ("" if by_controller else reason)
            stop = Stop(agent.run_id, reason, now, kill)
            stopping = _told_to_stop(replace(agent, phase=Phase.STOPPING, reason=kept), stop)
            return stopping, (TellWorkers(stop),)
    return agent, ()


def _told_to_stop(agent: Agent, stop: Stop) -> Agent:
    """Return the agent with the deadline by which the workers must have obeyed this Stop.

    The earliest deadline counts.
    """
    if stop.now:
        wait_ns = KILL_NS if stop.kill else CUT_NS
        at_ns = agent.now_ns + wait_ns
        return replace(agent, kill_at_ns=at_ns if agent.kill_at_ns is None else min(agent.kill_at_ns, at_ns))
    if agent.reason and agent.grace_ends_ns is None:
        return replace(agent, grace_ends_ns=agent.now_ns + GRACE_NS)
    return agent


def _leave(agent: Agent, reason: str, changed_ns: int) -> Moved:
    """Choose the time at which this agent leaves; return the new state, and the effects that send the time.

    The time goes to workers and controller. The workers stop then even if the controller never receives it, so no
    arrival is started twice. The time is never before the last known change: changes take effect in the order of their
    times, so other agents could get the share only after that change, and until then no agent would drive it.
    """
    agent = replace(agent, is_leaving=True, reason=reason)
    if agent.t0_ns is None:
        return agent, ()
    leaves_ns = max(1, agent.now_ns + LEAVE_NS - agent.t0_ns, changed_ns)
    stop = Stop(agent.run_id, reason, at_ns=leaves_ns)
    return replace(agent, leaves_ns=leaves_ns), (TellWorkers(stop), Beat())


def _terminated(agent: Agent, reason: str, now: bool, changed_ns: int) -> Moved:
    match agent.phase:
        case Phase.RUNNING if not now:
            return _leave(agent, reason, changed_ns)
        case Phase.RUNNING | Phase.STOPPING:
            agent, effects = _stop(agent, reason, now, kill=now)
            return replace(agent, is_leaving=True), effects
        case Phase.FINISHED if not now:
            return replace(agent, is_leaving=True), ()
        case Phase.FINISHED:
            return _go(agent, ExitCode.FLEET, f"{reason}, twice: all unacknowledged measurements are lost")
    told = (Tell(Refused(agent.run_id, reason)),) if agent.prepare is not None else ()
    gone, effects = _go(agent, ExitCode.PASSED, reason)
    # The message comes first: the Exit in `effects` closes the connection.
    return gone, (*told, *effects)


def _close(agent: Agent, fin: Fin | None, reason: str) -> Moved:
    """End the load, and return the finished state and its effects.

    Without a Fin the worker processes are ended. With one they stay, because they may still have to run the tear-down.
    """
    finished = replace(
        agent, phase=Phase.FINISHED, reason=reason, grace_ends_ns=None, kill_at_ns=None, handed_ns=agent.now_ns
    )
    return finished, (*(() if fin is not None else (EndWorkers(),)), CloseBooks(fin, reason))


def _refuse(agent: Agent, refused: Refused) -> Moved:
    idle, effects = _forget(agent)
    return idle, (Tell(refused), *effects)


def _forget(agent: Agent) -> Moved:
    if agent.prepare is None:
        return replace(agent, phase=Phase.IDLE), ()
    idle = replace(
        agent,
        phase=Phase.IDLE,
        prepare=None,
        reason="",
        t0_ns=None,
        leaves_ns=0,
        grace_ends_ns=None,
        kill_at_ns=None,
    )
    return idle, (EndWorkers(), Forget())


def _go(agent: Agent, code: ExitCode, reason: str) -> Moved:
    return replace(agent, phase=Phase.GONE, exit_code=code), (EndWorkers(), Exit(code, reason))
