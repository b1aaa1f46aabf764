"""Turns the start, the loss of an agent and the end of a run into events for notifications. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from loadgen.notify.event import Event, EventKind, Figure
from loadgen.report.report_tables import milliseconds
from loadgen.report.summary_reader import Series, Summary, read
from loadgen.report.verdict_words import all_reasons, short_headline
from loadgen.units import format_rate, format_ratio, quantity
from loadgen_controller.core.events import Reason

__all__ = ["agent_lost", "ended", "figures_of", "now", "started"]

_AS_PLANNED = frozenset((Reason.FINISHED, Reason.SATURATED, Reason.OVERDUE, Reason.TEAR_DOWN_FAILED))
"""Reasons with which a run still had the load of its plan: all of it, or a sweep up to its first saturated level."""


def now() -> str:
    """Return the time in UTC, RFC 3339, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def started(title: str, run: str, at: str, agents: int, secrets: Iterable[str] = ()) -> Event:
    """Return the event of a run whose load starts. title: scenario and plan. agents: their number."""
    headline = f"the run starts on {quantity(agents, 'agent')}"
    return Event.of(EventKind.START, title, headline, at, run=run, secrets=secrets)


def agent_lost(title: str, run: str, at: str, agent: str, why: str, secrets: Iterable[str] = ()) -> Event:
    """Return the event of a run that has lost an agent."""
    headline = f"agent {agent} is lost: {why}"
    return Event.of(EventKind.AGENT_LOST, title, headline, at, run=run, secrets=secrets)


def ended(
    title: str,
    summary: Mapping[str, object],
    at: str,
    ends: Collection[tuple[Reason, str]],
    secrets: Iterable[str] = (),
) -> Event:
    """Return the event of a run that has ended.

    Args:
        summary: the content of summary.json.
        ends: why the run ended, each reason with its details.
    """
    read_summary = read(summary)
    early = [detail for reason, detail in ends if reason not in _AS_PLANNED]
    return Event.of(
        EventKind.ABORT if early else EventKind.END,
        title,
        short_headline(read_summary),
        at,
        run=read_summary.run_id,
        result=read_summary.result,
        exit_code=read_summary.exit_code,
        figures=figures_of(read_summary),
        reasons=(*early, *all_reasons(read_summary)),
        secrets=secrets,
    )


def figures_of(summary: Summary) -> Iterator[Figure]:
    """Yield three figures with their counts: p95 of the journey with most iterations, request rate, and error ratio.

    Figures without values are left out.
    """
    if (row := _largest_journey(summary)) is not None and row.response_ms is not None:
        p95 = row.response_ms.p95
        if p95 is not None:
            yield Figure(f"p95 of {row.journey}", f"{milliseconds(p95)} ms", row.count, "iterations")
    if summary.requests.finished and summary.duration_s > 0:
        rate = format_rate(summary.requests.finished / summary.duration_s)
        yield Figure("requests", rate, summary.requests.finished, "requests")
    if due := summary.iterations.due:
        bad = summary.iterations.errors + summary.iterations.missed + summary.iterations.cut_off
        yield Figure("failed or missed", format_ratio(bad / due), due, "due iterations")


def _largest_journey(summary: Summary) -> Series | None:
    rows = [row for row in summary.series if row.kind == "journey" and row.region == row.outcome == "*"]
    return max(rows, key=lambda row: row.count, default=None)
