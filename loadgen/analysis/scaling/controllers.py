"""The interface of every simulated controller: the fleet that it sees, and the decision that it returns.

A controller looks at the fleet every `period_s` seconds and returns the number of instances that it wants. It reads no
clock: the caller passes the time. The metric is the utilisation of the ready instances, 0 to 1 (0.7 is 70 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Controller", "Fleet", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The smallest and largest number of instances: 1 <= least <= most."""

    least: int
    most: int

    def clip(self, instances: int) -> int:
        """Return the number of instances within the limits."""
        return max(self.least, min(self.most, instances))


@dataclass(slots=True)
class Fleet:
    """The instances at one moment."""

    wanted: int
    """The number that the controller asked for last: ready ones and starting ones."""
    ready: int
    """Instances that answer requests."""
    measured: int
    """Ready instances whose metric counts."""
    unwarm: int = 0
    """Instances that the last increases added and whose warm-up time has not ended."""


class Controller(Protocol):
    """Decides how many instances there should be. A controller has state: use a new one for each replay."""

    @property
    def period_s(self) -> int:
        """Return the time between two decisions, whole seconds."""

    @property
    def warm_s(self) -> int:
        """Return how long a ready instance still counts as warming up, s; 0: not at all."""

    def decide(self, at_s: int, fleet: Fleet, metric: float | None) -> int:
        """Return the number of instances wanted from now on.

        at_s: seconds from the start of the curve, ascending from call to call.
        metric: mean utilisation of the ready instances over the averaging window; None: no data, so no action.
        """

    def quiet(self, at_s: int, wanted: int) -> tuple[float, float] | None:
        """Return the range [low, high] of metrics that change neither the fleet nor the controller's memory.

        The caller may leave out calls of `decide` while the metric stays strictly within this range. None: the
        controller still remembers something, so that each call counts.
        """

    def skipped(self, until_s: int, wanted: int) -> None:
        """Note that calls were left out, the last at `until_s`, all within the range of `quiet`."""
