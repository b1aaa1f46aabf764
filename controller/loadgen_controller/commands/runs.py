"""`loadgen runs`: lists, searches, shows, labels, repeats and deletes past runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import RunDir, find_run
from loadgen.report.report_parts import Table
from loadgen.units import NS_PER_S, format_count, format_duration, quantity
from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, call, place_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands import bucket, cloudwatch_metrics, xray_traces
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import (
    AllowHostOption,
    ExplainOption,
    JsonOption,
    KeysOption,
    ListenOption,
    ParamOption,
    QuietOption,
)
from loadgen_controller.console_output import Text, ask_on_stderr, echo, echo_json
from loadgen_controller.past_runs.deleting import check_deletable, size_bytes
from loadgen_controller.past_runs.deleting import delete as delete_run
from loadgen_controller.past_runs.listing import Entry, Search, entries, labels_of, parse_since
from loadgen_controller.past_runs.pruning import pruning_of
from loadgen_controller.past_runs.user_notes import parse_label, read_notes, write_notes
from loadgen_controller.screen.terminal_report import Output, print_report, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen runs

loadgen runs show 20261124-170312-checkout-a1b2

loadgen runs show last

loadgen runs list --search checkout --since 7d

loadgen runs label last release=1.4

loadgen runs rerun last"""

app = typer.Typer(
    help="List and search past runs; show, label, repeat or delete one; copy it to or from a bucket.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
)

RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Folder of the run folders.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The run's id, the beginning of it, its folder, or `last` for the newest.")
]
RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, runs_dir: RunsDir = RUNS) -> None:
    if context.invoked_subcommand is None:
        list_(runs_dir)


LIST_EXAMPLES = """[bold]Examples[/bold]

loadgen runs list --runs-dir /var/runs

loadgen runs list --search checkout --label release=1.4 --since 2026-11-24

loadgen runs list --label team --json

loadgen runs list --controller controller.internal:5558"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    runs_dir: RunsDir = RUNS,
    search: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Only runs with this text in their id, scenario, plan, result, labels or note."
        ),
    ] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=VALUE]", help="Only runs with this label. Repeatable: runs must have all of them."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only runs started since: 7d, 2h, 2026-11-24 or 2026-11-24T17:00 (UTC)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """List the runs, newest first. The id of a run begins with its start time in UTC."""
    errors = CollectedErrors()
    place = place_of(errors, controller, ca, token_file)
    after = errors.parse("--since", since, lambda text: parse_since(text, datetime.now(UTC)))
    wanted = [(name, value if sign else None) for name, sign, value in (one.partition("=") for one in label or ())]
    if place is not None and (search or label or since or as_json):
        errors.add(
            "--search, --label, --since and --json cannot be used with --controller",
            "leave them out; they search the runs in a folder",
        )
    errors.check()
    if place is not None:
        _list_there(place)
        return
    found = entries(runs_dir, Search(search, wanted, after))
    if as_json:
        echo_json(json.dumps([entry.as_json() for entry in found], indent=2))
        return
    if not found:
        echo(f"no runs in {runs_dir}" + (" match" if search or label or since else ""))
        return
    has_words = any(entry.labels or entry.note for entry in found)
    head = ("run", "result", *(("labels and note",) if has_words else ()), "took", "iterations", "errors", "agents")
    rows = tuple(_row(entry, has_words) for entry in found)
    console = Output()
    print_table(console, Table("", head, rows, words=3 if has_words else 2), ids=(0,))
    for entry in found:
        if entry.trouble:
            console.print(Text(f"{entry.run_id}: {entry.trouble}"), soft_wrap=True)


def _list_there(place: Place) -> None:
    """Print the runs of a controller as a table, running ones first."""
    lines = call(place, lambda client: client.runs())
    if not lines:
        echo(f"no runs at {place.address}")
        return
    rows = tuple((line.run_id, line.state, str(line.agents), line.by or "-") for line in lines)
    print_table(Output(), Table("", ("run", "state", "agents", "started by"), rows, words=2), ids=(0,))


def _row(entry: Entry, has_words: bool) -> tuple[str, ...]:
    words = " ".join(" ".join((*map("=".join, entry.labels.items()), entry.note)).split())
    named = (entry.path.name, entry.result, *((words or "-",) if has_words else ()))
    if entry.duration_s is None:
        return *named, *("-",) * 4
    return (
        *named,
        format_duration(entry.duration_s * NS_PER_S),
        format_count(entry.iterations or 0),
        format_count(entry.errors or 0),
        f"{entry.agents_complete}/{entry.agents}",
    )


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen runs show last\n\nloadgen runs show 20261124-170312 --explain")
def show(
    run: RunArgument,
    runs_dir: RunsDir = RUNS,
    explain: ExplainOption = False,
) -> None:
    """Show the final report of a run again. With --explain, sentences say what it means and what it leaves out."""
    from loadgen.report.report_tables import final_report
    from loadgen.report.summary_reader import read
    from loadgen.report.target_side.database_tables import database_tables
    from loadgen.report.target_side.metrics_file import read_databases

    path = find_run(run, runs_dir)
    if not (path / "summary.json").exists():
        raise UsageError(
            f"{path} has no summary: the run is still going on, or was killed",
            hint=f"see what it measured so far with: loadgen report {path.name}",
        )
    summary, console = read(path / "summary.json"), Output()
    print_report(console, final_report(summary, path, database_tables(read_databases(path))))
    if explain:
        from loadgen_controller.screen.result_explanation import print_story, story_in

        print_story(console, story_in(path, summary))


@app.command(
    epilog="[bold]Examples[/bold]\n\nloadgen runs label last release=1.4 team=checkout\n\nloadgen runs label last team="
)
def label(
    run: RunArgument,
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Labels to set; KEY= removes one.")],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Set or remove labels of a run, including those of its plan. The summary is not changed."""
    errors = CollectedErrors()
    changes = [errors.parse("label", text, parse_label) for text in labels]
    path = errors.catch(lambda: find_run(run, runs_dir))
    errors.check()
    assert path is not None
    notes, planned = labels_of(path)
    changed = notes.with_labels([change for change in changes if change is not None], planned)
    write_notes(path, changed)
    text = " ".join(map("=".join, changed.over(planned).items()))
    echo(f"{path.name}: {text or 'no labels'}")


