"""Judges whether new runs are slower than earlier ones. It compares runs, never requests.

    judgement = judge({"GET /cart": history}, {"GET /cart": new})
    judgement.outcome            # "PASS", "FAIL" or "INCONCLUSIVE"

Each array has one value per run: the natural logarithm of a percentile of one name. All
requests of a run share its conditions (machines, neighbours, caches). So tests over
pooled requests find a difference between two runs of the same code in most cases
(`tests/statistics/test_gate.py` shows it). Only the variation between *runs* separates a
regression from noise.

Each name gets a one-sided t test of the new runs against the history, with their pooled
deviation. Its error allows for runs that resemble their neighbours (`run_correlation.py`).
The p-values have Holm's correction over all names. A name FAILs if the result is significant
and the effect is larger than `delta`. `detectable` is the effect that this number of runs
with this deviation finds in 90 % of cases, at the level that one of so many names has
(noncentral t). If it is larger than the tolerated effect, a PASS would mean nothing, so the
outcome is INCONCLUSIVE.

docs/how-often-wrong.md has the error rates.

A single bad run does not decide. Values of the history are clipped to 2.7 robust deviations
(4 median absolute deviations) from its median, and to more in short histories. With three
new runs or more, the new values are clipped to 1.25 of the history's robust deviations from
their own median before their mean is computed. At most a tenth of a history (rounded up) is
clipped: a second level that every fifth run has is how the target behaves, and no outlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import expm1, inf, log1p, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.run_correlation import (
    SESSION_S,
    error_factor,
    neighbour_correlation,
    reference_factor,
    session_factor,
    session_share,
)
from loadgen.analysis.usual_distance import usual_distance
from loadgen.analysis.values_to_float_array import Array, setting_wrong, values_wrong
from loadgen.units import format_share

__all__ = [
    "LEAST_HISTORY",
    "Began",
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
"""The minimum number of runs of a history; with fewer runs nothing passes."""
_FLOOR: Final = 0.005
"""The smallest deviation between runs, as a logarithm. Real histories have stretches without any by chance."""
_REACH: Final = 2.7
"""Values are clipped to this many deviations from the median (4 median absolute deviations)."""
_SHORT: Final = 6.0
"""A history of n runs clips at 1 + 6 / n times as many deviations, because its deviation is uncertain."""
_NEAR: Final = 1.25
"""The same for the centre of new runs, which are few: one bad run must not move it."""
_MARGIN: Final = 0.5
"""A safety margin for p-values. With many names, Holm's correction uses p-values below 0.001, where the tail of
the t distribution holds for normal values only. Real runs have heavier tails and outliers; t(4) doubles such p-values.
"""
_PAIRED_MARGIN: Final = 0.8
"""The same for alternating runs, whose drift cancels: with 0.5 it missed 4 more regressions in 100."""
_MAD_FLOOR: Final = 0.003
"""The smallest robust deviation, for histories with many equal values."""
_MAD_TO_SD: Final = 1.4826
"""The factor from the median absolute deviation to the standard deviation of normal values."""
_LEVEL: Final = 0.01
"""The highest level of `detectable`."""
_POWER: Final = 0.9
"""The power of `detectable`."""


class Outcome(StrEnum):
    """The result of the gate for one name or for all."""

    PASS = "PASS"  # noqa: S105  # no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @classmethod
    def worst(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """Return the outcome of all together: FAIL if one is FAIL, else INCONCLUSIVE if one is, else PASS."""
        return min(outcomes, key=(cls.FAIL, cls.INCONCLUSIVE, cls.PASS).index)


@dataclass(frozen=True, slots=True)
class Began:
    """When the runs of each name began, in seconds from any fixed time: one value for each value of that name.

    nan: unknown; such a run counts as one that was made alone.
    """

    history: Mapping[str, npt.ArrayLike]
    new: Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, slots=True)
class Effect:
    """The judgement of one name. Effects are relative: 0.1 is 10 % slower, -0.1 is 10 % faster."""

    name: str
    outcome: Outcome
    change: float
    """The effect; nan if the name was not tested."""
    low: float
    high: float
    """low, high: the two-sided 95 % interval of the change."""
    p: float
    """The one-sided p-value of the hypothesis that the new runs are not slower; 1 if the name was not tested."""
    p_adjusted: float
    """The p-value with Holm's correction over all names."""
    detectable: float
    """The smallest slow-down that would be found in 90 % of cases; inf if none would."""
    history: int
    new: int
    """history, new: the numbers of runs."""
    reason: str = ""
    """Why the outcome is INCONCLUSIVE; empty otherwise."""
    is_blind: bool = False
    """Whether it is INCONCLUSIVE because only larger effects than tolerated would have been found."""

    @property
    def is_suspect(self) -> bool:
        """Return True if this name looks slower by its own p-value (< 0.05), not corrected for the number of names.

        It is a reason for more runs, not a FAIL.
        """
        return self.p < 0.05 and self.change > 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement of all names, with the settings that were used."""

    outcome: Outcome
    names: tuple[Effect, ...]
    """The names of the history in its order, then names that only the new runs have."""
    delta: float
    tolerate: float
    alpha: float

    @property
    def effects(self) -> dict[str, float]:
        """Return the relative change of each name; 0.1 is 10 % slower."""
        return {one.name: one.change for one in self.names}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % interval of the relative change of each name."""
        return {one.name: (one.low, one.high) for one in self.names}

    @property
    def mde(self) -> dict[str, float]:
        """Return the minimum detectable effect of each name, relative: smaller slow-downs could be missed."""
        return {one.name: one.detectable for one in self.names}

    @property
    def failed(self) -> tuple[Effect, ...]:
        """Return the effects with outcome FAIL."""
        return tuple(one for one in self.names if one.outcome is Outcome.FAIL)

    @property
    def suspects(self) -> tuple[Effect, ...]:
        """Return the effects that alone look slower than `delta`; more runs can confirm or refute that."""
        return tuple(one for one in self.names if one.is_suspect and one.change > self.delta)


