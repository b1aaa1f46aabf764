"""O'Brien and Fleming's bounds: what |z| must exceed at each look so that all looks together err as rarely as one.

The bound at the information share t is c / sqrt(t). So the bound of the Brownian motion z sqrt(t) is c at every look.
The probability that it is crossed is an integral over the looks, computed by Gauss and Legendre's rule in turn.

Sources: P. O'Brien, T. Fleming, Biometrics 35, 1979. The integral: P. Armitage, C. McPherson, B. Rowe, Journal of the
Royal Statistical Society A 132, 1969. p-values over all looks with Holm's correction: W. Maurer, F. Bretz, Statistics
in Biopharmaceutical Research 5, 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import Final

import numpy as np
from scipy import special

__all__ = ["Looks", "first_look", "obrien_fleming", "p_over_looks"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(201)
_MOST_LOOKS: Final = 10


def first_look(repeats: int) -> int | None:
    """Return the number of whole repeats before the first of two looks; None if there are too few repeats."""
    return None if repeats < 2 else (repeats + 1) // 2


@dataclass(frozen=True, slots=True)
class Looks:
    """Where a sweep with two looks is."""

    done: int
    """Whole repeats that were run."""
    repeats: int
    """Whole repeats that were planned."""

    @property
    def fractions(self) -> tuple[float, ...]:
        """Return the information share of each look, the last one 1.

        A sweep that ended between its looks for a reason outside its data has its last look where it ended.
        """
        first = first_look(self.repeats)
        if first is None or self.done < first:
            return (1.0,)
        if self.done == first and first < self.repeats:
            return (first / self.repeats, 1.0)
        return (first / self.done, 1.0) if first < self.done else (1.0,)

    @property
    def share(self) -> float:
        """Return the information share of the present look."""
        first = first_look(self.repeats)
        return first / self.repeats if first is not None and self.done == first < self.repeats else 1.0

    def overall(self, p: float) -> float:
        """Return a p-value of the present look as the p-value of all looks together."""
        return p_over_looks(p, self.fractions, self.share)

    def nominal(self, alpha: float) -> float:
        """Return the level of the present look at which all looks together have the level alpha."""
        bound = obrien_fleming(alpha=alpha, fractions=self.fractions)[0 if self.share < 1 else -1]
        return float(2 * special.ndtr(-bound))


def obrien_fleming(looks: int = 2, alpha: float = 0.05, fractions: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the two-sided bounds of |z| at each look.

    fractions: the share of the information at each look, increasing, the last one 1. Default: `looks` equal steps.

    Raises:
        ValueError: looks outside 1 to 10, alpha outside 0 to 0.5, or invalid fractions.
    """
    if fractions is None:
        if not 1 <= looks <= _MOST_LOOKS:
            raise ValueError(f"invalid number of looks {looks}: must be 1 to {_MOST_LOOKS}")
        fractions = [(at + 1) / looks for at in range(looks)]
    shares = tuple(fractions)
    if not shares or shares[-1] != 1 or shares[0] <= 0 or any(a >= b for a, b in pairwise(shares)):
        raise ValueError(f"invalid fractions {shares}: must increase from above 0 to 1")
    if not 0 < alpha <= 0.5:
        raise ValueError(f"invalid alpha {alpha:g}: must be above 0 and at most 0.5")
    constant = _constant(alpha, shares)
    return tuple(constant / sqrt(share) for share in shares)


def p_over_looks(p: float, fractions: Sequence[float], share: float) -> float:
    """Return the smallest level of all looks together whose bound at `share` a p-value of that look reaches."""
    if p <= 0:
        return 0.0
    return _crossing(float(-special.ndtri(min(p, 1.0) / 2)) * sqrt(share), tuple(fractions))


@lru_cache(maxsize=1024)
def _constant(alpha: float, fractions: tuple[float, ...]) -> float:
    """Return the bound of the Brownian motion that is crossed with the probability alpha; by bisection to 1e-12."""
    low, high = 0.0, 40.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if _crossing(middle, fractions) > alpha else (low, middle)
    return (low + high) / 2


def _crossing(bound: float, fractions: tuple[float, ...]) -> float:
    """Return the probability that |z sqrt(t)| exceeds the bound at any look."""
    if bound <= 0:
        return 1.0
    # The probability of crossing at each look, summed: the remainder would lose digits where it is tiny.
    nodes, weights = bound * _NODES, bound * _WEIGHTS
    crossed = float(2 * special.ndtr(-bound / sqrt(fractions[0])))
    density = np.exp(-(nodes**2) / (2 * fractions[0])) / sqrt(2 * np.pi * fractions[0])
    for before, share in pairwise(fractions):
        step = sqrt(share - before)
        outside = special.ndtr((-bound - nodes) / step) + special.ndtr((nodes - bound) / step)
        crossed += float((weights * density) @ outside)
        kernel = np.exp(-(((nodes[:, None] - nodes) / step) ** 2) / 2) / (sqrt(2 * np.pi) * step)
        density = kernel @ (weights * density)
    return min(1.0, crossed)
