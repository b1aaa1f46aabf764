"""Messages over a byte stream: the inherited socketpair between supervisor and worker.

A frame is its length, u32 little endian, and one encoded message. Both ends are local and part of loadgen. An
unreadable frame ends the stream, because the next frame cannot be found.
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
"""Longest frame. It exceeds the network's limit, because the supervisor may compress a worker's delta."""


class FrameStream:
    """One end of the stream. Only one task may read; any task may write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._length: int | None = None

    @classmethod
    async def over(cls, sock: socket.socket) -> FrameStream:
        """Make a message stream on a connected socket. Closing the stream also closes the socket."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=1 << 20))

    @classmethod
    async def inherit(cls, fd: int) -> FrameStream:
        """Make a message stream on the socketpair's end that the parent process left open as descriptor `fd`."""
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        return await cls.over(sock)

    async def read(self) -> Message | None:
        """Return the next message from the other process; None if that process has ended or closed its end.

        Cancelling `read` loses no message.

        Raises:
            WireError: the frame is not a valid message. The stream cannot be used any more.
        """
        try:
            if self._length is None:
                # Kept until the body has arrived: after a cancelled `read`, the next one continues with the body.
                (self._length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if self._length > _MAX_BYTES:
                raise WireError(
                    f"a message between the agent and a worker has {self._length:,} bytes: the limit is {_MAX_BYTES:,}",
                    hint="the scenario or a process that it started may have written to a descriptor that it did not"
                    " open: look for os.write and subprocess in it; if it has neither, report a bug",
                )
            data = await self._reader.readexactly(self._length)
        # A process that is killed while it writes leaves an incomplete frame: also the end of the stream.
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self._length = None
        return decode(data, limit_bytes=_MAX_BYTES)

    def write(self, message: Message) -> None:
        """Queue a message for the other process; never blocks. If that process has closed its end, the message is lost.

        Raises:
            WireError: the message cannot be encoded.
        """
        data = encode(message, limit_bytes=_MAX_BYTES)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    async def drain(self) -> None:
        """Wait until most of the queued messages are written to the socket."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """Close the stream and its socket."""
        self._writer.close()
