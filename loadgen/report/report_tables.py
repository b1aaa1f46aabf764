"""Format the summary of an ended run as a headline, sentences and tables of strings.

The callers (terminal, Markdown, notebook) decide how to draw them. A number has its
unit in the cell or in the column's name. A percentile has the count of its values
beside it. A ">" marks a value that is only a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from loadgen.measure.deltas.custom import CHECK
from loadgen.measure.deltas.series_key import LEVEL_TAG
from loadgen.measure.objectives.objective import SloResult, span_text, time_text
from loadgen.measure.objectives.words import OWN_LIMITS_WORDS, TWO_CLOCKS_WORDS, value_text, without_bad_text
from loadgen.report.level_tables import level_lines, level_tables
from loadgen.report.limit_found import limit_found
from loadgen.report.message_tables import message_tables
from loadgen.report.page_tables import page_tables
from loadgen.report.probe_tables import probe_tables
from loadgen.report.report_parts import PLACEHOLDER, Report, Table, milliseconds
from loadgen.report.stream_tables import stream_tables
from loadgen.report.summary_reader import Agent, Custom, Ends, Figure, Percentiles, Series, Slo, Summary
from loadgen.report.verdict_words import (
    NOT_SURE,
    deciding_reasons,
    fitness_words,
    headline,
    objective_verdict,
    shown_result,
)
from loadgen.units import NS_PER_S, format_count, format_duration, format_ratio, quantity

__all__ = [
    "AT_LEAST",
    "WHY_NO_INTERVAL",
    "Report",
    "Table",
    "at_least",
    "bad_or_observed_text",
    "bad_share_text",
    "final_report",
    "indent",
    "interval_text",
    "milliseconds",
    "observed_text",
    "region_label",
]

AT_LEAST = ">="
"""The mark of times that are only lower bounds, because their rows leave a wait out."""
FEW_ROWS = 15
"""With more rows than this, the table of intervals shows only journeys; summary.json has all."""
WIDE = 22
"""The widest cell, in characters, with which three intervals and a name fit into 80 columns."""
FEW_VALUES = 6
"""The number of values of a tag that a table shows; summary.json has all."""
KINDS = ("journey", "step", "request")


def final_report(summary: Summary, run_dir: Path | None = None, databases: Iterable[Table] = ()) -> Report:
    """Return everything that the terminal shows at the end of a run, the most important first.

    databases: the tables of `target_side.database_tables`.
    """
    tables = (
        *slo_tables(summary),
        *stream_tables(summary),
        *message_tables(summary),
        *page_tables(summary),
        *level_tables(summary),
        response_table(summary),
        interval_table(summary),
        region_table(summary),
        load_table(summary),
        *tag_tables(summary),
        phase_table(summary),
        check_table(summary),
        custom_table(summary),
        *custom_tag_tables(summary),
        error_table(summary),
        *probe_tables(summary),
        *databases,
    )
    return Report(
        headline=headline(summary),
        result=shown_result(summary),
        lines=tuple(filter(None, (*_lines(summary), *level_lines(summary)))),
        tables=tuple(t for t in tables if t.rows),
        foot=tuple(_foot(summary, run_dir)),
    )


def _lines(summary: Summary) -> Iterator[str]:
    shown = headline(summary)
    if summary.result != "passed":
        yield from (f"- {reason}." for reason in deciding_reasons(summary)[1:] if reason not in shown)
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
    verdict = fitness_words(summary.validity.verdict)
    why = "; ".join(reason for one in summary.validity.reasons if (reason := one.rstrip(".")) not in shown)
    if summary.agents:
        yield f"The load generator {verdict} ({summary.validity.verdict}{': ' + why if why else ''})."
    if summary.result == "passed" and summary.reasons:
        found = [one.text.rstrip(".") for one in summary.steering if limit_found(summary)]
        known = " ".join((why, shown, *found))
        yield from (f"Note: {reason}." for reason in deciding_reasons(summary) if reason not in known)
    if not summary.load.open:
        yield "Closed load: the rate followed the target's speed."
    yield from _changed(summary)
    yield from _warmup(summary)
    yield from _no_intervals(summary)
    if summary.pool_limited.add_users and not any("pool-limited" in reason for reason in summary.reasons):
        share = format_ratio(summary.pool_limited.share)
        yield f"Pool-limited: {share} of the requests came from iterations that had waited for a free user; add users."
    shown = " ".join((*summary.reasons, shown, why))
    for note in summary.notes:
        if (note.partition(": ")[2] or note) not in shown:
            yield f"Note: {note.rstrip('.')}."


def _changed(summary: Summary) -> Iterator[str]:
    """Yield the load changes during the run. A pause and its end are one change."""
    changes: dict[str, None] = {}
    steered = 0
    for i, one in enumerate(summary.adjustments):
        load = f"{one.load}: " if one.load else ""
        match one.kind:
            case "pause":
                later = (a for a in summary.adjustments[i + 1 :] if (a.kind, a.load) == ("resume", one.load))
                end = next(later, None)
                until = f"to {time_text(end.at_s)}" if end is not None else "and not resumed"
                changes[f"{load}paused {time_text(one.at_s)} {until}"] = None
            case "resume":
                pass
            case "steer":
                steered += 1
            case _:
                changes[f"{load}at {time_text(one.at_s)} {one.text}"] = None
    if changes:
        yield f"The load was changed during the run: {'; '.join(changes)}."
    if steered:
        times = quantity(steered, "time")
        yield f"The executor changed the rate {times} during the run; summary.json lists the changes."


def _warmup(summary: Summary) -> Iterator[str]:
    warmup = summary.warmup
    if warmup is not None and warmup.how == "found":
        yield f"Warm-up detection after the run: {warmup.why}."
    elif warmup is not None and warmup.cut_s:
        yield f"Warm-up: the tables leave out the first {format_duration(warmup.cut_s * NS_PER_S)}."


WHY_NO_INTERVAL = {
    "too short": "the run is too short, with fewer than 10 intervals",
    "too few samples": "too few samples",
    "censored": "too many values are only lower bounds (time-outs, missed or cut off)",
}


def _no_intervals(summary: Summary) -> Iterator[str]:
    """Yield why the run has no interval at all. If some rows have one, the table gives the reason for the others."""
    whys = [s.interval for s in _with_intervals(summary)]
    if whys and all(why in WHY_NO_INTERVAL for why in whys):
        reasons = "; ".join(dict.fromkeys(WHY_NO_INTERVAL[why] for why in whys if why is not None))
        yield f"No 95 % intervals: {reasons}."


def _foot(summary: Summary, run_dir: Path | None) -> Iterator[str]:
    yield agents_line(summary.agents)
    for agent in summary.agents:
        missing = (agent.missing or f"agent {agent.id}: measurements that it did not send are missing").rstrip(".")
        if not agent.complete and not any(missing in reason for reason in summary.reasons):
            yield f"  {missing}."
    if run_dir is not None:
        yield f"Run folder: {run_dir}"
        if summary.requests.errors or summary.iterations.errors:
            yield f"Failed requests with their responses: loadgen failures {run_dir}"


def agents_line(agents: tuple[Agent, ...]) -> str:
    """Return a line such as "Agents: 3 of 4 complete."; a complete agent has sent all of its measurements."""
    complete = sum(a.complete for a in agents)
    return f"Agents: {complete} of {len(agents)} complete." if agents else "Agents: no agent took part."


def region_label(region: str, is_embedded: bool) -> str:
    """Return a region's name, with "(simulated)" if its agents ran embedded, that is, all on one machine.

    The region of a plan without regions, "local", is this machine and not simulated.
    """
    return f"{region} (simulated)" if is_embedded and region != "local" else region


def slo_tables(summary: Summary) -> Iterator[Table]:
    """Yield the table of objectives over the run, with 95 % intervals, and that of objectives over windows.

    Objectives over windows have no interval, but a worst window. A note explains objectives that differ from the table
    of response times. The first table has the notes about all objectives.
    """
    over_run = [slo for slo in summary.slos if slo.window_s is None]
    over_windows = [slo for slo in summary.slos if slo.window_s is not None]
    notes = [objectives_note(summary)] if objectives_note(summary) else []
    if any(_differs_from_table(slo, summary) for slo in over_run):
        notes.append(
            "Objectives count failed and missed iterations as late; the table of response times has the times that they"
            " took."
        )
    notes += [f"{_objective(slo, summary)}: {slo.detail}." for slo in summary.slos if _needs_detail(slo)]
    notes += [
        f"{_objective(slo, summary)}: {NOT_SURE}; {bad_share_text(slo)}."
        for slo in summary.slos
        if slo.is_unsure and summary.result != "invalid"
    ]
    if any(slo.budget for slo in summary.slos):
        notes.append("budget: the used share of the error budget; above 100 % the objective fails.")
    note = "\n".join(notes)
    if over_run:
        has_budget = any(slo.budget is not None for slo in over_run)
        head = ("objective", "verdict", "observed", "95 % interval", *(("budget",) if has_budget else ()), "count")
        rows = [
            (
                _objective(slo, summary),
                _verdict(slo, summary),
                observed_text(slo.observed, slo.unit),
                interval_text(slo, summary),
                *([budget_text(slo.budget)] if has_budget else []),
                format_count(slo.count),
            )
            for slo in over_run
        ]
        yield Table("Objectives", head, tuple(rows), words=2, note=note)
    if over_windows:
        are_shares = all(slo.unit == "ratio" for slo in over_windows)
        observed = "late or failed" if are_shares else "observed"
        head = ("objective", "verdict", observed, "worst window", "broken", "budget", "count")
        rows = [
            (
                _objective(slo, summary),
                _verdict(slo, summary),
                observed_text(slo.observed, slo.unit) if are_shares else bad_or_observed_text(slo),
                PLACEHOLDER if slo.worst_window_s is None else span_text(slo.worst_window_s, slo.window_s or 0),
                f"{format_count(slo.windows_failed)} of {format_count(slo.windows)}",
                budget_text(slo.budget),
                format_count(slo.count),
            )
            for slo in over_windows
        ]
        title = "Objectives over windows: figures of the worst one"
        yield Table(title, head, tuple(rows), words=2, note="" if over_run else note)


def _verdict(slo: Slo, summary: Summary) -> str:
    verdict = objective_verdict(slo, summary)
    return f"{verdict}, {NOT_SURE}" if slo.is_unsure and verdict == slo.verdict else verdict


def _needs_detail(slo: Slo) -> bool:
    """Return whether the detail of an objective has more than its row: another denominator, a bound, or a window.

    Also if some requests were judged by other limits than those of the objective.
    """
    return bool(slo.detail) and (
        slo.verdict != "passed"
        or slo.of_count is not None
        or bool(slo.bounds)
        or slo.window_s is not None
        or OWN_LIMITS_WORDS in slo.detail
        or TWO_CLOCKS_WORDS in slo.detail
    )


def objectives_note(summary: Summary) -> str:
    """Return a warning for the table of objectives if the run is not valid or not complete; "" if there is no doubt."""
    is_whole = all(agent.complete for agent in summary.agents)
    match summary.result:
        case "incomplete" if is_whole and any(slo.is_unsure for slo in summary.slos):
            return "The run counts only with sure objectives (--sure)."
        case "invalid" if summary.slos:
            return "The run is invalid, so its objectives are not judged: the figures contain the generator's delays."
        case "incomplete" | "interrupted" | "error" if any(slo.verdict == "passed" for slo in summary.slos):
            return "The run is not complete, so a passed objective only covers the measured part."
    return ""


def _objective(slo: Slo, summary: Summary) -> str:
    several = len({s.journey for s in summary.slos if s.journey}) > 1
    return slo.objective + (f" [{slo.journey}]" if slo.journey and several else "")


def interval_text(slo: Slo, summary: Summary) -> str:
    """Return an objective's 95 % interval as "41.0 to 47.5 ms"; without one, the reason ("too short") or "-"."""
    if slo.low is not None and slo.high is not None:
        if slo.unit == "ratio" and not isinstance(slo.low, str) and not isinstance(slo.high, str):
            return f"{format_ratio(slo.low)} to {format_ratio(slo.high)}"
        space = "" if slo.unit.startswith("/") else " "
        return f"{milliseconds(slo.low)} to {milliseconds(slo.high)}{space}{slo.unit}".rstrip()
    if slo.window_s is not None or slo.observed is None or slo.detail:
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


