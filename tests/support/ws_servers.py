"""Servers of WebSocket: one of the library `websockets`, which is the oracle, and one that sends any bytes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from loadgen.clients.framing.ws_frames import accept_of
from loadgen.clients.http import HttpClient
from loadgen.clients.ws_client.websocket import WebSocket, open_websocket

__all__ = ["RawServer", "WsServer", "counted", "counters_of", "opened", "raw_server", "switched", "ws_server"]


@dataclass
class WsServer:
    """A running server of `websockets`, and what it has seen."""

    port: int = 0
    scheme: str = "http"
    received: list[str | bytes] = field(default_factory=list)
    closed: list[int | None] = field(default_factory=list)
    """The close code that each client sent."""
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{'localhost' if self.scheme == 'https' else '127.0.0.1'}:{self.port}"


async def _talk(ws: ServerConnection, message: str | bytes) -> None:
    """Answer a message: {"op": "feed", "n": 3} with three messages, "close 4001" with a close, others with an echo."""
    if isinstance(message, str) and message.startswith("close "):
        await ws.close(int(message.split()[1]), "as asked")
        return
    try:
        asked: Any = json.loads(message)
    except ValueError:
        asked = None
    op = asked.get("op") if isinstance(asked, dict) else None
    if op == "feed":
        for n in range(asked["n"]):
            await ws.send(json.dumps({"text": f"t{n}", "sent_ms": asked.get("sent_ms", 0)}))
    elif op == "silent":
        pass
    elif op == "twice":
        await ws.send(message)
        await ws.send(message)
    elif op == "stranger":
        await ws.send(json.dumps({"id": "nobody"}))
        await ws.send(message)
    elif op == "late":
        await asyncio.sleep(asked["s"])
        await ws.send(message)
    else:
        await ws.send(message)


@asynccontextmanager
async def ws_server(
    tls: ssl.SSLContext | None = None,
    talk: Callable[[ServerConnection, str | bytes], Awaitable[None]] = _talk,
    **options: Any,
) -> AsyncIterator[WsServer]:
    found = WsServer(scheme="https" if tls else "http")

    async def handler(ws: ServerConnection) -> None:
        assert ws.request is not None
        found.headers.append({name.lower(): value for name, value in ws.request.headers.raw_items()})
        with suppress(ConnectionClosed):
            async for message in ws:
                found.received.append(message)
                await talk(ws, message)
        found.closed.append(ws.protocol.close_rcvd.code if ws.protocol.close_rcvd else None)

    options = {"compression": None, "max_size": None, "subprotocols": None, **options}
    async with serve(handler, "127.0.0.1", 0, ssl=tls, **options) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@dataclass
class RawServer:
    """A server that switches protocols, and then sends the given bytes."""

    port: int = 0
    received: bytearray = field(default_factory=bytearray)
    """The bytes of all clients after the handshake."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def raw_server(
    parts: Sequence[bytes | float | str] = (), head: Callable[[str], bytes] | None = None
) -> AsyncIterator[RawServer]:
    """parts: bytes to send, seconds to wait, "eof" (close our side only), "close", or "deaf" (read nothing more).

    head: returns the answer of the handshake for the client's key; by default a correct one.
    """
    found = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
            writer.write(switched(key) if head is None else head(key))
            reading = asyncio.ensure_future(_keep(reader, found))
            try:
                for part in parts:
                    if isinstance(part, bytes):
                        writer.write(part)
                        await writer.drain()
                    elif isinstance(part, float):
                        await asyncio.sleep(part)
                    elif part == "eof":
                        writer.write_eof()
                    elif part == "deaf":
                        reading.cancel()
                        await asyncio.Event().wait()
                    else:
                        return
                await reading
            finally:
                reading.cancel()
                writer.close()
                tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(reader: asyncio.StreamReader, found: RawServer) -> None:
    while data := await reader.read(65_536):
        found.received += data


def switched(key: str, *headers: str) -> bytes:
    """The correct answer of a handshake, with further headers."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Accept: {accept_of(key)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def opened(client: HttpClient, url: str = "/feed", **options: Any) -> WebSocket:
    """What `user.ws` returns."""
    given = {"name": None, "subprotocols": (), "headers": None, "tags": None, "timeout": None, **options}
    return open_websocket(client, url, **given)


def counted(client: HttpClient) -> dict[str, int]:
    """The counters of the client's worker, without the prefix, and the number of values of metrics of messages."""
    delta = client.meter.recorder.flip(0, 1)
    found = {one.name.removeprefix("ws: "): one.total for one in delta.custom if one.kind == "counter"}
    for stats in delta.stats:
        metric = delta.new_series[stats.series].metric
        if "message" in metric:
            found[metric] = found.get(metric, 0) + stats.n
    return found


def counters_of(client: HttpClient) -> dict[str, int]:
    """The counters of the client's worker since the last call, without the prefix."""
    delta = client.meter.recorder.flip(0, 1)
    return {one.name.removeprefix("ws: "): one.total for one in delta.custom if one.kind == "counter"}
