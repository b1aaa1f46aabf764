"""`auth=` takes any httpx.Auth: its sub-requests are rows of their own, and a challenge that it answers is no error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import pytest

from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from tests.support.measured import stock_of
from tests.support.scripted import CLOSE, Answer, Received, client_of, ok, rows_of, scripted


class Refreshing(httpx.Auth):
    """As in httpx's documentation: a token that is fetched anew when the old one is refused."""

    requires_response_body = True

    def __init__(self, url: str) -> None:
        self.url, self.token = url, "old"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token}"
        response = yield request
        if response.status_code == 401:
            assert response.json() == {"why": "expired"}
            answer = yield httpx.Request("POST", f"{self.url}/token", json={"grant_type": "refresh_token"})
            if answer.status_code == 200:
                self.token = answer.json()["access_token"]
                request.headers["Authorization"] = f"Bearer {self.token}"
            yield request


class Service:
    """Knows one token; `after` is how often a fresh one holds. Pages say 404 or redirect."""

    def __init__(self, token_answer: Answer | None = None) -> None:
        self.token_answer = token_answer or ok(b'{"access_token": "new"}')

    def __call__(self, request: Received) -> Answer:
        if request.target == "/token":
            return self.token_answer
        if request.header("authorization") != "Bearer new":
            return ok(b'{"why": "expired"}', status="401 Unauthorized")
        match request.target:
            case "/moved":
                return ok(b"", "Location: /gone", status="307 T")
            case "/gone":
                return ok(b"gone", status="404 Not Found")
            case _:
                return ok(request.body or b"me")


def _outcomes(client: Any) -> list[tuple[str | None, str]]:
    return [(row.name, row.outcome) for row in rows_of(client)]


async def test_a_token_is_refreshed_and_each_request_is_a_row_under_its_own_name() -> None:
    async with scripted(Service()) as server, client_of(server.url) as client:
        auth = Refreshing(server.url)
        reply = await client.post("/me", json={"a": 1}, name="my page", auth=auth, expect=200)
        assert reply.text == '{"a":1}'
        assert (await client.get("/me", auth=auth)).text == "me"
        assert _outcomes(client) == [
            ("my page", "ok"),  # 401, which the flow answered
            ("POST /token", "ok"),
            ("my page", "ok"),
            ("GET /me", "ok"),
        ]
        assert client._meter.failed is None
        counters = client._meter.recorder.counters
        assert (counters.requests_started, counters.requests_errors) == (4, 0)


async def test_the_bytes_of_an_auth_flow_are_those_of_httpx() -> None:
    skip = {"user-agent", "accept-encoding"}
    seen = []
    for ours in (True, False):
        async with scripted(Service()) as server:
            if ours:
                async with client_of(server.url) as client:
                    await client.post("/me", json={"a": 1}, auth=Refreshing(server.url))
            else:
                async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
                    await stock.post("/me", json={"a": 1}, auth=Refreshing(server.url))
            host = server.url.removeprefix("http://")
            own = {"accept": "*/*", "connection": "keep-alive"}
            seen.append(
                [
                    (
                        r.method,
                        r.target,
                        r.body,
                        # A request that the flow made itself has none of the client's headers, in httpx too.
                        sorted((n, v.replace(host, "HOST")) for n, v in r.headers if n not in skip and own.get(n) != v),
                    )
                    for r in server.requests
                ]
            )
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


async def test_a_refusal_that_stays_is_an_error_unless_it_is_accepted_or_expected() -> None:
    service = Service(ok(b'{"access_token": "wrong"}'))
    async with scripted(service) as server, client_of(server.url) as client:
        await client.get("/me", auth=Refreshing(server.url))
        await client.get("/me", auth=Refreshing(server.url), accept={200, 401})
        await client.get("/me", auth=Refreshing(server.url), expect=401)
        with pytest.raises(ExpectFailed):
            await client.get("/me", auth=Refreshing(server.url), expect=200)
        assert [outcome for name, outcome in _outcomes(client) if name == "GET /me"] == [
            *("ok", "http 401"),
            *("ok", "ok"),
            *("ok", "ok"),
            *("ok", "expect status"),
        ]
        assert client._meter.failed == "http 401"


async def test_a_token_service_that_fails_is_an_error_of_its_own_row() -> None:
    async with scripted(Service(ok(b"", status="500 E"))) as server, client_of(server.url) as client:
        await client.get("/me", auth=Refreshing(server.url), expect=401)
        assert _outcomes(client) == [("GET /me", "ok"), ("POST /token", "http 500"), ("GET /me", "ok")]
    async with scripted(Service(CLOSE)) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed, match=r"reset.*/token"):
            await client.get("/me", auth=Refreshing(server.url))
        assert _outcomes(client) == [("GET /me", "ok"), ("POST /token", "reset")]


