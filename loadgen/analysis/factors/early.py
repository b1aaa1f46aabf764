"""Stops a sweep early by a rule that was fixed before its first run: O'Brien and Fleming's bounds, or futility."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loadgen.analysis.factors.design import Design
from loadgen.analysis.factors.terms import Observation

__all__ = ["Decision", "first_look", "look", "obrien_fleming"]

Decision = Literal["stop: found", "stop: futile", "go on"]


def first_look(repeats: int) -> int | None:
    """Return after how many whole replicates the first of two looks is; None if there are too few repeats."""
    return None if repeats < 2 else (repeats + 1) // 2


def obrien_fleming(looks: int = 2, alpha: float = 0.05, fractions: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the two-sided bounds of |z| at each look.

    fractions: the share of the information at each look, increasing, the last one 1. Default: equal steps.
    """
    raise NotImplementedError


def look(
    design: Design,
    observations: Sequence[Observation],
    *,
    done: int,
    repeats: int,
    level: float = 0.95,
    is_log: bool = True,
) -> Decision:
    """Return whether the sweep stops after `done` of `repeats` whole replicates."""
    raise NotImplementedError
