"""Several targets of one person: a client each, on the connections of one slot."""

from __future__ import annotations

import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
from loadgen.engine.recording.user_meter import Meter
from tests.support.scripted import Received, Rows, ok, scripted


@pytest.mark.parametrize("is_shared", [False, True])
async def test_each_client_has_headers_cookies_and_names_of_its_own_on_one_pool(is_shared: bool) -> None:
    def answer(request: Received) -> bytes:
        return ok(request.target.encode(), "Set-Cookie: session=login") if request.target == "/in" else ok(b"")

    async with scripted(answer, host="127.0.0.1") as api_server, scripted(answer, host="127.0.0.2") as login_server:
        rows = Rows()
        meter = Meter(rows)
        meter.begin("journey", warmup=False, pool_limited=False)
        pool = SharedPool(4, TcpNetwork()) if is_shared else ConnectionPool(TcpNetwork())
        api = HttpClient(meter, pool, api_server.url)
        login = HttpClient(meter, pool, login_server.url + "/oauth", target="login")
        login.headers["X-Login"] = "1"
        api.headers["Authorization"] = "Bearer api"
        await login.get(login_server.url + "/in")
        await login.post("/token", json={"a": 1})
        await api.get("/x")
        await api.get(login_server.url + "/oauth/x")  # an absolute URL to another of the plan's targets
        await login.get(api_server.url + "/x")
        await login.get("/token", name="token")
        meter.settle()
        seen = [(r.target, r.header("x-login"), r.header("cookie")) for r in login_server.requests]
        assert seen == [
            ("/in", "1", None),
            ("/oauth/token", "1", "session=login"),
            ("/oauth/x", None, None),
            ("/oauth/token", "1", "session=login"),
        ]
        assert [r.header("x-login") for r in api_server.requests] == [None, "1"]
        assert [r.header("cookie") for r in api_server.requests] == [None, None]
        assert [row.name for row in rows.rows] == [
            "GET login:/in",
            "POST login:/oauth/token",
            "GET /x",
            f"GET {login_server.url}/oauth/x",
            f"GET {api_server.url}/x",
            "token",
        ]
        assert (api_server.connections, login_server.connections) == (1, 1)
        assert len(pool) == 2
        pool.close()


async def test_a_fresh_person_of_one_target_leaves_the_others_as_they_are() -> None:
    async with scripted(ok(b"")) as server:
        meter = Meter(Rows())
        pool = ConnectionPool(TcpNetwork())
        one, other = HttpClient(meter, pool, server.url), HttpClient(meter, pool, server.url, target="other")
        one.headers["X-A"] = other.headers["X-B"] = "1"
        one.reset()
        await one.get("/")
        await other.get("/")
        assert [(r.header("x-a"), r.header("x-b")) for r in server.requests] == [(None, None), (None, "1")]
        pool.close()
