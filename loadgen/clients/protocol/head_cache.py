"""The head of a response, parsed, and a cache of heads by their bytes.

A server answers the same request with the same head, byte by byte, for as long
as its Date header stands: a second. So a head is parsed once (by llhttp, in
`http1.py`), and found again by a lookup that costs 0.2 µs instead of 2; and a
route remembers its last one, which is told by a comparison of 0.04 µs. What a
head means depends on nothing but its bytes; HEAD, which has no body whatever
its head says, is the connection's business.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HEADS", "MAX_CACHED_HEADS", "MAX_FIELDS", "MAX_KEPT_FIELDS", "NO_ANSWER", "Answer", "Head", "keep_head"]

MAX_CACHED_HEADS: Final = 512
_MAX_CACHED_HEAD_BYTES: Final = 4096
MAX_KEPT_FIELDS: Final = 128
"""Of a head that is remembered: each takes 150 bytes of memory, and 4 on the wire."""
MAX_FIELDS: Final = 5000
"""Of a head. curl's limit (MAX_HTTP_RESP_HEADER_COUNT)."""

RawHeaders = list[tuple[bytes, bytes]]


class Head:
    """Status line and headers of one response. Immutable by convention: it is shared between replies."""

    __slots__ = ("http_version", "is_plain", "keep_alive", "length", "raw", "reason", "sets_cookie", "status", "zipped")

    def __init__(self, status: int, reason: bytes, http_version: str, raw: RawHeaders, keep_alive: bool) -> None:
        self.status, self.reason, self.http_version = status, reason, http_version
        self.raw = raw
        """Names and values as they came, in order."""
        self.keep_alive = keep_alive
        self.sets_cookie = False
        self.zipped = False
        """There is a Content-Encoding to undo."""
        length: int | None = None
        is_chunked = False
        for name, value in raw:
            match name.lower():
                case b"content-length":
                    length = int(value)
                case b"transfer-encoding":
                    is_chunked = True
                case b"set-cookie":
                    self.sets_cookie = True
                case b"content-encoding":
                    self.zipped = value.strip().lower() not in (b"", b"identity")
        self.is_plain = status < 300 and not self.sets_cookie
        """Nothing is to be done about it: no redirect, error or cookie."""
        if status in (204, 304):
            length, is_chunked = 0, False
        self.length: int | None = None if is_chunked else length
        """Bytes of the body; None: chunked, or until the connection is closed."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header, by its lower-case name."""
        for key, value in self.raw:
            if key.lower() == name:
                return value
        return None


class Answer:
    """How a route was answered last: the next one is nearly always of the same head and size."""

    __slots__ = ("begin", "head", "key", "size")

    def __init__(self, key: bytes, head: Head, length: int) -> None:
        self.key, self.head = key, head
        self.begin = len(key)
        """Of the body."""
        self.size = self.begin + length


NO_ANSWER: Final = Answer(b"", Head(0, b"", "1.1", [], False), -1)
"""Fits none."""

HEADS: dict[bytes, Head] = {}
"""Heads by their bytes, with the empty line. Read on the hot path; written by `keep_head` only."""


def keep_head(key: bytes, head: Head) -> None:
    """Remember a head whose body has a known length. When full, all are forgotten: the Date made most of them old."""
    if head.length is None or len(key) > _MAX_CACHED_HEAD_BYTES or len(head.raw) > MAX_KEPT_FIELDS:
        return
    if len(HEADS) >= MAX_CACHED_HEADS:
        HEADS.clear()
    HEADS[key] = head