def judge(
    history: Mapping[str, npt.ArrayLike],
    new: Mapping[str, npt.ArrayLike],
    *,
    delta: float = 0.03,
    tolerate: float = 0.10,
    alpha: float = 0.05,
    began: Began | None = None,
) -> Judgement:
    """Judge whether new runs are slower than accepted ones; return the outcome of each name and of all together.

    Args:
        history: for each name its values, shape (runs,), natural logarithms, oldest first: lists, arrays, pandas
            Series, or a DataFrame with a column per name. 20 runs are a good number; fewer than 10 never pass.
        new: the same for the new runs. One run is enough for a suspicion, three for a decision.
        delta: smaller relative effects are not a regression, however certain they are.
        tolerate: instead of PASS the outcome is INCONCLUSIVE if only effects above this would have been found.
        alpha: the probability that any name FAILs although nothing has changed.
        began: when the runs began. New runs that began within an hour of each other share more than others, and their
            mean has a larger error. Without times, the new runs are taken as made together.

    Returns:
        FAIL if a name fails. Otherwise INCONCLUSIVE if a name is, if a name of the history is missing, or if a new
        name has no history. Otherwise PASS. The result is deterministic.

    Raises:
        ValueError: there are no names, values are not finite or not one-dimensional, or settings are out of range.
            The message lists all errors. The caller must leave out missing values (nan, masked) of a name.

    Cost: 3 ms for 60 names of 20 runs; the first judgement of this size 0.4 s, for the simulation in `_law`.
    """
    _check_settings(delta, tolerate, alpha)
    old, fresh = _arrays(history=history, new=new)
    able = [name for name in old if _is_testable(old, fresh, name)]
    near = _Neighbours.of({name: old[name] for name in able}, began)
    found = dict(_compared_names(able, old, fresh, near))
    found = {name: found[name] for name in able}
    return _judged([*old, *(name for name in fresh if name not in old)], old, fresh, found, delta, tolerate, alpha)


