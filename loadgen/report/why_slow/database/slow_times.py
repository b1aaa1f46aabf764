"""The times of slow requests on the run's clock, to compare with the times of a probe. Pure.

Times of a probe have an error, and those of agents, too. Both are bounds, so an interval is widened by their sum before
it is compared: a request and a lock that did overlap are always found.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from loadgen.traces.timed import Parted
from loadgen.units import NS_PER_S

__all__ = ["SlowTimes"]


class SlowTimes:
    """The times from due to done of requests, in s from T0.

    error_s: by which they may be off, by the clocks of the agents.
    """

    def __init__(self, traces: Iterable[Parted], error_s: float = 0.0) -> None:
        seen = [one.observed for one in traces]
        self._spans = sorted((one.at_s, one.at_s + one.response_ns / NS_PER_S) for one in seen)
        self._begins = [begin for begin, _ in self._spans]
        self._longest_s = max((end - begin for begin, end in self._spans), default=0.0)
        self.error_s = error_s

    def during(self, begin_s: float, end_s: float, error_s: float = 0.0) -> list[int]:
        """Return the numbers of the requests that were open in an interval, both ends included.

        error_s: by which the interval may be off.
        """
        error_s += self.error_s
        first = bisect_left(self._begins, begin_s - error_s - self._longest_s)
        last = bisect_right(self._begins, end_s + error_s)
        return [n for n in range(first, last) if self._spans[n][1] >= begin_s - error_s]

    def around(self, begin_s: float, end_s: float, error_s: float = 0.0) -> list[int]:
        """Return the numbers of the requests that were open during a whole interval, as far as the errors allow.

        error_s: by which the interval may be off.
        """
        off_s = error_s + self.error_s
        return [
            n
            for n in self.during(begin_s, end_s, error_s)
            if self._spans[n][0] <= begin_s + off_s and self._spans[n][1] >= end_s - off_s
        ]
