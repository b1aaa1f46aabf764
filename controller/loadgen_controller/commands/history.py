"""`loadgen history`: shows the accepted runs over time. Its sub-commands change the history."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import STATISTICS
from loadgen.units import parse_ratio
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands import history_baselines, history_control
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.past_runs.listing import parse_since

EXAMPLES = """[bold]Examples[/bold]

loadgen history --store history

loadgen history --name "checkout > pay" --percentile p99 --since 90d

loadgen history --store s3://perf/history --key 3f9a --season weekly --html history.html

loadgen history add last --store history

loadgen history pin 20261124 20261125 --name 1.4

loadgen history strike 20261124 --because "the database was restored meanwhile"

loadgen history control checkout.py --env staging --store history"""

app = typer.Typer(
    help="Show the accepted runs over time: changes of level with their commits, outliers, seasons and pinned"
    " references; and whether the gate is healthy.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
)
history_baselines.register(app)

_LEAST_SEASON, _MOST_SEASON = 2, 366


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    store: StoreOption = None,
    env: EnvOption = None,
    key: Annotated[
        str,
        typer.Option(
            metavar="HASH",
            help="If the history has runs of several plans or targets: show those whose key begins with this.",
        ),
    ] = "",
    target: Annotated[str, typer.Option(metavar="TEXT", help="Choose the kind of runs by a part of its target.")] = "",
    name: Annotated[
        str, typer.Option(metavar="REGEX", help="Only journeys, steps and requests whose names match.")
    ] = "",
    percentile: Annotated[str, typer.Option(metavar="P", help="Statistic to show: p50, p95, p99 or mean.")] = "p95",
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only runs since this time: 90d, 2026-11-24 or 2026-11-24T17:00 (UTC)."),
    ] = None,
    season: Annotated[
        str | None,
        typer.Option(
            metavar="RUNS|weekly", help="Look for a pattern that repeats after this number of runs, or weekly."
        ),
    ] = None,
    ar: Annotated[
        bool,
        typer.Option("--ar", help="Take into account that consecutive runs resemble each other (autocorrelation)."),
    ] = False,
    min_effect: Annotated[str, typer.Option(metavar="SHARE", help="Ignore changes of level smaller than this.")] = "3%",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the history as one self-contained web page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the history as JSON.")] = False,
) -> None:
    """Run `loadgen history` without a sub-command. Its help text is that of `app`."""
    if context.invoked_subcommand is not None:
        return
    errors = CollectedErrors()
    pattern = _pattern(errors, name)
    after = errors.parse("--since", since, lambda text: parse_since(text, datetime.now(UTC)))
    every = errors.parse("--season", season, _season)
    least = errors.parse("--min-effect", min_effect, parse_ratio)
    if percentile not in STATISTICS:
        errors.add(f'--percentile: unknown statistic "{percentile}"', "use p50, p95, p99 or mean")
    errors.check_file("--html", html)
    where = store_of(errors, store, env)
    opened = errors.catch(lambda: Store.open(where))
    errors.check()
    assert opened is not None
    assert least is not None
    with needing_analysis("loadgen history"):
        from loadgen.history.trend.trends import TrendSettings
        from loadgen_controller.commands.trending import show_history
    look = TrendSettings(percentile, min_effect=least, ar=ar, season=every, name=pattern)
    show_history.show(show_history.HistoryOptions(opened, look, key, target, after, html, as_json))


# -- parsing options ----------------------------------------------------------------------------------


def _pattern(errors: CollectedErrors, text: str) -> re.Pattern[str] | None:
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as wrong:
        errors.add(
            f'--name: invalid regular expression "{text}": {wrong}', "escape special characters with a backslash"
        )
        return None


def _season(text: str) -> int:
    if text == "weekly":
        return 0
    if not text.isdecimal() or not _LEAST_SEASON <= int(text) <= _MOST_SEASON:
        raise ValueError(
            f'invalid season "{text}"; write a number of runs from {_LEAST_SEASON} to {_MOST_SEASON}, or weekly'
        )
    return int(text)


app.command("control", epilog=history_control.EXAMPLES)(history_control.control)
