"""The asyncio side of a TCP connection: cuts arriving bytes into messages, and stores unread messages.

A peer may send more than the journey reads. Beyond MAX_UNREAD messages or MAX_UNREAD_BYTES, reading pauses, so the peer
has to wait as with any slow reader. While a request waits for its answer, reading cannot pause; then the connection
fails with `too many messages` at twice these limits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter_ns
from typing import Any, Final, Protocol

from loadgen.clients.protocol.outcomes import PROTOCOL, RESET, connect_failure
from loadgen.clients.tcp_udp.frames import Frame, FrameError, message_too_large
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from loadgen.errors import RequestFailed, UsageError

__all__ = ["CLOSED", "MAX_UNREAD", "MAX_UNREAD_BYTES", "TOO_MANY_MESSAGES", "Arrived", "Incoming", "Receiver"]

CLOSED: Final = "closed"
"""Outcome: the target closed the connection, and had not answered."""
TOO_MANY_MESSAGES: Final = "too many messages"
"""Outcome: the target sent a flood of messages while a request waited for its answer."""
MAX_UNREAD: Final = 1_000
MAX_UNREAD_BYTES: Final = 16 * 1024 * 1024
_LINGER_S: Final = 1.0
"""How long a closed connection may take to send its last bytes."""
_OVERHEAD_BYTES: Final = 1_024
"""Room for the head and the end of a message, which `max_bytes` of a frame does not count."""

Arrived = tuple[bytes, int, int]
"""(message, when its first byte arrived, when its last byte arrived), ns."""


class Receiver(Protocol):
    """Receives the messages of a connection."""

    def took(self, arrived: Arrived) -> bool:
        """Take a message. Return False if no call waits for it."""

    def is_waiting(self) -> bool:
        """Return True if a request waits for its answer."""

    def ended(self, failure: Exception, now_ns: int) -> None:
        """Take the end of the connection: no more messages arrive."""


class _Nobody:
    """The receiver of a connection that has ended."""

    def took(self, arrived: Arrived) -> bool:
        return True

    def is_waiting(self) -> bool:
        return False

    def ended(self, failure: Exception, now_ns: int) -> None:
        return None


_NOBODY: Final = _Nobody()


class Incoming(asyncio.Protocol):
    """The protocol of one connection.

    end: why the connection has ended; None while it is open.
    """

    def __init__(self, frame: Frame, receiver: Receiver, where: str) -> None:
        self._frame, self._where = frame, where
        self._receiver: Receiver = receiver
        self._buffer = bytearray()
        self._begun_ns = 0
        """When the first byte in the buffer arrived."""
        self._unread: deque[Arrived] = deque()
        self._unread_bytes = 0
        self._is_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._is_lost = False
        self.transport: Any = None
        self.end: Exception | None = None

    # -- asyncio's calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        OPEN_CONNECTIONS.tcp += 1
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """HOT, once a read."""
        if self.end is not None:
            return
        now_ns = perf_counter_ns()
        buffer = self._buffer
        if not buffer:
            self._begun_ns = now_ns
        buffer += data
        try:
            while buffer and (message := self._next()) is not None:
                arrived = message, self._begun_ns, now_ns
                self._begun_ns = now_ns
                if not self._receiver.took(arrived):
                    self._keep(arrived)
            if len(buffer) > self._frame.max_bytes + _OVERHEAD_BYTES:
                raise message_too_large(self._frame.max_bytes)
        except FrameError as error:
            self.abort(RequestFailed(error.outcome, f"{self._where}: {error}"))
        except (RequestFailed, UsageError) as error:
            self.abort(error)

    def eof_received(self) -> None:
        self._finish(RequestFailed(CLOSED, f"{self._where} closed the connection{self._middle()}"), perf_counter_ns())

    def connection_lost(self, error: Exception | None) -> None:
        OPEN_CONNECTIONS.tcp -= 1
        self._is_lost = True
        if isinstance(error, OSError):
            failure = connect_failure(error, self._where)
        elif error is not None:
            failure = RequestFailed(RESET, f"{self._where}: {error}")
        else:
            failure = RequestFailed(CLOSED, f"the connection to {self._where} ended{self._middle()}")
        self._finish(failure, perf_counter_ns())
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # -- what the link uses -----------------------------------------------------------------------

    async def drained(self) -> None:
        """Wait until the system has taken enough of the written bytes to accept more."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def unread(self) -> Arrived | None:
        """Remove and return the oldest unread message; None without one."""
        if not self._unread:
            return None
        arrived = self._unread.popleft()
        self._unread_bytes -= len(arrived[0])
        if self._is_paused and not self._is_full():
            self._is_paused = False
            if self.end is None:
                self.transport.resume_reading()
        return arrived

    def read_on(self) -> None:
        """Read again, because a request waits for its answer now."""
        if self._is_paused and self.end is None:
            self._is_paused = False
            self.transport.resume_reading()

    def close(self, failure: Exception) -> None:
        """Close the connection from this side, after the written bytes. failure: what later calls raise."""
        self._finish(failure, perf_counter_ns())
        self.transport.close()
        if not self._is_lost:  # a peer that does not read would keep the connection, and TLS waits for its farewell
            asyncio.get_running_loop().call_later(_LINGER_S, self.transport.abort)

    def abort(self, failure: Exception) -> None:
        """Close the connection at once."""
        self._finish(failure, perf_counter_ns())
        self.transport.abort()

    # -- inside -----------------------------------------------------------------------------------

    def _next(self) -> bytes | None:
        """Remove the first whole message from the buffer and return it; None without one.

        Raises:
            FrameError: the bytes are not a message, or `take` of a custom frame raised another exception.
            UsageError: a custom frame returned an invalid result.
        """
        buffer = self._buffer
        try:
            taken = self._frame.take(buffer)
        except (FrameError, UsageError):
            raise
        except Exception as error:
            advice = "return None for an incomplete message, and raise FrameError for invalid bytes"
            raise FrameError(f"take() of your frame failed with {error!r}: {advice}", PROTOCOL) from error
        if taken is None:
            return None
        message, used = taken
        if not 0 < used <= len(buffer):
            raise UsageError(
                f"take() of your frame returned {used} as the number of used bytes, but {len(buffer)} have arrived",
                hint="return (message, number of used bytes), which is at least 1; or None for an incomplete message",
            )
        del buffer[:used]
        return message

    def _keep(self, arrived: Arrived) -> None:
        self._unread.append(arrived)
        self._unread_bytes += len(arrived[0])
        if self._is_full():
            if self._receiver.is_waiting():
                if not self._is_full(2):
                    return
                kept = f"{len(self._unread):,} messages without the answer to a request"
                raise RequestFailed(TOO_MANY_MESSAGES, f"{self._where} sent {kept}")
            if not self._is_paused:
                self._is_paused = True
                self.transport.pause_reading()

    def _is_full(self, times: int = 1) -> bool:
        return len(self._unread) >= times * MAX_UNREAD or self._unread_bytes >= times * MAX_UNREAD_BYTES

    def _finish(self, failure: Exception, now_ns: int) -> None:
        if self.end is None:
            self.end = failure
            # Its reference to us would keep both until the garbage collector runs, which is seldom in a worker.
            receiver, self._receiver = self._receiver, _NOBODY
            receiver.ended(failure, now_ns)

    def _middle(self) -> str:
        waiting = len(self._buffer)
        return f" in the middle of a message, after {waiting:,} bytes of it" if waiting else ""
