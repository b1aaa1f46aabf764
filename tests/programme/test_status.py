"""The state of promises from the ledger."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from loadgen.programme.ledger.exclusions import Exclusion
from loadgen.programme.ledger.ledger import Ledger, Reading
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.promises.objectives import (
    CalendarWindow,
    Method,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
)
from loadgen.programme.status import STALE_S, PromiseState, state_of, window_s

START = 1_784_505_600
"""2026-07-20, 0 h UTC."""
DAY = 288
"""Slices of a day."""


def promise(**changes: Any) -> Objective:
    fields: dict[str, Any] = {
        "name": "a",
        "service": "shop",
        "target": Decimal("0.99"),
        "window": RollingWindow(86_400),
        "indicator": RatioIndicator(Query(), Query()),
    }
    return Objective(**(fields | changes))


def read(tmp_path: Path, slices: list[Slice], source: str = "prod") -> Reading:
    ledger = Ledger.open(str(tmp_path))
    ledger.write(source, slices)
    return ledger.read(START - 86_400, START + 40 * 86_400)


def made(n: int, bad: int = 0, total: int = 1000, width: int = 300, missing_s: int = 0) -> Slice:
    return Slice("a", START + width * n, width, total - bad, total, missing_s)


def state(
    tmp_path: Path, slices: list[Slice], one: Objective | None = None, exclusions: tuple[Exclusion, ...] = ()
) -> PromiseState:
    counts = read(tmp_path, slices).by_slo.get("a")
    return state_of(one or promise(), counts, exclusions, START + 86_400 + 600)


def test_a_promise_with_all_counts_is_kept_or_not_kept_as_a_fact(tmp_path: Path) -> None:
    kept = state(tmp_path / "kept", [made(n, bad=10) for n in range(DAY)])
    broken = state(tmp_path / "broken", [made(n, bad=10 + (n == 5)) for n in range(DAY)])

    assert (kept.word, kept.attainment, broken.word, broken.attainment) == ("kept", "99.0 %", "not kept", "98.9 %")
    assert kept.judgement is not None
    assert kept.judgement.lower == kept.judgement.upper == 0.99
    assert (kept.end, kept.start) == (START + 86_400, START)
    assert kept.is_kept
    assert broken.is_broken


def test_missing_counts_leave_a_promise_undecided_and_never_count_as_good(tmp_path: Path) -> None:
    slices = [made(n, bad=9) for n in range(DAY) if n not in range(100, 112)]

    found = state(tmp_path, slices)

    assert found.word == "undecided"
    assert not found.is_kept
    assert found.judgement is not None
    assert found.judgement.missing_s == 3600


def test_a_promise_without_counts_or_without_new_ones_has_no_data(tmp_path: Path) -> None:
    none = state_of(promise(), None, (), START)
    old = state(tmp_path, [made(n) for n in range(DAY - STALE_S // 300 - 3)])

    assert (none.word, old.word) == ("no data", "no data")
    assert old.why == "no counts since 2026-07-20 20:45 UTC; run loadgen slo pull"


def test_no_traffic_is_never_kept(tmp_path: Path) -> None:
    found = state(tmp_path, [made(n, total=0) for n in range(DAY)])

    assert (found.word, found.attainment, found.is_kept) == ("no traffic", "no traffic", False)


def test_a_budget_that_burns_breaks_a_promise_that_is_still_kept(tmp_path: Path) -> None:
    slices = [made(n, bad=0 if n < DAY - 12 else 150) for n in range(DAY)]

    found = state(tmp_path, slices, promise(window=RollingWindow(86_400 * 28)))

    assert found.fires[0].rule.long_s == 3600
    assert found.is_broken


def test_excluded_times_are_left_out_and_the_attainment_with_them_is_shown(tmp_path: Path) -> None:
    slices = [made(n, bad=500 if n == 50 else 9) for n in range(DAY)]
    maintenance = Exclusion(START + 50 * 300, START + 50 * 300 + 60, "maintenance")
    other = Exclusion(START, START + 86_400, "not ours", ("b",))

    found = state(tmp_path, slices, exclusions=(maintenance, other))

    assert (found.word, found.attainment, found.with_excluded, found.excluded) == ("kept", "99.1 %", "98.9 %", 1)


def test_slices_of_a_promise_are_sums_of_those_of_the_ledger(tmp_path: Path) -> None:
    slices = [made(n, bad=30 if n % 20 == 0 else 0, width=60) for n in range(1440)]
    one = promise(method=Method.TIMESLICES, slice_s=120, slice_target=Decimal("0.99"), target=Decimal("0.9"))

    found = state(tmp_path, slices, one)

    assert found.judgement is not None
    assert (found.judgement.observed.good, found.judgement.observed.of) == (648, 720)
    assert found.word == "kept"


def test_a_part_of_a_promises_slice_that_is_absent_is_missing(tmp_path: Path) -> None:
    slices = [made(n, width=60) for n in range(1440) if n != 7]
    one = promise(method=Method.TIMESLICES, slice_s=120, slice_target=Decimal("0.99"), target=Decimal("0.999"))

    found = state(tmp_path, slices, one)

    assert found.judgement is not None
    assert found.judgement.missing_s == 60
    assert found.word == "undecided"


def test_a_calendar_window_is_judged_so_far(tmp_path: Path) -> None:
    window = CalendarWindow(1, "w", datetime(2026, 7, 20), "UTC")

    found = state(tmp_path, [made(n) for n in range(DAY)], promise(window=window))

    assert (found.start, found.end, found.word) == (START, START + 86_400, "kept")


def test_a_calendar_window_has_two_budgets_that_answer_different_questions(tmp_path: Path) -> None:
    window = CalendarWindow(1, "w", datetime(2026, 7, 20), "UTC")
    slices = [made(n) for n in range(-7 * DAY, 0)] + [made(n, bad=5) for n in range(DAY)]
    ledger = Ledger.open(str(tmp_path))
    ledger.write("prod", slices)
    counts = ledger.read(START - 8 * 86_400, START + 86_400).by_slo["a"]

    found = state_of(promise(window=window), counts, (), START + 86_400 + 600)

    assert found.calendar is not None
    assert found.calendar.earned.spent == pytest.approx(0.5)
    assert found.calendar.projected.spent == pytest.approx(0.5 / 7)


def test_a_week_of_a_promise_that_is_kept_with_ease_does_not_burn(tmp_path: Path) -> None:
    week = promise(window=RollingWindow(7 * 86_400))
    # A burn of 0.9: the standard share of 10 % in 3 d would fire from 0.23 on.
    counts = read(tmp_path, [made(n, bad=9) for n in range(-6 * DAY, DAY)])
    found = state_of(week, counts.by_slo.get("a"), (), START + 86_400 + 600)

    assert [float(one.rule.factor) for one in found.burning] == [13.44, 3.5, 1.4, 0.98]
    assert found.fires == ()


def test_slices_of_two_sources_are_no_data_with_the_reason(tmp_path: Path) -> None:
    read(tmp_path, [made(n) for n in range(DAY)])

    found = state_of(
        promise(), read(tmp_path, [made(n) for n in range(DAY)], "other").by_slo["a"], (), START + 86_400 + 600
    )

    assert found.word == "no data"
    assert found.why == "it has slices of two sources at the same time, which would count twice"


def test_a_promise_that_cannot_be_judged_says_why(tmp_path: Path) -> None:
    found = state(tmp_path, [made(n) for n in range(DAY)], promise(indicator=RawRatioIndicator(Query())))

    assert found.word == "not judged"
    assert "a raw ratio has no counts" in found.why


def test_a_calendar_week_is_read_with_the_four_weeks_whose_volume_it_needs() -> None:
    window = CalendarWindow(1, "w", datetime(2026, 7, 20), "UTC")

    assert window_s([promise(window=window)]) > 28 * 86_400 + STALE_S


@pytest.mark.parametrize("days", [1, 28])
def test_the_ledger_is_read_for_the_longest_window_and_more(days: int) -> None:
    assert window_s([promise(window=RollingWindow(86_400 * days))]) > 86_400 * days + STALE_S
