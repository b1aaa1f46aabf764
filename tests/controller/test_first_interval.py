"""The interval of the first reports: agents receive it before their first delta, however they came to their share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage as LoadStage
from loadgen.units import NS_PER_S
from loadgen.wire.messages import BEATS_MINOR, Ack, StartAt
from loadgen_controller.core import report_interval
from tests.controller.conftest import Play, lapse, on_disk
from tests.controller.test_restore import Restarts
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

Stage = Callable[..., Play]
A_MINUTE: dict[str, Any] = {
    "profile": ArrivalProfile((LoadStage(20, 20, 60 * NS_PER_S),)),
    "duration_ns": 60 * NS_PER_S,
}


@pytest.fixture(autouse=True)
def two_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta of one agent each second takes half of a core."""
    monkeypatch.setattr(report_interval, "DELTA_NS", NS_PER_S // 2)


@pytest.fixture
async def restarts(tmp_path: Path) -> AsyncIterator[Restarts]:
    made = Restarts(tmp_path)
    yield made
    await made.close()


def first_of(agent: FakeAgent) -> list[int]:
    """What the agent received up to its start: 0 for StartAt, the interval in s for an acknowledgement of no delta."""
    found = []
    for message in agent.heard:
        if isinstance(message, Ack):
            assert message.seq == -1
            found.append(message.interval_ns // NS_PER_S)
        elif isinstance(message, StartAt):
            return [*found, 0]
    return found


async def test_agents_receive_the_interval_of_a_large_fleet_before_the_start_of_the_load(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await a.send(a.hello(minor=BEATS_MINOR - 1))  # older agents, too
    await asyncio.gather(a.get_ready(), b.get_ready())
    await until(lambda: first_of(a) == first_of(b) == [2, 0])
    why = "2 agents that report every 1 s would take 100% of a CPU"
    assert play.conductor.view().notices[-1:] == (f"agents now report every 2 s: {why}",)
    await on_disk(play)
    events = [json.loads(line) for line in (play.conductor.run_dir / "events.jsonl").read_text().splitlines()]
    assert [(one["interval_s"], one["why"]) for one in events if one["kind"] == "interval asked"] == [(2.0, why)]


async def test_a_start_that_is_repeated_brings_the_interval_again(stage: Stage) -> None:
    play = stage()
    a, _ = await play.started()
    a.heard.clear()
    await a.beat("ready")
    await until(lambda: first_of(a) == [2, 0])


async def test_agents_of_a_small_fleet_receive_no_interval(stage: Stage) -> None:
    play = stage(regions={"eu": 1.0})
    a = play.agent("a", "eu")
    await a.get_ready()
    await until(lambda: first_of(a) == [0])


async def test_an_agent_that_joins_late_receives_the_interval_of_the_larger_fleet_before_its_start(
    stage: Stage,
) -> None:
    play = stage(regions={"eu": 1.0}, **A_MINUTE)
    a, late = play.agent("a", "eu"), play.agent("late", "eu")
    await a.start()
    play.clock.jump(2)
    await a.beat()
    await late.get_ready()
    await until(lambda: "agent late takes part" in str(play.conductor.view().notices))
    await a.beat(adjusted=1)
    await lapse(play, 1, late)
    await until(lambda: first_of(late) == [2, 0])


async def test_a_restarted_controller_asks_for_the_interval_of_its_fleet_again(restarts: Restarts) -> None:
    restarts.begin(**A_MINUTE)
    agents = await restarts.started()
    await restarts.kill()
    await restarts.take_up()
    for agent in agents:
        agent.heard.clear()
        agent.recording.interval()
    await restarts.back(*agents)
    for agent in agents:
        assert (await agent.next(Ack)).interval_ns == 2 * NS_PER_S
