"""Connections go to all addresses of a host, from all addresses that the plan names, or to a UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme

from loadgen import Http
from loadgen.clients.http import HttpClient
from loadgen.clients.net.dns import Resolver
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.tls import tls_context
from loadgen.clients.protocol.outcomes import NO_PORT
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.errors import RequestFailed, UsageError
from tests.support.scripted import client_of, ok, rows_of

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class Target:
    """One port on several addresses; knows where each connection came from and to."""

    def __init__(self) -> None:
        self.port = 0
        self.reached: list[tuple[str, str]] = []
        """(from, to), addresses."""
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, *hosts: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Target]:
        target = cls()
        for host in hosts:
            server = await asyncio.start_server(target._serve, host, target.port, ssl=tls)
            target.port = server.sockets[0].getsockname()[1]
            target._servers.append(server)
        try:
            yield target
        finally:
            for server in target._servers:
                server.close()
            for task in target._tasks:
                task.cancel()
            await asyncio.gather(*target._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = (writer.get_extra_info(which) for which in ("peername", "sockname"))
        self.reached.append(tuple(end[0] for end in ends))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ok(b"x"))
        writer.close()

    def to(self) -> Counter[str]:
        return Counter(end for _, end in self.reached)

    def of(self) -> Counter[str]:
        return Counter(end for end, _ in self.reached)


def network_at(addresses: Sequence[str], notes: list[str] | None = None, **http: Any) -> TcpNetwork:
    """A network for which shop.example has these addresses."""
    given = Http(resolve={"shop.example": tuple(addresses)}, **http)
    return TcpNetwork(
        given, resolver=Resolver(given, random=Random(0)), note=(notes if notes is not None else []).append
    )


@contextlib.asynccontextmanager
async def clients_of(network: TcpNetwork, port: int, n: int, timeouts: Timeouts) -> AsyncIterator[list[HttpClient]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                client_of(f"http://shop.example:{port}", network=network, timeouts=timeouts)
            )
            for _ in range(n)
        ]


async def ask(network: TcpNetwork, port: int, n: int, timeouts: Timeouts = Timeouts()) -> Counter[str]:  # noqa: B008
    """Outcomes of n users who ask one after the other."""
    outcomes: Counter[str] = Counter()
    async with clients_of(network, port, n, timeouts) as clients:
        for client in clients:
            with contextlib.suppress(RequestFailed):
                await client.get("/")
            outcomes.update(row.outcome for row in rows_of(client))
    return outcomes


# -- all addresses of a host ------------------------------------------------------------------------


async def test_users_are_spread_evenly_over_all_addresses_of_the_target() -> None:
    async with Target.at(*HOSTS) as target:
        assert await ask(network_at(HOSTS), target.port, 30) == {"ok": 30}
        assert target.to() == dict.fromkeys(HOSTS, 10)


async def test_an_address_that_refuses_is_skipped_and_the_run_says_so() -> None:
    notes: list[str] = []
    async with Target.at("127.0.0.2") as target:
        network = network_at(["127.0.0.2", "127.0.0.9"], notes)
        assert await ask(network, target.port, 20) == {"ok": 20}
        assert len(network.resolver._shunned) == 1
    assert notes == []  # nobody's trouble on the loopback


def test_what_was_not_reached_is_said_of_addresses_that_are_not_the_machine_s_own() -> None:
    notes: list[str] = []
    network = network_at(["127.0.0.2"], notes)
    network._note_failed("shop.example", 443, "192.0.2.1", "refused")
    network._note_failed("shop.example", 443, "2001:db8::1", "no connection in time")
    assert notes == [
        "no connection to shop.example at 192.0.2.1:443 (refused); its other addresses were used",
        "no connection to shop.example at [2001:db8::1]:443 (no connection in time); its other addresses were used",
    ]


async def test_a_dead_address_costs_a_time_out_once_and_is_then_tried_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead: it swallows what it is sent, and only the time-out ends that."""
    monkeypatch.setattr("loadgen.clients.net.network._SWALLOWED_S", 0.0)
    async with Target.at("127.0.0.2") as target:
        with socket.socket() as full:  # its backlog is full, so it answers no SYN
            full.bind(("127.0.0.3", target.port))
            full.listen(0)
            waiting = [socket.socket() for _ in range(8)]
            try:
                for one in waiting:
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.3", target.port))
                network = network_at(["127.0.0.3", "127.0.0.2"])
                outcomes = await ask(network, target.port, 20, Timeouts(connect_ns=50_000_000))
            finally:
                for one in waiting:
                    one.close()
    assert outcomes == {"timeout": 1, "ok": 19}


async def test_a_target_without_any_living_address_fails_as_the_last_one_did() -> None:
    async with Target.at("127.0.0.2") as target:
        port = target.port
    assert await ask(network_at(HOSTS), port, 3) == {"refused": 3}


