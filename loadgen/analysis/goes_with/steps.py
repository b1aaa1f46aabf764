"""Puts the series of a run on one grid of time. Nothing is interpolated: a step without a value stays unknown."""

from __future__ import annotations

from typing import Final

import numpy as np

from loadgen.analysis.goes_with.values import Bools, Floats, Judged, Load, ProbeSeries

__all__ = ["coarser_judged", "coarser_load", "on_steps", "step_of"]

_LEAST_FIT: Final = 0.5
"""The share of a coarse step that must be fit."""
_MOST: Final = 1e100
"""A larger value is unknown: squares of some thousand values must have a finite sum."""
_EARLY: Final = 0.05
"""Reads that come on average up to this part of a step before its beginning belong to it: those of whole seconds do."""
_SEVERAL: Final = 0.75
"""With a shorter period, in steps, a step has several values."""


def step_of(period_s: float, run_step_s: float) -> int:
    """Return the length of the grid's step for values of this period, in steps of the run, at least 1."""
    return max(1, round(period_s / run_step_s)) if np.isfinite(period_s) else 1


def on_steps(one: ProbeSeries, step_s: float, n: int) -> Floats:
    """Return the values of a probe's series in each of `n` steps; NaN where it has none. Shape (n,).

    Reads of a probe are not exactly at the beginning of a second. So a value belongs to the step of its planned time:
    the mean phase of all its times is used, and not that of each, which would leave a step empty and fill the next one
    twice. Several values of a step give their mean.
    """
    found = np.full(n, np.nan)
    is_known = (np.abs(one.values) <= _MOST) & (np.abs(one.at_s) <= _MOST)  # False for NaN
    at_s, values = one.at_s[is_known], one.values[is_known]
    if not len(at_s):
        return found
    turns = np.exp(2j * np.pi * (at_s / step_s))
    phase = (float(np.angle(turns.mean())) / (2 * np.pi) + _EARLY) % 1.0 - _EARLY
    has_several = one.period_s < _SEVERAL * step_s
    places = np.floor(at_s / step_s) if has_several else np.round(at_s / step_s - phase)
    is_inside = (places >= 0) & (places < n)
    at = places[is_inside].astype(np.int64)
    sums, counts = np.bincount(at, values[is_inside], n), np.bincount(at, minlength=n)
    found[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return found


def coarser_judged(one: Judged, is_fit: Bools, times: int) -> tuple[Floats, Floats]:
    """Return values and counts in steps that are `times` as long; only fit steps count.

    A long step of which less than half is fit is unknown. Values are means, weighted by the counts.
    """
    usable = is_fit & np.isfinite(one.values) & (one.counts > 0)
    counts = np.where(usable, one.counts, 0.0)
    sums = _summed(np.where(usable, one.values, 0.0) * counts, times)
    counts = _summed(counts, times)
    fit = _summed(is_fit.astype(np.float64), times) >= _LEAST_FIT * times
    known = fit & (counts > 0)
    values = np.full(len(counts), np.nan)
    values[known] = sums[known] / counts[known]
    return values, counts


def coarser_load(one: Load, times: int) -> Floats:
    """Return the means of a load in longer steps; an unknown value is replaced by the last one before it."""
    values = one.values.astype(np.float64)
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values) // times)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    filled = values[np.where(last < 0, int(known.argmax()), last)]
    return _summed(filled, times) / times


def _summed(values: Floats, times: int) -> Floats:
    whole = len(values) // times * times
    summed: Floats = values[:whole].reshape(-1, times).sum(axis=1)
    return summed
