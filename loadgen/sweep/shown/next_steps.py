"""The commands to type after a sweep: what to look at in the worst cell, and how to decide what is not decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote

from loadgen.outside_text import one_line
from loadgen.sweep.journal import RunRecord
from loadgen.sweep.plan import SweepPlan
from loadgen.sweep.responses import MOST_ERRORS
from loadgen.sweep.result import CellState, SweepResult
from loadgen.sweep.shown.sentences import joined, unresolved_groups
from loadgen.sweep.texts import levels_text

__all__ = ["next_steps"]

_PROBES = "probes.log"


def next_steps(result: SweepResult, folder: Path | None) -> Iterator[str]:
    """Yield the lines of the foot: sentences, and below each the command. folder: that of the sweep, if it is known."""
    if result.not_made and folder is not None and not result.is_stopped_early:
        yield "Go on with the sweep:"
        yield f"    loadgen sweep --resume {quote(one_line(str(folder)))}"
    worst, best = _ends(result)
    if worst is None or worst.worst_run is None:
        return
    has_finding = any(one.findings for one in result.responses)
    if has_finding and best is not None and best.worst_run is not None:
        run = _path(worst.worst_run, folder)
        if (worst.error_ratio or 0.0) > MOST_ERRORS:
            yield f"Which requests failed in the worst cell ({levels_text(worst.levels)}):"
            yield f"    loadgen failures {run}"
        yield f"Why requests are slow in the worst cell ({levels_text(worst.levels)}), compared with the best one:"
        yield f"    loadgen trace {run} --against {_path(best.worst_run, folder)}"
        if _has_probes(worst.worst_run, folder):
            yield "The lock chains of that run, with the sessions that held and waited:"
            yield f"    loadgen runs show {run}"
        else:
            yield "The runs have no probes of a database: with one, a run shows lock chains (docs/databases.md)."
    for group in unresolved_groups(result.first.analysis)[:1] if result.first.analysis is not None else ():
        yield f"To decide between {joined(group, 'and')}, with your other options:"
        yield f"    {_deciding_command(result.plan, group[0].split(' × '))}"


def _deciding_command(plan: SweepPlan, names: Sequence[str]) -> str:
    """Return the command that sweeps only these factors; all others have their first level."""
    words = ["loadgen", "sweep", quote(one_line(f"{plan.file}:{plan.plan}"))]
    for factor, first in zip(plan.design.factors, plan.design.cells[0], strict=True):
        is_option, is_swept = factor.name in plan.plan_values, factor.name in names
        if is_swept:
            levels = quote(one_line(f"{factor.name}={','.join(factor.levels)}"))
            words += ["--plan-value" if is_option else "-P", levels]
        else:
            words += (
                [f"--{factor.name}", quote(first)]
                if is_option
                else ["--set", quote(one_line(f"{factor.name}={first}"))]
            )
    for name, value in plan.settings.items():
        words += ["--set", quote(one_line(f"{name}={value}"))]
    return " ".join(words)


def _ends(result: SweepResult) -> tuple[CellState | None, CellState | None]:
    """Return the cells with the worst and the best first response; by errors where it is missing."""
    first = result.first
    figures = {one.cell: one.value for one in first.analysis.cells} if first.analysis is not None else {}
    sign = -1.0 if first.response.statistic == "throughput" else 1.0

    def place(state: CellState) -> tuple[bool, float, float]:
        value = figures.get(state.cell)
        return (value is None, state.error_ratio or 0.0, 0.0) if value is None else (False, sign * value, 0.0)

    usable = [state for state in result.cells if state.worst_run is not None]
    if not usable:
        return None, None
    ordered = sorted(usable, key=place)
    return ordered[-1], ordered[0] if len(ordered) > 1 else None


def _path(run: RunRecord, folder: Path | None) -> str:
    """Return the run as a word of a command: its folder, or its id."""
    path = folder / run.folder if folder is not None and run.folder else Path(run.folder or run.run_id or "RUN")
    return quote(one_line(str(path)))


def _has_probes(run: RunRecord, folder: Path | None) -> bool:
    return folder is not None and bool(run.folder) and (folder / run.folder / _PROBES).is_file()
