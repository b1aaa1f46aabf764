"""Which pin counts, what was accepted since, and whether a release is slower than the runs before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from math import log

import pytest

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted, Event
from loadgen.programme.gathering.pinned import mean_change, slow_down
from loadgen.programme.recommending.facts import run_fact_of
from loadgen.programme.recommending.performance import NoSlowDown, SlowDown
from tests.support.accepted import KEY, history
from tests.support.memory_place import Memory

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@cache
def runs_of(first: int, count: int, level: float) -> tuple[Accepted, ...]:
    return tuple(history(count, {"checkout": level}, sd=0.004, seed=first + 1, first=first))


@cache
def before() -> dict[str, bytes]:
    memory = Memory()
    for run in runs_of(0, 12, 100.0):
        Store(memory).add(run)
    return memory.files


class Shop:
    """A history with releases of three runs after 12 accepted ones."""

    def __init__(self) -> None:
        self.times = iter(f"2026-11-{day:02}T{hour:02}:00:00Z" for day in range(10, 28) for hour in range(24))
        self.store, self.next = Store(Memory(before())), 12

    def at(self) -> str:
        """The next time of an event."""
        return next(self.times)

    def add(self, level: float, count: int = 3, release: str = "") -> list[Accepted]:
        made = [replace(run, labels={"release": release}) for run in runs_of(self.next, count, level)]
        self.next += count
        for run in made:
            self.store.add(run)
        return made

    def pin(self, runs: Sequence[Accepted], name: str, because: str = "") -> None:
        details = {"name": name, "key": KEY.hash()}
        event = Event("pinned", self.at(), "ci", tuple(run.run_id for run in runs), because, details)
        self.store.note(event)

    def accept(self, runs: Sequence[Accepted], change: float | None, *, failed: bool = True) -> None:
        details = {"key": KEY.hash(), "names": '["checkout"]' if failed else "[]", "outcome": "FAIL"}
        if change is not None:
            details["changes"] = json.dumps({"checkout": [change, change - 0.005, change + 0.005]})
        kind = "new level" if failed else "verdict"
        self.store.note(Event(kind, self.at(), "ci", tuple(run.run_id for run in runs), "taxes", details))

    def found(self, release: Sequence[Accepted]) -> SlowDown | NoSlowDown:
        facts = [run_fact_of(run) for run in release]
        return slow_down(self.store, release, facts, "v412", "checkout", limit=0.10)


@pytest.fixture
def shop() -> Shop:
    made = Shop()
    made.pin(runs_of(0, 12, 100.0)[:3], "1.4")
    return made


def test_accepted_changes_since_the_pin_are_added_up_as_they_were_recorded(shop: Shop) -> None:
    for level in (102.0, 104.0):
        shop.accept(shop.add(level), 0.02)
    shop.accept(shop.add(103.0), -0.01, failed=False)
    shop.accept(shop.add(103.0), 0.001, failed=False)  # not certain, and the gate did not fail it

    found = shop.found(shop.add(103.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert [round(one.ratio, 4) for one in found.decisions] == [1.02, 1.02, 0.99]
    assert found.by_decisions(0.10).spent == pytest.approx((2 * log(1.02) + log(0.99) / 2) / log(1.1))


def test_a_change_that_an_older_version_accepted_is_computed_from_its_runs(shop: Shop) -> None:
    shop.accept(shop.add(110.0), None)

    found = shop.found(shop.add(110.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert found.decisions[0].ratio == pytest.approx(1.10, abs=0.015)


def test_a_spent_budget_asks_whether_the_release_is_slower_than_the_level_before_it(shop: Shop) -> None:
    shop.accept(shop.add(110.0, 6), 0.10)

    same = shop.found(shop.add(110.0, release="v412"))
    worse = shop.found(shop.add(113.0, release="v413"))

    assert isinstance(same, SlowDown)
    assert isinstance(worse, SlowDown)
    assert same.newly is not None
    assert same.newly.low < 0 < same.newly.high, "slower than 1.4, but not than the accepted level"
    assert worse.newly is not None
    assert worse.newly.low > 0


def test_without_a_spent_budget_nobody_asks_whether_it_is_newly_slower(shop: Shop) -> None:
    found = shop.found(shop.add(103.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert found.newly is None


@pytest.mark.parametrize(
    ("change", "because", "reference"),
    [
        (0.10, "", "1.4"),
        (0.10, "the new tax rules are here to stay", "1.5"),
        (0.02, "", "1.5"),
    ],
)
def test_a_spent_budget_begins_anew_only_with_a_pin_that_has_a_reason(
    shop: Shop, change: float, because: str, reference: str
) -> None:
    accepted = shop.add(103.0)
    shop.accept(accepted, change)
    shop.pin(accepted, "1.5", because)

    found = shop.found(shop.add(103.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert found.reference == reference
    assert ("the later pin 1.5 has no reason" in found.why_pinned) == (reference == "1.4")


def test_a_pinned_release_that_is_as_slow_as_the_budget_allows_needs_a_reason_as_well(shop: Shop) -> None:
    shop.pin(shop.add(111.0), "1.5")

    found = shop.found(shop.add(111.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert found.reference == "1.4"


def test_decisions_before_the_pin_and_of_struck_runs_do_not_count(shop: Shop) -> None:
    shop.accept(shop.add(102.0), 0.02)
    shop.pin(shop.add(102.0), "1.5")
    mistake = shop.add(104.0)
    shop.accept(mistake, 0.02)
    for run in mistake:
        shop.store.strike(run.run_id, "a mistake")

    found = shop.found(shop.add(102.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert (found.reference, found.decisions) == ("1.5", ())


def test_records_that_cannot_be_read_are_computed_instead(shop: Shop) -> None:
    runs = [run.run_id for run in shop.add(110.0)]
    texts = ("{", "[]", '{"checkout": [1, 2]}', '{"checkout": [0, 1, -1]}', '{"checkout": ["a", 1, 2]}')
    for changes in texts:
        details = {"key": KEY.hash(), "names": "[]", "changes": changes}
        shop.store.note(Event("verdict", shop.at(), "ci", tuple(runs), "taxes", details))

    found = shop.found(shop.add(110.0, release="v412"))

    assert isinstance(found, SlowDown)
    assert len(found.decisions) == len(texts)
    assert all(one.ratio == pytest.approx(1.10, abs=0.015) for one in found.decisions)


def test_the_change_of_the_mean_is_in_ms(shop: Shop) -> None:
    release = shop.add(110.0, release="v412")

    found = mean_change(shop.store, release, "checkout", "1.4")

    assert found is not None
    assert found.low < 6.0 < found.high  # the mean is 0.6 of the p95: 60 ms, then 66 ms
    assert mean_change(shop.store, release, "checkout", "1.9") is None
    assert mean_change(shop.store, [], "checkout", "1.4") is None
