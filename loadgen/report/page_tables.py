"""Format the web vitals of pages in browsers as a table, at p75: the percentile by which they are judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loadgen.report.report_parts import PLACEHOLDER, Table, milliseconds
from loadgen.report.stream_tables import stream_name
from loadgen.report.summary_reader import PageFigures, Series, Summary
from loadgen.units import format_count, quantity

__all__ = ["page_tables"]

MOST_ROWS: Final = 30
"""The most rows of the table; summary.json has all."""
_NONE: Final = PageFigures()
_NOTE: Final = (
    "Pages that ended ok, at p75. lcp: until the largest element was painted; inp: the slowest interaction; cls: how"
    " far the layout moved, a score; fcp: until the first content; ttfb: until the first byte."
    " docs/language-browser.md defines them."
)


def page_tables(summary: Summary) -> Iterator[Table]:
    """Yield the table of pages in browsers; nothing if the run had none."""
    rows = [s for s in summary.series if s.region == "*" and s.outcome == "*" and (s.page_ms or s.cls)]
    if not rows:
        return
    several = len({s.journey for s in rows}) > 1
    left_out = f"summary.json has {quantity(len(rows) - MOST_ROWS, 'more row')}." if rows[MOST_ROWS:] else ""
    yield Table(
        "Pages, ms",
        ("", "count", "lcp p75", "p95", "inp", "count", "cls", "fcp", "ttfb"),
        tuple(_cells(stream_name(s, several), s) for s in rows[:MOST_ROWS]),
        note="\n".join(filter(None, (_NOTE, left_out))),
    )


def _cells(name: str, s: Series) -> tuple[str, ...]:
    lcp, inp, fcp, ttfb = (s.page_ms.get(metric, _NONE) for metric in ("lcp", "inp", "fcp", "ttfb"))
    cls = PLACEHOLDER if s.cls is None or s.cls.p75 is None else f"{s.cls.p75:.3f}"
    return (
        name,
        format_count(lcp.count),
        milliseconds(lcp.p75),
        milliseconds(lcp.p95),
        milliseconds(inp.p75),
        format_count(inp.count),
        cls,
        milliseconds(fcp.p75),
        milliseconds(ttfb.p75),
    )
