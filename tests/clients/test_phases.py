"""Where the time of a request goes: phases that add up, each counted as often as it was had."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
import trustme

from loadgen.clients.http import HttpClient
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.pool.pool import SharedPool
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.phased import SENDING, UNKNOWN, phases_of
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import PHASES, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.figures import PERCENTILES
from loadgen.measure.results.summary import rows
from loadgen.wire.codec import decode, encode
from tests.support.badserver import refusing_url
from tests.support.http2 import Asked, Served, http2_server
from tests.support.proxy import proxy
from tests.support.scripted import CLOSE, HANG, RESET, client_of, ok, scripted

Counted = dict[tuple[str, str, bool], int]


def values_of(recorder: Recorder, metric: str) -> dict[SeriesKey, list[int]]:
    """Everything recorded of a metric, by series."""
    found = (pair for series in recorder._series.values() for pair in series.swap())
    return {key: values for key, values in found if key.metric == metric}


def counted(client: HttpClient) -> Counted:
    """How often each (phase, outcome, is a bound) was recorded."""
    client._meter.settle()
    recorder = client._meter.recorder
    found = (pair for series in recorder._series.values() for pair in series.swap())
    return {(key.metric, key.outcome, key.censored): len(values) for key, values in found if key.metric in PHASES}


def test_an_opening_adds_up_what_happens_twice_and_leaves_out_what_does_not() -> None:
    clock = iter((10, 15, 115, 1015))
    opening = Opening(lambda: next(clock))
    opening.begin("dns")
    opening.begin("connect")
    opening.begin("connect")  # a second address
    assert opening.under_way == "connect"
    opening.end()
    assert opening.times == {"dns": 5, "connect": 1000}
    assert repr(opening) == "<Opening dns 0.000 ms, connect 0.001 ms>"


def test_an_opening_that_fails_knows_in_which_phase() -> None:
    clock = iter((0, 7, 30, 99))
    opening = Opening(lambda: next(clock))
    opening.begin("connect")
    opening.begin("tls")
    assert opening.failed_in() == "tls"
    assert opening.times == {"connect": 7, "tls": 23}
    assert opening.failed_in() is None


# -- connections that are opened: always recorded --------------------------------------------------


async def test_a_connection_that_is_opened_is_a_value_and_one_that_is_kept_is_none() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        for _ in range(3):
            await client.get("/")
        assert counted(client) == {("connect", "ok", False): 1}  # an address needs no DNS


async def test_whatever_becomes_of_the_request_its_connection_was_ok() -> None:
    async with scripted([ok(status="503 Busy"), CLOSE]) as server, client_of(server.url) as client:
        await client.get("/")
        assert counted(client) == {("connect", "ok", False): 1}


async def test_who_has_to_wait_for_a_name_had_dns_and_who_finds_it_known_had_none() -> None:
    async with scripted(ok()) as server, client_of(server.url.replace("127.0.0.1", "localhost")) as client:
        await asyncio.gather(*(client.get("/") for _ in range(3)))
        client._pool.close_idle()
        await client.get("/")
        assert server.connections == 4
        assert counted(client) == {("dns", "ok", False): 3, ("connect", "ok", False): 4}


async def test_what_fails_counts_under_its_outcome_in_the_phase_that_failed() -> None:
    async with client_of("http://no-such-host.invalid") as client:
        with pytest.raises(RequestFailed):
            await client.get("/")
        assert counted(client) == {("dns", "dns", False): 1}
    with refusing_url() as url:
        async with client_of(url.replace("127.0.0.1", "localhost")) as client:
            with pytest.raises(RequestFailed):
                await client.get("/")
            assert counted(client) == {("dns", "ok", False): 1, ("connect", "refused", False): 1}


async def test_a_connect_that_times_out_is_a_lower_bound() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]  # fills the backlog
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        try:
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with client_of(url, timeouts=Timeouts(connect_ns=30_000_000)) as client:
                with pytest.raises(RequestFailed, match="timeout"):
                    await client.get("/")
                assert counted(client) == {("connect", "timeout", True): 1}
        finally:
            for one in waiting:
                one.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_tls_is_a_phase_of_its_own_after_connect(authority: trustme.CA) -> None:
    inside, outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls_context()
    authority.issue_cert("localhost").configure_cert(inside)
    authority.configure_trust(outside)
    async with scripted(ok(), tls=inside) as server, client_of(server.url, tls=outside) as client:
        await client.get("/")
        assert counted(client) == {
            ("dns", "ok", False): 1,
            ("connect", "ok", False): 1,
            ("tls", "ok", False): 1,
        }
    async with scripted(ok(), tls=inside) as server, client_of(server.url, tls=tls_context()) as client:
        with pytest.raises(RequestFailed, match="tls"):
            await client.get("/")
        assert counted(client) == {
            ("dns", "ok", False): 1,
            ("connect", "ok", False): 1,
            ("tls", "tls", False): 1,
        }


async def test_a_tunnel_through_a_proxy_is_part_of_connect_and_tls_follows_it(authority: trustme.CA) -> None:
    inside, outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls_context()
    authority.issue_cert("localhost").configure_cert(inside)
    authority.configure_trust(outside)
    async with scripted(ok(), tls=inside) as server, proxy() as way:
        network = network_of(Http(proxy=way.url))
        async with client_of(server.url, tls=outside, network=network) as client:
            await client.get("/")
            assert counted(client) == {("connect", "ok", False): 1, ("tls", "ok", False): 1}
        async with client_of("https://localhost:1", tls=outside, network=network) as client:
            with pytest.raises(RequestFailed, match="proxy reset"):
                await client.get("/")
            assert counted(client) == {("connect", "proxy reset", False): 1}


async def test_a_unix_socket_has_connect_and_tls(authority: trustme.CA, tmp_path: Path) -> None:
    inside, outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls_context()
    authority.issue_cert("localhost").configure_cert(inside)
    authority.configure_trust(outside)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok())
        writer.close()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(answer, path, ssl=inside)
    async with server, client_of("https://localhost", tls=outside, network=TcpNetwork(Http(uds=path))) as client:
        assert (await client.get("/")).status_code == 200
        assert counted(client) == {("connect", "ok", False): 1, ("tls", "ok", False): 1}
    async with client_of("http://localhost", network=TcpNetwork(Http(uds=tmp_path / "none"))) as client:
        with pytest.raises(RequestFailed):
            await client.get("/")
        ((phase, outcome, _),) = counted(client)
        assert (phase, outcome) == ("connect", "unreachable")


async def test_who_waits_for_a_shared_connection_was_blocked_and_nobody_else() -> None:
    async with scripted(ok()) as server:
        pool = SharedPool(1, TcpNetwork())
        async with client_of(server.url, pool=pool) as client:
            await asyncio.gather(*(client.get("/") for _ in range(4)))
            await client.get("/")
            assert counted(client) == {("connect", "ok", False): 1, ("blocked", "ok", False): 3}
        pool.close()


async def test_who_waits_for_a_shared_connection_in_vain_was_blocked_at_least_so_long() -> None:
    async with scripted(HANG) as server:
        pool = SharedPool(1, TcpNetwork())
        async with client_of(server.url, pool=pool) as client:
            first = asyncio.create_task(client.get("/", timeout=60))
            while not server.requests:
                await asyncio.sleep(0.001)
            with pytest.raises(RequestFailed, match="timeout"):
                await client.get("/", timeout="20ms")
            values = values_of(client._meter.recorder, "blocked")
            assert [(key.outcome, key.censored) for key in values] == [("timeout", True)]
            first.cancel()
        pool.close()


# -- send, wait and receive: where the plan asks for them -----------------------------------------------


@dataclass
class Times:
    """The times of a sample."""

    sent_ns: int
    written_ns: int
    first_byte_ns: int
    done_ns: int


@pytest.mark.parametrize(
    ("times", "phases"),
    [
        (Times(100, 130, 200, 250), {"send": 30, "wait": 70, "receive": 50}),
        (Times(100, SENDING, 200, 250), {"send": 100, "wait": 0, "receive": 50}),  # answered in the middle of its body
        (Times(100, 220, 200, 250), {"send": 100, "wait": 0, "receive": 50}),
        (Times(100, 130, 0, 250), {"send": 30, "wait": 120}),  # no answer
        (Times(100, SENDING, 0, 250), {"send": 150}),  # not even sent
        (Times(100, 300, 0, 250), {"send": 150}),  # written after its deadline
        (Times(100, UNKNOWN, 200, 250), {"wait": 100, "receive": 50}),
        (Times(0, UNKNOWN, 0, 250), {}),  # no connection
    ],
)
def test_phases_follow_one_another_from_sent_to_done(times: Times, phases: dict[str, int]) -> None:
    found = dict(phases_of(times))
    assert found == phases
    assert sum(found.values()) == (times.done_ns - times.sent_ns if times.sent_ns else 0)


class Slow:
    """A network and a clock: what is sent is answered part by part, each after so long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *parts: tuple[int, bytes], write_ns: int = 0) -> None:
        self.now_ns = perf_counter_ns()
        self.parts, self.write_ns = parts, write_ns
        for module in ("http", "protocol.http1", "protocol.phased", "response.streams"):
            monkeypatch.setattr(f"loadgen.clients.{module}.perf_counter_ns", lambda: self.now_ns)

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        connection = factory()
        transport = _SlowTransport(self, connection)
        connection.connection_made(transport)
        return transport, connection


