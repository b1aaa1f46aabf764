"""Makes a costly part of a probe rarer, so that it takes at most 2 % of the time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CostGuard"]

_SHARE: Final = 0.02
_EASY: Final = 0.005
"""A part that takes less than this share of its period gets half the period, down to its first one."""
_TIMES_MOST: Final = 64


@dataclass(slots=True)
class CostGuard:
    """The period of one part of a probe. Times are ns of one clock."""

    first_ns: int
    """The shortest period."""
    every_ns: int = 0
    due_ns: int | None = None

    def __post_init__(self) -> None:
        self.every_ns = self.every_ns or self.first_ns

    def is_due(self, now_ns: int) -> bool:
        """Whether the part has to be read now; up to a tenth of the period early, because callers are not exact."""
        return self.due_ns is None or now_ns >= self.due_ns - self.every_ns // 10

    def took(self, now_ns: int, cost_ns: int) -> bool:
        """Record that the part was read at `now_ns` and took `cost_ns`. Return True if its period is now longer."""
        is_longer = cost_ns > _SHARE * self.every_ns and self.every_ns < self.first_ns * _TIMES_MOST
        if is_longer:
            self.every_ns *= 2
        elif cost_ns < _EASY * self.every_ns and self.every_ns > self.first_ns:
            self.every_ns = max(self.first_ns, self.every_ns // 2)
        self.due_ns = now_ns + self.every_ns
        return is_longer
