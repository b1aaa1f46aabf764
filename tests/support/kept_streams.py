"""Kept streams that nobody asked: the golden stream, and streams of any number of tokens."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from loadgen.measure.conventions import Event
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.streams import KIND_NUMBERS
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["kept", "kept_of"]


def kept_of(events: list[Event], **more: Any) -> KeptStream:
    """Return the kept stream with these events."""
    times = [0, *(t_ns for t_ns, _, _ in events)]
    values: dict[str, Any] = {
        "journey": "ask",
        "step": "",
        "request": "chat",
        "outcome": "ok",
        "why": "share",
        "clock": "kernel",
        "load": 0,
        "n": 0,
        "at_ns": 0,
        "wait_ns": -1,
        "send_ns": NS_PER_MS,
        "end_ns": times[-1],
        "prompt_tokens": 64,
        "output_tokens": sum(kind == "content" for _, kind, _ in events),
        "gaps_ns": tuple(later - earlier for earlier, later in pairwise(times)),
        "kinds": "".join(str(KIND_NUMBERS[kind]) for _, kind, _ in events),
        "tokens": tuple(tokens for _, _, tokens in events),
    }
    return KeptStream(**(values | more))


def kept(n: int = 0, ttft_ms: float = 100, tokens: int = 3, **more: Any) -> KeptStream:
    """Return the kept stream of arrival n: a token each 10 ms from `ttft_ms` on. It was asked n seconds after T0."""
    events: list[Event] = [(round((ttft_ms + 10 * i) * NS_PER_MS), "content", 1) for i in range(tokens)]
    return kept_of(events, **({"n": n, "at_ns": n * NS_PER_S} | more))
