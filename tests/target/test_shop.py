from __future__ import annotations

from typing import Any

import msgspec
import pytest
from selectolax.lexbor import LexborHTMLParser

from loadgen.target.request_response import Answer, Request
from loadgen.target.shop import OTHER_ROUTE, PRODUCTS, Shop


def ask(shop: Shop, method: str, path: str, *, query: str = "", token: str = "", body: Any = b"") -> Answer:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return shop.handle(shop.route(path), Request(method, path, query, token, raw))


def value(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


def token(shop: Shop) -> str:
    return str(value(ask(shop, "POST", "/login", body={"email": "a@b", "password": "x"}))["token"])


def csrf(shop: Shop, sku: str) -> str:
    page = LexborHTMLParser(ask(shop, "GET", f"/products/{sku}").body)
    found = page.css_first("input[name=csrf]")
    assert found is not None
    return str(found.attributes["value"])


def test_a_whole_purchase_goes_through() -> None:
    shop = Shop()
    bearer = token(shop)
    sku = value(ask(shop, "GET", "/products"))[10]["sku"]
    line = {"sku": sku, "csrf": csrf(shop, sku)}

    assert ask(shop, "POST", "/cart", token=bearer, body=line).status == 201
    assert value(ask(shop, "POST", "/checkout", token=bearer)) == {"order": 1}


@pytest.mark.parametrize("login", [{"email": "a@b", "password": ""}, {"email": "a@b", "password": "wrong"}])
def test_a_wrong_password_is_refused(login: dict[str, str]) -> None:
    assert ask(Shop(), "POST", "/login", body=login).status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"email": 1, "password": "x"}', b"\xff\xfe", b'{"email": "a"}'])
@pytest.mark.parametrize("path", ["/login", "/cart"])
def test_a_body_that_is_not_what_it_should_be_is_a_400(path: str, body: bytes) -> None:
    shop = Shop()

    assert ask(shop, "POST", path, token=token(shop), body=body).status == 400


@pytest.mark.parametrize("wrong", ["", "1", "1.", ".", "1.0123456789", "2.{}"])
def test_only_a_token_of_this_shop_opens_the_cart(wrong: str) -> None:
    shop = Shop()
    good = token(shop)
    line = {"sku": "sku-0001", "csrf": csrf(shop, "sku-0001")}

    assert ask(shop, "POST", "/cart", token=good, body=line).status == 201
    assert ask(shop, "POST", "/cart", token=wrong.format(good.partition(".")[2]), body=line).status == 401
    assert ask(shop, "POST", "/cart", token=token(Shop(seed=2)), body=line).status == 401
    assert ask(shop, "POST", "/checkout", token=wrong, body=b"").status == 401


def test_the_csrf_value_must_be_that_of_the_products_own_page() -> None:
    shop = Shop()
    line = {"sku": "sku-0001", "csrf": csrf(shop, "sku-0002")}

    assert ask(shop, "POST", "/cart", token=token(shop), body=line).status == 403
    assert ask(shop, "POST", "/cart", token=token(shop), body={"sku": "sku-0001"}).status == 403


def test_products_are_distinct_and_each_has_its_page() -> None:
    shop = Shop()

    assert len({p.name for p in shop.products}) == len(shop.products) == PRODUCTS
    assert all(ask(shop, "GET", f"/products/{p.sku}").status == 200 for p in shop.products)
    assert ask(shop, "GET", "/products/sku%2D0001").status == 200
    assert ask(shop, "GET", "/products/none").status == 404


@pytest.mark.parametrize(
    ("query", "hits"), [("q=red+oak", 5), ("q=RED%20oak", 5), ("q=piano", 0), ("q=", 0), ("", 0), ("x=red", 0)]
)
def test_search_finds_by_part_of_the_name(query: str, hits: int) -> None:
    assert len(value(ask(Shop(), "GET", "/search", query=query))["hits"]) == hits


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/products", "/products"),
        ("/products/sku-0001", "/products/{sku}"),
        ("/products/", "/products/{sku}"),
        ("/products/a/b", OTHER_ROUTE),
        ("/products/{sku}", OTHER_ROUTE),
        ("/nowhere", OTHER_ROUTE),
        ("//", OTHER_ROUTE),
    ],
)
def test_paths_are_counted_by_their_pattern(path: str, route: str) -> None:
    assert Shop().route(path) == route


def test_a_method_that_the_path_does_not_have_is_a_405_that_names_the_others() -> None:
    answer = ask(Shop(), "DELETE", "/products")

    assert answer.status == 405
    assert b"Allow: GET, HEAD\r\n" in answer.head
    assert ask(Shop(), "GET", "/nowhere").status == 404
