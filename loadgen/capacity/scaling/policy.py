"""A scaling policy that was read from a file, in the terms of the simulators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from loadgen.analysis.scaling.controllers import Controller, Limits

__all__ = ["PolicyKind", "ScalingPolicy", "Units"]

PolicyKind = Literal["hpa", "step scaling", "target tracking", "step scaling and target tracking"]


@dataclass(frozen=True, slots=True)
class Units:
    """Turns the metric of a policy into utilisation.

    per_s: requests/s of one instance at the promise. at: its utilisation then, in (0, 1].
    """

    per_s: float
    at: float

    def scale_of(self, unit: Literal["percent", "requests/s", "requests/min"]) -> float:
        """Return the metric's value at utilisation 1: CPU grows with the requests, in proportion."""
        if unit == "percent":
            return 100.0
        return self.per_s / self.at * (60.0 if unit == "requests/min" else 1.0)


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """One file with a policy."""

    kind: PolicyKind
    name: str
    target: float | None
    """The target as utilisation, 0 to 1. None: step scaling, which has thresholds and no target."""
    shown_target: str
    """The target in the file's own unit, such as "60 % CPU" or "100 requests/s a pod"."""
    tolerance: float
    """The relative distance above the target within which the controller does nothing; 0.1 is 10 %."""
    period_s: int
    """The time between two decisions."""
    points: int
    """The number of data points in a row that must be above the target before the controller acts."""
    limits: Limits
    make: Callable[[float | None], Controller]
    """Returns a new controller with another target (a utilisation), or with its own (None)."""
    notes: tuple[str, ...] = ()
    """Parts of the file that are not replayed, and assumptions about the others."""
    unit: Literal["percent", "requests/s", "requests/min"] = "percent"
    """The unit of the target."""
    scale: float = 100.0
    """Factor from utilisation to that unit."""
    only: str = ""
    """Which of several metrics or policies has the target and is written back, as a sentence; "" without others."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The document with the target, to be written back with another one."""
