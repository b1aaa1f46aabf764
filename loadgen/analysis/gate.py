"""Is a release slower than what was measured before? Runs are compared, never requests.

    judgement = judge({"GET /cart": history}, {"GET /cart": new})
    judgement.outcome            # "PASS", "FAIL" or "INCONCLUSIVE"

Each array has one value a run: the natural logarithm of a percentile of one name. All
requests of a run share what that run was like (its machines, its neighbours, its caches),
so tests over pooled requests find a difference between two runs of the very same code in
most cases (`tests/statistics/test_gate.py` shows it). What tells a regression from noise
is how much *runs* differ.

Of each name: a one-sided t test of the new runs against the history, with their pooled
deviation; p-values are Holm's over all names. A name FAILs where that is significant and
the effect is larger than `delta`. What could not have been seen is said: `detectable` is
the effect that this many runs with this deviation find in 90 % of cases at a level of
1 % (noncentral t). Where it is larger than what is tolerated, a PASS would mean nothing,
and is INCONCLUSIVE.

One bad run decides nothing. Values of the history are drawn in to 4 (normalised) median
absolute deviations from its median, and those of the new runs, where they are three or
more, to 1.5 of the history's from their own median before their mean is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import expm1, inf, log1p, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.values import Array, setting_wrong, values_wrong
from loadgen.units import format_share

__all__ = [
    "LEAST_HISTORY",
    "Effect",
    "Judgement",
    "Outcome",
    "detectable",
    "holm",
    "judge",
    "judge_pairs",
    "judge_reference",
]

LEAST_HISTORY: Final = 10
"""Runs; with fewer nothing passes."""
_FLOOR: Final = 0.005
"""Of the deviation between runs, as a logarithm: real histories have stretches that happen to have none."""
_REACH: Final = 2.7
_SHORT: Final = 6.0
_NEAR: Final = 1.25
_MARGIN: Final = 0.8
"""What the t distribution does not know is that 3 % of runs are outliers: with it the level is held also then."""
_MAD_FLOOR: Final = 0.003
_MAD_TO_SD: Final = 1.4826
_LEVEL: Final = 0.01
_POWER: Final = 0.9
"""Of `detectable`."""


class Outcome(StrEnum):
    PASS = "PASS"  # noqa: S105  # no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @classmethod
    def worst(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """Of all together: FAIL outranks INCONCLUSIVE, which replaces only PASS."""
        return min(outcomes, key=(cls.FAIL, cls.INCONCLUSIVE, cls.PASS).index)


@dataclass(frozen=True, slots=True)
class Effect:
    """One name. Effects are relative: 0.1 is 10 % slower, -0.1 is 10 % faster."""

    name: str
    outcome: Outcome
    change: float
    """nan where there is nothing to compare."""
    low: float
    high: float
    """The 95 % interval of the change, two-sided."""
    p: float
    """One-sided, that the new runs are as the old or faster; 1 where nothing was tested."""
    p_adjusted: float
    """Holm's, over all names."""
    detectable: float
    """The smallest slow-down that would have been found in 90 % of cases; inf where none would."""
    history: int
    new: int
    """Runs."""
    reason: str = ""
    """Why it is inconclusive."""
    is_blind: bool = False
    """It is, since only more than is tolerated would have been found."""

    @property
    def is_suspect(self) -> bool:
        """By itself it looks slower: more runs would tell."""
        return self.p < 0.05 and self.change > 0


