"""A timer that can be set again at any time. It calls back at an absolute time, never before it.

Timers of uvloop have whole milliseconds and may fire up to 1 ms early. With these timers, the start loop would have to
wait busily (a core at 100 %) or be late by up to a millisecond. On Linux a timerfd waits with the precision of the
kernel: measured at 2,000 wake-ups/s, the median is 46 µs late. A wake-up costs 41 µs of CPU, and busy waiting 500 µs
for each. `busy_wait.py` is for waits that are shorter than the cost of a wake-up. On other systems the loop's timer is
used.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter_ns
from typing import Final, Protocol

__all__ = ["Alarm", "TimerFd", "new_alarm"]

_ABSOLUTE: Final = 1
"""TFD_TIMER_ABSTIME of timerfd_settime(2)."""


class Alarm(Protocol):
    """A timer that calls back once."""

    def set(self, at_ns: int) -> None:
        """Let the timer call back at `at_ns` (`perf_counter_ns`), or at once if that is past.

        An earlier setting is replaced.
        """

    def close(self) -> None: ...


def new_alarm(callback: Callable[[], None]) -> Alarm:
    """Create a timer that calls `callback` at the times that are set. Call this within a running loop.

    It uses the most exact timer of this system. The callback may set the timer again.
    """
    return _FdAlarm(callback) if sys.platform == "linux" else _LoopTimer(callback)


class _LoopTimer:
    """A timer of the loop, late by up to a millisecond and more; for systems without timerfd."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._at_ns = 0

    def set(self, at_ns: int) -> None:
        self.close()
        self._at_ns = at_ns
        self._handle = self._loop.call_later(max(0.0, (at_ns - perf_counter_ns()) / 1e9), self._fired)

    def _fired(self) -> None:
        # uvloop's timers may fire up to 1 ms early.
        if perf_counter_ns() < self._at_ns:
            self._handle = self._loop.call_later(0.001, self._fired)
        else:
            self._callback()

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class TimerFd:
    """A timerfd on CLOCK_MONOTONIC, the clock that `perf_counter_ns` reads on Linux. `fd` is readable once it fires."""

    def __init__(self) -> None:
        # PyDLL keeps the interpreter's lock: neither call blocks, and releasing the lock costs time.
        libc = ctypes.PyDLL(None, use_errno=True)
        # Clock 1 is CLOCK_MONOTONIC.
        self.fd: int = libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._settime_ns = getattr(os, "timerfd_settime_ns", None)  # from Python 3.13 on; twice as fast as ctypes
        # Arguments that are ctypes objects already: 1.1 µs a call instead of 1.4.
        spec = (ctypes.c_long * 4)()  # struct itimerspec: interval in s and ns, then the time in s and ns
        self._value = memoryview(spec).cast("B").cast("l")[2:]
        self._settime = partial(
            libc.timerfd_settime, ctypes.c_int(self.fd), ctypes.c_int(_ABSOLUTE), ctypes.byref(spec), None
        )

    def set(self, at_ns: int) -> None:
        """Set the timer to fire at `at_ns` on `perf_counter_ns`, or at once if this time is past."""
        at_ns = max(at_ns, 1)  # 0 would disarm the timer (timerfd_settime(2)); 1 ns is past and fires at once
        if self._settime_ns is not None:
            self._settime_ns(self.fd, flags=_ABSOLUTE, initial=at_ns)
            return
        self._value[0], self._value[1] = divmod(at_ns, 1_000_000_000)
        self._settime()

    def close(self) -> None:
        os.close(self.fd)


class _FdAlarm:
    """An alarm on a timerfd."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._timer = TimerFd()
        self._callback = callback
        self._is_unread = False
        """True from the time when the timer fires until it is set again, which also clears it for the loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._timer.fd, self._fired)

    def set(self, at_ns: int) -> None:
        self._is_unread = False
        self._timer.set(at_ns)

    def _fired(self) -> None:
        # Most callers set the timer again before the loop polls next, which saves the system call of a read.
        if not self._is_unread:
            self._is_unread = True
            self._callback()
            return
        self._is_unread = False
        with suppress(BlockingIOError):  # set again after it had fired, so there is nothing to read
            os.read(self._timer.fd, 8)

    def close(self) -> None:
        self._loop.remove_reader(self._timer.fd)
        self._timer.close()
