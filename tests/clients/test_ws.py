"""WebSockets over our own frames, against a server of the library `websockets`."""

from __future__ import annotations

import asyncio
import gc
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme

from loadgen.allowlist import CapShare
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.request.rate_cap import Cap, OverTheCap, capped
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.clients.ws_client import counts
from loadgen.clients.ws_client.exchanged import Exchanged
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from tests.support.scripted import Rows, client_of, rows_of
from tests.support.ws_servers import WsServer, counted, opened, ws_server


@pytest.fixture
async def server() -> AsyncIterator[WsServer]:
    async with ws_server() as found:
        yield found


def outcomes(client: HttpClient) -> Counter[tuple[str | None, str]]:
    return Counter((row.name, row.outcome) for row in rows_of(client))


async def until(fact: Callable[[], object]) -> None:
    while not fact():
        await asyncio.sleep(0.001)


async def test_a_conversation_has_a_row_for_each_answer_and_times_of_other_messages() -> None:
    async with ws_server(subprotocols=["chat.v2", "chat.v1"]) as server, client_of(server.url) as client:
        client.headers["X-Tenant"] = "a"
        client.cookies.set("session", "7")
        async with opened(client, "/feed?since=3", subprotocols=["chat.v1", "chat.v2"]) as ws:
            assert ws.subprotocol in ("chat.v1", "chat.v2")
            assert ws.status_code == 101
            answer = await ws.ask({"id": 7, "op": "join"}, reply_to="$.id", name="join", timeout="2s")
            assert answer.pick("$.op") == "join"
            await ws.send({"op": "feed", "n": 5})
            texts = [message.pick("$.text") async for message in ws.messages(upto=5, within="30s", stamp="$.sent_ms")]
            assert texts == ["t0", "t1", "t2", "t3", "t4"]
            assert 0 < await ws.ping() < 30
        assert outcomes(client) == {
            ("WS /feed (connect)", "ok"): 1,
            ("join", "ok"): 1,
            ("WS /feed (ping)", "ok"): 1,
            ("WS /feed (close)", "ok"): 1,
        }
        wanted = {"messages sent": 2, "messages received": 6, "first_message": 1, "message_gap": 4, "message_age": 5}
        assert counted(client) == wanted
        assert client.pool.opened == 1
    assert server.closed == [1000]
    assert (server.headers[0]["x-tenant"], server.headers[0]["cookie"]) == ("a", "session=7")
    assert "sec-websocket-extensions" not in server.headers[0]


@pytest.mark.parametrize(
    ("error_ns", "text"),
    [(2_300_001, "is off by at most 3 ms"), (None, "is synchronised by no time service")],
)
async def test_the_first_stamp_notes_the_error_of_the_agents_clock_once(
    server: WsServer, monkeypatch: pytest.MonkeyPatch, error_ns: int | None, text: str
) -> None:
    monkeypatch.setattr(counts, "wall_error_ns", lambda: error_ns)
    async with client_of(server.url) as client, opened(client) as ws:
        await ws.send({"op": "feed", "n": 2})
        assert len([message async for message in ws.messages(upto=2)]) == 2
        assert client.meter.recorder.take_notes() == ()
        for _ in range(2):
            await ws.send({"op": "feed", "n": 2})
            assert len([message async for message in ws.messages(upto=2, stamp="$.sent_ms")]) == 2
        (note,) = client.meter.recorder.take_notes()
        assert note.startswith(
            f"message_age: the clock of this agent {text}; the error of the target's clock is unknown"
        )


@pytest.mark.parametrize(
    "message", ["", "ä" * 200, "x" * 125, "x" * 126, b"\0" * 65_536, b"\xff" * 70_000, "y" * 65_535]
)
async def test_messages_of_any_size_come_back_as_they_were_sent(server: WsServer, message: str | bytes) -> None:
    async with client_of(server.url) as client, opened(client) as ws:
        assert (await ws.ask(message)).data == message
    assert server.received == [message]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4001])
