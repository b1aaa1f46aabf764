"""HTTP/2 against a server made of bytes: what odd servers send, and what our requests are on the wire.

The tests use the client as a journey does, and compare bytes. They know nothing of the layer in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import hpack
import pytest

from loadgen.errors import RequestFailed
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
LONG = "/" + "abcdefghijklmnopqrstuvwxyz" * 346 + "abcd"
"""A URL of 9,001 letters."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field of an answer: not indexed, not Huffman-coded, so that every byte of `value` is as given."""
    assert len(name) < 127
    assert len(value) < 127
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


OK = b"\x88"
"""`:status: 200`, entry 8 of the static table."""


@dataclass
class Raw:
    url: str = ""
    blocks: list[bytes] = field(default_factory=list)
    """The header block of each request, as it came."""


@contextlib.asynccontextmanager
async def raw_http2(*fields: bytes, body: bytes = b"hello") -> AsyncIterator[Raw]:
    """Answer each request with 200, these encoded header fields, and the body."""
    seen = Raw()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            assert await reader.readexactly(len(_PREFACE)) == _PREFACE
            writer.write(frame(_SETTINGS, 0, 0, b""))
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == _HEADERS:
                    assert head[4] == _END_HEADERS | _END_STREAM
                    seen.blocks.append(payload)
                    stream = int.from_bytes(head[5:], "big")
                    writer.write(frame(_HEADERS, _END_HEADERS, stream, OK + b"".join(fields)))
                    writer.write(frame(_DATA, _END_STREAM, stream, body))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    seen.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield seen


@pytest.mark.parametrize("value", [b" ", b"\t", b" a", b"a ", b" a b\t ", b""])
async def test_white_space_around_a_value_is_not_part_of_it(value: bytes) -> None:
    async with raw_http2(literal(b"x-odd", value)) as server, client_of(server.url, pool=prior_pool()) as client:
        for _ in range(2):  # the second time from the cache of heads
            reply = await client.get("/", expect=200)
            assert reply.text == "hello"
            assert reply.headers["x-odd"] == value.decode().strip()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-odd", b"a\nb"),
        (b"x-odd", b"a\r"),
        (b"x-odd", b"\0"),
        (b"content-length", b" 5"),
        (b"content-length", b"5 "),
        (b"content-length", b" "),
        (b" x-odd", b"a"),
        (b"x-odd ", b"a"),
    ],
)
async def test_a_field_that_could_be_read_in_two_ways_is_no_answer(name: bytes, value: bytes) -> None:
    async with raw_http2(literal(name, value)) as server, client_of(server.url, pool=prior_pool()) as client:
        with pytest.raises(RequestFailed, match="protocol"):
            await client.get("/")


@pytest.mark.parametrize("path", [LONG, "/orders/" + "e" * 20, "/?q=0123456789", "/"])
async def test_a_path_is_huffman_coded_if_that_is_shorter(path: str) -> None:
    async with raw_http2() as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get(path, expect=200)
        decoded = dict(hpack.Decoder(max_header_list_size=100_000).decode(server.blocks[0], raw=True))
        assert decoded[b":path"] == path.encode()
        coded = hpack.Encoder().huffman_coder.encode(path.encode())
        assert (coded in server.blocks[0]) == (len(coded) < len(path)) or path == "/"
        assert path == "/" or path.encode() not in server.blocks[0]


async def test_a_path_that_huffman_would_lengthen_is_sent_as_it_is() -> None:
    path = "/" + "~" * 30
    async with raw_http2() as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get(path, expect=200)
        assert dict(hpack.Decoder().decode(server.blocks[0], raw=True))[b":path"] == path.encode()
        assert path.encode() in server.blocks[0]
