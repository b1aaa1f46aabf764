"""`loadgen history`: what accepted runs have done over time; and the history's own book-keeping as sub-commands."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from loadgen.history.store.baseline_run import STATISTICS
from loadgen.history.store.store import Store
from loadgen.units import parse_ratio
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands import history_control, history_store
from loadgen_controller.commands.history_store import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.past_runs.listing import parse_since
from loadgen_controller.planning.options import store_of

EXAMPLES = """[bold]Examples[/bold]

loadgen history --store history

loadgen history --name "checkout > pay" --percentile p99 --since 90d

loadgen history --store s3://perf/history --key 3f9a --season weekly --html history.html

loadgen history add last --store history

loadgen history pin 20261124 20261125 --name 1.4

loadgen history strike 20261124 --because "the database was restored meanwhile"

loadgen history control checkout.py --env staging --store history"""

app = typer.Typer(
    help="What accepted runs have done: changes of level with their commits, outliers, seasons, pinned references; and"
    " whether the gate is healthy.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
)
history_store.register(app)

_LEAST_SEASON, _MOST_SEASON = 2, 366


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    store: StoreOption = None,
    env: EnvOption = None,
    key: Annotated[
        str,
        typer.Option(metavar="HASH", help="Which runs, where there are several kinds; how its name begins will do."),
    ] = "",
    target: Annotated[str, typer.Option(metavar="TEXT", help="The same, by a part of the target's name.")] = "",
    name: Annotated[
        str, typer.Option(metavar="REGEX", help="Only journeys, steps and requests called like this.")
    ] = "",
    percentile: Annotated[str, typer.Option(metavar="P", help="p50, p95, p99 or mean.")] = "p95",
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs since: 90d, 2026-11-24, 2026-11-24T17:00 (UTC).")
    ] = None,
    season: Annotated[
        str | None,
        typer.Option(metavar="RUNS|weekly", help="Look for what comes round after so many runs, or every week."),
    ] = None,
    ar: Annotated[bool, typer.Option("--ar", help="Allow for runs that are like those just before them.")] = False,
    min_effect: Annotated[str, typer.Option(metavar="SHARE", help="Smaller changes are none.")] = "3%",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="All of it as one page that opens anywhere.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON on stdout.")] = False,
) -> None:
    """The bare command; its help is the app's."""
    if context.invoked_subcommand is not None:
        return
    wrongs = CollectedErrors()
    pattern = _pattern(wrongs, name)
    after = wrongs.parse("--since", since, lambda text: parse_since(text, datetime.now(UTC)))
    every = wrongs.parse("--season", season, _season)
    least = wrongs.parse("--min-effect", min_effect, parse_ratio)
    if percentile not in STATISTICS:
        wrongs.add(f'--percentile: there is no "{percentile}"', "p50, p95, p99 or mean")
    wrongs.check_file("--html", html)
    where = store_of(wrongs, store, env)
    opened = wrongs.catch(lambda: Store.open(where))
    wrongs.check()
    assert opened is not None
    assert least is not None
    with needing_analysis("loadgen history"):
        from loadgen.history.trend.trends import Look
        from loadgen_controller.commands.trending import trend_command
    look = Look(percentile, min_effect=least, ar=ar, season=every, name=pattern)
    trend_command.show(trend_command.Asked(opened, look, key, target, after, html, as_json))


# -- what is asked ----------------------------------------------------------------------------------


def _pattern(wrongs: CollectedErrors, text: str) -> re.Pattern[str] | None:
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as wrong:
        wrongs.add(f'--name: "{text}" is no regular expression: {wrong}')
        return None


def _season(text: str) -> int:
    if text == "weekly":
        return 0
    if not text.isdecimal() or not _LEAST_SEASON <= int(text) <= _MOST_SEASON:
        raise ValueError(f'"{text}" is no season: so many runs, {_LEAST_SEASON} to {_MOST_SEASON}, or weekly')
    return int(text)


app.command("control", epilog=history_control.EXAMPLES)(history_control.control)
