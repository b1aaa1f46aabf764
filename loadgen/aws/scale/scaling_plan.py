"""Plans how a fleet grows: machines by region, whether the policy allows them, and the highest cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from loadgen.aws.account.fleetfile import FleetFile
from loadgen.aws.scale.groups import Group
from loadgen.errors import LoadgenError, UsageError

__all__ = ["Step", "Upward", "needed", "parse_scale", "plan_up", "spread"]


@dataclass(frozen=True, slots=True)
class Step:
    """The change of one region's group."""

    region: str
    there: int
    """Desired capacity now."""
    wanted: int
    """Desired capacity after the change."""
    usd_per_hour: float
    """Highest price of all its machines after the change."""

    @property
    def more(self) -> int:
        """The number of machines to add."""
        return self.wanted - self.there


@dataclass(frozen=True, slots=True)
class Upward:
    """A plan to grow a fleet."""

    steps: tuple[Step, ...]
    """The regions for which agents were requested."""
    others: tuple[Step, ...]
    """Other regions that already have machines; they do not change."""
    expires: datetime
    now: datetime

    @property
    def agents(self) -> int:
        """Agents in all regions after the change."""
        return sum(step.wanted for step in (*self.steps, *self.others))

    @property
    def wanted(self) -> int:
        """Agents in the requested regions after the change."""
        return sum(step.wanted for step in self.steps)

    @property
    def more(self) -> int:
        """Agents to add in the requested regions."""
        return sum(step.more for step in self.steps)

    @property
    def usd_per_hour(self) -> float:
        """Highest price of all machines of the fleet after the change."""
        return sum(step.usd_per_hour for step in (*self.steps, *self.others))

    @property
    def usd_at_most(self) -> float:
        """Highest cost of the fleet from now until it expires."""
        return self.usd_per_hour * (self.expires - self.now).total_seconds() / 3600


def parse_scale(text: str) -> int | dict[str, int]:
    """Parse a --scale option: a number of agents ("9"), or numbers by region ("eu-west-1=3,us-east-1=6").

    Raises:
        ValueError: the text has neither form.
    """
    if text.strip().isdecimal():
        return int(text)
    scale: dict[str, int] = {}
    for part in text.split(","):
        region, has_number, number = (piece.strip() for piece in part.partition("="))
        if not region or not has_number or not number.isdecimal():
            raise ValueError(f'invalid scale "{part.strip()}"; write 9, or eu-west-1=3,us-east-1=6')
        if region in scale:
            raise ValueError(f"{region} appears twice; write each region once")
        scale[region] = int(number)
    return scale


def spread(number: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Distribute `number` agents over regions in proportion to `weights`.

    Each region gets its exact part rounded down; the regions with the largest remainders get one more each. A region
    that gets nothing is in the result with 0. At least one weight must be above 0.
    """
    total = sum(weights.values())
    exact = {region: number * weight / total for region, weight in weights.items()}
    given = {region: int(part) for region, part in exact.items()}
    by_rest = sorted(exact, key=lambda region: (given[region] - exact[region], region))
    for region in by_rest[: number - sum(given.values())]:
        given[region] += 1
    return given


def plan_up(
    file: FleetFile, groups: Sequence[Group], wish: Mapping[str, int], now: datetime, ttl_s: float | None = None
) -> Upward:
    """Plan the growth of a fleet to at least `wish` agents in each region of `wish`. Other regions do not change.

    Args:
        groups: the groups of all regions of the file.
        ttl_s: lifetime of the fleet; None: the policy's. The plan never exceeds the file's `expires_at`.

    Raises:
        UsageError: the policy forbids it, or a region is unknown.
        ExceptionGroup: there are several such errors.
    """
    ttl = timedelta(seconds=file.policy.ttl_s if ttl_s is None else ttl_s)
    expires = min(now + ttl, file.expires) if file.expires is not None else now + ttl
    there = {group.region: group.desired for group in groups}
    steps: list[Step] = []
    others: list[Step] = []
    for region in file.regions:
        wanted = max(there.get(region, 0), wish.get(region, 0))
        if wanted:
            step = Step(region, there.get(region, 0), wanted, wanted * file.regions[region].dearest)
            (steps if wish.get(region) else others).append(step)
    plan = Upward(tuple(steps), tuple(others), expires, now)
    refused = [*_refusals(file, groups, wish, plan), *_too_long(file, ttl_s)]
    wrong: list[LoadgenError] = [UsageError(what, hint=hint) for what, hint in refused]
    if len(wrong) > 1:
        raise ExceptionGroup("several things are wrong", wrong)
    if wrong:
        raise wrong[0]
    return plan


def _refusals(
    file: FleetFile, groups: Sequence[Group], wish: Mapping[str, int], plan: Upward
) -> Iterator[tuple[str, str]]:
    by_region = {group.region: group for group in groups}
    for region, number in wish.items():
        if region not in file.regions:
            yield f"fleet {file.fleet} has no region {region}", f"use one of {', '.join(file.regions)}"
            continue
        group = by_region.get(region)
        most = min(file.regions[region].max_agents, file.regions[region].max_agents if group is None else group.most)
        if number > most:
            yield (
                f"{number} agents in {region}: at most {most} are allowed there",
                "request fewer agents, or raise max_agents of the region in Terraform",
            )
    if not any(wish.values()):
        yield (
            "0 agents were requested",
            "write 9, or eu-west-1=3,us-east-1=6; `loadgen fleet down` takes the fleet down",
        )
    policy = file.policy
    if plan.agents > policy.max_agents:
        yield (
            f"{plan.agents} agents: the fleet's policy allows {policy.max_agents}",
            "request fewer agents, or raise max_agents in Terraform",
        )
    if plan.usd_per_hour > policy.max_hourly_usd:
        yield (
            f"up to {plan.usd_per_hour:.2f} USD an hour: the fleet's policy allows {policy.max_hourly_usd:.2f}",
            "request fewer agents or smaller machines, or raise max_hourly_usd in Terraform",
        )
    for region in wish:
        if region in file.regions and (unpriced := file.regions[region].unpriced):
            yield (
                f"{region}: the price of {', '.join(unpriced)} is unknown",
                "add it to `prices` in Terraform, apply, and use the new fleet.json",
            )
    if plan.expires <= plan.now:
        when = plan.expires.strftime("%Y-%m-%d %H:%M UTC")
        yield f"the fleet expired at {when}", "set a later expires_at in Terraform, or use a longer --ttl"


def _too_long(file: FleetFile, ttl_s: float | None) -> Iterator[tuple[str, str]]:
    """Yield an error if the requested lifetime exceeds the policy's.

    Each machine ends itself after the policy's lifetime, and its group would then start a replacement.
    """
    most_s = file.policy.ttl_s
    if ttl_s is not None and ttl_s > most_s:
        yield (
            f"--ttl is {ttl_s / 3600:g} h: the fleet's policy allows {most_s / 3600:g} h",
            "use a shorter --ttl, or raise ttl_s in Terraform",
        )


def needed(wanted: int, min_share: float, least: int | None) -> int:
    """Return the number of agents that must register: `least` if given, else the policy's share of `wanted`.

    The result is never above `wanted`.
    """
    return min(wanted, ceil(wanted * min_share) if least is None else least)
