"""Shows a running run: redrawn four times a second on a terminal, and one line each 10 s elsewhere.

This module draws `Figures` and computes nothing. The order is that of the page and the report: objectives, rates,
response times, errors, agents. Everything fits in 80 by 24 characters: long lists are cut at the bottom, and a last
line shows the number of missing rows. From 150 columns on, the last interval is shown next to the whole run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from time import monotonic
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.run_fitness import Cause, cause_of
from loadgen.units import format_count, format_rate, format_ratio, quantity
from loadgen_controller.console_output import Text
from loadgen_controller.judging.verdict import POOL_LIMITED_ABOVE
from loadgen_controller.screen.live_figures import QUANTILES, AgentRow, Cells, Figures, Row, SloRow, Streams
from loadgen_controller.screen.terminal_report import STYLES

__all__ = ["LINE_EVERY_S", "REFRESH_S", "WIDE", "Screen", "line", "show", "unfit_line"]

REFRESH_S = 0.25
LOOKING_SHARE = 0.05
LISTING_SHARE = 0.02
"""Largest parts of the loop's time for the live view, on a terminal and elsewhere. If it takes more, it is redrawn less
often, down to once a second."""
WIDE = 150
"""Columns from which on the last interval is shown next to the whole run."""

LINE_EVERY_S = 10.0
"""Seconds between two lines if the output is not a terminal. The variable LOADGEN_LINE_EVERY_S has another number."""
_MOST_UNFIT = 2
"""Most unfit agents or workers that a line names: with a hundred, the line would fill pages."""

MARKS = {"passed": "✔", "failed": "✘", "inconclusive": "?"}
PHASE_STYLES = {"running": "bold green", "paused": "bold yellow", "draining": "bold yellow", "done": "bold"}


async def show(look: Callable[[], Figures], console: Console, page: str = "") -> None:
    """Show a run on the terminal and refresh the view, until cancelled.

    The view uses the alternate screen, so that only the final report stays on the terminal.

    Args:
        look: returns the present figures; called on this loop up to four times a second.
        page: address of the run's web page, shown at the bottom, because the alternate screen hides earlier output.
            Empty: the run has no page.
    """
    if not console.is_terminal:
        await _lines(look, console)
        return
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began_s = monotonic()
            live.update(Screen(look(), page), refresh=True)
            await asyncio.sleep(_pause_s(monotonic() - began_s))


def _line_every_s() -> float:
    """Return LOADGEN_LINE_EVERY_S, or the default if it is not a number of at least 0."""
    try:
        every_s = float(os.environ.get("LOADGEN_LINE_EVERY_S", ""))
    except ValueError:
        return LINE_EVERY_S
    return every_s if every_s >= 0 else LINE_EVERY_S


async def _lines(look: Callable[[], Figures], console: Console) -> None:
    """Print a line for the first interval and then each 10 s of the run; and at once, what is new.

    At once are printed: a new phase, a new note, and each agent that is unfit for the first time.
    """
    every_s = _line_every_s()
    shown, next_s = -1, 0.0
    unfit: set[str] = set()
    phase = ""
    notices: set[str] = set()
    while True:
        began_s = monotonic()
        figures = look()
        for notice in figures.notices:
            if notice not in notices:
                notices.add(notice)
                console.print(Text(f"note: {notice}"), soft_wrap=True)
        if figures.phase != phase:
            phase = figures.phase
            console.print(Text(f"{_clock(figures.clock_s)}  {phase}: {figures.reported_text}"), soft_wrap=True)
        if figures.last_s and figures.last_n != shown:
            shown = figures.last_n
            if shown * figures.last_s >= next_s:
                next_s = shown * figures.last_s + every_s
                console.print(Text(line(figures)), soft_wrap=True)
            if new := [text for text in figures.unfit if text.partition(":")[0] not in unfit]:
                unfit |= {text.partition(":")[0] for text in new}
                console.print(Text(unfit_line(figures, new)), soft_wrap=True)
        await asyncio.sleep(_pause_s(monotonic() - began_s, LISTING_SHARE))


def _pause_s(took_s: float, share: float = LOOKING_SHARE) -> float:
    """Return the pause before the next drawing in seconds.

    With many agents drawing is slow, and the agents come first.
    """
    return min(max(REFRESH_S, took_s / share), 1.0)


def unfit_line(f: Figures, unfit: Sequence[str]) -> str:
    """Return the agents or workers in `unfit`, with their reasons in the last interval, as one line of text."""
    more = [f"{len(unfit) - _MOST_UNFIT} more"] if len(unfit) > _MOST_UNFIT else []
    return f"{_clock(f.last_n * f.last_s)}  unfit to measure: {', '.join((*unfit[:_MOST_UNFIT], *more))}"


def line(f: Figures) -> str:
    """Return the figures of the last interval as one line of text, for logs."""
    start = f.last_n * f.last_s
    rate = format_rate(f.achieved_per_s or 0)
    of = f" of {format_rate(f.offered_per_s)}" if f.offered_per_s is not None else ""
    parts = [
        f"{_clock(start)} to {_clock(start + f.last_s)}",
        f.reported_text,
        f"{rate}{of} iterations" + (" (warm-up)" if f.is_warmup else ""),
        f"{format_rate(f.requests_per_s or 0)} requests",
    ]
    for row in f.journeys:
        parts.append(f"{row.name}: last p95 {_ms(row.last, 95)} p99 {_ms(row.last, 99)} of {_n(row.last)}")
        parts.append(f"run p95 {_ms(row.run, 95)} p99 {_ms(row.run, 99)} of {_n(row.run)}")
    parts += [] if f.streams is None else _stream_parts(f.streams)
    parts.append(f"{format_count(f.total.iterations_errors)} iterations failed")
    if f.unfit:
        parts.append(f"{len(f.unfit)} unfit to measure")
    if f.pool_limited_share > POOL_LIMITED_ABOVE:
        parts.append(f"pool-limited {format_ratio(f.pool_limited_share)} of requests")
    parts += f.meeting[:1]
    parts += f.counted[:1]
    for slo in f.slos:
        if slo.verdict == "failed":
            parts.append(", ".join(part for part in (f"failing: {slo.objective}", slo.budget, slo.traces) if part))
    return ", ".join(parts)


def _stream_parts(streams: Streams) -> list[str]:
    """Return the figures of requests to AI models in the order of decision."""
    ttft, itl = streams.ttft, streams.itl
    return [
        f"ttft p50 {_ms(ttft, 50)} p95 {_ms(ttft, 95)} p99 {_ms(ttft, 99)}",
        f"itl p50 {_ms(itl, 50)} p99 {_ms(itl, 99)}",
        f"{format_count(round(streams.output_tokens_per_s))} output tok/s",
        f"{quantity(streams.in_flight, 'request')} in flight",
        *([f"goodput {streams.goodput}"] if streams.goodput else []),
    ]


def _ms(cells: Cells, q: float) -> str:
    text = cells.text()[QUANTILES.index(q)]
    return text if text == "-" else f"{text} ms"


def _n(cells: Cells) -> str:
    return format_count(cells.count)


class Screen:
    """The view of one set of figures, fitted to the size of the terminal.

    page: address of the run's web page; empty: the run has no page.
    """

    def __init__(self, figures: Figures, page: str = "") -> None:
        self.figures, self.page = figures, page

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        draw = _wide if width >= WIDE else _narrow
        # Broken at the width and not cut: a part of the address would be useless.
        page = Text(f"page: {self.page}" if self.page else "", style="dim")
        yield from draw(self.figures, width, height - ceil(len(page) / width))
        if page:
            yield from (page[at : at + width] for at in range(0, len(page), width))


# -- layouts ----------------------------------------------------------------------------------


def _narrow(f: Figures, width: int, height: int) -> Iterable[Table | Text]:
    slos, errors, agents, notices = len(f.slos), min(len(f.errors), 1), len(f.agents), min(len(f.notices), 2)
    fixed = 3 + 1 + 2 * len(f.journeys) + (f.streams is not None)
    _, counted, parts, slos, regions, agents, errors, notices = fit(
        height,
        [
            (fixed, fixed),
            (min(len(f.counted) + len(f.meeting), 1), 0),
            (len(f.parts), 2),
            (slos, 3),
            (len(f.regions), 2),
            (agents, 1),
            (errors, 1),
            (notices, 1),
        ],
    )
    yield from _head(f, width)
    yield from _slos(f.slos, slos, width)
    yield _rates(f)
    yield from _streams(f, width)
    table = _table(width, ("response, ms", "count", *_names()))
    for row in f.journeys:
        table.add_row(_name(row.name, "bold", f" last {f.last_s:g} s", is_unfit=row.is_unfit), *_cells(row.last))
        table.add_row(_name("  whole run" + (" (warm-up)" if f.is_warmup else ""), "bold"), *_cells(row.run))
    for row in _cut(table, f.regions, regions):
        table.add_row(_name(row.name, "cyan"), *_cells(row.run))
    for row in _cut(table, f.parts, parts):
        table.add_row(_name(row.name), *_cells(row.run))
    yield table
    if counted:
        yield _counted(f, width)
    if errors:
        yield _errors(f, width)
    yield from _agents(f, agents, width)
    yield from _notices(f.notices, notices, width)


def _wide(f: Figures, width: int, height: int) -> Iterable[Table | Text]:
    notices, counted = min(len(f.notices), 3), min(len(f.counted) + len(f.meeting), 1)
    wanted = 1 + len(f.journeys) + len(f.regions) + len(f.parts)
    least = 1 + len(f.journeys) + min(len(f.regions), 1) + min(len(f.parts), 1)
    below = max(len(f.agents), min(len(f.errors), 6)) + 1
    blanks = 3
    room = height - 3 - blanks - notices - counted - (f.streams is not None)
    slos, above, below = fit(room, [(len(f.slos), 3), (wanted, least), (below, 3)])
    parts, regions = fit(above - 1 - len(f.journeys), [(len(f.parts), 1), (len(f.regions), 1)])
    yield from _head(f, width)
    yield Text()
    yield from _slos(f.slos, slos, width)
    yield _rates(f)
    yield from _streams(f, width)
    yield Text()
    last = f"last {f.last_s:g} s"
    names = _names()
    run = "warm-up" if f.is_warmup else "whole run"
    table = _table(width, ("response, ms", last, *names, " │", run, *names))
    for row in f.journeys:
        table.add_row(_name(row.name, "bold", is_unfit=row.is_unfit), *_cells(row.last), " │", *_cells(row.run))
    for row in _cut(table, f.regions, regions):
        table.add_row(_name(row.name, "cyan", is_unfit=row.is_unfit), *_cells(row.last), " │", *_cells(row.run))
    for row in _cut(table, f.parts, parts):
        table.add_row(_name(row.name), *_cells(row.last), " │", *_cells(row.run))
    yield table
    yield Text()
    third = (width - 4) // 3
    rest = width - third - 2
    two_columns = Table.grid(padding=(0, 2))
    two_columns.add_column(width=third)
    two_columns.add_column(width=rest)
    two_columns.add_row(
        _stack("errors", _error_lines(f, below - 1, third), third),
        _stack("agents", _agents(f, below - 1, rest), rest),
    )
    yield two_columns
    if counted:
        yield _counted(f, width)
    yield from _notices(f.notices, notices, width)


def fit(room: int, wishes: Sequence[tuple[int, int]]) -> list[int]:
    """Return how many rows each block of the view gets if `room` rows are free.

    If room is short, the first blocks are cut first.

    wishes: (wanted rows, least rows) for each block. The sum may exceed `room` if all blocks have their least.
    """
    given = [wanted for wanted, _ in wishes]
    for n, (wanted, least) in enumerate(wishes):
        over = sum(given) - room
        if over <= 0:
            break
        given[n] = max(min(wanted, least), wanted - over)
    return given


# -- blocks -----------------------------------------------------------------------------------


def _head(f: Figures, width: int) -> Iterable[Table | Text]:
    title = Text(f"{f.plan}  ", style="bold", no_wrap=True, overflow="ellipsis").append(f.run_id, style="dim")
    whole = all(a.has_reported for a in f.agents) or not f.last_s
    reported = Text(f.reported_text, style="green" if whole else "bold yellow")
    if f.pool_limited_share > POOL_LIMITED_ABOVE:
        reported = Text(f"pool-limited {format_ratio(f.pool_limited_share)}  ", style="bold yellow").append(reported)
    yield _pair(title, reported, width)

    phase = "warm-up" if f.is_warmup and f.phase == "running" else f.phase
    clock = _clock(f.clock_s) + (f" of {_clock(f.duration_s)}" if f.duration_s else "")
    left = Text(f"{phase} ", style=PHASE_STYLES.get(phase, "bold cyan")).append(clock, style="default")
    if f.clock_s < 0:
        left = Text(f"starts in {ceil(-f.clock_s)} s", style="bold cyan")
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(width=max(width - left.cell_len - 1, 1))
    share = min(max(f.clock_s, 0) / f.duration_s, 1) if f.duration_s else 0
    row.add_row(left, ProgressBar(total=1, completed=share) if f.duration_s else Text())
    yield row


def _rates(f: Figures) -> Text:
    rates = Text(no_wrap=True, overflow="ellipsis")
    if f.offered_per_s is not None:
        rates.append("offered ").append(format_rate(f.offered_per_s), style="bold").append("  ")
    elif f.level is not None:
        rates.append("planned ").append(quantity(f.level, "user"), style="bold").append("  ")
    rates.append("achieved ").append(_rate(f.achieved_per_s), style=_rate_style(f))
    rates.append("  requests ").append(_rate(f.requests_per_s), style="bold")
    rates.append("  users ").append(format_count(f.users), style="bold").append(f", {format_count(f.in_flight)} busy")
    rates.append(f", {format_count(f.waiting)} waiting", style="yellow" if f.waiting else "")
    return rates


def _streams(f: Figures, width: int) -> Iterator[Text]:
    """Yield one line about requests to AI models in the last interval; nothing before the first such request."""
    if f.streams is None:
        return
    ttft, itl = f.streams.ttft.text(), f.streams.itl.text()
    p50, p95, p99 = (QUANTILES.index(q) for q in (50, 95, 99))
    middle = f" p95 {ttft[p95]}" if width >= WIDE else ""
    shown = {
        "ttft p50 " if width >= WIDE else "ttft ": f"{ttft[p50]}{middle} p99 {ttft[p99]} ms",
        "  itl p50 " if width >= WIDE else "  itl ": f"{itl[p50]} p99 {itl[p99]}{' ms' if width >= WIDE else ''}",
        "  output tok/s " if width >= WIDE else "  tok/s ": format_count(round(f.streams.output_tokens_per_s)),
        "  requests in flight " if width >= WIDE else "  in flight ": format_count(f.streams.in_flight),
        "  goodput ": f.streams.goodput,
    }
    text = Text(no_wrap=True)
    for name, figure in shown.items():
        if figure:
            text.append(name).append(figure, style="bold")
    text.truncate(width, overflow="ellipsis")
    yield text


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else format_rate(per_s)


def _rate_style(f: Figures) -> str:
    """Return the style of the rate: yellow if less than 95 % of the planned rate was started."""
    short = f.offered_per_s and f.achieved_per_s is not None and f.achieved_per_s < 0.95 * f.offered_per_s
    return "bold yellow" if short else "bold"


def _table(width: int, columns: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.width = width
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for name in columns[1:]:
        table.add_column(justify="right", no_wrap=True, min_width=1 if "│" in name else 7)
    table.add_row(*(Text(name, style="dim") for name in columns))
    return table


def _names() -> tuple[str, ...]:
    return tuple(f"p{q:g}" for q in QUANTILES)


def _name(text: str, style: str = "", more: str = "", *, is_unfit: bool = False) -> Text:
    """Return a name as styled text.

    is_unfit: a mark states that the generator was not fit to measure in the last interval.
    """
    name = Text(text, style=style, no_wrap=True, overflow="ellipsis").append(more, style="not bold")
    return name.append(" unfit", style="bold yellow") if is_unfit else name


def _cells(cells: Cells) -> tuple[str, ...]:
    return (_n(cells), *cells.text())


def _cut(table: Table, rows: Sequence[Row], room: int) -> Iterator[Row]:
    """Yield the rows that fit in `room`; if some do not, add a last line with their number to the table."""
    if len(rows) <= room:
        yield from rows
    elif room:
        yield from rows[: room - 1]
        table.add_row(Text(f"... and {len(rows) - room + 1} more", style="dim"))


def _slos(slos: Sequence[SloRow], room: int, width: int) -> Iterable[Text]:
    worst_first = sorted(slos, key=lambda s: ("failed", "inconclusive", "passed").index(s.verdict))
    shown = worst_first[: room if len(slos) <= room else max(room - 1, 0)]
    for slo in shown:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{MARKS.get(slo.verdict, '?')} ", style=STYLES.get(slo.verdict, ""))
        text.append(slo.objective).append(f"  {slo.observed}", style="bold").append(f" of {format_count(slo.count)}")
        text.append(
            "".join(f"  {part}" for part in (slo.margin, slo.budget) if part), style=STYLES.get(slo.verdict, "")
        )
        text.append(f"  {slo.window}" if slo.window else "", style="dim")
        text.append(f"  {slo.traces}" if slo.traces else "", style="dim")
        text.truncate(width, overflow="ellipsis")
        yield text
    if len(shown) < len(slos) and room:
        failing = sum(s.verdict == "failed" for s in slos)
        yield Text(f"  ... and {len(slos) - len(shown)} more objectives; {failing} of all are failing", style="dim")


def _errors(f: Figures, width: int) -> Text:
    text = Text("errors ", style="dim", no_wrap=True)
    for n, (outcome, count) in enumerate(f.errors):
        text.append(" · " if n else "", style="dim").append(f"{outcome} {format_count(count)}", style="red")
    text.truncate(width, overflow="ellipsis")
    return text


def _counted(f: Figures, width: int) -> Text:
    """Return one line with waiting users at rendez-vous and the steering of loads, then the scenario's own metrics."""
    text = Text(no_wrap=True)
    if f.meeting:
        text.append("loads ", style="dim")
    for part in f.meeting:
        text.append(part, style="cyan").append("  ")
    if f.counted:
        text.append("counted ", style="dim")
    for n, part in enumerate(f.counted):
        text.append(" · " if n else "", style="dim")
        text.append(part, style="yellow" if "failed)" in part else "default")
    text.truncate(width, overflow="ellipsis")
    return text


