"""Our rules for Terraform: our own files keep them, and each is shown to find what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.deploy import lint, schema
from tools.deploy.module import Module, folders

ROOT = Path("deploy/terraform")
VERSIONS = """terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.0" }
  }
}
"""
RULE = """resource "aws_vpc_security_group_%s_rule" "x" {
  region            = "r"
  security_group_id = "sg"
  tags              = {}
  cidr_ipv4         = "%s"
}
"""
MACHINE = """resource "aws_launch_template" "x" {
  region = "r"
  tags   = {}
  instance_initiated_shutdown_behavior = "terminate"
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  dynamic "tag_specifications" {
    for_each = []
    content {}
  }
}
"""
GROUP = 'resource "aws_autoscaling_group" "x" {\n  region = "r"\n  min_size = 0\n  max_size = 3\n  tag {}\n}\n'

SHOWN = 'output "z" {\n  description = "y"\n  value = local.x\n}\n'

PLANTED = {
    "typed": 'variable "x" {\n  description = "y"\n}\noutput "y" {\n  description = "y"\n  value = var.x\n}\n',
    "unused": 'variable "x" {\n  type = string\n  description = "y"\n}\n',
    "circles": (
        'variable "x" {\n  type = number\n  description = "y"\n  validation {\n    condition = local.y > var.x\n'
        '    error_message = "no"\n  }\n}\nlocals {\n  y = var.x + 1\n}\n'
    ),
    "shadows": 'locals {\n  x = [for path, y in {} : "${path.module}/${y}"]\n}\n' + SHOWN,
    "versions": 'data "aws_region" "x" {\n  region = "r"\n}\n',
    "closed": RULE % ("egress", "0.0.0.0/0"),
    "no-ingress": 'resource "aws_security_group" "x" {\n  region = "r"\n  tags = {}\n  ingress {}\n}\n',
    "target": 'variable "target_cidrs" {\n  type = list(string)\n  description = "y"\n  default = []\n}\n',
    "no-provisioner": 'resource "aws_vpc" "x" {\n  region = "r"\n  tags = {}\n  provisioner "local-exec" {}\n}\n',
    "no-secret": 'resource "aws_ssm_parameter" "x" {\n  region = "r"\n  tags = {}\n'
    '  type = "SecureString"\n  value = 1\n}\n',
    "tags": 'resource "aws_vpc" "x" {\n  region = "r"\n}\n',
    "region": 'resource "aws_vpc" "x" {\n  tags = {}\n}\n',
    "imdsv2": MACHINE.replace('"required"', '"optional"'),
    "encrypted": MACHINE.replace("  dynamic", "  block_device_mappings {\n    ebs {}\n  }\n  dynamic"),
    "no-public-ip": 'resource "aws_subnet" "x" {\n  region = "r"\n  tags = {}\n  map_public_ip_on_launch = true\n}\n',
    "ends": GROUP.replace("min_size = 0", "min_size = 1"),
    "partition": 'locals {\n  x = "arn:aws:s3:::y"\n}\n' + SHOWN,
}
MORE = [
    ("closed", RULE % ("ingress", "::/0")),
    ("closed", "# deploy-check: open cidr: it is said to be right\n" + RULE % ("ingress", "0.0.0.0/0")),
    ("closed", "# deploy-check: open cidr:\n" + RULE % ("egress", "0.0.0.0/0")),
    ("closed", 'variable "x" {\n  type = string\n  description = "y"\n  default = "0.0.0.0/0"\n}\n'),
    ("no-ingress", RULE.replace('"sg"', "aws_security_group.agents.id") % ("ingress", "10.0.0.0/8")),
    ("no-secret", MACHINE.replace("  tags ", '  key_name = "me"\n  tags ')),
    ("no-secret", 'resource "tls_private_key" "x" {\n  algorithm = "RSA"\n}\n'),
    ("tags", GROUP.replace("  tag {}\n", "")),
    ("imdsv2", MACHINE.replace("hop_limit = 1", "hop_limit = 2")),
    ("ends", GROUP.replace("  tag {}", "  desired_capacity = 1\n  tag {}")),
    ("ends", GROUP.replace("  tag {}", "  protect_from_scale_in = true\n  tag {}")),
    ("ends", MACHINE.replace("instance_initiated_shutdown_behavior", "description")),
    ("partition", 'locals {\n  x = "ec2.amazonaws.com"\n}\n' + SHOWN),
]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return schema.schema()


def found(text: str, folder: Path, known: dict[str, Any]) -> set[str]:
    (folder / "main.tf").write_text(("" if 'aws_region" "x"' in text else VERSIONS) + text)
    return {fault.rule for fault in lint.check([Module.of(folder)], known)}


def test_our_own_files_keep_every_rule(known: dict[str, Any]) -> None:
    modules = [Module.of(folder) for folder in folders(ROOT)]
    assert len(modules) == 8
    assert [str(fault) for fault in lint.check(modules, known)] == []


def test_every_rule_has_a_planted_fault() -> None:
    assert set(PLANTED) == {rule.name for rule in lint.RULES}


@pytest.mark.parametrize(("rule", "text"), [*PLANTED.items(), *MORE])
def test_a_rule_finds_what_it_is_for_and_no_other_does(
    rule: str, text: str, tmp_path: Path, known: dict[str, Any]
) -> None:
    rules = found(text, tmp_path, known)
    assert rule in rules
    assert rules <= {rule, "unused"}


@pytest.mark.parametrize(
    "text",
    [
        MACHINE,
        GROUP,
        "# deploy-check: open cidr: a reason\n" + RULE % ("egress", "0.0.0.0/0"),
        RULE % ("ingress", "10.0.0.0/8"),
    ],
)
def test_what_is_right_is_not_found(text: str, tmp_path: Path, known: dict[str, Any]) -> None:
    assert found(text, tmp_path, known) == set()


def test_a_statement_that_nobody_asks_for_is_a_fault(tmp_path: Path, known: dict[str, Any]) -> None:
    text = (ROOT / "variables.tf").read_text()
    without = text.replace("var.i_own_the_target ||", "")
    assert without != text
    assert "target" in found(without, tmp_path, known)


def test_a_fault_says_file_line_and_rule(tmp_path: Path, known: dict[str, Any]) -> None:
    (tmp_path / "main.tf").write_text(VERSIONS + PLANTED["region"])
    (fault,) = lint.check([Module.of(tmp_path)], known)
    assert str(fault) == f"{tmp_path / 'main.tf'}:7: resource.aws_vpc.x is regional and has no region argument [region]"
