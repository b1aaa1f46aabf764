"""The levels of a weekly figure and the weeks in which it changed, from 8 weeks on.

    weekly_levels([0.0041, 0.0039, ...]).steps        # Step(at=9, change=0.8, ...): week 9 begins a new level

The method is that of the history of runs: `changepoint.scan` and `history_segments`, on logarithms. Weeks resemble
their neighbours, so both allow for autocorrelation. The newest two weeks never form a level of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.changepoint import scan
from loadgen.analysis.history_segments import Level, Step, levels, steps

__all__ = ["LEAST_WEEKS", "WeeklyLevels", "weekly_levels"]

LEAST_WEEKS: Final = 8


@dataclass(frozen=True, slots=True)
class WeeklyLevels:
    """Levels and steps; indices are those of the given weeks, also if weeks are missing. why: there is no answer.

    Heights of levels are natural logarithms, changes of steps are relative.
    """

    levels: tuple[Level, ...] = ()
    steps: tuple[Step, ...] = ()
    weeks: int = 0
    why: str = ""


def weekly_levels(figures: Sequence[float] | npt.ArrayLike, *, min_effect: float = 0.03) -> WeeklyLevels:
    """Return the levels of a figure of successive weeks.

    Args:
        figures: shape (weeks,), above 0, oldest first; nan: the week is missing.
        min_effect: the least change of a level that counts, relative.
    Raises:
        ValueError: a figure is infinite or negative.
    """
    array = np.asarray(figures, np.float64)
    known = np.flatnonzero(~np.isnan(array))
    if array.ndim != 1 or np.isinf(array).any() or (array[known] < 0).any():
        raise ValueError("weekly figures must be one-dimensional, finite and not negative; nan is a missing week")
    if len(known) < LEAST_WEEKS:
        return WeeklyLevels(weeks=len(known), why=f"{len(known)} weeks are too few: {LEAST_WEEKS} are needed")
    if (array[known] == 0).any():
        return WeeklyLevels(weeks=len(known), why="a week without events has no logarithm")
    values = np.log(array[known])
    changes = scan(values, min_effect=min_effect, ar=True)
    ends = [*known.tolist(), len(array)]
    return WeeklyLevels(
        tuple(replace(one, start=ends[one.start], end=ends[one.end]) for one in levels(values, changes)),
        tuple(replace(one, at=ends[one.at]) for one in steps(values, changes, ar=True)),
        len(known),
    )
