"""In a network of its own: ports that are used up, and a DNS server that fails, flaps, and names dead addresses."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvloop

from loadgen import Http
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.outcomes import generator_faults
from loadgen.errors import RequestFailed
from tests.support.namespace import in_namespace, only_these_ports, own_dns
from tests.support.scripted import client_of, ok, rows_of, scripted

PORTS = 10


# -- ports ------------------------------------------------------------------------------------------


def users_who_keep_connections(users: int, sources: list[str], hosts: list[str]) -> dict[str, Any]:
    """How requests of so many users to each host ended, who each keep a connection, with 10 ports to connect from."""

    async def ask() -> dict[str, Any]:
        outcomes: Counter[str] = Counter()
        details: set[str] = set()
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(scripted(ok(b"x"), host=host)) for host in hosts]
            only_these_ports(50_000, 50_000 + PORTS - 1)  # from now on: the servers have others
            network = TcpNetwork(Http(source=tuple(sources)))
            for server in servers * users:
                client = await stack.enter_async_context(client_of(server.url, network=network))
                try:
                    await client.get("/")
                except RequestFailed as failure:
                    details.add(failure.detail)
                outcomes.update(row.outcome for row in rows_of(client))
        return {"outcomes": outcomes, "details": sorted(details), "own": generator_faults()}

    return uvloop.run(ask())


WHERE = "tests.clients.test_own_network"


def test_ports_that_are_used_up_are_our_own_fault_and_the_outcome_says_what_to_do() -> None:
    found = in_namespace(f"{WHERE}:users_who_keep_connections", PORTS + 3, [], ["127.0.0.2"])

    assert found["outcomes"] == {"ok": PORTS, "no local port": 3}
    assert found["own"] == 3
    assert all("Http(source=[...])" in detail for detail in found["details"])


def test_each_source_address_has_ports_of_its_own() -> None:
    sources = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    found = in_namespace(f"{WHERE}:users_who_keep_connections", 3 * PORTS + 1, sources, ["127.0.0.2"])

    assert found["outcomes"] == {"ok": 3 * PORTS, "no local port": 1}


def test_a_source_address_has_all_its_ports_towards_each_target() -> None:
    """Which takes IP_BIND_ADDRESS_NO_PORT: a port that is bound before the target is known is one target's only."""
    hosts = ["127.0.0.2", "127.0.0.3"]
    found = in_namespace(f"{WHERE}:users_who_keep_connections", PORTS + 1, ["127.0.0.7"], hosts)

    assert found["outcomes"] == {"ok": 2 * PORTS, "no local port": 2}


# -- DNS --------------------------------------------------------------------------------------------


class DnsServer(asyncio.DatagramProtocol):
    """Answers questions for A as `says` does, and has nothing for AAAA. Its answers hold for an hour, it says."""

    def __init__(self, says: Callable[[int], list[str] | str]) -> None:
        self.says = says
        self.asked = 0
        """For A."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport) or hasattr(transport, "sendto")
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(b"\0", 12) + 5
        kind = int.from_bytes(data[end - 4 : end - 2], "big")
        says: list[str] | str = []
        if kind == 1:
            self.asked += 1
            says = self.says(self.asked)
        if says == "silence":
            return
        code = {"no such name": 3, "failed": 2}.get(says, 0) if isinstance(says, str) else 0
        addresses = says if isinstance(says, list) else []
        head = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 3600, 4) + bytes(map(int, one.split("."))) for one in addresses
        )
        self.transport.sendto(head + data[12:end] + records, addr)


def ask_by_name(*answers: Any) -> dict[str, Any]:
    """How ten users at once got on, and then one after the other, with a DNS server that says these in turn."""
    own_dns()

    async def ask() -> dict[str, Any]:
        server = DnsServer(lambda n: answers[min(n, len(answers)) - 1])
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 53))
        async with scripted(ok(b"x"), host="127.0.0.2") as target:
            port = target.url.rpartition(":")[2]
            network = TcpNetwork(Http(dns_ttl="100ms"))

            async def one() -> str:
                async with client_of(f"http://shop.example:{port}", pool=ConnectionPool(network)) as client:
                    with contextlib.suppress(RequestFailed):
                        await client.get("/")
                    return rows_of(client)[0].outcome

            first = Counter(await asyncio.gather(*(one() for _ in range(10))))
            asked = server.asked
            rounds = []
            for _ in range(6):
                await asyncio.sleep(0.11)  # the answer has grown old by then
                rounds.append(await one())
        return {"first": first, "asked": asked, "rounds": rounds}

    return uvloop.run(ask())


def test_ten_users_at_once_are_one_question() -> None:
    found = in_namespace(f"{WHERE}:ask_by_name", ["127.0.0.2"])
    assert found == {"first": {"ok": 10}, "asked": 1, "rounds": ["ok"] * 6}


def test_dns_that_flaps_fails_for_as_long_as_it_does() -> None:
    found = in_namespace(f"{WHERE}:ask_by_name", "failed", ["127.0.0.2"], "no such name", ["127.0.0.2"])
    assert found["first"] == {"dns": 10}
    assert found["rounds"] == ["ok", "dns", "ok", "ok", "ok", "ok"]


def test_dns_that_has_nothing_for_a_name_is_an_outcome() -> None:
    assert in_namespace(f"{WHERE}:ask_by_name", [])["first"] == {"dns": 10}


def test_a_dead_address_first_costs_nobody_a_request() -> None:
    found = in_namespace(f"{WHERE}:ask_by_name", ["127.0.0.99", "127.0.0.2"])
    assert (found["first"], set(found["rounds"])) == ({"ok": 10}, {"ok"})
