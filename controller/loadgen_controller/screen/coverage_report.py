"""The result of `loadgen coverage`, as a report for terminals and Markdown, and as a document for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadgen.report.report_parts import Report, Table
from loadgen.traffic.coverage.measure import Coverage, Known, Measure, Share
from loadgen.traffic.coverage.source_calls import SourceCall
from loadgen.traffic.coverage.stubs import stub_of
from loadgen.units import format_count, format_ratio, quantity

__all__ = ["FORMAT", "coverage_document", "coverage_report"]

FORMAT: Final = 1
_STUBS: Final = 3
_WORDS: Final[dict[Measure, str]] = {
    "requests": "requests in the traffic",
    "errors": "requests with status 400 or above",
    "writes": "requests that change data",
    "time": "server time, in seconds",
    "operations": "endpoints, each counted once",
}


def coverage_report(found: Coverage, by: Measure, least: float | None, top: int, *, passed: bool) -> Report:
    """Return the report. least: the share that is needed, or None. top: the most rows of a table."""
    ratio = found.shares[by].ratio
    assert ratio is not None
    headline = f"The scenarios exercise {format_ratio(ratio)} of the {_WORDS[by].partition(',')[0]}"
    if least is not None:
        headline += f"; the minimum is {format_ratio(least)}"
    tables = [
        Table(
            "",
            ("measure", "exercised", "total", "share"),
            tuple(map(_share_row, *zip(*found.shares.items(), strict=True))),
            note=_reasons(found.shares),
        ),
        _table(
            "Busiest endpoints that no scenario sends",
            _busy_columns(found),
            [_busy(k, found) for k in found.not_exercised],
            top,
        ),
        _table(
            "Requests of scenarios to unknown endpoints: check for typos",
            ("request", "place"),
            [_call_row(c) for c in found.nowhere_known],
            top,
            2,
        ),
        _table(
            "Endpoints in the OpenAPI document, but not in the traffic",
            ("endpoint",),
            [(str(e),) for e in found.dead],
            top,
        ),
        _table(
            f"Endpoints in the traffic{' or in traces' if found.has_traces else ''}, but not in the OpenAPI document",
            _busy_columns(found),
            [_busy(k, found) for k in found.shadow],
            top,
        ),
        _table(
            "Statuses in the traffic that no request of a scenario expects",
            ("endpoint", "class", "requests"),
            [(str(u.endpoint), f"{k}xx", format_count(n)) for u in found.unexpected for k, n in u.classes.items()],
            top,
            2,
        ),
        _table(
            "Requests of scenarios with a path that is computed at run time",
            ("place", "call"),
            [(c.place, c.text) for c in found.unreadable],
            top,
            2,
        ),
    ]
    return Report(
        headline,
        "passed" if passed else "failed",
        tuple(_lines(found)),
        tuple(t for t in tables if t.rows),
        _foot(found),
    )


def _lines(found: Coverage) -> list[str]:
    lines = []
    if found.unnamed:
        unnamed = quantity(found.unnamed, "request")
        lines.append(f"The shares leave out {unnamed} of the traffic, because traffic.json has no name for them.")
    if found.unnamed_traces:
        unnamed = format_count(found.unnamed_traces)
        lines.append(f"Traces without a route in their first span: {unnamed}. The lists leave them out.")
    if found.traces_without_entry:
        lines.append(
            f"Traces without a server span: {format_count(found.traces_without_entry)}. The lists leave them out."
        )
    if found.unreadable:
        computed = quantity(len(found.unreadable), "call")
        lines.append(f"The scenarios compute the path of {computed} at run time. To count these calls, add --run RUN.")
    lines += [f"A path of the OpenAPI document is left out: {text}." for text in found.left_out]
    return lines


def _foot(found: Coverage) -> tuple[str, ...]:
    stubs = [line for known in found.not_exercised[:_STUBS] for line in ("", *stub_of(known).splitlines())]
    return ("Journeys to start from:", *stubs) if stubs else ()


def _share_row(measure: Measure, share: Share) -> tuple[str, str, str, str]:
    if share.ratio is None:
        return _WORDS[measure], "", "", "unknown"
    if not share.total:
        return _WORDS[measure], "0", "0", "none in the traffic"
    exercised, total = (
        f"{n:,.1f}" if measure == "time" else format_count(round(n)) for n in (share.exercised, share.total)
    )
    return _WORDS[measure], exercised, total, format_ratio(share.ratio)


def _reasons(shares: Mapping[Measure, Share]) -> str:
    """Return why shares are unknown. In the table, a reason would make the first column narrow."""
    reasons = dict.fromkeys(share.missing for share in shares.values() if share.missing)
    return f"Unknown shares: {'; '.join(reasons)}." if reasons else ""


def _busy_columns(found: Coverage) -> tuple[str, ...]:
    return ("endpoint", "requests", *(("traces",) if found.has_traces else ()))


def _busy(known: Known, found: Coverage) -> tuple[str, ...]:
    traces = (format_count(known.traces),) if found.has_traces else ()
    return str(known.endpoint), format_count(known.count), *traces


def _call_row(call: SourceCall) -> tuple[str, str]:
    return ", ".join(map(str, call.endpoints)), call.place


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], top: int, words: int = 1) -> Table:
    note = f"{len(rows) - top:,} more rows are hidden: raise --top, or use --format json." if len(rows) > top else ""
    return Table(f"{title} ({len(rows)})", columns, tuple(rows[:top]), words, note)


def coverage_document(found: Coverage, by: Measure, least: float | None, *, passed: bool) -> dict[str, Any]:
    """Return the document for `--format json`. Later versions may add keys, and never remove one."""
    return {
        "format": FORMAT,
        "by": by,
        "min": least,
        "passed": passed,
        "shares": {
            measure: {
                "exercised": share.exercised,
                "total": share.total,
                "ratio": share.ratio,
                "missing": share.missing,
            }
            for measure, share in found.shares.items()
        },
        "endpoints": [_endpoint(known) for known in found.known],
        "not_exercised": [{**_endpoint(known), "stub": stub_of(known)} for known in found.not_exercised],
        "nowhere_known": [_call(call) for call in found.nowhere_known],
        "dead": [str(endpoint) for endpoint in found.dead],
        "shadow": [_endpoint(known) for known in found.shadow],
        "unexpected_statuses": [
            {"endpoint": str(one.endpoint), "classes": {f"{digit}xx": n for digit, n in one.classes.items()}}
            for one in found.unexpected
        ],
        "unreadable_calls": [_call(call) for call in found.unreadable],
        "unnamed_requests": found.unnamed,
        "unnamed_traces": found.unnamed_traces,
        "traces_without_entry": found.traces_without_entry,
        "left_out": list(found.left_out),
    }


def _endpoint(known: Known) -> dict[str, Any]:
    return {
        "method": known.endpoint.method,
        "path": known.endpoint.path,
        "requests": known.count,
        "traces": known.traces,
        "is_exercised": known.is_exercised,
        "in_traffic": known.name is not None,
        "in_openapi": known.operation is not None,
        "calls": [call.place for call in known.calls],
    }


def _call(call: SourceCall) -> dict[str, Any]:
    return {"place": call.place, "call": call.text, "endpoints": [str(one) for one in call.endpoints]}
