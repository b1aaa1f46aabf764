"""Pauses of users: the think times of all users of a worker share one heap and one timer of the loop.

`asyncio.sleep` makes a timer, a callback and a coroutine for each pause, 970 bytes. That was a tenth of the memory of
an idle user. Here a pause takes 260 bytes (docs/decisions/150-think-times-one-heap-and-one-timer.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from time import perf_counter
from typing import Final

__all__ = ["EARLY_S", "Pauses"]

EARLY_S: Final = 0.001
"""Most that a pause may end before its time. uvloop's timers have whole milliseconds and fire up to 1 ms early; to wait
for the rest would keep the loop busy."""
_FEWEST: Final = 1_000
"""With fewer pauses than this, none that was cancelled is removed before its time."""


class Pauses:
    """All pauses of one event loop. They end in the order of their times.

    now_s: the clock, in seconds.
    """

    def __init__(self, now_s: Callable[[], float] = perf_counter) -> None:
        self._now_s = now_s
        self._heap: list[tuple[float, int, asyncio.Future[None]]] = []
        """(When the pause ends, a number that no other pause has, the future on which its user waits)."""
        self._number = count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = inf
        """When the timer fires."""
        self._most = _FEWEST
        """With this many pauses, the cancelled ones are removed."""

    def __len__(self) -> int:
        """Return the number of pauses, including cancelled ones that are still kept."""
        return len(self._heap)

    def sleep(self, wait_s: float) -> Awaitable[None]:
        """Return an awaitable that ends after `wait_s`, as `asyncio.sleep` does; at most `EARLY_S` before.

        The pause begins with this call. Cancel it by cancelling the task that awaits it.
        """
        if wait_s <= 0:
            return asyncio.sleep(0)
        if len(self._heap) >= self._most:
            self._drop_cancelled()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        at_s = self._now_s() + wait_s
        heappush(self._heap, (at_s, next(self._number), ended))
        if at_s < self._rings_s:
            self._arm(at_s)
        return ended

    def close(self) -> None:
        """Stop the timer. Pauses that are still going on never end."""
        self._heap.clear()
        self._disarm()

    def _ring(self) -> None:
        """End all pauses whose time has come, and set the timer for the next one. The timer calls this method."""
        self._disarm()
        upto_s = self._now_s() + EARLY_S
        while self._heap and self._heap[0][0] <= upto_s:
            ended = heappop(self._heap)[2]
            if not ended.done():
                ended.set_result(None)
        if self._heap:
            self._arm(self._heap[0][0])

    def _arm(self, at_s: float) -> None:
        self._disarm()
        self._rings_s = at_s
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at_s - self._now_s()), self._ring)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_s = None, inf

    def _drop_cancelled(self) -> None:
        """Remove cancelled pauses. Called when the heap has doubled, so its cost is spread over as many new pauses."""
        self._heap = [pause for pause in self._heap if not pause[2].done()]
        heapify(self._heap)
        self._most = max(_FEWEST, 2 * len(self._heap))
