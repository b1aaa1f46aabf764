"""Agents on hosts of their own whose way to the controller breaks, one way or both, or loses packets."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet
from tests.support.hosts import hosts

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "b1": "b"}


def exact(fleet: RealFleet, seen: Seen) -> None:
    fleet.end()
    assert fleet.wrongs() == []
    run = fleet.conducted
    assert run.named("AgentLost") == []
    assert {agent["complete"] for agent in run.summary()["agents"]} == {True}
    assert run.summary()["requests"]["finished"] == fleet.planned
    refused = run.rejected_input()
    seen(
        f"{fleet.planned} of {fleet.planned} requests, every bucket equal, nobody lost; {refused['duplicate']}"
        f" duplicates and {refused['gap']} gaps refused"
    )


@pytest.mark.fault("F7", "one agent's link down for 5 s")
@pytest.mark.fault("F10", "10 % of the other's packets, each way")
def test_5_s_of_partition_and_10_percent_loss_lose_nothing(tmp_path: Path, seed: int, seen: Seen) -> None:
    with (
        hosts(*AGENTS) as network,
        real_fleet(tmp_path, AGENTS, rate_per_s=60, seconds=12, seed=seed, network=network) as fleet,
    ):
        network["a1"].lose(0.1)
        fleet.wait_for_load(1)
        network["b1"].cut()
        time.sleep(5)
        network["b1"].heal()
        exact(fleet, seen)


def last_start_s(fleet: RealFleet, agent: str, after_s: float) -> float:
    """How long after the instant the agent's last arrival was begun: the odd arrivals are the second agent's.

    From when it is given up others drive them.
    """
    (lost,) = [event for event in fleet.conducted.events("event") if event["name"] == "AgentLost"]
    until_s = datetime.fromisoformat(lost["at"]).timestamp()
    index = list(AGENTS).index(agent)
    own = [at for at, arrival in fleet.began() if arrival % len(AGENTS) == index and at < until_s]
    return max(own, default=after_s) - after_s


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "mute", "deaf"])
@pytest.mark.fault("F8", "one agent, for good: link down, cannot speak, or cannot hear")
def test_an_agent_without_an_answer_stops_by_its_lease(tmp_path: Path, how: str, seed: int, seen: Seen) -> None:
    with (
        hosts(*AGENTS) as network,
        real_fleet(tmp_path, AGENTS, rate_per_s=60, seconds=25, seed=seed, network=network) as fleet,
    ):
        fleet.wait_for_load(2)
        broken_s = time.time()
        getattr(network["b1"], how)()
        fleet.end()
        stopped_s = last_start_s(fleet, "b1", broken_s)
        wrong = fleet.wrongs(died=["b"])
        run = fleet.conducted
    assert wrong == []
    assert stopped_s <= 9
    assert [event["agent"] for event in run.named("AgentLost")] == ["b1"]
    seen(
        f"the last request {stopped_s:.1f} s after the break; {run.summary()['result']}, b1: {run.summary()['reasons']}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
@pytest.mark.fault("F10", "1, 10 or 30 % of all packets, each way")
def test_lost_packets_lose_nothing(tmp_path: Path, loss: float, seed: int, seen: Seen) -> None:
    with (
        hosts(*AGENTS) as network,
        real_fleet(tmp_path, AGENTS, rate_per_s=60, seconds=20, seed=seed, network=network) as fleet,
    ):
        fleet.wait_for_load(1)
        for agent in AGENTS:
            network[agent].lose(loss)
        exact(fleet, seen)
