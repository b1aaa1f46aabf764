"""Measure the age of requests when they are in the percentiles on screen, and how closely together agents start."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.report import Section
from bench.run_lines import EACH_SECOND, second_of
from tests.support.target import running_target

SCENARIO = Path(__file__).parents[1] / "scenarios" / "checkout.py"
BUDGET_S = 2.0
SKEW_BUDGET_MS = 20.0
TURNS = 3
HOW = """\
`loadgen run scenarios/checkout.py` embedded, three regions, three agent processes, interval 1 s, its output read \
through a pipe; {turns} runs of 20 s, agents, controller and shop together on this machine. *Oldest* is the age of a \
request that ended right at the start of a window when the line with that window's percentiles was read; *newest* \
that of one that ended at its end. *Start skew*: how long after T0 an agent began, the latest of the three."""


def measure(*, turns: int = TURNS) -> Section:
    ages_s: list[float] = []
    skews_ms: list[float] = []
    for _ in range(turns):
        ages, skew = _one_run()
        ages_s += ages
        skews_ms.append(skew)
    ages_s.sort()
    worst, middle = ages_s[-1], ages_s[len(ages_s) // 2]
    held = worst <= BUDGET_S and max(skews_ms) <= SKEW_BUDGET_MS
    return Section(
        "From a request's end to the screen",
        HOW.format(turns=turns),
        ["windows", "oldest: median", "oldest: max", "newest: median", "newest: max", "start skew, max of a run"],
        [
            [
                f"{len(ages_s)}",
                f"{middle:.2f} s",
                f"{worst:.2f} s",
                f"{middle - 1:.2f} s",
                f"{worst - 1:.2f} s",
                ", ".join(f"{skew:.1f} ms" for skew in skews_ms),
            ]
        ],
        f"Budget (oldest at most {BUDGET_S:g} s, start skew at most {SKEW_BUDGET_MS:g} ms): "
        f"{'held' if held else 'NOT HELD'}.",
    )


def _one_run() -> tuple[list[float], float]:
    """Return the age (s) of each window's oldest request when its line appeared, and the largest start skew (ms)."""
    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as runs, running_target() as shop:
        command = [sys.executable, "-m", "loadgen_controller.cli", "run", str(SCENARIO), "--target", shop.url]
        command += ["--runs-dir", runs]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=EACH_SECOND) as process:
            assert process.stdout is not None
            for line in process.stdout:
                second = second_of(line)
                if second is not None and "p95" in line:
                    seen.append((time.time(), second))
        if not seen:
            raise RuntimeError("the run printed no lines with percentiles")
        summary = json.loads(next(Path(runs).glob("*/summary.json")).read_text())
    t0_s = datetime.fromisoformat(summary["started_at"]).timestamp()
    return [at - t0_s - k for at, k in seen], max(agent["start_skew_ms"] for agent in summary["agents"])
