"""Due times of open loads against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, isqrt

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ProfileError
from loadgen.profiles.profile import ArrivalProfile, Profile
from loadgen.profiles.spacing import Spacing
from loadgen.profiles.stage import Stage, exact
from loadgen.units import NS_PER_S

S = NS_PER_S

rates = st.one_of(
    st.integers(0, 500).map(float),
    st.floats(0, 500, allow_nan=False, allow_infinity=False).map(lambda x: round(x, 3)),
    st.fractions(0, 20, max_denominator=3600).map(float),
)
durations_ns = st.one_of(st.integers(0, 20).map(lambda s: s * S), st.integers(0, 20 * S), st.just(0))
stages = st.builds(Stage, rates, rates, durations_ns)


def _is_drivable(parts: list[Stage]) -> bool:
    return any(s.duration_ns and max(s.start, s.end) > 0 for s in parts)


profiles = st.lists(stages, min_size=1, max_size=6).filter(_is_drivable).map(lambda parts: ArrivalProfile(tuple(parts)))


def of(*parts: tuple[float, float, float]) -> ArrivalProfile:
    """Stages as (start, end, seconds)."""
    return ArrivalProfile(tuple(Stage(float(start), float(end), round(s * S)) for start, end, s in parts))


def all_due_ns(profile: ArrivalProfile) -> np.ndarray:
    return profile.due_ns(np.arange(profile.total()))


def area_at(profile: ArrivalProfile, t_ns: int) -> Fraction:
    """Iterations that were due before `t_ns`, as the exact area under the rate curve."""
    area, left = Fraction(0), t_ns
    for stage in profile.stages:
        start, end = exact(stage.start), exact(stage.end)
        if left <= 0:
            break
        if (t := min(left, stage.duration_ns)) and stage.duration_ns:
            rise = (end - start) * Fraction(t, stage.duration_ns)
            area += (start + rise / 2) * Fraction(t, S)
        left -= stage.duration_ns
    return area


@pytest.mark.parametrize(
    ("rate", "gap_ns"), [(50.0, 20_000_000), (1000.0, 1_000_000), (0.5, 2 * S), (1 / 3600, 3600 * S)]
)
def test_the_kth_arrival_of_a_constant_rate_is_due_at_k_over_rate(rate: float, gap_ns: int) -> None:
    profile = of((rate, rate, 1000 * gap_ns / S))
    assert profile.total() == 1000
    assert all_due_ns(profile).tolist() == [k * gap_ns for k in range(1000)]


def test_a_rate_that_divides_no_ns_is_rounded_and_not_added_up() -> None:
    due_ns = all_due_ns(of((300, 300, 3600)))
    assert len(due_ns) == 300 * 3600
    assert due_ns[-1] == round(Fraction(300 * 3600 - 1, 300) * S)
    assert due_ns[::300].tolist() == [k * S for k in range(3600)]


def test_a_ramp_from_0_to_100_in_10_s_has_500_arrivals_at_the_roots_of_2n_over_a() -> None:
    profile = of((0, 100, 10))
    assert profile.total() == 500
    a = 10  # iterations/s²
    wanted = [isqrt(4 * (2 * n * S * S // a)) for n in range(500)]  # twice the root, so that it can be rounded
    assert all_due_ns(profile).tolist() == [(w + 1) // 2 for w in wanted]


def test_a_ramp_to_0_is_the_mirror_of_one_from_0() -> None:
    up, down = all_due_ns(of((0, 100, 10))), all_due_ns(of((100, 0, 10)))
    assert len(down) == 500
    # The ramp up has its arrivals at areas 0 to 499, and the one down at 500 - (500 to 1).
    assert np.abs((10 * S - down[1:][::-1]) - up[1:]).max() <= 1
    assert down[0] == 0


def test_an_hourly_rate_has_exactly_that_many_arrivals_in_an_hour() -> None:
    for per_hour in range(1, 400):
        assert of((per_hour / 3600, per_hour / 3600, 3600)).total() == per_hour


def test_a_tenth_is_a_tenth() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(5 / 18) == Fraction(5, 18)
    assert exact(123456.789) == Fraction(123456789, 1000)


@given(st.floats(0, 1e8, allow_nan=False))
def test_the_simplest_fraction_is_still_the_same_float(value: float) -> None:
    assert float(exact(value)) == value


@given(profiles)
def test_due_times_never_decrease_and_all_lie_before_the_end(profile: ArrivalProfile) -> None:
    due_ns = all_due_ns(profile)
    assert len(due_ns) == ceil(area_at(profile, profile.duration_ns)) > 0
    assert due_ns[0] >= 0
    assert due_ns[-1] < profile.duration_ns
    assert (np.diff(due_ns) >= 0).all()


@given(profiles, st.data())
def test_each_due_time_is_where_the_area_under_the_rate_reaches_n(profile: ArrivalProfile, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, profile.total() - 1))
    due_ns = int(profile.due_ns(np.array([n]))[0])
    assert area_at(profile, max(0, due_ns - 2)) <= n
    assert area_at(profile, due_ns + 2) > n or due_ns + 2 >= profile.duration_ns


@given(profiles, st.data())
def test_a_block_gives_what_the_whole_gives(profile: ArrivalProfile, data: st.DataObject) -> None:
    whole = all_due_ns(profile)
    picks = np.array(data.draw(st.lists(st.integers(0, profile.total() - 1), max_size=20)), dtype=np.int64)
    assert profile.due_ns(picks).tolist() == whole[picks].tolist()


@pytest.mark.parametrize(
    "profile",
    [
        of((1000 / 3, 1000 / 3, 40_000)),
        of((0, 2000, 20_000)),
        of((2000, 0, 20_000)),
        of((777.7, 777.7, 100), (0, 2000, 20_000)),
        of((3, 7, 1), (0, 0, 1000), (2000, 1, 20_000)),
    ],
    ids=["constant", "ramp up", "ramp down", "after a hold", "after a pause"],
)
def test_nothing_drifts_at_ten_million(profile: ArrivalProfile) -> None:
    total = profile.total()
    assert total > 10_000_000
    for n in (9_999_999, 10_000_000, total - 2, total - 1):
        due_ns = int(profile.due_ns(np.array([n]))[0])
        assert area_at(profile, due_ns - 1_000) < n < area_at(profile, due_ns + 1_000)  # within 1 µs
        assert area_at(profile, due_ns - 1) <= n <= area_at(profile, due_ns + 1)  # and in truth within 1 ns


def test_a_pause_moves_the_next_arrival_to_where_the_rate_is_back() -> None:
    profile = of((10, 10, 1), (0, 0, 5), (10, 10, 1))
    due_ns = all_due_ns(profile).tolist()
    assert len(due_ns) == 20
    assert due_ns[9:11] == [900_000_000, 6 * S]


def test_a_pause_at_the_start_and_one_at_the_end_have_no_arrival() -> None:
    profile = of((0, 0, 5), (10, 10, 1), (0, 0, 5))
    due_ns = all_due_ns(profile).tolist()
    assert due_ns == [5 * S + k * S // 10 for k in range(10)]


def test_a_stage_without_length_is_a_jump_and_has_no_arrivals() -> None:
    jumped = of((10, 10, 1), (10, 400, 0), (400, 400, 1))
    assert all_due_ns(jumped).tolist() == all_due_ns(of((10, 10, 1), (400, 400, 1))).tolist()
    assert jumped.total() == 410
    assert jumped.rate_at(S - 1) == 10
    assert jumped.rate_at(S) == 400


def test_arrivals_of_a_fraction_are_carried_over_to_the_next_stage() -> None:
    profile = of((1, 1, 1.5), (2, 2, 0.75))  # area 1.5 + 1.5
    assert all_due_ns(profile).tolist() == [0, S, S + 750_000_000]


def test_the_rate_is_linear_within_a_ramp_and_0_outside_of_the_load() -> None:
    profile = of((0, 100, 10))
    assert [profile.rate_at(t * S) for t in (-1, 0, 5, 10)] == [0, 0, 50, 0]


def test_an_arrival_that_does_not_exist_has_no_due_time() -> None:
    profile = of((10, 10, 1))
    for n in (-1, 10):
        with pytest.raises(IndexError, match="from 0 to 9"):
            profile.due_ns(np.array([n]))


@given(profiles, st.floats(0.5, 300).map(lambda x: round(x, 2)))
def test_a_scaled_profile_has_the_peak_that_was_asked_for(profile: ArrivalProfile, peak: float) -> None:
    assert profile.scaled_to(peak).peak == peak
    assert profile.scaled_to(peak).duration_ns == profile.duration_ns


def test_scaling_scales_every_rate() -> None:
    assert of((0, 200, 10), (200, 200, 60)).scaled_to(50) == of((0, 50, 10), (50, 50, 60))


@given(profiles, st.integers(1, 100 * S))
def test_a_stretched_profile_lasts_exactly_as_long_as_was_asked_for(profile: ArrivalProfile, duration_ns: int) -> None:
    try:
        stretched = profile.lasting(duration_ns)
    except ProfileError:  # squeezed until the only stage that does anything is gone
        assert duration_ns < profile.duration_ns
        return
    assert stretched.duration_ns == duration_ns
    assert len(stretched.stages) == len(profile.stages)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([], "no duration"),
        ([(10, 10, 0)], "no duration"),
        ([(0, 0, 10)], "nothing to do"),
        ([(0, 500, 0), (0, 0, 10)], "nothing to do"),
        ([(-1, 10, 10)], "cannot be -1/s"),
        ([(10, -5, 10)], "cannot be -5/s"),
        ([(float("nan"), 1, 10)], "cannot be nan/s"),
        ([(1, float("inf"), 10)], "cannot be inf/s"),
        ([(1, 1e9, 10)], "exceeds the limit of 1e"),
        ([(1, 1, 400 * 86_400)], "366 days"),
    ],
)
def test_a_profile_that_cannot_be_driven_is_refused(parts: list[tuple[float, float, float]], says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        of(*parts)


@pytest.mark.parametrize("peak", [0, -1, float("nan"), float("inf")])
def test_a_profile_is_not_scaled_to_nothing(peak: float) -> None:
    with pytest.raises(ProfileError, match="scaled"):
        of((10, 10, 1)).scaled_to(peak)


def test_a_profile_crosses_the_wire_as_json() -> None:
    profile = of((0, 200, 120), (200, 200, 600))
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile


def test_a_profile_says_itself_in_words() -> None:
    assert of((0, 200, 120), (200, 200, 600)).describe() == "arrivals: ramp 0 to 200/s in 2m, hold 200/s for 10m"
    stairs = of(*((50 * k, 50 * k, 60) for k in range(1, 9)))
    assert stairs.describe() == "arrivals: 8 steps 50/s to 400/s, each 1m"
    assert (
        of((5, 5, 1), (5, 9, 0), (9, 0, 0.5)).describe()
        == "arrivals: hold 5/s for 1s, jump to 9/s, ramp 9 to 0 in 500 ms"
    )


def test_arrivals_of_before_there_was_chance_are_still_read_and_even_ones_look_as_they_did() -> None:
    old = b'{"kind":"arrivals","stages":[{"start":5.0,"end":5.0,"duration_ns":1000000000}]}'
    assert msgspec.json.decode(old, type=Profile) == of((5, 5, 1))
    assert msgspec.json.encode(of((5, 5, 1))) == old
    by_chance = ArrivalProfile(of((5, 5, 1)).stages, Spacing(0.25, 2**64 - 1))
    assert msgspec.json.decode(msgspec.json.encode(by_chance), type=Profile) == by_chance
