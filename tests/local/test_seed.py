"""The same seed is the same run on one agent, on two and on five: arrivals, rows, think times, traits and choices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from tests.support.scenarios import write

MS = 1_000_000

SCENARIO = """
from dataclasses import dataclass

from loadgen import Load, Plan, User, arrivals, feed, iterations, journey, lognormal, users

LOG = []


@dataclass(frozen=True)
class Row:
    number: int


ROWS = feed.rows([Row(n) for n in range(5_000)])


def note(name, user, row):
    drawn = lognormal(0, 0.5).draw(user.random)  # what think(lognormal(0, 0.5)) would take
    LOG.append((name, user._meter.load, user._meter.n, row.number, user.random.random(), drawn,
                user.trait("speed", lognormal(0, 0.3)), user.random.choice("abc")))


@journey(data=ROWS.shuffle(seed=3))
async def browse(user: User, row: Row) -> None:
    note("browse", user, row)
    await user.think(0.001)


@journey(data=ROWS.unique({unique}))
async def buy(user: User, row: Row) -> None:
    note("buy", user, row)
    await user.think(0.001)


plan = Plan(target="http://127.0.0.1:1", {load})
"""

LOADS = {
    "open": 'load=arrivals("100/s").hold("600ms"), mix={browse: 2, buy: 1}',
    "open and drawn": 'load=arrivals("100/s").hold("600ms"), mix={browse: 2, buy: 1}, random=True',
    "counted": "load=iterations(60, users=10), mix={browse: 2, buy: 1}",
    "several": 'loads=[Load(browse, arrivals("60/s").hold("500ms")), '
    'Load({browse: 1, buy: 1}, arrivals("80/s").hold("300ms"), after="200ms", name="spike")]',
}


async def log_of(folder: Path, load_text: str, agents: int) -> list[tuple[Any, ...]]:
    """What all iterations of a fleet of so many agents drew, in the order of loads and arrivals."""
    logs: list[tuple[Any, ...]] = []
    for index in range(agents):
        path = write(folder, SCENARIO.replace("{load}", load_text).replace("{unique}", 'when_out="cycle"'))
        scenario = load(path)
        drive = Drive(scenario, index=index, weights=[1.0] * agents, seed=11, emit=lambda delta: None)
        totals = await drive.run(perf_counter_ns() + 20 * MS)
        assert totals.counters.script_faults == 0
        logs += scenario.plan.journeys[0].fn.__globals__["LOG"]
    return sorted(logs)


@pytest.mark.parametrize("name", LOADS)
async def test_the_same_seed_is_the_same_run_on_any_number_of_agents(name: str, tmp_path: Path) -> None:
    alone, two, five = [await log_of(tmp_path / str(agents), LOADS[name], agents) for agents in (1, 2, 5)]
    assert len(alone) >= 54
    assert alone == two == five
    bought = [row for journey, *_, row, _, _, _, _ in alone if journey == "buy"]
    assert len(set(bought)) == len(bought)


async def test_closed_users_draw_the_same_whoever_runs_them(tmp_path: Path) -> None:
    text = 'load=users(5).hold("400ms"), mix={browse: 2, buy: 1}'
    alone, five = [await log_of(tmp_path / str(agents), text, agents) for agents in (1, 5)]
    # How many iterations each user gets is the target's doing; those that both did are the same.
    both = {entry[2] for entry in alone} & {entry[2] for entry in five}
    assert {n >> 32 for n in both} == set(range(5))
    assert [e for e in alone if e[2] in both] == [e for e in five if e[2] in both]
    assert {e[3] for e in alone if e[0] == "buy"} <= set(range(5))


async def test_another_seed_is_another_run(tmp_path: Path) -> None:
    path = write(tmp_path, SCENARIO.replace("{load}", LOADS["open"]).replace("{unique}", 'when_out="cycle"'))
    drawn = []
    for seed in (1, 2):
        scenario = load(path)
        await Drive(scenario, seed=seed, emit=lambda delta: None).run(perf_counter_ns() + 20 * MS)
        log = sorted(scenario.plan.journeys[0].fn.__globals__["LOG"])
        drawn.append([entry[4:] for entry in log])
    assert len(drawn[0]) == len(drawn[1]) == 60
    assert drawn[0] != drawn[1]
    await asyncio.sleep(0)
