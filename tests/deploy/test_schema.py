"""What the provider's schema and our own declarations do not know is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.deploy import schema
from tools.deploy.module import Module, folders

ROOT = Path("deploy/terraform")
RIGHT = 'resource "aws_eip" "x" {\n  domain = "vpc"\n}\n'

PLANTED = [
    (RIGHT.replace("domain", "vpc"), "resource.aws_eip.x has no argument vpc"),
    (RIGHT.replace("aws_eip", "aws_eipp"), "resource aws_eipp is not in the extract of the schema"),
    (RIGHT.replace("}\n", "  filter {\n  }\n}\n"), "resource.aws_eip.x has no block filter"),
    ('resource "aws_vpc_endpoint" "x" {\n}\n', "resource.aws_vpc_endpoint.x needs vpc_id"),
    ('resource "aws_kms_alias" "x" {\n  name = "y"\n}\n', "resource.aws_kms_alias.x needs target_key_id"),
    (
        'resource "aws_launch_template" "x" {\n  monitoring {}\n  monitoring {}\n}\n',
        "resource.aws_launch_template.x may have monitoring only once",
    ),
    (
        'resource "aws_launch_template" "x" {\n  metadata_options {\n    http_token = "required"\n  }\n}\n',
        "resource.aws_launch_template.x.metadata_options has no argument http_token",
    ),
    (
        'resource "aws_autoscaling_group" "x" {\n  min_size = 0\n  max_size = 1\n'
        '  dynamic "tags" {\n    content {}\n  }\n}\n',
        "resource.aws_autoscaling_group.x has no block tags",
    ),
    ('data "aws_vpc_endpoint_service" "x" {\n  region = "r"\n}\n', "not in the extract"),
    (RIGHT + "locals {\n  y = aws_eip.x.addres\n}\n", "aws_eip has no attribute addres"),
    (RIGHT + "locals {\n  y = aws_eip.z[0].id\n}\n", "there is no resource aws_eip.z"),
    ("locals {\n  y = data.aws_region.x.region\n}\n", "there is no data aws_region.x"),
    ('locals {\n  y = "${var.z}"\n}\n', "there is no variable z"),
    ("locals {\n  y = [for one in local.z : one]\n}\n", "there is no local z"),
    ("locals {\n  y = module.z.w\n}\n", "there is no module z"),
    ('module "z" {\n  source = "./inner"\n}\n', "module z needs wanted"),
    ('module "z" {\n  source = "./inner"\n  wanted = 1\n  other = 2\n}\n', "module z has no variable other"),
    (
        'module "z" {\n  source = "./inner"\n  wanted = 1\n}\nlocals {\n  y = module.z.gone\n}\n',
        "module z has no output gone",
    ),
    ('module "z" {\n  source = "./nowhere"\n}\n', "its source has no module"),
]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return schema.schema()


def found(text: str, folder: Path, known: dict[str, Any]) -> list[str]:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "main.tf").write_text('variable "wanted" {\n}\nvariable "kept" {\n  default = 1\n}\noutput "given" {\n}\n')
    (folder / "main.tf").write_text(text)
    return [fault.what for fault in schema.check([Module.of(folder), Module.of(inner)], known)]


def test_our_own_files_fit_the_schema(known: dict[str, Any]) -> None:
    assert [str(fault) for fault in schema.check([Module.of(folder) for folder in folders(ROOT)], known)] == []


@pytest.mark.parametrize(("text", "what"), PLANTED)
def test_what_the_provider_would_refuse_is_found(text: str, what: str, tmp_path: Path, known: dict[str, Any]) -> None:
    (fault,) = found(text, tmp_path, known)
    assert what in fault


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        RIGHT + "locals {\n  y = aws_eip.x[*].public_ip\n}\n",
        'module "z" {\n  source = "./inner"\n  wanted = 1\n}\nlocals {\n  y = module.z.given\n}\n',
        'resource "aws_eip" "x" {\n  count = 2\n  lifecycle {\n    ignore_changes = [tags]\n  }\n}\n',
    ],
)
def test_what_it_takes_is_not_found(text: str, tmp_path: Path, known: dict[str, Any]) -> None:
    assert found(text, tmp_path, known) == []


def test_the_extract_has_what_we_use_and_nothing_else(known: dict[str, Any]) -> None:
    from tools.deploy.extract import used

    assert {kind: set(known[kind]) for kind in ("resource", "data")} == used()
