"""Which factors matter, alone and together: the effects of a finished sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadgen.analysis.factors.design import Design
from loadgen.analysis.factors.factor import Level

__all__ = ["CellFigure", "ErrorSource", "FactorAnalysis", "Observation", "Scale", "SimpleEffect", "Term", "analyse"]

ErrorSource = Literal["replicates", "store", "Lenth", "residual", "none"]
Scale = Literal["log", "share", "plain"]


@dataclass(frozen=True, slots=True)
class Observation:
    """The response of one run."""

    cell: int
    """Index in the cells of the design."""
    block: int
    value: float
    """In the units of the response: above 0 on a log scale, 0 to 1 for a share, finite otherwise."""


@dataclass(frozen=True, slots=True)
class Term:
    """A main effect or an interaction."""

    name: str
    """"settle", "settle × payout", or "rate²" for the curvature of a range."""
    order: int
    """1: a main effect; 2: an interaction or a square."""
    factors: tuple[str, ...]
    levels: tuple[tuple[Level, Level], ...]
    """Per factor the two levels, from and to, that `effect` compares: first and last, or those that differ most."""
    effect: float
    """On the scale of the analysis. For a log scale: the log of the ratio; exp(effect) - 1 is the relative change. An
    interaction is half the difference between two differences, so an effect d of one corner is d / 2."""
    low: float
    high: float
    """low, high: the interval of `effect` at the adjusted level."""
    change: float | None
    """In the units of the response. A main effect: the mean at `to` minus that at `from`. An interaction: how far the
    cell where both are at `to` lies above what the two changes alone would give. None for a square."""
    change_low: float | None
    change_high: float | None
    df: int
    """The number of columns of the term: 1 for two-level factors."""
    p: float
    p_holm: float
    """p with Holm's correction over all terms of order 1 and 2."""
    is_found: bool
    alias_of: tuple[str, ...] = ()
    """Terms that the cells cannot tell from this one. An interaction with such terms is never found."""
    is_unresolved: bool = False
    """Something was found in this group of aliased interactions, but the design cannot tell in which one."""
    explained_by: tuple[str, ...] = ()
    """Found interactions that explain this main effect: it is absent at one level of the other factor."""


@dataclass(frozen=True, slots=True)
class SimpleEffect:
    """What changing one factor does while another one is held."""

    interaction: str
    factor: str
    at: Mapping[str, Level]
    """The level of the other factor. All further factors are averaged."""
    from_level: Level
    to_level: Level
    change: float
    """In the units of the response."""
    low: float
    high: float
    ratio: float | None
    """The value at `to_level` divided by that at `from_level`; None if the scale is not a log."""
    n: int
    """The number of runs at the two levels compared."""

    @property
    def includes_zero(self) -> bool:
        """Return whether no change is within the interval."""
        return self.low <= 0.0 <= self.high


@dataclass(frozen=True, slots=True)
class CellFigure:
    """The response of one cell."""

    cell: int
    n: int
    value: float | None
    """In the units of the response, adjusted for blocks; None without a valid run."""
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class FactorAnalysis:
    """The effects of a sweep on one response."""

    terms: tuple[Term, ...]
    """Ranked by the size of the effect, the largest first."""
    simple_effects: tuple[SimpleEffect, ...]
    """Of the found interactions."""
    cells: tuple[CellFigure, ...]
    scale: Scale
    level: float
    sd: float | None
    """Between runs of the same cell, on the scale of the analysis: 0.04 is about 4 % on a log scale."""
    df: float | None
    error_source: ErrorSource
    n: int
    """The number of runs."""
    lack_of_fit_p: float | None = None
    """The p-value of the test whether terms of order 3 and above are missing; None if it cannot be tested."""
    not_estimable: tuple[str, ...] = ()
    """Terms that the cells with valid runs cannot estimate."""
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> tuple[Term, ...]:
        """Return the found terms, the largest effect first."""
        return tuple(one for one in self.terms if one.is_found)


def analyse(
    design: Design,
    observations: Sequence[Observation],
    *,
    level: float = 0.95,
    is_log: bool = True,
    scale: Scale | None = None,
    pooled_sd: float | None = None,
    pooled_df: float | None = None,
) -> FactorAnalysis:
    """Return the effects of all terms of order 1 and 2, with Holm's correction.

    Args:
        scale: "log" (latency, throughput), "share" (error ratio, 0 to 1) or "plain". Default: "log" if is_log, otherwise
            "share".
        pooled_sd, pooled_df: sd of the log response between runs and its degrees of freedom, from the store. Used if the
            sweep has too few repeats to estimate it.
    """
    raise NotImplementedError
