"""Trials of journeys with WebSockets: the other side is canned, and nothing waits."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen import User, journey, ws_peer
from loadgen.clients.net.canned_replies import reply
from loadgen.errors import UsageError


@journey
async def chat(user: User) -> None:
    async with user.ws("/feed/7?since=1", subprotocols=["chat.v2"]) as ws:
        user.check("subprotocol", ws.subprotocol == "chat.v2")
        async for message in ws.messages(upto=2):
            user.check("text", message.pick("$.text"))
        await user.think(60)
        answer = await ws.ask({"id": 1}, reply_to="$.id", name="join", timeout="2s")
        user.check("ok", answer.pick("$.ok", bool))
        await ws.ping()


def peer(**more: Any) -> Any:
    return ws_peer({"text": "a"}, {"text": "b"}, answer=lambda message: {"id": message["id"], "ok": True}, **more)


async def test_a_trial_talks_to_its_peer_and_the_think_time_takes_no_time() -> None:
    trial = await chat.trial(replies={"WS /feed/{room}": peer()})
    assert (trial.outcome, trial.thought_s) == ("ok", 60)
    names = ["connect", "ping", "close"]
    wanted = [f"WS /feed/7 ({name})" for name in names]
    assert [(one.name, one.outcome) for one in trial.requests] == [
        (wanted[0], "ok"), ("join", "ok"), (wanted[1], "ok"), (wanted[2], "ok"),
    ]  # fmt: skip
    assert trial.checks == {"subprotocol": (1, 1), "text": (2, 2), "ok": (1, 1)}
    assert trial.sent[0].headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (peer(close=1011), "ws 1011"),
        (ws_peer({"text": "a"}, {"text": "b"}), "timeout"),
        (peer(subprotocol="other"), "ws bad handshake"),
        (ws_peer("no json", answer=lambda message: None), "pick $.text"),
        (403, "ws refused 403"),
        (reply(503, text="busy"), "ws refused 503"),
        ([503, 403], "ws refused 503"),
    ],
)
async def test_what_the_peer_does_is_the_outcome(given: Any, outcome: str) -> None:
    trial = await chat.trial(replies={"WS /feed/*": given})
    assert trial.outcome == outcome


async def test_a_missing_peer_is_named() -> None:
    with pytest.raises(UsageError, match="no canned reply for WS /feed/7"):
        await chat.trial(replies={"GET /feed/7": 200})


@journey
async def binary(user: User) -> None:
    async with user.ws("ws://other.example/raw") as ws:
        answer = await ws.ask(b"\1\2")
        user.check("echo", answer.data == b"\1\2")


async def test_binary_messages_and_whole_urls() -> None:
    trial = await binary.trial(replies={"WS /raw": ws_peer(answer=lambda message: message)})
    assert (trial.outcome, trial.checks) == ("ok", {"echo": (1, 1)})
    assert trial.requests[0].name == "WS http://other.example:80/raw (connect)"
