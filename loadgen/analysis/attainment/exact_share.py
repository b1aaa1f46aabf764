"""Targets as exact fractions, as they are written."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["exact_share"]


def exact_share(share: object) -> Fraction:
    """Return a target as it is written: 0.995 becomes 995/1000 and not the nearest binary number.

    Raises:
        ValueError: it is not above 0 and below 1.
    """
    try:
        exact = Fraction(str(share))
    except ValueError:
        exact = Fraction(0)
    if not 0 < exact < 1:
        raise ValueError(f"target is {share}, but must be above 0 and below 1")
    return exact
