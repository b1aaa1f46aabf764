"""Count by simulation the runs in which a sure verdict of an objective is wrong.

A trial is one run with 50 requests a second, whose true share of bad requests is known. The true share is a part of
the budget: 50, 80 or 95 % (the objective is met), 105 or 120 % (it is missed). The verdict itself is a fact about the
run; only *sure* is a statement about the target, and it is wrong if the interval of the bad share lies on the wrong
side of the budget. Sure verdicts may be wrong in 2.5 % of runs.

The runs are numbers: times and outcomes of requests, by second. The interval gets the same quantities as in a real
run, see `loadgen.measure.statistics.batch_means.Batches.bad_share`; a test compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, SloResult, evaluate
from loadgen.measure.statistics.bad_share_interval import ShareInterval, dispersion_of, share_interval
from loadgen.measure.statistics.batch_means import LEAST_RHO, MOST_RHO, SLOW_VALUES
from loadgen.measure.statistics.correlation import neighbours_rho
from loadgen.measure.statistics.share_in_worst_window import share_in_worst_window
from loadgen.units import NS_PER_S
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table

__all__ = ["Cell", "SeriesOfRun", "WindowCell", "cells", "interval_of", "objectives_table", "tables", "window_cells"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BATCHES: Final = 5
PER_S: Final = 50
SECONDS: Final = (20, 60, 300)
BUDGETS: Final = (0.05, 0.01, 0.001)
FEW_GROUPS: Final = 5
"""With fewer bursts in a run, more than 1 % of runs have none at all."""
PARTS: Final = (0.5, 0.8, 0.95, 1.05, 1.2)
"""True shares as parts of the budget."""
SIGMA: Final = 0.5
"""Standard deviation of the logarithm of response times within a second."""


@dataclass(frozen=True, slots=True)
class SeriesOfRun:
    """The times of one run's requests, and the thresholds or errors that make a share of them bad.

    second: (n,) the second in which each request ended. level: (n,) logarithm of its time. bad: for a true share, (n,)
    whether each request is bad.
    """

    second: Ints
    level: Floats
    bad: Callable[[float], npt.NDArray[np.bool_]]
    is_latency: bool = True
    """Whether bad requests are slow; otherwise they are errors."""


FAILING: Final = 0.5
"""The part of the requests that fails within a burst of errors."""
Generator = Callable[[np.random.Generator, int], SeriesOfRun]


# -- runs -----------------------------------------------------------------------------------------


def autocorrelated(phi: float, sd: float) -> Generator:
    """Return a generator of lognormal times whose level is an AR(1) process from second to second.

    phi: its correlation. sd: the standard deviation of its logarithm. 0, 0: independent times.
    """

    def run(rng: np.random.Generator, seconds: int) -> SeriesOfRun:
        level = np.zeros(seconds)
        steps = rng.normal(0, 1, seconds)
        for i in range(seconds):
            level[i] = steps[i] * sd if i == 0 else phi * level[i - 1] + sd * sqrt(1 - phi * phi) * steps[i]
        second = np.repeat(np.arange(seconds), PER_S)
        values = rng.normal(0, SIGMA, seconds * PER_S) + level[second]
        whole = sqrt(SIGMA**2 + sd**2)
        return SeriesOfRun(second, values, lambda share: values > NormalDist().inv_cdf(1 - share) * whole)

    return run


def queue(rng: np.random.Generator, seconds: int) -> SeriesOfRun:
    """Return the times of an M/M/1 queue with 80 % of its capacity used, from its steady state on."""
    mu = PER_S / 0.8
    n = rng.poisson(PER_S * seconds)
    at = np.sort(rng.uniform(0, seconds, n))
    service, gaps = rng.exponential(1 / mu, n), np.diff(at, prepend=at[:1])
    # Lindley: the wait is how far the sum of (service - gap) is above its lowest value so far.
    steps = np.concatenate(([0.0], service[:-1] - gaps[1:])) if n else np.zeros(0)
    # The first request finds the queue of the steady state: empty with 20 %, otherwise exponential.
    found = rng.exponential(1 / (mu - PER_S)) if rng.random() < 0.8 else 0.0
    total = np.cumsum(steps) + found
    wait = total - np.minimum(np.minimum.accumulate(total), 0.0)
    times = wait + service
    second = np.minimum((at + times).astype(np.int64), seconds - 1)
    values = np.log(np.maximum(times, 1e-9))
    return SeriesOfRun(second, values, lambda share: times > -log(share) / (mu - PER_S))


def states(rng: np.random.Generator, seconds: int) -> SeriesOfRun:
    """Return times that are three times as long in slow spells of 2 s, 8 s apart, both on average (exponential)."""
    slow = np.zeros(seconds, dtype=np.bool_)
    at, is_slow = 0.0, bool(rng.random() < 0.2)
    while at < seconds:
        end = at + rng.exponential(2.0 if is_slow else 8.0)
        slow[round(at) : round(end)] = is_slow
        at, is_slow = end, not is_slow
    second = np.repeat(np.arange(seconds), PER_S)
    values = rng.normal(0, SIGMA, seconds * PER_S) + log(3) * slow[second]
    return SeriesOfRun(second, values, lambda share: values > _mixed_limit(share))


def _mixed_limit(share: float) -> float:
    """Return the logarithm of the time that `share` of all requests in `states` exceed, by bisection."""
    low, high = -5.0, 10.0
    normal = NormalDist(0, SIGMA)
    for _ in range(60):
        at = (low + high) / 2
        above = 0.8 * (1 - normal.cdf(at)) + 0.2 * (1 - normal.cdf(at - log(3)))
        low, high = (at, high) if above > share else (low, at)
    return low


def bursts(length_s: float, failing: float) -> Generator:
    """Return a generator of errors that come in bursts: within one, a part `failing` of the requests fails.

    Bursts begin at random (Poisson) and last `length_s` on average (exponential).
    """

    def run(rng: np.random.Generator, seconds: int) -> SeriesOfRun:
        n = seconds * PER_S
        at = np.sort(rng.uniform(0, seconds, n))
        before = 8 * length_s  # bursts that began before the run reach into it
        most = max(BUDGETS) * max(PARTS)
        begins_per_s = -log(1 - most / failing) / length_s
        count = rng.poisson(begins_per_s * (seconds + before))
        begin = rng.uniform(-before, seconds, count)
        end = begin + rng.exponential(length_s, count)
        mark = rng.uniform(0, 1, count)
        fails = rng.random(n) < failing

        def bad(share: float) -> npt.NDArray[np.bool_]:
            # A smaller share keeps a part of the bursts: the number of bursts at a time is Poisson, and
            # P(none) = exp(-rate length) = 1 - share / failing.
            kept = mark < log(1 - share / failing) / log(1 - most / failing)
            opened = np.searchsorted(np.sort(begin[kept]), at, side="right")
            closed = np.searchsorted(np.sort(end[kept]), at, side="right")
            return fails & (opened > closed)

        return SeriesOfRun(at.astype(np.int64), rng.normal(0, SIGMA, n), bad, is_latency=False)

    return run


GENERATORS: Final[dict[str, Generator]] = {
    "independent": autocorrelated(0.0, 0.0),
    "AR .5": autocorrelated(0.5, 0.1),
    "AR .9": autocorrelated(0.9, 0.1),
    "AR .9, twice the spread": autocorrelated(0.9, 0.2),
    "AR .97": autocorrelated(0.97, 0.1),
    "M/M/1 at .8": queue,
    "slow spells of 2 s": states,
    "bursts of .2 s": bursts(0.2, FAILING),
    "bursts of 2 s": bursts(2.0, FAILING),
}


def groups_expected(generator: str, seconds: int, budget: float) -> float:
    """Return the number of bursts or slow spells that a run at its budget has on average.

    For AR .97 it is the number of times in which the level forgets itself, 66 s each; it is infinite for the other
    generators, whose bad requests do not depend on rare events.
    """
    if generator == "AR .97":
        return seconds / ((1 + 0.97) / (1 - 0.97))
    if generator.startswith("bursts"):
        length_s = float(generator.split()[2])
        return -log(1 - budget / FAILING) / length_s * seconds
    return seconds / 10 if generator.startswith("slow") else float("inf")


# -- one run --------------------------------------------------------------------------------------


class _Judge:
    """Computes the intervals of one run, as `Batches.bad_share` does from a run's deltas."""

    def __init__(self, run: SeriesOfRun, seconds: int) -> None:
        self._run, self._seconds = run, seconds
        self._n = np.bincount(run.second, minlength=seconds)[:seconds]
        sums = np.bincount(run.second, run.level, seconds)[:seconds]
        level = sums - self._n * (sums.sum() / max(1, self._n.sum()))
        self._level = neighbours_rho(level, BATCHES)
        self._sorted = np.sort(run.level)
        self._slow: dict[float, tuple[float, float | None]] = {}

    def interval(self, bad: npt.NDArray[np.bool_], budget: float) -> ShareInterval:
        total = len(bad)
        slow = max(budget, min(0.5, SLOW_VALUES / max(1, total))) if self._run.is_latency else 0.5
        rho, dispersion = self._of_slow(slow)
        wrong = np.bincount(self._run.second[bad], minlength=self._seconds)[: self._seconds]
        has_few = self._run.is_latency and int(wrong.sum()) < SLOW_VALUES
        return share_interval(
            _by_batch(wrong),
            _by_batch(self._n),
            rho=rho,
            intervals=self._seconds,
            least=dispersion if has_few else None,
        )

    def _of_slow(self, share: float) -> tuple[float, float | None]:
        """Return (the correlation of neighbouring batches, the dispersion) by the slowest `share` of the values."""
        found = self._slow.get(share)
        if found is None:
            n = len(self._sorted)
            limit = self._sorted[max(0, n - 1 - round(share * n))] if n else 0.0
            above = np.bincount(self._run.second[self._run.level > limit], minlength=self._seconds)[: self._seconds]
            tail = neighbours_rho(above - self._n * share, BATCHES)
            rho = min(MOST_RHO, max(LEAST_RHO, self._level.upper, tail.upper))
            found = self._slow[share] = rho, dispersion_of(_by_batch(above), _by_batch(self._n))
        return found


