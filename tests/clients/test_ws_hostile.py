"""Targets that speak WebSocket wrongly, or not at all: each has its outcome, and the memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date

import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.clients.framing.ws_frames import CLOSE, PING, TEXT, FrameReader, close_payload, masked_frame, plain_frame
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import TargetGuard
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.errors import RequestFailed
from tests.support.proxy import proxy
from tests.support.scripted import client_of, ok, rows_of, scripted
from tests.support.ws_servers import RawServer, counted, opened, raw_server, switched, ws_server

HELLO = plain_frame(TEXT, b"hello")
FAST = Timeouts(total_ns=1_000_000_000)

ENDS = {
    "masked frame": (masked_frame(TEXT, b"a", 7), "ws protocol", 1002),
    "reserved bits": (b"\xc1\x01a", "ws protocol", 1002),
    "unknown frame": (b"\x83\x00", "ws protocol", 1002),
    "fragmented ping": (b"\x09\x01a", "ws protocol", 1002),
    "fragment flood": (b"\x01\x00" + b"\x00\x00" * 5_000, "ws flood", 1008),
    "ping flood": (plain_frame(PING, b"x") * 3_000, "ws flood", 1008),
    "oversize frame": (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), "ws message too large", 1009),
    "bad UTF-8": (b"\x81\x02\xc3\x28", "ws bad text", 1007),
    "close without a code": (b"\x88\x00", "ws 1005", None),
    "close with half a code": (b"\x88\x01\x03", "ws protocol", 1002),
    "close with a wrong code": (b"\x88\x02" + (1005).to_bytes(2, "big"), "ws protocol", 1002),
    "close by an error": (plain_frame(CLOSE, close_payload(1011, "oh")), "ws 1011", 1011),
}


def close_sent(server: RawServer) -> int | None:
    """The code of the close frame that the client has sent."""
    reader = FrameReader(10**6, is_server=True)
    found = [payload for kind, payload in reader.feed(bytes(server.received)) if kind == CLOSE]
    return int.from_bytes(found[0][:2], "big") if found and isinstance(found[0], bytes) and found[0] else None


@pytest.mark.parametrize("name", ENDS)
async def test_each_fault_has_its_outcome_after_the_messages_before_it(name: str) -> None:
    data, outcome, code = ENDS[name]
    async with raw_server([HELLO + data]) as server, client_of(server.url) as client:
        texts = []
        with pytest.raises(RequestFailed) as caught:  # noqa: PT012
            async with opened(client) as ws:
                async for message in ws.messages():
                    texts.append(message.text)
        assert (texts, caught.value.outcome) == (["hello"], outcome)
        rows = [(row.name, row.outcome) for row in rows_of(client)]
        assert rows == [("WS /feed (connect)", "ok"), ("WS /feed (close)", outcome)]
        for _ in range(100):
            if close_sent(server) == code:
                break
            await asyncio.sleep(0.01)
        assert close_sent(server) == code


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        (["close"], "ws 1006"),
        (["eof"], "ws 1006"),
        ([HELLO[:3], "close"], "ws 1006"),
        ([], "timeout"),
        ([HELLO[:3]], "timeout"),
    ],
)
async def test_a_target_that_leaves_or_is_silent_ends_the_ask(
    parts: list[bytes | float | str], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.clients.ws_client.websocket._CLOSE_NS", 50_000_000)
    async with raw_server(parts) as server, client_of(server.url, timeouts=FAST) as client:
        with pytest.raises(RequestFailed) as caught:
            async with opened(client) as ws:
                await ws.ask("hello")
        assert caught.value.outcome == outcome
        assert [(row.name, row.outcome) for row in rows_of(client)][1] == ("WS /feed (ask)", outcome)


async def test_a_slow_target_is_waited_for_to_the_last_byte() -> None:
    parts: list[bytes | float | str] = [part for byte in HELLO for part in (bytes([byte]), 0.002)]
    async with raw_server(parts) as server, client_of(server.url) as client, opened(client) as ws:
        assert (await ws.ask("hello")).text == "hello"
        ws.connection.go(1000)


async def test_a_target_that_does_not_answer_the_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.ws_client.websocket._CLOSE_NS", 50_000_000)
    async with raw_server([HELLO]) as server, client_of(server.url) as client:
        async with opened(client) as ws:
            assert [message.text async for message in ws.messages(upto=1)] == ["hello"]
        assert [(row.name, row.outcome) for row in rows_of(client)][1] == ("WS /feed (close)", "timeout")


async def test_a_target_that_reads_nothing_holds_up_the_sender_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.ws_client.websocket._CLOSE_NS", 50_000_000)
    async with raw_server(["deaf"]) as server, client_of(server.url, timeouts=FAST) as client:
        with pytest.raises(RequestFailed) as caught:  # noqa: PT012
            async with opened(client) as ws:
                for _ in range(1_000):
                    await ws.send(b"x" * 100_000)
        assert caught.value.outcome == "timeout"
        assert counted(client)["messages sent"] < 500


async def test_pings_are_answered_between_the_frames_of_a_message() -> None:
    data = b"\x01\x03hel" + plain_frame(PING, b"7") + b"\x80\x02lo"
    async with raw_server([data]) as server, client_of(server.url) as client, opened(client) as ws:
        assert [message.text async for message in ws.messages(upto=1)] == ["hello"]
        await asyncio.sleep(0.02)
        found = FrameReader(1_000, is_server=True).feed(bytes(server.received))
        assert found == [(10, b"7")]
        ws.connection.go(1000)


HEADS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "no HTTP": (lambda key: b"SSH-2.0-OpenSSH\r\n\r\n", "protocol"),
    "a status that is none": (lambda key: b"HTTP/1.1 abc\r\n\r\n", "protocol"),
    "wrong key": (lambda key: switched("another"), "ws bad handshake"),
    "no upgrade": (lambda key: switched(key).replace(b"Upgrade: websocket", b"Upgrade: h2c"), "ws bad handshake"),
    "forced compression": (lambda key: switched(key, "Sec-WebSocket-Extensions: permessage-deflate"), "ws extension"),
    "another subprotocol": (lambda key: switched(key, "Sec-WebSocket-Protocol: other"), "ws bad handshake"),
    "endless head": (lambda key: switched(key)[:-2] + b"X: y\r\n" * 100_000, "head too large"),
    "half a head": (lambda key: switched(key)[:-2], "timeout"),
    "not HTTP's length": (lambda key: b"HTTP/1.1 403 No\r\nContent-Length: x\r\n\r\n", "protocol"),
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_wrong_handshake_has_its_outcome(name: str) -> None:
    head, outcome = HEADS[name]
    async with raw_server(head=head) as server, client_of(server.url, timeouts=FAST) as client:
        with pytest.raises(RequestFailed) as caught:
            async with opened(client):
                pass
        assert caught.value.outcome == outcome
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("WS /feed (connect)", outcome)]
        await asyncio.sleep(0.01)
        assert not client.pool._others, "the connection is still open"


@pytest.mark.parametrize("status", [200, 301, 403, 426, 503])
async def test_a_refusal_has_the_status_as_its_outcome_and_is_kept_whole(status: int) -> None:
    answer = ok(b"members only, password=hunter2", status=f"{status} No")
    async with scripted(answer) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed) as caught:
            async with opened(client):
                pass
        assert caught.value.outcome == f"ws refused {status}"
        (failure,) = client.meter.recorder.failures.take(0, 10**20)
        assert "Sec-WebSocket-Version: 13" in failure.sent
        assert f"HTTP/1.1 {status} No" in failure.received
        assert "members only" in failure.received
        assert "hunter2" not in failure.received


async def test_interim_answers_are_passed_over_and_messages_may_come_with_the_head() -> None:
    def head(key: str) -> bytes:
        return b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + switched(key) + HELLO

    async with raw_server(head=head) as server, client_of(server.url) as client, opened(client) as ws:
        assert [message.text async for message in ws.messages(upto=1)] == ["hello"]
        ws.connection.go(1000)


async def test_a_refusing_port_is_an_outcome() -> None:
    async with client_of("http://127.0.0.1:9") as client:
        with pytest.raises(RequestFailed) as caught:
            async with opened(client):
                pass
        assert caught.value.outcome == "refused"


async def test_a_target_that_is_not_allowed_is_not_reached() -> None:
    guard = TargetGuard(AllowList(allow=(Entry(host="shop.example", owner="us", expires=date(2099, 1, 1)),)), [])
    async with raw_server() as server, client_of(server.url, network=TcpNetwork(guard=guard)) as client:
        for url in ("/feed", server.url.replace("http", "ws") + "/feed"):
            with pytest.raises(RequestFailed) as caught:
                async with opened(client, url):
                    pass
            assert caught.value.outcome == "not allowed: no entry"


async def test_a_proxy_is_asked_for_a_tunnel() -> None:
    async with ws_server() as server, proxy() as seen:
        http = Http(proxy=seen.url)
        forward = Forward.of(http)
        client = client_of(server.url, network=network_of(http), forward=forward)
        async with client as user, opened(user, "/feed?a=1") as ws:
            assert (await ws.ask("hello")).text == "hello"
        assert seen.tunnels == [f"127.0.0.1:{server.port}"]
