"""Finds the leftover machines and groups of a fleet in all regions of the account, and ends them.

A leftover machine may be in a region that was removed from the fleet, or outside any Auto Scaling group. Only machines
and groups with the tags of this fleet and its owner are ended; controllers never are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from loadgen.aws.account.boto_clients import aws_errors
from loadgen.aws.account.fleet_context import Site
from loadgen.aws.account.fleetfile import parse_instant
from loadgen.aws.account.names import TAG_EXPIRES_AT
from loadgen.aws.scale import groups as aws
from loadgen.aws.scale.discovery import enabled_regions, find_machines
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.in_each_region import in_each
from loadgen.aws.scale.machine_states import Machine
from loadgen.aws.scale.scale_up import end_machine

__all__ = ["Left", "find_left", "is_overdue", "reap"]


@dataclass(frozen=True, slots=True)
class Left:
    """The leftovers of a fleet, to be ended."""

    machines: tuple[Machine, ...]
    groups: tuple[Group, ...]
    """Groups whose desired capacity is above 0."""
    regions: int
    """The number of regions that were searched."""
    others: int
    """The number of machines of this fleet that are not leftovers: their time has not ended."""

    @property
    def is_nothing(self) -> bool:
        return not self.machines and not self.groups


def is_overdue(expires_at: str, now: datetime) -> bool:
    """Whether the time in an expires-at tag has passed. False if the tag is missing or not a time."""
    try:
        return parse_instant(expires_at) <= now
    except ValueError:
        return False


def find_left(site: Site, *, is_all: bool = False) -> Left:
    """Find the fleet's leftovers in all enabled regions. Changes nothing.

    Args:
        is_all: also return machines and groups whose time has not ended.

    Raises:
        LoadgenError: a call to AWS fails.
    """
    regions = enabled_regions(site.clients, site.file.controller.region or site.file.bucket_region)
    now = site.now()
    machines = [one for one in find_machines(site.clients, regions, site.fleet) if _is_ours(site, one.fleet, one.owner)]
    machines = [one for one in machines if not one.is_going]
    due = [one for one in machines if is_all or is_overdue(one.expires_at, now)]
    found = in_each(regions, lambda region: aws.groups_of(site.clients, region))
    groups = [one for each in found.values() for one in each if _is_ours(site, one.fleet, one.owner) and one.desired]
    due_groups = [one for one in groups if is_all or is_overdue(one.tags.get(TAG_EXPIRES_AT, ""), now)]
    return Left(tuple(due), tuple(due_groups), len(regions), len(machines) - len(due))


def reap(site: Site, left: Left) -> None:
    """Terminate these machines and set these groups to 0.

    Raises:
        LoadgenError: a call to AWS fails.
        ExceptionGroup: calls fail in several regions.
    """
    in_each(_regions_of(left), lambda region: _in_region(site, left, region))


def _in_region(site: Site, left: Left, region: str) -> None:
    machines = [one for one in left.machines if one.region == region]
    for machine in (one for one in machines if one.group):
        end_machine(site, region, machine.id)
    strays = [one.id for one in machines if not one.group]
    if strays:
        with site.audit.of("terminate strays", region=region, machines=strays), aws_errors(f"end strays in {region}"):
            site.clients.client("ec2", region).terminate_instances(InstanceIds=strays)
    for group in (one for one in left.groups if one.region == region):
        with site.audit.of("set desired", region=region, group=group.name, before=group.desired, after=0):
            aws.set_desired(site.clients, group, 0)


def _regions_of(left: Left) -> Iterable[str]:
    return sorted({one.region for one in left.machines} | {one.region for one in left.groups})


def _is_ours(site: Site, fleet: str, owner: str) -> bool:
    return fleet == site.fleet and owner == site.file.owner
