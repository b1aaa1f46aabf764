"""No body is larger than it may be: as it came, unpacked, in one read or in many, and no byte is lost below that."""

from __future__ import annotations

import gzip

import pytest

from loadgen import Http, Plan, arrivals, journey
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed
from tests.support.peak import peak_kib, start_of_peak_kib
from tests.support.scripted import client_of, ok, rows_of, scripted

pytestmark = pytest.mark.usefixtures("small_heap")


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("limit", [100, 1_000, 300_000])
@pytest.mark.parametrize("shape", ["length", "chunked"])
@pytest.mark.parametrize("has_phases", [False, True])
async def test_a_body_may_be_as_large_as_the_limit_and_not_a_byte_larger(
    limit: int, shape: str, has_phases: bool
) -> None:
    frame = ok if shape == "length" else chunked
    for size, is_fine in ((limit, True), (limit + 1, False), (limit, True), (limit + 1, False), (limit * 3, False)):
        answer = frame(b"x" * size)
        async with (
            scripted(answer) as server,
            client_of(server.url, limit_bytes=limit, has_phases=has_phases) as client,
        ):
            if is_fine:
                assert len((await client.get("/")).content) == size
                assert len((await client.get("/")).content) == size  # its head is known by now
                assert server.connections == 1
                continue
            with pytest.raises(RequestFailed, match=f"more than {limit} bytes") as failure:
                await client.get("/")
            assert failure.value.outcome == "body too large"
            assert [row.outcome for row in rows_of(client)] == ["body too large"]
            assert len(client._pool) == 0


async def test_head_says_how_large_a_body_would_be_and_has_none() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    async with scripted(answer) as server, client_of(server.url, limit_bytes=100) as client:
        for _ in range(2):
            assert (await client.head("/")).headers["content-length"] == "5000"
        assert server.connections == 1


async def test_the_limit_is_that_of_the_unpacked_body_too() -> None:
    answer = ok(gzip.compress(b"x" * 2_000), "Content-Encoding: gzip")
    async with scripted(answer) as server:
        async with client_of(server.url, limit_bytes=2_000) as client:
            assert len((await client.get("/")).content) == 2_000
            async with client.stream("GET", "/") as reply:
                assert len(await reply.aread()) == 2_000
        async with client_of(server.url, limit_bytes=1_999) as client:
            with pytest.raises(RequestFailed, match="decodes to more than 1999 bytes"):
                _ = (await client.get("/")).content
            with pytest.raises(RequestFailed, match="more than 1999 bytes"):
                async with client.stream("GET", "/") as reply:
                    await reply.aread()


def test_the_default_of_the_plan_is_that_of_a_connection() -> None:
    assert Http().max_body_bytes == MAX_BODY_BYTES
    assert ConnectionPool(None).limit_bytes == MAX_BODY_BYTES  # type: ignore[arg-type]


@pytest.mark.parametrize("connections", ["kept", "shared:3"])
async def test_a_plan_has_its_people_keep_to_its_limit(connections: str) -> None:
    @journey
    async def look(user: User) -> None:
        await user.http.get("/")

    async with scripted(ok(b"x" * 2_000)) as server:
        plan = Plan(
            target=server.url,
            load=arrivals("1/s").hold("1s"),
            mix=look,
            connections=connections,
            http=Http(max_body="1KB"),
        )
        user_factory = UserFactory(plan.ways(), TcpNetwork(), None, seed=1)
        user = user_factory.user(Recorder())
        user._meter.begin("look", warmup=False, pool_limited=False)
        with pytest.raises(RequestFailed, match="more than 1000 bytes"):
            await user.http.get("/")
        await user.http.close()
        user_factory.close()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_body_of_two_bytes_a_chunk_is_read_whole_and_takes_little_more_memory_than_its_bytes(
    is_stream: bool,
) -> None:
    """Go's client accepts that, too. A piece of 2 bytes takes 43 bytes of memory and a chunk 7 on the wire."""
    block = b"2\r\nxy\r\n" * 8_000
    answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[block] * 150, b"0\r\n\r\n"]
    before = start_of_peak_kib()
    async with scripted(answer) as server, client_of(server.url) as client:
        if is_stream:
            async with client.stream("GET", "/", timeout=60) as reply:
                body = await reply.aread()
        else:
            body = (await client.get("/", timeout=60)).content
        assert body == b"xy" * 8_000 * 150
    assert peak_kib() - before < 32 * 1024
