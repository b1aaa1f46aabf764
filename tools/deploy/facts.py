"""Check facts about the evaluated examples: counts, security group rules, limits, and what ends the machines.

It reads the output of `evaluate.py`. Each check yields a text for each fault.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["EXAMPLES", "Expected", "Region", "check", "user_data"]

Plan = dict[str, list[dict[str, Any]]]

_ELSEWHERE = {"aws_vpc_peering_connection_accepter", "aws_route"}
"""Types of resources of a region's module that are in the controller's region."""
_MOST_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Region:
    """The expected facts of a region."""

    cidr: str
    max_agents: int
    addresses: int
    nat: int
    remote: bool = True
    """Whether the region is not the controller's."""


@dataclass(frozen=True, slots=True)
class Expected:
    controller: str
    regions: dict[str, Region]
    targets: int
    """The number of target networks times ports."""
    budgets: int = 0


EXAMPLES = {
    "single": Expected("eu-west-1", {"eu-west-1": Region("10.1.0.0/16", 20, 1, 1, remote=False)}, targets=2),
    "multi-region": Expected(
        "eu-west-1",
        {
            "eu-west-1": Region("10.1.0.0/16", 20, 1, 1, remote=False),
            "us-east-1": Region("10.2.0.0/16", 12, 12, 0),
            "ap-southeast-2": Region("10.3.0.0/16", 4, 0, 0),
        },
        targets=1,
        budgets=1,
    ),
}


