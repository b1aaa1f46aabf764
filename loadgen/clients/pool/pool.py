"""Connection pools: they keep idle connections and open new ones.

`ConnectionPool` belongs to one user slot. It keeps connections by origin, last in, first
out: the most recently used connection is the least likely to be stale, and surplus
connections grow old until the target closes them. This pool has no limit: a user that sends ten
requests at once gets ten connections.

`SharedPool` belongs to a whole worker, like the pool in a service's client library: at
most n connections over all origins. If all are in use, requests wait in order of arrival.
That wait is part of the response time (phase *blocked*) and not of the service time. A
shared pool costs 1 µs a request more than a slot's own, measured as in `split_by_response_header.py`.

The plan's `Connections` choose the pool. The report shows the choice, because it changes
what is measured.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import cache
from time import perf_counter_ns
from typing import Any, ClassVar, Protocol, TypeVar, cast

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import Network
from loadgen.clients.net.proxy import ProxyNetwork
from loadgen.clients.net.tls import http1_context
from loadgen.clients.pool.connection_class_for_plan import connection_kind
from loadgen.clients.protocol import http1
from loadgen.clients.protocol.connection_interface import Connection
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.outcomes import TIMEOUT, TLS
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel, wheel_of
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = [
    "ConnectionPool",
    "NoConnectionInTime",
    "NoPlaceInTime",
    "Origin",
    "OtherConnection",
    "SharedPool",
    "origin_of",
]


T = TypeVar("T", bound="OtherConnection")


class OtherConnection(Protocol):
    """A connection of another protocol than HTTP."""

    is_closed: bool

    def abort(self) -> None:
        """Close the connection at once, because its user has ended."""


class NoConnectionInTime(RequestFailed):
    """Outcome `timeout`: no connection was open at the deadline `at_ns` (perf_counter_ns)."""

    def __init__(self, detail: str, at_ns: int) -> None:
        super().__init__(TIMEOUT, detail)
        self.at_ns = at_ns


class NoPlaceInTime(NoConnectionInTime):
    """Outcome `timeout`: all shared connections were busy until the deadline."""


class Origin:
    """A (scheme, host, port). Compared by identity, which is faster; get instances from `origin_of` only."""

    __slots__ = ("host", "is_tls", "port", "scheme", "where")

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self.scheme, self.host, self.port = scheme, host, port
        self.is_tls = scheme == "https"
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __repr__(self) -> str:
        return f"<Origin {self.scheme}://{self.where}>"


@cache
def origin_of(scheme: str, host: str, port: int) -> Origin:
    """Return the Origin (scheme, host and port) for these arguments. The same arguments always return the same
    object.
    """
    return Origin(scheme, host, port)


class ConnectionPool:
    """The connections of one user slot. Not shared between event loops.

    Attributes and arguments:
        limit_bytes: the size limit of a body.
        has_phases: connections note when requests were written (phased.py).
        has_stamps: connections accept the kernel's time of a read (stamped_transport.py).
        opened: the number of connections opened so far.
        stale_retries: the number of requests sent again because the target had closed the kept connection, or had
            refused them unseen.
    """

    __slots__ = (
        "_http1",
        "_network",
        "_open",
        "_others",
        "_ssl",
        "beside",
        "has_phases",
        "idle",
        "limit_bytes",
        "opened",
        "stale_retries",
    )

    speaks_http2: ClassVar[bool] = False
    """Connections use HTTP/2, or may do so if the target chooses it."""
    learns_alternatives: bool = False
    """`learn` has to be called with each answer, because the target may offer HTTP/3 in it."""

    def __init__(
        self,
        network: Network,
        ssl: ssl.SSLContext | None = None,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
        has_stamps: bool = False,
    ) -> None:
        self._network, self._ssl = network, ssl
        self.limit_bytes, self.has_phases = limit_bytes, has_phases
        self._http1: type[http1.Connection] = connection_kind(limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
        self._open: set[Connection] = set()
        self._others: set[OtherConnection] = set()
        """Open connections of other protocols (`open_other`)."""
        self.idle: dict[Origin, list[Connection]] = {}
        """Stacks of idle connections; the client pops from them directly. Always empty in a shared pool."""
        self.beside: dict[str, ConnectionPool] = {}
        """Pools with other settings for the same user, such as for gRPC targets, by scheme. This pool closes them."""
        self.opened = 0
        self.stale_retries = 0

    def __len__(self) -> int:
        """Return the number of open connections, idle or busy."""
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
        """Open a new connection, within `connect_ns` and before `deadline_ns` (perf_counter_ns).

        opening: records the time of each phase, also on failure. place_ns: deadline for the wait for a free connection
        of a
        shared pool; by default `deadline_ns`.

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        stack = self.idle.setdefault(origin, [])
        return await self._connect(origin, stack, connect_ns, deadline_ns, opening or Opening())

    async def _connect(
        self, origin: Origin, stack: list[Connection], connect_ns: int, deadline_ns: int, opening: Opening
    ) -> Connection:
        """Open a connection and return it. From then on the connection adds itself to `stack` whenever it is idle.

        Raises:
            RequestFailed: as `open`.
        """
        if origin.is_tls and self._ssl is None:
            raise RequestFailed(TLS, f"{origin.where}: the pool has no TLS context for https://; pass ssl=")
        loop = asyncio.get_running_loop()
        wheel = wheel_of(loop)
        begun_ns = perf_counter_ns()
        left_ns = min(connect_ns, deadline_ns - begun_ns)
        try:
            async with within(left_ns):
                connection = await self._dial(origin, loop, wheel, stack, opening)
        except TimeoutError as error:
            raise too_late(origin, left_ns, begun_ns) from error
        except RequestFailed as failure:
            if failure.outcome != TIMEOUT:
                raise
            # The system gave up (ETIMEDOUT) before our own limit.
            raise NoConnectionInTime(failure.detail, min(perf_counter_ns(), begun_ns + left_ns)) from failure
        self.opened += 1
        if not connection.is_closed:  # otherwise the first request on it fails
            self._open.add(connection)
        return connection

    async def _dial(
        self,
        origin: Origin,
        loop: asyncio.AbstractEventLoop,
        wheel: TimeoutWheel,
        stack: list[Connection],
        opening: Opening,
    ) -> Connection:
        """Open a connection over TCP and return it. `http3_pool.py` overrides this method."""
        _, protocol = await self._network.connect(
            origin.host,
            origin.port,
            self._ssl if origin.is_tls else None,
            origin.host,
            self._protocol(origin, loop, wheel, stack),
            opening,
        )
        return self._connection(protocol)

    async def open_other(
        self,
        origin: Origin,
        make: Callable[[Callable[[Any], None]], T],
        connect_ns: int,
        deadline_ns: int,
        opening: Opening,
    ) -> T:
        """Open a connection for a protocol that begins with a request of HTTP/1.1 and takes the connection over, such
        as WebSocket. The connection belongs to its caller alone, and takes no place of a shared pool. The pool closes
        it with the others.

        make: called with a function to be called when the connection is lost; returns its asyncio protocol.

        Raises:
            RequestFailed: as `open`.
        """
        if origin.is_tls and self._ssl is None:
            raise RequestFailed(TLS, f"{origin.where}: the pool has no TLS context for https://; pass ssl=")
        begun_ns = perf_counter_ns()
        left_ns = min(connect_ns, deadline_ns - begun_ns)
        network = self._network.tunnels() if isinstance(self._network, ProxyNetwork) else self._network
        factory: Any = lambda: make(self._others.discard)  # noqa: E731  # a network makes connections of any class
        try:
            async with within(left_ns):
                _, protocol = await network.connect(
                    origin.host,
                    origin.port,
                    http1_context(self._ssl) if origin.is_tls and self._ssl is not None else None,
                    origin.host,
                    factory,
                    opening,
                )
        except TimeoutError as error:
            raise too_late(origin, left_ns, begun_ns) from error
        made: Any = protocol
        self.opened += 1
        if not made.is_closed:
            self._others.add(made)
        return cast("T", made)

    def _protocol(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, wheel: TimeoutWheel, stack: list[Connection]
    ) -> Callable[[], Any]:
        """Return a function that makes the asyncio protocol of a new connection. `http2_pool.py` overrides
        this method.
        """
        return lambda: self._http1(loop, wheel, stack, self._forget, origin.where, self.limit_bytes)

    def _connection(self, protocol: Any) -> Connection:
        """Return the connection that belongs to an asyncio protocol: for HTTP/1.1 the same object. `http2_pool.py`
        overrides this method.
        """
        connection: Connection = protocol
        return connection

    @staticmethod
    def drop_hung_up(stack: list[Connection]) -> None:
        """Retire the connections on top of a stack that the target has closed, down to the first that is still open."""
        while stack and stack[-1].is_hung_up():
            stack.pop().retire()

    def report_to(self, recorder: Recorder) -> None:
        """Count in the metrics of this recorder's worker. `http3_pool.py` overrides this method."""

    def learn(self, origin: Origin, head: Head) -> None:
        """Remember what an answer's head offers. `http3_pool.py` overrides this method."""

    def close_idle(self) -> None:
        """Close all idle connections. An HTTP/2 connection with requests under way accepts no more and is closed after
        them. The next request opens a new connection.
        """
        for stack in self.idle.values():
            while stack:
                stack.pop().retire()
        for pool in self.beside.values():
            pool.close_idle()

    def leave(self) -> None:
        """Close all connections, because the user of this pool has ended. A shared pool keeps its connections."""
        self.close()

    def close(self) -> None:
        """Close all connections, also those with a request under way."""
        for connection in (*self._open, *self._others):
            connection.abort()
        self.idle.clear()
        for pool in self.beside.values():
            pool.close()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in connection.stack:
            connection.stack.remove(connection)

    def __repr__(self) -> str:
        idle = sum(map(len, self.idle.values()))
        return f"<ConnectionPool {len(self)} open, {idle} idle, {self.stale_retries} stale retries>"


