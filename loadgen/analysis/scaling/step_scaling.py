"""Step scaling of AWS: which step an alarm's breach selects, and what it makes of the capacity.

Rules: AWS, "Step and simple scaling policies for Amazon EC2 Auto Scaling" (bounds, rounding, warm-up), and "How step
scaling for Application Auto Scaling works" (cooldown).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadgen.analysis.scaling.alarms import Alarm, Threshold
from loadgen.analysis.scaling.controllers import Fleet

__all__ = ["Step", "StepPolicy", "StepScaling", "adjusted", "step_of"]

Adjustment = Literal["ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step adjustment. Bounds are relative to the alarm's threshold; None is without bound."""

    lower: float | None
    upper: float | None
    change: int


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """One step scaling policy with the alarm that starts it."""

    name: str
    steps: tuple[Step, ...]
    threshold: Threshold
    adjustment: Adjustment = "ChangeInCapacity"
    least_change: int = 0
    """`MinAdjustmentMagnitude`: the least number of instances by which a percentage changes the capacity."""
    warm_s: int = 0
    """`EstimatedInstanceWarmup` (EC2): until then, new instances are not part of the capacity that steps refer to."""
    cooldown_s: int = 0
    """`Cooldown` (Application Auto Scaling)."""


def adjusted(capacity: int, change: int, adjustment: Adjustment, least_change: int = 0) -> int:
    """Return the capacity after one adjustment, before the limits of the group.

    Percentages are rounded toward zero; between -1 and 1 instances they are one instance. 12.7 -> 12, .67 -> 1,
    -.58 -> -1, -6.67 -> -6.
    """
    if adjustment == "ExactCapacity":
        return change
    if adjustment == "ChangeInCapacity" or change == 0:
        return capacity + change
    sign = 1 if change > 0 else -1
    # integers: 0.1 * 30 is 3.0000000000000004
    size = max(abs(change) * capacity // 100, 1, least_change)
    return capacity + sign * size


def step_of(breach: float, steps: Sequence[Step], *, above: bool) -> Step | None:
    """Return the step whose range holds a breach: the metric minus the threshold.

    above: the alarm fires above its threshold. Then the lower bound is inclusive; otherwise, the upper one is.
    """
    breach = round(breach, 9)
    for one in steps:
        low = float("-inf") if one.lower is None else one.lower
        high = float("inf") if one.upper is None else one.upper
        if (low <= breach < high) if above else (low < breach <= high):
            return one
    return None


class StepScaling:
    """One step policy in a replay: its alarm and its last activity."""

    joins_in = False

    def __init__(self, policy: StepPolicy) -> None:
        self.policy = policy
        self.alarm = Alarm(policy.threshold)
        self._cooled_s = 0
        self._before = 0

    @property
    def warm_s(self) -> int:
        """Return the warm-up time of new instances."""
        return self.policy.warm_s

    def propose(self, at_s: int, fleet: Fleet, metric: float | None) -> int | None:
        """Return the capacity that the policy wants, or None."""
        value = self.alarm.see(metric)
        if value is None or not self.alarm.fires:
            return None
        step = step_of(value - self.policy.threshold.value, self.policy.steps, above=self.policy.threshold.above)
        if step is None:
            return None
        policy, wanted = self.policy, fleet.wanted
        is_cooling = at_s < self._cooled_s
        base = self._before if is_cooling and self._before < wanted else wanted - fleet.unwarm
        out = adjusted(base, step.change, policy.adjustment, policy.least_change)
        if out > wanted:
            return out
        inward = adjusted(wanted, step.change, policy.adjustment, policy.least_change)
        if inward >= wanted or fleet.unwarm or is_cooling:
            return None  # a scale-in cannot start while a scale-out is in progress
        return inward

    def acted(self, at_s: int, before: int, wanted: int) -> None:
        """Note that the group changed its capacity as the policy proposed."""
        if at_s >= self._cooled_s:
            self._before = min(before, wanted)
        self._cooled_s = at_s + self.policy.cooldown_s

    def quiet(self, at_s: int) -> tuple[float, float] | None:
        """Return the metrics at which the alarm stays silent; None while it remembers a breach or cools down."""
        return None if at_s < self._cooled_s else self.alarm.quiet()
