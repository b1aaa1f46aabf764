"""What a recorder of a plan with tracing knows of the sampling."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadgen.engine.tracing.over_limits import OverLimits

__all__ = ["Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """probability: with which an iteration (or a call) is sampled, 0 to 1. over: which ones count as slow."""

    probability: float
    over: OverLimits = field(default_factory=OverLimits)
