"""Reads and changes the fleet's Auto Scaling groups. A fleet has one group in each region.

Each function is one operation on AWS. The callers write the changes to the audit log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import EXPIRY_ACTION, TAG_FLEET, TAG_OWNER, TAG_ROLE, Role
from loadgen.aws.scale.discovery import tags_of
from loadgen.aws.scale.start_failures import Reason, reason_of

__all__ = [
    "Group",
    "failures_since",
    "groups_of",
    "label",
    "read_group",
    "set_desired",
    "set_expiry",
    "terminate",
    "unprotect",
    "unset_expiry",
]

_RECENT: Final = 50
"""The number of a group's latest activities that are checked for start failures."""
_PROTECTED_AT_ONCE: Final = 50
"""AWS's limit on machines in one call of SetInstanceProtection."""


@dataclass(frozen=True, slots=True)
class Group:
    """An Auto Scaling group, as AWS describes it.

    desired, most, least: its desired, maximum and minimum number of machines.
    """

    name: str
    region: str
    desired: int
    most: int
    least: int
    is_protecting: bool
    """New machines are protected from scale-in, so the expiry would not end them."""
    machines: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    on_demand_base: int = 0
    """The first machines, up to this number, are on demand."""
    on_demand_percent: int = 100
    """The percentage of on-demand machines above `on_demand_base`; the others are spot."""

    def on_demand(self, number: int) -> int:
        """Return how many of `number` machines are on demand. AWS rounds up."""
        base = min(number, self.on_demand_base)
        return base + ceil((number - base) * self.on_demand_percent / 100)

    @property
    def fleet(self) -> str:
        return self.tags.get(TAG_FLEET, "")

    @property
    def owner(self) -> str:
        return self.tags.get(TAG_OWNER, "")


def read_group(clients: Clients, region: str, name: str) -> Group | None:
    """Read the group of this name, or return None if it does not exist."""
    with aws_errors(f"read group {name} in {region}"):
        answer = clients.client("autoscaling", region).describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    found = answer["AutoScalingGroups"]
    return _group(found[0], region) if found else None


def groups_of(clients: Clients, region: str) -> list[Group]:
    """List the groups in this region that have the tags of a fleet's agents, of any fleet."""
    filters = [{"Name": f"tag:{TAG_ROLE}", "Values": [Role.AGENT.value]}, {"Name": "tag-key", "Values": [TAG_FLEET]}]
    with aws_errors(f"list the groups in {region}"):
        pages = clients.client("autoscaling", region).get_paginator("describe_auto_scaling_groups")
        found = [one for page in pages.paginate(Filters=filters) for one in page["AutoScalingGroups"]]
    return [group for one in found if (group := _group(one, region)).fleet]


def failures_since(clients: Clients, group: Group, since: datetime) -> list[Reason]:
    """Return why the group could not start machines since a time, newest first."""
    with aws_errors(f"read the activities of group {group.name} in {group.region}"):
        answer = clients.client("autoscaling", group.region).describe_scaling_activities(
            AutoScalingGroupName=group.name, MaxRecords=_RECENT
        )
    return [
        reason_of(str(one.get("StatusMessage", "")))
        for one in answer["Activities"]
        if one["StatusCode"] in ("Failed", "Cancelled") and one["StartTime"] >= since
    ]


def set_desired(clients: Clients, group: Group, desired: int) -> None:
    """Set the group's number of machines. AWS starts or ends machines to match it."""
    with aws_errors(f"set {group.name} in {group.region} to {desired}"):
        clients.client("autoscaling", group.region).set_desired_capacity(
            AutoScalingGroupName=group.name, DesiredCapacity=desired, HonorCooldown=False
        )


def set_expiry(clients: Clients, group: Group, at: datetime) -> None:
    """Schedule that AWS sets the group to 0 machines at this time. Replaces an earlier schedule."""
    with aws_errors(f"set the expiry of {group.name} in {group.region}"):
        clients.client("autoscaling", group.region).put_scheduled_update_group_action(
            AutoScalingGroupName=group.name,
            ScheduledActionName=EXPIRY_ACTION,
            StartTime=at,
            MinSize=0,
            DesiredCapacity=0,
        )


def unset_expiry(clients: Clients, group: Group) -> None:
    """Remove the scheduled expiry of a group, if it has one."""
    client = clients.client("autoscaling", group.region)
    with aws_errors(f"remove the expiry of {group.name} in {group.region}"):
        there = client.describe_scheduled_actions(AutoScalingGroupName=group.name, ScheduledActionNames=[EXPIRY_ACTION])
        if there["ScheduledUpdateGroupActions"]:
            client.delete_scheduled_action(AutoScalingGroupName=group.name, ScheduledActionName=EXPIRY_ACTION)


def unprotect(clients: Clients, group: Group) -> None:
    """Remove the scale-in protection of the group and its machines.

    With protection, the expiry would lower the group's desired number but leave the machines running.
    """
    client = clients.client("autoscaling", group.region)
    with aws_errors(f"let {group.name} in {group.region} end its machines"):
        client.update_auto_scaling_group(AutoScalingGroupName=group.name, NewInstancesProtectedFromScaleIn=False)
        for first in range(0, len(group.machines), _PROTECTED_AT_ONCE):
            client.set_instance_protection(
                AutoScalingGroupName=group.name,
                InstanceIds=list(group.machines[first : first + _PROTECTED_AT_ONCE]),
                ProtectedFromScaleIn=False,
            )


def label(clients: Clients, group: Group, tags: Mapping[str, str]) -> None:
    """Set tags of the group. Machines that it starts from now on get them too."""
    with aws_errors(f"label {group.name} in {group.region}"):
        clients.client("autoscaling", group.region).create_or_update_tags(
            Tags=[
                {
                    "ResourceId": group.name,
                    "ResourceType": "auto-scaling-group",
                    "Key": key,
                    "Value": value,
                    "PropagateAtLaunch": True,
                }
                for key, value in tags.items()
            ]
        )


def terminate(clients: Clients, region: str, machine: str) -> None:
    """End one machine of a group and lower the group's desired number by one.

    AWS notifies the machine first, so its agent can hand over. A machine that has already ended is not an error.
    """
    client = clients.client("autoscaling", region)
    with aws_errors(f"end {machine} in {region}"):
        try:
            client.terminate_instance_in_auto_scaling_group(InstanceId=machine, ShouldDecrementDesiredCapacity=True)
        except client.exceptions.ClientError as error:
            said = error.response.get("Error", {})
            # AWS has no code of its own for a machine that is gone, so the text decides.
            if said.get("Code") != "ValidationError" or "not found" not in str(said.get("Message")):
                raise


def _group(one: dict[str, Any], region: str) -> Group:
    mix = one.get("MixedInstancesPolicy", {}).get("InstancesDistribution", {})
    return Group(
        name=str(one["AutoScalingGroupName"]),
        region=region,
        desired=int(one["DesiredCapacity"]),
        most=int(one["MaxSize"]),
        least=int(one["MinSize"]),
        is_protecting=bool(one.get("NewInstancesProtectedFromScaleIn", False)),
        machines=tuple(
            str(each["InstanceId"])
            for each in one["Instances"]
            if not str(each["LifecycleState"]).startswith("Terminat")
        ),
        tags=tags_of(one.get("Tags", ())),
        on_demand_base=int(mix.get("OnDemandBaseCapacity", 0)),
        on_demand_percent=int(mix.get("OnDemandPercentageAboveBaseCapacity", 100)),
    )
