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

from loadgen.clients.framing.ws_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    accept_of,
    close_payload,
    plain_frame,
)
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES, Connection
from loadgen.errors import UsageError

__all__ = ["CannedNetwork", "CannedRequest", "WsPeer", "reply", "stream_reply", "ws_peer"]


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


@dataclass(frozen=True, slots=True)
class WsPeer:
    """The other side of a WebSocket in a trial; made by `ws_peer`."""

    opening: tuple[Any, ...]
    answer: Callable[[Any], Any] | None
    close: int | None
    subprotocol: str | None

    def answers(self, payload: str | bytes) -> list[Any]:
        """Return the messages that answer one of the journey's; JSON is parsed for the function."""
        if self.answer is None:
            return []
        value: Any = payload
        if isinstance(payload, str):
            try:
                value = _json.loads(payload)
            except ValueError:
                value = payload
        given = self.answer(value)
        return [] if given is None else given if isinstance(given, list) else [given]


def ws_peer(
    *opening: Any,
    answer: Callable[[Any], Any] | None = None,
    close: int | None = None,
    subprotocol: str | None = None,
) -> WsPeer:
    """Return the other side of a WebSocket for tests: `replies={"WS /feed": ws_peer({"text": "hi"}, answer=echo)}`.

    Args:
        opening: messages that are sent when the connection is open: text, bytes, or other values, which become JSON.
        answer: called with each message of the journey (JSON is parsed). It returns one message, a list of them, or
            None.
        close: the code with which the connection is closed after the opening messages; None: it stays open.
        subprotocol: the one that is chosen; None: the first that the journey offers.
    """
    return WsPeer(opening, answer, close, subprotocol)


class CannedNetwork:
    """A network that answers by "METHOD /path", without the query; a WebSocket by "WS /path".

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

    def peer(self, request: CannedRequest) -> WsPeer | bytes:
        """As `answer`, for the request that opens a WebSocket: return its peer, or the response that refuses it."""
        self.requests.append(request)
        given = self.given(request, f"WS {request.path}")
        return given if isinstance(given, WsPeer) else _bytes(given)

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
        self._peer: WsPeer | None = None
        self._reader = FrameReader(MAX_BODY_BYTES, is_server=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._peer is not None:
            self._take_frames(self._peer, bytes(data))
            return
        self._sent += data
        while (request := _take_request(self._sent)) is not None:
            # Never within `write`, as with a real transport: http1.py relies on that.
            if request.headers.get("upgrade", "").lower() == "websocket":
                self._loop.call_soon(self._receive, self._upgraded(request))
            else:
                self._loop.call_soon(self._receive, self._network.answer(request))

    def _upgraded(self, request: CannedRequest) -> bytes:
        peer = self._network.peer(request)
        if isinstance(peer, bytes):
            return peer
        self._peer = peer
        chosen = peer.subprotocol or request.headers.get("sec-websocket-protocol", "").partition(",")[0]
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept_of(request.headers.get("sec-websocket-key", "")),
            **({"Sec-WebSocket-Protocol": chosen} if chosen else {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        frames = [_frame(message) for message in peer.opening]
        if peer.close is not None:
            frames.append(plain_frame(CLOSE, close_payload(peer.close)))
        return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1") + b"".join(frames)

    def _take_frames(self, peer: WsPeer, data: bytes) -> None:
        for kind, payload in self._reader.feed(data):
            if kind == CLOSE and isinstance(payload, bytes):
                self._loop.call_soon(self._receive, plain_frame(CLOSE, payload))
                self.abort()
            elif kind == PING and isinstance(payload, bytes):
                self._loop.call_soon(self._receive, plain_frame(PONG, payload))
            elif kind < CLOSE:
                for message in peer.answers(payload):
                    self._loop.call_soon(self._receive, _frame(message))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return True if name == "is_canned" else default

    def pause_reading(self) -> None:
        """Do nothing: a peer has few messages."""

    def resume_reading(self) -> None:
        """Do nothing."""

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


def _frame(message: Any) -> bytes:
    if isinstance(message, bytes):
        return plain_frame(BINARY, message)
    return plain_frame(TEXT, (message if isinstance(message, str) else _json.dumps(message)).encode())


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
