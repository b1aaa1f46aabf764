"""The life of an agent as a pure function: events in, effects out.

Nothing here reads a clock, sends, or starts a process; `supervisor.py` performs
the effects. Deltas, acknowledgements and heartbeats do not pass here: `ledger.py`
keeps them, whatever the phase. Nor does who waits at a rendez-vous, which is handed on.

The controller may repeat what it said, say it late, or be another one than
before, so nothing that *it* says is illegal; what makes no sense is ignored. What
our own parts say out of turn is a bug.

An agent has one worker or several. They are one crew here, which is ready when
all are, and whose Fin is the sum of theirs: how that comes, and what becomes of a
worker that dies under load, is a table of its own in `crew.py`.
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
    JOINING = "joining"
    """Not known to the controller yet."""
    IDLE = "idle"
    FETCHING = "fetching"
    """The bundle."""
    LOADING = "loading"
    """The workers read the scenario, and each takes its share."""
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    """Told to start nothing more; what runs may drain."""
    FINISHED = "finished"
    """No load any more; what was measured is being handed over."""
    GONE = "gone"

    @property
    def has_load(self) -> bool:
        return self in (Phase.RUNNING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class Agent:
    """Where an agent stands."""

    phase: Phase = Phase.JOINING
    epoch: int = -1
    """Given by the controller; -1 before the first Welcome."""
    prepare: Prepare | None = None
    """Of the run it is in; None outside of runs."""
    reason: str = ""
    """Why it stops early; goes into its Fin."""
    is_leaving: bool = False
    """To exit as soon as what was measured is handed over."""
    exit_code: ExitCode = ExitCode.PASSED

    @property
    def run_id(self) -> str:
        return self.prepare.run_id if self.prepare is not None else ""


# -- events: what the controller and the workers say, and these --------------------------------


@dataclass(frozen=True, slots=True)
class BundleHere:
    """Fetched, verified, unpacked."""

    folder: str


@dataclass(frozen=True, slots=True)
class BundleFailed:
    reason: str


@dataclass(frozen=True, slots=True)
class WorkersLost:
    """Before the start: the process of one of them ended unasked. Under load: of each, as often as it is replaced."""

    reason: str


@dataclass(frozen=True, slots=True)
class ControllerLost:
    """Nothing was heard of it for the lease."""

    silent_s: float
    is_lapse: bool = False
    """A worker found its lease lapsed, and ended its load; the controller may have acknowledged something since."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """A signal, or whoever started us is gone. `now`: for the second time."""

    reason: str
    now: bool = False


@dataclass(frozen=True, slots=True)
class LeftOff:
    """The time is here from which on others have our share."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Nothing is left that the controller would have to take."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The time for handing over, or for being taken in at all, is over."""

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
    """The connection is new: measure the clock, and send what was never acknowledged."""


@dataclass(frozen=True, slots=True)
class Fetch:
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class StartWorkers:
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Tell:
    """The controller."""

    message: Message


@dataclass(frozen=True, slots=True)
class TellWorkers:
    message: SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown


@dataclass(frozen=True, slots=True)
class Leave:
    """Name a time soon, to the controller and to the workers: what is due from then on is for others."""

    reason: str


@dataclass(frozen=True, slots=True)
class EndWorkers:
    """With their processes, if there are any."""


@dataclass(frozen=True, slots=True)
class CloseBooks:
    """Nothing more will be measured: keep the Fin and send it until Bye. None: the workers left none."""

    fin: Fin | None
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The run: its bundle's fetch, its deltas, its Fin."""


@dataclass(frozen=True, slots=True)
class Exit:
    code: ExitCode
    reason: str


Effect = SendAgain | Fetch | StartWorkers | Tell | TellWorkers | Leave | EndWorkers | CloseBooks | Forget | Exit
Moved = tuple[Agent, tuple[Effect, ...]]


def step(agent: Agent, event: Event) -> Moved:
    """The whole life of an agent. No I/O, no clock, no logging.

    event          | joining   | idle        | fetching    | loading     | ready       | running     | stopping    | finished
    Welcome        | -> idle   | same epoch and run: send again; others: this controller knows nothing of our run: -> idle
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

    Ready, Refused, SetUpDone, TornDown and Fin are what the crew says as one.
    A message that names another run is ignored, but for Prepare. Gone ignores everything.
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
            return _heard_controller(agent, event)
        case Ready() | Refused() | SetUpDone() | Fin() | TornDown() | WorkersLost():
            return _heard_worker(agent, event)
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
            return _stop(agent, f"nothing heard of the controller for {silent_s:.1f} s")
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


def _heard_controller(agent: Agent, event: FromController) -> Moved:
    match event:
        case Welcome():
            return _welcome(agent, event)
        case Rejected(reason):
            return _go(agent, ExitCode.FLEET, f"the controller does not take this agent in: {reason}")
        case Prepare():
            return _prepare(agent, event)
    if agent.phase is Phase.JOINING or event.run_id != agent.run_id:
        # A Bye without a run is for an agent that took part in none.
        leaves = isinstance(event, Bye) and event.leave and not event.run_id
        return _go(agent, ExitCode.PASSED, "the controller needs us no more") if leaves else (agent, ())
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
                return _go(agent, agent.exit_code, "the controller needs us no more")
            return _forget(agent)
    return agent, ()


def _heard_worker(agent: Agent, event: FromWorker | WorkersLost) -> Moved:
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
    # Another epoch: it counts our deltas from the beginning, so those of the old one can never be merged.
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
    """Nothing new is started from here on; what a controller asks for is no early end."""
    match agent.phase:
        case Phase.FETCHING if by_controller:
            return _forget(agent)
        case Phase.LOADING | Phase.READY if by_controller:
            return _close(agent, None, reason)
        case Phase.RUNNING | Phase.STOPPING:
            # Told again and not by the controller: it had its time to drain.
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
            return _go(agent, ExitCode.FLEET, f"{reason}, twice: what was not acknowledged is lost")
    told = (Tell(Refused(agent.run_id, reason)),) if agent.prepare is not None else ()
    gone, effects = _go(agent, ExitCode.PASSED, reason)
    return gone, (*told, *effects)


def _close(agent: Agent, fin: Fin | None, reason: str) -> Moved:
    """The load is over. A worker that left no Fin is ended; one that did may still have to tear down."""
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
