"""The shell of `loadgen.sweep.lifecycle`: performs its effects with processes, run folders and the journal."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadgen.analysis.factors.early import look
from loadgen.analysis.factors.terms import Observation
from loadgen.errors import LoadgenError, ScenarioError, errors_in
from loadgen.sweep.journal import Journal, RunRecord
from loadgen.sweep.lifecycle import (
    Begin,
    Effect,
    Ending,
    Event,
    Finish,
    Interrupted,
    Look,
    Looked,
    Made,
    Make,
    Prepare,
    Prepared,
    PrepareFailed,
    Rules,
    RunFailed,
    Store,
    Stored,
    Task,
    new_state,
    remaining,
    step,
)
from loadgen.sweep.plan import RUNS, SweepPlan, levels_text
from loadgen.sweep.responses import Response, parse_responses, values_of
from loadgen.units import NS_PER_S, format_duration, format_rate, format_ratio
from loadgen_controller.commands.sweep_parts.between_command import FOLDER, variables_of
from loadgen_controller.commands.sweep_parts.check_cells import changed_files
from loadgen_controller.commands.sweep_parts.read_factors import changes_of
from loadgen_controller.commands.user_command import UserCommand
from loadgen_controller.launch.launcher import Made as MadeRun
from loadgen_controller.launch.run_maker import Interrupted as RunInterrupted

__all__ = ["Conducting", "MakeFolder", "observations_of", "rules_of"]

MakeFolder = Callable[[dict[str, Any], int], MadeRun]
"""Makes a run with these changed options and this seed, and returns its folder."""


def rules_of(plan: SweepPlan, budget_s: float | None = None) -> Rules:
    """Return the rules by which a planned sweep is conducted."""
    return Rules(
        plan.order,
        frozenset(plan.looks) if plan.is_early else frozenset(),
        plan.block == "day",
        bool(plan.between),
        budget_s,
    )


def observations_of(plan: SweepPlan, records: Sequence[RunRecord], block: int) -> list[Observation]:
    """Return the values of the first response in all blocks up to this one, without control runs."""
    response = plan.responses[0]
    return [
        Observation(one.cell, one.block, value)
        for one in records
        if one.is_fit and not one.is_control and one.block <= block
        if (value := one.values.get(response)) is not None
    ]


@dataclass(slots=True)
class Conducting:
    """Conducts one sweep, from its first run or from where its journal ends."""

    plan: SweepPlan
    folder: Path
    journal: Journal
    make_folder: MakeFolder
    say: Callable[[str], None]
    """Prints a line of progress."""
    between: UserCommand | None = None
    budget_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    failure: BaseException | None = None
    """The error that prevented a run, after `Ending.RUN_FAILED`."""
    _began: float = 0.0
    _task_began: float = 0.0
    _times: list[float] = field(default_factory=list)

    def conduct(self) -> Finish:
        """Make all runs that are missing, and return why the sweep ended.

        Raises:
            OSError: the journal or the log of the command cannot be written. Stored records stay whole.
        """
        self._began = self.clock()
        records = self.journal.records
        today = self.now().astimezone().date().isoformat()
        state, (effect,) = step(new_state(self.rules), Begin(records, today, _day_of(records)))
        while not isinstance(effect, Finish):
            try:
                with _as_interrupts():
                    event = self._perform(effect)
            except KeyboardInterrupt:
                event = Interrupted()
            state, (effect,) = step(state, event)
        return effect

    @property
    def rules(self) -> Rules:
        """Return the rules of this call of the command."""
        return rules_of(self.plan, self.budget_s)

    def _perform(self, effect: Effect) -> Event:
        match effect:
            case Prepare(task):
                return self._prepare(task)
            case Make(task):
                return self._make(task)
            case Store(record):
                self.journal.append(record)
                self._report(record)
                return Stored(self.clock() - self._began)
            case Look(block):
                return self._look(block)
            case Finish():
                raise AssertionError("the loop ends with Finish")

    def _prepare(self, task: Task) -> Event:
        assert self.between is not None
        self._task_began = self.clock()
        self._announce(task)
        log = self.folder / FOLDER / f"{task.planned.number:04}-{task.attempt}.log"
        why = self.between.run(log, variables_of(self.plan.levels(task.planned.cell)))
        return PrepareFailed(f"{self._called(task)}: {why}") if why else Prepared()

    def _make(self, task: Task) -> Event:
        planned = task.planned
        if self.between is None:
            self._task_began = self.clock()
            self._announce(task)
        levels = self.plan.levels(planned.cell)
        changed = changed_files(Path(self.plan.file).parent, self.plan.files)
        if changed:
            names = ", ".join(changed[:5])
            return RunFailed(f"{names} changed since the sweep began. Restore it, or start a new sweep")
        seed = (self.plan.seed + planned.repeat) % 2**32
        try:
            made = self.make_folder(changes_of(self.plan.plan_values, self.plan.settings, levels), seed)
        except (RunInterrupted, KeyboardInterrupt):
            return Interrupted()
        except (LoadgenError, ExceptionGroup) as error:
            if not all(isinstance(one, LoadgenError) for one in errors_in(error)):
                raise
            self.failure = error
            return RunFailed("; ".join(_short(one) for one in errors_in(error)))
        if made.was_stopped:
            return Interrupted()
        found = values_of(made.run_dir, self._responses)
        return Made(
            RunRecord(
                number=planned.number,
                cell=planned.cell,
                repeat=planned.repeat,
                block=task.block,
                attempt=task.attempt,
                run_id=found.run_id,
                folder=f"{RUNS}/{made.run_dir.name}",
                started_at=found.started_at,
                result=found.result,
                validity=found.validity,
                is_fit=found.is_fit,
                is_control=planned.is_control,
                values=dict(found.values),
                why=found.why,
                took_s=self.clock() - self._task_began,
            )
        )

    def _look(self, block: int) -> Event:
        decision = look(
            self.plan.design,
            observations_of(self.plan, self.journal.records, block),
            done=_replicates(self.plan, block),
            repeats=self.plan.repeats,
            is_log=self._responses[0].is_log,
        )
        self.say(f"look after block {block}: {decision}")
        return Looked({"stop: found": Ending.FOUND, "stop: futile": Ending.FUTILE}.get(decision))

    @property
    def _responses(self) -> tuple[Response, ...]:
        return parse_responses(self.plan.responses)

    def _announce(self, task: Task) -> None:
        """Print the number of the run, its cell, and how long the rest takes."""
        cell = levels_text(self.plan.levels(task.planned.cell))
        self.say(f"{self._called(task)}: {cell}{self._time_left()}")

    def _called(self, task: Task) -> str:
        again = ", once more" if task.attempt > 1 else ""
        return f"run {task.planned.number} of {len(self.plan.order)}{again}"

    def _report(self, record: RunRecord) -> None:
        self._times.append(record.took_s)
        value = record.values.get(self.plan.responses[0])
        response = self._responses[0]
        shown = (
            f"{response.text} {_text(response, value)}" if value is not None else f"no {response.text}: {record.why}"
        )
        marks = (
            ""
            if record.is_fit
            else " (not counted; it is repeated at the end)"
            if record.attempt == 1
            else " (not counted)"
        )
        self.say(f"  {shown}{marks}, {record.folder}")

    def _time_left(self) -> str:
        if not self._times:
            return ""
        left = len(remaining(self.rules, self.journal.records))
        each = sum(self._times) / len(self._times)
        return f"; {format_duration(left * each * NS_PER_S)} left"


def _replicates(plan: SweepPlan, block: int) -> int:
    """Return the number of whole repeats in the blocks up to this one."""
    last: dict[int, int] = {}
    for one in plan.order:
        if not one.is_control:
            last[one.repeat] = max(last.get(one.repeat, 0), one.block)
    return sum(end <= block for end in last.values())


def _day_of(records: Sequence[RunRecord]) -> str:
    """Return the date of the last record here; "" without one."""
    try:
        return datetime.fromisoformat(records[-1].started_at).astimezone().date().isoformat()
    except (IndexError, ValueError):
        return ""


def _short(error: BaseException) -> str:
    if isinstance(error, ScenarioError):
        return "; ".join(f"{one.where}: {one.message}" for one in error.faults)
    return error.message if isinstance(error, LoadgenError) else str(error)


def _text(response: Response, value: float) -> str:
    if response.is_time:
        return f"{value:,.0f} ms" if value >= 1000 else f"{value:.3g} ms"
    return format_rate(value) if response.unit == "/s" else format_ratio(value)


@contextmanager
def _as_interrupts() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C inside the `with` block: it ends the command between runs, and keeps what is whole.

    While a run goes on, its own handlers drain it.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