def interval_of(run: SeriesOfRun, seconds: int, share: float, budget: float) -> ShareInterval:
    """Return the interval of the bad share of a simulated run whose true share is `share`."""
    return _Judge(run, seconds).interval(run.bad(share), budget)


def _by_batch(counts: Ints) -> list[int]:
    at = np.arange(len(counts)) * BATCHES // len(counts)
    return [int(one) for one in np.bincount(at, counts, BATCHES)]


# -- many runs ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """The rates of one generator, length and budget, in the order of PARTS; shares of runs, 0 to 1."""

    generator: str
    seconds: int
    budget: float
    trials: int
    failed: tuple[float, ...]
    """Runs whose verdict is failed."""
    sure: tuple[float, ...]
    """Runs whose verdict is sure, right or wrong."""
    wrong: tuple[float, ...]
    """Runs whose verdict is sure and wrong."""
    groups: float
    """Bursts or slow spells that a run at its budget has on average, see `groups_expected`."""

    @property
    def is_beyond(self) -> bool:
        """Whether many runs show none or one of the rare events that make requests bad, so no interval can hold."""
        return self.groups < FEW_GROUPS


def cells(trials: int, seed: int, generators: Sequence[str] = tuple(GENERATORS)) -> list[Cell]:
    """Return the rates of all cells. Cost: 2 to 7 ms a trial, which is one run with all budgets and true shares."""
    asked = [(name, seconds, trials, seed) for name in generators for seconds in SECONDS]
    return [cell for found in in_processes(_cells_of, asked) for cell in found]


