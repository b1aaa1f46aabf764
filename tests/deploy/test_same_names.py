"""Terraform, the scripts of its machines and our own code use one list of names: `loadgen/aws/account/names.py`."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from loadgen.aws.account import names
from loadgen.aws.account.fleetfile import ControllerAt, FleetFile, Policy, RegionOf
from tools.deploy.hcl import strings
from tools.deploy.module import Module, folders

ROOT = Path("deploy/terraform")
FILES = ROOT / "modules" / "boot" / "files"

TAG = re.compile(r"loadgen:[a-z-]+")
PARAMETER = re.compile(r"(?<=\")/loadgen/[^\s\"]+")
PREFIX = re.compile(r"(?:bucket_arn\}/|s3://\$BUCKET/|prefix = \"|\"(?=[a-z]+/\*\"))([a-z]+/)")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Of each file what is in quotes, where it is Terraform, and all of it where it is a script or a unit."""
    found = {
        f"{module.folder}:{attribute.line}:{attribute.name}": strings(attribute.text)
        for module in map(Module.of, folders(ROOT))
        for _, attribute in module.attributes()
    }
    return found | {str(path): path.read_text() for path in FILES.iterdir()}


def test_every_tag_is_in_the_list(texts: dict[str, str]) -> None:
    used = {tag for text in texts.values() for tag in TAG.findall(text)}
    assert used <= set(names.TAGS)
    assert used >= {names.TAG_FLEET, names.TAG_ROLE, names.TAG_OWNER, names.TAG_EXPIRES_AT, names.TAG_BOOT}
    assert used >= {names.TAG_PROJECT, names.TAG_COST_CENTER}


def test_what_a_machine_says_of_its_start_is_in_the_list() -> None:
    assert set(re.findall(r"\btag_boot (\w+)", (FILES / "boot.sh").read_text())) == {one.value for one in names.Boot}


def test_roles_are_those_of_the_list() -> None:
    text = (ROOT / "main.tf").read_text()
    assert set(re.findall(r'"loadgen:role" = "(\w+)"', text)) == {one.value for one in names.Role}


def test_every_parameter_is_in_the_list() -> None:
    agents = (ROOT / "modules" / "region" / "agents.tf").read_text()
    made = {f"/loadgen/{{fleet}}/agent/{name}" for name in re.findall(r'"\$\{local\.parameters\}/([a-z-]+)"', agents)}
    assert 'parameters  = "/loadgen/${var.fleet}/agent"' in agents
    assert made == {names.CONTROLLER_ENDPOINT, names.CONTROLLER_PUBLIC_KEY, names.KILL}
    controller = (ROOT / "modules" / "controller" / "outputs.tf").read_text() + (FILES / "controller.sh").read_text()
    secret = {re.sub(r"\$\{var\.fleet\}|\$FLEET", "{fleet}", one) for one in PARAMETER.findall(controller)}
    assert secret == {names.CONTROLLER_SECRET_KEY}


def test_every_prefix_of_the_bucket_is_in_the_list() -> None:
    text = "\n".join(path.read_text() for path in [*ROOT.rglob("*.tf"), *FILES.iterdir()])
    used = set(PREFIX.findall(text))
    assert used <= set(names.PREFIXES)
    assert used >= {names.WHEELHOUSE, names.ENROLL, names.RESULTS, names.STARTUP}


def test_ports_are_those_of_the_list() -> None:
    text = "\n".join(path.read_text() for path in [*ROOT.rglob("*.tf"), *FILES.iterdir()])
    assert set(re.findall(r"\b55\d\d\b", text)) == {str(names.PORT_CONTROL), str(names.PORT_API)}


def test_groups_and_launch_templates_are_called_as_the_list_says() -> None:
    agents = (ROOT / "modules" / "region" / "agents.tf").read_text()
    assert 'name        = "loadgen-${var.fleet}-${var.region}"' in agents
    assert names.GROUP == "loadgen-{fleet}-{region}-agents"
    assert names.LAUNCH_TEMPLATE == "loadgen-{fleet}-{region}-agent"
    assert '"${local.name}-agents"' in agents
    assert '"${local.name}-agent"' in agents
    # The command sets an action of its own for a run; it may not take away those that end a forgotten fleet.
    assert names.EXPIRY_ACTION not in re.findall(r"^    (loadgen-[a-z-]+) +=", agents, re.MULTILINE)


def test_a_name_of_a_fleet_is_right_on_both_sides() -> None:
    text = (ROOT / "variables.tf").read_text()
    assert f'regex("^{names.FLEET_NAME.pattern}$", var.fleet)' in text


def test_the_fleet_file_that_terraform_writes_has_the_fields_that_the_command_reads() -> None:
    """And no others: a field that is misspelt here would be its default there."""
    text = Module.of(ROOT).locals()["fleet_file"].text
    written = set(re.findall(r"^ +(\w+) += ", text, re.MULTILINE))
    structs = (FleetFile, ControllerAt, Policy, RegionOf)
    assert written == {name for struct in structs for name in struct.__struct_fields__}


def test_the_table_of_prices_says_when_and_where_from_and_errs_high() -> None:
    table = json.loads((ROOT / "prices.json").read_text())
    assert date.fromisoformat(table["as_of"]) >= date(2026, 7, 1)
    assert table["source"]
    assert table["elsewhere"] >= 1.5
    assert all(0.05 < usd < 10 for usd in table["usd_per_hour"].values())
    # Known from AWS's pages for years, and the same in each.
    assert table["usd_per_hour"]["c6i.xlarge"] == 0.17
    assert table["usd_per_hour"]["c7i.xlarge"] == 0.1785
