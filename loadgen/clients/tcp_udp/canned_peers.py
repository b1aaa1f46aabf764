"""Peers of trials: they answer what `user.tcp` and `user.udp` send, without a network.

    replies={"TCP gate": b"PONG\\n", "UDP dns": lambda query: query[:2] + b"..."}

A value is the bytes that the peer sends for each message that it gets. They include the end or the length that the
frame adds. A list is used in turn, and its last element repeats. A function gets the sent bytes. None means no answer,
which ends as `timeout` at once. An exception such as `ConnectionRefusedError()` is what the system would report;
`EOFError()` closes the connection. For a peer that sends first, use a function: it is called with `b""` when the
connection opens.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.outcomes import REFUSED, connect_failure
from loadgen.clients.protocol.timeouts import Watched
from loadgen.errors import RequestFailed, UsageError

__all__ = ["CannedPeers", "SentMessage", "SilenceIsTimeout", "canned_host"]

_TURNS: Final = 20
"""Turns of the loop after which a canned peer is silent: enough for calls within `gather`."""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that a trial has sent over TCP or UDP. target: "TCP gate". data: as on the wire."""

    target: str
    data: bytes


def canned_host(target: str) -> str:
    """Return the host name that stands for a target in a trial."""
    return f"{re.sub(r'[^a-z0-9-]', '-', target.lower()) or 'main'}.trial.example"


class SilenceIsTimeout:
    """Takes the place of the timing wheel in trials: a peer that has not answered after some turns never will."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[Watched] = set()

    def watch(self, it: Watched) -> None:
        self._watched.add(it)
        self._turn(it, _TURNS)

    def forget(self, it: Watched) -> None:
        self._watched.discard(it)

    def _turn(self, it: Watched, left: int) -> None:
        if it in self._watched:
            if left:
                self._loop.call_soon(self._turn, it, left - 1)
            else:
                it.expire()


class CannedPeers:
    """The network of a trial, for those keys of its `replies` that begin with `TCP ` and `UDP `.

    sent: all messages so far, in order.
    """

    def __init__(self, replies: Mapping[str, Any]) -> None:
        self._replies = {key: value for key, value in replies.items() if re.match(r"(TCP|UDP)( |$)", key)}
        self._by_host = {(key[:3], canned_host(key[4:])): key for key in self._replies}
        self._turns: dict[str, int] = {}
        self.sent: list[SentMessage] = []

    def http_part(self, replies: Mapping[str, Any]) -> dict[str, Any]:
        """Return the replies that are not of these peers."""
        return {key: value for key, value in replies.items() if key not in self._replies}

    # -- a network --------------------------------------------------------------------------------

    async def open_stream(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        factory: Callable[[], asyncio.Protocol],
        opening: Opening,
    ) -> None:
        key, protocol = self._key("TCP", host), factory()
        transport = _CannedStream(self, key, protocol)
        protocol.connection_made(transport)
        if callable(self._replies[key]):
            transport.answer(b"")

    async def open_datagrams(
        self, host: str, port: int, factory: Callable[[], asyncio.DatagramProtocol], opening: Opening
    ) -> None:
        protocol = factory()
        protocol.connection_made(_CannedDatagrams(self, self._key("UDP", host), protocol))

    def _key(self, kind: str, host: str) -> str:
        key = self._by_host.get((kind, host))
        if key is None:
            name = host.partition(".")[0]
            there = ", ".join(self._replies) or "nothing"
            raise UsageError(
                f"no canned peer for {kind} {name}", hint=f'add "{kind} {name}" to the replies; they cover {there}'
            )
        if isinstance(error := self._replies[key], ConnectionRefusedError):  # in tests it has no errno
            raise RequestFailed(REFUSED, f"{key}: the canned peer of the trial refuses the connection") from error
        if isinstance(error, OSError):
            raise connect_failure(error, key) from error
        return key

    def answer(self, key: str, data: bytes) -> bytes | Exception | None:
        """Return the answer of a peer to some bytes.

        Raises:
            UsageError: it is neither bytes nor None nor an exception.
        """
        value = self._replies[key]
        if data:
            self.sent.append(SentMessage(key, data))
        if isinstance(value, list):
            turn = self._turns[key] = self._turns.get(key, -1) + 1
            value = value[min(turn, len(value) - 1)] if value else None
        made: Any = value(data) if callable(value) else value
        if made is None or isinstance(made, bytes | OSError | EOFError):
            return made
        raise UsageError(
            f"the canned peer {key} answers {made!r}", hint="a peer answers bytes, None, an OSError or EOFError()"
        )


class _CannedStream(asyncio.Transport):
    def __init__(self, peers: CannedPeers, key: str, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._peers, self._key, self._protocol = peers, key, protocol
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answer(bytes(data))

    def answer(self, data: bytes) -> None:
        answer = self._peers.answer(self._key, data)
        if answer is not None:
            self._loop.call_soon(self._receive, answer)

    def _receive(self, answer: bytes | Exception) -> None:
        if self._is_closed:
            return
        if isinstance(answer, bytes):
            if answer:
                self._protocol.data_received(answer)
        elif isinstance(answer, EOFError):
            self._protocol.eof_received()
        else:
            self._protocol.connection_lost(answer)

    def abort(self) -> None:
        self._is_closed = True

    close = abort

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _CannedDatagrams(asyncio.DatagramTransport):
    def __init__(self, peers: CannedPeers, key: str, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__()
        self._peers, self._key, self._protocol = peers, key, protocol
        self._loop = asyncio.get_running_loop()

    def sendto(self, data: Any, addr: Any = None) -> None:
        answer = self._peers.answer(self._key, bytes(data))
        if isinstance(answer, Exception):
            self._loop.call_soon(self._protocol.error_received, answer)
        elif answer is not None:
            self._loop.call_soon(self._protocol.datagram_received, answer, (self._key, 0))

    def abort(self) -> None: ...

    close = abort
