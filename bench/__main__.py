"""`python -m bench [section ...]`: measures against the budgets and writes bench/RESULTS.md.

Needs two cores that nobody else uses, nginx and wrk (Debian: nginx-light, wrk).
With names of sections only these are measured, and shown instead of written.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import alarms, drive, journey, machine, pacing, record, screen, share, stall, target
from bench.report import Section
from tests.support.nginx import nginx_path

RESULTS = Path(__file__).with_name("RESULTS.md")
SECTIONS: dict[str, Callable[[], Section]] = {
    "journey": journey.measure,
    "pacing": pacing.measure,
    "drive": drive.measure,
    "record": record.measure,
    "share": share.measure,
    "screen": screen.measure,
    "target": target.measure,
    "stall": stall.measure,
    "alarms": alarms.measure,
}


def main(names: list[str]) -> int:
    if unknown := set(names) - set(SECTIONS):
        sys.stderr.write(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}\n")
        return 2
    if missing := _missing():
        sys.stderr.write(f"the benchmarks need {missing}\n")
        return 2
    load_before = machine.load_now()
    parts = []
    for name in names or SECTIONS:
        sys.stderr.write(f"measuring {name} ...\n")
        parts.append(SECTIONS[name]().markdown())
    if names:
        sys.stdout.write("\n".join(parts))
    else:
        RESULTS.write_text("\n".join([_opening(load_before), *parts]), encoding="utf-8")
        sys.stderr.write(f"wrote {RESULTS}\n")
    return 0


def _missing() -> str:
    """What this machine lacks, or ""."""
    programs = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if nginx_path() is None:
        programs.append("nginx")
    if (os.cpu_count() or 1) < 2:
        programs.append("a second core")
    return ", ".join(programs)


def _opening(load_before: str) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.facts())
    return (
        "# Results\n\n"
        "Written by `make bench` (`python -m bench`), never by hand. Ratios within one run on one machine count; the\n"
        "figures beside them are that machine's.\n\n"
        f"- measured: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, load average before it {load_before}\n{facts}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
