"""One HTTP/1.1 connection, client side: writes a request, parses its response, and is idle again.

There is no pipelining and no policy here: `pool.py` opens and keeps connections, and
`http.py` repeats requests. The bytes of a response may be split in any way (a test
tries). Most answers take the fast path: the whole response arrives in one read, its
head is in the cache (`response_heads.py`), and its length is known. Everything else goes
through llhttp.

A body that is an `Upload` is sent no faster than the target accepts it. Sending stops
when an answer arrives: after a 413 the rest of the body is pointless. A streamed
answer is passed on piece by piece, and reading pauses while its reader has enough.

A 101 (Switching Protocols) is the answer of a request with an Upgrade header. The journey
gets its status and headers, and the connection is closed, because nobody speaks the new
protocol. Without such a header a 101 is an error.

After anything odd (unexpected bytes, a body that is too long, an answer before the
request was written) the connection completes the answer if it can. It is then closed
and never reused.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from contextlib import aclosing
from time import perf_counter_ns
from typing import Final, cast

import httptools

from loadgen.clients.protocol.connection_interface import Connection as AnyConnection
from loadgen.clients.protocol.connection_interface import Exchange, Lost, Sink, peer_text
from loadgen.clients.protocol.hang_up import HangUps, watched
from loadgen.clients.protocol.join_body_pieces import MANY_PIECES, join_tail
from loadgen.clients.protocol.outcomes import HEAD_TOO_LARGE, PROTOCOL, RESET, TIMEOUT, TOO_LARGE, connect_failure
from loadgen.clients.protocol.request_body_encoding import StreamedRequest, Upload
from loadgen.clients.protocol.response_heads import HEADS, MAX_FIELDS, Answer, Head, RawHeaders, keep_head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from loadgen.errors import RequestFailed
from loadgen.run_until_done import run_until_done

__all__ = ["MANY_BYTES", "MAX_BODY_BYTES", "MAX_HEAD_BYTES", "Connection", "Exchange", "Sink"]

MAX_BODY_BYTES: Final = 64_000_000
"""The default size limit of a body, both as received and decoded."""
MAX_HEAD_BYTES: Final = 256 * 1024
"""Size limit of the head of a response, with its interim (1xx) responses. llhttp has no such limit."""
_BYTES_A_CHUNK: Final = 16
"""The allowed overhead of chunks. Go's rule (net/http/internal/chunked.go): 16 bytes a chunk plus twice the body's
bytes; we allow another MAX_HEAD_BYTES in all. So one byte a chunk is fine, but endless chunk extensions and trailers
are not."""
MANY_BYTES: Final = 32 * 1024
"""A larger request may not be written in one step, so its answer can arrive before it is written."""

_BREATH_BYTES: Final = 256 * 1024
"""An upload lets the loop's other tasks run after this many bytes, however fast the target reads."""

_START, _ODD, _COUNT, _PARSE, _STREAM = range(5)
"""The phases of a response. START: no byte has arrived. ODD: the same, for a HEAD or for a request that may not be
fully sent. COUNT: the body is counted. PARSE: llhttp parses it. STREAM: as PARSE, and each piece is passed on."""


