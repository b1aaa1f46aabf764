"""Which cells are run: full, fractional, Latin hypercube, and one factor at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final, Literal

from loadgen.analysis.factors.factor import (
    MOST_CELLS,
    Cell,
    Factor,
    Skip,
    factor_faults,
    raise_faults,
    skip_faults,
)

__all__ = ["ONE_AT_A_TIME", "Design", "Kind", "estimable", "fraction", "full", "latin", "one_at_a_time"]

Kind = Literal["full", "fraction", "lhs", "one"]
ONE_AT_A_TIME: Final = "it cannot see interactions: the cell where both are high is never run"


@dataclass(frozen=True, slots=True)
class Design:
    """The cells of a sweep, and what they can and cannot show."""

    kind: Kind
    factors: tuple[Factor, ...]
    """For a Latin hypercube with the levels that were drawn."""
    cells: tuple[Cell, ...]
    """Different cells. The first one is the reference where the design has it: the first level of every factor."""
    resolution: int | None = None
    """Of a fraction: 3, 4, 5 or more. Interactions of two factors can be told apart from 5 on."""
    defining: tuple[str, ...] = ()
    """The defining words of a fraction, such as "a × b × c × d"."""
    aliases: tuple[tuple[str, ...], ...] = ()
    """Groups of terms that the cells cannot tell apart: ("a × b", "c × d")."""
    notes: tuple[str, ...] = ()
    """Sentences that must be printed with the design."""


def full(factors: Sequence[Factor], skip: Sequence[Skip] = ()) -> Design:
    """Return the design with every combination of levels, without the skipped ones.

    Raises:
        ValueError, or ExceptionGroup of several: a factor with fewer than two levels, duplicate levels or names, more
            than `MOST_CELLS` cells, an unknown name in `skip`.
    """
    faults = factor_faults(factors) + skip_faults(factors, skip)
    cells = prod(len(one.levels) for one in factors)
    if not faults and cells > MOST_CELLS:
        faults.append(f"the full design has {cells:,} cells; at most {MOST_CELLS:,} are allowed. Use a fraction")
    raise_faults(faults)
    return Design("full", tuple(factors), _without(factors, product(*(one.levels for one in factors)), skip))


def fraction(factors: Sequence[Factor], resolution: int | None = None, skip: Sequence[Skip] = ()) -> Design:
    """Return the smallest regular fraction of a two-level design that has at least this resolution."""
    raise NotImplementedError


def latin(factors: Sequence[Factor], runs: int, seed: int) -> Design:
    """Return a Latin hypercube: `runs` cells that cover the ranges of all factors evenly."""
    raise NotImplementedError


def one_at_a_time(factors: Sequence[Factor]) -> Design:
    """Return the reference cell and the cells that differ from it in one factor; it cannot see interactions."""
    raise_faults(factor_faults(factors))
    first = tuple(one.levels[0] for one in factors)
    others = [(*first[:at], level, *first[at + 1 :]) for at, one in enumerate(factors) for level in one.levels[1:]]
    return Design("one", tuple(factors), (first, *others), notes=(ONE_AT_A_TIME,))


def estimable(design: Design) -> tuple[str, ...]:
    """Return the terms that the cells can estimate: main effects ("settle") and interactions ("settle × payout").

    An interaction that shares its column with another one is not among them.
    """
    from loadgen.analysis.factors.model import model_of  # The model is made of a design, so it imports this module.

    return tuple(one.name for one in model_of(design).terms if not (one.order == 2 and one.alias_of))


def _without(factors: Sequence[Factor], cells: Iterable[Cell], skip: Sequence[Skip]) -> tuple[Cell, ...]:
    places = {one.name: at for at, one in enumerate(factors)}
    return tuple(
        cell for cell in cells if not any(all(cell[places[n]] == level for n, level in one.items()) for one in skip)
    )
