"""What is shown when a run has ended: a sentence, and tables of words.

Everything is a string by now; how it is drawn is up to who prints it. A number
stands with its unit in the cell or in the column's name, a percentile with the
count it is of, and what is only a lower bound with ">".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import floor
from pathlib import Path

from loadgen.measure.deltas.custom import CHECK
from loadgen.measure.objectives.objective import time_text
from loadgen.report.summary_reader import Agent, Custom, Ends, Figure, Percentiles, Series, Slo, Summary
from loadgen.units import NS_PER_S, format_count, format_duration, format_ratio

__all__ = [
    "WHY_NO_INTERVAL",
    "Report",
    "Table",
    "final_report",
    "headline",
    "indent",
    "interval_text",
    "milliseconds",
    "observed_text",
    "region_label",
]

PLACEHOLDER = "-"
FEW_ROWS = 15
"""More rows than these have their intervals in the summary only, but for journeys."""
WIDE = 22
"""A wider cell of the intervals would not let three of them and a name stand in 80 columns."""
FEW_VALUES = 6
"""Of a tag; the rest is in the summary."""
KINDS = ("journey", "step", "request")


@dataclass(frozen=True, slots=True)
class Table:
    """The first `words` columns are words, the others numbers (to be set flush right)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    headline: str
    result: str
    """`passed`, `failed` ...: for the colour of the headline."""
    lines: tuple[str, ...]
    tables: tuple[Table, ...]
    foot: tuple[str, ...]


def final_report(summary: Summary, run_dir: Path | None = None) -> Report:
    """Everything that a person should see at the end of a run, most important first."""
    tables = (
        slo_table(summary),
        response_table(summary),
        interval_table(summary),
        region_table(summary),
        load_table(summary),
        *tag_tables(summary),
        phase_table(summary),
        check_table(summary),
        custom_table(summary),
        error_table(summary),
    )
    return Report(
        headline=headline(summary),
        result=summary.result,
        lines=tuple(_lines(summary)),
        tables=tuple(t for t in tables if t.rows),
        foot=tuple(_foot(summary, run_dir)),
    )


def headline(summary: Summary) -> str:
    """The result in one sentence, with the exit code and why; of many reasons the first, and how many more follow."""
    said = _held(summary)
    if summary.result != "passed":
        first, *others = _deciding(summary)
        more = f"; and {_count(len(others), 'more reason')}, below" if others[1:] else "".join(f"; {o}" for o in others)
        said = first + more
    return f"{summary.result.upper()} (exit code {summary.exit_code}): {said}."


def _held(summary: Summary) -> str:
    n, held = len(summary.slos), sum(s.verdict == "passed" for s in summary.slos)
    of = f"{_count(summary.iterations.due, 'iteration')} in {format_duration(summary.duration_s * NS_PER_S)}"
    return f"{held} of {_count(n, 'objective')} held over {of}" if n else f"no objectives were set; {of}"


def _deciding(summary: Summary) -> list[str]:
    """The reasons; those of fitness, which has a line of its own, only where there is no other."""
    fit = {reason.rstrip(".") for reason in summary.validity.reasons}
    reasons = [reason.rstrip(".") for reason in summary.reasons]
    return [r for r in reasons if r not in fit] or reasons or ["no reason was given"]


def _lines(summary: Summary) -> Iterator[str]:
    if summary.result != "passed" and len(reasons := _deciding(summary)) > 2:
        yield from (f"- {reason}." for reason in reasons[1:])
    i, r = summary.iterations, summary.requests
    skipped = f", {format_count(i.skipped)} of them skipped" if i.skipped else ""
    yield (
        f"Iterations: {format_count(i.due)} due, {format_count(i.started)} started,"
        f" {format_count(i.finished)} finished{skipped}, {format_count(i.missed)} missed,"
        f" {format_count(i.cut_off)} cut off."
    )
    share = f" ({format_ratio(r.errors / r.finished)})" if r.finished else ""
    yield (
        f"Requests: {format_count(r.started)} started, {format_count(r.finished)} finished,"
        f" {format_count(r.errors)} errors{share}."
    )
    verdict = {"valid": "was fit to measure", "invalid": "was not fit to measure"}.get(
        summary.validity.verdict, "may not have been fit to measure"
    )
    known = () if summary.result == "passed" else _deciding(summary)
    why = "; ".join(reason for one in summary.validity.reasons if (reason := one.rstrip(".")) not in known)
    if summary.agents:
        yield f"The generator {verdict} ({summary.validity.verdict}{': ' + why if why else ''})."
    if summary.result == "passed" and summary.reasons:
        yield from (f"Note: {reason}." for reason in _deciding(summary) if reason not in why)
    if not summary.load.open:
        yield "Closed load: the rate followed the target."
    yield from _changed(summary)
    yield from _warmup(summary)
    yield from _no_intervals(summary)
    if summary.pool_limited.add_users and not any("pool-limited" in reason for reason in summary.reasons):
        share = format_ratio(summary.pool_limited.share)
        yield f"Pool-limited: {share} of the requests came from iterations that had waited for a free user; add users."
    told = " ".join((*summary.reasons, why))
    for note in summary.notes:
        if (note.partition(": ")[2] or note) not in told:
            yield f"Note: {note.rstrip('.')}."


