"""A partition of more than one agent: a whole region, or everybody; shorter than a lease, and longer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loadgen.units import NS_PER_S
from tests.chaos.fleet import RealFleet, real_fleet
from tests.support.history import History
from tests.support.hosts import Network, hosts

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "b1": "b", "b2": "b"}
REGION = ("b1", "b2")
LEASE_S = 8.0


def part(network: Network, agents: Sequence[str], seconds: float) -> float:
    """Between these and the controller, for so long; when it began, Unix time."""
    began_s = time.time()
    for agent in agents:
        network[agent].cut()
    time.sleep(seconds)
    for agent in agents:
        network[agent].heal()
    return began_s


def last_begun_s(history: History, agent: str) -> float:
    """The end of the last interval in which it began something, from T0."""
    own = [delta.end_ns for _, delta in history.deltas if delta.agent == agent and delta.counters.iterations_started]
    return max(own) / NS_PER_S


def assert_incomplete(summary: Mapping[str, Any]) -> None:
    """It is said, whatever else is, and the run has not passed."""
    assert summary["result"] in ("incomplete", "invalid", "error")
    assert any("no data from" in reason for reason in summary["reasons"]), summary["reasons"]


def lost(fleet: RealFleet) -> list[str]:
    return sorted(event["agent"] for event in fleet.conducted.named("AgentLost"))


@pytest.mark.fault("F7", "a region for 5 s, and then everybody for 5 s")
def test_5_s_without_a_region_and_then_without_anybody_move_and_lose_nothing(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    with (
        hosts(*AGENTS) as network,
        real_fleet(tmp_path, AGENTS, rate_per_s=60, seconds=15, seed=seed, network=network) as fleet,
    ):
        fleet.wait_for_load(1)
        part(network, REGION, 5)
        time.sleep(2)
        part(network, tuple(AGENTS), 5)
        fleet.end()
        assert fleet.wrongs() == []
        run = fleet.conducted
        assert (lost(fleet), run.events("reassigned")) == ([], [])
        assert {agent["complete"] for agent in run.summary()["agents"]} == {True}
        assert run.summary()["requests"]["finished"] == fleet.planned
    seen(f"{fleet.planned} of {fleet.planned} requests, every bucket equal; nobody lost, no share moved")


def without_a_region(folder: Path, seed: int, seen: Seen, parted_s: float, seconds: float) -> None:
    """Longer than it takes to give it up: the others have its share, and what it had measured comes afterwards."""
    with (
        hosts(*AGENTS) as network,
        real_fleet(folder, AGENTS, rate_per_s=60, seconds=seconds, seed=seed, network=network) as fleet,
    ):
        fleet.wait_for_load(2)
        began_s = part(network, REGION, parted_s)
        fleet.end()
        assert fleet.wrongs() == [], "never above 102 % of the plan, nothing twice, every bucket equal"
        run, history = fleet.conducted, fleet.conducted.history()
        summary, moved = run.summary(), run.events("reassigned")
        after_s = began_s - fleet.t0_s()
        stopped_s = {agent: last_begun_s(history, agent) - after_s for agent in REGION}
        begun = [arrival for at, arrival in fleet.began() if at > began_s + 14]
    assert lost(fleet) == list(REGION)
    assert {agent for event in moved for agent in event["cause"].split(", ")} == set(REGION)
    assert moved[-1]["at_ns"] / NS_PER_S <= after_s + 12
    assert all(1 < stopped <= LEASE_S + 2 for stopped in stopped_s.values()), "by their lease, and the interval's end"
    assert len(begun) >= (seconds - after_s - 14) * 60 * 0.95, "all of the load is driven again"
    data = {agent["id"]: agent for agent in summary["agents"]}
    assert all(data[agent]["requests"] > 0 for agent in REGION)
    assert run.named("AgentReturned"), "it has come back"
    assert {event["agent"] for event in run.events("fin")} == set(AGENTS), "and has told all that it had"
    ends = ", ".join(f"{agent} at {at:.0f} s" for agent, at in stopped_s.items())
    seen(
        f"{summary['requests']['finished']:,} of {fleet.planned:,} requests, every bucket equal, none twice; after the"
        f" break began nothing more: {ends}; share moved from {moved[-1]['at_ns'] / NS_PER_S - after_s:.1f} s on;"
        f" {summary['result']}: " + "; ".join(agent["missing"] for agent in data.values() if agent["missing"])
    )


@pytest.mark.slow
@pytest.mark.fault("F7", "a region for 14 s")
def test_the_share_of_a_region_that_is_away_is_driven_by_the_others(tmp_path: Path, seed: int, seen: Seen) -> None:
    without_a_region(tmp_path, seed, seen, parted_s=14, seconds=24)


@pytest.mark.slow
@pytest.mark.fault("F7", "a region for 60 s")
def test_a_region_that_was_away_for_a_minute_tells_all_that_it_had(tmp_path: Path, seed: int, seen: Seen) -> None:
    without_a_region(tmp_path, seed, seen, parted_s=60, seconds=85)


@pytest.mark.slow
@pytest.mark.fault("F7", "everybody for 14 s")
def test_agents_that_all_stopped_without_a_controller_tell_what_they_had(tmp_path: Path, seed: int, seen: Seen) -> None:
    without_anybody(tmp_path, seed, seen, parted_s=14, seconds=60)


@pytest.mark.slow
@pytest.mark.fault("F7", "everybody for 60 s")
def test_agents_that_were_all_away_for_a_minute_tell_what_they_had(tmp_path: Path, seed: int, seen: Seen) -> None:
    without_anybody(tmp_path, seed, seen, parted_s=60, seconds=100)


def without_anybody(folder: Path, seed: int, seen: Seen, parted_s: float, seconds: int) -> None:
    with (
        hosts(*AGENTS) as network,
        real_fleet(folder, AGENTS, rate_per_s=60, seconds=seconds, seed=seed, network=network) as fleet,
    ):
        fleet.wait_for_load(2)
        began_s = part(network, tuple(AGENTS), parted_s)
        fleet.end()
        assert fleet.wrongs() == []
        run, history = fleet.conducted, fleet.conducted.history()
        summary = run.summary()
        after_s = began_s - fleet.t0_s()
        stopped_s = {agent: last_begun_s(history, agent) - after_s for agent in AGENTS}
    assert lost(fleet) == sorted(AGENTS)
    assert all(1 < stopped <= LEASE_S + 2 for stopped in stopped_s.values()), stopped_s
    assert {event["agent"] for event in run.events("fin")} == set(AGENTS), "all came back and told what they had"
    assert_incomplete(summary)
    seen(
        f"{summary['requests']['finished']:,} requests until all had stopped by themselves"
        f" ({max(stopped_s.values()):.0f} s after the break), every bucket equal; {summary['result']}:"
        f" {'; '.join(agent['missing'] for agent in summary['agents'])}"
    )
