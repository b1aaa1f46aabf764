"""The levels of a history between its changes: the height of each level, the size of each step, and the outliers.

    changes = scan(values)                       # (37,)
    levels(values, changes)[-1].height           # the current level
    steps(values, changes)[0].change             # 0.081: 8.1 % more than before
    outliers(values, changes)                    # values that a person should look at

Values are natural logarithms of one figure of each run, oldest first; a change is a ratio, 0.1 is 10 % more.

For the height of its level an outlier counts as if it were 2.7 deviations off (4 median absolute deviations, as in the
gate). So one bad run does not move a level, and no value is left out. At most a tenth of a level are outliers: what
more runs have is how the target behaves.

The interval of a step is Welch's, from these clipped values. It assumes that the position of the step is known. If the
step was found in the same values, small steps are overestimated a little: they are only found when they look large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import expm1, nan, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.usual_distance import usual_distance
from loadgen.analysis.values_to_float_array import Array, read_values

__all__ = ["FAR", "Level", "Outlier", "Step", "between", "levels", "outliers", "steps"]

FAR: Final = 3.5
"""A value is an outlier if it is more robust deviations than this from its level. Source: Iglewicz, Hoaglin, How to
Detect Outliers, 1993."""
_REACH: Final = 2.7
"""Values are clipped to this many deviations from their level's median."""
_MAD_TO_SD: Final = 1.4826
"""The factor from the median absolute deviation to the standard deviation of normal values."""
_FLOOR: Final = 0.0045
"""The smallest deviation, because some histories have stretches of equal values."""
_SHORT: Final = 6.0
"""The deviation of few values is uncertain, so n values permit 1 + 6 / n times as much."""
_LEAST: Final = 5
"""The minimum number of values of a level in which outliers are searched."""
_AR_LEAST: Final = 20
"""The minimum number of values to estimate the correlation of neighbours."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level: the values of the series from index `start` to before `end`."""

    start: int
    end: int
    height: float
    """The mean with clipped outliers; a logarithm."""
    deviation: float
    """The standard deviation with clipped outliers; nan for one value."""

    @property
    def count(self) -> int:
        """Return the number of values in this level."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Step:
    """The change from one level to the next. Relative: 0.1 is 10 % more."""

    at: int
    """The index of the first value of the new level."""
    change: float
    low: float
    high: float
    """low, high: the 95 % interval; nan if a level has one value."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """A value that is far from its level."""

    index: int
    change: float
    """The difference from its level's median, relative."""
    deviations: float
    """The same difference in robust deviations, signed."""


def levels(values: npt.ArrayLike, changes: Sequence[int] = ()) -> tuple[Level, ...]:
    """Return the levels into which `changes` divide a series, each with its mean and deviation.

    Args:
        values: shape (n,), finite.
        changes: rising indices within 1..n-1.

    Raises:
        ValueError: an argument is invalid.
    """
    array = _checked(values, changes)
    found = []
    for start, end in pairwise((0, *changes, len(array))):
        drawn = _drawn_in(array[start:end])
        deviation = float(drawn.std(ddof=1)) if len(drawn) > 1 else nan
        found.append(Level(start, end, float(drawn.mean()), deviation))
    return tuple(found)


def steps(values: npt.ArrayLike, changes: Sequence[int], *, ar: bool = False) -> tuple[Step, ...]:
    """Return one step per change: the relative change from the level before to the level after it, with its interval.

    Args:
        values, changes: as in `levels`.
        ar: allow for correlation between neighbouring runs, as in `scan`; intervals become wider.
    """
    array = _checked(values, changes)
    edges = (0, *changes, len(array))
    found = []
    for start, at, end in zip(edges, edges[1:], edges[2:], strict=False):
        found.append(Step(at, *between(array[start:at], array[at:end], ar=ar)))
    return tuple(found)


def between(before: npt.ArrayLike, after: npt.ArrayLike, *, ar: bool = False) -> tuple[float, float, float]:
    """Return three numbers: the relative change between two groups of runs, and the ends of its 95 % interval.

    The interval is by Welch, with clipped outliers; its ends are nan if a side has one value.

    before, after: shapes (n,) and (k,); natural logarithms.
    """
    old, new = (_drawn_in(read_values(one, what, least=1)) for one, what in ((before, "before"), (after, "after")))
    difference = float(new.mean() - old.mean())
    if len(old) < 2 or len(new) < 2:
        return expm1(difference), nan, nan
    wider = _common(old, new) if ar else 1.0
    a, b = (max(float(one.var(ddof=1)), _FLOOR**2) * wider / len(one) for one in (old, new))
    # Welch and Satterthwaite's degrees of freedom.
    df = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1))
    half = float(special.stdtrit(df, 0.975)) * sqrt(a + b)
    return expm1(difference), expm1(difference - half), expm1(difference + half)


def outliers(values: npt.ArrayLike, changes: Sequence[int] = (), *, far: float = FAR) -> tuple[Outlier, ...]:
    """Return the values that are far from their level, in the order of the series.

    Args:
        values, changes: as in `levels`.
        far: the largest permitted distance from the level's median, in robust deviations (1.4826 median absolute
            deviations). A level of n values permits (1 + 6 / n) times as much; levels of fewer than 5 values have no
            outliers, and other levels at most a tenth of their values, rounded up.
    """
    array = _checked(values, changes)
    found = []
    for start, end in pairwise((0, *changes, len(array))):
        part = array[start:end]
        if len(part) < _LEAST:
            continue
        middle, scale = _middle(part)
        reach = max(far * (1 + _SHORT / len(part)) * scale, _usual(part, middle))
        for index in np.flatnonzero(np.abs(part - middle) > reach):
            off = float(part[index]) - middle
            found.append(Outlier(start + int(index), expm1(off), off / scale))
    return tuple(found)


def _middle(part: Array) -> tuple[float, float]:
    """Return the median of a level and its robust standard deviation, which is at least `_FLOOR`."""
    middle = float(np.median(part))
    return middle, max(_MAD_TO_SD * float(np.median(np.abs(part - middle))), _FLOOR)


def _usual(part: Array, middle: float) -> float:
    return float(usual_distance(np.abs(part - middle)[None, :])[0, 0])


def _drawn_in(part: Array) -> Array:
    if len(part) < 3:
        return part
    middle, scale = _middle(part)
    reach = max(_REACH * (1 + _SHORT / len(part)) * scale, _usual(part, middle))
    drawn: Array = np.clip(part, middle - reach, middle + reach)
    return drawn


def _common(old: Array, new: Array) -> float:
    """Return the factor (1 + r) / (1 - r) by which a correlation r of neighbours increases the variance of means.

    Subtracting a mean reduces the measured correlation by (1 + 3 r) / n (Marriott and Pope, Biometrika 41, 1954). That
    is corrected for both means.
    """
    rest = np.concatenate((old - old.mean(), new - new.mean()))
    squares = float((rest**2).sum())
    if len(rest) < _AR_LEAST or not squares:
        return 1.0
    seen = float((rest[1:] * rest[:-1]).sum()) / squares
    # At most 0.9, because the factor has no limit as r approaches 1.
    r = min(max(0.0, seen + 2 * (1 + 3 * seen) / len(rest)), 0.9)
    return (1 + r) / (1 - r)


def _checked(values: npt.ArrayLike, changes: Sequence[int]) -> Array:
    array = read_values(values, "the series", least=1)
    edges = (0, *changes, len(array))
    if any(before >= after for before, after in pairwise(edges)):
        raise ValueError(f"changes are {tuple(changes)}, but must rise within 1 and {len(array) - 1}")
    return array
