"""Tells an Auto Scaling group that an instance which it is about to end has nothing more to do.

The group waits for its lifecycle hook (`names.LEAVE_HOOK`), at most 120 s; whoever has handed over says
so and is ended at once. Where it is not said, or may not be, the group ends it when that time is over.
"""

from __future__ import annotations

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.names import LEAVE_HOOK, group_name
from loadgen.aws.imds import Instance

__all__ = ["let_go"]


def let_go(clients: Clients, fleet: str, instance: Instance) -> None:
    """Blocking.

    Raises:
        FleetError: AWS refuses, or is not there.
    """
    with told(f"complete the lifecycle hook of {instance.id}"):
        clients.client("autoscaling", instance.region).complete_lifecycle_action(
            LifecycleHookName=LEAVE_HOOK,
            AutoScalingGroupName=group_name(fleet, instance.region),
            LifecycleActionResult="CONTINUE",
            InstanceId=instance.id,
        )
