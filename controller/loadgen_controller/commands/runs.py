"""`loadgen runs`: what was run before, from the run folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadgen.errors import LoadgenError, UsageError
from loadgen.measure.rundir import list_runs
from loadgen.report.reading import read
from loadgen.report.tables import Table, final_report
from loadgen.units import NS_PER_S, format_count, format_duration
from loadgen_controller.printed import print_report, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen runs

loadgen runs show 20261124-170312-checkout-a1b2

loadgen runs show last"""

app = typer.Typer(help="List the runs of this folder, or show one again.", epilog=EXAMPLES, rich_markup_mode="rich")

RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where the run folders are.")]
RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, runs_dir: RunsDir = RUNS) -> None:
    if context.invoked_subcommand is None:
        list_(runs_dir)


@app.command("list", epilog="[bold]Example[/bold]\n\nloadgen runs list --runs-dir /var/runs")
def list_(runs_dir: RunsDir = RUNS) -> None:
    """List the runs, newest first. A run's name begins with when it started, UTC."""
    paths = list_runs(runs_dir)
    if not paths:
        typer.echo(f"no runs in {runs_dir}")
        return
    head = ("run", "result", "took", "iterations", "errors", "agents")
    print_table(Console(highlight=False), Table("", head, tuple(_rows(paths)), words=2))


def _rows(paths: list[Path]) -> Iterator[tuple[str, ...]]:
    for path in paths:
        if not (path / "summary.json").exists():
            yield path.name, "not ended", *("-",) * 4
            continue
        try:
            s = read(path / "summary.json")
        except LoadgenError as unreadable:
            yield path.name, unreadable.message, *("-",) * 4
            continue
        agents = f"{sum(a.complete for a in s.agents)}/{len(s.agents)}"
        took = format_duration(s.duration_s * NS_PER_S)
        errors = format_count(s.requests.errors)
        yield path.name, s.result, took, format_count(s.iterations.started), errors, agents


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen runs show last\n\nloadgen runs show 20261124-170312")
def show(
    run: Annotated[str, typer.Argument(metavar="ID", help="The run, or how its name begins; `last`: the newest.")],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Show the final table of one run again."""
    path = _find(run, runs_dir)
    if not (path / "summary.json").exists():
        raise UsageError(f"{path} has no summary", hint="the run is still going on, or was ended by force")
    print_report(Console(highlight=False), final_report(read(path / "summary.json"), path))


def _find(run: str, runs_dir: Path) -> Path:
    paths = list_runs(runs_dir)
    found = (
        paths[:1]
        if run == "last"
        else [p for p in paths if p.name == run] or [p for p in paths if p.name.startswith(run)]
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs begin with {run}", hint=", ".join(p.name for p in found[:5]))
    raise UsageError(f"no run {run} in {runs_dir}", hint="loadgen runs lists what there is")
