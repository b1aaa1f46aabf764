"""Runs `loadgen history` after its options are read: reads the runs of one key, analyses and shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from loadgen.errors import UsageError
from loadgen.history.gate.aa_test_health import CONTROL, Health, State, health_of
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted, Key
from loadgen.history.trend.page import html
from loadgen.history.trend.trends import Trend, TrendSettings, trends
from loadgen.measure.run_folder.rundir import utc_text
from loadgen_controller.commands.trending.document import document_of
from loadgen_controller.commands.trending.select_runs import chosen
from loadgen_controller.console_output import Text, echo, echo_json
from loadgen_controller.screen.history_tables import print_trends
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.terminal_report import Output

__all__ = ["HistoryOptions", "print_health", "show"]

_STYLES: Final = {State.HEALTHY: "green", State.ILL: "red", State.BLIND: "yellow", State.UNKNOWN: "dim"}


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """The options of `loadgen history`, parsed."""

    store: Store
    look: TrendSettings
    key: str = ""
    target: str = ""
    since: datetime | None = None
    html: Path | None = None
    is_json: bool = False


def show(options: HistoryOptions) -> None:
    """Show the history of one kind of runs: as tables, as JSON, or as a web page in a file.

    If several kinds match, they are listed instead; a page or JSON needs exactly one.

    Raises:
        UsageError: there are no matching runs, or several kinds of them for a page or JSON.
        StorageError: the store cannot be read, or the page cannot be written.
    """
    store = options.store
    key = chosen(store, options.key, options.target, is_one=options.html is not None or options.is_json)
    if key is None:
        return
    every = store.runs(key)
    runs = [run for run in every if options.since is None or datetime.fromisoformat(run.started_at) >= options.since]
    for trouble in store.unreadable:
        echo(f"warning: left out: {trouble}", err=True)
    if not runs:
        raise UsageError(f"none of the {len(every)} runs is that recent", hint="choose an earlier time for --since")
    references = [(one, store.get(one.run_ids, is_whole=False)) for one in store.references(key)]
    found = trends(runs, options.look, references)
    if not found:
        raise UsageError(
            f"nothing in these {len(runs)} runs matches --name, or has a {options.look.percentile}",
            hint="change --name or --percentile",
        )
    health = health_of(store.events(CONTROL), key.hash())
    if options.html is not None:
        write(options.html, html(key, found, health, made_at=utc_text(datetime.now(UTC))))
        echo(f"wrote {options.html}", err=True)
    struck = _struck(store, key)
    if options.is_json:
        document = document_of(key, found, health, struck)
        echo_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    elif options.html is None:
        _print(Output(), key, runs, found, health, struck)


def print_health(console: Console, health: Health) -> None:
    """Print whether the gate is healthy, and its newest controls."""
    sentence = health.said()
    console.print(Text(f"{sentence[:1].upper()}{sentence[1:]}.", style=_STYLES[health.state]))
    if health.newest:
        newest = ", ".join(f"{one.details.get('outcome', '')} {one.at[:10]}" for one in health.newest[:5])
        more = " Run a new control." if health.is_stale(datetime.now(UTC)) else ""
        console.print(Text(f"The newest controls: {newest}.{more}", style="dim"))


def _print(
    console: Console,
    key: Key,
    runs: Sequence[Accepted],
    found: Sequence[Trend],
    health: Health,
    struck: dict[str, str],
) -> None:
    console.print(Text(f"{key.target} at {key.rate}", style="bold"))
    first, last = runs[0].started_at[:10], runs[-1].started_at[:10]
    kind = ", ".join(part for part in (key.placement, key.regions, key.instances) if part)
    console.print(Text(f"{len(runs)} accepted runs, {first} to {last}; {kind}; key {key.hash()}", style="dim"))
    print_health(console, health)
    console.print()
    print_trends(console, found)
    if struck:
        console.print()
        console.print(Text("Struck runs, not included above", style="bold"))
        for run_id, why in struck.items():
            console.print(Text(f"  {run_id}: {why}"), soft_wrap=True)


def _struck(store: Store, key: Key) -> dict[str, str]:
    """Return why each struck run of this kind was excluded, by run id: the reason, the person and the date."""
    events = store.struck()
    found = store.get(events, is_whole=False) if events else []
    reasons = {
        run_id: f"{one.because} ({', '.join(filter(None, (one.by, one.at[:10])))})" for run_id, one in events.items()
    }
    return {run.run_id: reasons[run.run_id] for run in found if run.key == key}
