"""Curves are those of their formulas: as to their rates, and as to how many arrivals are due by when."""

from __future__ import annotations

from math import ceil, cos, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.smooth_curves import MAX_PIECES, PIECES, day, sine
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S
from tests.support.examples import examples

S = NS_PER_S
H = 3600 * S


def rates_at(stages: tuple[Stage, ...], times_ns: np.ndarray) -> np.ndarray:
    """Of lines that may jump where they meet: from the right."""
    ends = np.cumsum([stage.duration_ns for stage in stages])
    at = np.searchsorted(ends, times_ns, side="right")
    start, end, length = (
        np.array([getattr(stage, name) for stage in stages])[at] for name in ("start", "end", "duration_ns")
    )
    found: np.ndarray = start + (end - start) * (times_ns - ends[at] + length) / length
    return found


def sine_area(mean: float, amplitude: float, period_s: float, phase_s: float, t_s: float) -> float:
    omega = 2 * pi / period_s
    return mean * t_s + amplitude / omega * (cos(omega * phase_s) - cos(omega * (t_s + phase_s)))


@given(st.floats(0.5, 1e5), st.floats(0, 1), st.floats(1, 1e5), st.floats(0.01, 3), st.floats(0, 2))
@settings(max_examples=examples(60), deadline=None)
def test_a_sine_is_its_formula_within_a_thousandth_of_its_highest_rate(
    mean: float, part: float, period_s: float, turns: float, phase: float
) -> None:
    amplitude = mean * part
    period_ns, phase_ns = round(period_s * S), round(phase * period_s * S)
    duration_ns = round(turns * period_s * S)
    stages = sine(mean, amplitude, period_ns, duration_ns, phase_ns)
    assert sum(stage.duration_ns for stage in stages) == duration_ns
    assert min(min(stage.start, stage.end) for stage in stages) >= 0
    times_ns = np.linspace(0, duration_ns - 1, 5_000).astype(np.int64)
    wanted = mean + amplitude * np.sin(2 * pi * (times_ns + phase_ns) / period_ns)
    assert np.abs(rates_at(stages, times_ns) - wanted).max() < 0.001 * (mean + amplitude)
    if max(stage.end for stage in stages) * turns * period_s < 1e8:
        profile = ArrivalProfile(stages)
        area = sine_area(mean, amplitude, period_ns / S, phase_ns / S, duration_ns / S)
        assert abs(profile.total() - area) <= 1


