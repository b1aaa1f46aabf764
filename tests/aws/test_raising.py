"""A fleet comes up or leaves nothing behind, in three regions of moto's server."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from loadgen.aws.account.fleet_context import ReadRegistry, Site
from loadgen.aws.account.names import EXPIRY_ACTION, TAG_EXPIRES_AT, TAG_RUN
from loadgen.aws.scale.machine_states import MachineState
from loadgen.aws.scale.scale_down import take_down
from loadgen.aws.scale.scale_up import ScaleUpResult, Terms, bring_up, stamp
from loadgen.errors import (
    CloudDenied,
    CloudError,
    CloudGone,
    CredentialsError,
    FleetError,
    LoadgenError,
    NoCapacity,
    QuotaReached,
    Throttled,
    UsageError,
)
from tests.support.aws_fleet import REGIONS, Answers, Aws, Jumping, site_of

WISH = {"eu-west-1": 2, "us-east-1": 1}


def up(
    site: Site, read_registry: ReadRegistry, looks: list[tuple[MachineState, ...]] | None = None, **terms: object
) -> ScaleUpResult:
    looks = looks if looks is not None else []
    return bring_up(site, Terms(**({"wish": WISH} | terms)), read_registry, lambda states, _: looks.append(states))  # type: ignore[arg-type]


def registered_but_in(aws: Aws, region: str) -> ReadRegistry:
    """All but those of one region, which run and never say a word."""
    return lambda: [one for one in aws.all_registered()() if one.machine not in aws.machines(region)[region]]


def test_fleet_of_nine_is_up_in_three_regions_when_all_are_registered(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(regions=REGIONS), tmp_path)

    raised = up(site, aws.all_registered(), wish={"eu-west-1": 3, "us-east-1": 4, "ap-southeast-1": 2})

    assert raised.registered == {"eu-west-1": 3, "us-east-1": 4, "ap-southeast-1": 2}
    assert {region: len(ids) for region, ids in aws.machines().items()} == raised.registered
    assert len(raised.new) == 9


def test_end_of_its_time_is_set_before_the_first_machine_starts(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    clock = Jumping()
    site = site_of(aws, aws.make_fleet(), tmp_path, clock)

    up(site, aws.all_registered(), wish={"eu-west-1": 1}, ttl_s=3600.0, run="checkout")

    calls = [operation for operation, _ in answers.asked]
    assert calls.index("PutScheduledUpdateGroupAction") < calls.index("SetDesiredCapacity")
    (action,) = aws.expiries("eu-west-1")
    expires = clock.at + timedelta(hours=1)
    assert (action["ScheduledActionName"], action["DesiredCapacity"], action["MinSize"]) == (EXPIRY_ACTION, 0, 0)
    assert abs(action["StartTime"] - expires) < timedelta(seconds=1)
    (machine,) = site.machines()
    assert (machine.tags[TAG_EXPIRES_AT], machine.tags[TAG_RUN]) == (stamp(expires), "checkout")


def test_protection_that_would_outlast_the_end_is_taken_away(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(is_protecting=True), tmp_path)

    up(site, aws.all_registered(), wish={"eu-west-1": 1})

    assert not aws.group("eu-west-1")["Instances"][0]["ProtectedFromScaleIn"]


def test_up_again_changes_nothing_and_waits_for_nobody_new(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    up(site, aws.all_registered())
    answers.asked.clear()

    raised = up(site, aws.all_registered())

    assert not raised.new
    assert "SetDesiredCapacity" not in [operation for operation, _ in answers.asked]


def test_machine_that_runs_is_waited_for_until_it_is_registered(aws: Aws, tmp_path: Path) -> None:
    clock, looks = Jumping(), list[tuple[MachineState, ...]]()
    site = site_of(aws, aws.make_fleet(), tmp_path, clock)

    up(site, aws.all_registered(except_for=lambda _: clock.slept_s < 30), looks)

    assert clock.slept_s == 30
    assert [{one.standing.value for one in states} for states in looks] == [
        {"launching"},
        {"registered"},
    ]


def test_instance_that_never_registers_is_named_and_nothing_is_left(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path, Jumping(at_least_s=120))

    with pytest.raises(
        FleetError, match=r"2 of 3 agents registered, but 3 are needed: us-east-1: 0 of 1, i-\w+ not reg"
    ):
        up(site, registered_but_in(aws, "us-east-1"))

    assert (aws.count(), aws.desired()) == (0, [0, 0])
    assert not [one for region in aws.regions for one in aws.expiries(region)]


def test_enough_of_them_go_on_and_those_that_did_not_come_are_ended(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path, Jumping(at_least_s=120))

    raised = up(site, registered_but_in(aws, "us-east-1"), least=2)

    assert (raised.registered, list(raised.missing)) == ({"eu-west-1": 2}, ["us-east-1"])
    assert aws.desired() == [2, 0]


@pytest.mark.slow
def test_share_of_the_policy_is_enough(aws: Aws, tmp_path: Path) -> None:
    made = aws.make_fleet(policy={"min_share": 0.5})

    assert up(
        site_of(aws, made, tmp_path, Jumping(at_least_s=120)), registered_but_in(aws, "us-east-1")
    ).registered == {"eu-west-1": 2}


@pytest.mark.slow
def test_keep_leaves_what_came_to_look_at(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path, Jumping(at_least_s=120))

    with pytest.raises(FleetError):
        up(site, list, keeps=True)

    assert (aws.count(), aws.desired()) == (3, [2, 1])
    assert aws.expiries("eu-west-1")


def test_what_was_there_before_stays_where_up_fails(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path, Jumping(at_least_s=120))
    up(site, aws.all_registered(), wish={"eu-west-1": 1})
    before = aws.machines()["eu-west-1"]

    with pytest.raises(FleetError):
        up(site, aws.all_registered(except_for=lambda one: one not in before), wish={"eu-west-1": 3})

    assert (aws.machines()["eu-west-1"], aws.desired()) == (before, [1, 0])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling", Throttled),
        ("AccessDenied", CloudDenied),
        ("InsufficientInstanceCapacity", NoCapacity),
        ("SomethingNew", CloudError),
    ],
)
def test_what_aws_refuses_in_one_region_leaves_nothing_in_the_others(
    aws: Aws, answers: Answers, tmp_path: Path, code: str, kind: type[LoadgenError]
) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    answers.codes["SetDesiredCapacity", "us-east-1"] = code

    with pytest.raises(kind, match="cannot set loadgen-shop-us-east-1-agents"):
        up(site, aws.all_registered())

    assert (aws.count(), aws.desired()) == (0, [0, 0])


def test_token_that_ends_while_it_waits_is_told_and_the_end_at_aws_stays(
    aws: Aws, answers: Answers, tmp_path: Path
) -> None:
    """Nobody may undo it then: what is left to end the machines is what AWS was told before."""
    told: list[str] = []
    clock = Jumping(then=lambda: answers.codes.update({(one, "*"): "ExpiredToken" for one in EVERY_CALL}))
    site = site_of(aws, aws.make_fleet(), tmp_path, clock, told)

    with pytest.raises(CredentialsError, match="ExpiredToken"):
        up(site, list, wish={"eu-west-1": 2})

    answers.codes.clear()
    assert [one["DesiredCapacity"] for one in aws.expiries("eu-west-1")] == [0]
    assert "cannot restore eu-west-1" in told[0]
    take_down(site, {"eu-west-1": 0}, aws.all_registered(), by_force=True)
    assert aws.count() == 0


EVERY_CALL = (
    "DescribeInstances",
    "DescribeAutoScalingGroups",
    "DescribeScalingActivities",
    "TerminateInstanceInAutoScalingGroup",
    "SetDesiredCapacity",
    "DeleteObject",
)


def test_quota_of_nothing_is_told_at_once_and_not_waited_for(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    clock = Jumping()
    site = site_of(aws, aws.make_fleet(), tmp_path, clock)
    answers.activities["eu-west-1"] = "You have requested more vCPU capacity than your current vCPU limit of 0 allows"

    with pytest.raises(
        QuotaReached, match="eu-west-1: 0 of 2, the account's quota of machines is reached in this region"
    ):
        up(site, list, wish={"eu-west-1": 2})

    assert (clock.slept_s, aws.count()) == (0, 0)


def test_capacity_that_is_not_there_is_waited_for_and_then_told(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    clock = Jumping()
    site = site_of(aws, aws.make_fleet(), tmp_path, clock)
    answers.activities["eu-west-1"] = "We currently do not have sufficient c7i.xlarge capacity in the zone"

    with pytest.raises(NoCapacity, match="AWS has no capacity for these machines now"):
        up(site, list, wish={"eu-west-1": 2}, wait_s=60.0)

    assert (clock.slept_s, aws.count()) == (60, 0)


def test_interrupted_it_leaves_nothing_and_gives_the_fleet_free(aws: Aws, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    site = site_of(aws, aws.make_fleet(), tmp_path, Jumping(then=interrupt))

    with pytest.raises(KeyboardInterrupt):
        up(site, list)

    assert (aws.count(), aws.desired()) == (0, [0, 0])
    site.sleep = Jumping().sleep
    assert up(site, aws.all_registered(), wish={"eu-west-1": 1}).registered == {"eu-west-1": 1}


def test_controller_that_cannot_be_asked_costs_nothing(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)

    def gone() -> list[object]:
        raise FleetError("no controller answers at c:5558")

    with pytest.raises(FleetError, match="no controller answers"):
        up(site, gone)  # type: ignore[arg-type]

    assert "SetDesiredCapacity" not in [operation for operation, _ in answers.asked]


def test_second_up_at_once_is_told_who_is_at_it(aws: Aws, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    other: list[BaseException] = []

    def meanwhile() -> None:
        with pytest.raises(FleetError) as caught:
            up(site, aws.all_registered(), wish={"eu-west-1": 3})
        other.append(caught.value)

    site.sleep = lambda _: meanwhile()
    up(site, lambda: aws.all_registered()() if other else [])

    assert "user/moto is changing this fleet now: up eu-west-1=2,us-east-1=1" in str(other[0])
    assert aws.desired() == [2, 1]


def test_endpoint_that_goes_away_is_told(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    from botocore.exceptions import EndpointConnectionError

    site = site_of(aws, aws.make_fleet(), tmp_path)

    def gone(operation: str, region: str) -> None:
        if (operation, region) == ("SetDesiredCapacity", "us-east-1"):
            raise EndpointConnectionError(endpoint_url="https://autoscaling.us-east-1")

    answers.before = gone
    with pytest.raises(CloudGone):
        up(site, aws.all_registered())

    assert (aws.count(), aws.desired()) == (0, [0, 0])


def test_each_change_stands_in_the_audit_before_and_after(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)
    answers.codes["SetDesiredCapacity", "eu-west-1"] = "Throttling"

    with pytest.raises(Throttled):
        up(site, aws.all_registered(), wish={"eu-west-1": 1})

    lines = [json.loads(line) for line in site.audit.path.read_text().splitlines()]
    told = [(line["deed"], line["result"]) for line in lines if line["deed"] == "set desired"]
    assert told == [("set desired", "begun"), ("set desired", told[1][1])]
    assert told[1][1].startswith("failed: cannot set loadgen-shop-eu-west-1-agents")
    assert {line["by"] for line in lines} == {"arn:aws:sts::123456789012:user/moto"}


def test_plan_that_is_not_allowed_asks_for_no_lock(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(expires_at="2026-01-01T00:00:00Z"), tmp_path)

    with pytest.raises(UsageError, match="the fleet expired"):
        up(site, aws.all_registered())

    assert "PutObject" not in [operation for operation, _ in answers.asked]


def test_machine_that_cannot_be_ended_costs_none_that_was_there_before(
    aws: Aws, answers: Answers, tmp_path: Path
) -> None:
    """Lowered to one, AWS would choose which of the three stays."""
    told: list[str] = []
    site = site_of(aws, aws.make_fleet(regions=("eu-west-1",)), tmp_path, Jumping(at_least_s=300), told)
    up(site, aws.all_registered(), wish={"eu-west-1": 1})
    (before,) = aws.machines()["eu-west-1"]
    answers.codes["TerminateInstanceInAutoScalingGroup", "*"] = "Throttling"

    with pytest.raises(FleetError, match="1 of 3 agents registered"):
        up(site, aws.all_registered(except_for=lambda one: one != before), wish={"eu-west-1": 3})

    assert before in aws.machines()["eu-west-1"]
    assert aws.desired() == [3]
    assert "cannot restore" in told[0]
