"""`fleet.json`: what Terraform made, as the command line needs it. Terraform writes it; nobody does by hand.

It is read with all its faults at once. Times in it are RFC 3339; money is USD an hour.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from loadgen.aws.account.names import FLEET_NAME
from loadgen.errors import UsageError

__all__ = ["ControllerAt", "FleetFile", "Policy", "RegionOf", "parse_instant", "read"]

FORMAT: Final = 1
LONGEST_TTL_S: Final = 24 * 3600
WIDEST_TARGET: Final = 8
"""Bits of a network's prefix. As Terraform has it: the largest private network is a /8."""
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
_ENDPOINT: Final = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s:\[\]]+):\d{1,5}")
_MOST_BYTES: Final = 4 << 20


class ControllerAt(msgspec.Struct, frozen=True):
    endpoint: str
    """HOST:PORT; agents connect to it."""
    api: str
    """HOST:PORT; clients connect to it."""
    region: str = ""
    public_key: str = ""


class Policy(msgspec.Struct, frozen=True):
    """What whoever made the fleet allows those who use it."""

    max_agents: int = 50
    max_hourly_usd: float = 20.0
    ttl_s: int = 4 * 3600
    """For so long a fleet may be up, where nobody says less."""
    min_share: float = 1.0
    """Of the wanted agents, which have to come; 0 to 1."""


class RegionOf(msgspec.Struct, frozen=True):
    """What is there in one region."""

    asg: str
    instance_types: tuple[str, ...]
    max_agents: int
    usd_per_hour: Mapping[str, float] = {}
    """At most, by instance type, as Terraform's own guard counts."""
    launch_template: str = ""
    security_group: str = ""
    subnets: tuple[str, ...] = ()
    egress_ips: tuple[str, ...] = ()

    @property
    def dearest(self) -> float:
        """Of the types that may be started; those without a price are `unpriced`."""
        return max((self.usd_per_hour.get(kind, 0.0) for kind in self.instance_types), default=0.0)

    @property
    def unpriced(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.instance_types if kind not in self.usd_per_hour)


class FleetFile(msgspec.Struct, frozen=True):
    fleet: str
    account_id: str
    owner: str
    bucket: str
    bucket_region: str
    controller: ControllerAt
    regions: Mapping[str, RegionOf]
    target_cidrs: tuple[str, ...] = ()
    partition: str = "aws"
    expires_at: str | None = None
    """Of all that Terraform made."""
    policy: Policy = Policy()
    i_own_the_target: bool = False
    """The owner's statement, without which nobody may aim at half of the internet."""
    prices_as_of: str = ""
    format: int = FORMAT

    @property
    def expires(self) -> datetime | None:
        return None if self.expires_at is None else parse_instant(self.expires_at)


def read(path: Path) -> FleetFile:
    """
    Raises:
        UsageError: it cannot be read, or is wrong; a group of them where several things are wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="terraform apply writes it; see docs/fleet.md"
        ) from error
    try:
        found = msgspec.json.decode(data, type=FleetFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no fleet file: {error}", hint="terraform apply writes it") from error
    if found.format > FORMAT:
        raise UsageError(f"{path} has format {found.format}", hint="use a newer loadgen")
    wrong = [UsageError(f"{path}: {what}", hint=hint) for what, hint in _faults(found)]
    if len(wrong) > 1:
        raise ExceptionGroup("several things are wrong", wrong)
    if wrong:
        raise wrong[0]
    return found


def parse_instant(text: str) -> datetime:
    """
    Raises:
        ValueError: no RFC 3339 instant with its offset.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is no time; write 2026-11-26T14:00:00Z') from None
    if instant.tzinfo is None:
        raise ValueError(f'"{text}" has no offset from UTC; write 2026-11-26T14:00:00Z')
    return instant.astimezone(UTC)


def _faults(found: FleetFile) -> Iterator[tuple[str, str]]:
    """(what, what to do) of each."""
    if not FLEET_NAME.fullmatch(found.fleet):
        yield f'fleet: "{found.fleet}" is no name', "3 to 32 of a-z, 0-9 and -, a letter first"
    if not re.fullmatch(r"\d{12}", found.account_id):
        yield f'account_id: "{found.account_id}" is no account', "12 digits"
    if not found.owner.strip():
        yield "owner: nobody", "whose fleet is it?"
    if not found.regions:
        yield "regions: there are none", "terraform's variable `regions` names them"
    for name, region in found.regions.items():
        if not _REGION.fullmatch(name):
            yield f'regions: "{name}" is no region', "as in eu-west-1"
        if not region.instance_types:
            yield f"regions: {name} has no instance types", ""
        if region.max_agents < 0 or not region.asg:
            yield f"regions: {name} has no group, or less than no agents", ""
    for name, endpoint in (("endpoint", found.controller.endpoint), ("api", found.controller.api)):
        if not _ENDPOINT.fullmatch(endpoint):
            yield f'controller.{name}: "{endpoint}" is no address', "HOST:PORT"
    try:
        _ = found.expires
    except ValueError as wrong:
        yield f"expires_at: {wrong}", ""
    yield from _policy_faults(found.policy)
    yield from _target_faults(found)


def _policy_faults(policy: Policy) -> Iterator[tuple[str, str]]:
    if not 0 < policy.min_share <= 1:
        yield f"policy.min_share: {policy.min_share:g} is no share", "above 0, at most 1"
    if not 60 <= policy.ttl_s <= LONGEST_TTL_S:
        yield f"policy.ttl_s: {policy.ttl_s} s", f"60 to {LONGEST_TTL_S}"
    if policy.max_agents < 0 or policy.max_hourly_usd < 0:
        yield "policy: less than nothing is allowed", ""


def _target_faults(found: FleetFile) -> Iterator[tuple[str, str]]:
    for text in found.target_cidrs:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            yield f'target_cidrs: "{text}" is no network', "as in 10.20.0.0/16"
            continue
        if network.prefixlen < WIDEST_TARGET and not found.i_own_the_target:
            yield (
                f"target_cidrs: {text} is nobody's own",
                "name the target's networks, or say in Terraform that you own it: i_own_the_target = true",
            )
