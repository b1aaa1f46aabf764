"""HTTP/2 without a network: bytes may be cut anywhere or broken in any way, and what is remembered changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from weakref import ref

import hpack
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loadgen.clients.framing.http2_floods import FRAMES_A_TURN
from loadgen.clients.protocol import http2, http2_heads
from loadgen.clients.protocol.connection_interface import Connection
from loadgen.clients.protocol.http2 import Http2Connection
from loadgen.clients.protocol.http2_heads import Decoder, Encoder, Received, fields_of, known_wholes
from loadgen.clients.protocol.join_body_pieces import MANY_PIECES
from loadgen.clients.protocol.response_heads import NO_ANSWER, Answer, Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed
from tests.support.examples import examples


class Kept:
    """An exchange, and a route that was never answered."""

    def __init__(self) -> None:
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = 0
        self.head: Head
        self.body: bytes
        self.raw_trailers: list[tuple[bytes, bytes]] = []
        self.answer: Answer = NO_ANSWER

    @property
    def route(self) -> Kept:
        return self


class Wire(asyncio.Transport):
    """Keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.is_aborted = True


REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi",
    b"HEAD /c HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    b"GET /d HTTP/1.1\r\nHost: shop.test\r\n\r\n",
]


def ask_all(connection: Http2Connection) -> list[tuple[Kept, asyncio.Future[None]]]:
    asked = []
    for request in REQUESTS:
        exchange = Kept()
        if connection.stack:
            assert connection.stack.pop() is connection
        waiter = connection.send(request, exchange, request.startswith(b"HEAD"), NEVER_NS)
        assert isinstance(waiter, asyncio.Future)
        asked.append((exchange, waiter))
    return asked


def results(asked: list[tuple[Kept, asyncio.Future[None]]]) -> list[tuple[Any, ...]]:
    """How each request ended."""
    found: list[tuple[Any, ...]] = []
    for exchange, waiter in asked:
        if not waiter.done():
            found.append(("waits",))
        elif waiter.cancelled():
            found.append(("cut",))
        elif (failure := waiter.exception()) is not None:
            assert isinstance(failure, RequestFailed)
            found.append((failure.outcome,))
        else:
            assert 0 < exchange.sent_ns <= exchange.first_byte_ns <= exchange.done_ns
            found.append((exchange.head.status, exchange.head.raw, exchange.body, exchange.size_bytes))
    return found


def fed(parts: Callable[[bytes], list[bytes]], *, eof: bool = False) -> list[tuple[Any, ...]]:
    """What becomes of the requests when the server's bytes come in these parts."""

    async def run() -> list[tuple[Any, ...]]:
        http2._allowed.clear()
        loop = asyncio.get_running_loop()
        stack: list[Any] = []
        wheel = TimeoutWheel(lambda _, __: None)

        def lost(connection: Connection) -> None:
            if connection in stack:
                stack.remove(connection)

        connection = Http2Connection(loop, wheel, stack, lost, "shop.test:80", "http")
        wire = Wire()
        connection.connection_made(wire)
        asked = ask_all(connection)
        for part in parts(answers(wire.written)):
            if wire.is_aborted:
                break
            connection.data_received(part)
        if eof:
            connection.connection_lost(None)
        assert connection.is_closed == wire.is_aborted
        if connection.is_closed:
            assert not stack
            assert all(waiter.done() for _, waiter in asked)
        else:
            allowed = connection._peer.max_streams
            has_room = len(connection._streams) < allowed and not connection._is_leaving
            assert stack == [connection] * has_room
        return results(asked)

    return asyncio.run(run())


def answers(written: bytes) -> bytes:
    """What a server says to the requests: every kind of frame that a client may meet."""
    h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    h2.initiate_connection()
    h2.receive_data(written)
    one, two, three, four = 1, 3, 5, 7
    h2.send_headers(two, [(":status", "103"), ("link", "</x>")])
    h2.send_headers(one, [(":status", "200"), ("content-length", "1003"), ("x-a", "b" * 100)])
    h2.send_data(one, b"x" * 1000)
    h2.ping(b"12345678")
    h2.send_headers(two, [(":status", "201"), ("x-a", "b" * 100), ("set-cookie", "a=1")])
    h2.send_data(one, b"yyy", end_stream=True, pad_length=10)
    h2.send_headers(three, [(":status", "200"), ("content-length", "77")], end_stream=True)
    h2.send_data(two, b"")
    h2.reset_stream(four, 2)
    h2.send_data(two, b"created")
    h2.send_headers(two, [("x-sum", "1")], end_stream=True)
    said: bytes = h2.data_to_send()
    return said


