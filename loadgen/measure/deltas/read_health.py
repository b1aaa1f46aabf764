"""Figures on the clock of answers and on the read lag: `ReadHealth` of an interval, `ReadFitness` of a run.

Only plans that ask for the kernel's clock have these figures. The reads of streams of AI models have figures of their
own in `stream_health.py`, because they have the kernel's time in all plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from loadgen.measure.deltas.limits import COUNT

__all__ = ["ClockInForce", "ReadFitness", "ReadHealth", "clock_in_force", "reads_in_time", "reads_of_workers"]

ClockInForce = Literal["kernel", "loop", "kernel and loop"]
_SOME: Final = 0.01
"""With a smaller share of reads by the event loop, the clock of a run is still the kernel's: the system's time was set
once, and reads until the end of that second have the loop's time."""


class ReadHealth(msgspec.Struct, frozen=True, gc=False):
    """The reads of answers in an interval, of one worker or of several together.

    Read lag is our time of a read minus the kernel's time of its last byte.
    """

    intervals: int = 1
    """Number of intervals that were joined into this one."""
    kernel_reads: int = 0
    """Reads with the kernel's time. `loop_reads` are reads of the same connections without a usable time."""
    loop_reads: int = 0
    loop_connections: int = 0
    """Connections opened so far whose reads have the loop's time: HTTP/2, a UNIX socket, a system without stamps."""
    jumps: int = 0
    """Number of times that the system's time was set in the interval."""
    read_lag_p50_us: int = 0
    read_lag_p99_us: int = 0
    read_lag_max_us: int = 0

    @property
    def is_by_kernel(self) -> bool:
        """Return whether all reads of the interval had the kernel's time, and there were some.

        Then the read lag shows how late answers were read.
        """
        return self.kernel_reads > 0 and not self.loop_reads and not self.loop_connections

    def is_possible(self, most_intervals: int) -> bool:
        """Return whether the numbers are within their limits, and the percentiles in order."""
        counts = self.kernel_reads, self.loop_reads, self.loop_connections, self.jumps
        lags = 0, self.read_lag_p50_us, self.read_lag_p99_us, self.read_lag_max_us
        return (
            1 <= self.intervals <= most_intervals
            and min(counts) >= 0
            and max(counts) <= COUNT
            and list(lags) == sorted(lags)
        )


_SUMS: Final = ("kernel_reads", "loop_reads", "jumps")
_WORST: Final = ("read_lag_p50_us", "read_lag_p99_us", "read_lag_max_us")


def reads_in_time(first: ReadHealth | None, second: ReadHealth | None) -> ReadHealth | None:
    """Return the reads of two successive intervals together: sums of the counts, and the worst lags."""
    return _joined((first, second), sums=("intervals", *_SUMS), most=("loop_connections", *_WORST))


def reads_of_workers(parts: Sequence[ReadHealth | None]) -> ReadHealth | None:
    """Return the reads of several workers in the same interval."""
    return _joined(parts, sums=("loop_connections", *_SUMS), most=("intervals", *_WORST))


def _joined(parts: Sequence[ReadHealth | None], sums: Sequence[str], most: Sequence[str]) -> ReadHealth | None:
    found = [one for one in parts if one is not None]
    if len(found) < 2:
        return found[0] if found else None
    values = {name: sum(getattr(one, name) for one in found) for name in sums}
    return ReadHealth(**values, **{name: max(getattr(one, name) for one in found) for name in most})


@dataclass(slots=True)
class ReadFitness:
    """The reads of answers over a whole run, of one agent."""

    intervals: int = 0
    """Intervals with these figures; 0: the plan does not ask for the kernel's clock."""
    kernel_reads: int = 0
    loop_reads: int = 0
    loop_connections: int = 0
    jumps: int = 0
    read_lag_p99_max_us: int = 0
    """The largest read lag p99 of an interval."""
    read_lag_max_us: int = 0

    def add(self, health: ReadHealth | None) -> None:
        """Add the reads of one interval; None if the agent reported none."""
        if health is None:
            return
        self.intervals += health.intervals
        self.kernel_reads += health.kernel_reads
        self.loop_reads += health.loop_reads
        self.loop_connections = max(self.loop_connections, health.loop_connections)
        self.jumps += health.jumps
        self.read_lag_p99_max_us = max(self.read_lag_p99_max_us, health.read_lag_p99_us)
        self.read_lag_max_us = max(self.read_lag_max_us, health.read_lag_max_us)


def clock_in_force(parts: Iterable[ReadFitness]) -> ClockInForce:
    """Return the clock that timed the answers of a run: of agents that drove it, in a plan that asks for the kernel's.

    "kernel": at most 1 % of the reads had the loop's time. An agent without these figures is older than they are, so
    its answers have the loop's time.
    """
    found = list(parts)
    by_kernel, by_loop = sum(one.kernel_reads for one in found), sum(one.loop_reads for one in found)
    if not by_kernel:
        return "loop"
    has_loop = any(one.loop_connections or not one.intervals for one in found)
    return "kernel and loop" if has_loop or by_loop > _SOME * (by_kernel + by_loop) else "kernel"
