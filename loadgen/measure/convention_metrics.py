"""Custom metrics with the times of streams by the definitions of another tool: "vllm ttft", "aiperf itl".

`Llm(conventions=("vllm",))` records them in addition to our own figures: one trend for each figure of the tool, in ms,
over all requests to models that ended ok. These figures are not series of our own metrics with a tag, because
queries without a tag would mix their values with ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, get_args

from loadgen.measure.conventions import Figures
from loadgen.measure.deltas.custom import MetricSpec

__all__ = ["RECORDABLE", "RecordedConvention", "convention_metric", "convention_specs", "values_ns"]

RecordedConvention = Literal["vllm", "sglang", "aiperf", "guidellm", "inference-perf", "mlperf"]
RECORDABLE: Final[tuple[RecordedConvention, ...]] = get_args(RecordedConvention)
_FIGURES: Final = {
    "ttft": "ttft_ms",
    "ttfo": "ttfo_ms",
    "itl": "itl_ms",
    "icl": "icl_ms",
    "tpot": "tpot_ms",
    "e2e": "e2e_ms",
}
"""The key in `Figures` of each figure, by our name of the figure."""
_HAS: Final[dict[RecordedConvention, tuple[str, ...]]] = {
    "vllm": ("ttft", "itl", "tpot", "e2e"),
    "sglang": ("ttft", "itl", "tpot", "e2e"),
    "aiperf": ("ttft", "ttfo", "itl", "icl", "e2e"),
    "guidellm": ("ttft", "itl", "tpot", "e2e"),
    "inference-perf": ("ttft", "itl", "tpot", "e2e"),
    "mlperf": ("ttft", "tpot", "e2e"),
}
"""The figures that each tool has, by our names."""


def convention_metric(convention: str, figure: str) -> str:
    """Return the name of the custom metric of a figure, such as "vllm ttft"."""
    return f"{convention} {figure}"


def convention_specs(conventions: Iterable[RecordedConvention]) -> tuple[MetricSpec, ...]:
    """Return the declarations of the custom metrics of these conventions, in ms with a resolution of 1 µs."""
    return tuple(
        MetricSpec(name=convention_metric(one, figure), kind="trend", unit="ms", resolution=0.001)
        for one in dict.fromkeys(conventions)
        for figure in _HAS[one]
    )


def values_ns(convention: RecordedConvention, found: Figures) -> Iterator[tuple[str, list[int]]]:
    """Yield (name of the custom metric, values of one request in ns) for each figure that the request has."""
    for figure in _HAS[convention]:
        value = found.get(_FIGURES[figure])
        values = value if isinstance(value, list) else [] if value is None else [value]
        if convention == "vllm" and figure == "tpot":
            values = [ms for ms in values if ms]  # vLLM has 0 for answers of one token, and leaves these out
        if values:
            yield convention_metric(convention, figure), [round(ms * 1_000_000) for ms in values]
