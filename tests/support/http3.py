"""An HTTP/3 server on aioquic that does what a test says, and clients for it.

    async with http3_server(answer) as server, http3_client(server.url, server.ca) as client:
        ...

`answer` is called once for each request, when all of it is there (`early=True`: with its head), in a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent, StopSendingReceived, StreamReset
from aioquic.tls import SessionTicket

from loadgen.clients.http import HttpClient
from loadgen.clients.http3.connection import Http3Connection
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http3_pool import Http3Pool, http3_worker
from loadgen.clients.response.replies import Reply
from loadgen.errors import RequestFailed
from tests.support.scripted import client_of

__all__ = [
    "EARLY",
    "Asked",
    "Http3Server",
    "Served",
    "echo",
    "failure_of",
    "has_ticket",
    "hello",
    "http3_client",
    "http3_pool",
    "http3_server",
    "never",
    "only_connection",
    "pool_of",
    "until",
]


@dataclass
class Asked:
    """One request as it came."""

    stream: int
    fields: list[tuple[str, str]]
    body: bytes = b""
    is_whole: bool = False
    is_early: bool = False
    """It came before the handshake had ended."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def path(self) -> str:
        return self.header(":path") or ""


Answer = Callable[["Served", Asked], Awaitable[None]]


@dataclass
class Http3Server:
    """What the server saw."""

    url: str = ""
    port: int = 0
    ca: Path = Path()
    asked: list[Asked] = field(default_factory=list)
    connections: list[Served] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)
    """(stream, error code) of streams whose requests the client ended, or whose answers it refused."""
    endpoint: QuicServer | None = None


