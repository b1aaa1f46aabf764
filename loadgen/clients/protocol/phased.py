"""Measures send, wait and receive of each request, if the plan has `Http(phases=True)`.

- send: from the first byte passed to the system to the last. If a body in memory does not fit into the socket's
  buffer, until its last byte does; with TLS, until it is encrypted and passed on.
- wait: from then to the first byte of the answer.
- receive: from then to the last byte.

The phases add up exactly to the service time. An answer that begins before the request is written ends send, and wait
is 0. A failed request has the phases that it reached, under its outcome; after a time-out the last one is a lower
bound.

Plans without phases pay nothing: with phases, other classes of connections, replies and meters are used. They cost
1.8 µs a request (process time of 10,000 canned requests, least of 9), and each request is written at once instead of at
the end of the loop's turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, Protocol, cast

from loadgen.clients.protocol.http1 import Connection, Exchange
from loadgen.clients.protocol.request_body_encoding import Upload
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.deltas.series_key import TIMEOUT, Phase

__all__ = ["PhasedConnection", "PhasedMeter", "PhasedSample", "phases_of"]

SENDING = 0
UNKNOWN = -1


class PhasedSample(Protocol):
    """The times from which phases are computed: those of a sample, and when its request was written."""

    sent_ns: int
    written_ns: int
    """When the last byte was written. SENDING: not yet. UNKNOWN: the connection does not report it; then there is no
    send phase, and wait begins at `sent_ns`."""
    first_byte_ns: int
    done_ns: int


def phases_of(sample: PhasedSample) -> Iterator[tuple[Phase, int]]:
    """Yield (phase, its duration in ns) of a request, in order. The last phase was under way when the request ended.
    Yields nothing if the request was not sent.
    """
    sent_ns, written_ns, first_ns, done_ns = sample.sent_ns, sample.written_ns, sample.first_byte_ns, sample.done_ns
    if not sent_ns:
        return
    if written_ns == UNKNOWN:
        written_ns = sent_ns
    else:
        if written_ns == SENDING or written_ns > (first_ns or done_ns):
            if not first_ns:
                yield "send", done_ns - sent_ns
                return
            written_ns = first_ns
        yield "send", written_ns - sent_ns
    if not first_ns:
        yield "wait", done_ns - written_ns
        return
    yield "wait", first_ns - written_ns
    yield "receive", done_ns - first_ns


class PhasedConnection(Connection):
    """An HTTP/1.1 connection that notes when a request was written, in `written_ns` of its exchange."""

    __slots__ = ()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if transport.get_extra_info("ssl_object") is None:
            with suppress(NotImplementedError):  # canned transports
                transport.set_write_buffer_limits(high=0)  # so that resume_writing is called when all bytes are written

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> asyncio.Future[None]:
        waiter = super().ask(data, exchange, deadline_ns)
        cast("PhasedSample", exchange).written_ns = SENDING if self._drained is not None else perf_counter_ns()
        return waiter

    async def _push(self, upload: Upload, waiter: Any) -> None:
        exchange = cast("PhasedSample", self._exchange)
        exchange.written_ns = SENDING
        try:
            await super()._push(upload, waiter)
        finally:
            if not self._is_sending and self._drained is None and exchange.written_ns == SENDING:
                exchange.written_ns = perf_counter_ns()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is not None and not self._is_sending:
            cast("PhasedSample", self._exchange).written_ns = perf_counter_ns()


class PhasedMeter(Meter):
    """A meter that also records the phases of the samples that it settles."""

    __slots__ = ()

    def settle(self) -> None:
        if self._is_held:
            held: Any = self._sample
            if hasattr(held, "written_ns"):
                outcome = held.outcome
                found = tuple(phases_of(held))
                for phase, ns in found[:-1]:
                    held.series.phase(phase, ns, outcome)
                for phase, ns in found[-1:]:
                    held.series.phase(phase, ns, outcome, is_bound=outcome == TIMEOUT)
        super().settle()