def _cells_of(asked: tuple[str, int, int, int]) -> list[Cell]:
    """Return the cells of one generator and length, one for each budget."""
    name, seconds, trials, seed = asked
    rng = np.random.default_rng([seed, list(GENERATORS).index(name), seconds])
    counts = np.zeros((len(BUDGETS), len(PARTS), 3))
    for _ in range(trials):
        run = GENERATORS[name](rng, seconds)
        judge = _Judge(run, seconds)
        for b, budget in enumerate(BUDGETS):
            for p, part in enumerate(PARTS):
                bad = run.bad(budget * part)
                has_failed = int(bad.sum()) > budget * len(bad)
                found = judge.interval(bad, budget)
                is_sure = found.low > budget if has_failed else found.high <= budget
                counts[b, p] += (has_failed, is_sure, is_sure and has_failed == (part < 1))
    cells = []
    for b, budget in enumerate(BUDGETS):
        failed, sure, wrong = (tuple(float(one) for one in counts[b, :, i] / trials) for i in range(3))
        groups = groups_expected(name, seconds, budget)
        cells.append(Cell(name, seconds, budget, trials, failed, sure, wrong, groups))
    return cells


@dataclass(frozen=True, slots=True)
class WindowCell:
    """The rates of an objective over windows of 1 minute in a run of 10 minutes; shares of runs, 0 to 1."""

    count: int
    """Requests in a window."""
    part: float
    """The true share of bad requests, as a part of the budget."""
    trials: int
    failed: float
    sure_failed: float


WINDOW_S: Final = 60
RUN_S: Final = 600
WINDOW_COUNTS: Final = (300, 960, 1_920, 7_680)
WINDOW_PARTS: Final = (0.5, 0.8, 0.95)
P95: Final = Objective(
    kind="percentile", q=95, limit=3e8, window_ns=WINDOW_S * NS_PER_S, text='p(95, window="1m") < "300ms"'
)


