"""The run's clock: ns since T0, and a way to wait for an absolute time on it.

Timers of uvloop are whole milliseconds and may fire up to 1 ms early, which
would leave the choice between spinning (a core at 100 %) and being late by up
to a millisecond. On Linux a timerfd waits with the kernel's own precision:
measured at 2,000 wake-ups/s 46 µs late in the median at 41 µs of CPU each,
against 500 µs of CPU each for spinning. Elsewhere the loop's timer has to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from time import perf_counter_ns
from typing import Protocol

__all__ = ["Clock", "MonotonicClock", "sleep_or_stop", "sleep_to"]

_LONGEST_NAP_NS = 3600 * 1_000_000_000


class Clock(Protocol):
    """Time as the engine sees it; tests and trials pass one that jumps."""

    def elapsed_ns(self) -> int:
        """ns since T0; negative before it."""

    async def sleep_until(self, at_ns: int) -> None:
        """Return at `at_ns` after T0 or later, never before."""

    def close(self) -> None: ...


class _LoopTimer:
    """Waits with the loop's own timers; portable, late by up to a millisecond."""

    async def nap(self, until_ns: int) -> None:
        await asyncio.sleep(max(0.001, (until_ns - perf_counter_ns()) / 1e9))

    def close(self) -> None: ...


class _Timespec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class _TimerFd:
    """One Linux timerfd on CLOCK_MONOTONIC, which is what `perf_counter_ns` reads there.

    `os.timerfd_create` comes with Python 3.13 only, hence ctypes. One waiter at a time.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Timespec()
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._fired)

    async def nap(self, until_ns: int) -> None:
        self._waiter = self._loop.create_future()
        self._spec.value_s, self._spec.value_ns = divmod(max(until_ns, 1), 1_000_000_000)
        self._settime(self._fd, 1, ctypes.byref(self._spec), None)
        await self._waiter

    def _fired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class MonotonicClock:
    """The real clock. Made within a running loop; `sleep_until` serves one waiter at a time (the pacing task).

    Args:
        t0_ns: T0 on `perf_counter_ns`.
    """

    def __init__(self, t0_ns: int) -> None:
        self.t0_ns = t0_ns
        self._timer: _TimerFd | _LoopTimer = _TimerFd() if sys.platform == "linux" else _LoopTimer()

    def elapsed_ns(self) -> int:
        return perf_counter_ns() - self.t0_ns

    async def sleep_until(self, at_ns: int) -> None:
        until_ns = self.t0_ns + at_ns
        while (now_ns := perf_counter_ns()) < until_ns:
            await self._timer.nap(min(until_ns, now_ns + _LONGEST_NAP_NS))

    def close(self) -> None:
        self._timer.close()


async def sleep_to(clock: Clock, at_ns: int) -> None:
    """Wait for `at_ns` with the loop's timers: for the many waiters (closed users) who need no precision."""
    while (wait_ns := at_ns - clock.elapsed_ns()) > 0:  # noqa: ASYNC110  # a timer may fire early
        await asyncio.sleep(wait_ns / 1e9)


async def sleep_or_stop(clock: Clock, at_ns: int, stop: asyncio.Event) -> None:
    """Wait for a time on the run's clock, or for the stop, whichever comes first."""
    waits: list[asyncio.Future[object]] = [
        asyncio.ensure_future(sleep_to(clock, at_ns)),
        asyncio.ensure_future(stop.wait()),
    ]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
