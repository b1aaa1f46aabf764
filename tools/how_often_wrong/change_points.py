"""Counts how often `scan` splits histories without a change, and how often it misses a step.

A trial is one history of 100 runs. The scan's allowance for correlation (`ar=True`) was chosen on normal AR(1) series
with outliers. Other kinds of series here have heavy tails, a slow drift under noise, days, rounding, or are real.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import signal

from loadgen.analysis.changepoint import scan
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table, share_text

__all__ = ["REAL", "RECALL", "ROUNDED", "UNCHANGED", "Case", "Cell", "cells", "tables"]

Array = npt.NDArray[np.float64]
Series = Callable[[np.random.Generator, int], Array]
"""Makes the given number of histories, shape (trials, RUNS), natural logarithms of ms."""

RUNS: Final = 100
NEAR: Final = 2
"""A step counts as found if a change point is at most this number of runs from it."""
_OUTLIERS: Final = 0.03
_DATA: Final = Path(__file__).parents[2] / "tests" / "data" / "perf"


# -- histories ------------------------------------------------------------------------------------


def normal(chance: np.random.Generator, trials: int, *, rho: float, noise: float, level_ms: float = 1.0) -> Array:
    """Return normal AR(1) series without outliers. Their levels differ by up to half a ms, for rounding."""
    levels = level_ms + (chance.uniform(-0.5, 0.5, (trials, 1)) if level_ms > 1 else 0.0)
    return np.log(levels) + noise * _correlated(chance, trials, rho)


def outlying(chance: np.random.Generator, trials: int, *, rho: float, noise: float) -> Array:
    """Return normal AR(1) series of which 3 % of the values are outliers."""
    return _with_outliers(chance, noise * _correlated(chance, trials, rho))


def heavy_tailed(chance: np.random.Generator, trials: int, *, rho: float, noise: float) -> Array:
    """Return AR(1) series whose innovations have Student's t distribution with 4 degrees of freedom."""
    return noise * _correlated(chance, trials, rho, chance.standard_t(4, (trials, RUNS)) / np.sqrt(2))


def drifting(chance: np.random.Generator, trials: int, *, rho: float, noise: float) -> Array:
    """Return independent noise plus a slow AR(1) of correlation 0.85. Neighbours have the correlation `rho` in all."""
    slow = rho / 0.85
    values = np.sqrt(slow) * _correlated(chance, trials, 0.85)
    return _with_outliers(chance, noise * (values + np.sqrt(1 - slow) * chance.normal(0, 1, (trials, RUNS))))


