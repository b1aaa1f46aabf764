"""`Wake`: a wait of one task that ends without delay, because the caller of `wake` runs the task's next step itself.

A future calls its task back at the loop's next turn. For a start that is due, such a turn costs a poll of the sockets
and two callbacks. On a core that was asleep, all of this runs with cold caches. With futures, an arrival had two such
turns between the timer and its first request. `Wake` calls the task directly instead.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task  # documented for authors of tasks: "Extending asyncio"
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

__all__ = ["Wake"]


class Wake:
    """A wait of one task at a time, for any number of waits. Create it for a loop, and await it in a task of that loop.

    A `Wake` has the methods that a task calls on a future, so the waiting task can be cancelled as usual.
    """

    __slots__ = ("_asyncio_future_blocking", "_call", "_context", "_is_cancelled", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._call: Callable[[Any], object] | None = None
        """Runs the next step of the waiting task; None if no task waits."""
        self._context: Context | None = None
        self._is_cancelled = False

    def __await__(self) -> Generator[Wake, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def wake(self) -> None:
        """HOT, up to twice an iteration of an open load. Run the waiting task's next step before this call returns.

        Without a waiting task it does nothing. Call it in a callback of the loop or in a step of another task.
        """
        call, context = self._call, self._context
        if call is None or context is None:
            return
        self._call = None
        loop = self._loop
        task = current_task(loop)
        if task is None:
            context.run(call, self)
            return
        _leave_task(loop, task)
        try:
            context.run(call, self)
        finally:
            _enter_task(loop, task)

    def wake_soon(self) -> None:
        """Run the next step of the waiting task at the loop's next turn, as a future does.

        Without a waiting task it does nothing.
        """
        call, self._call = self._call, None
        if call is not None:
            self._loop.call_soon(call, self, context=self._context)

    # -- called by a task on the future for which it waits -------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, call: Callable[[Any], object], *, context: Context) -> None:
        self._call, self._context = call, context

    def cancel(self, msg: object = None) -> bool:
        """Let the waiting task continue with a CancelledError at the loop's next turn, as a future does."""
        call, self._call = self._call, None
        if call is None:
            return False
        self._is_cancelled = True
        self._loop.call_soon(call, self, context=self._context)
        return True

    def result(self) -> None:
        if self._is_cancelled:
            self._is_cancelled = False
            raise asyncio.CancelledError
