"""`Plan(client="httpx")`: the same scenario on the stock httpx client, to check our own client against it.

httpx produces everything that is sent: URL joining, headers, bodies, cookies, redirects, auth flows. Its connection
pool and parser (httpcore) are used too. Only the rows and the journey's reply object are ours. Each user slot has one
`AsyncHTTPTransport`, or each worker has one with n connections, as the plan's `connections` say.

The times come from httpcore's `trace` extension. *Sent* is when it begins to write the request. *First byte* is when
the head of the answer has been read; a head that arrives in several reads makes it later. *Done* is when the last
piece of the body has been read. *Asked* is when the journey called. `size_bytes` counts the body as received, plus the
head as plain `Name: value` lines. Phases are not measured. httpcore itself checks whether the target has closed a
kept connection.

A call has no `retries=` and no `discard=`. Plan settings that this client does not support are reported when the plan
is loaded (`dsl/plans/argument_validation.py`). This client costs some 40 times the CPU of ours (bench/RESULTS.md), so
compare times only at a low rate.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as _ssl
import sys
from collections.abc import AsyncIterator, Container, Coroutine, Mapping
from http.cookiejar import CookieJar
from time import perf_counter_ns
from typing import Any, Final, Unpack

import httpx

from loadgen.clients.graphql import Gql
from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_api.errors import ROW, Stage, as_httpx_error
from loadgen.clients.httpx_api.failed_calls import note_answer, note_failure
from loadgen.clients.httpx_api.rows import Call, HttpxRows, origin_of_url
from loadgen.clients.net.network import Network
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.file_and_generated_bodies import Source
from loadgen.clients.protocol.outcomes import (
    PROTOCOL,
    REDIRECTS,
    RESET,
    TIMEOUT,
    UNREACHABLE,
    connect_failure,
    count_own_fault,
)
from loadgen.clients.protocol.request_body_encoding import Upload, encode_content
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS
from loadgen.clients.request.cookies import BoundedJar
from loadgen.clients.request.expectation_check import check_accept
from loadgen.clients.request.prepare import AllOptions, BodyOptions, Options, auth_of, timeouts_of
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.request.split_by_response_header import tags_of
from loadgen.clients.response.replies import Reply
from loadgen.clients.response.streams import MAX_EVENTS, StreamedReply
from loadgen.engine.recording.concurrent_call_meter import Turn
from loadgen.engine.recording.tagging import GivenTags
from loadgen.errors import RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK
from loadgen.units import NS_PER_S

__all__ = ["StockHttpClient", "StockPool", "StockTransport"]

_NOT_HERE: Final = ("retries", "discard")
_Status = int | Container[int] | None
_closing: set[asyncio.Task[None]] = set()


class StockPool(ConnectionPool):
    """The httpx connection pool of a user slot or of a worker. The inherited list of idle connections stays empty."""

    __slots__ = ("_is_shared", "transport")

    def __init__(self, network: Network, ssl: _ssl.SSLContext | None, limit: int | None = None) -> None:
        """Make a pool of httpx connections. limit: the number of connections if users share the pool; None for one
        user's pool.
        """
        super().__init__(network, ssl)
        self._is_shared = limit is not None
        limits = httpx.Limits(max_connections=limit, max_keepalive_connections=limit)
        self.transport = httpx.AsyncHTTPTransport(
            verify=ssl if ssl is not None else True, limits=limits, trust_env=False
        )

    def leave(self) -> None:
        if not self._is_shared:
            self.close()

    def close(self) -> None:
        task = asyncio.get_running_loop().create_task(self.transport.aclose())
        # The loop itself keeps only a weak reference to a task.
        _closing.add(task)
        task.add_done_callback(_closing.discard)


class StockReply(Reply):
    """A reply whose content was decoded by httpx."""

    __slots__ = ("status", "turn")

    turn: Turn | None
    status: int


class StockStreamedReply(StreamedReply):
    """A streamed reply that reads its body from httpx's response."""

    __slots__ = ("response", "status", "turn")

    turn: Turn | None
    status: int
    response: httpx.Response

    async def _pieces(self) -> AsyncIterator[bytes]:
        async for data in self.response.aiter_raw():
            self.piece_ns = perf_counter_ns()
            self.events += 1
            if self.events <= MAX_EVENTS:
                self.event_ns.append(self.piece_ns)
            self._raw_bytes += len(data)
            yield data

    async def aclose(self) -> None:
        self._is_closed = True
        await self.response.aclose()

    def abandon(self) -> None:
        self._is_closed = True
        stream = self.response.extensions[ROW]
        assert isinstance(stream, _Body)
        stream.abandon()
        task = asyncio.get_running_loop().create_task(self.response.aclose())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    def _break(self, failure: RequestFailed) -> RequestFailed:
        self._meter.settle_as(self, failure.outcome)
        return RequestFailed(failure.outcome, f"{self.route.method} {self.route.url}: {failure.detail}")


