"""What a sweep would have found: without it, "nothing was found" says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from loadgen.analysis.factors.design import Design
from loadgen.analysis.factors.power import detectable

__all__ = ["POWER", "CouldFind", "could_find"]

POWER: Final = 0.9
_EFFECTS: Final = (
    *(0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3),
    *(0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 9.0),
)


@dataclass(frozen=True, slots=True)
class CouldFind:
    """The smallest effects that a sweep finds with power 0.9, as ratios minus 1. None: not even +900 %."""

    main: float | None
    interaction: float | None
    """An interaction that is in one corner only: the cells where both factors have their last level."""
    has_main: bool
    has_interaction: bool
    """Whether the design has such terms."""
    is_aliased: bool
    """Whether some interactions share a column, so that they are never found."""


@lru_cache(maxsize=64)
def could_find(design: Design, repeats: int, sd: float, pooled_df: float | None) -> CouldFind | None:
    """Return what a sweep of this design finds; None if that is unknown.

    repeats: the smallest number of runs of a cell. sd: of the logarithm of the response between runs of a cell.
    pooled_df: degrees of freedom of `sd` if it comes from the store.
    """
    if repeats < 1 or not sd > 0:
        return None
    try:
        table = detectable(design, repeats, sd, effects=_EFFECTS, pooled_df=pooled_df)
    except ValueError:
        return None
    orders = {row.order for row in table.rows}
    least = {
        order: next((effect for effect in _EFFECTS if (table.least(effect, order) or 0.0) >= POWER), None)
        for order in (1, 2)
    }
    is_aliased = any(" × " in name for group in design.aliases for name in group)
    return CouldFind(least[1], least[2], 1 in orders, 2 in orders, is_aliased)