def user_data(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the address and the user data of each machine."""
    for one in plan.get("aws_launch_template", ()):
        yield one["at"], base64.b64decode(one.get("user_data") or "").decode()
    for one in plan.get("aws_instance", ()):
        yield one["at"], one.get("user_data") or ""


def check(plan: Plan, expected: Expected) -> Iterator[str]:
    """Yield each difference between an example and the expected facts."""
    for name, region in expected.regions.items():
        mine = {kind: [one for one in ones if f'.module.region["{name}"].' in one["at"]] for kind, ones in plan.items()}
        for what in (
            *_counts(mine, region),
            *_group(mine, name, region),
            *_rules(plan, mine, region, expected),
            *_machine(mine),
        ):
            yield f"{name}: {what}"
        yield from _where(mine, name, expected.controller)
    yield from (f"{one['at']}: {one['message']}" for one in plan["refused"])
    yield from _others(plan, expected)
    yield from _tags(plan)
    yield from _networks(plan)


def _counts(mine: Plan, region: Region) -> Iterator[str]:
    wanted = {
        "aws_autoscaling_group": 1,
        "aws_launch_template": 1,
        "aws_vpc": 1,
        "aws_eip": region.addresses,
        "aws_nat_gateway": region.nat,
        "aws_vpc_peering_connection": 1,
        "aws_vpc_endpoint": 5,
        "aws_route53_zone_association": int(region.remote),
        "aws_autoscaling_lifecycle_hook": 1,
    }
    for kind, count in wanted.items():
        if len(mine.get(kind, ())) != count:
            yield f"{len(mine.get(kind, ()))} of {kind}, expected {count}"
    if len(mine.get("aws_subnet", ())) != 2 + region.nat:
        yield "agents do not have two subnets"


def _group(mine: Plan, name: str, region: Region) -> Iterator[str]:
    for group in mine.get("aws_autoscaling_group", ()):
        if (group.get("min_size"), group.get("max_size"), group.get("desired_capacity")) != (
            0,
            region.max_agents,
            None,
        ):
            sizes = f"{group.get('min_size')} to {group.get('max_size')}"
            yield f"the group's size is {sizes}, expected 0 to {region.max_agents}"
        if not str(group.get("name")).endswith(f"-{name}-agents"):
            yield f"wrong name of the group: {group.get('name')}"
        if set(group.get("suspended_processes") or ()) != {"AZRebalance", "ReplaceUnhealthy"}:
            yield f"wrong suspended processes: {group.get('suspended_processes')}"
        policy = group.get("mixed_instances_policy") or {}
        if (policy.get("instances_distribution") or {}).get("spot_allocation_strategy") != "price-capacity-optimized":
            yield "the spot strategy is not price-capacity-optimized"
    stops = [one for one in mine.get("aws_autoscaling_schedule", ()) if one.get("desired_capacity") == 0]
    if not stops:
        yield "no scheduled action sets the group to 0"
    for hook in mine.get("aws_autoscaling_lifecycle_hook", ()):
        if (hook.get("heartbeat_timeout"), hook.get("default_result")) != (120, "CONTINUE"):
            yield "the lifecycle hook does not give a terminating agent 120 s"


def _rules(plan: Plan, mine: Plan, region: Region, expected: Expected) -> Iterator[str]:
    groups = {
        one["id"] for one in mine.get("aws_security_group", ()) if one["at"].endswith(".aws_security_group.agents")
    }
    for one in plan.get("aws_vpc_security_group_ingress_rule", ()):
        if one.get("security_group_id") in groups:
            yield f"{one['at']} allows connections to agents"
    out = [one for one in mine.get("aws_vpc_security_group_egress_rule", ()) if one.get("security_group_id") in groups]
    # Destinations: the controller, S3, AWS services, S3 of the bucket's region, and the targets.
    if len(out) != 3 + int(region.remote) + expected.targets:
        yield f"{len(out)} egress rules of agents, expected {3 + int(region.remote) + expected.targets}"
    for one in out:
        if (
            one.get("ip_protocol") != "tcp"
            or one.get("from_port") is None
            or one.get("from_port") != one.get("to_port")
        ):
            yield f"{one['at']} is not one TCP port"
        if one.get("cidr_ipv4") is not None and ipaddress.ip_network(one["cidr_ipv4"]).prefixlen < 8:
            yield f"{one['at']} is open to {one['cidr_ipv4']}"


def _machine(mine: Plan) -> Iterator[str]:
    for one in mine.get("aws_launch_template", ()):
        options = one.get("metadata_options") or {}
        if (options.get("http_tokens"), options.get("http_put_response_hop_limit")) != ("required", 1):
            yield "the metadata service does not require a token with a hop limit of 1"
        if (one.get("block_device_mappings") or {}).get("ebs", {}).get("encrypted") is not True:
            yield "the disk is not encrypted"
        if (one.get("network_interfaces") or {}).get("associate_public_ip_address") is not False:
            yield "agents get a public IP address"
        if one.get("instance_initiated_shutdown_behavior") != "terminate":
            yield "a shutdown from within does not terminate an agent"
        if one.get("key_name"):
            yield "the machine has an SSH key"


def _where(mine: Plan, name: str, controller: str) -> Iterator[str]:
    for kind, ones in mine.items():
        for one in ones:
            allowed = {name, controller} if kind in _ELSEWHERE else {name}
            if one.get("region") is not None and one["region"] not in allowed:
                yield f"{one['at']} is in {one['region']}"


def _others(plan: Plan, expected: Expected) -> Iterator[str]:
    if len(plan.get("aws_budgets_budget", ())) != expected.budgets:
        yield f"{len(plan.get('aws_budgets_budget', ()))} budgets, expected {expected.budgets}"
    cidrs = {one.cidr for one in expected.regions.values()}
    came = {
        one.get("cidr_ipv4")
        for one in plan.get("aws_vpc_security_group_ingress_rule", ())
        if ".module.controller." in one["at"] and one.get("from_port") == 5557
    }
    if came != cidrs:
        yield f"networks that may connect to the controller: {came}, expected {cidrs}"
    for one in plan.get("aws_vpc_security_group_ingress_rule", ()):
        if one.get("cidr_ipv4") in ("0.0.0.0/0", "::/0"):
            yield f"{one['at']} allows connections from everywhere"
    blocks = plan.get("aws_s3_bucket_public_access_block", ())
    wanted = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
    if not blocks or not all(one.get(name) is True for one in blocks for name in wanted):
        yield "the bucket does not block public access"
    if any(one.get("type") == "SecureString" for one in plan.get("aws_ssm_parameter", ())):
        yield "a secret is in Terraform's state"
    for at, text in user_data(plan):
        if not text.startswith("#cloud-config\n"):
            yield f"{at}: no user data"
        if len(text.encode()) > _MOST_BYTES:
            yield f"{at}: {len(text.encode())} bytes of user data, but EC2 accepts at most {_MOST_BYTES}"


def _tags(plan: Plan) -> Iterator[str]:
    for ones in plan.values():
        for one in ones:
            tags = one.get("tags")
            machines = ".module.region[" in one["at"] or ".module.controller." in one["at"]
            wanted = {"loadgen:fleet", "loadgen:owner", "loadgen:project", *(("loadgen:role",) if machines else ())}
            if isinstance(tags, dict) and not wanted <= tags.keys():
                yield f"{one['at']} has the tags {sorted(tags)}"
    for group in plan.get("aws_autoscaling_group", ()):
        tags = {one.get("key"): one for one in group.get("tag") or ()}
        # tfparse expands these tags incompletely: it omits loadgen:role, which the variable has.
        for name in ("loadgen:fleet", "loadgen:owner"):
            if not tags.get(name, {}).get("propagate_at_launch"):
                yield f"{group['at']} does not propagate the tag {name}"


def _networks(plan: Plan) -> Iterator[str]:
    networks = [(one["at"], ipaddress.ip_network(one["cidr_block"])) for one in plan.get("aws_vpc", ())]
    for index, (at, network) in enumerate(networks):
        for other, its in networks[index + 1 :]:
            if network.overlaps(its):
                yield f"{at} and {other} overlap"
