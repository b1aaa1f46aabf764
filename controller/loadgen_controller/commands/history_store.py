"""`loadgen history add`, `pin`, `strike`, `runs`: which runs later ones are compared with, and who decided that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.history.store.baseline_run import Accepted, Key
from loadgen.history.store.store import IN_SPITE, Store
from loadgen.report.report_tables import Table
from loadgen.units import format_count
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.past_runs.accepting import accepted_in, who
from loadgen_controller.planning.options import store_of
from loadgen_controller.screen.terminal_report import Output, print_table
from loadgen_controller.terminal import echo, echo_json

__all__ = ["StoreOption", "register"]

ADD = """[bold]Examples[/bold]

loadgen history add last

loadgen history add 20261124-170312 20261124-181500 --store s3://perf/history"""
PIN = "[bold]Examples[/bold]\n\nloadgen history pin 20261124-170312 20261124-181500 --name 1.4"
STRIKE = '[bold]Examples[/bold]\n\nloadgen history strike 20261124-170312 --because "the database was being copied"'
RUNS = "[bold]Examples[/bold]\n\nloadgen history runs\n\nloadgen history runs --store s3://perf/history --json"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="LOADGEN_STORE",
        metavar="DIR|s3://...",
        help="Where accepted runs are kept; else where loadgen.toml says, or in the folder history.",
    ),
]
RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, how they begin, or `last`.")]
ByOption = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; else the user of this machine.")]


def register(app: typer.Typer) -> None:
    """As sub-commands of `loadgen history`."""
    app.command("add", epilog=ADD)(add_runs)
    app.command("pin", epilog=PIN)(pin_runs)
    app.command("strike", epilog=STRIKE)(strike_run)
    app.command("runs", epilog=RUNS)(list_runs)


def add_runs(
    runs: RunsArgument,
    store: StoreOption = None,
    env: EnvOption = None,
    because: Annotated[
        str, typer.Option(metavar="TEXT", help="Accept it in spite of what speaks against it; is kept.")
    ] = "",
    by: ByOption = "",
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the run folders are.")] = Path("runs"),
) -> None:
    """Accept runs: later ones are compared with them.

    A run that was not measured properly is refused; so is one whose rate was not reached or that has warm-up in its
    figures, unless --because says why it is to be taken all the same. Its folder is not needed any more afterwards.
    """
    wrongs, shelf = CollectedErrors(), _shelf(store, env)
    found = [made for run in runs if (made := wrongs.catch(partial(accepted_in, run, runs_dir))) is not None]
    wrongs.check()
    for made in found:
        before = shelf.matching(made.key)
        is_new = wrongs.catch(partial(shelf.add, made, because=because, by=who(by)))
        if is_new is not None:
            echo(f"{made.run_id}: {'accepted' if is_new else 'is there already'}, key {made.key.hash()}")
        if is_new and before and before[0].differences:
            near = before[0]
            echo(f"  the first of its kind; the nearest {near.runs} differ: {'; '.join(near.differences)}")
    _tell(shelf)
    wrongs.check()


def pin_runs(
    runs: RunsArgument,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the release is called.")],
    store: StoreOption = None,
    env: EnvOption = None,
    by: ByOption = "",
) -> None:
    """Make accepted runs the reference of a release: later ones are compared with it, too, so that slow creep is seen.

    Pinned again under the same name, the new runs take the place of the old ones.
    """
    wrongs, shelf = CollectedErrors(), _shelf(store, env)
    found = [one for run in runs if (one := wrongs.catch(partial(shelf.find, run))) is not None]
    wrongs.check()
    pinned = shelf.pin(list(dict.fromkeys(found)), name, by=who(by))
    echo(f"{pinned.name}: {', '.join(pinned.run_ids)}")
    _tell(shelf)


def strike_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, how it begins, or `last`.")],
    because: Annotated[str, typer.Option(metavar="TEXT", help="Why; is kept.")],
    store: StoreOption = None,
    env: EnvOption = None,
    by: ByOption = "",
) -> None:
    """Take an accepted run out of all comparisons from now on. Nothing is deleted: it stays to be seen, and why."""
    shelf = _shelf(store, env)
    run_id = shelf.find(run)
    is_new = shelf.strike(run_id, because, by=who(by))
    echo(f"{run_id}: {'struck' if is_new else 'was struck already'}")
    _tell(shelf)


def list_runs(
    store: StoreOption = None,
    env: EnvOption = None,
    key: Annotated[str, typer.Option(metavar="HASH", help="Only of this key, or those that begin so.")] = "",
    newest: Annotated[int, typer.Option(min=1, metavar="N", help="Of each key at most so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> None:
    """List the accepted runs by key, newest first: what they can be compared with, and what was decided about them."""
    shelf = _shelf(store, env)
    keys = [one for one in shelf.keys() if one.hash().startswith(key)]  # noqa: SIM118  # no mapping
    if key and not keys:
        raise UsageError(f"no accepted run in {shelf} has a key that begins with {key}")
    marks = _marks(shelf, keys)
    found = {one: list(reversed(shelf.runs(one, newest=newest))) for one in keys}
    if as_json:
        echo_json(json.dumps([_as_json(one, runs, marks) for one, runs in found.items()], indent=2))
    elif not found:
        echo(f"no accepted runs in {shelf}; begin with: loadgen history add RUN --store {shelf}")
    else:
        for one, runs in found.items():
            head = f"{one.hash()}  {one.target}, {one.rate}, {one.placement} in {one.regions}, {one.instances}"
            rows = tuple(_row(run, marks) for run in runs)
            print_table(Output(), Table(head, ("run", "is", "commit", "labels", "names"), rows, words=4), ids=(0,))
        for run_id, event in shelf.struck().items():
            echo(f"struck: {run_id}: {event.because} ({event.by}, {event.at})")
    _tell(shelf)


def _shelf(store: str | None, env: str | None) -> Store:
    wrongs = CollectedErrors()
    where = store_of(wrongs, store, env)
    wrongs.check()
    return Store.open(where)


def _marks(shelf: Store, keys: list[Key]) -> dict[str, str]:
    """What was decided about runs beside that they were accepted."""
    overridden = {
        run_id: f"in spite of: {event.because}" for event in shelf.events(IN_SPITE) for run_id in event.run_ids
    }
    pinned = {run_id: f"reference {of.name}" for key in keys for of in shelf.references(key) for run_id in of.run_ids}
    names = [*overridden, *(one for one in pinned if one not in overridden)]
    return {one: ", ".join(filter(None, (pinned.get(one), overridden.get(one)))) for one in names}


def _row(run: Accepted, marks: Mapping[str, str]) -> tuple[str, ...]:
    names = len({figure.name for figure in run.figures})
    labels = " ".join(f"{name}={value}" for name, value in run.labels.items())
    return run.run_id, marks.get(run.run_id, run.result), run.commit[:12] or "-", labels or "-", format_count(names)


def _as_json(key: Key, runs: list[Accepted], marks: Mapping[str, str]) -> dict[str, object]:
    of_key = {name: getattr(key, name) for name in key.__slots__}
    return {"key": key.hash(), **of_key, "runs": [dict(_run_as_json(run, marks)) for run in runs]}


def _run_as_json(run: Accepted, marks: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for name in ("run_id", "started_at", "duration_s", "commit", "result", "validity"):
        yield name, getattr(run, name)
    yield "labels", dict(run.labels)
    yield "is", marks.get(run.run_id, "")


def _tell(shelf: Store) -> None:
    for trouble in shelf.troubles:
        echo(f"warning: {trouble}", err=True)
