"""The figures of pages in browsers in `summary.json`: `page_ms` and `cls` of a row.

Only pages that ended ok have a part in them: an error page is quick to paint. A page without an interaction has no
`inp`, and one that was left before it painted has no `lcp`, so each figure has a count of its own.
"""

from __future__ import annotations

from typing import Final

from loadgen.measure.deltas.series_key import CLS_NS, OK, Metric, Tags
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.queries import Measured, Row
from loadgen.units import NS_PER_US

__all__ = ["page_rows"]

_TIMES: Final[tuple[Metric, ...]] = ("lcp", "inp", "fcp", "ttfb")
_PERCENTILES: Final = {"p50": 50.0, "p75": 75.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
"""p75 is the percentile by which web vitals are judged."""


def page_rows(merge: Measured, row: Row, region: str, warmup: bool, tags: Tags | None = None) -> dict[str, object]:
    """Return {"page_ms": ..., "cls": ...} of one row; {} if no browser opened its pages.

    page_ms: by metric (lcp, inp, fcp, ttfb) its `count` and percentiles in ms. cls: its `count` and percentiles of the
    score.
    """
    metrics: tuple[Metric, ...] = (*_TIMES, "cls")
    found = {metric: merge.select_row(row, OK, metric, region, warmup, tags)[0] for metric in metrics}
    # A request without a browser may have a ttfb as well.
    if not any(found[metric].total for metric in metrics if metric != "ttfb"):
        return {}
    times = {name: _figures(found[name], 1_000, 3) for name in _TIMES if found[name].total}
    score = _figures(found["cls"], CLS_NS / NS_PER_US, 4) if found["cls"].total else None
    return {"page_ms": times} | ({"cls": score} if score else {})


def _figures(values: Histogram, us_per_unit: float, digits: int) -> dict[str, float | int]:
    figures = {name: round(values.percentile_us(q) / us_per_unit, digits) for name, q in _PERCENTILES.items()}
    return {"count": values.total, **figures}
