"""Three regions of AWS on loopback (`tests/support/aws.py`), and in them what Terraform makes of a fleet.

    with running_aws() as url:
        made = Aws(url, Clients(url)).make_fleet("shop")     # bucket, launch templates, groups, fleet.json's content

moto starts machines at once and never fails: what AWS refuses is put in by `Answers`, in boto3's stead, and who
registers at the controller is the test's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.fleet_change_log import Audit
from loadgen.aws.account.fleet_context import Site, open_site
from loadgen.aws.account.fleetfile import read
from loadgen.aws.account.names import TAG_FLEET, TAG_OWNER, TAG_ROLE, group_name, launch_template_name
from loadgen.aws.scale.machine_states import Registration

__all__ = ["ACCOUNT", "REGIONS", "Answers", "Aws", "Jumping", "site_of"]

ACCOUNT = "123456789012"
HOME = ("eu-west-1",)
REGIONS = ("eu-west-1", "us-east-1", "ap-southeast-1")
_SERVICES = (("autoscaling", REGIONS), ("ec2", REGIONS), ("service-quotas", REGIONS), ("s3", HOME), ("sts", HOME))
_QUOTAS = ("L-1216C47A", "L-34B43A08")
"""vCPUs on demand, as spot."""


@dataclass
class Aws:
    url: str
    clients: Clients
    regions: tuple[str, ...] = REGIONS
    """Of the fleet that was made last: each more makes a test longer."""

    def make_fleet(
        self,
        fleet: str = "shop",
        *,
        owner: str = "perf team",
        regions: tuple[str, ...] = REGIONS[:2],
        most: int = 20,
        is_protecting: bool = False,
        controller: str = "127.0.0.1:5558",
        **more: Any,
    ) -> dict[str, Any]:
        """What Terraform makes, and its fleet.json."""
        clients, bucket, self.regions = self.clients, f"loadgen-{fleet}-{ACCOUNT}", regions
        s3 = clients.client("s3", REGIONS[0])
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGIONS[0]})
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": TAG_FLEET, "Value": fleet}]})
        tags = {TAG_FLEET: fleet, TAG_ROLE: "agent", TAG_OWNER: owner}
        made = {region: self._make_region(clients, fleet, region, tags, most, is_protecting) for region in regions}
        return {
            "format": 1,
            "fleet": fleet,
            "account_id": ACCOUNT,
            "partition": "aws",
            "owner": owner,
            "expires_at": None,
            "bucket": bucket,
            "bucket_region": REGIONS[0],
            "controller": {"endpoint": "127.0.0.1:5557", "api": controller, "public_key": "", "region": REGIONS[0]},
            "policy": {"max_agents": 50, "max_hourly_usd": 20.0, "ttl_s": 14400, "min_share": 1.0},
            "regions": made,
            "target_cidrs": ["10.20.0.0/16"],
            **more,
        }

    def write(self, folder: Path, fleet: dict[str, Any]) -> Path:
        path = folder / "fleet.json"
        path.write_text(json.dumps(fleet))
        return path

    def machines(self, *regions: str) -> dict[str, list[str]]:
        """Ids of those that run, by region."""
        found = {}
        for region in regions or self.regions:
            answer = self.clients.client("ec2", region).describe_instances(
                Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
            )
            found[region] = [one["InstanceId"] for each in answer["Reservations"] for one in each["Instances"]]
        return found

    def count(self) -> int:
        return sum(map(len, self.machines().values()))

    def desired(self, fleet: str = "shop") -> list[int]:
        return [self.group(region, fleet)["DesiredCapacity"] for region in self.regions]

    def group(self, region: str, fleet: str = "shop") -> dict[str, Any]:
        answer = self.clients.client("autoscaling", region).describe_auto_scaling_groups(
            AutoScalingGroupNames=[group_name(fleet, region)]
        )
        found: dict[str, Any] = answer["AutoScalingGroups"][0]
        return found

    def expiries(self, region: str, fleet: str = "shop") -> list[dict[str, Any]]:
        answer = self.clients.client("autoscaling", region).describe_scheduled_actions(
            AutoScalingGroupName=group_name(fleet, region)
        )
        return list(answer["ScheduledUpdateGroupActions"])

    def all_registered(
        self, *, except_for: Callable[[str], bool] = lambda _: False
    ) -> Callable[[], list[Registration]]:
        """A controller at which each machine registers as soon as it runs."""

        def read_registry() -> list[Registration]:
            return [Registration(one, "here") for ids in self.machines().values() for one in ids if not except_for(one)]

        return read_registry

    def _make_region(
        self, clients: Clients, fleet: str, region: str, tags: dict[str, str], most: int, is_protecting: bool
    ) -> dict[str, Any]:
        ec2, groups = clients.client("ec2", region), clients.client("autoscaling", region)
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        template, group = launch_template_name(fleet, region), group_name(fleet, region)
        ec2.create_launch_template(
            LaunchTemplateName=template, LaunchTemplateData={"ImageId": "ami-12345678", "InstanceType": "c7i.xlarge"}
        )
        groups.create_auto_scaling_group(
            AutoScalingGroupName=group,
            MinSize=0,
            MaxSize=most,
            DesiredCapacity=0,
            LaunchTemplate={"LaunchTemplateName": template},
            VPCZoneIdentifier=subnet,
            NewInstancesProtectedFromScaleIn=is_protecting,
            Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
        )
        return {
            "asg": group,
            "launch_template": template,
            "security_group": "sg-1",
            "subnets": [subnet],
            "instance_types": ["c7i.xlarge"],
            "usd_per_hour": {"c7i.xlarge": 0.2},
            "max_agents": most,
            "egress_ips": [],
        }


@dataclass
class Answers:
    """Answers calls of `clients` in AWS's stead, as long as it is used with `with`."""

    clients: Clients
    codes: dict[tuple[str, str], str] = field(default_factory=dict)
    """(operation, region) -> the code with which it is refused; the region may be "*"."""
    activities: dict[str, str] = field(default_factory=dict)
    """Region -> why its group could not start a machine."""
    quotas: dict[tuple[str, str], float] = field(default_factory=lambda: {(code, "*"): 1e6 for code in _QUOTAS})
    """(code, region) -> the account's quota; the region may be "*". moto knows those of networks only."""
    silent: set[str] = field(default_factory=set)
    """Operations that are accepted, and of which nothing comes."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """All calls, in order."""
    before: Callable[[str, str], None] = lambda _operation, _region: None
    """Called before each."""

    def __enter__(self) -> Self:
        self._handlers = [
            (self.clients.client(service, region).meta.events, partial(self._before, region=region))
            for service, regions in _SERVICES
            for region in regions
        ]
        for events, handler in self._handlers:
            events.register_first("before-call", handler)
        return self

    def __exit__(self, *_: object) -> None:
        for events, handler in self._handlers:
            events.unregister("before-call", handler)

    def _before(
        self, model: Any, params: dict[str, Any], region: str, **_: object
    ) -> tuple[Any, dict[str, Any]] | None:
        operation = model.name
        self.asked.append((operation, region))
        self.before(operation, region)
        code = self.codes.get((operation, region)) or self.codes.get((operation, "*"))
        if code is not None:
            return _Response(400), {"Error": {"Code": code, "Message": "refused"}}
        if operation == "GetServiceQuota":
            quota = json.loads(params["body"])["QuotaCode"]
            value = self.quotas.get((quota, region), self.quotas.get((quota, "*")))
            if value is not None:
                return _Response(200), {"Quota": {"QuotaCode": quota, "Value": value}}
        if operation in self.silent:
            return _Response(200), {}
        if operation == "DescribeScalingActivities" and region in self.activities:
            failed = {"StatusCode": "Failed", "StatusMessage": self.activities[region]}
            return _Response(200), {"Activities": [failed | {"StartTime": datetime.now(UTC) + timedelta(days=1)}]}
        return None


@dataclass
class _Response:
    status_code: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Jumping:
    """A clock that goes only when somebody sleeps by it."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    at_least_s: float = 0.0
    """So far it goes at each sleep: what waits for minutes looks seldom."""
    slept_s: float = 0.0
    then: Callable[[], None] = lambda: None
    """Called at each sleep."""

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.slept_s)

    def sleep(self, seconds: float) -> None:
        self.slept_s += max(seconds, self.at_least_s)
        self.then()


def site_of(
    aws: Aws, made: dict[str, Any], folder: Path, clock: Jumping | None = None, told: list[str] | None = None
) -> Site:
    """As the command opens it, with a clock that jumps."""
    clock = clock or Jumping()
    site = open_site(read(aws.write(folder, made)), aws.clients, Audit(folder / "fleet.audit.jsonl"))
    site.now, site.sleep, site.warn = clock.now, clock.sleep, (told if told is not None else []).append
    return site
