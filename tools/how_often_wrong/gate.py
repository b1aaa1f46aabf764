"""The gate: how often runs of the same code fail, and how often regressions are found."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from loadgen.analysis.gate import Judgement, Outcome, judge
from tools.how_often_wrong.histories import Array, Noise, history_and_new
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table, share_text

__all__ = ["HARDER_TO_FIND", "Cell", "cells", "detectable_cells", "real_cells", "tables"]

HISTORY: Final = 20
NEW: Final = 3
SLOWER: Final = 0.10
_FIRST: Final = "name 0"
DATA: Final = Path(__file__).parents[2] / "tests" / "data" / "perf"
KINDS: Final = (
    Noise(),
    Noise(tails="t4"),
    Noise(tails="t4", common=0.1),
    Noise(tails="laplace", drift=0.3),
    Noise(tails="t4", drift=0.3),
    Noise(drift=0.5),
    Noise(tails="t4", drift=0.5, common=0.3),
    Noise(drift=0.65),
    Noise(tails="t4", drift=0.65, common=0.3),
    Noise(day=0.36),
    Noise(tails="t4", drift=0.3, day=0.36),
    Noise(outliers=0.03, common=0.1),
    Noise(outliers=0.03, drift=0.3),
    Noise(0.01, modes=0.2),
    Noise(unit=0.05),
)

HARDER_TO_FIND: Final = frozenset(noise.text for noise in KINDS if noise.outliers)
"""Kinds of noise with which +10 % at 2 % noise is found in less than 93 of 100 gates of 60 names."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The outcomes of gates on one kind of history."""

    noise: str
    names: int
    trials: int
    failed: int
    """Gates that FAILed although nothing had changed."""
    found: int
    """Gates that FAILed for one name that was 10 % slower."""


def cells(trials: int, seed: int, names: Sequence[int] = (1, 20, 60)) -> list[Cell]:
    """Return the outcomes for each kind of noise and number of names. Cost: 7 ms a trial of 60 names."""
    kinds = (*KINDS, *(replace(one, deviation=0.04) for one in (KINDS[0], KINDS[4])))
    return in_processes(_cell, [(kind, count, trials, seed + at) for at, kind in enumerate(kinds) for count in names])


def detectable_cells(trials: int, seed: int, names: Sequence[int] = (1, 20, 60)) -> list[Cell]:
    """Return how often a name FAILs that is slower by exactly the effect that the gate says it would have found."""
    kinds = (KINDS[0], KINDS[1], KINDS[4], KINDS[7])
    asked = [(kind, count, trials, seed + at) for at, kind in enumerate(kinds) for count in names]
    return in_processes(_detectable_cell, asked)


def _cell(asked: tuple[Noise, int, int, int]) -> Cell:
    noise, names, trials, seed = asked
    chance = np.random.default_rng((seed, names))
    failed = found = 0
    for _ in range(trials):
        values = history_and_new(chance, noise, names, HISTORY, NEW)
        failed += _judged(values).outcome is Outcome.FAIL
        values[0, HISTORY:] += np.log1p(SLOWER)
        found += _has_failed(values)
    return Cell(noise.text, names, trials, failed, found)


def _detectable_cell(asked: tuple[Noise, int, int, int]) -> Cell:
    noise, names, trials, seed = asked
    chance = np.random.default_rng((seed, names, 7))
    found = 0
    for _ in range(trials):
        values = history_and_new(chance, noise, names, HISTORY, NEW)
        values[0, HISTORY:] += np.log1p(_judged(values).mde[_FIRST])
        found += _has_failed(values)
    return Cell(noise.text, names, trials, 0, found)


def real_cells(trials: int, seed: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield (series, trials, false alarms, found) for windows of 23 consecutive runs of real machines."""
    for path in sorted(DATA.glob("pg_rw25_latency_ms__*.csv.gz")):
        with gzip.open(path, "rt") as file:
            rows = sorted((row["starttime"], float(row["value"])) for row in csv.DictReader(file) if row["value"])
        values = np.log(np.array([value for _, value in rows]))
        chance = np.random.default_rng((seed, 3))
        starts = chance.integers(0, len(values) - HISTORY - NEW, trials)
        outcomes = {slower: 0 for slower in (0.0, SLOWER)}
        for start in starts.tolist():
            for slower in outcomes:
                window = values[None, start : start + HISTORY + NEW].copy()
                window[:, HISTORY:] += np.log1p(slower)
                outcomes[slower] += _judged(window).outcome is Outcome.FAIL
        yield path.name.removesuffix(".csv.gz"), trials, outcomes[0.0], outcomes[SLOWER]


def tables(trials: int, seed: int) -> list[Table]:
    of_names = Table(
        "The gate, three new runs against twenty",
        f"A trial is a gate of {NEW} new runs against {HISTORY} accepted ones, all of the same code, at the settings"
        " that are the default (alpha 5 %, least effect 3 %). Wrong is a FAIL. Found: one name was then made 10 %"
        " slower, and it FAILed. The standard error is in brackets.",
        ("noise", "names", "false alarms", "+10 % found"),
        [
            (one.noise, str(one.names), share_text(one.failed, one.trials), share_text(one.found, one.trials))
            for one in cells(trials, seed)
        ],
    )
    of_effects = Table(
        'The gate\'s "would have been found"',
        "One name is made slower by exactly the smallest effect that the gate prints for it; found is a FAIL of that"
        " name. It should be 90 %.",
        ("noise", "names", "found"),
        [(one.noise, str(one.names), share_text(one.found, one.trials)) for one in detectable_cells(trials, seed)],
    )
    of_series = Table(
        "The gate on real machines",
        f"Windows of {HISTORY + NEW} consecutive runs of PostgreSQL on Azure machines (TUNA, EuroSys 2025), in which"
        " nothing changed.",
        ("series", "false alarms", "+10 % found"),
        [(name, share_text(false, n), share_text(found, n)) for name, n, false, found in real_cells(trials, seed)],
    )
    return [of_names, of_effects, of_series]


def _judged(values: Array) -> Judgement:
    history = {f"name {n}": row[:HISTORY] for n, row in enumerate(values)}
    return judge(history, {f"name {n}": row[HISTORY:] for n, row in enumerate(values)})


def _has_failed(values: Array) -> bool:
    """Return whether the first name FAILs."""
    return any(one.name == _FIRST for one in _judged(values).failed)
