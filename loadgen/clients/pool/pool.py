"""Connections: by whom they are kept, and where the next one comes from.

`ConnectionPool` is one user slot's own: kept by origin, the last used first. Last in,
first out: the freshest connection is the least likely to be stale, and those that are
too many grow old and are closed by the target. It has no limit: a user who asks for ten
things at once gets ten connections.

`SharedPool` is a whole worker's, as a service's client library has one: at most n
connections, over all origins, and whoever asks when all are taken waits in order of
asking. That wait is part of the request's response time (blocked), and of no service time.
It costs 1 µs a request more than a pool of one's own, measured as in `tagging.py`.

Which of them a plan uses is its `Connections`, and stands in the report: it changes what is measured.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import perf_counter_ns
from typing import Any, Final, Literal

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import Network
from loadgen.clients.pool.connection_class import connection_kind
from loadgen.clients.protocol import http1
from loadgen.clients.protocol.connection import Connection
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.outcomes import TIMEOUT, TLS
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel, wheel_of
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = [
    "ConnectionPool",
    "Connections",
    "NoConnectionInTime",
    "NoPlaceInTime",
    "Origin",
    "SharedPool",
    "origin_of",
]

MAX_SHARED: Final = 60_000
"""More connections to one address than a machine has ports for."""
_SHARED = re.compile(r"shared:(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Connections:
    """A plan's policy. limit: of `shared`, the most connections of one worker."""

    policy: Literal["kept", "fresh", "shared"] = "kept"
    """kept: by the user's slot, also from one person to the next. fresh: new ones for each iteration."""
    limit: int = 0

    @classmethod
    def parse(cls, text: str) -> Connections:
        """ "kept", "fresh" or "shared:50".

        Raises:
            ValueError: none of these.
        """
        if text == "kept":
            return cls("kept")
        if text == "fresh":
            return cls("fresh")
        found = _SHARED.fullmatch(text)
        if found is None:
            raise ValueError(f'connections are "kept", "fresh" or "shared:50", not {text!r}')
        limit = int(found[1])
        if not 1 <= limit <= MAX_SHARED:
            raise ValueError(f"a worker shares 1 to {MAX_SHARED:,} connections, not {limit:,}")
        return cls("shared", limit)

    def __str__(self) -> str:
        return f"shared:{self.limit}" if self.policy == "shared" else self.policy


class NoConnectionInTime(RequestFailed):
    """`timeout`: there was no connection at `at_ns` (perf_counter_ns), when there should have been."""

    def __init__(self, detail: str, at_ns: int) -> None:
        super().__init__(TIMEOUT, detail)
        self.at_ns = at_ns


class NoPlaceInTime(NoConnectionInTime):
    """All shared connections were busy."""


class Origin:
    """(scheme, host, port). Compared by identity, which is quicker: `origin_of` makes one of each."""

    __slots__ = ("host", "is_tls", "port", "scheme", "where")

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self.scheme, self.host, self.port = scheme, host, port
        self.is_tls = scheme == "https"
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __repr__(self) -> str:
        return f"<Origin {self.scheme}://{self.where}>"


@cache
def origin_of(scheme: str, host: str, port: int) -> Origin:
    """The one Origin of this scheme, host and port."""
    return Origin(scheme, host, port)