def bad_share_text(slo: Slo) -> str:
    """Return why a verdict is not sure: "3.90 % to 5.60 % are bad (95 % interval), and 5.00 % is allowed".

    If nothing was bad, the text has no interval, but the number of iterations or requests that would be enough. If the
    interval is unknown, this is the text.
    """
    if slo.unsure:
        return slo.unsure
    if slo.bad_share_low is None or slo.bad_share_high is None:
        return "the interval of its bad share is unknown"
    if slo.budget == 0:
        return without_bad_text(slo)
    where = " in its worst window" if slo.window_s is not None else ""
    ends = f"{format_ratio(slo.bad_share_low)} to {format_ratio(slo.bad_share_high)}"
    return f"{ends} are bad{where} (95 % interval), and {format_ratio(slo.allowed)} is allowed"


def _differs_from_table(slo: Slo, summary: Summary) -> bool:
    """Return whether an objective's percentile differs from that of its row in the table of response times."""
    if slo.unit != "ms" or slo.window_s is not None or slo.observed is None or slo.detail:
        return False
    kind = "request" if slo.request else "step" if slo.step else "journey"
    name = f"p{100 * (1 - slo.allowed):.6g}"
    for s in _everywhere(summary):
        if (
            (s.kind, s.journey) == (kind, slo.journey)
            and slo.step in (None, s.step)
            and slo.request in (None, s.request)
        ):
            p = s.response_ms or Percentiles()
            times = {"p50": p.p50, "p90": p.p90, "p95": p.p95, "p99": p.p99, "p99.9": p.p99_9}
            if name in times and slo.region in (None, "*") and times[name] is not None:
                return milliseconds(times[name]) != milliseconds(slo.observed)
    return False


