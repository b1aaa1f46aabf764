"""Keeps the event lists of some streams of AI models: a share chosen by chance, and the slowest of an interval.

A hash of the run's seed, the load and the number of the iteration makes the choice. So it does not depend on the number
of agents, and all streams of an iteration are chosen or none. A stream that is not kept costs the hash and two
comparisons, 0.4 µs (`python -m bench streams`).

Lists of a stream are referenced, not copied, until the interval ends. Each interval and the whole run have limits.
`left_out` counts the chosen streams beyond them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import sub
from typing import Any, Final, NamedTuple

from loadgen.measure.deltas.kept_stream import KeptStream, WhyKept, digits_of_kinds
from loadgen.measure.deltas.limits import (
    EVENTS_OF_KEPT_STREAM,
    KEPT_EVENTS_IN_DELTA,
    KEPT_STREAMS_IN_DELTA,
    cut,
)
from loadgen.measure.streams import StreamTimes
from loadgen.splitmix import GOLDEN, MASK, mixed

__all__ = ["KeepLimits", "StreamEvents", "StreamKeeper"]

_OF_RUN: Final = 100_000
"""The most streams of the share in a run, over all workers: 300 MB in the run folder at 256 tokens each."""
_OF_AGENT: Final = 20_000
_OF_WORKER: Final = 10_000
_LEAST: Final = 50
_EVENTS_OF_RUN: Final = 40_000_000
_PART: Final = 8
"""The number of `KeptStream`s that `take` makes at a time, in some 0.5 ms."""


class StreamEvents(NamedTuple):
    """The events of one stream as a client read them. The lists do not change any more.

    t_ns: `perf_counter_ns`. kinds: numbers of `streams.KINDS`. tokens: -1 if unknown. joined, hidden_tokens: as in
    `KeptStream`. is_stamped: the times are the kernel's.
    """

    t_ns: Sequence[int]
    kinds: bytearray
    tokens: Sequence[int]
    joined: Sequence[int]
    prompt_tokens: int
    hidden_tokens: int
    is_stamped: bool


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """The limits of one worker.

    streams, events: for one interval. of_run, events_of_run: for the streams of the share in the whole run. slowest:
    after this number of slowest streams, one is kept in two intervals, after twice this number one in four, and so on.
    """

    streams: int = KEPT_STREAMS_IN_DELTA // 2
    events: int = KEPT_EVENTS_IN_DELTA // 2
    of_run: int = _OF_WORKER
    events_of_run: int = _EVENTS_OF_RUN
    slowest: int = 256

    @classmethod
    def of_one(cls, workers: int, of_agent: int = 1) -> KeepLimits:
        """Return the limits of one worker. workers: of the run. of_agent: the workers of its agent."""
        # Half of what a delta may carry, so that an agent can add up two intervals of a late worker.
        return cls(
            max(1, KEPT_STREAMS_IN_DELTA // 2 // of_agent),
            KEPT_EVENTS_IN_DELTA // 2 // of_agent,
            max(1, min(_OF_WORKER, _OF_AGENT // of_agent, max(_LEAST, _OF_RUN // workers))),
            _EVENTS_OF_RUN // workers,
            max(4, min(256, 4_096 // workers)),
        )


class _Chosen(NamedTuple):
    why: WhyKept
    sample: Any
    times: StreamTimes
    events: StreamEvents
    load: int
    n: int
    trace: str


class StreamKeeper:
    """Chooses and collects the event lists of one worker.

    share: the share of all streams to choose, above 0 and at most 1. seed: the run's seed.
    """

    __slots__ = (
        "_chosen",
        "_events",
        "_events_of_run",
        "_intervals",
        "_is_over",
        "_limits",
        "_of_run",
        "_seed",
        "_sent_slowest",
        "_slowest",
        "bar_ns",
        "below",
        "left_out",
    )

    def __init__(self, share: float, seed: int, limits: KeepLimits | None = None) -> None:
        self._limits = limits or KeepLimits()
        self._seed = mixed(seed)
        self.below: Final = round(share * (MASK + 1))
        """An iteration whose hash is below this is chosen."""
        self.bar_ns = -1
        """The ttft that a stream has to exceed to become the slowest one."""
        self.left_out = 0
        """Chosen streams that were not kept because of a limit, since the beginning."""
        self._chosen: list[_Chosen] = []
        self._slowest: _Chosen | None = None
        self._events = self._of_run = self._events_of_run = 0
        self._sent_slowest = self._intervals = 0
        self._is_over = False

    def hash(self, load: int, n: int) -> int:
        """HOT, once a stream. Return the hash of an iteration, 64 bits."""
        return mixed(self._seed + load * GOLDEN ^ n * GOLDEN)

    def ended(self, sample: Any, times: StreamTimes, load: int, n: int) -> None:
        """Keep a stream. The caller has checked that it is chosen, or slower than `bar_ns`. load, n: its iteration.

        sample: the request (`stream_meter.py`); its `stream_events()` returns the events.
        """
        events: StreamEvents | None = sample.stream_events()
        if events is None:
            return
        count = len(events.kinds)
        is_kept = self.hash(load, n) < self.below and self._has_room(count)
        why: WhyKept = "share" if is_kept else "slowest"
        chosen = _Chosen(why, sample, times, events, load, n, getattr(sample, "trace", "") or "")
        if times.ttft_ns > self.bar_ns and count <= EVENTS_OF_KEPT_STREAM and not sample.series.key.warmup:
            self.bar_ns, self._slowest = times.ttft_ns, chosen
        if is_kept:
            self._chosen.append(chosen)
            self._events += count
            self._of_run += 1
            self._events_of_run += count

    def _has_room(self, events: int) -> bool:
        """Return whether a chosen stream is within all limits; if not, count it."""
        limits = self._limits
        has_room = (
            events <= EVENTS_OF_KEPT_STREAM
            and len(self._chosen) < limits.streams
            and self._events + events <= limits.events
            and self._of_run < limits.of_run
            and self._events_of_run + events <= limits.events_of_run
        )
        self.left_out += not has_room
        return has_room

    def finish(self) -> None:
        """Let the next `take` return the slowest stream so far, because the run is over."""
        self._is_over = True

    def take(self, t0_ns: int) -> Iterator[list[KeptStream]]:
        """Remove the streams that were kept since the last call, and make them in parts, with times from `t0_ns`.

        The first step removes the streams, so the caller must take it in the instant of its flip.
        """
        taken, self._chosen, self._events = self._chosen, [], 0
        self._intervals += 1
        # Doubling keeps the slowest ones of a long run few, and still spreads them over all of it.
        every = 1 << (self._sent_slowest // self._limits.slowest)
        if self._slowest is not None and (self._is_over or self._intervals >= every):
            if self._slowest.why == "slowest":
                taken.append(self._slowest)
            self._sent_slowest += 1
            self._slowest, self.bar_ns, self._intervals = None, -1, 0
        for first in range(0, len(taken), _PART):
            yield [_made(one, t0_ns) for one in taken[first : first + _PART]]


def _made(one: _Chosen, t0_ns: int) -> KeptStream:
    sample, events, times = one.sample, one.events, one.times
    key, asked_ns = sample.series.key, sample.asked_ns
    t_ns = events.t_ns
    gaps_ns = [gap if gap > 0 else 0 for gap in map(sub, t_ns, chain((asked_ns,), t_ns))]
    tokens = events.tokens
    return KeptStream(
        journey=cut(key.journey),
        step=cut(key.step or ""),
        request=cut(key.request or ""),
        outcome=cut(sample.outcome),
        why=one.why,
        clock="kernel" if events.is_stamped else "loop",
        load=one.load,
        n=one.n,
        at_ns=asked_ns - t0_ns,
        wait_ns=-1 if sample.wait_ns is None else max(0, sample.wait_ns),
        send_ns=max(0, sample.sent_ns - asked_ns) if sample.sent_ns else -1,
        end_ns=max(0, sample.done_ns - asked_ns),
        prompt_tokens=events.prompt_tokens,
        output_tokens=times.output_tokens,
        hidden_tokens=events.hidden_tokens,
        warmup=key.warmup,
        trace=one.trace[:64],
        gaps_ns=gaps_ns,
        kinds=digits_of_kinds(events.kinds),
        tokens=tuple(tokens) if any(count != -1 for count in tokens) else (),
        joined=tuple(events.joined),
    )
