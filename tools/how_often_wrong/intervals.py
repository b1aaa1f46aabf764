"""The 95 % intervals of a run's percentiles: how often they contain the truth, and how often one is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from tests.support.simulated import ROW, quick_batches_of
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table, share_text

__all__ = ["BEYOND_ANY_METHOD", "Cell", "cells", "tables"]

Array = npt.NDArray[np.float64]
QS: Final = (50.0, 95.0, 99.0)
SECONDS: Final = (20, 60, 300)
PER_SECOND: Final = 50


@dataclass(frozen=True, slots=True)
class Traffic:
    """How response times are made, in ms: 50 in each second."""

    name: str
    kind: str
    """"lognormal", times a slow part (AR(1) from second to second); "modes", some requests are 20 times slower;
    "queue", an M/M/1 queue; "pareto"."""
    phi: float = 0.0
    spread: float = 0.0
    share: float = 0.0
    """The share of slow requests, or the utilisation of the queue, or the exponent."""


TRAFFIC: Final = (
    Traffic("independent", "lognormal"),
    Traffic("independent, Pareto tail", "pareto", share=2.0),
    Traffic("slow part, rho 0.5", "lognormal", 0.5, 0.2),
    Traffic("slow part, rho 0.9, spread 10 %", "lognormal", 0.9, 0.1),
    Traffic("slow part, rho 0.9, spread 20 %", "lognormal", 0.9, 0.2),
    Traffic("slow part, rho 0.97", "lognormal", 0.97, 0.1),
    Traffic("0.9 % slow requests", "modes", share=0.009),
    Traffic("1.0 % slow requests", "modes", share=0.010),
    Traffic("1.1 % slow requests", "modes", share=0.011),
    Traffic("M/M/1 at 50 %", "queue", share=0.5),
    Traffic("M/M/1 at 80 %", "queue", share=0.8),
)

BEYOND_ANY_METHOD: Final = frozenset(
    (
        ("slow part, rho 0.9, spread 20 %", 20),
        ("slow part, rho 0.97", 20),
        ("slow part, rho 0.97", 60),
        ("M/M/1 at 50 %", 20),
        ("M/M/1 at 80 %", 20),
        ("M/M/1 at 80 %", 60),
    )
)
"""(traffic, seconds) with a coverage below 92 %, since such a run does not show what is missing in it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The intervals of one percentile in many runs of one kind."""

    traffic: str
    seconds: int
    q: float
    trials: int
    shown: int
    """Runs with an interval."""
    covered: int
    """Intervals that contain the truth."""
    width: float
    """The median of upper end / lower end."""

    @property
    def coverage(self) -> float:
        return self.covered / max(1, self.shown)


def cells(trials: int, seed: int, seconds: Sequence[int] = SECONDS) -> list[Cell]:
    """Return the intervals of all kinds of traffic. Cost: 5 ms a run of 20 s, 40 ms one of 300 s."""
    asked = [(one, length, trials, seed) for length in seconds for one in TRAFFIC]
    return [cell for found in in_processes(_cells_of, asked) for cell in found]


def tables(trials: int, seed: int) -> list[Table]:
    found = cells(trials, seed)
    by_row: dict[tuple[str, int], list[Cell]] = {}
    for cell in found:
        by_row.setdefault((cell.traffic, cell.seconds), []).append(cell)
    rows = [
        (traffic, f"{seconds} s", *(share_text(one.covered, one.shown) for one in of), f"{min(o.shown for o in of):,}")
        for (traffic, seconds), of in by_row.items()
    ]
    return [
        Table(
            "The interval of a percentile",
            f"A trial is a run with {PER_SECOND} response times in each second. A cell is the share of 95 % intervals"
            f" that contain the true percentile, and its standard error; the last column is the number of {trials:,}"
            " runs that showed an interval.",
            ("response times", "run", *(f"p{q:g}" for q in QS), "shown"),
            rows,
        )
    ]


def _cells_of(asked: tuple[Traffic, int, int, int]) -> list[Cell]:
    traffic, seconds, trials, seed = asked
    chance = np.random.default_rng((seed, seconds, TRAFFIC.index(traffic)))
    truth = {q: _truth_ms(traffic, q / 100) for q in QS}
    widths: dict[float, list[float]] = {q: [] for q in QS}
    covered = dict.fromkeys(QS, 0)
    for _ in range(trials):
        runs = [(ms * 1e6).astype(np.int64) for ms in _times_ms(traffic, seconds, chance)]
        for q, interval in zip(QS, quick_batches_of(runs).intervals(ROW, QS), strict=True):
            if interval.low is not None and interval.high is not None:
                widths[q].append(interval.high / max(interval.low, 1e-3))
                covered[q] += interval.low <= truth[q] <= interval.high
    return [
        Cell(traffic.name, seconds, q, trials, len(widths[q]), covered[q], float(np.median(widths[q] or [0.0])))
        for q in QS
    ]


def _times_ms(traffic: Traffic, seconds: int, chance: np.random.Generator) -> list[Array]:
    shape = (seconds, PER_SECOND)
    if traffic.kind == "queue":
        return _queue_ms(traffic.share, seconds, chance)
    if traffic.kind == "pareto":
        return list(10 * (1 + chance.pareto(traffic.share, shape)))
    if traffic.kind == "modes":
        fast = 20 * np.exp(chance.normal(0, 0.2, shape))
        return list(np.where(chance.random(shape) < traffic.share, 20 * fast, fast))
    slow = np.empty(seconds)
    value = chance.normal(0, 1)
    for k in range(seconds):
        slow[k] = value
        value = traffic.phi * value + sqrt(1 - traffic.phi**2) * chance.normal(0, 1)
    return list(20 * np.exp(chance.normal(0, 0.5, shape) + traffic.spread * slow[:, None]))


def _queue_ms(utilisation: float, seconds: int, chance: np.random.Generator) -> list[Array]:
    """Return the sojourn times of an M/M/1 queue by the second in which they ended, after 20 s of start-up."""
    start_s, mu = 20, PER_SECOND / utilisation
    n = round((start_s + seconds) * PER_SECOND * 1.3) + 200
    arrivals = np.cumsum(chance.exponential(1 / PER_SECOND, n))
    worked = np.cumsum(chance.exponential(1 / mu, n))
    done = worked + np.maximum.accumulate(arrivals - np.concatenate(([0.0], worked[:-1])))
    edges = np.searchsorted(done, start_s + np.arange(seconds + 1))
    times = (done - arrivals) * 1_000
    return [times[first:last] for first, last in pairwise(edges.tolist())]


def _truth_ms(traffic: Traffic, q: float) -> float:
    if traffic.kind == "queue":
        return -log(1 - q) / (PER_SECOND / traffic.share - PER_SECOND) * 1_000
    if traffic.kind == "pareto":
        return float(10 * (1 - q) ** (-1 / traffic.share))
    if traffic.kind == "lognormal":
        return 20 * exp(NormalDist().inv_cdf(q) * sqrt(0.5**2 + traffic.spread**2))
    low, high = 1.0, 5_000.0
    for _ in range(200):  # bisection, on the mixture of both modes
        middle = sqrt(low * high)
        below = [NormalDist(log(centre), 0.2).cdf(log(middle)) for centre in (20, 400)]
        low, high = (middle, high) if (1 - traffic.share) * below[0] + traffic.share * below[1] < q else (low, middle)
    return low