class Served(QuicConnectionProtocol):
    """One connection of the server."""

    def __init__(self, server: Http3Server, answer: Answer, early: bool, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._server, self._answer, self._is_early_answer = server, answer, early
        self.h3 = H3Connection(self._quic)
        self._asked: dict[int, Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_shaken = False
        self.was_early_data_accepted = False
        server.connections.append(self)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.is_shaken, self.was_early_data_accepted = True, event.early_data_accepted
        elif isinstance(event, StreamReset | StopSendingReceived):
            self._server.resets.append((event.stream_id, event.error_code))
        for found in self.h3.handle_event(event):
            if isinstance(found, HeadersReceived):
                fields = [(name.decode(), value.decode()) for name, value in found.headers]
                asked = Asked(found.stream_id, fields, is_early=not self.is_shaken)
                self._asked[found.stream_id] = asked
                self._server.asked.append(asked)
                if self._is_early_answer:
                    self._begin(asked)
            if isinstance(found, HeadersReceived | DataReceived):
                asked = self._asked[found.stream_id]
                if isinstance(found, DataReceived):
                    asked.body += found.data
                if found.stream_ended:
                    asked.is_whole = True
                    if not self._is_early_answer:
                        self._begin(asked)

    def _begin(self, asked: Asked) -> None:
        async def work() -> None:
            await self._answer(self, asked)

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what answers do ----------------------------------------------------------------------

    def headers(self, stream: int, status: int | None, *fields: tuple[str, str], end: bool = False) -> None:
        given = [(name.encode(), value.encode()) for name, value in fields]
        head = [] if status is None else [(b":status", b"%d" % status)]
        self.h3.send_headers(stream, head + given, end)
        self.transmit()

    def data(self, stream: int, data: bytes = b"", *, end: bool = False) -> None:
        self.h3.send_data(stream, data, end)
        self.transmit()

    def ok(self, stream: int, body: bytes = b"", *fields: tuple[str, str]) -> None:
        self.headers(stream, 200, ("content-length", str(len(body))), *fields, end=not body)
        if body:
            self.data(stream, body, end=True)

    def reset(self, stream: int, code: int) -> None:
        self._quic.reset_stream(stream, code)
        self.transmit()

    def stop(self, stream: int, code: int) -> None:
        self._quic.stop_stream(stream, code)
        self.transmit()

    def goaway(self, first_refused: int) -> None:
        """Send GOAWAY: streams from this number on are not processed."""
        self.control(encode_frame(7, encode_uint_var(first_refused)))

    def control(self, data: bytes) -> None:
        """Send bytes on the control stream."""
        stream = self.h3._local_control_stream_id
        assert stream is not None
        self._quic.send_stream_data(stream, data)
        self.transmit()

    def raw(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes on a stream as they are."""
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def end(self, code: int, reason: str = "", *, is_transport: bool = False) -> None:
        """End the connection with an error code."""
        self._quic.close(code, 0 if is_transport else None, reason)
        self.transmit()


@contextlib.asynccontextmanager
async def http3_server(
    answer: Answer,
    *,
    early: bool = False,
    tickets: bool = False,
    port: int = 0,
    authority: trustme.CA | None = None,
    names: tuple[str, ...] = ("127.0.0.1", "localhost"),
    **settings: Any,
) -> AsyncIterator[Http3Server]:
    """Serve on a free loopback port.

    tickets: give tickets for 0-RTT. settings: of aioquic's QuicConfiguration, such as `supported_versions`.
    """
    authority = authority or trustme.CA()
    issued = authority.issue_cert(*names)
    kept: dict[bytes, SessionTicket] = {}
    with tempfile.TemporaryDirectory(prefix="loadgen-http3-") as folder:
        server = Http3Server(ca=Path(folder) / "ca.pem")
        authority.cert_pem.write_to_path(str(server.ca))
        issued.private_key_and_cert_chain_pem.write_to_path(f"{folder}/server.pem")
        issued.private_key_pem.write_to_path(f"{folder}/key.pem")
        issued.cert_chain_pems[0].write_to_path(f"{folder}/cert.pem")
        configuration = QuicConfiguration(is_client=False, **{"alpn_protocols": ["h3"], **settings})
        configuration.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")

        def keep(ticket: SessionTicket) -> None:
            kept[ticket.ticket] = ticket

        def create(*args: Any, **given: Any) -> Served:
            return Served(server, answer, early, *args, **given)

        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(
            lambda: QuicServer(
                configuration=configuration,
                create_protocol=create,
                session_ticket_fetcher=(lambda label: kept.pop(label, None)) if tickets else None,
                session_ticket_handler=keep if tickets else None,
            ),
            local_addr=("127.0.0.1", port),
        )
        server.endpoint = endpoint
        assert endpoint._transport is not None
        server.port = endpoint._transport.get_extra_info("sockname")[1]
        server.url = f"https://127.0.0.1:{server.port}"
        try:
            yield server
        finally:
            endpoint.close()
            await asyncio.sleep(0)


def http3_pool(ca: Path | None, http: Http = Http(http3="only")) -> Http3Pool:  # noqa: B008  # frozen
    context = tls_context(ca, http)
    return Http3Pool(TcpNetwork(http), context, http3_worker(http, context))


@contextlib.asynccontextmanager
async def http3_client(url: str, ca: Path | None, http: Http = Http(http3="only")) -> AsyncIterator[HttpClient]:  # noqa: B008
    async with client_of(url, pool=http3_pool(ca, http)) as client:
        yield client


# -- helpers of tests ------------------------------------------------------------------------------

EARLY = Http(http3="only", early_data=True)


def has_ticket(client: HttpClient) -> bool:
    tickets = pool_of(client)._tickets
    return tickets is not None and bool(tickets.by_place)


async def hello(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, b"hello " + asked.path.encode())


async def echo(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, asked.body, ("x-size", str(len(asked.body))))


async def never(served: Served, asked: Asked) -> None:
    """Do not answer."""


async def failure_of(call: Awaitable[Reply]) -> RequestFailed:
    with pytest.raises(RequestFailed) as failure:
        await call
    return failure.value


def pool_of(client: HttpClient) -> Http3Pool:
    pool = client._pool
    assert isinstance(pool, Http3Pool)
    return pool


def only_connection(client: HttpClient) -> Http3Connection:
    (connection,) = pool_of(client)._open
    assert isinstance(connection, Http3Connection)
    return connection


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.002)