def test_a_sine_has_at_the_end_of_each_piece_as_many_arrivals_as_its_integral() -> None:
    profile = ArrivalProfile(sine(100, 100, 600 * S, 3600 * S, 77 * S))
    assert profile.total() == 360_000  # whole periods: the mean
    due_ns = profile.due_ns(np.arange(profile.total()))
    for k in range(1, 6 * PIECES):
        wanted = sine_area(100, 100, 600, 77, k * 600 / PIECES)
        assert abs(np.searchsorted(due_ns, k * 600 * S // PIECES) - wanted) <= 1


def test_a_sine_begins_where_its_phase_says() -> None:
    assert [round(sine(100, 40, 600 * S, 600 * S, phase_s * S)[0].start) for phase_s in (0, 150, 300, 450)] == [
        100,
        140,
        100,
        60,
    ]


def test_a_curve_begins_and_ends_where_its_formula_does() -> None:
    assert sine(100, 40, 600 * S, 750 * S, 150 * S)[0] == Stage(140.0, 140.0, 0)
    assert day(20, 200, 20, 4, H)[0] == Stage(110.0, 110.0, 0)
    assert sine(100, 40, 600 * S, 750 * S)[-1] == Stage(140.0, 140.0, 0)
    assert sine(100, 100, 600 * S, 450 * S)[-1] == Stage(0.0, 0.0, 0)
    assert sine(100, 40, 600 * S, 600 * S)[-1] == Stage(100.0, 100.0, 0)
    assert day(20, 200, 20, 4, H)[-1] == Stage(110.0, 110.0, 0)


def test_a_phase_of_many_periods_is_that_of_the_last_one() -> None:
    assert sine(100, 40, 7, 14, 10**17 + 3) == sine(100, 40, 7, 14, (10**17 + 3) % 7)
    assert sum(stage.duration_ns for stage in sine(100, 40, 10**17, 1, 3)) == 1


def test_all_turns_of_a_sine_have_the_same_numbers() -> None:
    stages = sine(100, 40, 600 * S, 6000 * S)
    assert stages[1 : PIECES + 1] * 10 == stages[1:-1]


@pytest.mark.parametrize(
    ("mean", "amplitude", "period_ns", "duration_ns", "said"),
    [
        (100, 101, S, S, "goes below 0"),
        (100, 50, 0, S, "the period of a sine must be above 0"),
        (100, 50, S, 0, "must be above 0"),
        (100, 50, S, 3600 * S, "3,600 periods is too long: at most 208"),
    ],
)
def test_a_sine_that_is_none_is_refused(
    mean: float, amplitude: float, period_ns: int, duration_ns: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        sine(mean, amplitude, period_ns, duration_ns)


def test_as_many_pieces_as_are_allowed_take_a_moment() -> None:
    stages = sine(1234.567, 765.4321, S, MAX_PIECES // PIECES * S)
    assert len(stages) == MAX_PIECES // PIECES * PIECES + 2
    assert ArrivalProfile(stages).total() == ceil(1234.567 * (MAX_PIECES // PIECES))


def day_rate(low: float, high: float, peak_h: float, trough_h: float, hour: float) -> float:
    up_h = (peak_h - trough_h) % 24
    since_h = (hour - trough_h) % 24
    if since_h < up_h:
        return low + (high - low) * (1 - cos(pi * since_h / up_h)) / 2
    return low + (high - low) * (1 + cos(pi * (since_h - up_h) / (24 - up_h))) / 2


@given(st.floats(0, 100), st.floats(0.5, 1_000), st.floats(0, 23.9), st.floats(1, 23), st.integers(60 * S, 30 * 24 * H))
@settings(max_examples=examples(60), deadline=None)
def test_a_day_is_its_formula_within_a_thousandth_of_its_highest_rate(
    low: float, more: float, trough_h: float, up_h: float, duration_ns: int
) -> None:
    high, peak_h = low + more, (trough_h + up_h) % 24
    if not 1 <= (peak_h - trough_h) % 24 <= 23:
        return
    stages = day(low, high, peak_h, trough_h, duration_ns)
    assert sum(stage.duration_ns for stage in stages) == duration_ns
    times_ns = np.linspace(0, duration_ns - 1, 3_000).astype(np.int64)
    wanted = [day_rate(low, high, peak_h, trough_h, t_ns / duration_ns * 24) for t_ns in times_ns.tolist()]
    assert np.abs(rates_at(stages, times_ns) - wanted).max() < 0.001 * high
    # Two halves of a cosine, whatever their lengths: on average the middle.
    total = ArrivalProfile(stages).total()
    assert abs(total - (low + high) / 2 * duration_ns / S) <= 1 + 1e-9 * total


def test_a_day_is_highest_and_lowest_at_its_hours() -> None:
    stages = day(20, 200, 20, 4, 24 * H)
    at = {hour: float(ArrivalProfile(stages).rate_at(hour * H)) for hour in range(24)}
    assert max(at, key=lambda hour: at[hour]) == 20
    assert min(at, key=lambda hour: at[hour]) == 4
    assert at[12] == pytest.approx(110, abs=0.2)  # half way up
    assert at[20] == pytest.approx(200, abs=0.2)


def test_a_day_in_half_an_hour_has_the_rates_of_the_whole_one() -> None:
    whole, short = (ArrivalProfile(day(20, 200, 20, 4, length)) for length in (24 * H, H // 2))
    assert [round(short.rate_at(h * H // 48)) for h in range(24)] == [round(whole.rate_at(h * H)) for h in range(24)]
    assert (whole.total(), short.total()) == (110 * 86_400, 110 * 1_800)


@pytest.mark.parametrize(
    ("low", "high", "peak_h", "trough_h", "duration_ns", "said"),
    [
        (200, 20, 20, 4, H, "low of 200/s is above its high of 20/s"),
        (20, 200, 24, 4, H, "invalid hour 24"),
        (20, 200, 20, -1, H, "invalid hour -1"),
        (20, 200, 4.5, 4, H, "at least an hour apart"),
        (20, 200, 20, 4, 0, "must be above 0"),
    ],
)
def test_a_day_that_is_none_is_refused(
    low: float, high: float, peak_h: float, trough_h: float, duration_ns: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        day(low, high, peak_h, trough_h, duration_ns)


def test_a_curve_without_a_swing_is_a_hold() -> None:
    assert {(stage.start, stage.end) for stage in sine(50, 0, 60 * S, 60 * S)} == {(50.0, 50.0)}
