"""`Http(cache="user")`: what is kept, for how long, what is sent again, and what is counted (RFC 9111)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.caching import ANSWERED, NOT_MODIFIED, CachingHttpClient
from loadgen.clients.http import HttpClient
from loadgen.clients.net.settings import Http
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.response.stored_answers import MOST_ANSWERS, StoredAnswers, asks_for_revalidation, may_use_cache
from loadgen.errors import ExpectFailed
from loadgen.units import NS_PER_S
from tests.support.examples import examples
from tests.support.nginx import running_nginx
from tests.support.scripted import Answer, Received, client_of, ok, rows_of, scripted

URL = "http://shop.test/a"
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
caching = partial(client_of, kind=CachingHttpClient)
Make = Callable[[str], AbstractAsyncContextManager[HttpClient]]


def head(*lines: bytes, status: int = 200) -> Head:
    raw = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return Head(status, b"OK", "1.1", raw, True)


def lifetime_s(*lines: bytes) -> float | None:
    """How long an answer with these headers is fresh; None if it is not stored."""
    stored = StoredAnswers().store(URL, GET, head(*lines), b"x", 7 * NS_PER_S)
    return None if stored is None else stored.fresh_until_ns / NS_PER_S - 7


ETAG = b'ETag: "1"'


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        ([b"Cache-Control: max-age=60"], 60),
        ([b'Cache-Control: private, MAX-AGE="60"'], 60),
        ([b"Cache-Control: max-age=60", b"Age: 20"], 40),
        ([b"Cache-Control: max-age=60", b"Age: 90", ETAG], 0),
        # Section 5.3: max-age wins over Expires, also where the clock of the target is wrong.
        ([b"Cache-Control: max-age=3600", b"Expires: Sun, 06 Nov 1994 08:49:37 GMT", DATE], 3_600),
        ([b"Expires: Sun, 06 Nov 1994 08:50:37 GMT", DATE], 60),
        ([b"Expires: Sun, 06 Nov 1994 08:40:37 GMT", DATE, ETAG], 0),
        ([b"Expires: 0", DATE, ETAG], 0),
        ([b"Expires: Sun, 06 Nov 1994 08:50:37 GMT", ETAG], 0),  # without Date
        # s-maxage is for shared caches.
        ([b"Cache-Control: s-maxage=60", ETAG], 0),
        ([b"Cache-Control: no-cache, max-age=60", ETAG], 0),
        ([b'Cache-Control: no-cache="set-cookie, x", max-age=60', ETAG], 0),
        # Section 4.2.1: the first of two values, and stale if it is invalid.
        ([b"Cache-Control: max-age=5, max-age=60"], 5),
        ([b"Cache-Control: max-age=soon", ETAG], 0),
        ([b"Cache-Control: max-age=99999999999999999999"], 1 << 31),
        ([b"Cache-Control: public", b"Cache-Control: max-age=60"], 60),
        ([ETAG], 0),
        ([b"Last-Modified: Sun, 06 Nov 1994 08:00:00 GMT", DATE], 0),
        ([b"Cache-Control: no-store, max-age=60", ETAG], None),
        ([b"Cache-Control: max-age=60", b"Vary: Accept, *"], None),
        ([b"Content-Type: text/plain"], None),
        ([b"Cache-Control: max-age=0"], None),
    ],
)
def test_lifetimes_are_those_of_rfc_9111(lines: list[bytes], known: int | None) -> None:
    assert lifetime_s(*lines) == known


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 304, 404, 500])
def test_only_status_200_is_stored(status: int) -> None:
    assert StoredAnswers().store(URL, GET, head(ETAG, status=status), b"x", 0) is None


def test_an_answer_is_for_requests_with_the_same_varying_headers() -> None:
    german = GET.replace(b"\r\n\r\n", b"\r\nAccept-Language: de\r\n\r\n")
    answers = StoredAnswers()
    answers.store(URL, german, head(ETAG, b"Vary: Accept-Language, X-Other"), b"hallo", 0)

    assert answers.find(URL, german) is not None
    assert answers.find(URL + "#part", german.replace(b"Accept-Language: de", b"ACCEPT-LANGUAGE:de ")) is not None
    assert answers.find(URL, GET) is None
    assert answers.find(URL, german.replace(b"de", b"fr")) is None
    assert answers.find(URL + "?b", german) is None


def test_a_304_renews_headers_but_not_those_of_the_body() -> None:
    answers = StoredAnswers()
    old = head(ETAG, b"Content-Type: text/css", b"Content-Length: 3", b"X-A: old", b"Set-Cookie: a=1")
    stored = answers.store(URL, GET, old, b"abc", 0)
    assert stored is not None
    assert stored.head.get(b"set-cookie") is None

    news = head(b"Cache-Control: max-age=9", b"X-A: new", b"Content-Length: 0", b"Set-Cookie: b=2", status=304)
    fresh = answers.freshen(URL, stored, news, NS_PER_S)

    assert fresh.fresh_until_ns == 10 * NS_PER_S
    assert (fresh.head.status, fresh.body.content) == (200, b"abc")
    assert [fresh.head.get(name) for name in (b"etag", b"content-length", b"x-a", b"set-cookie")] == [
        b'"1"',
        b"3",
        b"new",
        None,
    ]
    assert answers.find(URL, GET) is fresh


def test_a_users_cache_has_limits_and_drops_the_least_recently_used() -> None:
    answers = StoredAnswers(most_bytes=10_000)
    for name in "abc":
        answers.store(f"http://shop.test/{name}", GET, head(ETAG), bytes(2_000), 0)
    answers.find("http://shop.test/a", GET)
    answers.store("http://shop.test/d", GET, head(ETAG), bytes(2_000), 0)

    assert [answers.find(f"http://shop.test/{name}", GET) is not None for name in "abcd"] == [True, False, True, True]
    assert answers.size_bytes <= 10_000
    assert answers.store("http://shop.test/large", GET, head(ETAG), bytes(10_000), 0) is not None
    assert answers.find("http://shop.test/large", GET) is None
    for n in range(MOST_ANSWERS + 10):
        answers.store(f"http://shop.test/{n}", GET, head(ETAG), b"", 0)
    assert len(answers) <= MOST_ANSWERS
    for n in range(MOST_ANSWERS + 10):
        answers.invalidate(f"http://shop.test/{n}", head())
    assert answers.size_bytes == sum(3_000 for _ in range(len(answers)))


def test_equal_bodies_of_users_are_in_memory_once() -> None:
    one, other = (StoredAnswers().store(URL, GET, head(ETAG), bytes(bytearray(5_000)), 0) for _ in range(2))

    assert one is not None
    assert other is not None
    assert one.body is other.body


def test_a_change_invalidates_the_url_and_the_places_that_its_answer_names() -> None:
    answers = StoredAnswers()
    for path in ("a", "b", "c"):
        answers.store(f"http://shop.test/{path}", GET, head(ETAG), b"x", 0)
    answers.store("http://other.test/b", GET, head(ETAG), b"x", 0)

    answers.invalidate(URL, head(b"Location: /b", b"Content-Location: http://other.test/b"))

    left = ["http://shop.test/c", "http://other.test/b"]
    everything = ["http://shop.test/a", "http://shop.test/b", *left]
    assert [url for url in everything if answers.find(url, GET) is not None] == left


VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"http://[", b"Sun, 99 Nov 99999", b"Sun, 06 Nov 1994 25:61:61 GMT", b'max-age="', b"9" * 4_400, b"-1"]
    ),
)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Cache-Control", b"Expires", b"Date", b"Age", b"Vary", b"ETag", b"Location"]), VALUES
        ),
        max_size=6,
    )
)
def test_no_header_of_a_target_breaks_the_cache(raw: list[tuple[bytes, bytes]]) -> None:
    answers = StoredAnswers()
    stored = answers.store(URL, GET, Head(200, b"OK", "1.1", raw, True), b"x", 0)
    if stored is not None:
        assert stored.fresh_until_ns >= 0
        answers.find(URL, GET)
        answers.freshen(URL, stored, Head(304, b"", "1.1", raw, True), 5)
    answers.invalidate(URL, Head(201, b"", "1.1", raw, True))

    assert (len(answers), answers.size_bytes) == (0, 0)


@pytest.mark.parametrize("line", [b"If-None-Match: x", b"IF-MODIFIED-SINCE: x", b"Range: bytes=0-1", b"If-Range: x"])
def test_requests_with_conditions_of_their_own_pass_the_cache(line: bytes) -> None:
    assert not may_use_cache(GET[:-2] + line + b"\r\n\r\n")
    assert may_use_cache(GET)


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (b"Cache-Control: no-cache", True),
        (b"cache-control: max-age=0", True),
        (b"Cache-Control: max-age=10", False),
        (b"Pragma: no-cache", True),
        (b"X-A: no-cache", False),
    ],
)
def test_a_request_can_ask_for_a_revalidation(line: bytes, known: bool) -> None:
    assert asks_for_revalidation(GET[:-2] + line + b"\r\n\r\n") is known


class Shop:
    """A target whose answers have an ETag and the lifetime of their path: `/60` is fresh for 60 s."""

    def __init__(self) -> None:
        self.version = 1

    def __call__(self, request: Received) -> Answer:
        path = request.target.partition("?")[0]
        if request.method == "HEAD":
            return ok()
        if request.method != "GET":
            self.version += 1
            return ok(b"done", status="500 Oops" if path == "/fails" else "200 OK")
        match path:
            case "/plain":
                return ok(b"plain")
            case "/moved":
                return ok(b"", "Location: /60", 'ETag: "m"', status="302 Found")
            case "/broken" if request.header("if-none-match"):
                return ok(b"", status="503 Service Unavailable")
        etag = f'"{self.version}"'
        about = (f"ETag: {etag}", f"Cache-Control: max-age={path[1:] if path[1:].isdigit() else 0}")
        if request.header("if-none-match") == etag:
            return ("HTTP/1.1 304 Not Modified\r\n" + "\r\n".join(about) + "\r\nSet-Cookie: seen=1\r\n\r\n").encode()
        return ok(b'{"version": %d}' % self.version, *about, "Content-Type: application/json")


def counts(client: HttpClient) -> dict[str, int]:
    client._meter.settle()
    return {one.name: one.n for one in client._meter.recorder.flip(0, 1).custom}


async def test_a_fresh_answer_is_not_requested_and_has_no_row() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        first = await client.get("/60", expect=200)
        second = await client.get("/60", name="again", expect=200)
        third = await client.get("/60?page=2")

        assert [reply.cache for reply in (first, second, third)] == ["", "fresh", ""]
        assert second.json() == first.json()
        assert second.headers == first.headers
        assert second.pick("$.version", int) == 1
        assert len(server.requests) == 2
        assert [row.name for row in rows_of(client)] == ["GET /60", "GET /60"]
        assert counts(client) == {ANSWERED: 1}


async def test_a_stale_answer_is_revalidated_and_a_304_is_ok_with_the_stored_body() -> None:
    shop = Shop()
    async with scripted(shop) as server, caching(server.url) as client:
        await client.get("/0", expect=200)
        same = await client.get("/0", expect=200)
        shop.version = 7
        changed = await client.get("/0", expect=200)
        again = await client.get("/0", expect=200)

        assert [reply.cache for reply in (same, changed, again)] == ["revalidated", "", "revalidated"]
        assert [reply.json()["version"] for reply in (same, changed, again)] == [1, 7, 7]
        assert (same.status_code, same.headers["content-type"]) == (200, "application/json")
        assert dict(client.cookies) == {"seen": "1"}
        sent = [request.header("if-none-match") for request in server.requests]
        assert sent == [None, '"1"', '"1"', '"7"']
        rows = rows_of(client)
        assert [row.outcome for row in rows] == ["ok"] * 4
        assert counts(client) == {NOT_MODIFIED: 2}


async def test_a_failed_expectation_on_a_fresh_answer_ends_the_journey_without_a_row() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60")
        with pytest.raises(ExpectFailed, match="got 200, expected 404"):
            await client.get("/60", expect=404)
        with pytest.raises(ExpectFailed):
            (await client.get("/60")).pick("$.nothing")
        assert [row.outcome for row in rows_of(client)] == ["ok"]


@pytest.mark.parametrize(("path", "is_asked_again"), [("/60", True), ("/fails", False)])
async def test_a_post_that_succeeds_invalidates_its_url(path: str, is_asked_again: bool) -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60")
        await client.post("/60" if path == "/60" else "/fails", json={})
        await client.get("/60")
        assert [request.method for request in server.requests] == ["GET", "POST", *["GET"] * is_asked_again]


async def test_a_server_error_leaves_the_stored_answer() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/broken")
        assert (await client.get("/broken")).status_code == 503
        await client.get("/broken")
        assert [request.header("if-none-match") for request in server.requests] == [None, '"1"', '"1"']


async def test_a_redirect_can_end_in_the_cache() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60")
        reply = await client.get("/moved", follow_redirects=True, expect=200)
        again = await client.get("/moved", follow_redirects=True, expect=200)
        assert (reply.cache, again.cache) == ("fresh", "fresh")
        assert [one.status_code for one in again.history] == [302]
        assert [request.target for request in server.requests] == ["/60", "/moved", "/moved"]


async def test_some_requests_do_not_use_the_cache() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        for _ in range(2):
            await client.get("/plain")
            await client.get("/60", discard=True)
            async with client.stream("GET", "/60") as reply:
                await reply.aread()
            await client.head("/60")
            await client.get("/60", headers={"Cache-Control": "no-store"})
            assert (await client.get("/60", headers={"If-None-Match": '"1"'})).status_code == 304
        assert len(server.requests) == 12


async def test_a_request_with_no_cache_revalidates_a_fresh_answer() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60")
        reload = await client.get("/60", headers={"Cache-Control": "no-cache"}, expect=200)
        assert reload.cache == "revalidated"
        assert (await client.get("/60")).cache == "fresh"
        assert len(server.requests) == 2


async def test_a_fresh_user_has_an_empty_cache_as_it_has_no_cookies() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60")
        client.reset()
        assert (await client.get("/60")).cache == ""
        assert len(server.requests) == 2


async def test_the_jar_of_a_call_shares_the_cache_and_concurrent_calls_do_no_harm() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60", cookies={"a": "1"})
        replies = await asyncio.gather(*(client.get("/60", max_redirects=3) for _ in range(5)))
        assert {reply.cache for reply in replies} == {"fresh"}
        stale = await asyncio.gather(*(client.get("/0") for _ in range(5)))
        assert {reply.json()["version"] for reply in stale} == {1}
        assert len(server.requests) == 6


async def test_a_journey_of_fresh_answers_lets_others_run() -> None:
    async with scripted(Shop()) as server, caching(server.url) as client:
        await client.get("/60")
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(100):
            await client.get("/60")
        task.cancel()
        assert turns >= 100
        assert len(server.requests) == 1


CONFIG = """
        location /static/ { root .; }
        location /aged/ { root .; expires 1h; }
        location /secret/ { root .; add_header Cache-Control no-store; }
