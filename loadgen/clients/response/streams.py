"""Answers that are read while they arrive: `async with user.http.stream("GET", "/events") as reply:`.

The names are httpx's: `aiter_bytes`, `aiter_text`, `aiter_lines`, `aiter_raw`,
`aread`, `num_bytes_downloaded`. The block begins when the head is there, so
`reply.expect(status=200)` and `reply.headers` come first.

A stream is one row, like any request: asked, sent, first byte, and *done*. Done is
when the last byte of the answer arrived, or when the block was left, if that was
earlier. Leaving early keeps the outcome and closes the connection. A stream that breaks
in the middle is `reset`, `protocol` or `timeout`. The time-out is for the whole
stream; pass `timeout=None` for an endless one.

A slow reader slows the target down: beyond 256 KiB of unread data, nothing more is
read from the socket. The size limit of bodies does not apply to streams, except in
`aread`, which keeps the whole body.
"""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncIterator, Container, Coroutine, Iterable
from time import perf_counter_ns
from types import TracebackType
from typing import Any, ClassVar, Final

import httpx

from loadgen.clients.protocol.connection_interface import Source
from loadgen.clients.protocol.decoding import DecodingError, Unpacker
from loadgen.clients.protocol.join_body_pieces import MANY_PIECES, join_tail
from loadgen.clients.protocol.outcomes import PROTOCOL, TOO_LARGE
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.response.replies import Reply
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, RequestFailed

__all__ = ["MAX_EVENTS", "ReplyStream", "StreamedReply"]

MAX_EVENTS: Final = 10_000
"""The times of a stream's first pieces are kept, up to this number; `events` counts all."""
_ENOUGH_BYTES: Final = 256 * 1024
_HOP_BYTES: Final = 64 * 1024
_SMALL_BYTES: Final = 4 * 1024
"""When MANY_PIECES are unread, the next piece is added to the last one if that is smaller than this."""
_BREATH_BYTES: Final = 4 * 1024 * 1024
"""The loop's other tasks run after this much is decoded, in some 5 ms."""


