"""Measure how long `loadgen trace` takes to its first line, for a run of 360 traces in a local collector."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Section, held
from tests.support.run import loadgen
from tests.support.traced_shop.cases import FAULTS
from tests.support.traced_shop.own_collector import SOURCE, own_collector, write_settings
from tests.support.traced_shop.running import traced_shop
from tests.support.traced_shop.scenario import write_scenario

MOST = 360
BUDGET_S = 15.0
_FIRST = ("1  ", "nothing is ranked")
"""How the line of the first ranked path begins, or the one without any in a short run."""
HOW = """\
`loadgen run` of {seconds} s at 60 requests/s in two local regions, all requests sampled, against three services with \
OpenTelemetry's SDK, spans in `loadgen trace collect`; all on this machine. Then {turns} times `loadgen trace RUN \
--most {most}` as a new process, its output read through a pipe: *first line* is the time from the start of the \
process to the first ranked path. The traces in the run folder are deleted before each turn."""


def measure(*, seconds: int = 60, turns: int = 5) -> Section:
    rows: list[list[str]] = []
    firsts_s: list[float] = []
    case = FAULTS["slow version"].case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with own_collector() as url:
            with traced_shop(url, case.faults) as shop:
                path = write_scenario(folder, shop.port, mix=case.mix, slos=case.slos, rate=60, seconds=seconds)
                run = loadgen("run", str(path), "--quiet", runs_dir=folder / "runs").folder
            write_settings(folder, url)
            for _ in range(turns):
                first_s, end_s, causes = _timed(folder, run)
                firsts_s.append(first_s)
                found = causes["found"]
                rows.append([str(found["asked"]), str(found["found"]), f"{first_s:.1f} s", f"{end_s:.1f} s"])
    return Section(
        "From a finished run to its cause",
        HOW.format(seconds=seconds, turns=turns, most=MOST),
        ["traces asked for", "found", "first line", "end"],
        rows,
        f"Budget (first line within {BUDGET_S:g} s): {held(max(firsts_s) <= BUDGET_S)}.",
    )


def _timed(folder: Path, run: Path) -> tuple[float, float, dict[str, Any]]:
    """Return the seconds to the first line and to the end, and cause.json."""
    for kept in (run / "traces").glob("*"):
        kept.unlink()
    command = [sys.executable, "-m", "loadgen_controller.cli", "trace", str(run), "--backend", SOURCE]
    command += ["--most", str(MOST), "--json", str(folder / "cause.json")]
    began_s = time.monotonic()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        is_told = any(line.startswith(_FIRST) for line in process.stdout)
        first_s = time.monotonic() - began_s
        process.stdout.read()
    end_s = time.monotonic() - began_s
    assert is_told, "loadgen trace printed no ranking"
    return first_s, end_s, json.loads((folder / "cause.json").read_text())
