"""Measure the cost of listing many runs, from their summaries and from the index."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from bench.report import Section, held
from loadgen_controller.past_runs.index import FILE
from loadgen_controller.past_runs.listing import entries

HOW = """\
{runs} run folders, each with a manifest and a summary of {rows} rows with intervals ({kilobytes:.0f} kB; one file, \
linked, so that it is in memory). *without index*: all summaries are read, and the index is written; *with index*: \
the list again. Wall and CPU time of this process, least of {turns}."""
_RUN = Path(__file__).parents[1] / "tests" / "data" / "runs" / "20261124-browse-format-1"


def measure(*, runs: int = 2_000, rows: int = 330, turns: int = 3) -> Section:
    with TemporaryDirectory(prefix="loadgen-bench-") as folder:
        root = Path(folder)
        size = _make(root, runs, rows)
        without = [_list(root, anew=True) for _ in range(turns)]
        with_index = [_list(root, anew=False) for _ in range(turns)]
    figures = [
        [name, f"{min(wall for wall, _ in found):.2f}", f"{min(cpu for _, cpu in found):.2f}"]
        for name, found in (("without index", without), ("with index", with_index))
    ]
    least = min(wall for wall, _ in with_index)
    return Section(
        "A list of runs",
        HOW.format(runs=runs, rows=rows, kilobytes=size / 1e3, turns=turns),
        ["", "s", "s of CPU"],
        figures,
        f"Budget: 1 s with index: {held(least <= 1)}.",
    )


def _make(root: Path, runs: int, rows: int) -> int:
    """Return the bytes of a summary."""
    summary = json.loads((_RUN / "summary.json").read_text())
    intervals = {quantile: [1.234, 2.345] for quantile in ("p50", "p90", "p95", "p99", "p99.9")}
    row = summary["series"][0] | {"response_ci_ms": intervals, "interval": "5 batches of 24.0 s"}
    summary["series"] = [row | {"request": f"GET /{n}"} for n in range(rows)]
    first = root / ".summary.json"
    first.write_text(json.dumps(summary, indent=2))
    for n in range(runs):
        path = root / f"20261124-{n:06d}-browse-0000"
        path.mkdir()
        shutil.copy(_RUN / "manifest.json", path)
        os.link(first, path / "summary.json")
    return first.stat().st_size


def _list(root: Path, *, anew: bool) -> tuple[float, float]:
    if anew:
        (root / FILE).unlink(missing_ok=True)
    wall, cpu = perf_counter(), process_time()
    entries(root)
    return perf_counter() - wall, process_time() - cpu
