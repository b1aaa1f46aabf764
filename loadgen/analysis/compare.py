"""Compares two releases: how much slower or faster the new one is, with a confidence interval.

    found = shift(np.log([412.0]), np.log([431.0]), base_errors=[0.006], new_errors=[0.008], known=stated(0.03))
    found.change, found.low, found.high        # 0.046, and its 95 % interval
    found.is_known                             # False if the run-to-run variation is unknown

Values are the natural logarithms of one percentile, one per run. The interval depends on the run-to-run variation:
how much *runs* of the same code differ. It can have these sources (`Basis`):

- several runs on a side: Welch's t test if both sides have three or more, otherwise the t test with the pooled
  deviation of both sides;
- pairs of runs that alternated (`shift_pairs`);
- a history of accepted runs (`between`), pooled with the variation of the sides themselves;
- a value that the user states (`stated`);
- none. Two single runs then have only the interval of their measurements, from the batches of each. It leaves out the
  run-to-run variation and is too narrow for a decision, so no p-value is given.

For two single runs, se² = se_A² + se_B² + 2 s², where se_A and se_B are the standard errors within each run, and s is
the additional deviation between runs. The degrees of freedom are Welch and Satterthwaite's. If a run is too short to
have a standard error, a stated value does not help, only a history of such runs.
Sources: B. L. Welch, Biometrika 34 (1947); F. E. Satterthwaite, Biometrics Bulletin 2 (1946).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import expm1, inf, isfinite, log1p, nan, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.changepoint import scan
from loadgen.analysis.history_segments import levels
from loadgen.analysis.values_to_float_array import Array, read_values

__all__ = [
    "FLOOR",
    "LEAST_RUNS",
    "Basis",
    "Between",
    "OddOne",
    "RatioShift",
    "Shift",
    "benjamini_hochberg",
    "between",
    "between_ratios",
    "odd_one_out",
    "ratio_shift",
    "shift",
    "shift_pairs",
    "stated",
]


FLOOR: Final = 0.005
"""The smallest deviation between runs, as a logarithm. Real histories have stretches without any by chance."""
LEAST_RUNS: Final = 3
"""The minimum number of runs of a history, to estimate the run-to-run variation."""
_BATCH_DF: Final = 4
"""The degrees of freedom of a run's standard error, which comes from five batches."""
_MANY: Final = 1e9
"""The degrees of freedom of an exactly known value."""
_APART: Final = 3
"""The minimum number of runs on a side to use its own deviation (Welch)."""
_LEAST_SHIFT: Final = log1p(0.03)
_LITTLE_LEFT: Final = 1 / 3


class Basis(StrEnum):
    """The source of the run-to-run variation."""

    RUNS = "runs"
    PAIRS = "pairs"
    HISTORY = "history"
    STATED = "stated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Between:
    """The run-to-run variation: the standard deviation of logarithms or of ratios. See `between`, `stated`."""

    deviation: float
    """The deviation between runs without the standard errors within the runs."""
    whole: float
    """The total deviation between measured values."""
    df: float
    """The degrees of freedom of `whole`."""
    runs: int
    """The number of runs from which it was estimated; 0 if it was stated."""

    @property
    def basis(self) -> Basis:
        """Return HISTORY if the variation was estimated from runs, STATED if the user gave it."""
        return Basis.HISTORY if self.runs else Basis.STATED


@dataclass(frozen=True, slots=True)
class Shift:
    """The change of a percentile. Relative: 0.1 is 10 % slower, -0.1 is 10 % faster."""

    change: float
    low: float
    high: float
    """low, high: the 95 % interval; nan if it is unknown."""
    p: float
    """The two-sided p-value of the hypothesis that nothing has changed; 1 if the run-to-run variation is unknown."""
    basis: Basis
    df: float

    @property
    def is_known(self) -> bool:
        """Return True if the interval includes the run-to-run variation."""
        return self.basis is not Basis.UNKNOWN


@dataclass(frozen=True, slots=True)
class RatioShift:
    """The change of an error ratio. Differences are absolute: 0.01 is one percentage point more.

    base, new: the ratios. low, high: the 95 % interval of `change`. p: two-sided.
    """

    base: float
    new: float
    change: float
    low: float
    high: float
    p: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class OddOne:
    """The only part (a region, an agent) that differs. Changes are relative."""

    name: str
    change: float
    rest: float
    """The change of all other parts together."""


