"""Runs the demo shop as a process of its own, until it receives a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable

from loadgen.target.config import TargetConfig
from loadgen.target.server import Target, serve

__all__ = ["run"]


def run(config: TargetConfig, on_ready: Callable[[Target], None], *, exit_with_stdin: bool = False) -> None:
    """Run the demo shop until SIGINT or SIGTERM.

    Args:
        on_ready: is called once the port is open.
        exit_with_stdin: also stop when standard input ends, so that the shop cannot outlive the process at the
            other end of the pipe.
    Raises:
        PortBusy, UsageError: before `on_ready` is called.
    """
    try:
        import uvloop
    except ImportError:  # not available on every platform; asyncio's own loop is slower, but works
        asyncio.run(_serve(config, on_ready, exit_with_stdin))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, on_ready, exit_with_stdin))


async def _serve(config: TargetConfig, on_ready: Callable[[Target], None], exit_with_stdin: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serve(config) as target:
        if exit_with_stdin:
            await loop.connect_read_pipe(lambda: _UntilEof(stop), sys.stdin)
        on_ready(target)
        with contextlib.suppress(asyncio.CancelledError):
            await stop.wait()


class _UntilEof(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop.set()
