"""Tails and critical values by which terms are found and intervals are drawn: F, Student's t, Scheffé."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["critical", "f_tail", "t_quantile"]

Floats = npt.NDArray[np.float64]


def f_tail(value: npt.ArrayLike, df: npt.ArrayLike, df_error: float) -> Floats:
    """Return the probability that F with df and df_error degrees of freedom exceeds value; without error if inf."""
    value, df = np.asarray(value, dtype=np.float64), np.asarray(df, dtype=np.float64)
    if np.isinf(df_error):
        return np.asarray(special.chdtrc(df, value * df), dtype=np.float64)
    return np.asarray(special.fdtrc(df, df_error, value), dtype=np.float64)


def t_quantile(tail: float, df_error: float) -> float:
    """Return the value that |t| exceeds with this probability."""
    if np.isinf(df_error):
        return float(-special.ndtri(tail / 2))
    return float(-special.stdtrit(df_error, tail / 2))


def critical(tail: float, df: int, df_error: float) -> float:
    """Return how many standard errors an interval reaches: Student's t, or Scheffé's value for a term with several df.

    Scheffé's value covers all contrasts of the term together (H. Scheffé, Biometrika 40, 1953). It excludes 0 for no
    contrast if the F test does not reject.
    """
    if df == 1:
        return t_quantile(tail, df_error)
    if np.isinf(df_error):
        return float(np.sqrt(special.chdtri(df, tail)))
    return float(np.sqrt(df * special.fdtri(df, df_error, 1.0 - tail)))
