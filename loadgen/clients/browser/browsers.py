"""The browsers of one worker: one Chromium, started with the first page, and a limited number of pages at a time.

A user that finds all of them busy waits for a free one. Its wait is part of its iteration's response time, and two
counters show it: the agent needs more browsers, or the plan fewer users of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any, Final, TypeVar

from loadgen.clients.browser.chromium import Chromium
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters
from loadgen.units import NS_PER_MS

__all__ = ["BLOCKED", "WAITED", "WAITED_MS", "Browsers", "Launch", "PageCounts"]

T = TypeVar("T")
WAITED: Final = "browser: users that waited for a free one"
WAITED_MS: Final = "browser: ms waited for a free one"
BLOCKED: Final = "browser: requests not allowed"
_NOTABLE_NS: Final = NS_PER_MS
Launch = Callable[[], Coroutine[Any, Any, Chromium]]


class PageCounts(WorkerCounters):
    """The counters of one worker."""

    __slots__ = ("blocked", "waited", "waited_ms")

    def __init__(self, recorder: Recorder) -> None:
        self.waited, self.waited_ms = WorkerCounter(WAITED), WorkerCounter(WAITED_MS)
        self.blocked = WorkerCounter(BLOCKED)
        recorder.customs += [self.waited, self.waited_ms, self.blocked]


class Browsers:
    """The browsers of one worker: one Chromium with at most `most` pages at the same time."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._chromium: Chromium | None = None
        self._starting: asyncio.Task[Chromium] | None = None

    async def take(self, recorder: Recorder, launch: Launch) -> Chromium:
        """Wait until fewer than `most` pages are open, and return the worker's Chromium. Start it if it is not running.

        Call `give` when the page is closed.

        Raises:
            UsageError, RequestFailed: `launch` raised it.
        """
        asked_ns = perf_counter_ns()
        await self._free.acquire()
        waited_ns = perf_counter_ns() - asked_ns
        if waited_ns >= _NOTABLE_NS:
            counts = PageCounts.of(recorder)
            counts.waited.add()
            counts.waited_ms.add(1, waited_ns // NS_PER_MS)
        try:
            return await self._running(recorder, launch)
        except BaseException:
            self._free.release()
            raise

    def give(self) -> None:
        """Make a browser free again."""
        self._free.release()

    async def _running(self, recorder: Recorder, launch: Launch) -> Chromium:
        if self._chromium is not None and self._chromium.is_running:
            return self._chromium
        if self._starting is None or self._starting.done():
            self._starting = await _apart(launch())
        # One user's time-out must not end the start for which others wait.
        chromium = await asyncio.shield(self._starting)
        if chromium is not self._chromium:
            self._chromium = chromium
            if chromium.note:
                recorder.note(chromium.note)
        return chromium

    async def close(self) -> None:
        """End the Chromium."""
        starting, self._starting = self._starting, None
        if starting is not None and not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
        chromium, self._chromium = self._chromium, None
        if chromium is not None:
            await chromium.close()


async def _apart(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that belongs to no iteration: Playwright starts tasks in it that live as long as Chromium."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[T]] = loop.create_future()
    loop.call_soon(lambda: made.set_result(loop.create_task(call)))
    return await made
