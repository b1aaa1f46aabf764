"""What is allowed, and what it costs at most, before anything is started."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.aws.account.fleetfile import ControllerAt, FleetFile, Policy, RegionOf
from loadgen.aws.scale.groups import Group, unprotect
from loadgen.aws.scale.scaling_plan import needed, parse_scale, plan_up, spread
from loadgen.aws.scale.start_failures import reason_of
from loadgen.errors import CloudDenied, CloudError, NoCapacity, QuotaReached, UsageError

NOW = datetime(2026, 11, 26, 14, tzinfo=UTC)


def fleet(most: int = 20, kinds: tuple[str, ...] = ("c7i.xlarge",), **changes: Any) -> FleetFile:
    region = RegionOf(
        asg="a", instance_types=kinds, max_agents=most, usd_per_hour={"c7i.xlarge": 0.2, "c6in.xlarge": 0.3}
    )
    given: dict[str, Any] = {
        "fleet": "shop",
        "account_id": "123456789012",
        "owner": "perf team",
        "bucket": "b",
        "bucket_region": "eu-west-1",
        "controller": ControllerAt("c:5557", "c:5558"),
        "regions": {"eu-west-1": region, "us-east-1": region},
    }
    return FleetFile(**(given | changes))


def group(region: str = "eu-west-1", desired: int = 0, most: int = 20) -> Group:
    return Group("a", region, desired, most, 0, False)


GROUPS = [group(), group("us-east-1")]


def wrong(file: FleetFile, wish: dict[str, int], groups: list[Group] = GROUPS, ttl_s: float | None = None) -> str:
    with pytest.raises((UsageError, ExceptionGroup)) as caught:
        plan_up(file, groups, wish, NOW, ttl_s)
    errors = caught.value.exceptions if isinstance(caught.value, ExceptionGroup) else [caught.value]
    return "\n".join(map(str, errors))


def test_scale_is_a_number_or_one_a_region() -> None:
    assert parse_scale("9") == 9
    assert parse_scale(" eu-west-1=3, us-east-1=6") == {"eu-west-1": 3, "us-east-1": 6}


@pytest.mark.parametrize("text", ["", "eu-west-1", "eu-west-1=", "eu-west-1=-1", "=3", "a=1,a=2", "-3", "1.5", "a=x"])
def test_what_is_no_scale_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"scale|twice"):
        parse_scale(text)


@given(
    st.integers(0, 1000),
    st.dictionaries(st.text("abc", min_size=1), st.floats(0.01, 100), min_size=1, max_size=8),
)
def test_spread_gives_all_and_each_within_one_of_its_part(number: int, weights: dict[str, float]) -> None:
    given_ = spread(number, weights)

    assert sum(given_.values()) == number
    assert all(abs(given_[one] - number * weight / sum(weights.values())) < 1.000001 for one, weight in weights.items())


def test_plan_costs_what_its_dearest_machines_do() -> None:
    plan = plan_up(fleet(kinds=("c7i.xlarge", "c6in.xlarge")), GROUPS, {"us-east-1": 10}, NOW, 7200)

    assert [plan.usd_per_hour, plan.usd_at_most] == pytest.approx([3.0, 6.0])
    assert plan.expires == NOW + timedelta(hours=2)


def test_plan_leaves_what_is_there_and_other_regions() -> None:
    plan = plan_up(fleet(), [group(desired=5), group("us-east-1", desired=2)], {"eu-west-1": 3}, NOW)

    assert [(step.region, step.there, step.wanted) for step in plan.steps] == [("eu-west-1", 5, 5)]
    assert [(step.region, step.wanted) for step in plan.others] == [("us-east-1", 2)]
    assert (plan.more, plan.agents) == (0, 7)


def test_fleet_never_outlives_the_end_that_terraform_knows() -> None:
    plan = plan_up(fleet(expires_at="2026-11-26T15:00:00Z"), GROUPS, {"eu-west-1": 1}, NOW)

    assert plan.expires == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("file", "wish", "told"),
    [
        (fleet(), {"mars-1": 1}, "fleet shop has no region mars-1"),
        (fleet(), {}, "0 agents were requested"),
        (fleet(), {"eu-west-1": 0}, "0 agents were requested"),
        (fleet(), {"eu-west-1": 21}, "at most 20 are allowed there"),
        (fleet(most=0), {"eu-west-1": 1}, "at most 0 are allowed there"),
        (fleet(policy=Policy(max_agents=8)), {"eu-west-1": 5, "us-east-1": 4}, "policy allows 8"),
        (fleet(policy=Policy(max_hourly_usd=1.0)), {"us-east-1": 6}, "up to 1.20 USD an hour"),
        (fleet(kinds=("x9.huge",)), {"eu-west-1": 1}, "the price of x9.huge is unknown"),
        (fleet(expires_at="2026-11-26T13:00:00Z"), {"eu-west-1": 1}, "the fleet expired at 2026-11-26 13:00 UTC"),
    ],
)
def test_what_is_not_allowed_is_told(file: FleetFile, wish: dict[str, int], told: str) -> None:
    assert told in wrong(file, wish)


def test_ttl_of_nothing_is_in_the_past() -> None:
    assert "the fleet expired" in wrong(fleet(), {"eu-west-1": 1}, ttl_s=0)


def test_fleet_may_not_be_up_for_longer_than_its_machines_live() -> None:
    assert "5 h: the fleet's policy allows 4 h" in wrong(fleet(), {"eu-west-1": 1}, ttl_s=5 * 3600)


def test_group_that_terraform_made_smaller_than_its_file_says_decides() -> None:
    assert "at most 4 are allowed" in wrong(fleet(), {"eu-west-1": 5}, [group(most=4), group("us-east-1")])


def test_all_that_is_not_allowed_is_told_at_once() -> None:
    file = fleet(policy=Policy(max_agents=1, max_hourly_usd=0.1), expires_at="2026-11-26T13:00:00Z")

    assert len(wrong(file, {"eu-west-1": 30, "mars-1": 1}).splitlines()) == 5


@pytest.mark.parametrize(
    ("wanted", "share", "least", "needed_"), [(9, 1.0, None, 9), (9, 0.75, None, 7), (9, 1.0, 5, 5), (3, 1.0, 5, 3)]
)
def test_how_many_have_to_come(wanted: int, share: float, least: int | None, needed_: int) -> None:
    assert needed(wanted, share, least) == needed_


@pytest.mark.parametrize(
    ("message", "kind", "is_lasting"),
    [
        # As AWS writes them, in "Troubleshoot Amazon EC2 Auto Scaling: EC2 instance launch failures".
        (
            "We currently do not have sufficient c7i.xlarge capacity in the Availability Zone you requested"
            " (eu-west-1a). Launching EC2 instance failed.",
            NoCapacity,
            False,
        ),
        ("Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity", NoCapacity, False),
        (
            "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket"
            " that the specified instance type belongs to. Launching EC2 instance failed.",
            QuotaReached,
            True,
        ),
        ("Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count", QuotaReached, True),
        ("You are not authorized to perform this operation. Encoded authorization failure", CloudDenied, True),
        ("The image id '[ami-1]' does not exist. Launching EC2 instance failed.", CloudError, True),
        ("Something else", CloudError, False),
    ],
)
def test_why_a_machine_was_not_started(message: str, kind: type[CloudError], is_lasting: bool) -> None:
    reason = reason_of(message)

    assert (reason.kind, reason.is_lasting) == (kind, is_lasting)


def test_a_large_group_is_unprotected_in_calls_of_the_size_that_aws_accepts() -> None:
    calls: list[list[str]] = []

    class Scaling:
        def update_auto_scaling_group(self, **_: Any) -> None: ...

        def set_instance_protection(self, *, InstanceIds: list[str], **_: Any) -> None:
            calls.append(InstanceIds)

    class Aws:
        def client(self, *_: str) -> Scaling:
            return Scaling()

    ids = tuple(f"i-{n}" for n in range(120))
    unprotect(Aws(), replace(group(), machines=ids))  # type: ignore[arg-type]
    assert [len(call) for call in calls] == [50, 50, 20]
    assert tuple(one for call in calls for one in call) == ids
