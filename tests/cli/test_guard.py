"""Which targets may be put under load."""

from __future__ import annotations

import pytest

from loadgen import Http
from loadgen.errors import UsageError
from loadgen_controller.planning.target_permission import check_target, check_ways


def check(url: str, *addresses: str, named: tuple[str, ...] = ()) -> None:
    check_target(url, named, resolve=lambda host: addresses)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "fd00::1", "::ffff:127.0.0.1"])
def test_own_addresses_may_be_loaded(address: str) -> None:
    asked: list[str] = []

    def resolve(host: str) -> tuple[str, ...]:
        asked.append(host)
        return (address,)

    check_target("http://shop.internal:8080", (), resolve=resolve)
    assert asked == ["shop.internal"]  # and it was let through


def test_public_host_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="is public") as raised:
        check("https://shop.example", "93.184.215.14")

    assert raised.value.hint.endswith("--i-may-load shop.example")
    check("https://Shop.Example/x", "93.184.215.14", named=("shop.example",))


def test_one_public_address_among_private_ones_is_public() -> None:
    with pytest.raises(UsageError, match="is public"):
        check("https://shop.example", "10.0.0.1", "93.184.215.14")


def test_public_address_in_ipv6_clothing_is_public() -> None:
    with pytest.raises(UsageError, match="is public"):
        check("http://[::ffff:8.8.8.8]/", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "fe80::1%eth0"])
def test_link_local_is_never_a_target(address: str) -> None:
    with pytest.raises(UsageError, match="never allowed"):
        check("http://metadata", address, named=("metadata",))


def test_host_that_does_not_resolve_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="cannot be resolved"):
        check("http://shop.internal")
    check("http://shop.internal", named=("shop.internal",))


def test_what_is_no_url_is_left_to_the_plan() -> None:
    asked: list[str] = []

    def resolve(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ()

    check_target("nonsense", (), resolve=resolve)
    assert asked == []


def ways(http: Http, *addresses: str, named: tuple[str, ...] = ()) -> None:
    check_ways(http, named, resolve=lambda host: addresses)


def test_addresses_that_the_plan_gives_a_host_are_checked_as_addresses() -> None:
    http = Http(resolve={"shop.example": ("10.0.0.1", "93.184.215.14")})

    with pytest.raises(UsageError, match=r"shop\.example is sent to 93\.184\.215\.14, which is public") as raised:
        ways(http, named=("shop.example",))  # that is not the host that was named
    assert raised.value.hint.endswith("--i-may-load 93.184.215.14")
    ways(http, named=("93.184.215.14",))
    ways(Http(resolve={"shop.example": ("10.0.0.1", "fd00::1")}))


def test_a_public_host_may_be_sent_to_an_address_of_one_s_own() -> None:
    http = Http(resolve={"shop.example:443": ("127.0.0.1",)})

    check_target("https://Shop.example/x", (), http=http, resolve=lambda host: ("93.184.215.14",))
    with pytest.raises(UsageError, match="is public"):  # of its other ports DNS decides
        check_target("http://shop.example/x", (), http=http, resolve=lambda host: ("93.184.215.14",))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254"])
def test_no_way_leads_to_link_local_addresses(address: str) -> None:
    with pytest.raises(UsageError, match="never allowed"):
        ways(Http(resolve={"metadata": (address,)}), named=("metadata", address))
    with pytest.raises(UsageError, match="never allowed"):
        ways(Http(proxy="http://metadata:80"), address, named=("metadata",))


def test_a_public_proxy_has_to_be_named_and_so_does_a_public_target_behind_a_private_one() -> None:
    http = Http(proxy="http://proxy.example:3128")
    with pytest.raises(UsageError, match=r"proxy proxy\.example is public"):
        ways(http, "93.184.215.14", named=("shop.example",))
    ways(http, "93.184.215.14", named=("proxy.example",))
    ways(http, "10.0.0.9")
    with pytest.raises(UsageError, match=r"target shop\.example is public"):
        check_target("https://shop.example", (), http=http, resolve=lambda host: ("93.184.215.14",))


def test_a_unix_socket_does_not_hide_whom_it_is_asked_for() -> None:
    with pytest.raises(UsageError, match="is public"):
        check_target("https://shop.example", (), http=Http(uds="/run/p.sock"), resolve=lambda host: ("93.184.215.14",))
