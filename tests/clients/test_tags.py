"""Rows split by what response headers say: each request is in exactly one part."""

from __future__ import annotations

from collections import Counter

import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.request.cache_result import CACHE
from loadgen.clients.request.split_by_response_header import tags_of
from loadgen.dsl.plans.plan_tags import CACHE_TAG
from loadgen.engine.recording.tagging import MOST_OF_HEADER, Tagging
from loadgen.errors import ExpectFailed, RequestFailed
from loadgen.measure.deltas.series_key import OTHER, SeriesKey
from tests.support.scripted import CLOSE, Answer, Received, client_of, ok, scripted


def _parts(client: HttpClient) -> dict[SeriesKey, int]:
    """How many response times each series has; asked once."""
    client._meter.settle()
    delta = client._meter.recorder.flip(0, 1)
    keys = delta.new_series
    return {keys[s.series]: s.n for s in delta.stats if keys[s.series].metric == "response"}


async def test_a_row_is_split_by_the_value_of_a_header() -> None:
    values = iter(["hit", "miss", "hit", None, "hit"])

    def answer(_: Received) -> bytes:
        value = next(values)
        return ok() if value is None else ok(b"", f"X-CACHE:  {value} ")

    async with scripted(answer) as server, client_of(server.url, tags=("x-cache",)) as client:
        for _ in range(5):
            await client.get("/p", name="page")
        parts = _parts(client)
        counters = client._meter.recorder.counters
    assert {(key.request, key.tags): n for key, n in parts.items()} == {
        ("page", (("x-cache", "hit"),)): 3,
        ("page", (("x-cache", "miss"),)): 1,
        ("page", (("x-cache", ""),)): 1,
    }
    assert counters.requests_started == counters.requests_finished == 5


async def test_a_row_is_split_by_the_result_of_caches() -> None:
    heads = iter(["X-Varnish: 4", "X-Varnish: 7 4", "CF-Cache-Status: HIT", "X-Cache: TCP_MISS", "Age: 0"])

    async with scripted(lambda _: ok(b"", next(heads))) as server, client_of(server.url, tags=(CACHE,)) as client:
        client._meter.recorder.tagging = Tagging([CACHE_TAG])
        for _ in range(5):
            await client.get("/p", name="page")
        parts = _parts(client)

    assert {key.tags: n for key, n in parts.items()} == {
        (("cache", "miss"),): 2,
        (("cache", "hit"),): 2,
        (("cache", "none"),): 1,
    }


async def test_every_request_is_in_one_row_whatever_happens_to_it() -> None:
    def answer(request: Received) -> Answer:
        match request.target:
            case "/from":
                return ok(b"", "Location: /to", "X-Cache: moved", status="302 F")
            case "/closed":
                return CLOSE
            case "/wrong":
                return ok(b"", "X-Cache: hit", status="500 E")
            case _:
                return ok(b"{}", "X-Cache: hit")

    async with scripted(answer) as server, client_of(server.url, tags=("x-cache", "x-none")) as client:
        await client.get("/from", follow_redirects=True)
        with pytest.raises(RequestFailed):
            await client.post("/closed", json=1)
        await client.get("/wrong")
        with pytest.raises(ExpectFailed):
            (await client.get("/ok")).pick("$.token", str)
        async with client.stream("GET", "/ok") as stream:
            await stream.aread()
        parts = _parts(client)
        counters = client._meter.recorder.counters
    hit = (("x-cache", "hit"), ("x-none", ""))
    assert {(key.request, key.outcome, key.tags): n for key, n in parts.items()} == {
        ("GET /from", "ok", (("x-cache", "moved"), ("x-none", ""))): 1,
        ("GET /to", "ok", hit): 1,
        ("POST /closed", "reset", ()): 1,
        ("GET /wrong", "http 500", hit): 1,
        ("GET /ok", "pick $.token", hit): 1,
        ("GET /ok", "ok", hit): 1,
    }
    assert counters.requests_started == counters.requests_finished == 6


async def test_values_without_end_are_bounded_and_the_run_says_so() -> None:
    n = 0

    def answer(_: Received) -> bytes:
        nonlocal n
        n += 1
        return ok(b"", f"X-Request-Id: {n}")

    async with scripted(answer) as server, client_of(server.url, tags=("x-request-id",)) as client:
        for _ in range(MOST_OF_HEADER + 30):
            await client.get("/p")
        sizes = Counter({key.tags[0][1]: count for key, count in _parts(client).items()})
        notes = client._meter.recorder.take_notes()
    assert sizes.total() == MOST_OF_HEADER + 30
    assert sizes[OTHER] == 30
    assert len(sizes) == MOST_OF_HEADER + 1
    assert any("x-request-id" in note for note in notes)


def test_the_first_of_several_values_counts_and_heads_are_read_once() -> None:
    head = Head(200, b"OK", "1.1", [(b"X-Cache", b"hit"), (b"x-cache", b"miss"), (b"Age", b"3")], True)
    names = ("x-cache", "age", "via")
    assert tags_of(head, names) == (("x-cache", "hit"), ("age", "3"), ("via", ""))
    assert tags_of(head, names) is tags_of(head, names)
    assert tags_of(head, ("age",)) == (("age", "3"),)
