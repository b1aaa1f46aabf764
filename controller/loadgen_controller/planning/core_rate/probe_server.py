"""A tiny HTTP/1.1 server that answers each request at once with 1 KiB, for the measurement of a core (`probe.py`).

    python -P -m loadgen_controller.planning.core_rate.probe_server

It listens on 127.0.0.1, prints its port, and ends when its standard input ends, so it never outlives the process that
started it. It does not parse requests: it counts the blank lines that end them, so it serves only requests without a
body.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop

__all__ = ["main"]

_END: Final = b"\r\n\r\n"
_RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024" + _END + b"x" * 1024


class _Answers(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._rest + data
        *heads, self._rest = received.split(_END)
        if heads:
            self._transport.write(_RESPONSE * len(heads))


class _UntilEof(asyncio.Protocol):
    """Standard input: sets an event when it ends."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


async def _serve() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    await loop.connect_read_pipe(lambda: _UntilEof(ended), sys.stdin)
    server = await loop.create_server(_Answers, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await ended.wait()
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
