"""A target that answers everything at once and notes when each request came, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

__all__ = ["Arrivals", "arrivals"]

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_MOVED = "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n"


class Arrivals:
    """moved_to: where it sends everybody; empty: nowhere."""

    def __init__(self) -> None:
        self.port = 0
        self.at_s: list[float] = []
        self.lines: set[str] = set()
        """Request lines that were seen."""
        self.moved_to = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def busiest(self, within_s: float = 1.0) -> int:
        """Most requests within any time that is so long."""
        at = sorted(self.at_s)
        return max((bisect_left(at, begin + within_s) - i for i, begin in enumerate(at)), default=0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.at_s.append(perf_counter())
                self.lines.add(head.partition(b"\r\n")[0].decode("latin-1"))
                writer.write(_MOVED.format(self.moved_to).encode() if self.moved_to else _ANSWER)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@contextmanager
def arrivals(host: str = "127.0.0.1") -> Iterator[Arrivals]:
    target, loop = Arrivals(), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(target._serve, host, 0))
    target.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield target
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