def window_cells(trials: int, seed: int) -> list[WindowCell]:
    """Return how often an objective over windows fails although the target is within its budget all the time.

    The objective is p(95) in each minute. Bad requests come alone or in pairs; their dispersion is 1.4. Cost: 3 ms a
    trial.
    """
    asked = [(count, part, trials, seed) for count in WINDOW_COUNTS for part in WINDOW_PARTS]
    return in_processes(_window_cell, asked)


def _window_cell(asked: tuple[int, float, int, int]) -> WindowCell:
    count, part, trials, seed = asked
    rng = np.random.default_rng([seed, count, round(part * 100)])
    budget = 1 - P95.q / 100
    failed = sure = 0
    for _ in range(trials):
        result, share = _windowed(rng, P95, count // WINDOW_S, budget * part)
        failed += result.verdict == "failed"
        sure += result.verdict == "failed" and share is not None and share.low > budget
    return WindowCell(count, part, trials, failed / trials, sure / trials)


GROUP_SIZES: Final = (0.75, 0.25)
"""The shares of groups with one and with two bad requests. The variance over the mean is 1.75 / 1.25 = 1.4."""


def _windowed(
    rng: np.random.Generator, objective: Objective, per_s: int, share: float
) -> tuple[SloResult, ShareInterval | None]:
    singles = rng.poisson(per_s * share * GROUP_SIZES[0] / 1.25, RUN_S)
    doubles = rng.poisson(per_s * share * GROUP_SIZES[1] / 1.25, RUN_S)
    bad = np.minimum(singles + 2 * doubles, per_s).tolist()
    merge = Merge()
    merge.due.add("a", [DueCounts(0, "shop", k, per_s - one, one) for k, one in enumerate(bad)])
    (result,) = evaluate(objective, merge, index=0, end_ns=RUN_S * NS_PER_S)
    return result, share_in_worst_window(result, objective, merge.due, 0, NS_PER_S)


# -- tables ---------------------------------------------------------------------------------------


def tables(trials: int, seed: int) -> list[Table]:
    """Return the tables of objectives, from `trials` runs a cell."""
    return [objectives_table(cells(trials, seed)), windows_table(window_cells(trials, seed))]


def objectives_table(found: Sequence[Cell]) -> Table:
    """Return the table of objectives over whole runs."""
    note = (
        "A trial is a run of 50 requests a second, with a true share of bad requests of 50 to 120 % of the budget. "
        "*Failed* and *passed* are verdicts, which are facts about the run. *Wrong* is a sure verdict on the wrong"
        " side: at most 0.025 is stated. In brackets: standard errors. Marked with *: a run at its budget has fewer"
        " than 5 bursts, slow spells or changes of its level, and no interval can hold what a run does not show."
    )
    columns = (
        "requests, length, budget",
        "failed at 95 %",
        "wrong at 95 %",
        "passed at 105 %",
        "wrong at 105 %",
        "wrong at 50, 80, 120 % (largest)",
        "sure at 50 %",
        "sure at 80 %",
        "sure at 120 %",
    )
    rows = []
    for one in found:
        n = one.trials
        mark = " *" if one.is_beyond else ""
        rows.append(
            (
                f"{one.generator}, {one.seconds} s, {one.budget * 100:g} %{mark}",
                rate_text(one.failed[2], n),
                rate_text(one.wrong[2], n),
                rate_text(1 - one.failed[3], n),
                rate_text(one.wrong[3], n),
                rate_text(max(one.wrong[0], one.wrong[1], one.wrong[4]), n),
                rate_text(one.sure[0], n),
                rate_text(one.sure[1], n),
                rate_text(one.sure[4], n),
            )
        )
    return Table("Objectives: sure verdicts", note, columns, rows)


def windows_table(found: Sequence[WindowCell]) -> Table:
    """Return the table of objectives over sliding windows."""
    note = (
        "A trial is a run of 10 minutes with an objective for p95 in each minute. The true share of bad requests is"
        " constant and within the budget, so each failure is chance; *sure* failures are stated to be at most 0.025."
        " Bad requests come alone or in pairs (dispersion 1.4). From 1,920 requests in a window on, the scenario loads"
        " without a warning."
    )
    columns = ("requests in a window, part of the budget", "failed", "failed and sure")
    rows = [
        (
            f"{one.count:,}, {one.part * 100:g} %",
            rate_text(one.failed, one.trials),
            rate_text(one.sure_failed, one.trials),
        )
        for one in found
    ]
    return Table("Objectives over sliding windows", note, columns, rows)


def rate_text(rate: float, trials: int) -> str:
    """Return a rate with its standard error as "0.021 (0.003)"."""
    return f"{rate:.3f} ({sqrt(rate * (1 - rate) / trials):.3f})"
