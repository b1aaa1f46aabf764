"""Custom metrics with the times of streams by the definitions of another tool: "vllm ttft", "aiperf itl".

`Llm(conventions=("vllm",))` records them in addition to our own figures: one trend for each figure of the tool, in ms,
over all requests to models that ended ok. These figures are not series of our own metrics with a tag, because
queries without a tag would mix their values with ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, get_args

from loadgen.measure.conventions import Figures
from loadgen.measure.deltas.custom import MetricSpec

__all__ = [
    "ONE_NS",
    "RECORDABLE",
    "RecordedConvention",
    "convention_metric",
    "convention_specs",
    "good_metric",
    "good_ns",
    "has_limits",
    "values_ns",
]

RecordedConvention = Literal["vllm", "sglang", "aiperf", "guidellm", "inference-perf", "mlperf"]
RECORDABLE: Final[tuple[RecordedConvention, ...]] = get_args(RecordedConvention)
ONE_NS: Final = 1_000
"""Stands for 1 in a trend with the resolution 1."""
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
_GOOD: Final = "good"
_LIMITED: Final[Mapping[RecordedConvention, Mapping[str, str]]] = {
    "vllm": {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "tpot_ms", "e2e": "e2e_ms"},
    "aiperf": {"ttft": "ttft_ms", "ttfo": "ttfo_ms", "tpot": "itl_ms", "itl": "itl_ms", "e2e": "e2e_ms"},
}
"""Limits of a goodput that tools have, by our name, and the figure that each limits: one value a request."""


def convention_metric(convention: str, figure: str) -> str:
    """Return the name of the custom metric of a figure, such as "vllm ttft"."""
    return f"{convention} {figure}"


def good_metric(convention: str) -> str:
    """Return the name of the custom metric that has 1 for each good request and 0 for each other, as "vllm good"."""
    return convention_metric(convention, _GOOD)


def has_limits(convention: RecordedConvention, limits: Iterable[str]) -> bool:
    """Return whether the goodput of this tool can have limits of these names (`terms.GOODPUT_LIMITS`)."""
    return set(limits) <= set(_LIMITED.get(convention, ()))


def good_ns(convention: RecordedConvention, found: Figures, limits: Mapping[str, int]) -> int:
    """Return the value of `good_metric` for an ok request: 1 or 0, in the ns of its histogram.

    vLLM has 0 as time for each output token of an answer of one token. For AIPerf, a missing figure is not good.
    """
    for name, limit_ns in limits.items():
        value = found.get(_LIMITED[convention][name])
        ms = (value[0] if value else None) if isinstance(value, list) else value
        if ms is None or round(ms * 1_000_000) > limit_ns:
            return 0
    return ONE_NS


def convention_specs(
    conventions: Iterable[RecordedConvention], with_goodput: Iterable[RecordedConvention] = ()
) -> tuple[MetricSpec, ...]:
    """Return the declarations of the custom metrics of these conventions, in ms with a resolution of 1 µs.

    with_goodput: those that also have a goodput.
    """
    good = tuple(MetricSpec(name=good_metric(one), kind="trend", resolution=1.0) for one in dict.fromkeys(with_goodput))
    return good + tuple(
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
