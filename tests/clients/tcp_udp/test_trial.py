"""Trials with canned peers: no network, no waiting."""

from __future__ import annotations

import pytest

from loadgen import User, first, journey, length_prefix, lines
from loadgen.errors import UsageError


@journey
async def ping(user: User) -> None:
    async with user.tcp("gate", frame=lines(), timeout="30s") as link:
        await link.ask(b"PING", name="ping", expect=b"PONG")
        await user.think(3)
        await link.send(b"QUIT", name="quit")


@journey
async def lookup(user: User) -> None:
    await user.udp("dns").ask(b"\x00\x07who", match=first(2), timeout="20s", name="lookup")


@journey
async def greeted(user: User) -> None:
    async with user.tcp("mail server", frame=length_prefix(2)) as link:
        await link.receive(name="greeting")
        await user.http.get("/status")


async def test_a_canned_peer_answers_each_message() -> None:
    trial = await ping.trial(replies={"TCP gate": b"PONG\n"})
    assert trial.outcome == "ok"
    assert [(one.name, one.outcome) for one in trial.requests] == [
        ("TCP gate (connect)", "ok"),
        ("ping", "ok"),
        ("quit", "ok"),
    ]
    assert [one.data for one in trial.messages] == [b"PING\n", b"QUIT\n"]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (None, "timeout"),
        (b"PON", "timeout"),
        (b"-ERR\n", "expect message"),
        (ConnectionRefusedError(111, "refused"), "refused"),
        ([ConnectionResetError(104, "reset")], "reset"),
        ([EOFError()], "closed"),
        (lambda sent: b"PONG\n" if sent == b"PING\n" else None, "ok"),
    ],
)
async def test_a_canned_peer_may_fail_in_every_way_without_waiting(reply: object, outcome: str) -> None:
    trial = await ping.trial(replies={"TCP gate": reply})
    assert trial.outcome == outcome


async def test_a_canned_datagram_is_matched() -> None:
    trial = await lookup.trial(replies={"UDP dns": lambda query: query[:2] + b"203.0.113.7"})
    assert (trial.outcome, trial.requests[0].name) == ("ok", "lookup")
    trial = await lookup.trial(replies={"UDP dns": b"\x00\x08other"})
    assert (trial.outcome, trial.requests[0].response_ns) == ("timeout", 20_000_000_000)


async def test_a_peer_that_speaks_first_is_a_function_and_http_has_its_own_replies() -> None:
    trial = await greeted.trial(replies={"TCP mail server": lambda sent: b"\x00\x02hi", "GET /status": 200})
    assert trial.outcome == "ok"
    assert len(trial.sent) == 1


async def test_a_peer_without_a_canned_reply_is_an_error_that_names_the_key() -> None:
    with pytest.raises(UsageError, match="no canned peer for TCP gate") as raised:
        await ping.trial(replies={})
    assert '"TCP gate"' in raised.value.hint
    with pytest.raises(UsageError, match="answers 7"):
        await ping.trial(replies={"TCP gate": 7})
