"""Rows, names, `expect` and `pick`, and what is like httpx."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, get_type_hints

import httpx
import msgspec
import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.request.prepare import AllOptions, BodyOptions, Options
from loadgen.clients.response.replies import BlankReply, Reply
from loadgen.errors import ExpectFailed, UsageError
from tests.support.scripted import client_of, rows_of

URL = "http://shop.test"


def _shop(**more: Any) -> CannedNetwork:
    return CannedNetwork(
        {
            "GET /json": {"token": "abc", "n": 12, "items": [{"sku": "a"}, {"sku": "b"}], "none": None},
            "GET /page": reply(
                html='<form><input name=csrf value="t1"><input name=empty value></form><a href="/n">Next  one</a>',
                headers={"ETag": '"x1"', "X-Count": "7"},
            ),
            "GET /gone": 404,
            "GET /products/{sku}": lambda request: {"path": request.path},
            "POST /login": reply(201, json={"ok": True}),
            "GET /turns": [503, 503, "fine"],
            **more,
        }
    )


async def test_the_fast_path_sets_all_fields_that_a_reply_has() -> None:
    async with client_of(URL, network=_shop()) as client:
        slow, fast = await client.get("/json"), await client.get("/json")
        assert (type(slow), type(fast)) == (Reply, BlankReply)
        set_in = [{name for name in Reply.__slots__ if hasattr(one, name)} for one in (slow, fast)]
        assert set_in[0] == set_in[1]
        fresh = Reply(fast._meter, fast.route, fast._sent, fast.series, fast.asked_ns)
        assert all(getattr(fast, name) == getattr(fresh, name) for name in ("outcome", "trace", "opening_times"))


# -- rows and names --------------------------------------------------------------------------


async def test_a_row_is_named_by_method_and_path_without_the_query_or_as_the_call_says() -> None:
    async with client_of(URL + "/", network=_shop()) as client:
        await client.get("/json?page=1")
        await client.get("/json", params={"page": 2})
        await client.get("/products/17", name="/products/{sku}")
        assert [r.name for r in rows_of(client)] == ["GET /json", "GET /json", "/products/{sku}"]


async def test_a_status_of_400_or_more_is_an_outcome_and_no_exception() -> None:
    async with client_of(URL, network=_shop()) as client:
        reply_ = await client.get("/gone")
        assert (reply_.status_code, reply_.outcome) == (404, "http 404")
        assert [r.outcome for r in rows_of(client)] == ["http 404"]


async def test_an_expected_404_is_ok_and_an_unexpected_200_is_not() -> None:
    async with client_of(URL, network=_shop()) as client:
        await client.get("/gone", expect=404)
        (await client.get("/gone")).expect(status={404, 410})
        await client.get("/gone", accept={404})
        with pytest.raises(ExpectFailed) as failure:
            await client.get("/json", expect=404)
        assert failure.value.outcome == "expect status"
        assert "got 200, expected 404" in str(failure.value)
        assert [r.outcome for r in rows_of(client)] == ["ok", "ok", "ok", "expect status"]


async def test_a_sample_is_provisional_until_the_next_request() -> None:
    async with client_of(URL, network=_shop()) as client:
        first = await client.get("/json")
        await client.get("/page")
        with pytest.raises(ExpectFailed):
            first.expect(status=500)  # too late to change its row; the iteration still ends with it
        assert [r.outcome for r in rows_of(client)] == ["ok", "ok"]


async def test_a_pick_after_a_good_expect_can_still_fail_the_request() -> None:
    async with client_of(URL, network=_shop()) as client:
        with pytest.raises(ExpectFailed):
            (await client.get("/json", expect=200)).pick("$.missing", str)
        assert [r.outcome for r in rows_of(client)] == ["pick $.missing"]


async def test_every_expectation_has_its_outcome() -> None:
    async with client_of(URL, network=_shop()) as client:
        good = await client.get("/json")
        assert good.expect(header={"Content-Type": re.compile("json$"), "content-length": "78"}) is good
        assert good.expect(json={"token": "abc"}, text="abc", max_ms=60_000, status=range(200, 300)) is good
        good.expect(json={"items": [{"sku": "a"}, {"sku": "b"}]}, text=re.compile(r'"n": ?\d+'))
        for arguments, outcome in (
            ({"json": {"token": "x"}}, "expect json"),
            ({"json": [1]}, "expect json"),
            ({"text": "xyz"}, "expect text"),
            ({"text": re.compile("^x")}, "expect text"),
            ({"max_ms": 0}, "expect time"),
            ({"header": {"content-type": "text/html"}}, "expect header"),
            ({"header": {"Content-Type": "application/json", "etag": re.compile(".")}}, "expect header"),
            ({"status": {201, 202}}, "expect status"),
        ):
            answer = await client.get("/json")
            with pytest.raises(ExpectFailed) as failure:
                answer.expect(**arguments)
            assert failure.value.outcome == outcome
            assert rows_of(client)[-1].outcome == outcome
        page = await client.get("/page")
        with pytest.raises(ExpectFailed, match="expect json"):
            page.expect(json={"a": 1})


async def test_raise_for_status_ends_the_iteration_with_the_status() -> None:
    async with client_of(URL, network=_shop()) as client:
        assert (await client.get("/json")).raise_for_status().status_code == 200
        with pytest.raises(ExpectFailed) as failure:
            (await client.get("/gone")).raise_for_status()
        assert failure.value.outcome == "http 404"


# -- pick ------------------------------------------------------------------------------------


@dataclass
class Item:
    sku: str


class ItemStruct(msgspec.Struct):
    sku: str


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("$.token", str, "abc"),
        ("$['token']", str, "abc"),
        ("$.n", int, 12),
        ("$.n", float, 12.0),
        ("$.items[0].sku", str, "a"),
        ('$.items[1]["sku"]', str, "b"),
        ("$.items[0]", Item, Item("a")),
        ("$.items", list[ItemStruct], [ItemStruct("a"), ItemStruct("b")]),
        ("$.items", list, [{"sku": "a"}, {"sku": "b"}]),
        ("$.items[*].sku", list[str], ["a", "b"]),
        ("$.items[*].sku", str, "a"),
        ("$..sku", list[str], ["a", "b"]),
        ("$.items[-1].sku", str, "b"),
        ("$.items[?@.sku=='b'].sku", str, "b"),
        ("$.none", type(None), None),
        ("$", dict[str, Any], _shop()._replies[0][1]),
    ],
)
async def test_pick_takes_typed_values_out_of_json(path: str, kind: Any, value: Any) -> None:
    async with client_of(URL, network=_shop()) as client:
        found = (await client.get("/json")).pick(path, kind)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("css:input[name=csrf]@value", str, "t1"),
        ("css:input[name=empty]@value", str, ""),
        ("css:input@name", list[str], ["csrf", "empty"]),
        ("css:a", str, "Next  one"),
        ("css:a@href", str, "/n"),
        (r"regex:name=.?csrf.? value=.?(\w+)", str, "t1"),
        (r"regex:(?i)NAME=(\w+)", list[str], ["csrf", "empty"]),
        ("regex:href", str, "href"),
        (r"regex:n(?:o|a)(x)?", str, ""),
        (r"regex:t([0-9])", int, 1),
        ("header:etag", str, '"x1"'),
        ("header:X-Count", int, 7),
        ("header:content-type", str, "text/html; charset=utf-8"),
    ],
)
async def test_pick_takes_values_out_of_pages_and_headers(path: str, kind: Any, value: Any) -> None:
    async with client_of(URL, network=_shop()) as client:
        assert (await client.get("/page")).pick(path, kind) == value


@pytest.mark.parametrize(
    ("url", "path", "kind"),
    [
        ("/json", "$.missing", str),
        ("/json", "$.token.deeper", str),
        ("/json", "$.items[9].sku", str),
        ("/json", "$.items.sku", str),
        ("/json", "$.token[0]", str),
        ("/json", "$.n", str),
        ("/json", "$.token", int),
        ("/json", "$..absent", str),
        ("/page", "$.token", str),
        ("/page", "css:input[name=other]@value", str),
        ("/page", "css:a@missing", str),
        ("/page", "regex:no such text", str),
        ("/page", "regex:(csrf)", int),
        ("/page", "header:missing", str),
        ("/page", "header:etag", int),
    ],
)
async def test_what_is_not_there_or_of_another_type_is_the_outcome(url: str, path: str, kind: Any) -> None:
    async with client_of(URL, network=_shop()) as client:
        with pytest.raises(ExpectFailed) as failure:
            (await client.get(url)).pick(path, kind)
        assert failure.value.outcome == f"pick {path}"
        assert [r.outcome for r in rows_of(client)] == [f"pick {path}"]


@pytest.mark.parametrize(
    "path", ["token", "$.[", "css:", "css:[[", "xpath://a", "header:", "", "regex:", "regex:(", "regex:(a)(b)"]
)
async def test_a_path_that_is_none_is_an_error_of_the_scenario(path: str) -> None:
    async with client_of(URL, network=_shop()) as client:
        with pytest.raises(ValueError, match=r"invalid|has 2 groups"):
            (await client.get("/json")).pick(path)


# -- like httpx ------------------------------------------------------------------------------


def test_the_clients_methods_take_httpxs_arguments() -> None:
    ours_only = {"name", "expect", "accept", "discard", "retries", "tags", "jar", "max_redirects"}
    kinds = {"get": Options, "head": Options, "options": Options, "delete": Options, "request": AllOptions}
    for name in ("get", "head", "options", "delete", "post", "put", "patch", "request"):
        stock = inspect.signature(getattr(httpx.AsyncClient, name)).parameters
        explicit = inspect.signature(getattr(HttpClient, name)).parameters
        taken = (set(explicit) - {"options"}) | set(get_type_hints(kinds.get(name, BodyOptions)))
        assert taken - ours_only == set(stock), name
        positional = [p for p in stock.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert [p.name for p in positional] == [p.name for p in explicit.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_a_reply_has_httpxs_attributes() -> None:
    streaming = {"aiter_bytes", "aiter_lines", "aiter_raw", "aiter_text", "iter_raw"}  # with user.http.stream, later
    other = {"default_encoding", "stream", "request"}
    stock = {n for n in dir(httpx.Response) if not n.startswith("_")} - streaming - other
    assert stock - set(dir(Reply)) == set()


# -- canned replies --------------------------------------------------------------------------


async def test_canned_replies_keep_what_was_sent() -> None:
    network = _shop()
    async with client_of(URL, network=network) as client:
        await client.post("/login", json={"email": "a"}, expect=201)
        assert (await client.get("/products/17?x=1")).json() == {"path": "/products/17"}
        assert [str(r) for r in network.requests] == ["POST /login", "GET /products/17?x=1"]
        assert network.requests[0].json() == {"email": "a"}
        assert network.requests[0].headers["host"] == "shop.test"
        assert network.connections == 1


async def test_canned_lists_are_given_in_turn() -> None:
    async with client_of(URL, network=_shop()) as client:
        assert [(await client.get("/turns")).status_code for _ in range(4)] == [503, 503, 200, 200]


async def test_what_is_not_canned_says_what_is() -> None:
    async with client_of(URL, network=_shop()) as client:
        with pytest.raises(UsageError, match="no canned reply for GET /unknown") as error:
            await client.get("/unknown")
        assert "POST /login" in error.value.hint


async def test_canned_patterns_match_one_part_or_any_rest() -> None:
    network = CannedNetwork({"/a/{x}": "one", "DELETE /a/*": 204, "GET *": "rest"})
    async with client_of("https://shop.test", network=network, tls=httpx.create_ssl_context()) as client:
        assert (await client.get("/a/b")).text == "one"
        assert (await client.get("/a/b/c")).text == "rest"
        assert (await client.delete("/a/b/c")).status_code == 204
        assert repr(await client.get("/a/b")) == "<Reply [200 ]>"
