"""Read logs once and print its figures as JSON: `python -m bench.traffic_once pass1|whole|model JOBS FILE`."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from loadgen.traffic.inputs.find_inputs import find_inputs
from loadgen.traffic.names.path_table import PathTable
from loadgen.traffic.names.path_tree import PathTree
from loadgen.traffic.parallel.first_pass import FirstPass
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.reading.partitions import MEMORY_BYTES, Partitions
from loadgen.traffic.rows.period import ALL_TIMES

LONG_MEMORY_BYTES = 16 << 20
"""With several processes: a limit that long logs exceed, so that rows go to the temporary file."""


def main(part: str, jobs: str, *names: str) -> None:
    """Read the logs, and print lines, CPU seconds, seconds, memory of all processes and spooled bytes."""
    options = LogOptions(
        jobs=int(jobs),
        model=ModelRules() if part == "model" else None,
        memory_bytes=LONG_MEMORY_BYTES if int(jobs) > 1 else MEMORY_BYTES,
    )
    begin, begin_s = os.times(), time.monotonic()
    if part == "pass1":
        with Partitions() as partitions:
            first = FirstPass(PathTable(PathTree()), partitions)
            first.read(find_inputs(names, ALL_TIMES), options, b"bench" * 6)
            lines, spooled = first.accounting.read, partitions.spooled_bytes
    else:
        traffic = read_logs([Path(name) for name in names], options)
        lines, spooled = traffic.accounting.read, traffic.spooled_bytes
    took_s, end = time.monotonic() - begin_s, os.times()
    own, other = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    figures = {
        "lines": lines,
        "cpu_s": sum(end[:4]) - sum(begin[:4]),
        "took_s": took_s,
        "memory_mib": own + (options.jobs * other if options.jobs > 1 else 0),
        "spooled_bytes": spooled,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
