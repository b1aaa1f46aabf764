"""Hosts and ports as text: what is accepted, what is rejected, and what counts as this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.net.host_parsing import is_place
from loadgen.errors import UsageError
from loadgen.hostport import host_port, is_loopback, of_url, split_host_port
from loadgen.wire.sockets import parse_address
from loadgen_agent.worker.allowlist_check import places_of
from loadgen_controller.planning.option_parsing import parse_endpoint
from loadgen_controller.ui.access import Authorizer

GOOD: dict[str, tuple[str, int | None]] = {
    "localhost": ("localhost", None),
    "LocalHost:80": ("LocalHost", 80),
    "127.0.0.1:0": ("127.0.0.1", 0),
    "[::1]": ("::1", None),
    "[::1]:65535": ("::1", 65535),
    "[::ffff:127.0.0.1]:80": ("::ffff:127.0.0.1", 80),
    "[fe80::1%eth0]:80": ("fe80::1%eth0", 80),
    "127.0.0.1.evil": ("127.0.0.1.evil", None),
    "localhost.evil:80": ("localhost.evil", 80),
    "shop.example.": ("shop.example.", None),
    "0x7f.1": ("0x7f.1", None),
    "my_host-1:80": ("my_host-1", 80),
    "bücher.example:80": ("bücher.example", 80),
}
BAD = [
    "",
    ":80",
    "[]",
    "[::1].evil",
    "[::1].evil:80",
    "[::1]evil:80",
    "[::1]:80:80",
    "[::1",
    "::1]",
    "::1",
    "]::1[:80",
    "[[::1]]:80",
    "[127.0.0.1]:80",
    "[::1%]:80",
    "[:::1]:80",
    "localhost:",
    "localhost:99999",
    "localhost:-1",
    "localhost:+1",
    "localhost:8 0",
    "localhost:８０",
    "localhost:80\n",
    " localhost:80",
    "user@localhost:80",
    "localhost:80@evil",
    "localhost/evil:80",
    "localhost\\evil",
    "localhost\0.evil",
    "evil..example",
    ".localhost",
    "a" * 254,
    "127。0。0。1:80",
    "a:b:80",
]
LOOPBACK = ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.3", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]
ELSEWHERE = [
    "",
    "[::1]",
    "127.0.0.1.evil",
    "localhost.evil",
    "localhost.",
    "127.0.0.1.",
    "0x7f.1",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "１２７.0.0.1",
    "0.0.0.0",
    "::",
    "::ffff:10.0.0.1",
    "10.0.0.1",
    "xn--lcalhost-n0a",
    "evil",
]


@pytest.mark.parametrize("text", GOOD)
def test_hosts_and_ports_are_split(text: str) -> None:
    found = split_host_port(text)
    assert tuple(found) == GOOD[text]
    assert text.startswith(found.bracketed)


@pytest.mark.parametrize("text", BAD)
def test_every_caller_rejects_a_text_of_another_form(text: str) -> None:
    for parse in (split_host_port, host_port, parse_endpoint):
        with pytest.raises(ValueError, match=r"address|port|host"):
            parse(text)
    with pytest.raises(UsageError):
        parse_address(text)
    assert places_of([text]) == frozenset()
    assert not Authorizer("127.0.0.1:5559").is_ours({"host": text})
    assert text == "::1" or not is_place(text)  # a place may be a bare address


def test_a_port_is_required_where_a_server_listens_or_is_called() -> None:
    for text in ("localhost", "[::1]"):
        with pytest.raises(ValueError, match="missing port"):
            host_port(text)
        with pytest.raises(UsageError, match="has no port"):
            parse_address(text)
    assert parse_address("[::1]:80") == ("[::1]", 80)
    assert parse_endpoint("[::1]:80") == ("::1", 80)


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_loopback_host_is_this_machine(host: str) -> None:
    assert is_loopback(host)
    in_header = f"[{host}]" if ":" in host else host
    for header in (in_header, f"{in_header}:5559"):
        assert Authorizer("127.0.0.1:5559").is_ours({"host": header})


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_host_that_only_looks_like_loopback_is_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
    assert not Authorizer("127.0.0.1:5559").is_ours({"host": f"{host}:5559" if ":" not in host else f"[{host}]:5559"})


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://Shop.example/a", ("shop.example", None)),
        ("https://user:pass@[::1]:8443/", ("::1", 8443)),
        ("http://a@b@shop.example:80", ("shop.example", 80)),
    ],
)
def test_the_place_of_a_url_is_what_comes_after_its_user(url: str, place: tuple[str, int | None]) -> None:
    assert of_url(urlsplit(url)) == place


@pytest.mark.parametrize(
    "url", ["http://[::1].evil/", "http://[::1]evil:80/", "http:///a", "http://a:99999", "http://a:/"]
)
def test_a_url_with_something_beside_its_host_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|port|host|Invalid"):
        of_url(urlsplit(url))


@given(st.text(st.sampled_from("[]:.%@1ae/ "), max_size=12))
def test_an_accepted_text_is_the_host_its_port_and_nothing_else(text: str) -> None:
    try:
        found = split_host_port(text)
    except ValueError:
        return
    end = text.removeprefix(found.bracketed) if text.startswith("[") else text.removeprefix(found.host)
    assert end == "" if found.port is None else end[0] == ":" and int(end[1:]) == found.port
