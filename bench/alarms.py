"""Count false alarms of the self-check: how often an ordinary run on a quiet machine is called unfit.

    python -m bench.alarms --runs 20

Nothing overloads the generator in these runs. So each unfit second of an agent, and
each run that is not `valid`, is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

from bench.report import Section
from tests.support.target import running_target

__all__ = ["Alarms", "measure", "wilson"]

SCENARIO = Path(__file__).parents[1] / "scenarios" / "checkout.py"
RUNS = 3
SECONDS = 10
HOW = """\
{runs} embedded runs of {seconds} s of `scenarios/checkout.py` at its own rate: three regions, three agent processes, \
controller and demo shop together on this machine, nothing else on it. The intervals of the rates are Wilson's, \
95 %; seconds of one run are no independent trials, so theirs is rather too narrow. `python -m bench.alarms --runs N` \
for more."""
_Z = 1.959964


@dataclass(slots=True)
class Alarms:
    """The self-check results of some runs."""

    runs: int = 0
    suspect: int = 0
    invalid: int = 0
    intervals: int = 0
    """The number over all agents."""
    unfit: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, summary: dict[str, Any]) -> None:
        self.runs += 1
        self.suspect += summary["validity"]["verdict"] == "suspect"
        self.invalid += summary["validity"]["verdict"] == "invalid"
        self.intervals += sum(agent["intervals"] for agent in summary["agents"])
        self.unfit += sum(agent["unfit_intervals"] for agent in summary["agents"])
        self.reasons.update(summary["validity"]["reasons"])


def wilson(found: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, 0 to 1. Source: Wilson 1927, without continuity correction."""
    if not of:
        return 0.0, 1.0
    share, z2 = found / of, _Z * _Z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def measure(runs: int = RUNS) -> Section:
    alarms = Alarms()
    for _ in range(runs):
        alarms.add(_one_run())
    why = "; ".join(text for text, _ in alarms.reasons.most_common(3))
    return Section(
        "False alarms of the self-check",
        HOW.format(runs=runs, seconds=SECONDS),
        ["what", "unfit", "of", "share", "95 % interval"],
        [
            ["seconds of an agent", *_row(alarms.unfit, alarms.intervals)],
            ["runs suspect", *_row(alarms.suspect, alarms.runs)],
            ["runs invalid", *_row(alarms.invalid, alarms.runs)],
        ],
        f"Wanted (no run suspect or invalid): {'NOT HELD' if alarms.suspect + alarms.invalid else 'held'}."
        + (f" Said: {why}." if why else ""),
    )


def _row(found: int, of: int) -> Sequence[str]:
    low, high = wilson(found, of)
    return f"{found:,}", f"{of:,}", f"{found / max(1, of) * 100:.2f} %", f"{low * 100:.2f} to {high * 100:.2f} %"


def _one_run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as runs, running_target() as shop:
        command = [sys.executable, "-m", "loadgen_controller.cli", "run", str(SCENARIO), "--target", shop.url]
        subprocess.run(
            [*command, "--duration", f"{SECONDS}s", "--quiet", "--runs-dir", runs],
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )
        summary: dict[str, Any] = json.loads(next(Path(runs).glob("*/summary.json")).read_text())
    return summary


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    sys.stdout.write(measure(parser.parse_args().runs).markdown())
