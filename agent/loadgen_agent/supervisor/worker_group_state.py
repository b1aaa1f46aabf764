"""The worker group of an agent as a pure state machine: messages of single workers in, answers of the group out.

The agent's state machine (`lifecycle.py`) sees one group, which is ready, finishes or fails as a whole. This module
combines the messages of several processes into that. It also replaces a worker that dies under load, with up to
`LIVES` processes per worker slot.

Nothing here reads a clock, sends, or starts a process; `workers.py` performs the effects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from loadgen.errors import IllegalTransition
from loadgen.wire.messages import (
    Adjust,
    Fin,
    Message,
    Ready,
    Reassign,
    Refused,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Steer,
    Stop,
    TearDown,
    TornDown,
)

__all__ = [
    "LIVES",
    "AllLost",
    "Answer",
    "Begin",
    "Died",
    "Drop",
    "Effect",
    "Ended",
    "Event",
    "Finished",
    "Lost",
    "Resume",
    "SentByAgent",
    "SentByWorker",
    "Stage",
    "TellOne",
    "WorkerGroup",
    "WorkerSlot",
    "step",
]

LIVES = 3
"""Most processes per worker slot: a scenario that kills three of them would kill the next one, too."""


class Stage(Enum):
    """Stage of a worker slot."""

    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    COMING = "coming"
    """A new process loads the scenario, to replace one that died under load."""
    DONE = "done"
    """It has sent its Fin."""
    GONE = "gone"
    """It has sent its Fin, and its process has ended."""
    LOST = "lost"
    """Its last process died and is not replaced."""

    @property
    def owes(self) -> bool:
        """Whether the group still waits for the Fin of a worker slot in this stage."""
        return self in (Stage.RUNNING, Stage.COMING)


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """State of one worker slot."""

    stage: Stage = Stage.LOADING
    life: int = 0
    """Number of the slot's present process, from 0."""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """State of all workers of an agent in one run."""

    hands: tuple[WorkerSlot, ...]
    is_stopping: bool = False
    """Dead workers are no longer replaced."""
    is_leaving: bool = False
    """The workers follow changes until the time that a Stop named; then they end."""
    reason: str = ""
    """Why the last dead worker died."""
    adjusts: tuple[Adjust | Reassign, ...] = ()
    """All load changes and share changes in order. A replacement process gets them before it starts iterations."""
    busy_wait_ns: int = 0
    """The longest busy wait of the workers that are ready."""

    @classmethod
    def of(cls, workers: int) -> WorkerGroup:
        """Return the first state of a group with this number of workers."""
        return cls((WorkerSlot(),) * workers)


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentByWorker:
    """The present process of a slot sent a message."""

    worker: int
    message: Ready | Refused | SetUpDone | Fin | TornDown


@dataclass(frozen=True, slots=True)
class Died:
    """The process of a slot, or its stream, ended unexpectedly."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class SentByAgent:
    """The agent sent a message to the group. A message for a single worker names it."""

    message: SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown


Event = SentByWorker | Died | SentByAgent


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a new process for a slot."""

    worker: int
    life: int


@dataclass(frozen=True, slots=True)
class TellOne:
    """Send a message to one worker."""

    worker: int
    message: Message


@dataclass(frozen=True, slots=True)
class Resume:
    """Tell a ready replacement process the time from which it drives."""

    worker: int
    left_out: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A process died under load; its unsent measurements are lost."""

    worker: int
    reason: str
    is_replaced: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has sent its last measurements and its Fin."""

    worker: int
    fin: Fin