def by_days(chance: np.random.Generator, trials: int, *, share: float, noise: float) -> Array:
    """Return days of 4 runs that have `share` of the variance in common."""
    days = np.repeat(chance.normal(0, 1, (trials, RUNS // 4)), 4, axis=1)
    values = np.sqrt(share) * days + np.sqrt(1 - share) * chance.normal(0, 1, (trials, RUNS))
    return _with_outliers(chance, noise * values)


def real(chance: np.random.Generator, trials: int, *, which: str, level_ms: float = 0.0) -> Array:
    """Return windows of successive runs of a real machine.

    which: "short" (a new machine for each run) or "long". level_ms: the median to which the series is scaled; 0: none.
    """
    noise = _noise_of(which)
    at = chance.integers(0, len(noise) - RUNS, trials)
    values: Array = noise[at[:, None] + np.arange(RUNS)]
    return values + np.log(level_ms) - np.median(values) if level_ms else values


def _correlated(chance: np.random.Generator, trials: int, rho: float, steps: Array | None = None) -> Array:
    """Return AR(1) series of variance 1, shape (trials, RUNS).

    steps: their innovations of variance 1; normal if None.
    """
    steps = chance.normal(0, 1, (trials, RUNS)) if steps is None else steps
    steps[:, 1:] *= np.sqrt(1 - rho**2)
    values: Array = signal.lfilter([1.0], [1.0, -rho], steps, axis=1)
    return values


def _with_outliers(chance: np.random.Generator, values: Array) -> Array:
    """Return the values; 3 % of them are moved by 5 to 25 %, up or down."""
    is_out = chance.random(values.shape) < _OUTLIERS
    off = chance.choice([-1, 1], values.shape) * chance.uniform(0.05, 0.25, values.shape)
    return values + np.where(is_out, off, 0.0)


@cache
def _noise_of(which: str) -> Array:
    with gzip.open(_DATA / f"pg_rw25_latency_ms__{which}_westus2_D8s_v5.csv.gz", "rt") as file:
        rows = sorted((row["starttime"], float(row["value"])) for row in csv.DictReader(file) if row["value"])
    values: Array = np.log(np.array([value for _, value in rows]))
    return values


# -- cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a table: a kind of history, with or without a step."""

    name: str
    series: Series
    step: float = 0.0
    """Relative; 0: nothing changes."""
    after: int = 0
    """The number of runs after the step."""
    digits: int = 0
    """Significant digits to which values are rounded; 0: all."""

    @property
    def text(self) -> str:
        """Return the name with the step, such as "rho 0, 2 %; +5 %, 10 runs after it"."""
        step = f"; +{100 * self.step:g} %, {self.after} runs after it" if self.step else ""
        return f"{self.name}{step}"


@dataclass(frozen=True, slots=True)
class Cell:
    """The numbers of histories of a case with a change point; if the case has a step, with one near it."""

    case: Case
    trials: int
    plain: int
    """Without allowance for correlation."""
    with_ar: int
    """With `ar=True`."""


_BY_RHO: Final = tuple(
    Case(f"rho {rho:g}, {100 * noise:g} %", partial(outlying, rho=rho, noise=noise))
    for noise in (0.02, 0.04)
    for rho in (0.0, 0.3, 0.4, 0.5, 0.65)
)
UNCHANGED: Final = (
    *_BY_RHO,
    Case("normal, rho 0, 4 %", partial(normal, rho=0.0, noise=0.04)),
    Case("normal, rho 0.4, 4 %", partial(normal, rho=0.4, noise=0.04)),
    Case("t(4), rho 0, 4 %", partial(heavy_tailed, rho=0.0, noise=0.04)),
    Case("t(4), rho 0.4, 4 %", partial(heavy_tailed, rho=0.4, noise=0.04)),
    Case("days of 4 runs, 36 % of the variance, 2 %", partial(by_days, share=0.36, noise=0.02)),
    Case("days of 4 runs, 36 % of the variance, 4 %", partial(by_days, share=0.36, noise=0.04)),
    Case("slow drift under noise, rho 0.3, 2 %", partial(drifting, rho=0.3, noise=0.02)),
    Case("slow drift under noise, rho 0.3, 4 %", partial(drifting, rho=0.3, noise=0.04)),
)
"""Histories in which nothing changes."""
RECALL: Final = (
    *(Case(one.name, one.series, step, after) for step, after in ((0.05, 10), (0.1, 5)) for one in _BY_RHO[:5]),
    Case("rho 0, 4 %", _BY_RHO[5].series, 0.1, 10),
    Case("rho 0.4, 4 %", _BY_RHO[7].series, 0.1, 10),
    Case("t(4), rho 0, 2 %", partial(heavy_tailed, rho=0.0, noise=0.02), 0.05, 10),
    Case("t(4), rho 0.4, 2 %", partial(heavy_tailed, rho=0.4, noise=0.02), 0.05, 10),
)
"""Histories with a step."""
ROUNDED: Final = tuple(
    Case(
        f"{level_ms:g} ms, rho {rho:g}, {100 * noise:g} %",
        partial(normal, rho=rho, noise=noise, level_ms=level_ms),
        step,
        20 if step else 0,
        digits=2,
    )
    for level_ms in (12.0, 15.0, 20.0, 33.0, 60.0)
    for rho, noise in ((0.0, 0.02), (0.4, 0.02))
    for step in (0.0, 0.1)
)
"""Histories in whole ms."""
REAL: Final = tuple(
    case
    for which in ("short", "long")
    for case in (
        Case(f"{which}-lived machines", partial(real, which=which)),
        Case(f"{which}-lived machines", partial(real, which=which), 0.05, 10),
        Case(f"{which}-lived machines", partial(real, which=which), 0.1, 5),
        Case(f"{which}-lived machines, two digits at 33 ms", partial(real, which=which, level_ms=33.0), digits=2),
        Case(f"{which}-lived machines, two digits at 33 ms", partial(real, which=which, level_ms=33.0), 0.1, 20, 2),
    )
)
"""Windows of real histories, as they are and as if the target took 33 ms, where a unit of two digits is 3 %."""


def cells(cases: tuple[Case, ...], trials: int, seed: int) -> list[Cell]:
    """Return the counts of each case, in order. Cost: 3 to 5 ms of one core for each case and trial."""
    return in_processes(_cell, [(case, trials, seed + at) for at, case in enumerate(cases)])


def _cell(asked: tuple[Case, int, int]) -> Cell:
    case, trials, seed = asked
    values = case.series(np.random.default_rng((seed, 4)), trials)
    if case.step:
        values[:, RUNS - case.after :] += np.log1p(case.step)
    if case.digits:
        values = _rounded(values, case.digits)
    plain, with_ar = (sum(_is_hit(scan(row, ar=ar), case) for row in values) for ar in (False, True))
    return Cell(case, trials, plain, with_ar)


def _is_hit(found: tuple[int, ...], case: Case) -> bool:
    if not case.step:
        return bool(found)
    return any(abs(at - (RUNS - case.after)) <= NEAR for at in found)


def _rounded(values: Array, digits: int) -> Array:
    """Return the logarithms of the values rounded to a number of significant digits."""
    linear = np.exp(values)
    unit = 10.0 ** (np.floor(np.log10(linear)) + 1 - digits)
    rounded: Array = np.log(np.round(linear / unit) * unit)
    return rounded


def tables(trials: int, seed: int) -> list[Table]:
    """Return the tables of change points. Cost: 0.23 s of one core for each trial."""
    made = (
        (
            "Change points where nothing changed",
            f"A trial is a history of {RUNS} runs. The share with at least one change point, and its standard error."
            " rho is the correlation of neighbouring runs; the percentage is the deviation between runs. Unless a"
            " row is normal or t(4), 3 % of the runs are outliers by 5 to 25 %.",
            UNCHANGED,
        ),
        (
            "Steps that are found",
            f"The same histories with a step. The share in which a change point is at most {NEAR} runs from it.",
            RECALL,
        ),
        (
            "Change points in rounded values",
            "Normal histories in whole ms, without and with a step: the share with a change point, or with one near the"
            " step.",
            ROUNDED,
        ),
        (
            "Change points on real machines",
            f"Windows of {RUNS} successive runs of PostgreSQL on Azure machines (TUNA, EuroSys 2025). Short-lived"
            " machines are new for each run. Without a step, the share is an upper bound of the false alarms: no change"
            " is labelled there, but one may have happened.",
            REAL,
        ),
    )
    return [
        Table(
            title,
            note,
            ("history", "`ar=False`", "`ar=True`"),
            [
                (one.case.text, share_text(one.plain, trials), share_text(one.with_ar, trials))
                for one in cells(cases, trials, seed)
            ],
        )
        for title, note, cases in made
    ]