def budget_text(budget: float | None) -> str:
    """Return a used share of an error budget as "12 %"; "-" for None."""
    return PLACEHOLDER if budget is None else f"{budget * 100:,.0f} %"


def observed_text(figure: Figure, unit: str) -> str:
    """Return an observed value with its unit, "-" for None; `unit` is "ms", "ratio" or another unit."""
    if figure is None:
        return PLACEHOLDER
    if unit == "ratio" and not isinstance(figure, str):
        return format_ratio(figure)
    return f"{milliseconds(figure)} {unit}" if unit == "ms" else value_text(figure, unit)


def bad_or_observed_text(slo: Slo | SloResult) -> str:
    """Return an objective's observed value; over windows, the share of its worst one: "6.47 % late or failed".

    For a goodput the text is "6.47 % not good".
    """
    if slo.window_s is None or slo.observed is None or slo.unit != "ratio":
        return observed_text(slo.observed, slo.unit)
    what = "failed" if slo.limit_ms is None else "late or failed"
    if slo.objective.startswith("goodput("):
        what = "not good"
    return f"{observed_text(slo.observed, 'ratio')} {what}"


def response_table(summary: Summary) -> Table:
    """Return response times over all regions and outcomes: each journey with its steps and requests below it."""
    rows = [s for s in summary.series if s.region == "*" and s.outcome == "*"]
    has_bounds = any(s.censored for s in rows)
    head = ("", "count", *(("bounds",) if has_bounds else ()), "p50", "p90", "p95", "p99", "p99.9", "max")
    cells = []
    for s in _as_tree(rows):
        p = s.response_ms or Percentiles()
        counts = [format_count(s.count), *([format_count(s.censored)] if has_bounds else [])]
        times = [at_least(s, milliseconds(value)) for value in (p.p50, p.p90, p.p95, p.p99, p.p99_9, p.max)]
        cells.append((label(s), *counts, *times))
    notes = ["bounds: values that are only lower bounds (time-outs, missed and cut-off iterations)."] * has_bounds
    notes += [_WHY_AT_LEAST] * any(s.bound for s in rows)
    return Table("Response time, ms, all regions", head, tuple(cells), note="\n".join(notes))


