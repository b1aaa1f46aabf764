"""Waits that are shorter than a wake-up costs: the loop turns without a pause instead of going to sleep.

Going to sleep and waking costs a process some 20 to 30 µs of CPU in a virtual machine, and the wake-up is late by about
as much. For a wait below that, turning the loop costs no more, answers are read meanwhile, and the start is not late.
At low rates waits are long and the loop sleeps as ever.

A worker that shares its core must not turn the loop: it would take the time from others and lose its own turn
when it needs it. So there is no busy waiting if the machine has no more cores than workers, and none after a second in
which the worker had to wait for a core.
"""

from __future__ import annotations

import os
import select
import sys
from time import perf_counter_ns, thread_time_ns
from typing import Final

from loadgen.engine.load.timer import TimerFd

__all__ = ["EMPTY_TURN_NS", "MOST_NS", "NO_BUSY_WAIT", "BusyWait", "measured_ns"]

MOST_NS: Final = 60_000
"""Longest busy wait, however slow wake-ups are: a longer one costs more CPU than it saves."""
_ROUNDS: Final = 20
_SLEEP_NS: Final = 100_000
EMPTY_TURN_NS: Final = 15_000
"""A turn of the loop that took no longer had nothing to do: it costs 4 to 8 µs, and one that reads an answer 20."""
_STARVED: Final = 0.02
"""Share of an interval that a worker may wait for a core before it stops busy waiting in the next one."""


class BusyWait:
    """Decides whether one worker waits busily for its next start or sleeps.

    Args:
        most_ns: the longest wait for which it may wait busily (see `measured_ns`); 0: it always sleeps.
    """

    __slots__ = ("_taken_ns", "most_ns", "ns", "spent_ns")

    def __init__(self, most_ns: int) -> None:
        self.most_ns = most_ns
        self.ns = most_ns
        """The present limit: `most_ns`, or 0 while the worker shares its core."""
        self.spent_ns = 0
        """CPU time so far of turns in which nothing else had to be done; the start loop adds it up."""
        self._taken_ns = 0

    def take_spent_ns(self) -> int:
        """Return the CPU time that busy waiting has cost since the last call: time that the worker has left over."""
        spent_ns, self._taken_ns = self.spent_ns - self._taken_ns, self.spent_ns
        return spent_ns

    def adapt(self, starved_share: float) -> None:
        """Adapt to the last interval: `starved_share` is the share of it in which the worker waited for a core."""
        self.ns = 0 if starved_share > _STARVED else self.most_ns


NO_BUSY_WAIT: Final = BusyWait(0)


def measured_ns(workers: int) -> int:
    """Measure which waits are too short to sleep: the CPU time of a sleep plus the median delay of its end, in ns.

    The measurement takes 3 ms. The result is at most `MOST_NS`. It is 0 on systems without timerfd, and if an agent
    with this number of workers leaves no core of the machine free, or has more workers than cores that it may use.
    """
    if sys.platform != "linux" or workers >= (os.cpu_count() or 1) or workers > len(os.sched_getaffinity(0)):
        return 0
    timer, late_ns = TimerFd(), []
    with select.epoll() as poll:
        poll.register(timer.fd, select.EPOLLIN)
        began_ns = thread_time_ns()
        for _ in range(_ROUNDS):
            at_ns = perf_counter_ns() + _SLEEP_NS
            timer.set(at_ns)
            poll.poll()
            late_ns.append(perf_counter_ns() - at_ns)
        cpu_ns = (thread_time_ns() - began_ns) // _ROUNDS
    timer.close()
    return min(cpu_ns + sorted(late_ns)[_ROUNDS // 2], MOST_NS)
