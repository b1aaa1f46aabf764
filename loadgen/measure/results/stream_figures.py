"""The figures of requests to AI models in `summary.json`: `stream_ms` and `tokens` of a row, and the block `llm`.

All are by our own convention (docs/llm-conventions.md). Partial times of streams that failed are in the lines of their
outcome and in those over all outcomes, never in a line of `ok`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loadgen.measure.deltas.series_key import OK, TOKEN_NS, StreamMetric, Tags
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.measure.results.figures import Figure, figures

__all__ = ["STREAM_TIMES", "TOKEN_COUNTS", "is_stream_row", "llm_block", "stream_rows"]

STREAM_TIMES: Final[tuple[StreamMetric, ...]] = ("ttft", "ttft_due", "ttfo", "itl", "icl", "stall", "tpot")
TOKEN_COUNTS: Final[dict[str, StreamMetric]] = {
    "prompt": "prompt_tokens",
    "cached": "cached_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}
"""Numbers of tokens of a request, by their name in `tokens`."""


def is_stream_row(merge: Measured, row: Row, region: str = ALL, warmup: bool = False) -> bool:
    """Return whether a row has requests to AI models."""
    observed, censored = merge.select_row(row, ALL, "ttft", region, warmup)
    return row.kind == "request" and bool(observed.total + censored.total)


def stream_rows(
    merge: Measured, row: Row, outcome: str, region: str, warmup: bool, tags: Tags | None = None
) -> dict[str, object]:
    """Return {"stream_ms": ..., "tokens": ...} of one line; {} if the row has no requests to AI models.

    stream_ms: by metric its `count`, `censored`, mean and percentiles in ms. tokens: by name the `count` of requests
    whose number is known, the `sum`, and mean and percentiles in tokens.
    """
    times: dict[str, object] = {}
    for metric in STREAM_TIMES:
        observed, censored = merge.select_row(row, outcome, metric, region, warmup, tags)
        if count := observed.total + censored.total:
            times[metric] = {"count": count, "censored": censored.total} | (figures(observed, censored) or {})
    if not times:
        return {}
    tokens: dict[str, object] = {}
    for name, metric in TOKEN_COUNTS.items():
        observed, _ = merge.select_row(row, outcome, metric, region, warmup, tags)
        if observed.total:
            found = figures(observed) or {}
            in_tokens = {key: _in_tokens(value) for key, value in found.items()}
            tokens[name] = {"count": observed.total, "sum": _sum(observed)} | in_tokens
    return {"stream_ms": times, "tokens": tokens}


def llm_block(merge: Measured, measured_s: float | None) -> dict[str, object] | None:
    """Return the totals of all requests to AI models after the warm-up, over all regions; None if there were none.

    measured_s: length of the measured window, for the rates; None: unknown, so there are none.
    """
    parts = list(_requests(merge))
    requests = sum(count for _, count in parts)
    if not requests:
        return None
    ok = sum(count for outcome, count in parts if outcome == OK)
    sums = {name: _sum(merge.select("request", outcome=OK, metric=metric)[0]) for name, metric in TOKEN_COUNTS.items()}
    all_output = _sum(merge.select("request", metric="output_tokens")[0])
    per_s = None if not measured_s else round(sums["output"] / measured_s, 3)
    return {
        "convention": "ours",
        "requests": requests,
        "ok": ok,
        "tokens": sums,
        "wasted_output_tokens": all_output - sums["output"],
        "cached_share": round(sums["cached"] / sums["prompt"], 6) if sums["prompt"] else None,
        "measured_s": None if measured_s is None else round(measured_s, 3),
        "output_tokens_per_s": per_s,
        "requests_per_s": None if not measured_s else round(requests / measured_s, 3),
    }


def _requests(merge: Measured) -> Iterator[tuple[str, int]]:
    """Yield (outcome, number of ended requests to AI models): each has exactly one value of ttft."""
    for number, key in merge.matching("llm requests", lambda _, key: key.metric == "ttft" and not key.warmup):
        yield key.outcome, merge.count_of((number,))


def _sum(histogram: Histogram) -> int:
    return histogram.sum_ns // TOKEN_NS


def _in_tokens(value: Figure) -> Figure:
    return round(value * 1_000, 1) if isinstance(value, float) else value
