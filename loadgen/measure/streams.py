"""Computes the figures of one streamed answer by our own definitions, fast enough for the hot path.

A stream is an `EventList`: the time of each event, its kind, and its number of tokens. All events of one read from the
socket have the same time. Times are nanoseconds and must not decrease.

`docs/llm-conventions.md` defines each figure and compares it with the figures of other tools.
`conventions.figures(events, "ours")` computes the same figures in a slower, simpler way.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import floordiv, sub
from typing import Final, Literal

import msgspec

from loadgen.measure.event_list import EventList

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
    "TOKEN_KINDS",
    "TOOL_CALL",
    "USAGE",
    "EventKind",
    "StreamTimes",
    "TokenSource",
    "times_of",
    "tokens_of_events",
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
"""The kinds of events; the index of a kind is its number in an `EventList`.

role: a chunk of a choice without generated text. The first chunk of many servers has only the role of the message.
reasoning, content, tool_call, refusal: generated tokens of this kind.
finish: the finish reason. usage: token counts of the server. done: the API's last event, such as [DONE].
error: an error object. other: anything else, also invalid JSON.
"""
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

TOKEN_KINDS: Final = frozenset({REASONING, CONTENT, TOOL_CALL, REFUSAL})
"""The numbers of the kinds that hold generated tokens."""
_TOKEN_BYTES: Final = bytes(sorted(TOKEN_KINDS))
_USAGE_BYTES: Final = bytes([USAGE])
_UNKNOWN: Final = array("i", (-1,))
_REASONING_BYTES: Final = bytes([REASONING])
_NO_TOKEN_BYTES: Final = bytes(sorted(set(range(len(KINDS))) - TOKEN_KINDS))


class StreamTimes(msgspec.Struct, gc=False):
    """The figures of one stream. Times count from the call; -1 means that the stream has no such figure.

    Do not change it or its lists: `icl_ns` and `itl_ns` can be the same list. It is a Struct, because a dataclass takes
    0.5 µs more to build on the hot path.
    """

    ttfb_ns: int = -1
    """To the first byte of the answer's body."""
    ttft_ns: int = -1
    """To the first generated token of any channel."""
    ttfo_ns: int = -1
    """To the first generated token that is not reasoning."""
    last_token_ns: int = -1
    """To the last generated token. This figure is e2e."""
    closed_ns: int = -1
    """To the end of the stream."""
    stall_ns: int = -1
    """The longest gap between two reads that had tokens."""
    tpot_ns: float = -1.0
    """The time from the first token to the last, divided by the tokens after the first read."""
    first_read_tokens: int = -1
    """Tokens of the first read that had some."""
    output_tokens: int = -1
    """All tokens that the server generated, also hidden ones; 0 for a stream without tokens."""
    reasoning_tokens: int = -1
    prompt_tokens: int = -1
    cached_tokens: int = -1
    icl_ns: Sequence[int] = ()
    """Inter-chunk latencies: the gaps between reads that had tokens."""
    itl_ns: Sequence[int] = ()
    """Inter-token latencies, one for each read with tokens after the first such read: the gap before the read, divided
    by the read's tokens and rounded down."""
    itl_counts: Sequence[int] | None = None
    """For each value in `itl_ns`, the number of tokens with this latency. None: one token each."""
    itl_is_exact: bool = False
    """True if the tokens of each read are known. If false, the tokens were spread evenly over the events."""
    token_source: TokenSource = "events"  # noqa: S105
    """The source of the numbers of tokens: the server's usage, a tokenizer, or one token for each event."""

    @property
    def itl(self) -> list[tuple[int, int]]:
        """Return the inter-token latencies as pairs (ns, number of tokens with this latency), in order of arrival."""
        counts = self.itl_counts
        return [(ns, 1) for ns in self.itl_ns] if counts is None else list(zip(self.itl_ns, counts, strict=True))