class _SlowTransport(asyncio.Transport):
    def __init__(self, network: Slow, connection: Connection) -> None:
        super().__init__()
        self.network, self.connection = network, connection

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.network.now_ns += self.network.write_ns
        asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        for after_ns, part in self.network.parts:
            self.network.now_ns += after_ns
            if not self.connection.is_closed:
                self.connection.data_received(part)

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None: ...


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_first_byte_after_50_ms_and_a_body_that_drips_for_30_are_told_exactly(
    monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    slow = Slow(monkeypatch, (50_000_000, HEAD), (10_000_000, b"a"), (20_000_000, b"bc"), write_ns=2_000_000)
    async with client_of("http://shop.test", network=slow, has_phases=True) as client:
        if is_stream:
            async with client.stream("GET", "/") as stream:
                await stream.aread()
        else:
            await client.get("/")
        client._meter.settle()
        recorder = client._meter.recorder
        found = {
            (key.metric, key.outcome): values
            for series in recorder._series.values()
            for key, values in series.swap()
            if key.metric != "response"
        }
        assert found == {
            ("service", "ok"): [82_000_000],
            ("send", "ok"): [2_000_000],
            ("wait", "ok"): [50_000_000],
            ("receive", "ok"): [30_000_000],
        }


async def test_the_plain_way_notes_no_phase_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with client_of("http://shop.test", network=Slow(monkeypatch, (5, HEAD + b"abc"))) as client:
        await client.get("/")
        assert counted(client) == {}
        assert not hasattr(client._reply, "written_ns")


@pytest.mark.parametrize("answer", ["ok", "503", "reset", "garbage", "early"])
async def test_phases_of_every_request_add_up_to_its_service_time(answer: str) -> None:
    answers: dict[str, Any] = {
        "ok": ok(b"x" * 300_000),
        "503": ok(status="503 Busy"),
        "reset": RESET,
        "garbage": b"220 mail\r\n\r\n",
        "early": [ok(status="413 Too Large"), CLOSE],
    }
    async with scripted(answers[answer]) as server, client_of(server.url, has_phases=True) as client:
        for n in range(4):
            body = b"u" * (n * 400_000)
            with suppress(RequestFailed):
                await client.put("/", content=[body] if n == 3 else body)
        client._meter.settle()
        sums: dict[str, int] = defaultdict(int)
        counts: dict[str, int] = defaultdict(int)
        outcomes = defaultdict(set)
        for series in client._meter.recorder._series.values():
            for key, values in series.swap():
                sums[key.metric] += sum(values)
                counts[key.metric] += len(values)
                outcomes[key.metric].add(key.outcome)
        assert sums["send"] + sums["wait"] + sums["receive"] == sums["service"]
        assert counts["send"] == counts["service"] == 4
        assert outcomes["send"] == outcomes["service"]
        if answer in ("ok", "503"):
            assert counts["wait"] == counts["receive"] == 4


async def test_a_time_out_makes_the_phase_under_way_a_lower_bound_and_not_those_before_it() -> None:
    soon = Timeouts(total_ns=40_000_000)
    async with scripted(HANG) as server, client_of(server.url, has_phases=True, timeouts=soon) as client:
        with pytest.raises(RequestFailed, match="timeout"):
            await client.get("/")
        assert {p: n for p, n in counted(client).items() if p[0] != "connect"} == {
            ("send", "timeout", False): 1,
            ("wait", "timeout", True): 1,
        }
    drip: list[Any] = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"x", HANG]
    async with scripted(drip) as server, client_of(server.url, has_phases=True, timeouts=soon) as client:
        with pytest.raises(RequestFailed, match="timeout"):
            await client.get("/")
        found = counted(client)
        assert found["wait", "timeout", False] == found["receive", "timeout", True] == 1


