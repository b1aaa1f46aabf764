"""What Notion's and OpenAI's APIs answer, as far as their SDKs look: some requests are told to come again.

async with fake_api(busy=3) as api:      # each third request is told 429, with a wait of nothing
    ...                                  # api.url, api.requests
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from tests.support.scripted import Received, Scripted, ok, scripted

__all__ = ["fake_api"]

_WORDS = ("To ", "be", ", or ", "not")


@asynccontextmanager
async def fake_api(*, busy: int = 0) -> AsyncIterator[Scripted]:
    """busy: each n-th request is answered with 429. `/missing` anywhere in a path: 404."""
    numbers = count(1)

    def answer(request: Received) -> bytes | tuple[bytes, ...]:
        if busy and next(numbers) % busy == 0:
            body = {"object": "error", "status": 429, "code": "rate_limited", "message": "slow down"}
            return _json(body, "429 Too Many Requests", "Retry-After: 0", "retry-after-ms: 1")
        if "missing" in request.target:
            body = {"object": "error", "status": 404, "code": "object_not_found", "message": "no such page"}
            return _json(body, "404 Not Found")
        if request.target.endswith("/chat/completions"):
            asked = json.loads(request.body)
            return _streamed() if asked.get("stream") else _json(_completion("message", "To be, or not"))
        if request.target.endswith("/users"):
            return _json({"object": "list", "results": [{"object": "user", "id": "u"}], "has_more": False})
        return _json({"object": "page", "id": request.target.rpartition("/")[2], "properties": {}})

    async with scripted(answer) as seen:
        yield seen


def _json(value: Any, status: str = "200 OK", *headers: str) -> bytes:
    return ok(json.dumps(value).encode(), "Content-Type: application/json", *headers, status=status)


def _completion(field: str, text: str) -> dict[str, Any]:
    kind = "chat.completion" if field == "message" else "chat.completion.chunk"
    choice = {"index": 0, field: {"role": "assistant", "content": text}, "finish_reason": None}
    return {"id": "c", "object": kind, "created": 1, "model": "m", "choices": [choice]}


def _streamed() -> tuple[bytes, ...]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = [b"data: " + json.dumps(_completion("delta", word)).encode() + b"\n\n" for word in _WORDS]
    pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in (*events, b"data: [DONE]\n\n")]
    return (head, *pieces, b"0\r\n\r\n")
