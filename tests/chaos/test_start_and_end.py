"""All agents start at one instant, and a run ends when it should, whoever stands still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from loadgen.measure.run_folder.rundir import RunDir
from loadgen_controller.control.control_request import ControlRequest
from loadgen_controller.control.unix_socket import ask, going
from tests.chaos.fleet import real_fleet, wait_until
from tests.chaos.sims import SimRun, sim_run
from tests.support.chaos_proxy import chaos_proxy
from tests.support.quiet import in_a_quiet_moment, undisturbed

Seen = Callable[[str], None]
SKEW_MS = 20


@pytest.mark.fault("G9", "6 real agents, one of them 150 ms away")
@in_a_quiet_moment
def test_the_first_iteration_of_every_agent_is_begun_within_20_ms_and_a_bad_clock_is_named(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    agents = {f"{region}{n}": region for region in "ab" for n in range(3)}
    with (
        undisturbed(),
        real_fleet(tmp_path, agents, rate_per_s=60, seconds=3, seed=seed, start=False) as fleet,
        chaos_proxy(fleet.conducted.address, seed) as far,
    ):
        far.latency(0.15)
        for agent, region in agents.items():
            if agent == "b2":  # the start of the others is no part of its line
                wait_until(lambda: len(fleet.conducted.named("AgentJoined")) == 5, 60, "5 agents are there")
            fleet.join(agent, region, far.address if agent == "b2" else None)
        fleet.end()
        wrong, run, summary = fleet.wrongs(), fleet.conducted, fleet.conducted.summary()
        first = sorted(fleet.began(), key=lambda one: one[1])[: len(agents)]
        late_ms = [(at - fleet.t0_s() - arrival / fleet.rate_per_s) * 1e3 for at, arrival in first]
    assert wrong == []
    told = {agent["id"]: agent for agent in summary["agents"]}
    skews_ms = [agent["start_skew_ms"] for agent in told.values()]
    assert max(skews_ms) <= SKEW_MS
    errors_ms = {agent: told[agent]["clock_error_ms"] for agent in agents}
    far_ms = errors_ms.pop("b2")
    off = [late for late in late_ms if not -1 <= late <= SKEW_MS + 5]  # with the request, and its log in whole ms
    assert len(off) <= 1, f"seen from the target: {late_ms}"
    assert all(abs(late) <= far_ms + SKEW_MS for late in off), "the far one by what its clock is off"
    assert 150 <= far_ms < 1_000
    assert max(errors_ms.values()) < SKEW_MS
    (note,) = [note for note in summary["notes"] if note.startswith("the clock of agent")]
    assert note.startswith("the clock of agent b2 may differ")
    seen(
        f"began {min(skews_ms):.1f} to {max(skews_ms):.1f} ms after T0; the first of each served by the target"
        f" {min(late_ms):.0f} to {max(late_ms):.0f} ms after it was due; {note!r}; {len(run.named('AgentLost'))} lost"
    )


def planned_end_s(run: SimRun, seconds: int) -> float:
    return datetime.fromisoformat(run.conducted.summary()["started_at"]).timestamp() + seconds


def sealed_s(run: SimRun) -> float:
    return RunDir(run.conducted.run).summary_path.stat().st_mtime


async def ended_as_planned(run: SimRun, seconds: int) -> float:
    """The time from the planned end until the run's process is gone."""
    await run.end(seconds + 180)
    over_s = time.time() - planned_end_s(run, seconds)
    assert run.wrongs() == []
    return over_s


async def stopped(run: SimRun) -> float:
    """The time from the stop until the run's process is gone."""
    await run.sims.running(120)
    await asyncio.sleep(3)
    found = going(None, run.conducted.folder / "runs")
    told_s = time.monotonic()
    await asyncio.to_thread(ask, found, ControlRequest(run_id=found.run_id, do="stop"))
    await run.end(180)
    over_s = time.monotonic() - told_s
    assert run.wrongs() == []
    return over_s


@pytest.mark.parametrize("agents", [100, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.fault("G10", "the planned end, 100 or 1,000 simulated agents")
async def test_a_run_is_over_5_s_after_its_planned_end(tmp_path: Path, seed: int, seen: Seen, agents: int) -> None:
    with undisturbed():
        async with sim_run(tmp_path, agents, 5, seed) as run:
            over_s = await ended_as_planned(run, 5)
        seen(f"{agents:,} agents, all complete: over {over_s:.1f} s after the planned end")
    assert over_s <= 5


@pytest.mark.parametrize("agents", [100, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.fault("G10", "a stop, 100 or 1,000 simulated agents")
async def test_a_run_is_over_5_s_after_a_stop(tmp_path: Path, seed: int, seen: Seen, agents: int) -> None:
    with undisturbed():
        async with sim_run(tmp_path, agents, None, seed) as run:
            over_s = await stopped(run)
        seen(f"{agents:,} agents, all complete: over {over_s:.1f} s after the stop")
    assert over_s <= 5


@pytest.mark.slow
@pytest.mark.parametrize("agents", [20, 1_000])
@pytest.mark.fault("G10", "a tenth of 20 or 1,000 agents stand still at the end, for good")
async def test_a_run_ends_although_agents_stand_still_for_good(
    tmp_path: Path, seed: int, seen: Seen, agents: int
) -> None:
    async with sim_run(tmp_path, agents, 5, seed) as run:
        await run.sims.running(120)
        await asyncio.sleep(3)
        frozen = list(run.sims.agents)[: agents // 10]
        for agent in frozen:
            run.sims.agents[agent].freeze(600)
        await run.end(180)
        over_s = sealed_s(run) - planned_end_s(run, 5)
        summary = run.conducted.summary()
        lacking = sorted(agent["id"] for agent in summary["agents"] if not agent["complete"])
    assert over_s <= 60
    assert lacking == sorted(frozen), "and who is frozen is named, and nobody else"
    assert summary["result"] == "incomplete"
    seen(f"sealed {over_s:.0f} s after the planned end; {len(lacking)} of {agents:,} named as incomplete")


@pytest.mark.slow
@pytest.mark.fault("G10", "2 of 20 agents live on and never say that they have ended")
async def test_a_run_ends_60_s_after_its_planned_end_although_agents_never_do(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    async with sim_run(tmp_path, 20, 5, seed) as run:
        await run.sims.running(120)
        endless = list(run.sims.agents)[:2]
        for agent in endless:
            run.sims.agents[agent].is_endless = True
        await run.end(180)
        over_s = sealed_s(run) - planned_end_s(run, 5)
        summary = run.conducted.summary()
        lacking = sorted(agent["id"] for agent in summary["agents"] if not agent["complete"])
    assert over_s <= 61, "and the second in which it is written"
    assert lacking == sorted(endless)
    seen(f"sealed {over_s:.0f} s after the planned end; {', '.join(lacking)} named; {'; '.join(summary['reasons'])}")
