"""`user.httpx` and `user.httpx2`: real clients of these libraries over our own connections, measured.

httpx produces the bytes on the wire; the connections, the clock and the rows are ours
(`rows.py`). So a client library that accepts an httpx client can be put under load
unchanged. A row covers a request from the moment when httpx passes it to the transport to
the last byte of its answer. The work of httpx before and after (building the request,
decoding the body) is the journey's time and part of no request.

Time-outs have httpx's meaning. *pool*: to get a shared connection. *connect*: DNS, TCP and
TLS together. *write*: for the target to accept one piece of a body. *read*: from the
written request to the head of the answer, then for each next piece of the body, while the
journey waits for one. Time-outs fire up to 8.4 ms late, never early. By default the plan's
apply: `connect_timeout` to connect, and `timeout` for each of the others.

A response that is closed before its end counts as done at that moment, and its connection
is closed. A response that is read to its end counts as done at its last byte. A cancelled
request counts as started and never finished: it has no row.

Not supported: `network_stream` in the response's extensions, upgrades, and httpx's
`http2=`, `proxy=`, `verify=` and `limits=`, because the plan sets these.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from time import perf_counter_ns
from typing import Any, ClassVar, Final

import httpx

from loadgen.clients.http import MAX_REFUSED
from loadgen.clients.httpx_api.errors import ROW, Stage, as_httpx_error
from loadgen.clients.httpx_api.failed_calls import note_answer, note_failure
from loadgen.clients.httpx_api.libraries import HTTPX, Library
from loadgen.clients.httpx_api.rows import HttpxRows, origin_of_url
from loadgen.clients.httpx_api.sdk_answer import SdkAnswer, sdk_answer
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.proxy_requests import Forward, request_line
from loadgen.clients.pool.pool import ConnectionPool, NoConnectionInTime, NoPlaceInTime, Origin
from loadgen.clients.protocol.connection_interface import Connection, Source, Unprocessed
from loadgen.clients.protocol.outcomes import RESET, count_own_fault
from loadgen.clients.protocol.phased import UNKNOWN
from loadgen.clients.protocol.request_body_encoding import StreamedRequest, Upload
from loadgen.clients.protocol.response_heads import MAX_KEPT_FIELDS, NO_ANSWER, Answer, Head, RawHeaders
from loadgen.clients.protocol.timeouts import NEVER_NS, Timeouts
from loadgen.clients.request.cookies import BoundedJar
from loadgen.clients.request.header_encoding import header_lines
from loadgen.clients.request.sent_again import note_sent_again
from loadgen.clients.request.split_by_response_header import tags_of
from loadgen.clients.request.tracing import Tracer
from loadgen.clients.response.format_exchange import MAX_SHOWN_BYTES, request_text, response_text
from loadgen.engine.recording.concurrent_call_meter import Turn
from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import OK, Phase
from loadgen.measure.streams import StreamTimes
from loadgen.units import NS_PER_S

__all__ = ["HttpxClient", "HttpxTransport", "httpx_client", "transport_of"]

HttpxClient = httpx.AsyncClient

_ENOUGH_BYTES: Final = 256 * 1024
"""Reading from the socket pauses when more unread bytes than this are buffered."""
_SOUND: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?:[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?)?\r\n)*")
"""Matches header lines without line breaks in them and without spaces around the values."""
_MOST_HEADERS: Final = 512
_MOST_URLS: Final = 512
_MOST_ORIGINS: Final = 64
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


class HttpxTransport(httpx.AsyncBaseTransport):
    """Sends the requests of one user's httpx clients over the user's own connections.

    targets, tags, tracer: see `HttpxRows`. forward: how requests are written for a proxy (net/proxy_requests.py).
    `transport_of` returns the class for another library.
    """

    library: ClassVar[Library] = HTTPX

    def __init__(
        self,
        meter: Meter,
        pool: ConnectionPool,
        base_url: str,
        targets: Mapping[str, str] | None = None,
        *,
        tags: tuple[str, ...] = (),
        tracer: Tracer | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._pool, self._forward = pool, forward
        library = self.library
        self._answer, self._response, self._wrong = _answers_of(library), library.response, library.unsupported_protocol
        self._origins: dict[tuple[str, bytes], Origin] = {}
        self._rows = HttpxRows(meter, base_url, targets or {}, tags, tracer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """HOT. Send one request and return its response, whose body may still be arriving. Budget: bench/sdk.py; httpx
        itself takes ten times as long.

        Raises:
            httpx.TransportError: the request failed; the exception is also a `RequestFailed` (errors.py).
            httpx.LocalProtocolError: a header contains a line break.
            httpx.UnsupportedProtocol: the scheme of the URL is neither http nor https.
        """
        rows = self._rows
        url = request.url
        target, place = url.raw_path, (url.scheme, url.netloc)
        origin = self._origins.get(place)
        if origin is None:
            origin = self._origin_of(place, url)
        head = _head(request, origin, target, self._forward, self.library)
        series, call, turn = rows.begin(request, origin, target)
        asked_ns = perf_counter_ns()
        if rows.tracer is not None:
            head += rows.trace_lines(request, call, series)
        limits = request.extensions.get("timeout") or {}
        answer = self._answer(rows, request, turn, series, asked_ns, call.trace, limits)
        answer.span, answer.is_sampled = call.span, call.is_sampled
        answer.sent = data = _data(request, head, answer)
        if series.watch is not None:
            series.watch.begun(asked_ns)
        try:
            await self._send(data, answer, origin)
        except RequestFailed as failure:
            answer.fail(failure)
            note_failure(rows.meter, answer)
            raise as_httpx_error(failure, answer.stage, self.library.kinds) from failure
        except BaseException:  # cancelled, or what the body's own code raised
            answer.abandon()
            raise
        if answer.outcome is not OK:
            note_failure(rows.meter, answer)
        elif rows.meter.failed_calls:
            note_answer(rows.meter)
        found = answer.head
        response: httpx.Response = self._response(
            found.status,
            headers=_headers_of(found, self.library),
            stream=answer,
            extensions={
                "http_version": b"HTTP/" + found.http_version.encode("ascii"),
                "reason_phrase": found.reason,
                ROW: answer,
            },
        )
        return response

    def _origin_of(self, place: tuple[str, bytes], url: httpx.URL) -> Origin:
        if len(self._origins) >= _MOST_ORIGINS:
            self._origins.clear()
        origin = self._origins[place] = origin_of_url(url, self._wrong)
        return origin

    async def _send(self, data: bytes, answer: HttpxAnswer, origin: Origin) -> None:
        """Send a request, and return when the head of its answer is there."""
        pool, upload = self._pool, getattr(data, "upload", None)
        is_head = answer.request.method == "HEAD"
        stack = pool.idle.get(origin)
        can_repeat = answer.request.method in _IDEMPOTENT and (upload is None or upload.can_repeat)
        if stack and not can_repeat:
            pool.drop_hung_up(stack)
        connection = stack.pop() if stack else await self._open(answer, origin, can_repeat)
        refused = 0
        while True:
            answer.connection = connection
            answer.stage = "read" if upload is None else "write"
            try:
                if upload is None:
                    await connection.ask_stream(data, answer, is_head, answer.limit_now("read"))
                else:
                    await connection.send(data, answer, is_head, answer.limit_now("write"))
            except RequestFailed as failure:
                refused += isinstance(failure, Unprocessed)
                if refused > MAX_REFUSED or not self._is_stale(failure, answer, connection, upload):
                    raise
                answer.first_byte_ns = answer.done_ns = 0
                connection = await self._open(answer, origin, can_repeat)
                continue
            pool.learn(origin, answer.head)
            return

    async def _open(self, answer: HttpxAnswer, origin: Origin, can_repeat: bool) -> Connection:
        answer.stage = "connect"
        place_ns, connect_ns = answer.limit_now("pool"), answer.limit_ns("connect")
        opening = Opening()
        try:
            connection = await self._pool.open(origin, connect_ns, NEVER_NS, opening, place_ns=place_ns)
            # A shared pool may return a kept connection.
            while not can_repeat and connection.requests and connection.is_hung_up():
                connection.retire()
                connection = await self._pool.open(origin, connect_ns, NEVER_NS, opening, place_ns=place_ns)
        except RequestFailed as failure:
            if isinstance(failure, NoPlaceInTime):
                answer.stage = "pool"
            answer.opened(opening, failure.outcome)
            raise
        answer.opened(opening)
        return connection

    def _is_stale(
        self, failure: RequestFailed, answer: HttpxAnswer, connection: Connection, upload: Upload | None
    ) -> bool:
        """Return True if a failed request may be sent again on another connection. The rules are those of
        `HttpClient._is_stale`.
        """
        if not isinstance(failure, Unprocessed) and (
            failure.outcome != RESET
            or answer.size_bytes
            or not connection.requests
            or answer.request.method not in _IDEMPOTENT
        ):
            return False
        if upload is not None and not upload.can_repeat:
            return False
        self._pool.stale_retries += 1
        note_sent_again(self._rows.meter.recorder, failure)
        return True

    async def aclose(self) -> None:
        """Do nothing: the connections belong to the user, not to the client that was closed."""

    def __repr__(self) -> str:
        return f"<HttpxTransport over {self._pool!r}>"


class HttpxAnswer(httpx.AsyncByteStream):
    """One request on the wire: its row while it is under way, and the body of its answer, which is read as it arrives.

    The object is an `http1.Sink` for the connection, an `HttpxSample` for the meter, and a byte stream for httpx.
    """

    answer: Answer = NO_ANSWER
    """The answer is its own `http1.Answered`: it remembers no earlier answer of the route."""
    library: ClassVar[Library] = HTTPX

    def __init__(
        self,
        rows: HttpxRows,
        request: httpx.Request,
        turn: Turn | None,
        series: RequestSeries,
        asked_ns: int,
        trace: str,
        limits: Mapping[str, float | None],
    ) -> None:
        self._rows, self.request, self.turn, self.series = rows, request, turn, series
        self.asked_ns, self.trace = asked_ns, trace
        self.span, self.is_sampled = "", False
        self.wait_ns: int | None = None
        """From when the iteration was due to this request, if it is the iteration's first one to an AI model."""
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = self.status = 0
        self.outcome = OK
        self.sent = b""
        self.stage: Stage = "connect"
        self._limits = limits
        self.head: Head
        self.body = b""
        """The beginning of the body, to show it with a failure."""
        self.raw_trailers: RawHeaders = []
        self.source: Source
        self.connection: Connection | None = None
        self.written_ns = UNKNOWN
        self.opening_ns: dict[Phase, int] = {}
        """Time of each phase of opening the connection, for plans with phases (phased.py)."""
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._wanted: asyncio.Future[None] | None = None
        self._failure: RequestFailed | None = None
        self._is_recorded = self._is_whole = self._is_cut = False
        self._llm: SdkAnswer | None = None
        """The reader of the answer, if this is a request to an AI model."""

    @property
    def status_code(self) -> int | None:
        """Return the HTTP status; None if no answer arrived."""
        return self.status or None

    def limit_ns(self, stage: Stage) -> int:
        """Return the request's httpx time-out for `stage` (for example "read") in ns; NEVER_NS if it has none."""
        seconds = self._limits.get(stage)
        return NEVER_NS if seconds is None else round(seconds * NS_PER_S)

    def limit_now(self, stage: Stage) -> int:
        """Return the deadline of a stage that begins now, by `perf_counter_ns`; NEVER_NS if it has no time-out."""
        seconds = self._limits.get(stage)
        return NEVER_NS if seconds is None else perf_counter_ns() + round(seconds * NS_PER_S)

    @property
    def route(self) -> HttpxAnswer:
        return self

    # -- what the connection calls (http1.Sink) -----------------------------------------------

    def took_head(self, head: Head) -> None:
        rows = self._rows
        self.head = head
        self.status = head.status
        if rows.meter.times_streams:
            self._llm = sdk_answer(self.request.method, self.request.url.path, head, rows.meter.tokenizer)
            self.wait_ns = None if self._llm is None else rows.meter.first_wait_ns(self.asked_ns)
        if rows.tags:
            self.series = self.series.split(tags_of(head, rows.tags), self.asked_ns)
        if head.status >= 400:
            self.outcome = rows.outcome_of(self.request, head.status)
        # httpx's read time-out counts only while the journey waits for data, so `__anext__` sets the next deadline.
        self.source.allow_until(self, NEVER_NS)

    def took(self, data: bytes, now_ns: int) -> bool:
        self.source.allow_until(self, NEVER_NS)
        if len(self.body) <= MAX_SHOWN_BYTES:
            self.body += data
        if self._llm is not None:
            self._llm.took(data, now_ns)
        self._unread.append(data)
        self._unread_bytes += len(data)
        self._wake()
        return self._unread_bytes > _ENOUGH_BYTES

    def ended(self) -> None:
        self._is_whole = True
        if self._llm is not None and self.outcome is OK:
            self.outcome = self._llm.ended(self.done_ns)
            tags = self._llm.tags(self.asked_ns, self.done_ns)
            if tags:
                self.series = self.series.retagged(tags, self.asked_ns)
        if self.status and not self._is_recorded:  # otherwise it was cancelled and its task has not run yet
            self._is_recorded = True
            self._rows.answered(self)
        self._wake()

    def broke(self, failure: RequestFailed) -> None:
        self._failure = failure
        self.fail(failure)
        self._wake()

    def cut(self) -> None:
        self._is_cut = True
        self._gone()
        if self._wanted is not None:
            self._wanted.cancel()

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def opened(self, opening: Opening, outcome: str = OK) -> None:
        """Record how long each phase of opening a connection took for this request. If opening failed, record also the
        phase that failed, with `outcome`.
        """
        self.series.opened(opening.times, opening.failed_in(), outcome)
        for phase, ns in opening.times.items():
            self.opening_ns[phase] = self.opening_ns.get(phase, 0) + ns

    # -- its row --------------------------------------------------------------------------------

    def fail(self, failure: RequestFailed) -> None:
        """Record that the request failed without a complete answer. Do nothing if the request is recorded already."""
        if self._is_recorded:
            return
        self._is_recorded = True
        if isinstance(failure, NoConnectionInTime):  # censored at its deadline, not when the failure was noticed
            self.done_ns = max(self.asked_ns, self.sent_ns, failure.at_ns)
        elif not self.done_ns:
            self.done_ns = perf_counter_ns()
        self.outcome = failure.outcome
        count_own_fault(failure.outcome)
        self._rows.failed(self)

    def abandon(self) -> None:
        """Drop this cancelled request from its connection, without recording it. A connection that already serves
        another request is left alone.
        """
        if self.connection is not None:
            self.connection.cancel(self)
        self._gone()
        self._unread.clear()

    def _gone(self) -> None:
        if not self._is_recorded:
            self._is_recorded = True
            self._rows.gone(self)

    def stream_times(self) -> StreamTimes | None:
        """Return the figures of a model's answer; None if this is no request to an AI model."""
        return None if self._llm is None else self._llm.times(self.asked_ns, self.done_ns)

    def stream_events(self) -> StreamEvents | None:
        """Return the events of a model's stream, to be kept; None for other answers."""
        return None if self._llm is None else self._llm.events()

    @staticmethod
    def convention_figures() -> tuple[()]:
        """Return nothing: only `user.llm` records figures by the definitions of other tools."""
        return ()

    own_limits: ClassVar[None] = None
    """Only calls of `user.llm` have limits of their own."""

    @staticmethod
    def take_running() -> None:
        """Return None: objectives over windows see the requests of SDKs when they end."""

    def exchange(self) -> tuple[str, str]:
        """Return (request, response) as texts in which secrets are not masked.

        The second text contains only the beginning of the response's body. Without an answer, the second text is "".
        """
        return request_text(self.sent), "" if not self.status else response_text(self.head, self.body)

    # -- what httpx calls -------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece of the body. At its end, raise StopAsyncIteration.

        Raises:
            httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError: the body broke off; the exception is also
                a RequestFailed.
        """
        while not self._unread:
            if self._failure is not None:
                note_failure(self._rows.meter, self)
                raise as_httpx_error(self._failure, "read", self.library.kinds) from self._failure
            if self._is_whole:
                raise StopAsyncIteration
            if self._is_cut:
                raise self.library.stream_closed
            self._wanted = asyncio.get_running_loop().create_future()
            self.source.allow_until(self, self.limit_now("read"))
            try:
                await self._wanted
            except BaseException:
                self.abandon()
                raise
        data = self._unread.popleft()
        was_enough = self._unread_bytes > _ENOUGH_BYTES
        self._unread_bytes -= len(data)
        if was_enough and self._unread_bytes <= _ENOUGH_BYTES and not self._is_whole:
            self.source.resume()
        return data

    async def aclose(self) -> None:
        """Stop reading the body. If it is not complete, record the request as ended now, or drop it if its task was
        cancelled.
        """
        if not self._is_recorded:
            # httpx calls this method without the exception that ends the response, so it is read from the
            # interpreter.
            if isinstance(sys.exc_info()[1], asyncio.CancelledError | GeneratorExit):
                self.abandon()
            else:
                self._is_recorded = self._is_cut = True
                self.done_ns = perf_counter_ns()
                assert self.connection is not None
                self.connection.cancel(self)
                self._rows.answered(self)
        self._unread.clear()


@cache
def transport_of(library: Library) -> type[HttpxTransport]:
    """Return the class of transports for the clients of a library."""
    if library is HTTPX:
        return HttpxTransport
    return type("HttpxTransport", (HttpxTransport, library.transport), {"library": library})


@cache
def _answers_of(library: Library) -> type[HttpxAnswer]:
    if library is HTTPX:
        return HttpxAnswer
    return type("HttpxAnswer", (HttpxAnswer, library.stream), {"library": library})


def httpx_client(
    transport: httpx.AsyncBaseTransport,
    base_url: str,
    timeouts: Timeouts,
    *,
    follow_redirects: bool = False,
    library: Library = HTTPX,
    options: Mapping[str, Any] | None = None,
) -> HttpxClient:
    """Make one user's client over a transport, with its own cookies and headers and the library's defaults. options:
    arguments of the client that replace these.

    Environment variables and files (HTTP_PROXY, .netrc) are ignored, so that a scenario is the same on every agent.
    """
    rest_s = _s(timeouts.total_ns)
    given: dict[str, Any] = {
        "base_url": base_url,
        "cookies": BoundedJar(),
        "timeout": library.timeout(rest_s, connect=_s(timeouts.connect_ns)),
        "follow_redirects": follow_redirects,
        **(options or {}),
    }
    client: HttpxClient = library.client(**given, transport=transport, trust_env=False)
    _skip_jar_without_cookies(client.cookies)
    _cache_merged_urls(client, library.urls)
    return client


def _head(request: httpx.Request, origin: Origin, target: bytes, forward: Forward | None, library: Library) -> bytes:
    """Return the request line and headers as bytes, without the empty line after them. Host comes first, as in h11."""
    raw = request.headers.raw
    if raw and raw[0][0].lower() != b"host":
        raw = sorted(raw, key=lambda item: item[0].lower() != b"host")
    verb = request.method.encode("ascii")
    if forward is None:
        first = request_line(verb, target)
    else:
        first = forward.first_lines(verb, origin.scheme, origin.host, request.url.netloc, target)
    try:
        return first + _lines(raw)
    except ValueError as error:
        raise library.local_protocol_error(str(error)) from error


def _lines(raw: list[tuple[bytes, bytes]]) -> bytes:
    """Return the header lines of `raw` as bytes, as `header_lines` does. All lines are checked at once, which takes a
    third of the time.
    """
    lines = b"".join([name + b": " + value + b"\r\n" for name, value in raw])
    if _SOUND.fullmatch(lines) and lines.count(b"\r\n") == len(raw):
        return lines
    return header_lines(raw)


def _headers_of(head: Head, library: Library) -> httpx.Headers:
    """Return the headers of an answer as the library's Headers, copied from a cache."""
    known = library.headers
    headers: httpx.Headers | None = known.get(head)
    if headers is None:
        headers = library.header_class(head.raw)
        assert headers is not None
        if len(head.raw) > MAX_KEPT_FIELDS:
            return headers
        if len(known) >= _MOST_HEADERS:
            known.clear()
        known[head] = headers
    return headers


