"""Settings of one load, and the numbers of users: the same on any number of agents."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from tests.support.scenarios import write

pytestmark = pytest.mark.quiet

MS = 1_000_000

NUMBERS = """
from loadgen import Load, Plan, User, arrivals, iterations, journey, per_load, users

depth = per_load("depth", int, default=3)
seen = []

@journey
async def one(user: User) -> None:
    told = user.load.name, user.arrival, user.number, user.iteration, user.setting(depth), user.random.random()
    seen.append(told)  # loadgen: allow
    await user.http.get("/")
    await user.think(0.02)

plan = Plan(target="http://127.0.0.1:1", seed=7, loads=[
    Load(one, arrivals("100/s").hold("200ms"), name="open"),
    Load(one, iterations(per_user=3, users=4), name="counted", params={depth: 8}),
    Load(one, users(4).hold("600ms"), name="closed"),
])
"""


async def seen_by(scenario: Scenario, shares: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What all iterations of all shares of the plan saw, sorted."""
    drives = [Drive(scenario, seed=7, interval_ns=100 * MS, emit=lambda _: None, **share) for share in shares]
    t0_ns = perf_counter_ns() + 200 * MS
    seen: list[tuple[Any, ...]] = scenario.journeys[0].fn.__globals__["seen"]
    seen.clear()
    await asyncio.gather(*(drive.run(t0_ns) for drive in drives))
    return sorted(seen)


async def test_numbers_of_users_are_the_same_on_any_number_of_agents(tmp_path: Path) -> None:
    async with serve(TargetConfig(latency=False)) as shop:
        scenario = load(write(tmp_path, NUMBERS), overrides=Overrides(target=shop.url, params={"depth": "5"}))
        alone = await seen_by(scenario, [{}])
        splits = [
            [{"index": i, "weights": [1.0, 2.0]} for i in range(2)],
            [{"index": 0, "weights": [1.0], "worker": i, "workers": 3} for i in range(3)],
        ]
        for shares in splits:
            split = await seen_by(scenario, shares)
            # The target decides how many iterations a closed load has, but not their numbers.
            for name in ("open", "counted"):
                assert [one for one in split if one[0] == name] == [one for one in alone if one[0] == name]
            both = {one[:5] for one in alone} & {one[:5] for one in split if one[0] == "closed"}
            assert {one[2] for one in both} == set(range(4))
    open_, counted, closed = ([one[1:5] for one in alone if one[0] == name] for name in ("open", "counted", "closed"))
    assert open_ == [(n, n, 0, 5) for n in range(20)]
    assert counted == [(n, n, 0, 8) for n in range(12)]
    assert all(arrival == (number << 32) + i and setting == 5 for arrival, number, i, setting in closed)
    assert {(number, i) for _, number, i, _ in closed} >= {(number, i) for number in range(4) for i in range(2)}


DRAIN = """
from loadgen import Http, Load, Plan, User, journey, users

@journey
async def slow(user: User) -> None:
    await user.http.get("/")
    await user.think(60)

@journey
async def quick(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", drain="20s", loads=[
    Load(slow, users(2).hold("100ms"), name="slow", drain="100ms"),
    Load(quick, users(1).hold("400ms"), name="quick", connections="fresh", http=Http(phases=True)),
])
"""


async def test_a_load_has_a_drain_and_connections_of_its_own(tmp_path: Path) -> None:
    deltas: list[Delta] = []
    async with serve(TargetConfig(latency=False)) as shop:
        scenario = load(write(tmp_path, DRAIN), overrides=Overrides(target=shop.url))
        drive = Drive(scenario, seed=7, interval_ns=100 * MS, emit=deltas.append)
        totals = await asyncio.wait_for(drive.run(perf_counter_ns() + 20 * MS), 15)  # the plan's drain is longer
    assert totals.counters.iterations_cut_off == 2
    keys = [key for delta in deltas for key in delta.new_series]
    counted = {
        (dict(key.tags)["load"], key.metric): sum(one.n for delta in deltas for one in delta.stats if one.series == n)
        for n, key in enumerate(keys)
        if key.kind == "request"
    }
    assert counted["quick", "connect"] == counted["quick", "response"] > 1
    assert counted["quick", "wait"] == counted["quick", "response"]
    assert ("slow", "wait") not in counted