def stated(deviation: float) -> Between:
    """Return the run-to-run variation that a user states as a relative deviation; 0.03 is 3 %.

    Raises:
        ValueError: it is 0 or less, or not finite.
    """
    if not 0 < deviation < inf:
        raise ValueError(f"the deviation between runs is {deviation:g}, but must be more than 0")
    value = log1p(deviation)
    return Between(value, value, _MANY, 0)


def between(history: npt.ArrayLike, errors: npt.ArrayLike | None = None) -> Between | None:
    """Estimate the run-to-run variation from the values of past runs, such as one percentile of each.

    The history is divided at its changes (`changepoint.scan`), and outliers are clipped (`levels.levels`). The pooled
    variance within levels, minus the mean square of the errors, is the variance between runs; its root is at least
    `FLOOR`.

    Args:
        history: shape (runs,), logarithms, oldest first.
        errors: the same shape: the standard error of each value within its run, nan where unknown.
    Returns:
        None for fewer than three runs.
    Raises:
        ValueError: values are not finite, or shapes differ.
    Cost: under 1 ms for 20 runs; the first call for each length up to 0.1 s, for the permutations of `scan`.
    """
    values = read_values(history, "history", least=1)
    off = np.full(len(values), nan) if errors is None else np.asarray(errors, dtype=np.float64)
    if off.shape != values.shape:
        raise ValueError(f"errors have shape {off.shape}, but the history has {values.shape}")
    if len(values) < LEAST_RUNS:
        return None
    found = levels(values, scan(values))
    df = len(values) - len(found)
    variance = max(sum(level.deviation**2 * (level.count - 1) for level in found) / df, FLOOR**2)
    known = off[np.isfinite(off)]
    within = float(np.mean(known**2)) if len(known) else 0.0
    return Between(sqrt(max(variance - within, FLOOR**2)), sqrt(variance), df, len(values))


def shift(
    base: npt.ArrayLike,
    new: npt.ArrayLike,
    *,
    base_errors: npt.ArrayLike | None = None,
    new_errors: npt.ArrayLike | None = None,
    known: Between | None = None,
) -> Shift:
    """Compare new runs with base runs: return the relative change with its 95 % interval and p-value.

    Args:
        base, new: shape (runs,), natural logarithms; at least one run each.
        base_errors, new_errors: the standard error of each value within its run, nan where unknown. They are only used
            for two single runs, or with a stated variation.
        known: the run-to-run variation from another source.
    Raises:
        ValueError: there are no runs, values are not finite, or shapes differ.
    Cost: 10 µs.
    """
    a, b = read_values(base, "base", least=1), read_values(new, "new", least=1)
    difference = float(b.mean() - a.mean())
    if len(a) == len(b) == 1:
        return _of_two(difference, _error_of(base_errors), _error_of(new_errors), known)
    if known is not None and not known.runs:
        known = _stated_of(known, len(a), base_errors, len(b), new_errors)
    error, df, basis = _of_runs(a, b, known, FLOOR**2)
    return _shifted(difference, error, df, basis)


def shift_pairs(base: npt.ArrayLike, new: npt.ArrayLike) -> Shift:
    """Compare runs that alternated, by Student's t of pairs: the n-th base run with the n-th new run.

    A drift is in both runs of a pair and cancels out. But there are half as many degrees of freedom, so pairs are
    better from about five pairs on.

    Raises:
        ValueError: there are fewer than two pairs, sides have different lengths, or values are not finite.
    """
    a, b = read_values(base, "base", least=1), read_values(new, "new", least=1)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} runs: both sides must have the same number of runs, at least 2")
    steps = b - a
    df = len(steps) - 1
    error = sqrt(max(_squares(steps) / df, FLOOR**2) / len(steps))
    return _shifted(float(steps.mean()), error, df, Basis.PAIRS)


