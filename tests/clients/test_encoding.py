"""The quick ways of encoding give what the exact ones give, for anything."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loadgen.clients.protocol.request_body_encoding import encode_form, encode_json, encode_query
from loadgen.clients.request.request_head_cache import Routes, routes_of

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(values)
def test_json_is_byte_by_byte_httpxs(value: Any) -> None:
    try:
        expected = httpx.Request("POST", "http://x", json=value if value is not None else 0).read()
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            encode_json(value)
        return
    assert encode_json(value if value is not None else 0) == expected
    assert json.loads(expected) == (value if value is not None else 0)


simple = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
forms = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), simple | st.lists(simple, max_size=3))


@given(forms)
def test_forms_are_byte_by_byte_httpxs(data: dict[str, Any]) -> None:
    assert encode_form(data) == httpx.Request("POST", "http://x", data=data).read()


@given(forms)
def test_queries_are_byte_by_byte_httpxs(params: dict[str, Any]) -> None:
    assume(params)
    assert encode_query(params).encode() == httpx.URL("http://x/", params=params).query


path_text = st.text(st.sampled_from("abZ09-_.~/%:@!$&'()*+,;= é{}|<>\"`^[]\\2?#"), max_size=20)


@given(path_text)
def test_a_route_is_what_httpx_would_request(text: str) -> None:
    url = "/" + text.lstrip("/")
    routes = Routes("http://shop.test/base")
    try:
        expected = httpx.Client(
            base_url="http://shop.test/base", transport=httpx.MockTransport(lambda _: httpx.Response(200))
        ).build_request("GET", url)
    except (httpx.InvalidURL, ValueError):
        with pytest.raises(ValueError, match="no URL"):
            routes.make("GET", url)
        return
    route = routes.make("GET", url)
    assert route.line == b"GET " + expected.url.raw_path + b" HTTP/1.1\r\n"
    assert route.url == str(expected.url)


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://shop.test", "shop.test"),
        ("http://shop.test:80", "shop.test"),
        ("https://shop.test:443/", "shop.test"),
        ("http://shop.test:8080", "shop.test:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://münchen.test", "xn--mnchen-3ya.test"),
    ],
)
def test_the_host_header_is_httpxs(base: str, host: str) -> None:
    assert Routes(base).make("GET", "/").head == f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode()


@pytest.mark.parametrize("base", ["shop.test", "ftp://shop.test", "", "http://", "/path", "http:///x"])
def test_a_target_that_is_no_url_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        Routes(base)


def test_routes_are_shared_kept_and_bounded() -> None:
    routes = routes_of("http://bounded.test")
    assert routes is routes_of("http://bounded.test")
    table = routes.of("GET")
    assert table["/a"] is table["/a"]
    for n in range(5000):
        _ = table[f"/products/{n}"]
    assert len(table) <= 2048


def test_a_url_of_another_host_is_named_with_it() -> None:
    routes = Routes("http://shop.test")
    assert routes.make("GET", "https://login.test/x?y").name == "GET https://login.test:443/x"
    assert routes.make("GET", "http://shop.test/x?y").name == "GET /x"
