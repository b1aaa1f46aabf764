"""The agent's state machine as a pure function: events in, effects out.

Nothing here reads a clock, sends, or starts a process; `supervisor.py` performs the effects. Deltas, acknowledgements
and heartbeats bypass this module, because they are handled in every phase (`delivery/`). So do the counts of users at
a rendez-vous, which are only forwarded.

The controller may repeat a message, send it late, or be a different controller than before. So no message of the
controller is illegal; one that does not fit the phase is ignored. An event of our own parts in a wrong phase is a bug.

An agent has one or several workers. Here they are one group, which is ready when all workers are, and whose Fin is the
sum of theirs. `worker_group.py` has the table of single workers, and replaces a worker that dies under load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from loadgen.errors import ExitCode, IllegalTransition
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
    "BundleFailed",
    "BundleHere",
    "CloseBooks",
    "ControllerLost",
    "Effect",
    "EndWorkers",
    "Event",
    "Exit",
    "Fetch",
    "Forget",
    "GaveUp",
    "HandedOver",
    "Leave",
    "LeftOff",
    "Phase",
    "SendAgain",
    "StartWorkers",
    "Tell",
    "TellWorkers",
    "Terminated",
    "WorkersLost",
    "step",
]


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
        """Whether the workers have load or are ending it."""
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

    @property
    def run_id(self) -> str:
        """Id of its run; empty outside of runs."""
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
class ControllerLost:
    """The controller has acknowledged nothing for longer than the lease."""

    silent_s: float
    is_lapse: bool = False
    """A worker found its lease lapsed and ended its load. The controller may have acknowledged something since."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """The agent must end, because of a signal, an AWS notice, or the end of its parent process."""

    reason: str
    now: bool = False
    """Whether to end the load at once: this is the second request, or the kill flag is set."""


@dataclass(frozen=True, slots=True)
class LeftOff:
    """The time is here from which on others have our share."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """All measurements are delivered."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The time limit for joining, or for delivering measurements, is over."""

    reason: str


FromController = (
    Welcome | Rejected | Prepare | SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown | Bye
)
FromWorker = Ready | Refused | SetUpDone | Fin | TornDown
Event = (
    FromController
    | FromWorker
    | BundleHere
    | BundleFailed
    | WorkersLost
    | ControllerLost
    | Terminated
    | LeftOff
    | HandedOver
    | GaveUp
)


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
class Leave:
    """Choose a time soon, and send it to controller and workers: later arrivals belong to other agents."""

    reason: str


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


Effect = SendAgain | Fetch | StartWorkers | Tell | TellWorkers | Leave | EndWorkers | CloseBooks | Forget | Exit
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
    ControllerLost | ignored   | ignored     | ignored     | ignored     | ignored     | -> stopping | stops now   | ignored
    Terminated     | -> gone(0)| -> gone (0) | -> gone (0) | -> gone (0) | -> gone (0) | leaving;    | now: at once| leaving; now: gone
                   |           |             |             |             |             | now: at once |             |
    LeftOff        | ignored   | ignored     | ignored     | ignored     | ignored     | -> stopping | ignored     | ignored
    HandedOver     | ignored   | ignored     | ignored     | ignored     | ignored     | ignored     | ignored     | leaving: -> gone
    GaveUp         | -> gone(5)| ignored     | ignored     | ignored     | ignored     | ignored     | ignored     | -> gone (5)

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
        case ControllerLost(silent_s, is_lapse):
            if is_lapse:
                return _stop(agent, f"the controller acknowledged nothing for longer than the lease of {silent_s:g} s")
            return _stop(agent, f"the controller was silent for {silent_s:.1f} s")
        case Terminated(reason, now):
            return _terminated(agent, reason, now)
        case LeftOff():
            return (replace(agent, phase=Phase.STOPPING) if agent.phase is Phase.RUNNING else agent), ()
        case HandedOver():
            done = agent.phase is Phase.FINISHED and agent.is_leaving
            return _go(agent, agent.exit_code, agent.reason) if done else (agent, ())
        case GaveUp(reason):
            stuck = agent.phase in (Phase.JOINING, Phase.FINISHED)
            return _go(agent, ExitCode.FLEET, reason) if stuck else (agent, ())


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
        case StartAt() if agent.phase is Phase.READY:
            return replace(agent, phase=Phase.RUNNING), (TellWorkers(event),)
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
    joined = replace(agent, epoch=welcome.epoch)
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
        if prepare.generation <= known.generation or agent.phase is Phase.FINISHED:
            return agent, ()
    agent, effects = _forget(agent)
    return replace(agent, phase=Phase.FETCHING, prepare=prepare), (*effects, Fetch(prepare))


def _stop(agent: Agent, reason: str, now: bool = False, *, kill: bool = False, by_controller: bool = False) -> Moved:
    """Stop the load. A stop by the controller is not an early end, so it sets no reason for the Fin."""
    match agent.phase:
        case Phase.FETCHING if by_controller:
            return _forget(agent)
        case Phase.LOADING | Phase.READY if by_controller:
            return _close(agent, None, reason)
        case Phase.RUNNING | Phase.STOPPING:
            # A second stop that does not come from the controller ends the drain: it has had its time.
            now = now or (agent.phase is Phase.STOPPING and not by_controller)
            kept = agent.reason or ("" if by_controller else reason)
            stopping = replace(agent, phase=Phase.STOPPING, reason=kept)
            return stopping, (TellWorkers(Stop(agent.run_id, reason, now, kill)),)
    return agent, ()


def _terminated(agent: Agent, reason: str, now: bool) -> Moved:
    match agent.phase:
        case Phase.RUNNING if not now:
            return replace(agent, is_leaving=True, reason=reason), (Leave(reason),)
        case Phase.RUNNING | Phase.STOPPING:
            agent, effects = _stop(agent, reason, now, kill=now)
            return replace(agent, is_leaving=True), effects
        case Phase.FINISHED if not now:
            return replace(agent, is_leaving=True), ()
        case Phase.FINISHED:
            return _go(agent, ExitCode.FLEET, f"{reason}, twice: all unacknowledged measurements are lost")
    told = (Tell(Refused(agent.run_id, reason)),) if agent.prepare is not None else ()
    gone, effects = _go(agent, ExitCode.PASSED, reason)
    return gone, (*told, *effects)


def _close(agent: Agent, fin: Fin | None, reason: str) -> Moved:
    """End the load. Workers without a Fin are ended; others may still have to run the tear-down."""
    finished = replace(agent, phase=Phase.FINISHED, reason=reason)
    return finished, (*(() if fin is not None else (EndWorkers(),)), CloseBooks(fin, reason))


def _refuse(agent: Agent, refused: Refused) -> Moved:
    idle, effects = _forget(agent)
    return idle, (Tell(refused), *effects)


def _forget(agent: Agent) -> Moved:
    if agent.prepare is None:
        return replace(agent, phase=Phase.IDLE), ()
    return replace(agent, phase=Phase.IDLE, prepare=None, reason=""), (EndWorkers(), Forget())


def _go(agent: Agent, code: ExitCode, reason: str) -> Moved:
    return replace(agent, phase=Phase.GONE, exit_code=code), (EndWorkers(), Exit(code, reason))
