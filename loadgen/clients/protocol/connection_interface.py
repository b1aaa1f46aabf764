"""The interface of a connection: the client sends on it, the pool keeps it, a stream reads from it.

HTTP/1.1 (`http1.py`) serves one request at a time, HTTP/2 and HTTP/3 many at once (`many_streams.py`). All put
themselves on their stack whenever they have room for another request, so a sender takes a connection from there.
"""

from __future__ import annotations

from asyncio import BaseTransport
from collections.abc import Awaitable
from typing import Protocol

from loadgen.clients.protocol.response_heads import Answer, Head, RawHeaders
from loadgen.errors import RequestFailed

__all__ = ["Answered", "Connection", "Exchange", "Lost", "OpenSource", "Sink", "Source", "Unprocessed", "peer_text"]


class Exchange(Protocol):
    """The measured part of a reply, which the connection fills in."""

    sent_ns: int
    first_byte_ns: int
    done_ns: int
    size_bytes: int
    head: Head
    body: bytes
    """The body as received, before Content-Encoding is undone."""
    raw_trailers: RawHeaders
    """The headers after the body. Set before the body's end, and only if there are some (HTTP/2)."""

    @property
    def route(self) -> Answered: ...


class Answered(Protocol):
    """A requested resource, which remembers how it was answered last (HTTP/1.1)."""

    answer: Answer


class Source(Protocol):
    """The connection, as seen by the stream that reads from it."""

    def resume(self) -> None:
        """Continue to read the body after a pause, because the sink accepts more data."""

    def abort(self) -> None:
        """Drop the rest of the body, because nobody will read it."""

    def allow_until(self, exchange: Exchange, deadline_ns: int) -> None:
        """Change the deadline of `exchange` to `deadline_ns` (`perf_counter_ns`). Do nothing if the exchange
        has ended.
        """


class OpenSource(Source, Protocol):
    """A connection with HTTP/2, as seen by a stream whose request body is open (`request_body_encoding.OpenBody`)."""

    async def write(self, data: bytes, *, is_end: bool = False) -> bool:
        """Send the next piece of the body, when flow control permits. is_end: nothing follows. Return False if the
        stream has ended; the piece may be lost then.
        """
        ...


class Sink(Exchange, Protocol):
    """An exchange whose answer is read as a stream: `send` returns after the head; `done_ns` is the time of the last
    byte.
    """

    source: Source

    def took_head(self, head: Head) -> None: ...

    def took(self, data: bytes, now_ns: int) -> bool:
        """Receive the next piece of the body from the connection. Return True to pause reading; the sink then calls
        `Source.resume` to continue.
        """
        ...

    def ended(self) -> None:
        """Handle the end of the body: it is complete, and the connection may serve another request."""

    def broke(self, failure: RequestFailed) -> None:
        """Handle that the body broke off in the middle, with this failure."""

    def cut(self) -> None:
        """Handle that our side closed the connection in the middle of the body."""


class Connection(Protocol):
    """An open connection to one origin."""

    where: str
    """HOST:PORT, for messages."""
    is_closed: bool
    requests: int
    """The number of requests answered so far."""
    stack: list[Connection]
    """The connection is on this stack while it has room for a request."""

    @property
    def is_free(self) -> bool:
        """Return True if no request is under way on this connection."""

    @property
    def remote(self) -> str:
        """Return the address and port of the other side, as `peer_text` does."""

    def is_hung_up(self) -> bool:
        """Return True if the target has closed its side of this connection, also if the loop has not reported that yet.
        Takes a system call (`hang_up.py`).
        """

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> Awaitable[None]:
        """HOT. Send a request and wait for its answer, as `send` does, for a small request without a streamed body
        whose method is not HEAD.
        """

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Write a request, given as HTTP/1.1 bytes, and wait until its answer is complete. If the answer is streamed
        (`exchange` is a Sink), wait only for its head. The answer is stored in `exchange`.

        head_only: the method is HEAD. deadline_ns: by `perf_counter_ns`; NEVER_NS for none.

        Raises:
            RequestFailed: the exchange's `done_ns` is then set.
        """

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Send a request without a streamed body, as `send` does, and return a future for the head of its streamed
        answer. No coroutine is made.
        """

    def cancel(self, exchange: Exchange) -> None:
        """Drop an exchange whose caller no longer waits. Do nothing if this exchange has ended, even if another one is
        under way now.
        """

    def retire(self) -> None:
        """Accept no more requests, and close the connection as soon as no request is under way."""

    def abort(self) -> None:
        """Close the connection at once. Requests under way are cancelled rather than failed, because our side caused
        this and not the target.
        """


def peer_text(transport: BaseTransport) -> str:
    """Return the address and port of a transport's other side, "10.0.0.7:443" or "[::1]:443"; "" if it has none."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple) or len(peer) < 2:
        return ""
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Lost(Protocol):
    """A callback that is called once, when a connection is closed."""

    def __call__(self, connection: Connection, /) -> None: ...


class Unprocessed(RequestFailed):
    """The target reported that it did not look at the request, so it may be sent again, whatever its method."""
