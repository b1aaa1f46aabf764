"""Redirects and cookies follow httpx's rules; each hop is a row, and the call is their sum."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from loadgen.clients.request.cookies import UserCookies
from loadgen.clients.response.replies import Reply
from loadgen.errors import ExpectFailed, RequestFailed
from tests.support.scripted import Received, client_of, ok, rows_of, scripted


def _moved(to: str, status: int = 302, *headers: str) -> bytes:
    return ok(b"moved", f"Location: {to}", *headers, status=f"{status} Moved")


def _pairs(requests: list[Received]) -> list[Any]:
    skip = {"user-agent", "accept-encoding"}
    return [(r.method, r.target, r.body, sorted((n, v) for n, v in r.headers if n not in skip)) for r in requests]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
async def test_method_body_and_headers_after_a_redirect_are_those_of_httpx(method: str, status: int) -> None:
    def answer(request: Received) -> bytes:
        if request.target == "/a":
            return b"HTTP/1.1 %d Moved\r\nLocation: /b?x=1#y\r\nContent-Length: 0\r\n\r\n" % status
        return ok()

    arguments: dict[str, Any] = {"headers": {"Authorization": "Bearer x", "X-Call": "1"}, "follow_redirects": True}
    if method in ("POST", "PUT"):
        arguments["json"] = {"a": 1}
    async with scripted(answer) as server, client_of(server.url) as client:
        ours = await client.request(method, "/a", **arguments)
        sent = _pairs(server.requests)
        server.requests.clear()
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock_client:
            stock = await stock_client.request(method, "/a", **arguments)
        assert sent == _pairs(server.requests)
        assert ours.url == stock.url
        assert [h.url for h in ours.history] == [h.url for h in stock.history]
        assert [row.name for row in rows_of(client)] == [f"{method} /a", f"{sent[1][0]} /b"]


async def test_a_redirect_is_followed_only_when_asked_for() -> None:
    async with (
        scripted(lambda r: _moved("/b") if r.target == "/a" else ok(b"b")) as server,
        client_of(server.url) as client,
    ):
        reply = await client.get("/a")
        assert (reply.status_code, reply.outcome, reply.has_redirect_location) == (302, "ok", True)
        assert reply.next_request is not None
        assert str(reply.next_request.url) == f"{server.url}/b"
        assert (await client.get("/a", follow_redirects=True)).text == "b"
        client.follow_redirects = True
        assert (await client.get("/a")).text == "b"
        assert (await client.get("/a", follow_redirects=False)).status_code == 302
        assert (await client.get("/a", follow_redirects=httpx.USE_CLIENT_DEFAULT)).text == "b"


async def test_each_hop_is_a_row_and_the_call_is_their_sum() -> None:
    hops = {"/a": _moved("/b"), "/b": _moved("/c"), "/c": ok(b"end", status="404 Not Found")}
    async with scripted(lambda r: hops[r.target]) as server, client_of(server.url) as client:
        client.follow_redirects = True
        reply = await client.get("/a", name="the page", expect=404)
        rows = rows_of(client)
        assert [(r.name, r.outcome) for r in rows] == [
            ("the page", "ok"),
            ("the page (hop 2)", "ok"),
            ("the page (hop 3)", "ok"),
        ]
        assert [h.status_code for h in reply.history] == [302, 302]
        assert reply.call_elapsed.total_seconds() * 1e9 >= sum(r.response_ns for r in rows) - 10_000
        assert reply.elapsed < reply.call_elapsed
        with pytest.raises(ExpectFailed, match="expect status"):
            await client.get("/a", expect=200)
        assert [r.outcome for r in rows_of(client)[3:]] == ["ok", "ok", "expect status"]


async def test_authorization_does_not_go_to_another_origin() -> None:
    async with (
        scripted(ok(b"other")) as other,
        scripted(lambda _: _moved(other.url + "/x")) as server,
        client_of(server.url) as client,
    ):
        client.headers["Authorization"] = "Bearer secret"
        reply = await client.get("/", follow_redirects=True)
        assert reply.text == "other"
        assert server.requests[0].header("authorization") == "Bearer secret"
        assert other.requests[0].header("authorization") is None
        assert other.requests[0].header("host") == other.url.removeprefix("http://")
        assert rows_of(client)[1].name == f"GET {other.url}/x"


async def test_a_redirect_loop_ends_after_20_hops_with_an_outcome() -> None:
    async with scripted(_moved("/again")) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed, match="too many redirects"):
            await client.get("/", follow_redirects=True)
        outcomes = [row.outcome for row in rows_of(client)]
        assert outcomes == ["ok"] * 20 + ["too many redirects"]
        assert len(server.requests) == 21
        counters = client._meter.recorder.counters
        assert counters.requests_started == counters.requests_finished == 21


@pytest.mark.parametrize("location", ["ftp://x/", "mailto:a@b", "http://a:b:c/"])
async def test_a_location_that_leads_nowhere_is_a_protocol_fault(location: str) -> None:
    async with scripted(_moved(location)) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed, match="protocol"):
            await client.get("/", follow_redirects=True)
        assert [row.outcome for row in rows_of(client)] == ["protocol"]


@pytest.mark.parametrize("location", ["/b", "b", "?q=1", "//127.0.0.1:{port}/b", "http://127.0.0.1:{port}/b", "/é b"])
async def test_a_location_is_resolved_as_httpx_does(location: str) -> None:
    port = ""

    def answer(request: Received) -> bytes:
        return _moved(location.format(port=port)) if request.target == "/dir/a" else ok(request.target.encode())

    async with scripted(answer) as server, client_of(server.url) as client:
        port = server.url.rpartition(":")[2]
        ours = await client.get("/dir/a", follow_redirects=True)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, follow_redirects=True) as stock_client:
            stock = await stock_client.get("/dir/a")
        assert ours.text == stock.text
        assert ours.url == stock.url


# -- cookies ---------------------------------------------------------------------------------

JARS = [
    ["a=b"],
    ["a=b; Path=/sub"],
    ["a=b; Path=/"],
    ["a=b; Domain=127.0.0.1"],
    ["a=b; Domain=other.example"],
    ["a=b; Max-Age=0"],
    ["a=b; Max-Age=3600"],
    ["a=b; Secure"],
    ["a=b; HttpOnly; SameSite=Lax"],
    ["a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
    ['a="quoted value"'],
    ["a=b", "c=d", "a=e; Path=/sub"],
    ["=nothing", "novalue", ""],
]


@pytest.mark.parametrize("cookies", JARS)
async def test_cookies_go_where_httpx_sends_them(cookies: list[str]) -> None:
    def answer(request: Received) -> bytes:
        return ok(b"", *(f"Set-Cookie: {c}" for c in cookies)) if request.target == "/sub/set" else ok()

    async def visit(client: Any) -> None:
        for url in ("/sub/set", "/sub/x", "/", "/other", "/sub/x"):
            await client.get(url)

    async with scripted(answer) as server, client_of(server.url) as client:
        await visit(client)
        ours = [r.header("cookie") for r in server.requests]
        server.requests.clear()
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
            await visit(stock)
        assert ours == [r.header("cookie") for r in server.requests]
        assert [(c.name, c.value, c.path) for c in client.cookies.jar] == [
            (c.name, c.value, c.path) for c in stock.cookies.jar
        ]


async def test_cookies_are_kept_through_redirects_and_forgotten_by_a_fresh_person() -> None:
    def answer(request: Received) -> bytes:
        return _moved("/home", 302, "Set-Cookie: session=1; Path=/") if request.target == "/login" else ok()

    async with scripted(answer) as server, client_of(server.url) as client:
        await client.post("/login", json={}, follow_redirects=True)
        assert server.requests[1].header("cookie") == "session=1"
        await client.post("/cart", json={})
        assert server.requests[2].header("cookie") == "session=1"
        client.headers["Authorization"] = "x"
        client.reset()
        await client.get("/")
        assert server.requests[3].header("cookie") is None
        assert server.requests[3].header("authorization") is None
        assert server.connections == 1


async def test_a_change_of_cookies_or_headers_shows_in_the_next_request() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        client.cookies.set("a", "1")
        await client.get("/")
        client.cookies["b"] = "2"
        await client.get("/")
        del client.cookies["a"]
        await client.get("/")
        client.cookies.clear()
        await client.get("/")
        client.cookies = {"c": "3"}
        await client.get("/")
        assert [r.header("cookie") for r in server.requests] == ["a=1", "a=1; b=2", "b=2", None, "c=3"]
        client.headers["X"] = "1"
        await client.get("/")
        client.headers.update({"X": "2", "Y": "3"})
        await client.get("/")
        del client.headers["X"]
        await client.get("/")
        client.headers = {"Z": "4"}
        await client.get("/")
        found = [[r.header(n) for n in "xyz"] for r in server.requests[5:]]
        assert found == [["1", None, None], ["2", "3", None], [None, "3", None], [None, None, "4"]]


def test_a_cookie_is_not_sent_after_it_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    cookies = UserCookies()
    url = "http://shop.test/"
    cookies.learn(url, [(b"Set-Cookie", b"a=b; Max-Age=10"), (b"Set-Cookie", b"c=d")])
    assert cookies.header_line(url) == b"Cookie: a=b; c=d\r\n"
    assert cookies.header_line(url) == b"Cookie: a=b; c=d\r\n"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11)
    assert cookies.header_line(url) == b"Cookie: c=d\r\n"
    assert cookies.header_line(url) == b"Cookie: c=d\r\n"


def test_few_cookie_headers_are_remembered() -> None:
    cookies = UserCookies({"a": "b"})
    for n in range(1000):
        assert cookies.header_line(f"http://shop.test/{n}") == b"Cookie: a=b\r\n"
    assert len(cookies.jar.rendered) <= 64


async def test_requests_at_once_do_not_mix_up_their_replies() -> None:
    async with scripted(lambda r: ok(r.target.encode())) as server, client_of(server.url) as client:
        for _ in range(5):
            replies: list[Reply] = await asyncio.gather(*(client.get(f"/{n}") for n in range(20)))
            assert [r.text for r in replies] == [f"/{n}" for n in range(20)]
        assert server.connections == 20
        assert len(rows_of(client)) == 100


@pytest.mark.parametrize(
    ("value", "back"), [("é".encode(), "é".encode()), (b"\x80", b"\xc2\x80"), (b"a b,c", b"a b,c")]
)
async def test_a_cookie_in_other_letters_goes_back_and_is_no_fault_of_the_scenario(value: bytes, back: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=" + value + b"\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answer) as server, client_of(server.url) as client:
        for _ in range(2):
            await client.get("/")
        await client.post("/", content=b"x", follow_redirects=True)
        sent = [(request.header("cookie") or "").encode("latin-1") for request in server.requests]
        assert sent == [b"", b"a=" + back, b"a=" + back]
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 3


async def test_a_cookie_of_the_scenarios_own_cannot_be_a_second_header() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        client.cookies.set("a", "b\r\nX-Evil: 1")
        with pytest.raises(ValueError, match="must not contain CR, LF or NUL"):
            await client.get("/")
        assert not server.requests
