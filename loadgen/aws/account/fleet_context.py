"""A fleet in its account: the file that describes it, clients, audit, clock. And is it ours at all?

Before anything is looked at or changed: the account of these credentials is the file's, the
bucket carries the fleet's tag, each group carries the fleet's and its owner's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from loadgen.aws.account.audit import Audit
from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.fleetfile import FleetFile
from loadgen.aws.account.names import TAG_FLEET
from loadgen.aws.scale.discovery import find_machines, tags_of
from loadgen.aws.scale.groups import Group, read_group
from loadgen.aws.scale.machines import Machine, Registration
from loadgen.aws.scale.regions import in_each
from loadgen.errors import CloudError, UsageError

__all__ = ["Roll", "Site", "open_site"]

Roll = Callable[[], Iterable[Registration]]
"""Who is registered at the controller just now. Blocking; raises FleetError where it cannot be asked."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Site:
    """Make it with `open_site`."""

    file: FleetFile
    clients: Clients
    audit: Audit
    warn: Callable[[str], None]
    """What a person has to know although it is no error, or while one is under way."""
    now: Callable[[], datetime] = field(default=_utc_now)
    sleep: Callable[[float], None] = field(default=time.sleep)

    @property
    def fleet(self) -> str:
        return self.file.fleet

    def groups(self) -> list[Group]:
        """Of all regions of the file, in its order.

        Raises:
            UsageError: one is missing, or is not this fleet's; a group of them where several are.
        """
        found = in_each(self.file.regions, self._group)
        return [found[region] for region in self.file.regions]

    def machines(self) -> list[Machine]:
        return find_machines(self.clients, self.file.regions, self.fleet)

    def _group(self, region: str) -> Group:
        name = self.file.regions[region].asg
        group = read_group(self.clients, region, name)
        if group is None:
            raise UsageError(
                f"there is no group {name} in {region}", hint="has Terraform made it? apply it, and take its fleet.json"
            )
        refuse_strange(self.file, f"group {name} in {region}", group.fleet, group.owner)
        return group


def open_site(file: FleetFile, clients: Clients, audit: Audit, warn: Callable[[str], None] = lambda _: None) -> Site:
    """After a look at whose credentials and whose bucket these are; the audit knows from then on who it is.

    Raises:
        UsageError: another account's, or a bucket that is not the fleet's.
        LoadgenError: AWS refuses.
    """
    home = file.controller.region or file.bucket_region
    with told("see who this is"):
        who = clients.client("sts", home).get_caller_identity()
    if str(who["Account"]) != file.account_id:
        raise UsageError(
            f"fleet.json is of account {file.account_id}, and these credentials of {who['Account']}",
            hint="AWS_PROFILE chooses the credentials",
        )
    audit.by = str(who["Arn"])
    _check_bucket(file, clients)
    return Site(file, clients, audit, warn)


def refuse_strange(file: FleetFile, what: str, fleet: str, owner: str) -> None:
    """
    Raises:
        UsageError: it does not carry the tags of this fleet and its owner.
    """
    if fleet != file.fleet:
        told_fleet = f"fleet {fleet}" if fleet else "no fleet"
        raise UsageError(f"{what} is of {told_fleet}, and not of {file.fleet}", hint="it is left alone")
    if owner != file.owner:
        raise UsageError(
            f"{what} belongs to {owner or 'nobody'}, and fleet.json says {file.owner}", hint="it is left alone"
        )


def _check_bucket(file: FleetFile, clients: Clients) -> None:
    s3 = clients.client("s3", file.bucket_region)
    where = f"bucket {file.bucket}"
    try:
        with told(f"look at {where}"):
            try:
                answer = s3.get_bucket_tagging(Bucket=file.bucket, ExpectedBucketOwner=file.account_id)
            except s3.exceptions.ClientError as error:
                if str(error.response.get("Error", {}).get("Code", "")) != "NoSuchTagSet":
                    raise
                answer = {"TagSet": []}
    except CloudError as error:
        if "NoSuchBucket" in error.message:
            raise UsageError(f"there is no {where} in {file.bucket_region}", hint="has Terraform made it?") from error
        raise
    if (tagged := tags_of(answer["TagSet"]).get(TAG_FLEET, "")) != file.fleet:
        raise UsageError(
            f"{where} is of {'fleet ' + tagged if tagged else 'no fleet'}, and not of {file.fleet}",
            hint="nothing is written there; is this the right fleet.json?",
        )
