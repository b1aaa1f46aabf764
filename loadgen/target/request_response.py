"""The request that a handler of the demo shop receives, and the answer that it returns."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

__all__ = ["HTML", "JSON", "Answer", "Request", "answer", "json_answer", "wrong"]

HTML: Final = b"text/html; charset=utf-8"
JSON: Final = b"application/json"


class Answer:
    """An answer that is ready to be written. head: without the blank line that ends it."""

    __slots__ = ("body", "head", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status, self.head, self.body = status, head, body


class Request:
    """The parts of a request that the handlers use."""

    __slots__ = ("body", "method", "path", "query", "token", "traceparent")

    def __init__(self, method: str, path: str, query: str, token: str, body: bytes, traceparent: str = "") -> None:
        self.method, self.path, self.query, self.token, self.body = method, path, query, token, body
        self.traceparent = traceparent


def answer(status: int, body: bytes = b"", kind: bytes = JSON, more: bytes = b"") -> Answer:
    """Return an HTTP answer of the demo shop. kind: its content type. more: further header lines, each with its line
    end.
    """
    head = b"HTTP/1.1 %d %s\r\nServer: loadgen-shop\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n"
    return Answer(status, head % (status, HTTPStatus(status).phrase.encode(), kind, more, len(body)), body)


def json_answer(status: int, value: Any, more: bytes = b"") -> Answer:
    return answer(status, msgspec.json.encode(value), JSON, more)


def wrong(status: int, text: str, more: bytes = b"") -> Answer:
    return json_answer(status, {"error": text}, more)
