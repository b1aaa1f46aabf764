"""HTTP/3: every way in which a request or its connection can end, and hostile servers."""

from __future__ import annotations

import asyncio

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import encode_frame

from loadgen.clients.net.settings import Http
from tests.support.http3 import (
    EARLY,
    Asked,
    Served,
    echo,
    failure_of,
    has_ticket,
    hello,
    http3_client,
    http3_pool,
    http3_server,
    never,
    only_connection,
    pool_of,
    until,
)
from tests.support.nginx import running_nginx
from tests.support.scripted import client_of, rows_of


async def test_a_loop_of_gets_goes_on_when_nginx_ends_each_connection_with_goaway() -> None:
    with running_nginx(http3=True, locations="keepalive_requests 10;") as nginx:
        async with http3_client(nginx.http3_url, nginx.ca) as client:
            async with asyncio.timeout(30):
                for _ in range(101):
                    await client.get("/1k", expect=200)
            assert 10 <= pool_of(client).opened <= 12
            assert {row.outcome for row in rows_of(client)} == {"ok"}
        assert nginx.settled_count(101) == 101


async def test_a_certificate_of_a_stranger_or_for_another_name_is_tls() -> None:
    async with http3_server(hello) as server:
        async with http3_client(server.url, None) as client:
            stranger = await failure_of(client.get("/"))
        async with http3_client(server.url, server.ca, Http(http3="only", sni="shop.example")) as client:
            other = await failure_of(client.get("/"))
        async with http3_client(server.url, None, Http(http3="only", verify=False)) as client:
            assert (await client.get("/", expect=200)).text == "hello /"
        assert len(server.asked) == 1
    assert stranger.outcome == other.outcome == "tls"
    assert "unable to get local issuer certificate" in str(stranger.detail)
    assert "not valid for shop.example" in str(other.detail)


async def test_a_server_of_another_quic_protocol_or_version() -> None:
    for settings, outcome in (
        ({"alpn_protocols": ["hq-interop"]}, "h3 no_application_protocol"),
        ({"supported_versions": [0x1A2A3A4A]}, "h3 version_negotiation"),
    ):
        async with http3_server(hello, **settings) as server, http3_client(server.url, server.ca) as client:
            assert (await failure_of(client.get("/"))).outcome == outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0x102, "h3 internal_error"), (0x10C, "h3 request_cancelled"), (0x999, "h3 unknown_error")],
)
async def test_a_reset_stream_has_the_name_of_its_code_and_the_connection_goes_on(code: int, outcome: str) -> None:
    async def reset(served: Served, asked: Asked) -> None:
        if asked.path == "/reset":
            served.reset(asked.stream, code)
        else:
            served.ok(asked.stream, b"ok")

    async with http3_server(reset) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/reset"))
        assert failure.outcome == outcome
        assert (await client.get("/", expect=200)).text == "ok"
        assert pool_of(client).opened == 1


async def test_a_rejected_request_is_sent_again_whatever_its_method() -> None:
    seen = 0

    async def reject_once(served: Served, asked: Asked) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            served.reset(asked.stream, 0x10B)
        else:
            served.ok(asked.stream, asked.body)

    async with http3_server(reject_once) as server, http3_client(server.url, server.ca) as client:
        assert (await client.post("/", content=b"x", expect=200)).text == "x"
        assert pool_of(client).stale_retries == 1
        assert len(rows_of(client)) == 1


async def test_a_server_that_rejects_all_is_named_after_three_more_tries() -> None:
    async def reject(served: Served, asked: Asked) -> None:
        served.reset(asked.stream, 0x10B)

    async with http3_server(reject) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
    assert failure.outcome == "h3 request_rejected"
    assert 3 <= len(server.asked) <= 4


async def test_goaway_lets_earlier_requests_end_and_sends_later_ones_again() -> None:
    async def leave(served: Served, asked: Asked) -> None:
        if asked.path == "/slow":
            await asyncio.sleep(0.05)
            served.ok(asked.stream, b"slow")
        elif asked.path == "/away":
            served.goaway(asked.stream)  # this one and all later ones are not processed
        else:
            served.ok(asked.stream, b"ok")

    away = 0

    async def leave_once(served: Served, asked: Asked) -> None:
        nonlocal away
        if asked.path == "/away":
            away += 1
            if away > 1:
                served.ok(asked.stream, b"second")
                return
        await leave(served, asked)

    async with http3_server(leave_once) as server, http3_client(server.url, server.ca) as client:
        await client.get("/", expect=200)
        slow, again = await asyncio.gather(client.get("/slow", expect=200), client.get("/away", expect=200))
        assert (slow.text, again.text) == ("slow", "second")
        assert pool_of(client).opened == 2
        await until(lambda: len(pool_of(client)) == 1)


async def test_the_end_of_a_connection_is_the_outcome_of_its_requests() -> None:
    ends = {
        "/error": (0x102, False, "h3 internal_error"),
        "/refused": (0x2, True, "h3 transport connection_refused"),
        "/violation": (0xA, True, "h3 transport protocol_violation"),
        "/unknown": (0x4242, True, "h3 transport unknown_error"),
    }

    async def end(served: Served, asked: Asked) -> None:
        code, is_transport, _ = ends[asked.path]
        served.end(code, "gone", is_transport=is_transport)

    async with http3_server(end) as server, http3_client(server.url, server.ca) as client:
        for path, (_, _, outcome) in ends.items():
            failure = await failure_of(client.get(path))
            assert (failure.outcome, "gone" in str(failure.detail)) == (outcome, True)
        assert len(pool_of(client)) == 0


