"""Times of the phases of opening a connection: blocked, DNS, connect, TLS; each in ns.

A pool notes how long a request was blocked, a network the other phases. Both call `begin` when
a phase begins, which ends the previous one. A phase that occurs more than once in one opening (a
second address is tried) is added up. A phase that did not occur is absent instead of 0, so
the count of a phase is the number of requests that needed it.

Connect is the TCP handshake; through a proxy it includes everything up to a way to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from loadgen.measure.deltas.series_key import Phase

__all__ = ["Opening"]


class Opening:
    """The phases of one request that needs a new connection. Mutable. Costs 1 µs, of the 100 µs that a connection
    costs.

    times: ns of each phase that occurred, in the order in which they began.
    under_way: the phase that has begun and not ended; after a failure, the phase that failed.
    """

    __slots__ = ("_begun_ns", "_clock", "times", "under_way")

    def __init__(self, clock: Callable[[], int] = perf_counter_ns) -> None:
        self.times: dict[Phase, int] = {}
        self.under_way: Phase | None = None
        self._clock = clock
        self._begun_ns = 0

    def begin(self, phase: Phase) -> None:
        """Start the timing of `phase` (for example `dns`), and end that of the phase before it."""
        now_ns = self._clock()
        self._end(now_ns)
        self.under_way, self._begun_ns = phase, now_ns

    def end(self) -> None:
        """End the timing of the phase that is under way, if there is one."""
        self._end(self._clock())

    def _end(self, now_ns: int) -> None:
        if self.under_way is not None:
            self.times[self.under_way] = self.times.get(self.under_way, 0) + now_ns - self._begun_ns
            self.under_way = None

    def failed_in(self) -> Phase | None:
        """End the timing after a failure, and return the phase that was under way; None if no phase was."""
        phase = self.under_way
        self.end()
        return phase

    def __repr__(self) -> str:
        return f"<Opening {', '.join(f'{phase} {ns / 1e6:.3f} ms' for phase, ns in self.times.items()) or 'nothing'}>"
