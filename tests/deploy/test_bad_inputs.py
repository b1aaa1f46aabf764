"""What the root module refuses before anything is planned, and why: its variables' validations, evaluated by tfparse.

Not here: a time that is over (`expires_at`), which only a plan can tell.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.deploy import outside

pytestmark = pytest.mark.skipif(
    not (outside.TOOLS / "deploy" / ".installed").exists(), reason="make deploy-check makes the venv that this needs"
)

INPUTS = {
    "fleet": '"shop"',
    "account_id": '"111122223333"',
    "owner": '"performance@shop.example"',
    "wheelhouse": f'"{"0" * 64}"',
    "controller_public_key": f'"{"x" * 40}"',
    "target_cidrs": '["203.0.113.0/24"]',
    "allow": '"[[allow]]"',
    "controller": '{ region = "eu-west-1" }',
}
REGION = {"cidr": '"10.1.0.0/16"', "max_agents": "20"}

BAD = [
    ("fleet", '"Shop"', "fleet must have 3 to 32 lower-case letters"),
    ("account_id", '"1234"', "account_id must have 12 digits."),
    ("owner", '"x"', "owner must have 3 to 128 letters"),
    ("target_cidrs", '["0.0.0.0/0"]', "needs i_own_the_target = true"),
    ("target_cidrs", '["0.0.0.0/1", "128.0.0.0/1"]', "needs i_own_the_target = true"),
    ("target_cidrs", '["::/0"]', "target_cidrs must be IPv4 networks"),
    ("target_cidrs", "[]", "target_cidrs must be IPv4 networks"),
    ("target_ports", "[0]", "target_ports must be numbers from 1 to 65535."),
    ("allow", '""', "with at least one [[allow]]"),
    ("ttl_s", "90000", "ttl_s must be 900 (15 min) to 86400 (24 h)."),
    ("ttl_s", "1", "ttl_s must be 900"),
    ("expires_at", '"tomorrow"', "expires_at must be UTC, such as"),
    ("daily_stop", "null", "so that a forgotten fleet ends"),
    ("wheelhouse", '"abc"', "wheelhouse must be a sha256"),
    ("controller_public_key", '"abc"', "A CURVE key has 40 characters"),
    ("client_cidrs", '["0.0.0.0/0"]', "client_cidrs must be IPv4 networks of /16 or narrower"),
    ("max_hourly_usd", "1", "All agents on demand would cost"),
    ("max_agents", "5", "The regions' max_agents add up to more than the fleet's max_agents."),
    ("min_share", "0", "min_share must be above 0 and at most 1."),
    ("control", '"tunnel"', "control must be peering or public."),
    ("control", '"public"', "each region needs egress_ips nat or eip"),
    ("budget", "{ monthly_usd = 0, emails = [] }", "budget must have an amount above 0 and at least one address."),
    ("controller", '{ region = "eu-west-1", state = "gone" }', "The controller's state must be running or stopped."),
    ("controller", '{ region = "eu-west-1", ttl_s = 60 }', "The controller's ttl_s must be 900"),
    ("controller", '{ region = "eu-west-1", options = ["; rm"] }', "must not contain spaces, quotes"),
    ("controller", '{ region = "eu-west-1", cidr = "10.1.0.0/16" }', "Two networks have the same cidr"),
    ("controller", '{ region = "eu-west-1", cidr = "10.1.4.0/24" }', "Two networks overlap"),
]
BAD_REGION = [
    ("instance_types", '["t3.xlarge"]', "Do not use types of the t family"),
    ("instance_types", '["c7g.xlarge"]', "Do not use Graviton types"),
    ("instance_types", '["z9.xlarge"]', "The price is unknown for z9.xlarge in eu-west-1"),
    ("instance_types", "[]", "instance_types must have at least one type."),
    ("egress_ips", '"some"', "egress_ips must be none, nat or eip."),
    ("vpc_id", '"vpc-1"', "Set both vpc_id and subnet_ids, or neither."),
    ("subnet_ids", '["a"]', "Set both vpc_id and subnet_ids, or neither."),
    ("max_agents", "0.5", "max_agents must be a whole number of at least 1."),
    ("cidr", '"10.0.0.0/8"', "an IPv4 network of /16 to /24"),
]


def refused(folder: Path, inputs: dict[str, str], region: dict[str, str]) -> str:
    copied = folder / "deploy" / "terraform"
    shutil.copytree("deploy/terraform", copied, ignore=shutil.ignore_patterns("examples"))
    example = copied / "examples" / "bad"
    example.mkdir(parents=True)
    (example / "terraform.tfvars.example").write_text("")
    lines = [f"  {name} = {value}" for name, value in (INPUTS | inputs).items()]
    where = ", ".join(f"{name} = {value}" for name, value in (REGION | region).items())
    lines += [f'  regions = {{ "eu-west-1" = {{ {where} }} }}', '  source = "../.."']
    (example / "main.tf").write_text('module "loadgen" {\n' + "\n".join(lines) + "\n}\n")
    return "\n".join(str(one["message"]) for one in outside.evaluated("plan", example)["refused"])


def test_what_is_right_is_not_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {}, {}) == ""


def test_everything_is_loaded_with_the_owners_statement(tmp_path: Path) -> None:
    assert refused(tmp_path, {"target_cidrs": '["0.0.0.0/0"]', "i_own_the_target": "true"}, {}) == ""


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, {"fleet": '"Shop"', "target_cidrs": '["0.0.0.0/0"]', "ttl_s": "1"}, {"max_agents": "0.5"})
    for what in (
        "fleet must have 3 to 32",
        "i_own_the_target = true",
        "ttl_s must be 900",
        "max_agents must be a whole number",
    ):
        assert what in said


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_a_wrong_input_is_refused_with_its_reason(name: str, value: str, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, {name: value}, {})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value", "message"), BAD_REGION)
def test_a_wrong_region_is_refused_with_its_reason(name: str, value: str, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, {}, {name: value})