_WHY_AT_LEAST = (
    f"{AT_LEAST}: a lower bound. Iterations waited for a free user; only the journey's row contains this wait."
)


def at_least(s: Series, text: str) -> str:
    """Return the text of a time in the row `s`, with a mark if all times of the row are only lower bounds."""
    is_marked = s.bound == "lower" and text != PLACEHOLDER and not text.startswith(">")
    return f"{AT_LEAST} {text}" if is_marked else text


def interval_table(summary: Summary) -> Table:
    """Return percentiles with their 95 % intervals, or why a row has none. Without any interval the table is empty."""
    rows = _with_intervals(summary)
    if all(s.interval in WHY_NO_INTERVAL for s in rows):
        return Table("", (), ())
    shown: tuple[str, ...] = ("p50", "p95", "p99")
    found = []
    left_out: list[str] = []
    for s in _as_tree(rows):
        at = s.response_ms or Percentiles()
        ends = s.response_ci_ms or {}
        if all(isinstance(ends.get(q), str) or q not in ends for q in shown):
            left_out.append(next((str(ends[q]) for q in shown if q in ends), s.interval or ""))
            continue
        values = (at.p50, at.p95, at.p99)
        name = f"{label(s)} {AT_LEAST}" if s.bound == "lower" else label(s)
        found.append((name, [(v, ends.get(q)) for q, v in zip(shown, values, strict=True)]))
    if not found:
        return Table("", (), ())
    kept = [n for n in range(len(shown)) if any(not isinstance(row[n][1], str | None) for _, row in found)]
    lacking = {shown[n]: str(found[0][1][n][1] or "too few samples") for n in range(len(shown)) if n not in kept}
    shown, found = tuple(shown[n] for n in kept), [(name, [row[n] for n in kept]) for name, row in found]
    cells = [(name, *(with_ends(*cell) for cell in row)) for name, row in found]
    if max(len(cell) for _, *row in cells for cell in row) > WIDE:  # the table above has the percentiles
        cells = [(name, *(with_ends(None, ends) for _, ends in row)) for name, row in found]
    note = (
        "From "
        + ", ".join(dict.fromkeys(s.interval for s in rows if s.interval and s.interval not in WHY_NO_INTERVAL))
        + "."
    )
    for percentile, why in lacking.items():
        note += f" No interval of {percentile}: {why}."
    if left_out:
        whys = ", ".join(filter(None, dict.fromkeys(left_out)))
        note += f" {quantity(len(left_out), 'more row')} without an interval: {whys}."
    if len(rows) < sum(s.response_ci_ms is not None for s in _everywhere(summary)):
        note += " The intervals of steps and requests are in summary.json."
    return Table("95 % intervals of response time, ms", ("", *shown), tuple(cells), note=note)


