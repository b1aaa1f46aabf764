"""Export a run in the form of the result file of `vllm bench serve`, for dashboards that read it.

The keys are written by hand after vLLM's code (`vllm/benchmarks/serve.py`, 009e6d4). No file that vLLM itself wrote was
compared. Times are by vLLM's definitions, which need the event list of each stream: the run has them if its plan has
`Llm(conventions=("vllm",))`. Otherwise they are null, because our own times of the same streams differ.
"""

from __future__ import annotations

from typing import Final

from loadgen.errors import UsageError
from loadgen.measure.convention_metrics import convention_metric
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.merging.queries import Measured
from loadgen.measure.run_folder.kept_stream_log import KeptOfRun
from loadgen.report.exports.llm_stats import duration_s, good_requests, of_convention, statistics
from loadgen.report.kept_stream_tables import cut_ns_of
from loadgen.report.summary_reader import Summary
from loadgen.units import NS_PER_S

__all__ = ["vllm_bench"]

_TIMES: Final = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e"}
"""vLLM's name of each time, and ours."""
_NOTE: Final = (
    "Exported by loadgen; times are by the definitions of vllm bench serve, docs/llm-conventions.md. completed and"
    " failed are loadgen's outcomes: a stream that broke off counts as failed. Token counts are the server's usage."
    " Percentiles are within 0.1 %."
    " duration is from the end of the warm-up to the end of the run, with the drain. Warm-up requests are left out."
    " null: loadgen did not record it."
)
_MISSING: Final = (
    ' The times are null, because the plan did not record this convention: add Llm(conventions=("vllm",)),'
    " or --convention vllm to loadgen llm. loadgen report --convention vllm computes them of the kept streams."
)
_GOODPUT: Final = (
    " request_goodput is of the limits of the first goodput objective without journey, step, request, region, load and"
    " tags; limits of single requests (slo=) do not count."
)
_NO_GOODPUT: Final = (
    ' request_goodput is null: it needs Llm(conventions=("vllm",)) and a goodput objective with limits that vLLM has'
    " (ttft, tpot or itl, e2e), without journey, step, request, region, load and tags."
)


def vllm_bench(summary: Summary, measured: Measured, kept: KeptOfRun | None = None) -> dict[str, object]:
    """Return the result document of a run. measured: its measurements, without a detected warm-up.

    kept: the run's kept streams. The lists with one entry a request (`ttfts`, `itls` ...) are of those that ended ok;
    None, or none: there are no lists.

    Raises:
        UsageError: the run had no requests to AI models.
    """
    llm = summary.llm
    if llm is None:
        raise UsageError(
            "the run had no requests to AI models, so it has no result of vllm bench",
            hint="use another --format, such as json or csv",
        )
    lasted_s = duration_s(summary)
    tokens_in, tokens_out = llm.tokens.get("prompt", 0), llm.tokens.get("output", 0)
    found = {
        name: statistics(of_convention(measured, convention_metric("vllm", ours)), (50.0, 99.0))
        for name, ours in _TIMES.items()
    }
    good = good_requests(measured, "vllm")
    document: dict[str, object] = {
        "date": summary.started_at,
        "convention": "vllm",
        "convention_note": _NOTE
        + ("" if any(found.values()) else _MISSING)
        + (_NO_GOODPUT if good is None else _GOODPUT),
        "loadgen_run_id": summary.run_id,
        "duration": round(lasted_s, 3),
        "completed": llm.ok,
        "failed": llm.requests - llm.ok,
        "total_input_tokens": tokens_in,
        "total_output_tokens": tokens_out,
        "request_throughput": _rate(llm.ok, lasted_s),
        "request_goodput": None if good is None else _rate(good, lasted_s),
        "output_throughput": _rate(tokens_out, lasted_s),
        "total_token_throughput": _rate(tokens_in + tokens_out, lasted_s),
        "max_output_tokens_per_s": None,
        "max_concurrent_requests": None,
    }
    for name, values in found.items():
        shown = values or {}
        document |= {
            f"mean_{name}_ms": shown.get("avg"),
            f"median_{name}_ms": shown.get("p50"),
            f"std_{name}_ms": shown.get("std"),
            f"p99_{name}_ms": shown.get("p99"),
        }
    if kept is not None:
        document |= _lists(kept, cut_ns_of(summary), llm.ok)
    return document


def _lists(kept: KeptOfRun, warmup_ns: int, of: int) -> dict[str, object]:
    """Return the lists that `vllm bench serve --save-detailed` writes, without texts. Times in them are s."""
    streams = [one for one in kept.sample(warmup_ns) if one.outcome == OK]
    found = [one.figures("vllm") for one in streams]
    if not streams:
        return {}
    return {
        "kept_streams": {
            "streams": len(streams),
            "of_requests": of,
            "share": kept.share,
            "left_out": kept.left_out,
            "note": "ttfts, itls, input_lens, output_lens and start_times are of these streams only",
        },
        "input_lens": [one.prompt_tokens for one in streams],
        "output_lens": [one.output_tokens for one in streams],
        "start_times": [round(one.at_ns / NS_PER_S, 6) for one in streams],
        "ttfts": [_seconds(one["ttft_ms"]) for one in found],
        "itls": [_seconds(one["itl_ms"]) for one in found],
    }


def _seconds(ms: float | list[float] | None) -> object:
    """Return a time in s; 0 for a missing one, as vLLM has it."""
    if isinstance(ms, list):
        return [round(one / 1_000, 6) for one in ms]
    return 0.0 if ms is None else round(ms / 1_000, 6)


def _rate(count: float, lasted_s: float) -> float | None:
    return round(count / lasted_s, 4) if lasted_s > 0 else None
