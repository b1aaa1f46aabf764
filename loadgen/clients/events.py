"""Server-sent events: a pure reader that turns bytes into events, however the bytes are cut.

It has no sockets and no clock.
It follows the WHATWG text "Server-sent events". Lines end with CR, LF or CRLF and with nothing
else: U+2028, U+0085, \\v and \\f are data. Data stay bytes; decoding them is the caller's job.
"""

from __future__ import annotations

from typing import Final

import msgspec

from loadgen.errors import RequestFailed

__all__ = ["EVENT_TOO_LARGE", "MAX_EVENT_BYTES", "SseEvent", "SseReader"]

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024 - 1
EVENT_TOO_LARGE: Final = "event too large"
"""Outcome: an event, or a line without its end, that is larger than the limit."""


class SseEvent(msgspec.Struct, gc=False):
    """One event. data: the data lines, joined by LF. event: its type. id: the last event id that the stream had set."""

    data: bytes
    event: str = "message"
    id: str = ""


class SseReader:
    """Turns the bytes of one stream into events. One reader for each stream.

    retry_ms: the reconnection time that the server asked for last, or -1. last_id: the last event id.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry_ms = -1
        self.last_id = ""
        self._max = max_event_bytes

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that end in these bytes.

        Raises:
            RequestFailed: an event exceeds the limit; outcome EVENT_TOO_LARGE.
        """
        raise NotImplementedError

    def close(self) -> list[SseEvent]:
        """Return the last event if its blank line is missing. The stream is over."""
        raise NotImplementedError
