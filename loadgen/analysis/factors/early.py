"""Stops a sweep early by a rule that was fixed before its first run: O'Brien and Fleming's bounds, or futility."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final, Literal

from scipy import special

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.fitting.scales import Scale
from loadgen.analysis.factors.looks import Looks, first_look, obrien_fleming
from loadgen.analysis.factors.terms import FactorAnalysis, Observation, Term, analyse

__all__ = ["FUTILE", "Decision", "Looks", "first_look", "look", "obrien_fleming", "will_be_found"]

Decision = Literal["stop: found", "stop: futile", "go on"]
FUTILE: Final = 0.1
"""A term is futile if the chance that the rest of the sweep finds it is below this."""


def look(
    design: Design,
    observations: Sequence[Observation],
    *,
    done: int,
    repeats: int,
    level: float = 0.95,
    is_log: bool = True,
    scale: Scale | None = None,
    pooled_sd: float | None = None,
    pooled_df: float | None = None,
) -> Decision:
    """Return whether the sweep stops after `done` of `repeats` whole repeats of all cells.

    The sweep stops if every term is either found at this look or futile. The reason is "stop: found" if at least one
    term is found, otherwise "stop: futile". The sweep goes on if `done` is not `first_look(repeats)`, or if the
    standard deviation between runs cannot be estimated. The arguments are those of `analyse`; pass `looks` to the
    final `analyse`, too.
    """
    if done != first_look(repeats) or done >= repeats:
        return "go on"
    found = analyse(
        design,
        observations,
        level=level,
        is_log=is_log,
        scale=scale,
        pooled_sd=pooled_sd,
        pooled_df=pooled_df,
        looks=Looks(done, repeats),
    )
    if found.error_source not in ("replicates", "store") or not found.terms:
        return "go on"
    if not all(one.is_found or will_be_found(found, one, done / repeats) < FUTILE for one in found.terms):
        return "go on"
    return "stop: found" if found.found else "stop: futile"


def will_be_found(analysis: FactorAnalysis, term: Term, share: float) -> float:
    """Return the chance that a term is found at the end if its effect is what it seems to be now.

    share: of the information until now, above 0 and below 1. Conditional power under the current trend, with Holm's
    correction for the terms that are not found yet: K. Lan, R. Simon, M. Halperin, Sequential Analysis 1, 1982. Aliased
    interactions are never found.
    """
    if term.order == 2 and term.alias_of:
        return 0.0
    left = max(1, sum(not one.is_found for one in analysis.terms))
    bound = obrien_fleming(alpha=(1 - analysis.level) / left, fractions=(share, 1.0))[-1]
    now = float(-special.ndtri(min(max(term.p, 1e-300), 1.0) / 2))
    expected = now * sqrt(share) + now / sqrt(share) * (1 - share)
    return float(special.ndtr((expected - bound) / sqrt(1 - share)))
