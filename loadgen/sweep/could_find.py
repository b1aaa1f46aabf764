"""Computes the smallest effects that a sweep would have found. "Nothing was found" needs this beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.power import PowerTable, detectable

__all__ = ["EFFECTS", "POWER", "CouldFind", "could_find"]

POWER: Final = 0.9
EFFECTS: Final = (
    *(0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3),
    *(0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 8.0, 9.0),
)
_STEP: Final = 4


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
        coarse = detectable(design, repeats, sd, effects=EFFECTS[_STEP - 1 :: _STEP], pooled_df=pooled_df)
        between = sorted({effect for order in (1, 2) for effect in _below(_least(coarse, order))})
        fine = detectable(design, repeats, sd, effects=between, pooled_df=pooled_df) if between else coarse
    except ValueError:
        return None
    orders = {row.order for row in coarse.rows}
    found = [[one for one in (_least(coarse, order), _least(fine, order)) if one is not None] for order in (1, 2)]
    main, interaction = (min(one, default=None) for one in found)
    is_aliased = any(" × " in name for group in design.aliases for name in group)
    return CouldFind(main, interaction, 1 in orders, 2 in orders, is_aliased)


def _least(table: PowerTable, order: int) -> float | None:
    """Return the smallest effect of a table that all terms of an order have the power for; None without one."""
    effects = sorted({row.effect for row in table.rows})
    return next((effect for effect in effects if (table.least(effect, order) or 0.0) >= POWER), None)


def _below(effect: float | None) -> tuple[float, ...]:
    """Return the effects of the grid between this one and the coarse one below it."""
    if effect is None:
        return ()
    at = EFFECTS.index(effect)
    return EFFECTS[max(at - _STEP + 1, 0) : at]
