"""Fits the model by least squares and estimates the error of one run.

The estimate of the error does not depend on the terms of the model where cells are repeated: it comes from the
differences between runs of one cell, after blocks are taken out. Otherwise the store's sd is used, then Lenth's pseudo
standard error, then what the model leaves over. `error_source` names which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from loadgen.analysis.factors.fitting.lenth import LEAST_CONTRASTS, contrasts, null_of, pseudo_error
from loadgen.analysis.factors.fitting.model import Model, ModelTerm, block_columns
from loadgen.analysis.factors.fitting.tails import critical, f_tail

__all__ = ["ErrorSource", "Fit", "error_of", "fit_model", "lenth_columns", "pure_error_df", "widest_cell"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ErrorSource = Literal["replicates", "store", "Lenth", "residual", "none"]
LEAST_DF: Final = 2
"""Repeats with fewer degrees of freedom of the error are not used where another source exists."""
_LEAST_RESIDUAL_DF: Final = 3


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model."""

    model: Model
    beta: Floats
    """Shape (columns of the model,)."""
    cov: Floats
    """The covariance of beta for an error with sd 1, shape (columns, columns)."""
    sd: float | None
    df: float
    source: ErrorSource
    n: int
    cell_means: Floats
    """Adjusted for blocks; nan without a run. Shape (cells,)."""
    cell_runs: Ints
    lack_of_fit_p: float | None
    lenth: int = 0
    """The number of contrasts behind Lenth's pseudo standard error, otherwise 0."""

    def estimate(self, contrast: Floats) -> tuple[float, float]:
        """Return the value of a combination of columns, and its standard error for an error with sd 1."""
        return float(contrast @ self.beta), sqrt(max(0.0, float(contrast @ self.cov @ contrast)))

    def p_of(self, term: ModelTerm) -> float:
        """Return the p-value of the F test of one term; 1 without an estimate of the error."""
        if self.sd is None:
            return 1.0
        beta, cov = self.beta[term.start : term.stop], self.cov[term.start : term.stop, term.start : term.stop]
        squares = float(beta @ np.linalg.solve(cov, beta)) / term.df
        if squares <= 1e-20 * max(1.0, float(np.abs(self.beta).max()) ** 2):
            return 1.0
        value = squares / self.sd**2 if self.sd > 0 else inf
        if self.lenth:
            return float(null_of(self.lenth).tail(sqrt(value)))
        return float(f_tail(value, term.df, self.df))

    def critical(self, tail: float, df: int = 1) -> float:
        """Return how many standard errors an interval with this error probability reaches."""
        return null_of(self.lenth).quantile(tail) if self.lenth else critical(tail, df, self.df)


def fit_model(
    model: Model, y: Floats, cells: Ints, blocks: Ints, pooled_sd: float | None = None, pooled_df: float | None = None
) -> Fit:
    """Fit the model to the responses of runs. y, cells, blocks: shape (runs,).

    Cost: least squares with (runs, columns): 0.1 s for 500 runs and 70 columns.
    """
    of_blocks = block_columns(blocks)
    whole = np.concatenate((model.rows[cells], of_blocks), axis=1)
    beta, _, rank, _ = np.linalg.lstsq(whole, y, rcond=None)
    columns = model.rows.shape[1]
    cov = np.asarray(np.linalg.pinv(whole.T @ whole, hermitian=True)[:columns, :columns], dtype=np.float64)
    left = float(((y - whole @ beta) ** 2).sum())
    pure, df_pure, means, runs = _pure_error(y, cells, of_blocks, len(model.design.cells))
    df_left = len(y) - int(rank)
    df_lack = df_left - df_pure
    lack_p = None
    if df_pure >= LEAST_DF and df_lack >= 1 and pure > 0:
        lack_p = float(f_tail(max(0.0, left - pure) / df_lack / (pure / df_pure), df_lack, df_pure))
    found = Fit(
        model, np.asarray(beta[:columns], dtype=np.float64), cov, None, 0.0, "none", len(y), means, runs, lack_p
    )
    return _with_error(found, y, cells, blocks, (pure, df_pure), (left, df_left), pooled_sd, pooled_df)


