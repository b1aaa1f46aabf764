"""Measure open loads of one GET on one core: lateness, CPU, connections, and bursts at the target after a stop.

nginx's access log shows what reached the target: the number of connections, and of requests in any 100 ms. These
figures do not depend on the worker's own clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.attackers import HERE
from bench.children import ATTACKER_CORE, TARGET_CORE, timed
from bench.machine import pinned
from bench.peers import peer
from bench.report import Section
from tests.support.nginx import RunningNginx, running_nginx

RATES = (1_000, 5_000, 8_000, 12_000, 15_000, 20_000)
BESIDE_K6 = (1_000, 5_000, 8_000)
STOPPED_AT = 8_000
WORKERS_AT = 1_000
"""Rate of each worker in the rows that compare one worker with two. Low, because nginx needs a core too."""
TOGETHER_AT = 4_000
"""Rate of each of two workers that have one core together, and do not know of each other."""
ALL_CORES = f"{ATTACKER_CORE},{TARGET_CORE}"
T0_LEAD_NS = 4_000_000_000
"""Time for several workers to start before their common T0."""
STOP_S, STOP_AFTER_S = 0.3, 4.0
WINDOW_S = 0.1
HOW = """\
One GET of 1 KiB in each iteration, constant rate, {seconds:g} s from T0 on, one worker on core {core}, nginx on core \
{target}. *Lag*: from when a start was due until it began, from T0 on. *Connections* and *most in 100 ms* (beside the \
plan's number) are counted in nginx's log. *CPU* is that of the process from T0 to the end of the drain, as a share of \
k6's constant-arrival-rate where it ran (CPU of the k6 process, its start of 1 s subtracted as measured with 1/s). \
*Stopped*: the worker is stopped for {stop:g} ms by SIGSTOP; p99 is of the seconds from 2 s after the stop on. \
*Free cores*: workers and nginx use both cores. Of several workers, lag and response p99 are the worst worker's."""

HEAD = [
    "arrivals/s",
    "off plan",
    "lag p50",
    "p99",
    "max",
    "response p99",
    "connections",
    "most in 100 ms",
    "CPU/iteration",
    "k6",
]

_K6 = """
import http from 'k6/http';
export const options = {
  scenarios: { load: { executor: 'constant-arrival-rate', rate: RATE, timeUnit: '1s', duration: 'SECONDSs',
                       preAllocatedVUs: 200, maxVUs: 2000 } },
};
export default function () { http.get(__ENV.TARGET + '/1k'); }
"""


@dataclass(frozen=True, slots=True)
class AtTarget:
    """From nginx's log: the number of connections, and the most requests in any 100 ms, divided by the planned ones."""

    connections: int
    worst: float


def measure(*, seconds: float = 10, rates: Sequence[int] = RATES, is_whole: bool = True) -> Section:
    """is_whole: also run k6, and stop a worker, which takes at least 10 s."""
    rows = []
    with running_nginx(cpus=[TARGET_CORE]) as nginx:
        for rate in rates:
            k6_us = _k6_us(nginx, rate, seconds) if is_whole and rate in BESIDE_K6 else None
            rows.append(_row(f"{rate:,}", rate, *_run(nginx, rate, seconds), k6_us))
        if is_whole:
            stopped = _run(nginx, STOPPED_AT, max(10, seconds), is_stopped=True)
            rows.append(_row(f"{STOPPED_AT:,}, stopped", STOPPED_AT, *stopped))
            for workers in (1, 2):
                rate = workers * WORKERS_AT
                noun = "worker" if workers == 1 else "workers"
                found = _run_workers(nginx, workers, rate, seconds, ALL_CORES)
                rows.append(_row(f"{rate:,}, {workers} {noun}, free cores", rate, *found))
            rate = 2 * TOGETHER_AT
            found = _run_workers(nginx, 2, rate, seconds, str(ATTACKER_CORE), are_apart=True)
            rows.append(_row(f"{rate:,}, 2 agents on one core", rate, *found))
    return Section(
        "Open loads",
        HOW.format(seconds=seconds, core=ATTACKER_CORE, target=TARGET_CORE, stop=STOP_S * 1e3),
        HEAD,
        rows,
        tools=["nginx", "k6"],
    )


def _run(
    nginx: RunningNginx, rate: int, seconds: float, *, is_stopped: bool = False
) -> tuple[dict[str, Any], AtTarget]:
    """Run a worker. Return its figures and those of nginx's log."""
    os.truncate(nginx.access_log, 0)
    command = [
        *(sys.executable, "-m", "bench.worker", str(HERE / "one_get.py"), "--plan", "due", "--target", nginx.url),
        *("--rate", str(rate), "--duration", str(seconds)),
    ]
    if is_stopped:
        command += ["--calm-from", str(STOP_AFTER_S + STOP_S + 2)]
    process = subprocess.Popen(pinned(ATTACKER_CORE, *command), stdout=subprocess.PIPE)
    if is_stopped:
        while not nginx.access_log.stat().st_size:
            time.sleep(0.01)
        time.sleep(STOP_AFTER_S)
        process.send_signal(signal.SIGSTOP)
        time.sleep(STOP_S)
        process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(f"bench.worker ended with {process.returncode}")
    worst = nginx.most_within(WINDOW_S) / (rate * WINDOW_S)
    return msgspec.json.decode(out), AtTarget(nginx.connections(), worst)


def _run_workers(
    nginx: RunningNginx, workers: int, rate: int, seconds: float, cores: str, *, are_apart: bool = False
) -> tuple[dict[str, Any], AtTarget]:
    """Let workers share a load on these cores. Return the figures of the worst worker, the sums, and nginx's figures.

    are_apart: each worker belongs to an agent of its own, so it may wait busily although the others do too.
    """
    os.truncate(nginx.access_log, 0)
    os.sched_setaffinity(nginx.worker_pid, {ATTACKER_CORE, TARGET_CORE} if cores == ALL_CORES else {TARGET_CORE})
    command = [
        *("taskset", "-c", cores, sys.executable, "-m", "bench.worker", str(HERE / "one_get.py"), "--plan", "due"),
        *("--target", nginx.url, "--duration", str(seconds)),
        *("--t0-ns", str(time.perf_counter_ns() + T0_LEAD_NS)),
    ]
    one, all_of_them = ["--rate", str(rate // workers)], ["--rate", str(rate), "--workers", str(workers)]
    processes = [
        subprocess.Popen(
            [*command, *(one if are_apart else [*all_of_them, "--worker", str(worker)])],
            stdout=subprocess.PIPE,
        )
        for worker in range(workers)
    ]
    found = [msgspec.json.decode(process.communicate(timeout=300)[0]) for process in processes]
    worst_us = {name: max(one["lag_us"][name] for one in found) for name in found[0]["lag_us"]}
    sums = {name: sum(one[name] for one in found) for name in ("cpu_s", "due", "iterations")}
    response_us = max(one["response_us"] for one in found)
    worst = nginx.most_within(WINDOW_S) / (rate * WINDOW_S)
    return {**sums, "lag_us": worst_us, "response_us": response_us}, AtTarget(nginx.connections(), worst)


def _k6_us(nginx: RunningNginx, rate: int, seconds: float) -> float | None:
    """Return k6's CPU time for an iteration in µs; None if there is no k6."""
    k6 = peer("k6")
    if k6 is None:
        return None
    with tempfile.TemporaryDirectory() as folder:

        def cpu_s(per_s: int) -> float:
            script = Path(folder, "open.js")
            script.write_text(_K6.replace("SECONDS", f"{seconds:g}").replace("RATE", str(per_s)))
            command = (k6, "run", "--quiet", "--env", f"TARGET={nginx.url}", str(script))
            return timed(*command, environment={"K6_NO_USAGE_REPORT": "true"}).cpu_s

        return (cpu_s(rate) - cpu_s(1)) / (rate * seconds) * 1e6


def _row(what: str, rate: int, of: dict[str, Any], seen: AtTarget, k6_us: float | None = None) -> list[str]:
    lag, cpu_us = of["lag_us"], of["cpu_s"] / of["iterations"] * 1e6
    return [
        what,
        f"{of['iterations'] - of['due']:+d}",
        *(f"{lag[q] / 1e3:,.2f} ms" for q in ("p50", "p99", "max")),
        f"{of['response_us'] / 1e3:,.2f} ms",
        f"{seen.connections:,}",
        f"{seen.worst:.2f} ×",
        f"{cpu_us:.1f} µs",
        "" if k6_us is None else f"{k6_us:.0f} µs: {cpu_us / k6_us:.2f} ×",
    ]
