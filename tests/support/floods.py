"""HTTP/2 servers that flood their client, with raw bytes over real sockets: they hold for any client.

    with flooding(FLOODS["PING"]) as server:
        ...  # server.url, to be spoken to with prior knowledge; server.sent_bytes of the flood

Each connection has a thread of its own. It answers `sound` requests properly, and floods at the next one.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

__all__ = ["FLOODS", "Flood", "FloodingServer", "flooding", "frame"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PART_BYTES: Final = 64 * 1024
"""Of the flood, about, in one write."""
_MOST_BYTES: Final = 32 * 1024 * 1024
"""Then a flood ends by itself, and the connection stays open: a client that is still there has no limit."""


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes, *, is_indexed: bool = False) -> bytes:
    """One header in HPACK; the value may have up to 126 + 127 bytes."""
    assert len(name) < 127
    size = bytes((len(value),)) if len(value) < 127 else bytes((127, *_rest(len(value) - 127)))
    return (b"\x40" if is_indexed else b"\x00") + bytes((len(name),)) + name + size + value


def _rest(number: int) -> Iterator[int]:
    while number >= 128:
        yield number % 128 + 128
        number //= 128
    yield number


OK_HEAD: Final = b"\x88"
"""A header block: `:status: 200`."""


@dataclass(frozen=True)
class Flood:
    """What a server sends at a request, on which stream.

    again: a part of the flood, made anew for each write; n counts up. first: before it. outcome: the request's.
    sound: requests that are answered properly before. settings: the payload of the server's first frame.
    """

    again: Callable[[int, int], bytes]
    first: Callable[[int], bytes] = lambda stream: b""
    outcome: str = "h2 flood"
    sound: int = 0
    settings: bytes = b""
    says: str = ""
    """Stands in the failure's text."""


