"""The simulated HPA against answers of the Kubernetes documentation and the rules of its source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.scaling.controllers import Fleet, Limits
from loadgen.analysis.scaling.hpa import DOWN, ChangeLimit, Direction, Hpa, HpaRules, wanted_pods


def chain(hpa: Hpa, pods: int, recommended: list[int]) -> list[int]:
    """Return the number of pods after each recommendation, one in 15 s."""
    seen = [pods]
    for number, one in enumerate(recommended):
        seen.append(hpa.follow(number * 15, seen[-1], one))
    return seen


def hpa(**rules: object) -> Hpa:
    return Hpa(HpaRules(0.6, Limits(1, 100), **rules))  # type: ignore[arg-type]


def test_four_pods_at_90_percent_for_60_become_six() -> None:
    assert wanted_pods(4, 0.9, 0.6) == 6


def test_ratio_of_1_08_changes_nothing() -> None:
    assert wanted_pods(25, 0.54, 0.5) == 25


def test_edge_of_the_tolerance_changes_nothing() -> None:
    assert wanted_pods(10, 0.66, 0.6) == 10
    assert wanted_pods(10, 0.54, 0.6) == 10
    assert wanted_pods(10, 0.67, 0.6) == 12


def test_tolerance_has_a_value_for_each_direction() -> None:
    assert wanted_pods(10, 0.66, 0.6, up=0.05) == 11
    assert wanted_pods(10, 0.57, 0.6, up=0.5, down=0.01) == 10
    assert wanted_pods(10, 0.53, 0.6, down=0.2) == 10


def test_utilisation_is_cut_to_whole_percents() -> None:
    assert wanted_pods(100, 0.6699, 0.6) == 100
    assert wanted_pods(100, 0.6699, 0.6, whole_percents=False) == 112


def test_from_1_to_100_the_pods_double_or_grow_by_four() -> None:
    assert chain(hpa(), 1, [100] * 6) == [1, 5, 10, 20, 40, 80, 100]


@pytest.mark.parametrize(
    ("pods", "metric", "missing", "unready", "wanted"),
    [
        (4, 0.9, 1, 0, 5),  # up: the missing pod counts as 0 %: (3 * 90)/4 = 67.5, cut to 67; ceil(67/60 * 4)
        (4, 0.3, 1, 0, 4),  # down: it counts as 100 %: (3 * 30 + 100)/4 = 47; ceil(47/60 * 4) = 4
        (8, 0.1, 1, 0, 3),  # (7 * 10 + 100)/8 = 21; ceil(21/60 * 8) = 3
        (4, 0.7, 2, 0, 4),  # up to 70 %, but with two missing 35 %: the direction flips, so no action
        (4, 0.5, 3, 0, 4),  # down to 50 %, but with three missing 87 %: the direction flips, so no action
        (6, 0.9, 0, 3, 6),  # three unready pods count as 0 % on the way up: 45 %, so no action
        (6, 0.9, 0, 1, 8),  # (5 * 90)/6 = 75; ceil(75/60 * 6) = 8
        (6, 0.3, 0, 3, 2),  # on the way down they do not count: ceil(.5 * 3) = 2
        (3, 0.9, 0, 3, 3),  # no pod has a metric
    ],
)
def test_missing_and_unready_pods_never_flip_the_direction(
    pods: int, metric: float, missing: int, unready: int, wanted: int
) -> None:
    assert wanted_pods(pods, metric, 0.6, missing=missing, unready=unready) == wanted


@given(
    st.integers(1, 200),
    st.floats(0, 1.5),
    st.sampled_from([0.3, 0.5, 0.57, 0.8, 1.2]),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_no_count_of_missing_or_unready_pods_reverses_the_direction_of_the_metric(
    pods: int, metric: float, target: float, missing: int, unready: int
) -> None:
    wanted = wanted_pods(pods, metric, target, missing=missing, unready=unready)
    if metric > target:
        assert wanted >= pods - (missing + unready) or wanted == pods
    if metric <= target:
        assert wanted <= pods


def test_way_down_takes_the_largest_recommendation_of_the_last_300_s() -> None:
    seen = chain(hpa(), 10, [10, *[4] * 25])
    assert seen[:21] == [10] * 21  # the recommendation of 10 at second 0 is older than 300 s only after second 300
    assert seen[21:] == [4] * 6


def test_single_high_recommendation_holds_the_fleet_for_its_window() -> None:
    seen = chain(hpa(), 10, [4] * 10 + [8] + [4] * 30)
    assert seen[:21] == [10] * 21  # the controller begins with a recommendation of what it finds
    assert seen[21:31] == [8] * 10
    assert seen[31:] == [4] * 11


def test_upward_window_takes_the_smallest_recommendation() -> None:
    slow = Direction((ChangeLimit("Percent", 100, 15),), stabilise_s=60)
    assert chain(hpa(up=slow), 4, [5, 8, 8, 8, 8, 8]) == [4, 4, 4, 4, 4, 8, 8]


def test_limit_of_a_minute_counts_the_changes_of_the_minute() -> None:
    slow = Direction((ChangeLimit("Pods", 4, 60),), stabilise_s=0)
    assert chain(hpa(up=slow), 10, [30] * 9) == [10, 14, 14, 14, 14, 18, 18, 18, 18, 22]


def test_way_down_can_be_limited_in_percents_and_disabled() -> None:
    slow = Direction((ChangeLimit("Percent", 10, 60),), stabilise_s=0)
    assert chain(hpa(down=slow), 80, [1] * 6) == [80, 72, 72, 72, 72, 64, 64]
    off = Direction(DOWN.limits, 0, "Disabled")
    assert chain(hpa(down=off), 80, [1] * 6) == [80] * 7


def test_selecting_the_smaller_change_takes_the_smaller_one() -> None:
    slow = Direction((ChangeLimit("Pods", 4, 15), ChangeLimit("Percent", 100, 15)), 0, "Min")
    assert chain(hpa(up=slow), 1, [100] * 4) == [1, 2, 4, 8, 12]


def test_pods_stay_within_the_limits() -> None:
    one = Hpa(HpaRules(0.6, Limits(3, 7)))
    assert chain(one, 5, [100, 100]) == [5, 7, 7]
    assert chain(Hpa(HpaRules(0.6, Limits(3, 7))), 5, [1] * 25)[-1] == 3


def test_without_a_metric_nothing_changes() -> None:
    assert hpa().decide(0, Fleet(5, 5, 5), None) == 5
