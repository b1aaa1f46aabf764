"""Measures the CPU time a line and the memory of reading logs: `python -m tests.traffic.speed LOG...`."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from loadgen.traffic.read_logs import LogOptions, read_logs

if __name__ == "__main__":
    for name in sys.argv[1:]:
        begin = time.process_time()
        traffic = read_logs([Path(name)], LogOptions(most_rejected=1.0))
        used_s = time.process_time() - begin
        lines = traffic.accounting.read
        memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: {lines:,} lines, {1e6 * used_s / lines:.2f} us a line, {lines / used_s:,.0f} lines/s", end="")
        print(f", {memory_mib:.0f} MiB at most, {traffic.spooled_bytes / 1e6:,.0f} MB in temporary files")
