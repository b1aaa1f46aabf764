"""How much runs that follow each other resemble each other, and what that does to the error of a comparison.

Runs that are made one after the other share a machine, its neighbours and the hour. A test that treats them as
independent is wrong twice: the mean of a few new runs has a larger error than their deviation says, and the deviation
itself is underestimated, because it was taken from runs that resemble each other. `error_factor` corrects both for a
correlation r^|i-j| of the runs i and j (AR(1)); `session_factor` corrects for new runs that were made together, which
share their day.

The correlation of one history of 20 runs is a poor estimate, so it is the mean over all names, is freed from the bias
of a mean that was subtracted, and is moved towards 0.26 as 18 more runs with that correlation would move it. Where
nothing is known, it is therefore small and not 0.

Error rates with this correction: docs/how-often-wrong.md. The correlation between consecutive runs on one machine was
0.42 to 0.65 in a year of PostgreSQL measurements on Azure (TUNA, EuroSys 2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.values_to_float_array import Array

__all__ = ["SESSION_S", "error_factor", "neighbour_correlation", "reference_factor", "session_factor", "session_share"]

SESSION_S: Final = 3_600.0
"""Runs that began less than this many seconds after the run before them belong to one session."""
_PRIOR: Final = 0.26
_PRIOR_RUNS: Final = 18.0
_PRIOR_SHARE: Final = 0.1
_PRIOR_PAIRS: Final = 10.0
"""What is assumed without data, and how many runs or pairs of runs this assumption is worth.

The values are those with which the false alarms stay below 5 % in all cells of docs/how-often-wrong.md, and most
regressions are still found.
"""
_HIGHEST: Final = 0.9
_STEPS: Final = 200
"""`error_factor` is computed for multiples of 1 / 200."""


def neighbour_correlation(histories: Iterable[Array]) -> float:
    """Return the correlation of neighbouring runs that is plausible for all names together, 0 to 0.9.

    histories: for each name the values of its runs in the order of time, clipped so that a single one cannot decide.
    Names with fewer than 3 runs, or with equal values, are ignored.
    """
    found = [(len(values), _lag1(values)) for values in histories if len(values) >= 3 and np.ptp(values) > 0]
    if not found:
        return _PRIOR
    r = sum(of for _, of in found) / len(found)
    runs = sum(n for n, _ in found) / len(found)
    # Subtracting the mean of the series makes the estimate too small by (1 + 3 r) / n (M. G. Kendall, Biometrika 1954).
    unbiased = r + (1 + 3 * r) / runs
    return min(max((runs * unbiased + _PRIOR_RUNS * _PRIOR) / (runs + _PRIOR_RUNS), 0.0), _HIGHEST)


def error_factor(r: float, history: int, new: int) -> float:
    """Return by how much the error of a comparison of `new` runs with the `history` before them grows, 1 or more.

    r: the correlation of neighbouring runs. The factor is applied to a standard error that was computed as if the runs
    were independent, with the pooled deviation of both sides.
    """
    return _factors(history, new, new)[0][round(min(max(r, 0.0), _HIGHEST) * _STEPS)]


def reference_factor(r: float, history: int, new: int, reference: int) -> float:
    """Return the factor as in `error_factor` for a comparison with `reference` runs that were made long before."""
    return _factors(history, new, reference)[1][round(min(max(r, 0.0), _HIGHEST) * _STEPS)]


def session_share(values: Iterable[Array], sessions: Sequence[npt.NDArray[np.int64]]) -> float:
    """Return the share of the variance that runs of one session have in common, 0 to 0.9; 0.1 where nothing is known.

    Args:
        values: for each name the clipped values of its runs.
        sessions: for each name the session of each of these runs, as `sessions_of` numbers them.
    """
    products, pairs = 0.0, 0.0
    for of, session in zip(values, sessions, strict=True):
        variance = float(of.var()) if len(of) else 0.0
        if variance == 0.0:
            continue
        rest = of - of.mean()
        together = session[1:] == session[:-1]
        products += float((rest[1:] * rest[:-1])[together].sum()) / variance + float(together.sum()) / len(of)
        pairs += float(together.sum())
    names = max(1, len(sessions))
    seen = pairs / names  # names share their runs, so their pairs are not independent
    share = products / pairs if pairs else 0.0
    return min(max((seen * share + _PRIOR_PAIRS * _PRIOR_SHARE) / (seen + _PRIOR_PAIRS), 0.0), _HIGHEST)


def session_factor(share: float, history: int, new: Sequence[int]) -> float:
    """Return by how much the error of a comparison grows because new runs share a session, 1 or more.

    Args:
        share: the part of the variance that runs of one session have in common.
        history: the number of runs before, each taken as a session of its own.
        new: the number of new runs in each session: (3,) for three that were made together.
    """
    k = sum(new)
    mean = share * sum(n * n for n in new) / k**2 + (1 - share) / k
    return sqrt((mean + 1 / history) / (1 / k + 1 / history))


def _lag1(values: Array) -> float:
    rest = values - values.mean()
    return float((rest[1:] * rest[:-1]).sum() / (rest**2).sum())


@lru_cache(maxsize=1024)
def _factors(history: int, new: int, reference: int) -> tuple[list[float], list[float]]:
    """Return for each r = 0, 1/200, ... the factor against the history, and that against a reference of long before."""
    at = np.arange(history + new)
    apart = np.abs(at[:, None] - at)
    old = np.abs(np.arange(reference)[:, None] - np.arange(reference))
    weights = np.concatenate((np.full(history, -1 / history), np.full(new, 1 / new)))
    near, far = [], []
    for r in np.arange(round(_HIGHEST * _STEPS) + 1) / _STEPS:
        matrix = np.power(r, apart)
        within = history - matrix[:history, :history].sum() / history + new - matrix[history:, history:].sum() / new
        deviation = within / max(history + new - 2, 1)
        fixed = np.power(r, old).sum() / reference**2
        recent = matrix[history:, history:].sum() / new**2
        near.append(sqrt(float(weights @ matrix @ weights) / (1 / history + 1 / new) / deviation))
        far.append(sqrt(float(fixed + recent) / (1 / reference + 1 / new) / deviation))
    return near, far
