"""CloudWatch alarms of a replay: a threshold, and how many of the last data points must breach it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

__all__ = ["Alarm", "Threshold"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """When an alarm fires: `breaches` of the last `points` data points of one minute are beyond `value`."""

    value: float
    """In the metric's own unit."""
    above: bool
    """Fires above the value, not below it."""
    inclusive: bool = False
    """The value itself is a breach."""
    points: int = 1
    breaches: int = 1
    scale: float = 100.0
    """Factor from utilisation (0 to 1) to the metric's unit: 100 for percents."""

    def is_breach(self, value: float) -> bool:
        """Return whether a value, in the metric's unit, is beyond the threshold."""
        beyond = value - self.value if self.above else self.value - value
        return beyond >= -1e-9 if self.inclusive else beyond > 1e-9


class Alarm:
    """The last data points of one alarm. A missing point is left out: an alarm without data does nothing."""

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold
        self._breaches: deque[bool] = deque(maxlen=threshold.points)

    def see(self, metric: float | None) -> float | None:
        """Note one data point, a utilisation from 0 to 1, and return it in the metric's unit."""
        if metric is None:
            return None
        value = metric * self.threshold.scale
        self._breaches.append(self.threshold.is_breach(value))
        return value

    @property
    def fires(self) -> bool:
        """Return whether enough of the last points were breaches."""
        return sum(self._breaches) >= self.threshold.breaches

    def quiet(self) -> tuple[float, float] | None:
        """Return the utilisations that are no breach; None while a remembered point is one."""
        if any(self._breaches):
            return None
        edge = self.threshold.value / self.threshold.scale
        return (-1.0, edge - 1e-9) if self.threshold.above else (edge + 1e-9, inf)
