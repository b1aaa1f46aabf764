"""How fast late arrivals are released: a backlog of the generator's own never becomes a burst at the target.

The start loop waits for nothing but the clock, so an arrival that it reaches late is late through the generator: the
worker was stopped, starved or busy. Releasing all of them at once would be a burst that no plan contains. So the plan's
time passes at most twice as fast as real time while the loop is behind, apart from a small allowance that lets an
ordinary late wake-up catch up at once.

Arrivals that wait for the target (all users busy) are not concerned: the start loop has released them when they were
due, and they wait in the user pool.

Pure. Times are ns on the load's clock.
"""

from __future__ import annotations

from typing import Final

from loadgen.units import NS_PER_MS

__all__ = ["ALLOWANCE_NS", "CATCH_UP", "REST_NS", "CatchUp"]

CATCH_UP: Final = 2
"""How many times faster than real time the plan's time passes while the start loop is behind."""
ALLOWANCE_NS: Final = 4 * NS_PER_MS
"""Most of the plan's time that is released at once: in 100 ms at most 2.04 times the planned arrivals."""
REST_NS: Final = NS_PER_MS
"""Pause between two releases during the catch-up. Much shorter than the allowance lasts, so that no time is lost."""


class CatchUp:
    """Limits how fast a late start loop catches up: a token bucket whose tokens are ns of the plan's time.

    Each ns of real time adds `CATCH_UP` tokens, and the bucket holds `ALLOWANCE_NS`. If the calls of `release` are
    further apart than that, one after the other, the bucket holds the tokens of one gap. With a fixed size such a loop
    could not follow the plan, even with CPU time to spare.

    Args:
        at_ns: arrivals that are due before this time were started.
    """

    __slots__ = ("_at_ns", "_gap_ns", "_tokens_ns", "upto_ns")

    def __init__(self, at_ns: int) -> None:
        self.upto_ns = at_ns
        """Arrivals that are due by this time may start."""
        self._at_ns = at_ns
        self._tokens_ns = ALLOWANCE_NS
        self._gap_ns = 0
        """Time between the last two calls of `release`."""

    def release(self, now_ns: int) -> int:
        """Return the time up to which due arrivals may start: `now_ns` if the loop is on time, earlier if it is late.

        It uses up the tokens for this time.
        """
        gap_ns = now_ns - self._at_ns
        tokens_ns = min(self._tokens_ns + CATCH_UP * gap_ns, max(ALLOWANCE_NS, CATCH_UP * self._gap_ns))
        self._gap_ns = gap_ns
        upto_ns = min(now_ns, self.upto_ns + tokens_ns)
        self._tokens_ns = tokens_ns - (upto_ns - self.upto_ns)
        self._at_ns, self.upto_ns = now_ns, upto_ns
        return upto_ns

    def slept(self, until_ns: int) -> None:
        """Record that the loop meant to sleep until `until_ns`, because no arrival is due before then.

        Call it after the sleep, before `release`. The time up to `until_ns` then does not count as lateness; a late
        wake-up does.
        """
        self._tokens_ns = min(self._tokens_ns + until_ns - self._at_ns, ALLOWANCE_NS)
        self.upto_ns = self._at_ns = until_ns
