"""An exchange as text: everything that went over the wire, each way, and no more than a person reads."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.response.format_exchange import request_text, response_text
from loadgen.errors import ExpectFailed, RequestFailed
from tests.support.badserver import bad_server, refusing_url
from tests.support.scripted import client_of, ok, samples_of, scripted


async def test_an_exchange_is_request_and_response_with_heads_and_bodies() -> None:
    answer = ok(b'{"error":"sold out"}', "Content-Type: application/json", "X-Id: 7", status="409 Conflict")
    async with scripted(answer) as server, client_of(server.url) as client:
        with pytest.raises(ExpectFailed):
            await client.post("/cart", json={"sku": "é"}, expect=201)
        request, response = samples_of(client)[0].exchange()
    host = server.url.removeprefix("http://")
    assert request == (
        f"POST /cart HTTP/1.1\nHost: {host}\nAccept: */*\nAccept-Encoding: gzip, deflate, br, zstd\n"
        'Connection: keep-alive\nUser-Agent: loadgen\nContent-Length: 12\nContent-Type: application/json\n\n{"sku":"é"}'
    )
    assert response == (
        'HTTP/1.1 409 Conflict\nContent-Type: application/json\nX-Id: 7\nContent-Length: 20\n\n{"error":"sold out"}'
    )


async def test_a_request_without_an_answer_has_an_exchange_with_nothing_in_it() -> None:
    with refusing_url() as url:
        async with client_of(url) as client:
            with pytest.raises(RequestFailed, match="refused"):
                await client.put("/x", json=[1])
            request, response = samples_of(client)[0].exchange()
    assert request.startswith("PUT /x HTTP/1.1\nHost: ")
    assert request.endswith("\n\n[1]")
    assert response == ""


@pytest.mark.parametrize("badness", ["reset", "close midway", "garbage"])
async def test_an_answer_that_was_none_is_shown_as_none(badness: Any) -> None:
    async with bad_server(badness) as url, client_of(url) as client:
        with pytest.raises(RequestFailed):
            await client.get("/x")
        request, response = samples_of(client)[0].exchange()
        assert request.startswith("GET /x HTTP/1.1\n")
        assert response == ""


async def test_a_packed_body_is_shown_unpacked_and_a_broken_one_named() -> None:
    for body, shown in ((gzip.compress(b"plain text"), "plain text"), (b"no gzip!", "<8 bytes, gzip: ")):
        async with (
            scripted(ok(body, "Content-Encoding: gzip", "Content-Type: text/plain")) as server,
            client_of(server.url) as client,
        ):
            answer = await client.get("/")
            _, response = answer.exchange()
            assert response.partition("\n\n")[2].startswith(shown)
            assert answer.outcome == "ok"  # to look at it changes nothing


async def test_a_stream_shows_its_head_and_an_upload_its_size() -> None:
    async def pieces() -> Any:
        yield b"abc"

    async with scripted(ok(b"body", "X-A: 1")) as server, client_of(server.url) as client:
        async with client.stream("POST", "/s", content=pieces()) as answer:
            async for _ in answer.aiter_bytes():
                pass
        request, response = answer.exchange()
        assert request.endswith("\n\n<a body of unknown length, sent piece by piece>")
        assert response == "HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 4\n\n<a stream: its body was not kept>"
        async with client.stream("GET", "/s") as answer:
            await answer.aread()
        assert answer.exchange()[1].endswith("\n\nbody")


async def test_canned_replies_have_exchanges_like_any_other() -> None:
    network = CannedNetwork({"GET /a": reply(503, text="busy")})
    async with client_of("http://shop.test", network=network) as client:
        answer = await client.get("/a")
        assert answer.exchange()[1].startswith("HTTP/1.1 503")
        assert answer.exchange()[1].endswith("\n\nbusy")


NO_CHARSETS = ["hex", "zlib", "rot13", "idna", "undefined", "punycode", "unicode_escape", "nonsense"]


@pytest.mark.parametrize("charset", NO_CHARSETS)
async def test_a_charset_that_is_none_is_the_targets_fault_and_not_an_exception(charset: str) -> None:
    answer = reply(content=b"abc\xff", headers={"Content-Type": f"text/plain; charset={charset}"})
    async with client_of("http://shop.test", network=CannedNetwork({"GET /a": answer})) as client:
        got = await client.get("/a")
        assert got.text == "abc\ufffd"
        assert got.exchange()[1].endswith(f"<4 bytes, text/plain; charset={charset}>")


# -- bodies ----------------------------------------------------------------------------------


def _shown(body: bytes, kind: str = "") -> str:
    raw = [(b"Content-Type", kind.encode())] if kind else []
    return response_text(Head(200, b"OK", "1.1", raw, True), body).partition("\n\n")[2]


def test_a_body_that_is_no_text_is_named_by_size_and_type() -> None:
    assert _shown(b"\x89PNG\r\n\x1a\n" + b"\0" * 115, "image/png") == "<123 bytes, image/png>"
    assert _shown(b"\0\1", "text/plain") == "<2 bytes, text/plain>"
    assert _shown(b"\xff\xfe") == "<2 bytes, no content type>"
    assert _shown(b"\x1b[2J") == "<4 bytes, no content type>"  # a terminal would obey


def test_text_is_read_in_its_charset() -> None:
    assert _shown("é".encode("latin-1"), "text/plain; charset=iso-8859-1") == "é"
    assert _shown("é".encode("latin-1"), "text/plain") == "<1 bytes, text/plain>"
    assert _shown(b"a", "text/plain; charset=nonsense") == "<1 bytes, text/plain; charset=nonsense>"
    assert _shown("é".encode()) == "é"
    assert _shown(b"") == ""


def test_a_long_body_is_cut_at_4_kib_and_says_so() -> None:
    assert _shown(b"x" * 4096) == "x" * 4096
    assert _shown(b"x" * 10_000) == "x" * 4096 + "\n<cut: 4096 of 10000 bytes>"
    euros = "€" * 3000  # the cut is within a character
    assert _shown(euros.encode()) == "€" * 1365 + "\n<cut: 4096 of 9000 bytes>"
    request = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + b"y" * 5000
    assert request_text(request).endswith("y\n<cut: 4096 of 5000 bytes>")


@given(st.binary(max_size=300), st.sampled_from(["", "text/html", "text/html; charset=utf-16", "a/b; charset=hex"]))
def test_any_body_can_be_shown(body: bytes, kind: str) -> None:
    text = _shown(body, kind) + request_text(b"POST / HTTP/1.1\r\nContent-Type: x\r\n\r\n" + body)
    assert not any(ord(c) < 32 and c not in "\t\n\r\f" for c in text)
    assert "\x9b" not in text
