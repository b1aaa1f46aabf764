"""What may not be loaded is not reached, by whatever way it is asked for: the address decides, at each connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from loadgen import Http
from loadgen.allowlist import AllowList, Entry
from loadgen.clients.httpx_api.transport import HttpxTransport
from loadgen.clients.net.dns import Resolver
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy import ProxyNetwork
from loadgen.clients.net.target_guard import TargetGuard, is_not_allowed, place_of
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
from loadgen.clients.pool.pool_for_plan import pool_for
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed
from tests.support.scripted import Answer, Scripted, client_of, ok, rows_of, scripted

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def entry(host: str, **more: Any) -> Entry:
    return Entry(**{"host": host, "owner": "us", "expires": date(2027, 1, 1), **more})


def guard(*entries: Entry, own: Sequence[tuple[str, int]] = ()) -> TargetGuard:
    places = [place_of(address, port) for address, port in own]
    return TargetGuard(AllowList(allow=entries), places, now=lambda: NOW)


class Names:
    """DNS of a test: what each name leads to, answer after answer."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = {name.replace("_", "."): list(given) for name, given in answers.items()}

    async def __call__(self, host: str, family: socket.AddressFamily) -> Sequence[str]:
        given = self.answers.get(host)
        if given is None:  # forms of addresses, by the system itself
            return [socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]]  # type: ignore[list-item]
        return [given.pop(0) if len(given) > 1 else given[0]]


def network(it: TargetGuard, names: Names | None = None, **http: Any) -> TcpNetwork:
    given = Http(**http)
    return TcpNetwork(given, resolver=Resolver(given, lookup=names or Names()), guard=it)


def target(answer: Answer | None = None) -> contextlib.AbstractAsyncContextManager[Scripted]:
    return scripted(ok() if answer is None else answer)


def port_of(server: Scripted) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


async def refused(it: TargetGuard, url: str, names: Names | None = None, **http: Any) -> RequestFailed:
    async with client_of(url, network=network(it, names, **http)) as client:
        with pytest.raises(RequestFailed) as raised:
            await client.get("/")
        assert [row.outcome for row in rows_of(client)] == [raised.value.outcome]
    assert is_not_allowed(raised.value.outcome)
    return raised.value


async def test_a_second_list_must_admit_each_connection_too() -> None:
    admitted: list[Entry] = []
    wide, narrow = entry("127.0.0.0/8", max_requests_per_s=9.0), entry("127.0.0.1", max_requests_per_s=5.0)

    def both(first: Entry, second: Entry) -> TargetGuard:
        own = AllowList(allow=(second,))
        return TargetGuard(AllowList(allow=(first,)), also=own, admitted=admitted.append, now=lambda: NOW)

    async with target() as server:
        async with client_of(server.url, network=network(both(wide, narrow))) as client:
            await client.get("/")
        assert admitted == [wide, narrow]
        elsewhere = entry("10.0.0.0/8")
        for it in (both(wide, elsewhere), both(elsewhere, wide), TargetGuard(also=AllowList(allow=(elsewhere,)))):
            assert (await refused(it, server.url)).outcome == "not allowed: no entry"
        assert len(server.requests) == 1
    assert admitted == [wide, narrow], "a refused connection spends nothing of either list"


async def test_what_is_on_the_list_is_reached_and_nothing_else() -> None:
    async with target() as server:
        port = port_of(server)
        async with client_of(server.url, network=network(guard(entry("127.0.0.0/8", ports=(port,))))) as client:
            assert (await client.get("/")).status_code == 200
        failure = await refused(guard(entry("127.0.0.0/8", ports=(port + 1,))), server.url)
        assert failure.outcome == "not allowed: port"
        failure = await refused(guard(entry("10.0.0.0/8")), server.url)
        assert failure.outcome == "not allowed: no entry"
        assert f"127.0.0.1:{port}" in failure.detail
        failure = await refused(guard(entry("127.0.0.1", expires=date(2026, 11, 24))), server.url)
        assert failure.outcome == "not allowed: expired"
        assert len(server.requests) == 1


async def test_dns_that_rebinds_a_name_leads_nowhere() -> None:
    """The name's entry is for public addresses; its DNS then says 127.0.0.1, where our own services are."""
    async with target() as server:
        names = Names(shop_example=["127.0.0.1"])
        failure = await refused(guard(entry("shop.example")), f"http://shop.example:{port_of(server)}", names)
        assert failure.outcome == "not allowed: address"
        assert "shop.example at 127.0.0.1" in failure.detail
        inside = guard(entry("shop.example", addresses=("127.0.0.0/30",)))
        names = Names(shop_example=["127.0.0.1", "127.0.0.9"])
        url = f"http://shop.example:{port_of(server)}"
        async with client_of(url, network=network(inside, names, dns_ttl="0s")) as client:
            assert (await client.get("/")).status_code == 200
            client._pool.close_idle()
            with pytest.raises(RequestFailed, match=r"not allowed: address.*127\.0\.0\.9"):
                await client.get("/")
        assert len(server.requests) == 1


