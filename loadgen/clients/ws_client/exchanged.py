"""The measured part of a WebSocket row: connecting, an answered message, a ping, or closing."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any, Final

from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.response.format_exchange import MAX_SHOWN_BYTES, request_text, response_text
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.measure.deltas.series_key import OK, Phase

__all__ = ["Connecting", "Exchanged", "Said", "shown"]

Said = tuple[int, str, str]
"""A message for people: its time (`perf_counter_ns`), "sent" or "received", and its text."""
_NOT_WRITTEN: Final = -1
"""`phased.UNKNOWN`: the connection does not report when the bytes were written."""


class Exchanged:
    """The sample that the meter records, and at the same time the wait for the answer. Times are `perf_counter_ns`.

    HOT: made once for each `ask`. future: done with the answer; it fails at `deadline_ns`, and when the connection
    ends. key: the id of the message, if the answer has it, too.
    """

    __slots__ = (
        "asked_ns",
        "deadline_ns",
        "done_ns",
        "first_byte_ns",
        "future",
        "key",
        "outcome",
        "received",
        "sent",
        "sent_ns",
        "series",
        "size_bytes",
    )

    trace = ""
    peer = ("", 0)
    """The span of a message has no address: that of the handshake does."""
    written_ns = _NOT_WRITTEN

    def __init__(
        self,
        series: RequestSeries,
        asked_ns: int,
        sent: str | bytes,
        future: asyncio.Future[Any],
        deadline_ns: int = NEVER_NS,
        key: Hashable = None,
    ) -> None:
        self.series, self.asked_ns, self.sent = series, asked_ns, sent
        self.future, self.deadline_ns, self.key = future, deadline_ns, key
        self.received: str | bytes = ""
        self.sent_ns = 0
        self.first_byte_ns = 0
        self.done_ns = 0
        self.size_bytes = 0
        self.outcome: str = OK

    @property
    def opening_ns(self) -> Mapping[Phase, int]:
        """Return the time of each phase of opening the connection: none, because it is open."""
        return {}

    def exchange(self) -> tuple[str, str]:
        """Return the sent and the received message as texts, to store them with a failure."""
        return shown(self.sent), shown(self.received)


class Connecting(Exchanged):
    """The sample of an opening handshake."""

    __slots__ = (
        "_opening_ns",
        "first_messages",
        "head",
        "is_sampled",
        "remote",
        "route",
        "span",
        "status_code",
        "trace",
    )

    def __init__(
        self, series: RequestSeries, asked_ns: int, sent: bytes, future: asyncio.Future[Any], route: Route
    ) -> None:
        super().__init__(series, asked_ns, sent, future)
        self.route, self.remote, self.trace = route, "", ""
        self._opening_ns: Mapping[Phase, int] = {}
        self.head: Head | None = None
        self.status_code: int | None = None
        self.is_sampled = False
        self.span = ""
        self.first_messages: list[Said] = []
        """The first messages of the connection, if the meter keeps them."""

    @property
    def opening_ns(self) -> Mapping[Phase, int]:
        return self._opening_ns

    def opened(self, times: Mapping[Phase, int], failed: Phase | None, outcome: str) -> None:
        """Record how long each phase of opening the connection took. failed: the phase that failed, with `outcome`."""
        self.series.opened(times, failed, outcome)
        self._opening_ns = times

    def exchange(self) -> tuple[str, str]:
        assert isinstance(self.sent, bytes)
        body = self.received if isinstance(self.received, bytes) else b""
        return request_text(self.sent), "" if self.head is None else response_text(self.head, body)


def shown(message: str | bytes) -> str:
    """Return the beginning of a message as text; of a binary one its size."""
    if isinstance(message, bytes):
        return f"<{len(message)} bytes>"
    return (
        message if len(message) <= MAX_SHOWN_BYTES else f"{message[:MAX_SHOWN_BYTES]}\n<cut: {len(message)} characters>"
    )