async def test_a_body_that_the_target_is_slow_to_take_is_send_until_it_took_the_last_of_it() -> None:
    takes = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await takes.wait()
        for _ in range(20):
            await reader.readexactly(1_000_000)
        writer.write(ok())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with client_of(url, has_phases=True) as client:
        asked = asyncio.create_task(client.put("/", content=bytes(20_000_000)))
        opened: Any = client._pool._open
        while not opened or next(iter(opened))._exchange is None:
            await asyncio.sleep(0.001)
        exchange: Any = next(iter(opened))._exchange
        assert exchange.written_ns == SENDING
        takes.set()
        assert (await asked).status_code == 200
        assert exchange.sent_ns < exchange.written_ns < exchange.first_byte_ns
    server.close()


async def test_of_http_2_wait_counts_from_sent_and_there_is_no_send() -> None:
    async def answer(served: Served, asked: Asked) -> None:
        served.ok(asked.stream, b"x" * 10)

    async with http2_server(answer) as server:
        pool = Http2Pool(TcpNetwork(), prior=True, has_phases=True)
        async with client_of(server.url, pool=pool, has_phases=True) as client:
            await asyncio.gather(*(client.get("/") for _ in range(3)))
            client._meter.settle()
            values: dict[str, list[int]] = defaultdict(list)
            for series in client._meter.recorder._series.values():
                for key, some in series.swap():
                    values[key.metric] += some
            assert "send" not in values
            assert len(values["wait"]) == len(values["receive"]) == 3
            assert sum(values["wait"]) + sum(values["receive"]) == sum(values["service"])
            assert len(values["connect"]) == 1
            assert len(values["blocked"]) == 2  # for the one connection


