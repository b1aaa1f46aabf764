"""`jar=`: the cookies of one call with its redirects; and `max_redirects=`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from loadgen.clients.request.cookies import jar_of
from loadgen.engine.recording.tagging import Tagging, TagSpec
from loadgen.errors import RequestFailed, UsageError
from tests.support.measured import stock_of
from tests.support.scripted import Answer, Received, Rows, client_of, ok, scripted


def _shop(request: Received) -> Answer:
    match request.target:
        case "/login":
            return ok(b"", "Set-Cookie: session=new; Path=/", "Location: /home", status="302 Found")
        case "/logout":
            return ok(b"", "Set-Cookie: session=; Max-Age=0; Path=/")
        case _:
            return ok((request.header("cookie") or "none").encode())


@pytest.mark.parametrize("make", [client_of, stock_of])
async def test_a_call_with_a_jar_leaves_the_cookies_of_the_user_alone(make: Any) -> None:
    async with scripted(_shop) as server, make(server.url) as client:
        client.cookies.set("session", "users")
        jar = httpx.Cookies()
        reply = await client.get("/login", jar=jar, follow_redirects=True, expect=200)
        assert reply.text == "session=new"
        assert dict(jar) == {"session": "new"}
        assert (await client.get("/", jar=jar)).text == "session=new"
        assert (await client.get("/")).text == "session=users"
        await client.get("/logout", jar=jar)
        assert dict(jar) == {}
        assert (await client.get("/", jar=jar)).text == "none"
        assert (await client.get("/", jar=jar, cookies={"once": "1"})).text == "once=1"
        assert dict(client.cookies) == {"session": "users"}


@pytest.mark.parametrize("make", [client_of, stock_of])
@pytest.mark.parametrize("options", [{"jar": httpx.Cookies()}, {"max_redirects": 3}])
async def test_a_call_with_a_jar_or_a_limit_keeps_its_tags(make: Any, options: dict[str, Any]) -> None:
    rows = Rows(Tagging([TagSpec(name="kind", values=("first", "more"))], is_strict=True))
    async with scripted(_shop) as server, make(server.url, rows=rows) as client:
        await client.get("/", tags={"kind": "first"}, **options)
        client._meter.settle()
        delta = rows.flip(0, 1)
    assert {key.tags for key in delta.new_series if key.metric == "response"} == {(("kind", "first"),)}


@pytest.mark.parametrize("make", [client_of, stock_of])
async def test_a_form_of_a_page_is_sent_with_the_jar_of_the_page(make: Any) -> None:
    def shop(request: Received) -> Answer:
        match request.method, request.target:
            case "GET", "/moved":
                form = b"<form method=post action=/other></form>"
                return ok(form, "Location: /login", "Set-Cookie: csrf=1; Path=/", status="302 Found")
            case "GET", _:
                return ok(b"<form method=post action=/login></form>")
            case _:
                return ok(b"", "Set-Cookie: session=new; Path=/", "Location: /", status="302 Found")

    async with scripted(shop) as server, make(server.url) as client:
        client.cookies.set("own", "1")
        client.headers["X-User"] = "ann"
        jar = httpx.Cookies()
        page = await client.get("/moved", jar=jar, follow_redirects=True, max_redirects=1, expect=200)
        await page.form().submit(expect=302)
        assert server.requests[-1].header("cookie") == "csrf=1"
        assert dict(jar) == {"csrf": "1", "session": "new"}
        assert dict(client.cookies) == {"own": "1"}
        # A page before a redirect has forms, too. The call's own jar counts, and the headers of the user at this time.
        client.headers["X-User"] = "bob"
        await page.history[0].form().submit(jar=httpx.Cookies({"a": "1"}), expect=302)
        assert server.requests[-1].header("cookie") == "a=1"
        assert server.requests[-1].header("x-user") == "bob"
        # The limit of redirects is of the call, and not of the page.
        page = await client.get("/login", max_redirects=0, expect=200)
        await page.form().submit(follow_redirects=True, expect=200)
        assert dict(client.cookies) == {"own": "1", "session": "new"}


@pytest.mark.parametrize("make", [client_of, stock_of])
async def test_a_page_before_a_redirect_has_forms_too(make: Any) -> None:
    def shop(request: Received) -> Answer:
        if request.target == "/":
            return ok(b"<form action=/found></form>", "Location: /home", status="302 Found")
        return ok(b"")

    async with scripted(shop) as server, make(server.url) as client:
        page = await client.get("/", follow_redirects=True)
        await page.history[0].form().submit()
        assert server.requests[-1].target == "/found"


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_slow_call_does_not_undo_what_another_call_stored_in_the_jar(is_deleted: bool) -> None:
    async with scripted(_shop) as server, client_of(server.url) as client:
        jar = httpx.Cookies()
        jar.set("session", "old", domain="127.0.0.1")
        with jar_of(jar):  # a call is under way
            await client.get("/logout" if is_deleted else "/login", jar=jar)
        assert dict(jar) == ({} if is_deleted else {"session": "new"})


async def test_a_stream_stores_its_cookies_in_the_jar() -> None:
    async with scripted(_shop) as server, client_of(server.url) as client:
        jar = httpx.Cookies()
        async with client.stream("GET", "/login", jar=jar):
            assert dict(jar) == {"session": "new"}
        assert not client.cookies


async def test_the_limit_of_redirects_is_that_of_the_call_then_that_of_the_user() -> None:
    def hops(request: Received) -> Answer:
        n = int(request.target[1:])
        return ok(b"", f"Location: /{n - 1}", status="302 F") if n else ok(b"here")

    async with scripted(hops) as server, client_of(server.url) as client:
        client.follow_redirects = True
        assert (await client.get("/20")).text == "here"
        with pytest.raises(RequestFailed, match="more than 20"):
            await client.get("/21")
        assert (await client.get("/21", max_redirects=21)).text == "here"
        with pytest.raises(RequestFailed, match=r"too many redirects.*more than 2"):
            await client.get("/3", max_redirects=2)
        client.max_redirects = 1
        with pytest.raises(RequestFailed, match="more than 1"):
            await client.get("/2")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"jar": {"a": "1"}}, "jar= must be an httpx.Cookies, got dict"),
        ({"max_redirects": -1}, "invalid max_redirects=-1"),
        ({"max_redirects": True}, "invalid max_redirects=True"),
        ({"max_redirects": "2"}, "invalid max_redirects='2'"),
    ],
)
async def test_other_values_are_errors_with_what_to_write(options: dict[str, Any], text: str) -> None:
    async with scripted(_shop) as server, client_of(server.url) as client:
        with pytest.raises(UsageError, match=text) as error:
            await client.get("/", **options)
        assert error.value.hint
        assert not server.requests