def _changed(summary: Summary) -> Iterator[str]:
    """What was asked of the load while it ran, a pause and its end as one."""
    told: dict[str, None] = {}
    steered = 0
    for i, one in enumerate(summary.adjustments):
        whose = f"{one.load}: " if one.load else ""
        match one.kind:
            case "pause":
                later = (a for a in summary.adjustments[i + 1 :] if (a.kind, a.load) == ("resume", one.load))
                end = next(later, None)
                until = f"to {time_text(end.at_s)}" if end is not None else "and not resumed"
                told[f"{whose}paused {time_text(one.at_s)} {until}"] = None
            case "resume":
                pass
            case "steer":
                steered += 1
            case _:
                told[f"{whose}at {time_text(one.at_s)} {one.text}"] = None
    if told:
        yield f"The load was changed while it ran: {'; '.join(told)}."
    if steered:
        yield f"The load was steered while it ran: {_count(steered, 'change')}, all of them in summary.json."


def _warmup(summary: Summary) -> Iterator[str]:
    warmup = summary.warmup
    if warmup is not None and warmup.how == "found":
        yield f"Warm-up, looked for after the run: {warmup.why}."
    elif warmup is not None and warmup.cut_s:
        yield f"Warm-up: what was due in the first {format_duration(warmup.cut_s * NS_PER_S)} is not in the tables."


WHY_NO_INTERVAL = {
    "too short": "the run is too short for how alike neighbouring seconds are, or its load is not steady",
    "too few samples": "too few samples",
    "censored": "too many values are only bounds",
}


def _no_intervals(summary: Summary) -> Iterator[str]:
    """Why there is not a single interval; elsewhere it stands in the cell."""
    whys = [s.interval for s in _with_intervals(summary)]
    if whys and all(why in WHY_NO_INTERVAL for why in whys):
        told = "; ".join(dict.fromkeys(WHY_NO_INTERVAL[why] for why in whys if why is not None))
        yield f"No 95 % intervals: {told}."


def _foot(summary: Summary, run_dir: Path | None) -> Iterator[str]:
    yield agents_line(summary.agents)
    for agent in summary.agents:
        missing = (agent.missing or f"{agent.id}: what it had measured and not handed over is missing").rstrip(".")
        if not agent.complete and not any(missing in reason for reason in summary.reasons):
            yield f"  {missing}."
    if run_dir is not None:
        yield f"Run folder: {run_dir}"
        if summary.requests.errors or summary.iterations.errors:
            yield f"What failed, with what was sent and answered: loadgen failures {run_dir}"


def agents_line(agents: tuple[Agent, ...]) -> str:
    whole = sum(a.complete for a in agents)
    return "Agents: none took part." if not agents else f"Agents: {whole} of {len(agents)} complete."


def region_label(region: str, is_embedded: bool) -> str:
    """Embedded agents all run on this machine: their regions are simulated, and are called so."""
    return f"{region} (simulated)" if is_embedded else region


def slo_table(summary: Summary) -> Table:
    """Objectives with their 95 % intervals; of those over windows what the worst one observed, and when it was."""
    has_budget = any(slo.budget is not None for slo in summary.slos)
    rows = [
        (
            _objective(slo, summary),
            slo.verdict,
            observed_text(slo.observed, slo.unit),
            interval_text(slo, summary),
            *([budget_text(slo.budget)] if has_budget else []),
            format_count(slo.count),
        )
        for slo in summary.slos
    ]
    head = ("objective", "verdict", "observed", "95 % interval", *(("budget",) if has_budget else ()), "count")
    notes = [note for slo in summary.slos for note in _windows(slo, summary)]
    if any(slo.budget for slo in summary.slos):
        notes.append("budget: how much of what may be bad was bad; above 100 % the objective is broken.")
    return Table("Objectives", head, tuple(rows), words=2, note="\n".join(notes))


