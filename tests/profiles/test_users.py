"""Levels and spans of closed loads, and counted loads."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ProfileError
from loadgen.profiles.profile import IterationProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S

S = NS_PER_S

levels = st.one_of(st.integers(0, 12).map(float), st.floats(0, 12).map(lambda x: round(x, 2)))
stages = st.builds(Stage, levels, levels, st.one_of(st.integers(0, 50), st.integers(0, 5 * S)))
profiles = (
    st.lists(stages, min_size=1, max_size=6)
    .filter(lambda parts: any(s.duration_ns and max(s.start, s.end) > 0 for s in parts))
    .map(lambda parts: UserProfile(tuple(parts)))
)


def of(*parts: tuple[float, float, float]) -> UserProfile:
    return UserProfile(tuple(Stage(float(start), float(end), round(s * S)) for start, end, s in parts))


def interesting_times(profile: UserProfile) -> set[int]:
    """Wherever somebody comes or goes or a stage begins, and a ns to either side."""
    edges, at = {0}, 0
    for stage in profile.stages:
        at += stage.duration_ns
        edges.add(at)
    edges |= {t for user in range(profile.peak) for span in profile.spans(user) for t in span}
    return {t + d for t in edges for d in (-1, 0, 1)}


@given(profiles)
def test_the_spans_of_all_users_cover_the_level_exactly(profile: UserProfile) -> None:
    spans = [profile.spans(user) for user in range(profile.peak)]
    for t_ns in interesting_times(profile):
        there = sum(any(start <= t_ns < stop for start, stop in of_user) for of_user in spans)
        assert there == profile.level_at(t_ns)


@given(profiles)
def test_spans_are_in_order_apart_and_within_the_load(profile: UserProfile) -> None:
    for user in range(profile.peak):
        edges = [edge for span in profile.spans(user) for edge in span]
        assert edges == sorted(set(edges))
        assert not edges or (edges[0] >= 0 and edges[-1] <= profile.duration_ns)


@given(profiles)
def test_nobody_is_there_beyond_the_peak(profile: UserProfile) -> None:
    assert profile.spans(profile.peak) == ()


def test_a_constant_level_has_all_users_for_the_whole_load() -> None:
    profile = of((64, 64, 10))
    assert profile.peak == 64
    assert {profile.spans(user) for user in range(64)} == {((0, 10 * S),)}


def test_a_hold_after_a_ramp_is_one_span() -> None:
    profile = of((0, 5, 5), (5, 5, 5), (5, 0, 5))
    assert profile.spans(2) == ((2 * S + 1, 13 * S),)


def test_who_came_last_leaves_first() -> None:
    profile = of((0, 500, 60), (500, 0, 60))
    spans = [profile.spans(user)[0] for user in range(500)]
    assert spans == sorted(spans)
    assert [stop for _, stop in spans] == sorted((stop for _, stop in spans), reverse=True)


def test_a_user_who_comes_back_has_two_spans() -> None:
    profile = of((10, 10, 1), (2, 2, 1), (10, 10, 1))
    assert profile.spans(1) == ((0, 3 * S),)
    assert profile.spans(2) == ((0, S), (2 * S, 3 * S))


def test_a_jump_is_exact_and_a_pause_has_nobody() -> None:
    profile = of((0, 7, 0), (7, 7, 1), (0, 0, 1), (3, 3, 1))
    assert [profile.level_at(t) for t in (-1, 0, S - 1, S, 2 * S - 1, 2 * S, 3 * S - 1, 3 * S)] == [
        0,
        7,
        7,
        0,
        0,
        3,
        3,
        0,
    ]


def test_users_are_scaled_and_stretched_as_arrivals_are() -> None:
    profile = of((0, 500, 60), (500, 500, 300))
    assert profile.scaled_to(100) == of((0, 100, 60), (100, 100, 300))
    assert profile.lasting(36 * S) == of((0, 500, 6), (500, 500, 30))
    assert profile.describe() == "users: ramp 0 to 500 in 1m, hold 500 for 5m"


def test_a_closed_load_that_cannot_be_driven_is_refused() -> None:
    for parts, says in (
        ([(-1, 0, 1)], "cannot be -1 users"),
        ([(0, 0, 1)], "nothing to do"),
        ([(5, 5, 0)], "no duration"),
    ):
        with pytest.raises(ProfileError, match=says):
            of(*parts)


def test_a_counted_load_has_no_duration_and_only_its_users_scale() -> None:
    profile = IterationProfile(1000, 10)
    assert profile.duration_ns is None
    assert profile.total() == 1000
    assert profile.scaled_to(25) == IterationProfile(1000, 25)
    assert profile.describe() == "iterations: 1,000 by 10 users"
    with pytest.raises(ProfileError, match="no duration"):
        profile.lasting(S)
    with pytest.raises(ProfileError, match="invalid number of users"):
        profile.scaled_to(2.5)


def test_a_load_of_so_many_iterations_of_each_user_keeps_them_when_its_users_are_scaled() -> None:
    profile = IterationProfile.of_each(5, 10)
    assert profile == IterationProfile(50, 10, 5)
    assert profile.scaled_to(1) == IterationProfile(5, 1, 5)
    assert profile.describe() == "iterations: 5 by each of 10 users"
    assert profile.scaled_to(1).describe() == "iterations: 5 by each of 1 user"
    with pytest.raises(ProfileError, match="5 by each of 10 users are not 51"):
        IterationProfile(51, 10, 5)


def test_a_pace_stays_when_a_load_is_scaled_or_stretched_and_old_loads_have_none() -> None:
    paced = UserProfile((Stage(5, 5, 9 * S),), pace_ns=2 * S, is_spread=False)
    assert paced.scaled_to(10) == UserProfile((Stage(10, 10, 9 * S),), pace_ns=2 * S, is_spread=False)
    assert paced.lasting(S) == UserProfile((Stage(5, 5, S),), pace_ns=2 * S, is_spread=False)
    assert paced.describe() == "users, each every 2s: hold 5 for 9s"
    assert msgspec.json.decode(msgspec.json.encode(paced), type=Profile) == paced
    old = b'{"kind":"users","stages":[{"start":5.0,"end":5.0,"duration_ns":9000000000}]}'
    assert msgspec.json.decode(old, type=Profile) == UserProfile((Stage(5, 5, 9 * S),))
    with pytest.raises(ProfileError, match="a pace cannot be -1 ns"):
        UserProfile((Stage(5, 5, S),), pace_ns=-1)


def test_counted_loads_of_before_there_were_users_that_do_as_many_are_still_read() -> None:
    old = b'{"kind":"iterations","iterations":1000,"users":10}'
    assert msgspec.json.decode(old, type=IterationProfile) == IterationProfile(1000, 10)
    assert msgspec.json.encode(IterationProfile(1000, 10)) == old
    each = IterationProfile.of_each(5, 10)
    assert msgspec.json.decode(msgspec.json.encode(each), type=Profile) == each


@pytest.mark.parametrize(("iterations", "users"), [(0, 1), (-1, 1), (1, 0), (1, -3)])
def test_a_counted_load_without_work_or_workers_is_refused(iterations: int, users: int) -> None:
    with pytest.raises(ProfileError):
        IterationProfile(iterations, users)
