"""Measure the reading of access logs, beside GoAccess: CPU time a line, memory, temporary files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.children import run_python, timed
from bench.made_logs import alb_lines, combined_lines, write_lines
from bench.report import Section, held, spread
from bench.traffic_once import LONG_MEMORY_BYTES
from loadgen.usable_cpus import usable_cpus

__all__ = ["measure"]

PASS_1_US = {"combined": 4.0, "load balancer, gzip": 6.0}
WHOLE_US, OF_GOACCESS, MEMORY_MIB, SPOOL = 10.0, 1.3, 1_024, 0.05
HOW = """\
Made logs (`bench/made_logs.py`): {combined:,} lines of the format combined ({combined_mb:.0f} MB) and {alb:,} lines \
of a load balancer in gzip ({alb_mb:.0f} MB plain), 50,000 paths, 2,000 agents. {turns} turns of each in alternation, \
one process on one core; CPU is user and system time of the process, without its start. *pass 1*: lines into packed \
rows; *whole*: names and sessions as well; *with model*: also the counts of a scenario. *GoAccess* writes its JSON \
report of the same file; it gets the packed file from gzip, whose CPU time counts. GoAccess makes no sessions of \
requests and no names. The last row: {long:,} combined lines ({long_mb:,.0f} MB) with {jobs} processes and at most \
{limit} MiB of rows in memory, so that rows go to the temporary file; memory is the sum of all processes."""


@dataclass(frozen=True)
class _Log:
    kind: str
    path: Path
    plain_bytes: int
    goaccess: Sequence[str]


def measure(*, combined: int = 1_000_000, alb: int = 300_000, long: int = 10_000_000, turns: int = 3) -> Section:
    with tempfile.TemporaryDirectory(prefix="loadgen-bench-") as folder:
        logs = _written(Path(folder), combined, alb)
        rows, verdicts = [], []
        for log in logs:
            more, verdict = _compared(log, turns)
            rows += more
            verdicts.append(verdict)
        path = Path(folder) / "long.log"
        long_bytes = write_lines(path, combined_lines(long, 3))
        row, verdict = _long(path, long_bytes)
    return Section(
        "Reading access logs",
        HOW.format(
            combined=combined,
            combined_mb=logs[0].plain_bytes / 1e6,
            alb=alb,
            alb_mb=logs[1].plain_bytes / 1e6,
            turns=turns,
            long=long,
            long_mb=long_bytes / 1e6,
            jobs=usable_cpus(),
            limit=LONG_MEMORY_BYTES >> 20,
        ),
        ["", "CPU µs a line: least", "median", "× GoAccess", "memory, MiB", "temporary file, % of the lines"],
        [*rows, row],
        " ".join([*verdicts, verdict]),
        ["goaccess"],
    )


def _written(folder: Path, combined: int, alb: int) -> list[_Log]:
    plain, packed = folder / "combined.log", folder / "alb.log.gz"
    goaccess = ("goaccess", "--no-global-config", "--no-progress", "-o", str(folder / "report.json"))
    return [
        _Log(
            "combined",
            plain,
            write_lines(plain, combined_lines(combined, 1)),
            (*goaccess, str(plain), "--log-format=COMBINED"),
        ),
        _Log(
            "load balancer, gzip",
            packed,
            write_lines(packed, alb_lines(alb, 2)),
            ("sh", "-c", f"gzip -dc {packed} | {' '.join(goaccess)} --log-format=AWSALB -"),
        ),
    ]


def _compared(log: _Log, turns: int) -> tuple[list[list[str]], str]:
    costs: dict[str, list[float]] = {"pass1": [], "whole": [], "model": [], "goaccess": []}
    memory = dict.fromkeys(costs, 0.0)
    lines = 0
    for _ in range(turns):
        for part in ("pass1", "whole", "model"):
            found = run_python("bench.traffic_once", part, "1", str(log.path), timeout_s=600)
            lines = found["lines"]
            costs[part].append(found["cpu_s"] * 1e6 / lines)
            memory[part] = max(memory[part], found["memory_mib"])
        if shutil.which("goaccess"):
            costs["goaccess"].append(timed(*log.goaccess, timeout_s=600).cpu_s * 1e6 / lines)
    medians = {part: sorted(values)[len(values) // 2] for part, values in costs.items() if values}
    goaccess = medians.get("goaccess")
    names = {"pass1": "pass 1", "whole": "whole", "model": "with model", "goaccess": "GoAccess"}
    rows = [
        [
            f"{log.kind}: {names[part]}",
            *spread(costs[part], 2),
            f"{medians[part] / goaccess:.2f}" if goaccess else "",
            f"{memory[part]:.0f}" if memory[part] else "",
            "",
        ]
        for part in medians
    ]
    least = {part: min(values) for part, values in costs.items() if values}
    sentences = [
        f"{log.kind}, pass 1: {least['pass1']:.2f} µs a line, budget {PASS_1_US[log.kind]:g}: "
        f"{held(least['pass1'] <= PASS_1_US[log.kind])}.",
        f"{log.kind}, whole: {least['whole']:.2f} µs a line, budget {WHOLE_US:g}: {held(least['whole'] <= WHOLE_US)}.",
    ]
    if goaccess:
        ratio = medians["whole"] / goaccess
        sentences.append(f"{log.kind}: {ratio:.2f} × GoAccess, budget {OF_GOACCESS}: {held(ratio <= OF_GOACCESS)}.")
    else:
        sentences.append("GoAccess was left out: it is not installed (Debian: apt-get install goaccess).")
    return rows, " ".join(sentences)


def _long(path: Path, size: int) -> tuple[list[str], str]:
    jobs = usable_cpus()
    command = [sys.executable, "-m", "bench.traffic_once", "whole", str(jobs), str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=1_200).stdout)
    share = found["spooled_bytes"] / size
    cost = f"{found['cpu_s'] * 1e6 / found['lines']:.2f}"
    row = [f"{found['lines']:,} lines, {jobs} processes: whole, {found['took_s']:.0f} s", cost, cost, ""]
    return [*row, f"{found['memory_mib']:.0f}", f"{100 * share:.1f}"], (
        f"{found['lines']:,} lines: {found['memory_mib']:.0f} MiB in all processes, budget {MEMORY_MIB:,}: "
        f"{held(found['memory_mib'] <= MEMORY_MIB)}. Temporary file: {100 * share:.1f} % of the lines, "
        f"budget {100 * SPOOL:g} %: {held(share <= SPOOL)}."
    )
