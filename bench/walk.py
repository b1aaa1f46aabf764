"""Measure the CPU time, in µs, of a visit in a graph, without network: `python -m bench.walk`.

It compares sessions of a graph of two empty nodes with journeys that enter the same
two steps in a loop. The difference is the cost of choosing the next node.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from statistics import median
from time import process_time
from typing import Any

from loadgen import User, graph, leave, node
from tests.support.lives import Bench, bound

VISITS = 10.0
"""The mean number of visits of a session."""
SESSIONS = 4_000
TURNS = 7


@node
async def here(user: User, count: int) -> int:
    return count + 1


@node
async def there(user: User, count: int) -> int:
    return count + 1


walk = graph(
    {here: {here: 0.4, there: 0.5, leave: 0.1}, there: {there: 0.4, here: 0.5, leave: 0.1}},
    state=int,
    max_visits=100_000,
)


async def by_hand(user: User) -> None:
    count = 0
    for _ in range(int(VISITS) // 2):
        async with user.step("here"):
            count = await here.fn(user, count)
        async with user.step("there"):
            count = await there.fn(user, count)


async def nothing(user: User) -> None:
    """An empty iteration, to measure the cost of the engine."""


def cost_us(fn: Callable[..., Awaitable[Any]]) -> float:
    """Return the CPU time of a session, µs."""
    bench = Bench(bound(fn))

    async def run() -> float:
        await bench.run(200)
        bench.recorder.flip(0, 1)
        began_s = process_time()
        await bench.run(SESSIONS, first=200)
        took_s = process_time() - began_s
        bench.recorder.flip(1, 2)
        return took_s

    return asyncio.run(run()) / SESSIONS * 1e6


def main() -> int:
    visits = sum(len(walk.path(n, seed=7)) for n in range(200, 200 + SESSIONS)) / SESSIONS
    turns = [(cost_us(nothing), cost_us(by_hand), cost_us(walk.fn)) for _ in range(TURNS)]
    empty, hand, walked = (median(turn[i] for turn in turns) for i in range(3))
    a_step, a_visit = (hand - empty) / VISITS, (walked - empty) / visits
    sys.stdout.write(
        f"an iteration alone {empty:.2f} µs; a step by hand {a_step:.2f} µs; a visit of a graph {a_visit:.2f} µs "
        f"({visits:.2f} visits a session): {a_visit - a_step:.2f} µs for where it goes\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
