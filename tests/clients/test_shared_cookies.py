"""Cookies of `user.http` for a browser, and those of a browser for `user.http`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from loadgen.clients.browser.shared_cookies import for_browser, store
from loadgen.clients.request.cookies import UserCookies

URL = "http://shop.example/a"


def answered(*lines: str, url: str = URL) -> UserCookies:
    cookies = UserCookies()
    cookies.learn(url, [(b"set-cookie", line.encode()) for line in lines])
    return cookies


def sent(cookies: UserCookies, url: str) -> str:
    return cookies.header_line(url).decode().strip()


def found(name: str, value: str, domain: str = "shop.example", **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "domain": domain, "path": "/", "expires": -1, "httpOnly": False} | more


def test_a_cookie_of_an_answer_has_the_fields_of_a_browser() -> None:
    until = int(time.time()) + 3_600
    stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(until))
    cookies = answered(f"s=1; Path=/; HttpOnly; SameSite=lax; Secure; Expires={stamp}", url="https://shop.example/")
    assert for_browser(cookies.jar, ["other.example"]) == [
        {
            "name": "s",
            "value": "1",
            "domain": "shop.example",
            "path": "/",
            "secure": True,
            "httpOnly": True,
            "expires": float(until),
            "sameSite": "Lax",
        }
    ]


def test_a_cookie_for_subdomains_has_a_dot_and_one_of_localhost_has_its_own_name() -> None:
    (wide,) = for_browser(answered("a=1; Domain=shop.example; Path=/").jar, [])
    assert wide["domain"] == ".shop.example"
    (local,) = for_browser(answered("a=1; Path=/", url="http://localhost:8080/").jar, [])
    assert local["domain"] == "localhost"


def test_a_cookie_of_the_scenario_without_a_domain_is_for_each_target() -> None:
    cookies = UserCookies()
    cookies.set("a", "1")
    assert [one["domain"] for one in for_browser(cookies.jar, ["127.0.0.1", "shop.example"])] == [
        "127.0.0.1",
        "shop.example",
    ]


@pytest.mark.parametrize("url", ["http://shop.example/a", "http://localhost/", "http://127.0.0.1:80/"])
def test_cookies_that_a_page_sets_changes_or_deletes_are_those_of_user_http(url: str) -> None:
    cookies = answered("keep=1; Path=/", "change=1; Path=/", "drop=1; Path=/", url=url)
    given = for_browser(cookies.jar, [])
    now = [one for one in given if one["name"] != "drop"]
    now = [one | {"value": "2"} if one["name"] == "change" else one for one in now]
    store(cookies.jar, given, [*now, found("new", "3", given[0]["domain"])])
    pairs = set(sent(cookies, url).removeprefix("Cookie: ").split("; "))
    assert pairs == {"keep=1", "change=2", "new=3"}


def test_a_cookie_for_subdomains_of_a_page_is_sent_to_them_and_one_of_the_host_is_not() -> None:
    cookies = UserCookies()
    store(cookies.jar, [], [found("wide", "1", ".shop.example"), found("own", "2")])
    assert sent(cookies, "http://img.shop.example/") == "Cookie: wide=1"
    assert set(sent(cookies, "http://shop.example/").removeprefix("Cookie: ").split("; ")) == {"wide=1", "own=2"}
