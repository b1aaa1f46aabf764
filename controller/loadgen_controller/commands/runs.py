"""`loadgen runs`: what was run before, from the run folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from loadgen.errors import LoadgenError, UsageError
from loadgen.measure.rundir import RunDir, find_run, list_runs
from loadgen.report.reading import read
from loadgen.report.tables import Table, final_report
from loadgen.units import NS_PER_S, format_count, format_duration
from loadgen_controller.api.place import Place
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, call
from loadgen_controller.asking import where
from loadgen_controller.commands.run import ExplainOption, Placement, run_scenario
from loadgen_controller.planning.again import earlier_run
from loadgen_controller.planning.options import Wrongs, parse_endpoint
from loadgen_controller.planning.scenario import (
    AllowOption,
    JsonOption,
    KeysOption,
    ListenOption,
    QuietOption,
    load_scenario,
)
from loadgen_controller.screen.explained import print_story, story_in
from loadgen_controller.screen.printed import Output, print_report, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen runs

loadgen runs show 20261124-170312-checkout-a1b2

loadgen runs show last

loadgen runs rerun last"""

app = typer.Typer(
    help="List the runs of this folder, show one again, or run it again.", epilog=EXAMPLES, rich_markup_mode="rich"
)

RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where the run folders are.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The run, how its name begins, its folder, or `last`: the newest.")
]
RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, runs_dir: RunsDir = RUNS) -> None:
    if context.invoked_subcommand is None:
        list_(runs_dir)


LIST_EXAMPLES = """[bold]Examples[/bold]

loadgen runs list --runs-dir /var/runs

loadgen runs list --controller controller.internal:5558"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    runs_dir: RunsDir = RUNS,
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """List the runs, newest first. A run's name begins with when it started, UTC."""
    place = where(controller, ca, token_file)
    if place is not None:
        _list_there(place)
        return
    paths = list_runs(runs_dir)
    if not paths:
        typer.echo(f"no runs in {runs_dir}")
        return
    head = ("run", "result", "took", "iterations", "errors", "agents")
    print_table(Output(), Table("", head, tuple(_rows(paths)), words=2), ids=(0,))


def _list_there(place: Place) -> None:
    """Those of a controller, the ones that go on first."""
    lines = call(place, lambda client: client.runs())
    if not lines:
        typer.echo(f"no runs at {place.address}")
        return
    rows = tuple((line.run_id, line.state, str(line.agents), line.by or "-") for line in lines)
    print_table(Output(), Table("", ("run", "is", "agents", "started by"), rows, words=2), ids=(0,))


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


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen runs show last\n\nloadgen runs show 20261124-170312 --explain")
def show(
    run: RunArgument,
    runs_dir: RunsDir = RUNS,
    explain: ExplainOption = False,
) -> None:
    """Show the final table of one run again; with --explain in sentences, too: what it means and what it leaves out."""
    path = find_run(run, runs_dir)
    if not (path / "summary.json").exists():
        raise UsageError(f"{path} has no summary", hint="the run is still going on, or was ended by force")
    summary, console = read(path / "summary.json"), Output()
    print_report(console, final_report(summary, path))
    if explain:
        print_story(console, story_in(path, summary))


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen runs rerun last\n\nloadgen runs rerun 20261124-170312 --quiet")
def rerun(
    run: RunArgument,
    runs_dir: RunsDir = RUNS,
    json_path: JsonOption = None,
    quiet: QuietOption = False,
    listen: ListenOption = None,
    keys: KeysOption = None,
    i_may_load: AllowOption = None,
) -> int:
    """Run it again: the scenario as it was then, its overrides, regions, agents and seed; so the same arrivals.

    Everything comes from the run's folder. Secrets are not in it, and have to be given again.
    """
    wrongs = Wrongs()
    if listen is not None:
        wrongs.parse("--listen", listen, parse_endpoint)
    if (listen is None) != (keys is None):
        wrongs.add("--listen and --keys belong together", "make keys with `loadgen keys init DIR`, then --keys DIR")
    with earlier_run(run, runs_dir) as earlier:
        manifest = RunDir.open(find_run(run, runs_dir)).read_manifest()
        if manifest.get("placement") == "fleet" and listen is None:
            wrongs.add(
                f"{earlier.run_id} ran on a fleet", "say where its agents come to: --listen HOST:PORT --keys DIR"
            )
        if earlier.version != version("loadgen"):
            made_by = f"loadgen {earlier.version}" if earlier.version else "an unknown version of loadgen"
            typer.echo(
                f"warning: {earlier.run_id} was made by {made_by}, this is {version('loadgen')}: "
                "what differs may be our doing",
                err=True,
            )
        agents, regions, workers = _shares(manifest)
        placement = Placement(
            runs_dir,
            listen,
            keys,
            agents if listen is not None else None,
            max(1, agents // max(1, regions)),
            workers,
        )
        placement.read_keys(wrongs)
        scenario = load_scenario(
            wrongs,
            earlier.file,
            allowed=i_may_load or (),
            needs_secrets=listen is None,
            base=earlier.overrides,
            seed=earlier.seed,
        )
        return run_scenario(scenario, placement, json_path=json_path, is_quiet=quiet)


def _shares(manifest: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many agents and regions took part, and how many workers an agent had."""
    assignment = manifest.get("assignment") or {}
    workers = max((int(agent.get("workers", 1)) for agent in manifest.get("agents") or ()), default=1)
    return len(assignment.get("agents", ())), len(set(assignment.get("regions", ()))), workers