@app.command(epilog='[bold]Examples[/bold]\n\nloadgen runs note last "with the new pool"\n\nloadgen runs note last ""')
def note(
    run: RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help='The note; "" removes it.')],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Attach a note to a run. `loadgen runs list --search` finds its text. The summary is not changed."""
    path = find_run(run, runs_dir)
    write_notes(path, read_notes(path).with_note(text))


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen runs delete 20261124-170312\n\nloadgen runs delete last --yes")
def delete(
    runs: Annotated[list[str], typer.Argument(metavar="ID...", help="Run ids, or beginnings of ids.")],
    runs_dir: RunsDir = RUNS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete runs for good, after confirmation. Running runs and folders outside --runs-dir are rejected."""
    errors = CollectedErrors()
    paths = []
    for run in dict.fromkeys(runs):
        if (path := errors.catch(partial(find_run, run, runs_dir))) is not None and path not in paths:
            errors.catch(partial(check_deletable, path, runs_dir))
            paths.append(path)
    errors.check()
    size = sum(map(size_bytes, paths)) / 1e6
    names = ", ".join(path.name for path in paths)
    if not yes and not _is_sure(f"delete {names} ({size:,.1f} MB) for good?"):
        echo("nothing was deleted", err=True)
        return
    for path in paths:
        delete_run(path)
        echo(f"deleted {path.name}")


@app.command(
    epilog="[bold]Examples[/bold]\n\nloadgen runs prune --older 30d\n\nloadgen runs prune --older 2026-10-01 --yes"
)
def prune(
    older: Annotated[
        str,
        typer.Option(metavar="TIME", help="Runs started before: 30d or 12h ago, 2026-10-01, 2026-10-01T17:00 (UTC)."),
    ],
    runs_dir: RunsDir = RUNS,
    store: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER|s3://...",
            help="A further history whose runs are kept. Those of loadgen.toml and the folder `history` always count."
            " Repeatable.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete the runs; without it, only show them.")] = False,
) -> None:
    """Show which old runs would be deleted and how many bytes that frees; with --yes, delete them.

    Runs in progress are kept, and runs that are accepted or pinned in a history. If a history cannot be read, nothing
    is deleted.
    """
    from loadgen_controller.commands.store_option import all_stores

    errors = CollectedErrors()
    before = errors.parse("--older", older, lambda text: parse_since(text, datetime.now(UTC)))
    referred = _referred(errors, all_stores(errors, store or ()))
    errors.check()
    assert before is not None
    plan = pruning_of(entries(runs_dir), before, referred)
    deleted = []
    for one in plan.deleted:
        shown = f"{one.entry.run_id} ({one.entry.result}, {_megabytes(one.size_bytes)})"
        if not yes:
            echo(f"would delete {shown}")
        elif errors.catch(partial(_deleted, one.entry.path)):
            deleted.append(one)
            echo(f"deleted {shown}")
    for one in plan.kept:
        echo(f"kept {one.entry.run_id}: {one.kept_because}")
    done = deleted if yes else plan.deleted
    count = f"{quantity(len(done), 'run')}, {format_count(sum(one.size_bytes for one in done))} bytes"
    if yes:
        echo(f"deleted {count}")
    else:
        echo(f"would delete {count}" + ("; add --yes to delete" if done else ""))
    errors.check()