class ConnectionPool:
    """Connections of one user slot. Not shared between loops.

    limit_bytes: of a body. has_phases: its connections note when requests were written (phased.py).
    opened: connections made. stale_retries: requests sent again because the target had closed the
    connection that was kept.
    """

    __slots__ = (
        "_http1",
        "_network",
        "_open",
        "_ssl",
        "has_phases",
        "idle",
        "limit_bytes",
        "opened",
        "stale_retries",
    )

    def __init__(
        self,
        network: Network,
        ssl: ssl.SSLContext | None = None,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
    ) -> None:
        self._network, self._ssl = network, ssl
        self.limit_bytes, self.has_phases = limit_bytes, has_phases
        self._http1: type[http1.Connection] = connection_kind(limit_bytes, has_phases=has_phases)
        self._open: set[Connection] = set()
        self.idle: dict[Origin, list[Connection]] = {}
        """Stacks; the client pops from them directly. Always empty where others share the pool."""
        self.opened = 0
        self.stale_retries = 0

    def __len__(self) -> int:
        """Connections that are open, idle or not."""
        return len(self._open)

    async def open(
        self,
        origin: Origin,
        connect_ns: int,
        deadline_ns: int = NEVER_NS,
        opening: Opening | None = None,
        *,
        place_ns: int | None = None,
    ) -> Connection:
        """A new connection. May take `connect_ns`, and not longer than to `deadline_ns` (perf_counter_ns).

        opening: takes down what it took, also where it fails. place_ns: until when to wait for a place, where there are
        not as many as are wanted; `deadline_ns` unless given.

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        stack = self.idle.setdefault(origin, [])
        return await self._connect(origin, stack, connect_ns, deadline_ns, opening or Opening())

    async def _connect(
        self, origin: Origin, stack: list[Connection], connect_ns: int, deadline_ns: int, opening: Opening
    ) -> Connection:
        """Connect; the connection will put itself on `stack` whenever it is idle."""
        if origin.is_tls and self._ssl is None:
            raise RequestFailed(TLS, f"{origin.where}: no TLS context was given")
        loop = asyncio.get_running_loop()
        wheel = wheel_of(loop)
        begun_ns = perf_counter_ns()
        left_ns = min(connect_ns, deadline_ns - begun_ns)
        try:
            async with within(left_ns):
                _, protocol = await self._network.connect(
                    origin.host,
                    origin.port,
                    self._ssl if origin.is_tls else None,
                    origin.host,
                    self._protocol(origin, loop, wheel, stack),
                    opening,
                )
        except TimeoutError as error:
            raise too_late(origin, left_ns, begun_ns) from error
        except RequestFailed as failure:
            if failure.outcome != TIMEOUT:
                raise
            raise NoConnectionInTime(failure.detail, min(perf_counter_ns(), begun_ns + left_ns)) from failure
        self.opened += 1
        connection = self._connection(protocol)
        if not connection.is_closed:  # else the first request on it says so
            self._open.add(connection)
        return connection

    def _protocol(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, wheel: TimeoutWheel, stack: list[Connection]
    ) -> Callable[[], Any]:
        """What makes the protocol of a new connection. (HTTP/2: `http2_pool.py`.)"""
        return lambda: self._http1(loop, wheel, stack, self._forget, origin.where, self.limit_bytes)

    def _connection(self, protocol: Any) -> Connection:
        """What that protocol is, now that it is connected."""
        connection: Connection = protocol
        return connection

    def close_idle(self) -> None:
        """Close what is kept, or let it end what is under way on it; the next request opens a new connection."""
        for stack in self.idle.values():
            while stack:
                stack.pop().retire()

    def leave(self) -> None:
        """The user whose pool this is is gone."""
        self.close()

    def close(self) -> None:
        """Close all, even those with a request under way."""
        for connection in tuple(self._open):
            connection.abort()
        self.idle.clear()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in connection.stack:
            connection.stack.remove(connection)

    def __repr__(self) -> str:
        idle = sum(map(len, self.idle.values()))
        return f"<ConnectionPool {len(self)} open, {idle} idle, {self.stale_retries} stale retries>"


class SharedPool(ConnectionPool):
    """At most `limit` connections for all users of a worker; whoever comes when all are taken waits, first come first.

    A place is taken by a connection that is open, one that is being opened, or one that was promised to a waiter.
    It is freed in two ways only, and both are the connection's doing: it puts itself on its shelf (it is idle),
    or it says that it is closed. So no way out of a request, by failure or cancellation, can lose one.
    When nobody waits, an idle connection to another origin is closed for the sake of one that is wanted.

    waits: how many requests had to wait.
    """

    __slots__ = ("_coming", "_held_back", "_shelves", "_waiting", "limit", "waits")

    def __init__(
        self,
        limit: int,
        network: Network,
        ssl: ssl.SSLContext | None = None,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
    ) -> None:
        super().__init__(network, ssl, limit_bytes=limit_bytes, has_phases=has_phases)
        self.limit = limit
        self.waits = 0
        self._shelves: dict[Origin, _Shelf] = {}
        self._held_back: set[Connection] = set()
        """With room (HTTP/2), but somebody waits for a connection to another origin."""
        self._coming = 0
        """Connections that are being opened, and permissions to open one that were given to a waiter."""
        self._waiting: deque[tuple[Origin, asyncio.Future[Connection | None]]] = deque()
        """In order of asking. None is the permission to open one. While anybody waits, no place is free or idle."""

    async def open(
        self,
        origin: Origin,
        connect_ns: int,
        deadline_ns: int = NEVER_NS,
        opening: Opening | None = None,
        *,
        place_ns: int | None = None,
    ) -> Connection:
        """A connection that was kept, or a new one; waits for it up to `deadline_ns`, and connects in `connect_ns`.

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        shelf = self._shelves.get(origin)
        if shelf is None:
            shelf = self._shelves[origin] = _Shelf(self, origin)
        if opening is None:
            opening = Opening()
        connection = await self._take(shelf, deadline_ns if place_ns is None else place_ns, opening)
        if connection is not None:
            return connection
        try:
            connection = await self._connect(origin, shelf, connect_ns, deadline_ns, opening)
        finally:
            self._coming -= 1
            if connection is None or connection.is_closed:
                self._let_in()
        return connection

    async def _take(self, shelf: _Shelf, deadline_ns: int, opening: Opening) -> Connection | None:
        """A connection that was kept; None, counted as coming, where one may be opened."""
        is_first = False
        while True:
            if shelf:
                return shelf.pop()
            if len(self._open) + self._coming < self.limit or self._close_other():
                self._coming += 1
                return None
            opening.begin("blocked")
            connection = await self._wait(shelf, deadline_ns, is_first)
            opening.end()
            if connection is None or not connection.is_closed:
                return connection
            is_first = True  # it was closed since it was given, and its place was given to the next: be that one

    async def _wait(self, shelf: _Shelf, deadline_ns: int, is_first: bool) -> Connection | None:
        self.waits += 1
        left_ns = deadline_ns - perf_counter_ns()
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        turn = (shelf.origin, future)
        if is_first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            async with within(left_ns):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled():  # it was given a place that it has no use for
                self._give_back(shelf, future.result())
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                detail = f"all {self.limit} shared connections were busy for {left_ns / NS_PER_S:.3g} s"
                raise NoPlaceInTime(detail, deadline_ns) from error
            raise

    def _give_back(self, shelf: _Shelf, connection: Connection | None) -> None:
        if connection is None:
            self._coming -= 1
            self._let_in()
        elif not connection.is_closed:
            shelf.append(connection)

    def _returned(self, shelf: _Shelf, connection: Connection) -> bool:
        """A connection is idle. True when a waiter has it now, or it was closed for one."""
        turn = self._next()
        if turn is None:
            return False
        origin, future = turn
        if origin is shelf.origin:
            future.set_result(connection)
            return True
        self._waiting.appendleft(turn)
        if connection.is_free:
            connection.abort()  # which lets the waiter in
        else:  # it has others' requests, and takes no more until they have ended, or the waiter would starve
            self._held_back.add(connection)
        return True

    def _let_in(self) -> None:
        """A place is free: the first who waits may open a connection."""
        if len(self._open) + self._coming < self.limit and (turn := self._next()) is not None:
            self._coming += 1
            turn[1].set_result(None)

    def _next(self) -> tuple[Origin, asyncio.Future[Connection | None]] | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn[1].done():
                return turn
        return None

    def _close_other(self) -> bool:
        """Close the idle connection that was idle longest of any origin that has one; there is none for who asks."""
        for shelf in self._shelves.values():
            for connection in shelf:
                if connection.is_free:
                    connection.abort()  # which takes it from its shelf
                    return True
        return False

    def _forget(self, connection: Connection) -> None:
        super()._forget(connection)
        self._held_back.discard(connection)
        self._let_in()

    def close_idle(self) -> None:
        for shelf in self._shelves.values():
            while shelf:
                shelf.pop().retire()

    def leave(self) -> None:
        """One of its users is gone; the connections are everybody's."""

    def close(self) -> None:
        """Close all, and cancel who waits."""
        while (turn := self._next()) is not None:
            turn[1].cancel()
        super().close()

    def __repr__(self) -> str:
        idle = sum(map(len, self._shelves.values()))
        busy = f"{len(self)} of {self.limit} open, {idle} idle, {len(self._waiting)} waiting"
        return f"<SharedPool {busy}, {self.stale_retries} stale retries>"


class _Shelf(list[Connection]):
    """The idle connections of one origin: what is put here goes to who waits, if anybody does."""

    __slots__ = ("_pool", "origin")

    def __init__(self, pool: SharedPool, origin: Origin) -> None:
        super().__init__()
        self._pool, self.origin = pool, origin

    def append(self, connection: Connection) -> None:
        if not self._pool._returned(self, connection):
            super().append(connection)

    def freed(self, connection: Connection) -> None:
        """It had requests under way and has none. Neither here nor held back, it was just given to a waiter."""
        if connection in self:
            self.remove(connection)
        elif connection in self._pool._held_back:
            self._pool._held_back.remove(connection)
        else:
            return
        self.append(connection)


def within(left_ns: int) -> asyncio.Timeout:
    return asyncio.timeout(None if left_ns >= NEVER_NS // 2 else left_ns / NS_PER_S)


def too_late(origin: Origin, left_ns: int, begun_ns: int) -> NoConnectionInTime:
    return NoConnectionInTime(f"no connection to {origin.where} in {left_ns / NS_PER_S:.3g} s", begun_ns + left_ns)
