"""`user.httpx` in a journey: whose client it is, how the iteration ends, and where its rows are."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from loadgen.clients.httpx_api.libraries import HTTPX
from loadgen.clients.net.canned_replies import reply
from loadgen.clients.net.network import TcpNetwork
from loadgen.dsl.users.exception_to_outcome import outcome_of
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed, UsageError
from tests.support.lives import REPLIES, Bench, bound
from tests.support.second_httpx import second_httpx


async def test_it_is_a_real_client_at_the_plans_target_over_the_users_connections() -> None:
    async def j(user: User) -> None:
        client = user.httpx
        assert type(client) is httpx.AsyncClient
        assert client is user.httpx
        assert client.base_url == "http://shop.test"
        assert (await client.get("/json")).json() == {"state": "done"}
        await user.http.get("/json", expect=200)
        await user.httpx.post("/login", json={})

    bench = Bench(bound(j))
    life = await bench.run()
    assert life.outcome == "ok"
    assert bench.network.connections == 1
    rows = bench.rows()
    assert rows["request", None, "GET /json", "ok"] == 2
    assert rows["request", None, "POST /login", "ok"] == 1


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_fresh_person_has_a_fresh_client_and_a_lasting_one_keeps_it(fresh: bool) -> None:
    seen: list[str | None] = []
    clients: list[httpx.AsyncClient] = []

    async def j(user: User) -> None:
        clients.append(user.httpx)
        seen.append(user.httpx.cookies.get("id"))
        await user.httpx.post("/login")

    bench = Bench(bound(j), fresh=fresh)
    await bench.run(2)
    assert (clients[0] is not clients[1]) == fresh
    assert seen == [None, None if fresh else "1"]
    assert bench.network.connections == 1


async def test_one_that_was_closed_is_made_anew() -> None:
    async def j(user: User) -> None:
        async with user.httpx as client:
            await client.get("/")
        await user.httpx.get("/")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"
    assert bench.network.connections == 1


async def test_rows_stand_in_the_step_that_the_user_is_in() -> None:
    async def j(user: User) -> None:
        async with user.step("a"):
            async with user.step("b"):
                await user.httpx.get("/")
            await asyncio.gather(*(user.httpx.get("/json") for _ in range(3)))

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"
    rows = bench.rows()
    assert rows["request", "a/b", "GET /", "ok"] == 1
    assert rows["request", "a", "GET /json", "ok"] == 3


async def test_tasks_of_calls_that_run_beside_each_other_are_in_their_calls_step() -> None:
    """A library sends three at once, and two such calls run in `user.gather`, each in a step of its own."""

    async def library(client: httpx.AsyncClient, path: str) -> None:
        await asyncio.gather(*(asyncio.create_task(client.get(path)) for _ in range(3)))

    async def in_step(user: User, name: str, path: str) -> None:
        async with user.step(name):
            await library(user.httpx, path)

    async def j(user: User) -> None:
        async with user.step("page"):
            await user.gather(in_step(user, "one", "/json"), in_step(user, "two", "/missing"))

    bench = Bench(bound(j))
    life = await bench.run()
    rows = bench.rows()
    assert rows["request", "page/one", "GET /json", "ok"] == 3
    assert rows["request", "page/two", "GET /missing", "http 404"] == 3
    assert rows["step", "page/one", None, "ok"] == 1
    assert rows["step", "page/two", None, "http 404"] == 1
    assert rows["step", "page", None, "http 404"] == 1
    assert life.outcome == "http 404"
    assert sum(n for (kind, *_), n in rows.items() if kind == "request") == 6


async def test_a_task_that_outlives_its_call_is_recorded_all_the_same() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def leaving(user: User) -> None:
        tasks.append(asyncio.create_task(user.httpx.get("/json")))
        await asyncio.sleep(0)

    async def j(user: User) -> None:
        await user.gather(leaving(user), user.httpx.get("/"))
        await asyncio.gather(*tasks)

    bench = Bench(bound(j))
    await bench.run()
    rows = bench.rows()
    assert rows["request", None, "GET /json", "ok"] == 1
    assert rows["request", None, "GET /", "ok"] == 1


# -- how an iteration ends ------------------------------------------------------------------------------


async def _outcome(j: Callable[[User], Awaitable[None]], **replies: Any) -> tuple[str, int]:
    """The iteration's outcome, and how many faults of the scenario were counted."""
    bench = Bench(bound(j), replies={**REPLIES, **replies})
    life = await bench.run()
    return life.outcome, bench.recorder.counters.script_faults


