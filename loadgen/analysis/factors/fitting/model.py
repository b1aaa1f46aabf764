"""Turns a design into the columns of a linear model, and finds out which of them the cells can tell apart.

A factor with two levels is coded -1 and +1. A factor with more levels has orthonormal columns whose sum over the levels
is 0. A range is coded from -1 (its low end) to +1 (its high end). An interaction is the product of the columns of its
factors. So all other factors are averaged with equal weights where their code is 0, whatever runs are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.factor import Factor, Level

__all__ = ["TIMES", "Model", "ModelTerm", "block_columns", "model_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Part = tuple[str, tuple[int, ...], Floats]
"""A name, the indices of the factors, and the columns in each cell: shape (cells, columns)."""
TIMES: Final = " × "
_SPARE_CELLS: Final = 3
"""A response surface is fitted if at least this many cells are left over."""
_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ModelTerm:
    """One term and its columns."""

    name: str
    factors: tuple[int, ...]
    """Indices of the factors: one, or two. A square has the same index twice."""
    start: int
    stop: int
    """start, stop: its columns in `Model.rows`."""
    alias_of: tuple[str, ...] = ()
    """Terms that have the same column in all cells."""

    @property
    def is_square(self) -> bool:
        """Return whether this is the curvature of a range."""
        return len(self.factors) == 2 and self.factors[0] == self.factors[1]

    @property
    def order(self) -> int:
        """Return 1 for a main effect, otherwise 2."""
        return len(self.factors)

    @property
    def df(self) -> int:
        """Return the number of columns."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Model:
    """The columns of all terms of order 1 and 2 that can be estimated."""

    design: Design
    codes: tuple[Floats, ...]
    """Per factor the code of each level, shape (levels, columns)."""
    terms: tuple[ModelTerm, ...]
    rows: Floats
    """One row a cell, the first column is 1. Shape (cells, columns)."""
    not_estimable: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def code_of(self, factor: int, level: Level) -> Floats:
        """Return the code of one level, shape (columns,)."""
        one = self.design.factors[factor]
        if one.is_range:
            return np.array([_coded(one, level)])
        code: Floats = self.codes[factor][one.levels.index(level)]
        return code

    def row_at(self, held: Mapping[int, Floats]) -> Floats:
        """Return the row of the mean response where some factors have these codes and all others are averaged."""
        row = np.zeros(self.rows.shape[1])
        row[0] = 1.0
        for term in self.terms:
            if all(at in held for at in term.factors):
                codes = [held[at] for at in term.factors]
                row[term.start : term.stop] = codes[0] if len(codes) == 1 else np.kron(codes[0], codes[1])
        return row


def model_of(design: Design, cells: Ints | None = None, blocks: Ints | None = None) -> Model:
    """Return the model of order 2 for these runs: one entry of `cells` and `blocks` a run; default: each cell once.

    A term is left out, and named in `not_estimable`, if the runs cannot estimate it: first interactions and squares,
    then main effects, which then assume that the interactions that were left out are absent. Two-level interactions
    with the same column in all cells share one term, with the others in `alias_of`.

    Cost: one eigenvalue decomposition of (columns, columns): 20 ms for 11 factors with two levels.
    """
    cells = np.arange(len(design.cells)) if cells is None else cells
    blocks = np.zeros(len(cells), dtype=np.int64) if blocks is None else blocks
    codes = tuple(_codes(one) for one in design.factors)
    at = _level_indices(design)
    mains: list[Part] = [(one.name, (i,), codes[i][at[:, i]]) for i, one in enumerate(design.factors)]
    distinct = len(np.unique(cells))
    parts = [*mains]
    notes: list[str] = []
    seconds = [_product(mains[i], mains[j]) for i, j in combinations(range(len(mains)), 2)]
    if design.kind == "lhs":
        squares: list[Part] = [(f"{name}²", (i[0], i[0]), column**2) for name, i, column in mains]
        needs = 1 + len(mains) + len(seconds) + len(squares) + _SPARE_CELLS
        if distinct >= needs:
            seconds += squares
        else:
            seconds = []
            notes.append(
                f"{distinct} cells are too few for a response surface: it needs {needs}. Only straight lines are "
                f"fitted, so interactions and curvature are not seen"
            )
    parts += seconds
    return _estimable_model(design, codes, parts, cells, blocks, notes)


def block_columns(blocks: Ints) -> Floats:
    """Return columns that sum to 0 over the blocks, shape (runs, blocks - 1)."""
    names, index = np.unique(blocks, return_inverse=True)
    return _sum_to_zero(len(names))[index]


