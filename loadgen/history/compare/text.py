"""Describes a comparison of two releases in sentences and tables: what differs, how certain that is, and why.

Differences in the conditions of the two sides come before any figures. Each number has its unit, and each difference
its interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from statistics import median
from typing import Final

from loadgen.history.compare.comparison import PRIMARY, Comparison, ErrorRow, Odd, Outcome, Row, Side, Verdict
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.stored_run import ALL
from loadgen.report.report_tables import Report, Table, milliseconds
from loadgen.units import (
    NS_PER_S,
    format_change,
    format_changes,
    format_duration,
    format_rate,
    format_ratio,
    quantity,
)

__all__ = ["report_of", "side_text"]

MANY: Final = 40
"""Rows of figures up to which all are shown. With more, only p95 and clear differences are shown by default."""
NOTHING: Final = "-"
_CHANCE: Final = "among many intervals some exclude 0 by chance, so not every such row is a clear difference"
_NO_ERROR: Final = "if runs are too short to estimate their own error, intervals include only the run-to-run variation"
_ENDS: Final = {Outcome.COMPARED: "", Outcome.INCONCLUSIVE: ", inconclusive", Outcome.INVALID: ", invalid"}


def report_of(comparison: Comparison, *, all_rows: bool = False) -> Report:
    """Return a comparison as a report: a headline, sentences and tables, the most important first.

    all_rows: show every row of figures; False: with many rows, only p95 and clear differences.
    """
    tables = (
        _figure_table(comparison, all_rows),
        _error_table(comparison),
        _place_table(comparison, "region", all_rows),
        _place_table(comparison, "agent", all_rows),
        _run_table(comparison),
    )
    return Report(
        headline=_headline(comparison),
        result="" if comparison.outcome is Outcome.COMPARED else str(comparison.outcome),
        lines=tuple(_lines(comparison)),
        tables=tuple(table for table in tables if table.rows),
        foot=(),
    )


def side_text(side: Side) -> str:
    """Return the label of a side with its number of runs, such as "1.4 (3 runs)"."""
    return f"{side.label} ({quantity(len(side.runs), 'run')})"


# -- sentences ------------------------------------------------------------------------------------


def _headline(comparison: Comparison) -> str:
    rows = [row for row in comparison.whole if row.percentile == PRIMARY]
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    parts = [f"{counts[one]} {one}" for one in (Verdict.SLOWER, Verdict.FASTER) if counts[one]]
    if counts[Verdict.MORE_ERRORS]:
        parts.append(f"{counts[Verdict.MORE_ERRORS]} faster but with more errors")
    if counts[Verdict.NO_CLEAR]:
        parts.append(f"{counts[Verdict.NO_CLEAR]} without a clear difference")
    if counts[Verdict.UNKNOWN]:
        parts.append(f"{counts[Verdict.UNKNOWN]} inconclusive")
    errors = [row.verdict for row in comparison.errors if row.region == ALL]
    for verdict in (Verdict.MORE_ERRORS, Verdict.FEWER_ERRORS):
        if n := errors.count(verdict):
            parts.append(f"{n} with {verdict}")
    sides = f"{side_text(comparison.new)} compared with {side_text(comparison.base)}{_ENDS[comparison.outcome]}"
    return f"{sides}: of {quantity(len(rows), 'name')}, by {PRIMARY}, {', '.join(parts)}."


def _lines(comparison: Comparison) -> Iterator[str]:
    word = "Invalid" if comparison.outcome is Outcome.INVALID else "Inconclusive"
    yield from (f"{word}: {reason}." for reason in comparison.reasons)
    if comparison.outcome is Outcome.INCONCLUSIVE and any(not _is_known(row) for row in comparison.whole):
        yield (
            "To decide it: make more runs of either side, give a history (--store), or state the run-to-run variation"
            " (--between 3%) if you know it and the runs are long enough."
        )
    yield from (f"Different conditions: {words}." for words in comparison.differences)
    yield from (f"{words[:1].upper()}{words[1:]}." for words in comparison.missing)
    if comparison.faster_by_failing:
        yield from _failing(comparison)
    yield from _odd_lines(comparison)
    yield from _runs_differ(comparison)


def _failing(comparison: Comparison) -> Iterator[str]:
    names = comparison.faster_by_failing
    errors = {row.name: row.shift for row in comparison.errors if row.region == ALL}
    worst = max(names, key=lambda name: errors[name].change)
    ratios = f"{format_ratio(errors[worst].base)} to {format_ratio(errors[worst].new)}"
    more = f" (and {quantity(len(names) - 1, 'more name')})" if names[1:] else ""
    yield (
        f"More errors: the error ratio of {worst}{more} went from {ratios}, while successful requests were faster."
        " That is not an improvement: the slow requests may be those that failed."
    )


def _odd_lines(comparison: Comparison) -> Iterator[str]:
    """Yield a sentence for each region or agent that differs alone, with the name at which it differs most."""
    found: dict[tuple[str, str, str], list[Odd]] = {}
    for odd in comparison.odd:
        found.setdefault((odd.kind, odd.place, odd.side), []).append(odd)
    for (kind, place, side), odds in found.items():
        worst = max(odds, key=lambda odd: abs(odd.change))
        where = f"{kind} {place}" + (f" of {side}" if side else "")
        more = f", and {quantity(len(odds) - 1, 'more name')}" if odds[1:] else ""
        there, elsewhere = format_change(worst.change), format_change(worst.rest)
        yield (
            f"Only {where}: {worst.name} is {there} there and {elsewhere} elsewhere"
            f" ({PRIMARY}{more}). The cause is this {kind} and not the release, unless it runs different code."
        )


def _runs_differ(comparison: Comparison) -> Iterator[str]:
    rows = [row for row in comparison.whole if row.percentile == PRIMARY and row.between is not None]
    known = [row.between for row in rows if row.between is not None]
    if known and not known[0].runs:
        yield f"Runs of the same code differ by {known[0].deviation * 100:.1f} %, as stated."
    elif known:
        middle = median(one.whole for one in known)
        most = max(one.runs for one in known)
        yield (
            f"Runs of the same code differ by {middle * 100:.1f} % (standard deviation of the {PRIMARY},"
            f" median over names; {quantity(most, 'run')} of the history)."
        )


# -- tables ---------------------------------------------------------------------------------------


def _figure_table(comparison: Comparison, all_rows: bool) -> Table:
    rows = comparison.whole
    is_short = len(rows) > MANY and not all_rows
    shown = [row for row in rows if not is_short or row.percentile == PRIMARY or row.is_clear]
    notes = [f"of {quantity(len(rows), 'row')}, only {PRIMARY} and clear differences are shown"] if is_short else []
    if any(row.why and _is_known(row) for row in shown):
        notes.append(_NO_ERROR)
    if any(_is_chance(row) for row in shown):
        notes.append(_CHANCE)
    return Table(
        title="Response times of successes, ms",
        columns=("name", "", "", "base", "new", "change", "95 % interval"),
        rows=tuple((*_named(shown, n), *_cells(row)) for n, row in enumerate(shown)),
        words=3,
        note="; ".join(notes),
    )


def _named(rows: Sequence[Row], n: int) -> tuple[str, str, str]:
    row = rows[n]
    name = "" if n and rows[n - 1].name == row.name else row.name
    return name, row.percentile, _is(row.verdict)


def _cells(row: Row) -> tuple[str, str, str, str]:
    change, interval = NOTHING, NOTHING
    if row.shift is not None:
        change = format_change(row.shift.change)
        interval = format_changes(row.shift.low, row.shift.high)
        if not row.shift.is_known and interval != NOTHING:
            interval = f"({interval})"
    return _ms(row.base_ms), _ms(row.new_ms), change, interval


def _error_table(comparison: Comparison) -> Table:
    """Return the table of error ratios: those of all names, and of single regions only clear differences."""
    rows = [row for row in comparison.errors if row.shift.base or row.shift.new]
    shown = [row for row in rows if row.region == ALL or row.verdict is not Verdict.NO_CLEAR]
    return Table(
        title="Errors",
        columns=("name", "region", "", "base", "new", "change", "95 % interval"),
        rows=tuple(_error_cells(row) for row in shown),
        words=3,
        note="changes in percentage points",
    )


def _error_cells(row: ErrorRow) -> tuple[str, ...]:
    of = row.shift
    low, high = (f"{max(-1.0, min(1.0, value)) * 100:+.2f}" for value in (of.low, of.high))
    ratios = format_ratio(of.base), format_ratio(of.new)
    return row.name, row.region, _is(row.verdict), *ratios, f"{of.change * 100:+.2f}", _interval(low, high, of.low)


def _place_table(comparison: Comparison, kind: str, all_rows: bool) -> Table:
    """Return the table of the p95 of each region, or of each agent. kind: "region" or "agent".

    With many rows and without `all_rows`, only clear differences and journeys are shown.
    """
    of_agents = kind == "agent"
    rows = [
        row
        for row in comparison.rows
        if row.percentile == PRIMARY and not row.is_whole and (row.agent != ALL) is of_agents
    ]
    if of_agents and len({row.agent for row in rows}) == len({row.region for row in rows}):
        rows = []  # one agent in each region: the table of regions has the same figures
    if len(rows) > MANY and not all_rows:
        rows = [row for row in rows if row.is_clear or row.kind == "journey"][:MANY]
    return Table(
        title=f"By {kind}, {PRIMARY}, ms",
        columns=("name", kind, "", "base", "new", "change", "95 % interval"),
        rows=tuple((row.name, row.agent if of_agents else row.region, _is(row.verdict), *_cells(row)) for row in rows),
        words=3,
        note=_CHANCE if any(_is_chance(row) for row in rows) else "",
    )


def _run_table(comparison: Comparison) -> Table:
    rows = []
    for side in (comparison.base, comparison.new):
        for run in side.runs:
            rate = format_rate(run.achieved_rate) if isfinite(run.achieved_rate) else NOTHING
            commit = run.commit[:10] + ("+" if run.commit.endswith("+") and len(run.commit) > 10 else "")
            fit = "not fit" if unfit_of(run) else run.validity  # `page.py` has a colour for these words
            length = format_duration(run.duration_s * NS_PER_S)
            rows.append((run.run_id, side.label, fit, commit or NOTHING, length, rate))
    return Table("Runs", ("run", "side", "", "commit", "length", "iterations"), tuple(rows), words=3)


def _interval(low: str, high: str, value: float) -> str:
    return f"{low.removesuffix(' %')} to {high}" if isfinite(value) else NOTHING


def _is(verdict: Verdict) -> str:
    """Return the verdict as a short text for a column of a table."""
    return "not clear" if verdict is Verdict.NO_CLEAR else str(verdict)


def _ms(value: float) -> str:
    return milliseconds(value) if isfinite(value) else "> all seen" if value > 0 else NOTHING


def _is_known(row: Row) -> bool:
    return row.shift is not None and row.shift.is_known


def _is_chance(row: Row) -> bool:
    """Return whether the row's interval excludes 0 although the row counts as no clear difference.

    With many names some intervals exclude 0 by chance, so p-values are adjusted before a row is marked.
    """
    of = row.shift
    return of is not None and of.is_known and not of.low <= 0 <= of.high and row.verdict is Verdict.NO_CLEAR