def _error_lines(f: Figures, room: int, width: int) -> Iterable[Text]:
    if not f.errors:
        yield Text("none", style="dim")
    for outcome, count in f.errors[:room]:
        text = Text(f"{format_count(count):>9}  {outcome}", style="red", no_wrap=True)
        text.truncate(width, overflow="ellipsis")
        yield text


def _agents(f: Figures, room: int, width: int) -> Iterable[Text]:
    """Yield a line for each agent, those with trouble first, or one line for all if there is too little room."""
    if not f.agents or not room:
        return
    ordered = sorted(f.agents, key=lambda a: (a.state != "lost", not _is_troubled(a)))
    if len(ordered) > room:
        worst = max(f.agents, key=lambda a: _lag_us(a.health))
        troubled = [a.id for a in ordered if _is_troubled(a)]
        summary = Text(f"{len(f.agents)} agents, ", no_wrap=True)
        summary.append(f"trouble: {', '.join(troubled)}" if troubled else "all well", style="red" if troubled else "")
        summary.append(f"; worst: {'  '.join(_health(worst.health))}", style="dim")
        summary.truncate(width, overflow="ellipsis")
        ordered = ordered[: room - 1]
        yield summary
    for agent in ordered:
        text = Text(no_wrap=True)
        style = "red" if agent.state == "lost" else "yellow" if _is_troubled(agent) else "green"
        text.append(f"{'●' if agent.has_reported else '○'} ", style=style)
        text.append(f"{agent.id} ", style="bold")
        if agent.region.removesuffix(" (simulated)") not in agent.id:
            text.append(f"{agent.region} ", style="cyan")
        text.append(agent.state, style=style)
        if agent.unfit:
            text.append(f"  unfit {format_count(agent.unfit)} of {format_count(agent.intervals)}", style="yellow")
        if trouble := agent.note or _why_unfit(agent.health.unfit):
            text.append(f"  {trouble}", style=style)
        if agent.silent_s >= 2 and agent.state not in ("finished", "lost"):
            text.append(f"  silent {agent.silent_s:.0f} s", style="yellow")
        for figure in _health(agent.health) if agent.has_reported else ():
            if text.cell_len + 2 + cell_len(figure) > width:
                break  # a cut number would be wrong
            text.append(f"  {figure}", style="dim")
        text.truncate(width, overflow="ellipsis")
        yield text


