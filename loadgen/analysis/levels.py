"""What stands between changes of level: how high each level is, how large the steps, which values belong to none.

    changes = scan(values)                       # (37,)
    levels(values, changes)[-1].height           # where it stands now
    steps(values, changes)[0].change             # 0.081: 8.1 % more than before
    outliers(values, changes)                    # named, for a person to look at

Values are natural logarithms of one figure of each run, oldest first; a change is a ratio, 0.1 is 10 % more.

An outlier counts for the height of its level as if it stood 2.7 deviations off (4 median absolute deviations, as in
the gate), so one bad run does not move a level, and none is left out.

The interval of a step is Welch's, of the values so drawn in. It takes the place of the step as known; where that was
found in the same values, small steps are found when they happen to look large, and are said a bit too large.
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

from loadgen.analysis.values import Array, read_values

__all__ = ["FAR", "Level", "Outlier", "Step", "between", "levels", "outliers", "steps"]

FAR: Final = 3.5
"""Robust deviations, from which on a value is an outlier. Source: Iglewicz, Hoaglin, How to Detect Outliers, 1993."""
_REACH: Final = 2.7
_MAD_TO_SD: Final = 1.4826
_FLOOR: Final = 0.0045
"""Of the deviation: some histories have stretches whose values are all the same."""
_SHORT: Final = 6.0
"""A deviation of few values is not known well: of n values 1 + 6 / n times as much is allowed."""
_LEAST: Final = 5
_AR_LEAST: Final = 20


@dataclass(frozen=True, slots=True)
class Level:
    """Values `start` to before `end` of the series."""

    start: int
    end: int
    height: float
    """The mean, outliers drawn in; a logarithm."""
    deviation: float
    """Between values, without what outliers add."""

    @property
    def count(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Step:
    """From one level to the next. Relative: 0.1 is 10 % more."""

    at: int
    """The first value of the new level."""
    change: float
    low: float
    high: float
    """The 95 % interval; nan where a level has one value."""


@dataclass(frozen=True, slots=True)
class Outlier:
    index: int
    change: float
    """Against its level's median, relative."""
    deviations: float
    """How many robust deviations that is, signed."""


def levels(values: npt.ArrayLike, changes: Sequence[int] = ()) -> tuple[Level, ...]:
    """The levels between the changes that `scan` found.

    Args:
        values: (n,), finite.
        changes: rising indexes within 1..n-1.

    Raises:
        ValueError: not so.
    """
    array = _checked(values, changes)
    found = []
    for start, end in pairwise((0, *changes, len(array))):
        drawn = _drawn_in(array[start:end])
        deviation = float(drawn.std(ddof=1)) if len(drawn) > 1 else nan
        found.append(Level(start, end, float(drawn.mean()), deviation))
    return tuple(found)


def steps(values: npt.ArrayLike, changes: Sequence[int], *, ar: bool = False) -> tuple[Step, ...]:
    """How large each change is, of the levels on either side.

    Args:
        values, changes: as in `levels`.
        ar: to allow for runs that are like those before them, as in `scan`: intervals become wider.
    """
    array = _checked(values, changes)
    edges = (0, *changes, len(array))
    found = []
    for start, at, end in zip(edges, edges[1:], edges[2:], strict=False):
        found.append(Step(at, *between(array[start:at], array[at:end], ar=ar)))
    return tuple(found)


def between(before: npt.ArrayLike, after: npt.ArrayLike, *, ar: bool = False) -> tuple[float, float, float]:
    """The relative change from one group of runs to another, with its 95 % interval (Welch, outliers drawn in).

    before, after: (n,), (k,); natural logarithms. With one value on a side the interval is nan.
    """
    old, new = (_drawn_in(read_values(one, what, least=1)) for one, what in ((before, "before"), (after, "after")))
    difference = float(new.mean() - old.mean())
    if len(old) < 2 or len(new) < 2:
        return expm1(difference), nan, nan
    wider = _common(old, new) if ar else 1.0
    a, b = (max(float(one.var(ddof=1)), _FLOOR**2) * wider / len(one) for one in (old, new))
    df = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1))
    half = float(special.stdtrit(df, 0.975)) * sqrt(a + b)
    return expm1(difference), expm1(difference - half), expm1(difference + half)


def outliers(values: npt.ArrayLike, changes: Sequence[int] = (), *, far: float = FAR) -> tuple[Outlier, ...]:
    """The values that are far from their level, in the order of the series.

    Args:
        values, changes: as in `levels`.
        far: robust deviations (1.4826 median absolute deviations) from the level's median that are still none. In a
            level of n values it is (1 + 6 / n) times as many; in one of fewer than 5 none is named.
    """
    array = _checked(values, changes)
    found = []
    for start, end in pairwise((0, *changes, len(array))):
        part = array[start:end]
        if len(part) < _LEAST:
            continue
        middle, scale = _middle(part)
        for index in np.flatnonzero(np.abs(part - middle) > far * (1 + _SHORT / len(part)) * scale):
            off = float(part[index]) - middle
            found.append(Outlier(start + int(index), expm1(off), off / scale))
    return tuple(found)


def _middle(part: Array) -> tuple[float, float]:
    """Median and robust deviation."""
    middle = float(np.median(part))
    return middle, max(_MAD_TO_SD * float(np.median(np.abs(part - middle))), _FLOOR)


def _drawn_in(part: Array) -> Array:
    if len(part) < 3:
        return part
    middle, scale = _middle(part)
    reach = _REACH * (1 + _SHORT / len(part)) * scale
    drawn: Array = np.clip(part, middle - reach, middle + reach)
    return drawn


def _common(old: Array, new: Array) -> float:
    """How much larger the variance of means is where neighbours have a correlation r: (1 + r) / (1 - r).

    What a mean is taken from looks less correlated than it is, by (1 + 3 r) / n for each of the two (Marriott and Pope,
    Biometrika 41, 1954); that is put back.
    """
    rest = np.concatenate((old - old.mean(), new - new.mean()))
    squares = float((rest**2).sum())
    if len(rest) < _AR_LEAST or not squares:
        return 1.0
    seen = float((rest[1:] * rest[:-1]).sum()) / squares
    r = min(max(0.0, seen + 2 * (1 + 3 * seen) / len(rest)), 0.9)
    return (1 + r) / (1 - r)


def _checked(values: npt.ArrayLike, changes: Sequence[int]) -> Array:
    array = read_values(values, "the series", least=1)
    edges = (0, *changes, len(array))
    if any(before >= after for before, after in pairwise(edges)):
        raise ValueError(f"changes are {tuple(changes)}, and have to rise within 1 and {len(array) - 1}")
    return array
