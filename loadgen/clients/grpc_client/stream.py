"""The answer of a gRPC call that streams: its messages as they arrive with their times, and its status at the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from loadgen.clients.grpc_client.exchange_text import messages_text
from loadgen.clients.grpc_client.messages import MessageReader, framed
from loadgen.clients.grpc_client.status import NO_STATUS, UNKNOWN, Status, is_grpc, outcome_for, status_in
from loadgen.clients.protocol.connection_interface import OpenSource, Source
from loadgen.clients.protocol.outcomes import PROTOCOL
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.response.format_exchange import request_text, response_text
from loadgen.clients.response.streams import StreamedReply
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import CUT_OFF, OK

__all__ = ["MessageStream"]

_SHOWN: Final = 10
"""The first messages of each side that a failure shows, unless they are larger than `_SHOWN_BYTES`."""
_SHOWN_BYTES: Final = 16 * 1024
_ENOUGH_BYTES: Final = 1024 * 1024
"""Reading pauses while more bytes than this wait for the journey."""


class MessageStream(StreamedReply):
    """One call's answer. It is one row, from the call to the status.

    on_message: called with the time of each message, `perf_counter_ns`, as it arrives.
    can_write: done when the request's head is sent, so that its messages can be written.
    messages: how many have arrived.
    """

    __slots__ = (
        "_is_grpc",
        "_is_invalid",
        "_messages",
        "_reader",
        "_sent_messages",
        "_shown",
        "_source",
        "_written",
        "can_write",
        "messages",
        "on_message",
        "status",
    )

    def __init__(self, meter: Meter, route: Route, sent: bytes, series: RequestSeries, asked_ns: int) -> None:
        super().__init__(meter, route, sent, series, asked_ns)
        self._is_grpc = True
        self._is_invalid = False
        """The bytes of the answer are no messages."""
        self._reader = MessageReader()
        self._messages: deque[tuple[bytes, int]] = deque()
        self._shown: list[bytes] = []
        """The first messages, for `exchange`."""
        self._sent_messages: list[bytes] = []
        """The same of our side, with their prefixes."""
        self._written = 0
        self._source: Source
        self.can_write: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.messages = 0
        self.on_message: Callable[[int], None] | None = None
        self.status: Status | None = None
        """The status, once the answer has ended; None until then, or if the answer had none."""

    # -- what the connection calls --------------------------------------------------------------

    @property
    def source(self) -> Source:
        return self._source

    @source.setter
    def source(self, source: Source) -> None:
        self._source = source
        if not self.can_write.done():
            self.can_write.set_result(None)

    def took_head(self, head: Head) -> None:
        self.head = head
        self._is_grpc = is_grpc(head)
        self._reader.encoding = (head.get(b"grpc-encoding") or b"identity").decode("latin-1")

    def took(self, data: bytes, now_ns: int) -> bool:
        self.events += 1
        self._raw_bytes += len(data)
        if not self._is_grpc:  # a page of a proxy: its end decides
            return False
        try:
            found = self._reader.feed(data)
        except RequestFailed as failure:
            self.done_ns = now_ns
            self._failure, self._is_invalid = failure, True
            self._wake()
            return True
        for message in found:
            self._messages.append((message, now_ns))
            self._unread_bytes += len(message)
            self.messages += 1
            if self.messages <= _SHOWN and len(message) <= _SHOWN_BYTES:
                self._shown.append(message)
            if self.on_message is not None:
                self.on_message(now_ns)
        if found:
            self._wake()
        return self._unread_bytes > _ENOUGH_BYTES

    # -- what the call uses ---------------------------------------------------------------------

    async def write(self, data: bytes, *, is_end: bool = False) -> bool:
        """Send bytes of an open request body. Return False if the call has ended."""
        if data:
            self._written += 1
            if self._written <= _SHOWN and len(data) <= _SHOWN_BYTES:
                self._sent_messages.append(data)
        source: OpenSource = self._source  # type: ignore[assignment]  # only HTTP/2 accepts open bodies
        return await source.write(data, is_end=is_end)

    async def next_message(self) -> bytes | None:
        """Return the next message; None if the answer has ended. After a message, `piece_ns` is when it arrived.

        Raises:
            RequestFailed: the connection broke, or the bytes are no messages. It is recorded.
        """
        while True:
            if self._messages:
                message, self.piece_ns = self._messages.popleft()
                was_enough = self._unread_bytes > _ENOUGH_BYTES
                self._unread_bytes -= len(message)
                if was_enough and self._unread_bytes <= _ENOUGH_BYTES and not self._is_whole:
                    self.source.resume()
                return message
            if self._failure is not None:
                if self._is_invalid and not self._is_whole:
                    self.source.abort()  # the connection itself is sound
                raise self._break(self._failure)
            if self._is_whole:
                self.conclude()
                return None
            if self._is_closed:
                return None
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted

    def conclude(self) -> None:
        """Find the status of the whole answer, and record the row with its outcome. Do nothing the second time."""
        if self._is_recorded:
            return
        self.status = status_in(self.raw_trailers) or status_in(self.head.raw)
        if self.outcome == OK:  # HTTP's own status is 200
            if self.status is None or not self._is_grpc:
                self.status = None
                self.outcome = NO_STATUS
            elif not self.status.number and not self._reader.is_between:
                self.outcome = PROTOCOL
                self.status = Status(UNKNOWN, "the answer ends in the middle of a message")
            else:
                self.outcome = outcome_for(self.status)
        self._record()

    def break_off(self) -> None:
        """Reset the stream, because the journey cannot write its messages. The next read fails; the row is cut off."""
        if not self._is_whole and self._failure is None:
            self.done_ns = perf_counter_ns()
            self._failure, self._is_invalid = RequestFailed(CUT_OFF, "the journey's messages ended in an error"), True
            self._wake()

    def give_up(self) -> None:
        """Reset the stream and end its row now, as ok, because the journey needs no more messages."""
        if not self._is_recorded:
            if self._is_whole:
                self.conclude()
                return
            self._is_closed = True
            self.done_ns = perf_counter_ns()
            self.source.abort()
            self._record()

    # -- what a failure shows ---------------------------------------------------------------------

    def exchange(self) -> tuple[str, str]:
        """Return (request, response) as texts, as `Reply.exchange` does, with the first messages of each side."""
        sent, path, head = request_text(self._sent), self._path, getattr(self, "head", None)
        if self._written:
            messages = messages_text(path, b"".join(self._sent_messages), is_request=True)
            more = _more(self._written - len(self._sent_messages))
            sent = "\n".join(filter(None, (sent.partition("\n\n")[0] + "\n", messages, more)))
        if head is None:
            return sent, ""
        if not self._is_grpc:
            return sent, response_text(head, None)
        body = b"".join(map(framed, self._shown))
        text = response_text(head, body, path=path, trailers=self.raw_trailers)
        return sent, "\n".join(filter(None, (text, _more(self.messages - len(self._shown)))))


def _more(count: int) -> str:
    return f"<{count:,} more messages, not shown>" if count else ""
