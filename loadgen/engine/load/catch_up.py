"""Limits how fast late arrivals are released, so that a backlog of the generator never becomes a burst at the target.

The start loop waits only for the clock. So an arrival that it reaches late is late because of the generator: the worker
was stopped, starved or busy. Releasing all late arrivals at once would be a burst that the plan does not contain. So
while the loop is behind, the plan's time passes at most twice as fast as real time. There is a small allowance, so that
the loop can catch up at once after an ordinary late wake-up.

Arrivals that wait for the target (all users busy) are not limited here: the start loop released them when they were
due, and they wait in the user pool.

Pure. Times are ns on the load's clock.
"""

from __future__ import annotations

from typing import Final

from loadgen.units import NS_PER_MS

__all__ = ["ALLOWANCE_NS", "CATCH_UP", "REST_NS", "CatchUp"]

CATCH_UP: Final = 2
"""Speed of the plan's time while the start loop is behind, as a multiple of real time."""
ALLOWANCE_NS: Final = 4 * NS_PER_MS
"""Most of the plan's time that is released at once. So 100 ms contain at most 2.04 times the planned arrivals."""
REST_NS: Final = NS_PER_MS
"""Pause between two releases during the catch-up, much shorter than the allowance, so that no time is lost."""


class CatchUp:
    """Limits how fast a late start loop catches up: a token bucket whose tokens are ns of the plan's time.

    Each ns of real time adds `CATCH_UP` tokens, and the bucket holds `ALLOWANCE_NS` tokens. If calls of `release` are
    regularly further apart, the bucket holds the tokens of the last gap between two calls. With a fixed size, such a
    loop could not follow the plan even if it had enough CPU time.

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

        The call uses up the tokens for this time.
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
