"""Spans of sampled requests of the demo shop, sent to an OTLP/HTTP receiver such as `loadgen trace collect`.

Each sampled request has a span of the server, "POST /ach", and below it one for each statement, "UPDATE ledger". The
statement's span begins when the pool has given a connection, as with an instrumented driver. So a wait for the pool is
time of the server's span, before its first child.

    spans = Spans("http://127.0.0.1:4318")
    with spans.request("POST /ach", traceparent) as span: ...    # statement_span() adds the children
    await spans.close()

Only requests with a valid `traceparent` whose sampled flag is set have spans. Spans leave in batches, once a second, by
a thread. If the receiver does not answer, they are dropped and counted: the shop must not slow down.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import urllib.request
from collections.abc import Iterator
from contextvars import ContextVar
from time import perf_counter_ns, time_ns
from typing import Any, Final

import msgspec

from loadgen.target.database.schema import Statement

__all__ = ["Spans", "statement_span"]

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 1
_SERVER, _CLIENT, _ERROR = 2, 3, 2
_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 5.0
_MOST_WAITING: Final = 20_000
"""Spans that wait to be sent; further ones are dropped."""
_RESOURCE: Final = {
    "attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}],
}


class _Open:
    """A request whose span is open: its ids, and the spans of its statements so far."""

    __slots__ = ("children", "own", "trace")

    def __init__(self, trace: str) -> None:
        self.trace, self.own = trace, _new_id()
        self.children: list[dict[str, Any]] = []


_open: ContextVar[_Open | None] = ContextVar("span of the request", default=None)


class Spans:
    """Collects spans, and sends them once a second. sent, dropped: the number of spans."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/v1/traces"
        self._waiting: list[dict[str, Any]] = []
        self._sender: asyncio.Task[None] | None = None
        self.sent = self.dropped = 0

    @contextlib.contextmanager
    def request(self, name: str, traceparent: str) -> Iterator[None]:
        """Open the span of a request, if its header asks for one. Statements within the block become its children."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None or not int(match[3], 16) & _SAMPLED:
            yield
            return
        span = _Open(match[1])
        token = _open.set(span)
        clock = _Clock()
        is_failed = True
        try:
            yield
            is_failed = False
        finally:
            _open.reset(token)
            made = _span(span.trace, span.own, match[2], name, _SERVER, clock, is_failed=is_failed)
            self._add([made, *span.children])

    async def close(self) -> None:
        """Send what waits, and stop."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
            self._sender = None
        await self._send()

    def _add(self, spans: list[dict[str, Any]]) -> None:
        if len(self._waiting) + len(spans) > _MOST_WAITING:
            self.dropped += len(spans)
            return
        self._waiting += spans
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_for_ever(), name="sends spans")

    async def _send_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._send()

    async def _send(self) -> None:
        if not self._waiting:
            return
        spans, self._waiting = self._waiting, []
        body = {"resourceSpans": [{"resource": _RESOURCE, "scopeSpans": [{"spans": spans}]}]}
        try:
            await asyncio.to_thread(_post, self._url, msgspec.json.encode(body))
            self.sent += len(spans)
        except OSError:
            self.dropped += len(spans)


@contextlib.contextmanager
def statement_span(statement: Statement) -> Iterator[None]:
    """Add a span of a statement to the request that is served now, if it has one."""
    request = _open.get()
    if request is None:
        yield
        return
    clock = _Clock()
    is_failed = True
    try:
        yield
        is_failed = False
    finally:
        names = {
            "db.system.name": "postgresql",
            "db.query.summary": statement.summary,
            "db.query.text": statement.text,
        }
        span = _span(request.trace, _new_id(), request.own, statement.summary, _CLIENT, clock, names, is_failed)
        request.children.append(span)


class _Clock:
    """Begin and end in Unix ns; the length is measured by the monotonic clock."""

    __slots__ = ("_from_ns", "begin_ns")

    def __init__(self) -> None:
        self.begin_ns, self._from_ns = time_ns(), perf_counter_ns()

    def end_ns(self) -> int:
        return self.begin_ns + perf_counter_ns() - self._from_ns


def _span(
    trace: str,
    own: str,
    parent: str,
    name: str,
    kind: int,
    clock: _Clock,
    attributes: dict[str, str] | None = None,
    is_failed: bool = False,
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": own,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(clock.begin_ns),
        "endTimeUnixNano": str(clock.end_ns()),
        "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in (attributes or {}).items()],
        "status": {"code": _ERROR} if is_failed else {},
    }


def _new_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"


def _post(url: str, body: bytes) -> None:
    """Send a batch without a proxy: the receiver is part of the trial, as the shop is."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - http only, checked
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as reply:
        reply.read()
