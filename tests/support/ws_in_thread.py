"""The server of `ws_servers.py` on a loop of its own, for tests that run programs against it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.ws_servers import WsServer, ws_server

__all__ = ["ws_in_thread"]


@contextmanager
def ws_in_thread(**options: Any) -> Iterator[WsServer]:
    ready, over = threading.Event(), threading.Event()
    found: list[WsServer] = []

    async def serve() -> None:
        async with ws_server(**options) as server:
            found.append(server)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        over.set()
        thread.join(10)
