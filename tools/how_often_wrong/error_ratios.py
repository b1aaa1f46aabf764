"""Counts how often `judge_ratios` fails runs of the same target whose errors come in bursts, and finds a rise.

A burst is an outage that fails all requests in a row. Bursts arrive as a Poisson process. A trial is one gate: 20 runs
of history and 1 or 3 new runs, of some names, with 20,000 requests in each run unless the cell says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.error_ratio_gate import Counts, RatioEffect, judge_ratios
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table, share_text

__all__ = ["ALPHA", "KINDS", "Cell", "Kind", "cells", "tables"]

Array = npt.NDArray[np.float64]

ALPHA: Final = 0.01
"""The probability of a false alarm that the gate gives to error ratios: a fifth of its 5 %."""
HISTORY: Final = 20
_REQUESTS: Final = 20_000
_BATCHES: Final = 5
_WIDER: Final = 1.08
"""The factor by which a run's standard error is larger than that of its batches, for the least correlation that is
assumed (`loadgen/measure/statistics/batch_means.py`)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How the errors of one cell are made. `str` gives a text without the numbers of names and runs."""

    ratio: float
    """Errors / requests without a rise."""
    size: float
    """The mean number of errors of a burst; 1: independent errors."""
    new: int = 3
    names: int = 1
    requests: int = _REQUESTS
    """The requests of a run."""
    has_batches: bool = True
    unknown: float = 0.0
    """The share of the history's runs without batches."""
    sizes: str = "geometric"
    """The distribution of burst sizes: "geometric", or "lognormal" with a heavier tail."""
    is_shared: bool = False
    """Whether a burst fails the requests of all names."""
    differing: float = 0.0
    """By how much the rate of bursts differs from run to run: the deviation of its logarithm."""

    def __str__(self) -> str:
        errors = f"bursts of {self.size:g}" if self.size > 1 else "independent errors"
        more = (
            f", {self.sizes} sizes" if self.sizes != "geometric" else "",
            ", the same bursts in all names" if self.is_shared else "",
            f", rates of runs differ by {100 * self.differing:g} %" if self.differing else "",
            f", {self.requests:,} requests a run" if self.requests != _REQUESTS else "",
            "" if self.has_batches else ", no batches",
            f", {100 * self.unknown:g} % of the history without batches" if self.unknown else "",
        )
        return f"{100 * self.ratio:g} %, {errors}" + "".join(more)


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table."""

    kind: Kind
    trials: int
    false_alarms: int
    """Gates without a change in which at least one name failed."""
    found: int
    """Gates in which the first name, whose ratio is four times as high in the new runs, failed."""


def _kinds() -> Iterator[Kind]:
    for ratio in (0.001, 0.005, 0.02):
        for size in (50.0, 200.0):
            for new in (1, 3):
                yield Kind(ratio, size, new)
                yield Kind(ratio, size, new, has_batches=False)
    for new in (1, 3):
        for has_batches in (True, False):
            yield Kind(0.005, 200.0, new, names=20, has_batches=has_batches)
            yield Kind(0.02, 50.0, new, names=20, has_batches=has_batches)
            yield Kind(0.02, 200.0, new, names=60, has_batches=has_batches)
    yield Kind(0.005, 100.0, names=60, requests=200_000)
    for other in (
        Kind(0.005, 100.0, names=20, is_shared=True),
        Kind(0.005, 100.0, sizes="lognormal"),
        Kind(0.005, 100.0, sizes="lognormal", has_batches=False),
        Kind(0.005, 100.0, unknown=0.5),
        Kind(0.005, 100.0, requests=200_000),
        Kind(0.005, 100.0, requests=2_000),
        Kind(0.005, 100.0, requests=2_000, has_batches=False),
        Kind(0.02, 50.0, differing=0.3),
        Kind(0.02, 50.0, differing=0.3, has_batches=False),
        Kind(0.005, 1.0),
        Kind(0.005, 1.0, has_batches=False),
    ):
        yield other
        yield replace(other, new=1)


KINDS: Final = tuple(_kinds())


def cells(kinds: Sequence[Kind], trials: int, seed: int) -> list[Cell]:
    """Return the counts of each kind, in order. Cost: 0.5 ms of one core for each trial and 6 ms for 60 names."""
    return in_processes(_cell, [(kind, trials, seed + at) for at, kind in enumerate(kinds)])


def _cell(asked: tuple[Kind, int, int]) -> Cell:
    kind, trials, seed = asked
    chance = np.random.default_rng((seed, 5))
    alarms = found = 0
    for _ in range(trials):
        errors = _errors(chance, kind, HISTORY + kind.new, kind.ratio)
        alarms += any(effect.has_failed for effect in _judge(errors, kind))
        # The other names stay as they are.
        errors[0, HISTORY:] = _errors(chance, replace(kind, names=1), kind.new, 4 * kind.ratio)[0]
        found += _judge(errors, kind)[0].has_failed
    return Cell(kind, trials, alarms, found)


def tables(trials: int, seed: int) -> list[Table]:
    """Return the table of error ratios. Cost: some 0.2 s of one core for each trial."""
    return [
        Table(
            "Error ratios whose errors come in bursts",
            f"A trial is a gate of 1 or 3 new runs against {HISTORY} accepted ones, at the level of {100 * ALPHA:g} %"
            f" that the gate gives to errors. Each run has {_REQUESTS:,} requests and bursts of geometric size, unless"
            " the row says otherwise; a burst fails all requests in a row. Wrong is a FAIL of any name. Found: one name"
            " then had four times the errors, in bursts of the same size, and it FAILed.",
            ("errors", "names", "new runs", "false alarms", "four times found"),
            [
                (
                    str(one.kind),
                    str(one.kind.names),
                    str(one.kind.new),
                    share_text(one.false_alarms, trials),
                    share_text(one.found, trials),
                )
                for one in cells(KINDS, trials, seed)
            ],
        )
    ]


def _judge(errors: Array, kind: Kind) -> tuple[RatioEffect, ...]:
    """Judge the new runs. errors: shape (names, HISTORY + new, batches)."""
    totals = errors.sum(axis=2)
    within = (errors * _BATCHES / kind.requests).std(axis=2, ddof=1) / np.sqrt(_BATCHES) * _WIDER
    within = np.where(totals > 0, within, np.nan)  # a run without errors has no error of its ratio
    within[:, : round(kind.unknown * HISTORY)] = np.nan
    requests = np.full(totals.shape[1], float(kind.requests))

    def counts(part: slice) -> dict[str, Counts]:
        return {
            f"name {n}": Counts(totals[n, part], requests[part], within[n, part] if kind.has_batches else ())
            for n in range(kind.names)
        }

    return judge_ratios(counts(slice(HISTORY)), counts(slice(HISTORY, None)), alpha=ALPHA)


def _errors(chance: np.random.Generator, kind: Kind, runs: int, ratio: float) -> Array:
    """Return the errors of each batch, shape (names, runs, batches)."""
    names = 1 if kind.is_shared else kind.names
    expected = np.full((names, runs), ratio * kind.requests / kind.size)
    if kind.differing:
        expected *= np.exp(chance.normal(-(kind.differing**2) / 2, kind.differing, (1, runs)))
    bursts = chance.poisson(expected).ravel()
    owner = np.repeat(np.arange(names * runs), bursts)
    start = chance.uniform(0, kind.requests, len(owner))
    end = np.minimum(start + _sizes(chance, kind, len(owner)), kind.requests)
    length = kind.requests / _BATCHES
    inside_of: list[Array] = []
    for batch in range(_BATCHES):
        inside = np.minimum(end, (batch + 1) * length) - np.maximum(start, batch * length)
        inside_of.append(np.bincount(owner, np.round(np.maximum(inside, 0)), names * runs).astype(float))
    found: Array = np.minimum(np.stack(inside_of, axis=1), np.floor(length)).reshape(names, runs, _BATCHES)
    return np.repeat(found, kind.names, axis=0) if kind.is_shared else found


def _sizes(chance: np.random.Generator, kind: Kind, count: int) -> Array:
    if kind.sizes == "lognormal":
        # The deviation of the logarithm is 1: E[s²]/E[s] is 2.7 times the mean; of a geometric distribution twice.
        return np.maximum(1.0, kind.size * np.exp(chance.normal(-0.5, 1, count)))
    return chance.geometric(1 / kind.size, count).astype(np.float64)
