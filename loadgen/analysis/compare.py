"""How much slower or faster is one release than another, and how sure is that?

    found = shift(np.log([412.0]), np.log([431.0]), base_errors=[0.006], new_errors=[0.008], known=stated(0.03))
    found.change, found.low, found.high        # 0.046, and its 95 % interval
    found.is_known                             # False where nobody knows how much runs differ

Values are the natural logarithms of one percentile, one a run. What makes an interval is how much
*runs* of the same code differ, and there are some ways to know it (`Basis`):

- several runs on a side tell it themselves: Welch's t test where both sides have three or more,
  or else the t test with the pooled deviation of both;
- runs that took turns tell it in pairs (`shift_pairs`);
- a history of accepted runs tells it (`between`); it is pooled with what the sides themselves show;
- somebody states it (`stated`);
- or nobody does. One run and one run then have the interval of their measurement only, from the batches
  of either. It is too narrow to decide by, by as much as runs differ, so nothing is said to be certain.

For one run beside one run, se² = se_A² + se_B² + 2 s²: what each run's percentile is off by within itself, and
s, how much runs differ beyond that. Its degrees of freedom are Welch and Satterthwaite's. A run that is too short
to know what it is off by is not helped by what is stated, only by a history of such runs.
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
from loadgen.analysis.levels import levels
from loadgen.analysis.values import Array, read_values

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
"""Of the deviation between runs, as a logarithm: real histories have stretches that happen to have none."""
LEAST_RUNS: Final = 3
"""Of a history, to tell how much runs differ."""
_BATCH_DF: Final = 4
"""Of a run's error: five batches."""
_MANY: Final = 1e9
"""Degrees of freedom of what is known for certain."""
_APART: Final = 3
"""Runs, from which on a side tells its own deviation."""
_LEAST_SHIFT: Final = log1p(0.03)
_LITTLE_LEFT: Final = 1 / 3


class Basis(StrEnum):
    """From what it is known how much runs differ."""

    RUNS = "runs"
    PAIRS = "pairs"
    HISTORY = "history"
    STATED = "stated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Between:
    """How much runs of the same code differ: of logarithms, or of ratios. See `between`, `stated`."""

    deviation: float
    """Beyond what each is off by within itself."""
    whole: float
    """All in all."""
    df: float
    """Of `whole`."""
    runs: int
    """That it is from; 0 where it is stated."""

    @property
    def basis(self) -> Basis:
        return Basis.HISTORY if self.runs else Basis.STATED


@dataclass(frozen=True, slots=True)
class Shift:
    """Relative: 0.1 is 10 % slower, -0.1 is 10 % faster."""

    change: float
    low: float
    high: float
    """The 95 % interval; nan where there is none."""
    p: float
    """Two-sided, that nothing has changed; 1 where that is not known."""
    basis: Basis
    df: float

    @property
    def is_known(self) -> bool:
        """Whether the interval holds how much runs differ."""
        return self.basis is not Basis.UNKNOWN


@dataclass(frozen=True, slots=True)
class RatioShift:
    """Of a ratio of errors; differences are of ratios: 0.01 is one point of a hundred more."""

    base: float
    new: float
    change: float
    low: float
    high: float
    p: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class OddOne:
    """The part that makes the whole's difference alone. Relative."""

    name: str
    change: float
    rest: float
    """Without it."""


def stated(deviation: float) -> Between:
    """What somebody says that runs differ by: 0.03 is 3 %.

    Raises:
        ValueError: 0 or less, or not finite.
    """
    if not 0 < deviation < inf:
        raise ValueError(f"the deviation between runs is {deviation:g}, and has to be more than 0")
    value = log1p(deviation)
    return Between(value, value, _MANY, 0)


def between(history: npt.ArrayLike, errors: npt.ArrayLike | None = None) -> Between | None:
    """How much the runs of a history differ where nothing has changed.

    The history is cut where it changed (`changepoint.scan`), and outliers are drawn in (`levels.levels`). The variance
    within levels, pooled, less the mean square of the errors is that between runs; its root is at least `FLOOR`.

    Args:
        history: of shape (runs,), logarithms, oldest first.
        errors: of the same shape: the error of each within its run, nan where there is none.
    Returns:
        None of fewer than three runs.
    Raises:
        ValueError: values that are not finite, or shapes that do not fit.
    Cost: under 1 ms for 20 runs; the first of each length up to 0.1 s, for what `scan` permutes.
    """
    values = read_values(history, "history", least=1)
    off = np.full(len(values), nan) if errors is None else np.asarray(errors, dtype=np.float64)
    if off.shape != values.shape:
        raise ValueError(f"errors have shape {off.shape}, and the history {values.shape}")
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
    """How much the new runs differ from those of the base.

    Args:
        base, new: of shape (runs,), natural logarithms; one run or more each.
        base_errors, new_errors: the error of each within its run, nan where there is none. Only looked at where one run
            meets one run, or what runs differ by is stated.
        known: how much runs differ, where that is known otherwise.
    Raises:
        ValueError: no runs, values that are not finite, or shapes that do not fit.
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
    """The same of runs that took turns, the n-th of the base beside the n-th of the new ones: Student's t of pairs.

    What drifts meanwhile is in both of a pair and falls out; instead there are half as many degrees of freedom, so it
    pays from five pairs or so on.

    Raises:
        ValueError: fewer than two pairs, sides of different length, or values that are not finite.
    """
    a, b = read_values(base, "base", least=1), read_values(new, "new", least=1)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} runs make no two pairs")
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
    """How much the ratio of errors differs.

    Errors come in bursts, so counts that are taken for independent have intervals that are far too narrow: a run's
    error is from its batches' ratios, and only never less than that of independent requests.

    Args:
        base, new: of shape (runs, 2): errors, and requests of which they are.
        base_errors, new_errors: standard error of each ratio from its batches, nan where there is none.
        known: how much ratios of runs differ.
    Raises:
        ValueError: no runs, counts below 0, more errors than requests, or no requests at all.
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
    """As `between`, of the ratios of errors of a history's runs, 0 to 1: as they are, without a floor.

    Args:
        ratios, errors: of shape (runs,); errors: of each ratio within its run, nan where there is none.
    Returns:
        None of fewer than three runs.
    """
    values, off = read_values(ratios, "ratios", least=1), read_values(errors, "errors", least=1, finite=False)
    if len(values) < LEAST_RUNS:
        return None
    variance = _squares(values) / (len(values) - 1)
    known = off[np.isfinite(off)]
    within = float(np.mean(known**2)) if len(known) else 0.0
    return Between(sqrt(max(variance - within, 0.0)), sqrt(variance), len(values) - 1, len(values))


