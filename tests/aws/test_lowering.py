"""A fleet goes: who does not work first, nobody in mid-run, and everybody is seen to be gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loadgen.aws.account.fleet_context import Site
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.machine_states import Machine, Registration, join
from loadgen.aws.scale.scale_down import plan_down, take_down
from loadgen.aws.scale.scale_up import Terms, bring_up
from loadgen.errors import CloudDenied, FleetError, UsageError
from tests.support.aws_fleet import REGIONS, Answers, Aws, Jumping, site_of

NOW = datetime(2026, 11, 26, 14, tzinfo=UTC)
NOWHERE = dict.fromkeys(REGIONS[:2], 0)


def up(site: Site, aws: Aws, wish: dict[str, int]) -> Site:
    bring_up(site, Terms(wish), aws.all_registered(), lambda *_: None)
    return site


def machine(one: str, age_s: float) -> Machine:
    return Machine(one, "eu-west-1", "c7i.xlarge", "running", NOW - timedelta(seconds=age_s))


def test_who_is_missing_goes_first_then_who_starts_then_who_is_idle_the_youngest_of_them() -> None:
    machines = [machine("works", 600), machine("idle old", 500), machine("idle", 400), machine("deaf", 300)]
    agents = [Registration("works", "here", "run-1"), Registration("idle old", "here"), Registration("idle", "here")]
    states = join([*machines, machine("starts", 10)], agents, NOW)
    group = Group("a", "eu-west-1", 5, 9, 0, False)

    order = [
        tuple(one.machine.id for one in plan_down([group], states, {"eu-west-1": stays}).leaving) for stays in (4, 2, 0)
    ]

    assert order == [("deaf",), ("deaf", "starts", "idle"), ("deaf", "starts", "idle", "idle old", "works")]


def test_group_that_wishes_for_more_than_ever_came_is_lowered_too() -> None:
    assert plan_down([Group("a", "eu-west-1", 5, 9, 0, False)], [], {"eu-west-1": 0}).lowered == ("eu-west-1",)


def test_down_ends_all_and_wishes_for_none(aws: Aws, tmp_path: Path) -> None:
    site = up(site_of(aws, aws.make_fleet(), tmp_path), aws, {"eu-west-1": 2, "us-east-1": 1})

    done = take_down(site, NOWHERE, aws.all_registered())

    assert (len(done.leaving), aws.count(), aws.desired()) == (3, 0, [0, 0])
    assert not aws.expiries("eu-west-1")


def test_down_again_finds_nothing_to_do(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    site = site_of(aws, aws.make_fleet(), tmp_path)

    assert take_down(site, NOWHERE, aws.all_registered()).is_nothing
    assert "PutObject" not in [operation for operation, _ in answers.asked]


def test_down_to_some_leaves_them_and_the_other_regions(aws: Aws, tmp_path: Path) -> None:
    site = up(site_of(aws, aws.make_fleet(), tmp_path), aws, {"eu-west-1": 3, "us-east-1": 1})

    take_down(site, {"eu-west-1": 1}, aws.all_registered())

    assert aws.desired() == [1, 1]


def working(aws: Aws) -> list[Registration]:
    return [Registration(one.agent, "here", "20261126-run") for one in aws.all_registered()()]


def test_down_in_mid_run_is_refused_and_names_the_run(aws: Aws, tmp_path: Path) -> None:
    site = up(site_of(aws, aws.make_fleet(), tmp_path), aws, {"eu-west-1": 2})

    with pytest.raises(UsageError, match="2 of these agents take part in 20261126-run") as caught:
        take_down(site, NOWHERE, lambda: working(aws))

    assert "loadgen stop 20261126-run" in caught.value.hint
    assert aws.count() == 2


def test_down_by_force_has_them_leave_in_mid_run(aws: Aws, tmp_path: Path) -> None:
    site = up(site_of(aws, aws.make_fleet(), tmp_path), aws, {"eu-west-1": 2})

    assert take_down(site, NOWHERE, lambda: working(aws), by_force=True).runs == ("20261126-run",)
    assert aws.count() == 0


def gone() -> list[Registration]:
    raise FleetError("no controller answers")


def test_down_without_a_controller_needs_force(aws: Aws, tmp_path: Path) -> None:
    site = up(site_of(aws, aws.make_fleet(), tmp_path), aws, {"eu-west-1": 1})

    with pytest.raises(FleetError, match="cannot check whether the fleet is in a run") as caught:
        take_down(site, NOWHERE, gone)

    assert "--force" in caught.value.hint
    take_down(site, NOWHERE, gone, by_force=True)
    assert aws.count() == 0


def test_machine_that_does_not_go_is_named_after_its_time(aws: Aws, answers: Answers, tmp_path: Path) -> None:
    clock = Jumping(at_least_s=60)
    site = up(site_of(aws, aws.make_fleet(), tmp_path, clock), aws, {"eu-west-1": 1})
    answers.silent |= {"TerminateInstanceInAutoScalingGroup", "SetDesiredCapacity"}

    with pytest.raises(FleetError, match=r"1 machines have not ended after 300 s: i-\w+ in eu-west-1 \(running\)"):
        take_down(site, NOWHERE, aws.all_registered())

    assert clock.slept_s == 300


def test_down_that_is_denied_says_so_and_goes_on_where_it_is_given_again(
    aws: Aws, answers: Answers, tmp_path: Path
) -> None:
    site = up(site_of(aws, aws.make_fleet(), tmp_path), aws, {"eu-west-1": 1, "us-east-1": 1})
    for operation in ("TerminateInstanceInAutoScalingGroup", "SetDesiredCapacity"):
        answers.codes[operation, "us-east-1"] = "AccessDenied"

    with pytest.raises(CloudDenied, match="in us-east-1"):
        take_down(site, NOWHERE, aws.all_registered())

    answers.codes.clear()
    assert len(take_down(site, NOWHERE, aws.all_registered()).leaving) == 1
    assert aws.count() == 0
