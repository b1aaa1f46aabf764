"""Turns the result of a sweep into a study: the form from which terminal, page, JSON and CSV are made."""

from __future__ import annotations

from pathlib import Path

from loadgen.studies.study import Study, StudyResult
from loadgen.sweep.responses import ERROR_RATIO
from loadgen.sweep.result import ResponseResult, SweepResult
from loadgen.sweep.shown.charts import drawings_of
from loadgen.sweep.shown.facts import facts_of, run_rows
from loadgen.sweep.shown.next_steps import next_steps
from loadgen.sweep.shown.sentences import headline_of, lines_of, unresolved_groups
from loadgen.sweep.shown.tables import tables_of
from loadgen.units import quantity

__all__ = ["decisive", "study_of"]


def study_of(result: SweepResult, folder: Path | None = None) -> Study:
    """Return the study of a sweep. Its rows are the runs.

    folder: that of the sweep, for the commands to type next.
    """
    return Study(
        kind="sweep",
        title=_title(result),
        headline=headline_of(decisive(result), is_one_at_a_time=result.plan.design.kind == "one"),
        result=_verdict(result),
        lines=tuple(lines_of(result, decisive(result))),
        tables=tuple(tables_of(result)),
        drawings=tuple(drawings_of(result)),
        foot=tuple(next_steps(result, folder)),
        facts=facts_of(result),
        rows=tuple(run_rows(result)),
        run_ids=tuple(run.run_id for run in result.runs if run.run_id),
    )


def decisive(result: SweepResult) -> ResponseResult:
    """Return the response that decides: the first one.

    If errors are the reason why some runs have no value of it, and something was found about them, it is the error
    ratio: the cells with errors are those that the first response cannot compare.
    """
    errors = next((one for one in result.responses if one.response.text == ERROR_RATIO), None)
    lacks_values = any(state.uncompared for state in result.cells)
    if errors is not None and errors.findings and lacks_values and not result.first.findings:
        return errors
    return result.first


def _title(result: SweepResult) -> str:
    plan = result.plan
    names = " × ".join(one.name for one in plan.design.factors)
    runs = quantity(len(plan.order), "run")
    return f"{Path(plan.file).name}:{plan.plan}: {names}, {quantity(len(plan.design.cells), 'cell')}, {runs}"


def _verdict(result: SweepResult) -> StudyResult:
    if not any(run.is_fit for run in result.runs):
        return "invalid"
    one = decisive(result)
    is_doubted = one.analysis is not None and bool(unresolved_groups(one.analysis))
    return "decided" if one.findings and not is_doubted else "not decided"
