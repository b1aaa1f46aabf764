"""Whatever bytes a target sends: one end for each request, no other exception, no answer for another's request.

Valid responses are mutated (cut off, flipped, split anywhere, headers doubled, contradicting lengths, bare line feeds,
NUL ...) and fed to a connection without a network. The same bytes are fed in every way that the connection has: through
llhttp, as a head that is known, as the answer that the route had before, as a stream, and cut into pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loadgen.clients.pool.connection_class_for_plan import connection_kind
from loadgen.clients.protocol import response_heads
from loadgen.clients.protocol.http1 import MAX_HEAD_BYTES, Connection
from loadgen.clients.protocol.request_body_encoding import StreamedRequest
from loadgen.clients.protocol.response_heads import NO_ANSWER, Answer, Head
from loadgen.clients.protocol.timeouts import NEVER_NS
from loadgen.errors import RequestFailed
from tests.support.examples import examples

LIMIT_BYTES = 300_000
GET, HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
CLEAN = b"HTTP/1.1 201 Created\r\nX-Clean: yes\r\nContent-Length: 5\r\n\r\nclean"
OUTCOMES = {"protocol", "reset", "body too large", "head too large"}


# -- a connection without a network ----------------------------------------------------------------


class Route:
    """Remembers how it was answered last."""

    def __init__(self) -> None:
        self.answer: Answer = NO_ANSWER


class Asked:
    """An exchange, and a sink."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = 0
        self.head: Head
        self.raw_trailers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.source: Any = None
        self.ends: list[str] = []

    def took_head(self, head: Head) -> None:
        self.head = head

    def took(self, data: bytes, now_ns: int) -> bool:
        assert data
        self.body += data
        return False

    def ended(self) -> None:
        self.ends.append("ended")

    def broke(self, failure: RequestFailed) -> None:
        self.ends.append(failure.outcome)

    def cut(self) -> None:
        self.ends.append("cut")


class Wire(asyncio.Transport):
    """Takes what is written; aborted, it brings nothing more, as a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def abort(self) -> None:
        self.is_aborted = True


class Wheel:
    """Time stands still."""

    def watch(self, connection: Connection) -> None: ...

    def forget(self, connection: Connection) -> None: ...


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Line:
    """One connection and what came of the requests on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int = LIMIT_BYTES) -> None:
        self.stack: list[Any] = []
        self.lost: list[Any] = []
        self.loop = loop
        kind = connection_kind(limit_bytes, has_phases=False)
        wheel: Any = Wheel()
        self.connection = kind(loop, wheel, self.stack, self._forget, "h:80", limit_bytes)
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def _forget(self, connection: Any) -> None:
        """As a pool does."""
        self.lost.append(connection)
        if connection in self.stack:
            self.stack.remove(connection)

    def ask(self, parts: Sequence[bytes], request: bytes, route: Route, *, then: str, is_stream: bool) -> Told:
        """What one request comes to. then: what follows its bytes, "eof" or "reset", or "" for nothing."""
        exchange = Asked(route)
        sent = StreamedRequest.of(request, wants_stream=True) if is_stream else request
        self.connection.send(sent, exchange, request is HEAD, NEVER_NS)
        future = self.connection._waiter
        for part in parts:
            if not self.wire.is_aborted and part:
                self.connection.data_received(part)
        is_kept = self.connection in self.stack
        if then and not self.wire.is_aborted:
            if then == "eof":
                self.connection.eof_received()
            self.connection.connection_lost(None if then == "eof" else ConnectionResetError(104, "reset"))
        return self._told(exchange, future, is_kept, is_stream)

    def _told(self, exchange: Asked, future: asyncio.Future[None], is_kept: bool, is_stream: bool) -> Told:
        is_closed = self.connection.is_closed
        assert self.lost == ([self.connection] if is_closed else [])
        assert self.wire.is_aborted == is_closed
        assert self.stack == ([self.connection] if is_kept and not is_closed else [])
        is_over = exchange.ends if is_stream and future.done() and not future.exception() else future.done()
        assert is_kept or is_closed or not is_over
        self.stack.clear()
        if not future.done():
            assert not exchange.ends
            return Told("waits")
        error = future.exception()
        if error is not None:
            assert isinstance(error, RequestFailed)
            assert not exchange.ends
            assert error.outcome in OUTCOMES
            assert exchange.done_ns
            return Told(error.outcome)
        if is_stream:
            assert len(exchange.ends) <= 1
            if exchange.ends != ["ended"]:
                return Told(exchange.ends[0] if exchange.ends else "waits")
        assert exchange.done_ns >= exchange.first_byte_ns >= exchange.sent_ns > 0
        head = exchange.head
        return Told("done", head.status, head.reason, tuple(head.raw), exchange.body, is_kept)


