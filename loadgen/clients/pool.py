"""A user slot's own connections, kept by origin, the last used first.

Last in, first out: the freshest connection is the least likely to be stale, and
those that are too many grow old and are closed by the target. There is no
limit: a user who asks for ten things at once gets ten connections.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from time import perf_counter_ns

from loadgen.clients.http1 import MAX_BODY_BYTES, Connection
from loadgen.clients.network import Network
from loadgen.clients.outcomes import TIMEOUT, TLS
from loadgen.clients.timeouts import NEVER_NS, wheel_of
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = ["ConnectionPool", "Origin", "origin_of"]


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

    opened: connections made. stale_retries: requests sent again because the target had closed the
    connection that was kept.
    """

    __slots__ = ("_limit_bytes", "_network", "_open", "_ssl", "idle", "opened", "stale_retries")

    def __init__(
        self, network: Network, ssl: ssl.SSLContext | None = None, *, limit_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._network, self._ssl, self._limit_bytes = network, ssl, limit_bytes
        self._open: set[Connection] = set()
        self.idle: dict[Origin, list[Connection]] = {}
        """Stacks; the client pops from them directly."""
        self.opened = 0
        self.stale_retries = 0

    def __len__(self) -> int:
        """Connections that are open, idle or not."""
        return len(self._open)

    async def open(self, origin: Origin, connect_ns: int, deadline_ns: int = NEVER_NS) -> Connection:
        """A new connection. May take `connect_ns`, and not longer than to `deadline_ns` (perf_counter_ns).

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        if origin.is_tls and self._ssl is None:
            raise RequestFailed(TLS, f"{origin.where}: no TLS context was given")
        loop = asyncio.get_running_loop()
        wheel = wheel_of(loop)
        stack = self.idle.setdefault(origin, [])
        begun_ns = perf_counter_ns()
        left_ns = min(connect_ns, deadline_ns - begun_ns)
        try:
            async with asyncio.timeout(None if left_ns >= NEVER_NS // 2 else left_ns / NS_PER_S):
                _, connection = await self._network.connect(
                    origin.host,
                    origin.port,
                    self._ssl if origin.is_tls else None,
                    origin.host,
                    lambda: Connection(loop, wheel, stack, self._forget, origin.where, self._limit_bytes),
                )
        except TimeoutError as error:
            raise RequestFailed(TIMEOUT, f"no connection to {origin.where} in {left_ns / NS_PER_S:.3g} s") from error
        self.opened += 1
        if not connection.is_closed:  # else the first request on it says so
            self._open.add(connection)
        return connection

    def close_idle(self) -> None:
        """Close what is kept; the next request opens a new connection."""
        for stack in self.idle.values():
            while stack:
                stack.pop().abort()

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
