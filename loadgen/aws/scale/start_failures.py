"""Classifies the messages of an Auto Scaling group that say why a machine did not start. Pure.

The messages are prose and contain ids and parts of requests, so only their kind is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.errors import CloudDenied, CloudError, NoCapacity, QuotaReached

__all__ = ["Reason", "main_reason", "reason_of"]


@dataclass(frozen=True, slots=True)
class Reason:
    """A kind of start failure.

    kind: the error class to raise. text: a description that follows the region: "eu-west-1: TEXT".
    """

    kind: type[CloudError]
    text: str
    is_lasting: bool
    """Waiting does not help."""


_OTHER: Final = Reason(CloudError, "a machine could not be started", False)
_KNOWN: Final = (
    (
        r"vcpu (?:capacity|limit)|VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded|LimitExceeded",
        Reason(QuotaReached, "the account's quota of machines is reached in this region", True),
    ),
    (
        r"InsufficientInstanceCapacity|UnfulfillableCapacity|sufficient capacity|do not have sufficient|"
        r"no Spot capacity|SpotMaxPriceTooLow",
        Reason(NoCapacity, "AWS has no capacity for these machines now", False),
    ),
    (
        r"UnauthorizedOperation|AccessDenied|not authorized",
        Reason(CloudDenied, "the Auto Scaling group lacks the permission to start machines", True),
    ),
    (
        r"InvalidAMIID|image id .* does not exist|InvalidSubnetID|InvalidGroup|InvalidLaunchTemplate",
        Reason(CloudError, "the launch template refers to an image, subnet or group that does not exist", True),
    ),
)


def reason_of(message: str) -> Reason:
    """Classify the message of one failed activity."""
    for pattern, reason in _KNOWN:
        if re.search(pattern, message, re.IGNORECASE):
            return reason
    return _OTHER


def main_reason(reasons: Iterable[Reason]) -> Reason | None:
    """Return the first reason of a known kind, else the first one, or None if there are no reasons."""
    found = list(reasons)
    return next((one for one in found if one is not _OTHER), found[0] if found else None)
