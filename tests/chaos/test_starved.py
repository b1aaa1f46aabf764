"""Too little CPU, and too little memory: what was measured badly is marked, nobody is given up who lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet
from tests.chaos.sims import sim_run
from tests.support.cgroups import Group, group

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "b1": "b"}
MIB = 2**20


WORKS = "import time; t = time.thread_time; end = t() + 0.006; any(iter(lambda: t() > end, True))"
"""6 ms of CPU an iteration on any machine: 50 a second ask for 30 % of a core, and more with what is around them."""


def starve(small: Group, fleet: RealFleet, agent: str) -> None:
    small.take(*(process.pid for process in fleet.agents[agent].processes()))


@pytest.mark.fault("F23", "20 % of a core for one of two real agents, for 8 s")
def test_seconds_of_an_agent_with_too_little_cpu_are_marked_and_it_is_not_given_up(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    with (
        group() as small,
        real_fleet(tmp_path, AGENTS, rate_per_s=100, seconds=16, seed=seed, body=WORKS) as fleet,
    ):
        fleet.wait_for_load(2)
        starve(small, fleet, "b1")
        small.cpu(0.2)
        began_s = time.time()
        time.sleep(8)
        small.cpu(None)
        fleet.end()
        wrong, run = fleet.wrongs(), fleet.conducted
        summary = run.summary()
        at_s = began_s - fleet.t0_s()
    assert wrong == []
    assert (run.named("AgentLost"), run.events("reassigned")) == ([], [])
    assert {agent["complete"] for agent in summary["agents"]} == {True}, summary["reasons"]
    assert summary["requests"]["finished"] + summary["iterations"]["cut_off"] == fleet.planned
    spans = {agent["id"]: agent["unfit_s"] for agent in summary["agents"]}
    unfit_s = sum(
        min(end, at_s + 8) - max(start, at_s) for start, end in spans["b1"] if end > at_s and start < at_s + 8
    )
    assert unfit_s >= 5, spans
    assert any("b1" in reason for reason in summary["validity"]["reasons"])
    seen(f"{unfit_s:.0f} of 8 s of b1 marked unfit; nobody lost, every bucket equal; {summary['validity']['reasons']}")


@pytest.mark.parametrize(("agents", "seconds"), [(100, 5), pytest.param(500, 30, marks=pytest.mark.slow)])
@pytest.mark.fault("F23", "the controller has 50 % of a core, for 100 or 500 simulated agents")
async def test_a_controller_with_half_a_core_gives_nobody_up(
    tmp_path: Path, seed: int, seen: Seen, agents: int, seconds: int
) -> None:
    with group() as small:
        async with sim_run(tmp_path, agents, seconds, seed) as run:
            await run.sims.running(120)
            small.take(run.conducted.controller.pid)
            small.cpu(0.5)
            await run.end(180)
            assert run.wrongs() == []
            assert run.lost() == []
            assert not any(agent.gave_up for agent in run.sims.agents.values())
            requests = run.conducted.summary()["requests"]["finished"]
    seen(f"{requests:,} of {requests:,} requests of {agents} agents, every bucket equal; nobody lost")


EATS = "row.n < 300 and globals().setdefault('kept', []).append(b'x' * 2**21)"
"""2 MiB an iteration, until who takes the place of the one that was killed for it would be, too."""


@pytest.mark.fault("F24", "the worker of one of two real agents")
def test_a_worker_that_is_killed_for_want_of_memory_is_replaced_and_the_cause_is_told(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    with group() as small, real_fleet(tmp_path, AGENTS, rate_per_s=40, seconds=14, seed=seed, body=EATS) as fleet:
        fleet.wait_for_load(1)
        small.memory(160 * MIB)
        starve(small, fleet, "b1")
        fleet.end()
        wrong, run = fleet.wrongs(died=["b"]), fleet.conducted
        summary = run.summary()
    assert wrong == []
    assert run.named("AgentLost") == []
    (b1,) = [agent for agent in summary["agents"] if agent["id"] == "b1"]
    assert "was killed by SIGKILL: memory ran out" in b1["missing"]
    assert summary["result"] in ("incomplete", "invalid")
    assert any("memory ran out" in reason for reason in summary["reasons"])
    seen(f"{summary['result']}; b1: {b1['missing']}")


@pytest.mark.slow
@pytest.mark.fault("F24", "one of two real agents, whole")
def test_an_agent_that_is_killed_for_want_of_memory_is_given_up_as_any_that_is_silent(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    """The kernel's choice is led to the supervisor; its worker ends with it. Nobody is left who could tell why."""
    with group() as small, real_fleet(tmp_path, AGENTS, rate_per_s=40, seconds=30, seed=seed, body=EATS) as fleet:
        fleet.wait_for_load(1)
        supervisor = fleet.agents["b1"].process
        Path(f"/proc/{supervisor.pid}/oom_score_adj").write_text("1000")
        small.memory(40 * MIB)
        starve(small, fleet, "b1")
        assert supervisor.wait(60) == -9
        killed_s = time.time()
        fleet.end()
        wrong, run = fleet.wrongs(died=["b"]), fleet.conducted
        summary, moved = run.summary(), run.events("reassigned")
        t0_s = fleet.t0_s()
        after = [arrival for at, arrival in fleet.began() if at > killed_s + 12]
    assert wrong == []
    assert [event["agent"] for event in run.named("AgentLost")] == ["b1"]
    assert [event["cause"] for event in moved] == ["b1"]
    moved_s = moved[0]["at_ns"] / 1e9 + t0_s - killed_s
    assert moved_s <= 12
    assert sum(arrival % 2 for arrival in after) > len(after) * 0.4, "its half is driven by the other one"
    (b1,) = [agent for agent in summary["agents"] if agent["id"] == "b1"]
    assert "silent for" in b1["missing"]
    seen(f"share moved from {moved_s:.1f} s on; {summary['result']}; b1: {b1['missing']}")