def _objective(slo: Slo, summary: Summary) -> str:
    several = len({s.journey for s in summary.slos if s.journey}) > 1
    return slo.objective + (f" [{slo.journey}]" if slo.journey and several else "")


def interval_text(slo: Slo, summary: Summary) -> str:
    """ "41.0 to 47.5 ms", or why there is none, or "-"."""
    if slo.low is not None and slo.high is not None:
        if slo.unit == "ratio" and not isinstance(slo.low, str) and not isinstance(slo.high, str):
            return f"{format_ratio(slo.low)} to {format_ratio(slo.high)}"
        return f"{milliseconds(slo.low)} to {milliseconds(slo.high)} {slo.unit}"
    if slo.window_s is not None or slo.observed is None:
        return PLACEHOLDER
    kind = "request" if slo.request else "step" if slo.step else "journey"
    for s in summary.series:
        names = (s.kind, s.journey, s.outcome, s.region)
        if (
            names == (kind, slo.journey, "*", slo.region or "*")
            and slo.step in (None, s.step)
            and s.interval in WHY_NO_INTERVAL
        ):
            return s.interval or PLACEHOLDER
    return PLACEHOLDER


def _windows(slo: Slo, summary: Summary) -> Iterator[str]:
    """Of an objective over windows: how many broke it, and the worst."""
    if slo.window_s is not None:
        worst = (
            f"; the worst, observed above, began at {slo.worst_window_s:,.0f} s"
            if slo.worst_window_s is not None
            else ""
        )
        length = format_duration(slo.window_s * NS_PER_S)
        windows = f"{format_count(slo.windows_failed)} of {_count(slo.windows, 'window')} of {length} broken"
        yield f"{_objective(slo, summary)}: {windows}{worst}."


def budget_text(budget: float | None) -> str:
    return PLACEHOLDER if budget is None else f"{budget * 100:,.0f} %"


def observed_text(figure: Figure, unit: str) -> str:
    """What an objective speaks of, with its unit."""
    if figure is None:
        return PLACEHOLDER
    if unit == "ratio" and not isinstance(figure, str):
        return format_ratio(figure)
    return f"{milliseconds(figure)} {unit}".rstrip()


def response_table(summary: Summary) -> Table:
    """Every journey with its steps and requests below it, over all regions and outcomes."""
    rows = [s for s in summary.series if s.region == "*" and s.outcome == "*"]
    has_bounds = any(s.censored for s in rows)
    head = ("", "count", *(("bounds",) if has_bounds else ()), "p50", "p90", "p95", "p99", "p99.9", "max")
    cells = []
    for s in _as_tree(rows):
        p = s.response_ms or Percentiles()
        counts = [format_count(s.count), *([format_count(s.censored)] if has_bounds else [])]
        cells.append((label(s), *counts, *map(milliseconds, (p.p50, p.p90, p.p95, p.p99, p.p99_9, p.max))))
    note = "bounds: time-outs, missed and cut off; they took longer than was seen." if has_bounds else ""
    return Table("Response time, ms, all regions", head, tuple(cells), note=note)


def interval_table(summary: Summary) -> Table:
    """Percentiles with the ends of their 95 % intervals, or why there is none; without any it is empty."""
    rows = _with_intervals(summary)
    if all(s.interval in WHY_NO_INTERVAL for s in rows):
        return Table("", (), ())
    shown = ("p50", "p95", "p99")
    found = []
    for s in _as_tree(rows):
        at = s.response_ms or Percentiles()
        ends = s.response_ci_ms or {}
        values = (at.p50, at.p95, at.p99)
        found.append((label(s), [(v, ends.get(q)) for q, v in zip(shown, values, strict=True)]))
    cells = [(name, *(with_ends(*cell) for cell in row)) for name, row in found]
    if max(len(cell) for _, *row in cells for cell in row) > WIDE:  # the percentiles stand in the table above
        cells = [(name, *(with_ends(None, ends) for _, ends in row)) for name, row in found]
    note = (
        "From "
        + ", ".join(dict.fromkeys(s.interval for s in rows if s.interval and s.interval not in WHY_NO_INTERVAL))
        + "."
    )
    if len(rows) < sum(s.response_ci_ms is not None for s in _everywhere(summary)):
        note += " Those of steps and requests are in summary.json."
    return Table("95 % intervals of response time, ms", ("", *shown), tuple(cells), note=note)