WHOLE = [
    (200, [(b"content-length", b"1003"), (b"x-a", b"b" * 100)], b"x" * 1000 + b"yyy"),
    (201, [(b"x-a", b"b" * 100), (b"set-cookie", b"a=1")], b"created"),
    (200, [(b"content-length", b"77")], b""),
    ("h2 internal_error",),
]


def test_all_at_once() -> None:
    assert [one[:3] for one in fed(lambda said: [said])] == WHOLE


def test_byte_by_byte() -> None:
    assert fed(lambda said: [said[n : n + 1] for n in range(len(said))]) == fed(lambda said: [said])


@settings(deadline=None, max_examples=examples(60))
@given(st.lists(st.integers(0, 1400), max_size=12))
def test_cuts_anywhere_change_nothing(cuts: list[int]) -> None:
    def cut(said: bytes) -> list[bytes]:
        places = sorted({0, *(c for c in cuts if c < len(said)), len(said)})
        return [said[a:b] for a, b in pairwise(places)]

    assert [one[:3] for one in fed(cut)] == WHOLE


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_broken_bytes_end_in_outcomes_and_leave_nobody_waiting_at_the_end(data: st.DataObject) -> None:
    def broken(said: bytes) -> list[bytes]:
        changed = bytearray(said)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(changed) - 1))
            match data.draw(st.sampled_from(["flip", "drop", "insert", "twice"])):
                case "flip":
                    changed[at] ^= data.draw(st.integers(1, 255))
                case "drop":
                    del changed[at : at + data.draw(st.integers(1, 40))]
                case "insert":
                    changed[at:at] = data.draw(st.binary(min_size=1, max_size=40))
                case "twice":
                    changed[at:at] = changed[at : at + 60]
            if not changed:
                return []
        at = data.draw(st.integers(0, len(changed)))
        return [bytes(changed[:at]), bytes(changed[at:])]

    for outcome, *_ in fed(broken, eof=True):
        assert isinstance(outcome, int) or outcome in ("protocol", "reset", "body too large") or outcome[:3] == "h2 "


