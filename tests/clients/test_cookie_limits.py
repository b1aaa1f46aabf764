"""A user's cookies have a browser's limits, whichever client the scenario uses."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

import httpx
import pytest

from loadgen.clients.request import cookies
from loadgen.clients.request.cookies import (
    COOKIE_NOTE,
    MAX_COOKIE_BYTES,
    MAX_COOKIES,
    MAX_COOKIES_A_SITE,
    MAX_SET_COOKIES,
    MAX_SITE_BYTES,
    BoundedJar,
    UserCookies,
)
from tests.support.measured import measured, stock_of
from tests.support.scripted import Received, client_of, ok, rows_of, scripted

URL = "http://shop.example/"


def learned(jar: UserCookies, *set_by: str, url: str = URL) -> bool:
    return jar.learn(url, [(b"Set-Cookie", line.encode()) for line in set_by])


def names(jar: UserCookies, url: str = URL) -> list[str]:
    line = jar.header_line(url).decode().removeprefix("Cookie: ").strip()
    return [pair.partition("=")[0] for pair in line.split("; ") if pair]


def fill(jar: UserCookies, number: int, *, first: int = 0, value: str = "v", url: str = URL) -> None:
    for n in range(first, first + number):
        learned(jar, f"c{n}={value}; Path=/", url=url)


def test_the_limits_are_those_of_browsers_and_of_the_standard() -> None:
    assert (MAX_COOKIE_BYTES, MAX_COOKIES_A_SITE, MAX_COOKIES) == (4096, 180, 3000)


def test_the_oldest_cookies_of_a_site_are_dropped_first() -> None:
    jar = UserCookies()
    fill(jar, 190)
    assert sorted(names(jar)) == sorted(f"c{n}" for n in range(10, 190))


def test_a_cookie_that_is_set_again_is_new() -> None:
    jar = UserCookies()
    fill(jar, 180)
    learned(jar, "c0=again; Path=/")
    learned(jar, "more=1; Path=/")
    assert "c0" in names(jar)
    assert "c1" not in names(jar)


def test_the_subdomains_of_a_site_share_its_limit() -> None:
    jar = UserCookies()
    for n in range(10):
        fill(jar, 30, first=30 * n, url=f"http://h{n}.shop.example/")
    assert len(jar.jar) == 180


@pytest.mark.parametrize(
    ("one", "other"),
    [("shop.example", "bank.example"), ("shop.co.uk", "bank.co.uk"), ("10.0.0.1", "11.0.0.1"), ("localhost", "a.test")],
)
def test_a_site_cannot_drive_out_the_cookies_of_another_one(one: str, other: str) -> None:
    jar = UserCookies()
    fill(jar, 5, url=f"http://{other}/")
    fill(jar, 300, url=f"http://{one}/")
    assert len(names(jar, f"http://{other}/")) == 5
    assert len(names(jar, f"http://{one}/")) == 180


def test_there_are_3000_in_all() -> None:
    jar = UserCookies()
    for site in range(20):
        learned(jar, *(f"c{n}=v" for n in range(50)), url=f"http://s{site}.test/")
        learned(jar, *(f"c{n}=v" for n in range(50, 100)), url=f"http://s{site}.test/")
        learned(jar, *(f"c{n}=v" for n in range(100, 150)), url=f"http://s{site}.test/")
    assert len(jar.jar) == 3000
    learned(jar, "one=more", url="http://late.test/")
    assert len(jar.jar) == 3000
    assert "c0" not in names(jar, "http://s0.test/")


@pytest.mark.parametrize(("size", "is_kept"), [(4096, True), (4097, False)])
def test_a_cookie_has_at_most_4096_bytes(size: int, is_kept: bool) -> None:
    jar = UserCookies()
    learned(jar, "big=" + "x" * (size - 3))
    assert names(jar) == ["big"] * is_kept


def test_a_site_has_at_most_64_kib() -> None:
    jar = UserCookies()
    fill(jar, 40, value="x" * 4000)
    assert len(jar.header_line(URL)) < MAX_SITE_BYTES + 1000
    assert len(names(jar)) == 16
    assert names(jar)[-1] == "c39"


def test_an_answer_sets_at_most_50_and_a_line_has_at_most_5000_bytes() -> None:
    jar = UserCookies()
    assert learned(jar, *(f"c{n}=v" for n in range(50)))
    assert len(names(jar)) == 50
    jar = UserCookies()
    assert not learned(jar, *(f"c{n}=v" for n in range(51)))
    assert len(names(jar)) == MAX_SET_COOKIES
    assert not learned(jar, "long=v; Comment=" + "x" * 5000)
    assert "long" not in names(jar)


def test_a_scenario_may_put_what_it_likes_into_its_jar() -> None:
    jar = UserCookies({"big": "x" * 100_000})
    for n in range(500):
        jar.set(f"own{n}", "v")
    fill(jar, 300)
    assert len(names(jar)) == 501 + 180


def test_what_is_remembered_of_headers_is_bounded() -> None:
    jar = UserCookies()
    fill(jar, 40, value="x" * 4000)
    for n in range(100):
        jar.header_line(f"{URL}{n}")
    assert sum(map(len, jar.jar.rendered.values())) <= cookies._MAX_KEPT_BYTES


def test_the_books_of_a_jar_agree_with_its_cookies_whatever_is_done() -> None:
    chance = random.Random(5)
    jar = UserCookies()
    for _ in range(400):
        match chance.randrange(6):
            case 0:
                jar.set(f"c{chance.randrange(30)}", "v", domain=chance.choice(["", "shop.example", ".shop.example"]))
            case 1 if len(jar.jar):
                gone = chance.choice(list(jar.jar))
                jar.jar.clear(gone.domain, gone.path, gone.name)
            case 2:
                learned(jar, f"c{chance.randrange(30)}=v; Max-Age=0")
            case 3 if chance.random() < 0.1:
                jar.clear(domain="shop.example") if "shop.example" in jar.jar._cookies else None  # type: ignore[attr-defined]
            case _:
                learned(jar, f"c{chance.randrange(300)}=v; Path=/{chance.randrange(3)}; Domain=shop.example")
        kept = {(cookie.domain, cookie.path, cookie.name) for cookie in jar.jar}
        assert set(jar.jar._by_age) == kept
        assert {key for keys in jar.jar._by_site.values() for key in keys} == kept
        assert sum(jar.jar._site_bytes.values()) == sum(jar.jar._by_age.values())
    jar.clear()
    assert not jar.jar._by_age
    assert not jar.jar._by_site


def flood() -> Callable[[Received], bytes]:
    """Answers with 50 new cookies of 1 KB each. They are for another path, so that requests stay short."""
    turns = count()

    def answer(request: Received) -> bytes:
        turn = next(turns)
        return ok(b"", *(f"Set-Cookie: t{turn}c{n}={'v' * 1000}; Path=/other" for n in range(50)))

    return answer


async def test_a_target_that_sets_cookies_without_end_gets_a_browsers_number_back_and_a_note() -> None:
    async with scripted(flood()) as server, client_of(server.url) as client:
        for turn in range(12):
            await client.get(f"/{turn}")
        assert len(client.cookies.jar) == 65
        assert len(client._user_cookies().header_line(f"{server.url}/other")) < MAX_SITE_BYTES + 1000
        assert {row.outcome for row in rows_of(client)} == {"ok"}
        assert COOKIE_NOTE in client._meter.recorder._notes


async def test_the_jars_of_httpx_have_the_same_limits() -> None:
    async with scripted(flood()) as server, measured(server.url) as one:
        for _ in range(12):
            await one.client.get("/")
        assert isinstance(one.client.cookies.jar, BoundedJar)
        assert len(one.client.cookies.jar) == 65


async def test_the_stock_client_has_the_same_limits_also_after_the_scenario_set_its_cookies() -> None:
    async with scripted(flood()) as server, stock_of(server.url) as client:
        client.cookies = {"own": "1"}
        for _ in range(12):
            reply = await client.get("/")
        assert isinstance(reply.as_httpx(), httpx.Response)
        assert len(client.cookies.jar) == 1 + 65
        assert client.cookies["own"] == "1"
