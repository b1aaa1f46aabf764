"""Computes which agent drives which share of the load.

A plan gives each region a weight, and the agents of a region divide it by their own
weights. The result is one exact weight for each agent: rational numbers, scaled to
whole numbers, so that no share has a rounding error. For example, 0.6 over two agents
and 0.4 over one agent give the weights 3, 3 and 4.

While a run goes on, agents are lost, leave and join. Then new weights apply from a
given time on (`reassigned`, `joined`); they are the next generation of the shares.
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
"""Above this number a float cannot hold every whole number exactly."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that can take a share."""

    agent: str
    region: str
    weight: float = 1.0
    """Its capacity relative to the other agents of its region."""


@dataclass(frozen=True, slots=True)
class Reassigned:
    """A share change: the weights of all agents from `at_ns` on."""

    generation: int
    at_ns: int
    weights: tuple[float, ...]
    """One for each agent, in the order of `Assignment.agents`. A lost agent has 0, unless no one can take its share."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The agents of a run and their shares, at the start and after each share change.

    An agent's position is its index in all messages. The manifest stores the assignment, so that a run can be judged
    again later.
    """

    agents: tuple[str, ...]
    regions: tuple[str, ...]
    """The region of each agent."""
    weights: tuple[float, ...]
    """The weight of each agent at the start: whole numbers, not normalised. Late joiners have 0."""
    changes: tuple[Reassigned, ...] = ()
    """All share changes so far, in the order of generations."""

    @property
    def generation(self) -> int:
        """Return the number of the newest shares: 1 at the start, one more after each share change."""
        return self.changes[-1].generation if self.changes else 1

    @property
    def weights_now(self) -> tuple[float, ...]:
        """Return the weight of each agent in the newest shares, in the order of `agents`."""
        return self.changes[-1].weights if self.changes else self.weights

    def index(self, agent: str) -> int:
        """Return the agent's index in this run. Raises ValueError if the agent does not take part."""
        return self.agents.index(agent)

    def region(self, agent: str) -> str:
        """Return the agent's region. Raises ValueError if the agent does not take part."""
        return self.regions[self.index(agent)]

    def share(self, agent: str) -> float:
        """Return the largest share that the agent ever had, from 0 to 1."""
        return max(share for _, share in self._shares(agent))

    def first_share(self, agent: str) -> float:
        """Return the agent's share at the start, from 0 to 1.

        The agent keeps this share of loads that other agents cannot take over.
        """
        return _part(self.weights, self.index(agent))

    def first_agents(self) -> frozenset[str]:
        """Return the agents that have a share from the start; all others joined late."""
        return frozenset(agent for agent, weight in zip(self.agents, self.weights, strict=False) if weight)

    def tenures(self, agent: str, end_ns: int) -> tuple[tuple[int, int, float], ...]:
        """Return (start, end, share) for each period before `end_ns` in which the agent had a share, in order."""
        shares = self._shares(agent)
        ends = (*(start for start, _ in shares[1:]), end_ns)
        spans = ((start, min(end, end_ns), share) for (start, share), end in zip(shares, ends, strict=True))
        return tuple((start, end, share) for start, end, share in spans if share and start < end)

    def until_ns(self, agent: str) -> int | None:
        """Return when the agent's share went to other agents for the last time, in ns after T0.

        None if it has a share now, or never had one.
        """
        shares = self._shares(agent)
        had = [k for k, (_, share) in enumerate(shares) if share]
        return shares[had[-1] + 1][0] if had and had[-1] + 1 < len(shares) else None

    def part_of_region(self, agent: str, at_ns: int) -> float:
        """Return which part of its region's load the agent drives at `at_ns`, from 0 to 1."""
        weights = next((one.weights for one in reversed(self.changes) if one.at_ns <= at_ns), self.weights)
        region = self.region(agent)
        whole = sum(weight for one, weight in zip(self.regions, weights, strict=False) if one == region)
        return weights[self.index(agent)] / whole if whole and self.index(agent) < len(weights) else 0.0

    def _shares(self, agent: str) -> tuple[tuple[int, float], ...]:
        """Return (start time, share) for each generation, in order."""
        index = self.index(agent)
        return (
            (0, _part(self.weights, index)),
            *((change.at_ns, _part(change.weights, index)) for change in self.changes),
        )


def candidates(members: Iterable[Member]) -> tuple[Candidate, ...]:
    """Return registered agents as candidates for a share."""
    return tuple(Candidate(member.id, member.region, member.weight) for member in members)


def assign(regions: Mapping[str, float], fleet: Iterable[Candidate]) -> Assignment:
    """Divide the load over the fleet: over regions by their weights, and within a region by the agents' weights.

    Agents of other regions and agents with weight 0 do not take part. The agents are in the order of `regions`, then
    of their ids, so the same fleet gives the same assignment.

    Raises:
        FleetError: a region with a weight has no agent with a weight, or no region has a weight.
    """
    by_region: dict[str, list[Candidate]] = {region: [] for region, weight in regions.items() if weight > 0}
    for candidate in sorted(fleet, key=lambda c: c.agent):
        if candidate.region in by_region and candidate.weight > 0:
            by_region[candidate.region].append(candidate)
    if empty := [region for region, agents in by_region.items() if not agents]:
        raise FleetError(
            f"no agent in {', '.join(empty)}", hint="start an agent there, or leave the region out with --regions"
        )
    if not by_region:
        raise FleetError("no region has a weight above 0", hint="give one a weight, for example --regions eu=1")
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
    """Return the assignment with a share change: from `at_ns` on, the `drivers` also have the shares of all others.

    Agents in `held` keep theirs.

    A share goes to the drivers of the same region, in proportion to their weights. If that region has no driver left,
    it goes to all drivers.

    Raises:
        ValueError: no driver with a weight is left.
    """
    weights = assignment.weights_now
    parts = {agent: _exact(weight) for agent, weight in zip(assignment.agents, weights, strict=True)}
    kept = {agent: parts[agent] for agent in assignment.agents if agent in drivers and parts[agent]}
    if not kept:
        raise ValueError("no agent is left that could take over a share")
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
    """Return the assignment with a share change: from `at_ns` on, `agents` get a part of their regions' load.

    No other agent's share grows. So only the joining agents have to wait until all others have confirmed the change.

    Raises:
        FleetError: as in `assign`.
    """
    able = [candidate for candidate in fleet if candidate.weight > 0]
    here = {candidate.region for candidate in able}
    wanted = assign({region: weight for region, weight in regions.items() if region in here}, able)
    whole = _total(wanted.weights)
    want = {agent: _exact(weight) / whole for agent, weight in zip(wanted.agents, wanted.weights, strict=True)}
    weights = assignment.weights_now
    # Outside the loop: computing it for each of 1,000 agents took 17 s, and no delta was acknowledged meanwhile.
    whole = _total(weights)
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
    """Return the assignment with one more agent, which has no share yet; `joined` gives it one."""
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
    """Return the decimal number that the user wrote: 0.6 is 3/5, not the nearest float."""
    return Fraction(str(weight))


def _whole(parts: list[Fraction]) -> tuple[float, ...]:
    """Return the smallest whole numbers in the same proportion.

    If those would be too large, return `parts`, rounded.
    """
    scale = lcm(*(part.denominator for part in parts))
    numbers = [int(part * scale) for part in parts]
    common = gcd(*numbers)
    numbers = [number // common for number in numbers]
    if max(numbers) >= LARGEST:
        return tuple(float(part) for part in parts)
    return tuple(float(number) for number in numbers)