"""


async def test_nginx_answers_304_as_often_as_the_cache_says() -> None:
    """nginx as the judge: its default for files is ETag and Last-Modified, without a lifetime."""
    with running_nginx(locations=CONFIG) as nginx:
        for folder in ("static", "aged", "secret"):
            file = nginx.access_log.parent / folder / "a.css"
            file.parent.mkdir()
            file.write_text("body { margin: 0 }")
        async with caching(nginx.url) as client:
            for _ in range(5):
                for folder in ("static", "aged", "secret"):
                    reply = await client.get(f"/{folder}/a.css", expect=200)
                    assert reply.text == "body { margin: 0 }"
            assert counts(client) == {ANSWERED: 4, NOT_MODIFIED: 4}
            assert len(rows_of(client)) == 11
        nginx.settled_count(11)
        assert nginx.counts() == {
            "GET /static/a.css 200": 1,
            "GET /static/a.css 304": 4,
            "GET /aged/a.css 200": 1,
            "GET /secret/a.css 200": 5,
        }


def test_a_setting_that_is_unknown_is_an_error() -> None:
    assert [text for text, _ in Http(cache="worker").wrongs()] == ["cache: invalid value 'worker'"]  # type: ignore[arg-type]
    assert not list(Http(cache="user").wrongs())
    assert Http(cache="user").as_json() == {"cache": "user"}
    assert any('cache="user"' in note for note in Http(cache="user").notes())