class SharedPool(ConnectionPool):
    """At most `limit` connections for all users of a worker. If all are busy, requests wait, first come, first served.

    A place is taken by an open connection, by a connection that is being opened, or by the permission to open one that
    a waiting request has received. Only two events free a place, and the connection causes both: it becomes
    idle, or it reports that it is closed. So a request that fails or is cancelled can never lose a place.
    If no request waits, an idle connection to another origin is closed to make room for a new one.

    waits: the number of requests that had to wait.
    """

    __slots__ = ("_coming", "_held_back", "_idle_by_origin", "_waiting", "limit", "waits")

    def __init__(
        self,
        limit: int,
        network: Network,
        ssl: ssl.SSLContext | None = None,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
        has_stamps: bool = False,
    ) -> None:
        super().__init__(network, ssl, limit_bytes=limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
        self.limit = limit
        self.waits = 0
        self._idle_by_origin: dict[Origin, _IdleConnections] = {}
        self._held_back: set[Connection] = set()
        """HTTP/2 connections with room that take no more requests, because a request to another origin waits."""
        self._coming = 0
        """The number of connections that are being opened, plus the permissions given to waiting requests."""
        self._waiting: deque[tuple[Origin, asyncio.Future[Connection | None]]] = deque()
        """Waiting requests, in order. Result None: permission to open one. While one waits, no place is free."""

    async def open(
        self,
        origin: Origin,
        connect_ns: int,
        deadline_ns: int = NEVER_NS,
        opening: Opening | None = None,
        *,
        place_ns: int | None = None,
    ) -> Connection:
        """Return an idle connection or a new one. If the pool is full, wait for a place until `place_ns`, then connect
        within `connect_ns`.

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        idle = self._idle_by_origin.get(origin)
        if idle is None:
            idle = self._idle_by_origin[origin] = _IdleConnections(self, origin)
        if opening is None:
            opening = Opening()
        connection = await self._take(idle, deadline_ns if place_ns is None else place_ns, opening)
        if connection is not None:
            return connection
        try:
            connection = await self._connect(origin, idle, connect_ns, deadline_ns, opening)
        finally:
            # Without an await since `_connect` has added the connection to `_open`, so its place is counted exactly
            # once. A connection that closed at once reported that while its place was still in `_coming`, so the next
            # request is admitted here.
            self._coming -= 1
            if connection is None or connection.is_closed:
                self._admit_next()
        return connection

    async def _take(self, idle: _IdleConnections, deadline_ns: int, opening: Opening) -> Connection | None:
        """Return an idle connection, after waiting for one if the pool is full. None means that the caller may open a
        connection, which is counted in `_coming` already.

        idle: the idle connections to the origin. deadline_ns: end of the wait, by `perf_counter_ns`.
        """
        is_first = False
        while True:
            if idle:
                return idle.pop()
            if len(self._open) + self._coming < self.limit or self._close_other():
                self._coming += 1
                return None
            opening.begin("blocked")
            connection = await self._wait(idle, deadline_ns, is_first)
            opening.end()
            if connection is None or not connection.is_closed:
                return connection
            is_first = True  # closed after we got it: its place goes to the first in the queue

    async def _wait(self, idle: _IdleConnections, deadline_ns: int, is_first: bool) -> Connection | None:
        self.waits += 1
        left_ns = deadline_ns - perf_counter_ns()
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        turn = (idle.origin, future)
        if is_first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            async with within(left_ns):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled():  # it received a place that it cannot use any more
                self._give_back(idle, future.result())
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                detail = f"all {self.limit} shared connections were busy for {left_ns / NS_PER_S:.3g} s"
                raise NoPlaceInTime(detail, deadline_ns) from error
            raise

    def _give_back(self, idle: _IdleConnections, connection: Connection | None) -> None:
        if connection is None:
            self._coming -= 1
            self._admit_next()
        elif not connection.is_closed:
            idle.append(connection)

    def _returned(self, idle: _IdleConnections, connection: Connection) -> bool:
        """Give a connection that became idle to the first waiting request. If that request is for another origin, close
        the connection, or hold it back until its other requests have ended.

        Return False if no request waits, so that the connection stays idle.
        """
        turn = self._next()
        if turn is None:
            return False
        origin, future = turn
        if origin is idle.origin:
            future.set_result(connection)
            return True
        # `_next` has removed it from the queue, but this connection is for another target, so it stays the first.
        self._waiting.appendleft(turn)
        if connection.is_free:
            connection.abort()  # _forget then admits the waiting request
        else:  # other requests are under way on it; more of them would starve the waiting request
            self._held_back.add(connection)
        return True

    def _admit_next(self) -> None:
        """If the pool has a free place, permit the first waiting request to open a connection."""
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
        """Close one idle connection to any origin to make room in the pool. Return False if no connection is idle."""
        for idle in self._idle_by_origin.values():
            for connection in idle:
                # An HTTP/2 connection that counts as idle may have requests under way.
                if connection.is_free:
                    connection.abort()  # _forget then removes it from `idle`
                    return True
        return False

    def _forget(self, connection: Connection) -> None:
        super()._forget(connection)
        self._held_back.discard(connection)
        self._admit_next()

    def close_idle(self) -> None:
        for idle in self._idle_by_origin.values():
            while idle:
                idle.pop().retire()

    def leave(self) -> None:
        """Do nothing: one user is gone, but the connections belong to all users."""

    def close(self) -> None:
        """Close all connections, and cancel all waiting requests."""
        while (turn := self._next()) is not None:
            turn[1].cancel()
        super().close()

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle_by_origin.values()))
        busy = f"{len(self)} of {self.limit} open, {idle} idle, {len(self._waiting)} waiting"
        return f"<SharedPool {busy}, {self.stale_retries} stale retries>"


class _IdleConnections(list[Connection]):
    """The idle connections of one origin. A connection that is appended goes to a waiting request first."""

    __slots__ = ("_pool", "origin")

    def __init__(self, pool: SharedPool, origin: Origin) -> None:
        super().__init__()
        self._pool, self.origin = pool, origin

    def append(self, connection: Connection) -> None:
        if not self._pool._returned(self, connection):
            super().append(connection)

    def freed(self, connection: Connection) -> None:
        """Offer a connection to waiting requests after its last request has ended. Do nothing if a waiting request has
        just received it.
        """
        if connection in self:
            self.remove(connection)
        elif connection in self._pool._held_back:
            self._pool._held_back.remove(connection)
        else:
            return
        self.append(connection)


def within(left_ns: int) -> asyncio.Timeout:
    """Return a context manager that raises TimeoutError after `left_ns`; without a limit for NEVER_NS."""
    return asyncio.timeout(None if left_ns >= NEVER_NS // 2 else left_ns / NS_PER_S)


def too_late(origin: Origin, left_ns: int, begun_ns: int) -> NoConnectionInTime:
    return NoConnectionInTime(f"no connection to {origin.where} in {left_ns / NS_PER_S:.3g} s", begun_ns + left_ns)
