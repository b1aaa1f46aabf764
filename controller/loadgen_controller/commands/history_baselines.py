"""`loadgen history add`, `pin`, `strike` and `runs`: decide which runs later runs are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.history.store.store import IN_SPITE, Store
from loadgen.history.store.stored_run import Accepted, Key
from loadgen.report.report_tables import Table
from loadgen.units import format_count
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import ByOption, EnvOption, StoreOption
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.past_runs.read_run_for_history import accepted_in, promises_here, who
from loadgen_controller.screen.terminal_report import Output, print_table

__all__ = ["ByOption", "StoreOption", "register"]

ADD = """[bold]Examples[/bold]

loadgen history add last

loadgen history add 20261124-170312 20261124-181500 --store s3://perf/history"""
PIN = "[bold]Examples[/bold]\n\nloadgen history pin 20261124-170312 20261124-181500 --name 1.4"
STRIKE = '[bold]Examples[/bold]\n\nloadgen history strike 20261124-170312 --because "the database was being copied"'
RUNS = "[bold]Examples[/bold]\n\nloadgen history runs\n\nloadgen history runs --store s3://perf/history --json"

RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids, beginnings of ids, or `last`.")]


def register(app: typer.Typer) -> None:
    """Add the sub-commands to `loadgen history`."""
    app.command("add", epilog=ADD)(add_runs)
    app.command("pin", epilog=PIN)(pin_runs)
    app.command("strike", epilog=STRIKE)(strike_run)
    app.command("runs", epilog=RUNS)(list_runs)


def add_runs(
    runs: RunsArgument,
    store: StoreOption = None,
    env: EnvOption = None,
    because: Annotated[
        str, typer.Option(metavar="TEXT", help="Reason to accept a run that would be rejected; it is stored.")
    ] = "",
    by: ByOption = "",
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> None:
    """Accept runs into the history: later runs are compared with them.

    An invalid run is always rejected. A run that did not reach its rate, or that has warm-up in its figures, is
    rejected unless --because gives a reason to accept it. The run folder is no longer needed afterwards.
    """
    errors, history = CollectedErrors(), _open_store(store, env)
    promises = promises_here()
    read = (errors.catch(partial(accepted_in, run, runs_dir, promises)) for run in runs)
    found = [made for made in read if made is not None]
    errors.check()
    for made in found:
        before = history.matching(made.key)
        is_new = errors.catch(partial(history.add, made, because=because, by=who(by)))
        if is_new is not None:
            echo(f"{made.run_id}: {'accepted' if is_new else 'was already accepted'}, key {made.key.hash()}")
        if is_new and before and before[0].differences:
            near, differences = before[0], "; ".join(before[0].differences)
            echo(f"  the first run of its kind; it differs from the nearest {near.runs} in: {differences}")
    _print_troubles(history)
    errors.check()


def pin_runs(
    runs: RunsArgument,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the release.")],
    store: StoreOption = None,
    env: EnvOption = None,
    because: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason; without a reason, a spent performance budget stays spent.")
    ] = "",
    by: ByOption = "",
) -> None:
    """Pin accepted runs as the reference of a release. Later runs are also compared with it, which shows slow creep.

    Pinning other runs under the same name replaces the old ones.
    """
    errors, history = CollectedErrors(), _open_store(store, env)
    found = [one for run in runs if (one := errors.catch(partial(history.find, run))) is not None]
    errors.check()
    pinned = history.pin(list(dict.fromkeys(found)), name, because=because, by=who(by))
    echo(f"{pinned.name}: {', '.join(pinned.run_ids)}")
    _print_troubles(history)


def strike_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or `last`.")],
    because: Annotated[str, typer.Option(metavar="TEXT", help="The reason; it is stored.")],
    store: StoreOption = None,
    env: EnvOption = None,
    by: ByOption = "",
) -> None:
    """Exclude an accepted run from all comparisons from now on. The run and the reason remain visible."""
    history = _open_store(store, env)
    run_id = history.find(run)
    is_new = history.strike(run_id, because, by=who(by))
    echo(f"{run_id}: {'struck' if is_new else 'was already struck'}")
    _print_troubles(history)


def list_runs(
    store: StoreOption = None,
    env: EnvOption = None,
    key: Annotated[str, typer.Option(metavar="HASH", help="Only runs whose key begins with this.")] = "",
    newest: Annotated[int, typer.Option(min=1, metavar="N", help="Most runs to list per key.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the accepted runs, newest first, with the decisions about them. Runs with the same key can be compared."""
    history = _open_store(store, env)
    keys = [one for one in history.keys() if one.hash().startswith(key)]  # noqa: SIM118  # not a mapping
    if key and not keys:
        raise UsageError(
            f"no accepted run in {history} has a key that begins with {key}",
            hint="list all keys with: loadgen history runs",
        )
    marks = _marks(history, keys)
    found = {one: list(reversed(history.runs(one, newest=newest))) for one in keys}
    if as_json:
        echo_json(json.dumps([_as_json(one, runs, marks) for one, runs in found.items()], indent=2))
    elif not found:
        echo(f"no accepted runs in {history}; add one with: loadgen history add RUN --store {history}")
    else:
        for one, runs in found.items():
            head = f"{one.hash()}  {one.target}, {one.rate}, {one.placement} in {one.regions}, {one.instances}"
            rows = tuple(_row(run, marks) for run in runs)
            print_table(Output(), Table(head, ("run", "is", "commit", "labels", "names"), rows, words=4), ids=(0,))
        for run_id, event in history.struck().items():
            echo(f"struck: {run_id}: {event.because} ({event.by}, {event.at})")
    _print_troubles(history)


def _open_store(store: str | None, env: str | None) -> Store:
    errors = CollectedErrors()
    where = store_of(errors, store, env)
    errors.check()
    return Store.open(where)


def _marks(history: Store, keys: list[Key]) -> dict[str, str]:
    """Return what was decided about runs after they were accepted, by run id: pinned, or accepted with a reason."""
    overridden = {
        run_id: f"accepted because: {event.because}" for event in history.events(IN_SPITE) for run_id in event.run_ids
    }
    pinned = {run_id: f"reference {of.name}" for key in keys for of in history.references(key) for run_id in of.run_ids}
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


def _print_troubles(history: Store) -> None:
    for trouble in history.unreadable:
        echo(f"warning: {trouble}", err=True)
