"""Measures the CPU time a line and the memory of reading logs: `python -m tests.traffic.speed [--jobs N] LOG...`."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    names = sys.argv[1:]
    jobs = int(names.pop(1)) if names[0] == "--jobs" else 1
    names = names[1:] if names[0] == "--jobs" else names
    for name in names:
        begin, begin_s = _cpu_s(), time.monotonic()
        traffic = read_logs([Path(name)], LogOptions(most_rejected=1.0, jobs=jobs))
        used_s, took_s = _cpu_s() - begin, time.monotonic() - begin_s
        lines = traffic.accounting.read
        own, others = (
            resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(f"{name}: {lines:,} lines, {1e6 * used_s / lines:.2f} us of CPU time a line, {took_s:.1f} s", end="")
        print(f", {own:.0f} MiB at most, {others:.0f} MiB in each of the other processes", end="")
        print(f", {traffic.spooled_bytes / 1e6:,.0f} MB in temporary files")
