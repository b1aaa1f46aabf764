"""A proxy as small as one can be: tunnels (CONNECT) and forwards http://, and keeps what it was asked; or does neither.

async with proxy() as seen: ...       # seen.url
"""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

__all__ = ["Asked", "SeenProxy", "proxy"]

Says = bytes | Literal["hang", "close"]
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_REFUSED: Final = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nwho?"
)


@dataclass
class Asked:
    """The head of one request, as the proxy got it."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class SeenProxy:
    """What it saw."""

    url: str = ""
    requests: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def tunnels(self) -> list[str]:
        return [one.target for one in self.requests if one.method == "CONNECT"]


@contextlib.asynccontextmanager
async def proxy(
    *, says: Says | Sequence[bytes] | None = None, login: str | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[SeenProxy]:
    """Serve on a free loopback port.

    Args:
        says: to each request, instead of doing what it asks; parts are written one by one. "hang": nothing.
        login: "user:password" that it wants.
    """
    seen = SeenProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        seen.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _serve(seen, reader, writer, says, login)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, host, 0)
    seen.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    seen: SeenProxy,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    says: Says | Sequence[bytes] | None,
    login: str | None,
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    asked = _asked(head)
    method, target, headers = asked.method, asked.target, asked.headers
    seen.requests.append(asked)
    if says == "hang":
        await reader.read()
    elif says == "close":
        return
    elif says is not None:
        for part in [says] if isinstance(says, bytes) else says:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
    elif login is not None and headers.get("proxy-authorization") != "Basic " + b64encode(login.encode()).decode():
        writer.write(_REFUSED)
        await writer.drain()
        await reader.read()
    elif method == "CONNECT":
        host, _, port = target.rpartition(":")
        await _join(reader, writer, host.strip("[]"), int(port), _ESTABLISHED, b"")
    else:
        url = urlsplit(target)
        await _join(reader, writer, url.hostname or "", url.port or 80, b"", _as_to_origin(head), seen)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    hello: bytes,
    first: bytes,
    forwarding: SeenProxy | None = None,
) -> None:
    """Pass on what either side says, until one ends."""
    target_reader, target_writer = await asyncio.open_connection(host, port)
    writer.write(hello)
    target_writer.write(first)
    both = [
        asyncio.ensure_future(_pass_on(reader, target_writer, forwarding)),
        asyncio.ensure_future(_pass_on(target_reader, writer)),
    ]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        target_writer.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forwarding: SeenProxy | None = None
) -> None:
    """forwarding: heads are rewritten; each has to come in one piece, as on the loopback it does."""
    while data := await reader.read(65_536):
        if forwarding is not None and b" http://" in data.partition(b"\r\n")[0]:
            forwarding.requests.append(_asked(data))
            data = _as_to_origin(data)
        writer.write(data)
        await writer.drain()


def _asked(head: bytes) -> Asked:
    first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(method, target, headers)


def _as_to_origin(data: bytes) -> bytes:
    """A forwarded request as the target gets it."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    path = target.partition(urlsplit(target).netloc)[2] or "/"
    kept = [line for line in lines if not line.lower().startswith("proxy-")]
    return "\r\n".join([f"{method} {path} {version}", *kept]).encode("latin-1") + end + body
