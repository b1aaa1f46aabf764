"""Checks the account's EC2 quotas before any machine of a fleet starts.

EC2 limits vCPUs by region: one quota for on-demand machines and one for spot. Each covers the whole account, so other
teams' machines count. A group with several instance types may start only small ones. A request that exceeds the quota
even with the smallest type is rejected; a request that fits only with small types causes a warning. A new account may
have a quota of 0.

Only the quotas of the families A, C, D, H, I, M, R, T and Z are known here. If a quota cannot be read (no permission,
another family), a warning is printed; AWS then reports a shortage when the machines start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.fleet_context import Site
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.in_each_region import in_each
from loadgen.aws.scale.scaling_plan import Step, Upward
from loadgen.errors import CloudError, LoadgenError, QuotaReached

__all__ = ["Room", "check_quotas"]

_CODES: Final = {False: "L-1216C47A", True: "L-34B43A08"}
"""Quota codes of the standard families, by whether the machines are spot."""
# Both quotas are for "Standard (A, C, D, H, I, M, R, T, Z) instances"; other families have quotas of their own.
_STANDARD: Final = re.compile(r"(?:[acdhimrtz]|im|is)\d")
_MOST_TYPES: Final = 100
"""EC2's limit on instance types in one request."""


@dataclass(frozen=True, slots=True)
class Room:
    """One vCPU quota in one region, and the vCPUs that the requested machines need."""

    region: str
    is_spot: bool
    least: int
    """vCPUs needed if the group starts only its smallest type."""
    most: int
    """vCPUs needed if the group starts only its largest type."""
    smallest: int
    """vCPUs of one machine of the smallest type."""
    used: int
    """vCPUs that the account uses now."""
    quota: int

    @property
    def free(self) -> int:
        """vCPUs that the quota leaves, at least 0."""
        return max(0, self.quota - self.used)

    @property
    def lacking(self) -> int:
        """Agents that cannot start even if the group starts only its smallest type."""
        return ceil(max(0, self.least - self.free) / self.smallest)

    @property
    def hint(self) -> str:
        """Advice for the error that `__str__` describes."""
        code = _CODES[self.is_spot]
        return f"ask AWS to raise EC2 quota {code} in this region (Service Quotas), or request fewer agents"

    def __str__(self) -> str:
        needs = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        kind = "spot" if self.is_spot else "on-demand"
        return (
            f"{self.region} needs {needs} more {kind} vCPUs,"
            f" and {self.free} of the account's {self.quota} are free there"
        )


def check_quotas(site: Site, plan: Upward, groups: Sequence[Group], least: int) -> list[Room]:
    """Compare the plan with the account's quotas in all regions that get more machines. Changes nothing.

    Prints a warning for each quota that is too small for a part of the agents, or that cannot be read.

    Args:
        least: the smallest acceptable number of agents. Only if fewer can start, an error is raised.

    Raises:
        QuotaReached: fewer than `least` agents can start.
        ExceptionGroup: the same, because of several quotas.
        CredentialsError: the credentials are missing, wrong or expired.
    """
    by_region = {group.region: group for group in groups}
    steps = {step.region: step for step in plan.steps if step.more > 0}
    asked = in_each(steps, lambda region: _asked(site, steps[region], by_region[region]))
    for region, found in asked.items():
        if isinstance(found, str):
            site.warn(f"cannot check the account's quota in {region}: {found}")
    rooms = [room for found in asked.values() if not isinstance(found, str) for room in found]
    lacking = sum(room.lacking for room in rooms)
    if lacking and plan.wanted - lacking < least:
        wrong: list[LoadgenError] = [QuotaReached(str(room), hint=room.hint) for room in rooms if room.lacking]
        raise wrong[0] if len(wrong) == 1 else ExceptionGroup("several things are wrong", wrong)
    for room in rooms:
        if room.lacking:
            site.warn(f"{room}: {room.lacking} agents cannot start")
        elif room.most > room.free:
            site.warn(f"{room}: not all agents can start if the group uses its larger instance types")
    return rooms


def _asked(site: Site, step: Step, group: Group) -> list[Room] | str:
    """Read the quotas of one region, or return the reason why they are unknown.

    An unreadable quota is not an error: the permission to read quotas is optional.
    """
    kinds = site.file.regions[step.region].instance_types
    if strange := [kind for kind in kinds if not _STANDARD.match(kind)]:
        return f"the quota of {', '.join(strange)} is unknown"
    try:
        return _rooms(site.clients, step, group, kinds)
    except CloudError as error:
        return error.message


def _rooms(clients: Clients, step: Step, group: Group, kinds: Sequence[str]) -> list[Room]:
    more_on_demand = group.on_demand(step.wanted) - group.on_demand(step.there)
    more = {False: more_on_demand, True: step.more - more_on_demand}
    running = _running(clients, step.region)
    sizes = _vcpus(clients, step.region, {*kinds, *(kind for kind, _ in running if _STANDARD.match(kind))})
    small, large = (pick(sizes[kind] for kind in kinds) for pick in (min, max))
    return [
        Room(
            step.region,
            is_spot,
            number * small,
            number * large,
            small,
            sum(sizes[kind] for kind, as_spot in running if as_spot is is_spot and kind in sizes),
            _quota(clients, step.region, _CODES[is_spot]),
        )
        for is_spot, number in more.items()
        if number > 0
    ]


def _running(clients: Clients, region: str) -> list[tuple[str, bool]]:
    """List (instance type, is spot) of every machine of the account in this region."""
    filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    with aws_errors(f"count the machines in {region}"):
        pages = clients.client("ec2", region).get_paginator("describe_instances").paginate(Filters=filters)
        return [
            (str(one["InstanceType"]), one.get("InstanceLifecycle") == "spot")
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        ]


def _vcpus(clients: Clients, region: str, kinds: Iterable[str]) -> Mapping[str, int]:
    """Return the vCPUs of each instance type."""
    wanted, found = sorted(set(kinds)), dict[str, int]()
    for begin in range(0, len(wanted), _MOST_TYPES):
        with aws_errors(f"read the sizes of {', '.join(wanted[begin : begin + 3])} in {region}"):
            answer: dict[str, Any] = clients.client("ec2", region).describe_instance_types(
                InstanceTypes=wanted[begin : begin + _MOST_TYPES]
            )
        found |= {str(one["InstanceType"]): int(one["VCpuInfo"]["DefaultVCpus"]) for one in answer["InstanceTypes"]}
    return found


def _quota(clients: Clients, region: str, code: str) -> int:
    with aws_errors(f"read quota {code} in {region}"):
        answer = clients.client("service-quotas", region).get_service_quota(ServiceCode="ec2", QuotaCode=code)
    return int(answer["Quota"]["Value"])
