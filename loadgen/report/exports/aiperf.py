"""Export a run in the form of AIPerf's `profile_export_aiperf.json` and `.csv`, for dashboards that read them.

The form is that of AIPerf 0.13.0: tests/report/test_aiperf_files.py compares it with files that AIPerf wrote. A metric
that AIPerf does not have for a run is missing in its file, so metrics that this run did not record by AIPerf's
definition are missing here, too, and the note names them. With `Llm(conventions=("aiperf",))` in its plan, a run has
all of them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from loadgen.errors import UsageError
from loadgen.measure.convention_metrics import convention_metric
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.queries import Measured
from loadgen.report.exports.llm_stats import TOKENS, duration_s, good_requests, of_convention, of_ours, statistics
from loadgen.report.summary_reader import Summary

__all__ = ["aiperf_csv", "aiperf_json"]

SCHEMA_VERSION: Final = "1.4"
_PERCENTILES: Final = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0)
_STATISTICS: Final = ("avg", "min", "max", "sum", *(f"p{q:g}" for q in _PERCENTILES), "std")
_HEADERS: Final = {
    "time_to_first_token": "Time to First Token",
    "time_to_first_output_token": "Time to First Output Token",
    "inter_token_latency": "Inter Token Latency",
    "inter_chunk_latency": "Inter Chunk Latency",
    "request_latency": "Request Latency",
    "output_sequence_length": "Output Sequence Length",
    "input_sequence_length": "Input Sequence Length",
    "output_token_throughput": "Output Token Throughput",
    "request_throughput": "Request Throughput",
    "input_token_throughput": "Input Token Throughput",
    "total_token_throughput": "Total Token Throughput",
    "request_count": "Request Count",
    "completed_request_count": "Completed Requests (Success + Error)",
    "error_request_count": "Error Request Count",
    "request_error_rate": "Request Error Rate",
    "benchmark_duration": "Benchmark Duration",
    "total_output_tokens": "Total Output Tokens",
    "total_osl": "Total Output Sequence Length",
    "total_isl": "Total Input Sequence Length",
    "good_request_count": "Good Request Count",
    "goodput": "Goodput",
}
"""Tags of metrics, and their names in the CSV file."""
_RECORDED: Final = {
    "time_to_first_token": "ttft",
    "time_to_first_output_token": "ttfo",
    "inter_token_latency": "itl",
    "inter_chunk_latency": "icl",
    "request_latency": "e2e",
}
"""Times that a run with this convention has, by AIPerf's tag."""
_NOTE: Final = (
    "Exported by loadgen; figures are by the definitions of AIPerf 0.13.0, docs/llm-conventions.md. Only requests that"
    " loadgen counts as ok are in them. Token counts are the server's usage. benchmark_duration is from the end of the"
    " warm-up to the end of the run, with the drain."
)
_OURS: Final = (
    " time_to_first_token and time_to_first_output_token are loadgen's own: they are the same for streams without a"
    " refusal."
)
_GOODPUT: Final = (
    " goodput is of the limits of the first goodput objective without journey, step, request, region, load and tags;"
    " limits of single requests (slo=) do not count."
)
_NO_GOODPUT: Final = (
    ' goodput is missing: it needs Llm(conventions=("aiperf",)) and a goodput objective with limits that AIPerf has'
    " (ttft, ttfo, tpot or itl, e2e), without journey, step, request, region, load and tags."
)

_Metric = dict[str, object]


def aiperf_json(summary: Summary, measured: Measured) -> dict[str, object]:
    """Return the JSON document of a run. measured: its measurements, without a detected warm-up.

    Raises:
        UsageError: the run had no requests to AI models.
    """
    found = dict(_metrics(summary, measured))
    return {
        "schema_version": SCHEMA_VERSION,
        "convention": "aiperf",
        "convention_note": _note(found, measured),
        "benchmark_id": summary.run_id,
        "start_time": summary.started_at,
        "was_cancelled": summary.result == "interrupted",
        "is_complete": summary.result != "interrupted",
        **found,
    }


