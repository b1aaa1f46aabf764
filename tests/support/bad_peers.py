"""Servers that refuse, stay silent, half-close, reset and lie, one for each protocol and fault, in one event loop.

with in_thread(bad_peers()) as targets:       # URLs by "grpc_slow", "ws_lying", "tcp_half_closing" ...
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import trustme

from tests.support.http3 import Asked, Served, http3_server
from tests.support.ports import free_port
from tests.support.ws_servers import switched

__all__ = ["bad_peers"]

_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""An HTTP/2 frame: SETTINGS without any."""
_MASKED = b"\x81\x83\1\2\3\4" + bytes(a ^ b for a, b in zip(b"abc", b"\1\2\3", strict=True))
"""A WebSocket frame as only clients may send it."""
_HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _ws_opens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    writer.write(switched(key))


def _after_a_request(answer: bytes, *, opens: Talk | None = None, is_end: bool = False) -> Talk:
    """Read some bytes, send the answer, end our side if `is_end`, and read on."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if opens is not None:
            await opens(reader, writer)
        await reader.read(65_536)
        writer.write(answer)
        if is_end:
            writer.write_eof()
        await reader.read()

    return talk


async def _ws_slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _ws_opens(reader, writer)
    await reader.read()


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65_536)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _ws_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _ws_opens(reader, writer)
    await _reset(reader, writer)


_TALKS: dict[str, Talk] = {
    "grpc_slow": _after_a_request(_SETTINGS),
    "grpc_half_closing": _after_a_request(_SETTINGS, is_end=True),
    "grpc_lying": _after_a_request(_HTML),
    "grpc_reset": _reset,
    "ws_slow": _ws_slow,
    "ws_half_closing": _after_a_request(b"", opens=_ws_opens, is_end=True),
    "ws_lying": _after_a_request(_MASKED, opens=_ws_opens),
    "ws_reset": _ws_reset,
    "tcp_slow": _silent,
    "tcp_reset": _reset,
    "browser_reset": _reset,
    "tcp_half_closing": _after_a_request(b"PON", is_end=True),
    "tcp_lying": _after_a_request(b"\0\xff" * 40_000 + b"\n"),
}


class _Datagrams(asyncio.DatagramProtocol):
    """Answers with another id if it lies, else not at all."""

    def __init__(self, *, lies: bool) -> None:
        self._lies = lies

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._lies:
            self._transport.sendto(b"\xff\xff\xff\xffgarbage", address)


async def _http3_slow(served: Served, asked: Asked) -> None:
    """Do not answer."""


async def _http3_half_closing(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, ("content-length", "10"))
    served.data(asked.stream, b"half", end=True)


async def _http3_lying(served: Served, asked: Asked) -> None:
    served.raw(asked.stream, b"\0\4body", end=True)  # DATA before HEADERS


_HTTP3 = {"slow": _http3_slow, "half_closing": _http3_half_closing, "lying": _http3_lying}


@asynccontextmanager
async def bad_peers(authority: trustme.CA) -> AsyncIterator[dict[str, str]]:
    """authority: signs the certificates of HTTP/3."""
    tasks = set[asyncio.Task[None]]()

    def kept(talk: Talk) -> Talk:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task: Any = asyncio.current_task()
            tasks.add(task)
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
            writer.close()
            tasks.discard(task)

        return handle

    async with AsyncExitStack() as stack:
        urls = {f"{kind}_refusing": f"http://127.0.0.1:{free_port()}" for kind in ("grpc", "ws", "browser")}
        urls["tcp_refusing"] = f"tcp://127.0.0.1:{free_port()}"
        urls["udp_refusing"] = f"udp://127.0.0.1:{free_port()}"
        urls["http3_refusing"] = f"https://127.0.0.1:{free_port()}"
        for name, talk in _TALKS.items():
            server = await stack.enter_async_context(await asyncio.start_server(kept(talk), "127.0.0.1", 0))
            scheme = "tcp" if name.startswith("tcp") else "http"
            urls[name] = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stack.callback(lambda: [task.cancel() for task in tasks])
        loop = asyncio.get_running_loop()
        for name in ("slow", "lying"):
            made = partial(_Datagrams, lies=name == "lying")
            transport, _ = await loop.create_datagram_endpoint(made, ("127.0.0.1", 0))
            stack.callback(transport.close)
            urls[f"udp_{name}"] = f"udp://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
        for name, answer in _HTTP3.items():
            found = await stack.enter_async_context(http3_server(answer, authority=authority))
            urls[f"http3_{name}"] = found.url
        yield urls
