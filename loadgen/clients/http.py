"""The HTTP client of one user: httpx's names and arguments, measured, over our own connections.

The plain path (no options except `json`, `name` and `expect`) builds no httpx objects:
a cached route, the user's headers and cookies as bytes, one write, one future.
All other calls prepare the same bytes with more work (`request/prepare.py`) and then
use the same path.

Each request on the wire is one row. The hops of a redirect have their own rows, named
by their method and path, or `NAME (hop 2)` if the call has a name. `Reply.call_elapsed`
is the total over all hops; a step measures the whole call. A time-out covers the whole
call. A cancelled request counts as started and never finished: it has no row, and its
connection is closed.

Two kinds of requests are sent once more without being asked for:
- A request on a kept connection that the target closed without a byte of answer, if its
  method is idempotent. It is sent on a fresh connection.
- A request that an HTTP/2 target refused without looking at it, whatever its method, up
  to three times.
Such a request stays one row, whose time includes all attempts; the pool counts them and
the run reports them. Retries that a plan asks for are in `retries.py`.

Intended differences from httpx: `timeout` is for the whole call, not for each read;
`content=` also accepts synchronous iterators.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine, Mapping
from copy import copy
from time import perf_counter_ns
from typing import Any, Final, Unpack

import httpx

from loadgen.clients.graphql import Gql
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.proxy_requests import Forward, request_line
from loadgen.clients.pool.pool import ConnectionPool, NoConnectionInTime, Origin
from loadgen.clients.protocol.connection_interface import Connection, Unprocessed
from loadgen.clients.protocol.http1 import MANY_BYTES
from loadgen.clients.protocol.outcomes import PROTOCOL, REDIRECTS, RESET, count_own_fault, http_outcome
from loadgen.clients.protocol.request_body_encoding import JSON, OpenBody, StreamedRequest, encode_json
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import Timeouts, timeouts_with
from loadgen.clients.request.cookies import COOKIE_NOTE, UserCookies, jar_of
from loadgen.clients.request.expectation_check import check_accept
from loadgen.clients.request.header_encoding import UserHeaders
from loadgen.clients.request.prepare import (
    AllOptions,
    BodyOptions,
    Options,
    auth_of,
    can_repeat,
    max_redirects_of,
    prepare,
    prepare_from,
    request_of,
    timeouts_of,
)
from loadgen.clients.request.redirects import FOLLOWED, BadRedirect, redirected
from loadgen.clients.request.request_head_cache import Route, routes_of
from loadgen.clients.request.sent_again import note_sent_again
from loadgen.clients.request.split_by_response_header import tags_of
from loadgen.clients.request.tracing import Tracer
from loadgen.clients.response.discarded import DiscardedReply
from loadgen.clients.response.forms import SendsWith
from loadgen.clients.response.replies import BlankReply, Reply
from loadgen.clients.response.reply_class_for_plan import kinds_of
from loadgen.clients.response.stored_answers import StoredAnswer
from loadgen.clients.response.streams import ReplyStream, StreamedReply
from loadgen.clients.retries import Attempts, retries_of
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.tagging import GivenTags
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK

__all__ = ["MAX_REDIRECTS", "HttpClient"]

MAX_REDIRECTS: Final = 20
MAX_REFUSED: Final = 3
"""The number of times that a request is sent again after the target refused it unseen."""

_JSON_END: Final = b"\r\n" + JSON + b"\r\n"
_JSON_ENDS: Final = tuple(b"Content-Length: %d%b" % (length, _JSON_END) for length in range(512))
"""Formatted in advance for common body sizes: saves 0.3 µs a request."""
_CHALLENGES: Final = frozenset({401, 407})
"""Statuses that are not errors if an auth flow answers them with another request."""
_Status = int | Container[int] | None
_Streamed = Callable[[Meter, Route, bytes, RequestSeries, int], StreamedReply]
"""Makes the reply of a request whose body is streamed: a class of `StreamedReply`."""


class HttpClient:
    """The HTTP client of one user. It sends `headers` with each request and treats `cookies` as a browser does.

    Several clients may share one pool, for example the clients of a user's several targets. Each has its own headers
    and cookies.

    Attributes and arguments:
        base_url: the target.
        follow_redirects: False by default, as in httpx.
        max_redirects: the most redirects of one call, 20 by default, as in httpx.
        tags: response headers, in lower case; rows are split by their values.
        tracer: writes trace headers (request/tracing.py).
        target: the name of the target, if a user has several. Unnamed rows are then called `GET target:/path`, so that
            requests to different targets are not mixed.
        forward: how requests are written for a proxy (net/proxy_requests.py).
    """

    __slots__ = (
        "_cookies",
        "_gets",
        "_headers",
        "_is_plain",
        "_kinds",
        "_meter",
        "_pool",
        "_posts",
        "_reply",
        "_retries",
        "_routes",
        "_tags",
        "_timeouts",
        "_total_ns",
        "_tracer",
        "follow_redirects",
        "max_redirects",
    )

    def __init__(
        self,
        meter: Meter,
        pool: ConnectionPool,
        base_url: str,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
        *,
        follow_redirects: bool = False,
        tags: tuple[str, ...] = (),
        tracer: Tracer | None = None,
        target: str = "",
        forward: Forward | None = None,
        retries: int = 0,
    ) -> None:
        self._meter, self._pool, self._timeouts = meter, pool, timeouts
        self._tags, self._tracer, self._retries = tags, tracer, retries
        self._kinds = kinds_of(pool.limit_bytes, has_phases=pool.has_phases)
        self._reply = self._kinds.reply
        self._is_plain = not tags and tracer is None and self._reply is Reply and not pool.learns_alternatives
        self._total_ns = timeouts.total_ns
        self._routes = routes = routes_of(base_url, target, forward)
        self._gets, self._posts = routes.of("GET"), routes.of("POST")
        self.follow_redirects = follow_redirects
        self.max_redirects = MAX_REDIRECTS
        self.reset()

    # -- the user's state -------------------------------------------------------------------

    def reset(self) -> None:
        """Prepare this client for its next user: delete all cookies and restore the default headers. Connections stay
        open.
        """
        self._headers: UserHeaders | None = None
        self._cookies: UserCookies | None = None

    async def preconnect(self, origin: Origin | None = None) -> None:
        """Open a connection, and keep it idle for the next request. No row is recorded.

        origin: where to; None: the target of this client.

        Raises:
            RequestFailed: `timeout`, `dns`, `refused`, `tls` ...
        """
        connection = await self._pool.open(origin or self._gets["/"].origin, self._timeouts.connect_ns)
        if not connection.is_closed and connection not in connection.stack:
            connection.stack.append(connection)

    async def close(self) -> None:
        """Close all connections of this user, including those in use. The connections of a shared pool stay open."""
        self._pool.leave()

    @property
    def base_url(self) -> httpx.URL:
        return self._routes.base_url

    @property
    def headers(self) -> httpx.Headers:
        if self._headers is None:
            self._headers = UserHeaders.default()
        return self._headers

    @headers.setter
    def headers(self, headers: Any) -> None:
        self._headers = UserHeaders.default()
        self._headers.update(headers)

    @property
    def cookies(self) -> httpx.Cookies:
        return self._user_cookies()

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._cookies = UserCookies(cookies)

    # -- httpx's methods --------------------------------------------------------------------

    def get(
        self,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, Reply]:
        """HOT. Send a GET request and return the reply.

        name: the name under which the request is counted; by default `GET /path` without the query. expect: the
        expected status, or a collection of them; for another status, ExpectFailed is raised. tags: of this request
        only, {"kind": "first"}; the plan declares them.
        """
        if options:
            return self._call("GET", url, name, expect, options, tags=tags)
        route = self._gets.get(url) or self._gets[url]  # `[]` of a subclass costs three times `get`
        if self._headers is None and self._cookies is None:
            return self._plain(route, route.whole, name, expect, tags)
        begin = self._begin(route)
        if begin is None:
            return self._call("GET", url, name, expect, options, tags=tags)
        return self._plain(route, begin + b"\r\n", name, expect, tags)

    def post(
        self,
        url: str,
        *,
        json: Any = None,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[BodyOptions],
    ) -> Coroutine[Any, Any, Reply]:
        """HOT with `json`. Send a POST request and return the reply. `json=gql(...)` sends a GraphQL request
        (`graphql.py`).
        """
        if not options and json is not None and type(json) is not Gql:
            route = self._posts.get(url) or self._posts[url]
            bare = self._headers is None and self._cookies is None
            begin = route.bare if bare else self._begin(route)
            if begin is not None:
                body = encode_json(json)
                size = len(body)
                if size < 512:
                    return self._plain(route, begin + _JSON_ENDS[size] + body, name, expect, tags)
                # `Connection.ask` accepts no larger request.
                if size <= MANY_BYTES:
                    data = b"%bContent-Length: %d%b%b" % (begin, size, _JSON_END, body)
                    return self._plain(route, data, name, expect, tags)
        return self._call("POST", url, name, expect, options, json, tags=tags)

    def put(
        self,
        url: str,
        *,
        json: Any = None,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[BodyOptions],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call("PUT", url, name, expect, options, json, tags=tags)

    def patch(
        self,
        url: str,
        *,
        json: Any = None,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[BodyOptions],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call("PATCH", url, name, expect, options, json, tags=tags)

    def delete(
        self,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call("DELETE", url, name, expect, options, tags=tags)

    def head(
        self,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call("HEAD", url, name, expect, options, tags=tags)

    def options(
        self,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call("OPTIONS", url, name, expect, options, tags=tags)

    def request(
        self,
        method: str,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[AllOptions],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call(method.upper(), url, name, expect, options, tags=tags)

    def stream(
        self,
        method: str,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[AllOptions],
    ) -> ReplyStream:
        """Return a context manager that sends a request and yields its reply as soon as the head has arrived: `async
        with user.http.stream("GET", "/events") as reply:`. The body is read while it arrives.
        """
        return ReplyStream(self._call(method.upper(), url, name, None, options, tags=tags, is_stream=True), expect)

    async def post_streamed(
        self,
        url: str,
        body: bytes,
        headers: bytes,
        make: _Streamed,
        *,
        name: str,
        tags: GivenTags | None,
        limit_ns: int,
        accept: Container[int] | None = None,
    ) -> Reply:
        """Send JSON by POST, and return the reply that `make` creates when the head of the answer has arrived.

        For clients above this one, such as that of AI models. headers: further header lines, as bytes. limit_ns: the
        time-out of the request, which the reply may extend while the answer arrives. accept: as in `request`.
        """
        if accept is not None:
            check_accept(accept)
        route = self._posts[url]
        begin = self._begin(route)
        if begin is None:  # a header of the user, such as Host, changes other lines
            pairs = (line.split(b": ", 1) for line in headers.split(b"\r\n") if line)
            options: Any = {"content": body, "headers": {name.decode(): value.decode() for name, value in pairs}}
            options["headers"]["content-type"] = "application/json"
            route, data = prepare(self._routes, self._headers, self._cookies, "POST", url, options)
        else:
            data = b"%b%bContent-Length: %d%b%b" % (begin, headers, len(body), _JSON_END, body)
        timeouts = timeouts_with(self._timeouts.connect_ns, limit_ns)
        return await self._send(route, data, name, None, tags=tags, timeouts=timeouts, accept=accept, stream=make)

    async def post_prepared(
        self, url: str, lines: bytes, body: bytes | OpenBody, make: _Streamed | None, *, name: str, limit_ns: int | None
    ) -> Reply:
        """Send a POST request whose header lines are `lines`, all but the Host; the user's headers are not sent.

        For clients above this one, such as that of gRPC. body: the whole body, or an `OpenBody` that the reply of
        `make` writes. make: creates the reply when the head of the answer has arrived; None: a whole reply is returned.
        limit_ns: the time-out; None: the plan's.

        Raises:
            RequestFailed: it is recorded already.
        """
        route = self._posts[url]
        timeouts = self._timeouts if limit_ns is None else timeouts_with(self._timeouts.connect_ns, limit_ns)
        if isinstance(body, OpenBody):
            data: bytes = StreamedRequest.of(b"%b%b\r\n" % (route.head, lines), body, wants_stream=True)
        else:
            data = b"%b%b\r\n%b" % (route.head, lines, body)
        return await self._send(route, data, name, None, timeouts=timeouts, stream=make)

    # -- for clients of protocols that begin with a request of HTTP/1.1, such as WebSocket ---------

    def prepare_upgrade(self, url: str, headers: Mapping[str, str]) -> tuple[Route, bytes]:
        """Return (the route, the bytes) of a GET request with the user's headers and cookies, and these headers.

        The request line names the path alone, also if the plan has a proxy.
        """
        route, data = prepare(self._routes, self._headers, self._cookies, "GET", url, {"headers": dict(headers)})
        line = request_line(b"GET", httpx.URL(route.url).raw_path)
        return route, line + data[len(route.line) :]

    def traced(self, series: RequestSeries, route: Route, data: bytes) -> tuple[bytes, str, str, bool]:
        """Return (a request of `prepare_upgrade` with the plan's trace headers, its trace, its span, whether it is
        sampled).
        """
        if self._tracer is None:
            return data, "", "", False
        theirs = self._tracer.theirs(data)
        if theirs is not None:
            self._meter.recorder.undecided(series.key)
            return data, theirs, "", False
        lines, trace, span, is_sampled = self._tracer.lines(self._meter, "")
        return data[:-2] + lines + b"\r\n", trace, span, is_sampled

    def learn_cookies(self, route: Route, head: Head) -> None:
        """Store the cookies that an answer sets."""
        if head.sets_cookie and not self._user_cookies().learn(route.url, head.raw):
            self._meter.recorder.note(COOKIE_NOTE)

    @property
    def timeouts(self) -> Timeouts:
        return self._timeouts

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def pool(self) -> ConnectionPool:
        return self._pool

    # -- the way of one request -------------------------------------------------------------

    def _begin(self, route: Route) -> bytes | None:
        """HOT. Return the beginning of a request: its first line, Host, and the user's headers and cookies.

        Returns None if a header of the user changes more than itself, so that only the slower `prepare` can write the
        request.
        """
        headers = self._headers
        if headers is None:
            begin = route.bare
        else:
            lines = headers.plain_lines()
            if lines is None:
                return None
            begin = route.head + lines
        if self._cookies is not None:
            begin += self._cookies.header_line(route.url)
        return begin

    async def _plain(
        self, route: Route, data: bytes, name: str | None, expect: _Status, tags: GivenTags | None
    ) -> Reply:
        """HOT. Send a request on an open, idle connection and return its reply, if the plan uses no trace headers, tags
        or phases. This fast path serves 9 in 10 requests; all others are passed to `_send`.
        """
        stack = self._pool.idle.get(route.origin)
        if not stack or not self._is_plain or (not route.is_idempotent and stack[-1].is_hung_up()):
            return await self._send(route, data, name, expect, tags=tags)
        meter = self._meter
        # `ask` comes first, because it raises above the cap of an allow-list: a connection taken before would be
        # lost.
        series = meter.ask(name or route.name)
        if tags is not None:
            series = series.marked(tags)
        connection = stack.pop()
        asked_ns = perf_counter_ns()
        reply: Reply = BlankReply()
        reply._meter, reply.route, reply._sent = meter, route, data
        reply.series, reply.asked_ns, reply._client = series, asked_ns, self
        reply.sent_ns = reply.first_byte_ns = reply.done_ns = reply.size_bytes = 0
        reply.outcome, reply.trace, reply._lazy = OK, "", None
        if series.watch is not None:
            series.watch.begun(asked_ns)
        deadline_ns = asked_ns + self._total_ns
        try:
            await connection.ask(data, reply, deadline_ns)
        except RequestFailed as failure:
            await self._after(failure, reply, connection, data, self._timeouts, deadline_ns)
        except BaseException:  # cancelled: the answer will not be read, so the connection cannot be used again
            self._give_up(reply, connection)
            raise
        head = reply.head
        status = reply.status_code = head.status
        if not head.is_plain:
            return await self._answered(reply, data, name, expect, self._timeouts, deadline_ns)
        meter.hold(reply)
        if expect is not None and expect != status:
            reply.expect(expect)
        return reply

    async def _send(
        self,
        route: Route,
        data: bytes,
        name: str | None,
        expect: _Status,
        *,
        tags: GivenTags | None = None,
        timeouts: Timeouts | None = None,
        deadline_ns: int = 0,
        accept: Container[int] | None = None,
        follow: bool | None = None,
        stream: _Streamed | None = None,
        trace: str = "",
        retries: int | None = None,
        stored: StoredAnswer | None = None,
    ) -> Reply:
        """HOT. Send one request, follow its redirects if that is on, and return the reply.

        tags: of this request; further hops of a redirect do not have them. timeouts: None means the plan's, and that
        the request has no headers of its own. deadline_ns: by `perf_counter_ns`; 0 means the time-out counted from now.
        stream: the class of the reply if its body is streamed. trace: the id of the trace to which the request belongs;
        "" starts a new one. retries: None means the plan's. stored: the stored answer that the request revalidates, for
        clients with a cache (`caching.py`).
        """
        meter = self._meter
        series = meter.ask(name or route.name)
        if tags is not None:
            series = series.marked(tags)
        asked_ns = perf_counter_ns()
        # A redirect is written from this, because each hop gets a span of its own.
        untraced = data
        tracer = self._tracer
        if tracer is not None:
            data, trace, span, is_sampled = self._traced(tracer, series, route, data, trace, is_plain=timeouts is None)
        if stream is not None:
            data = StreamedRequest.of(data, wants_stream=True)
            reply: Reply = stream(meter, route, data, series, asked_ns)
        else:
            reply = self._reply(meter, route, data, series, asked_ns)
        reply._client = self
        if tracer is not None:
            reply.trace, reply.span, reply.is_sampled = trace, span, is_sampled
        if series.watch is not None:
            series.watch.begun(asked_ns)
        if timeouts is None:
            timeouts = self._timeouts
        if not deadline_ns:
            deadline_ns = asked_ns + timeouts.total_ns
        stack = self._pool.idle.get(route.origin)
        if stack and not (route.is_idempotent and can_repeat(data)):
            self._pool.drop_hung_up(stack)
        if stack:
            connection = stack.pop()
            if tracer is not None and is_sampled:
                reply.sent_to(connection)
            try:
                await connection.send(data, reply, route.is_head, deadline_ns)
            except RequestFailed as failure:
                await self._after(failure, reply, connection, data, timeouts, deadline_ns, retries)
            except BaseException:
                self._give_up(reply, connection)
                raise
        else:
            attempts = self._attempts(reply, retries, deadline_ns)
            await self._send_fresh(reply, data, timeouts, deadline_ns, attempts)
        if self._tags:
            reply.series = series.split(tags_of(reply.head, self._tags), reply.asked_ns)
        reply.status_code = reply.head.status
        if self._pool.learns_alternatives:
            self._pool.learn(route.origin, reply.head)
        if stream is not None and expect is None and reply.head.is_plain:
            return reply  # it is held when its body has ended
        return await self._answered(
            reply, untraced, name, expect, timeouts, deadline_ns, accept, follow, stream, retries, stored
        )

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
        stream: _Streamed | None = None,
        retries: int | None = None,
        stored: StoredAnswer | None = None,
    ) -> Reply:
        """Process an answer: store its cookies, set its outcome by the status, follow a redirect if that is on, and
        return the last reply.

        data: the request as sent, without trace headers. stored: as in `_send`; only `caching.py` uses it.
        """
        meter, head, status = self._meter, reply.head, reply.status_code
        if not head.is_plain:
            if head.sets_cookie and not self._user_cookies().learn(reply.route.url, head.raw):
                meter.recorder.note(COOKIE_NOTE)
            if status >= 400 and not (accept and status in accept):
                reply.outcome = http_outcome(status)
            elif status in FOLLOWED and (self.follow_redirects if follow is None else follow):
                if isinstance(reply, StreamedReply):
                    await reply.skip()
                else:
                    meter.hold(reply)
                return await self._follow(reply, data, name, expect, timeouts, deadline_ns, accept, stream, retries)
        if stream is None:  # a streamed reply is held when its body has ended
            meter.hold(reply)
        if expect is not None:
            reply.expect(expect)
        return reply

    async def _after(
        self,
        failure: RequestFailed,
        reply: Reply,
        connection: Connection,
        data: bytes,
        timeouts: Timeouts,
        deadline_ns: int,
        retries: int | None = None,
    ) -> None:
        """Handle `failure` of a request on an open, idle connection. Send the request again on another connection if
        the target had just closed this one or a retry is allowed; otherwise record and raise the failure.
        """
        attempts = self._attempts(reply, retries, deadline_ns)
        if not self._is_stale(failure, reply, connection) and not (
            attempts is not None and attempts.goes_again(failure, reply, had_connection=True)
        ):
            raise self._failed(reply, failure) from failure.__cause__
        await self._send_fresh(reply, data, timeouts, deadline_ns, attempts)

    def _attempts(self, reply: Reply, retries: int | None, deadline_ns: int) -> Attempts | None:
        left = self._retries if retries is None else retries
        return Attempts(self._meter, reply, left, deadline_ns) if left else None

    async def _send_fresh(
        self, reply: Reply, data: bytes, timeouts: Timeouts, deadline_ns: int, attempts: Attempts | None
    ) -> None:
        """Send the request of `reply` on a connection from `ConnectionPool.open`, and return when its answer is there.

        The connection is new, except that a shared pool may return an open one. A failed request is sent again if the
        connection was stale or `attempts` allows it; otherwise the failure is recorded and raised.
        """
        route, refused = reply.route, 0
        while True:
            opening = Opening()
            try:
                connection = await self._pool.open(route.origin, timeouts.connect_ns, deadline_ns, opening)
            except RequestFailed as failure:
                reply.opened(opening, failure.outcome)
                reply.done_ns = perf_counter_ns()
                if isinstance(failure, NoConnectionInTime):  # censored at its deadline, not at when we noticed
                    reply.done_ns = max(reply.asked_ns, reply.sent_ns, failure.at_ns)
                if attempts is not None and attempts.goes_again(failure, reply, had_connection=False):
                    continue
                raise self._failed(reply, failure) from failure.__cause__
            except BaseException:
                self._gone(reply)
                raise
            reply.opened(opening)
            # A shared pool may return a kept connection.
            if connection.requests and not (route.is_idempotent and can_repeat(data)) and connection.is_hung_up():
                connection.retire()
                continue
            if self._tracer is not None and reply.is_sampled:
                reply.sent_to(connection)
            try:
                await connection.send(data, reply, route.is_head, deadline_ns)
            except RequestFailed as failure:
                refused += isinstance(failure, Unprocessed)
                if (refused < MAX_REFUSED and self._is_stale(failure, reply, connection)) or (
                    attempts is not None and attempts.goes_again(failure, reply, had_connection=True)
                ):
                    continue
                raise self._failed(reply, failure) from failure.__cause__
            except BaseException:
                self._give_up(reply, connection)
                raise
            return

    def _give_up(self, reply: Reply, connection: Connection) -> None:
        """Clean up after a cancelled request: drop it from `connection` and from the list of requests under way."""
        connection.cancel(reply)
        self._gone(reply)

    @staticmethod
    def _gone(reply: Reply) -> None:
        """Remove a cancelled request from the watch for overdue requests, if its series has one."""
        if reply.series.watch is not None:
            reply.series.watch.gone(reply.asked_ns)

    def _traced(
        self, tracer: Tracer, series: RequestSeries, route: Route, data: bytes, trace: str, *, is_plain: bool
    ) -> tuple[bytes, str, str, bool]:
        """Return (the request with trace headers inserted, its trace id, its span id, whether it is sampled). If the
        scenario has set a trace header itself, the request is unchanged, and has neither span nor decision of ours.

        trace: the trace id to use; "" makes a new one. is_plain: the request has no headers except the user's.
        """
        headers = self._headers
        if not is_plain or (headers is not None and not tracer.header_names.isdisjoint(headers.names)):
            theirs = tracer.theirs(data)
            if theirs is not None:
                self._meter.recorder.undecided(series.key)
                return data, theirs, "", False
        lines, trace, span, is_sampled = tracer.lines(self._meter, trace)
        # A request with a Host header of its own does not begin with the route's.
        at = len(route.head) if data.startswith(route.head) else len(route.line)
        traced = b"".join((data[:at], lines, data[at:]))
        if isinstance(data, StreamedRequest):
            traced = StreamedRequest.of(traced, data.upload, wants_stream=data.wants_stream)
        return traced, trace, span, is_sampled

    def _is_stale(self, failure: RequestFailed, reply: Reply, connection: Connection) -> bool:
        """Return True if a failed request may be sent again without a retry being counted, and note this in the
        measurements.

        That is so if the target closed an open, idle connection before a byte of its answer, and the method is
        idempotent; or, whatever the method, if the target reported that it did not process the request (HTTP/2).
        """
        # Without an earlier answer the connection was not a kept one, so its reset is a failure of the target.
        if not isinstance(failure, Unprocessed) and (
            failure.outcome != RESET or reply.size_bytes or not connection.requests or not reply.route.is_idempotent
        ):
            return False
        if not can_repeat(reply._sent):
            return False
        reply.first_byte_ns = 0
        self._pool.stale_retries += 1
        note_sent_again(self._meter.recorder, failure)
        return True

    def _failed(self, reply: Reply, failure: RequestFailed) -> RequestFailed:
        """Record that a request got no complete answer, and return the exception for the caller to raise."""
        reply.outcome = failure.outcome
        count_own_fault(failure.outcome)
        # Settled at once, because no `expect` can follow: the caller gets an exception and not a reply.
        self._meter.hold(reply)
        self._meter.settle()
        return RequestFailed(failure.outcome, f"{reply.route.method} {reply.route.url}: {failure.detail}")

    # -- requests with options ---------------------------------------------------------------

    async def _call(
        self,
        method: str,
        url: str,
        name: str | None,
        expect: _Status,
        options: AllOptions | BodyOptions | Options,
        json: Any = None,
        *,
        tags: GivenTags | None = None,
        is_stream: bool = False,
    ) -> Reply:
        """Send a request with all options of a call, and return its reply. is_stream: return when the head of the
        answer has arrived.
        """
        if "jar" in options or "max_redirects" in options:
            return await self._call_apart(method, url, name, expect, options, json, tags=tags, is_stream=is_stream)
        json = options.get("json") if json is None else json
        operation = json if isinstance(json, Gql) else None
        if operation is not None:
            name, json = name or operation.row, operation.ready(self._meter.recorder.note)
        route, data = prepare(self._routes, self._headers, self._cookies, method, url, options, json)
        timeouts = timeouts_of(options, self._timeouts)
        accept = options.get("accept")
        if accept is not None:
            check_accept(accept)
        follow = options.get("follow_redirects")
        if not isinstance(follow, bool):  # absent, or httpx.USE_CLIENT_DEFAULT
            follow = self.follow_redirects
        retries = retries_of(options.get("retries"), self._retries)
        auth = auth_of(options, url)
        discards = bool(options.get("discard", False))
        stream = self._kinds.discarded if discards else self._kinds.streamed if is_stream else None
        if discards and (operation is not None or (auth is not None and auth.requires_response_body)):
            what = "gql()" if operation is not None else f"{type(auth).__name__}"
            raise UsageError(f"discard=True: {what} has to read the body of the answer", hint="leave out discard=True")
        if auth is None:
            reply = await self._send(
                route,
                data,
                name,
                expect if stream is None else None,
                tags=tags,
                timeouts=timeouts,
                accept=accept,
                follow=follow,
                stream=stream,
                retries=retries,
            )
        else:
            reply = await self._send_with(
                auth,
                route,
                data,
                name,
                tags=tags,
                timeouts=timeouts,
                accept=accept,
                follow=follow,
                stream=stream,
                retries=retries,
            )
        if is_stream:
            return reply
        if isinstance(reply, DiscardedReply):
            await reply.over()
        if expect is not None and (auth is not None or stream is not None):
            reply.expect(expect)
        if operation is not None:
            operation.judge(reply)
        return reply

    async def _call_apart(
        self,
        method: str,
        url: str,
        name: str | None,
        expect: _Status,
        options: AllOptions | BodyOptions | Options,
        json: Any,
        *,
        tags: GivenTags | None,
        is_stream: bool,
    ) -> Reply:
        """Send a request with a cookie jar or a limit of redirects of its own, by a copy of this client."""
        rest: Any = dict(options)
        jar, limit = rest.pop("jar", None), max_redirects_of(rest.pop("max_redirects", None), self.max_redirects)
        with jar_of(jar) as cookies:
            apart = copy(self)
            apart.max_redirects = limit
            apart._use(self._user_cookies() if cookies is None else cookies)
            reply = await apart._call(method, url, name, expect, rest, json, tags=tags, is_stream=is_stream)
        # A form of this page is sent later, with the page's jar. It must be sent by this client, because the copy keeps
        # the headers and cookies that it has now.
        client = self if jar is None else SendsWith(self, {"jar": jar})
        for one in (*reply.history, reply):
            one._client = client
        return reply

    def _use(self, cookies: UserCookies) -> None:
        """Prepare this copy of a client for one call, with these cookies."""
        self._cookies = cookies

    async def _send_with(
        self,
        auth: httpx.Auth,
        route: Route,
        data: bytes,
        name: str | None,
        *,
        tags: GivenTags | None,
        timeouts: Timeouts,
        accept: Container[int] | None,
        follow: bool,
        stream: _Streamed | None,
        retries: int,
    ) -> Reply:
        """Send the requests of an httpx auth flow, each measured under its own name, and return the reply to the last
        one.
        """
        asked = route
        deadline_ns = perf_counter_ns() + timeouts.total_ns
        flow = auth.async_auth_flow(request_of(route, data))
        request = await anext(flow)
        earlier: list[Reply] = []
        try:
            while True:
                route, data = prepare_from(self._routes, request)
                is_asked = route.url == asked.url and route.method == asked.method
                reply = await self._send(
                    route,
                    data,
                    name if is_asked else None,  # a token request of the flow has its own name
                    None,
                    tags=tags if is_asked else None,
                    timeouts=timeouts,
                    deadline_ns=deadline_ns,
                    accept=accept,
                    follow=follow,
                    stream=stream,
                    retries=retries,
                )
                if earlier:
                    reply.history[:0] = earlier
                if isinstance(reply, StreamedReply) and auth.requires_response_body:
                    await reply.aread()
                try:
                    request = await flow.asend(reply.as_httpx())
                except StopAsyncIteration:
                    return reply
                except BaseException as error:
                    if isinstance(reply, StreamedReply):  # the caller has not received it
                        await reply.aclose() if isinstance(error, Exception) else reply.abandon()
                    raise
                if reply.status_code in _CHALLENGES:
                    reply.outcome = OK  # the flow answers the challenge; the reply is not recorded yet
                if isinstance(reply, StreamedReply):
                    await reply.skip()
                earlier.append(reply)
        finally:
            await flow.aclose()

    async def _follow(
        self,
        reply: Reply,
        data: bytes,
        name: str | None,
        expect: _Status,
        timeouts: Timeouts,
        deadline_ns: int,
        accept: Container[int] | None,
        stream: _Streamed | None,
        retries: int | None,
    ) -> Reply:
        """Follow the redirects of `reply`, each measured as a request of its own, and return the reply to the last one.
        data: the first request as sent, without trace headers.
        """
        history: list[Reply] = []
        while reply.has_redirect_location:
            try:
                request = redirected(request_of(reply.route, data), reply.status_code, reply.headers["location"])
                if len(history) >= self.max_redirects:
                    raise self._redirect_failed(reply, REDIRECTS, f"more than {self.max_redirects}")
                route, data = prepare_from(self._routes, request, self._cookies)
            except BadRedirect as error:
                raise self._redirect_failed(reply, PROTOCOL, str(error)) from error
            history.append(reply)
            hop = f"{name} (hop {len(history) + 1})" if name else None
            reply = await self._send(
                route,
                data,
                hop,
                None,
                timeouts=timeouts,
                deadline_ns=deadline_ns,
                accept=accept,
                follow=False,
                stream=stream,
                trace=reply.trace,
                retries=retries,
            )
            if isinstance(reply, StreamedReply) and reply.has_redirect_location:
                await reply.skip()
            reply.history[:] = history
        if expect is not None:
            reply.expect(expect)
        return reply

    def _redirect_failed(self, reply: Reply, outcome: str, detail: str) -> RequestFailed:
        self._meter.settle_as(reply, outcome)
        return RequestFailed(outcome, f"{reply.route.method} {reply.route.url}: {detail}")

    def _user_cookies(self) -> UserCookies:
        if self._cookies is None:
            self._cookies = UserCookies()
        return self._cookies

    def __repr__(self) -> str:
        return f"<HttpClient {self._routes.base_url} {self._pool!r}>"
