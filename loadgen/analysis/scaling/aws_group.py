"""A group of instances at AWS with its scaling policies: the largest capacity of those that act.

With several policies, the group grows if any of them wants it, and takes the largest. It shrinks only if every target
tracking policy that may shrink it wants to, and then to the largest of the proposed capacities. Source: AWS, "Dynamic
scaling", section "Multiple dynamic scaling policies".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen.analysis.scaling.controllers import Fleet, Limits
from loadgen.analysis.scaling.step_scaling import StepPolicy, StepScaling
from loadgen.analysis.scaling.target_tracking import TargetTracking, TrackingPolicy

__all__ = ["AwsGroup"]

_PERIOD_S: Final = 60


class AwsGroup:
    """Step scaling and target tracking policies of one group in a replay, on data points of one minute."""

    def __init__(self, policies: Sequence[StepPolicy | TrackingPolicy], limits: Limits) -> None:
        self.period_s = _PERIOD_S
        self.limits = limits
        self._parts = [StepScaling(one) if isinstance(one, StepPolicy) else TargetTracking(one) for one in policies]
        self.warm_s = max((one.warm_s for one in self._parts), default=0)

    def decide(self, at_s: int, fleet: Fleet, metric: float | None) -> int:
        """Return the capacity from now on."""
        proposals = [(one, one.propose(at_s, fleet, metric)) for one in self._parts]
        before = fleet.wanted
        out = [(one, value) for one, value in proposals if value is not None and value > before]
        inward = [(one, value) for one, value in proposals if value is not None and value < before]
        if any(part.joins_in and value is None for part, value in proposals):
            inward = []
        chosen = out or inward
        if not chosen:
            return before
        wanted = self.limits.clip(max(value for _, value in chosen))
        if wanted != before:
            for part, _ in chosen:
                part.acted(at_s, before, wanted)
        return wanted

    def quiet(self, at_s: int, wanted: int) -> tuple[float, float] | None:
        """Return the metrics at which no alarm of any policy sees a breach."""
        low, high = -1.0, float("inf")
        for one in self._parts:
            band = one.quiet(at_s)
            if band is None:
                return None
            low, high = max(low, band[0]), min(high, band[1])
        return low, high

    def skipped(self, until_s: int, wanted: int) -> None:
        """Do nothing: alarms without a breach remember nothing."""