_Sample = StockReply | StockStreamedReply


class StockCall(Call):
    """One call of `user.http`: its deadline, and the samples of its requests."""

    __slots__ = ("deadline_ns", "is_stream", "samples")

    def __init__(self, asked_ns: int, deadline_ns: int, *, is_stream: bool) -> None:
        super().__init__(asked_ns)
        self.deadline_ns, self.is_stream = deadline_ns, is_stream
        self.samples: list[_Sample] = []


class StockTransport(httpx.AsyncBaseTransport):
    """Measures the requests that the stock transport sends."""

    def __init__(self, rows: HttpxRows, pool: StockPool) -> None:
        self._rows, self._inner = rows, pool.transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and measure one request, and return its response. Raises the same exceptions as `HttpxTransport`."""
        rows = self._rows
        url = request.url
        origin = origin_of_url(url)
        series, call, turn = rows.begin(request, origin, url.raw_path)
        asked_ns, call.asked_ns = call.asked_ns or perf_counter_ns(), 0
        own_call = call if isinstance(call, StockCall) else None
        raw = list(request.headers.raw)
        if rows.tracer is not None:
            lines = rows.trace_lines(request, call, series).split(b"\r\n")
            raw += [(name, value) for name, _, value in (line.partition(b": ") for line in lines) if name]
        route = Route(request.method, origin, url.netloc, url.raw_path, str(url), series.key.request or "")
        kind = StockStreamedReply if own_call is not None and own_call.is_stream else StockReply
        sample = kind(rows.meter, route, _sent(request, raw), series, asked_ns)
        sample.turn, sample.status, sample.trace = turn, 0, call.trace
        sample.span, sample.is_sampled = call.span, call.is_sampled
        sample._lazily()["request"] = request
        if own_call is not None:
            own_call.samples.append(sample)
        if series.watch is not None:
            series.watch.begun(asked_ns)
        body = _Body(rows, sample, own_call.deadline_ns if own_call is not None else NEVER_NS)
        own = httpx.Request(
            request.method,
            url,
            headers=raw,
            stream=request.stream,
            extensions={**request.extensions, "trace": body.traced},
        )
        try:
            response = await body.within(self._inner.handle_async_request(own))
        except RequestFailed:
            note_failure(rows.meter, sample)
            raise
        body.took(response)
        if sample.outcome is not OK:
            note_failure(rows.meter, sample)
        elif rows.meter.failed_calls:
            note_answer(rows.meter)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=body,
            extensions={**response.extensions, ROW: body},
        )

    async def aclose(self) -> None:
        """Do nothing: the connections belong to the user slot, not to the client that was closed."""


class _Body(httpx.AsyncByteStream):
    """The body of one answer. It records the request when the body ends, fails or is closed."""

    def __init__(self, rows: HttpxRows, sample: _Sample, deadline_ns: int) -> None:
        self._rows, self.sample, self._deadline_ns = rows, sample, deadline_ns
        self._is_recorded = False
        self._stage: Stage = "connect"
        self._stream: httpx.AsyncByteStream
        self._parts: list[bytes] = []

    async def traced(self, event: str, _: object) -> None:
        """Store the time of an event of the request in its sample. httpcore calls this method through its `trace`
        extension; `event` is for example "http11.send_request_headers.started".
        """
        if event.endswith("send_request_headers.started"):
            self.sample.sent_ns = perf_counter_ns()
            self.sample.done_ns = 0
            self._stage = "write"
        elif event.endswith("send_request_body.complete"):
            self._stage = "read"
        elif event.endswith("receive_response_headers.complete"):
            self.sample.first_byte_ns = perf_counter_ns()

    async def within(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Await one step of the request and return its result, within the call's time limit.

        Raises:
            RequestFailed: the step failed or took too long; the exception is also one of httpx.
        """
        left_ns = self._deadline_ns - perf_counter_ns()
        limit = asyncio.timeout(None if self._deadline_ns >= NEVER_NS // 2 else max(0, left_ns) / NS_PER_S)
        try:
            async with limit:
                return await step
        except TimeoutError as error:
            if not limit.expired():
                raise
            failure = RequestFailed(TIMEOUT, "no complete answer within the time-out; timeout=... sets a longer one")
            self._fail(failure, self._deadline_ns)
            raise as_httpx_error(failure, self._stage) from error
        except httpx.TransportError as error:
            where = self.sample.route.origin.where
            failure = _failure(error, where)
            stage: Stage = "pool" if isinstance(error, httpx.PoolTimeout) else self._stage
            self._fail(failure, perf_counter_ns())
            raise as_httpx_error(failure, stage) from error
        # The regular end of the body, when `step` is an `anext`.
        except StopAsyncIteration:
            raise
        except BaseException:
            self.abandon()
            raise

    def took(self, response: httpx.Response) -> None:
        """Store the status and headers of the response in the sample of the request."""
        sample, rows = self.sample, self._rows
        version = response.http_version.removeprefix("HTTP/")
        reason = response.extensions.get("reason_phrase", b"")
        head = Head(response.status_code, reason, version, response.headers.raw, True)
        sample.head, sample.status_code, sample.status = head, head.status, head.status
        # "HTTP/1.1 200 " has 13 bytes, the ends of this line and of the head 4, and ": " and the end of each header
        # line 4.
        sample.size_bytes = 13 + len(reason) + 4 + sum(len(name) + len(value) + 4 for name, value in head.raw)
        if rows.tags:
            sample.series = sample.series.split(tags_of(head, rows.tags), sample.asked_ns)
        sample.outcome = rows.outcome_of(sample.request, head.status)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._stream = response.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while True:
            try:
                data = await self.within(anext(pieces))  # type: ignore[arg-type]
            except StopAsyncIteration:
                break
            self.sample.size_bytes += len(data)
            if isinstance(self.sample, StockReply):
                self._parts.append(data)
            yield data
        self._end(perf_counter_ns())

    async def aclose(self) -> None:
        is_cancelled = isinstance(sys.exc_info()[1], asyncio.CancelledError | GeneratorExit)
        if hasattr(self, "_stream"):
            await self._stream.aclose()
        if is_cancelled:
            self.abandon()
        self._end(perf_counter_ns())

    def abandon(self) -> None:
        """Drop a cancelled request: it is not recorded."""
        if not self._is_recorded:
            self._recorded()
            self._rows.gone(self.sample)

    def _end(self, done_ns: int) -> None:
        if not self._is_recorded:
            self._recorded()
            self.sample.done_ns = done_ns
            self._rows.answered(self.sample)

    def _fail(self, failure: RequestFailed, done_ns: int) -> None:
        if not self._is_recorded:
            self._recorded()
            sample = self.sample
            sample.done_ns = max(done_ns, sample.sent_ns, sample.asked_ns)
            if sample.first_byte_ns > sample.done_ns:
                sample.first_byte_ns = 0
            sample.outcome = failure.outcome
            count_own_fault(failure.outcome)
            self._rows.failed(sample)

    def _recorded(self) -> None:
        self._is_recorded = True
        if isinstance(self.sample, StockStreamedReply):
            self.sample._is_recorded = True
        else:
            self.sample.body = b"".join(self._parts)


class StockHttpClient(HttpClient):
    """`user.http` over the stock client: our arguments, but httpx does the work."""

    __slots__ = ("_calls", "_rows", "_stock")

    def __init__(self, *given: Any, rows: HttpxRows, **more: Any) -> None:
        self._rows = rows
        super().__init__(*given, **more)

    def reset(self) -> None:
        super().reset()
        self._stock = self._open(BoundedJar())

    def prepare_upgrade(self, url: str, headers: Mapping[str, str]) -> tuple[Route, bytes]:
        raise UsageError(
            'user.ws: a plan with client="httpx" has no WebSockets',
            hint='leave out client="httpx": it is for comparisons',
        )

    def _open(self, jar: CookieJar) -> httpx.AsyncClient:
        assert isinstance(self._pool, StockPool)
        return httpx.AsyncClient(
            transport=StockTransport(self._rows, self._pool),
            base_url=self._routes.base_url,
            cookies=jar,
            trust_env=False,
        )

    def _use(self, cookies: httpx.Cookies) -> None:
        """Prepare this copy of a client for one call: it gets an httpx client of its own."""
        headers = self._stock.headers
        self._stock = self._open(cookies.jar)
        self._stock.headers = headers

    def _user_cookies(self) -> httpx.Cookies:  # type: ignore[override]  # the client's own, of httpx
        return self._stock.cookies

    @property
    def headers(self) -> httpx.Headers:
        return self._stock.headers

    @headers.setter
    def headers(self, headers: Any) -> None:
        self._stock.headers = headers

    @property
    def cookies(self) -> httpx.Cookies:
        return self._stock.cookies

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        jar = BoundedJar()
        httpx.Cookies(jar).update(cookies)
        self._stock.cookies = jar

    def get(
        self,
        url: str,
        *,
        name: str | None = None,
        expect: _Status = None,
        tags: GivenTags | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, Reply]:
        return self._call("GET", url, name, expect, options, tags=tags)

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
        return self._call("POST", url, name, expect, options, json, tags=tags)

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
        """Send a request as `HttpClient._call` does, and return its reply. Raises UsageError for an option that the
        stock client does not support.
        """
        if "jar" in options or "max_redirects" in options:
            return await self._call_apart(method, url, name, expect, options, json, tags=tags, is_stream=is_stream)
        asked_ns = perf_counter_ns()
        given: dict[str, Any] = {key: value for key, value in options.items() if value is not None or key == "timeout"}
        if wrong := [key for key in _NOT_HERE if given.pop(key, None)]:
            option = wrong[0]
            message = f'{option}= is not supported with client="httpx"'
            raise UsageError(message, hint=f'leave out {option}= or client="httpx"')
        json = given.pop("json", None) if json is None else json
        operation = json if isinstance(json, Gql) else None
        if operation is not None:
            name, json = name or operation.row, operation.ready(self._meter.recorder.note)
        timeouts = timeouts_of(given, self._timeouts)
        given.pop("timeout", None)
        call = StockCall(asked_ns, min(asked_ns + timeouts.total_ns, NEVER_NS), is_stream=is_stream)
        connect_s = None if timeouts.connect_ns >= NEVER_NS else timeouts.connect_ns / NS_PER_S
        extensions: dict[str, Any] = {**(given.pop("extensions", None) or {}), ROW: call}
        if name is not None:
            extensions["name"] = name
        if tags is not None:
            extensions["tags"] = tags
        if "accept" in given:
            check_accept(given["accept"])
            extensions["accept"] = given.pop("accept")
        follow = given.pop("follow_redirects", None)
        auth = auth_of(given, url)
        given.pop("auth", None)
        _make_sendable(given)
        request = self._stock.build_request(
            method, url, json=json, timeout=httpx.Timeout(None, connect=connect_s), extensions=extensions, **given
        )
        self._stock.max_redirects = self.max_redirects
        try:
            response = await self._stock.send(
                request,
                auth=auth,
                follow_redirects=follow if isinstance(follow, bool) else self.follow_redirects,
                stream=is_stream,
            )
        except httpx.TooManyRedirects as error:
            raise self._ended(call, REDIRECTS, error) from error
        except (httpx.DecodingError, httpx.RemoteProtocolError) as error:
            # Our own transport has raised and recorded it.
            if isinstance(error, RequestFailed):
                raise
            raise self._ended(call, PROTOCOL, error) from error
        reply = call.samples[-1]
        for one in call.samples:
            one._client = self
        # An auth flow sends the same request object again, so the answers are found by their own objects.
        reply.history[:] = [one.extensions[ROW].sample for one in response.history]
        if isinstance(reply, StockStreamedReply):
            reply.response = response
            return reply
        if reply.head.zipped:
            reply._lazily()["content"] = response.content
        reply._lazily()["httpx"] = response
        if expect is not None:
            reply.expect(expect)
        if operation is not None:
            operation.judge(reply)
        return reply

    def _ended(self, call: StockCall, outcome: str, error: Exception) -> RequestFailed:
        last = call.samples[-1]
        self._meter.settle_as(last, outcome)
        return RequestFailed(outcome, f"{last.route.method} {last.route.url}: {error}")


def _make_sendable(given: dict[str, Any]) -> None:
    """Convert those bodies in `given`, the options of a call, that httpx's async client does not accept: `file()`,
    `blob()` and synchronous iterators. `given` is changed in place.
    """
    for key in ("content", "data"):
        value = given.get(key)
        if value is None or isinstance(value, str | bytes | dict) or (key == "data" and hasattr(value, "items")):
            continue
        body = encode_content(value)
        given.pop(key)
        given["content"] = aiter(body) if isinstance(body, Upload) else body
        if isinstance(body, Upload) and body.length is not None:
            headers = httpx.Headers(given.get("headers"))
            headers.setdefault("Content-Length", str(body.length))
            given["headers"] = headers
    files = given.get("files")
    if files:
        pairs = files.items() if hasattr(files, "items") else files
        given["files"] = [(name, _readable(value)) for name, value in pairs]


def _readable(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) > 1 and isinstance(value[1], Source):
        return (value[0], bytes(value[1]), *value[2:])
    return bytes(value) if isinstance(value, Source) else value


def _sent(request: httpx.Request, raw: list[tuple[bytes, bytes]]) -> bytes:
    first = b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)
    lines = b"".join([b"%b: %b\r\n" % line for line in raw])
    try:
        return first + lines + b"\r\n" + request.content
    except httpx.RequestNotRead:
        return first + lines + b"\r\n"


