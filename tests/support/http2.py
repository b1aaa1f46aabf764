"""An HTTP/2 server on the h2 library that does what a test says, and the same in memory, byte by byte.

    async with http2_server(answer) as server:
        ...  # server.url; "http://", to be spoken to with prior knowledge

`answer` is called once for each request, when all of it is there (`early=True`: with its head), in a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    PingAckReceived,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES

__all__ = ["Asked", "Http2Server", "Served", "http2_server", "prior_pool"]

Fields = Iterable[tuple[str, str]]


def prior_pool(limit_bytes: int = MAX_BODY_BYTES) -> Http2Pool:
    """Of a user who speaks HTTP/2 at once."""
    return Http2Pool(TcpNetwork(), prior=True, limit_bytes=limit_bytes)


@dataclass
class Asked:
    """One request as it came."""

    stream: int
    connection: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    reset: int | None = None
    """The code with which the client ended it."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def path(self) -> str:
        return self.header(":path") or ""


@dataclass
class Http2Server:
    """What the server saw."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: list[Served] = field(default_factory=list)
    peak: int = 0
    """Most streams at once on one connection."""
    failures: list[BaseException] = field(default_factory=list)
    """What `answer` raised; the end of the block raises the first of them."""


Answer = Callable[["Served", Asked], Awaitable[None]]


class Served(asyncio.Protocol):
    """One connection, from the server's side. What is said is written at once."""

    def __init__(
        self, server: Http2Server, answer: Answer | None, settings: dict[SettingCodes, int], early: bool, stingy: bool
    ) -> None:
        self.server, self._answer, self._settings, self._early = server, answer, settings, early
        self.is_stingy = stingy
        """Gives no window back by itself."""
        self.number = 0
        self.h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.local_settings.update({code: value for code, value in settings.items()})
        self.h2.local_settings.acknowledge()
        self.open: dict[int, Asked] = {}
        self.pings = 0
        self.acknowledged = 0
        """Settings."""
        self.is_closed = asyncio.Event()
        self.changed = asyncio.Event()
        """Set with every window update, reset and acknowledgement."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport

    # -- what a test says ---------------------------------------------------------------------

    def headers(self, stream: int, status: int | None = 200, *fields: tuple[str, str], end: bool = False) -> None:
        """status: None for trailers."""
        head = [] if status is None else [(":status", str(status))]
        self.h2.send_headers(stream, [*head, *fields], end_stream=end)
        self.flush()

    def data(self, stream: int, data: bytes = b"", *, end: bool = False) -> None:
        """At once; it has to fit into the window."""
        size = self.h2.max_outbound_frame_size
        for at in range(0, max(1, len(data)), size):
            self.h2.send_data(stream, data[at : at + size], end_stream=end and at + size >= len(data))
        self.flush()

    def ok(self, stream: int, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        self.headers(stream, status, ("content-length", str(len(body))), *fields)
        self.data(stream, body, end=True)

    async def stream(self, stream: int, body: bytes) -> None:
        """A body of any length, as the windows allow."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.changed.clear()
                await self.changed.wait()
                continue
            self.h2.send_data(stream, body[:room], end_stream=len(body) <= room)
            body = body[room:]
            self.flush()
            await asyncio.sleep(0)

    def reset(self, stream: int, code: int) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()

    def goaway(self, last_stream: int, code: int = 0, said: bytes = b"") -> None:
        """The library would take nothing after this, so it is written past it."""
        payload = last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + said
        self.raw(len(payload).to_bytes(3, "big") + b"\x07\x00\x00\x00\x00\x00" + payload)

    def settings(self, new: dict[SettingCodes | int, int]) -> None:
        self.h2.update_settings(new)
        self.flush()

    def raw(self, data: bytes) -> None:
        self.transport.write(data)

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def close(self) -> None:
        self.transport.close()

    # -- what the loop calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.server.connections.append(self)
        self.number = len(self.server.connections)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except H2Error as error:
            self.server.failures.append(error)
            self.transport.abort()
            return
        for event in events:
            match event:
                case RequestReceived(stream_id=stream, headers=headers):
                    asked = self.open[stream] = Asked(stream, self.number, [(str(n), str(v)) for n, v in headers])
                    self.server.asked.append(asked)
                    self.server.peak = max(self.server.peak, len(self.open))
                    if self._early:
                        self._begin(asked)
                case DataReceived(stream_id=stream, data=piece, flow_controlled_length=size):
                    self.open[stream].body += piece
                    if size and not self.is_stingy:
                        self.h2.acknowledge_received_data(size, stream)
                    self.changed.set()
                case StreamEnded(stream_id=stream):
                    if not self._early:
                        self._begin(self.open[stream])
                    self.changed.set()
                case StreamReset(stream_id=stream, error_code=code):
                    if stream in self.open:
                        self.open.pop(stream).reset = int(code)
                    self.changed.set()
                case WindowUpdated():
                    self.changed.set()
                case PingAckReceived():
                    self.pings += 1
                    self.changed.set()
                case SettingsAcknowledged():
                    self.acknowledged += 1
                    self.changed.set()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed.set()
        self.changed.set()
        for task in self._tasks:
            task.cancel()

    def _begin(self, asked: Asked) -> None:
        if self._answer is None:
            return
        task = asyncio.get_running_loop().create_task(self._run(self._answer, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, answer: Answer, asked: Asked) -> None:
        try:
            await answer(self, asked)
        except Exception as error:
            self.server.failures.append(error)
        finally:
            self.open.pop(asked.stream, None)

    async def until(self, it: Callable[[], bool]) -> None:
        """Wait until something that the client did makes `it` true."""
        while not it():
            self.changed.clear()
            await self.changed.wait()


@contextlib.asynccontextmanager
async def http2_server(
    answer: Answer | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    settings: dict[SettingCodes, int] | None = None,
    early: bool = False,
    stingy: bool = False,
) -> AsyncIterator[Http2Server]:
    """Serve on a free loopback port."""
    server = Http2Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: Served(server, answer, settings or {}, early, stingy), "127.0.0.1", 0, ssl=tls
    )
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield server
    finally:
        listener.close()
        for served in server.connections:
            served.transport.abort()
        await asyncio.sleep(0)
    if server.failures:
        raise server.failures[0]
