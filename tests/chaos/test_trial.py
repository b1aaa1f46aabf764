"""The whole trial in one run: 20 real agents, cuts, freezes, and a controller that is killed again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.chaos.fleet import RealFleet, real_fleet
from tests.chaos.served import Served, served

Seen = Callable[[str], None]
KILLS = FREEZES = 4
FREEZE_S = 1.8


def trouble(fleet: RealFleet, run: Served, chance: Random) -> None:
    """Kills and freezes in an order of chance, some seconds apart."""
    todo = ["kill"] * KILLS + ["freeze"] * FREEZES
    chance.shuffle(todo)
    for what in todo:
        until_s = time.monotonic() + chance.uniform(4, 7)
        while time.monotonic() < until_s:
            run.mend()
            time.sleep(0.1)
        if what == "kill":
            run.kill()
            run.resume()
        else:
            fleet.agents[chance.choice(sorted(fleet.agents))].freeze(FREEZE_S)
        assert not run.is_over, run.said


@pytest.mark.slow
@pytest.mark.fault("F4", "20 real agents: 4 SIGKILLs of the controller, 200 cuts, 4 freezes of 1.8 s, in one run")
def test_kills_cuts_and_freezes_in_one_run_of_20_agents_lose_nothing(tmp_path: Path, seed: int, seen: Seen) -> None:
    agents = {f"{region}{n}": region for region in "abcd" for n in range(5)}
    chance = Random(seed)
    with real_fleet(tmp_path, agents, rate_per_s=120, seconds=100, seed=seed, conduct=served) as fleet:
        run = fleet.conducted
        assert isinstance(run, Served)
        fleet.wait_for_load(1, within_s=240)
        fleet.net.cutting(0.1, 0.4)
        trouble(fleet, run, chance)
        fleet.end(240)
        assert fleet.wrongs() == []
        summary, cuts = run.summary(), fleet.net.counts["cuts"]
        taken_up = run.events("taken up")
        assert len(taken_up) == KILLS + run.crashes
        assert cuts >= 200
        # A controller that was away for longer than a lease has agents stop: exact all the same, and not complete.
        if not run.named("AgentLost") and not run.named("AgentLeaving"):
            assert {agent["complete"] for agent in summary["agents"]} == {True}, summary["reasons"]
            assert summary["requests"]["finished"] == fleet.planned
        away = ", ".join(f"{event['away_s']:.1f}" for event in taken_up)
    seen(
        f"{summary['requests']['finished']:,} of {fleet.planned:,} requests, every bucket equal to the agents' own, as"
        f" many served; {summary['result']}; {KILLS} kills and {run.crashes} crashes of its own, away for {away} s;"
        f" {cuts} cuts, {FREEZES} freezes"
    )
