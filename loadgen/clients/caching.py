"""The HTTP client of a user with a cache, for plans with `Http(cache="user")`.

A fresh answer is returned without a request: it has no row, since nothing was sent, and the metric `cache: answered
without a request` counts it. A stale answer is revalidated. That is a request with a row of its own; the reply to a 304
has the stored body and status, and the metric `cache: not modified (304)` counts it.

Streams, `discard=True`, requests with conditions or a range of their own, and clients over `user.httpx` have no cache.
Plans without a cache use `HttpClient` itself, so the cache costs them nothing.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Container
from time import perf_counter_ns
from typing import Any, Final

from loadgen.clients.http import HttpClient
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.cookies import COOKIE_NOTE
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.response.replies import Reply
from loadgen.clients.response.stored_answers import StoredAnswer, StoredAnswers, asks_for_revalidation, may_use_cache
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.tagging import GivenTags
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters

__all__ = ["ANSWERED", "NOT_MODIFIED", "CachingHttpClient", "answered_without_request"]

ANSWERED: Final = "cache: answered without a request"
NOT_MODIFIED: Final = "cache: not modified (304)"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_Status = int | Container[int] | None


class CachingHttpClient(HttpClient):
    """An `HttpClient` with the HTTP cache of a browser. The cache is that of the user: `reset` empties it."""

    __slots__ = ("_answers", "_counts")

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._counts = _Counts.of(self._meter.recorder)

    def reset(self) -> None:
        """Prepare this client for its next user: delete cookies, headers and stored answers."""
        super().reset()
        self._answers = StoredAnswers()

    async def _plain(
        self, route: Route, data: bytes, name: str | None, expect: _Status, tags: GivenTags | None
    ) -> Reply:
        return await self._send(route, data, name, expect, tags=tags)

    async def _send(
        self, route: Route, data: bytes, name: str | None, expect: _Status, *, stream: Any = None, **given: Any
    ) -> Reply:
        """Answer from the cache, or send the request. Arguments as in `HttpClient._send`."""
        if not _goes_through(route, data, stream):
            return await super()._send(route, data, name, expect, stream=stream, **given)
        stored = self._answers.find(route.url, data)
        if stored is not None:
            now_ns = perf_counter_ns()
            if now_ns < stored.fresh_until_ns and not asks_for_revalidation(data):
                return await self._answer(route, data, name, expect, stored, now_ns)
            if not stored.validators:
                stored = None
            else:
                data = data[:-2] + stored.validators + b"\r\n"
        return await super()._send(route, data, name, expect, stored=stored, **given)

    async def _answer(
        self, route: Route, data: bytes, name: str | None, expect: _Status, stored: StoredAnswer, now_ns: int
    ) -> Reply:
        """Return a stored answer. Only a count is recorded."""
        meter = self._meter
        meter.settle()
        place, row = meter.place, name or route.name
        reply = self._reply(meter, route, data, place.names.get(row) or place.resolve(row), now_ns)
        reply._client = self
        reply.sent_ns = reply.first_byte_ns = reply.done_ns = now_ns
        reply.fill(stored.head, stored.body.content, "fresh")
        self._counts.answered.add()
        await sleep(0)  # so that a journey whose requests are all answered here lets other users run
        if expect is not None:
            reply.expect(expect)
        return reply

    async def _answered(
        self,
        reply: Reply,
        data: bytes,
        name: str | None,
        expect: _Status,
        timeouts: Timeouts,
        deadline_ns: int,
        accept: Container[int] | None = None,
        follow: bool | None = None,
        stream: Any = None,
        retries: int | None = None,
        stored: StoredAnswer | None = None,
    ) -> Reply:
        """Store an answer, or replace a 304 by the stored answer. Then do the work of `HttpClient._answered`."""
        route, head = reply.route, reply.head
        if stored is not None:
            data = data[: -2 - len(stored.validators)] + b"\r\n"
        if stored is not None and head.status == 304:
            if head.sets_cookie and not self._user_cookies().learn(route.url, head.raw):
                self._meter.recorder.note(COOKIE_NOTE)
            fresh = self._answers.freshen(route.url, stored, head, reply.asked_ns)
            reply.fill(fresh.head, fresh.body.content, "revalidated")
            self._counts.not_modified.add()
        elif _goes_through(route, data, stream):
            if head.status < 500:  # an error of the server says nothing about the stored answer
                self._answers.store(route.url, data, head, reply.body, reply.asked_ns)
        elif route.method not in _SAFE and head.status < 400:
            self._answers.invalidate(route.url, head)
        return await super()._answered(
            reply, data, name, expect, timeouts, deadline_ns, accept, follow, stream, retries
        )


def _goes_through(route: Route, data: bytes, stream: object) -> bool:
    """Return True for a GET without a body, stream and conditions of its own."""
    # A body begins after the empty line; a GET with one is rare, and browsers send none.
    return route.method == "GET" and stream is None and data.endswith(b"\r\n\r\n") and may_use_cache(data)


def answered_without_request(recorder: Recorder) -> int:
    """Return how many requests of this recorder's users their caches have answered so far."""
    return _Counts.of(recorder).answered.n


class _Counts(WorkerCounters):
    """The counters of one worker, for all its users."""

    __slots__ = ("answered", "not_modified")

    def __init__(self, recorder: Recorder) -> None:
        self.answered, self.not_modified = WorkerCounter(ANSWERED), WorkerCounter(NOT_MODIFIED)
        recorder.customs += [self.answered, self.not_modified]
