"""Evidence from a real store: the same answers as the table, and nothing that cannot be read is a pass."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import cast

import pytest

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict
from loadgen.programme.recommending.assess import READABLE, Known, assess
from loadgen.programme.recommending.facts import Condition, Forecast, JourneyFacts, Rules, RunFact
from loadgen.programme.recommending.gather import gather
from loadgen.programme.recommending.programme_file import Programme
from loadgen.programme.recommending.record import RECOMMENDED, record_recommendation
from tests.support import decide_table
from tests.support.accepted import KEY, history
from tests.support.decide_table import RELEASE, RunSeen, Situation

NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)
DAY = timedelta(days=1)
LEVEL = {"checkout": 100.0, "checkout > pay": 60.0}


class Memory:
    """A history in memory."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})

    def names(self, below: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(below))

    def read(self, names: Iterable[str]) -> list[bytes | str]:
        return [self.files[name] for name in names]

    def put_new(self, name: str, data: bytes) -> bool:
        return self.files.setdefault(name, data) is data


@cache
def past() -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of a history of 20 runs, and their ids."""
    memory, runs = Memory(), history(20, LEVEL, sd=0.01)
    for run in runs:
        Store(memory).add(run)
    return memory.files, tuple(run.run_id for run in runs)


def filled(seen: Situation) -> tuple[Store, list[RunFact], Programme]:
    """A store and run folders in which a situation of the table is true."""
    files, old = past()
    memory = Memory(files)
    store = Store(memory)
    if seen.budget is not None:
        store.pin(old[:3], "1.4")
    slower = 1.3 if seen.budget is not None and seen.budget.low > 0.1 else 1.0
    fresh = history(len(seen.runs), {name: ms * slower for name, ms in LEVEL.items()}, sd=0.01, seed=2, first=20)
    folders, ours = [], []
    for one, run in zip(seen.runs, fresh, strict=True):
        ours += [run.run_id] if one.release == RELEASE else []
        objectives = tuple(ObjectiveVerdict("p(99) < 300ms", verdict, "checkout") for verdict in one.objectives)
        if one.condition in ("valid", "suspect"):
            store.add(replace(run, labels={"release": one.release}, objectives=objectives, validity=one.condition))
        elif one.release == RELEASE:
            folders.append(
                RunFact(
                    run.run_id,
                    datetime.fromisoformat(run.started_at),
                    RELEASE,
                    cast(Condition, one.condition),
                    frozenset({"checkout"}),
                    tuple(("checkout", verdict) for verdict in one.objectives),
                )
            )
    for event in _events(seen, ours):
        store.note(event)
    if (capacity := seen.capacity) is not None:
        facts = {"low_per_s": capacity.low, "high_per_s": capacity.high, "release": capacity.release}
        at = (NOW - timedelta(days=capacity.age_days)).isoformat()
        study = {"kind": "capacity find", "facts": facts | {"scenario": "shop.py", "plan": "peak"}}
        Store(memory, lambda: at).add_study(study)
    forecast = None if seen.forecast is None else Forecast(*seen.forecast, NOW + 30 * DAY)
    return store, folders, Programme(Rules(), {"checkout": JourneyFacts(seen.is_live, "shop.py:peak", forecast)})


def _events(seen: Situation, ours: list[str]) -> Iterator[Event]:
    if seen.gate is not None:
        judged = tuple(ours) if seen.gate.release == RELEASE else ("20261101-000000-shop-0000",)
        details = {"outcome": seen.gate.outcome, "detectable": f"{seen.gate.detectable:.4g}", "history": "20"}
        yield Event("verdict", NOW.isoformat(), "ci", judged, details=details | {"key": KEY.hash()})
    if seen.controls is not None:
        at = (NOW - timedelta(days=seen.controls.age_days)).isoformat()
        words = ["FAIL"] * seen.controls.failed + ["INCONCLUSIVE"] * seen.controls.inconclusive
        for word in (*words, *["PASS"] * (seen.controls.count - len(words))):
            yield Event(CONTROL, at, details={"outcome": word, "key": KEY.hash()})


def known_in(seen: Situation) -> Known:
    """What is gathered in a situation."""
    store, folders, programme = filled(seen)
    return gather(store, RELEASE, ("checkout",), folders, programme)


def test_stores_agree_with_the_table() -> None:
    answers = set()
    for seen in decide_table.situations(16, seed=7):
        measured = [run for run in seen.runs if run.release == RELEASE and run.condition in ("valid", "suspect")]
        if not measured or (seen.budget is not None and seen.budget.low <= 0.1 < seen.budget.high):
            continue  # without accepted runs there is no slow-down; ends of an interval cannot be made exactly
        known = known_in(seen)
        found = assess(known, Rules(), NOW)
        assert {one.kind: one.state for one in found.evidence if one.required} == decide_table.rows_of(seen), seen
        assert found.recommendation == decide_table.recommendation_of(seen), seen
        answers.add(found.recommendation)
    assert answers == {"GO", "NO-GO", "INCONCLUSIVE"}


def test_a_damaged_file_keeps_from_go() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    assert assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW).recommendation == "GO"
    store._place.put_new("events/20261109T000000000Z-verdict-00000000.json", b'{"format": 1, "kind"')

    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "is damaged" in next(one for one in found.evidence if one.kind == READABLE).says


def test_an_event_without_a_time_keeps_from_go() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    store.note(Event("verdict", "2026-13-45T99:00Z", run_ids=("x",), details={"outcome": "FAIL"}))

    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "invalid time" in next(one for one in found.evidence if one.kind == READABLE).says


def test_a_run_that_was_killed_counts_as_incomplete_for_each_journey() -> None:
    known = known_in(decide_table.ALL_GO)
    killed = RunFact("20261102-000000-shop-dead", NOW - DAY, RELEASE, "incomplete", frozenset(), None, "it was killed")

    found = assess(replace(known, runs=(*known.runs, killed)), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "it was killed" in next(one for one in found.evidence if one.kind == "validity").says


def test_struck_runs_do_not_count() -> None:
    store, folders, programme = filled(Situation(runs=(RunSeen(),) * 3))
    last = gather(store, RELEASE, ("checkout",), folders, programme).runs[-1]
    store.strike(last.run_id, "a deployment ran beside it")

    assert last not in gather(store, RELEASE, ("checkout",), [last], programme).runs


def test_recommendations_are_numbered_and_keep_their_evidence() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    ids = [record_recommendation(store, found, RELEASE, ("checkout",), "maria", NOW) for _ in range(2)]

    assert ids == ["D-1", "D-2"]
    event = store.events(RECOMMENDED)[-1]
    assert (event.by, event.details["recommendation"]) == ("maria", "GO")
    assert len(json.loads(event.details["document"])["evidence"]) == len(found.evidence)


def test_other_readers_of_the_history_pass_over_recommendations() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    before = gather(store, RELEASE, ("checkout",), folders, programme)
    record_recommendation(store, assess(before, Rules(), NOW), RELEASE, ("checkout",), "maria", NOW)

    assert gather(store, RELEASE, ("checkout",), folders, programme) == before
    assert store.unreadable == ()


@pytest.mark.slow
def test_500_stores_agree_with_the_table() -> None:
    for seen in decide_table.situations(500, seed=25):
        measured = [run for run in seen.runs if run.release == RELEASE and run.condition in ("valid", "suspect")]
        if not measured or (seen.budget is not None and seen.budget.low <= 0.1 < seen.budget.high):
            continue
        found = assess(known_in(seen), Rules(), NOW)
        assert {one.kind: one.state for one in found.evidence if one.required} == decide_table.rows_of(seen), seen
