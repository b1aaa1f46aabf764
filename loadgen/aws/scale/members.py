"""Which instances are agents of a fleet, alive: asked of EC2, which knows, and not of the instances, which say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.names import TAG_FLEET, TAG_ROLE, Role

__all__ = ["living"]

_AT_ONCE: Final = 200
"""Values of one filter, says EC2."""


def living(clients: Clients, region: str, fleet: str, instances: Iterable[str]) -> set[str]:
    """Those of the instances that are starting or running, with the tags of an agent of this fleet. Blocking.

    Raises:
        FleetError: AWS refuses, or is not there.
        UsageError: there is no such region.
    """
    wanted, found = sorted(set(instances)), set[str]()
    pages = clients.client("ec2", region).get_paginator("describe_instances")
    for first in range(0, len(wanted), _AT_ONCE):
        filters = {
            "instance-id": wanted[first : first + _AT_ONCE],  # as a filter: one that is gone is no error
            "instance-state-name": ["pending", "running"],
            f"tag:{TAG_FLEET}": [fleet],
            f"tag:{TAG_ROLE}": [Role.AGENT.value],
        }
        with told(f"look for the agents of {fleet} in {region}"):
            for page in pages.paginate(Filters=[{"Name": name, "Values": values} for name, values in filters.items()]):
                for reservation in page["Reservations"]:
                    found |= {str(one["InstanceId"]) for one in reservation["Instances"]}
    return found
