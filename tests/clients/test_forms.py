"""`page.form(...)`: what a browser would send for a page, and clear errors for what a page does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import process_time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from loadgen import blob
from loadgen.clients.http import HttpClient
from loadgen.clients.response.forms import Form, form_in
from loadgen.clients.response.pick import Missing
from loadgen.errors import ExpectFailed, UsageError
from tests.support.measured import stock_of
from tests.support.scripted import Answer, Received, Scripted, client_of, ok, rows_of, scripted

PAGE_URL = "http://shop.test/account/login?next=/cart#top"
LOGIN = """<!doctype html><title>Log in</title>
<form id="search" action="/search"><input name="q"></form>
<form id="login" method="post" action="session">
  <input type="hidden" name="csrf" value="t0k&amp;n">
  <input name="user"><input type="password" name="password">
  <input type="checkbox" name="stay" value="yes" checked>
  <input name="old" value="x" disabled>
  <button name="do" value="enter">Enter</button><button name="do" value="forgot" formaction="/forgot">Forgot</button>
</form>"""
ALL = """<form method="POST">
  <input type="radio" name="size" value="s"><input type="radio" name="size" value="m" checked>
  <input type="radio" name="size" value="l">
  <input type="checkbox" name="extra" value="ice" checked><input type="checkbox" name="extra" value="lemon">
  <input type="checkbox" name="plain">
  <select name="colour"><option value="r">Red</option><option>Blue</option><option disabled>None</option></select>
  <select name="tags" multiple><option selected>a</option><option selected>b</option><option>c</option></select>
  <textarea name="note">
two
lines</textarea>
  <input name="line" value="1"><input name="line" value="2">
  <fieldset disabled><input name="hidden_away" value="1"></fieldset>
  <input value="no name"><input type="reset" name="r" value="1"><input type="button" name="b" value="1">
  <input type="image" name="i"><input type="file" name="f">
