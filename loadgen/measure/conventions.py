"""The figures of one stream as each tool of the field defines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from loadgen.measure.streams import EventKind

__all__ = ["CONVENTIONS", "Convention", "Event", "Figures", "figures"]

Convention = Literal["ours", "vllm", "sglang", "aiperf", "guidellm", "inference-perf", "mlperf"]
CONVENTIONS: Final[tuple[Convention, ...]] = (
    "ours",
    "vllm",
    "sglang",
    "aiperf",
    "guidellm",
    "inference-perf",
    "mlperf",
)
Event = tuple[int, EventKind, int]
"""(nanoseconds since the request was asked, kind, tokens or -1 if unknown; of usage: all output tokens so far)"""
Figures = dict[str, float | list[float] | None]


def figures(events: Sequence[Event], convention: Convention, *, chunks: Sequence[int] | None = None) -> Figures:
    """Return the figures of one stream by one convention, in ms."""
    raise NotImplementedError
