"""The figures of one streamed answer, by our own definitions, in a form that is cheap to record.

A stream is three parallel lists: the time of each event, its kind, and the tokens in it. All events
of one read from the socket have the same time. Times are nanoseconds and must not decrease.

`docs/llm-conventions.md` defines each figure and compares it with the figures of other tools.
`conventions.figures(events, "ours")` computes the same figures in a slower, plainer way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "CONTENT",
    "DONE",
    "ERROR",
    "FINISH",
    "KINDS",
    "KIND_NUMBERS",
    "OTHER",
    "REASONING",
    "REFUSAL",
    "ROLE",
    "TOOL_CALL",
    "USAGE",
    "EventKind",
    "StreamTimes",
    "TokenSource",
    "stream_times",
]

EventKind = Literal["role", "reasoning", "content", "tool_call", "refusal", "finish", "usage", "done", "error", "other"]
TokenSource = Literal["server", "tokenizer", "events"]

KINDS: Final[tuple[EventKind, ...]] = (
    "role",
    "reasoning",
    "content",
    "tool_call",
    "refusal",
    "finish",
    "usage",
    "done",
    "error",
    "other",
)
"""The kinds of events; the index of a kind is its number in `stream_times`."""
KIND_NUMBERS: Final[dict[EventKind, int]] = {kind: number for number, kind in enumerate(KINDS)}

ROLE: Final = 0
REASONING: Final = 1
CONTENT: Final = 2
TOOL_CALL: Final = 3
REFUSAL: Final = 4
FINISH: Final = 5
USAGE: Final = 6
DONE: Final = 7
ERROR: Final = 8
OTHER: Final = 9


@dataclass(slots=True)
class StreamTimes:
    """The figures of one stream. Times count from `asked_ns`; -1 means that the stream has no such figure.

    Not frozen, because a frozen one takes 1 µs more to build on the hot path. Nothing changes it after its birth.
    """

    ttfb_ns: int = -1
    """To the first byte of the answer's body."""
    ttft_ns: int = -1
    """To the first generated token of any channel."""
    ttfo_ns: int = -1
    """To the first generated token that is no reasoning."""
    last_token_ns: int = -1
    """To the last generated token; this is e2e."""
    closed_ns: int = -1
    """To the end of the stream."""
    stall_ns: int = -1
    """The longest gap between two reads that had tokens."""
    tpot_ns: float = -1.0
    """(last - first) / (tokens - tokens of the first read)."""
    first_read_tokens: int = -1
    output_tokens: int = -1
    """All tokens that the server generated, hidden ones too."""
    reasoning_tokens: int = -1
    prompt_tokens: int = -1
    cached_tokens: int = -1
    itl: list[tuple[int, int]] | tuple[()] = ()
    """Inter-token latencies as (ns, number of tokens with this latency), in the order of their arrival."""
    icl: list[int] | tuple[()] = ()
    """Inter-chunk latencies: the gaps between reads that had tokens, ns."""
    itl_is_exact: bool = False
    """The tokens of each read are known. If false, the tokens were spread over the reads."""
    token_source: TokenSource = "events"


def stream_times(
    t_ns: Sequence[int],
    kinds: Sequence[int],
    tokens: Sequence[int],
    *,
    asked_ns: int = 0,
    first_byte_ns: int = -1,
    closed_ns: int = -1,
    prompt_tokens: int = -1,
    cached_tokens: int = -1,
    reasoning_tokens: int = -1,
    token_source: TokenSource = "tokenizer",
) -> StreamTimes:
    """Return the figures of one stream by our definitions.

    Args:
        t_ns: the time of each event, on the clock of `asked_ns`, not decreasing. Equal times are one read.
        kinds: the number of each event's kind (`KINDS`).
        tokens: the tokens of each event, or -1 if unknown. Of USAGE: all output tokens of the request so far.
        asked_ns: when the request was asked; all figures count from it.
        first_byte_ns: when the first byte of the body came. Default: the first event.
        closed_ns: when the stream ended. Default: the last event.
        prompt_tokens, cached_tokens, reasoning_tokens: from the server's usage, or -1.
        token_source: where known counts in `tokens` come from, for streams without usage.
    """
    raise NotImplementedError
