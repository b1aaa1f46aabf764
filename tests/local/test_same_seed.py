"""The same seed gives the same arrivals, rows, think times and choices on any number of agents."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest

from loadgen.dsl.loader import load
from loadgen.local import Drive
from tests.support.scenarios import write

SCENARIO = """
from dataclasses import dataclass
from loadgen import Plan, User, arrivals, feed, iterations, journey, users
from loadgen.dsl.chance import lognormal, uniform

@dataclass(frozen=True)
class Row:
    number: int

ROWS = feed.rows([Row(n) for n in range(500)])

async def live(user, name, row):
    speed = user.trait("speed", lognormal(0, 0.3))
    think_s = user.draw(lognormal(-6, 0.5) * speed)
    user.shared.append((user.meter.n, name, row.number, speed, think_s, user.random.choice("abcdef")))
    await user.think(min(think_s, 0.005))

@journey(data=ROWS)
async def browse(user: User, row: Row) -> None:
    await live(user, "browse", row)

@journey(data=ROWS.shuffle(seed=3))
async def buy(user: User, row: Row) -> None:
    await live(user, "buy", row)

plan = Plan(target="http://127.0.0.1:1", load={load}, mix={{browse: 3, buy: 1}}{more})
"""

LOADS = {
    "arrivals": ('arrivals("400/s").hold("300ms")', ""),
    "journeys by chance": ('arrivals("400/s").hold("300ms")', ", random=True"),
    "iterations": ("iterations(60, users=10)", ""),
}


async def lived(folder: Path, load_text: str, more: str, agents: int, seed: int) -> list[Any]:
    """What all agents' users did, by arrival."""
    path = write(folder, SCENARIO.format(load=load_text, more=more))
    found: list[Any] = []

    async def drive(index: int) -> None:
        one = Drive(load(path), index=index, weights=[1.0] * agents, seed=seed, emit=lambda _: None, shared=found)
        await one.run(perf_counter_ns() + 20_000_000)

    await asyncio.gather(*map(drive, range(agents)))
    return sorted(found)


@pytest.fixture(params=LOADS)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    return LOADS[request.param]


async def test_one_two_and_five_agents_do_the_same(kind: tuple[str, str], tmp_path: Path) -> None:
    one = await lived(tmp_path, *kind, agents=1, seed=7)
    assert len(one) >= 60
    assert len({n for n, *_ in one}) == len(one)
    assert {name for _, name, *_ in one} == {"browse", "buy"}
    for agents in (2, 5):
        assert await lived(tmp_path, *kind, agents=agents, seed=7) == one
    other = await lived(tmp_path, *kind, agents=1, seed=8)
    assert [(n, *rest[2:]) for n, *rest in other] != [(n, *rest[2:]) for n, *rest in one]


async def test_in_a_closed_load_each_user_is_the_same_person_on_any_number_of_agents(tmp_path: Path) -> None:
    of: list[dict[int, set[float]]] = []
    for agents in (1, 2, 5):
        found = await lived(tmp_path, 'users(10).hold("150ms")', "", agents, seed=7)
        people: dict[int, set[float]] = {}
        for n, _, _, speed, *_ in found:
            people.setdefault(n >> 32, set()).add(speed)
        assert sorted(people) == list(range(10))
        assert {len(speeds) for speeds in people.values()} == {1}
        of.append(people)
    assert of[0] == of[1] == of[2]
