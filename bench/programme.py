"""Measure the commands of the programme: `slo status`, `slo report`, `decide` and `board`."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from bench.report import Section, held
from bench.weekly_page import COMMAND, command_cost, write_runs
from loadgen.programme.ledger.ledger import day_of
from loadgen.programme.ledger.ledger_file import Revision, Rows, to_parquet
from loadgen.programme.ledger.slices import DAY_S
from loadgen.programme.openslo.write import as_openslo
from loadgen.programme.promises.new_promise import new_promise
from loadgen.programme.promises.objectives import DataSource, Threshold
from loadgen.programme.promises.slo_set import SloSet
from tests.support.made_programme import END, WIDTH, made_programme

__all__ = ["measure"]

HOW = """\
Each command as a user calls it, in a process of its own, which includes the start of the interpreter. *status*: \
{objectives} promises with {days} days of 5-minute slices each, one file a day. The others: {runs:,} runs of one key \
in {weeks} weeks, each with {names} names, of which 14 are journeys; {weeks} weeks of slices of 14 promises; verdicts, \
A/A controls and a capacity; as of 2026-07-27 06:00 UTC. Wall and CPU time, median of {turns}."""
_NOW: Final = "2026-07-27T06:00Z"
_BUDGET_S: Final = {"slo status": 1.5, "slo report": 10.0, "decide": 3.0}


def measure(
    *, objectives: int = 50, days: int = 28, runs: int = 1_000, names: int = 60, weeks: int = 13, turns: int = 3
) -> Section:
    with TemporaryDirectory(prefix="loadgen-bench-") as name:
        many = Path(name) / "many"
        _write_promises(many, objectives, days)
        made = made_programme(Path(name) / "programme", weeks=weeks, nights=7)
        write_runs(made.store, runs, names)
        at, any_verdict = ("--as-of", _NOW), (0, 1, 3, 4)
        found = {
            "slo status": _median(turns, many, ("slo", "status", "--as-of", "2026-07-27T00:00Z"), any_verdict),
            "slo report": _median(turns, made.folder, COMMAND),
            "decide": _median(turns, made.folder, ("decide", "checkout", "--release", "v412", *at), any_verdict),
            "board": _median(turns, made.folder, ("board", *at)),
        }
    rows = [
        [f"`loadgen {command}`", f"{wall:.2f}", f"{cpu:.2f}", _budget(command)]
        for command, (wall, cpu) in found.items()
    ]
    verdicts = [f"{command} {most:g} s: {held(found[command][1] <= most)}" for command, most in _BUDGET_S.items()]
    return Section(
        "Commands of the programme",
        HOW.format(objectives=objectives, days=days, runs=runs, names=names, weeks=weeks, turns=turns),
        ["command", "wall, s", "CPU, s", "budget, s of CPU"],
        rows,
        f"Budgets, CPU on one core: {'; '.join(verdicts)}.",
    )


def _budget(command: str) -> str:
    return f"{_BUDGET_S[command]:g}" if command in _BUDGET_S else "-"


def _median(turns: int, folder: Path, arguments: tuple[str, ...], codes: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Return the median wall and CPU time of a command, s."""
    found = [command_cost(folder, *arguments, codes=codes) for _ in range(turns)]
    return median(wall for wall, _, _ in found), median(cpu for _, cpu, _ in found)


def _write_promises(folder: Path, count: int, days: int) -> None:
    """Write promises of 4 weeks, and a file of the ledger for each day until 2026-07-27, 0 h UTC."""
    names = [f"journey-{n:02d}" for n in range(count)]
    promises = [
        new_promise(
            name,
            service="shop",
            target=Decimal("0.995"),
            threshold=Threshold(Decimal(300), "ms"),
            owner="shop@shop.example",
            journey=name,
            source="prod",
        )
        for name in names
    ]
    (folder / "slos").mkdir(parents=True)
    slos = SloSet.of(promises, [DataSource("prod", "Prometheus", json.dumps({"url": "http://prod.example"}))])
    (folder / "slos/shop.yaml").write_text(as_openslo(slos), encoding="utf-8")
    random = np.random.default_rng(50)
    for first in range(END - days * DAY_S, END, DAY_S):
        start = np.tile(np.arange(first, first + DAY_S, WIDTH, dtype=np.int64), count)
        number = np.repeat(np.arange(count, dtype=np.int32), DAY_S // WIDTH)
        total = random.poisson(900, len(start)).astype(np.int64)
        zeros = np.zeros(len(start), np.int64)
        rows = Rows(
            (number, tuple(names)),
            start,
            np.full(len(start), WIDTH, np.int64),
            total - random.binomial(total, 0.003),
            total,
            zeros,
            np.zeros(len(start), np.bool_),
            (number, tuple(f"raw counters of {name}" for name in names)),
        )
        day = day_of(first)
        below = folder / f"history/slis/day={day}"
        below.mkdir(parents=True)
        written = Revision(day, "prod", 1, f"{day}T23:59:59.000Z", "first data")
        (below / "prod-1.parquet").write_bytes(to_parquet(written, rows))
