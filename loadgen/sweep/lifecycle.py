"""Conducts a sweep, as a pure function: (state, event) -> (state, effects). No clock, files or processes.

The shell (`loadgen_controller/commands/sweep_parts/conduct_sweep.py`) performs the effects. Each effect but `Finish`
gives exactly one event. Whatever is not in the journal did not happen: a sweep that was killed begins again with
`Begin` and the records of its journal, and goes on as if it had never stopped.

Which run is next follows from the order and the records alone:

1. the first run of the order that has no record;
2. after the last one: each run that cannot be compared, once more, in the same order;
3. with `--block day` both happen day by day, and the sweep ends after each block.

With `--early`, the results are analysed once: after half of the repeats, before the first run of the next block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from loadgen.analysis.factors.order import Planned
from loadgen.errors import IllegalTransition
from loadgen.sweep.journal import RunRecord

__all__ = [
    "Begin",
    "Effect",
    "Ending",
    "Event",
    "Finish",
    "Interrupted",
    "Look",
    "Looked",
    "Made",
    "Make",
    "Phase",
    "Prepare",
    "PrepareFailed",
    "Prepared",
    "Rules",
    "RunFailed",
    "Store",
    "Stored",
    "SweepState",
    "Task",
    "new_state",
    "remaining",
    "step",
]

ATTEMPTS: Final = 2
"""An invalid run is repeated once."""


class Phase(StrEnum):
    """The phase of a sweep, by the event that it waits for."""

    NEW = "new"
    PREPARING = "preparing"
    RUNNING = "running"
    STORING = "storing"
    LOOKING = "looking"
    ENDED = "ended"


class Ending(StrEnum):
    """Why the sweep ended."""

    COMPLETE = "complete"
    FOUND = "stopped early: found"
    FUTILE = "stopped early: futile"
    DAY_OVER = "the block of this day is over"
    SAME_DAY = "the next block needs another day"
    BUDGET = "the budget is used up"
    INTERRUPTED = "interrupted"
    BETWEEN_FAILED = "the command between runs failed"
    RUN_FAILED = "a run could not be made"

    @property
    def is_final(self) -> bool:
        """Return whether no further run will be made."""
        return self in (Ending.COMPLETE, Ending.FOUND, Ending.FUTILE)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a sweep, which do not change during it."""

    order: tuple[Planned, ...]
    looks: frozenset[int] = frozenset()
    """Blocks after which the results are looked at."""
    is_by_day: bool = False
    has_between: bool = False
    budget_s: float | None = None
    """The longest time of this call of the command; None: no limit."""


@dataclass(frozen=True, slots=True)
class Task:
    """A run to make: its entry in the order, the attempt, and the block in which it is made now."""

    planned: Planned
    attempt: int
    block: int


@dataclass(frozen=True, slots=True)
class SweepState:
    """The state of a sweep. Make it with `new_state`."""

    rules: Rules
    phase: Phase = Phase.NEW
    records: tuple[RunRecord, ...] = ()
    task: Task | None = None
    looked: frozenset[int] = frozenset()
    """Blocks after which the results have been looked at, and the sweep went on."""
    today: str = ""
    made: int = 0
    """Runs stored since `Begin`."""
    elapsed_s: float = 0.0


# -- events ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """The sweep starts, or starts again. today: the date, such as "2026-11-29". last_day: that of the last record."""

    records: tuple[RunRecord, ...] = ()
    today: str = ""
    last_day: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The command between runs ended well."""


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """The command between runs failed, or took too long."""

    why: str


@dataclass(frozen=True, slots=True)
class Made:
    """A run has ended."""

    record: RunRecord


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A run could not be made: its agents, its controller or the disk failed."""

    why: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The record of the run is durable. elapsed_s: since `Begin`."""

    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Looked:
    """The result of a look. ending: None to go on, or why to stop."""

    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C, or the run was stopped by a person. The run that was going on does not count."""


Event = Begin | Prepared | PrepareFailed | Made | RunFailed | Stored | Looked | Interrupted


# -- effects -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Run the command between runs. Gives `Prepared` or `PrepareFailed`."""

    task: Task


@dataclass(frozen=True, slots=True)
class Make:
    """Make the run. Gives `Made`, `RunFailed` or `Interrupted`."""

    task: Task


@dataclass(frozen=True, slots=True)
class Store:
    """Append the record to the journal. Gives `Stored`."""

    record: RunRecord


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the results of all blocks up to this one. Gives `Looked`."""

    block: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The sweep is over for now."""

    ending: Ending
    why: str = ""


Effect = Prepare | Make | Store | Look | Finish


# -- the table ---------------------------------------------------------------------------------------


def new_state(rules: Rules) -> SweepState:
    """Return the state before `Begin`."""
    return SweepState(rules)


