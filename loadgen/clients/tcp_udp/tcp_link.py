"""One TCP connection of a user: `async with user.tcp("gate", frame=lines()) as link: await link.ask(b"PING")`.

Connecting, asking, sending and receiving are one row each. After a time-out, or a cancelled request, the connection is
closed unless the request had `match=`: its answer may still come, and would be taken for that of the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from time import perf_counter_ns
from types import FunctionType, TracebackType
from typing import Any

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.outcomes import TIMEOUT
from loadgen.clients.tcp_udp.counters import AnswerCounters
from loadgen.clients.tcp_udp.exchange import Exchange, Expected, check_expected
from loadgen.clients.tcp_udp.frames import Frame
from loadgen.clients.tcp_udp.incoming import CLOSED, Arrived, Incoming
from loadgen.clients.tcp_udp.matching import Match, Waiting, check_match
from loadgen.clients.tcp_udp.place import Place, bytes_of, limit_of, place_of
from loadgen.errors import RequestFailed, UsageError
from loadgen.units import NS_PER_S, format_duration

__all__ = ["TcpLink", "check_frame"]


class TcpLink:
    """A connection to one target, which `async with` opens and closes, or `open` and `aclose`.

    Its methods raise RequestFailed if the target gives no answer: `timeout`, `closed`, `reset`, `message too large` ...
    """

    def __init__(self, place: Place, frame: Frame, timeout: float | str | None = None) -> None:
        self._place = place_of(place, "tcp", ("tcp", "tcps"))
        check_frame(frame)
        self._frame = frame
        self._limit_ns = limit_of("user.tcp", timeout, place.timeouts.total_ns)
        self._where = place.where
        self._waiting: Waiting[Exchange] = Waiting()
        self._receiving: list[Exchange] = []
        """The calls of `receive` that wait, oldest first."""
        self._incoming: Incoming | None = None

    # -- opening and closing ----------------------------------------------------------------------

    async def __aenter__(self) -> TcpLink:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def open(self, *, name: str | None = None) -> None:
        """Connect. Do nothing if the connection is open. After a failure or `aclose`, connect again.

        The limit is the plan's `connect_timeout=`, or `timeout=` of `user.tcp` if that is shorter.

        name: the name of the row, by default `TCP gate (connect)`.

        Raises:
            RequestFailed: `refused`, `timeout`, `dns`, `tls`, `not allowed: ...`.
        """
        if self._incoming is not None and self._incoming.end is None:
            return
        place = self._place
        limit_ns = min(place.timeouts.connect_ns, self._limit_ns)
        exchange = Exchange(place.meter, name or place.row("TCP", "connect"), self._where, limit_ns)
        incoming = Incoming(self._frame, self, self._where)
        tls = place.tls() if place.url.scheme == "tcps" else None

        def connect(opening: Opening) -> Awaitable[None]:
            return place.network.open_stream(place.url.host, place.url.port, tls, lambda: incoming, opening)

        opening = await exchange.open(connect, limit_ns, "connection")
        self._incoming = incoming
        exchange.opened(opening)
        exchange.end(perf_counter_ns())

    async def aclose(self) -> None:
        """Close the connection. Unread messages count as `tcp: unmatched messages`."""
        incoming = self._incoming
        if incoming is not None:
            incoming.close(RequestFailed(CLOSED, f"{self._where}: the journey has closed the connection"))
            while incoming.unread() is not None:
                AnswerCounters.of(self._place.meter.recorder).tcp_unmatched.add()

    # -- what a journey calls ---------------------------------------------------------------------

    async def ask(
        self,
        message: bytes,
        *,
        name: str | None = None,
        timeout: float | str | None = None,
        match: Match | None = None,
        expect: Expected | None = None,
    ) -> bytes:
        """Send a message, and return its answer without the end or the length that the frame adds.

        Args:
            name: the name of the row, by default `TCP gate`.
            timeout: of this request; by default that of `user.tcp`, else the plan's.
            match: returns the part that a request and its answer have in common: `first(2)`. Without it, the next
                message that arrives is the answer, and a time-out closes the connection.
            expect: the expected answer as bytes, or a function that returns True if the answer is right.

        Raises:
            RequestFailed: there is no answer. ExpectFailed: the answer is not the expected one: `expect message`.
            UsageError: an invalid argument, or the connection was never opened.
        """
        incoming, data = self._opened("ask"), bytes_of("ask", message)
        check_expected("ask", expect)
        check_match(match)
        framed = self._frame.encode(data)
        exchange = self._begin(name or self._place.row("TCP"), timeout, "ask")
        exchange.sent = framed
        self._check_open(exchange, incoming)
        wheel = self._place.wheel(asyncio.get_running_loop())
        exchange.begin_ask(wheel, self._give_up, self._waiting, match, data)
        incoming.read_on()
        exchange.sent_ns = perf_counter_ns()
        incoming.transport.write(framed)
        answer = await exchange.answer(wheel)
        exchange.expect(answer, expect)
        return answer

    async def send(self, message: bytes, *, name: str | None = None, timeout: float | str | None = None) -> None:
        """Send a message that has no answer. Its row ends when the operating system has accepted the bytes.

        A time-out closes the connection, because the server has stopped reading in the middle of a message.

        name: the name of the row, by default `TCP gate (send)`.
        """
        incoming, framed = self._opened("send"), self._frame.encode(bytes_of("send", message))
        exchange = self._begin(name or self._place.row("TCP", "send"), timeout, "send")
        exchange.sent = framed
        self._check_open(exchange, incoming)
        exchange.sent_ns = perf_counter_ns()
        incoming.transport.write(framed)
        try:
            async with asyncio.timeout(exchange.limit_ns / NS_PER_S) as limit:
                await incoming.drained()
        except TimeoutError as error:
            if not limit.expired():
                raise
            text = f"loadgen closed the connection to {self._where} after a time-out: call open() to connect again"
            incoming.abort(RequestFailed(CLOSED, text))
            exchange.done_ns = exchange.deadline_ns
            text = f"{self._where} has not read the message within {format_duration(exchange.limit_ns)}"
            raise exchange.failed(RequestFailed(TIMEOUT, text)) from error
        except BaseException:
            exchange.gone()
            raise
        self._check_open(exchange, incoming)
        exchange.first_byte_ns = perf_counter_ns()
        exchange.end(exchange.first_byte_ns)

    async def receive(
        self, *, name: str | None = None, timeout: float | str | None = None, expect: Expected | None = None
    ) -> bytes:
        """Return the oldest message that answered no request. Otherwise, wait for the next one.

        The row has the time of the wait, which is 0 if the message had already arrived. After a time-out the
        connection stays open. name: the name of the row, by default `TCP gate (receive)`.
        """
        incoming = self._opened("receive")
        check_expected("receive", expect)
        limit_ns = limit_of("receive", timeout, self._limit_ns)
        name = name or self._place.row("TCP", "receive")
        exchange = Exchange(self._place.meter, name, self._where, limit_ns, sends=False)
        exchange.sent_ns = exchange.asked_ns
        if (arrived := incoming.unread()) is not None:
            message, _, _ = arrived
            exchange.first_byte_ns, exchange.size_bytes = exchange.asked_ns, len(message)
            exchange.received, exchange.done_ns = message, exchange.asked_ns
            exchange.expect(message, expect)
            return message
        self._check_open(exchange, incoming)
        exchange.begin_wait(wheel := self._place.wheel(asyncio.get_running_loop()), self._receive_no_more)
        self._receiving.append(exchange)
        message = await exchange.answer(wheel)
        exchange.expect(message, expect)
        return message

    # -- what the connection calls ------------------------------------------------------------------

    def took(self, arrived: Arrived) -> bool:
        exchange, is_late = self._waiting.answered(arrived[0])
        if exchange is not None:
            exchange.got(*arrived)
            return True
        if is_late:
            AnswerCounters.of(self._place.meter.recorder).tcp_late.add()
        elif self._receiving:
            self._receiving.pop(0).got(*arrived)
            return True
        if self._waiting.unreadable is not None:
            self._place.meter.recorder.note(
                f"match= raised {self._waiting.unreadable!r} for a message of {self._where}"
            )
            self._waiting.unreadable = None
        return is_late

    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def ended(self, failure: Exception, now_ns: int) -> None:
        waiting, self._receiving = [*self._waiting.take_all(), *self._receiving], []
        for exchange in waiting:
            exchange.fail(_again(failure), now_ns)

    # -- inside -----------------------------------------------------------------------------------

    def _begin(self, name: str, timeout: float | str | None, word: str) -> Exchange:
        limit_ns = limit_of(word, timeout, self._limit_ns)
        return Exchange(self._place.meter, name, self._where, limit_ns)

    def _opened(self, word: str) -> Incoming:
        if self._incoming is None:
            target = f'"{self._place.name}", ' if self._place.name else ""
            raise UsageError(
                f"{word}: the connection to {self._where} is not open",
                hint=f"write async with user.tcp({target}frame=...) as link:, or call open() first",
            )
        return self._incoming

    def _check_open(self, exchange: Exchange, incoming: Incoming) -> None:
        if incoming.end is None:
            return
        if isinstance(incoming.end, RequestFailed):
            raise exchange.failed(_again(incoming.end)) from incoming.end.__cause__
        exchange.gone()
        raise incoming.end

    def _give_up(self, exchange: Exchange) -> None:
        self._waiting.give_up(exchange, exchange.match, exchange.key)
        if exchange.match is None and self._incoming is not None:
            text = (
                f"loadgen closed the connection to {self._where} after a time-out, because the late answer would be"
                " taken for the next one: pass match= to keep it open, or call open() to connect again"
            )
            self._incoming.abort(RequestFailed(CLOSED, text))

    def _receive_no_more(self, exchange: Exchange) -> None:
        with suppress(ValueError):  # it has its message
            self._receiving.remove(exchange)

    def __repr__(self) -> str:
        incoming = self._incoming
        state = "not open" if incoming is None else "open" if incoming.end is None else "closed"
        return f"<TcpLink {self._place.url}, {state}>"


def check_frame(frame: object) -> None:
    """Raise UsageError unless `frame=` of `user.tcp` is a frame."""
    if not isinstance(frame, Frame):
        given = f"{frame.__name__} without ()" if isinstance(frame, FunctionType) else repr(frame)
        raise UsageError(
            f"user.tcp: frame={given} is not a frame",
            hint='write frame=lines(), length_prefix(4), fixed_size(8) or until(b"..."), or an object of your own with'
            " max_bytes, encode and take",
        )


def _again(failure: Any) -> Any:
    """Return a copy of a RequestFailed, because several calls may raise it; another exception as it is."""
    return RequestFailed(failure.outcome, failure.detail) if isinstance(failure, RequestFailed) else failure
