"""Levels of a load, driven by one to three agents: every iteration and request is in exactly one level."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import ScenarioError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import Kind, SeriesKey, Tags
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from tests.support.scenarios import write

pytestmark = pytest.mark.quiet

MS = 1_000_000
HEAD = """
from loadgen import Load, Plan, User, arrivals, journey, p, tag, users

tenant = tag("tenant", "gold", "free")

@journey
async def shop(user: User) -> None:
    user.tag(tenant, "gold")
    await user.http.get("/", name="home")
    await user.pause(0.01)
"""
OPEN = (
    HEAD.replace("    await user.pause(0.01)\n", "")
    + """
plan = Plan(target="http://127.0.0.1:1", mix=shop, tags=[tenant], load=arrivals().ramp(to="50/s", over="200ms")
    .levels(["50/s", "100/s"], each="400ms", settle="100ms"), slos=[p(95, tags={"level": "100/s"}) < "10s"])
"""
)
CLOSED = (
    HEAD.replace("user.pause(0.01)", "user.think(0.01, 0.02)")
    + """
plan = Plan(target="http://127.0.0.1:1", mix=shop, tags=[tenant],
    load=users().levels([1, 3], each="400ms", settle="100ms"))
"""
)


async def driven(folder: Path, text: str, agents: int) -> list[list[Delta]]:
    found: list[list[Delta]] = [[] for _ in range(agents)]
    async with serve(TargetConfig(latency=False)) as shop:
        scenario = load(write(folder, text), "plan", overrides=Overrides(target=shop.url))
        t0_ns = perf_counter_ns() + 50 * MS
        shares = [
            Drive(scenario, index=k, weights=(1.0,) * agents, seed=7, interval_ns=100 * MS, emit=found[k].append)
            for k in range(agents)
        ]
        await asyncio.gather(*[one.run(t0_ns) for one in shares])
    return found


def counts(of_agents: list[list[Delta]], kind: Kind) -> Counter[Tags]:
    found = Counter[Tags]()
    for deltas in of_agents:
        keys: list[SeriesKey] = []
        for delta in deltas:
            keys += delta.new_series
            for one in delta.stats:
                key = keys[one.series]
                if key.kind == kind and key.metric == "response":
                    found[key.tags] += one.n
    return found


GOLD = ("tenant", "gold")


@pytest.mark.parametrize("agents", [1, 2, 3])
async def test_arrivals_are_split_exactly_by_their_due_times(tmp_path: Path, agents: int) -> None:
    found = await driven(tmp_path, OPEN, agents)
    expected = {
        (GOLD,): 5,  # the ramp: it has no level
        (GOLD, ("level", "settling")): 5 + 10,
        (GOLD, ("level", "50/s")): 15,
        (GOLD, ("level", "100/s")): 30,
    }
    assert counts(found, "request") == counts(found, "journey") == expected


@pytest.mark.parametrize("agents", [1, 3])
async def test_iterations_of_users_are_split_by_when_the_user_was_ready(tmp_path: Path, agents: int) -> None:
    found = await driven(tmp_path, CLOSED, agents)
    requests, journeys = counts(found, "request"), counts(found, "journey")
    assert set(journeys) == {(GOLD, ("level", one)) for one in ("1", "3", "settling")}
    # An iteration that is cut off before its tag is set has none; at the end none runs that long.
    assert sum(requests.values()) == sum(journeys.values())
    assert journeys[GOLD, ("level", "3")] > 1.5 * journeys[GOLD, ("level", "1")]


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(write(folder, text), "plan").plan.spec()
    return " ".join(fault.message for fault in caught.value.faults)


def test_levels_that_do_not_fit_the_plan_are_errors(tmp_path: Path) -> None:
    assert "2 loads have levels" in wrong(
        tmp_path,
        HEAD + 'plan = Plan(target="http://127.0.0.1:1", loads=[Load(shop, users().levels([1], each="1s"), name="a"), '
        'Load(shop, users().levels([2], each="1s"), name="b")])',
    )
    assert 'tag "level" is taken' in wrong(
        tmp_path,
        HEAD + 'plan = Plan(target="http://127.0.0.1:1", mix=shop, tags=[tag("level", "a")], '
        'load=users().levels([1], each="1s"))',
    )
    assert '"auto" cannot be used with levels' in wrong(
        tmp_path,
        HEAD + 'plan = Plan(target="http://127.0.0.1:1", mix=shop, warmup="auto", load=users().levels([1], each="1m"))',
    )
    assert "102 combinations" in wrong(
        tmp_path,
        HEAD + 'plan = Plan(target="http://127.0.0.1:1", mix=shop, tags=[tenant], '
        'load=users().levels(range(1, 51), each="1m"))',
    )
    assert 'tag "level" has no value "3"' in wrong(
        tmp_path,
        HEAD + 'plan = Plan(target="http://127.0.0.1:1", mix=shop, load=users().levels([1, 2], each="1m"), '
        'slos=[p(95, tags={"level": "3"}) < "1s"])',
    )


def test_a_load_with_levels_is_stretched_and_not_scaled(tmp_path: Path) -> None:
    file = write(tmp_path, CLOSED)
    spans = load(file, "plan", overrides=Overrides(duration_s=8.0)).plan.spec().lanes[0].level_spans
    assert [(one.text, one.settled_ns // MS, one.end_ns // MS) for one in spans] == [
        ("1", 1000, 4000),
        ("3", 5000, 8000),
    ]
    with pytest.raises(ScenarioError, match="cannot scale a load with levels"):
        load(file, "plan", overrides=Overrides(peak=10.0)).plan.spec()
