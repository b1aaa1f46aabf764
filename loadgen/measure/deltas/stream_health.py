"""Figures on the reads of the streams of AI models: `StreamHealth` of an interval, `StreamFitness` of a run.

A second can be unfit for one metric of streams and fit for another (docs/llm-clocks.md). So there are three numbers of
unfit intervals: for ttft, for the gaps between tokens (itl, icl and stall), and for tpot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from loadgen.measure.deltas.limits import COUNT

__all__ = ["JUDGED_AS", "MetricValidity", "StreamFitness", "StreamHealth", "Verdicts", "in_time", "of_workers"]

Verdicts = Literal["ttft", "itl", "tpot"]
"""The metrics with a verdict of their own."""
JUDGED_AS: Final[dict[str, Verdicts]] = {
    "ttft": "ttft",
    "ttft_due": "ttft",
    "ttfo": "ttft",
    "itl": "itl",
    "icl": "itl",
    "stall": "itl",
    "tpot": "tpot",
}
"""For each metric of times, the metric whose verdict it has. Numbers of tokens have no verdict, because they need no
clock."""


class StreamHealth(msgspec.Struct, frozen=True, gc=False):
    """The reads of streams in an interval with at least one read: of one worker, or of several together.

    Only reads with generated tokens count. Read lag is our time of a read minus the kernel's.
    """

    intervals: int = 1
    """Number of intervals with reads that were joined into this one."""
    unfit_ttft: int = 0
    """Number of these intervals that were unfit for ttft, ttft_due and ttfo."""
    unfit_itl: int = 0
    """Number of these intervals that were unfit for itl, icl and stall."""
    unfit_tpot: int = 0
    """Number of these intervals that were unfit for tpot."""
    streams: int = 0
    """The most streams that were open at once."""
    kernel_reads: int = 0
    """Reads timed by the kernel's clock. `loop_reads` are the reads timed by the event loop's clock."""
    loop_reads: int = 0
    events: int = 0
    """Events with tokens."""
    shared_theirs: int = 0
    """Events that shared a read with an earlier event because the server, a proxy or the network sent both together."""
    shared_ours: int = 0
    """Events that shared a read with an earlier event because we read late."""
    shared_unknown: int = 0
    """Events that shared a read with an earlier event for an unknown reason, because the kernel's time is unknown."""
    read_lag_p50_us: int = 0
    read_lag_p99_us: int = 0
    read_lag_max_us: int = 0
    ttft_p50_us: int = 0
    """Median ttft of the first tokens that arrived in the interval; 0 if none arrived."""
    icl_p50_us: int = 0
    """Median of the gaps between reads with tokens that ended in the interval; 0 without gaps."""

    @property
    def is_fit(self) -> bool:
        """Return whether no interval was unfit for any metric."""
        return not (self.unfit_ttft or self.unfit_itl or self.unfit_tpot)

    def is_possible(self, most_intervals: int) -> bool:
        """Return whether the numbers are consistent: no part is larger than its whole."""
        unfit = self.unfit_ttft, self.unfit_itl, self.unfit_tpot
        shared = self.shared_theirs, self.shared_ours, self.shared_unknown
        return (
            1 <= self.intervals <= most_intervals
            and 0 <= min(unfit) <= max(unfit) <= self.intervals
            and min(*shared, self.kernel_reads, self.loop_reads) >= 0
            and self.kernel_reads + self.loop_reads + sum(shared) == self.events <= COUNT
        )


_SUMS: Final = ("kernel_reads", "loop_reads", "events", "shared_theirs", "shared_ours", "shared_unknown")
_UNFIT: Final = ("intervals", "unfit_ttft", "unfit_itl", "unfit_tpot")
_WORST: Final = ("read_lag_p50_us", "read_lag_p99_us", "read_lag_max_us", "ttft_p50_us", "icl_p50_us")


def in_time(first: StreamHealth | None, second: StreamHealth | None) -> StreamHealth | None:
    """Return the reads of two successive intervals together: sums of the counts, and the worst of the other figures."""
    return _joined((first, second), sums=(*_SUMS, *_UNFIT), most=("streams", *_WORST))


def of_workers(parts: Sequence[StreamHealth | None]) -> StreamHealth | None:
    """Return the reads of several workers in the same interval, which is unfit if it was unfit for one worker."""
    return _joined(parts, sums=("streams", *_SUMS), most=(*_UNFIT, *_WORST))


def _joined(parts: Sequence[StreamHealth | None], sums: Sequence[str], most: Sequence[str]) -> StreamHealth | None:
    found = [one for one in parts if one is not None]
    if len(found) < 2:
        return found[0] if found else None
    values = {name: sum(getattr(one, name) for one in found) for name in sums}
    return StreamHealth(**values, **{name: max(getattr(one, name) for one in found) for name in most})


@dataclass(slots=True)
class StreamFitness:
    """The reads of streams over a whole run, of one agent or one of its workers."""

    seconds: int = 0
    """Intervals with reads."""
    unfit_ttft: int = 0
    unfit_itl: int = 0
    unfit_tpot: int = 0
    kernel_reads: int = 0
    loop_reads: int = 0
    events: int = 0
    shared_theirs: int = 0
    shared_ours: int = 0
    shared_unknown: int = 0
    read_lag_p99_max_us: int = 0
    """The largest read lag p99 of an interval."""
    read_lag_max_us: int = 0
    """The largest lag of all reads."""
    streams_max: int = 0
    """The most streams that were open at once."""
    fit_streams_max: int = 0
    """The same over the intervals that were fit for all metrics."""

    def add(self, health: StreamHealth | None) -> None:
        """Add the reads of one interval; None if it had no read."""
        if health is None:
            return
        self.seconds += health.intervals
        self.unfit_ttft += health.unfit_ttft
        self.unfit_itl += health.unfit_itl
        self.unfit_tpot += health.unfit_tpot
        self.kernel_reads += health.kernel_reads
        self.loop_reads += health.loop_reads
        self.events += health.events
        self.shared_theirs += health.shared_theirs
        self.shared_ours += health.shared_ours
        self.shared_unknown += health.shared_unknown
        self.read_lag_p99_max_us = max(self.read_lag_p99_max_us, health.read_lag_p99_us)
        self.read_lag_max_us = max(self.read_lag_max_us, health.read_lag_max_us)
        self.streams_max = max(self.streams_max, health.streams)
        if health.is_fit:
            self.fit_streams_max = max(self.fit_streams_max, health.streams)

    def unfit(self, verdict: Verdicts) -> int:
        """Return the number of intervals that were unfit for a metric."""
        return {"ttft": self.unfit_ttft, "itl": self.unfit_itl, "tpot": self.unfit_tpot}[verdict]


@dataclass(frozen=True, slots=True)
class MetricValidity:
    """Whether the generator was able to measure one metric of streams (`judging/stream_validity.py`)."""

    metric: str
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    unfit_s: int = 0
    """Sum over all workers of the seconds that were unfit for the metric."""
    seconds: int = 0
    """Sum over all workers of the seconds in which they read streams."""
    reason: str = ""
    """A sentence with figures, if the metric is not valid."""
    advice: str = ""