async def test_the_code_of_the_target_is_the_outcome_unless_it_is_1000(server: WsServer, code: int) -> None:
    async with client_of(server.url) as client:
        failures = []
        try:
            async with opened(client) as ws:
                await ws.send(f"close {code}")
                assert [message async for message in ws.messages()] == []
        except RequestFailed as failure:
            failures.append(failure.outcome)
        bad = [] if code == 1000 else [f"ws {code}"]
        assert failures == bad
        assert ws.close_code == code
        assert outcomes(client) == {("WS /feed (connect)", "ok"): 1, **{("WS /feed (close)", one): 1 for one in bad}}


async def test_an_ask_under_way_fails_as_the_connection_does(server: WsServer) -> None:
    async with client_of(server.url) as client:
        with pytest.raises(RequestFailed) as caught:
            async with opened(client) as ws:
                await ws.ask("close 1011")
        assert caught.value.outcome == "ws 1011"
        with pytest.raises(RequestFailed) as again:
            await ws.ask("late")
        assert again.value.outcome == "ws 1011"
        with pytest.raises(RequestFailed):
            await ws.send("late")
        assert outcomes(client)["WS /feed (ask)", "ws 1011"] == 2


async def test_a_connection_that_ends_unnoticed_fails_at_the_end_of_the_block(server: WsServer) -> None:
    async with client_of(server.url) as client:
        with pytest.raises(RequestFailed) as caught:  # noqa: PT012
            async with opened(client) as ws:
                await ws.send("close 1013")
                await until(lambda: ws.close_code)
        assert caught.value.outcome == "ws 1013"