_FRAME = st.builds(
    lambda kind, flags, stream, payload: (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    ),
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 3, 5, 7, 9, 2, 2**31 - 1]),
    st.binary(max_size=40),
)


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_FRAME, max_size=8))
@example([b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00"])  # no streams at all
@example([b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x02", b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"])
@example([b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\0" * 8])
def test_any_frames_end_in_outcomes(frames: list[bytes]) -> None:
    settings_frame = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    for outcome, *_ in fed(lambda _: [settings_frame, *frames], eof=True):
        assert isinstance(outcome, int) or outcome in ("protocol", "reset", "body too large") or outcome[:3] == "h2 "


# -- many frames at once ----------------------------------------------------------------------------


class ReadingWire(Wire):
    """One whose reading can be stopped."""

    is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


async def one_request(body: bytes) -> tuple[Http2Connection, ReadingWire, Kept, asyncio.Future[None]]:
    """A connection on which a request is under way, whose answer has begun with `body` in frames."""
    connection = Http2Connection(
        asyncio.get_running_loop(), TimeoutWheel(lambda _, __: None), [], lambda _: None, "shop.test:80", "http"
    )
    wire = ReadingWire()
    connection.connection_made(wire)
    exchange = Kept()
    waiter = connection.send(REQUESTS[0], exchange, False, NEVER_NS)
    assert isinstance(waiter, asyncio.Future)
    connection.data_received(b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x01\x01\x04\0\0\0\x01\x88" + body)
    return connection, wire, exchange, waiter


TINY = b"\0\0\x01\0\0\0\0\0\x01x"
LAST = b"\0\0\0\0\x01\0\0\0\x01"


async def _small_frames_are_read_in_turns() -> None:
    number = 50 * FRAMES_A_TURN
    connection, _, exchange, waiter = await one_request(TINY * number)
    most, turns = exchange.size_bytes, 0
    while exchange.size_bytes < number * len(TINY):
        before = exchange.size_bytes
        await asyncio.sleep(0)
        most, turns = max(most, exchange.size_bytes - before), turns + 1
    assert most <= FRAMES_A_TURN * len(TINY)
    assert 49 <= turns <= 51
    connection.data_received(LAST)
    await waiter
    assert exchange.body == b"x" * number
    assert 0 < exchange.sent_ns <= exchange.first_byte_ns <= exchange.done_ns


def test_small_frames_are_read_in_turns_so_that_the_loop_is_never_busy_with_one_connection() -> None:
    asyncio.run(_small_frames_are_read_in_turns())


async def _reading_stops_ahead_of_what_was_processed() -> None:
    connection, wire, exchange, waiter = await one_request(TINY * 10_000)
    for _ in range(3):
        connection.data_received(TINY * 10_000)
    assert wire.is_paused
    connection.data_received(LAST)
    await waiter
    assert exchange.body == b"x" * 40_000
    assert not wire.is_paused


def test_reading_stops_when_too_much_waits_and_goes_on_afterwards() -> None:
    asyncio.run(_reading_stops_ahead_of_what_was_processed())


async def _the_end_waits_for_the_frames_before_it(error: Exception | None) -> None:
    connection, wire, exchange, waiter = await one_request(TINY * 5_000 + LAST)
    connection.eof_received()
    connection.connection_lost(error)
    assert not waiter.done()
    late = Kept()
    refused = connection.send(REQUESTS[3], late, False, NEVER_NS)
    with pytest.raises(RequestFailed, match="accepts no more requests"):
        await refused
    written = len(wire.written)
    await waiter
    assert exchange.body == b"x" * 5_000
    await asyncio.sleep(0)
    assert connection.is_closed
    assert len(wire.written) == written


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")])
def test_an_answer_that_came_before_the_connection_was_lost_counts(error: Exception | None) -> None:
    asyncio.run(_the_end_waits_for_the_frames_before_it(error))


async def _small_pieces_take_little_memory() -> None:
    two_bytes = b"\0\0\x02\0\0\0\0\0\x01xy"
    connection, _, exchange, waiter = await one_request(b"")
    (stream,) = connection._streams.values()
    for _ in range(100):
        connection.data_received(two_bytes * FRAMES_A_TURN)
    assert len(stream.chunks) < 100 + MANY_PIECES
    connection.data_received(LAST)
    await waiter
    assert exchange.body == b"xy" * 100 * FRAMES_A_TURN


def test_a_body_of_small_pieces_is_kept_in_few_objects() -> None:
    asyncio.run(_small_pieces_take_little_memory())


def test_only_small_heads_are_remembered() -> None:
    """A block of 4 KB may stand for 4,000 headers, and 2,048 blocks are kept."""
    http2_heads._meanings.clear()
    ours = Decoder(256 * 1024)
    ours.decode(b"\x88" + b"\x90" * 4000)
    assert not http2_heads._meanings
    ours.decode(b"\x88" + b"\x90" * 100)
    assert len(http2_heads._meanings) == 1


def test_a_target_that_allows_a_huge_table_does_not_get_one() -> None:
    encoder, decoder = Encoder(b"https"), hpack.Decoder()
    decoder.max_allowed_table_size = 2**32 - 1
    encoder.resize_table(2**32 - 1)
    for n in range(300):
        head = b"GET / HTTP/1.1\r\nHost: a.test\r\nCookie: n=%d\r\n\r\n" % n
        block = encoder.block_of(head)
        assert (b"cookie", b"n=%d" % n) in [tuple(pair) for pair in decoder.decode(block, raw=True)]
    assert len(encoder.header_table.dynamic_entries) < 100


def test_a_table_that_was_made_smaller_and_larger_again_is_signalled_with_both_sizes() -> None:
    encoder = Encoder(b"https")
    for size in [0, *range(4096)] * 3:
        encoder.resize_table(size)
    assert encoder.table_size_changes == [0, 4095]


def test_unknown_settings_are_forgotten() -> None:
    async def run() -> None:
        connection, *_ = await one_request(b"")
        for first in range(0, 600, 30):
            payload = b"".join((1000 + first + n).to_bytes(2, "big") + b"\0\0\0\1" for n in range(30))
            connection.data_received(len(payload).to_bytes(3, "big") + b"\x04\0\0\0\0\0" + payload)
        assert not connection.is_closed
        assert not hasattr(connection._peer, "__dict__")  # there is nowhere to store them

    asyncio.run(run())


# -- what is remembered -----------------------------------------------------------------------------

_HEADS = [
    b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    b"GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nCookie: a=1; b=2\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\nAuthorization: Bearer abc\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: b.test\r\ntraceparent: 00-1-2-01\r\nX-Big: " + b"v" * 3000 + b"\r\n\r\n",
    b"PUT /put HTTP/1.1\r\nHost: b.test\r\nX-Other: " + b"w" * 3000 + b"\r\n\r\n",
    b"GET /index.html HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /a%20b HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
]


@settings(deadline=None, max_examples=examples(60))
@example([0, 3, -8193, -8193, 4, 0])
@example([0, 0, 5, 6, 6, 5, 1, 5, -101, 5, 5, 0])
@given(st.lists(st.one_of(st.integers(0, 6), st.sampled_from([0, 100, 4096, 8192]).map(lambda n: -n - 1)), max_size=30))
def test_a_remembered_request_means_what_it_meant(turns: list[int]) -> None:
    encoder, decoder = Encoder(b"https"), hpack.Decoder()
    decoder.max_allowed_table_size = 8192
    for turn in turns:
        if turn < 0:
            encoder.resize_table(-turn - 1)
            continue
        head = _HEADS[turn]
        fields = [tuple(pair) for pair in decoder.decode(encoder.block_of(head), raw=True)]
        assert fields == list(fields_of(head, b"https"))


def test_the_second_time_a_request_takes_a_few_bytes_and_paths_stay_out_of_the_table() -> None:
    encoder = Encoder(b"https")
    sizes = [len(encoder.block_of(_HEADS[1])) for _ in range(3)]
    assert sizes[1] == sizes[2] < sizes[0] - 10
    assert b":path" not in [name for name, _ in encoder.header_table.dynamic_entries]


_FIELD = st.sampled_from(
    [
        (":status", "200"),
        (":status", "404"),
        ("server", "nginx"),
        ("date", "Wed, 25 Nov 2026 00:00:00 GMT"),
        ("date", "Wed, 25 Nov 2026 00:00:01 GMT"),
        ("content-type", "text/html"),
        ("x-big", "b" * 2000),
        ("x-big", "c" * 2000),
        ("set-cookie", "a=1"),
    ]
)
_RESPONSE = st.lists(_FIELD, min_size=1, max_size=5)


def _seen(fields: Any) -> tuple[Any, ...]:
    return _meaning(Received(fields))


def _meaning(received: Received) -> tuple[Any, ...]:
    head = received.head
    return received.wrong, received.raw, None if head is None else (head.status, head.raw)


@settings(deadline=None, max_examples=examples(100))
@given(st.lists(st.tuples(_RESPONSE, st.booleans(), st.booleans()), max_size=25))
def test_a_remembered_answer_means_what_it_meant(turns: list[tuple[list[tuple[str, str]], bool, bool]]) -> None:
    """The server's table, hpack's own and ours stay the same, whether it refers to its table or, as nginx, never."""
    http2_heads._meanings.clear()
    encoder, plain, ours = hpack.Encoder(), hpack.Decoder(), Decoder(256 * 1024)
    for fields, is_like_nginx, is_again in turns:
        block = b"".join(map(_literal, fields)) if is_like_nginx else encoder.encode(fields)
        for _ in range(1 + (is_again and is_like_nginx)):
            if is_like_nginx:  # it adds to the table past the encoder
                for name, value in fields:
                    encoder.header_table.add(name.encode(), value.encode())
            expected = _seen(plain.decode(block, raw=True))
            assert _meaning(ours.decode(block)) == expected


def _literal(field: tuple[str, str]) -> bytes:
    """Name and value as they are, to be added to the table."""
    name, value = (text.encode() for text in field)
    return b"\x40" + _sized(name) + _sized(value)


def _sized(text: bytes) -> bytes:
    size = hpack.hpack.encode_integer(len(text), 7)
    return bytes(size) + text


_TEXTS = (b"a", b"x-long-name", b"b" * 900, b"c" * 3900, b"nginx", b"Wed, 25 Nov 2026 00:00:01 GMT", b"")
_CODED = st.one_of(
    st.tuples(st.just("indexed"), st.sampled_from([8, 33, 61, 62, 63, 65, 70])),
    st.tuples(
        st.sampled_from(["added", "added", "not added", "never"]),
        st.sampled_from([0, 0, 0, 1, 33, 54, 62, 63, 66]),
        st.sampled_from(_TEXTS),
        st.sampled_from(_TEXTS),
        st.booleans(),
    ),
)
_BLOCK = st.tuples(st.lists(st.sampled_from([0, 50, 1000, 4096]), max_size=2), st.lists(_CODED, max_size=5))
_FIRST_BITS = {"added": (6, 0x40), "not added": (4, 0x00), "never": (4, 0x10)}


def _number(number: int, bits: int, first: int) -> bytes:
    coded = bytearray(hpack.hpack.encode_integer(number, bits))
    coded[0] |= first
    return bytes(coded)


def _block_of(sizes: list[int], fields: list[tuple[Any, ...]], entries: int) -> bytes:
    """A header block for a table that has this many entries when it begins. Some of its indexes may be invalid."""
    parts = [_number(size, 5, 0x20) for size in sizes]
    for kind, index, *texts in fields:
        known = min(index, 61 + entries)
        if kind == "indexed":
            parts.append(_number(known, 7, 0x80))
            continue
        name, value, is_huffman = texts
        coded = hpack.Encoder().huffman_coder.encode(value)
        text = _number(len(coded), 7, 0x80) + coded if is_huffman else _sized(value)
        parts.append(_number(known, *_FIRST_BITS[kind]) + (b"" if known else _sized(name)) + text)
    return b"".join(parts)


@settings(deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 1), st.one_of(_BLOCK, st.integers(0, 9))), min_size=6, max_size=30))
def test_cached_blocks_and_their_insertions_mean_what_hpack_decodes(turns: list[tuple[int, Any]]) -> None:
    """Two connections share the cache. Blocks come again at any time, also on the other one. hpack decodes them all."""
    http2_heads._meanings.clear()
    ours = [Decoder(64 * 1024), Decoder(64 * 1024)]
    plain = [hpack.Decoder(64 * 1024), hpack.Decoder(64 * 1024)]
    said: list[bytes] = []
    is_broken = [False, False]
    for at, what in turns:
        if is_broken[at]:
            continue
        if isinstance(what, int):
            block = said[what % len(said)] if said else b"\x88"
        else:
            sizes, fields = what
            block = _block_of(sizes, fields, len(plain[at].header_table.dynamic_entries))
            said.append(block)
        try:
            expected = _seen(plain[at].decode(block, raw=True))
        except hpack.HPACKError:
            is_broken[at] = True
            with pytest.raises(hpack.HPACKError):
                ours[at].decode(block)
            continue
        assert _meaning(ours[at].decode(block)) == expected
    for at in range(2):
        if not is_broken[at]:
            http2_heads._meanings.clear()  # a block that is not cached brings the table up to date
            ours[at].decode(b"\x00\x01x\x01y")
            assert ours[at].header_table.dynamic_entries == plain[at].header_table.dynamic_entries
            assert ours[at].header_table.maxsize == plain[at].header_table.maxsize


def test_a_block_with_references_is_not_taken_from_the_cache_after_a_cached_block_has_moved_the_table() -> None:
    http2_heads._meanings.clear()
    ours = Decoder(64 * 1024)
    add_a, add_b, newest = b"\x88\x40\x01n\x01a", b"\x88\x40\x01n\x01b", b"\x88\xbe"
    for block, value in ((add_a, b"a"), (add_b, b"b"), (newest, b"b"), (add_a, b"a"), (newest, b"a"), (newest, b"a")):
        assert ours.decode(block).raw == [(b"n", value)]


@pytest.mark.parametrize("size", [4096, 200, 40, 0])
def test_entries_that_no_longer_fit_the_table_are_left_out_and_the_table_is_that_of_hpack(size: int) -> None:
    http2_heads._meanings.clear()
    first, ours, plain = Decoder(64 * 1024), Decoder(64 * 1024), hpack.Decoder(64 * 1024)
    blocks = [b"\x88" + b"\x40" + _sized(b"x-%d" % n) + _sized(b"v" * (n % 50)) for n in range(200)]
    for block in blocks:
        first.decode(block)
    change = _number(size, 5, 0x20)
    for decoder in (ours, plain):
        decoder.decode(change + b"\x88")
    for block in blocks:
        ours.decode(block)
        plain.decode(block, raw=True)
    last = b"\x88\x00\x01x\x01y"
    assert ours.decode(last).raw == [(b"x", b"y")]
    plain.decode(last)
    assert ours.header_table.dynamic_entries == plain.header_table.dynamic_entries


def _key(block: bytes, length: int, kind: int = 0, flags: int = 1) -> bytes:
    return block + length.to_bytes(3, "big") + bytes((kind, flags))


def test_a_whole_answer_is_kept_only_if_it_always_means_the_same() -> None:
    http2_heads._meanings.clear()
    known_wholes.clear()
    ours = Decoder(64 * 1024)
    five, any_length, early = b"\x88\x5c\x015\x40\x01n\x01a", b"\x88\x40\x01n\x01b", b"\x08\x03103"
    for block in (five, any_length, early, b"\x88\x00\x01A\x01b", b"\x00\x01a\x01b"):
        assert ours.learn_whole(_key(block, 5)) is None  # it was never decoded
        ours.decode(block)
    _, head, adds, length, _ = ours.learn_whole(_key(five, 5)) or pytest.fail("not known")
    assert (head.status, adds, length) == (200, ((b"content-length", b"5"), (b"n", b"a")), 5)
    assert ours.learn_whole(_key(any_length, 7)) is not None
    assert list(known_wholes) == [_key(five, 5)]
    for wrong in (
        _key(five, 6),
        _key(five, 5, kind=1),
        _key(five, 5, flags=0),
        _key(five, 5, flags=9),
        _key(any_length, 0),
        _key(any_length, 2**16 + 1),
        _key(early, 5),
        _key(b"\x88\x00\x01A\x01b", 5),
        _key(b"\x00\x01a\x01b", 5),
    ):
        assert ours.learn_whole(wrong) is None
    assert list(known_wholes) == [_key(five, 5)]


def test_a_whole_answer_that_refers_to_the_table_is_known_until_the_table_moves() -> None:
    http2_heads._meanings.clear()
    known_wholes.clear()
    ours = Decoder(64 * 1024)
    add_a, add_b, newest = b"\x88\x40\x01n\x01a", b"\x88\x40\x01n\x01b", b"\x88\xbe"
    for block in (add_b, add_a, newest):
        ours.decode(block)
    whole = ours.learn_whole(_key(newest, 5))
    assert whole is not None
    assert whole[1].raw == [(b"n", b"a")]
    ours.decode(add_b)  # from the cache, so its entry is owed
    assert ours.learn_whole(_key(newest, 5)) is None
    assert ours.decode(newest).raw == [(b"n", b"b")]
    assert not known_wholes


async def _last_answer_is_not_kept() -> None:
    connection, _, _, waiter = await one_request(LAST)
    await waiter
    exchange = Kept()
    waiter = connection.ask(REQUESTS[0], exchange, NEVER_NS)
    connection.data_received(b"\0\0\x01\x01\x04\0\0\0\x03\x88" + b"\0\0\x01\0\x01\0\0\0\x03x")
    await waiter
    assert exchange.body == b"x"
    assert connection._spare is not None
    last = ref(exchange)
    del exchange
    assert last() is None


def test_an_idle_connection_keeps_nothing_of_its_last_answer() -> None:
    asyncio.run(_last_answer_is_not_kept())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_heads, "MAX_KEPT", 10)
    http2_heads._meanings.clear()
    known_wholes.clear()
    ours = Decoder(256 * 1024)
    for n in range(50):
        ours.decode(b"\x88" + b"\x00" + _sized(b"x-n") + _sized(str(n).encode()))
        fields_of(f"GET / HTTP/1.1\r\nHost: n.test\r\nX-N: {n}\r\n\r\n".encode(), b"http")
    for n in range(1, 50):
        block = b"\x88\x0f\x0d" + _sized(str(n).encode())
        ours.decode(block)
        assert ours.learn_whole(_key(block, n)) is not None
    assert len(known_wholes) <= 10
    assert len(http2_heads._meanings) <= 10
    assert len(http2_heads._lines) <= 10
    encoder = Encoder(b"http")
    for n in range(1000):
        encoder.block_of(f"GET /{n} HTTP/1.1\r\nHost: n.test\r\nTraceparent: {n}\r\n\r\n".encode())
    assert len(encoder.known) <= 64
    assert len(encoder._around) <= 64
