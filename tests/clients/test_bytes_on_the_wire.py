"""Each feature through stock httpx and through ours: the server receives the same.

Of `user.httpx`, and of `user.http` with `Plan(client="httpx")`, every header is compared; `user.http` differs in two
on purpose.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.support.measured import measured, stock_of
from tests.support.scripted import Received, client_of, ok, scripted

OWN = {"user-agent", "accept-encoding"}
"""Headers in which we differ on purpose: our name, and only the encodings that we undo."""

Call = tuple[str, str, dict[str, Any]]
"""Method, URL, arguments."""

CALLS: dict[str, Call] = {
    "a path": ("GET", "/products/1", {}),
    "no path": ("GET", "", {}),
    "a path without a slash": ("GET", "products/1", {}),
    "a query in the URL": ("GET", "/search?q=a+b&page=2", {}),
    "an escaped path": ("GET", "/a%20b/%C3%A9", {}),
    "a path to escape": ("GET", "/a b/é/{x}|\"<>'`", {}),
    "a query to escape": ("GET", "/s?q=é x&y=<'>\"", {}),
    "dot segments": ("GET", "/a/../b/./c", {}),
    "a fragment": ("GET", "/a#part", {}),
    "two slashes within": ("GET", "/a//b", {}),
    "a colon": ("GET", "/a:b@c", {}),
    "params": ("GET", "/s", {"params": {"q": "a b&c=d", "n": 1, "f": 1.5, "t": True, "x": None, "é": "ü"}}),
    "params as lists": ("GET", "/s", {"params": {"q": ["a", "b"], "r": ("c",)}}),
    "params as pairs": ("GET", "/s", {"params": [("q", "a"), ("r", "b"), ("q", "c")]}),
    "params as text": ("GET", "/s", {"params": "a=1&b=%20x"}),
    "params replace a query": ("GET", "/s?old=1", {"params": {"new": "2"}}),
    "empty params": ("GET", "/s?old=1", {"params": {}}),
    "json object": ("POST", "/j", {"json": {"a": [1, 2.5, None, True], "é": 'ü\u2028\x01"\\/'}}),
    "json floats": ("POST", "/j", {"json": [1e16, 1e-5, 0.1, -0.0, 1e300]}),
    "json keys": ("POST", "/j", {"json": {1: "a", None: "b", False: "c", 1.5: "d"}}),
    "json large": ("POST", "/j", {"json": {"n": 2**70}}),
    "json string": ("POST", "/j", {"json": "text"}),
    "json zero": ("POST", "/j", {"json": 0}),
    "json empty object": ("POST", "/j", {"json": {}}),
    "no body": ("POST", "/j", {}),
    "put json": ("PUT", "/j", {"json": {"a": 1}}),
    "patch json": ("PATCH", "/j", {"json": {"a": 1}}),
    "form": ("POST", "/f", {"data": {"a": "b c", "n": 1, "l": ["x", "y"], "e": "é&=", "t": True, "z": None}}),
    "empty form": ("POST", "/f", {"data": {}}),
    "bytes": ("POST", "/b", {"content": b"\x00\xff\r\n\r\n"}),
    "text": ("PUT", "/b", {"content": "é"}),
    "empty content": ("POST", "/b", {"content": b""}),
    "delete": ("DELETE", "/d", {}),
    "delete with json": ("REQUEST DELETE", "/d", {"json": [1]}),
    "options": ("OPTIONS", "/o", {}),
    "another method": ("REQUEST PURGE", "/o", {}),
    "lower case method": ("REQUEST get", "/o", {}),
    "call headers": ("GET", "/h", {"headers": {"X-One": "1", "x-two": "2"}}),
    "call header replaces": ("GET", "/h", {"headers": {"accept": "text/html", "X-User": "call"}}),
    "call headers as pairs": ("GET", "/h", {"headers": [("X-A", "1"), ("X-A", "2")]}),
    "call host": ("GET", "/h", {"headers": {"Host": "other.example"}}),
    "call content type": ("POST", "/h", {"json": {"a": 1}, "headers": {"Content-Type": "application/vnd.api+json"}}),
    "call cookie header": ("GET", "/h", {"headers": {"Cookie": "a=b"}}),
    "call cookies": ("GET", "/h", {"cookies": {"a": "b", "c": "d"}}),
    "basic auth": ("GET", "/h", {"auth": ("user", "pass:wörd")}),
}


async def _both(
    calls: list[tuple[str, str, dict[str, Any]]], base: str = "", **user: Any
) -> tuple[list[Received], ...]:
    """The calls through httpx and through ours, by clients with the same headers and cookies.

    Those through `user.httpx` and through the plan's stock client are compared here.
    """
    received: dict[str, list[Received]] = {}
    for way in ("stock", "http", "httpx", "client=httpx"):
        async with scripted(ok(b"{}")) as server:
            if way == "http":
                async with client_of(server.url + base) as client:
                    client.headers.update(user.get("headers", {}))
                    client.cookies.update(user.get("cookies", {}))
                    for call in calls:
                        await _call(client, *call)
            elif way == "client=httpx":
                async with stock_of(server.url + base) as on_stock:
                    on_stock.headers.update(user.get("headers", {}))
                    on_stock.cookies.update(user.get("cookies", {}))
                    for call in calls:
                        await _call(on_stock, *call)
            elif way == "httpx":
                async with measured(server.url + base) as it:
                    it.client.headers.update(user.get("headers", {}))
                    it.client.cookies.update(user.get("cookies", {}))
                    for call in calls:
                        await _call(it.client, *call)
            else:
                async with httpx.AsyncClient(base_url=server.url + base, trust_env=False, **user) as stock:
                    for call in calls:
                        await _call(stock, *call)
            port = server.url.rpartition(":")[2]
            received[way] = [_exact(r, port) for r in server.requests]
    for way in ("httpx", "client=httpx"):
        assert _without_boundary(received[way]) == _without_boundary(received["stock"])
    return [_normal(r) for r in received["stock"]], [_normal(r) for r in received["http"]]


def _without_boundary(requests: list[Received]) -> list[str]:
    return [re.sub(r"[0-9a-f]{32}", "BOUNDARY", repr(request)) for request in requests]


async def _call(client: Any, method: str, url: str, arguments: dict[str, Any]) -> None:
    if method.startswith("REQUEST "):
        await client.request(method[8:], url, **arguments)
    else:
        await getattr(client, method.lower())(url, **arguments)


def _exact(request: Received, port: str) -> Received:
    headers = [(n, v.replace(port, "PORT")) for n, v in request.headers]
    return Received(request.method, request.target, headers, request.body, request.connection)


def _normal(request: Received) -> Received:
    headers = sorted((n, v) for n, v in request.headers if n not in OWN)
    return Received(request.method, request.target, headers, request.body, request.connection)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_sends_what_httpx_sends(name: str) -> None:
    stock, ours = await _both([CALLS[name]])
    assert ours == stock


@pytest.mark.parametrize(
    "name", ["a path", "json object", "call headers", "call content type", "params", "form", "no body"]
)
@pytest.mark.parametrize(
    "user",
    [
        {"headers": {"Authorization": "Bearer x", "X-User": "me"}},
        {"headers": {"Content-Type": "text/x-user"}},
        {"headers": {"Host": "virtual.example"}},
        {"headers": {"Cookie": "mine=1"}},
        {"headers": {"Accept": "text/html"}},
        {"cookies": {"session": "abc", "other": "d"}},
        {"headers": {"Authorization": "Bearer x"}, "cookies": {"session": "abc"}},
    ],
    ids=["two headers", "content type", "host", "cookie header", "accept", "cookies", "both"],
)
async def test_a_users_headers_and_cookies_go_where_httpx_sends_them(name: str, user: dict[str, Any]) -> None:
    stock, ours = await _both([CALLS[name]], **user)
    assert ours == stock


@pytest.mark.parametrize("base", ["", "/", "/api", "/api/", "/a%20b"])
@pytest.mark.parametrize("url", ["", "/", "/x", "x", "/x?y=1"])
async def test_a_url_is_appended_to_the_target_as_httpx_does(base: str, url: str) -> None:
    stock, ours = await _both([("GET", url, {})], base)
    assert ours == stock


async def test_a_form_with_files_has_the_parts_that_httpx_sends() -> None:
    files = {"doc": ("a.txt", b"hello", "text/plain"), "raw": b"\x00\x01"}
    stock, ours = await _both([("POST", "/f", {"files": files, "data": {"a": "1"}})])

    def parts(request: Received) -> bytes:
        kind = request.header("content-type")
        assert kind is not None
        return request.body.replace(kind.rpartition("=")[2].encode(), b"BOUNDARY")

    assert parts(ours[0]) == parts(stock[0])


async def test_digest_auth_of_httpx_answers_the_challenge() -> None:
    def answer(request: Received) -> bytes:
        if request.header("authorization") is None:
            return ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5', status="401 No")
        return ok(b"in")

    async with scripted(answer) as server, client_of(server.url) as client:
        reply = await client.get("/private", auth=httpx.DigestAuth("me", "secret"), expect=200)
        assert reply.text == "in"
        assert (server.requests[1].header("authorization") or "").startswith('Digest username="me"')


async def test_a_request_is_one_write_on_a_kept_connection() -> None:
    async with scripted(ok(b"x")) as server, client_of(server.url) as client:
        for _ in range(5):
            await client.get("/a")
            await client.post("/b", json={"a": 1})
        assert server.connections == 1
        assert len(server.requests) == 10


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_header_value_cannot_become_a_second_header(value: str) -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            await client.get("/", headers={"X-Name": value})
        with pytest.raises(ValueError, match="invalid header name"):
            await client.get("/", headers={"X-Name: a\r\nX-Evil": "b"})
        client.headers["X-Mine"] = value
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            await client.get("/")
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            await client.post("/", json={})
        assert not server.requests


async def test_a_url_or_method_cannot_become_a_second_header() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        for url in ("/a\r\nX-Evil: 1", "/a\nb", "/a?b=\r\n"):
            with pytest.raises(ValueError, match="invalid URL"):
                await client.get(url)
        with pytest.raises(ValueError, match="invalid HTTP method"):
            await client.request("GET / HTTP/1.1\r\nX: y\r\n", "/")
        assert not server.requests


async def test_what_json_has_not_is_an_error_of_the_scenario() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        with pytest.raises(ValueError, match="JSON compliant"):
            await client.post("/", json={"n": float("nan")})
        with pytest.raises(TypeError):
            await client.post("/", json={"n": object()})
        with pytest.raises(TypeError, match="text, bytes"):
            await client.post("/", content=7)  # type: ignore[arg-type]
        assert not server.requests
