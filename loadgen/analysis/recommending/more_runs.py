"""Computes how many runs a gate needs until it finds a slow-down of a given size, or that no number of runs is enough.

    more_runs(20, 0.02, 0.03)          # 10: with 20 accepted runs that differ by 2 %, 10 new runs find 3 %
    more_runs(20, 0.04, 0.03)          # None: the error of the history alone is too large
    advise(20, 0.04, 0.03).wider       # (0.05, 18): 18 runs find 5 %

The gate compares k new runs with N accepted runs by a t test with their pooled deviation and N + k - 2 degrees of
freedom (`loadgen.analysis.gate.detectable`). The number is the smallest k whose detectable slow-down, by the noncentral
t distribution, is at most the limit. More new runs reduce only the error of their own mean. The error of the history's
mean remains, so there can be no such k. Formulas for two samples of equal size do not have this term: they say 49 where
no number is enough, and 6 where 3 are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log1p, sqrt
from typing import Final

from scipy import special

from loadgen.analysis.gate import detectable

__all__ = ["LEVEL", "POWER", "Advice", "advise", "level_of_names", "more_runs"]

LEVEL: Final = 0.01
"""The one-sided significance level for a single name."""
POWER: Final = 0.9
"""The probability with which a slow-down of the size of the limit is found."""
_MOST: Final = 1_000_000
_LIMITS: Final = (0.05, 0.10, 0.20, 0.50)


@dataclass(frozen=True, slots=True)
class Advice:
    """How a comparison becomes able to find a slow-down of the limit. None: this way does not lead there."""

    runs: int | None
    """The total number of new runs as they are; None: no number is enough."""
    quieter: tuple[float, int] | None
    """(half of the deviation between runs, the number of runs with it). Longer runs can have it."""
    wider: tuple[float, int] | None
    """(the next larger limit, the number of runs with it)."""
    history: tuple[int, int] | None
    """(twice as many accepted runs, the number of new runs with them)."""


def more_runs(
    history: int, deviation: float, limit: float, *, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Return the smallest number of new runs that find a slow-down of `limit`; None if no number is enough.

    It is the total, not what is missing beyond the runs that were made. More than a million runs count as never.

    Args:
        history: the number of accepted runs, at least 1.
        deviation: the deviation between runs, as a logarithm: 0.02 is 2 %. Finite, 0 or more.
        limit: the relative slow-down that must be found: 0.03 is 3 %. Finite, above 0.
        level: the one-sided significance level; `level_of_names` has that of several names.
        power: the probability of finding it, above `level` and below 1.

    Raises:
        ValueError: an argument is out of range.

    Cost: 20 evaluations of the noncentral t distribution, below 1 ms.
    """
    if not (history >= 1 and 0 <= deviation < inf and 0 < limit < inf and 0 < level < power < 1):
        raise ValueError(
            f"history is {history}, deviation {deviation:g}, limit {limit:g}, level {level:g}, power {power:g}: there"
            " must be at least 1 accepted run, a finite deviation of 0 or more, a finite limit above 0, and"
            " 0 < level < power < 1"
        )

    def is_enough(runs: int) -> bool:
        return detectable(history, runs, deviation, level=level, power=power) <= limit

    # With ever more new runs, the t distribution becomes normal, and only the history's own error remains.
    remaining = (float(special.ndtri(1 - level)) + float(special.ndtri(power))) * deviation / sqrt(history)
    if log1p(limit) <= remaining:
        return None
    high = 1
    while not is_enough(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2  # not enough, or 0
    while high - low > 1:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return high


def advise(history: int, deviation: float, limit: float, *, level: float = LEVEL, power: float = POWER) -> Advice:
    """Return the number of runs, and what else would help: quieter runs, a larger limit, a longer history.

    Arguments and errors: as in `more_runs`.
    """

    def runs(of: int, noise: float, least: float) -> int | None:
        return more_runs(of, noise, least, level=level, power=power)

    quieter = runs(history, deviation / 2, limit)
    longer = runs(2 * history, deviation, limit)
    wider = next(((one, n) for one in _LIMITS if one > limit and (n := runs(history, deviation, one))), None)
    return Advice(
        runs(history, deviation, limit),
        None if quieter is None else (deviation / 2, quieter),
        wider,
        None if longer is None else (2 * history, longer),
    )


def level_of_names(names: int, *, alpha: float = 0.05, margin: float = 0.5) -> float:
    """Return the significance level that the gate gives to one of so many names, at most 0.01.

    It is the first step of Holm's procedure, with the gate's safety margin for p-values.
    """
    return min(LEVEL, alpha * margin / max(names, 1))
