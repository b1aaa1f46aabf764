"""HTTP/3: many requests on one QUIC connection, and every way in which one of them or all can end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter_ns

import pytest
import trustme
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import encode_frame

from loadgen.clients.http import HttpClient
from loadgen.clients.http3.connection import Http3Connection
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import TargetGuard, place_of
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http3_pool import Http3Pool, Http3SharedPool, http3_worker
from loadgen.clients.response.replies import Reply
from loadgen.errors import RequestFailed
from tests.support.http3 import Asked, Served, http3_client, http3_pool, http3_server
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.ports import free_ports
from tests.support.scripted import client_of, rows_of, samples_of


async def hello(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, b"hello " + asked.path.encode())


async def echo(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, asked.body, ("x-size", str(len(asked.body))))


async def never(served: Served, asked: Asked) -> None:
    """Do not answer."""


async def failure_of(call: Awaitable[Reply]) -> RequestFailed:
    with pytest.raises(RequestFailed) as failure:
        await call
    return failure.value


def pool_of(client: HttpClient) -> Http3Pool:
    pool = client._pool
    assert isinstance(pool, Http3Pool)
    return pool


def only_connection(client: HttpClient) -> Http3Connection:
    (connection,) = pool_of(client)._open
    assert isinstance(connection, Http3Connection)
    return connection


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.002)


# -- real servers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nginx() -> Iterator[RunningNginx]:
    with running_nginx(http3=True, locations="http3_max_concurrent_streams 128;") as running:
        yield running


async def test_fifty_requests_at_once_share_one_connection_and_each_is_in_the_access_log(nginx: RunningNginx) -> None:
    before = nginx.access_log_count()
    async with http3_client(nginx.http3_url, nginx.ca) as client:
        replies = await asyncio.gather(*(client.get(f"/1k?n={n}", expect=200) for n in range(50)))
        assert {reply.http_version for reply in replies} == {"HTTP/3"}
        assert all(len(reply.content) == 1024 for reply in replies)
        posted = await client.post("/json", json={"sku": "a"}, expect=200)
        assert posted.json()["ok"] is True
        assert (await client.get("/status/404")).status_code == 404
        assert (await client.head("/1k")).headers["content-length"] == "1024"
        assert pool_of(client).opened == 1
        assert len(rows_of(client)) == 53
    assert nginx.settled_count(before + 53) == before + 53


async def test_a_loop_of_gets_goes_on_when_nginx_ends_each_connection_with_goaway() -> None:
    with running_nginx(http3=True, locations="keepalive_requests 10;") as nginx:
        async with http3_client(nginx.http3_url, nginx.ca) as client:
            async with asyncio.timeout(30):
                for _ in range(101):
                    await client.get("/1k", expect=200)
            assert 10 <= pool_of(client).opened <= 12
            assert {row.outcome for row in rows_of(client)} == {"ok"}
        assert nginx.settled_count(101) == 101


async def test_alt_svc_moves_a_user_from_http_2_to_http_3(nginx: RunningNginx) -> None:
    async with http3_client(nginx.http3_url, nginx.ca, Http(http3=True, http2=True)) as client:
        versions = [(await client.get("/1k", expect=200)).http_version for _ in range(3)]
        assert versions == ["HTTP/2", "HTTP/3", "HTTP/3"]
        assert len(pool_of(client)) == 1


async def test_alt_svc_moves_a_user_from_http_1_to_http_3(nginx: RunningNginx) -> None:
    async with http3_client(nginx.http3_url, nginx.ca, Http(http3=True)) as client:
        versions = [(await client.get("/1k", expect=200)).http_version for _ in range(2)]
        assert versions == ["HTTP/1.1", "HTTP/3"]
        replies = await asyncio.gather(*(client.get("/1k", expect=200) for _ in range(5)))
        assert {reply.http_version for reply in replies} == {"HTTP/3"}
        assert len(pool_of(client)) == 1


async def test_an_offer_that_does_not_work_is_left_for_tcp() -> None:
    (closed,) = free_ports(1)
    offer = f"""add_header alt-svc 'h3=":{closed}"' always;"""
    with running_nginx(tls=True, http_settings=offer) as nginx:
        async with http3_client(nginx.tls_url, nginx.ca, Http(http3=True)) as client:
            versions = [(await client.get("/1k", expect=200)).http_version for _ in range(3)]
            assert versions == ["HTTP/1.1"] * 3
            assert pool_of(client).tally.fallbacks.values == 1


async def test_times_and_phases_of_a_request_add_up(nginx: RunningNginx) -> None:
    pool = http3_pool(nginx.ca)
    async with client_of(nginx.http3_url, pool=pool, has_phases=True) as client:
        await client.get("/1k", expect=200)
        await client.get("/1k", expect=200)
        await client.get("/1k", expect=200)
        first, second = samples_of(client)[:2]
    assert first.asked_ns < first.sent_ns < first.first_byte_ns <= first.done_ns
    assert second.asked_ns <= second.sent_ns < second.first_byte_ns <= second.done_ns


# -- bodies and heads -----------------------------------------------------------------------------


async def test_bodies_of_all_sizes_arrive_and_come_back_as_they_were() -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 70_001):
            yield body[at : at + 70_001]

    async with http3_server(echo) as server, http3_client(server.url, server.ca) as client:
        for size in (0, 1, 1024, 70_000, 700_000):
            body = bytes(range(256)) * (size // 256 + 1)
            body = body[:size]
            assert (await client.post("/echo", content=body, expect=200)).content == body
            assert (await client.post("/echo", content=pieces(body), expect=200)).content == body
        assert pool_of(client).opened == 1


async def test_an_answer_is_read_as_a_stream() -> None:
    async def slowly(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200)
        for n in range(5):
            served.data(asked.stream, b"%d;" % n * 10_000)
            await asyncio.sleep(0)
        served.data(asked.stream, end=True)

    async with http3_server(slowly) as server, http3_client(server.url, server.ca) as client:
        async with client.stream("GET", "/") as reply:
            body = b"".join([piece async for piece in reply.aiter_bytes()])
        assert body == b"".join(b"%d;" % n * 10_000 for n in range(5))


async def test_a_slow_reader_gets_no_more_than_its_window() -> None:
    async def much(served: Served, asked: Asked) -> None:
        served.ok(asked.stream, b"x" * 3_000_000)

    async with http3_server(much) as server, http3_client(server.url, server.ca) as client:
        async with client.stream("GET", "/") as reply:
            pieces = reply.aiter_bytes()
            have = len(await anext(pieces))
            connection = only_connection(client)
            await until(lambda: connection._quic.paused)
            await asyncio.sleep(0.2)
            (stream,) = connection._streams.values()
            assert stream.have < 2_200_000
            async for piece in pieces:
                have += len(piece)
        assert have == 3_000_000


async def test_trailers_and_interim_answers() -> None:
    async def both(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 103, ("link", "</a.css>"))
        served.headers(asked.stream, 200, ("x-a", "b"))
        served.data(asked.stream, b"body")
        served.headers(asked.stream, None, ("x-sum", "4"), end=True)

    async with http3_server(both) as server, http3_client(server.url, server.ca) as client:
        reply = await client.get("/", expect=200)
        assert (reply.text, dict(reply.headers), dict(reply.trailers)) == ("body", {"x-a": "b"}, {"x-sum": "4"})


async def test_the_server_sees_the_headers_that_curl_would_send() -> None:
    async with http3_server(hello) as server, http3_client(server.url, server.ca) as client:
        await client.get("/a?b=c", headers={"X-Mine": "1", "Connection": "close", "TE": "trailers"}, expect=200)
        fields = dict(server.asked[0].fields)
    assert [fields[name] for name in (":method", ":scheme", ":path")] == ["GET", "https", "/a?b=c"]
    assert fields[":authority"] == f"127.0.0.1:{server.port}"
    assert fields["x-mine"] == "1"
    assert fields["te"] == "trailers"
    assert not fields.keys() & {"host", "connection", "keep-alive"}


async def test_an_answer_before_the_whole_upload_ends_the_upload() -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield b"x" * 10_000

    async def too_much(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 413, ("content-length", "0"), end=True)
        served.stop(asked.stream, 0x100)

    async with http3_server(too_much, early=True) as server, http3_client(server.url, server.ca) as client:
        assert (await client.post("/", content=pieces())).status_code == 413
        assert sent < 2000
        assert (await client.post("/", content=b"")).status_code == 413


# -- refusals, resets and ends ----------------------------------------------------------------------


async def test_a_port_where_nobody_listens_is_refused() -> None:
    (port,) = free_ports(1)
    async with http3_client(f"https://127.0.0.1:{port}", None) as client:
        failure = await failure_of(client.get("/"))
    assert failure.outcome == "refused"


async def test_a_port_that_never_answers_is_a_time_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with http3_client(f"https://127.0.0.1:{silent.getsockname()[1]}", None) as client:
            begun_ns = perf_counter_ns()
            failure = await failure_of(client.get("/", timeout=0.1))
    assert failure.outcome == "timeout"
    assert perf_counter_ns() - begun_ns < 5e9


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


async def test_an_idle_connection_is_closed_before_the_server_forgets_it() -> None:
    async with http3_server(hello, idle_timeout=1.0) as server, http3_client(server.url, server.ca) as client:
        await client.get("/", expect=200)
        await until(lambda: not len(pool_of(client)))
        assert (await client.post("/", content=b"x", expect=200)).text == "hello /"
        assert pool_of(client).opened == 2


async def test_a_slow_answer_outlives_the_idle_time_out() -> None:
    async def slow(served: Served, asked: Asked) -> None:
        await asyncio.sleep(1.5)
        served.ok(asked.stream, b"late")

    async with http3_server(slow, idle_timeout=0.6) as server, http3_client(server.url, server.ca) as client:
        assert (await client.get("/", expect=200)).text == "late"
        assert pool_of(client).opened == 1


async def test_a_server_that_vanishes_is_the_idle_time_out_of_quic() -> None:
    async with http3_server(never, idle_timeout=0.6) as server, http3_client(server.url, server.ca) as client:
        call = asyncio.ensure_future(client.get("/"))
        await until(lambda: server.asked)
        for served in server.connections:  # it reads nothing and sends nothing any more
            served.datagram_received = lambda *_: None  # type: ignore[method-assign]
            served.transmit = lambda: None  # type: ignore[method-assign]
        failure = await failure_of(call)
    assert failure.outcome == "h3 idle_timeout"


async def test_a_time_out_ends_one_request_and_the_connection_serves_the_next() -> None:
    async def some(served: Served, asked: Asked) -> None:
        if asked.path != "/never":
            served.ok(asked.stream, b"ok")

    async with http3_server(some) as server, http3_client(server.url, server.ca) as client:
        await client.get("/", expect=200)
        failure = await failure_of(client.get("/never", timeout=0.1))
        assert failure.outcome == "timeout"
        assert (await client.get("/", expect=200)).text == "ok"
        assert pool_of(client).opened == 1
        await until(lambda: (4, 0x10C) in server.resets)


async def test_a_cancelled_request_has_no_row_and_its_stream_is_ended() -> None:
    async with http3_server(never) as server, http3_client(server.url, server.ca) as client:
        call = asyncio.ensure_future(client.get("/"))
        await until(lambda: server.asked)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not rows_of(client)
        await until(lambda: (0, 0x10C) in server.resets)


# -- hostile servers ----------------------------------------------------------------------------------


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


# -- 0-RTT --------------------------------------------------------------------------------------------

EARLY = Http(http3="only", early_data=True)


def has_ticket(client: HttpClient) -> bool:
    tickets = pool_of(client)._tickets
    return tickets is not None and bool(tickets.by_place)


async def test_requests_of_a_second_connection_arrive_before_its_handshake_has_ended() -> None:
    async with http3_server(hello, tickets=True) as server, http3_client(server.url, server.ca, EARLY) as client:
        await client.get("/first", expect=200)
        await until(lambda: has_ticket(client))
        pool_of(client).close_idle()
        replies = await asyncio.gather(*(client.get(f"/{n}", expect=200) for n in range(3)))
        assert [reply.text for reply in replies] == ["hello /0", "hello /1", "hello /2"]
        # The first goes with the handshake; whether the others come before its end depends on the machine.
        assert [asked.is_early for asked in server.asked[:2]] == [False, True]
        await until(lambda: pool_of(client).tally.early.values)
        early = pool_of(client).tally.early
        assert 1 <= early.values == early.hits <= 3


async def test_a_post_waits_for_the_handshake() -> None:
    async with http3_server(echo, tickets=True) as server, http3_client(server.url, server.ca, EARLY) as client:
        await client.get("/first", expect=200)
        await until(lambda: has_ticket(client))
        pool_of(client).close_idle()
        calls = client.get("/g", expect=200), client.post("/p", content=b"x", expect=200)
        assert [reply.text for reply in await asyncio.gather(*calls)] == ["", "x"]
        early = {asked.path: asked.is_early for asked in server.asked}
        assert early == {"/first": False, "/g": True, "/p": False}
        assert pool_of(client).opened == 2


async def test_a_server_that_forgot_its_tickets_gets_the_requests_after_the_handshake() -> None:
    authority = trustme.CA()
    async with (
        http3_server(hello, tickets=True, authority=authority) as server,
        http3_client(server.url, server.ca, EARLY) as client,
    ):
        await client.get("/first", expect=200)
        await until(lambda: has_ticket(client))
        pool_of(client).close_idle()
        assert server.endpoint is not None
        server.endpoint.close()
        await asyncio.sleep(0.01)
        async with http3_server(hello, tickets=True, authority=authority, port=server.port) as second:
            assert (await client.get("/again", expect=200)).text == "hello /again"
            assert [asked.is_early for asked in second.asked] == [False]
        early = pool_of(client).tally.early
        assert (early.values, early.hits) == (1, 0)


async def test_without_early_data_no_ticket_is_kept() -> None:
    async with http3_server(hello, tickets=True) as server, http3_client(server.url, server.ca) as client:
        for _ in range(2):
            await client.get("/", expect=200)
            pool_of(client).close_idle()
        assert not any(asked.is_early for asked in server.asked)


# -- the plan's network settings ------------------------------------------------------------------------


async def test_a_client_certificate_is_presented(tmp_path: Path) -> None:
    clients = trustme.CA()
    clients.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    issued = clients.issue_cert("someone@shop.example")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    settings = f"ssl_client_certificate {tmp_path}/clients.pem; ssl_verify_client on;"
    with running_nginx(http3=True, locations=settings, tls=True) as nginx:
        async with http3_client(nginx.http3_url, nginx.ca) as client:
            assert (await client.get("/1k")).status_code == 400
        http = Http(http3="only", cert=str(tmp_path / "own.pem"))
        async with http3_client(nginx.http3_url, nginx.ca, http) as client:
            await client.get("/1k", expect=200)


async def test_the_target_guard_holds_for_udp() -> None:
    async with http3_server(hello) as server:
        http = Http(http3="only")
        context = tls_context(server.ca, http)
        guard = TargetGuard(None, [place_of("127.0.0.1", server.port)])
        pool = Http3Pool(TcpNetwork(http, guard=guard), context, http3_worker(http, context))
        async with client_of(server.url, pool=pool) as client:
            failure = await failure_of(client.get("/"))
        assert failure.outcome == "not allowed: control plane"
        assert not server.connections


async def test_resolve_and_source_hold_for_udp() -> None:
    async with http3_server(hello, names=("shop.example",)) as server:
        http = Http(http3="only", resolve={"shop.example": "127.0.0.1"}, source=["127.0.0.7"])
        async with http3_client(f"https://shop.example:{server.port}", server.ca, http) as client:
            await client.get("/", expect=200)
        assert server.asked[0].header(":authority") == f"shop.example:{server.port}"
        assert server.connections[0]._quic._network_paths[0].addr[0] == "127.0.0.7"


async def test_shared_connections_are_no_more_than_the_limit() -> None:
    async with http3_server(hello) as server:
        http = Http(http3="only")
        context = tls_context(server.ca, http)
        pool = Http3SharedPool(2, TcpNetwork(http), context, http3_worker(http, context))
        async with client_of(server.url, pool=pool) as client:
            replies = await asyncio.gather(*(client.get(f"/{n}", expect=200) for n in range(300)))
        assert [reply.text for reply in replies] == [f"hello /{n}" for n in range(300)]
        assert len(server.connections) <= 2


async def test_packets_that_get_lost_are_sent_again_and_counted() -> None:
    async with http3_server(hello) as server, http3_client(server.url, server.ca) as client:
        await client.get("/", expect=200)
        transport = only_connection(client)._transport
        sends = 0

        class Lossy:
            """Drops every third datagram."""

            def sendto(self, data: bytes) -> None:
                nonlocal sends
                sends += 1
                if sends % 3:
                    transport.sendto(data)

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

        only_connection(client)._transport = Lossy()  # type: ignore[assignment]
        for n in range(12):
            assert (await client.get(f"/{n}", expect=200)).text == f"hello /{n}"
        assert pool_of(client).tally.lost.values > 0
