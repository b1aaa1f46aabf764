"""What a connection is to those who use it: the client sends on it, the pool keeps it, a stream reads from it.

HTTP/1.1 (`http1.py`) answers one request at a time, HTTP/2 (`http2.py`) many at once. Both put themselves
on their stack whenever they have room for one more, so whoever wants to send takes one from there.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from loadgen.clients.protocol.head_cache import Answer, Head
from loadgen.errors import RequestFailed

__all__ = ["Answered", "Connection", "Exchange", "Lost", "Sink", "Source", "Unprocessed"]


class Exchange(Protocol):
    """What the connection fills in: the measured half of a reply."""

    sent_ns: int
    first_byte_ns: int
    done_ns: int
    size_bytes: int
    head: Head
    body: bytes
    """As it came: still encoded."""

    @property
    def route(self) -> Answered: ...


class Answered(Protocol):
    """What is asked for: remembers how it was answered last. (Of HTTP/1.1.)"""

    answer: Answer


class Source(Protocol):
    """Where a stream comes from."""

    def resume(self) -> None:
        """The sink wants more."""

    def abort(self) -> None:
        """Nobody reads the rest."""

    def allow_until(self, exchange: Exchange, deadline_ns: int) -> None:
        """It has another deadline from now on. Nothing if it is under way no more."""


class Sink(Exchange, Protocol):
    """An exchange whose answer is read as a stream: `send` is done with the head, `done_ns` is the last byte's."""

    source: Source

    def took_head(self, head: Head) -> None: ...

    def took(self, data: bytes, now_ns: int) -> bool:
        """The next piece of the body. True when that is enough for now: `Source.resume` asks for more."""
        ...

    def ended(self) -> None:
        """The whole answer was there; the connection is another's."""

    def broke(self, failure: RequestFailed) -> None:
        """In the middle of the body."""

    def cut(self) -> None:
        """We closed the connection."""


class Connection(Protocol):
    """An open connection to one origin."""

    where: str
    """HOST:PORT, for messages."""
    is_closed: bool
    requests: int
    """Answered so far."""
    stack: list[Connection]
    """Where it puts itself while it has room."""

    @property
    def is_free(self) -> bool:
        """Nothing is under way on it."""

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> Awaitable[None]:
        """HOT. `send` of a request that is no HEAD, all of it here and small."""

    def send(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """Write a request, as HTTP/1.1 has it. head_only: the method is HEAD. deadline_ns: NEVER_NS for none.

        Done when the whole response is there, or its head if it is read as a stream.

        Raises:
            RequestFailed: the exchange's `done_ns` is set.
        """

    def ask_stream(self, data: bytes, sink: Sink, head_only: bool, deadline_ns: int) -> Awaitable[None]:
        """`send` of a request that is all here and whose answer is read as a stream, without a coroutine."""

    def cancel(self, exchange: Exchange) -> None:
        """Nobody waits for this answer any more. No harm if it has come, or another's is under way by now."""

    def retire(self) -> None:
        """Take no more requests; close when nothing is under way."""

    def abort(self) -> None:
        """Close at once. Who waits for an answer is cancelled: it is cut off by us, and not a fault of the target."""


class Lost(Protocol):
    """Told once, when a connection is closed."""

    def __call__(self, connection: Connection, /) -> None: ...


class Unprocessed(RequestFailed):
    """The target said that it has not looked at the request: it may be sent again, whatever its method."""
