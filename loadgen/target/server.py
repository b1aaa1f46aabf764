"""The HTTP/1.1 server of the demo shop, on one event loop. It holds each answer back until it is due.

An answer is due at (arrival + stall + latency), an absolute time, so delays do not add up.
The arrival is when the bytes that complete the request were read. Answers on one connection
are sent in the order of its requests, so a slow one also delays those that were pipelined
behind it. `/stats` reports each request's own wait.

The server shares a small machine with the generator, so it must be cheap: about 25 µs of CPU
a request (bench/target.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator
from heapq import heappop, heappush, heapreplace
from time import perf_counter_ns, time
from typing import Any, cast

import httptools
import msgspec

from loadgen.engine.load.timer import new_alarm
from loadgen.errors import PortBusy, UsageError
from loadgen.extras import missing_package
from loadgen.target.access_log import AccessLog, LoggedRequest
from loadgen.target.config import LATENCIES, SLOW_START_FACTOR, TargetConfig
from loadgen.target.draws import Draws
from loadgen.target.metrics_page import Sample, metrics_text
from loadgen.target.request_response import Answer, Request, answer
from loadgen.target.shop import Shop
from loadgen.target.shop_partner_api import MAX_UPLOAD_BYTES
from loadgen.target.stats import Stats
from loadgen.units import NS_PER_S

__all__ = ["MAX_BODY_BYTES", "MAX_HEAD_BYTES", "Connection", "Pending", "Target", "serve"]

MAX_BODY_BYTES = 65_536
MAX_HEAD_BYTES = 32_768
_MAX_PIPELINED = 64
"""The limit on unanswered requests of one connection; further ones stay in the socket."""
_WINDOWS_AHEAD_NS = 60_000_000_000
"""`/stats` lists the stall windows of the coming minute."""
_WINDOWS_LISTED = 1000
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Pending:
    """An answer that waits until it is due and until it is the oldest of its connection."""

    __slots__ = ("data", "is_due", "logged", "route", "stats", "status", "wait_ns")

    def __init__(
        self,
        stats: Stats,
        route: str | None,
        status: int,
        data: bytes,
        wait_ns: int,
        logged: LoggedRequest | None = None,
    ) -> None:
        self.stats = stats
        """The counts to which the request belongs, also if they are reset in the meantime."""
        self.route = route
        """None if the request is not counted."""
        self.status, self.data, self.wait_ns = status, data, wait_ns
        self.is_due = not wait_ns
        self.logged = logged
        """None without an access log."""


class Target:
    """A running demo shop, made by `serve`."""

    def __init__(self, config: TargetConfig) -> None:
        self.config = config
        self._shop = Shop(config.seed)
        self._connections: set[Connection] = set()
        self._heap: list[tuple[int, int, Connection, Pending]] = []
        self._pushed = 0
        self._alarm = new_alarm(self._ring)
        self._armed_ns = 0
        self._server: asyncio.Server | None = None
        self.started_ns = perf_counter_ns()
        self._started_s = time()
        self._stats = Stats()
        self._first_ns: int | None = None
        self._draws = self._new_draws()
        self._free_ns = [0] * self.config.slots
        """When each slot becomes free, in ns after the first request; a heap."""
        self._log_flush: asyncio.TimerHandle | None = None
        self.reads_traceparent = False
        """Requests get the text of their header `traceparent`."""
        self.log = None if config.access_log is None else AccessLog(config.access_log)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{'https' if self.config.tls_cert else 'http'}://{host}:{self.port}"

    def reset(self) -> None:
        """Set all counts to 0 and restart the draws of latencies and errors. The next request counts as the first."""
        self._stats = Stats(len(self._connections))
        self._first_ns = None
        self._draws = self._new_draws()
        self._free_ns = [0] * self.config.slots

    def stats(self) -> dict[str, Any]:
        """Return the JSON object for `GET /stats`: what the demo shop has counted. `*_monotonic_ns` are
        CLOCK_MONOTONIC, comparable within the machine.
        """
        stall = self.config.stall
        since_first_ns = perf_counter_ns() - self._first_ns if self._first_ns is not None else 0
        return {
            "format": 1,
            "seed": self.config.seed,
            "latency": self.config.latency,
            "started_monotonic_ns": self.started_ns,
            "first_request_monotonic_ns": self._first_ns,
            **self._stats.as_json(),
            "stall": stall
            and {
                "path": stall.path,
                "length_ns": stall.length_ns,
                "every_ns": stall.every_ns,
                "first_ns": stall.offset_ns,
                "windows_ns": [
                    list(w) for w in stall.windows_ns(since_first_ns + _WINDOWS_AHEAD_NS, last=_WINDOWS_LISTED)
                ],
            },
        }

    def notes(self) -> tuple[str, ...]:
        """Return lines for the operator about what the start has changed elsewhere; () for the plain shop."""
        return ()

    def samples(self) -> list[Sample]:
        """Return the samples of the page /metrics."""
        stats, cache = self._stats, self._shop.search_cache()
        ended = sum(sum(of.values()) for of in stats.answers.values()) + sum(stats.aborted.values())
        found: list[Sample] = [("process_start_time_seconds", "gauge", {}, self._started_s)]
        for route, count in stats.requests.items():
            found.append(("shop_requests_total", "counter", {"route": route}, count))
        for route, statuses in stats.answers.items():
            for status, count in statuses.items():
                found.append(("shop_answers_total", "counter", {"route": route, "status": str(status)}, count))
        return [
            *found,
            ("shop_requests_in_flight", "gauge", {}, sum(stats.requests.values()) - ended),
            ("shop_connections_open", "gauge", {}, stats.connections_open),
            ("shop_cache_hits_total", "counter", {"cache": "search"}, cache.hits),
            ("shop_cache_misses_total", "counter", {"cache": "search"}, cache.misses),
        ]

    async def start(self) -> None:
        """Open the port of the demo shop and begin to answer requests.

        Raises:
            PortBusy: the port is in use.
            UsageError: the certificate cannot be used.
        """
        config = self.config
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self), config.host, config.port, backlog=4096, ssl=_tls(config)
            )
        except OSError as error:
            raise PortBusy(
                f"cannot listen on {config.host}:{config.port}: {error.strerror or error}",
                hint="choose another --port, or 0 for any free one",
            ) from error

    async def stop(self) -> None:
        """Close the port and all connections. Answers that are still held back are dropped."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        if self.log is not None:
            self.log.close()
            self.log = None
        self._alarm.close()
        self._heap.clear()
        await asyncio.sleep(0)

    def log_answer(self, request: LoggedRequest, status: int, size: int) -> None:
        """Add an answer to the access log. The line is in the file within half a second."""
        if self.log is None:
            return
        self.log.add(request, status, size, time() - request[0])
        if self._log_flush is None:
            self._log_flush = asyncio.get_running_loop().call_later(0.5, self._flush_log)

    def _flush_log(self) -> None:
        self._log_flush = None
        if self.log is not None:
            self.log.flush()

    # -- one request ---------------------------------------------------------------------------

    def answer(self, request: Request, now_ns: int) -> tuple[str | None, Answer, int]:
        """HOT, once a request. Return (the request's route, its answer, how many ns to hold the answer back). The route
        is None for a request of `/stats` or `/metrics`, which is not counted.
        """
        path = request.path
        if (path == "/metrics" or path.startswith("/stats")) and (special := self._special(request)) is not None:
            return None, special, 0
        if self._first_ns is None:
            self._first_ns = now_ns
        pattern = self._shop.route(path)
        route = f"{request.method} {pattern}"
        self._stats.arrived(route)
        draws = self._draws.get(pattern)
        if draws is None:
            return route, self._shop.handle(pattern, request), 0
        wait_ns = self._wait_ns(pattern, draws, now_ns - self._first_ns)
        return route, _UNAVAILABLE if draws.fails() else self._shop.handle(pattern, request), wait_ns

    def _wait_ns(self, pattern: str, draws: Draws, arrived_ns: int) -> int:
        config = self.config
        wait_ns = draws.latency_ns()
        if arrived_ns < config.slow_start_ns:
            wait_ns = round(wait_ns * (1 + (SLOW_START_FACTOR - 1) * (1 - arrived_ns / config.slow_start_ns)))
        if config.stall is not None and config.stall.path in (None, pattern):
            wait_ns += config.stall.wait_ns(arrived_ns)
        if self._free_ns:
            free_ns = max(arrived_ns, self._free_ns[0]) + wait_ns
            heapreplace(self._free_ns, free_ns)
            return free_ns - arrived_ns
        return wait_ns

    def _special(self, request: Request) -> Answer | None:
        match request.method, request.path:
            case "GET" | "HEAD", "/stats":
                return answer(200, msgspec.json.encode(self.stats()))
            case "POST", "/stats/reset":
                self.reset()
                return answer(200, b"{}")
            case "GET" | "HEAD", "/metrics":
                return answer(200, metrics_text(self.samples()), _METRICS_TYPE)
            case _, "/stats" | "/metrics":
                return answer(405, b"{}", more=b"Allow: GET, HEAD\r\n")
            case _, "/stats/reset":
                return answer(405, b"{}", more=b"Allow: POST\r\n")
        return None

    def _new_draws(self) -> dict[str, Draws]:
        config = self.config
        laws = config.latencies if config.latency else {}
        return {path: Draws(config.seed, path, laws.get(path), config.error_ratio) for path in LATENCIES}

    # -- waiting -------------------------------------------------------------------------------

    def hold(self, due_ns: int, connection: Connection, pending: Pending) -> None:
        """Arrange that `connection` writes its answers when `pending`, a held-back answer, is due at `due_ns`."""
        self._pushed += 1
        heappush(self._heap, (due_ns, self._pushed, connection, pending))
        if self._heap[0][0] < self._armed_ns or not self._armed_ns:
            self._arm()

    def _arm(self) -> None:
        self._armed_ns = self._heap[0][0]
        self._alarm.set(self._armed_ns)

    def _ring(self) -> None:
        heap = self._heap
        while heap and heap[0][0] <= perf_counter_ns():
            _, _, connection, pending = heappop(heap)
            pending.is_due = True
            connection.flush()
        self._armed_ns = 0
        if heap:
            self._arm()