def _with_intervals(summary: Summary) -> list[Series]:
    rows = [s for s in _everywhere(summary) if s.response_ci_ms is not None]
    return rows if len(rows) <= FEW_ROWS else [s for s in rows if s.kind == "journey"]


def _everywhere(summary: Summary) -> list[Series]:
    return [s for s in summary.series if s.region == "*" and s.outcome == "*"]


def with_ends(value: Figure, ends: Ends | None) -> str:
    """ "312 [298, 327]", "312 (too short)", or without the value; only the value where nothing is known of the ends."""
    if ends is None or (value is not None and ends == "censored"):
        return milliseconds(value)
    if isinstance(ends, str):
        return ends if value is None else f"{milliseconds(value)} ({ends})"
    low, high = map(milliseconds, ends)
    return f"{low} to {high}" if value is None else f"{milliseconds(value)} [{low}, {high}]"


def load_table(summary: Summary) -> Table:
    """The journeys of each of several loads."""
    cells = []
    for load in summary.loads:
        for s in load.series:
            if s.kind == "journey":
                cells.append((load.load, s.journey, format_count(s.count), *_three(s)))
    columns = ("load", "journey", "count", "p50", "p95", "p99")
    return Table("Response time of journeys by load, ms", columns, tuple(cells), words=2)


def tag_tables(summary: Summary) -> Iterator[Table]:
    """For each tag the rows that it splits, by value."""
    for tag in dict.fromkeys(name for s in summary.tagged for name in s.tags):
        rows = [s for s in summary.tagged if tag in s.tags]
        cells, left_out = [], 0
        for name in dict.fromkeys((s.journey, s.step, s.request) for s in rows):
            own = [s for s in rows if (s.journey, s.step, s.request) == name]
            left_out += max(0, len(own) - FEW_VALUES)
            for s in own[:FEW_VALUES]:
                cells.append((s.request or s.step or s.journey, _short(s.tags[tag]), format_count(s.count), *_three(s)))
        note = f"{_count(left_out, 'rarer value')} more in summary.json." if left_out else ""
        columns = ("of", tag.removeprefix("header:"), "count", "p50", "p95", "p99")
        yield Table(f"Response time split by {columns[1]}, ms", columns, tuple(cells), words=2, note=note)


def phase_table(summary: Summary) -> Table:
    """Where the time of requests went. Most open no connection, so each phase has a count of its own."""
    rows = [s for s in _as_tree(_everywhere(summary)) if s.phases_ms]
    cells = [
        (
            " > ".join(filter(None, (s.step, s.request))),
            phase,
            format_count(p.count),
            *map(milliseconds, (p.p50, p.p95, p.p99, p.max)),
        )
        for s in rows[:FEW_ROWS]
        for phase, p in (s.phases_ms or {}).items()
    ]
    note = f"Those of {_count(len(rows) - FEW_ROWS, 'more request')} are in summary.json." if rows[FEW_ROWS:] else ""
    return Table(
        "Phases of requests, ms", ("request", "phase", "count", "p50", "p95", "p99", "max"), tuple(cells), 2, note
    )


def _short(text: str) -> str:
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"


def _three(s: Series) -> tuple[str, str, str]:
    p = s.response_ms or Percentiles()
    return milliseconds(p.p50), milliseconds(p.p95), milliseconds(p.p99)


def check_table(summary: Summary) -> Table:
    """What `user.check` counted, the worst first."""
    checks = [c for c in summary.custom if c.region == "*" and c.kind == "rate" and c.name.startswith(CHECK)]
    cells = [
        (
            c.name.removeprefix(CHECK),
            PLACEHOLDER if c.ratio is None else format_ratio(c.ratio),
            format_count(c.n - (c.hits or 0)),
            format_count(c.n),
        )
        for c in sorted(checks, key=lambda c: (1.0 if c.ratio is None else c.ratio, c.name))
    ]
    return Table("Checks", ("check", "held", "failed", "count"), tuple(cells))


