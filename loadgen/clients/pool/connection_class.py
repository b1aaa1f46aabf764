"""Which class of connections a plan's settings call for: decided once, so that no request is asked.

A limit of a body's size below what one read from a socket can bring needs a connection that looks at every answer: the
short way of `http1.py` takes what is there whole. Phases need one that notes when a request was written (`phased.py`).
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Final

from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.phased import PhasedConnection

__all__ = ["connection_kind"]

_MOST_READ_BYTES: Final = 256 * 1024
"""What one read brings at most, of asyncio's and uvloop's transports."""


def connection_kind(limit_bytes: int, *, has_phases: bool) -> type[Connection]:
    """limit_bytes: of a body."""
    if limit_bytes < _MOST_READ_BYTES:
        return _CappedPhasedConnection if has_phases else _CappedConnection
    return PhasedConnection if has_phases else Connection


class _CappedConnection(Connection):
    """Takes no short way: an answer that came in one read could be larger than it may be."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.size_bytes or self._is_streaming:
            super().data_received(data)
            return
        exchange.first_byte_ns = now_ns = perf_counter_ns()
        exchange.size_bytes = len(data)
        begin = data.find(b"\r\n\r\n") + 4
        self._key = data[:begin] if begin > 4 else None
        self._feed(exchange, data, now_ns)


class _CappedPhasedConnection(PhasedConnection, _CappedConnection):
    __slots__ = ()
