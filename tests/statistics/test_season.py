"""Seasons: real series with known weeks and days, how often one is seen that is none, and what the scan gains."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import log
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from loadgen.analysis.changepoint import scan
from loadgen.analysis.season import by_day, decompose
from tests.statistics.trials import series

DATA = Path(__file__).parents[1] / "data" / "series"
Array = npt.NDArray[np.float64]
Seen = Callable[[str, object], None]
SATURDAY = 5


def test_the_week_of_a_page_that_is_read_least_on_saturdays() -> None:
    """Published: Prophet's quick start, of the same series."""
    with (DATA / "wp_log_peyton_manning_2014.csv").open() as file:
        rows = [(date.fromisoformat(row["ds"]), float(row["y"])) for row in csv.DictReader(file)]
    week = by_day([day for day, _ in rows], [value for _, value in rows])
    found = decompose(week.values, 7)
    least = int(found.season[:7].argmin())
    assert (week.first + timedelta(days=least)).weekday() == SATURDAY
    assert found.is_clear
    assert week.filled == 365 - len(rows)


def test_what_stands_out_of_the_days_of_a_load_balancer_is_what_is_labelled() -> None:
    """The two half hours with the most that neither trend nor time of day explains, against NAB's two labels."""
    start, counts = half_hours()
    found = decompose(counts, 48)
    most = sorted(start + timedelta(minutes=30 * int(at)) for at in np.argsort(found.rest)[-2:])
    labels = [datetime.fromisoformat("2014-04-12T17:24"), datetime.fromisoformat("2014-04-22T19:34")]
    assert all(abs(seen - label) <= timedelta(minutes=30) for seen, label in zip(most, labels, strict=True))
    assert found.is_clear


def test_the_parts_add_up_to_what_was_given() -> None:
    values = series(np.random.default_rng(1), 60, 0.02) + weeks(60)
    found = decompose(values, 7)
    np.testing.assert_allclose(found.trend + found.season + found.rest, values)
    np.testing.assert_allclose(found.adjusted, values - found.season)
    np.testing.assert_allclose(found.season[7:], found.season[:-7], atol=0.01)


def test_a_known_season_is_found_with_its_size_and_one_bad_day_does_not_move_it() -> None:
    values = series(np.random.default_rng(2), 84, 0.005) + weeks(84)
    values[40] += 1.0
    found = decompose(values, 7)
    np.testing.assert_allclose(found.season, weeks(84), atol=0.012)
    assert found.weight[40] < 0.1
    assert found.strength > 0.9


def test_equal_values_have_no_season() -> None:
    found = decompose(np.zeros(40), 7)
    assert not found.is_clear
    assert found.strength == 0


def test_a_step_that_the_week_hides_is_found_without_the_week() -> None:
    values = series(np.random.default_rng(3), 98, 0.02) + weeks(98)
    values[88:] += log(1.05)
    found = decompose(values, 7)
    assert scan(values) == ()
    assert [abs(at - 88) <= 2 for at in scan(found.adjusted)] == [True]


def test_no_week_is_seen_where_there_is_a_step_and_no_week() -> None:
    values = series(np.random.default_rng(4), 84, 0.02)
    values[42:] += log(1.10)
    assert not decompose(values, 7).is_clear


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 12, 52])
def test_how_often_a_week_is_seen_that_is_none(count: int, record_property: Seen) -> None:
    chance = np.random.default_rng(count)
    seen = sum(decompose(series(chance, count * 7, 0.02), 7).is_clear for _ in range(1000))
    record_property("seen", f"{count} weeks: {seen} of 1,000")
    assert seen <= 25


@pytest.mark.slow
def test_steps_are_found_soon_in_histories_with_a_week(record_property: Seen) -> None:
    chance = np.random.default_rng(5)
    alarms = found = 0
    for _ in range(1000):
        values = series(chance, 98, 0.02) + weeks(98)
        alarms += bool(scan(decompose(values, 7).adjusted))
        values[-10:] += log(1.05)
        found += any(abs(at - 88) <= 2 for at in scan(decompose(values, 7).adjusted))
    record_property("seen", f"+5 %, 10 runs after: {found} of 1,000; without a step {alarms} of 1,000 are split")
    assert found >= 850
    assert alarms <= 10


def test_a_day_is_the_mean_of_its_runs_and_a_day_without_one_lies_between_its_neighbours() -> None:
    days = [date(2026, 11, 2), date(2026, 11, 2), date(2026, 11, 5), date(2026, 11, 3)]
    found = by_day(days, [1.0, 2.0, 6.0, 2.0])
    np.testing.assert_allclose(found.values, [1.5, 2.0, 4.0, 6.0])
    assert found.index.tolist() == [0, 0, 3, 1]
    assert (found.first, found.filled) == (date(2026, 11, 2), 1)


@pytest.mark.parametrize(
    ("values", "period", "message"),
    [
        ([[1.0]], 7, "shape"),
        ([1.0] * 20, 7, "20 values are too few: a season of 7 needs 21"),
        ([1.0] * 20 + [np.nan], 7, "not finite"),
        ([1.0] * 21, 1, "period is 1, but must be at least 2"),
    ],
)
def test_what_makes_no_sense_is_refused(values: list[float], period: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decompose(values, period)


def test_days_that_mostly_have_no_value_are_no_series() -> None:
    with pytest.raises(ValueError, match="6 of 8 days"):
        by_day([date(2026, 11, 1), date(2026, 11, 8)], [1.0, 2.0])
    with pytest.raises(ValueError, match="0 days"):
        by_day([], [])


def weeks(n: int) -> Array:
    season: Array = 0.05 * np.sin(np.arange(n) * 2 * np.pi / 7)
    return season


def half_hours() -> tuple[datetime, Array]:
    """Requests by half hour; bins of 5 minutes that are missing lie between their neighbours."""
    with (DATA / "nab_elb_request_count_8c0756.csv").open() as file:
        rows = [(datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    start = rows[0][0]
    at = [(when - start) / timedelta(minutes=5) for when, _ in rows]
    bins = np.interp(np.arange(4032), np.round(at), [value for _, value in rows])
    sums: Array = bins.reshape(-1, 6).sum(axis=1)
    return start, sums
