"""Anomalies of hourly counts: a labelled series, gaps, clocks that change, and how often a quiet series has a find."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from loadgen.analysis.anomalies.flag import Flags, flag
from loadgen.analysis.anomalies.hours import Hours, hours_of

DATA = Path(__file__).parents[1] / "data" / "series"
Array = npt.NDArray[np.float64]


def load_balancer() -> Hours:
    with (DATA / "nab_elb_request_count_8c0756.csv").open() as file:
        rows = list(csv.DictReader(file))
    start = [int(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp()) - 240 for row in rows]
    return hours_of(start, 300, [float(row["value"]) for row in rows], 0)


def quiet(seed: int, weeks: int, base: float, *, weekend: float = 0.55) -> Array:
    """Return Poisson counts with the shape of a day and of a week."""
    hour = np.arange(weeks * 168)
    shape = (1 + 0.8 * np.sin(2 * np.pi * (hour % 24 - 8) / 24)) * np.where((hour // 24) % 7 >= 5, weekend, 1.0)
    return np.random.default_rng(seed).poisson(base * shape).astype(np.float64)


def times(hours: Hours, found: Flags) -> list[str]:
    return [f"{datetime.fromtimestamp(at, UTC):%m-%d %H:%M}" for at in hours.start[found.is_flagged].tolist()]


def test_a_load_balancer_has_its_two_labelled_hours_and_one_more() -> None:
    """NAB labels 2014-04-12 17:24 and 04-22 19:34. The counts at lower limits are those of the specification."""
    hours = load_balancer()
    at_six = flag(hours.count, observed=hours.observed)

    assert times(hours, at_six) == ["04-11 23:00", "04-12 17:00", "04-22 19:00"]
    for limit, number in ((5.0, 4), (4.0, 9)):
        assert int((np.abs(at_six.deviations) > limit).sum()) == number
    assert at_six.period == 24
    assert 800 < at_six.expected[hours.start == int(datetime(2014, 4, 12, 17, tzinfo=UTC).timestamp())] < 900


def test_a_gap_is_no_find_and_changes_no_other_find() -> None:
    hours = load_balancer()
    holed = hours.count.copy()
    holed[200:230] = np.nan
    found = flag(holed, observed=hours.observed)

    assert np.isnan(found.deviations[200:230]).all()
    assert not found.is_flagged[200:230].any()
    assert np.isfinite(found.expected).all()
    assert "04-12 17:00" in times(hours, found)


def test_an_hour_of_zero_at_a_busy_time_is_a_find_and_a_missing_one_is_not() -> None:
    counts = quiet(3, 4, 400)
    for value, is_find in ((0.0, True), (np.nan, False)):
        changed = counts.copy()
        changed[400] = value
        assert flag(changed).is_flagged[400] == is_find


@pytest.mark.parametrize("base", [0.05, 3, 400, 100_000])
def test_a_quiet_series_of_any_volume_has_no_find(base: float) -> None:
    assert not flag(quiet(1, 4, base)).is_flagged.any()


def test_two_weeks_with_quiet_weekends_have_no_find() -> None:
    """A season of a day leaves the weekends in the rests: their repetition makes the deviation wider."""
    assert not any(flag(quiet(seed, 2, 2_000)).is_flagged.any() for seed in range(3))


def test_an_hour_with_half_of_the_usual_traffic_is_found_in_four_weeks() -> None:
    counts = quiet(5, 4, 1_000, weekend=0.8)
    at = 15 * 24 + 14
    counts[at] *= 0.5
    found = flag(counts)
    assert np.flatnonzero(found.is_flagged).tolist() == [at]
    assert found.period == 168
    assert found.deviations[at] < -6


@pytest.mark.parametrize("weeks", [2, 4])
def test_a_huge_hour_is_found_alone(weeks: int) -> None:
    counts = quiet(8, weeks, 400, weekend=1.0)
    counts[200] *= 40
    assert np.flatnonzero(flag(counts).is_flagged).tolist() == [200]


def test_a_burst_of_errors_is_found_where_errors_are_rare() -> None:
    counts = quiet(6, 4, 0.1)
    counts[300] = 25
    assert np.flatnonzero(flag(counts).is_flagged).tolist() == [300]


def test_latencies_are_compared_as_ratios() -> None:
    noise = np.random.default_rng(7).standard_normal(4 * 168) * 0.05
    latencies = np.exp(np.log(200.0) + noise)
    latencies[100] *= 3
    assert np.flatnonzero(flag(latencies, kind="latencies").is_flagged).tolist() == [100]


def test_too_few_hours_and_too_many_gaps_have_a_reason_and_no_find() -> None:
    few = flag(quiet(1, 1, 10))
    holes = quiet(1, 5, 10)
    holes[::2] = np.nan
    holes[1::8] = np.nan
    assert few.why == "168 hours are too few: 336 are needed, which are 2 weeks"
    assert flag(holes).why == "more than half of the hours have no counts"
    assert (
        flag(np.concatenate((np.full(500, np.nan), quiet(1, 2, 10)))).why
        == "more than half of the hours have no counts"
    )
    assert not few.is_flagged.any()


@pytest.mark.parametrize("values", [[-1.0] * 400, [np.inf] * 400, [[1.0]]])
def test_impossible_counts_are_an_error(values: list[float]) -> None:
    with pytest.raises(ValueError, match="hourly values"):
        flag(values)


def test_slices_become_hours_at_the_observed_rate() -> None:
    start = np.arange(24) * 300
    hours = hours_of(start, 300, np.full(24, 5), np.where(start >= 5_400, 300, 0))
    assert hours.count.tolist() == [60, 60]
    assert hours.observed.tolist() == [1, 0.5]
    assert hours_of(start, 300, np.full(24, 5), np.where(start >= 5_100, 300, 0)).is_gap.tolist() == [False, True]
    with pytest.raises(ValueError, match="longer than an hour"):
        hours_of([0], 7_200, [1], 0)


def test_hours_follow_the_wall_clock_when_clocks_change() -> None:
    """Berlin: 2026-03-29 has no hour 2, and 2026-10-25 has it twice."""
    spring = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp())
    ahead = [3_600, 7_200, 7_200]
    hours = hours_of([spring, spring + 3_600, spring + 7_200], 3_600, [1, 2, 3], 0, ahead)
    assert [None if np.isnan(one) else one for one in hours.count] == [1, None, 2, 3]
    autumn = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp())
    twice = hours_of([autumn, autumn + 3_600], 3_600, [10, 20], 0, [7_200, 3_600])
    assert (twice.count.tolist(), twice.start.tolist(), twice.end.tolist()) == ([15], [autumn], [autumn + 7_200])


@pytest.mark.slow
@pytest.mark.parametrize("base", [2, 50, 2_000])
def test_a_hundred_quiet_series_of_four_weeks_have_at_most_one_find(base: float) -> None:
    assert sum(int(flag(quiet(seed, 4, base)).is_flagged.sum()) for seed in range(100)) <= 1
