"""Every Content-Encoding that we say we understand is undone, whole and piece by piece, and none takes the memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import httpx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.protocol.decoding import ACCEPTED, MAX_ENCODINGS, DecodingError, Unpacker, decode
from loadgen.clients.request.header_encoding import DEFAULT_LINES
from loadgen.errors import RequestFailed
from tests.support.examples import examples
from tests.support.scripted import client_of, ok, rows_of, scripted

Pack = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKS: dict[str, Pack] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
NAMES = {"raw": "deflate"}
CODECS = list(PACKS)


def packed_by(body: bytes, codecs: list[str]) -> tuple[bytes, str]:
    """The packed body and its Content-Encoding."""
    for codec in codecs:
        body = PACKS[codec](body)
    return body, ", ".join(NAMES.get(codec, codec) for codec in codecs)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 65_700, 131_072, 131_200])
def test_a_body_that_packs_well_comes_back_at_every_size_around_a_piece(codec: str, size: int) -> None:
    body = b"a" * size

    assert decode(PACKS[codec](body), NAMES.get(codec, codec), 10**8) == body


# -- what is said and what is meant ------------------------------------------------------------


def test_accept_encoding_is_what_stock_httpx_sends() -> None:
    assert httpx.AsyncClient().headers["accept-encoding"] == ACCEPTED
    assert f"Accept-Encoding: {ACCEPTED}\r\n".encode() in DEFAULT_LINES


def test_without_the_brotli_package_br_is_neither_said_nor_undone() -> None:
    program = (
        "import sys; sys.modules.update(brotli=None, brotlicffi=None)\n"
        "import httpx\n"
        "from loadgen.clients.protocol.decoding import ACCEPTED, decode\n"
        "assert httpx.Client().headers['accept-encoding'] == ACCEPTED == 'gzip, deflate, zstd', ACCEPTED\n"
        "assert decode(b'as it is', 'br', 99) == b'as it is'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_brotli_package_that_cannot_be_bounded_counts_as_none() -> None:
    program = (
        "import sys, types; old = types.ModuleType('brotli'); old.Decompressor = type('Decompressor', (), {})\n"
        "sys.modules['brotli'] = old\n"
        "from loadgen.clients.protocol.decoding import ACCEPTED\n"
        "assert ACCEPTED == 'gzip, deflate, zstd', ACCEPTED\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@given(
    body=st.binary(max_size=3000),
    codecs=st.lists(st.sampled_from(CODECS), max_size=MAX_ENCODINGS),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
@settings(max_examples=examples(200), deadline=None)
def test_any_stack_of_encodings_is_undone_as_httpx_does_however_it_is_cut(
    body: bytes, codecs: list[str], cuts: list[int]
) -> None:
    packed, encodings = packed_by(body, codecs)
    edges = [0, *sorted(min(c, len(packed)) for c in cuts), len(packed)]
    unpacker = Unpacker(encodings)
    found = [piece for a, b in pairwise(edges) for piece in unpacker.feed(packed[a:b])]
    unpacker.finish()
    assert b"".join(found) == body == decode(packed, encodings, 10_000)
    if "zstd" not in codecs or len(codecs) == 1:  # httpx 0.28 fails on zstd that is not alone
        assert httpx.Response(200, headers={"Content-Encoding": encodings}, content=packed).content == body


def test_several_zstd_frames_are_one_body() -> None:
    frames = PACKS["zstd"](b"one ") + PACKS["zstd"](b"two")
    assert decode(frames, "zstd", 100) == b"one two"
    unpacker = Unpacker("zstd")
    assert b"".join(p for at in range(len(frames)) for p in unpacker.feed(frames[at : at + 1])) == b"one two"
    unpacker.finish()


# -- what is broken, or means harm ----------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kept", [1, 2, 5, -9, -1])
def test_a_body_that_ends_in_the_middle_is_told(codec: str, kept: int) -> None:
    packed, encodings = packed_by(bytes(range(256)) * 4, [codec])
    cut = packed[:kept]
    with pytest.raises(DecodingError):
        decode(cut, encodings, 10_000)
    unpacker = Unpacker(encodings)
    for at in range(len(cut)):
        list(unpacker.feed(cut[at : at + 1]))
    with pytest.raises(DecodingError, match="ends in the middle"):
        unpacker.finish()


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_not_packed_at_all_is_told(codec: str) -> None:
    with pytest.raises(DecodingError):
        decode(b"\xff\xfeno packed body, nor one that was begun", packed_by(b"", [codec])[1], 10_000)


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_is_given_in_small_pieces_and_takes_little_memory(codec: str) -> None:
    packed, encodings = packed_by(bytes(30_000_000), [codec])
    largest = total = 0
    tracemalloc.start()
    try:
        for piece in Unpacker(encodings).feed(packed):
            largest, total = max(largest, len(piece)), total + len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 30_000_000
    assert largest <= 64 * 1024
    assert peak < 6_000_000


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_is_given_up_at_the_limit_of_a_body(codec: str) -> None:
    packed, encodings = packed_by(bytes(30_000_000), [codec])
    tracemalloc.start()
    try:
        with pytest.raises(DecodingError, match="more than 1000000 bytes"):
            decode(packed, encodings, 1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 7_000_000
    assert decode(packed, encodings, 30_000_000) == bytes(30_000_000)


def test_a_bomb_within_a_bomb_is_bounded_at_each_of_its_encodings() -> None:
    nothing = b"".join(gzip.compress(b"") for _ in range(2)) + bytes(20_000_000)  # gives nothing, from a lot
    with pytest.raises(DecodingError, match="more than 1000000 bytes"):
        decode(gzip.compress(nothing), "gzip, gzip", 1_000_000)


def test_more_encodings_than_anybody_uses_are_refused() -> None:
    packed, encodings = packed_by(b"x", ["gzip"] * (MAX_ENCODINGS + 1))
    with pytest.raises(DecodingError, match="the body is encoded 6 times; the limit is 5"):
        decode(packed, encodings, 10_000)


def test_a_zstd_frame_that_wants_a_larger_window_than_http_allows_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(b"x" * 1000) + packer.flush()
    with pytest.raises(DecodingError, match="too much memory"):
        decode(packed, "zstd", 10_000)


# -- through the client ------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
async def test_what_a_target_packed_is_read_whole_and_as_a_stream(codec: str) -> None:
    page = "<p>éäü</p>".encode() * 5_000
    packed, encodings = packed_by(page, [codec])
    async with scripted(ok(packed, f"Content-Encoding: {encodings}")) as server, client_of(server.url) as client:
        reply = await client.get("/")
        assert reply.content == page
        assert reply.num_bytes_downloaded == len(packed)
        async with client.stream("GET", "/") as stream:
            assert b"".join([piece async for piece in stream.aiter_bytes()]) == page
        assert server.requests[0].header("accept-encoding") == ACCEPTED


@pytest.mark.parametrize("codec", CODECS)
async def test_a_packed_body_that_is_cut_is_a_protocol_fault_whole_and_as_a_stream(codec: str) -> None:
    packed, encodings = packed_by(bytes(range(256)) * 40, [codec])
    answer = ok(packed[:-9], f"Content-Encoding: {encodings}")
    async with scripted(answer) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed) as failure:
            _ = (await client.get("/")).content
        assert failure.value.outcome == "protocol"
        with pytest.raises(RequestFailed) as failure:
            async with client.stream("GET", "/") as stream:
                await stream.aread()
        assert failure.value.outcome == "protocol"
        assert [row.outcome for row in rows_of(client)] == ["protocol", "protocol"]
