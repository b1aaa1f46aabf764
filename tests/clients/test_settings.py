"""A plan's `Http` says everything that is wrong with it at once, and never lets a private key travel."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import Http, Plan, arrivals, journey, secret
from loadgen.clients.net.host_parsing import parse_resolve
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.dsl.users.user import User
from loadgen.units import NS_PER_S


@journey
async def browse(user: User) -> None:
    await user.http.get("/")


def plan_with(http: Any) -> Plan:
    return Plan("http://127.0.0.1", arrivals("1/s").hold("10s"), browse, http=http)


def told(http: Http) -> list[str]:
    faults = plan_with(http).faults
    assert all(fault.hint and fault.line for fault in faults)
    return [fault.message for fault in faults]


def test_the_defaults_say_nothing() -> None:
    spec = plan_with(None).spec()

    assert plan_with(Http()).http == plan_with(None).http == Http()
    assert (spec.http, spec.notes) == ({}, ())


def test_what_is_given_travels_and_is_told() -> None:
    plan = plan_with(
        Http(
            proxy="http://10.0.0.9:3128",
            proxy_auth=secret("proxy-login"),
            no_proxy=["10.0.0.0/8"],
            cert=secret("client-pem"),
            verify=False,
            sni="shop.example",
            resolve={"Shop.example": "10.0.0.1", "api.example:443": ["10.0.0.2", "fd00::2"]},
            dns_ttl="5s",
        )
    )
    spec = plan.spec()

    assert plan.ways().http == plan.http
    assert plan.http.addresses_for("shop.example", 80) == ("10.0.0.1",)
    assert plan.http.addresses_for("api.example", 443) == ("10.0.0.2", "fd00::2")
    assert plan.http.addresses_for("api.example", 80) is None
    assert plan.http.dns_ttl_ns == 5 * NS_PER_S
    assert spec.http == {
        "proxy": "http://10.0.0.9:3128",
        "proxy_auth": 'secret("proxy-login")',
        "no_proxy": ["10.0.0.0/8"],
        "cert": 'secret("client-pem")',
        "verify": False,
        "sni": "shop.example",
        "resolve": {"shop.example": ["10.0.0.1"], "api.example:443": ["10.0.0.2", "fd00::2"]},
        "dns_ttl": "5s",
    }
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec
    notes = "\n".join(spec.notes)
    for word in (
        "not verified",
        "10.0.0.9:3128",
        "shop.example was reached at 10.0.0.1",
        "client certificate",
        "5.00 s",
    ):
        assert word in notes


@pytest.mark.parametrize(
    ("http", "message"),
    [
        (Http(http2="yes"), "http: http2: invalid value 'yes'"),  # type: ignore[arg-type]
        (Http(verify="no"), "http: verify: invalid value 'no'"),  # type: ignore[arg-type]
        (Http(phases=1), "http: phases: invalid value 1"),  # type: ignore[arg-type]
        (Http(proxy="proxy.example:3128"), "http: proxy: 'proxy.example:3128' is not an http:// URL"),
        (Http(proxy="http://"), "http: proxy: 'http://' has an invalid host or port"),
        (
            Http(proxy="http://p:99999"),
            "http: proxy: 'http://p:99999' is not a URL: invalid port 99999: must be at most 65535",
        ),
        (Http(proxy="http://p/x"), "http: proxy: 'http://p/x' must not have a path"),
        (Http(proxy="socks5://p:1080"), "http: proxy: socks5 proxies are not supported"),
        (Http(proxy="https://p:3128"), "http: proxy: https proxies are not supported"),
        (Http(proxy=3128), "http: proxy: 3128 is not a URL"),  # type: ignore[arg-type]
        (Http(no_proxy=["10.0.0.0/8"]), "http: no_proxy: needs a proxy"),
        (Http(proxy_auth=secret("login")), "http: proxy_auth: needs a proxy"),
        (
            Http(proxy="http://p", proxy_auth="me:pw"),  # type: ignore[arg-type]
            "http: proxy_auth: must be a secret, so that no file contains it",
        ),
        (
            Http(proxy="http://p", no_proxy=["http://x"]),
            "http: no_proxy: 'http://x' is not a host or network",
        ),
        (
            Http(proxy="http://p", no_proxy=["10.0.0.0/33"]),
            "http: no_proxy: '10.0.0.0/33' is not a host or network",
        ),
        (Http(proxy="http://p", no_proxy=[3]), "http: no_proxy: 3 is not a host or network"),  # type: ignore[list-item]
        (Http(sni="a b"), "http: sni: invalid server name 'a b'"),
        (Http(resolve={"a b": "10.0.0.1"}), "http: resolve: invalid host 'a b'"),
        (Http(resolve={"shop.example:0": "10.0.0.1"}), "http: resolve: invalid host 'shop.example:0'"),
        (Http(resolve={"shop.example": "api.example"}), "http: resolve: shop.example: invalid address 'api.example'"),
        (Http(resolve={"shop.example": []}), "http: resolve: shop.example: the list of addresses is empty"),
        (Http(resolve=["shop.example"]), "http: resolve: must be a dict of hosts and addresses, got ['shop.example']"),  # type: ignore[arg-type]
        (
            Http(resolve={"shop.example": "10.0.0.1"}, ip="6"),
            'http: resolve: shop.example: no IPv6 address, but ip="6"',
        ),
        (Http(ip="5"), "http: ip: invalid value '5'"),  # type: ignore[arg-type]
        (Http(dns_ttl="soon"), "http: dns_ttl: invalid duration 'soon'"),
        (Http(dns_ttl=-1), "http: dns_ttl: invalid duration -1"),
        (Http(uds="shop.sock"), "http: uds: 'shop.sock' is not an absolute path"),
        (Http(uds="/\udfff.sock"), "http: uds: '/\\udfff.sock' is not an absolute path"),
        (Http(uds="/" + "x" * 107), "http: uds: the path has more than 107 bytes"),
        (Http(uds="/run/a.sock", ip="4"), "http: uds: cannot be combined with ip, as all connections use the socket"),
        (Http(source=["eth0"]), "http: source: invalid address 'eth0'"),
        (Http(source=["10.0.0.0/33"]), "http: source: invalid address '10.0.0.0/33'"),
        (Http(source=["10.0.0.1"], ip="6"), 'http: source: no IPv6 address, but ip="6"'),
        (Http(clock="wire"), "http: clock: invalid value 'wire'"),  # type: ignore[arg-type]
        (Http(retries=-1), "http: retries: invalid value -1"),
        (Http(retries=True), "http: retries: invalid value True"),
        (Http(max_body="lots"), "http: max_body: invalid size 'lots'"),
        (Http(max_body=0), "http: max_body: invalid size 0"),
        (
            Http(cert="client.pem"),
            "http: cert: the private key in client.pem would not reach the agents",
        ),
        (
            Http(cert=("/etc/loadgen/client.pem", "client.key")),
            "http: cert: the private key in client.key would not reach the agents",
        ),
        (Http(cert=("client.pem", secret("client-key"))), "http: cert: file not found: client.pem"),
        (Http(cert=""), "http: cert: the path of a file is empty or invalid"),
        (Http(cert=("client\0.pem", secret("client-key"))), "http: cert: the path of a file is empty or invalid"),
        (Http(cert=3), "http: cert: must be a certificate and its key"),  # type: ignore[arg-type]
        (Http(cert=("a", "b", "c")), "http: cert: must be a certificate and its key"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(http: Http, message: str) -> None:
    assert told(http) == [message]


def test_all_faults_are_told_at_once() -> None:
    assert len(told(Http(proxy="p", sni="", resolve={"x": "y"}, dns_ttl="z", uds="u", retries=99, max_body="m"))) == 9


def test_what_is_no_http_is_refused() -> None:
    (fault,) = plan_with({"proxy": "http://p"}).faults
    assert fault.message == "http: {'proxy': 'http://p'} is not an Http"


def test_credentials_in_the_proxy_s_address_are_refused_and_not_repeated() -> None:
    (fault,) = plan_with(Http(proxy="http://me:hunter2@p:3128")).faults

    assert fault.message == "http: proxy: the URL contains credentials, which files would then contain"
    assert "hunter2" not in fault.hint


def test_a_key_beside_the_scenario_does_not_travel_under_its_absolute_path_either() -> None:
    key = Path(__file__).with_name("client.key")
    assert told(Http(cert=("/etc/loadgen/client.pem", key))) == [
        f"http: cert: the private key in {key} would not reach the agents"
    ]


def test_the_certificate_travels_and_its_key_does_not() -> None:
    here = Path(__file__)  # any file: what is in it is looked at when it is loaded
    plan = plan_with(Http(cert=(here.name, "/etc/loadgen/client.key")))

    assert plan.certificates == (here,)
    assert plan.spec().http == {"cert": [here.name, "/etc/loadgen/client.key"]}
    assert plan_with(Http(cert=("/etc/loadgen/client.pem", secret("client-key")))).certificates == ()


def test_the_command_line_beats_the_plan_s_addresses() -> None:
    plan = plan_with(Http(resolve={"shop.example": "10.0.0.1", "api.example": "10.0.0.2"}))
    changed = plan.with_overrides(Overrides(resolve={"shop.example": ("10.0.0.9",)}))

    assert changed.http.resolve == {"shop.example": ("10.0.0.9",), "api.example": ("10.0.0.2",)}
    assert plan.http.addresses_for("shop.example", 80) == ("10.0.0.1",)
    (fault,) = plan_with(Http(uds="/run/a.sock")).with_overrides(Overrides(resolve={"a": ("10.0.0.1",)})).faults
    assert (fault.file, fault.message.partition(",")[0]) == ("--resolve", "uds: cannot be combined with resolve")


@pytest.mark.parametrize(
    ("text", "place", "addresses"),
    [
        ("shop.example:10.0.0.1", "shop.example", ("10.0.0.1",)),
        ("Shop.example:443:10.0.0.1,10.0.0.2", "shop.example:443", ("10.0.0.1", "10.0.0.2")),
        ("shop.example:443:[fd00::1],10.0.0.2", "shop.example:443", ("fd00::1", "10.0.0.2")),
        ("shop.example:fd00::1", "shop.example", ("fd00::1",)),
    ],
)
def test_resolve_is_written_as_curl_has_it(text: str, place: str, addresses: tuple[str, ...]) -> None:
    assert parse_resolve(text) == (place, addresses)


@pytest.mark.parametrize(
    "text",
    ["", "shop.example", "shop.example:443", "shop.example:0:10.0.0.1", "shop.example:70000:10.0.0.1", "a:443:b"],
)
def test_what_is_no_resolve_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write shop\.example:443:10\.0\.0\.1|invalid port"):
        parse_resolve(text)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=5)
    | st.sampled_from(["http://p:3128", "10.0.0.1", "fd00::1/64", "shop.example:443", "client.pem", "/a", "\0", "4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([one.name for one in fields(Http)]), JUNK, min_size=1))
def test_whatever_is_given_is_told_or_taken_and_never_raises(given: dict[str, Any]) -> None:
    """What is taken is JSON, and goes through it unchanged."""
    plan = plan_with(Http(**given))
    faults = plan.faults
    if not faults:
        spec = plan.spec()
        assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec
    assert all(fault.message.startswith("http: ") and fault.hint for fault in faults)


HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z0-9]{1,5}){0,2}", fullmatch=True)


@given(HOSTS, st.none() | st.integers(1, 65_535), st.lists(st.ip_addresses().map(str), min_size=1, max_size=4))
def test_each_host_and_its_addresses_can_be_written_for_resolve(
    host: str, port: int | None, addresses: list[str]
) -> None:
    written = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
    place = host if port is None else f"{host}:{port}"

    assert parse_resolve(f"{place}:{written}") == (place, tuple(addresses))


@given(st.text(max_size=60))
def test_any_text_is_a_resolve_or_is_refused(text: str) -> None:
    try:
        place, addresses = parse_resolve(text)
    except ValueError:
        return
    assert not list(Http(resolve={place: addresses}).wrongs())
