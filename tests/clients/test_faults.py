"""Every fault of a target has its outcome, is recorded once, and leaves no connection behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
from pathlib import Path

import pytest
import trustme

from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.outcomes import connect_failure
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.sent_again import STALE_NOTE, SentAgain
from loadgen.errors import RequestFailed, UsageError
from tests.support.badserver import Badness, bad_server, refusing_url
from tests.support.scripted import CLOSE, HANG, RESET, Received, client_of, ok, rows_of, scripted

SOON = Timeouts(connect_ns=2_000_000_000, total_ns=60_000_000)


@pytest.mark.parametrize(
    ("badness", "outcome"),
    [
        ("reset", "reset"),
        ("reset midway", "reset"),
        ("close", "reset"),
        ("close midway", "protocol"),
        ("hang", "timeout"),
        ("hang midway", "timeout"),
        ("garbage", "protocol"),
        ("bad chunk", "protocol"),
        ("bad length", "protocol"),
        ("two lengths", "protocol"),
        ("endless body", "body too large"),
        ("endless header", "head too large"),
        ("endless chunks", "body too large"),
    ],
)
async def test_a_fault_is_an_outcome_that_is_recorded_once(badness: Badness, outcome: str) -> None:
    timeouts = SOON if outcome == "timeout" else Timeouts()
    async with bad_server(badness) as url, client_of(url, limit_bytes=2**20, timeouts=timeouts) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.post("/pay", json={})
        assert failure.value.outcome == outcome
        assert str(failure.value).startswith(f"{outcome}: POST http://127.0.0.1:")
        assert [(row.name, row.outcome, row.was_sent) for row in rows_of(client)] == [("POST /pay", outcome, True)]
        assert len(client._pool) == 0
        counters = client._meter.recorder.counters
        assert (counters.requests_started, counters.requests_finished, counters.requests_errors) == (1, 1, 1)


async def test_an_answer_before_the_request_is_a_protocol_fault() -> None:
    async with bad_server("early answer") as url, client_of(url) as client:
        connection = await client._pool.open(client._gets["/"].origin, 10**9)
        while not connection.is_closed:
            await asyncio.sleep(0.001)
        client._pool.idle[client._gets["/"].origin].append(connection)  # as if it had been taken just before
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == "protocol"


async def test_nobody_listening_is_refused_and_was_never_sent() -> None:
    with refusing_url() as url:
        async with client_of(url) as client:
            with pytest.raises(RequestFailed, match="refused"):
                await client.get("/")
            assert [(row.outcome, row.was_sent) for row in rows_of(client)] == [("refused", False)]


async def test_a_name_that_does_not_resolve_is_dns() -> None:
    async with client_of("http://no-such-host.invalid") as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == "dns"
    async with client_of(f"http://{'a' * 70}.test") as client:  # a label that IDNA refuses
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == "dns"


async def test_localhost_is_found_on_whichever_address_it_listens() -> None:
    async with (
        scripted(ok(b"x"), host="127.0.0.1") as server,
        client_of(server.url.replace("127.0.0.1", "localhost")) as client,
    ):
        assert (await client.get("/")).text == "x"


async def test_a_listener_that_never_accepts_is_a_connect_time_out_censored_at_its_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        where = full.getsockname()
        waiting = [socket.socket() for _ in range(8)]  # fills the backlog
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(where)
        try:
            timeouts = Timeouts(connect_ns=30_000_000)
            async with client_of(f"http://127.0.0.1:{where[1]}", timeouts=timeouts) as client:
                with pytest.raises(RequestFailed) as failure:
                    await client.get("/")
                assert failure.value.outcome == "timeout"
                (row,) = rows_of(client)
                assert not row.was_sent
                assert 30_000_000 <= row.response_ns < 10**10  # which it is where nothing else is said
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(111, "no"), "refused"),
        (ConnectionResetError(104, "no"), "reset"),
        (ConnectionResetError("lost"), "reset"),
        (BrokenPipeError(32, "no"), "reset"),
        (TimeoutError(110, "no"), "timeout"),
        (OSError(113, "no route"), "unreachable"),
        (OSError(99, "no address"), "no local port"),
        (OSError(24, "too many"), "no file descriptors"),
        (OSError("what"), "unreachable"),
        (socket.gaierror(-2, "unknown"), "dns"),
        (ssl.SSLError(1, "handshake"), "tls"),
        (ssl.SSLCertVerificationError(1, "bad"), "tls"),
    ],
)
def test_every_error_of_the_system_has_an_outcome(error: OSError, outcome: str) -> None:
    assert connect_failure(error, "host:80").outcome == outcome


# -- time-outs -------------------------------------------------------------------------------


async def test_a_time_out_is_censored_at_exactly_its_deadline_and_closes_the_connection() -> None:
    async with scripted(HANG) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", timeout=0.05)
        assert failure.value.outcome == "timeout"
        (row,) = rows_of(client)
        assert row.response_ns == 50_000_000
        assert len(client._pool) == 0


async def test_a_time_out_covers_all_hops_of_a_call() -> None:
    def answer(request: Received) -> object:
        return ok(b"", "Location: /b", status="302 Found") if request.target == "/a" else HANG

    async with scripted(answer) as server, client_of(server.url) as client:  # type: ignore[arg-type]
        with pytest.raises(RequestFailed):
            await client.get("/a", timeout="500ms", follow_redirects=True)
        first, second = rows_of(client)
        assert (first.outcome, second.outcome) == ("ok", "timeout")
        assert second.response_ns <= 500_000_000


async def test_a_slow_drip_does_not_outlive_the_time_out() -> None:
    drip = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"]

    async with scripted([*drip, b"x", HANG]) as server, client_of(server.url, timeouts=SOON) as client:
        with pytest.raises(RequestFailed, match="timeout"):
            await client.get("/")


async def test_no_time_out_can_be_asked_for() -> None:
    async with scripted(ok(b"x")) as server, client_of(server.url, timeouts=Timeouts(10**9, 1)) as client:
        assert (await client.get("/", timeout=None)).text == "x"
        assert (await client.get("/", timeout=60)).text == "x"
        with pytest.raises(RequestFailed, match="timeout"):
            await client.get("/")


# -- kept connections that the target closed -------------------------------------------------


def _closes_on_second(request: Received) -> list[object]:
    """Answers once a connection, then closes it on the second request without a word."""
    first_on_it = _seen.setdefault(request.connection, 0) == 0
    _seen[request.connection] += 1
    return [ok()] if first_on_it else [CLOSE]


_seen: dict[int, int] = {}


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    _seen.clear()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_a_stale_connection_is_replaced_once_and_counted(method: str) -> None:
    async with scripted(_closes_on_second) as server, client_of(server.url) as client:  # type: ignore[arg-type]
        await client.request(method, "/")
        reply = await client.request(method, "/")
        assert reply.status_code == 200
        assert (server.connections, len(server.requests)) == (2, 3)
        assert client._pool.stale_retries == 1
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"]
        assert client._meter.recorder.take_notes() == (STALE_NOTE,)


async def test_each_request_that_a_target_reads_and_then_aborts_on_a_kept_connection_is_counted_as_sent_again() -> None:
    def aborts_each_third(_: Received) -> object:
        _seen[0] = _seen.get(0, 0) + 1
        return RESET if _seen[0] % 3 == 0 else ok(b"x")

    async with scripted(aborts_each_third) as server, client_of(server.url) as client:  # type: ignore[arg-type]
        for _ in range(20):
            await client.get("/")
        counted = SentAgain.of(client._meter.recorder).times.take()
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 20
    assert counted is not None
    assert 20 + counted.n == len(server.requests) == 29, "the server has each abort, too"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_had_an_effect_is_not_sent_again(method: str) -> None:
    async with scripted(_closes_on_second) as server, client_of(server.url) as client:  # type: ignore[arg-type]
        await client.request(method, "/")
        with pytest.raises(RequestFailed, match="reset"):
            await client.request(method, "/")
        assert len(server.requests) == 2


async def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    async with scripted(CLOSE) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed, match="reset"):
            await client.get("/")
        assert server.connections == 1


async def test_a_second_failure_after_a_stale_connection_is_an_outcome() -> None:
    def answer(request: Received) -> object:
        return ok(b"x") if not _seen.setdefault(0, 0) and not _seen.update({0: 1}) else CLOSE

    async with scripted(answer) as server, client_of(server.url) as client:  # type: ignore[arg-type]
        await client.get("/")
        with pytest.raises(RequestFailed, match="reset"):
            await client.get("/")
        assert [row.outcome for row in rows_of(client)] == ["ok", "reset"]


@pytest.mark.parametrize("then", [CLOSE, RESET])
async def test_a_connection_closed_while_idle_is_simply_not_used(then: str) -> None:
    async with scripted([ok(b"x"), then]) as server, client_of(server.url) as client:  # type: ignore[list-item]
        for _ in range(3):
            await client.post("/", json={})
            while len(client._pool):
                await asyncio.sleep(0.001)
        assert server.connections == 3
        assert client._pool.stale_retries == 0


async def test_an_idle_connection_on_which_something_is_said_is_closed() -> None:
    late = ok(b"", "Connection: close", status="408 Request Timeout")
    async with scripted([ok(b"x"), late, HANG]) as server, client_of(server.url) as client:
        await client.get("/")
        while len(client._pool):
            await asyncio.sleep(0.001)
        assert (await client.get("/")).text == "x"


async def test_the_connection_used_last_is_used_next() -> None:
    async with scripted(ok(b"x")) as server, client_of(server.url) as client:
        await asyncio.gather(*(client.get("/") for _ in range(5)))
        assert server.connections == len(client._pool) == 5
        last = {(await client.get("/")).status_code and server.requests[-1].connection for _ in range(10)}
        assert len(last) == 1


async def test_an_answer_before_a_large_request_is_written_ends_the_connection() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    async with client_of(f"http://127.0.0.1:{port}") as client:
        reply = await client.post("/", content=b"x" * 50_000_000)
        assert (reply.status_code, reply.text) == (413, "no")
        assert len(client._pool) == 0
    gone.set()
    server.close()


# -- cancelling ------------------------------------------------------------------------------


async def test_a_cancelled_request_closes_its_connection_and_has_no_row() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        async with scripted(HANG) as server, client_of(server.url) as client:
            task = asyncio.ensure_future(client.get("/"))
            while not server.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(client._pool) == 0
            while server.open_connections:
                await asyncio.sleep(0.001)
            counters = client._meter.recorder.counters
            assert (rows_of(client), counters.requests_started, counters.requests_finished) == ([], 1, 0)
        gc.collect()


async def test_a_request_cancelled_at_any_moment_leaves_nothing_behind() -> None:
    async with scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"h", b"i"]) as server:
        async with client_of(server.url) as client:
            for turns in range(40):
                task = asyncio.ensure_future(client.get("/"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                idle = sum(map(len, client._pool.idle.values()))
                assert len(client._pool) == idle
            assert (await client.get("/")).text == "hi"
        while server.open_connections:
            await asyncio.sleep(0.001)


async def test_closing_the_client_cuts_off_what_is_under_way() -> None:
    async with scripted(HANG) as server, client_of(server.url) as client:
        task = asyncio.ensure_future(client.get("/"))
        while not server.requests:
            await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rows_of(client) == []


# -- TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _server_context(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_is_verified_against_an_own_ca(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    big = b"x" * 300_000
    async with (
        scripted(ok(big), tls=_server_context(authority)) as server,
        client_of(server.url, tls=tls_context(ca_file)) as client,
    ):
        for _ in range(3):
            assert (await client.get("/", expect=200)).content == big
        assert server.connections == 1
        assert (await client.post("/", content=big)).content == big


@pytest.mark.parametrize("name", ["wrong.example", "localhost"])
async def test_a_certificate_that_does_not_verify_is_tls(authority: trustme.CA, tmp_path: Path, name: str) -> None:
    ca_file = tmp_path / "ca.pem"
    (authority if name != "localhost" else trustme.CA()).cert_pem.write_to_path(str(ca_file))
    async with (
        scripted(ok(b"x"), tls=_server_context(authority, name)) as server,
        client_of(server.url, tls=tls_context(ca_file)) as client,
    ):
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert failure.value.outcome == "tls"
        assert not server.requests


async def test_plain_text_where_tls_was_expected_is_tls() -> None:
    async with (
        bad_server("early answer") as url,
        client_of(url.replace("http:", "https:"), tls=tls_context()) as client,
    ):
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", timeout=60)
        assert failure.value.outcome == "tls"


async def test_https_without_a_context_says_so() -> None:
    async with client_of("https://127.0.0.1:1") as client:
        with pytest.raises(RequestFailed, match="no TLS context"):
            await client.get("/")


def test_a_ca_file_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        tls_context(tmp_path / "missing.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="cannot read"):
        tls_context(tmp_path / "bad.pem")


async def test_a_pool_says_what_it_holds() -> None:
    pool = ConnectionPool(TcpNetwork())
    assert repr(pool) == "<ConnectionPool 0 open, 0 idle, 0 stale retries>"


async def test_a_hop_whose_call_is_late_already_takes_no_negative_time() -> None:
    async with scripted(ok(b"x")) as server, client_of(server.url) as client:
        reply = await client.get("/")
        with pytest.raises(RequestFailed, match="timeout"):
            await client._send(client._gets["/x"], b"", None, None, deadline_ns=reply.asked_ns)
        assert rows_of(client)[-1].response_ns >= 0
        client._pool.close_idle()
        with pytest.raises(RequestFailed, match="timeout"):
            await client._send(client._gets["/x"], b"", None, None, deadline_ns=reply.asked_ns)
        assert rows_of(client)[-1].response_ns == 0