@dataclass(frozen=True, slots=True)
class Judgement:
    outcome: Outcome
    names: tuple[Effect, ...]
    """In the order of the history, then new ones."""
    delta: float
    tolerate: float
    alpha: float

    @property
    def effects(self) -> dict[str, float]:
        """Relative change by name."""
        return {one.name: one.change for one in self.names}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % interval of the relative change by name."""
        return {one.name: (one.low, one.high) for one in self.names}

    @property
    def mde(self) -> dict[str, float]:
        """Minimum detectable effect by name, relative."""
        return {one.name: one.detectable for one in self.names}

    @property
    def failed(self) -> tuple[Effect, ...]:
        return tuple(one for one in self.names if one.outcome is Outcome.FAIL)

    @property
    def suspects(self) -> tuple[Effect, ...]:
        """Names that look slower than `delta` by themselves: worth confirming with more runs."""
        return tuple(one for one in self.names if one.is_suspect and one.change > self.delta)


def judge(
    history: Mapping[str, npt.ArrayLike],
    new: Mapping[str, npt.ArrayLike],
    *,
    delta: float = 0.03,
    tolerate: float = 0.10,
    alpha: float = 0.05,
) -> Judgement:
    """Judge new runs against accepted ones.

    Args:
        history: name -> values of shape (runs,), natural logarithms, oldest first: lists, arrays, pandas Series (a
            DataFrame with a column a name is such a mapping). 20 runs are a good number, 10 the least with which
            something can pass.
        new: the same of the new runs. One is enough to become suspicious, three to decide.
        delta: relative effects up to this are no regression, however certain.
        tolerate: a PASS is INCONCLUSIVE where only larger relative effects would have been found.
        alpha: of all names together, the chance of a FAIL where nothing has changed.

    Returns:
        FAIL where a name fails; else INCONCLUSIVE where one is, a name of the history is missing or a new one has no
        history; else PASS. Deterministic.

    Raises:
        ValueError: no names, values that are no finite numbers or not one-dimensional, or settings out of range; all
            faults. What is missing in a run (nan, masked) is left out by the caller: then the name has fewer runs.

    Cost: 11 ms for 60 names of 1,000 runs; the first judgement of so many runs 0.4 s, for what `_law` simulates.
    """
    _check_settings(delta, tolerate, alpha)
    old, fresh = _arrays(history=history, new=new)
    found = {name: _compared(old[name], fresh[name]) for name in old if _is_testable(old, fresh, name)}
    return _judged([*old, *(name for name in fresh if name not in old)], old, fresh, found, delta, tolerate, alpha)


def judge_pairs(
    before: Mapping[str, npt.ArrayLike],
    after: Mapping[str, npt.ArrayLike],
    *,
    delta: float = 0.03,
    tolerate: float = 0.10,
    alpha: float = 0.05,
) -> Judgement:
    """Judge interleaved runs: A B A B ... on the same agents and targets, the n-th of one beside the n-th of the other.

    What drifts during the runs is in both of a pair and falls out, so this sees more than `judge` with as many runs.
    5 pairs are the least with which something can pass. Otherwise as `judge`.

    Raises:
        ValueError: as `judge`; or a name has not as many runs before as after.
    """
    _check_settings(delta, tolerate, alpha)
    old, fresh = _arrays(before=before, after=after)
    if wrong := [name for name in old if name in fresh and len(old[name]) != len(fresh[name])]:
        raise ValueError(f"not as many runs before as after: {', '.join(map(str, wrong))}")
    found: dict[str, _Test] = {}
    for name in old:
        if name in fresh and len(old[name]) >= 2:
            found[name] = _compared_pairs(old[name], fresh[name])
    names = [*old, *(name for name in fresh if name not in old)]
    return _judged(names, old, fresh, found, delta, tolerate, alpha, least=5)


def judge_reference(
    reference: Mapping[str, npt.ArrayLike],
    new: Mapping[str, npt.ArrayLike],
    history: Mapping[str, npt.ArrayLike],
    *,
    delta: float = 0.03,
    tolerate: float = 0.10,
    alpha: float = 0.05,
) -> Judgement:
    """Judge new runs against those of one release, which are few: how much runs differ is known from the history.

    What creeps, 2 % a release, is in the history soon, and no single step of it is a regression; the reference stays.

    Args:
        reference: name -> one value or more, of the release. `Effect.history` counts these.
        history: of the deviation, and nothing else; with fewer than 10 runs nothing passes. Otherwise as `judge`.

    Raises:
        ValueError: as `judge`.
    """
    _check_settings(delta, tolerate, alpha)
    fixed, fresh, old = _arrays(reference=reference, new=new, history=history)
    able = [name for name in fixed if len(fixed[name]) and len(fresh.get(name, ())) and len(old.get(name, ())) >= 2]
    found = {name: _beside(fixed[name], fresh[name], old[name]) for name in able}
    few = frozenset(name for name in able if len(old[name]) < LEAST_HISTORY)
    names = [*fixed, *(name for name in fresh if name not in fixed)]
    return _judged(names, fixed, fresh, found, delta, tolerate, alpha, least=1, few=few)


def detectable(history: int, new: int, deviation: float, *, level: float = _LEVEL, power: float = _POWER) -> float:
    """The relative effect that so many runs find with this power at this one-sided level: by the noncentral t.

    Args:
        history, new: runs, 1 or more; of 1 and 1 it is inf.
        deviation: between runs, of the logarithm: 0.02 is 2 %.

    Raises:
        ValueError: no runs, or a deviation that is none.
    """
    if not (history >= 1 and new >= 1 and 0 <= deviation < inf):
        raise ValueError(f"{history} and {new} runs with a deviation of {deviation:g} find nothing")
    error = deviation * sqrt(1 / history + 1 / new)
    return _expm1(_detectable(error, history + new - 2, level, power))


# -- one name -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    difference: float
    """Of logarithms."""
    error: float
    df: float

    @property
    def p(self) -> float:
        return float(special.stdtr(self.df, -self.difference / self.error))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        half = float(special.stdtrit(self.df, (1 + level) / 2)) * self.error
        return self.difference - half, self.difference + half


def _compared(history: Array, new: Array) -> _Test:
    """The t of the new runs' centre against the history's, with the deviation of both pooled."""
    n, k = len(history), len(new)
    law = _law(n, k)
    centre, old, squares = (float(one[0]) for one in _figures(history[None, :], new[None, :]))
    deviation = max(sqrt(squares / law.squares), _FLOOR)
    return _Test(centre - old, deviation * sqrt(law.variance), law.df)


def _compared_pairs(before: Array, after: Array) -> _Test:
    """The t of the centre of the differences of pairs."""
    steps = after - before
    law = _law(len(steps), 0)
    centre, _, squares = (float(one[0]) for one in _figures(steps[None, :], steps[None, :0]))
    return _Test(centre, max(sqrt(squares / law.squares), _FLOOR) * sqrt(law.variance), law.df)


def _beside(reference: Array, new: Array, history: Array) -> _Test:
    """The t of the new runs' centre against the reference's, with the deviation of the history and of the new runs."""
    n, k, m = len(history), len(new), len(reference)
    law = _law(n, k)
    centre, _, squares = (float(one[0]) for one in _figures(history[None, :], new[None, :]))
    fixed, _, _ = (float(one[0]) for one in _figures(reference[None, :], reference[None, :0]))
    variance = law.variance - 1 / n + (_law(m, 0).variance if m > 2 else 1 / m)
    return _Test(centre - fixed, max(sqrt(squares / law.squares), _FLOOR) * sqrt(variance), law.df)


def _figures(history: Array, new: Array) -> tuple[Array, Array, Array]:
    """Of each row: centre of the new, of the history, and the sum of squares around both. Without new: of the history.

    Whatever is far out is drawn in: to 2.7 deviations (4 median absolute deviations) from the median, and more in short
    histories, whose deviation is not known well; for the centre to 1.25.
    """
    middle = np.median(history, axis=1, keepdims=True)
    scale = np.maximum(_MAD_TO_SD * np.median(np.abs(history - middle), axis=1, keepdims=True), _MAD_FLOOR)
    reach = _REACH * (1 + _SHORT / history.shape[1]) * scale
    h = np.clip(history, middle - reach, middle + reach)
    squares = h.var(axis=1) * h.shape[1]
    if not new.shape[1]:
        return np.clip(history, middle - _NEAR * scale, middle + _NEAR * scale).mean(axis=1), middle[:, 0], squares
    amid = np.median(new, axis=1, keepdims=True)
    squares = squares + np.clip(new, amid - reach, amid + reach).var(axis=1) * new.shape[1]
    near = _NEAR * scale
    return np.clip(new, amid - near, amid + near).mean(axis=1), h.mean(axis=1), squares


@dataclass(frozen=True, slots=True)
class _Law:
    """How the figures of normal values with variance 1 are distributed."""

    squares: float
    """Mean of the sum of squares."""
    df: float
    """Of the chi-square distribution with as large a variation."""
    variance: float
    """Of the difference of the centres."""


@lru_cache(maxsize=1024)
def _law(n: int, k: int) -> _Law:
    """By simulation with a fixed seed, since drawing in makes sums of squares smaller and less certain.

    With nothing to draw in it would be n + k - 2 degrees of freedom and a variance of 1 / n + 1 / k.
    """
    generator = np.random.default_rng((n, k))
    rows = min(20_000, max(4_000, 4_000_000 // (n + k)))
    scale = 1 / _MAD_FLOOR  # far above the floor
    old, new = generator.standard_normal((rows, n)) * scale, generator.standard_normal((rows, k)) * scale
    centre, before, squares = _figures(old, new)
    squares = squares / scale**2
    difference = (centre - before if k else centre) / scale
    mean = float(squares.mean())
    return _Law(mean, 2 * mean**2 / float(squares.var()), float(difference.var()))


def _detectable(error: float, df: float, level: float = _LEVEL, power: float = _POWER) -> float:
    """As a logarithm; inf where even the largest effect would not be found."""
    shift = float(special.nctdtrinc(df, 1 - power, special.stdtrit(df, 1 - level)))
    return shift * error if np.isfinite(shift) else inf


def _expm1(value: float) -> float:
    return expm1(value) if value < 700 else inf


# -- all names ------------------------------------------------------------------------------------


def _judged(
    names: list[str],
    old: Mapping[str, Array],
    fresh: Mapping[str, Array],
    found: Mapping[str, _Test],
    delta: float,
    tolerate: float,
    alpha: float,
    least: int = LEAST_HISTORY,
    few: frozenset[str] = frozenset(),
) -> Judgement:
    """few: names whose deviation is not known well enough for a PASS."""
    tested = list(found)
    adjusted = dict(zip(tested, holm(np.array([found[name].p for name in tested])), strict=True))
    effects = []
    for name in names:
        n, k = len(old.get(name, ())), len(fresh.get(name, ()))
        test = found.get(name)
        if test is None:
            effects.append(_untested(name, n, k))
            continue
        low, high = test.interval()
        smallest = max(_detectable(test.error, test.df), log1p(delta) + _Z_POWER * test.error)
        outcome, reason, is_blind = Outcome.PASS, "", False
        if adjusted[name] < alpha and test.difference > log1p(delta):
            outcome = Outcome.FAIL
        elif n < least:
            outcome, reason = Outcome.INCONCLUSIVE, f"{_runs(n)} to compare with, and {least} are the least"
        elif name in few:
            outcome, reason = Outcome.INCONCLUSIVE, f"the history has less than {LEAST_HISTORY} runs to know noise from"
        elif smallest > log1p(tolerate):
            outcome, is_blind = Outcome.INCONCLUSIVE, True
            reason = f"only a slow-down of {format_share(_expm1(smallest))} or more would have been found"
        change, from_, to = (_expm1(one) for one in (test.difference, low, high))
        effects.append(
            Effect(
                name,
                outcome,
                change,
                from_,
                to,
                test.p,
                float(adjusted[name]),
                _expm1(smallest),
                n,
                k,
                reason,
                is_blind,
            )
        )
    return Judgement(Outcome.worst(one.outcome for one in effects), tuple(effects), delta, tolerate, alpha)


_Z_POWER: Final = float(special.ndtri(_POWER))


def _untested(name: str, n: int, k: int) -> Effect:
    if not k:
        reason = "the new runs have no such name"
    elif not n:
        reason = "the history has no such name"
    else:
        reason = f"{_runs(n)} to compare with"
    nan = float("nan")
    return Effect(name, Outcome.INCONCLUSIVE, nan, nan, nan, 1.0, 1.0, inf, n, k, reason)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"


def holm(p: Array) -> Array:
    """Holm's step-down p-values (Scandinavian Journal of Statistics 6, 1979), with a margin of a fifth. p: (names,)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    capped: Array = np.minimum(adjusted / _MARGIN, 1.0)
    return capped


