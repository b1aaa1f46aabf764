"""A server that keeps what it was sent, byte by byte, and answers with what a test says; and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import Network, TcpNetwork
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.phased import PhasedMeter
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Tracer
from loadgen.clients.response.replies import Reply
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.tagging import Tagging
from loadgen.engine.recording.user_meter import Meter, Sample

__all__ = [
    "CLOSE",
    "HANG",
    "RESET",
    "Answer",
    "Received",
    "Row",
    "Rows",
    "Scripted",
    "client_of",
    "ok",
    "rows_of",
    "samples_of",
    "scripted",
]

CLOSE: Final = "close"
RESET: Final = "reset"
HANG: Final = "hang"
Answer = bytes | Literal["close", "reset", "hang"] | Sequence[bytes | Literal["close", "reset", "hang"]]


@dataclass
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names in lower case, in order."""
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Scripted:
    """What the server saw."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0


def ok(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A plain response with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@contextlib.asynccontextmanager
async def scripted(
    answer: Callable[[Received], Answer] | Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Scripted]:
    """Serve on a free loopback port; a list of parts is written part by part."""
    seen = Scripted()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        seen.connections += 1
        seen.open_connections += 1
        number = seen.connections
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    request = await _read(reader, number)
                    seen.requests.append(request)
                    given = answer(request) if callable(answer) else answer
                    if not await _say(reader, writer, [given] if isinstance(given, bytes | str) else given):
                        return
        finally:
            seen.open_connections -= 1
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    seen.url = f"{'https' if tls else 'http'}://{'localhost' if tls else host}:{port}"
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, connection: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1"
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    found = dict(headers)
    body = b""
    if "content-length" in found:
        body = await reader.readexactly(int(found["content-length"]))
    elif found.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    return Received(method, target, headers, body, connection)


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parts: Sequence[Any]) -> bool:
    for part in parts:
        if part == CLOSE:
            return False
        if part == RESET:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if part == HANG:
            await reader.read()  # until the client gives up
            return False
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    return True


@dataclass
class Row:
    """One recorded request."""

    name: str | None
    outcome: str
    response_ns: int
    was_sent: bool
    size_bytes: int


class Rows(Recorder):
    """A recorder that also keeps each request."""

    def __init__(self, tagging: Tagging | None = None) -> None:
        super().__init__(tagging=tagging)
        self.rows: list[Row] = []

    def request(
        self,
        series: RequestSeries,
        asked_ns: int,
        sent_ns: int,
        done_ns: int,
        outcome: str,
        size_bytes: int,
    ) -> bool:
        assert not sent_ns or asked_ns <= sent_ns <= done_ns
        self.rows.append(Row(series.key.request, outcome, done_ns - asked_ns, bool(sent_ns), size_bytes))
        return super().request(series, asked_ns, sent_ns, done_ns, outcome, size_bytes)


class _Keeping(Meter):
    """A meter that keeps what it was given to hold."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self.samples: list[Reply] = []

    def hold(self, sample: Sample) -> None:
        if isinstance(sample, Reply):  # and no attempt that was followed by another
            self.samples.append(sample)
        super().hold(sample)


class _KeepingPhased(PhasedMeter, _Keeping):
    """Both."""


@contextlib.asynccontextmanager
async def client_of(
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    network: Network | None = None,
    timeouts: Timeouts | None = None,
    limit_bytes: int = MAX_BODY_BYTES,
    has_phases: bool = False,
    retries: int = 0,
    rows: Rows | None = None,
    pool: ConnectionPool | None = None,
    tags: tuple[str, ...] = (),
    tracer: Tracer | None = None,
    forward: Forward | None = None,
    kind: type[HttpClient] = HttpClient,
) -> AsyncIterator[HttpClient]:
    """A client of one user; its rows are at `rows_of(client)`."""
    meter = (_KeepingPhased if has_phases else _Keeping)(rows if rows is not None else Rows())
    meter.begin("journey", warmup=False, pool_limited=False)
    if pool is None:
        pool = ConnectionPool(network or TcpNetwork(), tls, limit_bytes=limit_bytes, has_phases=has_phases)
    client = kind(meter, pool, url, timeouts or Timeouts(), tags=tags, tracer=tracer, forward=forward, retries=retries)
    try:
        yield client
    finally:
        await client.close()
        await asyncio.sleep(0)


def rows_of(client: HttpClient) -> list[Row]:
    """What was recorded, after settling."""
    client._meter.settle()
    recorder = client._meter.recorder
    assert isinstance(recorder, Rows)
    return recorder.rows


def samples_of(client: HttpClient) -> list[Reply]:
    """The sample of each request that ended, also of those that failed."""
    assert isinstance(client._meter, _Keeping)
    return client._meter.samples
