"""A wait that ends at once: the task continues within the call that wakes it, and can be cancelled like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
import uvloop

from loadgen.engine.load.wake import Wake

Runner = Callable[[Coroutine[Any, Any, None]], None]
both = pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
NAME = ContextVar("NAME", default="")


async def until_it_waits(task: asyncio.Task[Any]) -> None:
    await asyncio.sleep(0)
    assert not task.done()


@both
def test_the_waiting_task_continues_within_the_call_and_in_its_own_context(runner: Runner) -> None:
    async def main() -> None:
        wake, seen = Wake(asyncio.get_running_loop()), []

        async def wait() -> None:
            NAME.set("waiter")
            for _ in range(3):
                await wake
                seen.append((NAME.get(), asyncio.current_task()))

        waiting = asyncio.create_task(wait())
        await until_it_waits(waiting)
        me = asyncio.current_task()
        for _ in range(3):
            wake.wake()
        assert seen == [("waiter", waiting)] * 3
        assert asyncio.current_task() is me
        assert NAME.get() == ""
        await waiting

    runner(main())


@both
def test_a_callback_of_the_loop_can_wake_a_task(runner: Runner) -> None:
    async def main() -> None:
        loop, seen = asyncio.get_running_loop(), []
        wake = Wake(loop)

        async def wait() -> None:
            await wake
            seen.append("woken")

        waiting = asyncio.create_task(wait())
        await until_it_waits(waiting)

        def call() -> None:
            wake.wake()
            seen.append("after")

        loop.call_soon(call)
        await waiting
        assert seen == ["woken", "after"]

    runner(main())


@both
def test_a_task_that_waits_can_be_cancelled_and_a_later_wake_does_nothing(runner: Runner) -> None:
    async def main() -> None:
        wake, ran = Wake(asyncio.get_running_loop()), []

        async def wait() -> None:
            try:
                await wake
            finally:
                ran.append(True)

        waiting = asyncio.create_task(wait())
        await until_it_waits(waiting)
        waiting.cancel()
        wake.wake()
        assert not ran  # as with a future, the cancellation arrives at the next turn
        with pytest.raises(asyncio.CancelledError):
            await waiting
        wake.wake()
        assert ran == [True]

    runner(main())


@both
def test_after_a_cancellation_that_a_task_caught_it_can_wait_again(runner: Runner) -> None:
    async def main() -> None:
        wake, seen = Wake(asyncio.get_running_loop()), []

        async def wait() -> None:
            try:
                await wake
            except asyncio.CancelledError:
                seen.append("cancelled")
            await wake
            seen.append("woken")

        waiting = asyncio.create_task(wait())
        await until_it_waits(waiting)
        waiting.cancel()
        await asyncio.sleep(0)
        wake.wake()
        await waiting
        assert seen == ["cancelled", "woken"]

    runner(main())


@both
def test_a_wake_without_a_waiting_task_does_nothing_and_is_not_kept(runner: Runner) -> None:
    async def main() -> None:
        wake = Wake(asyncio.get_running_loop())
        wake.wake()
        waiting = asyncio.ensure_future(_of(wake))
        await until_it_waits(waiting)
        wake.wake()
        await waiting

    async def _of(wake: Wake) -> None:
        await wake

    runner(main())


@both
def test_a_time_limit_within_a_woken_task_still_holds(runner: Runner) -> None:
    async def main() -> None:
        wake, seen = Wake(asyncio.get_running_loop()), []

        async def wait() -> None:
            await wake
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            except TimeoutError:
                seen.append("time-out")

        waiting = asyncio.create_task(wait())
        await until_it_waits(waiting)
        wake.wake()
        await waiting
        assert seen == ["time-out"]

    runner(main())
