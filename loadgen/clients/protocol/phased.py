"""Send, wait and receive of each request, where the plan asks for them: `Http(phases=True)`.

- send: from the first byte handed to the system to the last. Of a body in memory that does not fit into the
  socket's buffer, until the last of it did; with TLS, until it was encrypted and handed on.
- wait: from there to the first byte of the answer.
- receive: from there to its last byte.

They add up to the service time, exactly. An answer that comes before all was sent ends send, and wait is 0. What
fails has them as far as it came, under its outcome; of a time-out the last one is a lower bound.

Nothing of this is on the way of a request where the plan does not ask: connections, replies and meter are of other
classes then. Where it does, a request costs 1.8 µs more (process time of 10,000, canned; least of 9), and is
written at once, not at the end of the loop's turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, Protocol, cast

from loadgen.clients.protocol.body import Upload
from loadgen.clients.protocol.http1 import Connection, Exchange
from loadgen.engine.recording.meter import Meter
from loadgen.measure.deltas.series import TIMEOUT, Phase

__all__ = ["PhasedConnection", "PhasedMeter", "PhasedSample", "phases_of"]

SENDING = 0
UNKNOWN = -1


class PhasedSample(Protocol):
    """What phases are made of: the times of a sample, and when all of the request was written."""

    sent_ns: int
    written_ns: int
    """SENDING: not all was written. UNKNOWN: by a connection that does not say; then there is no send, and wait is from
    sent."""
    first_byte_ns: int
    done_ns: int


def phases_of(sample: PhasedSample) -> Iterator[tuple[Phase, int]]:
    """In their order; the last one was under way when it ended. Nothing where nothing was sent."""
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
    """Notes when the last byte of a request was written: `written_ns` of its exchange."""

    __slots__ = ()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if transport.get_extra_info("ssl_object") is None:
            with suppress(NotImplementedError):  # canned
                transport.set_write_buffer_limits(high=0)  # so that we are told when all is written

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
    """A meter that also records the phases of what it settles."""

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
