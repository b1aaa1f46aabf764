"""HTTP/3 on both event loops: requests on one QUIC connection, uploads, time-outs, 0-RTT, lost packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from time import perf_counter_ns

import pytest

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
    http3_server,
    never,
    only_connection,
    pool_of,
    until,
)
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.ports import free_ports
from tests.support.scripted import rows_of

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


async def test_alt_svc_moves_a_user_from_http_2_to_http_3(nginx: RunningNginx) -> None:
    async with http3_client(nginx.http3_url, nginx.ca, Http(http3=True, http2=True)) as client:
        versions = [(await client.get("/1k", expect=200)).http_version for _ in range(3)]
        assert versions == ["HTTP/2", "HTTP/3", "HTTP/3"]
        assert len(pool_of(client)) == 1


# -- bodies and heads -----------------------------------------------------------------------------


async def test_bodies_of_all_sizes_arrive_and_come_back_as_they_were() -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 70_001):
            yield body[at : at + 70_001]

    async with http3_server(echo) as server, http3_client(server.url, server.ca) as client:
        for size in (0, 1, 1024, 70_000, 300_000):
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


# -- 0-RTT --------------------------------------------------------------------------------------------


async def test_requests_of_a_second_connection_arrive_before_its_handshake_has_ended() -> None:
    async with http3_server(hello, tickets=True) as server, http3_client(server.url, server.ca, EARLY) as client:
        await client.get("/first", expect=200)
        await until(lambda: has_ticket(client))
        pool_of(client).close_idle()
        replies = await asyncio.gather(*(client.get(f"/{n}", expect=200) for n in range(3)))
        assert [reply.text for reply in replies] == ["hello /0", "hello /1", "hello /2"]
        # The first goes with the handshake; whether the others come before its end depends on the machine.
        assert [asked.is_early for asked in server.asked[:2]] == [False, True]
        await until(lambda: pool_of(client).tally.early.n)
        early = pool_of(client).tally.early
        assert 1 <= early.n == early.total <= 3


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
        assert pool_of(client).tally.lost.n > 0