def ratio_shift(
    base: npt.ArrayLike,
    new: npt.ArrayLike,
    *,
    base_errors: npt.ArrayLike | None = None,
    new_errors: npt.ArrayLike | None = None,
    known: Between | None = None,
) -> RatioShift:
    """Compare the error ratio of new runs with that of base runs: return the difference, its 95 % interval and p-value.

    Errors come in bursts, so intervals that assume independent requests are far too narrow. So the standard error of a
    run comes from the ratios of its batches, and is at least that of independent requests.

    Args:
        base, new: shape (runs, 2): errors and requests of each run.
        base_errors, new_errors: the standard error of each ratio from its batches, nan where unknown.
        known: the run-to-run variation of ratios.
    Raises:
        ValueError: there are no runs, a count is below 0, or a run has no requests or more errors than requests.
    """
    a, b = _counts("base", base), _counts("new", new)
    old, fresh = (float(one[:, 0].sum() / one[:, 1].sum()) for one in (a, b))
    off_a, off_b = (_ratio_errors(*one) for one in ((a, base_errors), (b, new_errors)))
    if len(a) == len(b) == 1:
        beyond = known.deviation if known is not None else 0.0
        error = sqrt(off_a[0] ** 2 + off_b[0] ** 2 + 2 * beyond**2)
        df = error**4 / ((off_a[0] ** 4 + off_b[0] ** 4) / _BATCH_DF + _known_term(known))
        basis = known.basis if known is not None else Basis.UNKNOWN
    else:
        least = float(np.mean(np.concatenate((off_a, off_b)) ** 2))
        error, df, basis = _of_runs(a[:, 0] / a[:, 1], b[:, 0] / b[:, 1], known, least)
    half, p = _half(error, df), _p(fresh - old, error, df)
    return RatioShift(old, fresh, fresh - old, fresh - old - half, fresh - old + half, p, basis)


def between_ratios(ratios: npt.ArrayLike, errors: npt.ArrayLike) -> Between | None:
    """Estimate the run-to-run variation of error ratios from a history. Unlike `between`, it has no levels or floor.

    Args:
        ratios: shape (runs,), 0 to 1.
        errors: the same shape: the standard error of each ratio within its run, nan where unknown.
    Returns:
        None for fewer than three runs.
    """
    values, off = read_values(ratios, "ratios", least=1), read_values(errors, "errors", least=1, finite=False)
    if len(values) < LEAST_RUNS:
        return None
    variance = _squares(values) / (len(values) - 1)
    known = off[np.isfinite(off)]
    within = float(np.mean(known**2)) if len(known) else 0.0
    return Between(sqrt(max(variance - within, 0.0)), sqrt(variance), len(values) - 1, len(values))


