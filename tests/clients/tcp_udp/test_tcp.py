"""`user.tcp` against real peers: rows, times, outcomes, and what a journey may do after a failure."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from loadgen import first, length_prefix, lines
from loadgen.allowlist import CapShare
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.protocol.phased import PhasedMeter
from loadgen.clients.request.rate_cap import Cap, OverTheCap
from loadgen.clients.tcp_udp import incoming as incoming_module
from loadgen.dsl.users.user_factory import UserFactory
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK
from tests.support.links import Peer, Rows, phases_in, tcp_peer, user_for
from tests.support.ports import free_port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer PING with PONG, and all other lines with themselves, until the connection ends."""
    while line := await reader.readline():
        writer.write(b"PONG\n" if line == b"PING\n" else line)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_an_answer_is_a_row_and_so_is_the_connection() -> None:
    rows = Rows()
    async with (
        tcp_peer(echo) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        assert await link.ask(b"PING\n", name="ping") == b"PONG"
        assert await link.ask(b"hello") == b"hello"
    assert rows.rows == [("TCP gate (connect)", OK), ("ping", OK), ("TCP gate", OK)]
    for asked_ns, sent_ns, done_ns in rows.times[1:]:
        assert asked_ns <= sent_ns <= done_ns
    assert not rows.counted()


async def test_the_only_target_of_a_plan_needs_no_name() -> None:
    rows = Rows()
    async with tcp_peer(echo) as place, user_for({"": f"tcp://{place}"}, rows) as user, user.tcp(frame=lines()) as link:
        await link.ask(b"PING")
    assert rows.rows == [(f"TCP {place} (connect)", OK), (f"TCP {place}", OK)]


async def test_phases_of_the_connection_and_of_each_answer_are_recorded() -> None:
    rows = Rows()
    async with tcp_peer(echo) as place, user_for({"gate": f"tcp://{place}"}, rows) as user:
        meter = user._meter
        factory = user._openers
        assert isinstance(factory, UserFactory)
        factory.meter_class = PhasedMeter
        phased = factory.user(rows)
        async with phased.tcp("gate", frame=lines()) as link:
            await link.ask(b"PING", name="ping")
        assert meter.recorder is rows
    found = phases_in(rows)
    assert ("TCP gate (connect)", "connect", OK) in found
    assert {("ping", "wait", OK), ("ping", "receive", OK)} <= found
    assert not {one for one in found if one[0] == "TCP gate (connect)" and one[1] in ("wait", "receive")}


async def test_a_refusing_peer_is_an_outcome_of_the_connection() -> None:
    rows = Rows()
    async with user_for({"gate": f"tcp://127.0.0.1:{free_port()}"}, rows) as user:
        with pytest.raises(RequestFailed) as raised:
            async with user.tcp("gate", frame=lines()):
                raise AssertionError
    assert (raised.value.outcome, rows.rows) == ("refused", [("TCP gate (connect)", "refused")])


async def test_a_host_without_an_address_is_a_dns_failure() -> None:
    rows = Rows()
    async with user_for({"gate": "tcp://no-such-host.invalid:7000"}, rows) as user:
        with pytest.raises(RequestFailed):
            await user.tcp("gate", frame=lines()).open(name="open")
    assert rows.rows == [("open", "dns")]


async def test_a_silent_peer_is_a_timeout_censored_at_its_limit_and_ends_the_connection() -> None:
    rows = Rows()
    async with (
        tcp_peer(silent) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        with pytest.raises(RequestFailed, match="no answer within 50"):
            await link.ask(b"PING", name="ping", timeout="50ms")
        with pytest.raises(RequestFailed, match="pass match="):
            await link.ask(b"PING", name="again")
    assert rows.rows[1:] == [("ping", "timeout"), ("again", "closed")]
    asked_ns, _, done_ns = rows.times[1]
    assert done_ns - asked_ns == 50_000_000


async def test_with_a_match_the_connection_stays_open_and_the_late_answer_is_counted() -> None:
    rows = Rows()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = await reader.readline()
        line = await reader.readline()
        writer.write(held + line)
        await reader.read()

    async with (
        tcp_peer(slow) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        with pytest.raises(RequestFailed):
            await link.ask(b"1 PING", name="first", timeout=0.03, match=first(1))
        assert await link.ask(b"2 PING", name="second", match=first(1)) == b"2 PING"
    assert rows.rows[1:] == [("first", "timeout"), ("second", OK)]
    assert rows.counted() == {"tcp: late answers": 1}


async def test_requests_with_a_match_are_answered_in_any_order() -> None:
    async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(reversed([await reader.readline() for _ in range(3)]))
        await reader.read()

    rows = Rows()
    async with (
        tcp_peer(backwards) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        answers = await user.gather(*(link.ask(b"%d x" % n, name=f"n{n}", match=first(1)) for n in range(3)))
    assert answers == (b"0 x", b"1 x", b"2 x")
    assert sorted(rows.rows[1:]) == [("n0", OK), ("n1", OK), ("n2", OK)]


@pytest.mark.parametrize(
    ("peer", "outcome"),
    [("closes", "closed"), ("half", "closed"), ("resets", "reset"), ("lies", "message too large")],
)
async def test_what_a_peer_does_instead_of_answering_is_an_outcome(peer: str, outcome: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if peer == "half":
            writer.write(struct.pack(">I", 100) + b"only the beginning")
            writer.write_eof()
            await reader.read()
        elif peer == "resets":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif peer == "lies":
            writer.write(struct.pack(">I", 0xFFFF_FFFF) + b"x")
            await reader.read()

    rows = Rows()
    async with (
        tcp_peer(answer) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=length_prefix(4)) as link,
    ):
        with pytest.raises(RequestFailed) as raised:
            await link.ask(b"hello", name="ask")
    assert (raised.value.outcome, rows.rows[1:]) == (outcome, [("ask", outcome)])


async def test_an_answer_that_is_not_the_expected_one_is_an_outcome() -> None:
    rows = Rows()
    async with (
        tcp_peer(echo) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        assert await link.ask(b"PING", name="ping", expect=b"PONG") == b"PONG"
        assert await link.ask(b"PING", name="ping", expect=lambda answer: answer.startswith(b"PO"))
        with pytest.raises(ExpectFailed, match="'-ERR no' is not '\\+OK'"):
            await link.ask(b"-ERR no", name="set", expect=b"+OK")
        with pytest.raises(ExpectFailed):
            await link.ask(b"-ERR no", name="get", expect=lambda answer: not answer.startswith(b"-ERR"))
        with pytest.raises(ZeroDivisionError):
            await link.ask(b"PING", name="bug", expect=lambda answer: 1 // 0)
    expected = "expect message"
    assert rows.rows[1:] == [("ping", OK), ("ping", OK), ("set", expected), ("get", expected), ("bug", OK)]


async def test_messages_that_nobody_asked_for_are_received_in_order() -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\n220 go on\n")
        while line := await reader.readline():
            writer.write(b"250 " + line)

    rows = Rows()
    async with (
        tcp_peer(greets) as place,
        user_for({"mail": f"tcp://{place}"}, rows) as user,
        user.tcp("mail", frame=lines()) as link,
    ):
        assert await link.receive(name="greeting", expect=lambda line: line.startswith(b"220")) == b"220 ready"
        assert await link.receive() == b"220 go on"
        assert await link.ask(b"HELO", name="helo") == b"250 HELO"
        with pytest.raises(RequestFailed):
            await link.receive(name="more", timeout=0.02)
        assert await link.ask(b"NOOP", name="noop") == b"250 NOOP"
    assert rows.rows[1:] == [
        ("greeting", OK),
        ("TCP mail (receive)", OK),
        ("helo", OK),
        ("more", "timeout"),
        ("noop", OK),
    ]


async def test_a_message_that_nobody_reads_is_counted() -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\n")
        await echo(reader, writer)

    rows = Rows()
    async with (
        tcp_peer(greets) as place,
        user_for({"mail": f"tcp://{place}"}, rows) as user,
        user.tcp("mail", frame=lines()) as link,
    ):
        await link.ask(b"1 PING", match=first(1))
    assert rows.counted() == {"tcp: unmatched messages": 1}


async def test_sent_bytes_arrive_also_when_the_connection_is_closed_right_after() -> None:
    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def keeps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result(await reader.read())

    rows = Rows()
    async with tcp_peer(keeps) as place, user_for({"log": f"tcp://{place}"}, rows) as user:
        async with user.tcp("log", frame=lines()) as link:
            await link.send(b"one")
            await link.send(b"two", name="last")
        assert await arrived == b"one\ntwo\n"
    assert rows.rows[1:] == [("TCP log (send)", OK), ("last", OK)]


async def test_a_peer_that_never_reads_makes_a_send_time_out() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    rows = Rows()
    async with (
        tcp_peer(deaf) as place,
        user_for({"log": f"tcp://{place}"}, rows) as user,
        user.tcp("log", frame=lines()) as link,
    ):
        with pytest.raises(RequestFailed, match="has not read the message"):
            await user.gather(*(link.send(b"x" * 1_000_000, name="log", timeout=0.1) for _ in range(20)))
    assert ("log", "timeout") in rows.rows


async def test_a_flood_pauses_reading_until_the_journey_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_module, "MAX_UNREAD", 10)

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n in range(2_000):
            writer.write(b"%d\n" % n * 100)
            await writer.drain()
        await reader.read()

    rows = Rows()
    async with (
        tcp_peer(floods) as place,
        user_for({"feed": f"tcp://{place}"}, rows) as user,
        user.tcp("feed", frame=lines()) as link,
    ):
        first_ones = [await link.receive(name="message") for _ in range(300)]
        assert first_ones == [b"%d" % (n // 100) for n in range(300)]
        with pytest.raises(RequestFailed, match="without the answer to a request"):
            await link.ask(b"status", name="status", match=lambda message: message == b"status")
    assert rows.rows[-1] == ("status", "too many messages")


async def test_a_cancelled_request_is_no_row_and_ends_a_connection_without_matches() -> None:
    rows = Rows()
    async with (
        tcp_peer(silent) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        asking = asyncio.ensure_future(link.ask(b"PING", name="ping"))
        await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        with pytest.raises(RequestFailed):
            await link.ask(b"PING", name="next")
    assert rows.rows[1:] == [("next", "closed")]


async def test_a_connection_can_live_longer_than_a_block_and_ends_with_the_user() -> None:
    ended = asyncio.Event()

    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await echo(reader, writer)
        ended.set()

    rows = Rows()
    async with tcp_peer(until_the_end) as place:
        async with user_for({"gate": f"tcp://{place}"}, rows) as user:
            link = user.tcp("gate", frame=lines())
            await link.open()
            await link.open()
            await link.ask(b"PING", name="ping")
        await asyncio.wait_for(ended.wait(), 5)
    assert rows.rows == [("TCP gate (connect)", OK), ("ping", OK)]


async def test_a_closed_connection_is_freed_without_the_garbage_collector() -> None:
    async with tcp_peer(echo) as place, user_for({"gate": f"tcp://{place}"}, Rows()) as user:
        gc.disable()
        try:
            async with user.tcp("gate", frame=lines()) as link:
                await link.ask(b"PING", name="ping")
            seen = weakref.ref(link)
            del link
            await user.tcp("gate", frame=lines()).open()  # the meter keeps the last sample
            assert seen() is None
        finally:
            gc.enable()


async def test_a_peer_that_drips_bytes_is_a_timeout() -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.005)

    rows = Rows()
    async with (
        tcp_peer(drips) as place,
        user_for({"gate": f"tcp://{place}"}, rows) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        with pytest.raises(RequestFailed):
            await link.ask(b"PING", name="ping", timeout=0.05)
    assert rows.rows[1:] == [("ping", "timeout")]


async def greets_in_plain_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 ready\n")
    await reader.read()


@pytest.mark.parametrize(("peer", "outcome", "limit_s"), [(greets_in_plain_text, "tls", 10), (silent, "timeout", 0.5)])
async def test_a_peer_without_tls_is_an_outcome_of_the_connection(peer: Peer, outcome: str, limit_s: float) -> None:
    rows = Rows()
    tls: dict[str, Any] = {"raw_tls": lambda: tls_context(is_http=False)}
    async with tcp_peer(peer) as place, user_for({"gate": f"tcps://{place}"}, rows, timeout_s=limit_s, **tls) as user:
        with pytest.raises(RequestFailed):
            await user.tcp("gate", frame=lines()).open()
    assert rows.rows == [("TCP gate (connect)", outcome)]
    assert ("TCP gate (connect)", "tls", outcome) in phases_in(rows)


# -- the rules of the plan ----------------------------------------------------------------------------


async def test_tls_is_verified_with_the_plans_authorities(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    offered: list[str | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offered.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await echo(reader, writer)

    server.set_alpn_protocols(["http/1.1"])
    rows = Rows()
    async with tcp_peer(answer, server) as place:
        targets = {"gate": f"tcps://localhost:{place.rpartition(':')[2]}"}
        trusts: dict[str, Any] = {"raw_tls": lambda: tls_context(tmp_path / "ca.pem", is_http=False)}
        network = TcpNetwork(Http(resolve={"localhost": "127.0.0.1"}))
        async with user_for(targets, rows, network=network, **trusts) as user, user.tcp("gate", frame=lines()) as link:
            assert await link.ask(b"PING", name="ping") == b"PONG"
        network = TcpNetwork(Http(resolve={"localhost": "127.0.0.1"}))
        async with user_for(targets, rows, network=network, raw_tls=lambda: tls_context(is_http=False)) as user:
            with pytest.raises(RequestFailed):
                await user.tcp("gate", frame=lines()).open()
    assert rows.rows == [("TCP gate (connect)", OK), ("ping", OK), ("TCP gate (connect)", "tls")]
    assert offered == [None]
    assert ("TCP gate (connect)", "tls", OK) in phases_in(rows)


async def test_the_allow_lists_cap_stops_requests_on_an_open_connection() -> None:
    cap = Cap(lambda per_s: CapShare(2, per_s), 2.0)
    rows = Rows()
    async with (
        tcp_peer(echo) as place,
        user_for({"gate": f"tcp://{place}"}, rows, cap=cap) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        await link.send(b"x")
        with pytest.raises(OverTheCap):
            await link.send(b"x")
    assert cap.refused == 1


async def test_a_failure_shows_what_was_sent_and_received_with_secrets_masked() -> None:
    rows = Rows()
    async with tcp_peer(echo) as place, user_for({"gate": f"tcp://{place}"}, rows) as user:
        user._meter.begin("j", warmup=False, pool_limited=False)
        async with user.tcp("gate", frame=lines()) as link:
            with pytest.raises(ExpectFailed) as raised:
                await link.ask(b"login \x00 password=hunter2", name="login", expect=b"+OK")
        user._meter.end_iteration(raised.value.outcome, raised.value.detail)
    (failure,) = rows.failures.take(0, 1)
    assert (failure.request, failure.outcome) == ("login", "expect message")
    assert "login \\x00 password=" in failure.sent
    assert "hunter2" not in failure.sent + failure.received + failure.detail


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda user: user.tcp("gat", frame=lines()), 'the plan has no target "gat"'),
        (lambda user: user.tcp("api", frame=lines()), "which is not tcp or tcps"),
        (lambda user: user.udp("gate"), "which is not udp"),
        (lambda user: user.tcp("gate", frame=lines), "lines without \\(\\) is not a frame"),
        (lambda user: user.tcp("gate", frame="lines"), "is not a frame"),
        (lambda user: user.tcp("gate", frame=lines(), timeout="soon"), "invalid duration"),
        (lambda user: user.tcp("gate", frame=lines(), timeout=0), "must be above 0"),
        (lambda user: user.to("gate"), "is not an HTTP target"),
    ],
)
async def test_a_wrong_call_is_an_error_of_the_scenario_with_a_remedy(call: object, message: str) -> None:
    async with user_for({"api": "http://127.0.0.1:1", "gate": "tcp://127.0.0.1:7000"}, Rows()) as user:
        with pytest.raises(UsageError, match=message) as raised:
            call(user)  # type: ignore[operator]
    assert raised.value.hint


async def test_a_message_must_be_bytes_and_the_connection_open() -> None:
    rows = Rows()
    async with tcp_peer(echo) as place, user_for({"gate": f"tcp://{place}"}, rows) as user:
        link = user.tcp("gate", frame=lines())
        with pytest.raises(UsageError, match="not open"):
            await link.ask(b"PING")
        async with link:
            for wrong in ("PING", 7):
                with pytest.raises(UsageError, match="must be bytes"):
                    await link.ask(wrong)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="expect="):
                await link.ask(b"PING", expect="PONG")  # type: ignore[arg-type]
            assert await link.ask(memoryview(b"PING")) == b"PONG"  # type: ignore[arg-type]


async def test_http_requests_of_a_plan_without_an_http_target_are_an_error_of_the_scenario() -> None:
    async with user_for({"gate": "tcp://127.0.0.1:7000"}, Rows()) as user:
        with pytest.raises(UsageError, match="the plan has no HTTP target"):
            await user.http.get("/")


async def test_user_target_returns_the_url_and_its_parts() -> None:
    targets = {"api": "http://127.0.0.1:1", "cache": "redis://Cache.example/0", "six": "kafka://[::1]"}
    async with user_for(targets, Rows()) as user:
        cache = user.target("cache")
        assert (cache, cache.scheme, cache.host, cache.port) == (targets["cache"], "redis", "cache.example", 6379)
        assert (cache.place, cache.path, user.target("six").place) == ("cache.example:6379", "/0", "[::1]:9092")
        assert user.target() == "http://127.0.0.1:1"
        with pytest.raises(UsageError, match='no target "cach"'):
            user.target("cach")
