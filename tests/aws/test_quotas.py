"""What the account may not have is told before the first machine starts. A c7i.xlarge has 4 vCPUs, a c7i.4xlarge 16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.aws.account.names import group_name
from loadgen.aws.scale.groups import Group, read_group
from loadgen.aws.scale.quotas import Room
from loadgen.aws.scale.scale_up import Terms, bring_up, planned, rooms
from loadgen.errors import CredentialsError, ExitCode, QuotaReached
from loadgen_controller import cli
from loadgen_controller.commands import fleet
from tests.support.aws_fleet import REGIONS, Answers, Aws, site_of

ON_DEMAND, SPOT = "L-1216C47A", "L-34B43A08"
HERE, THERE = REGIONS[:2]


class Stage:
    def __init__(self, aws: Aws, answers: Answers, folder: Path) -> None:
        self.aws, self.answers, self.told = aws, answers, list[str]()
        self.made = aws.make_fleet()
        self.folder = folder

    def types(self, *kinds: str) -> None:
        for region in self.made["regions"].values():
            region |= {"instance_types": list(kinds), "usd_per_hour": dict.fromkeys(kinds, 0.2)}

    def runs(self, region: str, kind: str, number: int) -> None:
        """Machines of somebody else in this account."""
        ec2 = self.aws.clients.client("ec2", region)
        ec2.run_instances(ImageId="ami-12345678", InstanceType=kind, MinCount=number, MaxCount=number)

    def rooms(self, least: int | None = None, **wish: int) -> list[Room]:
        site = site_of(self.aws, self.made, self.folder, told=self.told)
        terms = Terms({name.replace("_", "-"): number for name, number in wish.items()}, least=least)
        return rooms(site, terms, *planned(site, terms))


@pytest.fixture
def stage(aws: Aws, answers: Answers, tmp_path: Path) -> Stage:
    answers.quotas = {(ON_DEMAND, "*"): 64.0, (SPOT, "*"): 64.0}
    return Stage(aws, answers, tmp_path)


def test_machines_that_fit_are_told_with_what_is_left_and_everybody_in_the_account_counts(stage: Stage) -> None:
    stage.runs(HERE, "m5.4xlarge", 2)
    stage.runs(HERE, "g4dn.xlarge", 3)  # of another quota
    (room,) = stage.rooms(eu_west_1=8)
    assert str(room) == "eu-west-1 needs 32 more on-demand vCPUs, and 32 of the account's 64 are free there"
    assert stage.told == []


def test_up_refuses_before_anything_starts_and_names_each_region_that_cannot(stage: Stage) -> None:
    stage.answers.quotas |= {(ON_DEMAND, HERE): 0.0, (ON_DEMAND, THERE): 8.0}
    site = site_of(stage.aws, stage.made, stage.folder)
    stage.answers.asked.clear()
    with pytest.raises(ExceptionGroup) as caught:
        bring_up(site, Terms({HERE: 1, THERE: 3}), list, lambda *_: None)
    first, second = caught.value.exceptions
    assert isinstance(first, QuotaReached)
    assert str(first) == f"{HERE} needs 4 more on-demand vCPUs, and 0 of the account's 0 are free there"
    assert str(second) == f"{THERE} needs 12 more on-demand vCPUs, and 8 of the account's 8 are free there"
    assert ON_DEMAND in first.hint
    changing = ("Put", "Set", "Create", "Update", "Terminate", "Delete")
    assert not [operation for operation, _ in stage.answers.asked if operation.startswith(changing)]


def test_where_enough_can_come_it_is_told_and_goes_on(stage: Stage) -> None:
    stage.answers.quotas[ON_DEMAND, HERE] = 8.0
    stage.rooms(least=2, eu_west_1=3)
    assert stage.told == [
        f"{HERE} needs 12 more on-demand vCPUs, and 8 of the account's 8 are free there: 1 agents cannot start"
    ]
    with pytest.raises(QuotaReached):
        stage.rooms(least=3, eu_west_1=3)


def test_machines_of_the_fleet_that_are_there_are_not_asked_for_again(stage: Stage) -> None:
    site = site_of(stage.aws, stage.made, stage.folder)
    bring_up(site, Terms({HERE: 2}), stage.aws.all_registered(), lambda *_: None)
    assert stage.rooms(eu_west_1=2) == []
    (room,) = stage.rooms(eu_west_1=3)
    assert (room.least, room.used) == (4, 8)


def test_what_fits_with_the_small_types_only_is_no_refusal(stage: Stage) -> None:
    stage.types("c7i.xlarge", "c7i.4xlarge")
    (room,) = stage.rooms(eu_west_1=5)
    assert str(room) == "eu-west-1 needs 20 to 80 more on-demand vCPUs, and 64 of the account's 64 are free there"
    assert stage.told == [f"{room}: not all agents can start if the group uses its larger instance types"]


def test_a_group_that_mixes_needs_room_in_both_quotas(stage: Stage) -> None:
    name = group_name("shop", HERE)
    template = {"LaunchTemplateName": stage.made["regions"][HERE]["launch_template"]}
    mix: dict[str, Any] = {
        "LaunchTemplate": {"LaunchTemplateSpecification": template},
        "InstancesDistribution": {"OnDemandBaseCapacity": 1, "OnDemandPercentageAboveBaseCapacity": 25},
    }
    groups = stage.aws.clients.client("autoscaling", HERE)
    groups.update_auto_scaling_group(AutoScalingGroupName=name, MixedInstancesPolicy=mix)
    group = read_group(stage.aws.clients, HERE, name)
    assert group is not None
    assert (group.on_demand_base, group.on_demand_percent) == (1, 25)
    stage.answers.quotas[SPOT, HERE] = 8.0
    with pytest.raises(QuotaReached, match="needs 12 more spot vCPUs, and 8 of the account's 8") as caught:
        stage.rooms(eu_west_1=5)
    assert SPOT in caught.value.hint


@pytest.mark.parametrize(
    ("base", "percent", "number", "on_demand"),
    [(0, 100, 7, 7), (0, 0, 7, 0), (2, 0, 1, 1), (2, 0, 7, 2), (1, 25, 5, 2), (1, 25, 6, 3), (0, 50, 1, 1)],
)
def test_what_is_bought_on_demand_is_rounded_up(base: int, percent: int, number: int, on_demand: int) -> None:
    group = Group("g", HERE, 0, 9, 0, False, on_demand_base=base, on_demand_percent=percent)
    assert group.on_demand(number) == on_demand


@pytest.mark.parametrize("operation", ["GetServiceQuota", "DescribeInstanceTypes", "DescribeInstances"])
def test_what_may_not_be_asked_is_told_and_no_reason_to_start_nothing(stage: Stage, operation: str) -> None:
    stage.answers.codes = {(operation, HERE): "AccessDeniedException"}
    (room,) = stage.rooms(eu_west_1=1, us_east_1=1)
    assert room.region == THERE
    (told,) = stage.told
    assert told.startswith(f"cannot check the account's quota in {HERE}: cannot ")
    assert told.endswith("AWS returned AccessDeniedException")


def test_quota_that_aws_does_not_know_is_told(stage: Stage) -> None:
    """As moto, which knows those of networks only."""
    stage.answers.quotas.clear()
    assert stage.rooms(eu_west_1=1) == []
    assert "NoSuchResource" in stage.told[0]


def test_type_of_which_the_quota_is_not_known_is_told(stage: Stage) -> None:
    stage.types("c7i.xlarge", "inf2.xlarge")
    assert stage.rooms(eu_west_1=1) == []
    assert "the quota of inf2.xlarge is unknown" in stage.told[0]


def test_credentials_that_are_over_are_an_error(stage: Stage) -> None:
    stage.answers.codes = {("GetServiceQuota", "*"): "ExpiredTokenException"}
    with pytest.raises(CredentialsError):
        stage.rooms(eu_west_1=1)


def test_plan_shows_what_is_free_and_ends_as_up_would(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stage.folder)
    monkeypatch.setattr(fleet, "Clients", lambda: stage.aws.clients)
    stage.aws.write(stage.folder, stage.made)
    fits = CliRunner().invoke(cli.app, ["fleet", "plan", "eu-west-1=3"])
    assert (fits.exit_code, "needs 12 more on-demand vCPUs, and 64 of" in fits.output) == (0, True)
    stage.answers.quotas[ON_DEMAND, HERE] = 8.0
    for args in (["plan", "eu-west-1=3"], ["up", "eu-west-1=3", "--dry-run"]):
        refused = CliRunner().invoke(cli.app, ["fleet", *args])
        assert refused.exit_code == ExitCode.FLEET
        assert "USD an hour" in refused.output
        assert "8 of the account's 8 are free there" in " ".join(refused.output.split())