def _with_intervals(summary: Summary) -> list[Series]:
    rows = [s for s in _everywhere(summary) if s.response_ci_ms is not None]
    return rows if len(rows) <= FEW_ROWS else [s for s in rows if s.kind == "journey"]


def _everywhere(summary: Summary) -> list[Series]:
    return [s for s in summary.series if s.region == "*" and s.outcome == "*"]


def with_ends(value: Figure, ends: Ends | None) -> str:
    """Return a value with its interval: "312 [298, 327]", or "312 (too short)" with the reason for a missing interval.

    Without a value it is "298 to 327" or the reason; without ends it is the value alone.
    """
    if ends is None or (value is not None and ends == "censored"):
        return milliseconds(value)
    if isinstance(ends, str):
        return ends if value is None else f"{milliseconds(value)} ({ends})"
    low, high = map(milliseconds, ends)
    return f"{low} to {high}" if value is None else f"{milliseconds(value)} [{low}, {high}]"


def load_table(summary: Summary) -> Table:
    """Return the response times of journeys by load, for a plan with several loads."""
    cells = []
    for load in summary.loads:
        for s in load.series:
            if s.kind == "journey":
                cells.append((load.load, s.journey, format_count(s.count), *_three(s)))
    columns = ("load", "journey", "count", "p50", "p95", "p99")
    return Table("Response time of journeys by load, ms", columns, tuple(cells), words=2)


def tag_tables(summary: Summary) -> Iterator[Table]:
    """Yield a table for each tag: response times by the tag's value, at most `FEW_VALUES` values for each name."""
    for tag in dict.fromkeys(name for s in summary.tagged for name in s.tags):
        if tag == LEVEL_TAG and summary.levels:  # they have a table of their own
            continue
        rows = [s for s in summary.tagged if tag in s.tags]
        cells, left_out = [], 0
        for name in dict.fromkeys((s.journey, s.step, s.request) for s in rows):
            own = [s for s in rows if (s.journey, s.step, s.request) == name]
            left_out += max(0, len(own) - FEW_VALUES)
            for s in own[:FEW_VALUES]:
                cells.append((s.request or s.step or s.journey, _short(s.tags[tag]), format_count(s.count), *_three(s)))
        note = f"summary.json has {quantity(left_out, 'more value')}, all rarer." if left_out else ""
        columns = ("of", tag.removeprefix("header:"), "count", "p50", "p95", "p99")
        yield Table(f"Response time split by {columns[1]}, ms", columns, tuple(cells), words=2, note=note)


def phase_table(summary: Summary) -> Table:
    """Return the times of the phases of requests.

    Each phase has its own count, because most requests reuse a connection and skip some phases.
    """
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
    note = f"summary.json has {quantity(len(rows) - FEW_ROWS, 'more request')}." if rows[FEW_ROWS:] else ""
    return Table(
        "Phases of requests, ms", ("request", "phase", "count", "p50", "p95", "p99", "max"), tuple(cells), 2, note
    )


def _short(text: str) -> str:
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"


