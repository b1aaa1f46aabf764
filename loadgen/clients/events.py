"""Server-sent events: a pure reader that turns bytes into events, however the bytes are cut.

The reader has no sockets and no clock. It follows the WHATWG text "Server-sent events", with one difference: `close`
returns a last event whose blank line is missing, because model servers are cut off in that place.

Lines end with CR, LF or CRLF and with nothing else: U+2028, U+0085, \\v and \\f are data. Data stay bytes, also those
that are not UTF-8; decoding them is the caller's job.
"""

from __future__ import annotations

from typing import Final

import msgspec

from loadgen.errors import RequestFailed

__all__ = ["EVENT_TOO_LARGE", "MAX_EVENT_BYTES", "NO_STREAM", "SseEvent", "SseReader"]

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Far above what model servers send: an answer in one event has some 100 KB. Without a limit, a server that never
sends a blank line would fill the memory."""
EVENT_TOO_LARGE: Final = "event too large"
"""Outcome: an event, or a line without its end, that is larger than the limit."""
NO_STREAM: Final = "no stream"
"""Outcome: a stream of events was asked for, and another kind of answer came."""

_BOM: Final = b"\xef\xbb\xbf"
_END: Final = b"\n\n"


class SseEvent(msgspec.Struct, gc=False):
    """One event. data: the data lines, joined by LF. event: its type. id: the last event id that the stream had set."""

    data: bytes
    event: str = "message"
    id: str = ""

    @property
    def text(self) -> str:
        """The data as text; bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", "replace")


class SseReader:
    """Turns the bytes of one stream into events. One reader for each stream.

    Line ends are normalised to LF first, so an event ends at two LF. Bytes of an event that has not ended wait in
    pieces, and are joined once, so that a large event in many small reads costs no quadratic time.

    retry_ms: the reconnection time that the server asked for last, or -1. last_id: the last event id.
    """

    __slots__ = ("_after_cr", "_at_start", "_max", "_size", "_waiting", "last_id", "retry_ms")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry_ms = -1
        self.last_id = ""
        self._max = max_event_bytes
        self._waiting: list[bytes] = []
        self._size = 0
        self._at_start = True
        self._after_cr = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """HOT, once a read: budget 1 µs + 0.5 µs an event. Return the events that end in these bytes.

        The benchmark is bench/streams.py.

        Raises:
            RequestFailed: an event exceeds the limit; outcome EVENT_TOO_LARGE. Other events of this read are lost.
        """
        if self._at_start and data and data[0] != _BOM[0] and not self._waiting:
            self._at_start = False  # nearly every stream; this saves half of the time of its first read
        # `find` of one byte, because it takes half the time of `in` and `count`.
        if self._at_start or self._after_cr or data.find(b"\r") >= 0:
            data = self._normalised(data)
        waiting = self._waiting
        if not waiting and data.find(b"\n") == len(data) - 2 and data[:6] == b"data: " and data[-2:] == _END:
            # One read, one event: most reads of a model's stream. This saves half of the time of the way below.
            if len(data) > self._max:
                raise self._overflow()
            return [SseEvent(data[6:-2], "message", self.last_id)]
        if waiting:
            if _END not in data and not (data[:1] == b"\n" and waiting[-1][-1:] == b"\n"):
                self._wait(data)
                return []
            waiting.append(data)
            data = b"".join(waiting)
            waiting.clear()
            self._size = 0
        blocks = data.split(_END)
        rest = blocks.pop()
        if rest:
            self._wait(rest)
        if len(data) > self._max and max(map(len, blocks), default=0) > self._max:
            raise self._overflow()
        events = []
        for block in blocks:
            if block[:6] == b"data: " and block.find(b"\n") < 0:
                events.append(SseEvent(block[6:], "message", self.last_id))
                continue
            end = block.find(b"\n")
            if block[:7] == b"event: " and block[end + 1 : end + 7] == b"data: " and block.find(b"\n", end + 1) < 0:
                # The form of OpenAI's responses and of Anthropic; this takes a third of the time of `_parse`.
                name = block[7:end].decode("utf-8", "replace") or "message"
                events.append(SseEvent(block[end + 7 :], name, self.last_id))
            elif (event := self._parse(block)) is not None:
                events.append(event)
        return events

    def close(self) -> list[SseEvent]:
        """Return the last event if its blank line is missing. The stream is over."""
        block = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        event = self._parse(block)
        return [] if event is None else [event]

    def _normalised(self, data: bytes) -> bytes:
        """Return the bytes without a byte order mark at the start of the stream, and with LF as the only line end.

        A CR ends a line at once. If an LF follows, also in the next read, it belongs to that CR.
        """
        if self._at_start:
            data = b"".join((*self._waiting, data))
            self._waiting.clear()
            self._size = 0
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._wait(data)
                return b""
            self._at_start = False
            data = data.removeprefix(_BOM)
        if not data:
            return data
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
            if not data:
                return data
        self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _wait(self, data: bytes) -> None:
        if data:
            self._waiting.append(data)
            self._size += len(data)
            if self._size > self._max:
                raise self._overflow()

    def _overflow(self) -> RequestFailed:
        self._waiting.clear()
        self._size = 0
        detail = (
            f"an event of the stream is larger than {self._max:,} bytes, or has no blank line at its end. "
            "Check that the URL is an endpoint that streams server-sent events."
        )
        return RequestFailed(EVENT_TOO_LARGE, detail)

    def _parse(self, block: bytes) -> SseEvent | None:
        """Return the event of one block of lines, or None if the block has no data."""
        data: list[bytes] = []
        name = b""
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            elif field == b"id":
                if b"\0" not in value:
                    self.last_id = value.decode("utf-8", "replace")
            elif field == b"retry" and value.isdigit():
                self.retry_ms = int(value[:18])
        if not data:
            return None
        return SseEvent(b"\n".join(data), name.decode("utf-8", "replace") or "message", self.last_id)
