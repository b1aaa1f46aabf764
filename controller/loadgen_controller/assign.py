"""Which agent drives which share of the load.

A plan gives each region a weight; the agents of a region share it by their own
weights. What comes out is one weight for each agent, exact: rational numbers
scaled to whole ones, so that no share is off by a rounding (0.6 over two agents
and 0.4 over one are 3, 3 and 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from loadgen.errors import FleetError
from loadgen_controller.fleet import Member

__all__ = ["Assignment", "Candidate", "assign", "candidates"]

LARGEST = 2**53
"""Beyond it a float holds no exact whole number."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that can take a share."""

    agent: str
    region: str
    weight: float = 1.0
    """Its capacity beside the others of its region."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who takes part, in the order of indices. Stands in the manifest, so that a verdict can be told again."""

    agents: tuple[str, ...]
    regions: tuple[str, ...]
    """Of each agent."""
    weights: tuple[float, ...]
    """Of each agent; whole numbers, not normalised."""
    generation: int = 1

    def index(self, agent: str) -> int:
        """Raises ValueError for one that takes no part."""
        return self.agents.index(agent)

    def region(self, agent: str) -> str:
        return self.regions[self.index(agent)]

    def share(self, agent: str) -> float:
        """From 0 to 1."""
        return self.weights[self.index(agent)] / sum(self.weights)


def candidates(members: Iterable[Member]) -> tuple[Candidate, ...]:
    return tuple(Candidate(member.id, member.region, member.weight) for member in members)


def assign(regions: Mapping[str, float], fleet: Iterable[Candidate], generation: int = 1) -> Assignment:
    """Give each agent of a region that has a weight its part of it; others take none.

    The order is that of the plan's regions, then of the ids: the same for the same fleet.

    Raises:
        FleetError: a region with a weight has no agent, or none with a weight.
    """
    by_region: dict[str, list[Candidate]] = {region: [] for region, weight in regions.items() if weight > 0}
    for candidate in sorted(fleet, key=lambda c: c.agent):
        if candidate.region in by_region and candidate.weight > 0:
            by_region[candidate.region].append(candidate)
    if empty := [region for region, agents in by_region.items() if not agents]:
        raise FleetError(f"no agent in {', '.join(empty)}", hint="start one there, or leave the region out: --regions")
    if not by_region:
        raise FleetError("no region has a weight, so nobody has anything to do")
    chosen: list[Candidate] = []
    parts: list[Fraction] = []
    for region, agents in by_region.items():
        whole = sum((_exact(agent.weight) for agent in agents), Fraction(0))
        chosen += agents
        parts += [_exact(regions[region]) * _exact(agent.weight) / whole for agent in agents]
    return Assignment(
        tuple(candidate.agent for candidate in chosen),
        tuple(candidate.region for candidate in chosen),
        _whole(parts),
        generation,
    )


def _exact(weight: float) -> Fraction:
    """The decimal number that was written: 0.6 is 3/5, not the float next to it."""
    return Fraction(str(weight))


def _whole(parts: list[Fraction]) -> tuple[float, ...]:
    """Scaled by a common factor to the smallest whole numbers; to floats where those would be too large."""
    scale = lcm(*(part.denominator for part in parts))
    numbers = [int(part * scale) for part in parts]
    common = gcd(*numbers)
    numbers = [number // common for number in numbers]
    if max(numbers) >= LARGEST:
        return tuple(float(part) for part in parts)
    return tuple(float(number) for number in numbers)
