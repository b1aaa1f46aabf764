"""One UDP socket of a user: `await user.udp("dns").ask(query, match=first(2), timeout="1s")`.

The socket is opened by the first datagram, and kept for the user's life. It receives datagrams of its target alone.
A lost datagram shows only as a time-out. Without `match=`, the next datagram is the answer, and a time-out replaces
the socket, because the late answer would be taken for that of the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter_ns
from typing import Any, Final

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.outcomes import RESET, connect_failure
from loadgen.clients.tcp_udp.counters import AnswerCounters
from loadgen.clients.tcp_udp.exchange import Exchange, Expected, check_expected
from loadgen.clients.tcp_udp.matching import Match, Waiting, check_match
from loadgen.clients.tcp_udp.place import Place, bytes_of, limit_of, place_of
from loadgen.errors import RequestFailed, UsageError

__all__ = ["MAX_DATAGRAM_BYTES", "UdpSocket"]

MAX_DATAGRAM_BYTES: Final = 65_507
"""The largest payload of a datagram over IPv4."""


class UdpSocket:
    """The socket of one user and one target. Its methods raise RequestFailed: `timeout`, `refused`, `dns` ..."""

    def __init__(self, place: Place) -> None:
        self._place = place_of(place, "udp", ("udp",))
        self._where = place.where
        self._waiting: Waiting[Exchange] = Waiting()
        self._datagrams: _Datagrams | None = None

    async def ask(
        self,
        message: bytes,
        *,
        name: str | None = None,
        timeout: float | str | None = None,
        match: Match | None = None,
        expect: Expected | None = None,
    ) -> bytes:
        """Send a datagram and return the datagram that answers it.

        Args:
            name: the name of the row, by default `UDP dns`.
            timeout: after which the answer counts as lost; by default the plan's.
            match: returns the part that a request and its answer have in common: `first(2)`. Without it, the next
                datagram is the answer, and a time-out replaces the socket.
            expect: the expected answer as bytes, or a function that returns True if the answer is right.

        Raises:
            RequestFailed: there is no answer. ExpectFailed: the answer is not the expected one: `expect message`.
            UsageError: an invalid argument.
        """
        data = _datagram("ask", message)
        check_expected("ask", expect)
        check_match(match)
        exchange = await self._begin("ask", name or self._place.row("UDP"), data, timeout)
        wheel = self._place.wheel(asyncio.get_running_loop())
        exchange.begin_ask(wheel, self._give_up, self._waiting, match, data)
        self._write(exchange, data)
        answer = await exchange.answer(wheel)
        exchange.expect(answer, expect)
        return answer

    async def send(self, message: bytes, *, name: str | None = None) -> None:
        """Send a datagram that has no answer. Its row ends when the operating system has accepted it.

        name: the name of the row, by default `UDP dns (send)`.
        """
        data = _datagram("send", message)
        exchange = await self._begin("send", name or self._place.row("UDP", "send"), data, None)
        self._write(exchange, data)
        exchange.first_byte_ns = perf_counter_ns()
        exchange.end(exchange.first_byte_ns)

    def close(self) -> None:
        """Close the socket. The next call opens another one."""
        datagrams, self._datagrams = self._datagrams, None
        if datagrams is not None and datagrams.transport is not None:
            datagrams.transport.abort()

    # -- what the socket calls --------------------------------------------------------------------

    def took(self, message: bytes, datagrams: _Datagrams) -> None:
        """HOT, once a datagram."""
        if datagrams is not self._datagrams:
            return
        now_ns = perf_counter_ns()
        exchange, is_late = self._waiting.answered(message)
        if exchange is not None:
            exchange.got(message, now_ns, now_ns)
            return
        recorder = self._place.meter.recorder
        counters = AnswerCounters.of(recorder)
        (counters.udp_late if is_late else counters.udp_unmatched).add()
        if self._waiting.unreadable is not None:
            recorder.note(f"match= raised {self._waiting.unreadable!r} for a datagram of {self._where}")
            self._waiting.unreadable = None

    def failed(self, error: Exception, datagrams: _Datagrams) -> None:
        """End all waits, because the system reports an error, such as ICMP's "port unreachable"."""
        if datagrams is not self._datagrams:
            return
        now_ns = perf_counter_ns()
        for exchange in self._waiting.take_all():
            is_known = isinstance(error, OSError)
            exchange.fail(
                connect_failure(error, self._where)  # type: ignore[arg-type]  # an OSError
                if is_known
                else RequestFailed(RESET, f"{self._where}: {error}"),
                now_ns,
            )

    # -- inside -----------------------------------------------------------------------------------

    async def _begin(self, word: str, name: str, data: bytes, timeout: float | str | None) -> Exchange:
        """Begin a row, and open the socket if it is not open. A failure is recorded and raised."""
        limit_ns = limit_of(word, timeout, self._place.timeouts.total_ns)
        exchange = Exchange(self._place.meter, name, self._where, limit_ns)
        exchange.sent = data
        if self._datagrams is None:
            await self._open(exchange)
        return exchange

    async def _open(self, exchange: Exchange) -> None:
        place, made = self._place, _Datagrams(self)

        def connect(opening: Opening) -> Awaitable[None]:
            return place.network.open_datagrams(place.url.host, place.url.port, lambda: made, opening)

        opening = await exchange.open(connect, min(exchange.limit_ns, place.timeouts.connect_ns), "address")
        if self._datagrams is not None:  # a concurrent call was faster
            made.transport.abort()
            return
        self._datagrams = made
        opening.times.pop("connect", None)  # UDP has no handshake
        exchange.opened(opening)

    def _write(self, exchange: Exchange, data: bytes) -> None:
        assert self._datagrams is not None
        exchange.sent_ns = perf_counter_ns()
        self._datagrams.transport.sendto(data)

    def _give_up(self, exchange: Exchange) -> None:
        self._waiting.give_up(exchange, exchange.match, exchange.key)
        if exchange.match is None:
            self.close()

    def __repr__(self) -> str:
        return f"<UdpSocket {self._place.url}, {'not open' if self._datagrams is None else 'open'}>"


class _Datagrams(asyncio.DatagramProtocol):
    """The asyncio side of one socket."""

    def __init__(self, owner: UdpSocket) -> None:
        self._owner = owner
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._owner.took(data, self)

    def error_received(self, error: Exception) -> None:
        self._owner.failed(error, self)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._owner.failed(error, self)


def _datagram(word: str, message: object) -> bytes:
    data = bytes_of(word, message)
    if len(data) > MAX_DATAGRAM_BYTES:
        raise UsageError(
            f"{word}: a datagram of {len(data):,} bytes is larger than {MAX_DATAGRAM_BYTES:,}",
            hint="send several datagrams, or use TCP",
        )
    return data
