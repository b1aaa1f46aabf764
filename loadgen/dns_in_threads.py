"""An event loop whose DNS look-ups run in daemon threads, and which checks the addresses that a name has.

The threads of asyncio's own pool are joined when the program ends, so one hanging look-up would keep it alive.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["DnsInThreads"]


class DnsInThreads(asyncio.SelectorEventLoop):
    """A loop for short jobs of a thread. Subclasses say which addresses they permit."""

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        """Raise an exception if a connection to one of the addresses of a host is not permitted."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        found: asyncio.Future[Any] = self.create_future()

        def look_up() -> None:
            try:
                result: Any = socket.getaddrinfo(host, port, **options)
            except OSError as error:
                result = error
            with suppress(RuntimeError):  # the loop is closed, so no caller waits for the result
                self.call_soon_threadsafe(answer, result)

        def answer(result: Any) -> None:
            if found.done():
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        threading.Thread(target=look_up, name="dns", daemon=True).start()
        rows = await found
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
        self.check_addresses(name, [str(row[4][0]) for row in rows])
        return rows
