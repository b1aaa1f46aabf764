"""Real agents behind a network that is cut again and again, some frozen: every bucket is as they recorded it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.chaos.fleet import RealFleet, real_fleet

Seen = Callable[[str], None]


def ends_well(fleet: RealFleet, seen: Seen) -> None:
    """All of it, once, by the books of all three."""
    fleet.end()
    assert fleet.wrongs() == []
    run = fleet.conducted
    assert {agent["complete"] for agent in run.summary()["agents"]} == {True}
    finished, counts = run.summary()["requests"]["finished"], fleet.net.counts
    assert finished == fleet.planned
    seen(
        f"{finished:,} of {fleet.planned:,} requests, every bucket equal to the agents' own; {counts['cuts']} cuts,"
        f" {counts['flips']} flips, {run.rejected_input()['duplicate']} duplicates refused"
    )


@pytest.mark.fault("F12", "3 real agents, a cut each 0.1 to 0.4 s, one frozen for 1.8 s, flipped bits")
def test_cuts_and_a_freeze_lose_nothing_of_real_agents(tmp_path: Path, seed: int, seen: Seen) -> None:
    agents = {"a1": "a", "a2": "a", "b1": "b"}
    with real_fleet(tmp_path, agents, rate_per_s=150, seconds=7, seed=seed) as fleet:
        fleet.wait_for_load(0.5)
        fleet.net.cutting(0.1, 0.4)
        fleet.agents["a2"].freeze(1.8)
        fleet.net.flip(2)
        ends_well(fleet, seen)
        assert fleet.net.counts["cuts"] >= 5


@pytest.mark.slow
@pytest.mark.fault("F12", "20 real agents, 200 cuts, 4 freezes of 1.8 s")
def test_200_cuts_and_4_freezes_lose_nothing_of_20_real_agents(tmp_path: Path, seed: int, seen: Seen) -> None:
    agents = {f"{region}{n}": region for region in "abcd" for n in range(5)}
    chance = Random(seed)
    with real_fleet(tmp_path, agents, rate_per_s=200, seconds=60, seed=seed) as fleet:
        fleet.wait_for_load(1)
        fleet.net.cutting(0.1, 0.4)
        for _ in range(4):
            time.sleep(8)
            fleet.agents[chance.choice(sorted(agents))].freeze(1.8)
        ends_well(fleet, seen)
        assert fleet.net.counts["cuts"] >= 200