def _is_testable(old: Mapping[str, Array], fresh: Mapping[str, Array], name: str) -> bool:
    return len(old[name]) >= 2 and len(fresh.get(name, ())) >= 1


# -- what is asked --------------------------------------------------------------------------------


def _arrays(**given: Mapping[str, npt.ArrayLike]) -> list[dict[str, Array]]:
    """What each is, by name; at least one has a name."""
    wrong: list[str] = []
    read: list[dict[str, Array]] = []
    for what, by_name in given.items():
        arrays: dict[str, Array] = {}
        if not hasattr(by_name, "items"):
            wrong.append(f"{what} is no mapping of names to values")
            continue
        for name, values in by_name.items():
            arrays[name], found = values_wrong(values)
            if found:
                wrong.append(f"{what} of {name} has {found}")
        read.append(arrays)
    if wrong:
        raise ValueError("; ".join(wrong))
    if not any(read[:2]):
        raise ValueError("no names to judge")
    return read


def _check_settings(delta: float, tolerate: float, alpha: float) -> None:
    wrong = (
        setting_wrong("delta", delta, "0 or more", lambda value: 0 <= value < inf),
        setting_wrong("tolerate", tolerate, "more than 0", lambda value: 0 < value < inf),
        setting_wrong("alpha", alpha, "between 0 and 1", lambda value: 0 < value < 1),
    )
    if any(wrong):
        raise ValueError("; ".join(filter(None, wrong)))
