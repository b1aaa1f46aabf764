"""The metrics that a probe shows: rows of the presets, and rows of metrics that a plan names.

A row has the present name of a metric and its older names. The first of these names that is on the page is used. Names
of counters are written without `_total`, names of histograms without `_bucket`.

Sources: the metrics pages of vLLM and SGLang.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from loadgen.probes.rows import ReadKind, Row

__all__ = ["PRESETS", "WAITING", "kind_of_type", "row_of_metric"]

WAITING: Final = "waiting"
"""The row of all presets with the requests that wait at the server."""


def _gauge(key: str, title: str, *names: str, unit: str = "", scale: float = 1.0, is_max: bool = False) -> Row:
    over: Literal["sum", "max"] = "max" if is_max else "sum"
    return Row(key=key, title=title, kind="gauge", names=names, unit=unit, scale=scale, over=over)


def _counter(key: str, title: str, *names: str, unit: str = "1/s") -> Row:
    return Row(key=key, title=title, kind="counter", names=names, unit=unit)


def _share(key: str, title: str, names: tuple[str, ...], of: tuple[str, ...], *, is_optional: bool = False) -> Row:
    return Row(key=key, title=title, kind="share", names=names, of=of, unit="%", scale=100, is_optional=is_optional)


def _histogram(key: str, title: str, *names: str, is_optional: bool = False) -> Row:
    return Row(key=key, title=title, kind="histogram", names=names, unit="s", is_optional=is_optional)


PRESETS: Final[dict[str, tuple[Row, ...]]] = {
    "vllm": (
        _gauge("running", "requests running", "vllm:num_requests_running"),
        _gauge(WAITING, "requests waiting", "vllm:num_requests_waiting"),
        _gauge(
            "kv_cache",
            "KV cache use",
            "vllm:kv_cache_usage_perc",
            "vllm:gpu_cache_usage_perc",
            unit="%",
            scale=100,
            is_max=True,
        ),
        _share(
            "prefix_hits",
            "prefix cache hits",
            ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"),
            ("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"),
        ),
        _counter("preemptions", "preemptions", "vllm:num_preemptions"),
        _counter("prompt_tokens", "prompt tokens", "vllm:prompt_tokens", unit="tokens/s"),
        _counter("generation_tokens", "generation tokens", "vllm:generation_tokens", unit="tokens/s"),
        _histogram("ttft", "TTFT at the server", "vllm:time_to_first_token_seconds"),
        _histogram(
            "itl",
            "ITL at the server",
            "vllm:inter_token_latency_seconds",
            "vllm:time_per_output_token_seconds",
        ),
        _histogram("queue", "queue time", "vllm:request_queue_time_seconds"),
        _histogram("prefill", "prefill time", "vllm:request_prefill_time_seconds"),
        _histogram("decode", "decode time", "vllm:request_decode_time_seconds"),
        _share(
            "accepted_drafts",
            "accepted draft tokens",
            ("vllm:spec_decode_num_accepted_tokens",),
            ("vllm:spec_decode_num_draft_tokens",),
            is_optional=True,
        ),
    ),
    "sglang": (
        _gauge("running", "requests running", "sglang:num_running_reqs"),
        _gauge(WAITING, "requests waiting", "sglang:num_queue_reqs"),
        _gauge("kv_cache", "KV cache use", "sglang:token_usage", unit="%", scale=100, is_max=True),
        _gauge("prefix_hits", "prefix cache hits", "sglang:cache_hit_rate", unit="%", scale=100, is_max=True),
        _gauge("generation_tokens", "generation tokens", "sglang:gen_throughput", unit="tokens/s"),
        _counter("prompt_tokens", "prompt tokens", "sglang:prompt_tokens", unit="tokens/s"),
        _histogram("ttft", "TTFT at the server", "sglang:time_to_first_token_seconds"),
        _histogram(
            "itl",
            "ITL at the server",
            "sglang:inter_token_latency_seconds",
            "sglang:time_per_output_token_seconds",
        ),
        _histogram("queue", "queue time", "sglang:queue_time_seconds", is_optional=True),
    ),
}


def row_of_metric(name: str) -> Row:
    """Return the row of a metric that a plan names. The type on the page decides how it is read."""
    return Row(key=name, title=name, kind="any", names=(name,), over="each")


def kind_of_type(name: str, types: Iterable[str]) -> ReadKind:
    """Return how to read a metric that has these types on the page.

    Without a type, it is a counter if its name ends with `_total`, otherwise a gauge.
    """
    for found in types:
        if found == "counter":
            return "counter"
        if found == "gauge":
            return "gauge"
        if found in ("histogram", "gaugehistogram"):
            return "histogram"
    return "counter" if name.endswith("_total") else "gauge"