async def test_an_address_that_fails_in_tls_has_answered_and_no_other_is_tried(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("wrong.example").configure_cert(context)
    async with Target.at(*HOSTS, tls=context) as target:
        url = f"https://shop.example:{target.port}"
        async with client_of(url, network=network_at(HOSTS), tls=tls_context(tmp_path / "ca.pem")) as client:
            for _ in range(3):
                with pytest.raises(RequestFailed, match="tls"):
                    await client.get("/")
        assert len(target.reached) <= 3


# -- IPv6 -------------------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on its loopback")
async def test_ipv6_is_reached_by_address_and_by_name_and_only_it_where_that_is_asked_for() -> None:
    async with Target.at("::1") as target:
        async with client_of(f"http://[::1]:{target.port}") as client:
            await client.get("/", expect=200)
        assert await ask(network_at(["127.0.0.9", "::1"], ip="6"), target.port, 4) == {"ok": 4}
        assert target.to() == {"::1": 5}
    assert await ask(network_at(["::1", "127.0.0.9"], ip="4"), target.port, 1) == {"refused": 1}


# -- where connections come from --------------------------------------------------------------------


async def test_connections_are_made_from_each_source_address_in_turn() -> None:
    sources = ("127.0.0.7", "127.0.0.8")
    async with Target.at(*HOSTS[:2]) as target:
        assert await ask(network_at(HOSTS[:2], source=sources), target.port, 16) == {"ok": 16}
        assert target.of() == {"127.0.0.7": 8, "127.0.0.8": 8}
        assert set(Counter(target.reached).values()) == {4}  # each source to each address: all ports are of use


async def test_a_source_that_is_none_of_the_machine_s_addresses_is_told_before_anything_starts() -> None:
    with pytest.raises(UsageError, match=r"source: 198\.51\.100\.1 is not an address of this machine") as raised:
        TcpNetwork(Http(source=("127.0.0.7", "198.51.100.1")))
    assert raised.value.hint


async def test_a_network_is_all_that_the_machine_has_in_it() -> None:
    async with Target.at("127.0.0.2") as target:
        assert await ask(network_at(["127.0.0.2"], source=["127.0.0.0/8", "127.0.0.1"]), target.port, 3) == {"ok": 3}
        assert target.of() == {"127.0.0.1": 3}
    with pytest.raises(UsageError, match=r"source: this machine has no address in 198\.51\.100\.0/24") as raised:
        TcpNetwork(Http(source=("127.0.0.1", "198.51.100.0/24")))
    assert "127.0.0.1" in raised.value.hint


async def test_without_a_source_of_its_family_an_address_is_not_reached() -> None:
    assert await ask(network_at(["::1"], source=["127.0.0.7"]), 9, 1) == {"unreachable": 1}


async def test_when_the_ports_of_one_source_are_used_up_the_others_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen.clients.net import network as module

    connected = module._connected
    used_up = {"127.0.0.7"}

    async def short_of_ports(address: str, port: int, source: str | None) -> socket.socket:
        if source in used_up:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return await connected(address, port, source)

    monkeypatch.setattr(module, "_connected", short_of_ports)
    async with Target.at("127.0.0.2") as target:
        network = network_at(["127.0.0.2"], source=["127.0.0.7", "127.0.0.8"])
        assert await ask(network, target.port, 4) == {"ok": 4}
        assert target.of() == {"127.0.0.8": 4}
        used_up.add("127.0.0.8")
        assert await ask(network, target.port, 1) == {NO_PORT: 1}


# -- a UNIX socket ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_tls", [False, True])
async def test_all_requests_go_to_the_unix_socket_with_the_target_s_name(is_tls: bool, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example").configure_cert(context)
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ok(b"x"))

    path = tmp_path / "shop.sock"
    server = await asyncio.start_unix_server(serve, path, ssl=context if is_tls else None)
    network, tls = TcpNetwork(Http(uds=path)), tls_context(tmp_path / "ca.pem")
    async with client_of(f"http{'s' * is_tls}://shop.example", network=network, tls=tls) as client:
        for _ in range(3):
            assert (await client.get("/a", expect=200)).text == "x"
    server.close()
    assert len(heads) == 3
    assert all(head.startswith(b"GET /a HTTP/1.1\r\nHost: shop.example\r\n") for head in heads)


async def test_a_unix_socket_that_is_not_there_is_unreachable_and_named(tmp_path: Path) -> None:
    async with client_of("http://shop.example", network=TcpNetwork(Http(uds=tmp_path / "no.sock"))) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
    assert failure.value.outcome == "unreachable"
    assert str(tmp_path / "no.sock") in failure.value.detail
    with socket.socket(socket.AF_UNIX) as left:  # nobody listens on it any more
        left.bind(str(tmp_path / "left.sock"))
    async with client_of("http://shop.example", network=TcpNetwork(Http(uds=tmp_path / "left.sock"))) as client:
        with pytest.raises(RequestFailed, match="refused"):
            await client.get("/")
