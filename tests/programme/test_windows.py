"""Windows of promises: rolling ones, and calendar windows over changes of the clock."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.programme.promises.objectives import Threshold
from loadgen.programme.promises.windows import CALENDAR_UNITS, CalendarUnit, CalendarWindow, RollingWindow

NOON = datetime(2022, 1, 1, 12)
NEW_YORK_WEEK = CalendarWindow(1, "w", NOON, "America/New_York")


def test_calendar_week_with_the_change_to_summer_time_has_167_hours() -> None:
    start, end = NEW_YORK_WEEK.around(datetime(2026, 3, 10, tzinfo=UTC))
    assert start == datetime(2026, 3, 7, 17, tzinfo=UTC)
    assert end == datetime(2026, 3, 14, 16, tzinfo=UTC)
    assert end - start == timedelta(hours=167)


def test_calendar_week_with_the_change_to_winter_time_has_169_hours() -> None:
    start, end = NEW_YORK_WEEK.around(datetime(2026, 11, 1, 12, tzinfo=UTC))
    assert end - start == timedelta(hours=169)


def test_moment_of_a_limit_belongs_to_the_next_window() -> None:
    limit = datetime(2026, 3, 14, 16, tzinfo=UTC)
    assert NEW_YORK_WEEK.around(limit)[0] == limit
    assert NEW_YORK_WEEK.around(limit - timedelta(microseconds=1))[1] == limit


def test_month_from_the_31st_ends_on_the_last_day_of_february() -> None:
    window = CalendarWindow(1, "M", datetime(2023, 1, 31), "UTC")
    assert window.around(datetime(2024, 2, 29, 1, tzinfo=UTC)) == (
        datetime(2024, 2, 29, tzinfo=UTC),
        datetime(2024, 3, 31, tzinfo=UTC),
    )


def test_day_with_a_skipped_hour_at_its_limit_has_no_gap() -> None:
    window = CalendarWindow(1, "d", datetime(2026, 1, 1, 2, 30), "America/New_York")
    before = window.around(datetime(2026, 3, 8, 5, tzinfo=UTC))
    after = window.around(datetime(2026, 3, 8, 12, tzinfo=UTC))
    assert before[1] == after[0] == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)


@given(
    st.sampled_from(CALENDAR_UNITS),
    st.integers(1, 5),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
)
def test_every_moment_lies_in_its_window_and_windows_touch(
    unit: CalendarUnit, count: int, start: datetime, moment: datetime, zone: str
) -> None:
    window = CalendarWindow(count, unit, start, zone)
    at = moment.replace(tzinfo=UTC)
    low, high = window.around(at)
    assert low <= at < high
    assert window.around(high)[0] == high


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "1m"), (5_400, "90m"), (7_200, "2h"), (30 * 86_400, "30d"), (28 * 86_400, "4w")]
)
def test_rolling_window_is_written_with_its_largest_whole_unit(seconds: int, text: str) -> None:
    assert RollingWindow(seconds).text == text


def test_rolling_window_ends_at_the_moment() -> None:
    end = datetime(2026, 7, 20, tzinfo=UTC)
    assert RollingWindow(604_800).around(end) == (datetime(2026, 7, 13, tzinfo=UTC), end)


def test_threshold_in_seconds_is_exact() -> None:
    assert Threshold(Decimal("300"), "ms").seconds == Decimal("0.3")
    assert Threshold(Decimal("0.30"), "s").text == "0.3s"
    assert Threshold(Decimal(5), "%").seconds is None
