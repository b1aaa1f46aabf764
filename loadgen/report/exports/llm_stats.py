"""Statistics of a histogram in the form that files of other tools have: mean, standard deviation and percentiles.

Count, sum, mean, least and greatest value are exact. Percentiles and the standard deviation come from the slots of the
histogram, so they are within 0.1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

import numpy as np

from loadgen.measure.convention_metrics import ONE_NS, good_metric
from loadgen.measure.deltas.series_key import OK, TOKEN_NS, StreamMetric
from loadgen.measure.histograms.histogram import Histogram, highest_us, lowest_us, percentiles
from loadgen.measure.merging.queries import Measured
from loadgen.report.summary_reader import Summary
from loadgen.units import NS_PER_MS

__all__ = ["MS", "TOKENS", "duration_s", "good_requests", "of_convention", "of_ours", "statistics"]

MS: Final = NS_PER_MS
TOKENS: Final = TOKEN_NS
"""One unit of the statistics, in ns."""


def statistics(values: Histogram, percentiles_of: Sequence[float], unit_ns: int = MS) -> dict[str, float] | None:
    """Return {"count", "sum", "avg", "min", "max", "std", "p50" ...} in the unit; None without values."""
    count = values.total
    if not count or values.min_ns is None or values.max_ns is None:
        return None
    slots, counts = values.sparse()
    middle_ns = np.clip((lowest_us(slots) + highest_us(slots)) * 500.0, values.min_ns, values.max_ns)
    mean_ns = values.sum_ns / count
    spread = float((counts * (middle_ns - mean_ns) ** 2).sum() / count)
    found = {
        "count": count,
        "sum": values.sum_ns / unit_ns,
        "avg": mean_ns / unit_ns,
        "min": values.min_ns / unit_ns,
        "max": values.max_ns / unit_ns,
        "std": sqrt(spread) / unit_ns,
    }
    for q, value in zip(percentiles_of, percentiles(values, None, percentiles_of), strict=True):
        assert value is not None
        found[f"p{q:g}"] = min(max(value.us * 1_000, values.min_ns), values.max_ns) / unit_ns
    return {name: value if name == "count" else round(value, 4) for name, value in found.items()}


def of_ours(measured: Measured, metric: StreamMetric) -> Histogram:
    """Return a metric by our own convention, of all requests to models that ended ok after the warm-up."""
    return measured.select("request", outcome=OK, metric=metric)[0]


def of_convention(measured: Measured, name: str) -> Histogram:
    """Return the values after the warm-up of a custom metric such as "vllm ttft"; empty if the run did not record it.

    name: as `convention_metric` returns it.
    """
    return measured.select("trend", request=name, metric="value")[0]


def good_requests(measured: Measured, convention: str) -> int | None:
    """Return how many requests were good after the warm-up, by a tool's definition; None if that was not recorded."""
    found = of_convention(measured, good_metric(convention))
    return found.sum_ns // ONE_NS if found.total else None


def duration_s(summary: Summary) -> float:
    """Return the time from the end of the warm-up to the end of the run, with the drain, as these tools count it."""
    return summary.duration_s - (0.0 if summary.warmup is None else summary.warmup.cut_s)