def _three(s: Series) -> tuple[str, str, str]:
    p = s.response_ms or Percentiles()
    p50, p95, p99 = (at_least(s, milliseconds(value)) for value in (p.p50, p.p95, p.p99))
    return p50, p95, p99


def check_table(summary: Summary) -> Table:
    """Return the results of `user.check`, the check with the lowest success ratio first."""
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
    return Table("Checks", ("check", "passed", "failed", "count"), tuple(cells))


def custom_table(summary: Summary) -> Table:
    """Return the metrics that the scenario itself defines, over all regions."""
    own = [c for c in summary.custom if c.region == "*" and not c.name.startswith(CHECK)]
    cells = [(c.name, c.kind, custom_text(c), format_count(c.n)) for c in own]
    return Table("The scenario's own metrics", ("metric", "kind", "value", "count"), tuple(cells), words=3)


def custom_tag_tables(summary: Summary) -> Iterator[Table]:
    """Yield a table for each tag: the scenario's own metrics by the tag's value, at most `FEW_VALUES` for each."""
    for tag in dict.fromkeys(name for c in summary.custom_tagged for name in c.tags):
        rows = [c for c in summary.custom_tagged if tag in c.tags]
        cells, left_out = [], 0
        for name in dict.fromkeys(c.name for c in rows):
            own = [c for c in rows if c.name == name]
            left_out += max(0, len(own) - FEW_VALUES)
            cells += [(name, _short(c.tags[tag]), custom_text(c), format_count(c.n)) for c in own[:FEW_VALUES]]
        note = f"summary.json has {quantity(left_out, 'more value')}, all rarer." if left_out else ""
        columns = ("metric", tag, "value", "count")
        yield Table(f"The scenario's own metrics split by {tag}", columns, tuple(cells), words=3, note=note)


def custom_text(custom: Custom) -> str:
    """Return a metric's value with its unit: a total, a ratio, a range or percentiles, by its kind."""
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
    """Return at most four significant digits for small numbers, and whole numbers without exponent below 1e12."""
    if value is None:
        return PLACEHOLDER
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.4g}"


def region_table(summary: Summary) -> Table:
    """Return the response times of each journey in each region."""
    rows = [s for s in summary.series if s.kind == "journey" and s.outcome == "*" and s.region != "*"]
    several = len({s.journey for s in rows}) > 1
    cells = []
    for s in sorted(rows, key=lambda s: (s.region, s.journey)):
        p = s.response_ms or Percentiles()
        name = region_label(s.region, summary.is_embedded) + (f"  {s.journey}" if several else "")
        cells.append((name, format_count(s.count), *map(milliseconds, (p.p50, p.p95, p.p99))))
    return Table("Response time of journeys by region, ms", ("", "count", "p50", "p95", "p99"), tuple(cells))


def error_table(summary: Summary) -> Table:
    """Return the counts of outcomes other than ok: journeys first, then steps and requests, the most frequent first."""
    wrong = [s for s in summary.series if s.region == "*" and s.outcome not in ("*", "ok")]
    cells = [
        (s.outcome, f"{s.kind} {s.request or s.step or s.journey}", format_count(s.count))
        for s in sorted(wrong, key=lambda s: (KINDS.index(s.kind) if s.kind in KINDS else 9, -s.count, s.outcome))
    ]
    return Table("Errors", ("outcome", "of", "count"), tuple(cells), words=2)


def _as_tree(rows: Iterable[Series]) -> Iterator[Series]:
    """Yield each journey, then its steps, each followed by its requests; otherwise the order of `rows` is kept."""
    kept = list(rows)
    for journey in dict.fromkeys(s.journey for s in kept):
        own = [s for s in kept if s.journey == journey]
        yield from (s for s in own if s.kind == "journey")
        for step in dict.fromkeys(s.step for s in own if s.kind != "journey"):
            yield from (s for s in own if s.kind == "step" and s.step == step)
            yield from (s for s in own if s.kind == "request" and s.step == step)


def label(s: Series) -> str:
    """Return a row's name, indented by its depth."""
    if s.kind == "journey":
        return s.journey
    return indent(s.kind, s.step, (s.request if s.kind == "request" else s.step) or "")


def indent(kind: str, step: str | None, name: str) -> str:
    """Return a step's or request's name with its indent: two blanks for a step, four for a request in a step."""
    # A "/" in a step may join nested steps or be part of a name, so it does not count as a level.
    depth = 0 if step is None else 1
    return "  " * (depth if kind == "step" else depth + 1) + name
