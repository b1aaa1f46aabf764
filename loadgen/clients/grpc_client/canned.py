"""Canned answers of gRPC calls, for trials and tests without a target.

The calls take the same way as on a real connection, down to the frames of HTTP/2: a transport in memory reads them and
answers. Answers are given by the name of the method, "shop.v1.Cart/Get":

- a message, a dict (if the class of answers is known), or bytes: one message, and the status OK;
- `grpc_reply(...)`: several messages, or a status;
- a list of these, used in turn; the last one repeats;
- a function of the request, which returns one of these.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from loadgen.clients.framing.http2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    FrameReader,
    frame,
)
from loadgen.clients.grpc_client.exchange_text import classes_of
from loadgen.clients.grpc_client.messages import MessageReader, framed
from loadgen.clients.net.canned_replies import CannedNetwork, CannedRequest
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.http1 import MAX_HEAD_BYTES, Connection
from loadgen.clients.protocol.http2_heads import request_decoder
from loadgen.errors import UsageError

__all__ = ["CannedCall", "CannedGrpc", "GrpcReply", "grpc_reply"]

_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAMES: Final = 1_000
_FRAME_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """A canned answer. Made by `grpc_reply`. messages: of the server, in order. code: the number of the status."""

    messages: tuple[Any, ...] = ()
    code: int = 0
    details: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


def grpc_reply(
    *messages: Any, status: Any = None, details: str = "", trailing_metadata: Sequence[tuple[str, str]] = ()
) -> GrpcReply:
    """Return a canned answer of a gRPC call, for trials: `grpc_reply(Cart(id="7"))`, `grpc_reply(a, b, c)`, or
    `grpc_reply(status=grpc.StatusCode.NOT_FOUND, details="no cart 7")`.

    Each message of a call that streams its request gets one message of the answer; the others come after its end.

    Raises:
        UsageError: `status` is not a `grpc.StatusCode`.
    """
    if status is not None and not isinstance(getattr(status, "value", None), tuple):
        raise UsageError(
            f"grpc_reply: status={status!r} is not a grpc.StatusCode",
            hint="write one of its members, such as grpc.StatusCode.NOT_FOUND",
        )
    return GrpcReply(messages, 0 if status is None else status.value[0], details, tuple(trailing_metadata))


@dataclass(frozen=True, slots=True)
class CannedCall(CannedRequest):
    """A call that the journey made."""

    @property
    def name(self) -> str:
        """Return the method: "shop.v1.Cart/Get"."""
        return self.target[1:]

    def __str__(self) -> str:
        return self.name


class CannedGrpc:
    """A network whose only server answers gRPC calls. replies: by the name of the method; `*` stands for any rest.

    Calls are added to the requests of `network`, whose answers are for HTTP. A call without an answer is a UsageError.
    """

    def __init__(self, network: CannedNetwork) -> None:
        self._network = network

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        connection: Any = factory()
        transport = _Transport(self, connection, asyncio.get_running_loop())
        connection.connection_made(transport)
        self._network.connections += 1
        return transport, connection

    def answer(self, call: CannedCall) -> GrpcReply:
        """Return the canned answer of a call, whose first message the canned server has received.

        Raises:
            UsageError: `replies=` has no answer for the name of the method, such as "shop.v1.Cart/Get".
        """
        given = self._network.given(call, call.name)
        return given if isinstance(given, GrpcReply) else GrpcReply((given,))

    def ended(self, call: CannedCall) -> None:
        """Store a whole call."""
        self._network.requests.append(call)


class _Served:
    """One call at the server. sent: the messages of the answer that were sent."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.path = headers[":path"]
        self.reader = MessageReader()
        self.reader.encoding = headers.get("grpc-encoding", "identity")
        self.body = bytearray()
        self.received: list[bytes] = []
        self.reply: GrpcReply | None = None
        self.sent = 0

    def call(self) -> CannedCall:
        kind = classes_of(self.path)[0]
        messages = tuple(self.received)
        if kind is not None:
            with suppress(Exception):  # bytes of another class, which stay bytes
                messages = tuple(kind.FromString(one) for one in self.received)
        named = {name: value for name, value in self.headers.items() if not name.startswith(":")}
        return CannedCall("POST", self.path, named, bytes(self.body), messages)