async def test_a_status_error_that_leaves_the_journey_is_its_status() -> None:
    async def j(user: User) -> None:
        (await user.httpx.get("/missing")).raise_for_status()

    assert await _outcome(j) == ("http 404", 0)


async def test_too_many_redirects_are_an_outcome() -> None:
    async def j(user: User) -> None:
        await user.httpx.get("/loop", follow_redirects=True)

    loop = reply(302, headers={"Location": "/loop"})
    assert await _outcome(j, **{"GET /loop": loop}) == ("too many redirects", 0)


async def test_what_is_not_packed_as_it_says_is_protocol() -> None:
    async def j(user: User) -> None:
        await user.httpx.get("/packed")

    assert await _outcome(
        j, **{"GET /packed": reply(200, text="hello world", headers={"Content-Encoding": "gzip"})}
    ) == (
        "protocol",
        0,
    )


async def test_the_scenarios_own_fault_stays_its_own_also_after_an_error() -> None:
    async def caught(user: User) -> None:
        try:
            (await user.httpx.get("/missing")).raise_for_status()
        except httpx.HTTPStatusError as error:
            raise KeyError("sku") from error

    async def implicitly(user: User) -> None:
        try:
            (await user.httpx.get("/missing")).raise_for_status()
        except httpx.HTTPStatusError:
            _ = REPLIES["sku"]

    async def wrong_url(user: User) -> None:
        await user.httpx.get("ftp://x.test")

    assert await _outcome(caught) == ("script KeyError", 1)
    assert await _outcome(implicitly) == ("script KeyError", 1)
    assert await _outcome(wrong_url) == ("script UnsupportedProtocol", 1)


async def test_a_group_of_failures_is_the_targets_unless_one_is_the_scenarios() -> None:
    async def j(user: User) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raising(user))

    assert await _outcome(j) == ("http 404", 0)
    both = ExceptionGroup("both", [RequestFailed("refused", ""), KeyError("x")])
    assert outcome_of(both) == "script KeyError"


async def _raising(user: User) -> None:
    (await user.httpx.get("/missing")).raise_for_status()


async def test_a_failure_that_leaves_the_journey_ends_it_with_its_outcome() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def j(user: User) -> None:
            await user.httpx.get("/")

        async def trying_again(user: User) -> None:
            for _ in range(3):
                try:
                    await user.httpx.get("/")
                except httpx.ConnectError:
                    continue

        recorder = Recorder()
        user_factory = UserFactory(Ways({"": url}), TcpNetwork(), None, seed=1)
        said: list[str] = []
        life = user_factory.life(recorder, [bound(j), bound(trying_again)], fresh=True, report=said.append)
        await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
        assert life.outcome == "refused"
        await life.iterate(Arrival(None, 1, 1, False), pool_limited=False)
        assert life.outcome == "ok"
        assert said == []
        assert recorder.counters.requests_errors == 4
        await life.close()


async def test_an_sdk_that_is_told_429_and_tries_again_has_had_no_error() -> None:
    statuses = [429, 429, 200]

    async def j(user: User) -> None:
        while (await user.httpx.get("/busy")).status_code == 429:
            pass

    answers = iter([reply(status) for status in statuses])
    assert await _outcome(j, **{"GET /busy": lambda _: next(answers)}) == ("ok", 0)


# -- further clients, and a second library -----------------------------------------------------------------


