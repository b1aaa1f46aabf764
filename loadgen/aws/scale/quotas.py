"""Whether the account may have the machines that are wished, asked before the first of them starts.

EC2's quotas are of vCPUs, by region: one for all that is bought on demand, one for spot, each over all of the
account, so that what others run there counts. A group that may start several types may take the small ones:
what does not fit even then is refused, what fits only then is told. New quotas of an account may be 0.

Only the quotas of the families A, C, D, H, I, M, R, T and Z are known here. Where one cannot be asked (no
permission, another family) that is told, and AWS says it when the machines are to start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.fleet_context import Site
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.regions import in_each
from loadgen.aws.scale.scaling import Step, Upward
from loadgen.errors import CloudError, LoadgenError, QuotaReached

__all__ = ["Room", "check_quotas"]

_CODES: Final = {False: "L-1216C47A", True: "L-34B43A08"}
"""Of Service Quotas, for standard families: on demand, spot."""
_STANDARD: Final = re.compile(r"(?:[acdhimrtz]|im|is)\d")
_MOST_TYPES: Final = 100
"""Of one question."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a region has left of one quota, beside what is wished of it. All in vCPUs."""

    region: str
    is_spot: bool
    least: int
    """So many more, if only the smallest of the group's types are started."""
    most: int
    """If only the largest are."""
    smallest: int
    """Of one machine."""
    used: int
    quota: int

    @property
    def free(self) -> int:
        return max(0, self.quota - self.used)

    @property
    def lacking(self) -> int:
        """Agents that cannot come, whichever types are started."""
        return ceil(max(0, self.least - self.free) / self.smallest)

    @property
    def bought(self) -> str:
        return "as spot" if self.is_spot else "on demand"

    @property
    def hint(self) -> str:
        code = _CODES[self.is_spot]
        return f"have quota {code} of EC2 raised there (Service Quotas), or ask for fewer agents"

    def __str__(self) -> str:
        takes = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return (
            f"{self.region} takes {takes} more vCPUs {self.bought},"
            f" and {self.free} of the account's {self.quota} are free there"
        )


def check_quotas(site: Site, plan: Upward, groups: Sequence[Group], least: int) -> list[Room]:
    """Ask how much room there is, in all regions that are to have more machines. Changes nothing.

    Args:
        least: agents that have to come; where so many can, what lacks is only told.

    Raises:
        QuotaReached: the account cannot have them; a group where several quotas are too small.
        CredentialsError: there are none, they are over or wrong.
    """
    by_region = {group.region: group for group in groups}
    steps = {step.region: step for step in plan.steps if step.more > 0}
    asked = in_each(steps, lambda region: _asked(site, steps[region], by_region[region]))
    for region, found in asked.items():
        if isinstance(found, str):
            site.warn(f"whether the account's quota has room in {region} is not known: {found}")
    rooms = [room for found in asked.values() if not isinstance(found, str) for room in found]
    lacking = sum(room.lacking for room in rooms)
    if lacking and plan.wanted - lacking < least:
        wrong: list[LoadgenError] = [QuotaReached(str(room), hint=room.hint) for room in rooms if room.lacking]
        raise wrong[0] if len(wrong) == 1 else ExceptionGroup("several things are wrong", wrong)
    for room in rooms:
        if room.lacking:
            site.warn(f"{room}: {room.lacking} agents cannot come")
        elif room.most > room.free:
            site.warn(f"{room}: with the larger types of the group not all agents can come")
    return rooms


def _asked(site: Site, step: Step, group: Group) -> list[Room] | str:
    """Or why nobody knows. What may not be asked is no reason to start nothing."""
    kinds = site.file.regions[step.region].instance_types
    if strange := [kind for kind in kinds if not _STANDARD.match(kind)]:
        return f"which quota {', '.join(strange)} are of is not known here"
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
    """(type, is spot) of each machine of the account, whoever it is of."""
    filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    with told(f"count the machines in {region}"):
        pages = clients.client("ec2", region).get_paginator("describe_instances").paginate(Filters=filters)
        return [
            (str(one["InstanceType"]), one.get("InstanceLifecycle") == "spot")
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        ]


def _vcpus(clients: Clients, region: str, kinds: Iterable[str]) -> Mapping[str, int]:
    """By type."""
    wanted, found = sorted(set(kinds)), dict[str, int]()
    for begin in range(0, len(wanted), _MOST_TYPES):
        with told(f"ask how large {', '.join(wanted[begin : begin + 3])} are in {region}"):
            answer: dict[str, Any] = clients.client("ec2", region).describe_instance_types(
                InstanceTypes=wanted[begin : begin + _MOST_TYPES]
            )
        found |= {str(one["InstanceType"]): int(one["VCpuInfo"]["DefaultVCpus"]) for one in answer["InstanceTypes"]}
    return found


def _quota(clients: Clients, region: str, code: str) -> int:
    with told(f"ask for quota {code} in {region}"):
        answer = clients.client("service-quotas", region).get_service_quota(ServiceCode="ec2", QuotaCode=code)
    return int(answer["Quota"]["Value"])
