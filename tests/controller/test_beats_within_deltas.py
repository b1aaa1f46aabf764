"""Heartbeats that travel within deltas: each is answered, by the acknowledgement or by an answer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from loadgen.errors import StorageError
from loadgen.units import NS_PER_S
from loadgen.wire.codec import encode, with_beat
from loadgen.wire.messages import BEATS_MINOR, Bye, ClockPong, Delta, Heartbeat
from loadgen_controller.core.registry import Presence
from tests.controller.conftest import Play
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

Stage = Callable[..., Play]


async def begun(play: Play) -> tuple[FakeAgent, FakeAgent]:
    agents = await play.started()
    play.clock.jump(1)
    for agent in agents:
        agent.recording.interval()
    return agents


def beat(agent: FakeAgent, sent_ns: int, phase: str = "running") -> Heartbeat:
    return Heartbeat(agent.recording.run_id, phase, sent_ns=sent_ns)


async def test_the_acknowledgement_of_a_delta_answers_the_heartbeat_within_it_and_nothing_else_is_sent(
    stage: Stage,
) -> None:
    play = stage()
    a, b = await begun(play)
    for agent, sent_ns in ((a, 11), (b, 22)):
        await agent.send_bytes(with_beat(encode(agent.recording.deltas[0]), beat(agent, sent_ns)))
    await a.acknowledged(0)
    await b.acknowledged(0)
    assert (a.answered, b.answered) == ([11], [22])
    play.clock.jump(0.6)
    await b.send(Heartbeat(b.recording.run_id, "running", sent_ns=33))
    await until(lambda: b.answered == [22, 33])
    assert [one for one in a.heard if isinstance(one, ClockPong)] == []


async def test_a_heartbeat_within_a_delta_that_is_not_acknowledged_in_time_gets_an_answer_of_its_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the disk is full: the agents keep their deltas, and their load goes on."""
    play = stage()
    a, _ = await begun(play)

    def fails() -> int:
        raise StorageError("no space left")

    monkeypatch.setattr(play.conductor._folder, "sync", fails)
    await a.send_bytes(with_beat(encode(a.recording.deltas[0]), beat(a, 11)))
    await until(lambda: play.conductor.view().merge.next_seq("a", 1) == 1)
    assert a.answered == []
    play.clock.jump(0.6)
    await until(lambda: a.answered == [11])
    monkeypatch.undo()
    await a.acknowledged(0)
    assert a.answered == [11], "once"


async def test_a_delta_that_came_before_is_acknowledged_again_with_the_heartbeat_that_came_with_it(
    stage: Stage,
) -> None:
    play = stage()
    a, _ = await begun(play)
    for sent_ns in (11, 12):
        await a.send_bytes(with_beat(encode(a.recording.deltas[0]), beat(a, sent_ns)))
        await until(lambda sent_ns=sent_ns: sent_ns in a.answered)  # type: ignore[misc]
    assert play.conductor.rejected_input["duplicate"] == 1


async def test_a_heartbeat_within_a_delta_is_a_sign_of_life_and_its_phase_is_read(stage: Stage) -> None:
    play = stage()
    a, _ = await begun(play)
    leaving = Heartbeat(a.recording.run_id, "running", sent_ns=11, leaves_ns=2 * NS_PER_S)
    await a.send_bytes(with_beat(encode(a.recording.deltas[0]), leaving))
    await a.acknowledged(0)
    member = play.hub.fleet.get("a")
    assert member is not None
    assert member.presence is Presence.HERE
    assert "a" not in play.conductor.run.drivers, "its share goes to the other"


async def test_a_heartbeat_about_a_run_that_is_over_is_answered_with_bye_within_a_delta_too(stage: Stage) -> None:
    play = stage()
    a, _ = await begun(play)
    stray = Delta("a", 1, 0, 0, NS_PER_S, run_id="another")
    await a.send_bytes(with_beat(encode(stray), Heartbeat("another", "running", sent_ns=11)))
    assert (await a.next(Bye)).run_id == "another"
    play.clock.jump(0.6)
    await until(lambda: a.answered == [11])


async def test_an_agent_from_before_heartbeats_within_deltas_is_served_as_ever(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await a.send(a.hello(minor=BEATS_MINOR - 1))
    await asyncio.gather(a.start(), b.start())
    play.clock.jump(2)
    a.recording.interval()
    await a.deliver()
    await a.send(Heartbeat(a.recording.run_id, "running", sent_ns=11))
    await until(lambda: a.answered == [11])
    await a.acknowledged(0)
