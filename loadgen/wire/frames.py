"""Messages over a stream of bytes: supervisor and worker over an inherited socketpair.

A frame is its length, u32 little endian, and one encoded message. Both ends are
ours and local, so an unreadable frame ends the stream: there is no way to find
the next one.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from loadgen.errors import WireError
from loadgen.wire.codec import MAX_UNPACKED_BYTES, decode, encode
from loadgen.wire.messages import Message

__all__ = ["FrameStream"]

_LENGTH = struct.Struct("<I")
_MAX_BYTES = MAX_UNPACKED_BYTES + 4096
"""More than over the network: a worker's delta may be split or packed by its supervisor before it travels."""


class FrameStream:
    """One end of the stream. One task reads; any may write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._length: int | None = None

    @classmethod
    async def over(cls, sock: socket.socket) -> FrameStream:
        """Takes the socket over; closing the stream closes it."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=1 << 20))

    @classmethod
    async def inherit(cls, fd: int) -> FrameStream:
        """The end of a socketpair that the parent process left open at `fd`."""
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        return await cls.over(sock)

    async def read(self) -> Message | None:
        """The next message; None when the other end is gone. Cancelling it loses nothing.

        Raises:
            WireError: what came is no message. The stream is of no more use.
        """
        try:
            if self._length is None:
                (self._length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if self._length > _MAX_BYTES:
                raise WireError(f"frame of {self._length:,} bytes: the limit is {_MAX_BYTES:,}")
            data = await self._reader.readexactly(self._length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self._length = None
        return decode(data, limit_bytes=_MAX_BYTES)

    def write(self, message: Message) -> None:
        """Queues the message; never blocks. To an end that is gone it goes nowhere: `read` says so.

        Raises:
            WireError: it cannot be encoded.
        """
        data = encode(message, limit_bytes=_MAX_BYTES)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    async def drain(self) -> None:
        """Waits until the other end has taken most of what was written."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        self._writer.close()
