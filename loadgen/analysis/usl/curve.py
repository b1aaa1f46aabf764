"""The Universal Scalability Law: throughput against load, its slopes, its peak and its limits.

    X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1))

alpha is the share of work that is serial (contention), 0 to 1. beta is the cost of keeping the parts of a system in
step (coherency), at least 0. gamma is the throughput at load 1. beta = 0 is Amdahl's law; alpha = beta = 0 is a
straight line.

Source: N. J. Gunther, Guerrilla Capacity Planning, Springer 2007; with gamma as a third coefficient since 2018, as in
R's package usl 2.0.
"""

from __future__ import annotations

from math import inf, isinf, sqrt
from typing import NamedTuple

import numpy as np

from loadgen.analysis.values_to_float_array import Array

__all__ = ["Coefficients", "throughput_at", "throughput_slopes"]


class Coefficients(NamedTuple):
    """alpha, 0 to 1; beta, at least 0; gamma, the throughput at load 1, above 0, in the unit of the throughput."""

    alpha: float
    beta: float
    gamma: float

    @property
    def peak_load(self) -> float:
        """Return the load with the highest throughput, sqrt((1 - alpha) / beta); inf if throughput never falls."""
        return sqrt((1 - self.alpha) / self.beta) if self.beta > 0 else inf

    @property
    def peak_throughput(self) -> float:
        """Return the throughput at the peak; without a peak, its limit at infinite load."""
        at = self.peak_load
        return self.amdahl_limit if isinf(at) else float(throughput_at(np.array([at]), *self)[0])

    @property
    def amdahl_limit(self) -> float:
        """Return gamma / alpha: the limit of the throughput if beta were 0. inf without contention."""
        return self.gamma / self.alpha if self.alpha > 0 else inf

    @property
    def optimal_load(self) -> float:
        """Return 1 / alpha: the load at which a straight line of slope gamma meets the Amdahl limit; inf without."""
        return 1 / self.alpha if self.alpha > 0 else inf


def throughput_at(load: Array, alpha: float, beta: float, gamma: float) -> Array:
    """Return the throughput at each load, same shape; nan where the law has no value (below load 1 only)."""
    divisor = 1 + alpha * (load - 1) + beta * load * (load - 1)
    return gamma * load / np.where(divisor > 0, divisor, np.nan)


def throughput_slopes(load: Array, alpha: float, beta: float, gamma: float) -> Array:
    """Return the derivatives by alpha, beta and gamma at each load, shape (loads, 3)."""
    divisor = 1 + alpha * (load - 1) + beta * load * (load - 1)
    by_alpha = -gamma * load * (load - 1) / divisor**2
    return np.column_stack([by_alpha, load * by_alpha, load / divisor])
