"""URLs of targets: schemes, default ports, parts."""

from __future__ import annotations

import pytest

from loadgen.dsl.plans.allowlist_check import _place as place_in_list
from loadgen.history.store.comparability_key import _place as place_in_key
from loadgen.target_url import TargetUrl, is_http, place_of_url


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://shop.example", "shop.example", 80),
        ("https://Shop.Example/app", "shop.example", 443),
        ("tcp://127.0.0.1:7000", "127.0.0.1", 7000),
        ("udp://[::1]:53", "::1", 53),
        ("redis://cache/0", "cache", 6379),
        ("postgresql://orders/shop", "orders", 5432),
        ("kafka://broker", "broker", 9092),
        ("amqps://broker", "broker", 5671),
        ("mqtt://broker:1884", "broker", 1884),
    ],
)
def test_a_url_has_a_host_and_a_port_and_the_allow_list_sees_the_same(url: str, host: str, port: int) -> None:
    assert place_of_url(url) == place_in_list(url) == (host, port)
    assert place_in_key(url) == f"{host}:{port}"
    assert (TargetUrl(url).host, TargetUrl(url).port) == (host, port)


@pytest.mark.parametrize("url", ["tcp://", "tcp://a b:1", "redis://[::1].evil:1"])
def test_a_url_without_a_valid_host_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|address|URL"):
        place_of_url(url)


def test_only_http_is_http() -> None:
    assert [is_http(one) for one in ("http://a", "HTTPS://a", "tcp://a:1", "httpx://a")] == [True, True, False, False]
