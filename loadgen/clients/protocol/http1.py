"""One HTTP/1.1 connection, client side: bytes out, one response in, then it is idle again.

No pipelining, no policy: who opens, keeps and retries is `pool.py` and
`http.py`. The bytes of a response may be split in any way (a test tries). Most
answers take the short way: the whole response in one read, its head known (see
`heads.py`), its length given. Everything else goes through llhttp.

A body that is an `Upload` is sent no faster than the target takes it, and no
further than to an answer: who is told 413 in the middle has said enough. An
answer that is read as a stream is handed on piece by piece, and reading stops
while its reader has enough.

A connection that saw anything odd (bytes nobody asked for, a body that goes on,
an answer before the request was written) answers its request if it can and is
then closed, never reused.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from time import perf_counter_ns
from typing import Final, cast

import httptools

from loadgen.clients.protocol.body import StreamedRequest, Upload
from loadgen.clients.protocol.connection import Connection as AnyConnection
from loadgen.clients.protocol.connection import Exchange, Lost, Sink
from loadgen.clients.protocol.head_cache import HEADS, MAX_FIELDS, Answer, Head, RawHeaders, keep_head
from loadgen.clients.protocol.outcomes import HEAD_TOO_LARGE, PROTOCOL, RESET, TIMEOUT, TOO_LARGE, connect_failure
from loadgen.clients.protocol.pieces import MANY_PIECES, join_tail
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed

__all__ = ["MANY_BYTES", "MAX_BODY_BYTES", "MAX_HEAD_BYTES", "Connection", "Exchange", "Sink"]

MAX_BODY_BYTES: Final = 64_000_000
"""The usual limit of a body, as it came and unpacked."""
MAX_HEAD_BYTES: Final = 256 * 1024
"""Of a response, with its interim (1xx) responses. llhttp has no limit of its own."""
_BYTES_A_CHUNK: Final = 16
"""Go's rule (net/http/internal/chunked.go): what is not body in a chunked body may be 16 bytes a chunk and twice the
body's bytes, and we allow MAX_HEAD_BYTES in all beyond that. So a byte a chunk is fine, and endless chunk extensions
and trailers are not."""
MANY_BYTES: Final = 32 * 1024
"""From this on a request may not be written at once, so its answer can come too early."""

_BREATH_BYTES: Final = 256 * 1024
"""So much is sent before others have their turn, however fast the target reads."""

_START, _ODD, _COUNT, _PARSE, _STREAM = range(5)
"""Nothing of the response is there; the same, of a HEAD or a request that may not be sent yet; its body is counted;
llhttp has it; llhttp has it and each piece is handed on."""


class Connection(asyncio.Protocol):
    """HOT. `send` writes a request and gives a future that is done when the whole response is there.

    On failure the future raises RequestFailed, the exchange's `done_ns` is set, and the connection is closed.
    """

    __slots__ = (
        "_chunks",
        "_closed_as",
        "_complete",
        "_drained",
        "_exchange",
        "_extra",
        "_final",
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
        """Where it puts itself when it is idle."""
        self.is_closed = False
        self.requests = 0
        """Answered so far."""
        self.deadline_ns = 0
        self.check_ns = NEVER_NS
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None]
        self._exchange: Exchange | None = None
        self._phase = _START
        self._parser: httptools.HttpResponseParser | None = None
        self._raw: RawHeaders = []
        self._reason = b""
        self._chunks: list[bytes] = []
        self._joined = 0
        """See `pieces.join_tail`."""
        self._have = 0
        self._pieces = 0
        """In which llhttp gave the body: at least one for each chunk."""
        self._final: Head | None = None
        self._complete = self._extra = self._head_only = self._is_large = self._is_sending = False
        self._sink: Sink | None = None
        self._spare: socket.socket | None = None
        """The same socket, while a body is sent: see `_rescue`."""
        self._drained: asyncio.Future[None] | None = None
        """While the transport has enough to write: done when it wants more."""
        self._key: bytes | None = None
        self._closed_as = (RESET, f"{where} closed the connection")

    # -- what the client calls --------------------------------------------------------------

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> asyncio.Future[None]:
        """HOT. `send` of a request that is no HEAD, all of it here and small: at most MANY_BYTES of body."""
        self._exchange = exchange
        self.deadline_ns = deadline_ns
        if deadline_ns < self.check_ns:
            self._wheel.watch(self)
        waiter = self._waiter = self._loop.create_future()
        if self.is_closed:  # since it was opened, or taken from its stack
            self._fail(*self._closed_as)
            return waiter
        exchange.sent_ns = perf_counter_ns()
        self._transport.write(data)
        return waiter

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Write a request. head_only: the method is HEAD. deadline_ns: NEVER_NS for none.

        Of a StreamedRequest the caller's own task sends the body; what the body's code raises is raised here, and
        then the request is still under way. If the answer is wanted as a stream, `exchange` is a Sink.
        """
        if type(data) is not bytes:
            return self._send_streamed(cast("StreamedRequest", data), exchange, head_only, deadline_ns)
        self._head_only = head_only
        self._is_large = len(data) > MANY_BYTES
        if head_only or self._is_large:
            self._phase = _ODD
        return self.ask(data, exchange, deadline_ns)

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        waiter = cast("asyncio.Future[None]", self.send(data, sink, head_only, deadline_ns))
        if not waiter.done():
            sink.source = self
            self._sink, self._phase, self._final = sink, _STREAM, None
        return waiter

    @property
    def is_free(self) -> bool:
        return self._exchange is None

    def cancel(self, exchange: Exchange) -> None:
        """Nobody waits for this answer. If it had just come, another's may be under way by now."""
        if self._exchange is exchange:
            self.abort()

    def retire(self) -> None:
        """It is idle."""
        self.abort()

    def abort(self) -> None:
        """Close at once. Who waits for an answer is cancelled: it is cut off by us, and not a fault of the target."""
        waits = self._exchange is not None
        self._exchange = None
        sink, self._sink = self._sink, None
        self._close()
        if waits and not self._waiter.done():
            self._waiter.cancel()
        elif sink is not None:
            sink.cut()

    def expire(self) -> None:
        """Censored at the deadline; what came after it, or was not even sent by then, does not count."""
        exchange = self._exchange
        if exchange is not None:
            at_ns = max(self.deadline_ns, exchange.sent_ns)
            if exchange.first_byte_ns > at_ns:
                exchange.first_byte_ns = 0
            self._fail(TIMEOUT, "no complete answer in time", at_ns)

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
                        waiter.exception()  # it failed, too: asyncio complains of what nobody looks at
                    raise
        await waiter

    async def _push(self, upload: Upload, waiter: asyncio.Future[None]) -> None:
        """Send a body until it ends or there is an answer, or a failure: also while its own code is waiting."""
        self._is_large = self._is_sending = True
        if self._phase == _START:
            self._phase = _ODD
        self._spare = self._same_socket()
        answered = asyncio.timeout(None)

        def stop(_: object) -> None:
            with suppress(RuntimeError):  # it was at its end just now
                answered.reschedule(self._loop.time())

        waiter.add_done_callback(stop)
        try:
            async with answered, aclosing(upload.framed()) as pieces:
                left, unseen = (-1 if upload.is_chunked else upload.length or 0), 0
                async for piece in pieces:
                    if waiter.done():
                        return
                    self._transport.write(piece)
                    left -= len(piece)
                    unseen += len(piece)
                    if not left:
                        self._is_sending = False
                    if self._drained is not None:
                        await self._drained
                        unseen = 0
                    elif unseen > _BREATH_BYTES:
                        await asyncio.sleep(0)
                        unseen = 0
                self._is_sending = False
        except TimeoutError:
            if not answered.expired():
                raise
        except RequestFailed as failure:  # of another request, from which the body comes
            if not waiter.done():
                self._fail(failure.outcome, f"while its body was sent: {failure.detail}")
        finally:
            waiter.remove_done_callback(stop)
            if self._spare is not None:
                self._spare.close()
                self._spare = None

    def _same_socket(self) -> socket.socket | None:
        """Costs 3 µs. None with TLS, whose bytes only the transport can read, and where there is no socket."""
        own = self._transport.get_extra_info("socket")
        if own is None or self._transport.get_extra_info("ssl_object") is not None:
            return None
        try:
            return socket.fromfd(own.fileno(), own.family, own.type)
        except OSError:  # no descriptor to spare
            return None

    def _rescue(self) -> None:
        """Writing failed. Read what the target said before.

        Who answers 413 and closes sends a reset after the answer; the next write fails, and then the loop
        closes the transport without looking at what has come in.
        """
        spare = self._spare
        while spare is not None and self._exchange is not None:
            try:
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
        """The sink wants more."""
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
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's class

    def data_received(self, data: bytes) -> None:
        """HOT. Budget with a known head: 1 µs (bench/client.py)."""
        now_ns = perf_counter_ns()
        exchange = self._exchange
        if exchange is None:  # nobody asked: a 408 on an idle connection, or a server gone wrong
            self._closed_as = (PROTOCOL, f"{self.where} spoke before it was asked")
            self._close()
            return
        phase = self._phase
        if phase == _START:
            exchange.first_byte_ns = now_ns
            size = exchange.size_bytes = len(data)
            answer = exchange.route.answer
            if size == answer.size and data.startswith(answer.key) and now_ns <= self.deadline_ns:
                # `_finish`, written out: nearly every answer ends here
                exchange.body = data[answer.begin :]
                exchange.head, exchange.done_ns = answer.head, now_ns
                self._exchange = None
                self.deadline_ns = 0
                self.requests += 1
                waiter = self._waiter
                if waiter.done():
                    self._close()
                    return
                self.stack.append(self)
                waiter.set_result(None)
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
            self._hand_on(exchange, data, now_ns)

    def eof_received(self) -> None:
        """The target closed its side; the transport closes ours after this."""
        exchange, head = self._exchange, self._final
        if exchange is None:
            self._close()
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
        """HOT where answers of one route differ. The first read of an answer that is not as the route's last one."""
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
        """The first read held the head and less of the body than there is, or more."""
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
                self._parser = None  # it stands in the middle of a body, or of garbage
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
        """End an answer that has too much beside its body. Returns True if it has ended."""
        if self._final is None:
            self._fail(HEAD_TOO_LARGE, f"{self.where} sent more than {MAX_HEAD_BYTES} bytes of headers")
            return True
        # Its head was within the limit, and has one to itself; `_have` is in size_bytes, too.
        allowed = 2 * MAX_HEAD_BYTES + _BYTES_A_CHUNK * self._pieces + 3 * self._have
        if exchange.size_bytes <= allowed:
            return False
        self._fail(HEAD_TOO_LARGE, f"{self.where} sent too many bytes of chunk extensions or trailers")
        return True

    def _has_more(self, head: Head, exchange: Exchange) -> bool:
        """More came than the answer: what llhttp told, or empty lines, which it passes over."""
        if self._extra or self._key is None or head.length is None:
            return self._extra
        return len(self._key) + self._have != exchange.size_bytes

    def _hand_on(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        """As `_feed`, for an answer that is read as a stream."""
        sink = self._sink
        assert sink is not None
        if not exchange.first_byte_ns:
            exchange.first_byte_ns = now_ns
            if self._hand_on_whole(sink, data, now_ns):
                return
            self._begin_parsing()
        else:
            self._key = None
        was_ahead = self._final is None
        broken = self._parse(data)
        head, chunks = self._final, self._chunks
        is_over = head is not None and (self._complete or self._head_only)
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
        elif is_full:
            self._transport.pause_reading()

    def _hand_on_whole(self, sink: Sink, data: bytes, now_ns: int) -> bool:
        """True when it was a known head with all of its body, as a small answer that comes in one read is."""
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
            sink.took(data[end + 4 :], now_ns)
        self._finish_stream(sink, head.keep_alive, now_ns)
        return True

    def _begin_parsing(self) -> None:
        self._raw, self._chunks, self._have, self._final = [], [], 0, None
        self._joined = self._pieces = 0
        self._complete = self._extra = False

    def _parse(self, data: bytes) -> str:
        """What is wrong with it; empty when nothing is."""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return "an upgrade that nobody asked for"
        except httptools.HttpParserCallbackError as error:
            return str(error.__context__)
        except httptools.HttpParserError as error:
            return str(error) or type(error).__name__
        return ""

    def on_status(self, reason: bytes) -> None:
        if not self._complete:
            self._reason += reason  # llhttp gives it piece by piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._final is None:  # else: trailers, which nobody reads
            self._raw.append((name, value.rstrip(b" \t")))
            if len(self._raw) > MAX_FIELDS:
                raise ValueError("too many headers")  # which ends the parsing

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
        elif status >= 100:
            self._raw, self._key = [], None  # interim: the answer is yet to come
        else:
            raise ValueError(f"a status of {status:03}")  # which ends the parsing
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
        """HOT. The whole response is there."""
        if now_ns > self.deadline_ns:  # the wheel has not come round yet
            self.expire()
            return
        waiter = self._waiter
        exchange.head, exchange.done_ns = head, now_ns
        self._exchange = None
        self.deadline_ns = 0
        self.requests += 1
        if waiter.done():  # cancelled, and its task has not run yet
            self._close()
            return
        self._let_go(reusable)
        waiter.set_result(None)

    def _finish_stream(self, sink: Sink, reusable: bool, now_ns: int) -> None:
        if now_ns > self.deadline_ns:
            self.expire()
            return
        sink.done_ns = now_ns
        self._exchange = self._sink = None
        self.deadline_ns = 0
        self.requests += 1
        self._let_go(reusable)
        sink.ended()

    def _let_go(self, reusable: bool) -> None:
        """The request is over. Whoever is on its stack is ready for `ask`: the next may be any request."""
        if reusable and not (self._is_large and (self._is_sending or self._transport.get_write_buffer_size())):
            self._head_only = self._is_large = False
            self._phase = _START
            self.stack.append(self)
        else:
            self._close()

    def _too_large(self) -> None:
        self._fail(TOO_LARGE, f"more than {self._limit_bytes} bytes")

    def _fail(self, outcome: str, detail: str, at_ns: int | None = None) -> None:
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
        self._parser = None  # it refers back to us
        self._chunks = []
        self.resume_writing()  # nobody waits for what will not be written
        self._lost(self)
        self._transport.abort()
