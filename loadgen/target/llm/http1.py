"""HTTP/1.1 on the server's side: reads requests from bytes, and makes heads and chunks.

Requests may have a `Content-Length` or a chunked body. Responses are bytes; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

__all__ = ["LAST_CHUNK", "BadHttp", "HttpRequest", "RequestReader", "chunk", "head", "whole"]

MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 67_108_864
LAST_CHUNK = b"0\r\n\r\n"


class BadHttp(Exception):
    """The bytes of a connection are not an HTTP/1 request that this server accepts. status: of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class HttpRequest:
    """One complete request. The path is without the query; the names of the headers are in lower case."""

    __slots__ = ("body", "headers", "keeps_alive", "method", "path")

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes, keeps_alive: bool) -> None:
        self.method, self.path = method, target.partition("?")[0]
        self.headers, self.body, self.keeps_alive = headers, body, keeps_alive


class RequestReader:
    """Collects the bytes of one connection, and returns its requests one by one."""

    __slots__ = ("_buffer", "_head", "wants_continue")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, str, str, dict[str, str], int] | None = None
        """Method, target, version, headers, and where the body begins, of a request whose body is incomplete."""
        self.wants_continue = False
        """The client waits for `100 Continue` before it sends the body."""

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> HttpRequest | None:
        """Return the next complete request and drop its bytes, or return None if bytes are missing.

        Raises:
            BadHttp: the bytes are not a request, or it is too large.
        """
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise BadHttp(431, "the head of the request is too large")
                return None
            self._head = (*_parse_head(bytes(self._buffer[:end])), end + 4)
            self.wants_continue = self._head[3].get("expect", "").lower() == "100-continue"
        method, target, version, headers, start = self._head
        if "chunked" in headers.get("transfer-encoding", "").lower():
            found = _unchunked(self._buffer, start)
            if found is None:
                return None
            body, end = found
        else:
            end = start + _length(headers)
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[start:end])
        del self._buffer[:end]
        self._head, self.wants_continue = None, False
        wish = headers.get("connection", "").lower()
        return HttpRequest(method, target, headers, body, wish != "close" and (version != "HTTP/1.0" or wish != ""))


def _parse_head(head_bytes: bytes) -> tuple[str, str, str, dict[str, str]]:
    first, *lines = head_bytes.lstrip(b"\r\n").decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadHttp(400, "not an HTTP/1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadHttp(400, "invalid header line")
        headers[name.lower()] = value.strip()
    return parts[0], parts[1], parts[2], headers


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not text.isdecimal():
        raise BadHttp(400, "invalid Content-Length")
    if int(text) > MAX_BODY_BYTES:
        raise BadHttp(413, "the body is too large")
    return int(text)


def _unchunked(buffer: bytearray, at: int) -> tuple[bytes, int] | None:
    """Return (the body, where it ends) of a chunked body that begins at `at`; None if bytes are missing."""
    parts: list[bytes] = []
    while True:
        line_end = buffer.find(b"\r\n", at)
        if line_end < 0:
            return None
        try:
            size = int(bytes(buffer[at:line_end]).split(b";")[0], 16)
        except ValueError:
            raise BadHttp(400, "invalid size of a chunk") from None
        if size + sum(map(len, parts)) > MAX_BODY_BYTES:
            raise BadHttp(413, "the body is too large")
        at = line_end + 2
        if not size:
            end = buffer.find(b"\r\n", at)
            return (b"".join(parts), end + 2) if end == at else None
        if len(buffer) < at + size + 2:
            return None
        parts.append(bytes(buffer[at : at + size]))
        at += size + 2


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the head of a response, with the blank line that ends it."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {phrase}\r\nserver: loadgen-llm\r\n{lines}\r\n".encode("latin-1")


def whole(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a response with a `Content-Length`."""
    return head(status, {**headers, "content-length": str(len(body))}) + body


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body; empty data as no chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
