"""Agents that come and go all the time: each arrival is one agent's, and whose it is changes all the time."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet, wait_until
from tests.support.quiet import undisturbed

Seen = Callable[[str], None]
EVERY_S = 6.0
"""One comes and one goes: 10 of each in a minute."""
LAST_S = 10.0
"""Before the planned end nobody comes any more."""


def names(count: int) -> dict[str, str]:
    """Region by agent: by turns."""
    return {f"{'ab'[n % 2]}{n}": "ab"[n % 2] for n in range(count)}


def takes_part(fleet: RealFleet, agent: str) -> bool:
    return any(event["cause"] == f"{agent} joined" for event in fleet.conducted.events("reassigned"))


def come_and_go(fleet: RealFleet, agents: dict[str, str], began: int, seconds: float) -> tuple[list[str], list[int]]:
    """Who came, and the exit codes of those that went."""
    here, waiting = deque(list(agents)[:began]), deque(list(agents)[began:])
    came: list[str] = []
    going: list[str] = []
    next_s = time.monotonic()
    until_s = time.monotonic() + seconds
    while waiting and max(next_s, time.monotonic()) < until_s:
        time.sleep(max(0.0, next_s - time.monotonic()))
        next_s += EVERY_S
        agent = waiting.popleft()
        fleet.join(agent, agents[agent])
        wait_until(lambda agent=agent: takes_part(fleet, agent), 30, f"{agent} takes part")  # type: ignore[misc]
        came.append(agent)
        here.append(agent)
        going.append(here.popleft())
        fleet.agents[going[-1]].process.send_signal(signal.SIGTERM)
    return came, [fleet.agents[agent].process.wait(60) for agent in going]


def all_the_time(folder: Path, seed: int, seen: Seen, seconds: float) -> None:
    agents, began = names(3 + round(seconds / EVERY_S)), 3
    with (
        undisturbed(),
        real_fleet(folder, agents, rate_per_s=60, seconds=seconds, seed=seed, start=False, wait=began) as fleet,
    ):
        for agent in list(agents)[:began]:
            fleet.join(agent, agents[agent])
        fleet.wait_for_load(1)
        came, codes = come_and_go(fleet, agents, began, seconds - LAST_S)
        fleet.end(seconds + 120)
        wrong, run = fleet.wrongs(), fleet.conducted
        summary, moved = run.summary(), run.events("reassigned")
        left = [event["agent"] for event in run.named("AgentLeaving")]
    assert wrong == []
    assert len(came) >= int((seconds - LAST_S) / EVERY_S)
    assert set(codes) == {0}
    assert sorted(left) == sorted(list(agents)[: len(codes)])
    assert {event["agent"] for event in run.named("AgentLost")} <= set(left), "who has left is not heard any more"
    assert not [note for note in summary["notes"] if "is lost" in note]
    generations = [event["generation"] for event in moved]
    assert generations == list(range(generations[0], generations[0] + 2 * len(came))), "one for each that came or went"
    assert all(abs(sum(event["shares"].values()) - sum(moved[0]["shares"].values())) < 1e-6 for event in moved)
    assert {agent["complete"] for agent in summary["agents"]} == {True}, summary["reasons"]
    assert summary["requests"]["finished"] == fleet.planned
    assert summary["iterations"]["missed"] == summary["iterations"]["cut_off"] == 0
    seen(
        f"{fleet.planned:,} of {fleet.planned:,} requests, every bucket equal, none twice; {len(came)} came and"
        f" {len(codes)} went, {len(moved)} changes of shares; {summary['result']}"
    )


@pytest.mark.slow
@pytest.mark.fault("F25", "10 each minute, for 24 s, real agents")
def test_agents_that_come_and_go_lose_nothing(tmp_path: Path, seed: int, seen: Seen) -> None:
    all_the_time(tmp_path, seed, seen, 24)


@pytest.mark.slow
@pytest.mark.fault("F25", "10 each minute, for 10 minutes, real agents")
def test_100_agents_that_come_and_go_in_10_minutes_lose_nothing(tmp_path: Path, seed: int, seen: Seen) -> None:
    all_the_time(tmp_path, seed, seen, 600)
