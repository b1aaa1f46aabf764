"""Measure `loadgen slo report`: a page of 14 journeys from 1,000 runs and the slices of 13 weeks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Container
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from bench.report import Section, held
from loadgen.history.store.parquet_run import to_parquet
from tests.support.accepted import KEY, history
from tests.support.made_programme import END, JOURNEYS, made_programme

__all__ = ["COMMAND", "command_cost", "measure", "write_runs"]

COMMAND: Final = (
    *("slo", "report", "--week", "2026-W30", "--as-of", "2026-07-27T06:00Z", "--no-record"),
    *("-o", "week.html", "-o", "week.json"),
)
HOW = """\
The command as a user calls it, in a process of its own, with HTML and JSON as outputs: `loadgen slo report --week \
2026-W30 -o week.html -o week.json`. The store has {runs:,} runs of one key in 13 weeks, each with {names} names, of \
which 14 are journeys, and 13 weeks of 5-minute slices of 14 promises, of which a page reads 59 days. Wall and CPU \
time, and the largest resident memory; least of {turns}."""


def measure(*, runs: int = 1_000, names: int = 60, weeks: int = 13, turns: int = 3) -> Section:
    with TemporaryDirectory(prefix="loadgen-bench-") as name:
        folder = Path(name)
        made = made_programme(folder / "programme", weeks=weeks, nights=0)
        write_runs(made.store, runs, names)
        found = [command_cost(made.folder, *COMMAND) for _ in range(turns)]
    wall, cpu, memory = (min(values) for values in zip(*found, strict=True))
    return Section(
        "Weekly page",
        HOW.format(runs=runs, names=names, turns=turns),
        ["wall, s", "CPU, s", "memory, MB"],
        [[f"{wall:.1f}", f"{cpu:.1f}", f"{memory:.0f}"]],
        f"Budget: 10 s of CPU on one core: {held(cpu <= 10)}; 700 MB: {held(memory <= 700)}.",
    )


def write_runs(store: Path, count: int, names: int) -> None:
    """Write files of runs, evenly over 13 weeks. They have no events of acceptance, so they count from their start.

    The last three are of the release v412.
    """
    levels = {journey: level for journey, (_, level, _, _) in JOURNEYS.items()}
    levels |= {f"checkout > step {n // 4} > GET /products/{n}": 20.0 + n for n in range(names - len(levels))}
    below = store / "runs" / f"key={KEY.hash()}"
    below.mkdir(parents=True, exist_ok=True)
    step = timedelta(days=91) / count
    for n, run in enumerate(history(count, levels)):
        at = datetime.fromtimestamp(END, UTC) - timedelta(days=91) + n * step
        run_id = at.strftime("%Y%m%d-%H%M%S-shop-") + f"{n:04x}"
        labels = {"release": "v412"} if n >= count - 3 else {}
        made = replace(
            run, run_id=run_id, started_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"), commit=f"{n:040x}", labels=labels
        )
        (below / f"{run_id}.parquet").write_bytes(to_parquet(made))


def command_cost(folder: Path, *arguments: str, codes: Container[int] = (0,)) -> tuple[float, float, float]:
    """Return (wall time in s, CPU time in s, memory in MB) of a command in a folder. codes: its good exit codes."""
    start = perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "loadgen_controller", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    wall = perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in codes:
        raise RuntimeError(f"loadgen {' '.join(arguments)} ended with exit code {child.returncode}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
