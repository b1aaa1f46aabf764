"""Turns the result of a sweep into a study: the form from which terminal, page, JSON and CSV are made."""

from __future__ import annotations

from pathlib import Path

from loadgen.studies.study import Study, StudyResult
from loadgen.sweep.result import SweepResult
from loadgen.sweep.shown.charts import drawings_of
from loadgen.sweep.shown.facts import facts_of, run_rows
from loadgen.sweep.shown.next_steps import next_steps
from loadgen.sweep.shown.sentences import headline_of, lines_of, unresolved_groups
from loadgen.sweep.shown.tables import tables_of
from loadgen.units import quantity

__all__ = ["study_of"]


def study_of(result: SweepResult, folder: Path | None = None) -> Study:
    """Return the study of a sweep. Its rows are the runs.

    folder: that of the sweep, for the commands to type next.
    """
    return Study(
        kind="sweep",
        title=_title(result),
        headline=_headline(result),
        result=_verdict(result),
        lines=tuple(lines_of(result)),
        tables=tuple(tables_of(result)),
        drawings=tuple(drawings_of(result)),
        foot=tuple(next_steps(result, folder)),
        facts=facts_of(result),
        rows=tuple(run_rows(result)),
        run_ids=tuple(run.run_id for run in result.runs if run.run_id),
    )


def _headline(result: SweepResult) -> str:
    answer = headline_of(result.decisive, is_one_at_a_time=result.plan.design.kind == "one")
    is_open = result.not_made and not result.is_stopped_early
    made = f"After {len(result.runs)} of {quantity(len(result.plan.order), 'run')}, "
    return made + answer[:1].lower() + answer[1:] if is_open else answer


def _title(result: SweepResult) -> str:
    plan = result.plan
    names = " × ".join(one.name for one in plan.design.factors)
    runs = quantity(len(plan.order), "run")
    return f"{Path(plan.file).name}:{plan.plan}: {names}, {quantity(len(plan.design.cells), 'cell')}, {runs}"


def _verdict(result: SweepResult) -> StudyResult:
    if not any(run.is_fit for run in result.runs):
        return "invalid"
    if result.not_made and not result.is_stopped_early:
        return "not decided"
    one = result.decisive
    is_doubted = one.lacks_terms or (one.analysis is not None and bool(unresolved_groups(one.analysis)))
    return "decided" if one.findings and not is_doubted else "not decided"