async def test_a_second_client_sends_over_the_same_connections_with_cookies_and_headers_of_its_own() -> None:
    async def j(user: User) -> None:
        await user.httpx.post("/login")
        async with user.open_httpx(headers={"X-A": "1"}, base_url="http://shop.test/api") as second:
            assert second is not user.httpx
            assert second.base_url == "http://shop.test/api/"
            assert not second.cookies
            assert second.headers["x-a"] == "1"
            assert "x-a" not in user.httpx.headers
            await second.get("http://shop.test/json")
        assert not user.httpx.is_closed
        async with httpx.AsyncClient(transport=user.open_transport(), base_url="http://shop.test") as third:
            await third.get("/json")
        await user.httpx.get("/json")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"
    assert bench.network.connections == 1
    assert bench.rows()["request", None, "GET /json", "ok"] == 3


@pytest.mark.parametrize("option", ["transport", "proxy", "verify", "http2", "limits", "trust_env", "mounts"])
async def test_what_the_plan_decides_is_refused(option: str) -> None:
    async def j(user: User) -> None:
        user.open_httpx(**{option: None})

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "script UsageError"
    (said,) = bench.said
    assert (
        f"{option}: the plan decides this for all clients that use the user's connections; set it for all users" in said
    )


async def test_httpx2_has_real_clients_responses_and_exceptions_of_its_own() -> None:
    with second_httpx() as httpx2:

        async def j(user: User) -> None:
            client = user.httpx2
            assert type(client) is httpx2.AsyncClient
            assert client is user.httpx2
            assert isinstance(user.open_transport("httpx2"), httpx2.AsyncBaseTransport)
            response = await client.get("/json")
            assert type(response) is httpx2.Response
            assert type(response.headers) is httpx2.Headers
            assert response.json() == {"state": "done"}
            assert type((await user.httpx.get("/json")).headers) is httpx.Headers
            async with client.stream("POST", "/login", content=_pieces()) as streamed:
                assert streamed.status_code == 200
                assert await streamed.aread() is not None
            (await client.get("/missing")).raise_for_status()

        async def closed(user: User) -> None:
            with pytest.raises(httpx2.ConnectError) as error:
                await user.httpx2.get("/closed")
            assert isinstance(error.value, RequestFailed)
            await user.httpx2.get("/closed")

        async def _pieces() -> Any:
            yield b"a"

        bench = Bench(bound(j))
        assert (await bench.run()).outcome == "http 404"
        assert bench.network.connections == 1
        rows = bench.rows()
        assert rows["request", None, "GET /json", "ok"] == 2
        assert rows["request", None, "POST /login", "ok"] == 1
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            user_factory = UserFactory(Ways({"": url}), TcpNetwork(), None, seed=1)
            life = user_factory.life(Recorder(), [bound(closed)], fresh=True, report=bench.said.append)
            await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
            assert (life.outcome, bench.said) == ("refused", [])
            await life.close()


async def test_without_httpx2_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.setattr("loadgen.clients.httpx_api.libraries._known", {"httpx": HTTPX})

    async def j(user: User) -> None:
        _ = user.httpx2

    async def other(user: User) -> None:
        user.open_transport("aiohttp")

    remedy = "on this machine and on each agent, install the extra `httpx2`"
    bench = Bench(bound(j), bound(other))
    assert (await bench.run()).outcome == "script UsageError"
    assert f"httpx2 is not installed, so there is no client of it; {remedy}" in bench.said[0]
    await bench.run(journey=1)
    assert "unknown library 'aiohttp'; write one of httpx, httpx2" in bench.said[1]


async def test_the_running_user_is_found_in_its_journey_and_in_its_tasks() -> None:
    found: list[User] = []

    async def j(user: User) -> None:
        async def in_a_task() -> None:
            found.append(User.current())

        assert User.current() is user
        await asyncio.gather(in_a_task(), in_a_task())
        await user.gather(in_a_task(), in_a_task())
        assert found == [user] * 4

    assert (await Bench(bound(j)).run()).outcome == "ok"
    with pytest.raises(UsageError, match="no iteration runs here"):
        User.current()
