"""A loop in which waiting takes no time: what is timed by its timers is never late, however busy the machine."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["LoopClock", "in_no_time"]


class _JumpSelector(selectors.DefaultSelector):
    """Where nobody can go on, its time is that of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if timeout is not None and not ready:
            self.now_s += timeout
        return ready


class _JumpLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _JumpSelector()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now_s


class LoopClock:
    """A `loadgen.engine.load.clock.Clock` by the time of the loop that runs; T0 is where it began."""

    def elapsed_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    async def sleep_until(self, at_ns: int) -> None:
        while (wait_ns := at_ns - self.elapsed_ns()) > 0:
            await asyncio.sleep(wait_ns / 1e9)

    def close(self) -> None: ...


def in_no_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test in such a loop. Not for threads, processes or sockets: they take time of another kind."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        with asyncio.Runner(loop_factory=_JumpLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
