"""What a sweep can find, computed before its first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.factors.design import Design

__all__ = ["PowerRow", "PowerTable", "detectable"]


@dataclass(frozen=True, slots=True)
class PowerRow:
    """How often one effect of one term would be found."""

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
    """What a sweep can find at one sd."""

    rows: tuple[PowerRow, ...]
    runs: int
    sd: float
    """Of the log of the response between runs of one cell: 0.04 is about 4 %."""
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
    """Return how often effects of these sizes would be found.

    sd: of the log of the response between runs of the same cell.
    pooled_df: the degrees of freedom of `sd` if the analysis will use it (a single replicate); None: it will not.
    """
    raise NotImplementedError