class _Transport(asyncio.Transport):
    """The server's side of a connection in memory."""

    def __init__(self, network: CannedGrpc, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._network, self._connection, self._loop = network, connection, loop
        self._greeting = _GREETING
        self._reader = FrameReader()
        self._decoder = request_decoder(MAX_HEAD_BYTES)
        self._served: dict[int, _Served] = {}
        self._send(frame(SETTINGS, 0, 0))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        if self._greeting:
            size = len(self._greeting)
            self._greeting, data = self._greeting[len(data) :], data[size:]
        self._reader.feed(data)
        while frames := self._reader.take(_FRAMES):
            for kind, flags, number, payload in frames:
                self._take(kind, flags, number, payload)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM and (served := self._served.pop(number, None)) is not None:
            self._network.ended(served.call())
        elif kind == HEADERS and flags & END_HEADERS:
            fields = self._decoder.decode(payload, raw=True)
            served = _Served({bytes(name).decode("latin-1"): bytes(value).decode("latin-1") for name, value in fields})
            self._served[number] = served
            self._loop.call_soon(self._give, frame(HEADERS, END_HEADERS, number, _HEAD))
            if flags & END_STREAM:
                self._goes_on(number, served, is_end=True)
        elif kind == DATA and (served := self._served.get(number)) is not None:
            served.body += payload
            served.received += served.reader.feed(payload)
            self._goes_on(number, served, is_end=bool(flags & END_STREAM))

    def _goes_on(self, number: int, served: _Served, *, is_end: bool) -> None:
        """Send what is due after these messages of the request: all of the answer after its end.

        Raises:
            UsageError: there is no canned answer, or it cannot be sent. The journey's call raises it.
        """
        if served.reply is None and (served.received or is_end):
            served.reply = self._network.answer(served.call())
        reply = served.reply
        if reply is None:
            return
        wanted = len(reply.messages) if is_end else min(len(reply.messages), len(served.received))
        for message in reply.messages[served.sent : wanted]:
            data = framed(_serialized(served.path, message))
            for at in range(0, len(data), _FRAME_BYTES):
                self._send(frame(DATA, 0, number, data[at : at + _FRAME_BYTES]))
        served.sent = wanted
        if is_end:
            self._served.pop(number, None)
            self._network.ended(served.call())
            fields = [("grpc-status", str(reply.code)), ("grpc-message", quote(reply.details)), *reply.metadata]
            block = b"".join(_literal(name.encode(), value.encode()) for name, value in fields if value)
            self._send(frame(HEADERS, END_HEADERS | END_STREAM, number, block))

    def _send(self, data: bytes) -> None:
        # Never within `write`, as with a real transport.
        self._loop.call_soon(self._give, data)

    def _give(self, data: bytes) -> None:
        if not self._connection.is_closed:
            self._connection.data_received(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Do nothing: a trial's answers are small."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        self._loop.call_soon(self._connection.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return bool(self._connection.is_closed)


def _serialized(path: str, message: Any) -> bytes:
    """Return a canned message as bytes.

    Raises:
        UsageError: a dict for a method whose class of answers is unknown, or which does not fit to it; or another type.
    """
    if isinstance(message, bytes):
        return message
    if hasattr(message, "SerializeToString"):
        found: bytes = message.SerializeToString()
        return found
    kind = classes_of(path)[1]
    if kind is None or not (isinstance(message, Mapping) or message is None):
        raise UsageError(
            f"the canned answer of {path[1:]} has the invalid type {type(message).__name__}",
            hint="write a message, bytes, a dict, or grpc_reply(...)",
        )
    from loadgen.clients.grpc_schema.values import message_of  # imports protobuf

    return message_of(kind, message).SerializeToString()


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header field that is not indexed and not compressed (RFC 7541, section 6.2.2)."""
    return b"\0" + _sized(name) + _sized(value)


def _sized(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    coded = bytearray((127,))
    while size >= 128:
        coded.append(size & 127 | 128)
        size >>= 7
    return bytes((*coded, size)) + text


_HEAD: Final = b"\x88" + _literal(b"content-type", b"application/grpc")
"""Status 200, and the content type."""
