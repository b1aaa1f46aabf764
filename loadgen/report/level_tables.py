"""Tables of the levels of a load for terminal and page, and the sentences about the knee and saturated levels."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.report.report_parts import PLACEHOLDER, Table, milliseconds
from loadgen.report.summary_reader import Level, Percentiles, Summary
from loadgen.units import format_count, format_ratio

__all__ = ["knee_line", "level_tables", "saturated_line"]


def level_tables(summary: Summary) -> Iterator[Table]:
    """Yield the table of levels, and for requests to AI models a second one with their times and tokens."""
    levels = summary.levels
    if not levels:
        return
    head = ("users" if levels[0].unit == "users" else "rate", "started", "ok", "failed", "ok/s", "p50", "p95", "p99")
    has_missed = any(one.iterations.started < one.iterations.due for one in levels)
    rows = tuple(
        (
            one.level,
            f"{format_count(one.iterations.started)}"
            + (f" of {format_count(one.iterations.due)}" if has_missed else ""),
            format_count(one.requests.ok),
            format_count(one.requests.failed),
            _rate(one.achieved_per_s),
            *_times(one.response_ms),
        )
        for one in levels
    )
    note = (
        "Times: requests due at the level that ended ok. ok/s: requests that ended in the level after it had settled."
    )
    yield Table("Levels: response time of requests, ms", head, rows, note=note)
    if not any(one.stream_ms for one in levels):
        return
    has_goodput = any(one.goodput is not None for one in levels)
    has_saturated = any(one.saturated for one in levels)
    note = "tok/s: output tokens of all users together; a user: 1/tpot p50, what one user sees."
    if has_saturated:
        note += " Saturated: requests in flight and ttft both grew until the level ended."
    yield Table(
        "Levels: requests to AI models, ms",
        (
            head[0],
            *("ttft p50", "p95", "p99", "itl p99", "tpot p50", "tok/s", "a user"),
            *(["goodput"] if has_goodput else []),
            *(["state"] if has_saturated else []),
        ),
        tuple(
            (
                *_stream_cells(one),
                *([_goodput(one)] if has_goodput else []),
                *(["saturated" if one.saturated else ""] if has_saturated else []),
            )
            for one in levels
        ),
        note=note,
    )


def knee_line(summary: Summary) -> str:
    """Return the knee as a sentence; "" for a run without levels. Not shown if the figures are invalid."""
    if summary.knee is None:
        return ""
    if summary.result not in ("passed", "failed"):
        return f"Knee: not judged, because the run is {summary.result}."
    return f"Knee: {summary.knee.text}."


def saturated_line(summary: Summary) -> str:
    """Return the saturated levels as a sentence; "" without such levels, or if the figures are invalid."""
    found = [one for one in summary.levels if one.saturated]
    if not found or summary.result not in ("passed", "failed"):
        return ""
    unit = " users" if found[0].unit == "users" else ""
    levels = ", ".join(one.level for one in found) + unit
    return (
        f"Saturated: {levels}. Requests in flight and ttft grew until the end, so the service does not hold this load."
    )


def _stream_cells(one: Level) -> tuple[str, ...]:
    of = one.stream_ms or {}
    empty = Percentiles()
    return (
        one.level,
        *_times(of.get("ttft")),
        milliseconds(of.get("itl", empty).p99),
        milliseconds(of.get("tpot", empty).p50),
        _rate(one.output_tokens_per_s),
        _rate(one.tokens_per_s_a_user),
    )


def _times(found: Percentiles | None) -> tuple[str, str, str]:
    p = found or Percentiles()
    return milliseconds(p.p50), milliseconds(p.p95), milliseconds(p.p99)


def _goodput(one: Level) -> str:
    return PLACEHOLDER if one.goodput is None else format_ratio(one.goodput.share)


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return PLACEHOLDER
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"
