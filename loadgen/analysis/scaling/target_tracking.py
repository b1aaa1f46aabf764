"""Target tracking of AWS, as observed: AWS publishes no formula.

The model: `ceil(capacity * metric / target)`; outward after 3 data points of one minute above the target, inward after
15 below 90 % of it, no action without data. The alarms are those that AWS creates and shows; the formula is the one
that its documentation describes in words ("proportionally", "we round up"). A result of this model is a bound for what
to expect, and not a forecast of single actions: decision 127 lists what AWS publishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from loadgen.analysis.scaling.alarms import Alarm, Threshold
from loadgen.analysis.scaling.controllers import Fleet

__all__ = ["IN_POINTS", "IN_SHARE", "OUT_POINTS", "TargetTracking", "TrackingPolicy"]

OUT_POINTS: Final = 3
IN_POINTS: Final = 15
IN_SHARE: Final = 0.9
"""Below this share of the target, the alarm for the way in counts."""


@dataclass(frozen=True, slots=True)
class TrackingPolicy:
    """One target tracking policy."""

    name: str
    target: float
    """In the metric's own unit."""
    scale: float = 100.0
    """Factor from utilisation (0 to 1) to the metric's unit: 100 for percents."""
    scales_in: bool = True
    """False: `DisableScaleIn`."""
    warm_s: int = 0
    """EC2: instances that warm up are not part of the capacity, and block the way in."""
    out_cooldown_s: int = 0
    in_cooldown_s: int = 0
    """Application Auto Scaling."""


class TargetTracking:
    """One target tracking policy in a replay: its two alarms and its last activities."""

    def __init__(self, policy: TrackingPolicy) -> None:
        self.policy = policy
        self.joins_in = policy.scales_in
        self._high = Alarm(Threshold(policy.target, True, False, OUT_POINTS, OUT_POINTS, policy.scale))
        self._low = Alarm(Threshold(policy.target * IN_SHARE, False, False, IN_POINTS, IN_POINTS, policy.scale))
        self._out_cooled_s = 0
        self._in_cooled_s = 0
        self._before = 0

    @property
    def warm_s(self) -> int:
        """Return the warm-up time of new instances."""
        return self.policy.warm_s

    def propose(self, at_s: int, fleet: Fleet, metric: float | None) -> int | None:
        """Return the capacity that the policy wants, or None."""
        value = self._high.see(metric)
        self._low.see(metric)
        if value is None:
            return None
        wanted, ratio = fleet.wanted, value / self.policy.target
        if self._high.fires:
            is_cooling = at_s < self._out_cooled_s and self._before < wanted
            base = self._before if is_cooling else wanted - fleet.unwarm
            out = _up(base * ratio)
            return out if out > wanted else None
        if not (self._low.fires and self.policy.scales_in) or fleet.unwarm or at_s < self._in_cooled_s:
            return None
        inward = _up(wanted * ratio)
        return inward if inward < wanted else None

    def acted(self, at_s: int, before: int, wanted: int) -> None:
        """Note that the group changed its capacity as the policy proposed."""
        if wanted > before:
            if at_s >= self._out_cooled_s:
                self._before = before
            self._out_cooled_s = at_s + self.policy.out_cooldown_s
        else:
            self._in_cooled_s = at_s + self.policy.in_cooldown_s

    def quiet(self, at_s: int) -> tuple[float, float] | None:
        """Return the metrics at which both alarms stay silent; None while one of them remembers a breach."""
        if at_s < max(self._out_cooled_s, self._in_cooled_s):
            return None
        high, low = self._high.quiet(), self._low.quiet()
        if high is None or low is None:
            return None
        return low[0], high[1]


def _up(instances: float) -> int:
    # 1e-9: 10 * 0.6 / 0.5 is 12.000000000000002
    return ceil(instances - 1e-9)
