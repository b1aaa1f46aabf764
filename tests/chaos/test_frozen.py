"""Whoever stands still for 5 s moves nothing: nobody is given up, no load moved, nothing lost or begun twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "b1": "b"}


def stand_still(fleet: RealFleet, seconds: float) -> tuple[float, float]:
    """SIGSTOP to the controller; from when to when, Unix time."""
    process = fleet.conducted.controller
    process.send_signal(signal.SIGSTOP)
    began_s = time.time()
    time.sleep(seconds)
    ended_s = time.time()
    process.send_signal(signal.SIGCONT)
    return began_s, ended_s


@pytest.mark.fault("F5", "for 5 s, real agents")
@pytest.mark.fault("F2", "for 5 s, real agents")
def test_a_controller_and_then_an_agent_that_stand_still_for_5_s(tmp_path: Path, seed: int, seen: Seen) -> None:
    with real_fleet(tmp_path, AGENTS, rate_per_s=50, seconds=14, seed=seed) as fleet:
        fleet.wait_for_load(1)
        began_s, ended_s = stand_still(fleet, 5)
        meanwhile = [arrival for at, arrival in fleet.began() if began_s <= at <= ended_s]
        time.sleep(1)
        fleet.agents["b1"].freeze(5)
        fleet.end()
        assert fleet.wrongs() == []
        run = fleet.conducted
        assert run.named("AgentLost") == []
        assert {agent["complete"] for agent in run.summary()["agents"]} == {True}
        assert run.summary()["requests"]["finished"] == fleet.planned
    assert len(meanwhile) >= 5 * 50 * 0.8
    seen(
        f"{len(meanwhile)} of {5 * 50} arrivals were begun while the controller stood still; "
        f"{fleet.planned} of {fleet.planned} in all, every bucket equal, none begun twice, nobody lost"
    )