async def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    async def once(served: Served, asked: Asked) -> None:
        if asked.stream:
            served.end(0x100)
        else:
            served.ok(asked.stream, b"ok")

    async with http3_server(once) as server, http3_client(server.url, server.ca) as client:
        for _ in range(3):
            assert (await client.get("/", expect=200)).text == "ok"
        assert pool_of(client).opened == 3
        assert pool_of(client).stale_retries == 2
        failure = await failure_of(client.post("/", content=b"x"))  # perhaps it was processed
    assert failure.outcome == "reset"


async def test_a_server_that_vanishes_is_the_idle_time_out_of_quic() -> None:
    async with http3_server(never, idle_timeout=0.6) as server, http3_client(server.url, server.ca) as client:
        call = asyncio.ensure_future(client.get("/"))
        await until(lambda: server.asked)
        for served in server.connections:  # it reads nothing and sends nothing any more
            served.datagram_received = lambda *_: None  # type: ignore[method-assign]
            served.transmit = lambda: None  # type: ignore[method-assign]
        failure = await failure_of(call)
    assert failure.outcome == "h3 idle_timeout"


async def test_a_body_of_another_length_than_announced_is_protocol() -> None:
    async def lie(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200, ("content-length", "10"))
        served.data(asked.stream, b"short", end=True)

    async with http3_server(lie) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
        assert failure.outcome == "protocol"
        assert pool_of(client).opened == len(pool_of(client)) == 1


async def test_a_body_above_the_limit_is_too_large_with_and_without_a_length() -> None:
    async def much(served: Served, asked: Asked) -> None:
        fields = [("content-length", "300000")] if asked.path == "/length" else []
        served.headers(asked.stream, 200, *fields)
        served.data(asked.stream, b"x" * 300_000, end=True)

    async with http3_server(much) as server:
        pool = http3_pool(server.ca)
        pool.limit_bytes = 100_000
        async with client_of(server.url, pool=pool) as client:
            for path in ("/length", "/none"):
                assert (await failure_of(client.get(path))).outcome == "body too large"


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        pytest.param(encode_frame(0, b"body before a head"), "h3 frame_unexpected", id="data first"),
        pytest.param(encode_frame(4, b""), "h3 frame_unexpected", id="settings on a request"),
        pytest.param(encode_frame(1, b"\xff\xff\xff\xff"), "h3 qpack_decompression_failed", id="no qpack"),
        pytest.param(encode_uint_var(1) + encode_uint_var(2**30), "timeout", id="a head that never ends"),
    ],
)
async def test_bytes_that_are_not_an_answer(data: bytes, outcome: str) -> None:
    async def odd(served: Served, asked: Asked) -> None:
        served.raw(asked.stream, data)

    async with http3_server(odd) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/", timeout=0.3 if outcome == "timeout" else 10))
    assert failure.outcome == outcome


async def test_a_head_without_an_end_is_too_large() -> None:
    async def endless(served: Served, asked: Asked) -> None:
        served.raw(asked.stream, encode_uint_var(1) + encode_uint_var(2**30))
        for _ in range(100):
            served.raw(asked.stream, b"x" * 10_000)
            await asyncio.sleep(0)

    async with http3_server(endless) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
    assert failure.outcome == "head too large"


async def test_a_stream_that_ends_without_an_answer_is_protocol() -> None:
    async def nothing(served: Served, asked: Asked) -> None:
        served.raw(asked.stream, b"", end=True)

    async with http3_server(nothing) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
        assert failure.outcome == "protocol"


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x00\x00"], ids=["empty", "cut", "too long"])
async def test_a_malformed_goaway_ends_the_connection(payload: bytes) -> None:
    async def malformed(served: Served, asked: Asked) -> None:
        served.control(encode_frame(7, payload))

    async with http3_server(malformed) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
    assert failure.outcome == "h3 frame_error"


async def test_datagrams_without_an_answer_end_the_connection() -> None:
    async def ping(served: Served, asked: Asked) -> None:
        for _ in range(3000):
            served._quic.send_ping(1)
            served.transmit()
            await asyncio.sleep(0)

    async with http3_server(ping) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
    assert failure.outcome == "h3 flood"


async def test_interim_answers_without_end_are_a_flood() -> None:
    async def hints(served: Served, asked: Asked) -> None:
        for _ in range(400):
            served.headers(asked.stream, 103, ("link", "</a.css>"))
            await asyncio.sleep(0)

    async with http3_server(hints) as server, http3_client(server.url, server.ca) as client:
        failure = await failure_of(client.get("/"))
    assert failure.outcome == "h3 flood"


async def test_a_post_that_waits_for_a_handshake_goes_to_another_connection_if_this_one_is_closed() -> None:
    async with http3_server(echo, tickets=True) as server, http3_client(server.url, server.ca, EARLY) as client:
        await client.get("/first", expect=200)
        await until(lambda: has_ticket(client))
        pool_of(client).close_idle()
        call = asyncio.ensure_future(client.post("/p", content=b"x", expect=200))
        await until(lambda: len(pool_of(client)) == 1)
        assert only_connection(client)._is_early
        pool_of(client).close_idle()
        assert (await call).text == "x"
        assert [asked.path for asked in server.asked] == ["/first", "/p"]


async def test_a_server_that_ends_without_a_word_is_reset_and_then_refused() -> None:
    async with http3_server(hello) as server, http3_client(server.url, server.ca) as client:
        await client.get("/", expect=200)
        assert server.endpoint is not None
        assert server.endpoint._transport is not None
        server.endpoint._transport.abort()
        posted = await failure_of(client.post("/", content=b"x"))
        got = await failure_of(client.get("/"))
    assert (posted.outcome, got.outcome) == ("reset", "refused")
