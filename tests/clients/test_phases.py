"""Where the time of a request goes: phases that add up, each counted as often as it was had."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from loadgen.clients import Http, SharedPool, TcpNetwork, Timeouts, network_of, tls_context
from loadgen.clients.http import HttpClient
from loadgen.clients.opening import Opening
from loadgen.engine.recorder import Recorder
from loadgen.errors import RequestFailed
from loadgen.measure.delta import Delta
from loadgen.measure.merge import Merge
from loadgen.measure.series import PHASES, SeriesKey
from loadgen.measure.summary import PERCENTILES, rows
from loadgen.wire.codec import decode, encode
from tests.support.badserver import refusing_url
from tests.support.proxy import proxy
from tests.support.scripted import CLOSE, HANG, client_of, ok, scripted

Counted = dict[tuple[str, str, bool], int]


def values_of(recorder: Recorder, metric: str) -> dict[SeriesKey, list[int]]:
    """Everything recorded of a metric, by series."""
    found = (pair for series in recorder._series.values() for pair in series.swap())
    return {key: values for key, values in found if key.metric == metric}


def phases_of(client: HttpClient) -> Counted:
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
        assert phases_of(client) == {("connect", "ok", False): 1}  # an address needs no DNS


async def test_whatever_becomes_of_the_request_its_connection_was_ok() -> None:
    async with scripted([ok(status="503 Busy"), CLOSE]) as server, client_of(server.url) as client:
        await client.get("/")
        assert phases_of(client) == {("connect", "ok", False): 1}


async def test_who_has_to_wait_for_a_name_had_dns_and_who_finds_it_known_had_none() -> None:
    async with scripted(ok()) as server, client_of(server.url.replace("127.0.0.1", "localhost")) as client:
        await asyncio.gather(*(client.get("/") for _ in range(3)))
        client._pool.close_idle()
        await client.get("/")
        assert server.connections == 4
        assert phases_of(client) == {("dns", "ok", False): 3, ("connect", "ok", False): 4}


async def test_what_fails_counts_under_its_outcome_in_the_phase_that_failed() -> None:
    async with client_of("http://no-such-host.invalid") as client:
        with pytest.raises(RequestFailed):
            await client.get("/")
        assert phases_of(client) == {("dns", "dns", False): 1}
    with refusing_url() as url:
        async with client_of(url.replace("127.0.0.1", "localhost")) as client:
            with pytest.raises(RequestFailed):
                await client.get("/")
            assert phases_of(client) == {("dns", "ok", False): 1, ("connect", "refused", False): 1}


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
                assert phases_of(client) == {("connect", "timeout", True): 1}
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
        assert phases_of(client) == {("dns", "ok", False): 1, ("connect", "ok", False): 1, ("tls", "ok", False): 1}
    async with scripted(ok(), tls=inside) as server, client_of(server.url, tls=tls_context()) as client:
        with pytest.raises(RequestFailed, match="tls"):
            await client.get("/")
        assert phases_of(client) == {("dns", "ok", False): 1, ("connect", "ok", False): 1, ("tls", "tls", False): 1}


async def test_a_tunnel_through_a_proxy_is_part_of_connect_and_tls_follows_it(authority: trustme.CA) -> None:
    inside, outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls_context()
    authority.issue_cert("localhost").configure_cert(inside)
    authority.configure_trust(outside)
    async with scripted(ok(), tls=inside) as server, proxy() as way:
        network = network_of(Http(proxy=way.url))
        async with client_of(server.url, tls=outside, network=network) as client:
            await client.get("/")
            assert phases_of(client) == {("connect", "ok", False): 1, ("tls", "ok", False): 1}
        async with client_of("https://localhost:1", tls=outside, network=network) as client:
            with pytest.raises(RequestFailed, match="proxy reset"):
                await client.get("/")
            assert phases_of(client) == {("connect", "proxy reset", False): 1}


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
        assert phases_of(client) == {("connect", "ok", False): 1, ("tls", "ok", False): 1}
    async with client_of("http://localhost", network=TcpNetwork(Http(uds=tmp_path / "none"))) as client:
        with pytest.raises(RequestFailed):
            await client.get("/")
        ((phase, outcome, _),) = phases_of(client)
        assert (phase, outcome) == ("connect", "unreachable")


async def test_who_waits_for_a_shared_connection_was_blocked_and_nobody_else() -> None:
    async with scripted(ok()) as server:
        pool = SharedPool(1, TcpNetwork())
        async with client_of(server.url, pool=pool) as client:
            await asyncio.gather(*(client.get("/") for _ in range(4)))
            await client.get("/")
            assert phases_of(client) == {("connect", "ok", False): 1, ("blocked", "ok", False): 3}
        pool.close()


async def test_who_waits_for_a_shared_connection_in_vain_was_blocked_at_least_so_long() -> None:
    async with scripted(HANG) as server:
        pool = SharedPool(1, TcpNetwork())
        async with client_of(server.url, pool=pool) as client:
            first = asyncio.create_task(client.get("/", timeout=30))
            while not server.requests:
                await asyncio.sleep(0.001)
            with pytest.raises(RequestFailed, match="timeout"):
                await client.get("/", timeout="20ms")
            values = values_of(client._meter.recorder, "blocked")
            assert [(key.outcome, key.censored) for key in values] == [("timeout", True)]
            first.cancel()
        pool.close()


# -- over the fleet --------------------------------------------------------------------------------


def _deltas(recorder: Recorder, agent: str) -> Iterator[Delta]:
    for seq in range(3):
        series = recorder.request_series("shop", None, "GET /")
        for n in range(seq + 1):
            recorder.request(series, 0, 10, 20, 1_000_000 * (n + 1), "ok", 5)
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
