"""Runs the AI inference server as a process of its own, until it receives a signal."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

from loadgen.target.llm.config import LlmConfig
from loadgen.target.llm.server import LlmServer

__all__ = ["run"]


def run(config: LlmConfig, on_ready: Callable[[LlmServer], None], *, exit_with_stdin: bool = False) -> LlmServer:
    """Run the server until SIGINT or SIGTERM, and return it with its counts.

    Args:
        on_ready: is called once the port is open.
        exit_with_stdin: also stop when standard input ends, so that the server cannot outlive the process at the
            other end of the pipe.
    Raises:
        PortBusy: before `on_ready` is called.
    """
    if config.core is not None:
        os.sched_setaffinity(0, {config.core})
    server = LlmServer(config)
    if exit_with_stdin:
        server.loop.stop_with_stdin()
    server.loop.handle_signals()
    # A collection takes up to 10 ms and would delay sends, so the loop collects when no stream is active.
    gc.collect()
    gc.freeze()
    gc.disable()
    on_ready(server)
    server.run()
    return server
