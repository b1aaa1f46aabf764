"""Connection policies: a shared pool never opens more than its limit, serves in order, and loses no place."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.net.canned_replies import CannedNetwork
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
from loadgen.clients.pool.pool_for_plan import pool_for
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.badserver import refusing_url
from tests.support.scripted import CLOSE, HANG, Answer, Received, Rows, client_of, ok, rows_of, scripted


class Gate:
    """A network whose answers come when the test lets them: counts what is open."""

    def __init__(self) -> None:
        self.transports: list[_Gated] = []
        self.asked: list[str] = []
        self.hold_connect: asyncio.Event | None = None
        self.refuse = False

    @property
    def open(self) -> int:
        return sum(not t.is_aborted for t in self.transports)

    @property
    def busy(self) -> list[_Gated]:
        return [t for t in self.transports if t.asked and not t.is_aborted]

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        name: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        await asyncio.sleep(0)
        if self.hold_connect is not None:
            await self.hold_connect.wait()
        if self.refuse:
            raise RequestFailed("refused", host)
        connection = factory()
        transport = _Gated(self, connection)
        connection.connection_made(transport)
        self.transports.append(transport)
        return transport, connection


class _Gated(asyncio.Transport):
    def __init__(self, gate: Gate, connection: Connection) -> None:
        super().__init__()
        self.gate, self.connection = gate, connection
        self.is_aborted = False
        self.asked: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_aborted
        assert not self.asked, "two requests at once on one connection"
        self.asked.append(bytes(data))
        self.gate.asked.append(bytes(data).split(b" ")[1].decode())

    def answer(self) -> None:
        asked = self.asked.pop()
        self.connection.data_received(ok(asked.split(b" ")[1]))

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.is_aborted = True


def _client(pool: ConnectionPool, port: int = 80, rows: Rows | None = None, total_s: float = 60) -> HttpClient:
    meter = Meter(rows if rows is not None else Rows())
    meter.begin("journey", warmup=False, pool_limited=False)
    return HttpClient(meter, pool, f"http://127.0.0.1:{port}", Timeouts(total_ns=round(total_s * NS_PER_S)))


async def _ticks(n: int = 10) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def test_a_shared_pool_opens_no_more_than_its_limit_and_serves_in_order_of_asking() -> None:
    gate = Gate()
    pool = SharedPool(2, gate)

    async def ask(n: int) -> None:
        assert (await _client(pool).get(f"/{n}")).text == f"/{n}"

    asking = [asyncio.create_task(ask(n)) for n in range(8)]
    await _ticks()
    while not all(task.done() for task in asking):
        assert gate.open == len(pool) == 2
        gate.busy[0].answer()
        await _ticks()
    assert gate.asked == [f"/{n}" for n in range(8)]
    assert (pool.opened, pool.waits) == (2, 6)
    pool.close()
    assert gate.open == len(pool) == 0


async def test_the_wait_for_a_connection_is_response_time_and_no_service_time() -> None:
    gate, rows = Gate(), Rows()
    pool = SharedPool(1, gate)
    first = asyncio.create_task(_client(pool, rows=rows).get("/first"))
    await _ticks()
    second = asyncio.create_task(_client(pool, rows=rows).get("/second"))
    await _ticks()
    await asyncio.sleep(0.03)
    gate.busy[0].answer()
    await first
    await _ticks()
    gate.busy[0].answer()
    reply = await second
    assert reply.sent_ns - reply.asked_ns >= 30 * NS_PER_MS


async def test_who_waits_too_long_times_out_at_the_deadline_and_the_next_is_served() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    busy = asyncio.create_task(_client(pool).get("/busy"))
    await _ticks()
    late, rows = _client(pool, total_s=0.02, rows=(late_rows := Rows())), late_rows
    patient = asyncio.create_task(late.get("/late"))
    await _ticks()
    after = asyncio.create_task(_client(pool).get("/after"))
    with pytest.raises(RequestFailed, match=r"timeout.*all 1 shared connections were busy"):
        await patient
    assert [(row.outcome, row.was_sent) for row in rows.rows] == [("timeout", False)]
    assert rows.rows[0].response_ns == 20 * NS_PER_MS  # censored at its deadline
    gate.busy[0].answer()
    await busy
    await _ticks()
    gate.busy[0].answer()
    assert (await after).text == "/after"


async def test_a_cancelled_waiter_leaves_no_hole() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    first, second, third = (asyncio.create_task(_client(pool).get(f"/{n}")) for n in range(3))
    await _ticks()
    second.cancel()
    await _ticks()
    gate.busy[0].answer()
    await first
    await _ticks()
    gate.busy[0].answer()
    assert (await third).text == "/2"
    assert second.cancelled()
    assert (len(pool), pool.opened) == (1, 1)


async def test_a_waiter_that_is_cancelled_with_the_connection_in_its_hand_hands_it_on() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    first, second, third = (asyncio.create_task(_client(pool).get(f"/{n}")) for n in range(3))
    await _ticks()
    gate.busy[0].answer()  # gives the connection to the second, which has not run yet
    second.cancel()
    await _ticks()
    gate.busy[0].answer()
    assert ((await first).text, (await third).text) == ("/0", "/2")
    assert (len(pool), pool.opened) == (1, 1)


async def test_who_is_cancelled_just_as_its_answer_came_does_not_cut_off_the_next() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    first, second = (asyncio.create_task(_client(pool).get(f"/{n}")) for n in range(2))
    await _ticks()
    gate.busy[0].answer()
    first.cancel()
    await _ticks()
    gate.busy[0].answer()
    assert (await second).text == "/1"
    assert first.cancelled()


async def test_a_request_that_is_cancelled_in_flight_frees_its_place() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    first, second = (asyncio.create_task(_client(pool).get(f"/{n}")) for n in range(2))
    await _ticks()
    first.cancel()
    await _ticks()
    assert gate.open == 1
    gate.busy[0].answer()
    assert (await second).text == "/1"
    assert pool.opened == 2


async def test_an_opening_that_is_cancelled_or_refused_frees_its_place() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    gate.hold_connect = asyncio.Event()
    first, second = (asyncio.create_task(_client(pool).get(f"/{n}")) for n in range(2))
    await _ticks()
    first.cancel()
    await _ticks()
    gate.refuse = True
    gate.hold_connect.set()
    with pytest.raises(RequestFailed, match="refused"):
        await second
    gate.refuse = False
    third = asyncio.create_task(_client(pool).get("/2"))
    await _ticks()
    gate.busy[0].answer()
    assert (await third).text == "/2"
    assert len(pool) == 1


async def test_a_connection_that_dies_on_its_way_to_a_waiter_costs_it_nothing_but_another() -> None:
    gate = Gate()
    pool = SharedPool(1, gate)
    first, second, third = (asyncio.create_task(_client(pool).get(f"/{n}")) for n in range(3))
    await _ticks()
    transport = gate.busy[0]
    transport.answer()
    transport.connection.connection_lost(None)  # before the second has run
    await _ticks()
    order = []
    while not (second.done() and third.done()):
        assert gate.open == 1
        order.append(gate.busy[0].asked[0].split(b" ")[1])
        gate.busy[0].answer()
        await _ticks()
    assert {(await first).text, (await second).text, (await third).text} == {"/0", "/1", "/2"}
    assert len(pool) == 1


async def test_an_idle_connection_to_one_target_gives_way_to_another() -> None:
    gate = Gate()
    pool = SharedPool(2, gate)
    for port in (80, 81, 82, 80):
        asking = asyncio.create_task(_client(pool, port).get("/x"))
        await _ticks()
        gate.busy[0].answer()
        await asking
        assert gate.open == len(pool) <= 2
    both = [asyncio.create_task(_client(pool, port).get("/x")) for port in (80, 81, 82)]
    await _ticks()
    while not all(task.done() for task in both):
        assert gate.open <= 2
        gate.busy[0].answer()
        await _ticks()


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_no_place_is_lost_and_none_too_many_taken(seed: int) -> None:
    """Random users, answers, cancellations, resets and refusals: in the end all places can be had again."""
    random, gate = Random(seed), Gate()
    limit = random.randint(1, 4)
    pool = SharedPool(limit, gate)
    asking: list[asyncio.Task[Any]] = []
    for _ in range(150):
        match random.randrange(7):
            case 0 | 1 | 2:
                client = _client(pool, random.choice((80, 81)))
                asking.append(asyncio.create_task(client.get("/x")))
            case 3 | 4 if gate.busy:
                random.choice(gate.busy).answer()
            case 5 if asking:
                random.choice(asking).cancel()
            case 6:
                gate.refuse = random.random() < 0.3
                alive = [t for t in gate.transports if not t.is_aborted]
                if alive and random.random() < 0.5:
                    random.choice(alive).connection.connection_lost(ConnectionResetError())
        assert gate.open <= limit
        if random.random() < 0.7:
            await _ticks(random.randint(1, 4))
    gate.refuse = False
    for _ in range(1000):
        if all(task.done() for task in asking):
            break
        await _ticks(3)
        assert gate.open <= limit
        if gate.busy:
            gate.busy[0].answer()
    await asyncio.gather(*asking, return_exceptions=True)
    assert all(task.done() for task in asking)
    last = [asyncio.create_task(_client(pool).get("/last")) for _ in range(limit)]
    await _ticks(20)
    assert len(gate.busy) == limit == len(pool)
    for transport in gate.busy:
        transport.answer()
    await asyncio.gather(*last)


# -- with real sockets -----------------------------------------------------------------------


async def test_users_of_a_shared_pool_keep_its_connections_when_one_of_them_leaves() -> None:
    async with scripted(ok(b"x")) as server:
        pool = SharedPool(3, TcpNetwork())
        rows = Rows()
        clients = [_client(pool, rows=rows) for _ in range(20)]

        async def person(client: HttpClient) -> None:
            for _ in range(5):
                assert (await client.get(server.url + "/x")).text == "x"
            await client.close()

        await asyncio.gather(*map(person, clients))
        for client in clients:
            client._meter.settle()
        assert server.connections == pool.opened == len(pool) == 3
        assert [row.outcome for row in rows.rows] == ["ok"] * 100
        pool.close()


async def test_stale_connections_of_a_shared_pool_are_replaced_without_an_error() -> None:
    def answer(_: Received) -> Answer:
        return [ok(b"x"), CLOSE]

    async with scripted(answer) as server:
        pool = SharedPool(2, TcpNetwork())
        async with client_of(server.url, pool=pool) as client:
            for _ in range(6):
                assert (await client.get("/")).text == "x"
            assert [row.outcome for row in rows_of(client)] == ["ok"] * 6
            assert len(pool) <= 2
        pool.close()


async def test_refused_and_hanging_targets_time_out_or_fail_in_a_shared_pool() -> None:
    with refusing_url() as url:
        async with client_of(url, pool=SharedPool(1, TcpNetwork())) as client:
            for _ in range(3):
                with pytest.raises(RequestFailed, match="refused"):
                    await client.get("/")
    async with scripted(HANG) as server:
        pool = SharedPool(1, TcpNetwork())
        async with client_of(server.url, pool=pool, timeouts=Timeouts(total_ns=50 * NS_PER_MS)) as client:
            for _ in range(2):
                with pytest.raises(RequestFailed, match="timeout"):
                    await client.get("/")
            assert [row.response_ns for row in rows_of(client)] == [50 * NS_PER_MS] * 2
        pool.close()


# -- policies --------------------------------------------------------------------------------


def test_a_policy_is_read_and_written() -> None:
    for text, value in {
        "kept": Connections(),
        "fresh": Connections("fresh"),
        "shared:50": Connections("shared", 50),
    }.items():
        assert Connections.parse(text) == value
        assert str(value) == text


@pytest.mark.parametrize(
    "text", ["", "Kept", "shared", "shared:", "shared:0", "shared:-1", "shared:60001", "shared:1.5"]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'must be "kept", "fresh" or "shared:50"|can share 1 to 60,000'):
        Connections.parse(text)


def test_slots_have_a_pool_each_unless_it_is_shared() -> None:
    network = CannedNetwork()
    assert type(pool_for(Connections(), network)) is ConnectionPool
    assert type(pool_for(Connections("fresh"), network)) is ConnectionPool
    shared = pool_for(Connections("shared", 5), network)
    assert isinstance(shared, SharedPool)
    assert shared.limit == 5
    assert pool_for(Connections("shared", 5), network, shared=shared) is shared
