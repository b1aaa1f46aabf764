"""Waits that are shorter than a wake-up costs: the loop turns without a pause instead of going to sleep.

Going to sleep and waking costs a process some 20 to 30 µs of CPU in a virtual machine, and the wake-up is late by about
as much. For a wait below that, turning the loop costs no more, answers are read meanwhile, and the start is not late.
At low rates waits are long, and the loop sleeps.

A worker that shares its core must not turn the loop: it would take CPU time from other programs, and the system would
then make it wait when it needs the core. So a worker never waits busily if the machine has no more cores than workers,
and not in the second after one in which it had to wait for a core.
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
"""A turn of the loop of at most this time had nothing to do: an empty turn takes 4 to 8 µs, and one that reads an
answer 20 µs."""
_STARVED: Final = 0.02
"""If a worker waits for a core for more than this share of an interval, it does not wait busily in the next one."""


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
        """CPU time so far of turns in which nothing had to be done. `MonotonicClock` adds it up."""
        self._taken_ns = 0

    def take_spent_ns(self) -> int:
        """Return the CPU time of busy waiting since the last call. The worker could have used this time for load."""
        spent_ns, self._taken_ns = self.spent_ns - self._taken_ns, self.spent_ns
        return spent_ns

    def adapt(self, starved_share: float) -> None:
        """Adapt to the last interval: `starved_share` is the share of it in which the worker waited for a core."""
        self.ns = 0 if starved_share > _STARVED else self.most_ns


NO_BUSY_WAIT: Final = BusyWait(0)


def measured_ns(workers: int) -> int:
    """Measure below which length a wait is too short to sleep, and return this length in ns.

    The length is the CPU time of a sleep plus the median delay of its end, and at most `MOST_NS`. The measurement takes
    3 ms. The result is 0, so that workers never wait busily, on systems without timerfd. The result is also 0 if an
    agent with this number of workers leaves no core of the machine free, or has more workers than cores that it may
    use.
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