def benjamini_hochberg(p: npt.ArrayLike) -> Array:
    """p-values so adjusted that of those below a level at most that share is expected to be false.

    Args:
        p: of shape (names,), 0 to 1.
    Source: Y. Benjamini, Y. Hochberg, Journal of the Royal Statistical Society B 57 (1995).
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values are one-dimensional and between 0 and 1")
    order = np.argsort(values, kind="stable")[::-1]
    n = len(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(values[order] * n / np.arange(n, 0, -1)), 1.0)
    return adjusted


def odd_one_out(shifts: Mapping[str, float], weights: Mapping[str, float] | None = None) -> OddOne | None:
    """The part (a region, an agent) without which there is no difference: then it is no matter of the code.

    Each is left out in turn. It is the odd one where the others' mean has another sign, or is less than a third of the
    mean of all. Where all together differ by less than 3 %, or there is one part only, there is none.

    Args:
        shifts: part -> difference of logarithms; those that are not finite are left out.
        weights: part -> how much of the whole it is; all alike if not given.
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


# -- how ------------------------------------------------------------------------------------------


def _of_two(difference: float, base: float, new: float, known: Between | None) -> Shift:
    """One run beside one run; what they are off by within themselves, nan where that is not known."""
    has_errors = isfinite(base) and isfinite(new)
    if not has_errors and (known is None or not known.runs):
        return Shift(expm1(difference), nan, nan, 1.0, Basis.UNKNOWN, nan)
    if known is None:
        error = sqrt(base**2 + new**2)
        df = error**4 / ((base**4 + new**4) / _BATCH_DF) if error else _BATCH_DF
        return _shifted(difference, error, df, Basis.UNKNOWN)
    if not has_errors:  # what the history's runs were off by is in what they differ by
        return _shifted(difference, sqrt(2) * known.whole, known.df, known.basis)
    error = sqrt(base**2 + new**2 + 2 * known.deviation**2)
    df = error**4 / ((base**4 + new**4) / _BATCH_DF + _known_term(known))
    return _shifted(difference, error, df, known.basis)


def _stated_of(known: Between, n: int, base: npt.ArrayLike | None, k: int, new: npt.ArrayLike | None) -> Between | None:
    """What is stated, and what runs are off by within themselves; None where one of them does not know that."""
    errors = np.concatenate([np.full(m, nan) if e is None else np.asarray(e) for m, e in ((n, base), (k, new))])
    if not np.isfinite(errors).all():
        return None
    return Between(known.deviation, sqrt(known.deviation**2 + float(np.mean(errors**2))), known.df, 0)


def _known_term(known: Between | None) -> float:
    """Satterthwaite's, of twice the variance between runs. What was taken off it does not make it more certain."""
    return 0.0 if known is None else 4 * known.whole**4 / known.df


def _of_runs(a: Array, b: Array, known: Between | None, floor: float) -> tuple[float, float, Basis]:
    """Error of the difference of means, its degrees of freedom, and how it is known. floor: of a run's variance."""
    n, k = len(a), len(b)
    if known is None and min(n, k) >= _APART:
        of_a, of_b = (_squares(one) / (len(one) - 1) / len(one) for one in (a, b))
        spread = of_a**2 / (n - 1) + of_b**2 / (k - 1)
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
    """At least that of independent requests; where none failed, of the one that might have (rule of three)."""
    failed, total = counts[:, 0] + 1, counts[:, 1] + 2
    independent = np.sqrt(failed / total * (1 - failed / total) / total)
    if errors is None:
        return independent
    least: Array = np.fmax(independent, np.asarray(errors, dtype=np.float64))
    return least


def _counts(what: str, given: npt.ArrayLike) -> Array:
    counts = np.asarray(given, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] != 2 or not len(counts):
        raise ValueError(f"{what} has shape {counts.shape}, and errors and requests of each run are wanted")
    if (counts < 0).any() or (counts[:, 0] > counts[:, 1]).any() or not (counts[:, 1] > 0).all():
        raise ValueError(f"{what} has counts that cannot be")
    return counts
