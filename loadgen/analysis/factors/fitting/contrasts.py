"""Which levels of a term are compared: the first and the last of two, or those that differ most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.analysis.factors.factor import Factor, Level
from loadgen.analysis.factors.fitting.fit import Fit
from loadgen.analysis.factors.fitting.model import Model, ModelTerm

__all__ = ["Comparison", "compared", "ends", "simple_comparison"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two mean responses as combinations of columns: `base`, and `base + difference`. Shape (columns,) each."""

    levels: tuple[tuple[Level, Level], ...]
    base: Floats
    difference: Floats
    effect: Floats
    """The effect of the term: the difference, or half of it for an interaction."""


def ends(factor: Factor) -> tuple[Level, ...]:
    """Return the levels of a factor; for a range its two ends."""
    if factor.is_range:
        return (f"{factor.low:g}{factor.unit}", f"{factor.high:g}{factor.unit}")
    return factor.levels


def compared(fit: Fit, term: ModelTerm) -> Comparison:
    """Return the comparison of the term whose estimate is the largest; two-level factors have only one."""
    model = fit.model
    if term.is_square:
        effect = np.zeros(model.rows.shape[1])
        effect[term.start] = 1.0
        low, high = ends(model.design.factors[term.factors[0]])
        return Comparison(((low, high),), effect, effect, effect)
    if term.order == 1:
        (one,) = term.factors
        rows = _rows(model, one)
        first, last = _widest(rows @ fit.beta)
        names = ends(model.design.factors[one])
        difference = rows[last] - rows[first]
        return Comparison(((names[first], names[last]),), rows[first], difference, difference)
    one, other = term.factors
    names, others = ends(model.design.factors[one]), ends(model.design.factors[other])
    table = np.array([[model.row_at({one: a, other: b}) for b in _codes(model, other)] for a in _codes(model, one)])
    a, b, c, d = _widest_corner(table @ fit.beta)
    base = table[c, b] + table[a, d] - table[a, b]
    difference = table[c, d] - base
    return Comparison(((names[a], names[c]), (others[b], others[d])), base, difference, difference / 2)


def simple_comparison(model: Model, factor: int, pair: tuple[Level, Level], other: int, at: Level) -> Comparison:
    """Return the change of one factor between two levels while another one is held at a level."""
    held = model.code_of(other, at)
    first, last = (model.row_at({factor: model.code_of(factor, level), other: held}) for level in pair)
    return Comparison((pair,), first, last - first, last - first)


def _codes(model: Model, factor: int) -> list[Floats]:
    return [model.code_of(factor, level) for level in ends(model.design.factors[factor])]


def _rows(model: Model, factor: int) -> Floats:
    return np.array([model.row_at({factor: code}) for code in _codes(model, factor)])


def _widest(means: Floats) -> tuple[int, int]:
    """Return the two indices, the smaller one first, whose values differ most."""
    first, last = sorted((int(means.argmin()), int(means.argmax())))
    return (first, last) if first != last else (0, len(means) - 1)


def _widest_corner(means: Floats) -> tuple[int, int, int, int]:
    """Return rows a < c and columns b < d with the largest |means[c, d] - means[c, b] - means[a, d] + means[a, b]|.

    Cost: rows² columns.
    """
    best, found = -1.0, (0, 0, len(means) - 1, means.shape[1] - 1)
    for a in range(len(means) - 1):
        steps = means[a + 1 :] - means[a]
        widths = np.ptp(steps, axis=1)
        c = int(widths.argmax())
        if widths[c] > best + 1e-12:
            b, d = _widest(steps[c])
            best, found = float(widths[c]), (a, b, a + 1 + c, d)
    return found
