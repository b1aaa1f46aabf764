"""Servers in a thread of the test's process, for tests that wait for a whole run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from socketserver import TCPServer
from typing import TypeVar, cast

__all__ = ["in_thread", "serving"]

T = TypeVar("T")
_START_S = 60
"""Generous: the machine may be busy with other tests."""


@contextmanager
def in_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Run an asynchronous server on a loop of its own until the block ends, and yield what the server yields."""
    loop = asyncio.new_event_loop()
    ready: Future[T] = Future()
    over = asyncio.Event()

    async def serve() -> None:
        async with server as found:
            ready.set_result(found)
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        yield ready.result(_START_S)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@contextmanager
def serving(server: TCPServer) -> Iterator[str]:
    """Serve with a server of the standard library until the block ends, and yield its URL for HTTP. Then close it."""
    host, port = cast("tuple[str, int]", server.server_address[:2])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
