"""Runs by chance, for what the gate and the scan must and must not find."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from loadgen.analysis.gate import Outcome, judge, judge_pairs

Array = npt.NDArray[np.float64]
HISTORY, NEW = 20, 3


def runs(chance: np.random.Generator, names: int, n: int, deviation: float, outliers: float = 0.03) -> Array:
    """(names, n) logarithms. An outlier is a run in which all names are off by 5 to 25 %, either way."""
    is_out = chance.random(n) < outliers
    off = np.where(is_out, chance.choice([-1, 1], n) * chance.uniform(0.05, 0.25, n), 0.0)
    values: Array = chance.normal(0, deviation, (names, n)) + off
    return values


def gates(seed: int, trials: int, names: int, deviation: float, slower: float = 0.0) -> Counter[Outcome]:
    """Outcomes of gates in which one name of `names` is `slower`."""
    chance = np.random.default_rng(seed)
    found: Counter[Outcome] = Counter()
    for _ in range(trials):
        history, new = runs(chance, names, HISTORY, deviation), runs(chance, names, NEW, deviation)
        new[0] += np.log1p(slower)
        found[judge(named(history), named(new)).outcome] += 1
    return found


def paired_gates(seed: int, trials: int, names: int, deviation: float, slower: float = 0.0) -> Counter[Outcome]:
    """The same with 10 interleaved pairs, whose times drift by up to 5 % together."""
    chance = np.random.default_rng(seed)
    found: Counter[Outcome] = Counter()
    for _ in range(trials):
        drift = np.cumsum(chance.normal(0, 0.01, 10))
        before, after = runs(chance, names, 10, deviation) + drift, runs(chance, names, 10, deviation) + drift
        after[0] += np.log1p(slower)
        found[judge_pairs(named(before), named(after)).outcome] += 1
    return found


def named(values: Array) -> dict[str, Array]:
    return {f"request {n}": row for n, row in enumerate(values)}


def series(chance: np.random.Generator, n: int, deviation: float, correlation: float = 0.0) -> Array:
    """Of runs that are like those before them: AR(1), with 3 % of outliers."""
    steps = chance.normal(0, 1, n)
    values = np.empty(n)
    values[0] = steps[0]
    for k in range(1, n):
        values[k] = correlation * values[k - 1] + np.sqrt(1 - correlation**2) * steps[k]
    is_out = chance.random(n) < 0.03
    off: Array = values * deviation + np.where(is_out, chance.choice([-1, 1], n) * chance.uniform(0.05, 0.25, n), 0.0)
    return off
