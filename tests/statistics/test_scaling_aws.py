"""The simulated policies of AWS against the examples of its documentation, and bounds where it publishes no formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.scaling.alarms import Threshold
from loadgen.analysis.scaling.aws_group import AwsGroup
from loadgen.analysis.scaling.controllers import Fleet, Limits
from loadgen.analysis.scaling.step_scaling import Step, StepPolicy, adjusted, step_of
from loadgen.analysis.scaling.target_tracking import TrackingPolicy

OUT = StepPolicy(
    "out",
    (Step(0, 10, 0), Step(10, 20, 10), Step(20, None, 30)),
    Threshold(50, above=True, inclusive=True),
    "PercentChangeInCapacity",
)
IN = StepPolicy(
    "in",
    (Step(-10, 0, 0), Step(-20, -10, -10), Step(None, -20, -30)),
    Threshold(50, above=False, inclusive=True),
    "PercentChangeInCapacity",
)


def fleet(wanted: int, unwarm: int = 0) -> Fleet:
    return Fleet(wanted, wanted, wanted, unwarm)


def test_the_documented_example_goes_from_10_to_11_to_14_to_13_to_10() -> None:
    group, seen = AwsGroup([OUT, IN], Limits(1, 100)), [10]
    for minute, metric in enumerate((0.60, 0.70, 0.40, 0.30)):
        seen.append(group.decide(minute * 60, fleet(seen[-1]), metric))
    assert seen == [10, 11, 14, 13, 10]


def test_metric_between_the_steps_changes_nothing() -> None:
    group = AwsGroup([OUT, IN], Limits(1, 100))
    assert [group.decide(0, fleet(10), metric) for metric in (0.41, 0.5, 0.59)] == [10, 10, 10]


def test_the_documented_example_of_warm_up_goes_from_11_to_11_to_13() -> None:
    group = AwsGroup([OUT, IN], Limits(1, 100))
    assert group.decide(0, fleet(11, unwarm=1), 0.62) == 11
    assert group.decide(60, fleet(11, unwarm=1), 0.70) == 13


def test_scale_in_waits_while_instances_warm_up() -> None:
    group = AwsGroup([OUT, IN], Limits(1, 100))
    assert group.decide(0, fleet(11, unwarm=1), 0.30) == 11
    assert group.decide(60, fleet(11), 0.30) == 8


@pytest.mark.parametrize(
    ("capacity", "percent", "change"),
    [(127, 10, 12), (67, 1, 1), (58, -1, -1), (667, -1, -6), (10, 10, 1), (11, 30, 3), (14, -10, -1), (13, -30, -3)],
)
def test_percentages_are_rounded_toward_zero_and_to_one_below_one(capacity: int, percent: int, change: int) -> None:
    assert adjusted(capacity, percent, "PercentChangeInCapacity") == capacity + change


def test_least_change_raises_a_small_percentage() -> None:
    assert adjusted(4, 25, "PercentChangeInCapacity", least_change=2) == 6


def test_other_adjustments_add_or_set() -> None:
    assert adjusted(3, 5, "ChangeInCapacity") == 8
    assert adjusted(3, 5, "ExactCapacity") == 5
    assert adjusted(10, 0, "PercentChangeInCapacity") == 10


def test_bounds_are_inclusive_on_the_side_of_the_threshold() -> None:
    assert step_of(20.0, OUT.steps, above=True) == OUT.steps[2]
    assert step_of(19.999, OUT.steps, above=True) == OUT.steps[1]
    assert step_of(-20.0, IN.steps, above=False) == IN.steps[2]
    assert step_of(-19.999, IN.steps, above=False) == IN.steps[1]
    assert step_of(5.0, (Step(10, None, 1),), above=True) is None


def test_alarm_needs_as_many_points_as_it_says() -> None:
    slow = StepPolicy("out", (Step(0, None, 1),), Threshold(50, True, points=5, breaches=3))
    group, seen = AwsGroup([slow], Limits(1, 100)), []
    for minute, metric in enumerate((0.6, 0.4, 0.6, 0.4, 0.6, 0.4)):
        seen.append(group.decide(minute * 60, fleet(10), metric))
    assert seen == [10, 10, 10, 10, 11, 10]


def test_cooldown_adds_only_what_a_larger_step_adds() -> None:
    policy = StepPolicy(
        "out", (Step(0, 20, 2), Step(20, None, 5)), Threshold(50, True), "ChangeInCapacity", cooldown_s=300
    )
    group = AwsGroup([policy], Limits(1, 100))
    assert group.decide(0, fleet(10), 0.6) == 12
    assert group.decide(60, fleet(12), 0.6) == 12
    assert group.decide(120, fleet(12), 0.8) == 15
    assert group.decide(480, fleet(15), 0.6) == 17


def tracked(metrics: list[float | None], wanted: int = 10, **policy: object) -> list[int]:
    group, seen = AwsGroup([TrackingPolicy("t", 50.0, **policy)], Limits(1, 100)), []  # type: ignore[arg-type]
    for minute, metric in enumerate(metrics):
        wanted = group.decide(minute * 60, fleet(wanted), metric)
        seen.append(wanted)
    return seen


def test_target_tracking_grows_after_three_minutes_above_the_target() -> None:
    assert tracked([0.75, 0.75, 0.75]) == [10, 10, 15]
    assert tracked([0.75, 0.75, 0.45, 0.75, 0.75]) == [10] * 5


def test_target_tracking_shrinks_after_fifteen_minutes_below_90_percent_of_the_target() -> None:
    assert tracked([0.25] * 15) == [10] * 14 + [5]
    assert tracked([0.46] * 40) == [10] * 40


def test_target_tracking_rounds_the_capacity_up_in_both_directions() -> None:
    assert tracked([0.575] * 3)[-1] == 12  # adding 1.5 instances adds two
    assert tracked([0.425] * 15)[-1] == 9  # removing 1.5 instances removes one


def test_target_tracking_does_nothing_without_data() -> None:
    assert tracked([None] * 30) == [10] * 30
    assert tracked([0.75, None, 0.75, None, 0.75])[-1] == 15


def test_target_tracking_may_be_told_not_to_shrink() -> None:
    assert tracked([0.1] * 40, scales_in=False) == [10] * 40


@given(st.integers(1, 500), st.floats(0.51, 1.0))
def test_target_tracking_never_adds_more_than_what_brings_the_metric_to_its_target(wanted: int, metric: float) -> None:
    after = tracked([metric] * 3, wanted)[-1]
    if after < 100:
        assert metric * wanted / after <= 0.5 + 1e-9 < metric * wanted / max(1, after - 1) + 1e-6


def test_group_takes_the_largest_capacity_out_and_shrinks_only_if_all_policies_agree() -> None:
    cpu, requests = TrackingPolicy("cpu", 50.0), TrackingPolicy("requests", 600.0, scale=1000.0)
    group = AwsGroup([cpu, requests], Limits(1, 100))
    assert [group.decide(minute * 60, fleet(10), 0.7) for minute in range(3)] == [10, 10, 14]
    group = AwsGroup([cpu, requests], Limits(1, 100))
    # 44 % is below 45 %, and 440 below 540: both agree, and the larger capacity wins
    assert [group.decide(minute * 60, fleet(10), 0.44) for minute in range(15)][-1] == 9
    group = AwsGroup([cpu, requests], Limits(1, 100))
    # 50 % is not below 45 %
    assert [group.decide(minute * 60, fleet(10), 0.5) for minute in range(20)][-1] == 10
