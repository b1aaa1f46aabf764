"""Agents that are told to leave while the load goes on: what they began they end, and what comes is the others'."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "a2": "a", "b1": "b"}


def told_to_leave(fleet: RealFleet, agent: str) -> int:
    """The exit code of the agent."""
    process = fleet.agents[agent].process
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


@pytest.mark.slow
@pytest.mark.fault("F26", "SIGTERM to one of 3 real agents, then to another one; iterations of 1.5 s in flight")
def test_agents_that_leave_lose_nothing_and_the_run_is_complete(tmp_path: Path, seed: int, seen: Seen) -> None:
    body = "await user.think(1.5)"
    with real_fleet(tmp_path, AGENTS, rate_per_s=40, seconds=25, seed=seed, body=body) as fleet:
        fleet.wait_for_load(2)
        codes = [told_to_leave(fleet, agent) for agent in ("a2", "b1")]
        fleet.end()
        wrong, run = fleet.wrongs(), fleet.conducted
        summary = run.summary()
        moved = [event["at_ns"] / 1e9 for event in run.events("reassigned")]
        left = {event["agent"]: event["at_ns"] / 1e9 for event in run.named("AgentLeaving")}
    assert codes == [0, 0]
    assert wrong == []
    assert moved == list(left.values()), "from the very instant that they had named"
    assert {agent["complete"] for agent in summary["agents"]} == {True}, summary["reasons"]
    assert summary["requests"]["finished"] == fleet.planned
    assert summary["iterations"]["missed"] == summary["iterations"]["cut_off"] == 0
    seen(
        f"{summary['requests']['finished']:,} of {fleet.planned:,} requests, every bucket equal, none twice;"
        f" {', '.join(left)} left at {', '.join(f'{at:.2f} s' for at in left.values())}; {summary['result']}"
    )