def custom_table(summary: Summary) -> Table:
    """The scenario's own metrics, over all regions."""
    own = [c for c in summary.custom if c.region == "*" and not c.name.startswith(CHECK)]
    cells = [(c.name, c.kind, custom_text(c), format_count(c.n)) for c in own]
    return Table("The scenario's own metrics", ("metric", "kind", "value", "count"), tuple(cells), words=3)


def custom_text(custom: Custom) -> str:
    """What a metric came to, with its unit."""
    unit = f" {custom.unit}" if custom.unit else ""
    if custom.kind == "counter" and custom.total is not None:
        return f"{format_count(custom.total)}{unit}"
    if custom.kind == "rate" and custom.ratio is not None:
        return f"{format_ratio(custom.ratio)} ({format_count(custom.hits or 0)})"
    if custom.kind == "gauge" and custom.n:
        return f"{_number(custom.low)} to {_number(custom.high)}, last {_number(custom.last)}{unit}"
    if custom.values is not None:
        return ", ".join(f"{q} {_number(custom.values.get(q))}" for q in ("p50", "p95", "p99")) + unit
    return PLACEHOLDER


def _number(value: float | None) -> str:
    """Four digits, without an exponent below a million million."""
    if value is None:
        return PLACEHOLDER
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.4g}"


def region_table(summary: Summary) -> Table:
    """Each journey in each region."""
    rows = [s for s in summary.series if s.kind == "journey" and s.outcome == "*" and s.region != "*"]
    several = len({s.journey for s in rows}) > 1
    cells = []
    for s in sorted(rows, key=lambda s: (s.region, s.journey)):
        p = s.response_ms or Percentiles()
        name = region_label(s.region, summary.is_embedded) + (f"  {s.journey}" if several else "")
        cells.append((name, format_count(s.count), *map(milliseconds, (p.p50, p.p95, p.p99))))
    return Table("Response time of journeys by region, ms", ("", "count", "p50", "p95", "p99"), tuple(cells))


def error_table(summary: Summary) -> Table:
    """What went wrong, by kind, most frequent first."""
    wrong = [s for s in summary.series if s.region == "*" and s.outcome not in ("*", "ok")]
    cells = [
        (s.outcome, f"{s.kind} {s.request or s.step or s.journey}", format_count(s.count))
        for s in sorted(wrong, key=lambda s: (KINDS.index(s.kind) if s.kind in KINDS else 9, -s.count, s.outcome))
    ]
    return Table("Errors", ("outcome", "of", "count"), tuple(cells), words=2)


def _as_tree(rows: Iterable[Series]) -> Iterator[Series]:
    """A journey, then its steps, each followed by its requests; in the order of the file otherwise."""
    kept = list(rows)
    for journey in dict.fromkeys(s.journey for s in kept):
        own = [s for s in kept if s.journey == journey]
        yield from (s for s in own if s.kind == "journey")
        for step in dict.fromkeys(s.step for s in own if s.kind != "journey"):
            yield from (s for s in own if s.kind == "step" and s.step == step)
            yield from (s for s in own if s.kind == "request" and s.step == step)


def label(s: Series) -> str:
    """A row's name, set in by its depth."""
    if s.kind == "journey":
        return s.journey
    return indent(s.kind, s.step, (s.request if s.kind == "request" else s.step) or "")


def indent(kind: str, step: str | None, name: str) -> str:
    """Indent the name of a step or request below its journey: two blanks for a step, four for a request in a step."""
    # A "/" in a step may join nested steps or be part of a name, so it does not count as a level.
    depth = 0 if step is None else 1
    return "  " * (depth if kind == "step" else depth + 1) + name


def milliseconds(figure: Figure) -> str:
    """Three digits at least, whole ms from 100 on. A bound ("> 1,234") is never rounded up: it would not be true."""
    if figure is None:
        return PLACEHOLDER
    if isinstance(figure, str):
        sign, _, number = figure.partition(" ")
        try:
            bound = float(number)
        except ValueError:
            return figure
        scale = 10 ** _decimals(bound)
        return f"{sign} {_fixed(floor(bound * scale) / scale)}"
    return _fixed(figure)


def _fixed(ms: float) -> str:
    return f"{ms:,.{_decimals(ms)}f}"


def _decimals(ms: float) -> int:
    return 0 if ms >= 99.95 else 1 if ms >= 9.995 else 2


def _count(n: int, noun: str) -> str:
    return f"{format_count(n)} {noun}{'' if n == 1 else 's'}"
