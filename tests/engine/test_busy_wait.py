"""Short waits turn the loop, long ones sleep; a worker that shares its core does not turn it."""

from __future__ import annotations

import asyncio
import os
from time import perf_counter_ns

import pytest
import uvloop

from loadgen.engine.load.busy_wait import MOST_NS, BusyWait, measured_ns
from loadgen.engine.load.clock import MonotonicClock

US = 1_000


async def waited(busy_wait: BusyWait, gap_ns: int) -> int:
    """Wait once; return by how much the wait ended too early (ns)."""
    clock = MonotonicClock(perf_counter_ns(), busy_wait)
    due_ns = clock.elapsed_ns() + gap_ns
    await clock.sleep_until(due_ns)
    early_ns = due_ns - clock.elapsed_ns()
    clock.close()
    return early_ns


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("most_ns", [0, 50 * US, 10_000 * US])
def test_no_busy_wait_ends_before_its_time(runner, most_ns: int) -> None:  # type: ignore[no-untyped-def]
    async def early() -> list[int]:
        busy_wait = BusyWait(most_ns)
        return [await waited(busy_wait, gap_us * US) for gap_us in (0, 1, 20, 49, 51, 300, 1_500) * 3]

    assert max(runner(early())) <= 0


async def test_a_short_wait_turns_the_loop_and_counts_what_that_costs_and_a_long_one_sleeps() -> None:
    busy_wait = BusyWait(2_000 * US)
    clock = MonotonicClock(perf_counter_ns(), busy_wait)
    await clock.sleep_until(clock.elapsed_ns() + 1_500 * US)
    assert busy_wait.take_spent_ns() > 0
    assert busy_wait.take_spent_ns() == 0
    busy_wait.ns = 0
    await clock.sleep_until(clock.elapsed_ns() + 1_500 * US)
    assert busy_wait.take_spent_ns() == 0
    clock.close()


async def test_other_tasks_go_on_while_the_loop_turns() -> None:
    clock, seen = MonotonicClock(perf_counter_ns(), BusyWait(100_000 * US)), []

    async def other() -> None:
        for n in range(5):
            seen.append(n)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await clock.sleep_until(clock.elapsed_ns() + 20_000 * US)
    assert seen == [0, 1, 2, 3, 4]
    await task
    clock.close()


def test_a_worker_that_waited_for_a_core_does_not_busy_wait_in_the_next_interval() -> None:
    busy_wait = BusyWait(40 * US)
    busy_wait.adapt(0.05)
    assert busy_wait.ns == 0
    busy_wait.adapt(0.0)
    assert busy_wait.ns == 40 * US


def test_workers_on_all_cores_never_busy_wait_and_fewer_do_for_no_longer_than_allowed() -> None:
    assert measured_ns(os.cpu_count() or 1) == 0
    assert 0 <= measured_ns(1) <= MOST_NS
