"""Finds the agent machines of a fleet by their tags `loadgen:fleet` and `loadgen:role`, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import TAG_FLEET, TAG_ROLE, Role
from loadgen.aws.scale.in_each_region import in_each
from loadgen.aws.scale.machine_states import Machine

__all__ = ["enabled_regions", "find_machines", "tags_of"]

_THERE: Final = ("pending", "running", "shutting-down", "stopping", "stopped")


def find_machines(clients: Clients, regions: Iterable[str], fleet: str = "") -> list[Machine]:
    """List the agent machines of a fleet in these regions, in every state except terminated.

    fleet: empty: the machines of all fleets.

    Raises:
        LoadgenError: a call to AWS fails.
        ExceptionGroup: calls fail in several regions.
    """
    found = in_each(regions, lambda region: _in_region(clients, region, fleet))
    return [machine for machines in found.values() for machine in machines]


def enabled_regions(clients: Clients, home: str) -> list[str]:
    """List the regions that are enabled in this account. home: an enabled region, to which the request is sent."""
    with aws_errors(f"list the regions from {home}"):
        answer = clients.client("ec2", home).describe_regions(AllRegions=False)
    return sorted(str(one["RegionName"]) for one in answer["Regions"])


def tags_of(listed: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Convert the tag list of an AWS answer ([{"Key", "Value"}]) to a dictionary."""
    return {str(one["Key"]): str(one.get("Value", "")) for one in listed}


def _in_region(clients: Clients, region: str, fleet: str) -> list[Machine]:
    wanted = {f"tag:{TAG_ROLE}": [Role.AGENT.value], "instance-state-name": list(_THERE)}
    if fleet:
        wanted[f"tag:{TAG_FLEET}"] = [fleet]
    else:
        wanted["tag-key"] = [TAG_FLEET]
    filters = [{"Name": name, "Values": values} for name, values in wanted.items()]
    with aws_errors(f"list the machines in {region}"):
        pages = clients.client("ec2", region).get_paginator("describe_instances").paginate(Filters=filters)
        return [_machine(one, region) for one in _instances(pages)]


def _instances(pages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for page in pages:
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _machine(one: dict[str, Any], region: str) -> Machine:
    tags = tags_of(one.get("Tags", ()))
    return Machine(
        id=str(one["InstanceId"]),
        region=region,
        kind=str(one.get("InstanceType", "")),
        state=str(one["State"]["Name"]),
        launched_at=one["LaunchTime"],
        group=tags.get("aws:autoscaling:groupName", ""),
        zone=str(one.get("Placement", {}).get("AvailabilityZone", "")),
        is_spot=one.get("InstanceLifecycle") == "spot",
        tags=tags,
    )