def _skip_jar_without_cookies(cookies: httpx.Cookies) -> None:
    """Change the cookie jar of a client so that it ignores answers that set no cookie. httpx's own jar takes 17 µs to
    find that out.
    """
    learn = cookies.extract_cookies

    def extract_cookies(response: httpx.Response) -> None:
        answer = response.extensions.get(ROW)
        if not isinstance(answer, HttpxAnswer) or answer.head.sets_cookie:
            learn(response)

    cookies.extract_cookies = extract_cookies  # type: ignore[method-assign]


def _cache_merged_urls(client: httpx.AsyncClient, known: dict[tuple[str, str], Any]) -> None:
    """Change a client so that it caches the URLs that it merges with its base URL, in `known`. Parsing two URLs a
    request is a fifth of httpx's own work.
    """
    # Private to httpx: with a version that has no such method, requests are only slower.
    merge: Callable[[httpx.URL | str], httpx.URL] | None = getattr(client, "_merge_url", None)
    if merge is None:
        return
    base = client.base_url
    base_text = str(base)

    def merge_url(url: httpx.URL | str) -> httpx.URL:
        nonlocal base, base_text
        if type(url) is not str:
            return merge(url)
        if client.base_url is not base:
            base = client.base_url
            base_text = str(base)
        merged: httpx.URL | None = known.get((base_text, url))
        if merged is None:
            if len(known) >= _MOST_URLS:
                known.clear()
            merged = known[base_text, url] = merge(url)
        return merged

    client._merge_url = merge_url  # type: ignore[method-assign]


