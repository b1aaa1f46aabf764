"""Through a real proxy to a real target: forwarded, tunnelled, in HTTP/2, with and without its login."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from loadgen import Http
from loadgen.clients.http import HttpClient
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.pool.pool_for_plan import pool_for
from loadgen.errors import RequestFailed
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.scripted import client_of, rows_of
from tests.support.tinyproxy import running_tinyproxy

LOGIN = "me:hunter2"


@dataclass(frozen=True)
class Login:
    """A secret as it is given."""

    value: str
    name: str = "proxy-login"

    def reveal(self) -> str:
        return self.value


@dataclass(frozen=True)
class Between:
    nginx: RunningNginx
    proxy: str

    @contextlib.asynccontextmanager
    async def client(self, url: str, login: str | None, *, http2: bool = False) -> AsyncIterator[HttpClient]:
        http = Http(proxy=self.proxy, proxy_auth=Login(login) if login else None, http2=http2)
        tls = tls_context(self.nginx.ca, http)
        pool = pool_for(Connections(), network_of(http), tls, http2=http.http2)
        async with client_of(url, pool=pool, forward=Forward.of(http)) as client:
            yield client


@pytest.fixture(scope="module")
def between() -> Iterator[Between]:
    with running_nginx(tls=True) as nginx:
        ports = [int(url.rpartition(":")[2]) for url in (nginx.tls_url, nginx.http2_url)]
        with running_tinyproxy(LOGIN, tunnels_to=ports) as proxy:
            yield Between(nginx, proxy)


@pytest.mark.parametrize("way", ["url", "tls_url", "http2_url"])
async def test_each_request_arrives_once_and_each_answer_comes_back_whole(way: str, between: Between) -> None:
    before = between.nginx.counts()
    async with between.client(getattr(between.nginx, way), LOGIN, http2=way == "http2_url") as client:
        for _ in range(5):
            if way == "url":  # it closes after each answer that it forwards, and does not say so
                client._pool.close_idle()
            assert len((await client.get("/1k?a=b", expect=200)).content) == 1024
            if way == "url":
                client._pool.close_idle()
            await client.post("/json", json={"a": [1] * 100}, expect=200)
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 10
        assert await _version(client) == ("HTTP/2" if way == "http2_url" else "HTTP/1.1")
    between.nginx.settled_count(before.total() + 11)
    after = between.nginx.counts() - before
    assert (after["GET /1k 200"], after["POST /json 200"]) == (5, 5)


async def _version(client: HttpClient) -> str:
    return (await client.get("/", expect=200)).http_version


@pytest.mark.parametrize(("login", "outcome"), [(None, "proxy 407"), ("me:wrong", "proxy 401")])
async def test_without_the_right_login_it_refuses_the_tunnel(login: str | None, outcome: str, between: Between) -> None:
    async with between.client(between.nginx.tls_url, login) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == outcome


async def test_a_port_that_it_does_not_tunnel_to_is_its_refusal(between: Between) -> None:
    async with between.client(between.nginx.url.replace("http:", "https:"), LOGIN) as client:
        with pytest.raises(RequestFailed, match="proxy 403"):
            await client.get("/")