def times_of(
    events: EventList,
    *,
    asked_ns: int = 0,
    first_byte_ns: int = -1,
    closed_ns: int = -1,
    prompt_tokens: int = -1,
    cached_tokens: int = -1,
    reasoning_tokens: int = -1,
    hidden_tokens: int = 0,
    token_source: TokenSource = "tokenizer",  # noqa: S107
    usage_source: TokenSource = "server",
) -> StreamTimes:
    """HOT, once per stream: budget 3 µs + 60 ns an event (bench/streams.py). Return our figures of one stream.

    Args:
        events: their times are on the clock of `asked_ns`. Events with the same time came in one read. Tokens of a
            USAGE event are all output tokens of the request so far.
        asked_ns: when the journey called. All figures count from this time.
        first_byte_ns: when the first byte of the body arrived; -1: with the first event.
        closed_ns: when the stream ended; -1: with the last event.
        prompt_tokens, cached_tokens, reasoning_tokens: from the server's usage; -1 if unknown.
        hidden_tokens: output tokens that the server counts but does not send, such as hidden reasoning. `output_tokens`
            includes them, itl and tpot do not.
        token_source: the program that counted the known numbers of tokens. The result has "server" instead if the
            stream has usage, and "events" if no number is known.
        usage_source: the source of usage: "tokenizer" if it was added after the tokens were counted here.
    """
    times = _regular(events, asked_ns, hidden_tokens, token_source)
    if times is None:
        times = StreamTimes()
        _general(times, events.t_ns, events.kinds, events.tokens, asked_ns, hidden_tokens, token_source)
    if first_byte_ns >= 0 or events.kinds:
        times.ttfb_ns = (first_byte_ns if first_byte_ns >= 0 else events.first_ns) - asked_ns
    if closed_ns >= 0 or events.kinds:
        times.closed_ns = (closed_ns if closed_ns >= 0 else events.last_ns) - asked_ns
    times.prompt_tokens, times.cached_tokens, times.reasoning_tokens = prompt_tokens, cached_tokens, reasoning_tokens
    if times.token_source == "server":  # noqa: S105
        times.token_source = usage_source
    return times