def judge_pairs(
    before: Mapping[str, npt.ArrayLike],
    after: Mapping[str, npt.ArrayLike],
    *,
    delta: float = 0.03,
    tolerate: float = 0.10,
    alpha: float = 0.05,
) -> Judgement:
    """Judge whether the runs after are slower than those before, which alternated (A B A B ...) on the same agents.

    A drift is in both runs of a pair and cancels out, so this detects smaller effects than `judge` with the same number
    of runs. Fewer than 5 pairs never pass. Everything else is as in `judge`.

    Raises:
        ValueError: as in `judge`; or a name has different numbers of runs before and after.
    """
    _check_settings(delta, tolerate, alpha)
    old, fresh = _arrays(before=before, after=after)
    if wrong := [name for name in old if name in fresh and len(old[name]) != len(fresh[name])]:
        raise ValueError(f"different numbers of runs before and after: {', '.join(map(str, wrong))}")
    found: dict[str, _Test] = {}
    for name in old:
        if name in fresh and len(old[name]) >= 2:
            found[name] = _compared_pairs(old[name], fresh[name])
    names = [*old, *(name for name in fresh if name not in old)]
    return _judged(names, old, fresh, found, delta, tolerate, alpha, least=5, margin=_PAIRED_MARGIN)


def judge_reference(
    reference: Mapping[str, npt.ArrayLike],
    new: Mapping[str, npt.ArrayLike],
    history: Mapping[str, npt.ArrayLike],
    *,
    delta: float = 0.03,
    tolerate: float = 0.10,
    alpha: float = 0.05,
) -> Judgement:
    """Judge whether new runs are slower than the few runs of one release, the reference.

    Only the run-to-run variation comes from the history. This finds slow drifts. A drift of 2 % per release becomes
    part of the history, and no single step is a regression; but the reference stays the same.

    Args:
        reference: for each name one value or more of the release. `Effect.history` counts these.
        history: used only for the run-to-run variation; with fewer than 10 runs nothing passes.
        new, delta, tolerate, alpha: as in `judge`.

    Raises:
        ValueError: as in `judge`.
    """
    _check_settings(delta, tolerate, alpha)
    fixed, fresh, old = _arrays(reference=reference, new=new, history=history)
    able = [name for name in fixed if len(fixed[name]) and len(fresh.get(name, ())) and len(old.get(name, ())) >= 2]
    r = neighbour_correlation(_clipped({name: old[name] for name in able}).values())
    found = {name: _beside(fixed[name], fresh[name], old[name], r) for name in able}
    few = frozenset(name for name in able if len(old[name]) < LEAST_HISTORY)
    names = [*fixed, *(name for name in fresh if name not in fixed)]
    return _judged(names, fixed, fresh, found, delta, tolerate, alpha, least=1, few=few)


def detectable(history: int, new: int, deviation: float, *, level: float = _LEVEL, power: float = _POWER) -> float:
    """Return the smallest relative slow-down that these numbers of runs find with this power, by the noncentral t.

    Args:
        history, new: the numbers of runs, at least 1; for 1 and 1 the result is inf.
        deviation: the deviation between runs, as a logarithm: 0.02 is 2 %.
        level: the one-sided significance level.

    Raises:
        ValueError: an argument is out of range.
    """
    if not (history >= 1 and new >= 1 and 0 <= deviation < inf):
        raise ValueError(
            f"history is {history}, new is {new}, deviation is {deviation:g}: there must be at least 1 run each,"
            " and a finite deviation of 0 or more"
        )
    error = deviation * sqrt(1 / history + 1 / new)
    return _expm1(_detectable(error, history + new - 2, level, power))


# -- one name -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    difference: float
    """The difference of logarithms."""
    error: float
    df: float

    @property
    def p(self) -> float:
        return float(special.stdtr(self.df, -self.difference / self.error))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        half = float(special.stdtrit(self.df, (1 + level) / 2)) * self.error
        return self.difference - half, self.difference + half