def _deleted(path: Path) -> bool:
    delete_run(path)
    return True


def _referred(errors: CollectedErrors, stores: list[str]) -> dict[str, str]:
    """Return why runs are kept, by run id. A history that cannot be read is an error."""
    found: dict[str, str] = {}
    for url in stores:
        with needing_analysis("loadgen runs prune"):
            from loadgen.history.store.store import Store  # here, because it is slow to import

        for run_id, how in (errors.catch(lambda url=url: Store.open(url).referred()) or {}).items():  # type: ignore[misc]
            found.setdefault(run_id, f"{how} in {url}")
    return found


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _is_sure(question: str) -> bool:
    try:
        return ask_on_stderr(question)
    except typer.Abort as exc:
        raise UsageError("no answer, so nothing was deleted", hint="add --yes to delete without asking") from exc


@app.command(
    epilog="[bold]Examples[/bold]\n\nloadgen runs rerun last\n\nloadgen runs rerun 20261124-170312 --quiet\n\n"
    "loadgen runs rerun last -P payout=0    # the same run with one thing changed"
)
def rerun(
    run: RunArgument,
    runs_dir: RunsDir = RUNS,
    json_path: JsonOption = None,
    quiet: QuietOption = False,
    listen: ListenOption = None,
    keys: KeysOption = None,
    i_may_load: AllowHostOption = None,
    param: ParamOption = None,
) -> int:
    """Repeat a run with its scenario as it was, its overrides, regions, agents and seed, and so with the same arrivals.

    Everything is read from the run folder. Secrets are not in it, and must be set again. With -P, one thing is changed;
    `loadgen trace last --against RUN` then shows whether a broken objective holds now.
    """
    from importlib.metadata import version

    from loadgen_controller.commands.run import run_scenario
    from loadgen_controller.launch.run_location import Placement
    from loadgen_controller.planning.option_parsing import parse_endpoint
    from loadgen_controller.planning.rerun import earlier_run
    from loadgen_controller.planning.scenario import load_scenario

    errors = CollectedErrors()
    errors.check_file("--json", json_path)
    if listen is not None:
        errors.parse("--listen", listen, parse_endpoint)
    if (listen is None) != (keys is None):
        errors.add(
            "--listen and --keys must be given together",
            "create keys with `loadgen keys init DIR`, then add --keys DIR",
        )
    with earlier_run(run, runs_dir) as earlier:
        manifest = RunDir.open(find_run(run, runs_dir)).read_manifest()
        if manifest.get("placement") == "fleet" and listen is None:
            errors.add(
                f"{earlier.run_id} ran on a fleet, so it needs agents on other hosts",
                "add --listen HOST:PORT --keys DIR, and start the agents",
            )
        if earlier.version != version("loadgen"):
            made_by = f"loadgen {earlier.version}" if earlier.version else "an unknown version of loadgen"
            echo(
                f"warning: {earlier.run_id} was made by {made_by}, this is {version('loadgen')}: "
                "differences may come from that",
                err=True,
            )
        agents, regions, workers = _size(manifest)
        placement = Placement(
            runs_dir,
            listen,
            keys,
            agents if listen is not None else None,
            max(1, agents // max(1, regions)),
            workers,
        )
        placement.read_keys(errors)
        scenario = load_scenario(
            errors,
            earlier.file,
            params=param or (),
            allowed=i_may_load or (),
            needs_secrets=listen is None,
            base=earlier.overrides,
            seed=earlier.seed,
        )
        return run_scenario(scenario, placement, json_path=json_path, is_quiet=quiet)


def _size(manifest: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return (agents, regions, most workers of an agent) of a run, from its manifest."""
    assignment = manifest.get("assignment") or {}
    workers = max((int(agent.get("workers", 1)) for agent in manifest.get("agents") or ()), default=1)
    return len(assignment.get("agents", ())), len(set(assignment.get("regions", ()))), workers


app.command("push", epilog=bucket.PUSH)(bucket.push_run)
app.command("pull", epilog=bucket.PULL)(bucket.pull_run)
app.command("share", epilog=bucket.SHARE)(bucket.share_run)
app.command("metrics", epilog=cloudwatch_metrics.METRICS)(cloudwatch_metrics.metrics_of_run)
app.command("traces", epilog=xray_traces.TRACES)(xray_traces.traces_of_run)
