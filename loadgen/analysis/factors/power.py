"""The power of a sweep, computed before its first run: how often it finds an effect of a given size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, isfinite, log1p, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.factor import raise_faults
from loadgen.analysis.factors.fitting.fit import ErrorSource, error_of, lenth_columns, pure_error_df
from loadgen.analysis.factors.fitting.lenth import null_of, pseudo_error
from loadgen.analysis.factors.fitting.model import TIMES, Model, block_columns, model_of
from loadgen.analysis.factors.fitting.tails import f_tail
from loadgen.analysis.factors.order import run_order
from loadgen.analysis.gate import holm

__all__ = ["PowerRow", "PowerTable", "detectable"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_DRAWS: Final = 4_000
_MOST_VALUES: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class PowerRow:
    """The probability to find one effect of one term."""

    term: str
    """"settle", or "settle × payout"."""
    order: int
    """1: a main effect; 2: an interaction, or the square of a range."""
    effect: float
    """0.2: +20 % at the last level of the factor; for an interaction only in the cells where both have their last."""
    power: float
    """0 to 1: the share of such sweeps in which this term is found."""


@dataclass(frozen=True, slots=True)
class PowerTable:
    """The power of a sweep at one standard deviation between runs."""

    rows: tuple[PowerRow, ...]
    runs: int
    sd: float
    """The standard deviation of the log of the response between runs of one cell: 0.04 is about 4 %."""
    df: float
    """Degrees of freedom of the error."""
    terms: int
    """The number of terms that Holm's correction counts."""
    false_find: float
    """The share of sweeps in which any term is found although no factor has an effect."""
    error_source: str
    notes: tuple[str, ...] = ()

    def least(self, effect: float, order: int = 2) -> float | None:
        """Return the lowest power of the terms of this order for an effect; None if there is no such row."""
        return min((row.power for row in self.rows if row.order == order and row.effect == effect), default=None)


def detectable(
    design: Design,
    repeats: int,
    sd: float,
    *,
    effects: Sequence[float] = (0.1, 0.2, 0.6),
    level: float = 0.95,
    blocks: int | None = None,
    pooled_df: float | None = None,
    seed: int = 0,
) -> PowerTable:
    """Return how often effects of these sizes would be found by `analyse` with the default scale, the log.

    Args:
        repeats: how often each cell is run.
        sd: of the log of the response between runs of the same cell, for example from the store.
        effects: relative changes above -1; 0.2 is +20 %. A main effect acts wherever the factor has its last level
            (over a range: in proportion, from the low to the high end). An interaction acts only in the corner where
            both factors have their last level.
        level, blocks: as for `analyse` and `run_order`.
        pooled_df: the degrees of freedom of `sd` if `analyse` will get it as `pooled_sd`; otherwise None.
        seed: of the simulation. The same arguments give the same table.

    Terms that the design cannot estimate, or cannot tell from others, have power 0.

    Method: estimates are drawn from their exact distribution (normal, with an independent chi-square for the error),
    then tested as `analyse` tests them: F tests with Holm's correction. So no run is simulated, and 4,000 draws give
    each power within 0.02. Terms that differ in their names only are computed once.

    Cost: 0.1 to 0.6 s.

    Raises:
        ValueError, or ExceptionGroup of several: an invalid sd, effect or level; repeats and blocks as `run_order`.
    """
    faults = [f"invalid effect {one:g}: must be above -1 and not 0" for one in effects if not (one > -1 and one != 0)]
    if not (isfinite(sd) and sd > 0):
        faults.append(f"invalid sd {sd:g}: must be a finite number above 0")
    if not 0.5 <= level < 1:
        faults.append(f"invalid level {level:g}: must be at least 0.5 and below 1")
    raise_faults(faults)
    order = run_order(design, repeats, seed, blocks=blocks)
    cells = np.array([one.cell for one in order], dtype=np.int64)
    model = model_of(design, cells, of_blocks := np.array([one.block for one in order], dtype=np.int64))
    trial = _trial_of(model, cells, of_blocks, sd, pooled_df, len(effects), seed)
    alpha = 1.0 - level
    rows, known = [], {}
    for name, factors in _every_term(design):
        at = next((i for i, one in enumerate(model.terms) if one.name == name), None)
        for effect in effects:
            power = 0.0
            if at is not None and trial is not None and not (len(factors) == 2 and model.terms[at].alias_of):
                key = (trial.class_of(at), effect)
                if key not in known:
                    shift = _scenario(model, factors) * log1p(effect)
                    known[key] = float((trial.adjusted(shift)[:, at] <= alpha).mean())
                power = known[key]
            rows.append(PowerRow(name, len(factors), effect, power))
    can_be_found = [at for at, one in enumerate(model.terms) if not (one.order == 2 and one.alias_of)]
    false = 0.0
    if trial is not None:
        none = trial.adjusted(np.zeros(len(design.cells)))
        false = float((none[:, can_be_found] <= alpha).any(axis=1).mean())
    return PowerTable(
        rows=tuple(rows),
        runs=len(cells),
        sd=sd,
        df=0.0 if trial is None else trial.df,
        terms=len(model.terms),
        false_find=false,
        error_source="none" if trial is None else trial.source,
        notes=(*model.notes, *design.notes) if design.kind != "lhs" else model.notes,
    )


