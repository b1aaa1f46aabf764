"""Parsed heads of responses, and a cache of heads by their bytes.

A server answers the same request with the same head, byte by byte, until its Date
header changes, for a second. So a head is parsed once (by llhttp, in `http1.py`) and
then found by a lookup that costs 0.2 µs instead of 2 µs. A route also remembers its
last head, which a comparison of 0.04 µs recognises.

The meaning of a head depends on its bytes alone. The connection handles HEAD requests,
whose answers have no body whatever the head says.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HEADS", "MAX_CACHED_HEADS", "MAX_FIELDS", "MAX_KEPT_FIELDS", "NO_ANSWER", "Answer", "Head", "keep_head"]

MAX_CACHED_HEADS: Final = 512
_MAX_CACHED_HEAD_BYTES: Final = 4096
MAX_KEPT_FIELDS: Final = 128
"""The limit on fields of a cached head: a field takes 150 bytes of memory, but only 4 on the wire."""
MAX_FIELDS: Final = 5000
"""The limit on fields of a head, as in curl (MAX_HTTP_RESP_HEADER_COUNT)."""

RawHeaders = list[tuple[bytes, bytes]]


class Head:
    """Status line and headers of one response. Treat it as immutable: replies share it."""

    __slots__ = ("http_version", "is_plain", "keep_alive", "length", "raw", "reason", "sets_cookie", "status", "zipped")

    def __init__(self, status: int, reason: bytes, http_version: str, raw: RawHeaders, keep_alive: bool) -> None:
        self.status, self.reason, self.http_version = status, reason, http_version
        self.raw = raw
        """Names and values as received, in order."""
        self.keep_alive = keep_alive
        self.sets_cookie = False
        self.zipped = False
        """The body has a Content-Encoding to undo."""
        length: int | None = None
        is_chunked = False
        for name, value in raw:
            match name.lower():
                case b"content-length":
                    # Valid here: llhttp, or `http2_heads._check_fields`, has checked it.
                    length = int(value)
                case b"transfer-encoding":
                    is_chunked = True
                case b"set-cookie":
                    self.sets_cookie = True
                case b"content-encoding":
                    self.zipped = value.strip().lower() not in (b"", b"identity")
        self.is_plain = status < 300 and not self.sets_cookie
        """The head needs no further work: it is no redirect, no error, and sets no cookie."""
        # RFC 9112, section 6.3: these have no body, whatever their headers announce.
        if status in (101, 204, 304):
            length, is_chunked = 0, False
        # RFC 9112, section 6.3: Transfer-Encoding overrides Content-Length.
        self.length: int | None = None if is_chunked else length
        """Length of the body in bytes; None if it is chunked or ends when the connection is closed."""

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the header `name` (in lower case); None if the answer has no such header."""
        for key, value in self.raw:
            if key.lower() == name:
                return value
        return None

    @property
    def encodings(self) -> str:
        """Return the Content-Encodings of the body, as `decode` and `Unpacker` need them."""
        return b",".join(value for name, value in self.raw if name.lower() == b"content-encoding").decode("latin-1")


class Answer:
    """The last answer of a route: the next one nearly always has the same head and size."""

    __slots__ = ("begin", "head", "key", "size")

    def __init__(self, key: bytes, head: Head, length: int) -> None:
        self.key, self.head = key, head
        self.begin = len(key)
        """The offset of the body."""
        self.size = self.begin + length


NO_ANSWER: Final = Answer(b"", Head(0, b"", "1.1", [], False), -1)
"""Matches no answer."""

HEADS: dict[bytes, Head] = {}
"""Heads by their bytes, including the empty line. Read on the hot path; written by `keep_head` only."""


def keep_head(key: bytes, head: Head) -> None:
    """Cache the parsed head of an answer under its bytes, if the body's length is known. A full cache is emptied,
    because most of its heads contain an old Date.
    """
    if head.length is None or len(key) > _MAX_CACHED_HEAD_BYTES or len(head.raw) > MAX_KEPT_FIELDS:
        return
    if len(HEADS) >= MAX_CACHED_HEADS:
        HEADS.clear()
    HEADS[key] = head
