"""Pools that allow HTTP/3: one QUIC connection carries all concurrent requests of a user.

With `only`, all requests use HTTP/3. Otherwise a user's first request goes over TCP, as HTTP/2 or HTTP/1.1, and if the
answer's Alt-Svc offers HTTP/3, later requests use that (`http3/alternatives.py`). The user's open connections to the
target then take no more requests. If no HTTP/3 connection can be opened, the request goes over TCP.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from time import monotonic

from loadgen.clients.http3.alternatives import Alternatives
from loadgen.clients.http3.certificates import Trust, own_certificate
from loadgen.clients.http3.connection import Http3Connection
from loadgen.clients.http3.open_connection import open_connection
from loadgen.clients.http3.quic_session import QuicSession, QuicTls, Tickets
from loadgen.clients.http3.tally import Tally
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import Network
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.http2_pool import Http2Pool, Http2SharedPool
from loadgen.clients.pool.pool import ConnectionPool, Origin
from loadgen.clients.protocol.connection_interface import Connection
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.outcomes import PROTOCOL
from loadgen.clients.protocol.response_heads import NO_ANSWER, Head
from loadgen.clients.protocol.timeouts import TimeoutWheel
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed

__all__ = ["TRY_S", "Http3Pool", "Http3SharedPool", "Http3Worker", "http3_worker"]

TRY_S = 2.0
"""How long a handshake may take if the target is also there over TCP. Networks that drop UDP send no refusal."""
_SILENT_S = 0.25
"""An offer is not tried again if a handshake was cancelled after this time, for example by a connect time-out."""


@dataclass(slots=True)
class Http3Worker:
    """The settings that all pools of a worker share. only: `Http(http3="only")`."""

    tls: QuicTls
    only: bool


class _Http3(ConnectionPool):
    """The part of a pool that opens HTTP/3 connections."""

    speaks_http2 = False

    def _start(self, worker: Http3Worker) -> None:
        self._worker = worker
        self.tally = Tally()
        self.learns_alternatives = not worker.only
        self._alternatives = Alternatives(only=worker.only)
        self._tickets = Tickets() if worker.tls.has_early_data else None
        self._last_head = NO_ANSWER.head
        self._last_origin: Origin | None = None

    def report_to(self, recorder: Recorder) -> None:
        self.tally = Tally.of(recorder)

    def learn(self, origin: Origin, head: Head) -> None:
        # Most answers have the same head as the one before. Heads are shared by origins.
        if (head is self._last_head and origin is self._last_origin) or self._alternatives.only:
            return
        self._last_head, self._last_origin = head, origin
        value = head.get(b"alt-svc")
        if value is None or not origin.is_tls:
            return
        if self._alternatives.learn((origin.host, origin.port), value.decode("latin-1")):
            for connection in tuple(self._open):
                if connection.where == origin.where and not isinstance(connection, Http3Connection):
                    connection.retire()
            self._forget_http1(origin)

    def _forget_http1(self, origin: Origin) -> None:
        """Open one connection for all concurrent requests to this origin, from now on."""

    async def _dial(
        self,
        origin: Origin,
        loop: asyncio.AbstractEventLoop,
        wheel: TimeoutWheel,
        stack: list[Connection],
        opening: Opening,
    ) -> Connection:
        if self._worker.only and not origin.is_tls:
            raise RequestFailed(PROTOCOL, f'{origin.where}: http3="only" needs https://; write http3=True for http://')
        place = self._alternatives.place_of((origin.host, origin.port)) if origin.is_tls else None
        if place is None:
            return await super()._dial(origin, loop, wheel, stack, opening)
        worker = self._worker

        def new_connection(address: tuple[str, int]) -> Http3Connection:
            where, lost, tally = origin.where, self._forget, self.tally
            quic = QuicSession(worker.tls, origin.host, self._tickets, where, tally)
            return Http3Connection(loop, wheel, stack, lost, where, address, quic, tally, self.limit_bytes)

        opened = open_connection(self._network, *place, new_connection, opening)
        if worker.only:
            return await opened
        begun_s = monotonic()
        try:
            async with asyncio.timeout(TRY_S):
                return await opened
        except asyncio.CancelledError:
            # Without this, each request with a connect time-out below TRY_S would try the same offer, and fail.
            if monotonic() - begun_s >= _SILENT_S:
                self._alternatives.failed(place)
            raise
        except (TimeoutError, RequestFailed):
            self._alternatives.failed(place)
            self.tally.fallbacks.add(1, 1)
            return await super()._dial(origin, loop, wheel, stack, opening)


class Http3Pool(_Http3, Http2Pool):
    """The HTTP/3 pool of one user slot."""

    def __init__(
        self,
        network: Network,
        ssl: ssl.SSLContext | None,
        worker: Http3Worker,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
        has_stamps: bool = False,
    ) -> None:
        super().__init__(network, ssl, limit_bytes=limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
        self._start(worker)

    def _forget_http1(self, origin: Origin) -> None:
        self._is_http1.discard(origin)


class Http3SharedPool(_Http3, Http2SharedPool):
    """A `SharedPool` with HTTP/3: at most `limit` connections a worker."""

    def __init__(
        self,
        limit: int,
        network: Network,
        ssl: ssl.SSLContext | None,
        worker: Http3Worker,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        has_phases: bool = False,
        has_stamps: bool = False,
    ) -> None:
        super().__init__(limit, network, ssl, limit_bytes=limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
        self._start(worker)


def http3_worker(http: Http, context: ssl.SSLContext) -> Http3Worker:
    """Return what the pools of a worker share. context: the TLS context of the plan."""
    tls = QuicTls(Trust(context), own_certificate(http), http.sni, http.early_data)
    return Http3Worker(tls, http.http3 == "only")