def _compared_names(
    names: Iterable[str], old: Mapping[str, Array], fresh: Mapping[str, Array], near: _Neighbours
) -> Iterator[tuple[str, _Test]]:
    """Yield for each name the test of whether its new runs are slower than its history, with the deviation of both.

    Names with the same numbers of runs are computed together, which takes a fifth of the time.
    """
    alike: dict[tuple[int, int], list[str]] = {}
    for name in names:
        alike.setdefault((len(old[name]), len(fresh[name])), []).append(name)
    for (n, k), group in alike.items():
        law = _law(n, k)
        centre, before, squares = _figures(
            np.stack([old[name] for name in group]), np.stack([fresh[name] for name in group])
        )
        errors = np.maximum(np.sqrt(squares / law.squares), _FLOOR) * sqrt(law.variance)
        for name, difference, error in zip(group, (centre - before).tolist(), errors.tolist(), strict=True):
            yield name, _Test(difference, error * near.factor(name, n, k), law.df)


def _compared_pairs(before: Array, after: Array) -> _Test:
    """Return the test of whether the runs after are slower than those before, by the differences of the n-th pairs."""
    steps = after - before
    law = _law(len(steps), 0)
    centre, _, squares = (float(one[0]) for one in _figures(steps[None, :], steps[None, :0]))
    return _Test(centre, max(sqrt(squares / law.squares), _FLOOR) * sqrt(law.variance), law.df)


def _beside(reference: Array, new: Array, history: Array, r: float) -> _Test:
    """Return the test of whether the new runs are slower than the reference.

    Its deviation comes from the history and the new runs. r: the correlation of neighbouring runs.
    """
    n, k, m = len(history), len(new), len(reference)
    law = _law(n, k)
    centre, _, squares = (float(one[0]) for one in _figures(history[None, :], new[None, :]))
    fixed, _, _ = (float(one[0]) for one in _figures(reference[None, :], reference[None, :0]))
    # `law.variance` is that of a comparison with the mean of the history. The reference takes its place.
    variance = law.variance - 1 / n + (_law(m, 0).variance if m > 2 else 1 / m)
    error = max(sqrt(squares / law.squares), _FLOOR) * sqrt(variance) * reference_factor(r, n, k, m)
    return _Test(centre - fixed, error, law.df)


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """How much runs that are close in time have in common, over all names that are judged together."""

    correlation: float
    share: float
    """The part of the variance that runs of one session have in common."""
    began: Began | None

    @classmethod
    def of(cls, history: Mapping[str, Array], began: Began | None) -> _Neighbours:
        values = _clipped(history)
        times = {} if began is None else {name: _times(began.history.get(name), of) for name, of in history.items()}
        share = session_share([values[name] for name in times], [_sessions(of) for of in times.values()])
        return cls(neighbour_correlation(values.values()), share, began)

    def factor(self, name: str, history: int, new: int) -> float:
        """Return by how much the error is larger than that of independent runs.

        Correlation of neighbours and a shared day are two descriptions of the same thing: the larger one counts.
        """
        at = np.asarray([] if self.began is None else self.began.new.get(name, []), dtype=np.float64)
        sizes = np.bincount(_sessions(np.sort(at))).tolist() if len(at) == new else [new]
        return max(error_factor(self.correlation, history, new), session_factor(self.share, history, sizes))


def _times(at: npt.ArrayLike | None, values: Array) -> Array:
    """Return the times of a name's runs; runs without a time are each taken as a session of its own."""
    times = np.array(() if at is None else at, dtype=np.float64)
    return times if times.shape == values.shape else np.full(len(values), np.nan)


def _sessions(times: Array) -> npt.NDArray[np.int64]:
    """Return for each run, in order, the number of its session.

    A run begins a new session an hour after the run before it, if its time is unknown (nan), or if a clock went back.
    """
    steps = np.diff(times)
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(~((steps >= 0) & (steps < SESSION_S)))))


