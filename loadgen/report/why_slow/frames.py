"""Rows of the tables that a notebook gets: ranked paths, and the spans of the traces in a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from loadgen.backends.kept_traces import kept_traces
from loadgen.report.why_slow.cause_file import read_causes
from loadgen.report.why_slow.lines import attribute_text, path_text
from loadgen.units import NS_PER_MS

__all__ = ["CAUSE_COLUMNS", "SPAN_COLUMNS", "cause_rows", "span_rows"]

CAUSE_COLUMNS: Final = (
    "rank",
    "path",
    "kind",
    "added_ms",
    "share",
    "above_without",
    "percentile_without_ms",
    "stays_first",
    "n_slow",
    "n_fast",
    "more_calls_ms",
    "slower_calls_ms",
    "since_s",
    "attributes",
    "statement",
    "statement_share",
    "held_up_by",
)
SPAN_COLUMNS: Final = (
    "trace",
    "span",
    "parent",
    "service",
    "operation",
    "kind",
    "status",
    "started_at",
    "duration_ms",
    "attributes",
)


def cause_rows(run_folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `CAUSE_COLUMNS` for each ranked path.

    Raises:
        StorageError: cause.json cannot be read.
    """
    causes = read_causes(run_folder)
    if causes is None:
        return
    for rank, one in enumerate(causes.ranked, 1):
        yield (
            rank,
            path_text(one.path),
            one.kind,
            one.added_ns / NS_PER_MS,
            one.share,
            one.without_share_over,
            _ms(one.without_percentile_ns),
            one.stays_first,
            one.n_slow,
            one.n_fast,
            one.more_calls_ns / NS_PER_MS,
            one.slower_calls_ns / NS_PER_MS,
            one.since_s,
            tuple(map(attribute_text, one.attributes)),
            "" if one.statement is None else one.statement.text,
            one.statement.share if one.statement is not None and one.statement.query_id else None,
            tuple(dict.fromkeys(lock.root for lock in causes.locks if lock.path == one.path)),
        )


def span_rows(run_folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `SPAN_COLUMNS` for each span of each trace, each trace once. Times of starts are ns.

    Raises:
        StorageError: a file of the folder `traces` cannot be read.
    """
    for trace in kept_traces(run_folder):
        for span in trace.spans:
            took = None if span.end_ns is None else (span.end_ns - span.start_ns) / NS_PER_MS
            yield (
                trace.id,
                span.id,
                span.parent,
                span.service,
                span.operation,
                span.kind,
                span.status,
                span.start_ns,
                took,
                {**span.resource, **span.attributes},
            )


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS
