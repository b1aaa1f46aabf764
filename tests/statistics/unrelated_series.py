"""Series that have nothing to do with each other, of the kinds that a target's probes and an objective show.

Each function draws `rows` series of `n` seconds, by (chance, rows, n). `KINDS` has all of them; those that follow a
common load have it in `LOADS`. `planted` draws the opposite: an objective that goes with bursts of lock waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.goes_with.answer import goes_with
from loadgen.analysis.goes_with.values import GoesWith, Judged, Load, ProbeSeries

Floats = npt.NDArray[np.float64]
Chance = np.random.Generator
Draw = Callable[[Chance, int, int], Floats]

SERIES: Final = 30
REQUESTS: Final = 100
"""Requests a second behind a share."""


def white(chance: Chance, rows: int, n: int) -> Floats:
    return chance.standard_normal((rows, n))


def walks(chance: Chance, rows: int, n: int) -> Floats:
    return np.cumsum(chance.standard_normal((rows, n)), axis=1)


def _autoregressive(weight: float) -> Draw:
    def draw(chance: Chance, rows: int, n: int) -> Floats:
        before = 200
        shocks = chance.standard_normal((rows, n + before))
        for at in range(1, n + before):
            shocks[:, at] += weight * shocks[:, at - 1]
        return shocks[:, before:]

    return draw


def smoothed(chance: Chance, rows: int, n: int) -> Floats:
    """A gauge that is a mean of the last 15 s."""
    sums = np.cumsum(chance.standard_normal((rows, n + 15)), axis=1)
    return sums[:, 15:] - sums[:, :-15]


def heavy_counts(chance: Chance, rows: int, n: int) -> Floats:
    level = np.exp(0.6 * _autoregressive(0.8)(chance, rows, n))
    return chance.poisson(level * chance.pareto(1.5, (rows, n))).astype(np.float64)


def steps(chance: Chance, rows: int, n: int) -> Floats:
    """The number of instances of a service that scales itself: 8 to 19 changes."""
    found = np.zeros((rows, n))
    for row in found:
        at = chance.choice(np.arange(1, n), int(chance.integers(8, 20)), replace=False)
        row[at] = chance.choice([-1.0, 1.0], len(at))
    return 3 + np.cumsum(found, axis=1)


def few_spikes(chance: Chance, rows: int, n: int) -> Floats:
    return np.where(chance.random((rows, n)) < 0.02, chance.poisson(6, (rows, n)) + 1.0, 0.0)


def bursts(chance: Chance, rows: int, n: int) -> Floats:
    """Mostly 0; every 50 s some 7 s with about 6."""
    found = np.zeros((rows, n))
    for row in found:
        at = chance.exponential(50)
        while at < n:
            length = 1 + int(chance.poisson(6))
            here = row[int(at) : int(at) + length]
            here += chance.poisson(6, len(here))
            at += length + chance.exponential(50)
    return found


def quantised(chance: Chance, rows: int, n: int) -> Floats:
    return np.round(_autoregressive(0.7)(chance, rows, n))


def counters_at_rest(chance: Chance, rows: int, n: int) -> Floats:
    """Whole numbers that change by 1 in a tenth of the seconds."""
    return np.cumsum(chance.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=(rows, n)), axis=1)


def changing_spread(chance: Chance, rows: int, n: int) -> Floats:
    return np.exp(0.3 * _autoregressive(0.95)(chance, rows, n)) * chance.standard_normal((rows, n))


def waves_of_60_s(chance: Chance, rows: int, n: int) -> Floats:
    phase = chance.random((rows, 1)) * 60
    return 2 * np.cos(2 * np.pi * (np.arange(n) - phase) / 60) + chance.standard_normal((rows, n))


def jobs_of_60_s(chance: Chance, rows: int, n: int) -> Floats:
    """A job of 1 to 7 s that runs each minute."""
    phase, length = chance.integers(0, 60, (rows, 1)), chance.integers(1, 8, (rows, 1))
    return np.where((np.arange(n) - phase) % 60 < length, 5.0, 0.0) + 0.5 * chance.standard_normal((rows, n))


def saws_of_60_s(chance: Chance, rows: int, n: int) -> Floats:
    """A buffer that fills and is emptied each minute."""
    return ((np.arange(n) + chance.integers(0, 60, (rows, 1))) % 60) / 20 + 0.3 * chance.standard_normal((rows, n))


def ramp(n: int) -> Floats:
    return np.linspace(50, 400, n)


def stairs(n: int) -> Floats:
    return np.array([50.0, 150.0, 300.0, 100.0])[np.minimum(np.arange(n) * 4 // n, 3)]


def on_a_ramp(chance: Chance, rows: int, n: int) -> Floats:
    return ramp(n) / 40 * chance.uniform(0.5, 2, (rows, 1)) + _autoregressive(0.5)(chance, rows, n)


def bent_on_a_ramp(chance: Chance, rows: int, n: int) -> Floats:
    """Flat, then steep at a point of its own, as near saturation."""
    middle, width = chance.uniform(0.3, 0.8, (rows, 1)), chance.uniform(0.03, 0.2, (rows, 1))
    return 6 / (1 + np.exp(-(ramp(n) / 400 - middle) / width)) + 0.5 * _autoregressive(0.5)(chance, rows, n)


def wider_on_a_ramp(chance: Chance, rows: int, n: int) -> Floats:
    """Level and spread both grow with the load."""
    return np.exp(2 * ramp(n) / 400) * (1 + 0.5 * _autoregressive(0.5)(chance, rows, n))


def late_on_stairs(chance: Chance, rows: int, n: int) -> Floats:
    """Each follows the load by a power of its own, with a time constant of its own of 1 to 20 s."""
    drive = (stairs(n) / 300)[None] ** chance.uniform(0.5, 3, (rows, 1))
    rate = 1 / chance.uniform(1, 20, (rows, 1))
    for at in range(1, n):
        drive[:, at] = drive[:, at - 1] + rate[:, 0] * (drive[:, at] - drive[:, at - 1])
    return 8 * drive + 0.5 * _autoregressive(0.5)(chance, rows, n)


def shares(chance: Chance, rows: int, n: int) -> Floats:
    """The share of 100 requests a second above a limit, some 2 %."""
    likely = np.minimum(1.0, 0.02 * np.exp(0.3 * _autoregressive(0.8)(chance, rows, n)))
    return chance.binomial(REQUESTS, likely) / REQUESTS


def small_shares(chance: Chance, rows: int, n: int) -> Floats:
    """Some 2 in 1,000: 0 in most seconds."""
    return chance.binomial(REQUESTS, 0.1 * shares(chance, rows, n)) / REQUESTS


def shares_in_bursts(chance: Chance, rows: int, n: int) -> Floats:
    return chance.binomial(REQUESTS, np.where(bursts(chance, rows, n) > 0, 0.22, 0.018)) / REQUESTS


def drifting_shares(chance: Chance, rows: int, n: int) -> Floats:
    return chance.binomial(REQUESTS, 1 / (1 + np.exp(3.5 - 0.08 * walks(chance, rows, n)))) / REQUESTS


KINDS: Final[dict[str, Draw]] = {
    "white": white,
    "walks": walks,
    "AR .9": _autoregressive(0.9),
    "common ramp": on_a_ramp,
    "AR .99": _autoregressive(0.99),
    "bent on a ramp": bent_on_a_ramp,
    "wider on a ramp": wider_on_a_ramp,
    "late on stairs": late_on_stairs,
    "smoothed": smoothed,
    "heavy counts": heavy_counts,
    "steps": steps,
    "few spikes": few_spikes,
    "bursts": bursts,
    "quantised": quantised,
    "counters at rest": counters_at_rest,
    "changing spread": changing_spread,
    "waves of 60 s": waves_of_60_s,
    "jobs of 60 s": jobs_of_60_s,
    "saws of 60 s": saws_of_60_s,
}


def _steady(n: int) -> Floats:
    return np.full(n, 100.0)


def _noisy(chance: Chance, load: Floats) -> Floats:
    """Return the number of arrivals in each second, by chance."""
    return chance.poisson(load).astype(np.float64)


LOADS: Final[dict[str, Callable[[int], Floats]]] = {
    "common ramp": ramp,
    "bent on a ramp": ramp,
    "wider on a ramp": ramp,
    "late on stairs": stairs,
}
_WITHOUT_LOAD: Final = tuple(name for name in KINDS if name not in LOADS)


def all_kinds(chance: Chance, rows: int, n: int) -> Floats:
    """One series of each kind in turn, without those that follow a load."""
    return np.concatenate([KINDS[_WITHOUT_LOAD[at % len(_WITHOUT_LOAD)]](chance, 1, n) for at in range(rows)])


def drifting_objective(chance: Chance, rows: int, n: int) -> Floats:
    return _autoregressive(0.99)(chance, rows, n)


SHARES: Final[dict[str, Draw]] = {
    "drifting": drifting_objective,
    "shares": shares,
    "small shares": small_shares,
    "shares in bursts": shares_in_bursts,
    "drifting shares": drifting_shares,
}
"""Objectives as they are; their probes are of all kinds."""


def series_of(rows: Floats, period: int = 1) -> list[ProbeSeries]:
    """Return rows as series of probes with this period, s."""
    at_s: Floats = np.arange(rows.shape[1], dtype=np.float64) + 0.4
    return [
        ProbeSeries(f"series {number}", at_s[::period], row[::period], period_s=float(period))
        for number, row in enumerate(rows)
    ]


def unrelated(kind: str, seed: int, n: int = 600, *, period: int = 1, gaps: float = 0.0) -> GoesWith:
    """Return the result for an objective and 30 series of one kind that have nothing to do with each other.

    kind: of `KINDS`, then the objective has it too; or of `SHARES`. gaps: the share of values that are missing.
    """
    chance = np.random.default_rng([seed, sum(kind.encode())])
    ours, theirs = (KINDS[kind],) * 2 if kind in KINDS else (SHARES[kind], all_kinds)
    rows = theirs(chance, SERIES, n)
    objective = Judged("objective", ours(chance, 1, n)[0], np.full(n, float(REQUESTS)))
    if gaps:
        rows = np.where(chance.random(rows.shape) < gaps, np.nan, rows)
    loads = [Load("offered rate", _noisy(chance, LOADS.get(kind, _steady)(n)))]
    return goes_with([objective], np.ones(n, dtype=np.bool_), loads, series_of(rows, period))


@dataclass(frozen=True, slots=True)
class Planted:
    """The result of a run with bursts of lock waits among 29 other series, and the true lag, s."""

    found: GoesWith
    lag_s: int


PLANTED: Final = "lock waits"


def planted(seed: int, n: int = 600) -> Planted:
    """Return the result for bursts of lock waits, during which the share above the limit is 22 % instead of 1.8 %.

    The requests in flight double in bursts. The waits come up to 3 s before or after.
    """
    chance = np.random.default_rng([seed, 99])
    waits, lag = bursts(chance, 1, n + 20)[0], int(chance.integers(-3, 4))
    is_slow = waits[10 - lag : 10 - lag + n] > 0
    counts = np.maximum(20, np.round(60 + 3 * _autoregressive(0.5)(chance, 1, n)[0]))
    usual = 0.018 * np.exp(0.2 * _autoregressive(0.8)(chance, 1, n)[0])
    share = chance.binomial(counts.astype(np.int64), np.where(is_slow, 0.22, np.minimum(usual, 1.0))) / counts
    p99 = np.log(300 * np.exp(0.1 * chance.standard_normal(n)) * np.where(is_slow, 2.2, 1.0))
    errors = chance.binomial(counts.astype(np.int64), 0.003) / counts
    in_flight = 0.1 * counts * np.where(is_slow, 2, 1) + chance.standard_normal(n)
    series = series_of(np.concatenate((all_kinds(chance, SERIES - 1, n), waits[None, 10 : 10 + n])))
    series[-1] = ProbeSeries(PLANTED, series[-1].at_s, series[-1].values)
    chance.shuffle(series)
    found = goes_with(
        [
            Judged("share", share, counts),
            Judged("p99", p99, counts, "ms", is_log=True),
            Judged("errors", errors, counts),
        ],
        np.ones(n, dtype=np.bool_),
        [Load("offered rate", counts), Load("requests in flight", in_flight, follows=True)],
        series,
    )
    return Planted(found, lag)


def pearson_named(kind: str, seed: int, n: int = 600) -> bool:
    """Return whether plain Pearson correlation, taken as significant at 5 %, calls two unrelated series related."""
    chance = np.random.default_rng([seed, sum(kind.encode()), 1])
    one, other = KINDS[kind](chance, 2, n)
    r = float(np.corrcoef(one, other)[0, 1])
    return abs(r) * sqrt((n - 2) / (1 - r * r)) > 1.964
