"""A sweep whose level is saturated ends at the conductor, also one that was killed within the level and taken up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen import arrivals
from loadgen.dsl.plans.spec import JourneySpec, LaneSpec
from loadgen_controller.core.events import Reason
from loadgen_controller.core.lifecycle import Phase
from tests.controller.conftest import JumpingClock, lapse, on_disk
from tests.controller.test_level_stop import S, queue
from tests.controller.test_restore import Restarts
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

EACH, SETTLE = 38, 5


class StillClock(JumpingClock):
    """A clock that stands still between two jumps: on a busy machine, the load would end before the deltas arrive."""

    def __call__(self) -> int:
        return self.ahead_ns


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Restarts]:
    monkeypatch.setattr("tests.controller.test_restore.JumpingClock", StillClock)
    made = Restarts(tmp_path)
    yield made
    await made.close()


def begin(run: Restarts, *rates: str) -> None:
    lowered = arrivals().levels(rates, each=f"{EACH}s", settle=f"{SETTLE}s", stop_when_saturated=True).lower(0)
    journeys = (JourneySpec(name="ask", weight=1.0),)
    lane = LaneSpec(name="", load="", journeys=journeys, profile=lowered.profile, levels=lowered.levels)
    duration_ns = EACH * len(rates) * S
    run.begin(lanes=(lane,), profile=lowered.profile, journeys=journeys, duration_ns=duration_ns, slos=())


async def measured(run: Restarts, use: list[float], first: int, last: int, *agents: FakeAgent) -> None:
    """Let the seconds from `first` to `last` pass, in which these two agents measure a queue and deliver it."""
    deltas = queue(use, agents=2, each=EACH)
    for k in range(first, last):
        await lapse(run, 1, *agents)
        for number, agent in enumerate(agents):
            own = agent.recording
            delta = next(one for one in deltas if (one.agent, one.seq) == (f"a{number}", k))
            own.deltas.append(replace(delta, agent=agent.agent, run_id=own.run_id, epoch=own.epoch))
            await agent.deliver(k)
    merged = [(agent.agent, agent.recording.epoch) for agent in agents]
    await until(lambda: all(run.conductor._merge.next_seq(*one) >= last for one in merged))


@pytest.mark.parametrize("is_killed", [False, True])
async def test_the_run_ends_after_the_saturated_level_with_its_reason(run: Restarts, is_killed: bool) -> None:
    begin(run, "12/s", "16/s")
    a, b = await run.started()
    await measured(run, [1.5, 2.0], 0, 20, a, b)
    if is_killed:
        await on_disk(run)
        await until(lambda: min(a.acked, b.acked) >= 19)
        await run.kill()
        await run.take_up()
        await run.back(a, b)
    await measured(run, [1.5, 2.0], 20, EACH, a, b)
    assert not run.conductor.run.ends or run.conductor.run.phase is Phase.DRAINING
    await lapse(run, 1, a, b)
    stop = await a.stopped()
    assert "level 12/s is saturated" in stop.reason
    assert [end.reason for end in run.conductor.run.ends] == [Reason.SATURATED]
    assert (run.conductor._record.load_ended_ns or 0) >= EACH * S


async def test_the_run_goes_on_after_a_level_that_the_service_holds(run: Restarts) -> None:
    begin(run, "4/s", "5/s")
    a, b = await run.started()
    await measured(run, [0.5, 0.6], 0, EACH + 2, a, b)
    assert (run.conductor.run.phase, run.conductor.run.ends) == (Phase.RUNNING, ())
