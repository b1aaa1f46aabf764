"""Connections whose streamed answers are timed by the kernel: a transport of our own that reads with `recvmsg`.

The transports of asyncio and uvloop never call `recvmsg`, so they cannot see the kernel's time of a read. This one owns
the socket of a TCP connection and uses `add_reader` and `add_writer`, which both loops have. A read costs 0.6 µs more
than a `recv`, for the ancillary data. `stamped_tls.py` has the one for TLS.

Only streamed answers use the kernel's time. Other requests of the same user are timed by the loop, as in all plans.
"""

from __future__ import annotations

import asyncio
import socket
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, Final

from loadgen.clients.net.kernel_clock import STAMP_BYTES, Ancillary, KernelClock
from loadgen.clients.protocol.http1 import Connection

__all__ = ["StampedConnection", "StampedTransport"]

_READ_BYTES: Final = 64 * 1024
_HIGH_BYTES: Final = 64 * 1024
"""The connection is asked to pause writing above this, as by the transports of asyncio."""
_MOST_SIZE_BYTES: Final = 10
"""A longer size of a chunk, or one with an extension, goes to llhttp."""


@lru_cache(maxsize=4096)
def _size_of(text: bytes) -> int:
    """Return the size of a chunk from its hexadecimal digits; 0 for anything else."""
    return int(text, 16) if text.isalnum() and not text.strip(b"0123456789abcdefABCDEF") else 0


class StampedConnection(Connection):
    """An HTTP/1.1 connection for a `StampedTransport`. Any other transport may feed it, too.

    Model servers send each event as one chunk, and most reads bring exactly one. Such a read does not go through
    llhttp, which saves a quarter of its cost. llhttp has no state between two chunks, so it can parse the next read.
    """

    __slots__ = ("_is_between_chunks", "_latest_ns", "times_all")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._latest_ns = 0
        self.times_all = False
        """All answers have the kernel's time. False: only streamed ones."""
        self._is_between_chunks = False
        """The bytes so far end with a whole chunk. llhttp may have read the begin of the next one besides."""

    def is_hung_up(self) -> bool:
        # The time of the last read is the kernel's here, so it may be earlier than a look before the read.
        self._read_ns = perf_counter_ns()
        return super().is_hung_up()

    def on_chunk_header(self) -> None:
        self._is_between_chunks = False

    def on_chunk_complete(self) -> None:
        self._is_between_chunks = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_between_chunks = False  # the next answer begins with a head

    def data_received_at(self, data: bytes, at_ns: int) -> None:
        """HOT, once a read. Process bytes that arrived at `at_ns`, `perf_counter_ns`."""
        exchange, sink = self._exchange, self._sink
        if exchange is None or not (sink is not None or self.times_all):
            self.data_received(data)
            return
        # Two reads never have the same time, because equal times mean one read. The clocks' mapping is measured in
        # each interval, and may differ by some nanoseconds. The first read cannot come before its request.
        if at_ns <= self._latest_ns:
            at_ns = self._latest_ns + 1
        if at_ns < exchange.sent_ns:
            at_ns = exchange.sent_ns
        self._latest_ns = at_ns
        if sink is None:
            self.data_received(data, at_ns)
            return
        size_bytes = len(data)
        exchange.size_bytes += size_bytes
        if self._is_between_chunks:
            end = data.find(b"\r\n", 0, _MOST_SIZE_BYTES)
            length = _size_of(data[:end]) if end > 0 else 0
            if length and length == size_bytes - end - 4 and data[-2:] == b"\r\n":
                self._have += length
                self._pieces += 1
                self._key = None
                if sink.took(data[end + 2 : -2], at_ns) and self._sink is sink:
                    self._transport.pause_reading()
                return
        self._pass_on(exchange, data, at_ns)
        if self._is_between_chunks and not data.endswith(b"\r\n"):
            self._is_between_chunks = False  # llhttp has read a part of the next chunk's size


class StampedTransport(asyncio.Transport):
    """Reads and writes the socket of one connection, and passes on the kernel's time of each read.

    It owns the non-blocking, connected socket, and closes it.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_connection",
        "_fd",
        "_high",
        "_is_closed",
        "_is_closing",
        "_is_full",
        "_is_paused",
        "_loop",
        "_sock",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connection: StampedConnection,
        clock: KernelClock,
    ) -> None:
        super().__init__()
        self._loop, self._sock, self._connection, self._clock = loop, sock, connection, clock
        self._fd = sock.fileno()
        self._buffer = bytearray()
        self._high = _HIGH_BYTES
        self._is_closing = self._is_closed = self._is_paused = self._is_full = False
        self._begin()

    def _begin(self) -> None:
        self._connection.connection_made(self)
        self._loop.add_reader(self._fd, self._read)

    # -- reading ------------------------------------------------------------------------------

    def _read(self) -> None:
        """HOT, once a read: budget 5 µs with the kernel's part, without what the connection does (bench/llm.py)."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, STAMP_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self._received(data, ancillary, perf_counter_ns())

    def _received(self, data: bytes, ancillary: Ancillary, now_ns: int) -> None:
        """Pass on the data of a read; none at the end of the stream."""
        if data:
            clock = self._clock
            self._connection.data_received_at(data, clock.arrived_ns(ancillary, now_ns))
            clock.reads.lag_ns = -1
        else:
            self._connection.eof_received()
            self.close()

    def pause_reading(self) -> None:
        if not self._is_paused and not self._is_closing:
            self._is_paused = True
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._loop.add_reader(self._fd, self._read)

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    # -- writing ------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        if not self._buffer:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._flush)
        self._buffer += data
        if len(self._buffer) > self._high and not self._is_full:
            self._is_full = True
            self._connection.pause_writing()

    def _flush(self) -> None:
        """Write more of the buffer, because the socket accepts it."""
        try:
            sent = self._sock.send(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._buffer[:sent]
        if self._is_full and len(self._buffer) <= self._high // 4:
            self._is_full = False
            self._connection.resume_writing()
        if not self._buffer:
            self._loop.remove_writer(self._fd)
            if self._is_closing:
                self._end(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the number of unsent bytes above which the connection is asked to pause; `low` is a quarter of it."""
        self._high = _HIGH_BYTES if high is None else high

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection when the buffer is written."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self._buffer:
            self._end(None)
        elif not self._is_paused:
            self._loop.remove_reader(self._fd)

    def abort(self) -> None:
        """Close the connection now; unsent bytes are dropped."""
        self._end(None)

    def is_closing(self) -> bool:
        return self._is_closing

    def _end(self, error: Exception | None) -> None:
        if self._is_closed:
            return
        self._is_closed = self._is_closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._buffer.clear()
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        try:
            self._connection.connection_lost(error)
        finally:
            self._sock.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the socket or one of its addresses, by the names that asyncio has."""
        match name:
            case "socket":
                return self._sock
            case "peername" | "sockname":
                try:
                    return self._sock.getpeername() if name == "peername" else self._sock.getsockname()
                except OSError:
                    return default
            case _:
                return default
