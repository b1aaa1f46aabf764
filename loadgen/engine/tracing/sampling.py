"""The settings of trace sampling that a recorder uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.engine.tracing.breaches import Breaches
from loadgen.engine.tracing.over_limits import OverLimits
from loadgen.engine.tracing.share import AdaptiveShare

__all__ = ["Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings that follow from a plan's `trace`.

    probability: with which an iteration (or a call) is sampled, 0 to 1; not used with `adaptive`. over: which ones
    count as slow. adaptive: the share in force, if it changes. breaches: needed for a boost only. note: returns a
    remark of the export, or "".
    """

    probability: float
    over: OverLimits = field(default_factory=OverLimits)
    adaptive: AdaptiveShare | None = None
    breaches: Breaches | None = None
    note: Callable[[], str] = str
