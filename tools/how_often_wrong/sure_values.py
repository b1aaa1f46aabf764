"""Count by simulation the runs in which a sure verdict of an objective on any metric is wrong.

A trial is one run whose true value is known: a ratio, a mean, a throughput, or a percentile of a trend. The limit is a
multiple of the truth: a little above or below it, where wrong verdicts are most frequent, and far from it, where a
verdict should be sure. A sure verdict is wrong if it is not on the side of the limit on which the truth is. At most
2.5 % of runs may have a wrong one.

A run is given as numbers by second (`loadgen.measure.statistics.objective_bins.Binned`), and `sure_values.py` computes
the intervals. tests/statistics/test_sure_values.py compares them with the intervals of the same runs from deltas.

Totals, last values and extremes have no interval, so there is nothing to simulate.

Over sliding windows, a trial is a run of 10 minutes with an objective for each minute. The true value is constant and
on the right side of the limit, so each failure is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.statistics.bad_share_interval import dispersion_of
from loadgen.measure.statistics.batch_means import SLOW_VALUES
from loadgen.measure.statistics.objective_bins import Binned
from loadgen.measure.statistics.sure_values import Ends, judged_in_windows, mean_ends, rate_ends, share_of
from loadgen.units import NS_PER_S
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table, share_text

__all__ = [
    "KINDS",
    "PROCESSES",
    "SECONDS",
    "Cell",
    "Run",
    "WindowCell",
    "cells",
    "ends_of",
    "made",
    "sides",
    "tables",
    "values_table",
    "window_cells",
    "windows_table",
]

Floats = npt.NDArray[np.float64]

PER_S: Final = 50
SECONDS: Final = (20, 60, 300)
PROCESSES: Final = {"independent": (0.0, 0.0), "AR .5": (0.5, 0.1), "AR .9": (0.9, 0.1), "AR .9, twice": (0.9, 0.2)}
"""Correlation of the level from second to second, and the standard deviation of its logarithm."""
SIGMA: Final = 0.5
"""Standard deviation of the logarithm of the values within a second."""
KINDS: Final = ("check", "ratio", "mean", "throughput", "p95 of a trend")
SHARES: Final = {"check": 0.01, "ratio": 0.3, "p95 of a trend": 0.05}
"""The true share of bad events."""
NEAR: Final = 0.02
"""The limit of a mean or throughput is this much above or below the truth. For a share: 5 %."""
FAR: Final = 0.3


@dataclass(frozen=True, slots=True)
class Run:
    """The events of one run.

    second: (n,) when each ended. value: (n,) its value. is_bad: (n,) whether it is bad, if a share is limited.
    """

    second: npt.NDArray[np.int64]
    value: Floats
    is_bad: npt.NDArray[np.bool_]
    seconds: int
    has_values: bool

    @property
    def binned(self) -> Binned:
        """The bins of the run: its seconds."""
        # A check has only an outcome.
        weights = (None, self.is_bad, self.value if self.has_values else self.is_bad)
        count, bad, total = (np.bincount(self.second, one, self.seconds).astype(np.float64) for one in weights)
        return Binned(count, bad, total, float(count.sum()), float(total.sum()))


def made(rng: np.random.Generator, kind: str, process: str, seconds: int) -> Run:
    """Return one run. Values are lognormal around a level that is an AR(1) process from second to second.

    A throughput counts Poisson events, whose rate has the level. A check or ratio is bad if its value is above a limit.
    """
    phi, sd = PROCESSES[process]
    level = np.zeros(seconds)
    steps = rng.normal(0, 1, seconds)
    for i in range(seconds):
        level[i] = steps[i] * sd if i == 0 else phi * level[i - 1] + sd * sqrt(1 - phi * phi) * steps[i]
    counts = rng.poisson(PER_S * np.exp(level - sd * sd / 2)) if kind == "throughput" else PER_S
    second = np.repeat(np.arange(seconds), counts)
    logs = rng.normal(0, SIGMA, len(second)) + level[second]
    bad = logs > NormalDist().inv_cdf(1 - SHARES.get(kind, 0.5)) * sqrt(SIGMA**2 + sd**2)
    return Run(second, np.exp(logs), bad, seconds, has_values=kind not in ("check", "ratio"))


def truth_of(kind: str, process: str) -> float:
    """Return the true mean, or the true throughput per second, or the true share of bad events."""
    if kind == "throughput":
        return float(PER_S)
    return SHARES.get(kind, exp((SIGMA**2 + PROCESSES[process][1] ** 2) / 2))


def ends_of(kind: str, run: Run) -> tuple[float, Ends]:
    """Return the observed value of a run, and its interval."""
    found = run.binned
    if kind == "mean":
        return found.whole_total / found.whole_count, mean_ends(found)
    if kind == "throughput":
        per_s = found.whole_count / run.seconds
        return per_s, rate_ends(found, np.ones(run.seconds, dtype=np.int64), per_s)
    bad, n = int(found.bad.sum()), int(found.whole_count)
    least = None
    if kind == "p95 of a trend" and bad < SLOW_VALUES:
        least = _dispersion_of_slow(run, max(SHARES[kind], min(0.5, SLOW_VALUES / max(1, n))))
    share = share_of(found, (bad, n), least)
    return bad / max(1, n), Ends(share.low, share.high)


def _dispersion_of_slow(run: Run, share: float) -> float | None:
    limit = np.quantile(run.value, 1 - share)
    at = run.second * 5 // run.seconds
    return dispersion_of(
        np.bincount(at, run.value > limit, 5).tolist(), np.bincount(at, minlength=5).astype(float).tolist()
    )


def sides(observed: float, ends: Ends, limit: float) -> int:
    """Return 1 if a run is surely below the limit, -1 if it is surely above it, and 0 if it is not sure."""
    if ends.why:
        return 0
    return int(observed < limit and ends.high < limit) - int(observed >= limit and ends.low > limit)


@dataclass(frozen=True, slots=True)
class Cell:
    """The rates of one kind, process and length, as numbers of runs."""

    kind: str
    process: str
    seconds: int
    trials: int
    wrong_below: int
    """Sure verdicts "below the limit" with a limit a little below the truth."""
    wrong_above: int
    """Sure verdicts "above the limit" with a limit a little above the truth."""
    sure_far: int
    """Sure verdicts, all of them right, with a limit far above the truth."""


def cells(
    trials: int, seed: int, kinds: Sequence[str] = KINDS, processes: Sequence[str] = tuple(PROCESSES)
) -> list[Cell]:
    """Return the rates of all cells. Cost: 1 ms a trial of 20 s, 5 ms one of 300 s."""
    asked = [(kind, process, seconds, trials, seed) for kind in kinds for process in processes for seconds in SECONDS]
    return in_processes(_cell, asked)


def _cell(asked: tuple[str, str, int, int, int]) -> Cell:
    kind, process, seconds, trials, seed = asked
    rng = np.random.default_rng([seed, KINDS.index(kind), list(PROCESSES).index(process), seconds])
    truth = truth_of(kind, process)
    near = 0.05 if kind in SHARES else NEAR
    below = above = far = 0
    for _ in range(trials):
        observed, ends = ends_of(kind, made(rng, kind, process, seconds))
        below += sides(observed, ends, truth * (1 - near)) == 1
        above += sides(observed, ends, truth * (1 + near)) == -1
        far += sides(observed, ends, truth * (2 if kind in SHARES else 1 + FAR)) == 1
    return Cell(kind, process, seconds, trials, below, above, far)


WINDOWED: Final = ("mean", "throughput")
WINDOW_S: Final = 60
RUN_S: Final = 600
WINDOW_PARTS: Final = (0.95, 0.98, 0.995)
"""The true value divided by the limit."""


@dataclass(frozen=True, slots=True)
class WindowCell:
    """The rates of one kind over sliding windows, as numbers of runs."""

    kind: str
    part: float
    trials: int
    failed: int
    sure_failed: int


def window_cells(trials: int, seed: int) -> list[WindowCell]:
    """Return how often an objective over windows fails by chance, and surely. Cost: 3 ms a trial."""
    return in_processes(_window_cell, [(kind, part, trials, seed) for kind in WINDOWED for part in WINDOW_PARTS])


def _window_cell(asked: tuple[str, float, int, int]) -> WindowCell:
    kind, part, trials, seed = asked
    rng = np.random.default_rng([seed, 7, WINDOWED.index(kind), round(part * 1_000)])
    of: Any = {"kind": kind, "window_ns": WINDOW_S * NS_PER_S, "text": kind}
    if kind == "mean":
        # A lognormal with a mean of 100 ms.
        objective = Objective(**of, limit=1e8 / part)
    else:
        objective = Objective(**of, limit=PER_S / part, of="requests")
    failed = sure_failed = 0
    for _ in range(trials):
        merge = Merge()
        counts = rng.poisson(PER_S, RUN_S) if kind == "throughput" else np.full(RUN_S, PER_S)
        logs = rng.normal(log(1e5) - SIGMA**2 / 2, SIGMA, int(counts.sum()))
        us = np.add.reduceat(np.exp(logs), np.cumsum(counts) - counts).round().astype(np.int64).tolist()
        rows = zip(counts.tolist(), us, strict=True)
        merge.due.add("a", [DueCounts(0, "shop", k, n, total=one) for k, (n, one) in enumerate(rows)])
        (result,) = evaluate(objective, merge, index=0, end_ns=RUN_S * NS_PER_S)
        result = judged_in_windows(result, objective, merge.due, 0, NS_PER_S)
        failed += result.verdict == "failed"
        sure_failed += result.verdict == "failed" and bool(result.sure)
    return WindowCell(kind, part, trials, failed, sure_failed)


def tables(trials: int, seed: int) -> list[Table]:
    """Return the tables of objectives on any metric, from `trials` runs a cell."""
    return [values_table(cells(trials, seed)), windows_table(window_cells(trials, seed))]


def windows_table(found: Sequence[WindowCell]) -> Table:
    """Return the table of objectives over sliding windows."""
    note = (
        f"A trial is a run of 10 minutes with {PER_S} independent values a second, and an objective for each minute."
        " The true value is constant and below the limit, so each failure is chance. At most 0.025 is stated"
        " for failures that are *sure*."
    )
    rows = [
        (
            f"{one.kind}, {one.part * 100:g} % of the limit",
            share_text(one.failed, one.trials),
            share_text(one.sure_failed, one.trials),
        )
        for one in found
    ]
    return Table(
        "Objectives on any metric over sliding windows", note, ("what is limited", "failed", "failed and sure"), rows
    )


def values_table(found: Sequence[Cell]) -> Table:
    """Return the table of objectives over whole runs."""
    note = (
        f"A trial is a run with {PER_S} values a second (a throughput: Poisson events at that rate). *Wrong below the"
        " limit* is the share of runs whose verdict is surely below a limit that is 2 % below the truth (for a share"
        " 5 %); *wrong above it* is the same above the truth. At most 0.025 is stated. *Sure* is the share of sure"
        " verdicts with a limit 30 % above the truth (for a share at twice the truth)."
        " A check has 1 % bad values, a ratio 30 %, and a percentile is p95. AR: the level is an AR(1) process from"
        " second to second with a spread of 10 % (twice: 20 %). In brackets: standard errors."
    )
    columns = ("what is limited", "values", "run", "wrong below the limit", "wrong above it", "sure")
    rows = [
        (
            one.kind,
            one.process,
            f"{one.seconds} s",
            share_text(one.wrong_below, one.trials),
            share_text(one.wrong_above, one.trials),
            share_text(one.sure_far, one.trials),
        )
        for one in found
    ]
    return Table("Objectives on any metric: sure verdicts", note, columns, rows)
