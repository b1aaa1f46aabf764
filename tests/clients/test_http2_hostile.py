"""HTTP/2 targets that break rules or play tricks: each request ends with an outcome, and only those that must."""

from __future__ import annotations

import asyncio
import random
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
import trustme

from loadgen.clients.framing.http2_frames import MAX_FRAME_BYTES, FrameReader, goaway_of, number_of
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.protocol import http2, http2_heads, many_streams
from loadgen.clients.protocol.connection_interface import Connection, Unprocessed
from loadgen.clients.protocol.http1 import MANY_BYTES
from loadgen.clients.protocol.http2 import STREAM_WINDOW_BYTES, Http2Connection
from loadgen.clients.protocol.response_heads import NO_ANSWER, Answer, Head
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel
from loadgen.errors import RequestFailed
from tests.support.floods import frame
from tests.support.peak import peak_kib, start_of_peak_kib
from tests.support.scripted import client_of

pytestmark = pytest.mark.usefixtures("small_heap")

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
GREETING = frame(SETTINGS)
OK = b"\x88"
GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
JSON_POST = b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\n{}"
SMALL_POST = b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 6\r\n\r\nab\r\n\r\n"


class Kept:
    """An exchange that is also a sink: it pauses after each piece."""

    def __init__(self) -> None:
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = 0
        self.head: Head
        self.body = b""
        self.raw_trailers: list[tuple[bytes, bytes]] = []
        self.answer: Answer = NO_ANSWER
        self.source: Any = None
        self.failure: RequestFailed | None = None
        self.has_ended = False

    @property
    def route(self) -> Kept:
        return self

    def took_head(self, head: Head) -> None:
        self.head = head

    def took(self, data: bytes, now_ns: int) -> bool:
        self.body += data
        return True

    def ended(self) -> None:
        self.has_ended = True

    def broke(self, failure: RequestFailed) -> None:
        self.failure = failure

    def cut(self) -> None:
        pass


class Wire(asyncio.Transport):
    """Keeps the frames that were written after the preface."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = FrameReader()
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.is_aborted = False
        self.is_new = True

    def write(self, data: Any) -> None:
        self.reader.feed(bytes(data)[24 * self.is_new :])
        self.is_new = False
        self.frames += self.reader.take(10_000)

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def of(self, kind: int) -> list[tuple[int, bytes]]:
        """Stream and payload of each written frame of this kind."""
        return [(stream, payload) for found, _, stream, payload in self.frames if found == kind]


class Fed:
    """A connection in memory, to which a test passes the bytes of its server."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.wire = Wire()
        self.connection = Http2Connection(
            asyncio.get_running_loop(), TimeoutWheel(lambda _, __: None), self.stack, self._lost, "shop.test:80", "http"
        )
        self.connection.connection_made(self.wire)
        self.asked: list[tuple[Kept, asyncio.Future[None]]] = []
        self.asks = False
        """Small requests are sent by `ask`, as the client does, and not by `send`."""
        self.say(GREETING)

    def _lost(self, connection: Connection) -> None:
        if connection in self.stack:
            self.stack.remove(connection)

    def ask(self, data: bytes = GET, head_only: bool = False) -> int:
        """Return the number of the request's stream."""
        exchange = Kept()
        if self.stack:
            self.stack.pop()
        if self.asks and not head_only and len(data) <= MANY_BYTES:
            waiter: Any = self.connection.ask(data, exchange, NEVER_NS)
        else:
            waiter = self.connection.send(data, exchange, head_only, NEVER_NS)
        assert isinstance(waiter, asyncio.Future)
        self.asked.append((exchange, waiter))
        return 2 * len(self.asked) - 1

    def stream(self) -> int:
        sink = Kept()
        if self.stack:
            self.stack.pop()
        waiter = self.connection.ask_stream(GET, sink, False, NEVER_NS)
        assert isinstance(waiter, asyncio.Future)
        self.asked.append((sink, waiter))
        return 2 * len(self.asked) - 1

    def say(self, *frames: bytes) -> None:
        for said in frames:
            if not self.wire.is_aborted:
                self.connection.data_received(said)

    def ends(self) -> list[str]:
        """How each request ended; "" if it waits."""
        return [outcome(exchange, waiter) for exchange, waiter in self.asked]


