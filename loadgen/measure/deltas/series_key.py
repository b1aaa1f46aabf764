"""The name of a histogram: what its values measure.

A *series* is (kind, journey, step, request, outcome, tags); each has one histogram for each metric
of its kind. The region is not part of the key: an agent has one region, so the merge adds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = [
    "CLS_NS",
    "COLD_TAG",
    "CUT_OFF",
    "GOODPUT_TAG",
    "LEVEL_TAG",
    "LOAD_TAG",
    "MESSAGE_METRICS",
    "MISSED",
    "OK",
    "OTHER",
    "OWN_LIMITS_TAG",
    "PAGE_METRICS",
    "PAGE_TIMES",
    "PHASES",
    "SKIPPED",
    "SLOW",
    "STREAM_METRICS",
    "STREAM_TIMES",
    "TIMEOUT",
    "TOKEN_METRICS",
    "TOKEN_NS",
    "UNTAGGED",
    "Kind",
    "MessageMetric",
    "Metric",
    "PageMetric",
    "PageTime",
    "Phase",
    "SeriesKey",
    "StreamMetric",
    "StreamTime",
    "Tags",
    "TokenMetric",
]

Kind = Literal["journey", "step", "request", "trend", "goodput"]
Phase = Literal["blocked", "dns", "connect", "tls", "send", "wait", "receive"]
"""Phases of a request, in their order. blocked: until a shared pool had a connection for it. wait: from its last byte
written to the first byte of the answer.
"""
StreamTime = Literal["ttft", "ttft_due", "ttfo", "itl", "icl", "stall", "tpot"]
MessageMetric = Literal["first_message", "message_gap", "answer", "message_age"]
"""Times of a call with messages (gRPC, WebSocket), in ns. first_message: from the call to the first message of the
target. message_gap: between two messages. answer: from a message of ours to the one that answers it.
message_age: from the time that the target wrote into a message to its arrival; it contains the clocks' difference.
"""
PageTime = Literal["lcp", "inp", "fcp"]
PageMetric = Literal[PageTime, "cls"]
"""Web vitals of a page in a browser, with `ttfb`. lcp: from the start of the navigation until the largest element was
painted. inp: the time of the slowest interaction (of many, one of the slowest). fcp: until the first content. cls: how
far the layout moved, a score; 1 is `CLS_NS`.
"""
TokenMetric = Literal["prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"]
StreamMetric = Literal[StreamTime, TokenMetric]
"""Metrics of a request to an AI model, by our convention (docs/llm-conventions.md).

ttft: from the call to the first generated token; ttft_due: from the time when it was due. ttfo: to the first token that
is no reasoning. itl: the gap before each token, one value a token. icl: the gap between two reads with tokens. stall:
the longest of these. tpot: the mean time for each token after the first read. The others are numbers of tokens.
"""
Metric = Literal[
    "response",
    "service",
    "duration",
    "user_wait",
    "generator_lag",
    "value",
    "ttfb",
    Phase,
    StreamMetric,
    MessageMetric,
    PageMetric,
]
"""journey: response, duration, user_wait, generator_lag. step: response, duration. request: response, service and the
phases that it had; ttfb (from its call to the first byte of the answer) if an objective limits it; the metrics of
streams if it asked an AI model; those of messages if it had some; those of pages, and ttfb, if a browser opened it.
trend (a custom metric, its name in `request`): value, where 1 µs stands for the trend's resolution. goodput: value, one
for each request to a model; outcome ok if it kept all limits.
"""

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
MESSAGE_METRICS: Final[tuple[MessageMetric, ...]] = get_args(MessageMetric)
PAGE_METRICS: Final[tuple[PageMetric, ...]] = get_args(PageMetric)
PAGE_TIMES: Final[tuple[PageTime, ...]] = get_args(PageTime)
STREAM_METRICS: Final[tuple[StreamMetric, ...]] = get_args(StreamMetric)
STREAM_TIMES: Final[tuple[StreamMetric, ...]] = get_args(StreamTime)
TOKEN_METRICS: Final[tuple[StreamMetric, ...]] = get_args(TokenMetric)
"""The metrics of streams that are numbers of tokens, `TOKEN_NS` for each token; the others are times."""
TOKEN_NS: Final = 1_000
"""Stands for one token in the metrics that are numbers of tokens."""
CLS_NS: Final = 10_000_000
"""Stands for 1 in `cls`, so the histograms of µs keep scores in steps of 0.0001."""

OK: Final = "ok"
"""The outcome of a success; every other outcome names a failure."""
TIMEOUT: Final = "timeout"
"""No answer by the deadline. The value is censored at the deadline, since the true time is longer."""
CUT_OFF: Final = "cut off"
"""Stopped by the drain; the value is censored, too."""
MISSED: Final = "missed"
"""Due and never started; the value is censored at its lateness."""
SKIPPED: Final = "skipped"
"""The journey itself ended the iteration (`user.skip`): neither good nor bad, and shown with its count."""
SLOW: Final = "slow"
"""In goodput, the outcome of a request that ended ok and broke a limit."""
OTHER: Final = "(other)"
"""Stands for all names beyond the limit on distinct names."""
UNTAGGED: Final = "(none)"
"""In queries and reports, the value of a tag for the series that do not have the tag."""

Tags = tuple[tuple[str, str], ...]
"""(name, value) of each tag."""
LOAD_TAG: Final = "load"
"""The tag that names the load of the plan."""
LEVEL_TAG: Final = "level"
"""The tag with the level of a load at which an iteration was due (`loadgen/profiles/levels.py`)."""
COLD_TAG: Final = "cold"
"""The tag with the reason why a request to an AI model is cold (`loadgen/clients/llm/worker.py`)."""
GOODPUT_TAG: Final = "goodput"
"""The tag of a goodput series that holds its limits, as in "ttft<=500ms,tpot<=50ms"."""
OWN_LIMITS_TAG: Final = "own limits"
"""The tag of a goodput series of requests that have limits of their own (`slo=` of a call). It holds these limits."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """The name of one histogram, the same on agent, wire, controller and in files."""

    kind: Kind
    journey: str
    step: str | None
    """Nested steps are `a/b`; None for a journey and for a request outside steps."""
    request: str | None
    """`GET /products` by default, or the `name=` of the call; None for journeys and steps."""
    outcome: str
    metric: Metric
    censored: bool = False
    """True: each value is only a lower bound of the true time (time-out, missed, cut off)."""
    warmup: bool = False
    """True: due within the warm-up, so kept out of objectives and of the report's series."""
    tags: Tags = ()
