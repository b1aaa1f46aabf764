"""Wall clocks that are wrong and are stepped, and monotonic ones of another boot: they change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.fleet import RealFleet, conducted, real_fleet
from tests.support.clocks import monotonic_ahead, wall_clock
from tests.support.quiet import undisturbed

Seen = Callable[[str], None]
AGENTS = {"a1": "a", "b1": "b"}
SKEW_MS = 20


def first_starts_ms(fleet: RealFleet, t0_s: float) -> dict[int, float]:
    """How late the first arrivals, one for each agent, had been served by the target: by its clock."""
    return {arrival: (at - t0_s - arrival / fleet.rate_per_s) * 1e3 for at, arrival in fleet.began()[: len(AGENTS)]}


@pytest.mark.fault("F22", "controller +90 s, agents -90 s and another boot's clock, all stepped by 180 s in the run")
def test_wrong_and_stepped_clocks_change_nothing_but_what_is_written_of_the_time(
    tmp_path: Path, seed: int, seen: Seen
) -> None:
    with (
        wall_clock(tmp_path / "here", 90) as here,
        wall_clock(tmp_path / "there", -90) as there,
        undisturbed(),
        real_fleet(
            tmp_path,
            AGENTS,
            rate_per_s=50,
            seconds=12,
            seed=seed,
            start=False,
            conduct=partial(conducted, inside=here.inside),
        ) as fleet,
    ):
        fleet.join("a1", "a", inside=there.inside)
        fleet.join("b1", "b", inside=(*there.inside, *monotonic_ahead(1_000_000)))
        fleet.wait_for_load(2)
        here.ahead(-90)
        there.ahead(90)
        time.sleep(4)
        here.ahead(90)
        there.ahead(-90)
        fleet.end()
        wrong = fleet.wrongs(ahead_s=90)
        run, summary = fleet.conducted, fleet.conducted.summary()
        t0_s = fleet.t0_s() - 90
        late_ms = first_starts_ms(fleet, t0_s)
    assert wrong == []
    assert run.named("AgentLost") == []
    assert {agent["complete"] for agent in summary["agents"]} == {True}, summary["reasons"]
    assert summary["requests"]["finished"] == fleet.planned
    assert summary["iterations"]["missed"] == summary["iterations"]["cut_off"] == 0
    assert 11 < summary["duration_s"] < 40, "by the monotonic clock"
    assert abs(run.run.stat().st_mtime - t0_s) < 60, "the machine's clock was right all the time"
    skews_ms = [agent["start_skew_ms"] for agent in summary["agents"]]
    assert max(skews_ms) <= SKEW_MS
    assert max(map(abs, late_ms.values())) <= SKEW_MS + 5, "seen from the target, with the request and its log"
    assert max(agent["clock_error_ms"] for agent in summary["agents"]) < SKEW_MS
    seen(
        f"{fleet.planned} of {fleet.planned} requests, every bucket equal; began {min(skews_ms):.1f} to"
        f" {max(skews_ms):.1f} ms after T0, by the target's clock {min(late_ms.values()):.0f} to"
        f" {max(late_ms.values()):.0f} ms; nobody lost"
    )