def _data(request: httpx.Request, head: bytes, answer: HttpxAnswer) -> bytes:
    is_chunked = b"\ntransfer-encoding:" in head.lower()
    if not is_chunked:
        try:
            return head + b"\r\n" + request.content
        except RuntimeError:  # RequestNotRead of httpx or httpx2
            pass  # a streamed body: its pieces are made while it is sent
    return StreamedRequest.of(head + b"\r\n", _upload(request, answer, is_chunked), wants_stream=True)


def _upload(request: httpx.Request, answer: HttpxAnswer, is_chunked: bool) -> Upload:
    """Return the request's streamed body as an Upload. Each piece must be written within the write time-out; the
    scenario's code that produces the pieces has no time limit.
    """
    length = None if is_chunked else int(request.headers.get("content-length", 0))
    stream: Any = request.stream

    async def pieces() -> AsyncIterator[bytes]:
        answer.source.allow_until(answer, NEVER_NS)  # the scenario's own code has no time limit
        async for piece in stream:
            answer.source.allow_until(answer, answer.limit_now("write"))
            yield piece
            answer.source.allow_until(answer, NEVER_NS)
        answer.stage = "read"
        answer.source.allow_until(answer, answer.limit_now("read"))

    return Upload(pieces, length, can_repeat=isinstance(stream, answer.library.byte_stream))


def _s(limit_ns: int) -> float | None:
    return None if limit_ns >= NEVER_NS else limit_ns / NS_PER_S