</form><input name="outside" value="1"><input form="nobody" name="nobody" value="1">"""


class _Nobody:
    def request(self, method: str, url: str, **options: Any) -> Any:
        raise AssertionError(options)


def _form(html: str, selector: str = "form") -> Form:
    return form_in(html, selector, PAGE_URL, _Nobody())


@asynccontextmanager
async def _page(html: str, make: Any = client_of) -> AsyncIterator[tuple[Scripted, HttpClient]]:
    def answer(request: Received) -> Answer:
        if request.target.startswith("/account/login") and request.method == "GET":
            return ok(html.encode(), "Content-Type: text/html; charset=utf-8")
        return ok(b"sent")

    async with scripted(answer) as server, make(server.url) as client:
        yield server, client


def _fields(request: Received) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode(), keep_blank_values=True)


# -- what is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [client_of, stock_of])
async def test_a_login_takes_hidden_fields_action_and_method_from_the_page(make: Any) -> None:
    async with _page(LOGIN, make) as (server, client):
        page = await client.get("/account/login?next=/cart", expect=200)
        reply = await page.form("#login").submit({"user": "ann", "password": "ä b"}, name="log in", expect=200)
        assert reply.text == "sent"
        sent = server.requests[-1]
        assert (sent.method, sent.target) == ("POST", "/account/session")
        assert sent.header("content-type") == "application/x-www-form-urlencoded"
        assert sent.header("referer") == f"{server.url}/account/login?next=/cart"
        assert _fields(sent) == [
            ("csrf", "t0k&n"),
            ("user", "ann"),
            ("password", "ä b"),
            ("stay", "yes"),
            ("do", "enter"),
        ]
        assert [row.name for row in rows_of(client)] == ["GET /account/login", "log in"]


async def test_a_form_without_an_action_goes_to_the_url_of_its_page() -> None:
    async with _page("<form method=post><input name=a value=1></form>") as (server, client):
        page = await client.get("/account/login?next=/cart#top")
        await page.form().submit()
        assert (server.requests[-1].method, server.requests[-1].target) == ("POST", "/account/login?next=/cart")
        assert server.requests[-1].header("referer") == f"{server.url}/account/login?next=/cart"


async def test_a_get_form_replaces_the_query_of_its_action() -> None:
    async with _page('<form action="/find?old=1#x"><input name=q><input type=hidden name=k value=v></form>') as (
        server,
        client,
    ):
        page = await client.get("/account/login")
        await page.form().submit({"q": "oak & ash"}, headers={"X-A": "1", "Referer": "other"})
        sent = server.requests[-1]
        assert (sent.method, sent.target, sent.body) == ("GET", "/find?q=oak+%26+ash&k=v", b"")
        assert (sent.header("x-a"), sent.header("referer")) == ("1", "other")


async def test_the_button_that_is_pressed_is_sent_and_may_have_an_address_of_its_own() -> None:
    async with _page(LOGIN) as (server, client):
        page = await client.get("/account/login")
        await page.form("#login").submit({"user": "ann"}, button="do=forgot")
        assert server.requests[-1].target == "/forgot"
        assert ("do", "forgot") in _fields(server.requests[-1])
        assert ("do", "enter") not in _fields(server.requests[-1])


async def test_a_form_with_files_is_multipart() -> None:
    html = '<form method=post enctype="multipart/form-data"><input name=a value=1><input type=file name=photo></form>'
    async with _page(html) as (server, client):
        page = await client.get("/account/login")
        await page.form().submit({"photo": ("p.jpg", b"jpeg", "image/jpeg")})
        body = server.requests[-1].body
        assert b'name="a"\r\n\r\n1\r\n' in body
        assert b'name="photo"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\njpeg\r\n' in body
        await page.form().submit({"photo": blob(10)})
        assert b'name="photo"; filename=' in server.requests[-1].body
        await page.form().submit()  # without a file
        assert (server.requests[-1].header("content-type") or "").startswith("multipart/form-data")
        assert b"photo" not in server.requests[-1].body


async def test_the_client_of_the_page_sends_its_form_with_its_cookies_and_redirects() -> None:
    async with _page(LOGIN) as (server, client):
        client.cookies.set("session", "1")
        client.follow_redirects = True
        page = await client.get("/account/login")
        await page.form("#login").submit({"user": "ann"})
        assert server.requests[-1].header("cookie") == "session=1"


def _sent(html: str, values: dict[str, Any] | None = None, **more: Any) -> list[tuple[str, str]]:
    from loadgen.clients.response.forms import filled

    return filled(_form(html), values or {}, more.get("add", {}), more.get("button"))[1]


def test_without_values_the_form_is_sent_as_the_page_presets_it() -> None:
    assert _sent(ALL) == [
        ("size", "m"),
        ("extra", "ice"),
        ("colour", "r"),
        ("tags", "a"),
        ("tags", "b"),
        ("note", "two\r\nlines"),
        ("line", "1"),
        ("line", "2"),
    ]
    assert _form(ALL).fields == {
        "size": "m",
        "extra": "ice",
        "plain": [],
        "colour": "r",
        "tags": ["a", "b"],
        "note": "two\r\nlines",
        "line": ["1", "2"],
    }


@pytest.mark.parametrize(
    ("values", "name", "sent"),
    [
        ({"size": "l"}, "size", ["l"]),
        ({"extra": ["ice", "lemon"]}, "extra", ["ice", "lemon"]),
        ({"extra": "lemon"}, "extra", ["lemon"]),
        ({"extra": False}, "extra", []),
        ({"extra": True}, "extra", ["ice", "lemon"]),
        ({"plain": True}, "plain", ["on"]),
        ({"colour": "Blue"}, "colour", ["Blue"]),
        ({"tags": ["c", "a"]}, "tags", ["a", "c"]),
        ({"tags": []}, "tags", []),
        ({"note": "hi"}, "note", ["hi"]),
        ({"note": None}, "note", []),
        ({"line": 7}, "line", ["7"]),
        ({"line": ["8", "9", 10]}, "line", ["8", "9", "10"]),
    ],
)
def test_values_replace_those_of_the_page(values: dict[str, Any], name: str, sent: list[str]) -> None:
    assert [value for key, value in _sent(ALL, values) if key == name] == sent
    assert len({key for key, _ in _sent(ALL, values)} - {"plain"}) >= 4  # the others stay


@pytest.mark.parametrize(("value", "sent"), [(True, ["0", "1"]), (False, ["0"]), (None, []), ("1", ["1"])])
def test_a_checkbox_with_a_hidden_field_of_its_name_is_a_checkbox(value: Any, sent: list[str]) -> None:
    html = "<form><input type=hidden name=terms value=0><input type=checkbox name=terms value=1></form>"
    assert [text for _, text in _sent(html, {"terms": value})] == sent


def test_fields_of_a_script_are_added() -> None:
    assert _sent(LOGIN.replace("login", "x"), {"q": "a"}, add={"stamp": 7, "t": ["a", "b"]}) == [
        ("q", "a"),
        ("stamp", "7"),
        ("t", "a"),
        ("t", "b"),
    ]


def test_controls_elsewhere_belong_to_the_form_that_they_name() -> None:
    html = (
        "<form id=f method=post><input name=a value=1><input form=g name=c value=3></form><input form=f name=b value=2>"
    )
    assert _sent(html) == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("page", "action", "referer"),
    [
        ("https://me:pw@shop.test/reset?token=1#x", "/new", "https://shop.test/reset?token=1"),
        ("https://shop.test/reset?token=1", "https://shop.test:443/new", "https://shop.test/reset?token=1"),
        ("https://shop.test/reset?token=1", "https://pay.test/", "https://shop.test/"),
        ("http://shop.test:8080/reset?token=1", "http://shop.test/", "http://shop.test:8080/"),
        ("https://shop.test/reset?token=1", "http://shop.test/new", None),
    ],
)
async def test_the_referer_shows_other_origins_no_more_than_in_a_browser(
    page: str, action: str, referer: str | None
) -> None:
    sent: list[Any] = []

    class _Client:
        async def request(self, method: str, url: str, *, headers: Any, **_: Any) -> Any:
            sent.append(headers.get("referer"))

    await form_in(f"<form action='{action}'></form>", "form", page, _Client()).submit()
    assert sent == [referer]


@pytest.mark.parametrize(
    ("html", "action"),
    [
        ("<form action='/x?y=1'></form>", "http://shop.test/x?y=1"),
        ("<form action=x></form>", "http://shop.test/account/x"),
        ("<form action=' '></form>", "http://shop.test/account/login?next=/cart"),
        ("<form action='//other.test/x'></form>", "http://other.test/x"),
        ("<base href='/base/'><form action=x></form>", "http://shop.test/base/x"),
        ("<base href='/base/'><form></form>", "http://shop.test/account/login?next=/cart"),
        ("<base href='http://shop.test:port/'><form action=x></form>", "http://shop.test/account/x"),
        ("<base href><form action=x></form>", "http://shop.test/account/x"),
    ],
)
def test_the_action_is_resolved_as_in_a_browser(html: str, action: str) -> None:
    assert _form(html).action == action


def test_the_text_of_an_option_is_its_value_without_the_spaces_of_the_page() -> None:
    assert _sent("<form><select name=a><option>\n  Dark  <b>red</b>\n</select></form>") == [("a", "Dark red")]


def test_a_deep_page_takes_no_time_that_grows_with_its_depth() -> None:
    html = f"<form>{'<div>' * 2000}{'<input name=a>' * 4000}</form>"
    start_s = process_time()
    assert len(_form(html).controls) == 4000
    assert process_time() - start_s < 0.9  # a walk up from each control took 1.8 s; 0.07 s is usual


# -- errors ----------------------------------------------------------------------------------------------


async def test_a_page_without_the_form_is_the_targets_failure() -> None:
    async with _page(LOGIN) as (_, client):
        page = await client.get("/account/login")
        with pytest.raises(ExpectFailed, match=r"form #nope: .*no element matches; the page has 2 forms, in .*Log in"):
            page.form("#nope")
        assert [row.outcome for row in rows_of(client)] == ["form #nope"]


@pytest.mark.parametrize(
    ("html", "selector", "text"),
    [
        ("<div id=login><form></form></div>", "#login", "<div> is not a form; select the <form> itself"),
        ("<form action='javascript:go()'></form>", "form", "its action 'javascript:go()' is neither http nor https"),
        ("<form action='http://shop.test:port/'></form>", "form", "its action 'http://shop.test:port/' is not a URL"),
        ("{}", "form", "the page has 0 forms"),
        (f"<form>{'<input name=a>' * 10_001}</form>", "form", "it has more than 10,000 controls"),
    ],
)
def test_a_form_that_cannot_be_sent_is_missing(html: str, selector: str, text: str) -> None:
    with pytest.raises(Missing) as error:
        _form(html, selector)
    assert text in str(error.value)


def test_a_message_has_only_the_beginning_of_what_a_page_has() -> None:
    with pytest.raises(Missing) as missing:
        _form(f"<form action='/{'x' * 70_000}'></form>")
    options = "".join(f"<option value={n}{'x' * 1000}>" for n in range(100))
    with pytest.raises(UsageError) as unknown:
        _sent(f"<form><select name=a>{options}</select></form>", {"a": "?"})
    assert len(str(missing.value)) < 500
    assert unknown.value.hint.endswith("x and 80 more; or pass other values as add={...}")
    assert len(unknown.value.hint) < 5000


@pytest.mark.parametrize("selector", ["##", "form[", ""])
def test_a_selector_that_is_none_is_an_error_of_the_scenario(selector: str) -> None:
    with pytest.raises(ValueError, match=r"CSS selector.*; write form"):
        _form(LOGIN, selector)


@pytest.mark.parametrize(
    ("values", "more", "message", "hint"),
    [
        ({"usr": "ann"}, {}, 'has no field "usr"', "use one of size, extra"),
        ({"colur": "r"}, {}, 'has no field "colur"', 'did you mean "colour"?'),
        ({"hidden_away": "1"}, {}, 'has no field "hidden_away"', ""),
        ({"size": "huge"}, {}, 'has no value of "size" "huge"', "use one of s, m, l"),
        ({"colour": "None"}, {}, 'has no value of "colour" "None"', "use one of r, Blue"),
        ({"size": ["s", "m"]}, {}, '"size" takes one value', ""),
        ({"note": True}, {}, '"note" is not a checkbox', 'pass text: "true"'),
        ({"note": b"x"}, {}, '"note" is not a file field', "pass text"),
        ({"f": b"x"}, {}, "sends no files: its enctype is not multipart/form-data", ""),
        ({}, {"add": {"note": "x"}}, 'has a field "note"', "without add="),
        ({}, {"button": "go"}, 'has no button "go"', ""),
    ],
)
def test_what_the_form_does_not_have_is_an_error_with_what_it_has(
    values: dict[str, Any], more: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as error:
        _sent(ALL, values, **more)
    assert message in str(error.value)
    assert hint in error.value.hint
    assert error.value.hint