def _clipped(histories: Mapping[str, Array]) -> dict[str, Array]:
    """Return each history with values far from its median moved nearer to it, as in `_figures`."""
    alike: dict[int, list[str]] = {}
    for name, values in histories.items():
        alike.setdefault(len(values), []).append(name)
    found: dict[str, Array] = {}
    for group in alike.values():
        rows = np.stack([histories[name] for name in group])
        reach = _Reach.of(rows)
        found |= zip(group, np.clip(rows, reach.middle - reach.far, reach.middle + reach.far), strict=True)
    return found


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far from a median values are taken as they are. All arrays have shape (rows, 1)."""

    middle: Array
    """The median of the history."""
    far: Array
    """For histories, and for the deviation of new runs."""
    near: Array
    """For the centre of new runs."""

    @classmethod
    def of(cls, history: Array) -> _Reach:
        """Return, for each row of a history (rows, runs), the distance from the median beyond which values are clipped.

        If more than a tenth of the runs (rounded up) are farther away, they are normal for this target, and the
        distance is extended to them (`usual_distance.py`).
        """
        n = history.shape[1]
        middle = np.median(history, axis=1, keepdims=True)
        apart = np.abs(history - middle)
        scale = np.maximum(_MAD_TO_SD * np.median(apart, axis=1, keepdims=True), _MAD_FLOOR)
        far = _REACH * (1 + _SHORT / n) * scale
        usual = usual_distance(apart)
        return cls(middle, np.maximum(far, usual), np.where(usual > far, usual, _NEAR * scale))


def _figures(history: Array, new: Array) -> tuple[Array, Array, Array]:
    """Return three values per row: the centre of the new runs, that of the history, and the sum of squares around both.

    Without new runs, the first two are the centre and the median of the history. Values far from the median are clipped
    to 2.7 deviations (4 median absolute deviations), for the centre to 1.25. Short histories permit more, because their
    deviation is uncertain. At most a tenth of a history is clipped, rounded up.
    """
    reach = _Reach.of(history)
    h = np.clip(history, reach.middle - reach.far, reach.middle + reach.far)
    squares = h.var(axis=1) * h.shape[1]
    if not new.shape[1]:
        centre = np.clip(history, reach.middle - reach.near, reach.middle + reach.near).mean(axis=1)
        return centre, reach.middle[:, 0], squares
    amid = np.median(new, axis=1, keepdims=True)
    squares = squares + np.clip(new, amid - reach.far, amid + reach.far).var(axis=1) * new.shape[1]
    return np.clip(new, amid - reach.near, amid + reach.near).mean(axis=1), h.mean(axis=1), squares


@dataclass(frozen=True, slots=True)
class _Law:
    """The distribution of the results of `_figures` for normal values with variance 1."""

    squares: float
    """The mean of the sum of squares."""
    df: float
    """The degrees of freedom of the chi-square distribution with the same relative variance."""
    variance: float
    """The variance of the difference of the centres."""


@lru_cache(maxsize=1024)
def _law(n: int, k: int) -> _Law:
    """Return the distribution of a test with n runs in the history and k new runs, simulated with a fixed seed.

    Clipping makes sums of squares smaller. Without clipping, the degrees of freedom would be n + k - 2 and the variance
    1 / n + 1 / k.
    """
    generator = np.random.default_rng((n, k))
    rows = min(20_000, max(4_000, 4_000_000 // (n + k)))
    scale = 1 / _MAD_FLOOR  # far above the floor
    old, new = generator.standard_normal((rows, n)) * scale, generator.standard_normal((rows, k)) * scale
    centre, before, squares = _figures(old, new)
    squares = squares / scale**2
    difference = (centre - before if k else centre) / scale
    mean = float(squares.mean())
    # A multiple of chi-square with f degrees of freedom has mean² / variance = f / 2.
    return _Law(mean, 2 * mean**2 / float(squares.var()), float(difference.var()))


def _detectable(error: float, df: float, level: float = _LEVEL, power: float = _POWER) -> float:
    """Return the smallest detectable effect, as a logarithm; inf if even the largest effect would not be found.

    error, df: the standard error of the difference and its degrees of freedom.
    """
    shift = _shift(df, level, power)
    return shift * error if np.isfinite(shift) else inf


@lru_cache(maxsize=1024)
def _shift(df: float, level: float, power: float) -> float:
    """Return the noncentrality with which only the part 1 - power of all t values is below the critical value."""
    return float(special.nctdtrinc(df, 1 - power, special.stdtrit(df, 1 - level)))


def _expm1(value: float) -> float:
    # `expm1` raises OverflowError above 709.
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
    margin: float = _MARGIN,
) -> Judgement:
    """Return the judgement of all names, from the test of each.

    Args:
        names: all names, in order; those without a test are INCONCLUSIVE.
        old, fresh: the values of the history and of the new runs.
        found: the tests.
        delta, tolerate, alpha: as in `judge`.
        least: the minimum number of old runs for a PASS.
        few: names with too short a history for a PASS.
        margin: the safety margin of p-values.
    """
    tested = list(found)
    # The level that one of so many names has at first in Holm's procedure.
    level = min(_LEVEL, alpha * margin / max(len(tested), 1))
    adjusted = dict(zip(tested, holm(np.array([found[name].p for name in tested]), margin), strict=True))
    effects = []
    for name in names:
        n, k = len(old.get(name, ())), len(fresh.get(name, ()))
        test = found.get(name)
        if test is None:
            effects.append(_untested(name, n, k))
            continue
        low, high = test.interval()
        # A FAIL also needs an estimate above `delta`. The estimate exceeds `delta` in 90 % of cases if the effect is
        # larger than `delta` by the normal quantile of 90 % in standard errors.
        smallest = max(_detectable(test.error, test.df, level), log1p(delta) + _Z_POWER * test.error)
        outcome, reason, is_blind = Outcome.PASS, "", False
        if adjusted[name] < alpha and test.difference > log1p(delta):
            outcome = Outcome.FAIL
        elif n < least:
            outcome, reason = Outcome.INCONCLUSIVE, f"only {_runs(n)} to compare with; at least {least} are needed"
        elif name in few:
            outcome, reason = (
                Outcome.INCONCLUSIVE,
                f"the history has fewer than {LEAST_HISTORY} runs, too few to estimate the noise",
            )
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
        reason = "the name is missing in the new runs"
    elif not n:
        reason = "the name is missing in the history"
    else:
        reason = f"only {_runs(n)} to compare with"
    nan = float("nan")
    return Effect(name, Outcome.INCONCLUSIVE, nan, nan, nan, 1.0, 1.0, inf, n, k, reason)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"


def holm(p: Array, margin: float = _MARGIN) -> Array:
    """Return p-values adjusted by Holm's step-down correction and divided by a safety margin. p: shape (..., names).

    Each row of the last axis is corrected on its own. margin: 1 for Holm's correction alone.

    Source: S. Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p, axis=-1, kind="stable")
    stepped = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0), axis=-1)
    capped: Array = np.minimum(adjusted / margin, 1.0)
    return capped


def _is_testable(old: Mapping[str, Array], fresh: Mapping[str, Array], name: str) -> bool:
    return len(old[name]) >= 2 and len(fresh.get(name, ())) >= 1


# -- arguments ------------------------------------------------------------------------------------


def _arrays(**given: Mapping[str, npt.ArrayLike]) -> list[dict[str, Array]]:
    """Return the values of each mapping as arrays by name.

    Raises ValueError with all errors, or if no mapping has a name.
    """
    wrong: list[str] = []
    read: list[dict[str, Array]] = []
    for what, by_name in given.items():
        arrays: dict[str, Array] = {}
        if not hasattr(by_name, "items"):
            wrong.append(f"{what} must be a mapping of names to values")
            continue
        for name, values in by_name.items():
            arrays[name], found = values_wrong(values)
            if found:
                wrong.append(f"{what} of {name} has {found}")
        read.append(arrays)
    if wrong:
        raise ValueError("; ".join(wrong))
    # Only the first two mappings have names to judge; the history of `judge_reference` only gives the deviation.
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
