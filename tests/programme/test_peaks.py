"""The peak request rate of a promise by week: the highest whole slice, and what is missing by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.ledger.ledger import Ledger, Reading
from loadgen.programme.ledger.peaks import PeakHistory, peak_history
from loadgen.programme.ledger.slices import DAY_S, Slice

MONDAY = 1_784_505_600
"""2026-07-20, 0 h UTC, the Monday of week 30."""
HOUR = 3600


def week(number: int, peak: int = 7200) -> list[Slice]:
    """Slices of an hour of one week: 3,600 requests each, and `peak` on Friday at 18 h."""
    start = MONDAY + 7 * DAY_S * number
    counts = [peak if hour == 4 * 24 + 18 else 3600 for hour in range(168)]
    return [Slice("a", start + HOUR * n, HOUR, count - 1, count) for n, count in enumerate(counts)]


def reading(folder: str, slices: Iterable[Slice], *more: tuple[str, list[Slice]]) -> Reading:
    ledger = Ledger(place_of(folder))
    for source, found in (("prod", list(slices)), *more):
        ledger.write(source, found)
    return ledger.read(MONDAY, MONDAY + 30 * DAY_S)


def peaks(read: Reading, days: float = 21) -> PeakHistory:
    return peak_history("a", read.by_slo["a"], read.revisions, round(MONDAY + days * DAY_S))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def test_the_peak_of_a_week_is_the_highest_slice_of_its_days(folder: str) -> None:
    found = peaks(reading(folder, week(0) + week(1, 10_800)), 14)

    assert [(one.monday, one.rate, one.missing_s) for one in found.weeks] == [
        (date(2026, 7, 20), 2.0, 0),
        (date(2026, 7, 27), 3.0, 0),
    ]
    assert (date(2026, 7, 24), 2.0) in found.days
    assert found.notes == ()


def test_a_week_that_goes_on_has_no_peak_yet(folder: str) -> None:
    assert len(peaks(reading(folder, week(0) + week(1)), 13.5).weeks) == 1


def test_slices_with_missing_time_have_no_rate_and_are_named(folder: str) -> None:
    partly = [replace(one, missing_s=60) if one.total == 7200 else one for one in week(0)]

    found = peaks(reading(folder, partly + week(1)), 14)

    assert found.weeks[0].rate == 1.0
    assert found.notes == ("the peak may be higher, because time is missing: 2026-W30 (60 minutes)",)


def test_a_week_with_more_than_a_day_missing_is_left_out_and_named(folder: str) -> None:
    found = peaks(reading(folder, week(0)[:140] + week(2)), 21)

    assert [one.monday for one in found.weeks] == [date(2026, 8, 3)]
    assert found.notes == (
        "left out, because more than a day is missing: 2026-W30 (1,680 minutes), 2026-W31 (10,080 minutes)",
    )


def test_estimated_and_mixed_counts_are_refused_with_a_sentence(folder: str) -> None:
    estimated = [replace(one, estimated=True) for one in week(0)[:42]]
    with pytest.raises(ValueError, match="25 % of the slices of a are estimated"):
        peaks(reading(folder, estimated + week(0)[42:]))
    with pytest.raises(ValueError, match=r"come from 2 sources \(other, prod\), and a step between them"):
        peaks(reading(folder + "/mixed", week(0), ("other", week(1))))
