"""What a trial sends is read from the bytes that the real client writes, however it is framed and cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.net.canned_replies import CannedNetwork, CannedRequest, _take_request, reply
from loadgen.clients.protocol.file_and_generated_bodies import Blob
from loadgen.errors import UsageError
from tests.support.scripted import client_of, rows_of


async def _pieces() -> AsyncIterator[bytes]:
    for piece in (b"a", b"", b"bc" * 5):
        yield piece


async def test_uploads_and_streams_need_no_target() -> None:
    network = CannedNetwork({"POST /u": lambda request: {"n": len(request.body)}, "GET /s": reply(text="abc" * 1000)})
    async with client_of("http://shop.test", network=network) as client:
        for content, size in ((b"x" * 100, 100), (_pieces(), 11), (Blob(100_000, seed=1), 100_000)):
            assert (await client.post("/u", content=content)).json() == {"n": size}
        async with client.stream("GET", "/s") as answer:
            assert len(await answer.aread()) == 3000
        assert [request.body[:3] for request in network.requests[:2]] == [b"xxx", b"abc"]
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 4


async def test_an_upload_that_has_no_canned_reply_says_so() -> None:
    async with client_of("http://shop.test", network=CannedNetwork({})) as client:
        with pytest.raises(UsageError, match="no canned reply for POST /u"):
            await client.post("/u", content=_pieces())


@given(st.data(), st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.booleans())
def test_requests_are_found_wherever_their_bytes_are_cut(
    data: st.DataObject, pieces: list[bytes], is_chunked: bool
) -> None:
    body = b"".join(pieces)
    if is_chunked:
        framed = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        head = b"POST /u?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    else:
        framed, head = body, b"POST /u?q HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    wire = (head + framed) * 2
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    sent, found = bytearray(), list[CannedRequest]()
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        sent += wire[begin:end]
        while (request := _take_request(sent)) is not None:
            found.append(request)
    assert [(request.method, request.target, request.body) for request in found] == [("POST", "/u?q", body)] * 2
    assert not sent
