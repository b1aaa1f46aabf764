"""Agents whose numbers are false, on the honest wire: whatever they say of themselves, the run is held to its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.units import NS_PER_S
from tests.chaos.sims import RATE_PER_S, sim_run

Seen = Callable[[str], None]
SECONDS = 4
AGENTS = 10


@pytest.mark.fault(
    "F35", "of 10 simulated agents one drives nothing, one a half, one is done after 1 s, one drives more"
)
async def test_agents_that_do_not_drive_their_plan_are_named_with_the_number(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    async with sim_run(tmp_path, AGENTS, SECONDS, seed) as run:
        agents = run.sims.agents
        agents["sim.0"].reports = lambda own: 0
        agents["sim.1"].reports = lambda own: own // 2
        agents["sim.2"].finishes_ns = NS_PER_S
        agents["sim.3"].reports = lambda own: own + 2
        exit_code = await run.end()
        wrong = run.sims.wrongs(run.conducted.run)
        summary = run.conducted.summary()
    told = {agent["id"]: agent for agent in summary["agents"]}
    texts = {agent: one["missing"] for agent, one in told.items() if not one["complete"]}
    assert (exit_code, summary["result"]) == (3, "incomplete")
    assert sorted(texts) == ["sim.0", "sim.1", "sim.2", "sim.3"]
    own = round(RATE_PER_S * SECONDS)  # 26, the plan is dealt evenly
    assert f"{own} of {own} iterations that were due by the plan are missing between 0.0 s and 4.0 s" in texts["sim.0"]
    assert "12 of 26" in texts["sim.1"] or "14 of 26" in texts["sim.1"]  # of 6 or 7 a second 3
    assert "of 26 iterations that were due by the plan are missing between 1.0 s and 4.0 s" in texts["sim.2"]
    assert "34 iterations were started or missed between 0.0 s and 4.0 s" in texts["sim.3"]
    assert "8 iterations more than the plan gives it" in texts["sim.3"]
    # The fourth book comes to the same by itself: all that it finds is the one that drove more.
    assert all(text.startswith("sim.3: 34 started and 0 missed, and the plan gives it 26") for text in wrong), wrong
    seen("; ".join(texts.values()))