def _with_error(
    fit: Fit,
    y: Floats,
    cells: Ints,
    blocks: Ints,
    pure: tuple[float, int],
    left: tuple[float, int],
    pooled_sd: float | None,
    pooled_df: float | None,
) -> Fit:
    orthogonal = lenth_columns(fit.model, cells, blocks)
    source = error_of(pure[1], left[1], pooled_sd is not None, orthogonal is not None)
    if source == "store":
        return replace(fit, sd=pooled_sd, df=pooled_df or inf, source=source)
    if source == "Lenth":
        assert orthogonal is not None
        values = orthogonal.T @ y * 2 / len(y)
        sd = float(pseudo_error(values)) * sqrt(len(y)) / 2
        return replace(fit, sd=sd, df=len(values) / 3, source=source, lenth=len(values))
    if source == "none":
        return fit
    squares, df = left if source == "residual" else pure
    return replace(fit, sd=sqrt(squares / df), df=float(df), source=source)


def error_of(df_pure: int, df_left: int, has_store: bool, has_contrasts: bool) -> ErrorSource:
    """Return where the error of a run comes from.

    df_pure: degrees of freedom between runs of one cell. df_left: what the model leaves over, df_pure included.
    """
    if df_pure >= LEAST_DF:
        return "replicates"
    if has_store:
        return "store"
    if has_contrasts:
        return "Lenth"
    if df_left >= _LEAST_RESIDUAL_DF:
        return "residual"
    return "replicates" if df_pure else "none"


def lenth_columns(model: Model, cells: Ints, blocks: Ints) -> Floats | None:
    """Return the contrasts of a two-level design whose cells ran once each in one block, a row a run; or None."""
    design = model.design
    if np.ptp(blocks):  # The difference between blocks is part of some contrasts.
        return None
    if design.kind == "lhs" or len(cells) != len(design.cells) or len(np.unique(cells)) != len(cells):
        return None
    if len(cells) - 1 < LEAST_CONTRASTS or any(len(one.levels) != 2 for one in design.factors):
        return None
    signs = np.array([[float(f.levels.index(v)) for f, v in zip(design.factors, c, strict=True)] for c in design.cells])
    found = contrasts(2 * signs - 1)
    return None if found is None else found[cells]


def widest_cell(y: Floats, cells: Ints) -> tuple[int, float, float, float] | None:
    """Return the cell whose runs scatter most, its sd, the sd of the others, and the p-value; None with few repeats.

    Cochran's test of the largest variance: W. Cochran, Annals of Eugenics 11, 1941, with Bonferroni's bound over the
    cells. Only cells with as many runs as the most frequent number of runs count.
    """
    runs = np.bincount(cells)
    several = runs[runs >= LEAST_DF]
    if not len(several):
        return None
    n = int(np.bincount(several).argmax())
    usual = np.flatnonzero(runs == n)
    if len(usual) < 2:
        return None
    variances = np.array([y[cells == cell].var(ddof=1) for cell in usual])
    widest, k = int(variances.argmax()), len(usual)
    others = float(np.delete(variances, widest).mean())
    if others <= 0:
        return None
    ratio = float(variances[widest]) / others
    p = min(1.0, k * float(f_tail(ratio, n - 1, (k - 1) * (n - 1))))
    return int(usual[widest]), sqrt(float(variances[widest])), sqrt(others), p


def pure_error_df(cells: Ints, blocks: Ints) -> int:
    """Return the degrees of freedom of the error that repeats of cells give, after blocks are taken out."""
    return _pure_error(np.zeros(len(cells)), cells, block_columns(blocks), int(cells.max(initial=-1)) + 1)[1]


def _pure_error(y: Floats, cells: Ints, of_blocks: Floats, n_cells: int) -> tuple[float, int, Floats, Ints]:
    """Return sum of squares and df between runs of one cell, the adjusted mean of each cell, and its number of runs."""
    runs = np.bincount(cells, minlength=n_cells)
    with np.errstate(invalid="ignore"):
        means = np.bincount(cells, y, minlength=n_cells) / runs
        block_means = (
            np.stack([np.bincount(cells, one, minlength=n_cells) / runs for one in of_blocks.T], axis=1)
            if (of_blocks.shape[1])
            else np.zeros((n_cells, 0))
        )
    within, blocks_within = y - means[cells], of_blocks - block_means[cells]
    lost = 0
    if of_blocks.shape[1]:
        effects, _, rank, _ = np.linalg.lstsq(blocks_within, within, rcond=None)
        lost = int(rank)
        within = within - blocks_within @ effects
        means = means - block_means @ effects
    return float((within**2).sum()), len(y) - int((runs > 0).sum()) - lost, means, runs.astype(np.int64)
