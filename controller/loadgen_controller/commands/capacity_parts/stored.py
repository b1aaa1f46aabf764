"""`loadgen capacity list` and `show`: the studies in a history."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen.report.report_parts import Table
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.console_output import Text, echo, echo_json
from loadgen_controller.screen.terminal_report import Output, print_table

__all__ = ["LIST", "SHOW", "list_studies", "show_study"]

LIST = "[bold]Examples[/bold]\n\nloadgen capacity list\n\nloadgen capacity list --store s3://perf/history --json"
SHOW = "[bold]Examples[/bold]\n\nloadgen capacity show C-12\n\nloadgen capacity show C-12 --json"

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def list_studies(store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """List the studies of capacity and the sweeps in a history, the newest first."""
    opened = _opened(store)
    found = list(reversed(opened.studies()))
    if as_json:
        rows = [{"id": one.id, "at": one.at, "by": one.by, "study": one.study} for one in found]
        echo_json(json.dumps(rows, indent=2))
        return
    if not found:
        echo(f"no studies in {opened} yet: loadgen capacity find FILE:PLAN --store {opened}")
    else:
        rows_shown = tuple(
            (one.id, one.at[:16].replace("T", " "), one.kind, str(one.study.get("headline", ""))) for one in found
        )
        print_table(Output(), Table("", ("id", "time", "kind", "result"), rows_shown, words=4), ids=(0,))
    for why in opened.unreadable:
        echo(f"warning: {why}", err=True)


def show_study(
    study: Annotated[str, typer.Argument(metavar="C-N", help="The id of the study.")],
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one study from a history."""
    record = _opened(store).study(study)
    if as_json:
        echo_json(json.dumps({"id": record.id, "at": record.at, "by": record.by, "study": record.study}, indent=2))
        return
    lines = record.study.get("lines")
    console = Output()
    console.print(Text(f"{record.id}: {record.kind} of {record.study.get('title', '')}", style="bold"))
    console.print(Text(f"{record.at} by {record.by}"))
    console.print(Text(str(record.study.get("headline", ""))))
    for line in lines if isinstance(lines, list) else ():
        console.print(Text(str(line)))
    runs = record.study.get("run_ids")
    if isinstance(runs, list) and runs:
        console.print(Text(f"runs: {', '.join(map(str, runs))}"))


def _opened(store: str | None) -> Store:
    errors = CollectedErrors()
    url = store_of(errors, store, None)
    opened = errors.catch(lambda: Store.open(url))
    errors.check()
    if opened is None:
        raise UsageError("no store", hint="give --store DIR")
    return opened
