"""Which agent drives which share of the load.

A plan gives each region a weight; the agents of a region share it by their own
weights. What comes out is one weight for each agent, exact: rational numbers
scaled to whole ones, so that no share is off by a rounding (0.6 over two agents
and 0.4 over one are 3, 3 and 4).

While a run goes on agents are lost, leave and join. Then the weights are others
from an instant on (`reassigned`), and that is the next generation of the shares.
Times are ns after T0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm

from loadgen.errors import FleetError
from loadgen_controller.core.registry import Member

__all__ = ["Assignment", "Candidate", "Reassigned", "assign", "candidates", "joined", "reassigned", "with_agent"]

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
class Reassigned:
    """From an instant on the agents have other weights."""

    generation: int
    at_ns: int
    weights: tuple[float, ...]
    """Of each agent, those that are lost included: 0, or what nobody else can take."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who takes part, in the order of indices. Stands in the manifest, so that a verdict can be told again."""

    agents: tuple[str, ...]
    regions: tuple[str, ...]
    """Of each agent."""
    weights: tuple[float, ...]
    """Of each agent at the start; whole numbers, not normalised. 0 for those that joined later."""
    changes: tuple[Reassigned, ...] = ()
    """What became of the weights, in the order of generations."""

    @property
    def generation(self) -> int:
        return self.changes[-1].generation if self.changes else 1

    @property
    def weights_now(self) -> tuple[float, ...]:
        """Of each agent, in the newest generation."""
        return self.changes[-1].weights if self.changes else self.weights

    def index(self, agent: str) -> int:
        """Raises ValueError for one that takes no part."""
        return self.agents.index(agent)

    def region(self, agent: str) -> str:
        return self.regions[self.index(agent)]

    def share(self, agent: str) -> float:
        """From 0 to 1: the most that it ever had."""
        return max(share for _, share in self._shares(agent))

    def first_share(self, agent: str) -> float:
        """From 0 to 1: what it had at the start, and has for good of loads that nobody takes over."""
        return _part(self.weights, self.index(agent))

    def tenures(self, agent: str, end_ns: int) -> tuple[tuple[int, int, float], ...]:
        """(start, end, share) of each time up to `end_ns` in which it had a share, in order."""
        shares = self._shares(agent)
        ends = (*(start for start, _ in shares[1:]), end_ns)
        spans = ((start, min(end, end_ns), share) for (start, share), end in zip(shares, ends, strict=True))
        return tuple((start, end, share) for start, end, share in spans if share and start < end)

    def until_ns(self, agent: str) -> int | None:
        """Since when others have its share; None where it has one, or never had."""
        shares = self._shares(agent)
        had = [k for k, (_, share) in enumerate(shares) if share]
        return shares[had[-1] + 1][0] if had and had[-1] + 1 < len(shares) else None

    def part_of_region(self, agent: str, at_ns: int) -> float:
        """From 0 to 1: of what the agents of its region do at `at_ns`."""
        weights = next((one.weights for one in reversed(self.changes) if one.at_ns <= at_ns), self.weights)
        region = self.region(agent)
        whole = sum(weight for one, weight in zip(self.regions, weights, strict=False) if one == region)
        return weights[self.index(agent)] / whole if whole and self.index(agent) < len(weights) else 0.0

    def _shares(self, agent: str) -> tuple[tuple[int, float], ...]:
        """(from when on, share), in order."""
        index = self.index(agent)
        return (
            (0, _part(self.weights, index)),
            *((change.at_ns, _part(change.weights, index)) for change in self.changes),
        )


def candidates(members: Iterable[Member]) -> tuple[Candidate, ...]:
    return tuple(Candidate(member.id, member.region, member.weight) for member in members)


def assign(regions: Mapping[str, float], fleet: Iterable[Candidate]) -> Assignment:
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
    )


def reassigned(assignment: Assignment, drivers: Collection[str], at_ns: int, held: Collection[str] = ()) -> Assignment:
    """What the others of the fleet have, but those that hold on to it, is theirs, the `drivers`', from `at_ns` on.

    Agents of the same region take it, by their weights; where none is left there, all that are left anywhere do.

    Raises:
        ValueError: nobody is left, or nobody that has a weight.
    """
    weights = assignment.weights_now
    parts = {agent: _exact(weight) for agent, weight in zip(assignment.agents, weights, strict=True)}
    kept = {agent: parts[agent] for agent in assignment.agents if agent in drivers and parts[agent]}
    if not kept:
        raise ValueError("nobody is left who could take a share")
    now, by_region, free = dict(kept), dict[str, list[str]](), dict[str, Fraction]()
    for agent, region in zip(assignment.agents, assignment.regions, strict=True):
        if agent in kept:
            by_region.setdefault(region, []).append(agent)
        elif agent in held:
            now[agent] = parts[agent]
        elif agent not in drivers and parts[agent]:
            free[region] = free.get(region, Fraction(0)) + parts[agent]
    for region, part in free.items():
        takers = by_region.get(region) or list(kept)
        grows = part / sum((kept[one] for one in takers), Fraction(0))
        for one in takers:
            now[one] += kept[one] * grows
    change = Reassigned(
        assignment.generation + 1, at_ns, _whole([now.get(agent, Fraction(0)) for agent in assignment.agents])
    )
    return replace(assignment, changes=(*assignment.changes, change))


def joined(
    assignment: Assignment,
    regions: Mapping[str, float],
    fleet: Iterable[Candidate],
    agents: Collection[str],
    at_ns: int,
) -> Assignment:
    """The `agents`, which have no share, have their part of their regions from `at_ns` on; the others of `fleet` less.

    Nobody but them gets more than before: so they are the only ones that have to wait until all others know.

    Raises:
        FleetError: as `assign`.
    """
    able = [one for one in fleet if one.weight > 0]
    here = {one.region for one in able}
    wanted = assign({region: weight for region, weight in regions.items() if region in here}, able)
    whole = _total(wanted.weights)
    want = {agent: _exact(weight) / whole for agent, weight in zip(wanted.agents, wanted.weights, strict=True)}
    weights = assignment.weights_now
    whole = _total(weights)  # once: for each of 1,000 agents it takes 17 s, and no agent is acknowledged meanwhile
    now: dict[str, Fraction] = {}
    for one, had in zip(assignment.agents, weights, strict=True):
        if one not in agents:
            now[one] = min(_exact(had) / whole, want.get(one, Fraction(0)))
    free, wishes = 1 - sum(now.values(), Fraction(0)), sum((want[agent] for agent in agents), Fraction(0))
    for agent in agents:
        now[agent] = free * want[agent] / wishes
    change = Reassigned(assignment.generation + 1, at_ns, _whole([now[one] for one in assignment.agents]))
    return replace(assignment, changes=(*assignment.changes, change))


def with_agent(assignment: Assignment, agent: str, region: str) -> Assignment:
    """Beside those that take part one more, which has no share yet."""
    return replace(
        assignment,
        agents=(*assignment.agents, agent),
        regions=(*assignment.regions, region),
        weights=(*assignment.weights, 0.0),
        changes=tuple(replace(change, weights=(*change.weights, 0.0)) for change in assignment.changes),
    )


def _total(weights: Sequence[float]) -> Fraction:
    return sum((_exact(weight) for weight in weights), Fraction(0))


def _part(weights: Sequence[float], index: int) -> float:
    return weights[index] / sum(weights) if index < len(weights) else 0.0


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