def outcome(exchange: Kept, waiter: asyncio.Future[None]) -> str:
    if exchange.failure is not None:
        return exchange.failure.outcome
    if not waiter.done():
        return ""
    if waiter.cancelled():
        return "cut"
    failure = waiter.exception()
    if failure is None:
        return "ok"
    assert isinstance(failure, RequestFailed)
    return failure.outcome


def head(stream: int, block: bytes = OK, flags: int = 4) -> bytes:
    return frame(HEADERS, flags, stream, block)


def answer(stream: int, body: bytes = b"hi") -> bytes:
    return head(stream) + frame(DATA, 1, stream, body)


def _setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


def window(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


# -- one rule broken on a connection with two requests under way ---------------------------------------

_FIRST_ONLY = {
    "DATA before its headers": frame(DATA, 0, 1, b"x"),
    "a WINDOW_UPDATE of 0 for a stream": window(1, 0),
    "a stream's window beyond 2^31": window(1, 2**31 - 1),
    "trailers that do not end it": head(1) + head(1, b"\x00\x01a\x01b"),
    "a second head": head(1) + head(1),
    "a status in trailers": head(1) + head(1, OK, 5),
    "an interim answer that ends it": head(1, b"\x08\x03103", 5),
    "no status": head(1, b"\x00\x01a\x01b", 5),
    "an empty head": head(1, b"", 5),
}
_BOTH = {
    "the connection's window beyond 2^31": window(0, 2**31 - 1),
    "a WINDOW_UPDATE of 0": window(0, 0),
    "a window of 2^31 in SETTINGS": _setting(4, 2**31),
    "SETTINGS that open a window beyond 2^31": window(1, 2**30) + _setting(4, 2**31 - 1),
    "frames of 100 bytes in SETTINGS": _setting(5, 100),
    "an acknowledgement with settings": frame(SETTINGS, 1, 0, bytes(6)),
    "a PING of 7 bytes": frame(PING, 0, 0, bytes(7)),
    "a PING on a stream": frame(PING, 0, 1, bytes(8)),
    "a RST_STREAM of 3 bytes": frame(RST_STREAM, 0, 1, bytes(3)),
    "a RST_STREAM for a stream that was never open": frame(RST_STREAM, 0, 99, bytes(4)),
    "a head for a stream that was never open": head(99),
    "a head for an even stream": head(2),
    "DATA for the connection": frame(DATA, 0, 0, b"x"),
    "a push": frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82\x84\x86"),
    "a CONTINUATION without a head": frame(CONTINUATION, 4, 1, OK),
    "DATA in the middle of a head": head(1, OK, 0) + frame(DATA, 0, 1, b"x"),
    "an unknown frame in the middle of a head": head(1, OK, 0) + frame(0xFA, 0, 0, b""),
    "a CONTINUATION of another stream": head(1, OK, 0) + frame(CONTINUATION, 4, 3, b""),
    "padding longer than the frame": frame(DATA, 8, 1, b"\5ab"),
    "an index beyond the table": head(1, b"\xff\x00"),
    "a table larger than ours": head(1, b"\x3f\xe2\x1f" + OK),
    "a GOAWAY of 7 bytes": frame(GOAWAY, 0, 0, bytes(7)),
}


@pytest.mark.parametrize("name", [*_FIRST_ONLY, *_BOTH])
async def test_a_broken_rule_is_protocol_for_its_request_or_for_the_connection(name: str) -> None:
    fed = Fed()
    fed.ask()
    fed.ask()
    fed.say((_FIRST_ONLY | _BOTH)[name])
    assert fed.ends() == ["protocol", "" if name in _FIRST_ONLY else "protocol"]
    if name in _FIRST_ONLY:
        fed.say(answer(3))
        assert fed.ends() == ["protocol", "ok"]
        assert not fed.wire.is_aborted
    else:
        assert fed.wire.is_aborted
        ((_, payload),) = fed.wire.of(GOAWAY)
        assert goaway_of(payload)[1] in (1, 3, 6, 9)


async def test_a_stream_that_the_target_ended_is_not_reset() -> None:
    fed = Fed()
    fed.ask()
    fed.say(head(1, b"\x88\x0f\x0d\x019", 4), frame(DATA, 1, 1, b"short"))
    assert fed.ends() == ["protocol"]
    assert fed.wire.of(RST_STREAM) == []


@pytest.mark.parametrize("reset", [frame(RST_STREAM, 0, 3, bytes(5)), frame(RST_STREAM, 0, 0, bytes(4))])
async def test_a_reset_in_the_same_read_as_its_answer_keeps_to_the_rules(reset: bytes) -> None:
    fed = Fed()
    fed.say(answer(fed.ask()) + frame(RST_STREAM, 0, 1, bytes(4)))
    fed.say(answer(fed.ask()) + reset)
    assert fed.ends() == ["ok", "ok"]
    assert fed.wire.is_aborted


# -- windows ---------------------------------------------------------------------------------------------


async def test_a_window_of_0_stops_a_body_and_its_rise_continues_it() -> None:
    fed = Fed()
    fed.say(_setting(4, 0), window(0, 10**6))
    fed.ask(POST)
    assert fed.wire.of(DATA) == []
    fed.say(window(1, 10))
    fed.say(_setting(4, 20))
    assert [len(piece) for _, piece in fed.wire.of(DATA)] == [10, 20]
    fed.say(_setting(4, 5))  # the stream's window is negative now: -15
    fed.say(window(1, 15))
    assert len(fed.wire.of(DATA)) == 2
    fed.say(window(1, 10**6))
    assert sum(len(piece) for _, piece in fed.wire.of(DATA)) == 100_000
    fed.say(answer(1))
    assert fed.ends() == ["ok"]


async def test_a_body_stops_at_the_window_of_the_connection() -> None:
    fed = Fed()
    fed.say(_setting(4, 2**31 - 1))
    fed.ask(POST)
    fed.ask(POST)
    assert sum(len(piece) for _, piece in fed.wire.of(DATA)) == 65_535
    fed.say(window(0, 200_000))
    assert sum(len(piece) for _, piece in fed.wire.of(DATA)) == 200_000


async def test_frames_of_a_body_are_as_large_as_the_target_allows() -> None:
    fed = Fed()
    fed.say(_setting(4, 10**6), window(0, 10**6))
    fed.ask(POST)
    assert max(len(piece) for _, piece in fed.wire.of(DATA)) == 16_384
    fed.say(_setting(5, 50_000))
    fed.ask(POST)
    assert [len(piece) for _, piece in fed.wire.of(DATA)][-2:] == [50_000] * 2


async def test_data_beyond_the_window_of_a_stream_ends_the_connection() -> None:
    fed = Fed()
    fed.stream()
    fed.ask()
    fed.say(head(1))
    for _ in range(STREAM_WINDOW_BYTES // MAX_FRAME_BYTES):
        fed.say(frame(DATA, 0, 1, bytes(MAX_FRAME_BYTES)))
    assert fed.ends() == ["ok", ""]  # its head is there, and its window is used up: nobody reads
    fed.say(frame(DATA, 0, 1, b"x"))
    assert fed.ends() == ["protocol", "protocol"]


async def test_a_head_of_several_frames_keeps_to_the_size_of_frames() -> None:
    fed = Fed()
    fed.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Big: " + b"~" * 40_000 + b"\r\n\r\n")
    assert [len(part) for _, part in fed.wire.of(HEADERS) + fed.wire.of(CONTINUATION)][:2] == [16_384] * 2
    fed.say(answer(1))
    assert fed.ends() == ["ok"]


# -- what comes late, and what never comes -----------------------------------------------------------------


async def test_an_answer_to_a_stream_that_was_reset_keeps_the_table_of_headers_in_step() -> None:
    """It adds an entry in parts, with padding; the next answer refers to it."""
    fed = Fed()
    fed.ask()
    fed.ask()
    fed.connection.cancel(fed.asked[0][0])
    fed.say(head(1, b"\x02" + OK + b"\x40\x03x-a" + b"\0\0", 8))
    fed.say(frame(CONTINUATION, 0, 1, b"\x03ab"), frame(CONTINUATION, 4, 1, b"c"))
    fed.say(frame(DATA, 0, 1, b"late"), window(1, 5), frame(RST_STREAM, 0, 1, bytes(4)), head(1, b"\x00\x01a\x01b", 5))
    fed.say(head(3, OK + b"\xbe", 5))
    assert fed.ends() == ["cut", "ok"]
    assert fed.asked[1][0].head.raw == [(b"x-a", b"abc")]
    assert [(stream, number_of(code)) for stream, code in fed.wire.of(RST_STREAM)] == [(1, 8)]


async def test_a_goaway_below_a_stream_in_flight_lets_the_client_send_it_again() -> None:
    fed = Fed()
    for _ in range(3):
        fed.ask()
    fed.say(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
    assert fed.ends() == ["", "h2 goaway", "h2 goaway"]
    assert isinstance(fed.asked[1][1].exception(), Unprocessed)
    fed.say(answer(1), answer(3), answer(5))
    assert fed.ends() == ["ok", "h2 goaway", "h2 goaway"]
    assert fed.wire.is_aborted


async def test_settings_that_are_never_acknowledged_do_no_harm() -> None:
    fed = Fed()
    for turn in range(50):
        fed.say(answer(fed.ask()))
        assert fed.ends() == ["ok"] * (turn + 1)


async def test_a_table_size_that_changes_in_every_answer_is_followed() -> None:
    fed = Fed()
    for turn in range(200):
        size = (b"\x20", b"\x3f\xe1\x1f", b"\x3f\x45")[turn % 3]  # 0, 4096 and 100 bytes
        entry = b"\x40\x03x-n\x03%03d" % turn
        stream = fed.ask()
        fed.say(head(stream, size + OK + entry, 5))
        assert fed.asked[-1][0].head.raw == [(b"x-n", b"%03d" % turn)]
    assert fed.ends() == ["ok"] * 200


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_header_list_of_1_mb_is_too_large(is_late: bool) -> None:
    fed = Fed()
    fed.ask()
    fed.ask()
    if is_late:
        fed.connection.cancel(fed.asked[0][0])
    field = b"\x00\x01a\x7f\x80\x01" + b"x" * 255
    part = field * 60
    fed.say(head(1, OK, 0))
    for _ in range(64):
        fed.say(frame(CONTINUATION, 0, 1, part))
    assert fed.ends() == ["cut" if is_late else "head too large", "head too large"]


async def test_trailers_are_kept_with_the_exchange() -> None:
    fed = Fed()
    trailers = b"\x00\x0bgrpc-status\x010\x00\x01a\x00"
    fed.say(head(fed.ask()) + frame(DATA, 0, 1, b"body"), head(1, trailers, 5))
    fed.say(head(fed.stream()) + frame(DATA, 0, 3, b"body"), head(3, trailers, 5))
    fed.say(answer(fed.ask()))
    assert fed.ends() == ["ok"] * 3
    assert [one.raw_trailers for one, _ in fed.asked] == [[(b"grpc-status", b"0"), (b"a", b"")]] * 2 + [[]]
    assert [one.body for one, _ in fed.asked] == [b"body", b"body", b"hi"]


async def test_a_server_that_agrees_on_h2_and_speaks_http_1_is_protocol(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context)
    pool = Http2Pool(TcpNetwork(), tls_context(tmp_path / "ca.pem", Http(http2=True)))
    url = f"https://localhost:{listener.sockets[0].getsockname()[1]}"
    async with listener, client_of(url, pool=pool) as client:
        with pytest.raises(RequestFailed, match="does not speak HTTP/2: it answers in HTTP/1") as failure:
            await client.get("/", timeout=60)
        assert failure.value.outcome == "protocol"


# -- any frames ------------------------------------------------------------------------------------------------

_BLOCKS = (
    OK,
    OK + b"\x40\x03x-a\x01b",
    OK + b"\xbe",
    b"\x08\x03103",
    b"\x00\x01a\x01b",
    b"\x20" + OK,
    b"\x89\x0f\x0d\x015",
    b"\xff\xff",
    b"",
)
_KNOWN = {"", "ok", "cut", "protocol", "reset", "head too large", "body too large"}


def _any_frame(rng: random.Random, open_streams: int) -> bytes:
    """Mostly a frame that a server may send to this client now, sometimes anything."""
    stream = rng.choice([0, 2, 99, *range(1, 2 * open_streams + 2, 2)]) if rng.random() < 0.2 else None
    at = 2 * rng.randrange(open_streams) + 1 if stream is None else stream
    choices: list[Callable[[], bytes]] = [
        lambda: head(at, rng.choice(_BLOCKS), rng.choice((4, 4, 4, 5, 5, 0, 12, 0x24))),
        lambda: frame(DATA, rng.choice((0, 0, 1, 8)), at, rng.randbytes(rng.choice((0, 1, 50, 3000)))),
        lambda: frame(CONTINUATION, rng.choice((0, 4)), at, rng.choice(_BLOCKS)),
        lambda: frame(RST_STREAM, 0, at, rng.randrange(16).to_bytes(4, "big")),
        lambda: _setting(rng.randrange(8), rng.choice((0, 1, 100, 4096, 65_535, 2**20, 2**31 - 1, 2**31))),
        lambda: frame(SETTINGS, rng.choice((0, 1)), 0),
        lambda: frame(PING, rng.choice((0, 1)), 0, bytes(8)),
        lambda: window(rng.choice((0, at)), rng.choice((0, 1, 1000, 2**20, 2**31 - 1))),
        lambda: frame(PRIORITY, 0, at, bytes(5)),
        lambda: frame(GOAWAY, 0, 0, struct.pack(">II", rng.choice((0, 1, 3, 2**31 - 1)), rng.randrange(16))),
        lambda: frame(PUSH_PROMISE, 4, at, b"\0\0\0\2\x82"),
        lambda: frame(rng.randrange(256), rng.randrange(256), at, rng.randbytes(rng.randrange(40))),
    ]
    weights = (30, 30, 6, 6, 6, 2, 4, 8, 2, 1, 1, 3)
    return rng.choices(choices, weights)[0]()


async def _any_sequence(seed: int) -> None:
    rng = random.Random(seed)
    fed = Fed()
    fed.ask()
    for _ in range(rng.randrange(1, 40)):
        if not fed.wire.is_aborted and rng.random() < 0.3 and len(fed.asked) < 8:
            fed.stream() if rng.random() < 0.3 else fed.ask(rng.choice((GET, POST)), rng.random() < 0.1)
        if rng.random() < 0.03:
            fed.connection.cancel(rng.choice(fed.asked)[0])
        said = b"".join(_any_frame(rng, len(fed.asked)) for _ in range(rng.choice((1, 1, 2, 5))))
        cut = rng.randrange(len(said))
        fed.say(said[:cut], said[cut:])
        if rng.random() < 0.1:
            await asyncio.sleep(0)
    if not fed.wire.is_aborted:
        fed.connection.connection_lost(None)
        await asyncio.sleep(0)
    for exchange, waiter in fed.asked:
        assert waiter.done(), seed
        ended = outcome(exchange, waiter)
        assert ended in _KNOWN or ended.startswith("h2 "), (seed, ended)
    assert not fed.connection._streams
    assert not fed.stack


_USUAL_BLOCKS = (
    OK + b"\x40\x03x-a\x01b",
    OK + b"\x40\x03x-a\x01b\xbe",
    OK + b"\x0f\x0d\x015",
    b"\x08\x03404",
    b"\x08\x03103",
    b"\x89",
    b"\x00\x01a\x01b",
    OK + b"\x00\x01A\x01b",
)


_EXACT = (
    (OK + b"\x5c\x015", b"hello"),
    (OK + b"\x5c\x015\x40\x03x-a\x01b", b"hello"),
    (OK + b"\x0f\x0d\x012", b"hi"),
    (b"\x8d\x0f\x0d\x011", b"a"),
)
"""Heads that name the length of their body."""


def _exact_frames(rng: random.Random, open_streams: int) -> bytes:
    """An answer with its length, mostly to the last request, and mostly the same. Sometimes a byte of it is wrong."""
    last = 2 * open_streams - 1
    at = last if rng.random() < 0.9 else max(1, last - 2)
    block, body = _EXACT[0] if rng.random() < 0.7 else rng.choice(_EXACT)
    said = head(at, block) + frame(DATA, 1, at, body)
    if rng.random() < 0.3:
        said += frame(RST_STREAM, 0, at, bytes(4)) * rng.choice((1, 1, 2))
    if rng.random() < 0.01:
        wrong = bytearray(said)
        wrong[rng.randrange(len(said))] ^= 1 << rng.randrange(8)
        said = bytes(wrong)
    return said


def _usual_frames(rng: random.Random, open_streams: int) -> bytes:
    """An answer as most are, or nearly: a head and all of its body, and sometimes a reset."""
    last = 2 * open_streams - 1
    at, other = (rng.choice((last, max(1, last - 2), rng.randrange(1, last + 1, 2))) for _ in range(2))
    data_at = at if rng.random() < 0.9 else other
    parts = [
        head(at, OK if rng.random() < 0.6 else rng.choice(_USUAL_BLOCKS), 4 if rng.random() < 0.95 else 5),
        frame(DATA, rng.choice((1, 1, 1, 1, 0, 9)), data_at, rng.choice((b"", b"a", b"\1hi\0", b"hello", b"h" * 30))),
    ]
    if rng.random() < 0.1:
        parts.insert(0, head(at, rng.choice((OK, b"\x08\x03103"))))
    if rng.random() < 0.3:
        parts.append(frame(RST_STREAM, 0, at, bytes(4)))
    if rng.random() < 0.01:
        parts.insert(rng.choice((0, len(parts))), frame(RST_STREAM, 0, rng.choice((0, at)), bytes(rng.choice((4, 5)))))
    return b"".join(parts)


async def _played(seed: int, *, is_cut: bool) -> tuple[Any, ...]:
    """What became of random requests, and what the client wrote. is_cut: requests go the way of any request, and the
    bytes come in pieces of 7, so that each frame is read for itself. Otherwise usual requests have their own way, and
    the bytes come in one or two pieces.
    """
    rng = random.Random(seed)
    http2._allowed.clear()
    http2_heads._meanings.clear()
    http2_heads.known_wholes.clear()
    fed = Fed()
    fed.asks = not is_cut
    fed.say(window(0, rng.choice((1, 2**30))))
    is_exact = rng.random() < 0.5
    usual_frames, parts = (_exact_frames, (1, 1, 1, 2)) if is_exact else (_usual_frames, (1, 1, 3))
    for _ in range(rng.randrange(1, 60)):
        if not fed.asked or (rng.random() < 0.9 and not fed.wire.is_aborted):
            fed.stream() if rng.random() < 0.1 else fed.ask(
                rng.choice((GET, GET, GET, SMALL_POST, JSON_POST if is_exact else POST)), rng.random() < 0.05
            )
        said = b"".join(
            (usual_frames if rng.random() < 0.998 else _any_frame)(rng, len(fed.asked))
            for _ in range(rng.choice(parts))
        )
        cut = rng.randrange(len(said)) if rng.random() < 0.2 else 0
        if rng.random() < 0.02:
            fed.connection.cancel(rng.choice(fed.asked)[0])
        fed.say(*(said[at : at + 7] for at in range(0, len(said), 7)) if is_cut else (said[:cut], said[cut:]))
    if not fed.wire.is_aborted:
        fed.say(head(99))  # the end
    await asyncio.sleep(0)
    connection = fed.connection
    return (
        fed.ends(),
        [
            (one.size_bytes, one.body, one.raw_trailers, getattr(one, "head", Head(0, b"", "2", [], True)).raw)
            for one, _ in fed.asked
        ],
        fed.wire.frames,
        connection.requests,
        connection._unacknowledged,
        connection._peer.window,
        connection._budget._spent - connection._budget.earned,
    )


async def test_answers_that_come_whole_mean_what_their_frames_mean_one_by_one() -> None:
    """Usual requests and answers have functions of their own, which are to do what those for each frame do."""
    ends: Counter[str] = Counter()
    for seed in range(100):
        whole = await _played(seed, is_cut=False)
        assert whole == await _played(seed, is_cut=True), seed
        ends.update(whole[0])
    assert ends["ok"] > 100 < ends["protocol"]


async def test_an_answer_that_is_the_same_as_before_has_the_same_limits() -> None:
    for length, deadline_ns, ended in ((5, NEVER_NS, "ok"), (5, 1, "timeout"), (6, NEVER_NS, "body too large")):
        http2_heads._meanings.clear()
        fed = Fed()
        for limit_bytes in (6, 6, 6, 5):  # the last answer is the fourth of its kind
            fed.connection._limit_bytes = limit_bytes
            exchange, is_last = Kept(), limit_bytes == 5
            waiter = fed.connection.ask(GET, exchange, deadline_ns if is_last else NEVER_NS)
            number = 2 * len(fed.asked) + 1
            fed.asked.append((exchange, waiter))
            fed.say(head(number, OK + b"\x5c\x01%d" % length) + frame(DATA, 1, number, b"x" * length))
        assert fed.ends() == ["ok", "ok", "ok", ended]


async def test_a_request_times_out_at_its_own_deadline_after_one_with_an_earlier_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = Fed()
    begun_ns = perf_counter_ns()
    deadlines_ns = [begun_ns + n * 10**12 for n in (1, 2)]
    waiters = [fed.connection.ask(GET, Kept(), deadlines_ns[0])]
    fed.say(answer(1))
    waiters.append(fed.connection.ask(GET, Kept(), deadlines_ns[1]))
    for now_ns, is_over in ((deadlines_ns[0] + 1, False), (deadlines_ns[1] + 1, True)):
        monkeypatch.setattr(many_streams, "perf_counter_ns", lambda now_ns=now_ns: now_ns)
        fed.connection.expire()
        assert waiters[1].done() is is_over
        assert fed.connection.deadline_ns == (0 if is_over else deadlines_ns[1])
    assert waiters[0].exception() is None
    assert str(waiters[1].exception()).startswith("timeout")


async def test_any_frames_end_in_outcomes_and_no_exception_escapes() -> None:
    for seed in range(300):
        await _any_sequence(seed)


@pytest.mark.slow
async def test_20_000_sequences_of_any_frames_end_in_outcomes_and_take_no_memory() -> None:
    for seed in range(2_000):
        await _any_sequence(seed)
    http2_heads._meanings.clear()
    before = start_of_peak_kib()
    for seed in range(2_000, 22_000):
        await _any_sequence(seed)
    assert peak_kib() - before < 16 * 1024
