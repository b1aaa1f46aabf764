"""The ends of requests on a connection with many streams: each row of the table in `many_streams.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, cast

import pytest

from loadgen.clients.protocol.connection_interface import Exchange, Unprocessed
from loadgen.clients.protocol.http2 import Http2Connection
from loadgen.clients.protocol.many_streams import ManyStreams, Stream
from loadgen.clients.protocol.request_body_encoding import Upload
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed


class Kept:
    def __init__(self) -> None:
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = 0
        self.body = b""


class OneStream(Stream):
    def resume(self) -> None: ...


class Scripted(ManyStreams[OneStream]):
    """A connection without a protocol: it lists what the target would get."""

    def __init__(self, max_streams: int = 2) -> None:
        self.sent: list[object] = []
        stack: list[Any] = []

        def lost(connection: Any) -> None:  # as pools do
            if connection in stack:
                stack.remove(connection)

        loop = asyncio.get_running_loop()
        super().__init__(loop, TimeoutWheel(lambda _, __: None), stack, lost, "shop.test:80", 100, max_streams)

    def is_hung_up(self) -> bool:
        return False

    def ask(self, data: bytes, exchange: Exchange, deadline_ns: int) -> asyncio.Future[None]:
        self.stack.clear()  # the caller has taken it from there
        return self._begin(data, exchange, False, deadline_ns, True).waiter

    def _begin(self, data: bytes, exchange: Exchange, head_only: bool, deadline_ns: int, is_whole: bool) -> OneStream:
        self._is_offered = False
        stream = OneStream(self, exchange, self._loop.create_future(), head_only, deadline_ns)
        if self.is_closed or self._is_leaving or len(self._streams) >= self._max_streams:
            self._refuse(stream)
            return stream
        stream.id = int(data)
        self._streams[stream.id] = stream
        exchange.sent_ns = perf_counter_ns()
        self._watch_until(deadline_ns)
        self._make_room()
        return stream

    async def _write_pieces(self, upload: Upload, stream: OneStream) -> None: ...

    def _reset(self, stream: OneStream, code: int | None = None) -> None:
        self.sent.append("reset")

    def _stop_upload(self, stream: OneStream) -> None:
        self.sent.append("reset")

    def _malformed(self, stream: OneStream, why: str) -> None:
        self._drop(stream, "protocol", why)

    def _why_refused(self) -> RequestFailed:
        return Unprocessed("full", "no room")

    def _end_transport(self) -> None:
        self.sent.append("close")


def _answered(connection: Scripted, stream: OneStream, length: int = 3) -> None:
    """An answer with a body of 3 bytes arrives, whose head has the length `length`."""
    connection._on_head(stream, Head(200, b"OK", "2", [(b"content-length", b"%d" % length)], True))
    if stream.id in connection._streams:
        stream.chunks, stream.have = [b"abc"], 3
        connection._finish(stream, perf_counter_ns())


def _after_its_deadline(connection: Scripted, stream: OneStream) -> None:
    connection._heard_ns = perf_counter_ns()
    stream.deadline_ns = stream.exchange.sent_ns
    connection.expire()


def _with_unsent_body(connection: Scripted, stream: OneStream) -> None:
    stream.is_sent = False
    _answered(connection, stream)


ENDS: list[tuple[str, Callable[[Scripted, OneStream], None], str, list[object]]] = [
    ("a whole answer", _answered, "ok", []),
    ("a whole answer to a request that is not", _with_unsent_body, "ok", ["reset"]),
    ("the deadline", _after_its_deadline, "timeout", ["reset"]),
    ("a short body", lambda c, s: _answered(c, s, 4), "protocol", ["reset"]),
    ("a large body", lambda c, s: _answered(c, s, 101), "body too large", ["reset"]),
    ("a cancellation", lambda c, s: c.cancel(s.exchange), "cancelled", ["reset"]),
    ("a reset", lambda c, s: c._on_reset_by_target(s, "h9 oops", is_unprocessed=False), "h9 oops", []),
    ("a rejection", lambda c, s: c._on_reset_by_target(s, "h9 busy", is_unprocessed=True), "again: h9 busy", []),
    ("a GOAWAY", lambda c, s: c._leave_from(1, "h9 goaway", "bye"), "again: h9 goaway", ["close"]),
    ("our own close", lambda c, s: c.abort(), "cancelled", ["close"]),
]


def _end_of(waiter: asyncio.Future[None]) -> str:
    if waiter.cancelled():
        return "cancelled"
    failure = waiter.exception()
    if failure is None:
        return "ok"
    assert isinstance(failure, RequestFailed)
    return f"{'again: ' * isinstance(failure, Unprocessed)}{failure.outcome}"


@pytest.mark.parametrize(("end", "caller_gets", "target_gets"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
async def test_each_end_of_a_request_is_what_the_table_says(
    end: Callable[[Scripted, OneStream], None], caller_gets: str, target_gets: list[object]
) -> None:
    connection, exchange = Scripted(), cast("Exchange", Kept())
    waiter = connection.ask(b"1", exchange, NEVER_NS)
    end(connection, connection._streams[1])
    assert (_end_of(waiter), connection.sent) == (caller_gets, target_gets)
    assert connection.is_free
    assert connection.is_closed is ("close" in target_gets)
    assert (connection in connection.stack) is (not connection.is_closed)


async def test_a_full_connection_leaves_its_stack_until_a_request_ends() -> None:
    connection = Scripted(max_streams=2)
    for data, has_room in ((b"1", True), (b"2", False)):
        connection.ask(data, cast("Exchange", Kept()), NEVER_NS)
        assert (connection in connection.stack) is has_room
    assert _end_of(connection.ask(b"3", cast("Exchange", Kept()), NEVER_NS)) == "again: full"
    _answered(connection, connection._streams[1])
    assert connection.stack == [connection]


async def test_a_retired_connection_closes_with_its_last_request() -> None:
    connection = Scripted()
    for data in (b"1", b"2"):
        connection.ask(data, cast("Exchange", Kept()), NEVER_NS)
    connection.retire()
    _answered(connection, connection._streams[2])
    assert not connection.is_closed
    _answered(connection, connection._streams[1])
    assert (connection.is_closed, connection.sent, connection.stack) == (True, ["close"], [])


class _Wire(asyncio.Transport):
    def write(self, data: Any) -> None: ...

    def abort(self) -> None: ...


async def test_a_connection_that_has_used_all_numbers_of_streams_sends_nothing_more_and_closes() -> None:
    """RFC 9113, section 5.1.1: numbers up to 2^31 - 1, and each only once."""
    connection = Http2Connection(
        asyncio.get_running_loop(), TimeoutWheel(lambda _, __: None), [], lambda _: None, "shop.test:80", "http"
    )
    connection.connection_made(_Wire())
    connection.data_received(b"\0\0\0\x04\0\0\0\0\0")
    connection._next_id = 2**31 - 1
    request = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
    last = connection.ask(request, cast("Exchange", Kept()), NEVER_NS)
    assert _end_of(connection.ask(request, cast("Exchange", Kept()), NEVER_NS)) == "again: h2 goaway"
    connection.data_received(b"\0\0\x01\x01\x05\x7f\xff\xff\xff\x88")
    assert (_end_of(last), connection.is_closed) == ("ok", True)
