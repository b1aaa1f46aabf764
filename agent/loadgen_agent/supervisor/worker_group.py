"""The workers of an agent as a pure function: what each of them says in, what all of them together say out.

The agent's life (`lifecycle.py`) knows one crew, which is ready, finishes or
fails as a whole. Here is how that comes from several processes, and what becomes
of one that dies under load: another takes its place, up to `LIVES` in all.

Nothing here reads a clock, sends, or starts a process; `supervisor.py` does.
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
"""Processes that a worker's place has at most: what kills three of them would kill the next."""


class Stage(Enum):
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    COMING = "coming"
    """Another process loads, to take the place of one that died."""
    DONE = "done"
    GONE = "gone"
    """Done, and its process ended since."""
    LOST = "lost"

    @property
    def owes(self) -> bool:
        """Whether a Fin is to be waited for."""
        return self in (Stage.RUNNING, Stage.COMING)


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """A worker's place."""

    stage: Stage = Stage.LOADING
    life: int = 0
    """Which of the processes that had this place, from 0."""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    hands: tuple[WorkerSlot, ...]
    is_stopping: bool = False
    """Nobody is replaced any more."""
    is_leaving: bool = False
    """Until a time that is told they follow what changes; then they end."""
    reason: str = ""
    """Why the last one died."""
    adjusts: tuple[Adjust | Reassign, ...] = ()
    """Changes of the load and of its shares, all that were heard, in order: a process that takes a place hears them
    before it begins."""

    @classmethod
    def of(cls, workers: int) -> WorkerGroup:
        return cls((WorkerSlot(),) * workers)


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentByWorker:
    """By the process that has the place now."""

    worker: int
    message: Ready | Refused | SetUpDone | Fin | TornDown


@dataclass(frozen=True, slots=True)
class Died:
    """Its process or its stream ended unasked."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class SentByAgent:
    """To all of them, by the agent; what is for one of them names it."""

    message: SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown


Event = SentByWorker | Died | SentByAgent


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a process for the place."""

    worker: int
    life: int


@dataclass(frozen=True, slots=True)
class TellOne:
    worker: int
    message: Message


@dataclass(frozen=True, slots=True)
class Resume:
    """The process is ready to take over: tell it from when."""

    worker: int
    left_out: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The process died under load, with what it had not told."""

    worker: int
    reason: str
    is_replaced: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The process has told everything."""

    worker: int
    fin: Fin


@dataclass(frozen=True, slots=True)
class Drop:
    """End the place's process, if there is one."""

    worker: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the crew says as one."""

    message: Ready | Refused | SetUpDone | TornDown


@dataclass(frozen=True, slots=True)
class Finished:
    """Nobody drives any more, and somebody did to the end."""


@dataclass(frozen=True, slots=True)
class AllLost:
    """Nobody is left: before the start the first that died, under load all of them, each as often as it may."""

    reason: str


Effect = Begin | TellOne | Resume | Lost | Ended | Drop | Answer | Finished | AllLost
Moved = tuple[WorkerGroup, tuple[Effect, ...]]


def step(crew: WorkerGroup, event: Event) -> Moved:
    """What one worker says changes its place, and now and then what the crew says.

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
    SetUp       | to worker 0; its value goes to all with StartAt
    StartAt     | illegal        | -> running    | ignored
    ReleaseAt   | to the worker that it names, if that runs and the process is the one that it names
    Steer       | to the first that runs; nobody: ignored, it is asked again
    Adjust,     | the next in number: kept, and to each that is ready or runs; others, and when stopping: ignored
    Reassign    |
    Stop        | to each that runs; nobody is replaced from here on. For a time to come: changes are told until then
    TearDown    | to the first that is ready or done; nobody: answered with that

    When the last place that owes a Fin is done or lost, the crew has finished; where all are lost, it is lost.
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
            crew = _moved(crew, worker, Stage.READY)
            is_last = all(hand.stage is Stage.READY for hand in crew.hands)
            return crew, (Answer(message),) if is_last else ()
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
    """After a place is done or lost: is anybody left to wait for?"""
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
