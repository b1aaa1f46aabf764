"""Measure the memory of connected, idle users in this process, and print it as JSON.

    taskset -c 0 python -m bench.idle http://127.0.0.1:8080 --users 1000

It reads the resident memory with psutil before T0 and after each user's response.
With `--trace` it also prints the bytes per user of each source line, from tracemalloc.
That covers only memory that Python allocates, not that of uvloop and OpenSSL.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tracemalloc
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import psutil
import uvloop

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta

SCENARIO = Path(__file__).with_name("one_then_idle.py")
LEAD_NS = 300_000_000
PATIENCE_S = 120


async def drive(url: str, users: int, is_traced: bool) -> dict[str, Any]:
    scenario = load(SCENARIO, None, Overrides(target=url, peak=users))
    finished, errors = 0, 0
    everyone = asyncio.Event()

    def count(delta: Delta) -> None:
        nonlocal finished, errors
        finished += delta.counters.requests_finished
        errors += delta.counters.requests_errors
        if finished >= users:
            everyone.set()

    share = Drive(scenario, seed=1, emit=count)
    gc.collect()
    if is_traced:
        tracemalloc.start(8)
    first = tracemalloc.take_snapshot() if is_traced else None
    before = psutil.Process().memory_info().rss
    run = asyncio.create_task(share.run(perf_counter_ns() + LEAD_NS))
    await asyncio.wait_for(everyone.wait(), PATIENCE_S)
    gc.collect()
    after = psutil.Process().memory_info().rss
    if first is not None:
        _tell(first, tracemalloc.take_snapshot(), users)
    share.stop(now=True)
    await run
    return {"users": users, "before": before, "after": after, "requests_errors": errors}


def _tell(first: tracemalloc.Snapshot, last: tracemalloc.Snapshot, users: int) -> None:
    differences = last.compare_to(first, "lineno")
    total = sum(of.size_diff for of in differences)
    sys.stderr.write(f"{total / users:,.0f} bytes a user by tracemalloc\n")
    for of in differences[:60]:
        at = of.traceback[0]
        place = "/".join(Path(at.filename).parts[-2:])
        sys.stderr.write(f"{of.size_diff / users:8,.0f} B in {of.count_diff / users:5.2f}  {place}:{at.lineno}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    figures = uvloop.run(drive(options.url, options.users, options.trace))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
