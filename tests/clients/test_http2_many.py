"""Random requests over HTTP/2 against three servers: what came is what httpx sees, and the counts are the server's."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.errors import RequestFailed
from tests.clients.test_http2_nghttpd import SIZES, nghttpd
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.scripted import client_of, rows_of

__all__ = ["nghttpd"]  # a fixture

NUMBERS = [pytest.param(150, id="few"), pytest.param(10_000, id="many", marks=pytest.mark.slow)]
_AT_ONCE = 8


@pytest.fixture(scope="module")
def nginx() -> Iterator[RunningNginx]:
    with running_nginx(tls=True) as running:
        yield running


def _body_of(path: str) -> bytes:
    return random.Random(path).randbytes(int(path.rpartition("/")[2]))


async def _answer(served: Served, asked: Asked) -> None:
    """By path: /reset, /away (GOAWAY after this answer), /echo, or /N: a body of N bytes with trailers."""
    if asked.path == "/reset":
        served.reset(asked.stream, 2)
        return
    body = asked.body if asked.path == "/echo" else b"away" if asked.path == "/away" else _body_of(asked.path)
    served.headers(asked.stream, 200, ("x-path", asked.path), ("x-size", str(len(body))))
    if asked.path in ("/echo", "/away"):
        for at in range(0, len(body), 10_000):
            await served.until(lambda: served.h2.local_flow_control_window(asked.stream) > 10_000)
            served.data(asked.stream, body[at : at + 10_000])
        served.headers(asked.stream, None, ("x-sum", str(len(body))), end=True)
        if asked.path == "/away":
            served.goaway(2**31 - 1)  # nothing new here, and what is under way goes on
    else:
        await served.stream(asked.stream, body) if body else served.data(asked.stream, end=True)


@pytest.mark.parametrize("number", NUMBERS)
async def test_random_requests_have_their_own_answers_whatever_ends_in_between(number: int) -> None:
    rng = random.Random(number)
    asked: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    failed: set[tuple[str, str]] = set()

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 7000):
            yield body[at : at + 7000]

    async with http2_server(_answer) as server, client_of(server.url, pool=prior_pool()) as client:

        async def one() -> None:
            path = rng.choices(["/reset", "/away", "/echo", "get"], [4, 1, 30, 65])[0]
            if path == "get":
                path = f"/{rng.choice((0, 1, 100, 1024, 20_000, 300_000))}"
            asked[path] += 1
            if path == "/echo":
                body = rng.randbytes(rng.choice((0, 1, 5_000, 70_000, 200_000)))
                reply = await client.post(path, content=pieces(body) if rng.random() < 0.3 else body, timeout=60)
                assert reply.content == body
                assert dict(reply.trailers) == {"x-sum": str(len(body))}
            else:
                try:
                    reply = await client.get(path, timeout=60)
                except RequestFailed as failure:
                    ended[failure.outcome] += 1
                    failed.add((path, failure.outcome))
                    return
                assert reply.content == (b"away" if path == "/away" else _body_of(path))
            ended["ok"] += 1
            assert reply.headers.multi_items() == [("x-path", path), ("x-size", str(len(reply.content)))]

        async def some(count: int) -> None:
            for _ in range(count):
                await one()

        await asyncio.gather(*(some(number // _AT_ONCE) for _ in range(_AT_ONCE)))
        assert failed <= {("/reset", "h2 internal_error")}
        assert Counter(row.outcome for row in rows_of(client)) == ended
        assert Counter(one.path for one in server.asked) == asked


@pytest.mark.parametrize("number", NUMBERS)
async def test_nginx_answers_and_counts_what_httpx_sees(number: int, nginx: RunningNginx) -> None:
    rng = random.Random(number)
    context = tls_context(nginx.ca, Http(http2=True))
    paths = ("/", "/json", "/1k", "/status/404", "/status/503")
    async with httpx.AsyncClient(http2=True, verify=context, base_url=nginx.http2_url) as other:
        expected = {path: await other.get(path) for path in paths}
    before = nginx.access_log_count()
    pool = Http2Pool(TcpNetwork(), context)
    async with client_of(nginx.http2_url, pool=pool) as client:
        for _ in range(number // 10):
            chosen = rng.choices(paths, k=9)
            replies = await asyncio.gather(*(client.get(path) for path in chosen))
            for path, reply in zip(chosen, replies, strict=True):
                it = expected[path]
                assert (reply.status_code, reply.content) == (it.status_code, it.content)
                assert [n for n, v in reply.headers.multi_items() if n == "date" or v != it.headers.get(n)] == ["date"]
            assert (await client.post("/json", content=os.urandom(rng.choice((1, 80_000))))).status_code == 200
    assert nginx.settled_count(before + number) == before + number


@pytest.mark.parametrize("number", NUMBERS)
async def test_nghttpd_answers_what_httpx_sees_and_its_trailers_are_read(number: int, nghttpd: str) -> None:
    rng = random.Random(number)
    async with httpx.AsyncClient(http1=False, http2=True, base_url=nghttpd) as other:
        expected = {path: await other.get(path) for path in SIZES}
    async with client_of(nghttpd, pool=prior_pool()) as client:
        for _ in range(number // 10):
            chosen = rng.choices(tuple(SIZES), [20, 20, 1], k=9)
            replies = await asyncio.gather(*(client.get(path) for path in chosen))
            for path, reply in zip(chosen, replies, strict=True):
                it = expected[path]
                assert reply.content == it.content
                assert [n for n, v in reply.headers.multi_items() if v != it.headers.get(n)] in ([], ["date"])
                assert reply.trailers.multi_items() == [("x-sum", "1")]
            body = os.urandom(rng.choice((1, 80_000)))
            assert (await client.post("/echo", content=body)).content == body
        assert {row.outcome for row in rows_of(client)} == {"ok"}
