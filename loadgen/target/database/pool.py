"""A pool of connections of the shop, which counts what a pool hides: who waited for a connection, and how long.

The shop has its own pool, because its counts are the truth that tests compare with. Connections are taken in the order
of the requests. A broken connection is opened again by the next request that takes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import perf_counter_ns
from typing import Any, Final

from psycopg import AsyncConnection

from loadgen.target.database.waits import Waits

__all__ = ["Connect", "Pool", "PoolFull"]

Connect = Callable[[], Coroutine[Any, Any, AsyncConnection[Any]]]
_MOST_WAITING: Final = 10_000


class PoolFull(Exception):
    """Too many requests already wait for a connection."""


class Pool:
    """`size` connections. waits: how long each request waited for a connection, 0 if one was free."""

    def __init__(self, size: int, connect: Connect) -> None:
        self.size = size
        self._connect = connect
        self._free: deque[AsyncConnection[Any] | None] = deque([None] * size)
        """The most recently used one is at the right. None: a connection that is not open yet."""
        self._queue: deque[asyncio.Future[AsyncConnection[Any] | None]] = deque()
        self.waits = Waits()

    @property
    def in_use(self) -> int:
        return self.size - len(self._free)

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a connection now."""
        return len(self._queue)

    async def open(self) -> None:
        """Open all connections, so that no request has to wait for the server's start of a process.

        Raises:
            psycopg.Error: the server refuses one of them, or cannot be reached.
        """
        for _ in range(self.size):
            self._free.append(await self._connect())
            self._free.popleft()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Yield a connection once one is free, and take it back afterwards.

        Raises:
            PoolFull: 10,000 requests wait already.
            psycopg.Error: the connection has to be opened again, and that fails.
        """
        taken = await self._take()
        try:
            if taken is None or taken.closed:
                taken = None
                taken = await self._connect()
            yield taken
        finally:
            self._give_back(None if taken is None or taken.closed else taken)

    async def close(self) -> None:
        """Close the free connections. Call it when no request uses the pool any more."""
        while self._free:
            connection = self._free.pop()
            if connection is not None:
                await connection.close()

    async def _take(self) -> AsyncConnection[Any] | None:
        if self._free:
            self.waits.add(0)
            return self._free.pop()
        if len(self._queue) >= _MOST_WAITING:
            raise PoolFull
        asked_ns = perf_counter_ns()
        place: asyncio.Future[AsyncConnection[Any] | None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            taken = await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back(place.result())
            raise
        self.waits.add(perf_counter_ns() - asked_ns)
        return taken

    def _give_back(self, connection: AsyncConnection[Any] | None) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(connection)
                return
        self._free.append(connection)
