"""One WebSocket connection, client side: the handshake, frames both ways, pings of the target, and the close.

`WebSocket` (websocket.py) sends with it and gets the messages; it has no policy of its own. The memory of a connection
is bounded whatever the target sends: a message by its limit, unread messages by `WebSocket`, and answers to pings by
the write buffer. Only the last ping is answered while the target reads nothing.

The close: after our close frame or that of the target nothing more is sent. The target closes the connection; if it
does not within a second, we do. So the ports in TIME_WAIT are the target's, as RFC 6455 demands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from random import getrandbits
from time import perf_counter_ns
from typing import Any, Final, Protocol

from loadgen.clients.framing.ws_frames import (
    CLOSE,
    PING,
    PONG,
    FrameReader,
    Violation,
    close_payload,
    masked_frame,
    read_close,
)
from loadgen.clients.protocol.connection_interface import peer_text
from loadgen.clients.protocol.outcomes import RESET, TIMEOUT
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.clients.ws_client.handshake import take_head
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = ["ABNORMAL", "NORMAL", "Listener", "Wait", "Waiting", "WsConnection"]

NORMAL: Final = 1000
ABNORMAL: Final = 1006
"""Stands for a connection that ended without a close frame."""
_LINGER_NS: Final = NS_PER_S
"""How long a closed connection waits for the target to close it."""
_CANNED_NS: Final = 50_000_000
"""How long a trial waits for a message that its canned peer does not send."""
_MOST_CONTROL: Final = 1_000
"""The most pings and pongs within a second."""
_TOO_LATE: Final = "no answer within the time-out; timeout=... sets a longer one"
_REFUSAL_BYTES: Final = 64 * 1024
"""The most bytes of the body of a refusal that are kept."""


class Waiting(Protocol):
    """A wait for an answer until a deadline (`perf_counter_ns`). Compared by identity."""

    future: asyncio.Future[Any]
    deadline_ns: int
    key: Hashable


class Wait:
    """A wait that measures nothing."""

    __slots__ = ("deadline_ns", "future", "key")

    def __init__(self, future: asyncio.Future[Any], deadline_ns: int) -> None:
        self.future, self.deadline_ns = future, deadline_ns
        self.key: Hashable = None


class Listener(Protocol):
    """Gets what the connection receives."""

    def took(self, data: str | bytes, now_ns: int) -> None:
        """Handle a message."""

    def ended(self) -> None:
        """Handle the end of the connection; its `outcome` is set."""


class WsConnection(asyncio.Protocol):
    """HOT. Sends and receives the frames of one connection.

    outcome: "" while the connection is open; afterwards how it ended, such as `ws 1000`, `ws protocol` or `reset`.
    close_code: 0 while the connection is open; afterwards the code in the target's close frame, or ABNORMAL.
    is_full: the write buffer is full, because the target reads more slowly than we send.
    """

    __slots__ = (
        "_body",
        "_control_from_ns",
        "_controls",
        "_draining",
        "_head",
        "_is_shaken",
        "_last_ping",
        "_lost",
        "_reader",
        "_shaking",
        "_transport",
        "_wheel",
        "check_ns",
        "close_code",
        "close_reason",
        "deadline_ns",
        "detail",
        "ended_ns",
        "has_sent_close",
        "is_canned",
        "is_closed",
        "is_full",
        "listener",
        "loop",
        "outcome",
        "pongs",
        "size_bytes",
        "waits",
        "where",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wheel: TimeoutWheel, where: str, limit_bytes: int, lost: Any
    ) -> None:
        self.loop, self._wheel, self.where, self._lost = loop, wheel, where, lost
        self._reader = FrameReader(limit_bytes)
        self._head = bytearray()
        self._body: bytearray | None = None
        self._shaking: Wait | None = None
        self._is_shaken = False
        self.waits: dict[Waiting, None] = {}
        """All waits for answers."""
        self._draining: list[Wait] = []
        self._last_ping: bytes | None = None
        self._controls = self._control_from_ns = 0
        self._transport: asyncio.Transport
        self.listener: Listener | None = None
        self.pongs: dict[bytes, Waiting] = {}
        """The waits for pongs, by the payload of the ping."""
        self.outcome = self.detail = self.close_reason = ""
        self.close_code = self.ended_ns = self.size_bytes = 0
        self.has_sent_close = self.is_closed = self.is_canned = self.is_full = False
        self.deadline_ns = self.check_ns = NEVER_NS

    # -- who waits --------------------------------------------------------------------------------

    def add(self, wait: Waiting) -> None:
        """HOT. Let the future of `wait` fail with `timeout` at its deadline, and when the connection ends."""
        self.waits[wait] = None
        if wait.deadline_ns < self.deadline_ns or self.is_canned:
            if self.is_canned:  # a trial: nothing arrives later, so the wait is short
                wait.deadline_ns = min(wait.deadline_ns, perf_counter_ns() + _CANNED_NS)
            self.deadline_ns = min(self.deadline_ns, wait.deadline_ns)
            if self.deadline_ns < self.check_ns:
                self._wheel.watch(self)

    def wait(self, deadline_ns: int) -> Wait:
        """Return a new wait that is added. Remove it with `leave`."""
        made = Wait(self.loop.create_future(), deadline_ns)
        self.add(made)
        return made

    def leave(self, wait: Waiting) -> None:
        """Remove a wait that has ended."""
        self.waits.pop(wait, None)

    def expire(self) -> None:
        """Fail the waits whose deadline has passed. The timing wheel calls this method."""
        if self.outcome:  # the end of `_linger`
            self._abort()
            return
        now_ns = perf_counter_ns()
        for wait in [one for one in self.waits if one.deadline_ns <= now_ns]:
            del self.waits[wait]
            if not wait.future.done():
                wait.future.set_exception(RequestFailed(TIMEOUT, _TOO_LATE))
        self.deadline_ns = min((one.deadline_ns for one in self.waits), default=NEVER_NS)
        if self.deadline_ns < NEVER_NS:
            self._wheel.watch(self)

    # -- the handshake ----------------------------------------------------------------------------

    async def shake(self, data: bytes, deadline_ns: int) -> tuple[Head, bytes]:
        """Send the request of the handshake, and return the head of the answer, and of a refusal the body so far.

        Raises:
            RequestFailed: `timeout`, `reset`, `protocol`.
        """
        if self.is_closed:
            raise RequestFailed(RESET, f"{self.where} closed the connection")
        wait = self._shaking = self.wait(deadline_ns)
        self._transport.write(data)
        try:
            head: Head = await wait.future
        finally:
            self.leave(wait)
        if head.status == 101:
            self._is_shaken = True
        return head, bytes(self._body or b"")

    def begin(self, listener: Listener) -> None:
        """Pass messages on from now on, also those that came with the answer of the handshake."""
        self.listener = listener
        early = bytes(self._head)
        self._head = bytearray()
        if early:
            self._take(early, perf_counter_ns())

    def _take_head(self, data: bytes) -> None:
        wait = self._shaking
        if self._body is not None:
            self._body += data[: _REFUSAL_BYTES - len(self._body)]
            return
        self._head += data
        if wait is None or wait.future.done():
            if len(self._head) > _REFUSAL_BYTES:
                self._transport.pause_reading()
            return
        try:
            head = take_head(self._head)
        except RequestFailed as failure:
            wait.future.set_exception(failure)
            return
        if head is not None:
            if head.status != 101:
                self._body, self._head = self._head[:_REFUSAL_BYTES], bytearray()
            wait.future.set_result(head)

    # -- sending ----------------------------------------------------------------------------------

    def send(self, kind: int, payload: bytes) -> None:
        """HOT. Write a frame. Await `drained` before, if `is_full`."""
        self._transport.write(masked_frame(kind, payload, getrandbits(32)))

    async def drained(self, deadline_ns: int) -> None:
        """Wait until the target has read enough that more can be sent (`is_full`).

        Raises:
            RequestFailed: `timeout`, or the outcome of the connection.
        """
        while self.is_full and not self.outcome:
            wait = self.wait(deadline_ns)
            self._draining.append(wait)
            try:
                await wait.future
            finally:
                self.leave(wait)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        draining, self._draining = self._draining, []
        for wait in draining:
            if not wait.future.done():
                wait.future.set_result(None)
        ping, self._last_ping = self._last_ping, None
        if ping is not None and not self.has_sent_close:
            self.send(PONG, ping)

    def pause(self) -> None:
        """Read no more from the socket until `resume`, because unread messages take too much memory."""
        if not self.is_closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self.is_closed:
            self._transport.resume_reading()

    # -- receiving --------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        OPEN_CONNECTIONS.websockets += 1
        self._transport = transport
        self.is_canned = bool(transport.get_extra_info("is_canned"))

    @property
    def remote(self) -> str:
        return peer_text(self._transport)

    def data_received(self, data: bytes) -> None:
        now_ns = perf_counter_ns()
        size = len(data)
        self.size_bytes += size
        listener = self.listener
        if listener is None:
            self._take_head(data)
        elif 1 < size < 128 and data[0] == 0x81 and size == data[1] + 2:
            # Nearly all: one short text in one frame, in one read.
            reader = self._reader
            if reader.need or reader.kind:
                self._take(data, now_ns)
            elif not self.outcome:
                try:
                    text = data[2:].decode()
                except UnicodeDecodeError:
                    self._take(data, now_ns)
                    return
                listener.took(text, now_ns)
        else:
            self._take(data, now_ns)

    def _take(self, data: bytes, now_ns: int) -> None:
        if self.outcome:
            return
        reader, listener = self._reader, self.listener
        assert listener is not None
        for kind, payload in reader.feed(data):
            if kind < CLOSE:
                listener.took(payload, now_ns)
            else:
                assert isinstance(payload, bytes)
                self._took_control(kind, payload, now_ns)
        if reader.failure is not None and not self.outcome:
            self._violated(reader.failure, now_ns)

    def _took_control(self, kind: int, payload: bytes, now_ns: int) -> None:
        if kind == CLOSE:
            self._took_close(payload, now_ns)
            return
        if now_ns - self._control_from_ns > NS_PER_S:
            self._control_from_ns, self._controls = now_ns, 0
        self._controls += 1
        if self._controls > _MOST_CONTROL:
            if not self.outcome:
                self._violated(
                    Violation(1008, "ws flood", f"more than {_MOST_CONTROL:,} pings and pongs within a second"), now_ns
                )
        elif kind == PING:
            if self.has_sent_close:
                return
            if not self.is_full:
                self.send(PONG, payload)
            else:
                self._last_ping = payload
        elif (wait := self.pongs.pop(payload, None)) is not None and not wait.future.done():
            wait.future.set_result(now_ns)

    def _took_close(self, payload: bytes, now_ns: int) -> None:
        try:
            code, reason = read_close(payload)
        except Violation as violation:
            self._violated(violation, now_ns)
            return
        self.close_code, self.close_reason = code, reason
        if not self.has_sent_close:
            # RFC 6455, section 5.5.1: the answer has the same code. A frame without a code is answered without one.
            self._write_close(payload[:2])
        self._end(f"ws {code}", f"{self.where} closed the connection{': ' if reason else ''}{reason}", now_ns)

    def _violated(self, violation: Violation, now_ns: int) -> None:
        if not self.has_sent_close:
            self._write_close(close_payload(violation.code, violation.detail))
        self._end(violation.outcome, f"{self.where}: {violation.detail}", now_ns)

    def eof_received(self) -> None:
        """Handle that the target closed its side. Returning None closes ours."""

    def connection_lost(self, error: Exception | None) -> None:
        OPEN_CONNECTIONS.websockets -= 1
        self.is_closed = True
        if not self.outcome:
            why = "reset the connection" if error is not None else "closed the connection"
            detail = f"{self.where} {why} without a close frame" if self._is_shaken else f"{self.where} {why}"
            self._end(f"ws {ABNORMAL}" if self._is_shaken else RESET, detail, perf_counter_ns())
        self._wheel.forget(self)
        self._lost(self)
        self.listener = None  # it refers to this connection, too

    # -- the end ----------------------------------------------------------------------------------

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame. The target's answer ends the connection."""
        if not self.has_sent_close and not self.is_closed:
            self._write_close(close_payload(code, reason))

    def _write_close(self, payload: bytes) -> None:
        self.has_sent_close = True
        if not self.is_closed:
            self.send(CLOSE, payload)

    def _end(self, outcome: str, detail: str, now_ns: int) -> None:
        self.outcome, self.detail, self.ended_ns = outcome, detail, now_ns
        self.close_code = self.close_code or ABNORMAL
        waits, self.waits = self.waits, {}
        self.pongs.clear()
        for wait in waits:
            if not wait.future.done():
                wait.future.set_exception(RequestFailed(outcome, detail))
        if self.listener is not None:
            self.listener.ended()
        self._linger()

    def _linger(self) -> None:
        """Wait for the target to close the connection, but no longer than a second."""
        if not self.is_closed:
            self.resume()  # else the target's close would not be seen
            self.deadline_ns = perf_counter_ns() + _LINGER_NS
            self._wheel.watch(self)

    def go(self, code: int) -> None:
        """Close the connection from this side without waiting for an answer, because the journey was stopped."""
        if not self.is_closed:
            if self._is_shaken and not self.has_sent_close:
                self._write_close(close_payload(code))
            if not self.outcome:
                self._end(f"ws {code}", "the journey ended", perf_counter_ns())

    def abort(self) -> None:
        """Close the connection because its user has ended. Bytes in the write buffer are still sent."""
        if not self.is_closed:
            self.go(1001)
            self._transport.close()

    def _abort(self) -> None:
        if not self.is_closed:
            self._transport.abort()
