"""Completes the lifecycle hook of an instance that its Auto Scaling group is about to end.

The group waits at most 120 s for the hook (`names.LEAVE_HOOK`). An agent that has handed over its share completes the
hook, and the group ends the instance at once. Without that call, the group ends it after those 120 s.
"""

from __future__ import annotations

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import LEAVE_HOOK, group_name
from loadgen.aws.imds import Instance

__all__ = ["complete_leave_hook"]


def complete_leave_hook(clients: Clients, fleet: str, instance: Instance) -> None:
    """Let the Auto Scaling group end this instance now instead of after 120 s. Blocks.

    Raises:
        FleetError: the call to AWS fails.
    """
    with aws_errors(f"complete the lifecycle hook of {instance.id}"):
        clients.client("autoscaling", instance.region).complete_lifecycle_action(
            LifecycleHookName=LEAVE_HOOK,
            AutoScalingGroupName=group_name(fleet, instance.region),
            LifecycleActionResult="CONTINUE",
            InstanceId=instance.id,
        )
