"""The event list of one streamed answer of an AI model, which is kept after the run.

Histograms have the figures of all streams by our definitions. From an event list, the figures by any definition can be
computed later. A list has times, kinds and numbers of tokens, never a text of the prompt or of the answer.

A worker keeps a share of all streams (`why="share"`), chosen by chance, and the slowest one of an interval
(`why="slowest"`). Only the first ones may be used for statistics. Lists travel in the deltas, as exemplars do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Literal

import msgspec

from loadgen.errors import WireError
from loadgen.measure.conventions import Convention, Event, Figures, chunks_of, figures
from loadgen.measure.deltas.limits import (
    EVENTS_OF_KEPT_STREAM,
    KEPT_EVENTS_IN_DELTA,
    KEPT_STREAMS_IN_DELTA,
    SAME_VERSION,
)
from loadgen.measure.streams import KINDS

__all__ = [
    "KEPT_SHARE",
    "KeptStream",
    "ReadClock",
    "WhyKept",
    "check_streams",
    "digits_of_kinds",
    "fits_in_delta",
    "is_possible",
    "kept_share_of",
]

KEPT_SHARE: Final = 0.01
"""The share of all streams that is kept by default (`Llm(keep_streams=...)`)."""

WhyKept = Literal["share", "slowest"]
ReadClock = Literal["kernel", "loop"]
_WHY: Final = frozenset({"share", "slowest"})
_CLOCKS: Final = frozenset({"kernel", "loop"})
_MOST_NS: Final = 1 << 62
_MOST_TOKENS: Final = 1 << 40
_DIGITS: Final = bytes(ord("0") + min(kind, len(KINDS) - 1) for kind in range(256))


class KeptStream(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One stream: its request, its times and its events. Times are ns from the call (`asked`), unless another is given.

    why: `share`: chosen by chance. `slowest`: the longest ttft of a worker's interval. clock: the kernel's, if all of
    its reads with tokens had the kernel's time. load, n: as of an exemplar. at_ns: of the call, from T0. wait_ns: from
    when it was due to the call; -1: it had no due time. send_ns: until it was written; -1: it never was. end_ns: until
    the end of the answer. prompt_tokens, output_tokens: -1 if unknown. hidden_tokens: that usage counts and no event
    has. gaps_ns: to the first event, then from each event to the next. kinds: for each event the digit of its kind
    (`streams.KINDS`). tokens: of each event, -1 if unknown; empty: all are unknown. joined: of each event of the
    protocol that had several parts, the index of the first one and their number, one after the other.
    """

    journey: str
    step: str
    request: str
    outcome: str
    why: WhyKept
    clock: ReadClock
    load: int
    n: int
    at_ns: int
    wait_ns: int
    send_ns: int
    end_ns: int
    prompt_tokens: int = -1
    output_tokens: int = -1
    hidden_tokens: int = 0
    warmup: bool = False
    trace: str = ""
    gaps_ns: Sequence[int] = ()
    kinds: str = ""
    tokens: Sequence[int] = ()
    joined: Sequence[int] = ()

    @property
    def due_ns(self) -> int:
        """Return when it was due, from T0; the time of its call if it had no due time."""
        return self.at_ns - max(0, self.wait_ns)

    @property
    def t_ns(self) -> list[int]:
        """Return the time of each event, from the call."""
        return list(accumulate(self.gaps_ns))

    def events(self) -> list[Event]:
        """Return the events as `conventions.figures` takes them."""
        tokens = self.tokens or [-1] * len(self.kinds)
        return [
            (t_ns, KINDS[int(kind)], count) for t_ns, kind, count in zip(self.t_ns, self.kinds, tokens, strict=True)
        ]

    def figures(self, convention: Convention) -> Figures:
        """Return the figures of this stream by the definitions of one tool."""
        return figures(
            self.events(), convention, chunks=chunks_of(self.joined, len(self.kinds)), hidden_tokens=self.hidden_tokens
        )


def kept_share_of(llm: Mapping[str, Any] | None) -> float:
    """Return the share of streams that a plan keeps, from its `Llm` as the manifest has it (None: it has none)."""
    return 0.0 if llm is None else float(llm.get("keep_streams", KEPT_SHARE))


def digits_of_kinds(kinds: bytes | bytearray) -> str:
    """Return the kinds of events as digits, from their numbers (`streams.KIND_NUMBERS`)."""
    return kinds.translate(_DIGITS).decode("ascii")


def fits_in_delta(streams: Sequence[KeptStream]) -> int:
    """Return how many of these streams, from the first one on, fit into one delta."""
    events = 0
    for taken, one in enumerate(streams):
        events += len(one.kinds)
        if taken >= KEPT_STREAMS_IN_DELTA or events > KEPT_EVENTS_IN_DELTA:
            return taken
    return len(streams)


def check_streams(name: str, streams: Sequence[KeptStream], left_out: int) -> None:
    """Check the kept streams of one delta, and raise WireError if one is impossible or a limit is exceeded.

    `name` names the delta in the error message.
    """
    if left_out < 0 or fits_in_delta(streams) < len(streams):
        events = sum(len(one.kinds) for one in streams)
        raise WireError(
            f"{name} has {len(streams):,} kept streams with {events:,} events, "
            f"more than {KEPT_STREAMS_IN_DELTA:,} and {KEPT_EVENTS_IN_DELTA:,}",
            hint=SAME_VERSION,
        )
    for one in streams:
        if not is_possible(one):
            where = f"of request {one.request!r}, arrival {one.n}"
            raise WireError(f"{name} has an impossible event list, {where}", hint=SAME_VERSION)


def is_possible(one: KeptStream) -> bool:
    """Return whether all values of a kept stream are possible, and agree with one another."""
    events = len(one.kinds)
    is_sound = (
        events <= EVENTS_OF_KEPT_STREAM
        and len(one.gaps_ns) == events
        and len(one.tokens) in (0, events)
        and (not events or (one.kinds.isascii() and one.kinds.isdecimal()))
        and one.why in _WHY
        and one.clock in _CLOCKS
        and len(one.trace) <= 64
        and min(one.gaps_ns, default=0) >= 0
        and sum(one.gaps_ns) <= _MOST_NS
        and min(one.tokens, default=0) >= -1
        and max(one.tokens, default=0) <= _MOST_TOKENS
        and min(one.wait_ns, one.send_ns, one.prompt_tokens, one.output_tokens) >= -1
        and max(one.prompt_tokens, one.output_tokens, one.hidden_tokens) <= _MOST_TOKENS
        and min(one.end_ns, one.hidden_tokens, one.load) >= 0
        and max(one.wait_ns, one.send_ns, one.end_ns, abs(one.at_ns)) <= _MOST_NS
    )
    return is_sound and _are_parts(one.joined, events)


def _are_parts(joined: Sequence[int], events: int) -> bool:
    """Return whether the pairs (first, number) are ranges of at least two events that follow one another."""
    if len(joined) % 2:
        return False
    end = 0
    for first, count in zip(joined[::2], joined[1::2], strict=True):
        if first < end or count < 2 or first + count > events:
            return False
        end = first + count
    return True