class StreamedReply(Reply):
    """A reply whose head is there and whose body is read piece by piece, by one task.

    event_ns: when each piece of the body arrived (`perf_counter_ns`), at most MAX_EVENTS. A piece is the result of one
        read from the socket.
    events: the number of pieces. piece_ns: the arrival time of the piece that was read last.
    """

    joins_frames: ClassVar[bool] = False
    """Whether frames of HTTP/2 that come in one read may be one piece."""

    __slots__ = (
        "_failure",
        "_is_closed",
        "_is_recorded",
        "_is_taken",
        "_is_whole",
        "_raw_bytes",
        "_unread",
        "_unread_bytes",
        "_wanted",
        "event_ns",
        "events",
        "piece_ns",
        "source",
    )

    def __init__(self, meter: Meter, route: Route, sent: bytes, series: RequestSeries, asked_ns: int) -> None:
        super().__init__(meter, route, sent, series, asked_ns)
        self.source: Source
        self.event_ns: list[int] = []
        self.events = 0
        self.piece_ns = 0
        self._unread: deque[tuple[bytes, int]] = deque()
        self._unread_bytes = self._raw_bytes = 0
        self._wanted: asyncio.Future[None] | None = None
        self._failure: RequestFailed | None = None
        self._is_whole = self._is_closed = self._is_recorded = self._is_taken = False

    # -- what the connection calls (http1.Sink) -----------------------------------------------

    def took_head(self, head: Head) -> None:
        self.head = head

    def took(self, data: bytes, now_ns: int) -> bool:
        self.events += 1
        if self.events <= MAX_EVENTS:
            self.event_ns.append(now_ns)
        if len(self._unread) > MANY_PIECES and len(self._unread[-1][0]) < _SMALL_BYTES:
            self._unread[-1] = (self._unread[-1][0] + data, now_ns)
        else:
            self._unread.append((data, now_ns))
        self._unread_bytes += len(data)
        self._wake()
        return self._unread_bytes > _ENOUGH_BYTES

    def ended(self) -> None:
        self._is_whole = True
        self._wake()

    def broke(self, failure: RequestFailed) -> None:
        self._failure = failure
        self._wake()

    def cut(self) -> None:
        self._is_closed = True
        if self._wanted is not None:
            self._wanted.cancel()

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    # -- reading --------------------------------------------------------------------------------

    async def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the pieces of the body as they arrive, not decoded. chunk_size: the size of each piece; None for any
        size.

        Raises:
            RequestFailed: `reset`, `protocol`, `timeout`: the body broke in the middle.
            httpx.StreamConsumed, httpx.StreamClosed: it was read before, or the block was left.
        """
        if self._is_taken:
            raise httpx.StreamConsumed
        if self._is_closed:
            raise httpx.StreamClosed
        self._is_taken = True
        async for piece in _cut(self._pieces(), chunk_size):
            yield piece

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the pieces of the body as they arrive, with the Content-Encoding undone. Raises as `aiter_raw`."""
        if self._lazy is not None and "content" in self._lazy:
            content: bytes = self._lazy["content"]
            size = chunk_size or max(1, len(content))
            for at in range(0, len(content), size):
                yield content[at : at + size]
            return
        async for piece in _cut(self._unpacked(), chunk_size):
            yield piece

    async def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """Yield the pieces of the body as text, decoded by the charset of the answer or UTF-8. Invalid bytes become
        U+FFFD.
        """
        decoder = codecs.getincrementaldecoder(self.encoding or "utf-8")(errors="replace")
        held = ""
        async for piece in self.aiter_bytes():
            held += decoder.decode(piece)
            if chunk_size is None:
                if held:
                    yield held
                held = ""
            else:
                while len(held) >= chunk_size:
                    yield held[:chunk_size]
                    held = held[chunk_size:]
        held += decoder.decode(b"", True)
        while held:
            yield held[:chunk_size]
            held = held[chunk_size:] if chunk_size is not None else ""

    async def aiter_lines(self) -> AsyncIterator[str]:
        """Yield the lines of the body without their line ends, split as `str.splitlines` does."""
        lines = _Lines()
        async for text in self.aiter_text():
            for line in lines.feed(text):
                yield line
        for line in lines.rest():
            yield line

    async def aread(self) -> bytes:
        """Read the rest of the answer and return the whole decoded body. After this the reply is like any other, with
        `text`, `json()` and `pick`.

        Raises:
            RequestFailed: as `aiter_raw`; `body too large` beyond `Http(max_body=...)`.
        """
        lazy = self._lazily()
        if "content" not in lazy:
            parts: list[bytes] = []
            size = joined = 0
            async for piece in self.aiter_bytes():
                parts.append(piece)
                if len(parts) - joined > MANY_PIECES:
                    joined = join_tail(parts, joined)
                size += len(piece)
                if size > self.limit_bytes:
                    raise self._break(
                        RequestFailed(
                            TOO_LARGE, f"the body has more than {self.limit_bytes} bytes; raise Http(max_body=...)"
                        )
                    )
            lazy["content"] = b"".join(parts)
        content: bytes = lazy["content"]
        return content

    async def _unpacked(self) -> AsyncIterator[bytes]:
        if not self.head.zipped:
            async for piece in self.aiter_raw():
                yield piece
            return
        try:
            unpacker = Unpacker(self.head.encodings)
            unseen = 0
            async for packed in self.aiter_raw():
                for piece in unpacker.feed(packed):
                    yield piece
                    unseen += len(piece)
                    if unseen > _BREATH_BYTES:
                        await asyncio.sleep(0)
                        unseen = 0
            unpacker.finish()
        except DecodingError as error:
            raise self._break(RequestFailed(PROTOCOL, str(error))) from error

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            # Before the failure: pieces that arrived earlier still reach the journey.
            if self._unread:
                data, self.piece_ns = self._unread.popleft()
                was_enough = self._unread_bytes > _ENOUGH_BYTES
                self._unread_bytes -= len(data)
                self._raw_bytes += len(data)
                # After the end of the body the connection may serve another request, so it is not touched any more.
                if was_enough and self._unread_bytes <= _ENOUGH_BYTES and not self._is_whole:
                    self.source.resume()
                yield data
            elif self._failure is not None:
                raise self._break(self._failure)
            elif self._is_whole:
                self._record()
                return
            elif self._is_closed:
                raise httpx.StreamClosed
            else:
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted

    # -- the end --------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop reading the answer. If the body is not complete, record the request as ended now and close the
        connection.
        """
        if self._is_closed and self._is_recorded:
            return
        self._is_closed = True
        if self._failure is not None:
            self.outcome = self._failure.outcome
        elif not self._is_whole:
            self.done_ns = perf_counter_ns()
            self.source.abort()
        self._unread.clear()
        self._record()

    async def left(self) -> None:
        """End the stream when the journey leaves its `async with` block."""
        await self.aclose()

    def abandon(self) -> None:
        """Drop a cancelled request and the rest of its answer. The request is not recorded, because it never ended."""
        self._is_closed = True
        if not self._is_recorded:
            self._is_recorded = True
            if not self._is_whole:
                self.source.abort()
            if self.series.watch is not None:
                self.series.watch.gone(self.asked_ns)
        self._unread.clear()

    async def skip(self) -> None:
        """Skip the body of an answer that is not used (a redirect, an auth challenge).

        A short body is read, so that the connection stays open.
        """
        try:
            async for _ in self._pieces():
                if self._raw_bytes > _HOP_BYTES:
                    break
        finally:
            await self.aclose()

    def _record(self) -> None:
        """Pass the ended request to the meter, once. The meter records it when the outcome is final."""
        if not self._is_recorded:
            self._is_recorded = True
            self._meter.hold(self)

    def _break(self, failure: RequestFailed) -> RequestFailed:
        self._is_closed = True
        if not self._is_recorded:
            self.outcome = failure.outcome
            if not self._is_whole and self._failure is None:
                self.done_ns = perf_counter_ns()
                self.source.abort()
            self._record()
            self._meter.settle()
        else:
            # The body was complete, and recorded, but cannot be decoded.
            self._meter.settle_as(self, failure.outcome)
        return RequestFailed(failure.outcome, f"{self.route.method} {self.route.url}: {failure.detail}")

    def _failed(self, outcome: str, detail: str) -> ExpectFailed:
        if self._is_recorded:
            return super()._failed(outcome, detail)
        self.outcome = outcome  # the stream's end records this outcome
        return ExpectFailed(outcome, f"{self.route.method} {self.route.url}: {detail}")

    # -- httpx.Response's attributes --------------------------------------------------------------

    @property
    def content(self) -> bytes:
        """Return the whole decoded body.

        Raises:
            httpx.ResponseNotRead: `aread` was not called before.
        """
        if self._lazy is None or "content" not in self._lazy:
            raise httpx.ResponseNotRead
        content: bytes = self._lazy["content"]
        return content

    @property
    def num_bytes_downloaded(self) -> int:
        """Return the number of body bytes received so far, not decoded."""
        return self._raw_bytes

    @property
    def is_closed(self) -> bool:
        return self._is_closed or (self._is_whole and self._is_recorded)

    @property
    def is_stream_consumed(self) -> bool:
        return self._is_taken

    def as_httpx(self) -> httpx.Response:
        if self._lazy is not None and "content" in self._lazy:
            return super().as_httpx()
        return httpx.Response(self.status_code, headers=self.head.raw, request=self.request)


class ReplyStream:
    """The result of `user.http.stream(...)`: an async context manager around one StreamedReply."""

    __slots__ = ("_expect", "_opening", "_reply")

    def __init__(self, opening: Coroutine[Any, Any, Reply], expect: int | Container[int] | None) -> None:
        self._opening, self._expect = opening, expect

    async def __aenter__(self) -> StreamedReply:
        reply = await self._opening
        assert isinstance(reply, StreamedReply)
        self._reply = reply
        if self._expect is not None:
            try:
                reply.expect(self._expect)
            except ExpectFailed:
                # Python does not call `__aexit__` if this method raises.
                await reply.aclose()
                raise
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._reply.abandon()
        elif error is None:
            await self._reply.left()
        else:
            await self._reply.aclose()


async def _cut(pieces: AsyncIterator[bytes], size: int | None) -> AsyncIterator[bytes]:
    """Yield the bytes of `pieces` in pieces of `size` bytes, the last of which may be shorter. For None, yield the
    pieces unchanged.
    """
    if size is None:
        async for piece in pieces:
            yield piece
        return
    held = bytearray()
    async for piece in pieces:
        held += piece
        whole = len(held) - len(held) % size
        for at in range(0, whole, size):
            yield bytes(held[at : at + size])
        del held[:whole]
    if held:
        yield bytes(held)


class _Lines:
    """Splits pieces of text into lines. A "\\r\\n" that is split between two pieces counts as one line end."""

    def __init__(self) -> None:
        self._held: list[str] = []

    def feed(self, text: str) -> Iterable[str]:
        if not text:
            return ()
        if self._held and self._held[-1].endswith("\r"):
            text = "\r" + text
            self._held[-1] = self._held[-1][:-1]
        is_open = text[-1] not in "\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # also at \r: a \n may follow
        lines = text.splitlines()
        if len(lines) == 1 and is_open:
            self._held.append(text)
            return ()
        lines[0] = "".join(self._held) + lines[0]
        self._held = []
        if is_open:
            last = lines.pop()
            self._held.append(last + "\r" if text[-1] == "\r" else last)
        return lines

    def rest(self) -> Iterable[str]:
        held = "".join(self._held)
        return held.splitlines()
