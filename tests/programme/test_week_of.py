"""ISO weeks and quarters in a zone, the table [programme], and the incident behind a broken promise."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.attainment.incident import incident_of
from loadgen.analysis.attainment.slices import Slices, slices_of
from loadgen.programme.programme_toml import read_programme_toml
from loadgen.programme.weekly.programme_table import PageSettings, read_page_settings
from loadgen.programme.weekly.week_of import (
    last_complete_week,
    period_of,
    quarter_of,
    week_at,
    week_of,
    weeks_before,
)

BERLIN, NEW_YORK, CAIRO = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Africa/Cairo")


@pytest.mark.parametrize(
    ("name", "zone", "start", "hours"),
    [
        ("2026-W30", ZoneInfo("UTC"), "2026-07-20T00:00Z", 168),
        ("2026-W30", BERLIN, "2026-07-19T22:00Z", 168),
        ("2026-W13", BERLIN, "2026-03-22T23:00Z", 167),
        ("2026-W43", BERLIN, "2026-10-18T22:00Z", 169),
        ("2026-W10", NEW_YORK, "2026-03-02T05:00Z", 167),
        ("2020-W53", BERLIN, "2020-12-27T23:00Z", 168),
        ("2026-Q1", BERLIN, "2025-12-31T23:00Z", 90 * 24 - 1),
        ("2026-q4", BERLIN, "2026-09-30T22:00Z", 92 * 24 + 1),
        ("2023-W17", CAIRO, "2023-04-23T22:00Z", 167),  # on Friday 2023-04-28, Cairo's clock skips midnight
    ],
)
def test_a_week_begins_on_monday_by_the_clock_of_its_zone(name: str, zone: ZoneInfo, start: str, hours: int) -> None:
    found = period_of(name, zone)
    assert datetime.fromtimestamp(found.start, UTC) == datetime.fromisoformat(start)
    assert found.hours == hours


@pytest.mark.parametrize(
    "name",
    ["2025-W53", "2026-W00", "2026-W1", "W30", "2026-30", "0001-W01", "2026-W30 ", "2026-Q5", "2026-Q0", "9999-Q4"],
)
def test_other_texts_are_no_week(name: str) -> None:
    with pytest.raises(ValueError, match=r"write 2026-|has the weeks 1 to"):
        period_of(name, BERLIN)


@given(st.integers(min_value=100_000_000, max_value=4_000_000_000), st.sampled_from([BERLIN, NEW_YORK, CAIRO]))
def test_each_moment_is_in_one_week_and_weeks_follow_each_other(at: int, zone: ZoneInfo) -> None:
    found = week_at(at, zone)
    assert found.start <= at < found.end
    assert week_of(found.name, zone) == found
    assert week_at(found.end, zone).start == found.end
    before = last_complete_week(at, zone)
    assert before.end == found.start
    assert weeks_before(found, 2, zone) == (before, found)


def test_periods_have_a_text_for_people() -> None:
    assert week_of("2026-W30", BERLIN).text == "week 30 (20 to 26 Jul 2026)"
    assert week_of("2026-W31", BERLIN).text == "week 31 (27 Jul to 2 Aug 2026)"
    assert week_of("2020-W53", BERLIN).text == "week 53 (28 Dec 2020 to 3 Jan 2021)"
    assert quarter_of("2026-Q3", BERLIN).text == "quarter 3 (1 Jul to 30 Sep 2026)"


def read(tmp_path: Path, text: str) -> tuple[PageSettings, list[str]]:
    path = tmp_path / "programme.toml"
    path.write_text(text, encoding="utf-8")
    settings, faults = read_page_settings(read_programme_toml(path)[0])
    return settings, [f"{one.line}: {one.message}" for one in faults]


def test_the_title_and_the_zone_of_the_page_have_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == (PageSettings("Performance", "UTC"), [])
    text = '[programme]\ntitle = "Payments  ·\\tperformance"\nzone = "Europe/Berlin"\n'
    assert read(tmp_path, text) == (PageSettings("Payments · performance", "Europe/Berlin"), [])


def test_all_errors_of_the_table_are_found_at_once_with_their_lines(tmp_path: Path) -> None:
    settings, faults = read(tmp_path, '[programme]\ntitle = 7\nzone = "../etc/passwd"\nzones = 3\n')
    assert settings == PageSettings()
    assert faults == [
        '4: unknown key "programme.zones"',
        "2: invalid title 7",
        '3: unknown time zone "../etc/passwd"',
    ]
    assert read(tmp_path, "programme = 3\n")[1] == ["1: programme is not a table"]


def slices(bad: list[int], total: int = 100) -> Slices:
    start = 300 * np.arange(len(bad))
    return slices_of(start, 300, total - np.array(bad), total)


def test_an_incident_is_the_longest_stretch_of_bad_slices() -> None:
    found = incident_of(slices([0, 60, 0, 0, 0, 0, 40, 50, 0, 60, 1]), 0.99)
    assert found is not None
    # A pause of one good slice does not end it.
    assert (found.start, found.end, found.bad) == (1_800, 3_000, 150)
    assert found.share == pytest.approx(150 / 211)


@pytest.mark.parametrize(
    "bad", [[], [0, 0], [5] * 50, [4, 0, 0, 0], [10, *[9] * 40], [100 if n == 3 else 8 for n in range(100)]]
)
def test_even_losses_and_small_stretches_are_no_incident(bad: list[int]) -> None:
    of = slices(bad, 10) if bad == [4, 0, 0, 0] else slices(bad)
    assert incident_of(of, 0.99) is None
