"""Waiting: never early, and over when the stop comes."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

import pytest
import uvloop

from loadgen.engine.load.clock import MonotonicClock, sleep_or_stop, sleep_to


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_no_wait_ends_before_its_time(runner) -> None:  # type: ignore[no-untyped-def]
    async def early() -> int:
        clock = MonotonicClock(perf_counter_ns())
        count = 0
        for gap_ns in (0, 1, 50_000, 300_000, 999_999, 1_500_000) * 5:
            due_ns = clock.elapsed_ns() + gap_ns
            await clock.sleep_until(due_ns)
            count += clock.elapsed_ns() < due_ns
            due_ns = clock.elapsed_ns() + gap_ns
            await sleep_to(clock, due_ns)
            count += clock.elapsed_ns() < due_ns
        clock.close()
        return count

    assert runner(early()) == 0


async def test_a_stop_ends_a_wait_that_would_have_been_long() -> None:
    clock, stop = MonotonicClock(perf_counter_ns()), asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    await asyncio.wait_for(sleep_or_stop(clock, 3600 * 10**9, stop), timeout=60)
    assert clock.elapsed_ns() < 3600 * 10**9
    clock.close()
