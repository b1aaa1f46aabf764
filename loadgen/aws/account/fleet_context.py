"""The context of all operations on a fleet: its file, AWS clients, audit log and clock.

Opening it checks that this fleet is ours before anything is read or changed: the credentials must belong to the
file's account, the bucket must carry the fleet's tag, and each group the tags of the fleet and its owner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.fleet_change_log import Audit
from loadgen.aws.account.fleetfile import FleetFile
from loadgen.aws.account.names import TAG_FLEET
from loadgen.aws.scale.discovery import find_machines, tags_of
from loadgen.aws.scale.groups import Group, read_group
from loadgen.aws.scale.in_each_region import in_each
from loadgen.aws.scale.machine_states import Machine, Registration
from loadgen.errors import CloudError, UsageError

__all__ = ["ReadRegistry", "Site", "open_site"]

ReadRegistry = Callable[[], Iterable[Registration]]
"""Returns the agents in the controller's registry. Blocks; raises FleetError if the controller does not answer."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Site:
    """A fleet that was verified to be ours, with all that an operation on it needs. `open_site` makes it."""

    file: FleetFile
    clients: Clients
    audit: Audit
    warn: Callable[[str], None]
    """Prints a warning for the operator."""
    now: Callable[[], datetime] = field(default=_utc_now)
    sleep: Callable[[float], None] = field(default=time.sleep)

    @property
    def fleet(self) -> str:
        return self.file.fleet

    def groups(self) -> list[Group]:
        """Read the Auto Scaling group of each region, in the file's order.

        Raises:
            UsageError: a group is missing or belongs to another fleet.
            ExceptionGroup: this is the case in several regions.
        """
        found = in_each(self.file.regions, self._group)
        return [found[region] for region in self.file.regions]

    def machines(self) -> list[Machine]:
        """List the fleet's agent machines in all regions of the file."""
        return find_machines(self.clients, self.file.regions, self.fleet)

    def _group(self, region: str) -> Group:
        name = self.file.regions[region].asg
        group = read_group(self.clients, region, name)
        if group is None:
            raise UsageError(
                f"Auto Scaling group {name} not found in {region}",
                hint="run terraform apply, and use the fleet.json that it writes",
            )
        refuse_strange(self.file, f"group {name} in {region}", group.fleet, group.owner)
        return group


def open_site(file: FleetFile, clients: Clients, audit: Audit, warn: Callable[[str], None] = lambda _: None) -> Site:
    """Check that the credentials and the bucket belong to the fleet, and return its context.

    Sets `audit.by` to the ARN of the credentials.

    Raises:
        UsageError: the credentials are of another account, or the bucket is not this fleet's.
        LoadgenError: a call to AWS fails.
    """
    home = file.controller.region or file.bucket_region
    with aws_errors("find out whose credentials these are"):
        who = clients.client("sts", home).get_caller_identity()
    if str(who["Account"]) != file.account_id:
        raise UsageError(
            f"fleet.json is for account {file.account_id}, but the credentials are for {who['Account']}",
            hint="set AWS_PROFILE to a profile of the fleet's account",
        )
    audit.by = str(who["Arn"])
    _check_bucket(file, clients)
    return Site(file, clients, audit, warn)


def refuse_strange(file: FleetFile, what: str, fleet: str, owner: str) -> None:
    """Raise UsageError if a resource's fleet and owner tags differ from the file's.

    what: names the resource in the message.
    """
    if fleet != file.fleet:
        tagged = f"fleet {fleet}" if fleet else "no fleet"
        raise UsageError(
            f"{what} belongs to {tagged}, not to {file.fleet}",
            hint="nothing was changed; use the fleet.json of this fleet",
        )
    if owner != file.owner:
        raise UsageError(
            f"{what} has the owner {owner or '(none)'}, but fleet.json names {file.owner}",
            hint="nothing was changed; use the owner's fleet.json, or run terraform apply to update the tags",
        )


def _check_bucket(file: FleetFile, clients: Clients) -> None:
    s3 = clients.client("s3", file.bucket_region)
    where = f"bucket {file.bucket}"
    try:
        with aws_errors(f"look at {where}"):
            try:
                answer = s3.get_bucket_tagging(Bucket=file.bucket, ExpectedBucketOwner=file.account_id)
            except s3.exceptions.ClientError as error:
                # S3 reports a bucket without tags as an error.
                if str(error.response.get("Error", {}).get("Code", "")) != "NoSuchTagSet":
                    raise
                answer = {"TagSet": []}
    except CloudError as error:
        if "NoSuchBucket" in error.message:
            raise UsageError(
                f"{where} not found in {file.bucket_region}", hint="run terraform apply, which creates it"
            ) from error
        raise
    if (tagged := tags_of(answer["TagSet"]).get(TAG_FLEET, "")) != file.fleet:
        raise UsageError(
            f"{where} belongs to {'fleet ' + tagged if tagged else 'no fleet'}, not to {file.fleet}",
            hint="nothing was written there; use the fleet.json of this fleet",
        )
