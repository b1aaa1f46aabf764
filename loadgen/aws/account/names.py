"""Every name that Terraform, the command line and the machines share: tags, parameters, prefixes, ports, groups.

`deploy/terraform` writes the same names in its own language; a test reads both and compares.
`{fleet}` and the like stand where a value belongs. Nothing here talks to AWS.
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
"""A fleet's name is part of names in all services: 3 to 32 of these."""

# -- tags of every resource -----------------------------------------------------------------------
TAG_FLEET: Final = "loadgen:fleet"
TAG_ROLE: Final = "loadgen:role"
TAG_RUN: Final = "loadgen:run"
TAG_OWNER: Final = "loadgen:owner"
TAG_EXPIRES_AT: Final = "loadgen:expires-at"
"""RFC 3339, UTC: 2026-11-26T14:00:00Z."""
TAG_BOOT: Final = "loadgen:boot"
"""Set by a machine of itself: how its start ended."""
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
"""Who looks for machines goes by the first three only."""


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
"""`no`, or `yes` and a reason: every agent stops at once."""
CONTROLLER_SECRET_KEY: Final = "/loadgen/{fleet}/controller/secret-key"  # noqa: S105  # where it is
"""SecureString; only the controller's role reads it."""
SECRET: Final = "/loadgen/{fleet}/secrets/{name}"  # noqa: S105
"""SecureString: a scenario's secret."""
PARAMETERS: Final = (CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY, KILL, CONTROLLER_SECRET_KEY, SECRET)

# -- what is where in the bucket ------------------------------------------------------------------
WHEELHOUSE: Final = "wheelhouse/"
"""wheelhouse/<sha256 of the lock>/, with requirements.txt and the wheels that it names by hash."""
ENROLL: Final = "enroll/"
"""enroll/<aws:userid>: JSON of an agent's public key, written by the instance that has this id."""
RESULTS: Final = "results/"
"""results/<run>/"""
STARTUP: Final = "bootstrap/"
LOCKS: Final = "locks/"
"""locks/fleet: whoever changes the fleet just now."""
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
"""Lifecycle hook of a group: who is to be ended has 120 s to hand over."""
EXPIRY_ACTION: Final = "loadgen-expiry"
"""Scheduled action of a group: to 0 when the time is over, whoever is still there to see to it."""


def group_name(fleet: str, region: str) -> str:
    return GROUP.format(fleet=fleet, region=region)


def launch_template_name(fleet: str, region: str) -> str:
    return LAUNCH_TEMPLATE.format(fleet=fleet, region=region)


def parameter(template: str, fleet: str, name: str = "") -> str:
    """The path of one of PARAMETERS. name: of a scenario's secret."""
    return template.format(fleet=fleet, name=name)
