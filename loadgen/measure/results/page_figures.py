"""The figures of pages in browsers in `summary.json`: `page_ms` and `cls` of a row.

Only pages that ended ok have a part in them: an error page is quick to paint. A page without an interaction has no
`inp`, and one that was left before it painted has no `lcp`, so each figure has a count of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loadgen.measure.deltas.series_key import CLS_NS, OK, PAGE_METRICS, Metric
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.units import NS_PER_US

__all__ = ["page_rows"]

_TIMES: Final[tuple[Metric, ...]] = ("lcp", "inp", "fcp", "ttfb")
_PERCENTILES: Final = {"p50": 50.0, "p75": 75.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
"""p75 is the percentile by which web vitals are judged."""


def page_rows(measured: Measured, rows: Iterable[Row], region: str = ALL, warmup: bool = False) -> dict[str, object]:
    """Return {"page_ms": ..., "cls": ...} of several rows together; {} if no browser opened their pages.

    page_ms: by metric (lcp, inp, fcp, ttfb) its `count` and percentiles in ms. cls: its `count` and percentiles of the
    score; None without one.
    """
    rows = tuple(rows)
    found = {metric: _of_ok(measured, rows, metric, region, warmup) for metric in (*_TIMES, *PAGE_METRICS)}
    # A request without a browser may have a ttfb as well.
    if not any(found[metric].total for metric in PAGE_METRICS):
        return {}
    times = {name: _figures(found[name], 1_000, 3) for name in _TIMES if found[name].total}
    return {"page_ms": times, "cls": _figures(found["cls"], CLS_NS / NS_PER_US, 4) if found["cls"].total else None}


def _of_ok(measured: Measured, rows: tuple[Row, ...], metric: Metric, region: str, warmup: bool) -> Histogram:
    together = Histogram()
    for row in rows:
        together.add_histogram(measured.select_row(row, OK, metric, region, warmup)[0])
    return together


def _figures(values: Histogram, us_per_unit: float, digits: int) -> dict[str, float | int]:
    figures = {name: round(values.percentile_us(q) / us_per_unit, digits) for name, q in _PERCENTILES.items()}
    return {"count": values.total, **figures}
