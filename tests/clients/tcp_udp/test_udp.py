"""`user.udp` against real peers: lost, late and unmatched datagrams."""

from __future__ import annotations

import asyncio
import struct

import pytest

from loadgen import first
from loadgen.allowlist import AllowList
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import TargetGuard
from loadgen.clients.tcp_udp.counters import AnswerCounters
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK
from tests.support.links import Rows, phases_in, udp_peer, user_for
from tests.support.ports import free_port


def query(number: int) -> bytes:
    """A DNS question for the address of shop.example, RFC 1035."""
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + b"\4shop\7example\0\0\1\0\1"


def answer(question: bytes) -> bytes:
    """Its answer: 203.0.113.7."""
    head = question[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0)
    return head + question[12:] + b"\xc0\x0c\0\1\0\1" + struct.pack(">IH4B", 60, 4, 203, 0, 113, 7)


READY = b"ready?"
"""Opens the socket, before a request with a short limit."""


def only_ready(data: bytes) -> list[bytes]:
    return [data] if data == READY else []


async def test_an_answer_is_a_row() -> None:
    rows = Rows()
    async with udp_peer(lambda data: [answer(data)]) as place, user_for({"dns": f"udp://{place}"}, rows) as user:
        found = await user.udp("dns").ask(query(7), match=first(2), timeout="1s")
        assert found[-4:] == bytes([203, 0, 113, 7])
        await user.udp("dns").ask(query(8), name="again")
        assert user.udp("dns") is user.udp("dns")
    assert rows.rows == [("UDP dns", OK), ("again", OK)]
    assert all(asked <= sent <= done for asked, sent, done in rows.times)
    assert not {one for one in phases_in(rows) if one[1] == "connect"}


async def test_a_lost_answer_is_a_timeout_censored_at_its_limit() -> None:
    rows = Rows()
    async with udp_peer(only_ready) as place, user_for({"dns": f"udp://{place}"}, rows) as user:
        await user.udp("dns").ask(READY)
        with pytest.raises(RequestFailed, match="no answer within 30"):
            await user.udp("dns").ask(query(7), match=first(2), timeout="30ms", name="lookup")
    assert rows.rows[1:] == [("lookup", "timeout")]
    asked_ns, _, done_ns = rows.times[1]
    assert done_ns - asked_ns == 30_000_000


async def test_late_and_unmatched_datagrams_are_counted_and_answer_nothing() -> None:
    held: list[bytes] = []

    def slow(data: bytes) -> list[bytes]:
        if data == READY:
            return [data]
        held.append(data)
        return [] if len(held) == 1 else [answer(held[0]), b"\xff\xffnoise", b"", answer(data), answer(data)]

    rows = Rows()
    async with udp_peer(slow) as place, user_for({"dns": f"udp://{place}"}, rows) as user:
        dns = user.udp("dns")
        await dns.ask(READY)
        with pytest.raises(RequestFailed):
            await dns.ask(query(1), match=first(2), timeout=0.02)
        assert (await dns.ask(query(2), match=first(2)))[:2] == b"\0\2"
        assert await dns.ask(query(3), match=first(2))
        async with asyncio.timeout(5):
            while AnswerCounters.of(rows).udp_unmatched.n < 5:  # noise, doubles, one twice late
                await asyncio.sleep(0.001)
    assert rows.counted()["udp: late answers"] == 1


async def test_without_a_match_a_late_answer_is_not_taken_for_the_next_one() -> None:
    held: list[bytes] = []

    def slow(data: bytes) -> list[bytes]:
        if data == READY:
            return [data]
        held.append(data)
        return [] if len(held) == 1 else [answer(data)]

    rows = Rows()
    async with udp_peer(slow) as place, user_for({"dns": f"udp://{place}"}, rows) as user:
        await user.udp("dns").ask(READY)
        with pytest.raises(RequestFailed):
            await user.udp("dns").ask(query(1), timeout=0.02)
        assert (await user.udp("dns").ask(query(2)))[:2] == b"\0\2"


async def test_many_questions_at_once_get_their_own_answers() -> None:
    rows = Rows()
    async with udp_peer(lambda data: [answer(data)]) as place, user_for({"dns": f"udp://{place}"}, rows) as user:
        dns = user.udp("dns")
        found = await user.gather(*(dns.ask(query(n), match=first(2)) for n in range(50)))
    assert [struct.unpack(">H", one[:2])[0] for one in found] == list(range(50))
    assert rows.rows == [("UDP dns", OK)] * 50


async def test_a_port_without_a_server_is_refused() -> None:
    rows = Rows()
    async with user_for({"dns": f"udp://127.0.0.1:{free_port()}"}, rows) as user:
        with pytest.raises(RequestFailed):
            await user.udp("dns").ask(query(1), timeout=2)
    assert rows.rows == [("UDP dns", "refused")]


async def test_a_datagram_without_an_answer_is_a_row_of_its_own() -> None:
    arrived: list[bytes] = []

    def keeps(data: bytes) -> list[bytes]:
        arrived.append(data)
        return []

    rows = Rows()
    async with udp_peer(keeps) as place, user_for({"statsd": f"udp://{place}"}, rows) as user:
        await user.udp("statsd").send(b"orders:1|c")
        await user.udp("statsd").send(b"orders:2|c", name="orders")
        async with asyncio.timeout(5):
            while len(arrived) < 2:
                await asyncio.sleep(0.001)
    assert rows.rows == [("UDP statsd (send)", OK), ("orders", OK)]
    assert arrived == [b"orders:1|c", b"orders:2|c"]


async def test_an_answer_that_is_not_the_expected_one_is_an_outcome() -> None:
    rows = Rows()
    async with udp_peer(lambda data: [answer(data)]) as place, user_for({"dns": f"udp://{place}"}, rows) as user:
        with pytest.raises(ExpectFailed):
            await user.udp("dns").ask(query(1), match=first(2), expect=lambda found: found[3] & 15 == 3)
    assert rows.rows == [("UDP dns", "expect message")]


async def test_an_allow_list_refuses_datagrams_to_other_places() -> None:
    rows = Rows()
    network = TcpNetwork(guard=TargetGuard(AllowList(allow=())))
    async with (
        udp_peer(lambda data: [data]) as place,
        user_for({"dns": f"udp://{place}"}, rows, network=network) as user,
    ):
        with pytest.raises(RequestFailed):
            await user.udp("dns").ask(query(1))
    assert rows.rows[0][1].startswith("not allowed: ")


async def test_datagrams_do_not_go_through_a_proxy() -> None:
    network = network_of(Http(proxy="http://127.0.0.1:3128"))
    async with user_for({"dns": "udp://127.0.0.2:53"}, Rows(), network=network) as user:
        with pytest.raises(UsageError, match="cannot go through proxy"):
            await user.udp("dns").ask(query(1))


async def test_a_datagram_has_a_largest_size() -> None:
    async with user_for({"dns": "udp://127.0.0.1:53"}, Rows()) as user:
        with pytest.raises(UsageError, match="larger than 65,507"):
            await user.udp("dns").ask(b"x" * 65_508)
