"""What is left of a fleet is found in every region, and nobody else's is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loadgen.aws.account.names import TAG_EXPIRES_AT, TAG_FLEET, TAG_OWNER, TAG_ROLE
from loadgen.aws.scale import reaping
from loadgen.aws.scale.reaping import find_left, is_overdue, reap
from loadgen.aws.scale.scale_down import take_down
from loadgen.aws.scale.scale_up import Terms, bring_up, stamp
from tests.support.aws_fleet import REGIONS, Answers, Aws, Jumping, site_of


@pytest.fixture(autouse=True)
def three_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto has all 38 of all partitions enabled, and takes its time for each."""
    monkeypatch.setattr(reaping, "enabled_regions", lambda *_: list(REGIONS))


def stray(aws: Aws, region: str, role: str = "agent", **tags: str) -> str:
    """A machine of no group, with the fleet's tags unless others are given."""
    given = {TAG_FLEET: "shop", TAG_ROLE: role, TAG_OWNER: "perf team", TAG_EXPIRES_AT: "2026-01-01T00:00:00Z"} | tags
    answer = aws.clients.client("ec2", region).run_instances(
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in given.items()]}
        ],
    )
    return str(answer["Instances"][0]["InstanceId"])


def test_after_up_and_down_nothing_is_left(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    bring_up(site, Terms(dict.fromkeys(aws.regions, 2)), aws.all_registered(), lambda *_: None)
    take_down(site, dict.fromkeys(aws.regions, 0), aws.all_registered())

    assert find_left(site, is_all=True).is_nothing


def test_fleet_of_a_laptop_that_died_is_left_alone_until_its_time_is_over(aws: Aws, tmp_path: Path) -> None:
    clock = Jumping()
    site = site_of(aws, aws.make_fleet(), tmp_path, clock)
    bring_up(site, Terms({"eu-west-1": 2}, ttl_s=3600), aws.all_registered(), lambda *_: None)

    left = find_left(site)
    assert (left.is_nothing, left.others) == (True, 2)

    clock.sleep(3601)
    left = find_left(site)
    assert (len(left.machines), [group.desired for group in left.groups]) == (2, [2])
    reap(site, left)
    assert (aws.count(), aws.desired()) == (0, [0, 0])


def test_all_takes_what_is_not_overdue_too(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    bring_up(site, Terms({"eu-west-1": 2}), aws.all_registered(), lambda *_: None)

    assert len(find_left(site, is_all=True).machines) == 2


def test_machine_of_no_group_in_a_region_that_the_fleet_has_no_more_is_found(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(regions=("eu-west-1",)), tmp_path)
    lost = stray(aws, "ap-southeast-1")

    left = find_left(site)

    assert [machine.id for machine in left.machines] == [lost]
    reap(site, left)
    assert not aws.machines("ap-southeast-1")["ap-southeast-1"]


def test_what_is_another_fleets_another_owners_or_a_controller_is_never_touched(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    stray(aws, "eu-west-1", **{TAG_FLEET: "other"})
    stray(aws, "eu-west-1", **{TAG_OWNER: "somebody else"})
    stray(aws, "eu-west-1", role="controller")
    aws.clients.client("ec2", "eu-west-1").run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)

    assert find_left(site, is_all=True).is_nothing


def test_region_that_fails_does_not_keep_the_others(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    stray(aws, "eu-west-1")
    stray(aws, "us-east-1")
    left = find_left(site)
    answers.codes["TerminateInstances", "eu-west-1"] = "Throttling"

    with pytest.raises(Exception, match="cannot end strays in eu-west-1"):
        reap(site, left)

    assert aws.machines()["us-east-1"] == []


@pytest.mark.parametrize(
    ("tag", "answer"),
    [("2026-11-26T13:59:59Z", True), ("2026-11-26T14:00:01Z", False), ("", False), ("soon", False)],
)
def test_only_a_time_that_is_over_is_overdue(tag: str, answer: bool) -> None:
    assert is_overdue(tag, datetime(2026, 11, 26, 14, tzinfo=UTC)) is answer


def test_stamp_is_what_overdue_reads() -> None:
    at = datetime(2026, 11, 26, 14, tzinfo=UTC)

    assert is_overdue(stamp(at), at)
    assert not is_overdue(stamp(at + timedelta(seconds=1)), at)