def benjamini_hochberg(p: npt.ArrayLike) -> Array:
    """Return p-values that are adjusted for the false discovery rate (Benjamini and Hochberg).

    Among the names whose adjusted p-value is below a level, the expected share of false ones is at most that level.

    Args:
        p: shape (names,), 0 to 1.
    Source: Y. Benjamini, Y. Hochberg, Journal of the Royal Statistical Society B 57 (1995).
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values must be one-dimensional and between 0 and 1")
    order = np.argsort(values, kind="stable")[::-1]
    n = len(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(values[order] * n / np.arange(n, 0, -1)), 1.0)
    return adjusted


def odd_one_out(shifts: Mapping[str, float], weights: Mapping[str, float] | None = None) -> OddOne | None:
    """Return the only part (a region, an agent) that causes the difference, which then is not caused by the code.

    Each part is left out in turn. It is the odd one if the mean of the others has the opposite sign, or is less than a
    third of the mean of all. Returns None if there is no such part, if all together differ by less than 3 %, or if
    there is only one part.

    Args:
        shifts: the difference of logarithms of each part; values that are not finite are left out.
        weights: the weight of each part; by default all are equal.
    """
    parts = {name: value for name, value in shifts.items() if isfinite(value)}
    of = {name: 1.0 if weights is None else weights[name] for name in parts}
    if len(parts) < 2 or not min(of.values()) > 0:
        return None
    whole = _mean(parts, of)
    if abs(whole) < _LEAST_SHIFT:
        return None
    rest = {name: _mean(parts, of, name) for name in parts}
    name = min(rest, key=lambda one: rest[one] * whole)
    if rest[name] * whole > _LITTLE_LEFT * whole**2:
        return None
    return OddOne(name, expm1(parts[name]), expm1(rest[name]))


# -- calculation ------------------------------------------------------------------------------------------


def _of_two(difference: float, base: float, new: float, known: Between | None) -> Shift:
    """Compare two single runs: return the relative change with its interval.

    Args:
        difference: of the logarithms.
        base, new: the standard errors within the two runs, nan if unknown.
        known: the run-to-run variation; without it, the interval covers only the errors within the runs.
    """
    has_errors = isfinite(base) and isfinite(new)
    if not has_errors and (known is None or not known.runs):
        return Shift(expm1(difference), nan, nan, 1.0, Basis.UNKNOWN, nan)
    if known is None:
        error = sqrt(base**2 + new**2)
        df = error**4 / ((base**4 + new**4) / _BATCH_DF) if error else _BATCH_DF
        return _shifted(difference, error, df, Basis.UNKNOWN)
    if not has_errors:  # the history's total deviation includes the errors within runs
        return _shifted(difference, sqrt(2) * known.whole, known.df, known.basis)
    error = sqrt(base**2 + new**2 + 2 * known.deviation**2)
    df = error**4 / ((base**4 + new**4) / _BATCH_DF + _known_term(known))
    return _shifted(difference, error, df, known.basis)


def _stated_of(known: Between, n: int, base: npt.ArrayLike | None, k: int, new: npt.ArrayLike | None) -> Between | None:
    """Return a stated variation with the mean square of the runs' standard errors added; None if one is unknown.

    n, k: the numbers of base runs and of new runs. base, new: their standard errors.
    """
    errors = np.concatenate([np.full(m, nan) if e is None else np.asarray(e) for m, e in ((n, base), (k, new))])
    if not np.isfinite(errors).all():
        return None
    return Between(known.deviation, sqrt(known.deviation**2 + float(np.mean(errors**2))), known.df, 0)


def _known_term(known: Between | None) -> float:
    """Return the variation's term in Satterthwaite's degrees of freedom, for twice the variance; 0 for None.

    It uses the total deviation: subtracting the errors within runs does not make the estimate more certain.
    """
    return 0.0 if known is None else 4 * known.whole**4 / known.df


def _of_runs(a: Array, b: Array, known: Between | None, floor: float) -> tuple[float, float, Basis]:
    """Return the standard error of the difference of means, its degrees of freedom, and the source of the variation.

    floor: the smallest variance of a run.
    """
    n, k = len(a), len(b)
    if known is None and min(n, k) >= _APART:
        of_a, of_b = (_squares(one) / (len(one) - 1) / len(one) for one in (a, b))
        spread = of_a**2 / (n - 1) + of_b**2 / (k - 1)
        # Welch and Satterthwaite's formula. Without any variation on both sides it is 0 / 0.
        df = (of_a + of_b) ** 2 / spread if spread else float(min(n, k) - 1)
        return sqrt(max(of_a, floor / n) + max(of_b, floor / k)), df, Basis.RUNS
    squares, df = _squares(a) + _squares(b), float(n + k - 2)
    variance, basis = squares / df, Basis.RUNS
    if known is not None and known.runs:
        variance = (squares + known.whole**2 * known.df) / (df + known.df)
        df, basis = df + known.df, Basis.HISTORY
    elif known is not None and known.whole**2 >= variance:
        variance, df, basis = known.whole**2, known.df, Basis.STATED
    return sqrt(max(variance, floor) * (1 / n + 1 / k)), df, basis


def _shifted(difference: float, error: float, df: float, basis: Basis) -> Shift:
    half = _half(error, df)
    p = 1.0 if basis is Basis.UNKNOWN else _p(difference, error, df)
    return Shift(expm1(difference), expm1(difference - half), expm1(difference + half), p, basis, df)


def _half(error: float, df: float) -> float:
    return float(special.stdtrit(min(df, _MANY), 0.975)) * error


def _p(difference: float, error: float, df: float) -> float:
    return float(2 * special.stdtr(min(df, _MANY), -abs(difference) / error)) if error else float(difference == 0)


def _squares(values: Array) -> float:
    return float(((values - values.mean()) ** 2).sum())


def _mean(parts: Mapping[str, float], weights: Mapping[str, float], without: str | None = None) -> float:
    names = [name for name in parts if name != without]
    return sum(parts[name] * weights[name] for name in names) / sum(weights[name] for name in names)


def _error_of(errors: npt.ArrayLike | None) -> float:
    return nan if errors is None else float(read_values(errors, "error", least=1, finite=False)[0])


def _ratio_errors(counts: Array, errors: npt.ArrayLike | None) -> Array:
    """Return the standard error of each ratio, at least that of independent requests.

    One failure and one success are added (Laplace's rule of succession), so the error is not 0 without failures.
    """
    failed, total = counts[:, 0] + 1, counts[:, 1] + 2
    independent = np.sqrt(failed / total * (1 - failed / total) / total)
    if errors is None:
        return independent
    least: Array = np.fmax(independent, np.asarray(errors, dtype=np.float64))
    return least


def _counts(what: str, given: npt.ArrayLike) -> Array:
    counts = np.asarray(given, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] != 2 or not len(counts):
        raise ValueError(f"{what} has shape {counts.shape}, but must have errors and requests of each run: (runs, 2)")
    if (counts < 0).any() or (counts[:, 0] > counts[:, 1]).any() or not (counts[:, 1] > 0).all():
        raise ValueError(
            f"{what} has invalid counts: each run needs requests, and 0 or more errors, not more than requests"
        )
    return counts
