"""What the examples must come to: they do, and a fault that is planted into the files is found.

Evaluated by tfparse, in the venv that `make deploy-check` makes; without it these are skipped.
"""

from __future__ import annotations

import copy
import shutil
from functools import cache
from pathlib import Path

import pytest

from loadgen.allowlist import read
from tools.deploy import facts, outside
from tools.deploy.facts import EXAMPLES, Plan

EVALUATES = outside.TOOLS / "deploy" / ".installed"
ROOT = Path("deploy/terraform")
AGENTS, NETWORK = ROOT / "modules/region/agents.tf", ROOT / "modules/region/network.tf"
CONTROLLER, BUCKET = ROOT / "modules/controller/network.tf", ROOT / "modules/artifacts/main.tf"

evaluates = pytest.mark.skipif(not EVALUATES.exists(), reason="make deploy-check makes the venv that this needs")

PLANTED = [
    (AGENTS, "max_size                  = var.settings.max_agents", "max_size = 999", "size is 0 to 999"),
    (AGENTS, "min_size                  = 0", "min_size = 2", "the group's size is 2"),
    (AGENTS, '["AZRebalance", "ReplaceUnhealthy"]', '["AZRebalance"]', "suspended processes: ['AZRebalance']"),
    (AGENTS, '"price-capacity-optimized"', '"lowest-price"', "the spot strategy is not price-capacity-optimized"),
    (AGENTS, "heartbeat_timeout      = 120", "heartbeat_timeout = 30", "does not give a terminating agent 120 s"),
    (AGENTS, "desired_capacity       = 0", "desired_capacity = 1", "no scheduled action sets the group to 0"),
    (AGENTS, '${var.controller_ip}/32"', '0.0.0.0/0"', "is open to 0.0.0.0/0"),
    (AGENTS, "to_port           = each.value.port", "to_port = 65535", "is not one TCP port"),
    (AGENTS, "for_each = { for pair", "for_each = { for pair in [] : pair => pair }\n#", "egress rules of agents"),
    (AGENTS, '= "required"', '= "optional"', "does not require a token"),
    (AGENTS, "encrypted             = true", "encrypted = false", "the disk is not encrypted"),
    (AGENTS, "associate_public_ip_address = false", "associate_public_ip_address = true", "get a public IP address"),
    (AGENTS, '= "terminate"', '= "stop"', "does not terminate an agent"),
    (AGENTS, "  region                               = var.region", '  region = "us-west-2"', "is in us-west-2"),
    (NETWORK, "1 : local.has_way ? var.settings.max_agents", "1 : local.has_way ? 3", "3 of aws_eip, expected 12"),
    (
        NETWORK,
        "referenced_security_group_id = aws_security_group.agents.id",
        'cidr_ipv4 = "0.0.0.0/0"',
        "from everywhere",
    ),
    (CONTROLLER, "? var.agent_cidrs :", '? { x = "10.9.0.0/16" } :', "may connect to the controller"),
    (BUCKET, "block_public_policy     = true", "block_public_policy = false", "does not block public access"),
    (ROOT / "main.tf", '"loadgen:owner"   = var.owner', '"owner" = var.owner', "has the tags"),
    (ROOT / "examples/multi-region/main.tf", '"10.2.0.0/16"', '"10.1.0.0/17"', "overlap"),
]


@cache
def plan_of(name: str) -> Plan:
    plan: Plan = outside.evaluated("plan", ROOT / "examples" / name)
    return plan


@evaluates
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_comes_to_what_it_must(name: str) -> None:
    assert list(facts.check(plan_of(name), EXAMPLES[name])) == []


@evaluates
def test_user_data_that_are_too_long_and_an_agent_that_may_be_reached_are_found() -> None:
    plan = copy.deepcopy(plan_of("single"))
    plan["aws_instance"][0]["user_data"] = "#cloud-config\n" + "x" * 16384
    group = next(one for one in plan["aws_security_group"] if one["at"].endswith(".agents"))
    plan["aws_vpc_security_group_ingress_rule"].append({"at": "x", "security_group_id": group["id"]})
    plan["aws_ssm_parameter"][0]["type"] = "SecureString"
    found = "\n".join(facts.check(plan, EXAMPLES["single"]))
    assert "bytes of user data, but EC2 accepts at most 16384" in found
    assert "x allows connections to agents" in found
    assert "a secret is in Terraform's state" in found


@evaluates
@pytest.mark.slow
@pytest.mark.parametrize(("file", "right", "wrong", "what"), PLANTED)
def test_a_fault_in_the_files_is_found_in_what_they_come_to(
    file: Path, right: str, wrong: str, what: str, tmp_path: Path
) -> None:
    copied = tmp_path / "deploy" / "terraform"
    shutil.copytree(ROOT, copied)
    planted = copied / file.relative_to(ROOT)
    text = planted.read_text()
    assert right in text
    planted.write_text(text.replace(right, wrong))
    plan = outside.evaluated("plan", copied / "examples" / "multi-region")
    assert what in "\n".join(facts.check(plan, EXAMPLES["multi-region"]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_examples_allow_list_is_one(name: str) -> None:
    assert [entry.host for entry in read(ROOT / "examples" / name / "allow.toml").allow] == ["shop.example"]