class _Trial(ABC):
    """Draws of the estimates of all terms, and their p-values if the cells have other means."""

    source: ErrorSource
    df: float

    def __init__(self, model: Model, cells: Ints, is_alike: bool) -> None:
        self.model, self.cells, self._is_alike = model, cells, is_alike

    def class_of(self, term: int) -> object:
        """Return the same value for terms that have the same power."""
        if not self._is_alike:
            return term
        return tuple(sorted(len(self.model.design.factors[at].levels) for at in self.model.terms[term].factors))

    @abstractmethod
    def adjusted(self, means: Floats) -> Floats:
        """Return p-values with Holm's correction for cells with these means. Shape (cells,) -> (draws, terms)."""


class _LeastSquares(_Trial):
    """Normal estimates, and an error from repeats, from what the model leaves over, or from the store."""

    def __init__(
        self,
        model: Model,
        cells: Ints,
        of_blocks: Ints,
        sd: float,
        error: tuple[ErrorSource, float],
        is_fixed: bool,
        draws: int,
        rng: np.random.Generator,
    ) -> None:
        self.source, self.df = error
        whole = np.concatenate((model.rows[cells], block_columns(of_blocks)), axis=1)
        cov = np.linalg.pinv(whole.T @ whole, hermitian=True)
        self._solve = (cov @ whole.T)[: model.rows.shape[1]]
        cov = cov[: model.rows.shape[1], : model.rows.shape[1]]
        is_diagonal = np.abs(cov - np.diag(np.diag(cov))).max() < 1e-9
        super().__init__(model, cells, is_alike=bool(is_diagonal) and model.design.kind != "lhs")
        values, vectors = np.linalg.eigh(cov)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        self._drawn = sd * rng.standard_normal((draws, len(cov))) @ root.T
        self._variance = np.full(draws, sd**2)
        if not is_fixed:
            self._variance *= rng.chisquare(self.df, draws) / self.df
        self._inverses = [np.linalg.inv(cov[one.start : one.stop, one.start : one.stop]) for one in model.terms]
        self._base = np.stack(
            [self._p(at, self._drawn[:, one.start : one.stop]) for at, one in enumerate(model.terms)], axis=1
        )

    def _p(self, term: int, beta: Floats) -> Floats:
        squares = ((beta @ self._inverses[term]) * beta).sum(axis=1) / beta.shape[1]
        return f_tail(squares / self._variance, beta.shape[1], self.df)

    def adjusted(self, means: Floats) -> Floats:
        shift = self._solve @ means[self.cells]
        p = self._base.copy()
        for at, one in enumerate(self.model.terms):
            moved = shift[one.start : one.stop]
            if np.abs(moved).max() > 1e-12:
                p[:, at] = self._p(at, self._drawn[:, one.start : one.stop] + moved)
        return holm(p, margin=1.0)


class _Lenth(_Trial):
    """All contrasts of a design without repeats."""

    source: ErrorSource = "Lenth"

    def __init__(
        self, model: Model, cells: Ints, columns: Floats, sd: float, draws: int, rng: np.random.Generator
    ) -> None:
        super().__init__(model, cells, is_alike=True)
        self.df = columns.shape[1] / 3
        self._columns = columns
        self._drawn = 2 * sd / sqrt(len(cells)) * rng.standard_normal((draws, columns.shape[1]))
        overlap = np.abs(model.rows[cells].T @ columns)
        self._of_terms = [int(overlap[one.start].argmax()) for one in model.terms]

    def adjusted(self, means: Floats) -> Floats:
        values = self._drawn + self._columns.T @ means[self.cells] * 2 / len(self.cells)
        statistic = values[:, self._of_terms] / pseudo_error(values)[:, None]
        return holm(null_of(values.shape[1]).tail(statistic), margin=1.0)


def _trial_of(
    model: Model, cells: Ints, of_blocks: Ints, sd: float, pooled_df: float | None, effects: int, seed: int
) -> _Trial | None:
    """Return draws for the error that `fit_model` would use; None if it would have none."""
    rng = np.random.default_rng(seed)
    columns = model.rows.shape[1]
    left = len(cells) - (columns + len(np.unique(of_blocks)) - 1)
    orthogonal = lenth_columns(model, cells, of_blocks)
    error = error_of(pure_error_df(cells, of_blocks), left, pooled_df is not None, orthogonal is not None)
    if error == "none":
        return None
    draws = max(1_000, min(_DRAWS, _MOST_VALUES // (columns * len(model.terms) * max(1, effects))))
    if error == "Lenth":
        assert orthogonal is not None
        return _Lenth(
            model, cells, orthogonal, sd, max(500, min(_DRAWS, _MOST_VALUES // (4 * orthogonal.shape[1]))), rng
        )
    df = {"store": pooled_df or inf, "residual": float(left)}.get(error, float(pure_error_df(cells, of_blocks)))
    return _LeastSquares(model, cells, of_blocks, sd, (error, df), error == "store", draws, rng)


def _every_term(design: Design) -> Iterable[tuple[str, tuple[int, ...]]]:
    names = [one.name for one in design.factors]
    for at, name in enumerate(names):
        yield name, (at,)
    for one, other in combinations(range(len(names)), 2):
        yield names[one] + TIMES + names[other], (one, other)


def _scenario(model: Model, factors: tuple[int, ...]) -> Floats:
    """Return how much of the effect acts in each cell, 0 to 1: 1 where all these factors have their last level."""
    acts = np.ones(len(model.design.cells))
    for at in factors:
        one = model.design.factors[at]
        shares = (model.codes[at][:, 0] + 1) / 2 if one.is_range else np.arange(len(one.levels)) == len(one.levels) - 1
        acts *= [shares[one.levels.index(cell[at])] for cell in model.design.cells]
    return acts
