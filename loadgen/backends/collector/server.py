"""The HTTP/1.1 server of the collector, on one event loop, with limits on everything that a client can send.

Only Jaeger's call and the health page return anything, and they hold no credentials. On a loopback address the header
Host must be an address or `localhost`, so that a web page cannot read traces by DNS rebinding.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import httptools

from loadgen.backends.collector.requests import Reply, Request, answer_to, refusal
from loadgen.backends.collector.trace_ring import TraceRing
from loadgen.errors import PortBusy
from loadgen.hostport import is_loopback, split_host_port

__all__ = ["Collector", "CollectorConfig", "serve"]

HEAD_BYTES: Final = 32 << 10
BODY_BYTES: Final = 16 << 20
"""The most bytes of a request as it is sent. SDKs send at most 512 spans at a time by default, some 250 kB."""
OPEN_BYTES: Final = 64 << 20
"""The most bytes of all requests that are being received."""
CONNECTIONS_MOST: Final = 512
REQUEST_S: Final = 30.0
"""The time limit for receiving a request, from its first byte."""
IDLE_S: Final = 120.0
"""A connection without a request is closed after this time."""
_SWEEP_S: Final = 5.0
_LINGER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """Settings of a collector. most_bytes: of memory for spans."""

    host: str = "127.0.0.1"
    port: int = 4318
    most_bytes: int = 256 << 20
    most_traces: int = 100_000


class Collector:
    """A running collector, made by `serve`."""

    def __init__(self, config: CollectorConfig) -> None:
        self.config = config
        self.ring = TraceRing(config.most_bytes, config.most_traces)
        self.is_local = is_loopback(config.host)
        self.open_bytes = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Open the port.

        Raises:
            PortBusy: the port is in use, or the address is not of this machine.
        """
        config, loop = self.config, asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Connection(self), config.host, config.port, backlog=1024)
        except OSError as error:
            raise PortBusy(
                f"cannot listen on {config.host}:{config.port}: {error.strerror or error}",
                hint="choose another port with --listen, or 0 for any free one",
            ) from error
        self._sweep = loop.call_later(_SWEEP_S, self._close_silent)

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    def _close_silent(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in list(self.connections):
            if connection.is_overdue(now_s):
                connection.abort()
        self._sweep = loop.call_later(_SWEEP_S, self._close_silent)


class _Connection(asyncio.Protocol):
    """One connection, with the callbacks of httptools' parser. Requests are answered at once, so in their order."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()
        self._is_closing = self._is_begun = False
        self._is_in_head = True
        self._head_bytes = 0
        self._held_bytes = 0
        """The part of `open_bytes` that belongs to this connection."""
        self._clear()

    def _clear(self) -> None:
        self._collector.open_bytes -= self._held_bytes
        self._held_bytes = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def is_overdue(self, now_s: float) -> bool:
        return now_s - self._since_s > (REQUEST_S if self._is_begun else IDLE_S)

    def abort(self) -> None:
        self._transport.abort()

    # -- the transport's callbacks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._collector.connections) >= CONNECTIONS_MOST:
            self._is_closing = True
            self._transport.abort()
            return
        self._collector.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._collector.connections.discard(self)
        self._is_closing = True
        self._clear()

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self._is_in_head:
            # The parser itself collects a header until it ends. The first bytes of a body may be among these.
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_closing = True
            self._transport.close()
        except httptools.HttpParserError:
            self._refuse(400, "not an HTTP/1.1 request")
        else:
            if self._is_in_head and self._head_bytes > HEAD_BYTES:
                self._refuse(431, f"the headers have more than {HEAD_BYTES >> 10} KiB")

    def pause_writing(self) -> None:
        # A client that does not read its answers gets no more of them, and memory stays bounded.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # -- the parser's callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._clear()
        self._is_begun = True
        self._since_s = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        length = self._headers.get("content-length", "0")
        if length.isdecimal() and len(length) < 19 and int(length) > BODY_BYTES:
            self._refuse(413, f"the body has more than {BODY_BYTES >> 20} MiB")
        elif self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._is_closing:
            return
        self._held_bytes += len(body)
        self._collector.open_bytes += len(body)
        if self._held_bytes > BODY_BYTES:
            self._refuse(413, f"the body has more than {BODY_BYTES >> 20} MiB")
        elif self._collector.open_bytes > OPEN_BYTES:
            self._refuse(503, "too many requests at the same time; send it again")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._is_closing:
            return
        method = self._parser.get_method().decode("latin-1")
        keeps = bool(self._parser.should_keep_alive())
        path = self._url.partition(b"?")[0].decode("latin-1")
        if not self._is_permitted(self._headers.get("host", "")):
            reply = refusal(403, "the header Host must be an address or localhost")
        else:
            reply = answer_to(Request(method, path, self._headers, b"".join(self._body)), self._collector.ring)
        self._clear()
        self._is_begun = False
        self._is_in_head = True
        self._since_s = self._loop.time()
        self._send(reply, keeps=keeps, is_head=method == "HEAD")

    def _is_permitted(self, host: str) -> bool:
        if not self._collector.is_local:
            return True
        try:
            name = split_host_port(host).host
        except ValueError:
            return False
        return name.lower() == "localhost" or name.replace(".", "").isdecimal() or ":" in name

    def _refuse(self, status: int, text: str) -> None:
        if self._is_closing:
            return
        self._collector.ring.counts.refused_requests += 1
        self._clear()
        self._send(refusal(status, text), retry_s=1 if status == 503 else 0)

    def _send(self, reply: Reply, *, keeps: bool = False, is_head: bool = False, retry_s: int = 0) -> None:
        lines = [
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
            f"Content-Type: {reply.kind}",
            f"Content-Length: {len(reply.body)}",
            *([f"Allow: {reply.allow}"] if reply.allow else []),
            *([f"Retry-After: {retry_s}"] if retry_s else []),
            *([] if keeps else ["Connection: close"]),
        ]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self._transport.write(head if is_head else head + reply.body)
        if not keeps:
            self._is_closing = True
            # Closing at once would reset the connection while the client still sends, and it would lose the answer.
            # So its bytes are read and dropped until it closes the connection itself, or for a second.
            self._transport.write_eof()
            self._loop.call_later(_LINGER_S, self._transport.abort)


@asynccontextmanager
async def serve(config: CollectorConfig | None = None) -> AsyncIterator[Collector]:
    """Run a collector in this event loop, and yield it. Its port is open within the `async with` block."""
    collector = Collector(config or CollectorConfig())
    try:
        await collector.start()
        yield collector
    finally:
        await collector.stop()
