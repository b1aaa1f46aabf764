"""Measure the cost of reading accepted runs from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from bench.report import Section, held
from loadgen.history.store.parquet_run import to_parquet
from loadgen.history.store.store import Store
from loadgen.history.store.write_once_storage import Folder
from tests.support.accepted import KEY, history

HOW = """\
A store of {runs} runs of one key, each with {names} names (p50, p95, p99, mean and errors of each) over all regions \
and in {regions} regions apart: {kilobytes:.0f} kB a file, in memory. Wall and CPU time of this process, least of \
{turns}."""


def measure(*, runs: int = 1_000, names: int = 60, regions: int = 3, turns: int = 3) -> Section:
    with TemporaryDirectory(prefix="loadgen-bench-") as folder:
        size = _make(Path(folder), runs, names, regions)
        store = Store.open(folder)
        found = {
            "runs(newest=100), what a gate looks at": _least(turns, lambda: store.runs(KEY, newest=100)),
            f"runs(), all {runs:,}": _least(turns, lambda: store.runs(KEY)),
            "runs(newest=100, is_whole=True), regions too": _least(
                turns, lambda: store.runs(KEY, newest=100, is_whole=True)
            ),
            "keys()": _least(turns, store.keys),
        }
    least = next(iter(found.values()))[0]
    return Section(
        "Accepted runs",
        HOW.format(runs=runs, names=names, regions=regions, kilobytes=size / 1e3, turns=turns),
        ["", "s", "s of CPU"],
        [[name, f"{wall:.2f}", f"{cpu:.2f}"] for name, (wall, cpu) in found.items()],
        f"Budget: 1.5 s for what a gate looks at: {held(least <= 1.5)}.",
    )


def _make(folder: Path, runs: int, names: int, regions: int) -> int:
    """Write a file of a run and return its bytes. It bypasses the store, which would sync each file to disk."""
    levels = {f"checkout > step {n // 4} > GET /products/{n}": 20.0 + n for n in range(names)}
    apart = {f"region-{n}": levels for n in range(regions)}
    below = folder / "runs" / f"key={KEY.hash()}"
    below.mkdir(parents=True)
    for run in history(runs, levels, regions=apart):
        data = to_parquet(replace(run, commit="4f2a81c09d3377aa4f2a81c09d3377aa4f2a81c0"))
        (below / f"{run.run_id}.parquet").write_bytes(data)
    assert len(Folder(folder).names("runs/")) == runs
    return len(data)


def _least(turns: int, read: Callable[[], object]) -> tuple[float, float]:
    """Wall time and CPU time."""
    walls, cpus = [], []
    for _ in range(turns):
        wall, cpu = perf_counter(), process_time()
        read()
        walls.append(perf_counter() - wall)
        cpus.append(process_time() - cpu)
    return min(walls), min(cpus)
