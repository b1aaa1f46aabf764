"""Silences that are longer than the lease: the load ends by itself, and nothing that was measured is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "b1": "b"}
LEASE_S = 8.0


def silent_s(fleet: RealFleet, from_s: float, until_s: float) -> float:
    """How long after `from_s` the last arrival before `until_s` was begun."""
    return max(at for at, _ in fleet.began() if at <= until_s) - from_s


@pytest.mark.slow
@pytest.mark.fault("F5", "for 20 s, real agents")
def test_agents_stop_by_themselves_while_the_controller_stands_still(tmp_path: Path, seed: int, seen: Seen) -> None:
    with real_fleet(tmp_path, AGENTS, rate_per_s=50, seconds=60, seed=seed) as fleet:
        fleet.wait_for_load(2)
        fleet.conducted.controller.send_signal(signal.SIGSTOP)
        frozen_s = time.time()
        time.sleep(20)
        fleet.conducted.controller.send_signal(signal.SIGCONT)
        awake_s = time.time()
        fleet.end()
        stopped_s = silent_s(fleet, frozen_s, awake_s)
        wrong = fleet.wrongs()
        run = fleet.conducted
        lost = [event["agent"] for event in run.named("AgentLost")]
        summary = run.summary()
    assert wrong == []
    assert LEASE_S - 2 <= stopped_s <= LEASE_S + 1
    assert lost == []
    seen(f"the last request {stopped_s:.1f} s after it stood still; nobody lost; {summary['result']}, counts equal")


@pytest.mark.slow
@pytest.mark.fault("F1", "one of two real agents, SIGKILL")
def test_a_killed_agent_is_given_up_and_what_it_told_is_kept(tmp_path: Path, seed: int, seen: Seen) -> None:
    with real_fleet(tmp_path, AGENTS, rate_per_s=50, seconds=25, seed=seed) as fleet:
        fleet.wait_for_load(3)
        fleet.agents["b1"].kill()
        killed_s = time.time()
        fleet.end()
        wrong = fleet.wrongs(died=["b"])
        after = [arrival for at, arrival in fleet.began() if at > killed_s + 12]
        run = fleet.conducted
        lost = [event["agent"] for event in run.named("AgentLost")]
        summary = run.summary()
    assert wrong == []
    assert lost == ["b1"]
    odd, even = sum(arrival % 2 for arrival in after), sum(1 - arrival % 2 for arrival in after)
    seen(
        f"from 12 s on {even} arrivals of the first half and {odd} of the second; {summary['result']}: "
        + "; ".join(agent["missing"] for agent in summary["agents"] if agent["missing"])
    )


@pytest.mark.slow
@pytest.mark.fault("F2", "for 30 s, one of two real agents")
def test_an_agent_that_stood_still_for_30_s_begins_nothing_more_and_tells_what_it_had(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    with real_fleet(tmp_path, AGENTS, rate_per_s=50, seconds=45, seed=seed) as fleet:
        fleet.wait_for_load(2)
        frozen_s = time.time()
        fleet.agents["b1"].freeze(30)
        awake_s = time.time()
        fleet.end()
        wrong, began, run = fleet.wrongs(), fleet.began(), fleet.conducted
        summary, moved = run.summary(), run.events("reassigned")
        lost = [event["agent"] for event in run.named("AgentLost")]
    assert wrong == []
    assert lost == ["b1"]
    assert [event["cause"] for event in moved] == ["b1"]
    own = sum(arrival % 2 for at, arrival in began if at < frozen_s + 1)  # the odd ones are its
    (b1,) = [agent for agent in summary["agents"] if agent["id"] == "b1"]
    assert 0 < b1["requests"] <= own, "nothing was begun when it woke"
    later = [arrival for at, arrival in began if at > frozen_s + 14]
    assert sum(arrival % 2 for arrival in later) > len(later) * 0.4, "its half is driven by the other one"
    seen(
        f"{len(began):,} of {fleet.planned:,} arrivals, none twice; {b1['requests']} of b1, all before it stood still;"
        f" it woke after {awake_s - frozen_s:.0f} s; {summary['result']}: "
        + "; ".join(agent["missing"] for agent in summary["agents"] if agent["missing"])
    )
