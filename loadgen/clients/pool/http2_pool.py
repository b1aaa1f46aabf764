"""Pools that allow HTTP/2: one connection carries all concurrent requests of a user.

On https:// the target chooses the protocol in the TLS handshake (ALPN). With `prior`, the connection speaks HTTP/2
from its first byte, on http:// as well.

As in browsers, a request that comes while the first connection is being opened waits for it: an HTTP/2 connection has
room for all of them. That wait is part of the response time, as connecting itself would be. Once a target has chosen
HTTP/1.1, requests no longer wait for each other's connections. When all connections to a target are full (the target
sets how many streams it allows), one more is opened. A failed handshake is the failure of all requests that waited.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import Network
from loadgen.clients.pool.pool import ConnectionPool, Origin, SharedPool, too_late, within
from loadgen.clients.protocol import http1
from loadgen.clients.protocol.connection_interface import Connection, Lost
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.http2 import Http2Connection
from loadgen.clients.protocol.outcomes import TIMEOUT
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed

__all__ = ["Http2Pool", "Http2SharedPool"]


class _Undecided(asyncio.Protocol):
    """The protocol until TLS has chosen HTTP/1.1 or HTTP/2. The loop calls it once, after the handshake."""

    chosen: Connection

    def __init__(self, http1_of: Callable[[], http1.Connection], http2_of: Callable[[], Http2Connection]) -> None:
        self._http1_of, self._http2_of = http1_of, http2_of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        is_http2 = tls is not None and tls.selected_alpn_protocol() == "h2"
        protocol = self._http2_of() if is_http2 else self._http1_of()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self.chosen = protocol


def _factory(
    origin: Origin,
    loop: asyncio.AbstractEventLoop,
    wheel: TimeoutWheel,
    stack: list[Connection],
    lost: Lost,
    limit_bytes: int,
    prior: bool,
    http1_kind: type[http1.Connection],
) -> Callable[[], Any]:
    def http1_of() -> http1.Connection:
        return http1_kind(loop, wheel, stack, lost, origin.where, limit_bytes)

    def http2_of() -> Http2Connection:
        return Http2Connection(loop, wheel, stack, lost, origin.where, origin.scheme, limit_bytes)

    if prior:
        return http2_of
    return (lambda: _Undecided(http1_of, http2_of)) if origin.is_tls else http1_of


def _chosen(protocol: Any) -> Connection:
    connection: Connection = protocol.chosen if isinstance(protocol, _Undecided) else protocol
    return connection


class Http2Pool(ConnectionPool):
    """The HTTP/2 pool of one user slot. prior: speak HTTP/2 without negotiation."""

    __slots__ = ("_coming", "_is_http1", "_prior")

    speaks_http2 = True

    def __init__(
        self,
        network: Network,
        ssl: ssl.SSLContext | None = None,
        *,
        prior: bool = False,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
        has_stamps: bool = False,
    ) -> None:
        super().__init__(network, ssl, limit_bytes=limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
        self._prior = prior
        self._is_http1: set[Origin] = set()
        """Targets that chose HTTP/1.1."""
        self._coming: dict[Origin, asyncio.Future[RequestFailed | None]] = {}
        """Connections that are being opened. Result: the failure, or None to look at the stack again."""

    async def open(
        self,
        origin: Origin,
        connect_ns: int,
        deadline_ns: int = NEVER_NS,
        opening: Opening | None = None,
        *,
        place_ns: int | None = None,
    ) -> Connection:
        """Return an HTTP/2 connection with room for another request: an open one, the one that is being opened, or a
        new one.

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        stack = self.idle.setdefault(origin, [])
        begun_ns = perf_counter_ns()
        if opening is None:
            opening = Opening()
        while not stack:
            coming = self._coming.get(origin)
            if coming is None:
                return await self._open_first(origin, stack, connect_ns, deadline_ns, opening)
            opening.begin("blocked")
            left_ns = min(connect_ns, deadline_ns - begun_ns)
            try:
                async with within(begun_ns + left_ns - perf_counter_ns()):
                    # All waiting requests share this future, so a cancelled one must not cancel it.
                    failure = await asyncio.shield(coming)
            except TimeoutError as error:
                raise too_late(origin, left_ns, begun_ns) from error
            opening.end()
            if failure is not None:
                raise RequestFailed(failure.outcome, str(failure.detail)) from failure.__cause__
        return stack.pop()

    async def _open_first(
        self, origin: Origin, stack: list[Connection], connect_ns: int, deadline_ns: int, opening: Opening
    ) -> Connection:
        if origin in self._is_http1 or not (self._prior or origin.is_tls):
            return await self._connect(origin, stack, connect_ns, deadline_ns, opening)
        coming: asyncio.Future[RequestFailed | None] = asyncio.get_running_loop().create_future()
        self._coming[origin] = coming
        failed: RequestFailed | None = None
        try:
            connection = await self._connect(origin, stack, connect_ns, deadline_ns, opening)
        except RequestFailed as failure:
            if failure.outcome != TIMEOUT:  # after a time-out the waiting requests may still have time
                failed = failure
            raise
        finally:
            del self._coming[origin]
            coming.set_result(failed)
        if isinstance(connection, http1.Connection):
            self._is_http1.add(origin)
        return connection

    def _protocol(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, wheel: TimeoutWheel, stack: list[Connection]
    ) -> Callable[[], Any]:
        return _factory(origin, loop, wheel, stack, self._forget, self.limit_bytes, self._prior, self._http1)

    def _connection(self, protocol: Any) -> Connection:
        return _chosen(protocol)


class Http2SharedPool(SharedPool):
    """A `SharedPool` with HTTP/2: at most `limit` connections a worker, each with as many requests as the target
    allows.
    """

    __slots__ = ("_prior",)

    speaks_http2 = True

    def __init__(
        self,
        limit: int,
        network: Network,
        ssl: ssl.SSLContext | None = None,
        *,
        prior: bool = False,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
        has_stamps: bool = False,
    ) -> None:
        super().__init__(limit, network, ssl, limit_bytes=limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
        self._prior = prior

    def _protocol(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, wheel: TimeoutWheel, stack: list[Connection]
    ) -> Callable[[], Any]:
        return _factory(origin, loop, wheel, stack, self._forget, self.limit_bytes, self._prior, self._http1)

    def _connection(self, protocol: Any) -> Connection:
        return _chosen(protocol)