def _regular(events: EventList, asked_ns: int, hidden: int, source: TokenSource) -> StreamTimes | None:
    """Return the figures of a regular stream without a loop over its events; None for any other stream.

    A stream is regular if each read between the first and the last token has exactly one chunk with tokens. The numbers
    of tokens must be unknown for all chunks, or known for all, or usage must follow each chunk.
    """
    kinds, tokens, between = bytes(events.kinds), events.tokens, events.gaps_ns
    start = len(kinds) - len(kinds.lstrip(_NO_TOKEN_BYTES))
    end = len(kinds.rstrip(_NO_TOKEN_BYTES))
    if start >= end:
        return None
    middle = kinds[start:end]
    usages = kinds.count(_USAGE_BYTES, end)
    usage = _largest_usage(kinds, tokens, end, len(kinds)) if usages > 1 else -1
    if usages == 1:  # nearly always, so it is worth the saved call
        usage = tokens[kinds.index(_USAGE_BYTES, end)]
    before = _largest_usage(kinds, tokens, 0, start) if start > 1 or kinds[0] == USAGE else -1
    counts: Sequence[int] | None
    if not middle.strip(_TOKEN_BYTES):
        if before > max(usage, 0) or usages > 1:
            return None
        gaps = between[start : end - 1].tolist()
        sent = len(middle)
        counts = tokens[start:end]
        visible = usage - hidden
        if counts == _UNKNOWN * sent:
            if usage > 0 and visible < sent:
                return None  # some chunks have no token
            counts = None
            is_exact = visible == sent or (sent == 1 and usage > 0)
            if usage > 0 and visible > sent:
                ends = [i * visible // sent for i in range(sent + 1)]  # the same shares as those of `_even`
                counts = list(map(sub, ends[1:], ends))
            source = "server" if usage > 0 else "events"
        elif min(counts) <= 0:
            return None
        else:
            sent = sum(counts)
            is_exact = usage <= 0 or sent == visible
            source = "server" if usage > 0 else source
    else:
        middle = kinds[start : end + 1]
        if hidden or middle[0::2].strip(_TOKEN_BYTES) or middle[1::2].strip(_USAGE_BYTES) or len(middle) % 2:
            return None
        if any(between[start:end:2]) or tokens[start:end:2].count(-1) != len(middle) // 2:
            return None
        gaps = between[start + 1 : end - 1 : 2].tolist()
        so_far = tokens[start + 1 : end + 1 : 2]
        counts = [so_far[0], *map(sub, so_far[1:], so_far)]
        if min(counts) <= 0 or usage > so_far[-1] or before > so_far[0]:
            return None
        middle, sent = middle[0::2], so_far[-1]
        is_exact, source = True, "server"
    if not all(gaps):  # two chunks in one read
        return None
    ttft_ns = events.first_ns - asked_ns + sum(between[:start])
    last_ns = events.last_ns - asked_ns - sum(between[end - 1 :])
    ttfo_ns = ttft_ns
    if middle[0] == REASONING:
        reasoning = len(middle) - len(middle.lstrip(_REASONING_BYTES))
        ttfo_ns = ttft_ns + sum(gaps[:reasoning]) if reasoning < len(middle) else -1
    output = usage if usage > 0 else sent + hidden
    first = 1 if counts is None else counts[0]
    latencies, latency_counts = gaps, None
    if gaps and counts is not None and counts.count(1) != len(counts):
        latency_counts = counts[1:]
        latencies = list(map(floordiv, gaps, latency_counts))
    later = output - hidden - first
    return StreamTimes(
        ttft_ns=ttft_ns,
        ttfo_ns=ttfo_ns,
        last_token_ns=last_ns,
        stall_ns=max(gaps) if gaps else -1,
        tpot_ns=(last_ns - ttft_ns) / later if later > 0 else -1.0,
        first_read_tokens=first,
        output_tokens=output,
        icl_ns=gaps,
        itl_ns=latencies,
        itl_counts=latency_counts,
        itl_is_exact=is_exact,
        token_source=source,
    )


def _largest_usage(kinds: bytes, tokens: Sequence[int], start: int, end: int) -> int:
    """Return the largest usage in a range of events, or -1."""
    largest = -1
    while (start := kinds.find(USAGE, start, end) + 1) > 0:
        largest = max(largest, tokens[start - 1])
    return largest


def _general(
    times: StreamTimes,
    t_ns: Sequence[int],
    kinds: Sequence[int],
    tokens: Sequence[int],
    asked_ns: int,
    hidden: int,
    source: TokenSource,
) -> None:
    """Fill in the figures of any stream, event by event."""
    counts, times.output_tokens, times.itl_is_exact, from_server = tokens_of_events(t_ns, kinds, tokens, hidden)
    known = False
    icl: list[int] = []
    itl: list[int] = []
    itl_counts: list[int] = []
    first = last = counted = -1
    for read_ns, events in groupby(range(len(t_ns)), key=t_ns.__getitem__):
        sent, has_token = 0, False
        for i in events:
            kind = kinds[i]
            if kind not in TOKEN_KINDS or tokens[i] == 0:
                continue
            has_token = True
            known = known or tokens[i] > 0
            sent += counts[i]
            if kind != REASONING and times.ttfo_ns < 0:
                times.ttfo_ns = read_ns - asked_ns
        if not has_token:
            continue
        if first < 0:
            first = counted = read_ns
            times.first_read_tokens = sent
        else:
            icl.append(read_ns - last)
            if sent:
                itl.append((read_ns - counted) // sent)
                itl_counts.append(sent)
                counted = read_ns
        last = read_ns
    times.token_source = "server" if from_server else source if known else "events"
    if first < 0:
        return
    times.ttft_ns, times.last_token_ns = first - asked_ns, last - asked_ns
    if icl:
        times.icl_ns, times.itl_ns, times.itl_counts, times.stall_ns = icl, itl, itl_counts, max(icl)
    later = times.output_tokens - hidden - times.first_read_tokens
    if later > 0:
        times.tpot_ns = (last - first) / later


def tokens_of_events(
    t_ns: Sequence[int], kinds: Sequence[int], tokens: Sequence[int], hidden: int = 0
) -> tuple[list[int], int, bool, bool]:
    """Return (tokens of each event, tokens of the stream, tokens of each read are known, the total is usage).

    Known numbers of tokens are never changed. Usage gives the sum of the events since the previous usage. The known
    numbers are subtracted from this sum, and the rest is split evenly among the other events. A usage that is 0, or
    smaller than an earlier one, is ignored. An event of unknown size that no usage follows counts as one token.
    """
    counts = [0] * len(kinds)
    reported = sent = 0
    exact = True
    pending: list[int] = []
    for i, kind in enumerate(kinds):
        if kind in TOKEN_KINDS and tokens[i] != 0:
            pending.append(i)
        elif kind == USAGE and tokens[i] > 0 and tokens[i] >= reported:
            reported = tokens[i]
            if pending:
                exact = _share(counts, pending, t_ns, tokens, reported - hidden - sent) and exact
                sent += sum(counts[j] for j in pending)
                pending = []
    for i in pending:
        counts[i] = max(tokens[i], 1)
        exact = exact and tokens[i] > 0
    later = sum(counts[i] for i in pending)
    if not reported and later:
        later += hidden
    return counts, reported + later, exact and any(counts), reported > 0


def _share(counts: list[int], pending: list[int], t_ns: Sequence[int], tokens: Sequence[int], target: int) -> bool:
    """Set the tokens of the pending events, so that their sum is `target`.

    Return whether the tokens of each read are known.
    """
    unknown = []
    for i in pending:
        if tokens[i] > 0:
            counts[i] = tokens[i]
            target -= tokens[i]
        else:
            unknown.append(i)
    if not unknown:
        return target == 0
    if target < 0:
        for i in unknown:
            counts[i] = 1
        return False
    for i, share in zip(unknown, _even(target, len(unknown)), strict=True):
        counts[i] = share
    return target == len(unknown) or t_ns[unknown[0]] == t_ns[unknown[-1]]


def _even(n: int, places: int) -> Iterator[int]:
    """Yield `places` integer shares of n that differ by at most 1.

    The first share is above 0 if n > 0, and the last one if n > 1.
    """
    if 0 < n < places:
        yield 1
        n, places = n - 1, places - 1
    for i in range(places):
        yield (i + 1) * n // places - i * n // places
