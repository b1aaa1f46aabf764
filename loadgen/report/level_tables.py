"""Tables of the levels of a load for terminal and page, and the sentences about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadgen.report.level_goodput import goodput_line, goodput_table
from loadgen.report.report_parts import PLACEHOLDER, Table, milliseconds
from loadgen.report.summary_reader import Level, LevelMean, Percentiles, Summary
from loadgen.units import format_count

__all__ = ["knee_line", "level_lines", "level_tables", "saturated_line"]


def level_tables(summary: Summary) -> Iterator[Table]:
    """Yield the tables of levels: response times, times of requests to AI models, goodput, and requests in flight.

    Levels that the run did not reach have no row; a note names them.
    """
    levels = [one for one in summary.levels if one.iterations.due or one.measured_s is not None]
    left_out = [one.level for one in summary.levels if one not in levels]
    if not summary.levels:
        return
    head = (
        "users" if summary.levels[0].unit == "users" else "rate",
        "started",
        "ok",
        "failed",
        "ok/s",
        "p50",
        "p95",
        "p99",
    )
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
    if left_out:
        note += f" Not reached: {', '.join(left_out)}."
    yield Table("Levels: response time of requests, ms", head, rows, note=note)
    if any(one.stream_ms for one in levels):
        yield _stream_table(head[0], levels)
    if any(one.goodput is not None for one in levels):
        yield goodput_table(head[0], levels)
    if any(one.in_flight is not None or one.tokens is not None for one in levels):
        yield _work_table(head[0], levels)


def _stream_table(unit: str, levels: Sequence[Level]) -> Table:
    """Return the table of the times of requests to AI models."""
    has_saturated = any(one.saturated for one in levels)
    note = "tok/s: output tokens of all users together; a user: 1/tpot p50, what one user sees."
    if has_saturated:
        note += " Saturated: requests in flight and ttft both grew until the level ended."
    return Table(
        "Levels: requests to AI models, ms",
        (
            unit,
            *("ttft p50", "p95", "p99", "itl p99", "tpot p50", "tok/s", "a user"),
            *(["state"] if has_saturated else []),
        ),
        tuple(
            (
                *_stream_cells(one),
                *(["saturated" if one.saturated else ""] if has_saturated else []),
            )
            for one in levels
        ),
        note=note,
    )


def _work_table(unit: str, levels: Sequence[Level]) -> Table:
    """Return the table of requests in flight, of those that waited at the server, and of tokens."""
    has_queue = any(one.queued is not None for one in levels)
    has_tokens = any(one.tokens is not None for one in levels)
    most = max(0 if one.in_flight is None else one.in_flight.count for one in levels)
    note = f"in flight: mean number of requests, weighted by time, from up to {format_count(most)} intervals."
    if has_queue:
        most = max(0 if one.queued is None else one.queued.count for one in levels)
        note += f" queued: mean number of requests that waited at the server, from up to {format_count(most)} samples."
    if has_tokens:
        note += " Tokens: of all requests of the level, failed ones too."
    return Table(
        "Levels: requests in flight, and tokens" if has_tokens else "Levels: requests in flight",
        (
            unit,
            "in flight",
            *(["queued"] if has_queue else []),
            *(["tokens in", "tokens out", "in all"] if has_tokens else []),
        ),
        tuple(
            (
                one.level,
                _mean(one.in_flight),
                *([_mean(one.queued)] if has_queue else []),
                *(_tokens(one) if has_tokens else []),
            )
            for one in levels
        ),
        note=note,
    )


def _mean(found: LevelMean | None) -> str:
    return PLACEHOLDER if found is None else _rate(found.mean)


def _tokens(one: Level) -> tuple[str, str, str]:
    if one.tokens is None:
        return PLACEHOLDER, PLACEHOLDER, PLACEHOLDER
    prompt, output = one.tokens.get("prompt", 0), one.tokens.get("output", 0)
    if output and not prompt:  # no request has an empty prompt: the server sent no usage
        return PLACEHOLDER, format_count(output), PLACEHOLDER
    return format_count(prompt), format_count(output), format_count(prompt + output)


def level_lines(summary: Summary) -> tuple[str, ...]:
    """Return the sentences about the levels: the knee, the goodput and the saturated levels, as far as they apply."""
    return tuple(filter(None, (knee_line(summary), goodput_line(summary), saturated_line(summary))))


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


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return PLACEHOLDER
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"