class Connection(asyncio.Protocol):
    """One connection. It also has the callbacks of httptools' parser."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pending: deque[Pending] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._read_ns = 0
        self._is_closing = False
        """No more requests are read, and the connection closes when the last answer is written."""
        self._is_reading = True
        self._is_congested = False
        self._head_bytes = 0
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._token = self._agent = self._traceparent = ""
        self._has_host = False
        self._in_head = True
        self._is_begun = False

    # -- the transport's callbacks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._target._connections.add(self)
        stats = self._target._stats
        stats.connections_opened += 1
        stats.connections_open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._target._connections.discard(self)
        self._target._stats.connections_open -= 1
        for pending in self._pending:
            if pending.route is not None:
                pending.stats.abort(pending.route)
        self._pending.clear()
        self._is_closing = True

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._read_ns = perf_counter_ns()
        if self._in_head:
            # Includes a body's first bytes if they come in the same read, so the limit is generous.
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_closing = True  # the requested upgrade is not supported; the request was answered as plain HTTP
        except httptools.HttpParserError:
            if not self._is_closing:  # bytes after the last request of a connection are ignored
                self._refuse(_BAD_REQUEST)
        else:
            if self._is_begun and self._in_head and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE)
        self.flush()

    def eof_received(self) -> bool:
        """Close the connection when the client has closed its side. A client may only have finished sending, but
        clients that gave up are far more common.
        """
        return False

    def pause_writing(self) -> None:
        self._is_congested = True
        self._read_or_not()

    def resume_writing(self) -> None:
        self._is_congested = False
        self.flush()

    # -- the parser's callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._clear()
        self._is_begun = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        length = len(name)
        if length == 13 and name.lower() == b"authorization":
            if value[:7].lower() == b"bearer ":
                self._token = value[7:].strip().decode("latin-1")
        elif length == 11 and self._target.reads_traceparent and name.lower() == b"traceparent":
            self._traceparent = value.decode("latin-1")
        elif length == 10 and self._target.log is not None and name.lower() == b"user-agent":
            self._agent = value.decode("latin-1")
        elif length == 4 and name.lower() == b"host":
            self._has_host = True
        elif length == 6 and name.lower() == b"expect" and value.lower() == b"100-continue" and not self._pending:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        most = MAX_UPLOAD_BYTES if self._url.startswith(b"/uploads/") else MAX_BODY_BYTES
        if self._body_bytes <= most:
            self._body.append(body)
        elif not self._is_closing:
            self._refuse(_BODY_TOO_LARGE)

    def on_message_complete(self) -> None:
        if self._is_closing:
            return
        self._in_head, self._is_begun = True, False
        parser = self._parser
        path, query = _split(self._url)
        if path is None or (not self._has_host and parser.get_http_version() == "1.1"):
            self._refuse(_BAD_REQUEST)
            return
        method = parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._token, b"".join(self._body), self._traceparent)
        keeps = bool(parser.should_keep_alive())
        route, answered, wait_ns = self._target.answer(request, self._read_ns)
        tail = b"\r\n" if keeps else b"Connection: close\r\n\r\n"
        data = answered.head + tail if method == "HEAD" else answered.head + tail + answered.body
        logged = None if self._target.log is None else self._logged(method)
        pending = Pending(self._target._stats, route, answered.status, data, wait_ns, logged)
        self._pending.append(pending)
        if not keeps:
            self._is_closing = True
        if wait_ns:
            self._target.hold(self._read_ns + wait_ns, self, pending)

    # -- answering -----------------------------------------------------------------------------

    def flush(self) -> None:
        """HOT. Write the answers that are due, in the order of their requests."""
        pending = self._pending
        while pending and pending[0].is_due and not self._is_congested:
            done = pending.popleft()
            if done.route is not None:
                done.stats.answered(done.route, done.status, done.wait_ns)
            self._transport.write(done.data)
            if done.logged is not None:
                self._target.log_answer(done.logged, done.status, len(done.data))
        if self._is_closing and not pending:
            self._transport.close()
        else:
            self._read_or_not()

    @property
    def closes(self) -> bool:
        """Return whether the connection ends with its last answer."""
        return self._is_closing

    def abort(self) -> None:
        self._transport.abort()

    def _logged(self, method: str) -> LoggedRequest:
        """Return what the access log needs of the request. The time is that of its last byte."""
        client = str((self._transport.get_extra_info("peername") or ("-",))[0])
        line = f"{method} {self._url.decode('latin-1')} HTTP/{self._parser.get_http_version()}"
        return time() - (perf_counter_ns() - self._read_ns) / NS_PER_S, client, line, self._agent

    def _refuse(self, refusal: Answer) -> None:
        """Answer an invalid request with `refusal`, after the answers to earlier requests, and close the connection."""
        self._target._stats.bad(refusal.status)
        data = refusal.head + b"Connection: close\r\n\r\n" + refusal.body
        self._pending.append(Pending(self._target._stats, None, refusal.status, data, 0))
        self._is_closing = True

    def _read_or_not(self) -> None:
        """Stop reading while a client sends faster than it can be answered, and start again afterwards."""
        wants = not self._is_congested and len(self._pending) < _MAX_PIPELINED
        if wants is not self._is_reading and not self._transport.is_closing():
            self._is_reading = wants
            if wants:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()


def _split(url: bytes) -> tuple[str | None, str]:
    """Return (the path, the query) of the target in a request line. The path is None if the target is neither a path
    nor a URL.
    """
    if not url.startswith(b"/"):
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            return None, ""
        if not parsed.schema:
            return None, ""
        path, query = parsed.path or b"/", parsed.query or b""
    else:
        path, _, query = url.partition(b"?")
    return path.decode("latin-1"), query.partition(b"#")[0].decode("latin-1")


def _tls(config: TargetConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificate {config.tls_cert} cannot be used: {error}",
            hint="give a certificate and its key in PEM format",
        ) from error
    return context


_UNAVAILABLE = answer(503, b'{"error":"out of order on purpose"}')
_BAD_REQUEST = answer(400, b'{"error":"not an HTTP/1 request"}')
_HEAD_TOO_LARGE = answer(431, b'{"error":"too many headers"}')
_BODY_TOO_LARGE = answer(413, b'{"error":"the body is too large"}')


@contextlib.asynccontextmanager
async def serve(config: TargetConfig | None = None) -> AsyncIterator[Target]:
    """Run a demo shop in this event loop, and yield it. Its port is open within the `async with` block."""
    target = _new_target(config or TargetConfig())
    try:
        await target.start()
        yield target
    finally:
        await target.stop()


def _new_target(config: TargetConfig) -> Target:
    """Return the plain shop, or the one with a database, for which psycopg is imported.

    Raises:
        UsageError: psycopg is not installed.
    """
    if config.database is None:
        return Target(config)
    try:
        from loadgen.target.database.server import DatabaseTarget
    except ImportError as error:
        raise missing_package("--database", "psycopg", "probes") from error
    return DatabaseTarget(config)