def _same(kind: int, flags: int = 0, payload: bytes = b"", *, on_stream: bool = False) -> Callable[[int, int], bytes]:
    def again(stream: int, n: int) -> bytes:
        one = frame(kind, flags, stream if on_stream else 0, payload)
        return one * (_PART_BYTES // len(one) + 1)

    return again


def _before(kind: int, flags: int = 0, payload: bytes = b"") -> Callable[[int, int], bytes]:
    """On the stream of the request before."""

    def again(stream: int, n: int) -> bytes:
        one = frame(kind, flags, stream - 2, payload)
        return one * (_PART_BYTES // len(one) + 1)

    return again


def _head(stream: int) -> bytes:
    return frame(1, 4, stream, OK_HEAD)


def _new_settings(stream: int, n: int) -> bytes:
    """Each with another unknown setting and value."""
    first = n * 4000
    return b"".join(frame(4, 0, 0, struct.pack(">HI", 0x100 + at % 0xFE00, at)) for at in range(first, first + 4000))


def _table_sizes(stream: int, n: int) -> bytes:
    return b"".join(frame(4, 0, 0, struct.pack(">HI", 1, at % 4096)) for at in range(4000))


def _bomb(stream: int, n: int) -> bytes:
    """4 KB in the table, referred to 16,000 times: 64 MB of headers."""
    entry = _literal(b"x-bomb", b"b" * 3900, is_indexed=True)
    return frame(1, 4, stream, OK_HEAD + entry + b"\xbe" * 16_000)


def _many_headers(stream: int, n: int) -> bytes:
    return frame(1, 4, stream, OK_HEAD + b"\x0f\x02\x00" * 5_100)


FLOODS: Final[dict[str, Flood]] = {
    "SETTINGS": Flood(_same(4), says="SETTINGS"),
    "SETTINGS with ever new values": Flood(_new_settings, says="SETTINGS"),
    "SETTINGS that resize the table": Flood(_table_sizes, says="SETTINGS"),
    "SETTINGS with 10,000 settings": Flood(
        _same(4, 0, b"".join(struct.pack(">HI", 0x100 + at, 1) for at in range(10_000))), says="more than 32 settings"
    ),
    "acknowledgements of SETTINGS": Flood(_same(4, 1), says="SETTINGS"),
    "PING": Flood(_same(6, 0, b"12345678"), says="PING"),
    "answers to PINGs": Flood(_same(6, 1, b"12345678"), says="PING"),
    "PRIORITY": Flood(_same(2, 0, b"\0\0\0\0\x10", on_stream=True), says="PRIORITY"),
    "unknown frames": Flood(_same(0xFA), says="unknown kind 0xfa"),
    "large unknown frames": Flood(_same(0xFA, 0, b"x" * 16_000), says="unknown kind 0xfa"),
    "ALTSVC": Flood(_same(0xA, 0, b"\x00\x01ax"), says="unknown kind 0x0a"),
    "empty DATA": Flood(_same(0, on_stream=True), _head, says="DATA"),
    "DATA of nothing but padding": Flood(_same(0, 8, b"\x02\0\0", on_stream=True), _head, says="DATA"),
    "interim answers": Flood(_same(1, 4, b"\x08\x03103", on_stream=True), says="HEADERS"),
    "WINDOW_UPDATE of the connection": Flood(_same(8, 0, b"\0\0\0\x01"), says="WINDOW_UPDATE"),
    "WINDOW_UPDATE of the stream": Flood(_same(8, 0, b"\0\0\0\x01", on_stream=True), says="WINDOW_UPDATE"),
    "WINDOW_UPDATE of an ended stream": Flood(_before(8, 0, b"\0\0\0\x01"), sound=1, says="WINDOW_UPDATE"),
    "RST_STREAM of an ended stream": Flood(_before(3, 0, b"\0\0\0\x08"), sound=1, says="RST_STREAM"),
    "HEADERS of an ended stream": Flood(_before(1, 4, OK_HEAD), sound=1, says="requests that have ended"),
    "DATA of an ended stream": Flood(_before(0, 0, b"x"), sound=1, says="requests that have ended"),
    "GOAWAY": Flood(_same(7, 0, b"\x7f\xff\xff\xff\0\0\0\0"), says="GOAWAY"),
    "CONTINUATION": Flood(_same(9, on_stream=True), lambda stream: frame(1, 0, stream, OK_HEAD), says="64 frames"),
    "PUSH_PROMISE": Flood(
        _same(5, 4, b"\0\0\0\x02\x82\x84\x86", on_stream=True), outcome="protocol", says="pushed stream"
    ),
    "an HPACK bomb": Flood(_bomb, outcome="head too large", says="decodes to more than"),
    "an answer with 5,100 headers": Flood(_many_headers, outcome="head too large", says="more than 5000 headers"),
}


@dataclass
class FloodingServer:
    """What the server has sent."""

    url: str
    flooded: int = 0
    """Connections."""
    sent_bytes: int = 0
    """Of the flood, on all connections, as far as the sockets took it."""
    most_bytes: int = 0
    """Of the flood, on one connection."""
    ended: int = 0
    """Connections that the client ended during the flood."""
    _sockets: list[socket.socket] = field(default_factory=list)


@contextlib.contextmanager
def flooding(flood: Flood) -> Iterator[FloodingServer]:
    """Listen on a free loopback port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = FloodingServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                # A small buffer: what the client has not read is not sent.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PART_BYTES)
                server._sockets.append(connection)
                threads.append(threading.Thread(target=_serve, args=(server, flood, connection), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for connection in server._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _serve(server: FloodingServer, flood: Flood, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        reader = connection.makefile("rb")
        reader.read(len(_PREFACE))
        connection.sendall(frame(4, 0, 0, flood.settings))
        answered = 0
        while header := reader.read(9):
            reader.read(int.from_bytes(header[:3], "big"))
            stream = int.from_bytes(header[5:9], "big")
            if header[3] != 1:
                continue
            if answered < flood.sound:
                answered += 1
                connection.sendall(_head(stream) + frame(0, 1, stream, b"sound"))
            else:
                _flood(server, flood, connection, stream)
                reader.read()


def _flood(server: FloodingServer, flood: Flood, connection: socket.socket, stream: int) -> None:
    server.flooded += 1
    sent = 0
    try:
        connection.sendall(flood.first(stream))
        for n in count():
            part = flood.again(stream, n)
            connection.sendall(part)
            sent += len(part)
            server.sent_bytes += len(part)
            server.most_bytes = max(server.most_bytes, sent)
            if sent > _MOST_BYTES:
                return
    except OSError:
        server.ended += 1
