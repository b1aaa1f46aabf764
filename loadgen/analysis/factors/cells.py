"""The cells of a sweep: which combinations of levels are run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loadgen.analysis.factors.factor import Cell, Factor

__all__ = ["Design", "Kind"]

Kind = Literal["full", "fraction", "lhs", "one"]


@dataclass(frozen=True, slots=True)
class Design:
    """The cells of a sweep, and what they can and cannot show."""

    kind: Kind
    factors: tuple[Factor, ...]
    """For a Latin hypercube with the levels that were drawn."""
    cells: tuple[Cell, ...]
    """Different cells. The first one is the reference where the design has it: the first level of every factor."""
    resolution: int | None = None
    """The resolution of a fraction, 3 or more. From 5 on, interactions of two factors can be told apart."""
    defining: tuple[str, ...] = ()
    """The defining words of a fraction, such as "a × b × c × d"."""
    aliases: tuple[tuple[str, ...], ...] = ()
    """Groups of terms that the cells cannot tell apart: ("a × b", "c × d")."""
    notes: tuple[str, ...] = ()
    """Sentences that must be printed with the design."""