@dataclass(frozen=True, slots=True)
class Drop:
    """Kill the process of a slot, if there is one."""

    worker: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Send the answer of the whole group to the agent."""

    message: Ready | Refused | SetUpDone | TornDown


@dataclass(frozen=True, slots=True)
class Finished:
    """The load has ended, and at least one worker has sent its Fin."""


@dataclass(frozen=True, slots=True)
class AllLost:
    """The group failed: a worker died before the start, or under load the last process of every slot is lost."""

    reason: str


Effect = Begin | TellOne | Resume | Lost | Ended | Drop | Answer | Finished | AllLost
Moved = tuple[WorkerGroup, tuple[Effect, ...]]


def step(crew: WorkerGroup, event: Event) -> Moved:
    """Return the group's next state and the effects to perform. No I/O, no clock, no logging.

    event       | loading        | ready         | running        | coming          | done          | gone, lost
    Ready       | -> ready; the  | illegal       | illegal        | -> running, told| illegal       | illegal
                | last: answered |               |                | all changes and |               |
                |                |               |                | T0; when        |               |
                |                |               |                | stopping: lost  |               |
    Refused     | answered       | answered      | as Died        | as Died         | answered      | illegal
    SetUpDone   | illegal        | answered      | answered       | illegal         | illegal       | illegal
    TornDown    | illegal        | answered      | illegal        | illegal         | answered      | illegal
    Fin         | illegal        | illegal       | -> done        | illegal         | illegal       | illegal
    Died        | all lost       | all lost      | -> coming; in its last life, or when    | -> gone       | illegal
                |                |               | stopping: -> lost                       |               |
    SetUp       | to worker 0; the value goes to all workers with StartAt
    StartAt     | illegal        | -> running    | ignored
    ReleaseAt   | to the worker and process that it names, if that is running; otherwise ignored
    Steer       | to the first running worker; if there is none, ignored: the controller asks again
    Adjust,     | the next number: stored, and to each ready or running worker; other numbers, and when stopping:
    Reassign    | ignored
    Stop        | to each running worker; dead ones are no longer replaced; with a time: changes are followed until then
    TearDown    | to the first worker that is ready or done; if there is none, answered with an error

    When no slot owes a Fin any more, the group has finished; if all slots are lost, the group is lost.

    Raises:
        IllegalTransition: the event is illegal in the slot's stage, which is a bug.
    """
    match event:
        case SentByAgent(message):
            return _told(crew, message)
        case SentByWorker(worker, message):
            return _said(crew, worker, message)
        case Died(worker, reason):
            return _died(crew, event, worker, reason)


def _told(
    crew: WorkerGroup, message: SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown
) -> Moved:
    match message:
        case Steer():
            first = next((worker for worker, hand in enumerate(crew.hands) if hand.stage is Stage.RUNNING), None)
            return crew, () if first is None else (TellOne(first, message),)
        case ReleaseAt(worker=worker, life=life):
            # A release counts the users of one process. Its replacement has none of them, so the life must match.
            is_meant = worker < len(crew.hands) and crew.hands[worker] == WorkerSlot(Stage.RUNNING, life)
            return crew, (TellOne(worker, message),) if is_meant else ()
        case SetUp():
            return crew, (TellOne(0, message),)
        case StartAt():
            ready = [worker for worker, hand in enumerate(crew.hands) if hand.stage is Stage.READY]
            hands = tuple(replace(h, stage=Stage.RUNNING) if h.stage is Stage.READY else h for h in crew.hands)
            return replace(crew, hands=hands), tuple(TellOne(worker, message) for worker in ready)
        case Adjust() | Reassign():
            if (crew.is_stopping and not crew.is_leaving) or message.number != len(crew.adjusts) + 1:
                return crew, ()
            # A process that is still coming gets all stored changes when it is ready (`_said`).
            able = [worker for worker, hand in enumerate(crew.hands) if hand.stage in (Stage.READY, Stage.RUNNING)]
            kept = replace(crew, adjusts=(*crew.adjusts, message))
            return kept, tuple(TellOne(worker, message) for worker in able)
        case Stop():
            running = [worker for worker, hand in enumerate(crew.hands) if hand.stage is Stage.RUNNING]
            stopping = replace(crew, is_stopping=True, is_leaving=bool(message.at_ns))
            return stopping, tuple(TellOne(worker, message) for worker in running)
    tearing = (Stage.READY, Stage.DONE)
    first = next((worker for worker, hand in enumerate(crew.hands) if hand.stage in tearing), None)
    if first is None:
        return crew, (Answer(TornDown(message.run_id, "no worker is left to run the plan's tear-down")),)
    return crew, (TellOne(first, message),)


def _said(crew: WorkerGroup, worker: int, message: Ready | Refused | SetUpDone | Fin | TornDown) -> Moved:
    stage = crew.hands[worker].stage
    match stage, message:
        case Stage.LOADING, Ready():
            longest_ns = max(crew.busy_wait_ns, message.busy_wait_ns)
            crew = replace(_moved(crew, worker, Stage.READY), busy_wait_ns=longest_ns)
            is_last = all(hand.stage is Stage.READY for hand in crew.hands)
            return crew, (Answer(replace(message, busy_wait_ns=longest_ns)),) if is_last else ()
        case Stage.COMING, Ready(left_out=left_out):
            if crew.is_stopping:
                return _settled(_moved(crew, worker, Stage.LOST), Drop(worker))
            told = tuple(TellOne(worker, adjust) for adjust in crew.adjusts)
            return _moved(crew, worker, Stage.RUNNING), (*told, Resume(worker, left_out))
        case ((Stage.LOADING | Stage.READY | Stage.DONE), Refused()):
            return crew, (Answer(message),)
        case ((Stage.RUNNING | Stage.COMING), Refused(reason=reason)):
            return _died(crew, SentByWorker(worker, message), worker, reason)
        case ((Stage.READY | Stage.RUNNING), SetUpDone()):
            return crew, (Answer(message),)
        case ((Stage.READY | Stage.DONE), TornDown()):
            return crew, (Answer(message),)
        case Stage.RUNNING, Fin():
            return _settled(_moved(crew, worker, Stage.DONE), Ended(worker, message))
    raise IllegalTransition(crew, SentByWorker(worker, message))


def _died(crew: WorkerGroup, event: Event, worker: int, reason: str) -> Moved:
    hand = crew.hands[worker]
    crew = replace(crew, reason=reason)
    match hand.stage:
        case Stage.LOADING | Stage.READY:
            return crew, (AllLost(reason),)
        case Stage.DONE:
            return _moved(crew, worker, Stage.GONE), (Drop(worker),)
        case Stage.LOST | Stage.GONE:
            raise IllegalTransition(crew, event)
    life = hand.life + 1
    if crew.is_stopping or life == LIVES:
        return _settled(_moved(crew, worker, Stage.LOST), Drop(worker), Lost(worker, reason, False))
    crew = _moved(crew, worker, Stage.COMING, life)
    return crew, (Drop(worker), Lost(worker, reason, True), Begin(worker, life))


def _settled(crew: WorkerGroup, *effects: Effect) -> Moved:
    """Return the state and effects after a slot is done or lost. If no slot owes a Fin any more, they end the group."""
    if any(hand.stage.owes for hand in crew.hands):
        return crew, effects
    if all(hand.stage is Stage.LOST for hand in crew.hands):
        return crew, (*effects, AllLost(crew.reason))
    return crew, (*effects, Finished())


def _moved(crew: WorkerGroup, worker: int, stage: Stage, life: int | None = None) -> WorkerGroup:
    hands = list(crew.hands)
    hand = hands[worker]
    hands[worker] = WorkerSlot(stage, hand.life if life is None else life)
    return replace(crew, hands=tuple(hands))
