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

__all__ = ["CappedMessageStream", "MessageStream"]

_SHOWN: Final = 10
"""The first messages of each side that a failure shows, unless they are larger than `_SHOWN_BYTES`."""
_SHOWN_BYTES: Final = 16 * 1024
_ENOUGH_BYTES: Final = 1024 * 1024
"""Reading pauses while more bytes than this wait for the journey."""


class MessageStream(StreamedReply):
    """One call's answer. It is one row, from the call to the status.

    can_write: done when the request's head is sent, so that its messages can be written.
    messages: how many have arrived. waiting: those that the journey has not taken.
    times: when each of `waiting` arrived, if the call needs that (`has_times`).
    """

    joins_frames = True

    __slots__ = (
        "_is_grpc",
        "_is_invalid",
        "_last_ns",
        "_new_future",
        "_reader",
        "_sent_messages",
        "_shown",
        "_source",
        "_written",
        "can_write",
        "has_times",
        "messages",
        "status",
        "times",
        "waiting",
    )

    def __init__(self, meter: Meter, route: Route, sent: bytes, series: RequestSeries, asked_ns: int) -> None:
        super().__init__(meter, route, sent, series, asked_ns)
        self._is_grpc = True
        self._is_invalid = False
        """The bytes of the answer are no messages."""
        self._reader = MessageReader()
        self.waiting: deque[bytes] = deque()
        self.times: deque[int] = deque()
        self.has_times = False
        self._last_ns = asked_ns
        """When the last message arrived; before the first one, when the call was made."""
        self._shown: list[bytes] = []
        """The first messages, for `exchange`."""
        self._sent_messages: list[bytes] = []
        """The same of our side, with their prefixes."""
        self._written = 0
        self._source: Source
        self._new_future: Callable[[], asyncio.Future[None]] = asyncio.get_running_loop().create_future
        self.can_write = self._new_future()
        self.messages = 0
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
        if not found:
            return self._unread_bytes > _ENOUGH_BYTES
        count, before = len(found), self.messages
        self.messages = before + count
        if before:
            self.series.message_gap(now_ns - self._last_ns)
        else:
            self.series.phase("first_message", now_ns - self._last_ns)
        self._last_ns = now_ns
        # The bytes of messages that are not complete do not count: pausing would keep them incomplete.
        if count == 1:
            (message,) = found
            self.waiting.append(message)
            unread = self._unread_bytes = self._unread_bytes + len(message)
        else:
            self.series.phase_many("message_gap", [0] * (count - 1))
            self.waiting.extend(found)
            unread = self._unread_bytes = self._unread_bytes + sum(map(len, found))
        if before < _SHOWN:
            self._shown += [one for one in found[: _SHOWN - before] if len(one) <= _SHOWN_BYTES]
        if self.has_times:
            self.times.extend([now_ns] * count)
        wanted = self._wanted
        if wanted is not None and not wanted.done():
            wanted.set_result(None)
        return unread > _ENOUGH_BYTES

    # -- what the call uses ---------------------------------------------------------------------

    async def write(self, data: bytes, *, is_end: bool = False) -> bool:
        """Send bytes of an open request body. Return False if the call has ended."""
        if data:
            self._written += 1
            if self._written <= _SHOWN and len(data) <= _SHOWN_BYTES:
                self._sent_messages.append(data)
        source: OpenSource = self._source  # type: ignore[assignment]  # only HTTP/2 accepts open bodies
        return await source.write(data, is_end=is_end)

    def take(self) -> bytes:
        """HOT. Remove and return the first of the waiting messages. `piece_ns` is when it arrived, with `has_times`."""
        waiting = self.waiting
        message = waiting.popleft()
        if self.has_times:
            self.piece_ns = self.times.popleft()
        if not waiting:  # reading goes on when all are taken: that costs less than to count each
            was_enough, self._unread_bytes = self._unread_bytes > _ENOUGH_BYTES, 0
            if was_enough and not self._is_whole:
                self.source.resume()
        return message

    async def wait(self) -> bool:
        """Wait for messages. Return False if there are no more, because the answer has ended.

        Raises:
            RequestFailed: the connection broke, or the bytes are no messages. The row is recorded.
        """
        while not self.waiting:
            wanted = self.next_piece()
            if wanted is not None:
                await wanted
            elif self._failure is not None:
                if self._is_invalid and not self._is_whole:
                    self.source.abort()  # the connection itself is sound
                raise self._break(self._failure)
            else:
                if self._is_whole:
                    self.conclude()
                return False
        return True

    def next_piece(self) -> asyncio.Future[None] | None:
        """HOT. Return a future that is done when messages arrive, or when the answer ends or breaks.

        None: the answer has ended or broken already, or the caller has left it.
        """
        if self._is_whole or self._is_closed or self._failure is not None:
            return None
        wanted = self._wanted = self._new_future()
        return wanted

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
                self.status = Status(UNKNOWN, "the response ended in the middle of a message")
            else:
                self.outcome = outcome_for(self.status)
        self._record()

    def break_off(self) -> None:
        """Reset the stream, because the journey cannot write its messages. The next read fails; the row is cut off."""
        if not self._is_whole and self._failure is None:
            self.done_ns = perf_counter_ns()
            self._failure, self._is_invalid = (
                RequestFailed(CUT_OFF, "the scenario's messages raised an exception, so the call was cancelled"),
                True,
            )
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


class CappedMessageStream(MessageStream):
    """The answer of a call in a run whose allow-list has a cap: each message that the call writes counts, too."""

    __slots__ = ()

    async def write(self, data: bytes, *, is_end: bool = False) -> bool:
        """Do as `MessageStream.write`. A message above the cap ends the call, so that it does not stay open.

        Raises:
            OverTheCap: the message would exceed the cap. The row counts as started and not finished.
        """
        if data:
            assert self._meter.message_cap is not None
            try:
                self._meter.message_cap.spend()
            except RequestFailed:
                self.abandon()
                raise
        return await super().write(data, is_end=is_end)


def _more(count: int) -> str:
    return f"<{count:,} more messages, not shown>" if count else ""
