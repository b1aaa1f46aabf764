"""What a steering executor sees of one interval of the whole fleet, as a value.

Counts are of what was *decided* in the interval: an iteration that ended ok within
the limit is good from its end on, one that failed, was missed or ended late is bad,
and one that is in flight is bad from the moment on at which it is older than the
limit, so that a frozen target shows while it is frozen. Each iteration is decided
once, so the counts of all looks add up, and a look never changes once it was given.

Times are seconds from the load's beginning, rates iterations/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["RUNGS", "Look", "Part"]

RUNGS: Final = tuple(0.5 ** (k / 3) for k in range(1, 13))
"""Shares of an objective's limit, falling: 0.79, 0.63, 0.5 ... 1/16. They tell how far the percentile is from it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One objective of one journey in one interval."""

    objective: int
    """Index in the executor's objectives."""
    journey: str
    """Empty where the objective is of no journey alone."""
    good: int
    bad: int
    slower: tuple[int, ...] = ()
    """Of the good, how many took longer than each of `RUNGS` times the limit. Empty of an error ratio."""


@dataclass(frozen=True, slots=True)
class Look:
    """The merged results of [from_s, to_s)."""

    from_s: float
    to_s: float
    rate_per_s: float
    """What was asked for at its end."""
    due: int = 0
    """Iterations of this load, and of those the fleet has: due, started, finished in the interval."""
    started: int = 0
    finished: int = 0
    parts: tuple[Part, ...] = ()
    observed_ms: float | None = None
    """The first objective's percentile over what ended in the interval; None for a ratio, or without data."""
    in_flight: int = 0
    """Iterations running at its end."""
    waiting: int = 0
    """Iterations due that wait for a free user, at its end."""
    unfit: tuple[str, ...] = ()
    """Why the generator was not fit to measure in it; empty when it was."""
    reported: int = 1
    """Agents whose figures are in it, of `agents`."""
    agents: int = 1
    is_steady: bool = True
    """One rate was asked for all through it."""

    @property
    def length_s(self) -> float:
        return self.to_s - self.from_s

    @property
    def good(self) -> int:
        """Over all parts."""
        return sum(part.good for part in self.parts)

    @property
    def bad(self) -> int:
        return sum(part.bad for part in self.parts)

    @property
    def bad_ratio(self) -> float | None:
        """Share of what was decided; None where nothing was."""
        decided = self.good + self.bad
        return self.bad / decided if decided else None

    @property
    def is_sound(self) -> bool:
        """Something can be learned from it: the generator was fit, and all agents have reported."""
        return not self.unfit and self.reported >= self.agents
