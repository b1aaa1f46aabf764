"""Time-outs: the limits of a request, and one coarse timing wheel that watches all requests of an event loop.

A timer for each request would cost more than the rest of the request, and nearly
all timers would be cancelled. So a connection only notes its deadline in an
attribute and stays in one bucket of the wheel. When the bucket's time comes, the
connection is idle (it leaves the wheel), or has a later deadline (it moves to
another bucket), or is late (it fails). With time-outs of 60 s a busy connection is
checked once a minute.

A time-out fires up to 8.4 ms late, never early. Its sample is censored at the
deadline itself, and an answer that arrives in between still counts as late.
Times are in `perf_counter_ns`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter_ns
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from loadgen.units import NS_PER_S

__all__ = ["NEVER_NS", "TimeoutWheel", "Timeouts", "Watched", "timeouts_with", "wheel_of"]

NEVER_NS: Final = 2**63 - 1
_TICK_BITS: Final = 23
"""A tick is 2**23 ns = 8.4 ms."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a request. `total_ns` is from asked to done, over all hops of its redirects."""

    connect_ns: int = 10 * NS_PER_S
    """DNS, TCP and TLS together."""
    total_ns: int = 60 * NS_PER_S


@lru_cache(maxsize=64)
def timeouts_with(connect_ns: int, total_ns: int) -> Timeouts:
    """Return these limits. The result is cached, because making it takes 0.5 µs."""
    return Timeouts(connect_ns, total_ns)


class Watched(Protocol):
    """An object with a deadline, which the wheel watches."""

    deadline_ns: int
    """The deadline; 0 if nothing is under way."""
    check_ns: int
    """When the wheel looks next; NEVER_NS if it does not. Set by the wheel only."""

    def expire(self) -> None:
        """Handle that the deadline of this object has passed. The timing wheel calls this method."""


class TimeoutWheel:
    """Buckets of watched objects, by the tick in which to check them. Only the first bucket has a timer."""

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        now_ns: Callable[[], int] = perf_counter_ns,
    ) -> None:
        self._call_later, self._now_ns = call_later, now_ns
        self._buckets: dict[int, set[Watched]] = {}
        self._ticks: list[int] = []
        self._armed_tick = NEVER_NS

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def watch(self, it: Watched) -> None:
        """Arrange that `it.expire` is called when the deadline of `it` has passed. Call this when `it` gets a deadline
        before `it.check_ns`.
        """
        self.forget(it)
        tick = it.deadline_ns >> _TICK_BITS
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            heapq.heappush(self._ticks, tick)
        bucket.add(it)
        it.check_ns = it.deadline_ns
        if tick < self._armed_tick:
            self._arm(tick)

    def forget(self, it: Watched) -> None:
        """Remove `it` from the wheel, for example because its connection is closed. Do nothing if `it` is not there."""
        if it.check_ns != NEVER_NS:
            self._buckets.get(it.check_ns >> _TICK_BITS, set()).discard(it)
            it.check_ns = NEVER_NS

    def turn(self) -> None:
        """Expire all watched objects whose deadline has passed, and set the timer for the next ones. The timer calls
        this method; calling it too early is harmless.
        """
        now_ns = self._now_ns()
        self._armed_tick = NEVER_NS
        # Only ticks that are over: then all deadlines in them have passed, and none fires early.
        while self._ticks and (self._ticks[0] + 1) << _TICK_BITS <= now_ns:
            # The bucket leaves the wheel before it is read, because `expire` closes connections, and these call
            # `forget`.
            for it in self._buckets.pop(heapq.heappop(self._ticks)):
                it.check_ns = NEVER_NS
                if not it.deadline_ns:
                    continue
                if it.deadline_ns <= now_ns:
                    it.expire()
                elif it.deadline_ns < NEVER_NS:
                    self.watch(it)
        while self._ticks and not self._buckets[self._ticks[0]]:  # its connections have been closed
            del self._buckets[heapq.heappop(self._ticks)]
        if self._ticks and self._ticks[0] < self._armed_tick:
            self._arm(self._ticks[0])

    def _arm(self, tick: int) -> None:
        # An older timer for a later tick is left to fire and finds nothing: cheaper than cancelling it.
        self._armed_tick = tick
        self._call_later(((tick + 1 << _TICK_BITS) - self._now_ns()) / NS_PER_S, self.turn)


_wheels: WeakKeyDictionary[asyncio.AbstractEventLoop, TimeoutWheel] = WeakKeyDictionary()


def wheel_of(loop: asyncio.AbstractEventLoop) -> TimeoutWheel:
    """Return the TimeoutWheel of an event loop, which is made at the first call."""
    wheel = _wheels.get(loop)
    if wheel is None:
        wheel = _wheels[loop] = TimeoutWheel(loop.call_later)
    return wheel
