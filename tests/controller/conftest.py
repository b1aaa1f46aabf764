"""A conductor on a real socket, agents by script, and a clock that can jump."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from math import ceil
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import pytest

from loadgen.dsl.plans.spec import JourneySpec, PlanSpec
from loadgen.measure.objectives.objective import Objective
from loadgen.notify.notifier import Notifier
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from loadgen.sinks.live_outputs import Outputs
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.curve_keys import AgentKeys, ControllerKeys, KeyPair
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.core.run_request import Order
from loadgen_controller.run.conductor import Conductor, Result
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

BUNDLE = bytes(range(256)) * 700  # three chunks
STEP_S = 0.5


class JumpingClock:
    """The machine's, plus what the test adds."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.perf_counter_ns() + self.ahead_ns

    def jump(self, seconds: float) -> None:
        self.ahead_ns += round(seconds * NS_PER_S)


def spec(**other: object) -> PlanSpec:
    usual: dict[str, object] = {
        "name": "plan",
        "scenario": "shop.py",
        "doc": "",
        "target": "http://127.0.0.1:1",
        "load": "arrivals: hold 20/s for 3s",
        "profile": ArrivalProfile((Stage(20, 20, 3 * NS_PER_S),)),
        "journeys": (JourneySpec(name="shop", weight=1.0),),
        "slos": (Objective(kind="percentile", text="p(95) < 300ms", limit=300 * NS_PER_MS, q=95),),
        "regions": {"eu": 0.5, "us": 0.5},
        "duration_ns": 3 * NS_PER_S,
        "total_arrivals": 60,
        "peak": 20.0,
        "max_users": None,
        "max_lateness_ns": None,
        "warmup_ns": 0,
        "drain_ns": 5 * NS_PER_S,
        "connect_timeout_ns": NS_PER_S,
        "timeout_ns": NS_PER_S,
        "seed": 7,
    }
    return PlanSpec(**(usual | other))  # type: ignore[arg-type]


def order_of(**other: object) -> Order:
    """For agents that came from elsewhere, one a region."""
    plan = spec(**other)
    return Order(
        spec=plan,
        bundle=BUNDLE,
        bundle_sha256=hashlib.sha256(BUNDLE).hexdigest(),
        scenario="shop.py",
        plan="",
        seed=7,
        agents=len(plan.regions),
        placement="fleet",
    )


async def lapse(on: Timed, seconds: float, *beating: FakeAgent) -> None:
    """Let time pass in steps that the controller sees one by one, and takes for no pause of its own (1 s)."""
    for _ in range(ceil(seconds / STEP_S)):
        on.clock.jump(STEP_S)
        for agent in beating:
            await agent.beat()
        await ticked(on)


async def ticked(on: Timed) -> None:
    """Until the controller has looked at its clock."""
    now_ns, fleet = on.clock(), on.hub.fleet
    await until(lambda: on.conducting.done() or min(fleet._ticked_ns or 0, on.conductor.run.now_ns) >= now_ns)


async def on_disk(on: Timed) -> None:
    """Until everything that was decided so far is in the run's folder."""
    mark = token_hex(8)
    on.conductor._journal.event(mark)
    events = on.conductor.run_dir / "events.jsonl"
    await until(lambda: events.exists() and mark in events.read_text())


class Timed(Protocol):
    """A controller by a clock that jumps."""

    clock: JumpingClock
    hub: AgentHub
    conductor: Conductor
    conducting: asyncio.Task[Result]


class Play:
    """One run on stage: the conductor and those who speak to it."""

    def __init__(
        self,
        runs_dir: Path,
        *,
        controller_keys: ControllerKeys | None = None,
        memory_bytes: int | None = None,
        outputs: Outputs | None = None,
        notifier: Notifier | None = None,
        **other: object,
    ) -> None:
        self.clock = JumpingClock()
        own, pair = KeyPair.new(), KeyPair.new()
        self.keys = AgentKeys(pair, own.public)
        keys = controller_keys or ControllerKeys(own, {pair.public: "*"})
        self.hub = AgentHub(keys, clock=self.clock, memory_bytes=memory_bytes)
        self.hub.start()
        order = order_of(**other)
        self.conductor = Conductor(order, self.hub, runs_dir=runs_dir, outputs=outputs, notifier=notifier)
        self.conducting = asyncio.create_task(self.conductor.conduct())
        self._agents: list[FakeAgent] = []

    def agent(self, agent: str, region: str, *, keys: AgentKeys | None = None, pid: int = 1) -> FakeAgent:
        made = FakeAgent(self.hub.address, keys or self.keys, agent, region, pid)
        self._agents.append(made)
        return made

    def pair(self) -> tuple[FakeAgent, FakeAgent]:
        return self.agent("a", "eu"), self.agent("b", "us")

    async def started(self) -> tuple[FakeAgent, FakeAgent]:
        """Two agents past T0."""
        a, b = self.pair()
        await asyncio.gather(a.start(), b.start())
        self.clock.jump(1)
        return a, b

    async def result(self) -> Result:
        async with asyncio.timeout(60):
            return await self.conducting

    async def result_in_time(self, *beating: FakeAgent) -> Result:
        """The result of a run that waits for somebody who does not come: its time passes at once."""
        async with asyncio.timeout(60):
            while not self.conducting.done():
                await lapse(self, STEP_S, *beating)
        return await self.conducting

    async def trouble(self, kind: str) -> None:
        """Until the conductor has counted one of the kind."""
        await until(lambda: self.conductor.rejected_input.get(kind))

    async def close(self) -> None:
        self.conducting.cancel()
        with suppress(asyncio.CancelledError):
            await self.conducting
        await self.hub.close()
        for agent in self._agents:
            await agent.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Callable[..., Play]]:
    made: list[Play] = []

    def make(**other: Any) -> Play:
        made.append(Play(tmp_path, **other))
        return made[-1]

    yield make
    for one in made:
        await one.close()
