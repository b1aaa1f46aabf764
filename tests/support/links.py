"""Peers for tests of `user.tcp` and `user.udp`, and a user whose rows are kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.units import NS_PER_S

__all__ = ["Peer", "Rows", "phases_in", "tcp_peer", "udp_peer", "user_for"]

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Rows(Recorder):
    """A recorder that keeps (name, outcome) and the times of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str]] = []
        self.times: list[tuple[int, int, int]] = []
        """(asked, sent, done), ns."""

    def request(
        self, series: RequestSeries, asked_ns: int, sent_ns: int, done_ns: int, outcome: str, size_bytes: int
    ) -> bool:
        self.rows.append((series.key.request or "", outcome))
        self.times.append((asked_ns, sent_ns, done_ns))
        return super().request(series, asked_ns, sent_ns, done_ns, outcome, size_bytes)

    def counted(self) -> dict[str, int]:
        """Custom metric -> total."""
        return {one.name: int(one.total) for source in self.customs if (one := source.take()) is not None}


def phases_in(recorder: Recorder) -> set[tuple[str | None, str, str]]:
    """Return (row, metric, outcome) of all phases that were recorded."""
    return {
        (key.request, key.metric, key.outcome)
        for key in recorder.flip(0, 1).new_series
        if isinstance(key, SeriesKey) and key.metric not in ("response", "service")
    }


@asynccontextmanager
async def tcp_peer(answer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Yield HOST:PORT of a server that runs `answer` for each connection."""
    running: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in running:
            writer.transport.abort()


@asynccontextmanager
async def udp_peer(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[str]:
    """Yield HOST:PORT of a UDP server, which sends the datagrams that `answer` returns for each one it gets."""

    class Server(asyncio.DatagramProtocol):
        transport: Any

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            for one in answer(data):
                self.transport.sendto(one, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")[:2]
    try:
        yield f"{host}:{port}"
    finally:
        transport.close()


@asynccontextmanager
async def user_for(
    targets: Mapping[str, str], recorder: Recorder, *, timeout_s: float = 5.0, **options: Any
) -> AsyncIterator[User]:
    """Yield a user of a plan with these targets. options: of `UserFactory`; `ways` replaces fields of `Ways`."""
    limits = Timeouts(connect_ns=round(timeout_s * NS_PER_S), total_ns=round(timeout_s * NS_PER_S))
    ways = Ways(targets, timeouts=limits, **options.pop("ways", {}))
    network = options.pop("network", None) or TcpNetwork()
    user = UserFactory(ways, network, None, seed=1, **options).user(recorder)
    try:
        yield user
    finally:
        await user._close_slot_clients()
        await user.http.close()