@dataclass(frozen=True)
class Told:
    outcome: str
    status: int = 0
    reason: bytes = b""
    raw: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    is_kept: bool = False


def told(
    loop: asyncio.AbstractEventLoop,
    parts: Sequence[bytes],
    request: bytes = GET,
    then: str = "eof",
    route: Route | None = None,
    *,
    is_stream: bool = False,
) -> Told:
    """Of one request on a new connection; if that is kept, a second one has to be answered by its own bytes only."""
    line = Line(loop)
    first = line.ask(parts, request, route or Route(), then="" if then == "next" else then, is_stream=is_stream)
    if first.is_kept and not line.connection.is_closed:
        second = line.ask([CLEAN], GET, Route(), then="", is_stream=False)
        assert (second.outcome, second.body, second.status) == ("done", b"clean", 201)
    return first


# -- bytes -------------------------------------------------------------------------------------------


def response(status: bytes, headers: Sequence[bytes], body: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def in_chunks(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"


BODY = b"<p>hello</p>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"
"""Has an empty line and a response in it."""
VALID = [
    response(b"200 OK", [b"Content-Length: %d" % len(BODY), b"X-A: 1"], BODY),
    response(b"200 OK", [b"Content-Length: 0"], b""),
    response(b"200 OK", [b"Transfer-Encoding: chunked"], in_chunks(BODY, 9, b"X-Sum: 7\r\n")),
    response(b"200 OK", [b"Transfer-Encoding: chunked", b"Connection: close"], in_chunks(b"x", 1)),
    response(b"204 No Content", [b"X-A: 1"], b""),
    response(b"304 Not Modified", [b"Content-Length: 5"], b""),
    response(b"404 Not Found", [b"content-length:\t3 ", b"Set-Cookie: a=b", b"Set-Cookie: c=d"], b"no!"),
    response(b"200 OK", [b"Connection: close"], BODY),
    response(b"100 Continue", [], b"") + response(b"200 OK", [b"Content-Length: 2"], b"ok"),
    response(b"103 Early Hints", [b"Link: </a>"], b"") + response(b"200", [b"Content-Length: 2"], b"ok"),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
]

Mutation = Callable[[bytes], bytes]


def _head_and_rest(data: bytes) -> tuple[list[bytes], bytes]:
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), rest


def _with_line(line: bytes, at: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        lines, rest = _head_and_rest(data)
        lines.insert(1 + at % max(1, len(lines)), line)
        return b"\r\n".join(lines) + b"\r\n\r\n" + rest

    return mutate


def _doubled(at: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        lines, rest = _head_and_rest(data)
        lines.insert(1, lines[at % len(lines)])
        return b"\r\n".join(lines) + b"\r\n\r\n" + rest

    return mutate


def _cut(at: int) -> Mutation:
    return lambda data: data[: at % (len(data) + 1)]


def _flipped(at: int, mask: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        if not data:
            return data
        i = at % len(data)
        return data[:i] + bytes([data[i] ^ mask]) + data[i + 1 :]

    return mutate


def _put(what: bytes, at: int) -> Mutation:
    return lambda data: data[: (i := at % (len(data) + 1))] + what + data[i:]


def _replaced(old: bytes, new: bytes) -> Mutation:
    return lambda data: data.replace(old, new)


LINES = [
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: -1",
    b"Content-Length: 0x10",
    b"Content-Length: 3, 3",
    b"Content-Length: ",
    b"Content-Length : 3",
    b" Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding:\x0bchunked",
    b"X-Folded: a\r\n b",
    b"X-Nul: a\x00b",
    b"X-Long: " + b"x" * 9_000,
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade\r\nUpgrade: h2c",
    b"Content-Encoding: gzip",
    b": no name",
    b"no colon",
    b"\xff\xfe: \xff",
]
PIECES = [
    b"\x00",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"ffffffffffffffff\r\n",
    b"-1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    CLEAN,
]
SWAPS = [
    (b"\r\n", b"\n"),
    (b"\r\n\r\n", b"\n\n"),
    (b"HTTP/1.1", b"HTTP/2.0"),
    (b"HTTP/1.1", b"HTTP/1.10"),
    (b"HTTP/1.1", b"ICY"),
    (b"HTTP/1.1 ", b"HTTP/1.1"),
    (b" 200 ", b" 099 "),
    (b" 200 ", b" 2000 "),
    (b" 200 ", b" 20 "),
    (b" 200 ", b" 101 "),
    (b" 200 ", b" 999 "),
    (b"0\r\n\r\n", b"0;ext=1\r\n\r\n"),
    (b"9\r\n", b"9;ext=\x00\r\n"),
    (b"9\r\n", b"fffffffffffffff9\r\n"),
    (b"9\r\n", b"7fffffffffffffff\r\n"),
    (b": ", b":"),
]
numbers = st.integers(0, 2_000)
mutations = st.one_of(
    st.builds(_cut, numbers),
    st.builds(_flipped, numbers, st.integers(1, 255)),
    st.builds(_doubled, numbers),
    st.builds(_with_line, st.sampled_from(LINES), numbers),
    st.builds(_put, st.sampled_from(PIECES), numbers),
    st.builds(lambda swap: _replaced(*swap), st.sampled_from(SWAPS)),
)


@st.composite
def streams_of_bytes(draw: st.DrawFn) -> bytes:
    """A valid response, mutated up to four times; perhaps with another behind it."""
    data = draw(st.sampled_from(VALID))
    for mutate in draw(st.lists(mutations, max_size=4)):
        data = mutate(data)
    return data + draw(st.sampled_from([b"", b"", b"", CLEAN, b"\r\n", b"junk"]))


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


FUZZ = settings(max_examples=examples(500), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same_answer(one: Told, other: Told) -> bool:
    """The same but for whether the connection is kept, and what a body that broke off later would have been."""
    if one.outcome != other.outcome:
        return {one.outcome, other.outcome} <= {"protocol", "reset", "done"} - {"done"}
    return (one.status, one.reason, one.raw, one.body) == (other.status, other.reason, other.raw, other.body)


@given(
    data=streams_of_bytes(),
    cuts=st.lists(numbers, max_size=5),
    request=st.sampled_from([GET, GET, HEAD]),
    then=st.sampled_from(["eof", "reset", ""]),
)
@example(data=VALID[0].replace(b"\r\n", b"\n"), cuts=[], request=GET, then="")
@example(data=b"HTTP/1.1 200 OK\nContent-Length: 5\n\nab\r\n\r\n", cuts=[], request=GET, then="")
@FUZZ
def test_every_way_of_reading_the_same_bytes_ends_in_the_same_way(
    loop: asyncio.AbstractEventLoop, data: bytes, cuts: list[int], request: bytes, then: str
) -> None:
    response_heads.HEADS.clear()
    by_llhttp = told(loop, [data], request, then)  # and remembers the head, if it is one to remember
    route = Route()
    assert told(loop, [data], request, then, route) == by_llhttp  # by the head
    assert told(loop, [data], request, then, route) == by_llhttp  # by what the route was answered before
    pieces = split(data, cuts)
    in_pieces = told(loop, pieces, request, then, route)
    response_heads.HEADS.clear()
    assert told(loop, pieces, request, then) == in_pieces
    as_stream = told(loop, pieces, request, then, is_stream=True)
    # What follows an answer is only seen in the read that ends it; else it is an idle connection's, which it ends.
    response_heads.HEADS.clear()
    whole_stream = told(loop, [data], request, then, is_stream=True)
    assert told(loop, [data], request, then, is_stream=True) == whole_stream  # its head may be known now
    assert same_answer(in_pieces, by_llhttp)
    if by_llhttp.outcome != "body too large":  # of a stream it may be
        assert same_answer(as_stream, by_llhttp)
        assert same_answer(whole_stream, by_llhttp)
        assert whole_stream.is_kept == by_llhttp.is_kept


@given(data=streams_of_bytes(), cuts=st.lists(numbers, max_size=5), limit=st.sampled_from([0, 1, 7, 40, 100_000]))
@FUZZ
def test_no_body_is_larger_than_it_may_be_and_a_smaller_one_is_as_ever(
    loop: asyncio.AbstractEventLoop, data: bytes, cuts: list[int], limit: int
) -> None:
    response_heads.HEADS.clear()
    usual = told(loop, split(data, cuts))
    response_heads.HEADS.clear()
    for _ in range(2):  # the second time the head would be known
        capped = Line(loop, limit).ask(split(data, cuts), GET, Route(), then="eof", is_stream=False)
        assert len(capped.body) <= limit
        if usual.outcome == "done":
            assert capped == usual if len(usual.body) <= limit else capped.outcome == "body too large"
        else:
            assert capped.outcome in OUTCOMES


@given(data=streams_of_bytes(), following=streams_of_bytes(), cuts=st.lists(numbers, max_size=5))
@FUZZ
def test_an_answer_is_never_that_of_another_request(
    loop: asyncio.AbstractEventLoop, data: bytes, following: bytes, cuts: list[int]
) -> None:
    """Two requests on one connection: what the target says to the second is all that the second gets."""
    line, route = Line(loop), Route()
    first = line.ask(split(data, cuts), GET, route, then="", is_stream=False)
    if not first.is_kept:
        return
    alone = told(loop, [following], then="")
    line.stack.clear()
    second = line.ask([following], GET, route, then="", is_stream=False)
    assert second == alone


@given(data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 "]))
@FUZZ
def test_any_bytes_end_in_an_answer_or_an_outcome(loop: asyncio.AbstractEventLoop, data: bytes, prefix: bytes) -> None:
    for is_stream in (False, True):
        end = told(loop, [prefix + data], then="eof", is_stream=is_stream)
        assert end.outcome in {"done", *OUTCOMES}


CHUNKED = b"Transfer-Encoding: chunked"
MALFORMED = {
    "a length and chunks": response(b"200 OK", [b"Content-Length: 3", CHUNKED], b"0\r\n\r\n"),
    "chunks and a length": response(b"200 OK", [CHUNKED, b"Content-Length: 3"], b"0\r\n\r\n"),
    "two lengths": response(b"200 OK", [b"Content-Length: 3", b"Content-Length: 4"], b"abcd"),
    "the same length twice": response(b"200 OK", [b"Content-Length: 3", b"Content-Length: 3"], b"abc"),
    "a list of lengths": response(b"200 OK", [b"Content-Length: 3, 3"], b"abc"),
    "a negative length": response(b"200 OK", [b"Content-Length: -3"], b"abc"),
    "a length in hex": response(b"200 OK", [b"Content-Length: 0x3"], b"abc"),
    "a length beyond 64 bits": response(b"200 OK", [b"Content-Length: 99999999999999999999999"], b"abc"),
    "no length": response(b"200 OK", [b"Content-Length: "], b"abc"),
    "a blank before the colon": response(b"200 OK", [b"Content-Length : 3"], b"abc"),
    "chunks after a vertical tab": response(b"200 OK", [b"Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n"),
    "a folded header": response(b"200 OK", [b"X: a\r\n b", b"Content-Length: 0"], b""),
    "NUL in a header": response(b"200 OK", [b"X: a\x00b", b"Content-Length: 0"], b""),
    "a line without a colon": response(b"200 OK", [b"no colon", b"Content-Length: 0"], b""),
    "a header without a name": response(b"200 OK", [b": a", b"Content-Length: 0"], b""),
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare carriage returns": b"HTTP/1.1 200 OK\rContent-Length: 0\r\r",
    "no version": b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a greeting": b"220 mail.example ESMTP\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x50",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "a status of 99": response(b"099 No", [b"Content-Length: 0"], b""),
    "a status of four digits": response(b"2000 No", [b"Content-Length: 0"], b""),
    "a status of two digits": response(b"20 No", [b"Content-Length: 0"], b""),
    "an upgrade without a request for one": response(b"101 Switching", [b"Upgrade: h2c", b"Connection: upgrade"], b""),
    "a chunk beyond 64 bits": response(b"200 OK", [CHUNKED], b"fffffffffffffffff\r\nx"),
    "a negative chunk": response(b"200 OK", [CHUNKED], b"-1\r\nx"),
    "a chunk that says 0x": response(b"200 OK", [CHUNKED], b"0x1\r\nx\r\n0\r\n\r\n"),
    "a chunk longer than it says": response(b"200 OK", [CHUNKED], b"1\r\nxy0\r\n\r\n"),
    "chunks with bare line feeds": response(b"200 OK", [CHUNKED], b"1\nx\n0\n\n"),
}
ENDLESS = {
    "interim answers without end": response(b"100 Continue", [], b"") * (MAX_HEAD_BYTES // 25 + 9),
    "empty lines before the status": b"\r\n" * (MAX_HEAD_BYTES // 2 + 9),
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X-More: y\r\n" * (MAX_HEAD_BYTES // 11 + 9),
    "one header without end": b"HTTP/1.1 200 OK\r\nX-More: " + b"y" * (MAX_HEAD_BYTES + 9),
    "a reason without end": b"HTTP/1.1 200 " + b"y" * (MAX_HEAD_BYTES + 9),
    "chunk extensions without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1"
    + b";a=b" * (MAX_HEAD_BYTES // 2),
    "small chunks with large extensions": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"1;" + b"a" * 100 + b"\r\nx\r\n") * (MAX_HEAD_BYTES // 40),
    "trailers without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    + b"X-More: y\r\n" * (MAX_HEAD_BYTES // 5),
}


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_a_protocol_fault_at_once(
    loop: asyncio.AbstractEventLoop, name: str, is_stream: bool
) -> None:
    """No time-out has to say so: nothing follows, and the end of the connection is not waited for."""
    data = MALFORMED[name]
    assert told(loop, [data], then="", is_stream=is_stream).outcome == "protocol"
    in_halves = told(loop, split(data, [len(data) // 2]), then="", is_stream=is_stream)
    assert in_halves.outcome == "protocol"


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_with_too_much_beside_its_body_ends_with_an_outcome_that_names_it(
    loop: asyncio.AbstractEventLoop, name: str, is_stream: bool
) -> None:
    data = ENDLESS[name]
    assert told(loop, [data], then="", is_stream=is_stream).outcome == "head too large"
    in_parts = told(loop, split(data, range(60_000, len(data), 60_000)), then="", is_stream=is_stream)
    assert in_parts.outcome == "head too large"


def test_a_chunk_that_says_more_than_a_body_may_have_is_given_up_when_it_comes_to_that(
    loop: asyncio.AbstractEventLoop,
) -> None:
    parts = [response(b"200 OK", [CHUNKED], b"7fffffff\r\n"), *[b"x" * 65_536] * 9]
    assert told(loop, parts, then="").outcome == "body too large"
    assert told(loop, [response(b"200 OK", [b"Content-Length: 300001"], b"x")], then="").outcome == "body too large"