def _failure(error: httpx.TransportError, where: str) -> RequestFailed:
    """Return the failure, with an outcome such as `reset`, that corresponds to an exception of httpx. If an error of
    the operating system caused the exception, it determines the outcome. where: HOST:PORT.
    """
    if isinstance(error, httpx.TimeoutException):
        return RequestFailed(TIMEOUT, f"{where}: {type(error).__name__}")
    found = _system_error(error)
    if found is not None:
        return connect_failure(found, where)
    if isinstance(error, httpx.RemoteProtocolError):
        # httpcore has only this text for a close before the first byte, and no class of its own.
        if "without sending a response" in str(error):
            return RequestFailed(RESET, f"{where} closed the connection without an answer")
        return RequestFailed(PROTOCOL, f"{where}: {error}")
    if isinstance(error, httpx.ReadError | httpx.WriteError):
        return RequestFailed(RESET, f"{where}: {error or type(error).__name__}")
    return RequestFailed(UNREACHABLE, f"{where}: {error or type(error).__name__}")


def _system_error(error: BaseException) -> OSError | None:
    """Return the innermost OSError in the chain of causes of `error` that has an errno or is an error of TLS; None if
    there is none.
    """
    found: OSError | None = None
    left: list[BaseException] = [error]
    seen: set[int] = set()
    while left:
        at = left.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, socket.gaierror | _ssl.SSLError) or (isinstance(at, OSError) and at.errno):
            found = at
        if isinstance(at, BaseExceptionGroup):
            left += at.exceptions
        left += [one for one in (at.__cause__, at.__context__) if one is not None]
    return found
