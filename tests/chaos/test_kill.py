"""A stop at once reaches every agent that can be reached, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Literal

import numpy as np
import pytest

from loadgen.units import NS_PER_MS
from loadgen_controller.control.control_request import ControlRequest
from loadgen_controller.control.unix_socket import ask, going
from tests.chaos.sims import SimRun, sim_run
from tests.support.wire import until

Seen = Callable[[str], None]


async def killed(run: SimRun, frozen: int, do: Literal["stop", "kill"] = "stop") -> list[float]:
    """Freeze so many, tell the run to stop at once or kill it: how long each of the others still had load, ms."""
    await run.sims.running(120)
    await asyncio.sleep(1)
    agents = list(run.sims.agents.values())
    for agent in agents[:frozen]:
        agent.freeze(4)
    found = going(None, run.conducted.folder / "runs")
    told_ns = perf_counter_ns()
    await asyncio.to_thread(ask, found, ControlRequest(run_id=found.run_id, do=do, now=do == "stop"))
    others = agents[frozen:]
    await until(lambda: all(agent.stopped_ns is not None for agent in others), 30)
    took = [(agent.stopped_ns - told_ns) / NS_PER_MS for agent in others if agent.stopped_ns is not None]
    await run.end(180)
    return took


def figures(took_ms: list[float]) -> str:
    p50, p99, most = np.percentile(took_ms, [50, 99, 100])
    return f"{len(took_ms):,} agents without load after p50 {p50:.0f}, p99 {p99:.0f}, p100 {most:.0f} ms"


@pytest.mark.fault("F30", "stop --now, 100 agents, 10 frozen for 4 s")
async def test_a_stop_at_once_ends_the_load_of_all_that_can_be_reached(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, 100, None, seed) as run:
        seen(figures(await killed(run, frozen=10)))
        assert all(not agent.has_load for agent in run.sims.agents.values())
        assert run.sims.wrongs(run.conducted.run) == []
        assert run.lost() == []


@pytest.mark.slow
@pytest.mark.fault("F30", "stop --now, 1,000 agents, 100 frozen for 4 s")
async def test_1000_agents_have_no_load_a_second_after_they_were_told(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, 1_000, None, seed) as run:
        took_ms = await killed(run, frozen=100)
        seen(figures(took_ms))
        assert run.sims.wrongs(run.conducted.run) == []
    assert np.percentile(took_ms, 99) < 1_000
    assert max(took_ms) < 3_000


@pytest.mark.slow
@pytest.mark.fault("F30", "kill, 1,000 agents, 100 frozen for 4 s")
async def test_1000_agents_have_no_load_a_second_after_the_run_was_killed(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    """G20, from the instant at which the command asks the controller."""
    async with sim_run(tmp_path, 1_000, None, seed) as run:
        took_ms = await killed(run, frozen=100, do="kill")
        seen(figures(took_ms))
        assert run.sims.wrongs(run.conducted.run) == []
        assert any("killed" in reason for reason in run.conducted.summary()["reasons"])
    assert len(took_ms) == 900
    assert np.percentile(took_ms, 99) < 1_000
    assert max(took_ms) < 3_000
