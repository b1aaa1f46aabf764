"""The run's clock: ns since T0, and functions that wait for an absolute time on it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from time import perf_counter_ns
from typing import Final, Protocol

from loadgen.engine.load.busy_wait import EMPTY_TURN_NS, NO_BUSY_WAIT, BusyWait
from loadgen.engine.load.timer import new_alarm
from loadgen.engine.load.wake import Wake

__all__ = ["TURN", "Clock", "MonotonicClock", "sleep_or_stop", "sleep_to"]


class Clock(Protocol):
    """The time as the engine reads it; tests and trials pass a clock that jumps."""

    def elapsed_ns(self) -> int:
        """Return the time since T0 (the start of the load) in ns; negative before T0."""

    async def sleep_until(self, at_ns: int) -> None:
        """Wait until `at_ns` after T0. This method may return late, but never early."""

    def close(self) -> None: ...


class _Turn:
    """An awaitable that lets the loop turn once, so that it reads answers and runs other tasks.

    The awaitable is cheaper than `asyncio.sleep(0)`.
    """

    def __await__(self) -> Generator[None, None, None]:
        yield


TURN: Final = _Turn()


class MonotonicClock:
    """The real clock. Create it within a running loop. `sleep_until` serves one waiter at a time (the start loop).

    Args:
        t0_ns: T0 on `perf_counter_ns`.
        busy_wait: decides which waits are too short to sleep.
    """

    def __init__(self, t0_ns: int, busy_wait: BusyWait = NO_BUSY_WAIT) -> None:
        self.t0_ns = t0_ns
        self._busy_wait = busy_wait
        self._wake = Wake(asyncio.get_running_loop())
        self._alarm = new_alarm(self._wake.wake)
        self.wakes_ns = 0
        """The end of the present or last wait of `sleep_until`, on `perf_counter_ns`; 0 before its first call."""

    def elapsed_ns(self) -> int:
        """Return the time since T0 (the start of the load) in ns; negative before T0."""
        return perf_counter_ns() - self.t0_ns

    async def sleep_until(self, at_ns: int) -> None:
        """Wait until `at_ns` after T0. This method may return late, but never early."""
        until_ns = self.wakes_ns = self.t0_ns + at_ns
        while (left_ns := until_ns - perf_counter_ns()) > 0:
            if left_ns <= self._busy_wait.ns:
                await self._turn_until(until_ns)
            else:
                self._alarm.set(until_ns)
                await self._wake

    async def _turn_until(self, until_ns: int) -> None:
        """Let the loop turn until `until_ns` on `perf_counter_ns`, and add up the turns that had nothing to do."""
        spent_ns, now_ns = 0, perf_counter_ns()
        while now_ns < until_ns:
            turned_ns = now_ns
            await TURN
            now_ns = perf_counter_ns()
            if now_ns - turned_ns < EMPTY_TURN_NS:
                spent_ns += now_ns - turned_ns
        self._busy_wait.spent_ns += spent_ns

    def close(self) -> None:
        """Release the timer."""
        self._alarm.close()


async def sleep_to(clock: Clock, at_ns: int) -> None:
    """Wait until `at_ns` after T0 with the loop's own timers.

    These timers are cheap for many waiters that need no precision, such as closed users.
    """
    while (wait_ns := at_ns - clock.elapsed_ns()) > 0:  # noqa: ASYNC110  # a timer may fire early
        await asyncio.sleep(wait_ns / 1e9)


async def sleep_or_stop(clock: Clock, at_ns: int, stop: asyncio.Event) -> None:
    """Wait until `at_ns` after T0 or until `stop` is set, whichever comes first."""
    waits: list[asyncio.Future[object]] = [
        asyncio.ensure_future(sleep_to(clock, at_ns)),
        asyncio.ensure_future(stop.wait()),
    ]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
