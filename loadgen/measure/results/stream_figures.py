"""The figures of requests to AI models in `summary.json`: `stream_ms` and `tokens` of a row, and the block `llm`.

All are by our own convention (docs/llm-conventions.md). Partial times of streams that failed are in the lines of their
outcome and in those over all outcomes, never in a line of `ok`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.measure.deltas.series_key import OK, STREAM_TIMES, TOKEN_NS, StreamMetric, Tags
from loadgen.measure.deltas.stream_health import MetricValidity, StreamFitness
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.measure.results.figures import Figure, figures
from loadgen.units import format_ratio

__all__ = ["TOKEN_COUNTS", "clock_notes", "is_stream_row", "llm_block", "stream_rows"]

TOKEN_COUNTS: Final[dict[str, StreamMetric]] = {
    "prompt": "prompt_tokens",
    "cached": "cached_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}
"""Numbers of tokens of a request, by their name in `tokens`."""
_SOME: Final = 0.01


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


def llm_block(
    merge: Measured,
    measured_s: float | None,
    validity: Mapping[str, MetricValidity] = MappingProxyType({}),
    fitness: Iterable[Fitness] = (),
    *,
    model: str = "",
) -> dict[str, object] | None:
    """Return the totals of all requests to AI models after the warm-up, over all regions; None without requests.

    measured_s: length of the measured window, for the rates; None if it is unknown, and then the rates are None, too.
    validity: the verdict on each metric, by its name. fitness: of each agent, for the reads of the whole run. model:
    the name of the model that was asked; "" if it is unknown.
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
        "model": model,
        "convention": "ours",
        "requests": requests,
        "ok": ok,
        "tokens": sums,
        "wasted_output_tokens": all_output - sums["output"],
        "cached_share": round(sums["cached"] / sums["prompt"], 6) if sums["prompt"] else None,
        "measured_s": None if measured_s is None else round(measured_s, 3),
        "output_tokens_per_s": per_s,
        "requests_per_s": None if not measured_s else round(requests / measured_s, 3),
        "validity": {
            metric: {"verdict": one.verdict, "unfit_s": one.unfit_s, "seconds": one.seconds}
            | ({"reason": one.reason, "advice": one.advice} if one.reason else {})
            for metric, one in validity.items()
        },
        "reads": _reads([one.streams for one in fitness]),
    }


def _reads(parts: Sequence[StreamFitness]) -> dict[str, object]:
    """Return whose clock timed the reads, how late they were, and how many events shared a read and why."""
    return {
        "kernel_clock": sum(one.kernel_reads for one in parts),
        "loop_clock": sum(one.loop_reads for one in parts),
        "lag_p99_max_ms": max((one.read_lag_p99_max_us for one in parts), default=0) / 1_000,
        "lag_max_ms": max((one.read_lag_max_us for one in parts), default=0) / 1_000,
        "events": sum(one.events for one in parts),
        "shared_theirs": sum(one.shared_theirs for one in parts),
        "shared_ours": sum(one.shared_ours for one in parts),
        "shared_unknown": sum(one.shared_unknown for one in parts),
    }


def clock_notes(fitness: Iterable[Fitness]) -> Iterator[str]:
    """Yield a note if the event loop timed more than 1 % of the reads of streams."""
    parts = [one.streams for one in fitness]
    by_loop, by_kernel = sum(one.loop_reads for one in parts), sum(one.kernel_reads for one in parts)
    if by_loop > _SOME * (by_loop + by_kernel):
        share = format_ratio(by_loop / (by_loop + by_kernel))
        yield (
            f"{share} of the reads of streams were timed by the event loop, because the kernel's time is known only"
            " for HTTP/1.1 over TCP on Linux: gaps between tokens are less exact (docs/llm-clocks.md)"
        )


def _requests(merge: Measured) -> Iterator[tuple[str, int]]:
    """Yield (outcome, number of ended requests to AI models): each has exactly one value of ttft."""
    for number, key in merge.matching("llm requests", lambda _, key: key.metric == "ttft" and not key.warmup):
        yield key.outcome, merge.count_of((number,))


def _sum(histogram: Histogram) -> int:
    return histogram.sum_ns // TOKEN_NS


def _in_tokens(value: Figure) -> Figure:
    return round(value * 1_000, 1) if isinstance(value, float) else value
