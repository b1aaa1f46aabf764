"""HTTP/3: what a plan's settings do: Alt-Svc, 0-RTT, certificates, addresses, shared connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import pytest
import trustme

from loadgen import Plan, User, journey, users
from loadgen.clients.http3.tally import Tally
from loadgen.clients.httpx_api.transport import HttpxTransport
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import TargetGuard, place_of
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http3_pool import Http3Pool, Http3SharedPool, http3_worker
from loadgen.clients.pool.pool import origin_of
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.engine.recording.recorder import Recorder
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
    only_connection,
    pool_of,
    until,
)
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.ports import free_ports
from tests.support.scripted import client_of, samples_of


@pytest.fixture(scope="module")
def nginx() -> Iterator[RunningNginx]:
    with running_nginx(http3=True, locations="http3_max_concurrent_streams 128;") as running:
        yield running


async def test_each_request_carries_its_trace_and_keeps_it_for_its_exemplar() -> None:
    tracer = Tracer(Trace(1.0, ("w3c",)), Random(1))
    async with (
        http3_server(hello) as server,
        client_of(server.url, pool=http3_pool(server.ca, Http(http3="only")), tracer=tracer) as client,
    ):
        replies = [await client.get("/a", expect=200) for _ in range(2)]
    headers = [asked.header("traceparent") for asked in server.asked]
    assert headers == [f"00-{reply.trace}-{reply.span}-01" for reply in replies]
    assert all(reply.is_sampled and reply.http_version == "HTTP/3" for reply in replies)


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
            assert pool_of(client).tally.fallbacks.n == 1


async def test_an_offer_of_a_silent_port_fails_one_request_with_a_short_connect_time_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        offer = f"""add_header alt-svc 'h3=":{silent.getsockname()[1]}"' always;"""
        with running_nginx(tls=True, http_settings=offer) as nginx:
            pool, short = http3_pool(nginx.ca, Http(http3=True)), Timeouts(connect_ns=400_000_000)
            async with client_of(nginx.tls_url, pool=pool, timeouts=short) as client:
                await client.get("/1k", expect=200)
                assert (await failure_of(client.get("/1k"))).outcome == "timeout"
                assert (await client.get("/1k", expect=200)).http_version == "HTTP/1.1"


async def test_times_and_phases_of_a_request_add_up(nginx: RunningNginx) -> None:
    pool = http3_pool(nginx.ca)
    async with client_of(nginx.http3_url, pool=pool, has_phases=True) as client:
        await client.get("/1k", expect=200)
        await client.get("/1k", expect=200)
        await client.get("/1k", expect=200)
        first, second = samples_of(client)[:2]
    assert first.asked_ns < first.sent_ns < first.first_byte_ns <= first.done_ns
    assert second.asked_ns <= second.sent_ns < second.first_byte_ns <= second.done_ns


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


async def test_headers_of_a_connection_are_not_sent_and_others_are() -> None:
    async with http3_server(hello) as server, http3_client(server.url, server.ca) as client:
        await client.get("/a?b=c", headers={"X-Mine": "1", "Connection": "close", "TE": "trailers"}, expect=200)
        fields = dict(server.asked[0].fields)
    assert fields["x-mine"] == "1"
    assert fields["te"] == "trailers"
    assert not fields.keys() & {"host", "connection", "keep-alive"}


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
        assert (early.n, early.total) == (1, 0)


async def test_without_early_data_no_ticket_is_kept() -> None:
    async with http3_server(hello, tickets=True) as server, http3_client(server.url, server.ca) as client:
        for _ in range(2):
            await client.get("/", expect=200)
            pool_of(client).close_idle()
        assert not any(asked.is_early for asked in server.asked)


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


async def test_only_http_3_never_uses_tcp() -> None:
    async with http3_client("http://127.0.0.1:1", None) as client:
        failure = await failure_of(client.get("/"))
    assert (failure.outcome, 'http3="only" needs https://' in str(failure.detail)) == ("protocol", True)


async def test_httpx_clients_use_the_connections_of_the_user(nginx: RunningNginx) -> None:
    async with client_of(nginx.http3_url, pool=http3_pool(nginx.ca, Http(http3=True))) as client:
        transport = HttpxTransport(client._meter, client._pool, nginx.http3_url)
        async with httpx.AsyncClient(transport=transport) as theirs:
            replies = [await theirs.get(nginx.http3_url + "/1k") for _ in range(3)]
    assert [reply.http_version for reply in replies] == ["HTTP/1.1", "HTTP/3", "HTTP/3"]
    assert {len(reply.content) for reply in replies} == {1024}


def test_a_target_without_tls_is_an_error_at_load_time() -> None:
    @journey
    async def one(user: User) -> None:
        await user.http.get("/")

    targets = {"api": "https://api.shop.example", "login": "HTTP://login.shop.example"}
    plan = Plan(targets=targets, load=users(1).hold("1s"), mix=one, http=Http(http3="only"))
    assert [fault.message for fault in plan.faults] == [
        'http: http3="only" needs https://, but the target "login" is http://'
    ]
    assert not Plan(targets=targets, load=users(1).hold("1s"), mix=one, http=Http(http3=True)).faults


def test_counts_are_metrics_of_the_worker_that_records() -> None:
    recorder = Recorder()
    tally = Tally.of(recorder)
    assert Tally.of(recorder) is tally
    tally.lost.add(2, 2)
    tally.early.add(4, 3)
    tally.early.add(1, 0)
    found = {stats.name: (stats.kind, stats.n, stats.total) for stats in recorder.flip(0, 1).custom}
    assert found == {"h3: packets lost": ("counter", 2, 2), "h3: 0-RTT accepted": ("rate", 5, 3)}
    assert not recorder.flip(1, 2).custom
    assert (tally.early.n, tally.early.total) == (5, 3)


async def test_two_origins_with_the_same_head_both_offer_http_3(nginx: RunningNginx) -> None:
    pool = http3_pool(nginx.ca, Http(http3=True))
    head = Head(200, b"OK", "1.1", [(b"Alt-Svc", b'h3=":8443"')], True)
    first, second = origin_of("https", "a.example", 443), origin_of("https", "b.example", 443)
    for origin in (first, second, first):
        pool.learn(origin, head)
    assert pool._alternatives.place_of(("a.example", 443)) == ("a.example", 8443)
    assert pool._alternatives.place_of(("b.example", 443)) == ("b.example", 8443)
