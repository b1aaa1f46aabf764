"""Servers that do what no server should: for what a client must survive and name.

async with bad_server("hang") as url: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, Literal

__all__ = ["Badness", "bad_server", "refusing_url"]

Badness = Literal[
    "reset",
    "reset midway",
    "close",
    "close midway",
    "hang",
    "hang midway",
    "garbage",
    "bad chunk",
    "bad length",
    "two lengths",
    "bad gzip",
    "endless body",
    "endless header",
    "endless chunks",
    "redirect loop",
    "early answer",
]
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_OK: Final = b"HTTP/1.1 200 OK\r\n"


@contextlib.asynccontextmanager
async def bad_server(badness: Badness) -> AsyncIterator[str]:
    """Listen on a free loopback port and answer every request in that way; yields the URL."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            # A cancelled handler ends quietly: asyncio of 3.11 logs a traceback for each that does not.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _BEHAVIOURS[badness](reader, writer)
        finally:
            handlers.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@contextlib.contextmanager
def refusing_url() -> Iterator[str]:
    """A URL at which nobody listens, and nobody can while the block runs: bound, but not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def _request(reader: asyncio.StreamReader) -> None:
    """Read the head of a request."""
    await reader.readuntil(b"\r\n\r\n")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _says(data: bytes, then: Literal["close", "hang", "reset"] = "close") -> Behaviour:
    """Read one request, say `data`, and then."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(data)
        await writer.drain()
        if then == "hang":
            await asyncio.Event().wait()
        elif then == "reset":
            await asyncio.sleep(0.01)  # so that what was said is on its way before the RST discards it
            _reset(writer)

    return behave


def _says_forever(head: bytes, part: bytes) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return behave


async def _redirect_forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await _request(reader)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


async def _answer_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer before there was a request."""
    writer.write(_OK + b"Content-Length: 2\r\n\r\nno")
    await _request(reader)


_BEHAVIOURS: Final[dict[Badness, Behaviour]] = {
    "reset": _says(b"", "reset"),
    "reset midway": _says(_OK + b"Content-Length: 100\r\n\r\nhalf", "reset"),
    "close": _says(b""),
    "close midway": _says(_OK + b"Content-Length: 100\r\n\r\nhalf"),
    "hang": _says(b"", "hang"),
    "hang midway": _says(_OK + b"Content-Length: 100\r\n\r\nhalf", "hang"),
    "garbage": _says(b"220 mail.example ESMTP ready\r\n\x00\xff\xfe" * 3),
    "bad chunk": _says(_OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "hang"),
    "bad length": _says(_OK + b"Content-Length: many\r\n\r\n", "hang"),
    "two lengths": _says(_OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "hang"),
    "bad gzip": _says(_OK + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nno gzip!", "hang"),
    "endless body": _says_forever(_OK + b"\r\n", b"x" * 65_536),
    "endless header": _says_forever(_OK, b"X-More: " + b"x" * 1_000 + b"\r\n"),
    "endless chunks": _says_forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"x" * 32_768 + b"\r\n"),
    "redirect loop": _redirect_forever,
    "early answer": _answer_first,
}
