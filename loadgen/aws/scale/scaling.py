"""How many machines are to be where, whether that is allowed, and what it costs at most. Pure."""

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
    """What is done to the group of one region."""

    region: str
    there: int
    wanted: int
    usd_per_hour: float
    """At most, of all its machines then."""

    @property
    def more(self) -> int:
        return self.wanted - self.there


@dataclass(frozen=True, slots=True)
class Upward:
    """A fleet that is to be brought up."""

    steps: tuple[Step, ...]
    """Of the regions that are named."""
    others: tuple[Step, ...]
    """Of those that are not, and have machines: they stay as they are."""
    expires: datetime
    now: datetime

    @property
    def agents(self) -> int:
        """Then, everywhere."""
        return sum(step.wanted for step in (*self.steps, *self.others))

    @property
    def wanted(self) -> int:
        return sum(step.wanted for step in self.steps)

    @property
    def more(self) -> int:
        return sum(step.more for step in self.steps)

    @property
    def usd_per_hour(self) -> float:
        return sum(step.usd_per_hour for step in (*self.steps, *self.others))

    @property
    def usd_at_most(self) -> float:
        """Until it expires."""
        return self.usd_per_hour * (self.expires - self.now).total_seconds() / 3600


def parse_scale(text: str) -> int | dict[str, int]:
    """ "9", or "eu-west-1=3,us-east-1=6".

    Raises:
        ValueError: it is neither.
    """
    if text.strip().isdecimal():
        return int(text)
    scale: dict[str, int] = {}
    for part in text.split(","):
        region, has_number, number = (piece.strip() for piece in part.partition("="))
        if not region or not has_number or not number.isdecimal():
            raise ValueError(f'"{part.strip()}" is no scale; write 9, or eu-west-1=3,us-east-1=6')
        if region in scale:
            raise ValueError(f"{region} is there twice")
        scale[region] = int(number)
    return scale


def spread(number: int, weights: Mapping[str, float]) -> dict[str, int]:
    """So many over the regions, by weight: each gets its part rounded down, the largest rests one more.

    Regions that get none are there with 0. weights: above 0 for at least one.
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
    """From what there is to what is wished: at least so many in each region named. Others stay as they are.

    Args:
        groups: of all regions of the file.
        ttl_s: for so long; None: as the policy says. Never beyond the fleet's own end.

    Raises:
        UsageError: it is not allowed; a group of them where it is so for several reasons.
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
            yield f"{region} is no region of fleet {file.fleet}", f"it has {', '.join(file.regions)}"
            continue
        group = by_region.get(region)
        most = min(file.regions[region].max_agents, file.regions[region].max_agents if group is None else group.most)
        if number > most:
            yield (
                f"{number} agents in {region}: at most {most} are allowed there",
                "max_agents of the region, in Terraform",
            )
    if not any(wish.values()):
        yield "no agent at all is wished", "as in 9, or eu-west-1=3,us-east-1=6; `loadgen fleet down` takes it down"
    policy = file.policy
    if plan.agents > policy.max_agents:
        yield f"{plan.agents} agents: the fleet's policy allows {policy.max_agents}", "max_agents, in Terraform"
    if plan.usd_per_hour > policy.max_hourly_usd:
        yield (
            f"up to {plan.usd_per_hour:.2f} USD an hour: the fleet's policy allows {policy.max_hourly_usd:.2f}",
            "fewer agents, smaller machines, or max_hourly_usd in Terraform",
        )
    for region in wish:
        if region in file.regions and (unpriced := file.regions[region].unpriced):
            yield (
                f"{region}: nobody knows here what {', '.join(unpriced)} costs",
                "`prices` in Terraform says it; then take its fleet.json anew",
            )
    if plan.expires <= plan.now:
        when = plan.expires.strftime("%Y-%m-%d %H:%M UTC")
        yield f"the fleet's time was over at {when}", "expires_at, in Terraform; or a --ttl that is longer"


def _too_long(file: FleetFile, ttl_s: float | None) -> Iterator[tuple[str, str]]:
    """Each machine ends itself after the policy's time, and its group would start another one in its place."""
    most_s = file.policy.ttl_s
    if ttl_s is not None and ttl_s > most_s:
        yield (
            f"{ttl_s / 3600:g} h: the fleet's policy allows {most_s / 3600:g} h",
            "a shorter --ttl, or ttl_s in Terraform",
        )


def needed(wanted: int, min_share: float, least: int | None) -> int:
    """How many have to come. least: as somebody said; else the policy's share."""
    return min(wanted, ceil(wanted * min_share) if least is None else least)
