"""Why AWS did not start a machine, out of what a group's activities say. Pure.

What they say is prose, and has ids and requests in it; told is only what kind it is.
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
    """kind: of error. text: to stand after "eu-west-1:"."""

    kind: type[CloudError]
    text: str
    is_lasting: bool
    """Waiting does not help."""


_OTHER: Final = Reason(CloudError, "a machine could not be started", False)
_KNOWN: Final = (
    (
        r"vcpu (?:capacity|limit)|VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded|LimitExceeded",
        Reason(QuotaReached, "the account's quota of machines there is reached", True),
    ),
    (
        r"InsufficientInstanceCapacity|UnfulfillableCapacity|sufficient capacity|do not have sufficient|"
        r"no Spot capacity|SpotMaxPriceTooLow",
        Reason(NoCapacity, "AWS has no such machines there just now", False),
    ),
    (
        r"UnauthorizedOperation|AccessDenied|not authorized",
        Reason(CloudDenied, "the group may not start machines", True),
    ),
    (
        r"InvalidAMIID|image id .* does not exist|InvalidSubnetID|InvalidGroup|InvalidLaunchTemplate",
        Reason(CloudError, "its launch template names what is not there", True),
    ),
)


def reason_of(message: str) -> Reason:
    """Of one activity that failed."""
    for pattern, reason in _KNOWN:
        if re.search(pattern, message, re.IGNORECASE):
            return reason
    return _OTHER


def main_reason(reasons: Iterable[Reason]) -> Reason | None:
    """The first that says something, else any."""
    found = list(reasons)
    return next((one for one in found if one is not _OTHER), found[0] if found else None)
