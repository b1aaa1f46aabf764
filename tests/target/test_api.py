"""The shop's API: what expires does so by the clock, what has errors says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from loadgen.target.request_response import Answer, Request
from loadgen.target.shop import Shop
from loadgen.target.shop_partner_api import JOB_S, ORDERS, TOKEN_S


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def ask(shop: Shop, method: str, url: str, *, token: str = "", body: Any = b"") -> Answer:
    path, _, query = url.partition("?")
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return shop.handle(shop.route(path), Request(method, path, query, token, raw))


def value(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


def grant(shop: Shop, **form: str) -> Any:
    return value(ask(shop, "POST", "/oauth/token", body=urlencode(form).encode()))


def test_a_token_expires_and_can_be_refreshed() -> None:
    clock = Clock()
    shop = Shop(now_s=clock)
    given = grant(shop, grant_type="password", username="a@b", password="x")
    assert ask(shop, "GET", "/api/orders", token=given["access_token"]).status == 200

    clock.now_s += TOKEN_S
    assert ask(shop, "GET", "/api/orders", token=given["access_token"]).status == 401

    again = grant(shop, grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert ask(shop, "GET", "/api/orders", token=again["access_token"]).status == 200


def test_what_proves_nothing_is_no_token() -> None:
    shop = Shop()
    given = grant(shop, grant_type="password", username="a@b", password="x")
    assert ask(shop, "GET", "/api/orders", token=given["refresh_token"]).status == 401
    assert ask(shop, "GET", "/api/orders", token=given["access_token"] + "0").status == 401
    assert "error" in grant(shop, grant_type="refresh_token", refresh_token=given["access_token"][:-1])


def test_orders_come_page_by_page_and_each_once() -> None:
    shop = Shop()
    token = grant(shop, grant_type="password", username="a@b", password="x")["access_token"]
    seen: list[int] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = value(ask(shop, "GET", f"/api/orders?cursor={cursor}", token=token))
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == list(range(1, ORDERS + 1))


def test_an_import_is_created_uploaded_and_done_after_a_while() -> None:
    clock = Clock()
    shop = Shop(now_s=clock)
    query = "mutation Import($name: String!) { createImport(name: $name) { id uploadUrl } }"
    made = value(ask(shop, "POST", "/graphql", body={"query": query, "variables": {"name": "n"}}))
    url = made["data"]["createImport"]["uploadUrl"]

    assert ask(shop, "PUT", url.replace("signature=", "signature=0"), body=b"x").status == 403
    job = value(ask(shop, "PUT", url, body=b"x" * 1000))
    assert job["bytes"] == 1000
    assert value(ask(shop, "GET", f"/jobs/{job['job']}")) == {"state": "running"}
    clock.now_s += JOB_S
    assert value(ask(shop, "GET", f"/jobs/{job['job']}")) == {"state": "done"}
    assert ask(shop, "GET", "/jobs/1.2.3").status == 404


def test_graphql_has_errors_in_a_200() -> None:
    answer = ask(Shop(), "POST", "/graphql", body={"query": "mutation { createImport { id } }"})
    assert answer.status == 200
    assert value(answer)["errors"][0]["message"] == "name is missing"


def test_a_search_says_whether_it_was_remembered() -> None:
    shop = Shop()
    assert b"X-Cache: miss" in ask(shop, "GET", "/search?q=oak").head
    assert b"X-Cache: hit" in ask(shop, "GET", "/search?q=oak").head
