"""Counts the reads of streams of one worker, and decides for each interval which metrics the worker could measure.

docs/llm-clocks.md explains the limits. Read lag is the time from the arrival of a read's last byte, by the kernel's
clock, to our read of it. Without the kernel's time, the lag of the event loop replaces it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.engine.health.answer_reads import exceeded_by
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.units import NS_PER_MS, NS_PER_US

__all__ = ["THEIRS_BELOW_NS", "Reads", "StreamReads", "unfit_for"]

THEIRS_BELOW_NS: Final = NS_PER_MS // 2
"""Events that share a read with less lag than this arrived together. With more lag, the second one may have arrived
while we were late."""
_TTFT_FLOOR_NS: Final = 2 * NS_PER_MS
_GAP_FLOOR_NS: Final = 1 * NS_PER_MS
_LAG_SHARE: Final = 0.10
_OURS_SHARE: Final = 0.01
"""Share of the events whose own time is unknown because we read late; more than that reach the p99 of the gaps. One
event alone is chance."""


@dataclass(frozen=True, slots=True)
class Reads:
    """The observations of one interval of one worker that decide for which metrics it was fit. Times are ns."""

    lag_p99_ns: int = 0
    """p99 of the read lag; of the loop's lag if `has_kernel_clock` is false."""
    send_lag_p99_ns: int = 0
    """p99 of the generator lag: how late iterations began, and so their requests."""
    has_kernel_clock: bool = False
    """Every read had the kernel's time."""
    ttft_p50_ns: int = 0
    icl_p50_ns: int = 0
    """0: unknown."""
    events: int = 0
    ours: int = 0
    """Events that shared a read with an earlier one because we read late."""
    mean_events: float = 0.0
    """Events with tokens of the streams that ended; 0: none ended."""


def unfit_for(seen: Reads) -> tuple[bool, bool, bool]:
    """Return whether an interval was unfit for (ttft, itl with icl and stall, tpot).

    The errors of a stream's first and last time are at most the lag, and tpot divides the time between them by the
    number of gaps. If no stream ended, there is no tpot, so the interval is fit for tpot.
    """
    gap_limit_ns = max(_GAP_FLOOR_NS, _LAG_SHARE * seen.icl_p50_ns)
    ttft = max(seen.lag_p99_ns, seen.send_lag_p99_ns) > max(_TTFT_FLOOR_NS, _LAG_SHARE * seen.ttft_p50_ns)
    itl = seen.ours > max(1, _OURS_SHARE * seen.events) if seen.has_kernel_clock else seen.lag_p99_ns > gap_limit_ns
    gaps = seen.mean_events - 1
    return ttft, itl, gaps > 0 and seen.lag_p99_ns / gaps > gap_limit_ns


class StreamReads:
    """The reads of streams of one worker since the last `take`. Replies count them, and the self-check calls `take`.

    lag_ns: the lag of the read that the connection is passing on right now; -1 without the kernel's time. The
    connection sets it. remap: called in each `take`, so that the kernel's clock is compared with ours once an interval.
    """

    __slots__ = (
        "_ended",
        "_ended_events",
        "_events",
        "_firsts_ns",
        "_gaps_ns",
        "_lags_ns",
        "_loop_reads",
        "_most",
        "_open",
        "_ours",
        "_theirs",
        "_unknown",
        "lag_ns",
        "remap",
    )

    def __init__(self) -> None:
        self.lag_ns = -1
        self.remap: Callable[[], None] = lambda: None
        self._open = self._most = 0
        self._begin()

    def _begin(self) -> None:
        self._lags_ns, self._firsts_ns, self._gaps_ns = array("q"), array("q"), array("q")
        self._events = self._loop_reads = self._theirs = self._ours = self._unknown = 0
        self._ended = self._ended_events = 0
        self._most = self._open

    def opened(self) -> None:
        """Count a stream whose answer begins."""
        self._open += 1
        if self._open > self._most:
            self._most = self._open

    def closed(self, events: int) -> None:
        """Count the end of a stream that had this many events with tokens."""
        self._open -= 1
        self._ended += 1
        self._ended_events += events

    def first(self, events: int, ttft_ns: int) -> None:
        """Count the first read of a stream that has tokens."""
        self._firsts_ns.append(ttft_ns)
        self._read(events)

    def later(self, events: int, gap_ns: int) -> None:
        """HOT, once a read: budget 0.3 µs (bench/llm.py). Count a later read with tokens.

        gap_ns: the time since the previous read with tokens.
        """
        self._gaps_ns.append(gap_ns)
        lag_ns = self.lag_ns
        if events == 1 and lag_ns >= 0:  # nearly every read
            self._events += 1
            self._lags_ns.append(lag_ns)
        else:
            self._read(events)

    def _read(self, events: int) -> None:
        lag_ns = self.lag_ns
        self._events += events
        if lag_ns < 0:
            self._loop_reads += 1
        else:
            self._lags_ns.append(lag_ns)
        if events > 1:
            if lag_ns < 0:
                self._unknown += events - 1
            elif lag_ns < THEIRS_BELOW_NS:
                self._theirs += events - 1
            else:
                self._ours += events - 1

    def take(self, loop_lag_p99_ns: int, send_lag_p99_ns: int) -> StreamHealth | None:
        """Return the reads since the last call, and forget them; None if there was no read.

        Args:
            loop_lag_p99_ns: p99 of the event loop's lag in this interval. send_lag_p99_ns: p99 of the generator lag.
        """
        self.remap()
        lags = np.frombuffer(self._lags_ns, dtype=np.int64)
        firsts, gaps = np.frombuffer(self._firsts_ns, dtype=np.int64), np.frombuffer(self._gaps_ns, dtype=np.int64)
        kernel_reads, loop_reads = len(lags), self._loop_reads
        events, ours, theirs, unknown = self._events, self._ours, self._theirs, self._unknown
        mean_events = self._ended_events / self._ended if self._ended else 0.0
        most = self._most
        self._begin()
        if not kernel_reads + loop_reads:
            return None
        lag_p99_ns = exceeded_by(lags, 100)
        seen = Reads(
            # Where both clocks were in use, the larger lag counts.
            lag_p99_ns=max(lag_p99_ns, loop_lag_p99_ns) if loop_reads else lag_p99_ns,
            send_lag_p99_ns=send_lag_p99_ns,
            has_kernel_clock=not loop_reads,
            ttft_p50_ns=exceeded_by(firsts, 2),
            icl_p50_ns=exceeded_by(gaps, 2),
            events=events,
            ours=ours,
            mean_events=mean_events,
        )
        ttft, itl, tpot = unfit_for(seen)
        return StreamHealth(
            unfit_ttft=int(ttft),
            unfit_itl=int(itl),
            unfit_tpot=int(tpot),
            streams=most,
            kernel_reads=kernel_reads,
            loop_reads=loop_reads,
            events=events,
            shared_theirs=theirs,
            shared_ours=ours,
            shared_unknown=unknown,
            read_lag_p50_us=exceeded_by(lags, 2) // NS_PER_US,
            read_lag_p99_us=lag_p99_ns // NS_PER_US,
            read_lag_max_us=(int(lags.max()) if kernel_reads else 0) // NS_PER_US,
            ttft_p50_us=seen.ttft_p50_ns // NS_PER_US,
            icl_p50_us=seen.icl_p50_ns // NS_PER_US,
        )
