"""Run one worker's share of a scenario in this process, without the network protocol, and print figures as JSON.

    taskset -c 0 python -m bench.worker bench/four_requests.py --target http://127.0.0.1:8080 --duration 5

The CPU time is the user and system time of this process, from just before T0 to the end
of the drain. It includes recording and the folding of each second, but not the start of
Python and the loading of the scenario. `--skip 2` starts it after two seconds, so that
thousands of new connections do not count.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import numpy as np
import uvloop

from bench.machine import run_first
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.huge_pages import collapse_heap
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.units import NS_PER_S

LEAD_NS = 300_000_000


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def drive(options: argparse.Namespace) -> dict[str, Any]:
    peak = options.users if options.users is not None else options.rate
    overrides = Overrides(target=options.target, peak=peak, duration_s=options.duration)
    scenario = load(Path(options.scenario), options.plan, overrides)
    deltas: list[Delta] = []
    skipped = Counters()
    t0_ns = began_ns = 0
    before_s = 0.0

    def emit(delta: Delta) -> None:
        nonlocal before_s, began_ns, skipped
        deltas.append(delta)
        if delta.end_ns <= options.skip * NS_PER_S:
            skipped += delta.counters
            before_s, began_ns = cpu_s(), t0_ns + delta.end_ns

    gc.collect()
    share = Drive(scenario, seed=1, emit=emit, worker=options.worker, workers=options.workers)
    collapse_heap()  # as a worker of an agent does before it is ready
    before_s = cpu_s()
    t0_ns = began_ns = options.t0_ns or perf_counter_ns() + LEAD_NS
    totals = await share.run(t0_ns)
    used_s, took_ns = cpu_s() - before_s, perf_counter_ns() - began_ns
    counters = totals.counters - skipped
    return {
        "cpu_s": used_s,
        "took_s": took_ns / NS_PER_S,
        "requests": counters.requests_finished,
        "requests_errors": counters.requests_errors,
        "due": counters.iterations_due,
        "iterations": counters.iterations_finished,
        "iterations_errors": counters.iterations_errors,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "lag_us": lag_us(deltas),
        "service_us": service_us(deltas),
        "response_us": response_p99_us(deltas, options.calm_from),
        "worst_second": worst_second(deltas, options.rate, options.duration),
    }


def lag_us(deltas: list[Delta]) -> dict[str, float]:
    """Return the generator lag over the run; {} for a closed load. A `min` below 0 would be an early start."""
    merge = Merge()
    for delta in deltas:
        merge.accept("local", replace(delta, agent="bench"))
    observed, _ = merge.select("journey", metric="generator_lag")
    if not observed.total:
        return {}
    quantiles = {f"p{q:g}": float(observed.percentile_us(q)) for q in (50, 99, 99.9)}
    return {**quantiles, "min": (observed.min_ns or 0) / 1e3, "max": (observed.max_ns or 0) / 1e3}


def service_us(deltas: list[Delta]) -> dict[str, float]:
    """Return percentiles of the requests' service times over the run; {} without a request."""
    merge = Merge()
    for delta in deltas:
        merge.accept("local", replace(delta, agent="bench"))
    observed, _ = merge.select("request", metric="service")
    return {f"p{q:g}": float(observed.percentile_us(q)) for q in (50, 99, 99.9)} if observed.total else {}


def response_p99_us(deltas: list[Delta], from_s: float) -> float | None:
    """Return the p99 of the journeys' response times in the intervals from `from_s` after T0 on; None without any."""
    merge, before, calm = Merge(), Histogram(), Histogram()
    for delta in deltas:
        merge.accept("local", replace(delta, agent="bench"))
        if delta.start_ns < from_s * NS_PER_S:
            before, _ = merge.select("journey", metric="response")
    slots, counts = merge.select("journey", metric="response")[0].sparse()
    early = dict(zip(*(part.tolist() for part in before.sparse()), strict=True))
    calm.add(slots, counts - np.array([early.get(slot, 0) for slot in slots.tolist()], dtype=counts.dtype))
    return float(calm.percentile_us(99)) if calm.total else None


def worst_second(deltas: list[Delta], rate_per_s: float | None, duration_s: float) -> float | None:
    """Return the largest |started / planned - 1| of the intervals that lie fully within a constant rate."""
    whole = [d for d in deltas if 0 <= d.start_ns < d.end_ns <= duration_s * NS_PER_S]
    if rate_per_s is None or not whole:
        return None
    planned = [rate_per_s * (d.end_ns - d.start_ns) / NS_PER_S for d in whole]
    return max(abs(d.counters.iterations_started / n - 1) for d, n in zip(whole, planned, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--plan")
    parser.add_argument("--target", default="http://127.0.0.1:1")
    parser.add_argument("--users", type=float)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--duration", type=float, required=True)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--worker", type=int, default=0, help="index of this worker, from 0")
    parser.add_argument("--workers", type=int, default=1, help="number of workers that share the load")
    parser.add_argument("--t0-ns", type=int, default=0, help="T0 on perf_counter_ns, the same for all workers")
    parser.add_argument("--calm-from", type=float, default=0.0, help="seconds; response times count from then on")
    options = parser.parse_args()
    if os.environ.get("BENCH_FIRST"):
        run_first()
    figures = uvloop.run(drive(options))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")


if __name__ == "__main__":
    main()
