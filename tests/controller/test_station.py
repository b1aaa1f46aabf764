"""Several runs that share a fleet: whose an agent is, and who hears what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.wire.curve_keys import AgentKeys, ControllerKeys, KeyPair
from loadgen.wire.messages import Bye, ClockPing, ClockPong, Delta, Heartbeat, Prepare, StartAt
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.run.conductor import Conductor, Result
from tests.controller.conftest import JumpingClock, order_of
from tests.support.fake_agent import FakeAgent
from tests.support.recording import Recording
from tests.support.wire import until


class House:
    """A station, and whoever comes to it."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir, self.clock = runs_dir, JumpingClock()
        own, pair = KeyPair.new(), KeyPair.new()
        self._keys = AgentKeys(pair, own.public)
        self.hub = AgentHub(ControllerKeys(own, {pair.public: "*"}), clock=self.clock)
        self.hub.start()
        self._agents: list[FakeAgent] = []
        self._conducting: list[asyncio.Task[Result]] = []

    def agent(self, agent: str, region: str) -> FakeAgent:
        self._agents.append(FakeAgent(self.hub.address, self._keys, agent, region))
        return self._agents[-1]

    async def joined(self, **regions: str) -> list[FakeAgent]:
        agents = [self.agent(agent, region) for agent, region in regions.items()]
        for agent in agents:  # in this order
            await agent.join()
        return agents

    def run(self, **other: object) -> tuple[Conductor, asyncio.Task[Result]]:
        conductor = Conductor(order_of(**other), self.hub, runs_dir=self.runs_dir)
        self._conducting.append(asyncio.create_task(conductor.conduct()))
        return conductor, self._conducting[-1]

    async def close(self) -> None:
        for task in self._conducting:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.hub.close()
        for agent in self._agents:
            await agent.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.close()


async def live(agent: FakeAgent, seconds: int = 3) -> None:
    """From Prepare to Bye, in a fleet that the agent has joined already."""
    prepare = await agent.next(Prepare)
    agent.recording = Recording(agent.agent)
    agent.recording.run_id, agent.recording.epoch = prepare.run_id, 1
    await agent.ready(prepare)
    await agent.next(StartAt, lambda start: start.run_id == prepare.run_id)
    for _ in range(seconds):
        agent.recording.interval()
    await agent.deliver()
    await agent.finish()
    await agent.next(Bye, lambda bye: bye.run_id == prepare.run_id)


async def test_two_runs_at_once_share_the_fleet_and_never_an_agent(house: House) -> None:
    agents = await house.joined(a="eu", b="us", c="eu", d="us")
    first, first_task = house.run()
    second, second_task = house.run()
    await until(lambda: first.run.phase is second.run.phase is Phase.PREPARING)
    assert set(first.run.members) | set(second.run.members) == {"a", "b", "c", "d"}
    assert not set(first.run.members) & set(second.run.members)
    house.clock.jump(1)
    async with asyncio.timeout(60):
        results = await asyncio.gather(first_task, second_task, *(live(agent) for agent in agents))
    for result in results[:2]:
        assert isinstance(result, Result)
        assert result.exit_code is ExitCode.PASSED
        assert result.verdict.completeness.is_complete
    assert {agent.agent for agent in results[0].verdict.completeness.agents} == set(first.run.members)  # type: ignore[union-attr]


async def test_a_run_that_waits_gets_the_agents_of_the_one_before(house: House) -> None:
    a, b = await house.joined(a="eu", b="us")
    first, first_task = house.run()
    await until(lambda: first.run.phase is Phase.PREPARING)
    second, second_task = house.run()
    await asyncio.gather(live(a), live(b))
    assert (await first_task).exit_code is ExitCode.PASSED
    await asyncio.gather(live(a), live(b))
    assert (await second_task).exit_code is ExitCode.PASSED
    assert first.run_id != second.run_id


async def test_a_run_takes_no_more_agents_than_it_needs(house: House) -> None:
    await house.joined(a="eu", b="eu", c="eu", d="us", e="ap")
    run, _ = house.run()
    await until(lambda: run.run.phase is Phase.PREPARING)
    assert run.run.members == ("a", "d")
    assert [house.hub.claimant(agent) for agent in "abcde"] == [run.run_id, "", "", run.run_id, ""]
    assert [view.id for view in run.view().agents] == ["a", "d"]


async def test_an_agent_that_another_run_has_taken_is_no_longer_counted_on(house: House) -> None:
    await house.joined(a="eu")
    waiting, _ = house.run()
    await until(lambda: waiting.run.joined == (("a", "eu"),))
    other, _ = house.run(regions={"eu": 1.0})
    await until(lambda: other.run.phase is Phase.PREPARING)
    assert waiting.run.joined == ()
    await house.joined(b="us")
    assert waiting.run.phase is Phase.WAITING


async def test_what_is_said_of_another_run_is_counted_and_its_agent_is_told_that_it_is_over(house: House) -> None:
    a, b = await house.joined(a="eu", b="us")
    run, _ = house.run()
    await a.next(Prepare)
    await a.send(Heartbeat("20250101-000000-shop-beef", "running"))
    assert (await a.next(Bye)).run_id == "20250101-000000-shop-beef"
    assert run.rejected_input["other run"] == 1
    await b.send(Delta(run_id="20250101-000000-shop-beef", agent="b", epoch=1, seq=0, start_ns=0, end_ns=1))
    await until(lambda: run.rejected_input["other run"] == 2)


async def test_an_idle_fleet_is_answered_without_a_run(house: House) -> None:
    (a,) = await house.joined(a="eu")
    await a.send(ClockPing(7))
    assert (await a.next(ClockPong)).agent_ns == 7
    await a.send(Heartbeat("", "idle"))
    await a.send_bytes(b"nonsense")
    await a.send(ClockPing(8))
    assert (await a.next(ClockPong)).agent_ns == 8
    assert not [message for message in a.heard if isinstance(message, Bye)]
    house.hub.check()


async def test_a_run_that_fails_leaves_the_others_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _, c, d = await house.joined(a="eu", b="us", c="eu", d="us")
    bad, bad_task = house.run()
    good, good_task = house.run()
    await until(lambda: good.run.phase is Phase.PREPARING)

    def fail(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(bad._intake, "receive", fail)
    await a.send(Heartbeat(bad.run_id, "idle"))
    assert (await bad_task).exit_code is ExitCode.BUG
    await asyncio.gather(live(c), live(d))
    assert (await good_task).exit_code is ExitCode.PASSED
    house.hub.check()