def aiperf_csv(summary: Summary, measured: Measured) -> str:
    """Return the CSV file of a run: metrics with percentiles, an empty line, single values, and the note.

    Raises:
        UsageError: the run had no requests to AI models.
    """
    found = dict(sorted(_metrics(summary, measured)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(("Metric", *_STATISTICS))
    for tag, metric in found.items():
        if "p50" in metric:
            writer.writerow((_name(tag, metric), *(_cell(metric.get(name)) for name in _STATISTICS)))
    writer.writerow(())
    writer.writerow(("Metric", "Value"))
    writer.writerows((_name(tag, metric), _cell(metric["avg"])) for tag, metric in found.items() if "p50" not in metric)
    return text.getvalue()


def _metrics(summary: Summary, measured: Measured) -> Iterator[tuple[str, _Metric]]:
    llm = summary.llm
    if llm is None:
        raise UsageError(
            "the run had no requests to AI models, so it has no AIPerf profile",
            hint="use another --format, such as json or csv",
        )
    has_convention = _has_convention(measured)
    ours = {"time_to_first_token": of_ours(measured, "ttft"), "time_to_first_output_token": of_ours(measured, "ttfo")}
    for tag, name in _RECORDED.items():
        recorded = of_convention(measured, convention_metric("aiperf", name))
        values = recorded if has_convention else ours.get(tag, Histogram())
        if found := statistics(values, _PERCENTILES):
            yield tag, {"unit": "ms", **found}
    if found := statistics(of_ours(measured, "output_tokens"), _PERCENTILES, TOKENS):
        yield "output_sequence_length", {"unit": "tokens", **found}
    if found := statistics(of_ours(measured, "prompt_tokens"), _PERCENTILES, TOKENS):
        yield "input_sequence_length", {"unit": "tokens", **found}
    lasted_s = duration_s(summary)
    tokens_in, tokens_out = llm.tokens.get("prompt", 0), llm.tokens.get("output", 0)
    single: dict[str, tuple[str, float]] = {
        "request_count": ("requests", llm.ok),
        "error_request_count": ("requests", llm.requests - llm.ok),
        "completed_request_count": ("requests", llm.requests),
        "total_osl": ("tokens", tokens_out),
        "total_isl": ("tokens", tokens_in),
        "total_output_tokens": ("tokens", tokens_out - llm.tokens.get("reasoning", 0)),
        "benchmark_duration": ("sec", round(lasted_s, 3)),
    }
    if llm.requests:
        single["request_error_rate"] = "%", round(100 * (llm.requests - llm.ok) / llm.requests, 4)
    if lasted_s > 0:
        single |= {
            "output_token_throughput": ("tokens/sec", round(tokens_out / lasted_s, 4)),
            "input_token_throughput": ("tokens/sec", round(tokens_in / lasted_s, 4)),
            "total_token_throughput": ("tokens/sec", round((tokens_in + tokens_out) / lasted_s, 4)),
            "request_throughput": ("requests/sec", round(llm.ok / lasted_s, 4)),
        }
    good = good_requests(measured, "aiperf")
    if good is not None and lasted_s > 0:
        single |= {
            "good_request_count": ("requests", good),
            "goodput": ("requests/sec", round(good / lasted_s, 4)),
        }
    for tag, (unit, value) in single.items():
        yield tag, {"unit": unit, "avg": value}


def _has_convention(measured: Measured) -> bool:
    return bool(of_convention(measured, convention_metric("aiperf", "ttft")).total)


def _note(found: dict[str, _Metric], measured: Measured) -> str:
    note = _NOTE if _has_convention(measured) else _NOTE + _OURS
    missing = [tag for tag in _RECORDED if tag not in found]
    if missing:
        note += f" Missing, because the plan did not record this convention: {', '.join(missing)}."
        note += ' Add Llm(conventions=("aiperf",)), or --convention aiperf to loadgen llm.'
    return note + (_GOODPUT if "goodput" in found else _NO_GOODPUT)


def _name(tag: str, metric: _Metric) -> str:
    """Return the name of a metric with its unit, except of counts of requests."""
    unit = metric["unit"]
    return _HEADERS[tag] if unit == "requests" else f"{_HEADERS[tag]} ({unit})"


def _cell(value: object) -> str:
    """Return a number with two decimals, whole ones too, as AIPerf does."""
    return "" if value is None else f"{value:.2f}"