async def test_answers_of_the_next_ask_are_not_those_of_a_cancelled_or_late_one(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            for reply_to in ("next", "$.id"):
                late = {"id": f"{reply_to}1", "op": "late", "s": 0.05}
                with pytest.raises(RequestFailed) as caught:
                    await ws.ask(late, reply_to=reply_to, timeout="10ms")
                assert caught.value.outcome == "timeout"
                call = asyncio.ensure_future(ws.ask({**late, "id": f"{reply_to}2", "s": 0}, reply_to=reply_to))
                await asyncio.sleep(0)
                call.cancel()
                with suppress(asyncio.CancelledError):
                    await call
                answer = await ws.ask({"id": f"{reply_to}3"}, reply_to=reply_to)
                assert answer.pick("$.id") == f"{reply_to}3"
        assert counted(client)["late answers"] == 4
        # A cancelled ask has begun and not ended, as a cancelled request.
        assert outcomes(client)["WS /feed (ask)", "ok"] == outcomes(client)["WS /feed (ask)", "timeout"] == 2


async def test_answers_come_in_any_order_and_strange_ones_are_counted(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            asks = [ws.ask({"id": n}, reply_to=lambda message: message.json().get("id")) for n in range(100)]
            assert [answer.pick("$.id", int) for answer in await asyncio.gather(*asks)] == list(range(100))
            await ws.ask({"id": "a", "op": "twice"}, reply_to="$.id")
            await ws.ask({"id": "b", "op": "stranger"}, reply_to="$.id")
            assert [message.pick("$.id") async for message in ws.messages(upto=1)] == ["nobody"]
        found = counted(client)
        assert (found["doubled answers"], found["unmatched answers"]) == (1, 1)


async def test_a_pick_that_fails_is_the_outcome_of_the_ask(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            with pytest.raises(ExpectFailed):
                (await ws.ask({"id": 1})).pick("$.token")
        assert outcomes(client)["WS /feed (ask)", "pick $.token"] == 1


async def test_messages_end_when_the_time_is_over(server: WsServer) -> None:
    async with client_of(server.url) as client, opened(client) as ws:
        await ws.send({"op": "feed", "n": 3})
        found = [message.text async for message in ws.messages(within="150ms")]
        assert len(found) == 3
        assert (await ws.ask("still there")).text == "still there"


async def test_unread_messages_take_bounded_memory_and_do_not_hold_up_an_answer(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            await ws.send({"op": "feed", "n": 7_000})
            assert (await ws.ask({"id": 1}, reply_to="$.id")).pick("$.id", int) == 1
            assert ws.inbox._bytes < 1_100_000
        found = counted(client)
        assert found["messages received"] == 7_001
        assert found["unread messages dropped"] > 2_000
        assert found["message_gap"] == 6_999


async def test_a_slow_reader_loses_nothing_because_the_socket_is_not_read_meanwhile(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            await ws.send({"op": "feed", "n": 7_000})
            count = 0
            async for message in ws.messages(upto=7_000):
                assert message.pick("$.text") == f"t{count}"
                count += 1
                if count % 2_000 == 0:
                    await asyncio.sleep(0.01)
        assert "unread messages dropped" not in counted(client)


async def test_stamps_in_the_future_count_as_an_age_of_0(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            await ws.send({"op": "feed", "n": 2, "sent_ms": 4e12})
            ages = [message.age_ns async for message in ws.messages(upto=2, stamp="$.sent_ms")]
            assert all(age is not None and age < 0 for age in ages)
        assert counted(client)["stamps in the future"] == 2


async def test_a_stopped_journey_says_that_it_goes_away() -> None:
    async with ws_server() as server, client_of(server.url) as client:

        async def journey() -> None:
            async with opened(client) as ws:
                await ws.ask("hello")
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(journey())
        await until(lambda: server.received)
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await client.close()
        await until(lambda: server.closed)
    assert server.closed == [1001]


async def test_tls_is_that_of_http_and_offers_no_http2(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    async with ws_server(tls) as server:
        for http in (Http(), Http(http2=True)):
            context = tls_context(tmp_path / "ca.pem", http)
            pool = Http2Pool(TcpNetwork(), context) if http.http2 else None
            async with client_of(server.url, tls=context, pool=pool) as client:
                for url in ("/feed", server.url.replace("https", "wss") + "/feed"):
                    async with opened(client, url) as ws:
                        assert (await ws.ask("hello")).text == "hello"
        async with client_of(server.url, tls=tls_context()) as client:
            with pytest.raises(RequestFailed) as caught:
                await opened(client).__aenter__()
            assert caught.value.outcome == "tls"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"headers": {"Sec-WebSocket-Extensions": "permessage-deflate"}}, "permessage-deflate are not supported"),
        ({"headers": {"Upgrade": "h2c"}}, "sets the header Upgrade itself"),
        ({"subprotocols": ["a b"]}, "'a b' is not a subprotocol"),
        ({"timeout": 0}, "must be above 0"),
        ({"timeout": "soon"}, "is not a duration"),
    ],
)
async def test_wrong_options_are_named_before_anything_is_sent(options: Any, said: str) -> None:
    async with client_of("http://127.0.0.1:9") as client:
        with pytest.raises(UsageError) as caught:
            opened(client, **options)
        assert said in caught.value.with_hint
        assert rows_of(client) == []


async def test_wrong_calls_are_named_and_leave_the_connection_open(server: WsServer) -> None:
    async with client_of(server.url) as client, opened(client) as ws:
        wrong: list[tuple[Any, str]] = [
            (lambda: ws.ask("no json", reply_to="$.id"), "has no id"),
            (lambda: ws.ask({"id": [1]}, reply_to="$.id"), "has no id"),
            (lambda: ws.ask({"id": 1}, reply_to="id"), "is not a path"),
            (lambda: ws.send(object()), "cannot be sent"),
            (lambda: ws.close(1006), "code 1006 is invalid"),
        ]
        for call, said in wrong:
            with pytest.raises(UsageError) as caught:
                await call()
            assert said in caught.value.with_hint
        for bad in ({"upto": 0}, {"unit": "h"}, {"within": "-1s"}):
            given: Any = bad
            with pytest.raises(UsageError):
                ws.messages(**given)
        waiting = asyncio.ensure_future(ws.ask({"id": 1, "op": "silent"}, reply_to="$.id"))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="an earlier ask waits"):
            await ws.ask({"id": 1}, reply_to="$.id")
        waiting.cancel()

        assert (await ws.ask("hello")).text == "hello"


async def test_a_fault_of_the_scenarios_function_is_raised_by_its_ask(server: WsServer) -> None:
    def key(message: Any) -> Any:
        return message.json()["id"] if not message.t_ns else message.json()["no such key"]

    async with client_of(server.url) as client, opened(client) as ws:
        with pytest.raises(RequestFailed):
            await ws.ask({"id": 1}, reply_to=key, timeout="50ms")
        with pytest.raises(KeyError):
            await ws.send("next")


async def test_failures_show_the_messages(server: WsServer) -> None:
    async with client_of(server.url) as client:
        async with opened(client) as ws:
            with pytest.raises(RequestFailed):
                await ws.ask({"id": 1, "op": "silent"}, timeout="30ms")
        client.meter.settle()
        (failure,) = client.meter.recorder.failures.take(0, 10**20)
        assert (failure.request, failure.outcome) == ("WS /feed (ask)", "timeout")
        assert '"op":"silent"' in failure.sent


async def test_a_traced_connect_names_its_trace_and_its_answer_sets_cookies() -> None:
    def with_cookie(connection: Any, request: Any, response: Any) -> None:
        response.headers["Set-Cookie"] = "room=7"

    tracer = Tracer(Trace(1.0, ("w3c",)), Random(1))
    async with ws_server(process_response=with_cookie) as server, client_of(server.url, tracer=tracer) as client:
        for _ in range(2):
            async with opened(client) as ws:
                await ws.ask("hello")
        assert client.cookies["room"] == "7"
    first, second = server.headers
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", first["traceparent"])
    assert first["traceparent"] != second["traceparent"]
    assert ("cookie" in first, second["cookie"]) == (False, "room=7")


async def test_phases_of_the_connect_and_of_answers_are_recorded(server: WsServer) -> None:
    async with client_of(server.url, has_phases=True) as client:
        async with opened(client) as ws:
            await ws.ask("hello")
        client.meter.settle()
        delta = client.meter.recorder.flip(0, 1)
        metrics = {(delta.new_series[one.series].request, delta.new_series[one.series].metric) for one in delta.stats}
        assert {
            ("WS /feed (connect)", "connect"),
            ("WS /feed (connect)", "wait"),
            ("WS /feed (ask)", "wait"),
        } <= metrics


async def test_a_connection_above_the_cap_is_closed_all_the_same(server: WsServer) -> None:
    kind = capped(Meter, Cap(lambda per_s: CapShare(2, 2.0), 2.0))
    meter = kind(Rows())
    meter.begin("journey", warmup=False, pool_limited=False)
    http = HttpClient(meter, ConnectionPool(TcpNetwork()), server.url)
    with pytest.raises(OverTheCap):
        async with opened(http) as ws:
            await ws.ask("hello")
    await until(lambda: server.closed)
    assert server.closed == [1000]
    assert not ws.connection.waits
    await http.close()


async def test_a_thousand_asks_leave_nothing_behind(server: WsServer) -> None:
    async with client_of(server.url) as client, opened(client) as ws:
        for n in range(1_000):
            await ws.ask({"id": n}, reply_to="$.id")
        (by_id,) = ws._by_id.values()
        assert len(by_id._answered) == 64
        assert not by_id._waits
        assert not by_id._left
        assert not ws.connection.waits
        assert ws.inbox.first_ns() == 0


async def test_an_answer_is_freed_without_the_garbage_collector(server: WsServer) -> None:
    async with client_of(server.url) as client:
        gc.collect()
        gc.disable()
        try:
            async with opened(client) as ws:
                for n in range(100):
                    await ws.ask({"id": n}, reply_to="$.id")
                    await ws.ask("hello")
                assert sum(isinstance(one, Exchanged) for one in gc.get_objects()) < 10
        finally:
            gc.enable()