class Connection(asyncio.Protocol):
    """HOT. `send` writes a request and returns a future that is done when the whole response is there.

    On failure the future raises RequestFailed, the exchange's `done_ns` is set, and the connection is closed.
    """

    __slots__ = (
        "_asked",
        "_chunks",
        "_closed_as",
        "_complete",
        "_drained",
        "_exchange",
        "_extra",
        "_final",
        "_hang_ups",
        "_have",
        "_head_only",
        "_is_large",
        "_is_sending",
        "_joined",
        "_key",
        "_limit_bytes",
        "_loop",
        "_lost",
        "_parser",
        "_phase",
        "_pieces",
        "_raw",
        "_read_ns",
        "_reason",
        "_sink",
        "_spare",
        "_transport",
        "_waiter",
        "_wheel",
        "check_ns",
        "deadline_ns",
        "is_closed",
        "requests",
        "stack",
        "where",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: TimeoutWheel,
        stack: list[AnyConnection],
        lost: Lost,
        where: str,
        limit_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._loop, self._wheel, self._lost, self._limit_bytes = loop, wheel, lost, limit_bytes
        self.where = where
        self.stack = stack
        """The connection is on this stack while it is idle."""
        self.is_closed = False
        self.requests = 0
        """The number of requests answered so far."""
        self.deadline_ns = 0
        self.check_ns = NEVER_NS
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None]
        """Only set while a request is under way: an idle connection keeps no future."""
        self._asked = b""
        """The last request."""
        self._exchange: Exchange | None = None
        self._phase = _START
        self._parser: httptools.HttpResponseParser | None = None
        self._raw: RawHeaders
        self._reason = b""
        self._chunks: list[bytes]
        self._joined = 0
        """See `join_body_pieces.join_tail`."""
        self._have = 0
        self._pieces = 0
        """The number of pieces in which llhttp returned the body: at least one for each chunk."""
        self._final: Head | None = None
        self._complete = self._extra = self._head_only = self._is_large = self._is_sending = False
        self._sink: Sink | None = None
        self._spare: socket.socket | None = None
        """A duplicate of the socket while a body is sent; see `_rescue`."""
        self._drained: asyncio.Future[None] | None = None
        """Not None while the transport's write buffer is full; done when it accepts more."""
        self._key: bytes | None = None
        self._read_ns = 0
        """When bytes were last read."""
        self._hang_ups: HangUps | None = None
        """Not None from the first look at this connection on."""
        self._closed_as: tuple[str, str] | None = None
        """Outcome and detail of requests that find this connection closed; None: the target just closed it."""

    # -- what the client calls --------------------------------------------------------------

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> asyncio.Future[None]:
        """HOT. Send a request and wait for its answer, as `send` does, for a request of at most MANY_BYTES without a
        streamed body whose method is not HEAD.
        """
        self._exchange, self._asked = exchange, data
        self.deadline_ns = deadline_ns
        if deadline_ns < self.check_ns:
            self._wheel.watch(self)
        waiter = self._waiter = self._loop.create_future()
        if self.is_closed:  # it was closed after the caller took it
            self._fail(*(self._closed_as or (RESET, f"{self.where} closed the connection")))
            return waiter
        exchange.sent_ns = perf_counter_ns()
        self._transport.write(data)
        return waiter

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Write a request and wait until its answer is complete, or only for the head if `exchange` is a Sink.
        head_only: the method is HEAD. deadline_ns: by `perf_counter_ns`; NEVER_NS for none.

        The caller's own task sends the body of a StreamedRequest. If the code that makes the body raises, its exception
        is raised here, and the request is then still under way.
        """
        if type(data) is not bytes:
            request = cast("StreamedRequest", data)
            if request.wants_stream and request.upload is None:
                return self.ask_stream(bytes(data), cast("Sink", exchange), head_only, deadline_ns)
            return self._send_streamed(request, exchange, head_only, deadline_ns)
        self._head_only = head_only
        self._is_large = len(data) > MANY_BYTES
        if head_only or self._is_large:
            self._phase = _ODD
        return self.ask(data, exchange, deadline_ns)

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        waiter = cast("asyncio.Future[None]", self.send(data, sink, head_only, deadline_ns))
        if not waiter.done():
            # Setting this after the write is safe: no transport delivers an answer before the next turn of the loop.
            sink.source = self
            self._sink, self._phase, self._final = sink, _STREAM, None
        return waiter

    def is_hung_up(self) -> bool:
        hang_ups = self._hang_ups
        if hang_ups is None:
            hang_ups = self._hang_ups = watched(self._loop, self, self._transport)
        return hang_ups.has(self, self._read_ns)

    @property
    def remote(self) -> str:
        return peer_text(self._transport)

    @property
    def is_free(self) -> bool:
        return self._exchange is None

    def cancel(self, exchange: Exchange) -> None:
        """Close the connection if `exchange` is still under way on it. If `exchange` has ended already, do nothing,
        because another request may be under way now.
        """
        if self._exchange is exchange:
            self.abort()

    def retire(self) -> None:
        """Close the connection. It must be idle."""
        self.abort()

    def abort(self) -> None:
        """Close the connection at once. A waiting request is cancelled rather than failed, because our side caused this
        and not the target.
        """
        waits = self._exchange is not None
        # Cleared before the close: `connection_lost`, which the loop calls later, then finds no request that it would
        # record as failed.
        self._exchange = None
        sink, self._sink = self._sink, None
        self._close()
        if waits and not self._waiter.done():
            self._waiter.cancel()
        elif sink is not None:
            sink.cut()

    def expire(self) -> None:
        """Fail the request under way with a time-out, because its deadline has passed. Its time ends at the deadline;
        bytes that arrived later do not count.
        """
        exchange = self._exchange
        if exchange is not None:
            at_ns = max(self.deadline_ns, exchange.sent_ns)
            if exchange.first_byte_ns > at_ns:
                exchange.first_byte_ns = 0
            self._fail(TIMEOUT, "no complete answer within the time-out; timeout=... sets a longer one", at_ns)

    # -- bodies and answers that are streams ------------------------------------------------

    async def _send_streamed(
        self, request: StreamedRequest, exchange: Exchange, head_only: bool, deadline_ns: int
    ) -> None:
        waiter = cast("asyncio.Future[None]", self.send(bytes(request), exchange, head_only, deadline_ns))
        if not waiter.done():
            if request.wants_stream:
                sink = self._sink = cast("Sink", exchange)
                sink.source = self
                self._phase = _STREAM
                self._final = None
            if request.upload is not None:
                try:
                    await self._push(request.upload, waiter)
                except BaseException:
                    if waiter.done() and not waiter.cancelled():
                        waiter.exception()  # retrieve it, or asyncio logs "exception was never retrieved"
                    raise
        await waiter

    async def _push(self, upload: Upload, waiter: asyncio.Future[None]) -> None:
        """Send the streamed body of a request until it ends, or until an answer or a failure arrives (`waiter`), even
        while the body's own code is waiting.
        """
        self._is_large = self._is_sending = True
        if self._phase == _START:
            self._phase = _ODD
        self._spare = self._same_socket()
        try:
            await run_until_done(waiter, self._write_pieces(upload, waiter))
        except RequestFailed as failure:  # the body comes from another request, which failed
            if not waiter.done():
                self._fail(failure.outcome, f"while its body was sent: {failure.detail}")
        finally:
            if self._spare is not None:
                self._spare.close()
                self._spare = None

    async def _write_pieces(self, upload: Upload, waiter: asyncio.Future[None]) -> None:
        async with aclosing(upload.framed()) as pieces:
            left, unseen = (-1 if upload.is_chunked else upload.length or 0), 0
            async for piece in pieces:
                if waiter.done():
                    return
                self._transport.write(piece)
                left -= len(piece)
                unseen += len(piece)
                # With a known length the request is complete now, although the generator has not ended. An answer
                # that arrives meanwhile leaves the connection reusable (`_release`).
                if not left:
                    self._is_sending = False
                if self._drained is not None:
                    await self._drained
                    unseen = 0
                elif unseen > _BREATH_BYTES:
                    await asyncio.sleep(0)
                    unseen = 0
            self._is_sending = False

    def _same_socket(self) -> socket.socket | None:
        """Return a duplicate of the connection's socket. Return None with TLS, whose bytes only the transport can read,
        or if there is no socket. Takes 3 µs.
        """
        own = self._transport.get_extra_info("socket")
        if own is None or self._transport.get_extra_info("ssl_object") is not None:
            return None
        try:
            return socket.fromfd(own.fileno(), own.family, own.type)
        except OSError:  # no file descriptors left
            return None

    def _rescue(self) -> None:
        """Read and process the answer that the target had sent before our write failed.

        A target that answers 413 and closes sends a reset after its answer. Our next write then fails, and the loop
        closes the transport without reading the answer.
        """
        spare = self._spare
        while spare is not None and self._exchange is not None:
            try:
                # The duplicate reads from the same receive buffer, whatever the transport has done with its own
                # descriptor.
                data = spare.recv(_BREATH_BYTES, socket.MSG_DONTWAIT)
            except OSError:
                return
            if not data:
                return
            self.data_received(data)

    @property
    def _is_streaming(self) -> bool:
        return self._phase == _STREAM

    def resume(self) -> None:
        """Continue to read the answer after a pause, because the sink accepts more data."""
        if not self.is_closed:
            self._transport.resume_reading()

    def allow_until(self, exchange: Exchange, deadline_ns: int) -> None:
        if self._exchange is exchange:
            self.deadline_ns = deadline_ns
            if deadline_ns < self.check_ns:
                self._wheel.watch(self)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # -- what the loop calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        OPEN_CONNECTIONS.http += 1
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's class

    def data_received(self, data: bytes, at_ns: int = 0) -> None:
        """HOT. Process bytes from the target, for the request under way. Bytes without a request close the connection.
        Budget with a cached head: 1 µs (bench/client.py).

        at_ns: when the bytes arrived, `perf_counter_ns`; 0: now. Transports of the loop pass no time.
        """
        # The clock is read first, so that our own parsing is part of no measured time.
        self._read_ns = now_ns = at_ns or perf_counter_ns()
        exchange = self._exchange
        if exchange is None:  # no request: a 408 on an idle connection, or a broken server
            self._closed_as = (PROTOCOL, f"{self.where} sent bytes without a request")
            self._close()
            return
        phase = self._phase
        if phase == _START:
            exchange.first_byte_ns = now_ns
            size = exchange.size_bytes = len(data)
            # A comparison with the route's last answer instead of a search, a copy and a hash saves 0.15 µs a request
            # (docs/decisions/018-the-plain-way.md).
            answer = exchange.route.answer
            if size == answer.size and data.startswith(answer.key) and now_ns <= self.deadline_ns:
                # `_finish`, inlined: nearly every answer ends here
                exchange.body = data[answer.begin :]
                exchange.head, exchange.done_ns = answer.head, now_ns
                self._exchange = None
                self.deadline_ns = 0
                self.requests += 1
                waiter = self._waiter
                del self._waiter
                # The request was cancelled, and its task has not run yet. A cancelled request closes its connection
                # (http.py), even if the answer has just arrived.
                try:
                    waiter.set_result(None)
                except asyncio.InvalidStateError:
                    self._close()
                    return
                self.stack.append(self)
            else:
                self._begin(exchange, data, now_ns)
            return
        exchange.size_bytes += len(data)
        if phase == _ODD:
            exchange.first_byte_ns = now_ns
            self._begin(exchange, data, now_ns)
        elif phase == _PARSE:
            self._key = None
            self._feed(exchange, data, now_ns)
        elif phase == _COUNT:
            self._count(exchange, data, now_ns)
        else:
            self._pass_on(exchange, data, now_ns)

    def eof_received(self) -> None:
        """Handle that the target has closed its side of the connection. The transport then closes our side."""
        exchange, head = self._exchange, self._final
        if exchange is None:
            self._close()
        # RFC 9112, section 6.3: the close of the connection ends a body only if it has neither a length nor a
        # Transfer-Encoding. A chunked body without its last chunk is incomplete (section 8).
        elif self._sink is not None and head is not None and head.length is None and self._ends_with_eof(head):
            self._finish_stream(self._sink, False, perf_counter_ns())
        elif self._phase == _PARSE and head is not None and head.length is None and self._ends_with_eof(head):
            exchange.body = b"".join(self._chunks)
            self._finish(exchange, head, False, perf_counter_ns())
        elif not exchange.size_bytes:
            self._fail(RESET, f"{self.where} closed the connection without an answer")
        else:
            self._fail(PROTOCOL, f"{self.where} closed the connection after {exchange.size_bytes} bytes of the answer")

    def connection_lost(self, exc: Exception | None) -> None:
        OPEN_CONNECTIONS.http -= 1
        if self._hang_ups is not None:
            self._hang_ups.forget(self)
        # Before the failure is recorded: a complete answer in the receive buffer counts more than the error of our
        # write.
        if self._spare is not None:
            self._rescue()
        if self._exchange is not None:
            if exc is None:
                self.eof_received()
            elif isinstance(exc, OSError):
                failure = connect_failure(exc, self.where)
                self._fail(failure.outcome, failure.detail)
            else:
                self._fail(RESET, f"{self.where}: {exc}")
        self._close()

    # -- a head that is known, and the rest of a body of known length ----------------------------

    def _begin(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        """HOT if answers of a route differ. Process the first bytes of an answer that is not equal to the route's last
        answer.
        """
        begin = data.find(b"\r\n\r\n") + 4
        if begin > 4:
            key = data[:begin]
            head = HEADS.get(key)
            if head is not None:
                length: int = 0 if self._head_only else head.length  # type: ignore[assignment]
                rest = data[begin:]
                if len(rest) != length:
                    self._part(exchange, head, rest, length, now_ns)
                    return
                # The fast path never serves a HEAD request (`send`), so its route needs no answer.
                if head.keep_alive and not self._head_only:
                    exchange.route.answer = Answer(key, head, length)
                exchange.body = rest
                self._finish(exchange, head, head.keep_alive, now_ns)
                return
            self._key = key
        else:
            self._key = None
        self._feed(exchange, data, now_ns)

    def _part(self, exchange: Exchange, head: Head, rest: bytes, length: int, now_ns: int) -> None:
        """Process the first bytes of an answer when they contain the head and not exactly its body: less of it, or
        bytes after it.
        """
        if length > self._limit_bytes:
            self._too_large()
        elif len(rest) > length:
            exchange.body = rest[:length]
            self._finish(exchange, head, False, now_ns)
        else:
            self._phase, self._joined = _COUNT, 0
            self._final, self._chunks, self._have = head, [rest], length - len(rest)

    def _count(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        assert self._final is not None
        chunks = self._chunks
        chunks.append(data)
        if len(chunks) - self._joined > MANY_PIECES:
            self._joined = join_tail(chunks, self._joined)
        self._have -= len(data)
        if self._have <= 0:
            body = b"".join(self._chunks)
            whole = not self._have
            exchange.body = body if whole else body[: self._have]
            self._finish(exchange, self._final, whole and self._final.keep_alive, now_ns)

    # -- everything else: llhttp ------------------------------------------------------------

    def _feed(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        if self._phase != _PARSE:
            self._phase = _PARSE
            self._begin_parsing()
        broken = self._parse(data)
        head = self._final
        if len(self._chunks) - self._joined > MANY_PIECES:
            self._joined = join_tail(self._chunks, self._joined)
        if self._have > self._limit_bytes:
            self._too_large()
        elif head is not None and (self._complete or self._head_only):
            if not self._complete or broken or self._extra:
                self._parser = None  # the parser is in the middle of a body or of garbage
            is_odd = bool(broken) or self._has_more(head, exchange)
            if self._key is not None and not is_odd:
                keep_head(self._key, head)
            exchange.body = b"".join(self._chunks)
            self._finish(exchange, head, head.keep_alive and not is_odd, now_ns)
        elif broken:
            self._end_broken(broken)
        elif head is not None and (head.length or 0) > self._limit_bytes:
            self._too_large()
        elif exchange.size_bytes > MAX_HEAD_BYTES:
            self._check_overhead(exchange)

    def _end_broken(self, why: str) -> None:
        if len(self._raw) > MAX_FIELDS:
            self._fail(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_FIELDS} headers")
        else:
            self._fail(PROTOCOL, f"{self.where} does not speak HTTP/1.1: {why}")

    def _check_overhead(self, exchange: Exchange) -> bool:
        """Fail an answer with too many bytes besides its body (headers, chunk extensions, trailers). Return True if it
        was failed.
        """
        if self._final is None:
            self._fail(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_HEAD_BYTES} bytes of headers")
            return True
        # The head has a limit of its own and was within it. `size_bytes` includes `_have`.
        allowed = 2 * MAX_HEAD_BYTES + _BYTES_A_CHUNK * self._pieces + 3 * self._have
        if exchange.size_bytes <= allowed:
            return False
        self._fail(HEAD_TOO_LARGE, f"{self.where} sent too many bytes of chunk extensions or trailers")
        return True

    def _has_more(self, head: Head, exchange: Exchange) -> bool:
        """Return True if the target sent bytes after the end of the answer: llhttp reported them, or they are empty
        lines, which llhttp skips.
        """
        if self._extra or self._key is None or head.length is None:
            return self._extra
        return len(self._key) + self._have != exchange.size_bytes

    def _pass_on(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        """Process bytes of a streamed answer, as `_feed` does for others, and pass its head and body to the sink."""
        sink = self._sink
        assert sink is not None
        if not exchange.first_byte_ns:
            exchange.first_byte_ns = now_ns
            if self._pass_on_whole(sink, data, now_ns):
                return
            self._begin_parsing()
        else:
            self._key = None
        was_ahead = self._final is None
        broken = self._parse(data)
        head, chunks = self._final, self._chunks
        is_over = head is not None and (self._complete or self._head_only)
        # If the bytes right after the head are broken, the caller must get the failure and not a reply: then
        # `_end_broken` ends the waiter.
        if head is not None and was_ahead and (is_over or not broken) and not self._waiter.done():
            if self._key is not None and not broken:
                keep_head(self._key, head)
            sink.took_head(head)
            self._waiter.set_result(None)
        is_full = False
        if chunks:
            self._chunks = []
            is_full = sink.took(b"".join(chunks), now_ns)
        if head is not None and is_over:
            if not self._complete or broken or self._extra:
                self._parser = None
            is_odd = bool(broken) or self._has_more(head, exchange)
            self._finish_stream(sink, head.keep_alive and not is_odd, now_ns)
        elif broken:
            self._end_broken(broken)
        elif exchange.size_bytes > MAX_HEAD_BYTES and self._check_overhead(exchange):
            return
        # Only an answer that is not over may pause the transport: `resume` is not called after its end, so the next
        # request on this connection would get no answer.
        elif is_full:
            self._transport.pause_reading()

    def _pass_on_whole(self, sink: Sink, data: bytes, now_ns: int) -> bool:
        """Pass a streamed answer to the sink if all of it is in `data` and its head is in the cache, as for most small
        answers. Return False if it is not.
        """
        end = data.find(b"\r\n\r\n")
        key = data[: end + 4]
        self._key = key if end > 0 else None
        head = HEADS.get(key)
        if head is None or len(data) - end - 4 != (0 if self._head_only else head.length):
            return False
        if self._waiter.done():  # cancelled, and its task has not run yet
            self._exchange = self._sink = None
            self._close()
            return True
        sink.took_head(head)
        self._waiter.set_result(None)
        if len(data) > end + 4:
            # The request to pause is ignored, because nothing is left to read.
            sink.took(data[end + 4 :], now_ns)
        self._finish_stream(sink, head.keep_alive, now_ns)
        return True

    def _begin_parsing(self) -> None:
        self._raw, self._chunks, self._have, self._final = [], [], 0, None
        self._joined = self._pieces = 0
        self._complete = self._extra = False

    def _parse(self, data: bytes) -> str:
        """Parse more bytes of an answer. Return "" or the text of an error."""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._final is None:
                return "an upgrade without a request for one"
            # Bytes of another protocol may follow, so the connection serves no other request.
            self._complete = self._extra = True
        except httptools.HttpParserCallbackError as error:
            # httptools hides the exception of a callback behind its own, whose text is only "User callback error".
            return str(error.__context__)
        except httptools.HttpParserError as error:
            return str(error) or type(error).__name__
        return ""

    def on_status(self, reason: bytes) -> None:
        if not self._complete:
            self._reason += reason  # llhttp returns it piece by piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._final is None:  # otherwise trailers, which are not used
            # RFC 9112, section 5.1: white space after a value is not part of it. llhttp removes only that before it.
            self._raw.append((name, value.rstrip(b" \t")))
            if len(self._raw) > MAX_FIELDS:
                raise ValueError("too many headers")  # this ends the parsing

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if self._complete:
            self._extra = True
        elif status >= 200:
            self._final = Head(
                status, self._reason, parser.get_http_version(), self._raw, bool(parser.should_keep_alive())
            )
        elif status == 101 and _asks_for_upgrade(self._asked):
            # No length or Transfer-Encoding applies (RFC 9110, section 8.6). The head is not cached: without a request
            # for an upgrade, the same bytes are an error.
            self._final, self._key = Head(status, self._reason, parser.get_http_version(), self._raw, False), None
        elif status >= 100:
            self._raw, self._key = [], None  # an interim answer; the final one follows
        else:
            raise ValueError(f"invalid status {status:03}")  # this ends the parsing
        self._reason = b""

    def on_body(self, data: bytes) -> None:
        if self._head_only:
            self._extra = True
        elif not self._complete:
            self._chunks.append(data)
            self._have += len(data)
            self._pieces += 1

    def on_message_complete(self) -> None:
        if self._final is not None:
            self._complete = True

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    @staticmethod
    def _ends_with_eof(head: Head) -> bool:
        return head.get(b"transfer-encoding") is None

    # -- ends -------------------------------------------------------------------------------

    def _finish(self, exchange: Exchange, head: Head, reusable: bool, now_ns: int) -> None:
        """HOT. End the request under way, because its whole answer has arrived; after its deadline, fail it with a
        time-out. reusable: the connection may serve another request.
        """
        if now_ns > self.deadline_ns:  # late, but the wheel has not checked it yet
            self.expire()
            return
        waiter = self._waiter
        del self._waiter
        exchange.head, exchange.done_ns = head, now_ns
        self._exchange = None
        self.deadline_ns = 0
        self.requests += 1
        if waiter.done():  # cancelled, and its task has not run yet
            self._close()
            return
        self._release(reusable)
        waiter.set_result(None)

    def _finish_stream(self, sink: Sink, reusable: bool, now_ns: int) -> None:
        if now_ns > self.deadline_ns:
            self.expire()
            return
        sink.done_ns = now_ns
        self._exchange = self._sink = None
        del self._waiter
        self.deadline_ns = 0
        self.requests += 1
        self._release(reusable)
        sink.ended()

    def _release(self, reusable: bool) -> None:
        """Make the connection available for the next request, or close it. It is closed if it is not reusable or the
        request's body is not completely sent.
        """
        if reusable and not (self._is_large and (self._is_sending or self._transport.get_write_buffer_size())):
            self._head_only = self._is_large = False
            self._phase = _START
            self.stack.append(self)
        else:
            self._close()

    def _too_large(self) -> None:
        self._fail(
            TOO_LARGE, f"{self.where} sent a body of more than {self._limit_bytes} bytes; raise Http(max_body=...)"
        )

    def _fail(self, outcome: str, detail: str, at_ns: int | None = None) -> None:
        # Cleared before `_close`, which calls `resume_writing`: with phases that would mark the failed request as
        # written (phased.py).
        exchange, self._exchange = self._exchange, None
        sink, self._sink = self._sink, None
        assert exchange is not None
        exchange.done_ns = perf_counter_ns() if at_ns is None else at_ns
        self._close()
        if not self._waiter.done():
            self._waiter.set_exception(RequestFailed(outcome, detail))
        elif sink is not None:
            sink.broke(RequestFailed(outcome, detail))

    def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.deadline_ns = 0
        self._wheel.forget(self)
        self._parser = None  # breaks the reference cycle
        self._chunks = []
        self.resume_writing()  # wakes a writer, which then sees that the connection is closed
        self._lost(self)
        # `close` would first wait until the target has read all unsent bytes.
        self._transport.abort()


def _asks_for_upgrade(data: bytes) -> bool:
    """Return True if a request, given as its bytes, has an Upgrade header."""
    return b"\r\nupgrade:" in data.partition(b"\r\n\r\n")[0].lower()
