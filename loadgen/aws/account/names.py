"""Names that Terraform, the command line and the machines share: tags, parameters, prefixes, ports, groups.

`deploy/terraform` contains the same names; a test compares both. `{fleet}` and the like are placeholders.
This module sends nothing to AWS.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

__all__ = [
    "CONTROLLER_ENDPOINT",
    "CONTROLLER_PUBLIC_KEY",
    "CONTROLLER_SECRET_KEY",
    "ENROLL",
    "EXPIRY_ACTION",
    "FLEET_NAME",
    "GROUP",
    "KILL",
    "LAUNCH_TEMPLATE",
    "LEAVE_HOOK",
    "LOCKS",
    "PARAMETERS",
    "PORT_API",
    "PORT_CONTROL",
    "PREFIXES",
    "RESULTS",
    "SECRET",
    "STARTUP",
    "TAGS",
    "TAG_BOOT",
    "TAG_COST_CENTER",
    "TAG_EXPIRES_AT",
    "TAG_FLEET",
    "TAG_OWNER",
    "TAG_PROJECT",
    "TAG_ROLE",
    "TAG_RUN",
    "WHEELHOUSE",
    "Boot",
    "Role",
    "group_name",
    "launch_template_name",
    "parameter",
]

FLEET_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
"""Valid fleet names: 3 to 32 characters that are allowed in the names of all AWS services used."""

# -- tags of every resource -----------------------------------------------------------------------
TAG_FLEET: Final = "loadgen:fleet"
TAG_ROLE: Final = "loadgen:role"
TAG_RUN: Final = "loadgen:run"
TAG_OWNER: Final = "loadgen:owner"
TAG_EXPIRES_AT: Final = "loadgen:expires-at"
"""RFC 3339, UTC: 2026-11-26T14:00:00Z."""
TAG_BOOT: Final = "loadgen:boot"
"""Each machine tags itself with the result of its start: a value of `Boot`."""
TAG_COST_CENTER: Final = "loadgen:cost-center"
TAG_PROJECT: Final = "loadgen:project"
TAGS: Final = (
    TAG_FLEET,
    TAG_ROLE,
    TAG_RUN,
    TAG_OWNER,
    TAG_EXPIRES_AT,
    TAG_BOOT,
    TAG_COST_CENTER,
    TAG_PROJECT,
)
"""All tags. Searches for machines use only the first three."""


class Role(StrEnum):
    """Values of TAG_ROLE."""

    AGENT = "agent"
    CONTROLLER = "controller"


class Boot(StrEnum):
    """Values of TAG_BOOT."""

    READY = "ready"
    FAILED = "failed"


# -- parameters of the Systems Manager ------------------------------------------------------------
CONTROLLER_ENDPOINT: Final = "/loadgen/{fleet}/agent/controller-endpoint"
CONTROLLER_PUBLIC_KEY: Final = "/loadgen/{fleet}/agent/controller-public-key"
KILL: Final = "/loadgen/{fleet}/agent/kill"
"""The kill flag: `no`, or `yes` and a reason, on which every agent stops immediately."""
CONTROLLER_SECRET_KEY: Final = "/loadgen/{fleet}/controller/secret-key"  # noqa: S105  # a name, not the secret
"""SecureString; only the controller's role reads it."""
SECRET: Final = "/loadgen/{fleet}/secrets/{name}"  # noqa: S105
"""SecureString: a scenario's secret."""
PARAMETERS: Final = (CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY, KILL, CONTROLLER_SECRET_KEY, SECRET)

# -- prefixes in the fleet's bucket ---------------------------------------------------------------
WHEELHOUSE: Final = "wheelhouse/"
"""wheelhouse/<sha256 of the lock file>/ contains requirements.txt and the wheels that it lists by hash."""
ENROLL: Final = "enroll/"
"""enroll/<aws:userid>: JSON with an agent's public key, written by the instance with this user id."""
RESULTS: Final = "results/"
"""results/<run>/: the run folders."""
STARTUP: Final = "bootstrap/"
LOCKS: Final = "locks/"
"""locks/fleet: names the process that is changing the fleet."""
PREFIXES: Final = (WHEELHOUSE, ENROLL, RESULTS, STARTUP, LOCKS)

# -- ports of the controller ----------------------------------------------------------------------
PORT_CONTROL: Final = 5557
"""CURVE; agents connect to it."""
PORT_API: Final = 5558
"""gRPC over TLS; clients connect to it."""

# -- groups ---------------------------------------------------------------------------------------
GROUP: Final = "loadgen-{fleet}-{region}-agents"
LAUNCH_TEMPLATE: Final = "loadgen-{fleet}-{region}-agent"
LEAVE_HOOK: Final = "loadgen-leave"
"""Lifecycle hook of a group: an agent has 120 s to hand over before its machine ends."""
EXPIRY_ACTION: Final = "loadgen-expiry"
"""Scheduled action of a group: AWS itself sets the group to 0 machines when the fleet's time ends."""


def group_name(fleet: str, region: str) -> str:
    """Return the name of the fleet's Auto Scaling group in a region."""
    return GROUP.format(fleet=fleet, region=region)


def launch_template_name(fleet: str, region: str) -> str:
    """Return the name of the fleet's launch template in a region."""
    return LAUNCH_TEMPLATE.format(fleet=fleet, region=region)


def parameter(template: str, fleet: str, name: str = "") -> str:
    """Fill in a template of PARAMETERS and return the parameter's path.

    name: the name of a scenario's secret, for the template SECRET.
    """
    return template.format(fleet=fleet, name=name)
