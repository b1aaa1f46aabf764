"""A plan at its allow-list's cap, while agents leave and join: nothing of it is over the cap."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, real_fleet, wait_until

Seen = Callable[[str], None]
_ALLOWED = """
[[allow]]
host = "127.0.0.1"
max_requests_per_s = {cap}
max_duration = "1h"
owner = "the trial"
expires = 2099-12-31
"""


def joined(fleet: RealFleet, agent: str) -> bool:
    """The agent has a share."""
    return any(agent in event["cause"] and "joined" in event["cause"] for event in fleet.conducted.events("reassigned"))


@pytest.mark.quiet
@pytest.mark.fault("F37", "3 real agents at 120/s under a cap of 126/s: one leaves, then another one joins")
def test_a_leave_and_a_late_join_lose_nothing_to_the_cap(tmp_path: Path, seed: int, seen: Seen) -> None:
    (tmp_path / "allow.toml").write_text(_ALLOWED.format(cap=126))
    agents = {"a1": "a", "a2": "a", "b1": "b", "a3": "a"}
    options = ["--allow", str(tmp_path / "allow.toml")]
    with real_fleet(
        tmp_path, agents, rate_per_s=120, seconds=14, seed=seed, options=options, start=False, wait=3
    ) as fleet:
        for agent in ("a1", "a2", "b1"):
            fleet.join(agent, agents[agent])
        fleet.wait_for_load(0.5)
        fleet.join("a3", "a")
        fleet.agents["a2"].process.send_signal(signal.SIGTERM)
        assert fleet.agents["a2"].process.wait(60) == 0
        wait_until(lambda: joined(fleet, "a3") or fleet.conducted.is_over, 60, "a3 has a share")
        fleet.end()
        wrong, summary = fleet.wrongs(), fleet.conducted.summary()
    refused = [row["total"] for row in summary["custom"] if row["name"] == "cap: requests not started"]
    assert wrong == [], "\n".join([*wrong, *map(repr, fleet.conducted.events("reassigned"))])
    assert refused == []
    assert {agent["id"]: agent["complete"] for agent in summary["agents"]} == dict.fromkeys(agents, True), summary[
        "reasons"
    ]
    iterations = summary["iterations"]
    assert iterations["started"] + iterations["missed"] == fleet.planned
    seen(
        f"{iterations['started']:,} of {fleet.planned:,} started, {iterations['missed']} missed, none over the cap;"
        f" {len(fleet.agents)} agents, all complete"
    )
