"""Measure the cost of the demo shop, because it shares a small machine with the load generator."""

from __future__ import annotations

import os
from pathlib import Path

from bench.attackers import run_wrk
from bench.children import ATTACKER_CORE, TARGET_CORE
from bench.report import Section
from tests.support.target import running_target

HOW = """\
wrk with 64 connections on core {attacker}, {seconds:g} s, GET /products/sku-0003; the shop on core {target}. CPU is \
the shop's, user and system."""


def measure(*, seconds: float = 4) -> Section:
    rows = [
        ["at once (--no-latency)", *_figures(seconds, "--no-latency")],
        ["with its latencies", *_figures(seconds)],
    ]
    how = HOW.format(attacker=ATTACKER_CORE, target=TARGET_CORE, seconds=seconds)
    return Section("The demo shop", how, ["", "requests/s", "CPU µs/request", "share of a core"], rows, tools=["wrk"])


def _figures(seconds: float, *options: str) -> list[str]:
    with running_target(*options) as target:
        os.sched_setaffinity(target.pid, [TARGET_CORE])
        before_s = _cpu_s(target.pid)
        requests = run_wrk(f"{target.url}/products/sku-0003", seconds).requests
        used_s = _cpu_s(target.pid) - before_s
    return [f"{requests / seconds:,.0f}", f"{used_s / requests * 1e6:.1f}", f"{used_s / seconds:.0%}"]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