def _is_troubled(agent: AgentRow) -> bool:
    return agent.state == "lost" or bool(agent.note or agent.health.unfit)


_SHORT: Final[dict[Cause, str]] = {
    "lag": "",  # the lag itself is at the end of the line
    "busy": "its core is full",
    "starved": "other programs have its core",
    "machine": "busy machine",
    "throttled": "CPU limit",
    "gc": "garbage collection",
    "steal": "its host took CPU",
    "sockets": "no file or port free",
    "fds": "few files left",
    "ports": "few ports left",
    "memory": "little memory left",
    "network": "network limit",
}


def _why_unfit(reasons: Sequence[str]) -> str:
    """Return the reasons of an unfit agent in a few words, so that its line fits into 80 columns."""
    short = [_SHORT.get(cause_of(reason), reason) for reason in reasons]
    return ", ".join(dict.fromkeys(filter(None, short))) or ("late" if reasons else "")


def _lag_us(h: Health) -> int:
    """Return the larger of an agent's two lags (µs), which decides whether the agent is fit to measure."""
    return h.lag_p99_us


def _health(h: Health) -> tuple[str, str, str, str]:
    """Return users, CPU, lag and memory of an agent as text."""
    cpu, lag, memory = h.cpu_share * 100, _lag_us(h) / 1000, h.rss_bytes / 2**20
    return quantity(h.users, "user"), f"cpu {cpu:.0f} %", f"lag p99 {lag:.1f} ms", f"{memory:.0f} MiB"


def _notices(notices: Sequence[str], room: int, width: int) -> Iterable[Text]:
    for notice in notices[len(notices) - room :] if room else ():
        text = Text(f"! {notice}", style="yellow", no_wrap=True)
        text.truncate(width, overflow="ellipsis")
        yield text


def _stack(title: str, lines: Iterable[Text], width: int) -> Table:
    stack = Table.grid()
    stack.add_column(width=width)
    stack.add_row(Text(title, style="dim"))
    for text in lines:
        stack.add_row(text)
    return stack


def _pair(left: Text, right: Text, width: int) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True, overflow="ellipsis", width=max(width - right.cell_len - 1, 1))
    row.add_column(no_wrap=True, justify="right")
    row.add_row(left, right)
    return row


def _clock(seconds: float) -> str:
    """Return a time from T0 as text, such as "0:12" or "1:02:03"; "0:00" before the start."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
