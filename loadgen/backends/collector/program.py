"""Runs the collector as a process of its own, until it receives a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from loadgen.backends.collector.server import Collector, CollectorConfig, serve
from loadgen.backends.collector.trace_ring import Counts

__all__ = ["run"]


def run(config: CollectorConfig, on_ready: Callable[[Collector], None]) -> Counts:
    """Run a collector until SIGINT or SIGTERM, and return its counts.

    on_ready: is called once the port is open.

    Raises:
        PortBusy: the port is in use.
    """
    return asyncio.run(_serve(config, on_ready))


async def _serve(config: CollectorConfig, on_ready: Callable[[Collector], None]) -> Counts:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(config) as collector:
        on_ready(collector)
        await stop.wait()
        return collector.ring.counts
