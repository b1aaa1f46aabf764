"""Which targets may be put under load."""

from __future__ import annotations

import pytest

from loadgen.errors import UsageError
from loadgen_controller.guard import check_target


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
    with pytest.raises(UsageError, match="never a target"):
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
