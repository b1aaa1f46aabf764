"""A factor with its levels or its range, and the errors of a set of factors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Final

__all__ = ["MOST_CELLS", "Cell", "Factor", "Level", "Skip", "factor_faults", "raise_faults", "skip_faults"]

MOST_CELLS: Final = 1_024
"""A design with more cells is refused: at one minute a run, 1,024 runs take 17 hours."""
MOST_FACTORS: Final = 30

Level = str
"""A level as the user typed it: "8", "on", "100/s"."""
Cell = tuple[Level, ...]
"""One level of each factor, in the order of the factors."""
Skip = Mapping[str, Level]
"""A combination that must not run: all cells with these levels, by the name of the factor."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One thing that is varied: either its levels are listed, or it is a numeric range from which levels are drawn."""

    name: str
    levels: tuple[Level, ...]
    """At least two different levels. The first one is the reference. Empty for a range before its levels are drawn."""
    low: float | None = None
    """The lower end of a range; None if the levels are listed."""
    high: float | None = None
    is_whole: bool = False
    """Whether only whole numbers of the range are drawn."""
    unit: str = ""
    """Text after the number in a level that was drawn: "/s" gives "137/s"."""

    @property
    def is_range(self) -> bool:
        """Return whether levels are drawn from a range."""
        return self.low is not None or self.high is not None


def factor_faults(factors: Sequence[Factor], *, are_ranges: bool = False) -> list[str]:
    """Return a sentence for each thing that is wrong with the factors; empty if nothing is.

    are_ranges: whether the design needs ranges (a Latin hypercube) instead of levels.
    """
    faults = [] if factors else ["a sweep needs at least one factor"]
    if len(factors) > MOST_FACTORS:
        faults.append(f"{len(factors)} factors are more than {MOST_FACTORS}")
    faults += [f"factor {name} is given {n} times" for name, n in Counter(f.name for f in factors).items() if n > 1]
    for one in factors:
        faults += _faults_of_range(one) if are_ranges else _faults_of_levels(one)
    cells = prod(max(1, len(one.levels)) for one in factors)
    if not are_ranges and cells > MOST_CELLS and not _is_two_level(factors):
        faults.append(
            f"the design has {cells:,} cells; at most {MOST_CELLS:,} are allowed. Leave out levels or factors"
        )
    return faults


def skip_faults(factors: Sequence[Factor], skip: Sequence[Skip]) -> list[str]:
    """Return a sentence for each skipped combination that names an unknown factor or level."""
    levels = {one.name: one.levels for one in factors}
    faults = []
    for one in skip:
        if not one:
            faults.append("a skipped combination must name at least one level")
        for name, level in one.items():
            if name not in levels:
                faults.append(f"skip names the unknown factor {name}; the factors are {', '.join(levels)}")
            elif level not in levels[name]:
                faults.append(f"skip names {name}={level}; the levels of {name} are {', '.join(levels[name])}")
    return faults


def raise_faults(faults: Sequence[str]) -> None:
    """Raise one ValueError for one fault, and an ExceptionGroup of them for several; do nothing without a fault."""
    if len(faults) == 1:
        raise ValueError(faults[0])
    if faults:
        raise ExceptionGroup("the factors have several faults", [ValueError(one) for one in faults])


def _is_two_level(factors: Sequence[Factor]) -> bool:
    """Return whether all factors have two levels: then a fraction can be small although the full design is not."""
    return all(len(one.levels) == 2 for one in factors)


def _faults_of_levels(factor: Factor) -> list[str]:
    if factor.is_range:
        return [f"factor {factor.name} is a range; only a Latin hypercube draws from ranges. List its levels instead"]
    faults = [
        f"factor {factor.name} has the level {level} {n} times" for level, n in Counter(factor.levels).items() if n > 1
    ]
    if len(set(factor.levels)) < 2:
        only = f": {factor.levels[0]}" if factor.levels else ""
        faults.append(f"factor {factor.name} has fewer than two levels{only}. A factor needs at least two")
    return faults


def _faults_of_range(factor: Factor) -> list[str]:
    if factor.levels or factor.low is None or factor.high is None:
        return [f"factor {factor.name} has levels; a Latin hypercube needs a range for each factor"]
    if not (isfinite(factor.low) and isfinite(factor.high) and factor.low < factor.high):
        return [f"factor {factor.name} has the range {factor.low:g} to {factor.high:g}; the low end must be lower"]
    return []
