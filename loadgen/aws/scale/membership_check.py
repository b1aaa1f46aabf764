"""Checks with EC2 which instances are running agents of a fleet, because an instance's own claim proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import TAG_FLEET, TAG_ROLE, Role

__all__ = ["living"]

_AT_ONCE: Final = 200
"""EC2's limit on the values of one filter."""


def living(clients: Clients, region: str, fleet: str, instances: Iterable[str]) -> set[str]:
    """Return those of the given instance ids that are pending or running and tagged as agents of this fleet. Blocks.

    Raises:
        FleetError: a call to AWS fails.
        UsageError: the region does not exist.
    """
    wanted, found = sorted(set(instances)), set[str]()
    pages = clients.client("ec2", region).get_paginator("describe_instances")
    for first in range(0, len(wanted), _AT_ONCE):
        filters = {
            # A filter, not the argument InstanceIds: with that, one ended instance makes the whole call fail.
            "instance-id": wanted[first : first + _AT_ONCE],
            "instance-state-name": ["pending", "running"],
            f"tag:{TAG_FLEET}": [fleet],
            f"tag:{TAG_ROLE}": [Role.AGENT.value],
        }
        with aws_errors(f"list the agents of {fleet} in {region}"):
            for page in pages.paginate(Filters=[{"Name": name, "Values": values} for name, values in filters.items()]):
                for reservation in page["Reservations"]:
                    found |= {str(one["InstanceId"]) for one in reservation["Instances"]}
    return found