def _estimable_model(
    design: Design, codes: tuple[Floats, ...], parts: list[Part], cells: Ints, blocks: Ints, notes: list[str]
) -> Model:
    present = np.unique(cells)
    kept, aliases, lost = _without_copies(parts, present)
    runs = np.unique(np.stack((cells, blocks), axis=1), axis=0)
    columns_of_blocks = block_columns(runs[:, 1])
    for order in (2, 1):
        bad = {name for name in _not_estimable(kept, runs[:, 0], columns_of_blocks) if _order(kept, name) == order}
        lost += [part[0] for part in kept if part[0] in bad]
        kept = [part for part in kept if part[0] not in bad]
    lost += [other for name in list(lost) for other in aliases.pop(name, ())]
    terms, start, columns = [], 1, [np.ones((len(design.cells), 1))]
    for name, factors, column in kept:
        terms.append(ModelTerm(name, factors, start, start + column.shape[1], tuple(aliases.get(name, ()))))
        start += column.shape[1]
        columns.append(column)
    rows = np.concatenate(columns, axis=1)
    return Model(design, codes, tuple(terms), rows, tuple(dict.fromkeys(lost)), tuple(notes))


def _order(parts: Sequence[Part], name: str) -> int:
    return next(len(part[1]) for part in parts if part[0] == name)


def _without_copies(parts: Sequence[Part], present: Ints) -> tuple[list[Part], dict[str, list[str]], list[str]]:
    """Return the parts with different columns, the names of the copies of each, and parts that are constant."""
    kept: list[Part] = []
    aliases: dict[str, list[str]] = {}
    constant: list[str] = []
    seen: dict[bytes, str] = {}
    for part in parts:
        name, _, column = part
        here = column[present]
        if np.ptp(here, axis=0).max(initial=0.0) < _SAME:
            constant.append(name)
            continue
        if column.shape[1] > 1:
            kept.append(part)
            continue
        # Rounded, and with the first value positive: a column and its negative are the same term.
        key = (np.round(here[:, 0] * (np.sign(here[0, 0]) or 1.0), 9) + 0.0).tobytes()
        if key in seen:
            aliases.setdefault(seen[key], []).append(name)
        else:
            seen[key] = name
            kept.append(part)
    mains = {part[0] for part in parts if len(part[1]) == 1}
    clash = [(name, other) for name in mains for other in aliases.get(name, ()) if other in mains]
    for name, other in clash:  # Two main effects with one column: neither can be estimated.
        constant += [name, other]
        kept = [part for part in kept if part[0] != name]
    return kept, aliases, constant


def _not_estimable(parts: Sequence[Part], cells: Ints, columns_of_blocks: Floats) -> set[str]:
    """Return the names of the parts whose columns are combinations of other columns."""
    whole = np.concatenate(
        [np.ones((len(cells), 1)), columns_of_blocks, *(column[cells] for _, _, column in parts)], axis=1
    )
    scale = np.sqrt((whole**2).sum(axis=0))
    scale[scale < _SAME] = 1.0
    values, vectors = np.linalg.eigh((whole / scale).T @ (whole / scale))
    null = vectors[:, values < _SAME * max(1.0, float(values[-1]))]
    found, start = set(), 1 + columns_of_blocks.shape[1]
    for name, _, column in parts:
        if null.size and np.abs(null[start : start + column.shape[1]]).max(initial=0.0) > 1e-6:
            found.add(name)
        start += column.shape[1]
    return found


def _product(one: Part, other: Part) -> Part:
    rows = (one[2][:, :, None] * other[2][:, None, :]).reshape(len(one[2]), -1)
    return (one[0] + TIMES + other[0], one[1] + other[1], rows)


def _level_indices(design: Design) -> Ints:
    """Return the index of the level of each factor in each cell, shape (cells, factors)."""
    places = [{level: i for i, level in enumerate(one.levels)} for one in design.factors]
    return np.array([[places[i][level] for i, level in enumerate(cell)] for cell in design.cells], dtype=np.int64)


def _codes(factor: Factor) -> Floats:
    if factor.is_range:
        return np.array([[_coded(factor, level)] for level in factor.levels])
    return _sum_to_zero(len(factor.levels))


def _coded(factor: Factor, level: Level) -> float:
    assert factor.low is not None
    assert factor.high is not None
    value = float(level.removesuffix(factor.unit) if factor.unit else level)
    return (2 * value - factor.low - factor.high) / (factor.high - factor.low)


def _sum_to_zero(levels: int) -> Floats:
    """Return columns with sum 0 that are orthogonal to each other, of length sqrt(levels); for two levels -1 and +1."""
    columns = np.zeros((levels, max(levels - 1, 0)))
    for j in range(1, levels):  # Helmert: level j against the mean of those before it.
        columns[:j, j - 1] = -1.0
        columns[j, j - 1] = j
        columns[:, j - 1] *= np.sqrt(levels / (j * (j + 1)))
    return columns
