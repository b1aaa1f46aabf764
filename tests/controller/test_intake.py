"""What comes in within one turn of the loop is merged together, and means what it means one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from loadgen.wire import codec
from loadgen.wire.codec import encode
from loadgen.wire.messages import Ack, Message, Nack
from tests.controller.conftest import Play
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

Stage = Callable[..., Play]


def comes(play: Play, agent: FakeAgent, *messages: Message) -> None:
    """Without a turn of the loop in between."""
    member = play.hub.fleet.get(agent.agent)
    assert member is not None
    for message in messages:
        play.hub._on_message(member.identity, agent.agent, encode(message))


async def begun(play: Play, seconds: int) -> tuple[FakeAgent, FakeAgent]:
    """Two agents that have measured, and have told nothing yet."""
    agents = await play.started()
    play.clock.jump(seconds)
    for agent in agents:
        for _ in range(seconds):
            agent.recording.interval()
    return agents


async def test_deltas_of_one_turn_are_merged_when_it_is_over_and_each_is_answered_as_by_itself(stage: Stage) -> None:
    play = stage()
    a, b = await begun(play, 3)
    merge = play.conductor.view().merge
    comes(play, a, a.recording.deltas[0])
    comes(play, b, replace(b.recording.deltas[0], stats=()), b.recording.deltas[2])
    comes(play, a, a.recording.deltas[1], a.recording.deltas[0])
    assert merge.agents() == ()
    await a.acknowledged(1)
    assert "sums that do not match its counts" in (await b.next(Nack)).reason
    assert {kind: play.conductor.rejected_input.get(kind) for kind in ("malformed", "gap", "duplicate")} == {
        "malformed": 1,
        "gap": 1,
        "duplicate": 1,
    }
    assert (merge.agents(), merge.count("request")) == (("a",), 20)
    comes(play, b, *b.recording.deltas)
    await b.acknowledged(2)
    assert merge.count("request") == 50


async def test_a_fin_finds_merged_what_came_before_it_in_the_same_turn(stage: Stage) -> None:
    play = stage()
    a, _ = await begun(play, 3)
    comes(play, a, *a.recording.deltas, a.recording.fin())
    assert play.conductor.view().merge.next_seq("a", 1) == 3
    await until(lambda: "a" in play.conductor.run.merged)


async def test_sixty_deltas_do_not_wait_for_more(stage: Stage) -> None:
    play = stage()
    a, _ = await begun(play, 61)
    comes(play, a, *a.recording.deltas)
    assert play.conductor.view().merge.next_seq("a", 1) == 60
    await a.acknowledged(60)


async def test_agents_that_stand_at_the_same_delta_are_acknowledged_with_one_message(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 of them began together, and each second's acknowledgement is encoded once."""
    encoded: list[Message] = []

    def noted(message: Message) -> bytes:
        encoded.append(message)
        return encode(message)

    play = stage()
    a, b = await begun(play, 3)
    monkeypatch.setattr(codec, "encode", noted)
    comes(play, a, *a.recording.deltas)
    comes(play, b, *b.recording.deltas)
    await a.acknowledged(2)
    await b.acknowledged(2)
    run_id = play.conductor.run_id
    assert [one for one in encoded if isinstance(one, Ack)] == [Ack(run_id, 1, 2)]
    comes(play, a, a.recording.deltas[0])
    comes(play, b, replace(b.recording.deltas[0], seq=7))
    assert (await a.next(Ack), await b.next(Ack)) == (Ack(run_id, 1, 2), Ack(run_id, 1, 2))