def step(state: SweepState, event: Event) -> tuple[SweepState, tuple[Effect, ...]]:
    """Return the next state and the effects of an event.

    | phase     | event         | next phase                          | effects                         |
    | --------- | ------------- | ----------------------------------- | ------------------------------- |
    | new       | Begin         | preparing, running, looking, ended  | Prepare, Make, Look or Finish   |
    | preparing | Prepared      | running                             | Make                            |
    | preparing | PrepareFailed | ended                               | Finish                          |
    | running   | Made          | storing                             | Store                           |
    | running   | RunFailed     | ended                               | Finish                          |
    | storing   | Stored        | preparing, running, looking, ended  | Prepare, Make, Look or Finish   |
    | looking   | Looked        | preparing, running, ended           | Prepare, Make or Finish         |
    | any but ended | Interrupted | ended                             | Finish                          |

    Raises:
        IllegalTransition: any other pair.
    """
    match state.phase, event:
        case Phase.NEW, Begin():
            begun = replace(state, records=event.records, today=event.today)
            if _waits_for_tomorrow(begun, event.last_day):
                return _ended(begun, Ending.SAME_DAY)
            return _go_on(begun, is_begin=True)
        case Phase.PREPARING, Prepared() if state.task is not None:
            return replace(state, phase=Phase.RUNNING), (Make(state.task),)
        case Phase.PREPARING, PrepareFailed():
            return _ended(state, Ending.BETWEEN_FAILED, event.why)
        case Phase.RUNNING, Made():
            record = event.record
            return replace(state, phase=Phase.STORING, records=(*state.records, record)), (Store(record),)
        case Phase.RUNNING, RunFailed():
            return _ended(state, Ending.RUN_FAILED, event.why)
        case Phase.STORING, Stored():
            return _go_on(replace(state, made=state.made + 1, elapsed_s=event.elapsed_s, task=None))
        case Phase.LOOKING, Looked():
            if event.ending is not None:
                return _ended(state, event.ending)
            return _go_on(replace(state, looked=state.looked | {_last_whole_block(state) or 0}))
        case phase, Interrupted() if phase is not Phase.ENDED:
            return _ended(state, Ending.INTERRUPTED)
    raise IllegalTransition(state.phase, event)


def remaining(rules: Rules, records: Sequence[RunRecord]) -> tuple[Task, ...]:
    """Return the runs that are still to be made, in their order, if all of them can be compared.

    With `--block day`: those of the first block that is not complete.
    """
    tried: dict[int, RunRecord] = {}
    for one in records:
        before = tried.get(one.number)
        if before is None or one.attempt > before.attempt:
            tried[one.number] = one
    for block in _parts(rules):
        first = [Task(one, 1, one.block) for one in block if one.number not in tried]
        again = [
            Task(one, tried[one.number].attempt + 1, block[-1].block)
            for one in block
            if one.number in tried and not tried[one.number].is_fit and tried[one.number].attempt < ATTEMPTS
        ]
        if first or again:
            return (*first, *again)
    return ()


def _parts(rules: Rules) -> list[tuple[Planned, ...]]:
    """Return the runs that are made together: with `--block day` those of each block, otherwise all."""
    if not rules.is_by_day:
        return [rules.order]
    blocks = dict.fromkeys(one.block for one in rules.order)
    return [tuple(one for one in rules.order if one.block == block) for block in blocks]


def _go_on(state: SweepState, *, is_begin: bool = False) -> tuple[SweepState, tuple[Effect, ...]]:
    """Start the next run, look at the results, or end."""
    rules = state.rules
    tasks = remaining(rules, state.records)
    block = _last_whole_block(state)
    if tasks and block is not None and block in rules.looks and block not in state.looked:
        return replace(state, phase=Phase.LOOKING, task=None), (Look(block),)
    if not tasks:
        return _ended(state, Ending.COMPLETE)
    task = tasks[0]
    if rules.is_by_day and not is_begin and state.made and _starts_a_block(state, task):
        return _ended(state, Ending.DAY_OVER)
    if rules.budget_s is not None and state.made and state.elapsed_s * (1 + 1 / state.made) > rules.budget_s:
        return _ended(state, Ending.BUDGET)
    phase = Phase.PREPARING if rules.has_between else Phase.RUNNING
    effect: Effect = Prepare(task) if rules.has_between else Make(task)
    return replace(state, phase=phase, task=task), (effect,)


def _last_whole_block(state: SweepState) -> int | None:
    """Return the block whose runs are all made while the next block has none; None if a block is under way."""
    made = {one.number for one in state.records}
    last = None
    for part in _parts(replace(state.rules, is_by_day=True)):
        done = sum(one.number in made for one in part)
        if done == len(part):
            last = part[0].block
        elif done:
            return None
        else:
            break
    if state.rules.is_by_day and last is not None:  # invalid runs of the day are repeated first
        tasks = remaining(state.rules, state.records)
        if tasks and tasks[0].attempt > 1:
            return None
    return last


def _starts_a_block(state: SweepState, task: Task) -> bool:
    return task.attempt == 1 and not any(one.block == task.block for one in state.records)


def _waits_for_tomorrow(state: SweepState, last_day: str) -> bool:
    """Return whether the next run begins a block, and a run of another block was made on the same day."""
    tasks = remaining(state.rules, state.records)
    return bool(
        state.rules.is_by_day
        and tasks
        and state.records
        and last_day == state.today
        and _starts_a_block(state, tasks[0])
    )


def _ended(state: SweepState, ending: Ending, why: str = "") -> tuple[SweepState, tuple[Effect, ...]]:
    return replace(state, phase=Phase.ENDED, task=None), (Finish(ending, why),)