async def test_a_redirect_is_checked_as_any_other_request() -> None:
    async with target() as inner:
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/x\r\nContent-Length: 0\r\n\r\n" % port_of(inner)
        async with target(moved) as outer:
            only = guard(entry("127.0.0.1", ports=(port_of(outer),)))
            async with client_of(outer.url, network=network(only)) as client:
                with pytest.raises(RequestFailed, match="not allowed: port"):
                    await client.get("/", follow_redirects=True)
                assert [row.outcome for row in rows_of(client)] == ["ok", "not allowed: port"]
        assert not inner.requests


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("169.254.169.254", "metadata"),
        ("169.254.1.1", "link-local"),
        ("[fe80::1]", "link-local"),
        ("[fd00:ec2::254]", "metadata"),
        ("[::ffff:169.254.169.254]", "metadata"),
        ("[::ffff:a9fe:a9fe]", "metadata"),
        ("[64:ff9b::169.254.169.254]", "metadata"),
        ("[2002:a9fe:a9fe::1]", "metadata"),
        ("[::169.254.169.254]", "metadata"),
        ("2852039166", "metadata"),
        ("0xa9.0xfea9fe", "metadata"),
        ("0xa9fea9fe", "metadata"),
        ("100.100.100.200", "metadata"),
        ("224.0.0.1", "multicast"),
    ],
)
async def test_some_addresses_are_never_targets_in_whatever_form(host: str, rule: str) -> None:
    everything = guard(entry("0.0.0.0/0"), entry("::/0"))
    assert (await refused(everything, f"http://{host}")).outcome == f"not allowed: {rule}"
    assert (await refused(TargetGuard(), f"http://{host}")).outcome == f"not allowed: {rule}"  # nor without a list


async def test_a_name_that_leads_to_the_metadata_service_leads_nowhere() -> None:
    names = Names(shop_example=["169.254.169.254"])
    allowed = guard(entry("shop.example", addresses=("169.254.0.0/16",)), entry("0.0.0.0/0"))
    assert (await refused(allowed, "http://shop.example", names)).outcome == "not allowed: metadata"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "localhost"])
async def test_ipv4_in_other_clothes_is_what_it_is(host: str) -> None:
    async with target() as server:
        url = f"http://{host}:{port_of(server)}"
        assert (await refused(guard(entry("10.0.0.0/8"), entry("::/0")), url)).outcome == "not allowed: no entry"
        assert not server.requests


async def test_the_control_plane_is_never_a_target_and_its_neighbours_may_be() -> None:
    async with target() as control, target() as shop:
        it = guard(entry("127.0.0.1"), own=[("127.0.0.1", port_of(control))])
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"):
            failure = await refused(it, f"http://{host}:{port_of(control)}")
            assert failure.outcome == "not allowed: control plane"
        async with client_of(shop.url, network=network(it)) as client:
            assert (await client.get("/")).status_code == 200
        assert not control.requests


async def test_an_address_that_the_plan_gives_a_name_is_not_the_name_s_own() -> None:
    async with target() as server:
        url, given = f"http://shop.example:{port_of(server)}", {"shop.example": ("127.0.0.1",)}
        named = guard(entry("shop.example", addresses=("127.0.0.1",)))
        assert (await refused(named, url, resolve=given)).outcome == "not allowed: no entry"
        by_address = guard(entry("127.0.0.1"))
        async with client_of(url, network=network(by_address, resolve=given)) as client:
            assert (await client.get("/")).status_code == 200


async def test_a_proxy_has_to_be_on_the_list_and_so_has_who_is_asked_of_it() -> None:
    async with target() as proxy:
        http = Http(proxy=proxy.url)
        for host, entries, outcome in (
            ("shop.example", [entry("shop.example")], "proxy not allowed: no entry"),
            ("shop.example", [entry("127.0.0.1")], "not allowed: no entry"),
            ("169.254.169.254", [entry("127.0.0.1"), entry("0.0.0.0/0")], "not allowed: metadata"),
        ):
            for scheme in ("http", "https"):
                way = ProxyNetwork(http, network(guard(*entries)))
                pool = ConnectionPool(way, httpx.create_ssl_context())
                async with client_of(f"{scheme}://{host}", pool=pool) as client:
                    with pytest.raises(RequestFailed) as raised:
                        await client.get("/")
                assert raised.value.outcome == outcome
                assert is_not_allowed(raised.value.outcome)
        assert not proxy.requests


async def test_no_list_admits_unix_sockets() -> None:
    it = network(guard(entry("shop.example")), uds="/run/docker.sock")
    async with client_of("http://shop.example", network=it) as client:
        with pytest.raises(RequestFailed, match="not allowed: unix socket"):
            await client.get("/")


@pytest.mark.parametrize("kind", ["shared", "http2", "fresh"])
async def test_every_pool_goes_through_the_fence(kind: str) -> None:
    async with target() as server:
        way = network(guard(entry("10.0.0.0/8")))
        kinds: dict[str, ConnectionPool] = {
            "shared": SharedPool(2, way),
            "http2": Http2Pool(way, prior=True),
            "fresh": pool_for(Connections("fresh"), way),
        }
        pool = kinds[kind]
        async with client_of(server.url, pool=pool) as client:
            with pytest.raises(RequestFailed, match="not allowed: no entry"):
                await client.get("/")
        assert not server.requests


async def test_a_client_library_goes_through_the_fence() -> None:
    async with target() as server:
        pool = ConnectionPool(network(guard(entry("10.0.0.0/8"))))
        meter = Meter(Recorder())
        meter.begin("journey", warmup=False, pool_limited=False)
        async with httpx.AsyncClient(transport=HttpxTransport(meter, pool, server.url)) as client:
            with pytest.raises(httpx.ConnectError, match="not allowed: no entry"):
                await client.get(server.url)
        assert not server.requests


def test_a_fence_tells_what_it_is() -> None:
    assert repr(guard(entry("shop.example"), own=[("127.0.0.1", 5557)])) == (
        "<Fence 1 entries, 1 places of the control plane>"
    )
