"""Chooses the class of connections for a plan's settings, once, so that no single request has to check them.

The fast path of `http1.py` accepts an answer that arrives in one read without looking at its size. If the size limit
of bodies is smaller than one read, every answer has to be checked, by another class. Plans with phases need a class
that notes when a request was written (`phased.py`). Plans with AI models need one that accepts the kernel's time of a
read (`net/stamped_transport.py`).
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Final

from loadgen.clients.net.stamped_transport import StampedConnection
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.phased import PhasedConnection

__all__ = ["connection_kind"]

_MOST_READ_BYTES: Final = 256 * 1024
"""The size of the largest read of the transports of asyncio and uvloop."""


def connection_kind(limit_bytes: int, *, has_phases: bool, has_stamps: bool = False) -> type[Connection]:
    """Return the class of HTTP/1.1 connections for a size limit of bodies.

    has_phases: the connections measure the phases of each request. has_stamps: their streamed answers are timed by the
    kernel.
    """
    if has_stamps:
        return _STAMPED[connection_kind(limit_bytes, has_phases=has_phases)]
    if limit_bytes < _MOST_READ_BYTES:
        return _CappedPhasedConnection if has_phases else _CappedConnection
    return PhasedConnection if has_phases else Connection


class _CappedConnection(Connection):
    """A connection without the fast path: an answer that arrives in one read could exceed the size limit."""

    __slots__ = ()

    def data_received(self, data: bytes, at_ns: int = 0) -> None:
        exchange = self._exchange
        if exchange is None or exchange.size_bytes or self._is_streaming:
            super().data_received(data, at_ns)
            return
        # From here on as `Connection._begin` without a cached head: `_feed` compares the body with the limit.
        exchange.first_byte_ns = now_ns = at_ns or perf_counter_ns()
        exchange.size_bytes = len(data)
        begin = data.find(b"\r\n\r\n") + 4
        self._key = data[:begin] if begin > 4 else None
        self._feed(exchange, data, now_ns)


class _CappedPhasedConnection(PhasedConnection, _CappedConnection):
    __slots__ = ()


class _StampedPhasedConnection(StampedConnection, PhasedConnection):
    __slots__ = ()


class _StampedCappedConnection(StampedConnection, _CappedConnection):
    __slots__ = ()


class _StampedCappedPhasedConnection(StampedConnection, _CappedPhasedConnection):
    __slots__ = ()


_STAMPED: Final[dict[type[Connection], type[Connection]]] = {
    Connection: StampedConnection,
    PhasedConnection: _StampedPhasedConnection,
    _CappedConnection: _StampedCappedConnection,
    _CappedPhasedConnection: _StampedCappedPhasedConnection,
}
