"""Numbers of a history: no two writers share one, and a damaged file shifts none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.programme.recommending.recommendation import INCONCLUSIVE, Recommendation
from loadgen.programme.recommending.record import RECOMMENDED, recommendation_ids, record_recommendation

NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)
FOUND = Recommendation(INCONCLUSIVE, (), ())


def record(store: Store) -> str:
    return record_recommendation(store, FOUND, "v412", ("checkout",), "maria", NOW)


def test_writers_at_the_same_time_get_different_numbers(tmp_path: Path) -> None:
    store, ready = Store.open(str(tmp_path)), Barrier(8)

    def write(_: int) -> list[str]:
        ready.wait()
        return [record(store) for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        ids = [one for found in pool.map(write, range(8)) for one in found]

    assert sorted(ids, key=lambda one: int(one[2:])) == [f"D-{n}" for n in range(1, 25)]
    assert sorted(recommendation_ids(store.events(RECOMMENDED))) == list(range(1, 25))


def test_a_number_follows_the_recommendations_of_older_versions(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for n in (3, 7):
        store.note(Event(RECOMMENDED, "2026-11-01T00:00:00Z", details={"id": f"D-{n}"}))

    assert [record(store), record(store)] == ["D-8", "D-9"]


def test_a_number_that_was_taken_without_an_event_is_a_gap(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.take_number("D")
    (tmp_path / "numbers" / "D-1.json").write_bytes(b"")  # torn
    store.take_number("E", 5)

    assert record(store) == "D-2"


def test_a_damaged_verdict_keeps_its_number(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for n in range(4):
        kind = "new level" if n == 2 else "verdict"
        store.note(Event(kind, f"2026-11-0{n + 1}T00:00:00.000Z", run_ids=(f"run-{n}",)))
    store.note(Event("control", "2026-11-02T12:00:00.000Z"))
    next(tmp_path.glob("events/20261102T000000*")).write_bytes(b'{"format": 1')

    found = numbered_verdicts(store)

    assert [(id_, event.run_ids) for id_, event in found] == [
        ("G-1", ("run-0",)),
        ("G-3", ("run-2",)),
        ("G-4", ("run-3",)),
    ]
    assert "is damaged" in store.unreadable[0]


def test_a_file_that_is_nested_too_deeply_is_damaged(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.note(Event("verdict", "2026-11-01T00:00:00.000Z"))
    next(tmp_path.glob("events/*")).write_text('{"format": 1, "details": ' + "[" * 100_000)

    assert store.events() == []
    assert "is damaged" in store.unreadable[0]
