"""Server-sent events: `async with user.sse("/events") as events:`, then `async for event in events:`.

Each connection is one row, named `SSE /events` by default: from the call to the last byte, or to the end of the block.
When the server ends the stream, the client connects again as a browser does: after the time that the server asked for
last (`retry:`), with the header `Last-Event-ID`. A status of 204 ends the events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Final

import msgspec

from loadgen.clients.events import NO_STREAM, SseReader
from loadgen.clients.http import HttpClient
from loadgen.clients.response.streams import StreamedReply
from loadgen.engine.recording.tagging import GivenTags
from loadgen.errors import ExpectFailed
from loadgen.units import NS_PER_S

__all__ = ["Event", "EventStream"]

_RETRY_S: Final = 3.0
"""The wait before a new connection, if the server has asked for no other. The standard leaves it open; browsers take
between 3 and 5 s."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. event: its type, "message" by default. t_ns: when it arrived, `perf_counter_ns`."""

    data: str
    event: str
    id: str
    t_ns: int

    def json(self) -> Any:
        """Return the data parsed as JSON.

        Raises:
            ValueError: they are not JSON.
        """
        return msgspec.json.decode(self.data)


class EventStream:
    """The events of one URL, over as many connections as it takes. Made by `user.sse`.

    connections: how many were opened.
    """

    def __init__(
        self,
        http: HttpClient,
        url: str,
        *,
        name: str | None,
        headers: Mapping[str, str] | None,
        tags: GivenTags | None,
        upto: int | None,
        within_ns: int | None,
        reconnect: bool,
        wait: Callable[[float], Awaitable[None]],
    ) -> None:
        self._http, self._url, self._tags, self._wait = http, url, tags, wait
        self._name = name or f"SSE {url.partition('?')[0]}"
        self._headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", **(headers or {})}
        self._left, self._within_ns, self._reconnects = upto, within_ns, reconnect
        self._stack = AsyncExitStack()
        self._reply: StreamedReply | None = None
        self._reader = SseReader()
        self._pieces: AsyncIterator[bytes]
        self.connections = 0

    @property
    def last_id(self) -> str:
        """Return the last event id that the server set, on this connection or an earlier one."""
        return self._reader.last_id

    async def __aenter__(self) -> EventStream:
        """Connect, and return when the head of the answer is there.

        Raises:
            ExpectFailed: `no stream`, `http 404`. RequestFailed: as `user.http.stream`.
        """
        self._until_ns = None if self._within_ns is None else perf_counter_ns() + self._within_ns
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events as they arrive.

        It ends when `upto` events have arrived, when `within` has passed, and when the server answers with status 204.
        Without `reconnect` it also ends with the first stream.
        """
        while self._reply is not None:
            async for event in self._events():
                yield event
                if self._left is not None:
                    self._left -= 1
                    if self._left <= 0:
                        return
            if self._reply is None or not self._reconnects:
                return
            retry_s = self._reader.retry_ms / 1_000 if self._reader.retry_ms >= 0 else _RETRY_S
            left_s = self._left_s()
            if left_s is not None and left_s <= retry_s:
                return
            await self._wait(retry_s)
            await self._connect()

    async def _events(self) -> AsyncIterator[Event]:
        reply, reader = self._reply, self._reader
        assert reply is not None
        while True:
            try:
                async with asyncio.timeout(self._left_s()) as limit:
                    piece = await anext(self._pieces, None)
            except TimeoutError:
                if not limit.expired():
                    raise
                self._reply = None  # `within` is over, by the loop's clock, which can be 1 ms ahead of ours
                return
            found = reader.close() if piece is None else reader.feed(piece)
            for one in found:
                yield Event(one.text, one.event, one.id, reply.piece_ns)
            if piece is None:
                return

    def _left_s(self) -> float | None:
        return None if self._until_ns is None else max(0.0, (self._until_ns - perf_counter_ns()) / NS_PER_S)

    async def _connect(self) -> None:
        await self._stack.aclose()
        headers = {**self._headers, **({"Last-Event-ID": self.last_id} if self.last_id else {})}
        stream = self._http.stream("GET", self._url, headers=headers, name=self._name, tags=self._tags, timeout=None)
        self._reply = reply = await self._stack.enter_async_context(stream)
        self.connections += 1
        if reply.status_code == 204:
            self._reply = None
            return
        try:
            _check(reply, self._url)
        except ExpectFailed:
            await self._stack.aclose()  # Python does not call `__aexit__` if `__aenter__` raises
            raise
        last_id, self._reader = self.last_id, SseReader()
        self._reader.last_id = last_id
        self._pieces = reply.aiter_bytes()


def _check(reply: StreamedReply, url: str) -> None:
    """Raise unless an answer is a stream of events.

    Raises:
        ExpectFailed: `no stream`, or the error status.
    """
    reply.raise_for_status()
    kind = reply.headers.get("content-type", "")
    if not kind.lower().startswith("text/event-stream"):
        reply.outcome = NO_STREAM
        raise ExpectFailed(NO_STREAM, f"GET {url}: {kind or 'no content type'} instead of a stream of events")
