"""Measure the engine's cost of an iteration. Budget: 3 µs for `drive_arrivals` (loadgen/engine/load/start_loops.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

from bench.attackers import HERE
from bench.children import ATTACKER_CORE, run_python
from bench.report import Section, cost_ns, spread
from loadgen.engine.load.schedule import Block
from loadgen.engine.load.start_loops import drive_arrivals
from loadgen.engine.load.user_iterations import Arrival, UserPool

COUNT = 100_000
BUDGET_NS = 3_000
HOW = """\
*drive_arrivals* alone: {count:,} arrivals in blocks of 1,000 that are all due, into a pool that only counts. *Empty \
journey*: {count:,} arrivals within one second through the whole engine (user pool, life, recording, folding), CPU by \
rusage of one worker on core {core}; it cannot keep up, so no wait is in it."""


class _Counting:
    def __init__(self) -> None:
        self.arrived = 0

    def arrive(self, arrival: Arrival, *, is_at_once: bool = False) -> None:
        self.arrived += 1


class _Over:
    """A clock on which all arrivals are already due."""

    def elapsed_ns(self) -> int:
        return 1 << 60

    async def sleep_until(self, at_ns: int) -> None: ...

    def close(self) -> None: ...


def _blocks() -> Iterator[Block]:
    block = Block(list(range(1000)), list(range(1000)), [0] * 1000)
    return iter([block] * (COUNT // 1000))


def _drive() -> None:
    pool = _Counting()
    asyncio.run(drive_arrivals(_blocks(), _Over(), 0, cast("UserPool", pool), asyncio.Event(), 0))
    assert pool.arrived == COUNT


def measure() -> Section:
    alone = cost_ns(_drive, COUNT)
    whole = [
        run_python("bench.worker", str(HERE / "nothing.py"), "--rate", str(COUNT), "--duration", "1") for _ in range(3)
    ]
    return Section(
        "An iteration",
        HOW.format(count=COUNT, core=ATTACKER_CORE),
        ["", "µs/iteration: least", "median"],
        [
            ["drive_arrivals", *spread([ns / 1e3 for ns in alone], 2)],
            ["empty journey", *spread([of["cpu_s"] / of["iterations"] * 1e6 for of in whole], 1)],
        ],
        f"Budget of drive_arrivals 3 µs: {'held' if sorted(alone)[len(alone) // 2] <= BUDGET_NS else 'NOT HELD'}.",
    )
