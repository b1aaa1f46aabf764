"""Run a coroutine only until a future is done: the body of a request is sent only until the answer arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

__all__ = ["run_until_done"]


async def run_until_done(waiter: asyncio.Future[Any], work: Coroutine[Any, Any, None]) -> None:
    """Await `work` in the caller's task. Cancel it and return as soon as `waiter` is done.

    Raises:
        BaseException: what `work` raises, also a TimeoutError of its own. A cancellation from outside stays one.
    """
    # asyncio.timeout serves as a cancel scope: only the cancellation that `stop` causes becomes a TimeoutError.
    scope = asyncio.timeout(None)
    loop = waiter.get_loop()

    def stop(_: object) -> None:
        with suppress(RuntimeError):  # the scope has just ended
            scope.reschedule(loop.time())

    waiter.add_done_callback(stop)
    try:
        async with scope:
            await work
    except TimeoutError:
        if not scope.expired():
            raise
    finally:
        waiter.remove_done_callback(stop)
