"""Prints the trends of a history: a line for each name, then level changes, seasons, outliers and left-out runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, isnan
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from loadgen.history.store.stored_run import Accepted
from loadgen.history.trend.trends import Against, Change, Trend
from loadgen.report.report_tables import milliseconds
from loadgen.units import format_change, format_changes
from loadgen_controller.console_output import Text
from loadgen_controller.screen.sparkline import Cell, chart, spark

__all__ = ["print_trends"]

_SPARK: Final = 40
_CHARTS: Final = 3
"""Most names for which charts are drawn; with more names, none is drawn."""
_SLOWER, _FASTER, _OUTLIER, _QUIET = "red", "green", "magenta", "dim"
_MOST: Final = 12
"""Most entries in each list on the terminal. HTML and JSON have all entries."""


def print_trends(console: Console, found: Sequence[Trend]) -> None:
    """Print the table, charts and changes of level of all trends. `found` must not be empty."""
    console.print(_table(found))
    if len(found) <= _CHARTS:
        for one in found:
            console.print()
            console.print(Text(f"{one.name}, {one.percentile} of each run, ms", style="bold"))
            _print_chart(console, one)
    _print_changes(console, found)
    _print_seasons(console, found)
    _print_outliers(console, found)
    _print_left_out(console, found)


def _interval(low: float, high: float) -> str:
    """Return the interval of a change as text: "(95 %: +8.1 to +11.2 %)"."""
    return "(one run gives no interval)" if isnan(low) else f"(95 %: {format_changes(low, high)})"


def _table(found: Sequence[Trend]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column("Name", overflow="fold", min_width=12)
    drawn.add_column("Runs", justify="right", no_wrap=True)
    drawn.add_column(f"{found[0].percentile} of each run, oldest first", no_wrap=True)
    drawn.add_column("Now, ms", justify="right", no_wrap=True)
    drawn.add_column("Last change", justify="right", no_wrap=True)
    references = [one.reference for one in found[0].against]
    for name in references:
        drawn.add_column(Text(f"Against {name}"), justify="right")
    for one in found:
        last = one.changes[-1] if one.changes else None
        drawn.add_row(
            Text(one.name),
            str(len(one.runs)),
            _spark(one),
            milliseconds(one.now_ms),
            Text("none", style=_QUIET) if last is None else _coloured(last.change),
            *(_against(against) for against in one.against),
        )
    return drawn


def _against(one: Against) -> Text:
    """Return the difference as text: coloured if it is more than chance, else with its interval."""
    if one.low > 0 or one.high < 0:
        return _coloured(one.change)
    text = Text(format_change(one.change), style=_QUIET)
    return text if isnan(one.low) else text.append(f" ({format_changes(one.low, one.high)})")


def _coloured(change: float) -> Text:
    return Text(format_change(change), style=_SLOWER if change > 0 else _FASTER)


def _spark(one: Trend) -> Text:
    return _styled(spark(one.adjusted, _SPARK, [odd.at for odd in one.outliers]), one)


def _print_chart(console: Console, one: Trend) -> None:
    odd = [outlier.at for outlier in one.outliers]
    rows = chart(
        one.adjusted,
        [(level.start, level.end, level.height) for level in one.levels],
        width=max(20, min(len(one.runs), console.width - 12)),
        outliers=odd,
        text=lambda value: milliseconds(exp(value)),
    )
    for row in rows:
        console.print(_styled(row, one), no_wrap=True, crop=True)
    first, last = one.runs[0].started_at[:10], one.runs[-1].started_at[:10]
    pad = " " * (len(rows[0][0].text))
    console.print(Text(f"{pad}{first} to {last}", style=_QUIET))


def _styled(cells: Iterable[Cell], one: Trend) -> Text:
    """Return the cells as one text. Cells after a change of level have the colour of that change."""
    text = Text()
    for cell in cells:
        begun = [change for change in one.changes if change.at <= cell.at]
        style = ""
        if cell.is_outlier:
            style = _OUTLIER
        elif begun:
            style = _SLOWER if begun[-1].change > 0 else _FASTER
        text.append(cell.text, style=style or None)
    return text


def _print_changes(console: Console, found: Sequence[Trend]) -> None:
    """Print the level changes, grouped by the run with which the new level begins, newest first."""
    by_run: dict[str, list[tuple[Trend, Change]]] = {}
    for one in found:
        for change in one.changes:
            by_run.setdefault(change.after.run_id, []).append((one, change))
    console.print()
    if not by_run:
        console.print(Text("No name has a change of level.", style="bold"))
        return
    console.print(Text("Changes of level, newest first", style="bold"))
    newest = sorted(by_run.values(), key=lambda group: group[0][1].after.started_at, reverse=True)
    for group in newest[:_MOST]:
        _, first = group[0]
        console.print(Text(f"since {_called(first.after)}; previous run {_called(first.before)}"), soft_wrap=True)
        if details := "; ".join(text for text in (_commits(first), first.labels) if text):
            console.print(Text(f"  {details}", style=_QUIET), soft_wrap=True)
        for one, change in sorted(group, key=lambda pair: -abs(pair[1].change)):
            line = Text("  ").append(_coloured(change.change))
            console.print(line.append(f" {_interval(change.low, change.high)} {one.name}"), soft_wrap=True)
    if len(newest) > _MOST:
        console.print(Text(f"and {len(newest) - _MOST} more: --html and --json show all", style=_QUIET))


def _commits(change: Change) -> str:
    if not change.commits:
        return ""
    if ".." in change.commits:
        return f"commits {change.commits}"
    return f"commit {change.commits} on both sides: the cause is not in the scenario's repository"


def _called(run: Accepted) -> str:
    return f"{run.run_id} ({run.started_at[:16].replace('T', ' ')})"


def _print_seasons(console: Console, found: Sequence[Trend]) -> None:
    asked = [one for one in found if one.season is not None or one.no_season]
    if not asked:
        return
    console.print()
    console.print(Text("Seasons (STL, robust)", style="bold"))
    for one in asked:
        season = one.season
        if season is None:
            console.print(Text(f"  {one.name}: {one.no_season}"))
        elif not season.is_clear:
            console.print(Text(f"  {one.name}: no clear season (p {season.p:.2g}), so none was subtracted"))
        else:
            places = ", ".join(f"{place} {format_change(off)}" for place, off in season.places.items())
            filled = f"; {season.filled} days had no run" if season.filled else ""
            console.print(Text(f"  {one.name}: {places}; strength {season.strength:.2f}, subtracted above{filled}"))
            for what, values in (
                ("trend", season.trend),
                ("season", season.seasonal(one.values)),
                ("rest", season.rest),
            ):
                console.print(Text(f"    {what:7}").append("".join(cell.text for cell in spark(values, _SPARK))))


def _print_outliers(console: Console, found: Sequence[Trend]) -> None:
    by_run: dict[str, list[str]] = {}
    runs: dict[str, Accepted] = {}
    for one in found:
        for odd in one.outliers:
            runs[odd.run.run_id] = odd.run
            by_run.setdefault(odd.run.run_id, []).append(f"{one.name} {format_change(odd.change)}")
    if not by_run:
        return
    console.print()
    console.print(Text("Outliers: runs far from the other runs of their level. All figures include them", style="bold"))
    newest = sorted(by_run, key=lambda run_id: runs[run_id].started_at, reverse=True)
    for run_id in newest[:_MOST]:
        console.print(Text(f"  {_called(runs[run_id])}: {_some(by_run[run_id])}"), soft_wrap=True)
    if len(newest) > _MOST:
        console.print(Text(f"and {len(newest) - _MOST} more: --html and --json show all", style=_QUIET))


def _print_left_out(console: Console, found: Sequence[Trend]) -> None:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in found:
        for run_id, why in one.left_out:
            by_reason.setdefault((run_id, why), []).append(one.name)
    if not by_reason:
        return
    console.print()
    console.print(Text("Left out", style="bold"))
    newest = sorted(by_reason, reverse=True)
    for run_id, why in newest[:_MOST]:
        names = by_reason[run_id, why]
        of = "all names" if len(names) == len(found) else _some(names)
        console.print(Text(f"  {run_id}: {why} ({of})"), soft_wrap=True)
    if len(newest) > _MOST:
        console.print(Text(f"and {len(newest) - _MOST} more: --html and --json show all", style=_QUIET))


def _some(words: Sequence[str], most: int = 4) -> str:
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")
