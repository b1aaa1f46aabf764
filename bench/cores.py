"""Measure the gain from a second core, with workers that share a plan. Budget: 20,000 arrivals/s on two cores.

    python -m bench.cores bench/nothing.py --rate 20000 --duration 10 --worker 1 --workers 2 --t0-ns N

This command is one of the workers and prints its figures as JSON. `measure` starts all workers, each on its own core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import uvloop

from bench.children import ATTACKER_CORE, TARGET_CORE
from bench.machine import pinned
from bench.report import Section, held
from bench.worker import cpu_s, lag_us, worst_second
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from loadgen.units import NS_PER_S
from tests.support.nginx import running_nginx

HERE = Path(__file__).parent
CORES = (ATTACKER_CORE, TARGET_CORE)
RATE = 20_000
LAG_BUDGET_US = 2_000
LEAD_NS = 3 * NS_PER_S
"""Time from the start of the processes to T0, in which they load Python and the scenario."""
HOW = """\
Each worker drives its exact share of one plan from one instant, as the workers of an agent do, {seconds:g} s, each on \
a core of its own. *nothing* is a journey that does nothing: the whole engine, no HTTP. *one GET* is \
`bench/one_get.py` on nginx, which needs CPU on the same two cores: beside one worker it has the other core, beside \
two it shares both. CPU is the workers' own, user and system; *lag* the worse of the workers'; *off plan* the \
iterations beside rate x time."""
HEAD = ["journey", "workers", "asked", "finished/s", "off plan", "CPU/iteration", "lag p50", "p99", "max"]


def measure(*, seconds: float = 8, rates: tuple[int, ...] = (4_000, 8_000, 12_000)) -> Section:
    rows: list[list[str]] = []
    one = _run("nothing", 1, seconds, RATE // 2)
    two = _run("nothing", 2, seconds, RATE)
    rows += [_row("nothing", one, RATE // 2, seconds), _row("nothing", two, RATE, seconds)]
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        closed = _run("one_get", 1, seconds, None, nginx.url)
        rows.append(_row("one GET, 64 users", closed, None, seconds))
    fit = 0
    with running_nginx(log=False) as nginx:
        closed = _run("one_get", 2, seconds, None, nginx.url)
        rows.append(_row("one GET, 64 users", closed, None, seconds))
        for rate in (*rates, RATE):
            due = _run("one_get", 2, seconds, rate, nginx.url)
            rows.append(_row("one GET", due, rate, seconds))
            if _is_held(due, rate, seconds):
                fit = rate
    growth = _cpu_us(two) / _cpu_us(one)
    return Section(
        "Two cores",
        HOW.format(seconds=seconds),
        HEAD,
        rows,
        f"Budget (20,000 arrivals/s on two cores, count exact, none early, lag p99 at most 2 ms): the engine's own part"
        f" {held(_is_held(two, RATE, seconds))}; with nginx on the same two cores up to {fit:,}/s. An iteration of two"
        f" workers costs {growth:.2f} times one of one.",
        tools=["nginx"],
    )


def _run(scenario: str, workers: int, seconds: float, rate: int | None, target: str = "") -> list[dict[str, Any]]:
    """Run all workers, each on its own core, and return their figures."""
    t0_ns = perf_counter_ns() + LEAD_NS
    load_of = ["--users", "64"] if rate is None else ["--rate", str(rate)]
    plan = ["--plan", "due"] if rate is not None and scenario == "one_get" else []
    processes = [
        subprocess.Popen(
            pinned(
                CORES[worker % len(CORES)],
                *(sys.executable, "-m", "bench.cores", str(HERE / f"{scenario}.py"), *load_of, *plan),
                *("--duration", str(seconds), "--worker", str(worker), "--workers", str(workers)),
                *("--t0-ns", str(t0_ns), "--target", target or "http://127.0.0.1:1"),
            ),
            stdout=subprocess.PIPE,
        )
        for worker in range(workers)
    ]
    figures = []
    for process in processes:
        said, _ = process.communicate(timeout=seconds + 60)
        if process.returncode:
            raise RuntimeError(f"a worker ended with {process.returncode}")
        figures.append(msgspec.json.decode(said))
    return figures


def _cpu_us(figures: list[dict[str, Any]]) -> float:
    iterations: int = sum(of["iterations"] for of in figures)
    used: float = sum(of["cpu_s"] for of in figures)
    return used / iterations * 1e6


def _is_held(figures: list[dict[str, Any]], rate: int, seconds: float) -> bool:
    is_exact = sum(of["iterations"] for of in figures) == sum(of["due"] for of in figures) == round(rate * seconds)
    return is_exact and all(of["lag_us"]["min"] >= 0 and of["lag_us"]["p99"] <= LAG_BUDGET_US for of in figures)


def _row(journey: str, figures: list[dict[str, Any]], rate: int | None, seconds: float) -> list[str]:
    iterations = sum(of["iterations"] for of in figures)
    lags = [f"{max(of['lag_us'][q] for of in figures):,.0f} µs" if rate else "-" for q in ("p50", "p99", "max")]
    return [
        journey,
        str(len(figures)),
        f"{rate:,}/s" if rate else "closed",
        f"{iterations / max(of['took_s'] for of in figures):,.0f}",
        f"{iterations - round(rate * seconds):+d}" if rate else "-",
        f"{_cpu_us(figures):.1f} µs",
        *lags,
    ]


async def drive(options: argparse.Namespace) -> dict[str, Any]:
    peak = options.users if options.users is not None else options.rate
    overrides = Overrides(target=options.target, peak=peak, duration_s=options.duration)
    scenario = load(Path(options.scenario), options.plan, overrides)
    deltas: list[Delta] = []
    share = Drive(scenario, seed=1, emit=deltas.append, worker=options.worker, workers=options.workers)
    if perf_counter_ns() > options.t0_ns:
        raise RuntimeError("T0 passed before the worker was ready: the machine is too busy to measure on")
    before_s = cpu_s()
    totals = await share.run(options.t0_ns)
    used_s, took_ns = cpu_s() - before_s, perf_counter_ns() - options.t0_ns
    own_rate = options.rate / options.workers if options.rate is not None else None
    return {
        "cpu_s": used_s,
        "took_s": took_ns / NS_PER_S,
        "due": totals.counters.iterations_due,
        "iterations": totals.counters.iterations_finished,
        "errors": totals.counters.iterations_errors,
        "lag_us": lag_us(deltas),
        "worst_second": worst_second(deltas, own_rate, options.duration),
        "core": sorted(os.sched_getaffinity(0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--plan")
    parser.add_argument("--target", required=True)
    parser.add_argument("--users", type=float)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--duration", type=float, required=True)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--t0-ns", type=int, required=True)
    figures = uvloop.run(drive(parser.parse_args()))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")


if __name__ == "__main__":
    main()