# -- over the fleet --------------------------------------------------------------------------------


def _deltas(recorder: Recorder, agent: str) -> Iterator[Delta]:
    for seq in range(3):
        series = recorder.request_series("shop", None, "GET /")
        for n in range(seq + 1):
            recorder.request(series, 0, 10, 1_000_000 * (n + 1), "ok", 5)
            series.opened({"connect": 1_000 * (n + 1), "tls": 2_000})
        series.opened({"dns": 7_000, "connect": 9_000}, "connect", "refused")
        delta = recorder.flip(seq * 10**9, (seq + 1) * 10**9)
        yield replace(delta, agent=agent, epoch=1)


def test_phases_of_all_agents_add_up_exactly_and_are_no_requests() -> None:
    merge = Merge()
    sent: dict[str, int] = {}
    for agent in ("a", "b"):
        for delta in _deltas(Recorder(), agent):
            decoded = decode(encode(delta))
            assert decoded == delta
            assert merge.accept("here" if agent == "a" else "there", delta).name == "MERGED"
    for key in merge.keys():  # noqa: SIM118  # no mapping
        histogram = merge.histogram(key)
        assert histogram is not None
        sent[f"{key.metric} {key.outcome}"] = histogram.total
    assert sent == {
        "response ok": 12,
        "service ok": 12,
        "connect ok": 12,
        "tls ok": 12,
        "dns ok": 6,
        "connect refused": 6,
    }
    observed, _ = merge.select("request", metric="tls")
    assert (observed.sum_ns, observed.max_ns) == (12 * 2_000, 2_000)
    assert merge.counters().requests_finished == 12
    (row,) = [one for one in rows(merge) if one["region"] == "there" and one["outcome"] == "*"]
    phases = row["phases_ms"]
    assert isinstance(phases, dict)
    assert list(phases) == ["dns", "connect", "tls"]
    assert phases["connect"]["count"] == 9
    assert phases["tls"] == {"count": 6, "censored": 0, "mean": 0.002} | dict.fromkeys(PERCENTILES, 0.002)
