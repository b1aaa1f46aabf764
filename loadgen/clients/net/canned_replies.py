"""A network of canned replies, by method and path, for trials and tests without a target.

Requests take the same way as on a real connection, down to the bytes, and the
bytes of the replies go through the same parser.
"""

from __future__ import annotations

import asyncio
import json as _json
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.http1 import Connection
from loadgen.errors import UsageError

__all__ = ["CannedNetwork", "CannedRequest", "reply", "stream_reply"]


@dataclass(frozen=True, slots=True)
class CannedRequest:
    """A request that the journey sent."""

    method: str
    target: str
    """Path and query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    messages: tuple[Any, ...] = ()
    """The messages that a gRPC call sent; bytes if their class is unknown."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def json(self) -> Any:
        return _json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


_CALL = "(call)"
"""Stands before the names of calls that have no method of HTTP: those of gRPC."""
Answer = Any
"""A canned reply: bytes (see `reply`), text or a JSON value (status 200), a status, a list of these to be used in turn,
or a function of the request."""


def reply(
    status: int = 200,
    *,
    json: Any = None,
    text: str | None = None,
    html: str | None = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    reason: str = "",
) -> bytes:
    """Return the bytes of an HTTP response for tests, with Content-Type and Content-Length filled in."""
    body, kind = content or b"", ""
    if json is not None:
        body, kind = _json.dumps(json).encode("utf-8"), "application/json"
    elif text is not None:
        body, kind = text.encode("utf-8"), "text/plain; charset=utf-8"
    elif html is not None:
        body, kind = html.encode("utf-8"), "text/html; charset=utf-8"
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if kind and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("Content-Type", kind))
    if status not in (204, 304) and status >= 200:
        pairs.append(("Content-Length", str(len(body))))
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1") + body


def stream_reply(
    *texts: str,
    reasoning: Iterable[str] = (),
    tool_calls: Mapping[str, Any] | None = None,
    finish: str = "stop",
    prompt_tokens: int = 10,
    error: str = "",
) -> bytes:
    """Return a model's streamed answer for tests, in the API "chat": each text is one event, and one token.

    Args:
        reasoning: texts before the answer. tool_calls: {"stock": {"item": "lamp"}}, the arguments by tool.
        finish: the finish reason; "" leaves it out, so that the stream is truncated.
        error: the message of an error that ends the stream.
    """
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": text} for text in reasoning]
    deltas += [{"content": text} for text in texts]
    for index, (name, arguments) in enumerate((tool_calls or {}).items()):
        function = {"name": name, "arguments": _json.dumps(arguments)}
        deltas.append({"tool_calls": [{"index": index, "id": f"call-{index}", "function": function}]})
    events: list[Any] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if error:
        events.append({"error": {"message": error}})
    elif finish:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        tokens = len(deltas) - 1
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}
        events.append({"choices": [], "usage": usage})
    lines = [f"data: {_json.dumps(event)}\n\n" for event in events]
    if finish and not error:
        lines.append("data: [DONE]\n\n")
    return reply(content="".join(lines).encode(), headers={"Content-Type": "text/event-stream"})


class CannedNetwork:
    """A network that answers by "METHOD /path", without the query.

    gRPC calls are answered by the name of their method, "shop.v1.Cart/Get" (`grpc_client/canned.py`).

    In a path, `{sku}` matches one segment and `*` any rest. A list of replies is used in turn, and its last one
    repeats.
    A request without a reply is a UsageError in the journey.

    requests: all requests sent so far, in order. connections: the number of connections opened.
    """

    def __init__(self, replies: Mapping[str, Answer] | None = None) -> None:
        self._replies = [(_pattern(key), answer, [0]) for key, answer in (replies or {}).items()]
        self._keys = list(replies or {})
        self.requests: list[CannedRequest] = []
        self.connections = 0

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        connection = factory()
        transport = _CannedTransport(self, connection, asyncio.get_running_loop())
        connection.connection_made(transport)
        self.connections += 1
        return transport, connection

    def answer(self, request: CannedRequest) -> bytes:
        """Store a request that the client has sent, and return the bytes of the canned response for it.

        Raises:
            UsageError: there is no canned response for this request.
        """
        self.requests.append(request)
        return _bytes(self.given(request, f"{request.method} {request.path}"))

    def given(self, request: CannedRequest, name: str) -> Any:
        """Return the canned reply of a request by its name, as it was given; of a list, the one whose turn it is.

        Raises:
            UsageError: there is no canned reply of this name.
        """
        requested = name if " " in name else f"{_CALL} {name}"
        for pattern, answer, turn in self._replies:
            if pattern.fullmatch(requested):
                if isinstance(answer, list):
                    found = answer[min(turn[0], len(answer) - 1)]
                    turn[0] += 1
                    return found
                return answer(request) if callable(answer) else answer
        raise UsageError(
            f"no canned reply for {name}",
            hint=f'add "{name}" to the replies; they cover ' + (", ".join(self._keys) or "nothing"),
        )


class _CannedTransport(asyncio.Transport):
    def __init__(self, network: CannedNetwork, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._network, self._connection, self._loop = network, connection, loop
        self._sent = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._sent += data
        while (request := _take_request(self._sent)) is not None:
            # Never within `write`, as with a real transport: http1.py relies on that.
            self._loop.call_soon(self._receive, self._network.answer(request))

    def _receive(self, data: bytes) -> None:
        if not self._connection.is_closed:
            self._connection.data_received(data)

    def get_write_buffer_size(self) -> int:
        return len(self._sent)

    def abort(self) -> None:
        self._loop.call_soon(self._connection.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return self._connection.is_closed


def _take_request(sent: bytearray) -> CannedRequest | None:
    """Remove the first complete HTTP request from the buffer `sent` and return it; None if no request is
    complete yet.
    """
    end = sent.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(sent[:end]).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    begin = end + 4
    if "chunked" in headers.get("transfer-encoding", "").lower():
        found = _chunked(sent, begin)
        if found is None:
            return None
        body, size = found
    else:
        size = begin + int(headers.get("content-length", "0"))
        if len(sent) < size:
            return None
        body = bytes(sent[begin:size])
    del sent[:size]
    return CannedRequest(method, target, headers, body)


def _chunked(sent: bytearray, at: int) -> tuple[bytes, int] | None:
    """Decode the chunked body that begins at index `at` of `sent`. Return (the body, the index after it); None if it is
    incomplete.
    """
    parts: list[bytes] = []
    while (line_end := sent.find(b"\r\n", at)) >= 0:
        size = int(sent[at:line_end], 16)
        begin = line_end + 2
        at = begin + size + 2
        if len(sent) < at:
            return None
        if not size:
            return b"".join(parts), at
        parts.append(bytes(sent[begin : begin + size]))
    return None


def _pattern(key: str) -> re.Pattern[str]:
    if " " not in key:  # a path, or the name of a gRPC method, "shop.v1.Cart/Get"
        key = f"{'GET' if key[:1] in '/*' else _CALL} {key}"
    parts = re.split(r"(\{[^{}]*\}|\*)", key)
    return re.compile("".join("[^/]+" if p.startswith("{") else ".*" if p == "*" else re.escape(p) for p in parts))


def _bytes(given: Any) -> bytes:
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return reply(text=given)
    if isinstance(given, int) and not isinstance(given, bool):
        return reply(given)
    return reply(json=given)
