"""One interval of the whole fleet as a steering executor observes it.

Counts are of iterations that were *decided* in the interval. An iteration that ended ok within the
limit is decided as good at its end; one that failed, was missed or ended late is bad. A running one
becomes bad at the moment at which it is older than the limit, so that a frozen target shows
while it is frozen. Each iteration is decided once, so the counts of all observations add up. An
observation never changes afterwards.

Times are seconds from the load's beginning, rates iterations/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["RUNGS", "Look", "Part"]

RUNGS: Final = tuple(0.5 ** (k / 3) for k in range(1, 13))
"""Falling shares of an objective's limit: 0.79, 0.63, 0.5 ... 1/16. They show how far the percentile is from the limit.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One objective of one journey in one interval."""

    objective: int
    """Index in the executor's objectives."""
    journey: str
    """Empty if the objective is not limited to one journey."""
    good: int
    bad: int
    slower: tuple[int, ...] = ()
    """Number of good iterations that took longer than each of `RUNGS` times the limit. Empty for an error ratio."""


@dataclass(frozen=True, slots=True)
class Look:
    """The merged measurements of [from_s, to_s)."""

    from_s: float
    to_s: float
    rate_per_s: float
    """The rate that was requested at the end of the interval."""
    due: int = 0
    """Iterations of this load that were due in the interval; `started` and `finished` count those of the same load."""
    started: int = 0
    finished: int = 0
    parts: tuple[Part, ...] = ()
    observed_ms: float | None = None
    """The first objective's percentile over the iterations that ended in the interval; None for a ratio, or without
    data.
    """
    in_flight: int = 0
    """Iterations running at the end of the interval."""
    waiting: int = 0
    """Due iterations that wait for a free user at the end of the interval."""
    unfit: tuple[str, ...] = ()
    """Reasons why the generator was unfit to measure; empty if it was fit."""
    reported: int = 1
    """Agents whose figures are included, out of `agents`."""
    agents: int = 1
    is_steady: bool = True
    """True if the requested rate did not change within the interval."""

    @property
    def length_s(self) -> float:
        return self.to_s - self.from_s

    @property
    def good(self) -> int:
        """Return the number of good iterations of all objectives and journeys in the interval."""
        return sum(part.good for part in self.parts)

    @property
    def bad(self) -> int:
        """Return the number of bad iterations of all objectives and journeys in the interval."""
        return sum(part.bad for part in self.parts)

    @property
    def bad_ratio(self) -> float | None:
        """Return the share of bad iterations among those decided as good or bad; None if none were decided."""
        decided = self.good + self.bad
        return self.bad / decided if decided else None

    @property
    def is_sound(self) -> bool:
        """Return whether a rate decision may use this observation.

        The observation is sound if the generator was fit to measure, and all agents have reported.
        """
        return not self.unfit and self.reported >= self.agents