async def test_accept_holds_for_the_end_of_redirects_and_auth_flows() -> None:
    async with scripted(Service()) as server, client_of(server.url) as client:
        auth = Refreshing(server.url)
        reply = await client.get("/moved", auth=auth, follow_redirects=True, accept={404}, name="old page")
        assert (reply.status_code, reply.text, [h.status_code for h in reply.history]) == (404, "gone", [401, 200, 307])
        await client.get("/moved", auth=auth, follow_redirects=True)
        await client.get("/moved", auth=auth, follow_redirects=True, expect=404)
        assert _outcomes(client) == [
            ("old page", "ok"),
            ("POST /token", "ok"),
            ("old page", "ok"),
            ("old page (hop 2)", "ok"),
            *(("GET /moved", "ok"), ("GET /gone", "http 404")),
            *(("GET /moved", "ok"), ("GET /gone", "ok")),
        ]


async def test_digest_auth_gives_the_same_as_httpx_with_its_session_cookies() -> None:
    def answer(request: Received) -> bytes:
        if not (request.header("authorization") or "").startswith("Digest"):
            challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
            return ok(b"", challenge, "Set-Cookie: session=1", status="401 U")
        return ok(json.dumps(request.header("cookie")).encode())

    async with scripted(answer) as server:
        async with client_of(server.url) as client:
            auth = httpx.DigestAuth("user", "secret")
            ours = [(await client.get("/a?b=c", auth=auth)).json() for _ in range(2)]
            assert _outcomes(client) == [("GET /a", "ok")] * 3  # the second call needs no challenge
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
            auth = httpx.DigestAuth("user", "secret")
            theirs = [(await stock.get("/a?b=c", auth=auth)).json() for _ in range(2)]
    assert ours == theirs == ["session=1"] * 2


async def test_the_history_has_the_answers_of_the_auth_flow_as_in_httpx() -> None:
    async with scripted(Service()) as server:
        async with client_of(server.url) as client:
            ours = await client.get("/moved", auth=Refreshing(server.url), follow_redirects=True, accept={404})
            plain = await client.get("/moved")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
            theirs = await stock.get("/moved", auth=Refreshing(server.url), follow_redirects=True)
    assert [one.status_code for one in ours.history] == [one.status_code for one in theirs.history] == [401, 200, 307]
    assert [str(one.url) for one in ours.history] == [str(one.url) for one in theirs.history]
    assert ours.call_elapsed > ours.elapsed
    assert plain.history == []


async def test_the_history_of_a_stream_has_the_challenge() -> None:
    async with scripted(Service()) as server, client_of(server.url) as client:
        async with client.stream("GET", "/me", auth=Refreshing(server.url), expect=200) as reply:
            assert await reply.aread() == b"me"
        assert [one.status_code for one in reply.history] == [401, 200]


async def test_a_function_signs_the_request() -> None:
    def signed(request: httpx.Request) -> httpx.Request:
        request.headers["X-Signature"] = f"{request.method} {len(request.content)}"
        return request

    async with scripted(ok(b"x")) as server, client_of(server.url) as client:
        await client.post("/s", content=b"abc", auth=signed, expect=200)
        assert server.requests[0].header("x-signature") == "POST 3"
        assert _outcomes(client) == [("POST /s", "ok")]


@pytest.mark.parametrize("make", [client_of, stock_of])
async def test_a_function_that_returns_no_request_is_an_error_that_names_it(make: Any) -> None:
    def forgets(request: httpx.Request) -> None:
        request.headers["X-Signature"] = "1"

    async def waits(request: httpx.Request) -> httpx.Request:
        return request

    async with scripted(ok(b"x")) as server, make(server.url) as client:
        with pytest.raises(UsageError, match="forgets returned NoneType, not the request"):
            await client.get("/s", auth=forgets)
        with pytest.raises(UsageError, match="waits returned coroutine"):
            await client.get("/s", auth=waits)
        with pytest.raises(TypeError, match="or a function, got int"):
            await client.get("/s", auth=1)
        assert not server.requests


class Locked(httpx.Auth):
    """An async flow, as SDKs have it: one refresh for all."""

    requires_request_body = True

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.is_broken = False

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        async with self.lock:
            request.headers["X-Signature"] = str(len(await request.aread()))
        response = yield request
        if self.is_broken:
            raise KeyError("token")
        assert response.status_code == 200


async def test_an_async_flow_may_wait_and_what_it_raises_comes_out() -> None:
    async with scripted(ok(b"x")) as server, client_of(server.url) as client:
        auth = Locked()
        await asyncio.gather(*(client.post("/s", content=b"abc", auth=auth) for _ in range(3)))
        assert [request.header("x-signature") for request in server.requests] == ["3"] * 3
        auth.is_broken = True
        with pytest.raises(KeyError, match="token"):
            await client.post("/s", content=b"abc", auth=auth)
        with pytest.raises(KeyError, match="token"):
            async with client.stream("GET", "/s", auth=auth):
                raise AssertionError("it has not begun")
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 5
        counters = client._meter.recorder.counters
        assert counters.requests_started == counters.requests_finished == 5
