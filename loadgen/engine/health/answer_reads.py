"""Counts the reads of answers of one worker by clock, with their lag, in plans that ask for the kernel's clock.

Read lag is the time from the arrival of a read's last byte, by the kernel's clock, to our read of it. It takes the
place of the event loop's lag in the verdict on an interval (`selfcheck.py`), which only estimates how late replies are
read.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np

from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.units import NS_PER_US

__all__ = ["JUMP_NOTE", "AnswerReads", "exceeded_by"]

JUMP_NOTE = (
    "the system's time was set during the run: until the end of that second, answers were timed by the event loop"
)


class AnswerReads:
    """The reads of one worker since the last `take`. The kernel's clock counts them, and the self-check calls `take`.

    lags_ns: the lag of each read with the kernel's time. loop_reads: reads of the same connections without one.
    loop_connections: connections opened in the whole run whose reads the event loop times. jumps: number of times
    that the system's time was set.
    remap: called in each `take`, so that the clocks are compared once an interval.
    """

    __slots__ = ("jumps", "lags_ns", "loop_connections", "loop_reads", "remap")

    def __init__(self) -> None:
        self.remap: Callable[[], None] = lambda: None
        self.loop_connections = 0
        self._begin()

    def _begin(self) -> None:
        self.lags_ns = array("q")
        self.loop_reads = self.jumps = 0

    def take(self) -> tuple[ReadHealth, int | None]:
        """Return the reads since the last call, and forget them; with them the p99 of the read lag, ns.

        The p99 is None if it does not show how late answers were read: nothing was read in the interval, or the loop
        times a part of the answers.
        """
        self.remap()
        lags = np.frombuffer(self.lags_ns, dtype=np.int64)
        loop_reads, jumps = self.loop_reads, self.jumps
        self._begin()
        p99_ns = exceeded_by(lags, 100)
        health = ReadHealth(
            kernel_reads=len(lags),
            loop_reads=loop_reads,
            loop_connections=self.loop_connections,
            jumps=jumps,
            read_lag_p50_us=exceeded_by(lags, 2) // NS_PER_US,
            read_lag_p99_us=p99_ns // NS_PER_US,
            read_lag_max_us=(int(lags.max()) if len(lags) else 0) // NS_PER_US,
        )
        return health, p99_ns if health.is_by_kernel else None


def exceeded_by(values: np.ndarray, part: int) -> int:
    """Return the value that one in `part` of the values exceed, and at least one; 0 for no values.

    part: 2 for the median (of an even number of values the lower one), 100 for the p99.
    """
    n = len(values)
    if not n:
        return 0
    rank = max(0, n - 1 - max(1, n // part))
    return int(np.partition(values, rank)[rank])
