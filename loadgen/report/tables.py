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

from loadgen.report.reading import Agent, Figure, Percentiles, Series, Slo, Summary
from loadgen.units import NS_PER_S, format_count, format_duration, format_ratio

__all__ = [
    "Report",
    "Table",
    "final_report",
    "headline",
    "indent",
    "milliseconds",
    "observed_text",
    "region_label",
]

PLACEHOLDER = "-"
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
    tables = (slo_table(summary), response_table(summary), region_table(summary), error_table(summary))
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
    yield (
        f"Iterations: {format_count(i.due)} due, {format_count(i.started)} started,"
        f" {format_count(i.finished)} finished, {format_count(i.missed)} missed, {format_count(i.cut_off)} cut off."
    )
    share = f" ({format_ratio(r.errors / r.finished)})" if r.finished else ""
    yield (
        f"Requests: {format_count(r.started)} started, {format_count(r.finished)} finished,"
        f" {format_count(r.errors)} errors{share}."
    )
    verdict = {"valid": "was fit to measure", "invalid": "was not fit to measure"}.get(
        summary.validity.verdict, "may not have been fit to measure"
    )
    why = "; ".join(summary.validity.reasons).rstrip(".")
    yield f"The generator {verdict} ({summary.validity.verdict}{': ' + why if why else ''})."
    if summary.result == "passed" and summary.reasons:
        yield from (f"Note: {reason}." for reason in _deciding(summary) if reason not in why)
    if not summary.load.open:
        yield "Closed load: the rate followed the target."
    if summary.pool_limited.add_users and not any("pool-limited" in reason for reason in summary.reasons):
        share = format_ratio(summary.pool_limited.share)
        yield f"Pool-limited: {share} of the requests came from iterations that had waited for a free user; add users."
    told = " ".join((*summary.reasons, why))
    for note in summary.notes:
        if (note.partition(": ")[2] or note) not in told:
            yield f"Note: {note.rstrip('.')}."


def _foot(summary: Summary, run_dir: Path | None) -> Iterator[str]:
    yield agents_line(summary.agents)
    for agent in summary.agents:
        missing = (agent.missing or f"{agent.id}: what it had measured and not handed over is missing").rstrip(".")
        if not agent.complete and not any(missing in reason for reason in summary.reasons):
            yield f"  {missing}."
    if run_dir is not None:
        yield f"Run folder: {run_dir}"


def agents_line(agents: tuple[Agent, ...]) -> str:
    whole = sum(a.complete for a in agents)
    return f"Agents: {whole} of {len(agents)} complete."


def region_label(region: str, is_embedded: bool) -> str:
    """Embedded agents all run on this machine: their regions are simulated, and are called so."""
    return f"{region} (simulated)" if is_embedded else region


def slo_table(summary: Summary) -> Table:
    names = {s.journey for s in summary.slos if s.journey}
    rows = [
        (
            slo.objective + (f" [{slo.journey}]" if slo.journey and len(names) > 1 else ""),
            slo.verdict,
            observed_text(slo.observed, slo.unit),
            _interval(slo),
            format_count(slo.count),
        )
        for slo in summary.slos
    ]
    return Table("Objectives", ("objective", "verdict", "observed", "interval", "count"), tuple(rows), words=2)


def _interval(slo: Slo) -> str:
    if slo.low is None or slo.high is None:
        return PLACEHOLDER
    return f"{observed_text(slo.low, slo.unit)} to {observed_text(slo.high, slo.unit)}"


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
    return indent(s.kind, s.step, s.request or "" if s.kind == "request" else (s.step or "").rsplit("/", 1)[-1])


def indent(kind: str, step: str | None, name: str) -> str:
    """A step or a request below its journey: two blanks for each step around it."""
    depth = 0 if step is None else 1 + step.count("/")
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
