"""What is wrong in a fleet.json is said at once, before AWS is asked anything."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loadgen.aws.account.fleetfile import ControllerAt, FleetFile, Policy, RegionOf, parse_instant, read
from loadgen.errors import ExitCode, UsageError

GOOD: dict[str, Any] = {
    "format": 1,
    "fleet": "shop",
    "account_id": "123456789012",
    "owner": "perf team",
    "bucket": "loadgen-shop",
    "bucket_region": "eu-west-1",
    "controller": {"endpoint": "10.0.0.7:5557", "api": "controller.internal:5558"},
    "regions": {"eu-west-1": {"asg": "a-group", "instance_types": ["c7i.xlarge"], "max_agents": 20}},
    "target_cidrs": ["10.20.0.0/16"],
}


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(GOOD | changes))
    return path


def test_fleet_file_of_a_later_terraform_with_more_in_it_is_read(tmp_path: Path) -> None:
    file = read(written(tmp_path, expires_at="2027-01-01T00:00:00Z", something_new=[1]))

    assert (file.fleet, file.policy.max_agents, file.expires) == ("shop", 50, datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fleet": "Shop/1"}, 'fleet: invalid name "Shop/1"'),
        ({"account_id": "12"}, "invalid account"),
        ({"owner": " "}, "owner is empty"),
        ({"regions": {}}, "regions is empty"),
        ({"regions": {"ireland": GOOD["regions"]["eu-west-1"]}}, 'invalid region "ireland"'),
        ({"controller": {"endpoint": "10.0.0.7", "api": "c:5558"}}, "controller.endpoint"),
        ({"expires_at": "tomorrow"}, 'expires_at: invalid time "tomorrow"'),
        ({"expires_at": "2027-01-01T00:00:00"}, "has no offset from UTC"),
        ({"policy": {"min_share": 0}}, "policy.min_share"),
        ({"policy": {"ttl_s": 10**9}}, "policy.ttl_s"),
        ({"target_cidrs": ["everywhere"]}, 'invalid network "everywhere"'),
        ({"format": 2}, "has the unknown format 2"),
        ({"bucket": 7}, "invalid fleet file"),
    ],
)
def test_what_is_wrong_in_a_fleet_file_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(written(tmp_path, **changes))

    assert told in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0", "128.0.0.0/1"])
def test_target_of_the_whole_internet_needs_its_owners_statement(tmp_path: Path, everybody: str) -> None:
    with pytest.raises(UsageError, match="is wider than /8") as caught:
        read(written(tmp_path, target_cidrs=[everybody]))

    assert "i_own_the_target = true" in caught.value.hint
    assert read(written(tmp_path, target_cidrs=[everybody], i_own_the_target=True)).i_own_the_target


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        read(written(tmp_path, fleet="S", account_id="1", target_cidrs=["0.0.0.0/0"]))

    assert len(caught.value.exceptions) == 3


def test_file_that_is_not_there_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as caught:
        read(tmp_path / "fleet.json")

    assert "terraform apply" in caught.value.hint


def test_instant_of_another_offset_is_the_same_instant() -> None:
    assert parse_instant("2026-11-26T15:00:00+01:00") == datetime(2026, 11, 26, 14, tzinfo=UTC)


def test_terraform_writes_what_is_read_here() -> None:
    """Names on both sides: one that Terraform has and nobody reads, or that it does not write, is a fault of either."""
    text = (Path(__file__).parents[2] / "deploy/terraform/outputs.tf").read_text()
    block = text[text.index("fleet_file = {") : text.index("output ")]
    written = set(re.findall(r"^ +(\w+) +=", block, re.MULTILINE)) - {"fleet_file"}

    structs = (FleetFile, ControllerAt, Policy, RegionOf)
    assert written == {field for struct in structs for field in struct.__struct_fields__}
