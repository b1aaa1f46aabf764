"""The messages of a WebSocket that no ask claims: kept until the journey reads them, within bounds.

While a journey reads (`async for`), too many unread messages stop the reading of the socket, so the target gets slower.
While it does not read, or waits for an answer, the oldest messages are dropped and counted: else an answer or a ping
behind them would never be read. Their times are recorded before.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter_ns, time_ns
from typing import Any, Final, Literal, Never, Protocol
from weakref import ref

from loadgen.clients.protocol.outcomes import TIMEOUT
from loadgen.clients.protocol.timeouts import NEVER_NS
from loadgen.clients.ws_client.answers import Key
from loadgen.clients.ws_client.connection import NORMAL, Wait, WsConnection
from loadgen.clients.ws_client.message import Message
from loadgen.errors import RequestFailed, UsageError

__all__ = ["UNITS_NS", "Inbox", "MessageStream", "Unit"]

_MOST_BYTES: Final = 1024 * 1024
_BYTES_A_MESSAGE: Final = 200
"""The memory of a message besides its text."""
Unit = Literal["s", "ms", "us", "ns"]
UNITS_NS: Final[dict[str, int]] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class Inbox:
    """Unread messages of one connection, in order."""

    __slots__ = ("_bytes", "_connection", "_messages", "_reader", "dropped", "is_paused")

    def __init__(self, connection: WsConnection) -> None:
        self._connection = connection
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self.is_paused = False
        self._reader: ref[MessageStream] | None = None
        self.dropped = 0
        """The messages that were dropped unread, so far."""

    def put(self, message: Message, *, is_asking: bool) -> None:
        """Add a message. is_asking: somebody waits for an answer, so the socket must be read."""
        self._messages.append(message)
        self._bytes += len(message.data) + _BYTES_A_MESSAGE
        reader = self.reader
        if reader is not None and reader.wait is not None and not reader.wait.future.done():
            reader.wait.future.set_result(None)
        if self._bytes > _MOST_BYTES:
            if reader is not None and not is_asking:
                self.is_paused = True
                self._connection.pause()
            else:
                self._drop()

    def _drop(self) -> None:
        while self._bytes > _MOST_BYTES and len(self._messages) > 1:
            self._bytes -= len(self._messages.popleft().data) + _BYTES_A_MESSAGE
            self.dropped += 1

    def unblock(self) -> None:
        """Read the socket, because somebody waits for an answer that may come after unread messages."""
        if self.is_paused:
            self.is_paused = False
            self._connection.resume()

    def take(self) -> Message | None:
        """Remove and return the oldest message; None if all are read."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= len(message.data) + _BYTES_A_MESSAGE
        if self.is_paused and self._bytes <= _MOST_BYTES // 2:
            self.unblock()
        return message

    def first_ns(self) -> int:
        """Return the arrival time of the oldest message; 0 if all are read."""
        return self._messages[0].t_ns if self._messages else 0

    @property
    def reader(self) -> MessageStream | None:
        """Return the `async for` that reads; None if the journey reads nothing, or has left the loop."""
        found = None if self._reader is None else self._reader()
        return None if found is None or found.is_over else found

    def read_by(self, reader: MessageStream) -> None:
        self._reader = ref(reader)


class Owner(Protocol):
    """The WebSocket whose messages are read."""

    connection: WsConnection
    inbox: Inbox
    is_leaving: bool

    def lost(self) -> RequestFailed:
        """Return the exception for a call on a connection that has ended."""

    def aged(self, age_ns: int) -> None:
        """Record the age of a message."""


class MessageStream:
    """`async for message in ws.messages(...)`."""

    __slots__ = ("__weakref__", "_left", "_stamp", "_unit_ns", "_until_ns", "_ws", "is_over", "wait")

    def __init__(self, ws: Owner, upto: int | None, within_ns: int | None, stamp: Key | None, unit: Unit) -> None:
        self._ws, self._left, self._stamp = ws, upto, stamp
        self._unit_ns = UNITS_NS[unit]
        self._until_ns = NEVER_NS if within_ns is None else perf_counter_ns() + within_ns
        self.is_over = False
        self.wait: Wait | None = None

    def __aiter__(self) -> MessageStream:
        return self

    async def __anext__(self) -> Message:
        """Return the next message.

        Raises:
            RequestFailed: the connection ended other than by 1000: `ws 1006`.
        """
        inbox, connection = self._ws.inbox, self._ws.connection
        if self._left == 0 or self.is_over:
            self._stop()
        if inbox.reader is not self:
            if inbox.reader is not None and inbox.reader.wait is not None:
                raise UsageError("ws.messages: another loop reads this connection", hint="read in one place")
            inbox.read_by(self)
        while not (first_ns := inbox.first_ns()):
            if connection.outcome:
                if connection.close_code == NORMAL or self._ws.is_leaving:
                    self._stop()
                raise self._ws.lost()
            wait = self.wait = connection.wait(self._until_ns)
            try:
                await wait.future
            except RequestFailed as failure:
                if failure.outcome == TIMEOUT:
                    self._stop()
                # else the connection has ended: see above
            finally:
                self.wait = None
                connection.leave(wait)
        if first_ns > self._until_ns:
            self._stop()
        message = inbox.take()
        assert message is not None
        if self._left is not None:
            self._left -= 1
        if self._stamp is not None:
            self._read_stamp(message, self._stamp)
        return message

    def _stop(self) -> Never:
        self.is_over = True
        raise StopAsyncIteration

    def _read_stamp(self, message: Message, stamp: Key) -> None:
        value: Any = stamp(message)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        arrived_ns = time_ns() - (perf_counter_ns() - message.t_ns)
        message.age_ns = round(arrived_ns - value * self._unit_ns)
        self._ws.aged(message.age_ns)
