"""What it took to get a connection: blocked, DNS, connect, TLS, each in ns.

A pool notes how long a request was blocked, a network the rest; both call `begin` when
a phase begins, which ends the one before. What happens more than once in one opening (a
second address is tried) is added up. What did not happen is not there: no phase is a
zero, so the count of a phase is how often it was needed.

Connect is TCP's handshake; through a proxy it is all that is needed to have a way to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from loadgen.measure.deltas.series import Phase

__all__ = ["Opening"]


class Opening:
    """Mutable, of one request that needs a connection. Costs 1 µs of the 100 that a connection does.

    times: ns of each phase that happened, in the order in which they began.
    under_way: the phase that has begun and not ended: where it failed, if it did.
    """

    __slots__ = ("_begun_ns", "_clock", "times", "under_way")

    def __init__(self, clock: Callable[[], int] = perf_counter_ns) -> None:
        self.times: dict[Phase, int] = {}
        self.under_way: Phase | None = None
        self._clock = clock
        self._begun_ns = 0

    def begin(self, phase: Phase) -> None:
        """`phase` begins now; the one under way is over."""
        now_ns = self._clock()
        self._end(now_ns)
        self.under_way, self._begun_ns = phase, now_ns

    def end(self) -> None:
        """What is under way is over."""
        self._end(self._clock())

    def _end(self, now_ns: int) -> None:
        if self.under_way is not None:
            self.times[self.under_way] = self.times.get(self.under_way, 0) + now_ns - self._begun_ns
            self.under_way = None

    def failed_in(self) -> Phase | None:
        """It failed: the phase that did, which counts until now."""
        phase = self.under_way
        self.end()
        return phase

    def __repr__(self) -> str:
        return f"<Opening {', '.join(f'{phase} {ns / 1e6:.3f} ms' for phase, ns in self.times.items()) or 'nothing'}>"
