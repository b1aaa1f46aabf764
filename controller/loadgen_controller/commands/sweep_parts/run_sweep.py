"""Makes the runs of a new or resumed sweep, and ends it: with its result, or with the command that resumes it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import ExitCode, IncompleteError, LoadgenError, UsageError
from loadgen.history.store.store import Store
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.outside_text import one_line
from loadgen.sweep.files import write_results
from loadgen.sweep.journal import Journal, RunRecord, check_records, open_journal
from loadgen.sweep.lifecycle import Ending, Finish, Task, remaining
from loadgen.sweep.plan import RUNS, SweepPlan
from loadgen.sweep.result import result_of
from loadgen.sweep.study import study_of
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.capacity_parts.study_output import StudyOutput, end_study
from loadgen_controller.commands.sweep_parts.conduct_sweep import Conducting, rules_of
from loadgen_controller.commands.sweep_parts.forecast_sweep import spec_of_runs
from loadgen_controller.commands.user_command import UserCommand
from loadgen_controller.console_output import Text
from loadgen_controller.launch.run_maker import RunMaker

__all__ = ["resume_command", "run_sweep"]


def resume_command(folder: Path) -> str:
    """Return the command that continues a sweep."""
    return f"loadgen sweep --resume {shlex.quote(str(folder))}"


def run_sweep(
    errors: CollectedErrors,
    maker: RunMaker,
    plan: SweepPlan,
    folder: Path,
    output: StudyOutput,
    *,
    specs: Sequence[PlanSpec],
    between: UserCommand | None,
    budget_s: float | None,
    is_quiet: bool = False,
) -> int:
    """Make all runs that are missing, and return the exit code.

    Args:
        specs: of each cell.
        is_quiet: whether the progress is not printed.

    Raises:
        LoadgenError: a command between runs failed, a run could not be made, or a file cannot be written.
    """
    console = output.console

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    with open_journal(folder) as journal:
        check_records(folder, journal.records, plan.order)
        _note_orphans(folder, journal, say)
        tasks = remaining(rules_of(plan), journal.records)
        conducting = Conducting(
            plan,
            folder,
            journal,
            lambda changes, seed: maker.make_folder(changes, seed=seed),
            _silent if is_quiet else say,
            between,
            budget_s,
        )
        try:
            finish = _conducted(errors, maker, conducting, tasks, specs)
        except OSError as error:
            say(f"continue with: {resume_command(folder)}")
            raise storage_error(folder, error, elsewhere="move the folder of the sweep to another disk") from error
        except (LoadgenError, ExceptionGroup):
            say(f"continue with: {resume_command(folder)}")
            raise
        records = journal.records
    if finish.ending.is_final:
        return _ended(plan, records, folder, output, finish)
    say(f"{_counted(plan, records)} are stored in {folder}; continue with: {resume_command(folder)}")
    return _left(finish, conducting, say)


def _conducted(
    errors: CollectedErrors,
    maker: RunMaker,
    conducting: Conducting,
    tasks: tuple[Task, ...],
    specs: Sequence[PlanSpec],
) -> Finish:
    """Conduct the sweep with the agents that it needs."""
    if not tasks:
        return conducting.conduct()
    spec = spec_of_runs(tasks, specs, has_between=conducting.between is not None)
    with maker.staffed(errors, spec, len(tasks)):
        return conducting.conduct()


def _left(finish: Finish, conducting: Conducting, say: Callable[[str], None]) -> int:
    """Return the exit code of a sweep that is not over, or raise its error."""
    match finish.ending:
        case Ending.INTERRUPTED:
            return ExitCode.INTERRUPTED
        case Ending.DAY_OVER | Ending.BUDGET:
            say(f"not decided yet: {finish.ending.value}")
            return ExitCode.INCOMPLETE
        case Ending.SAME_DAY:
            raise UsageError(
                "the next block of this sweep needs another day, and its last run was made today",
                hint="resume it tomorrow: with --block day, the days are the blocks",
            )
        case Ending.BETWEEN_FAILED:
            raise IncompleteError(
                f"--between failed before {finish.why}",
                hint="correct the command or the target, then resume the sweep; its folder between has the output",
            )
        case Ending.RUN_FAILED:
            if conducting.failure is not None:
                raise conducting.failure
            raise UsageError(finish.why, hint="a sweep compares runs of the same files")
    raise AssertionError(finish)


def _silent(_: str) -> None:
    pass


def _ended(plan: SweepPlan, records: tuple[RunRecord, ...], folder: Path, output: StudyOutput, finish: Finish) -> int:
    """Print, write and store the result, and return its exit code."""
    result = result_of(plan, records, ending=finish.ending.value)
    study = study_of(result, folder)
    write_results(folder, result, study)
    if output.store is not None and _is_stored(output.store, plan):
        output.console.print(Text(f"note: the result of this sweep is in {output.store} already"), soft_wrap=True)
        output = replace(output, store=None)
    return end_study(output, study)


def _is_stored(store: Store, plan: SweepPlan) -> bool:
    """Return whether the history has the result of this sweep: a finished sweep can be resumed to see it again."""
    facts: list[Any] = [one.study.get("facts") for one in store.studies("sweep")]
    return any(isinstance(one, dict) and one.get("sweep_id") == plan.sweep_id for one in facts)


def _counted(plan: SweepPlan, records: tuple[RunRecord, ...]) -> str:
    done = len({one.number for one in records})
    return f"{done} of {quantity(len(plan.order), 'run')}"


def _note_orphans(folder: Path, journal: Journal, say: Callable[[str], None]) -> None:
    """Name the run folders that are not in the journal: their runs were cut, and others are made in their place."""
    known = {one.folder for one in journal.records}
    cut = sorted(one.name for one in (folder / RUNS).glob("*") if f"{RUNS}/{one.name}" not in known)
    if cut:
        more = f" and {len(cut) - 3} more" if len(cut) > 3 else ""
        say(f"note: not counted, because they were interrupted: {', '.join(map(one_line, cut[:3]))}{more}")
