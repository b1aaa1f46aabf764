"""Which cells are run: full, fractional, Latin hypercube, and one factor at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from math import ceil, floor, log10, prod
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.factors.cells import Design, Kind
from loadgen.analysis.factors.factor import (
    MOST_CELLS,
    Cell,
    Factor,
    Level,
    Skip,
    factor_faults,
    raise_faults,
    skip_faults,
)
from loadgen.analysis.factors.fitting.model import model_of
from loadgen.analysis.factors.generators import LEAST_FACTORS, LETTERS, choose, defining_words, resolution_of

__all__ = ["ONE_AT_A_TIME", "Design", "Kind", "estimable", "fraction", "full", "latin", "one_at_a_time"]

ONE_AT_A_TIME: Final = "it cannot see interactions: the cell where both are high is never run"


def full(factors: Sequence[Factor], skip: Sequence[Skip] = ()) -> Design:
    """Return the design with every combination of levels, without the skipped ones.

    Raises:
        ValueError, or ExceptionGroup of several: a factor with fewer than two levels, duplicate levels or names, more
            than `MOST_CELLS` cells, an unknown name in `skip`, or a main effect that the cells left cannot estimate.
    """
    faults = factor_faults(factors) + skip_faults(factors, skip)
    cells = prod(len(one.levels) for one in factors)
    if not faults and cells > MOST_CELLS:
        faults.append(f"the full design has {cells:,} cells; at most {MOST_CELLS:,} are allowed. Use a fraction")
    raise_faults(faults)
    every = product(*(one.levels for one in factors))
    return _checked(Design("full", tuple(factors), tuple(every)), skip)


def fraction(factors: Sequence[Factor], resolution: int | None = None, skip: Sequence[Skip] = ()) -> Design:
    """Return the smallest regular fraction of a two-level design that has at least this resolution.

    The reference cell, with the first level of every factor, is always part of it.

    Args:
        factors: 3 to 11 factors with two levels.
        resolution: 3: main effects share columns with interactions. 4: interactions share columns with each other.
            5 and above: main effects and interactions of two factors are all apart. Default: 5, or for 3 and 4 factors,
            which have no such fraction, the highest one.

    Raises:
        ValueError, or ExceptionGroup of several: as `full`; factors with more than two levels; a resolution that no
            fraction of this many factors has.
    """
    faults = factor_faults(factors) + skip_faults(factors, skip)
    faults += [
        f"factor {one.name} has {len(one.levels)} levels; a fraction needs two levels for each factor"
        for one in factors
        if len(one.levels) > 2
    ]
    if not LEAST_FACTORS <= len(factors) <= len(LETTERS):
        faults.append(f"a fraction needs {LEAST_FACTORS} to {len(LETTERS)} factors, not {len(factors)}")
    elif (generators := choose(len(factors), resolution)) is None:
        faults.append(
            f"no fraction of {len(factors)} factors has the resolution {resolution}; the full design has "
            f"{2 ** len(factors)} cells"
        )
    raise_faults(faults)
    assert generators is not None
    words = defining_words(len(factors), generators)
    has = resolution_of(words)
    names = dict(zip(LETTERS, (one.name for one in factors), strict=False))
    design = Design(
        "fraction",
        tuple(factors),
        tuple(_fraction_cells(factors, generators)),
        has,
        # In the reference cell all codes are -1, so the product of an odd number of them is -1.
        tuple(("−" if len(word) % 2 else "") + " × ".join(names[letter] for letter in word) for word in words),
        notes=_notes_of(has),
    )
    design = _checked(design, skip)
    groups = tuple((one.name, *one.alias_of) for one in model_of(design).terms if one.alias_of)
    return replace(design, aliases=groups)


def latin(factors: Sequence[Factor], runs: int, seed: int) -> Design:
    """Return a Latin hypercube: `runs` cells that cover the ranges of all factors evenly.

    Each range is cut into `runs` slices, and each slice is used once. Of many such designs the one with a small centred
    discrepancy is taken (`scipy.stats.qmc`). Store the cells: another version of scipy can draw others.

    Args:
        runs: the number of cells; more than the number of factors + 1.
        seed: the same seed gives the same cells.

    Raises:
        ValueError, or ExceptionGroup of several: listed levels, an empty range, too few or too many runs, or more runs
            than a range of whole numbers has values for.
    """
    faults = factor_faults(factors, are_ranges=True)
    least = len(factors) + 2
    if not least <= runs <= MOST_CELLS:
        faults.append(f"{runs:,} runs are outside {least} to {MOST_CELLS:,}, the limits for as many factors")
    raise_faults(faults)
    from scipy.stats import qmc  # 0.4 s to import, and only this design needs it.

    rng = np.random.default_rng(seed)
    shares = qmc.LatinHypercube(len(factors), optimization="random-cd", seed=rng).random(runs)
    columns = [_levels(one, shares[:, at]) for at, one in enumerate(factors)]
    cells = tuple(dict.fromkeys(zip(*columns, strict=True)))
    drawn = tuple(
        replace(one, levels=tuple(dict.fromkeys(levels))) for one, levels in zip(factors, columns, strict=True)
    )
    raise_faults([f"the range of {one.name} has a single whole number" for one in drawn if len(one.levels) < 2])
    design = Design("lhs", drawn, cells)
    return replace(design, notes=model_of(design).notes)


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
    return tuple(one.name for one in model_of(design).terms if not (one.order == 2 and one.alias_of))


def _checked(design: Design, skip: Sequence[Skip]) -> Design:
    """Return the design without the skipped cells; refuse it if a main effect is lost, and say which terms are."""
    if not skip:
        return design
    places = {one.name: at for at, one in enumerate(design.factors)}
    cells = tuple(
        cell
        for cell in design.cells
        if not any(all(cell[places[name]] == level for name, level in one.items()) for one in skip)
    )
    if not cells:
        raise ValueError("skip leaves no cell")
    found = replace(design, cells=cells)
    lost = model_of(found).not_estimable
    mains = [one.name for one in design.factors if one.name in lost]
    if mains:
        raise ValueError(
            f"without the skipped cells the effect of {' and of '.join(mains)} cannot be told from other effects. "
            f"Skip fewer cells, or leave out a factor"
        )
    return replace(
        found, notes=(*found.notes, *(f"without the skipped cells {one} cannot be estimated" for one in lost))
    )


def _fraction_cells(factors: Sequence[Factor], generators: tuple[str, ...]) -> Iterable[Cell]:
    base = len(factors) - len(generators)
    for levels in product((0, 1), repeat=base):
        # The product of codes -1 and +1, with the sign by which low levels give a low level, is the parity.
        added = tuple(sum(levels[LETTERS.index(letter)] for letter in one) % 2 for one in generators)
        yield tuple(one.levels[at] for one, at in zip(factors, (*levels, *added), strict=True))


def _notes_of(resolution: int) -> tuple[str, ...]:
    if resolution == 3:
        return (
            "resolution III: each main effect shares a column with interactions of two factors, which are assumed to "
            "be absent and are never decided",
        )
    if resolution == 4:
        return (
            "resolution IV: main effects are clear, but interactions of two factors share columns with each other and "
            "are never decided",
        )
    return ()


def _levels(factor: Factor, shares: npt.NDArray[np.float64]) -> list[Level]:
    """Return a level of the range for each share 0 to 1 of it."""
    assert factor.low is not None
    assert factor.high is not None
    if factor.is_whole:
        low, high = ceil(factor.low), floor(factor.high)
        return [f"{min(high, low + int(share * (high - low + 1)))}{factor.unit}" for share in shares]
    # Three digits, and more where the range is narrow compared with its ends.
    digits = 3 + max(0, ceil(log10(max(abs(factor.low), abs(factor.high)) / (factor.high - factor.low))))
    return [f"{factor.low + share * (factor.high - factor.low):.{digits}g}{factor.unit}" for share in shares]
