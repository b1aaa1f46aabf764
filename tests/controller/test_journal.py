"""What is acknowledged is on the disk; what is no use is told at a bounded rate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.units import NS_PER_S
from loadgen_controller.core.rejected_input_counter import RejectedInput
from loadgen_controller.run.delta_journal import Journal

Place = tuple[str, int, int]


class Kept:
    """A journal, and what it said."""

    def __init__(self, folder: RunDir) -> None:
        self.folder = folder
        self.durable: list[list[Place]] = []
        self.failures: list[StorageError] = []
        self.mended: list[float] = []
        self.journal = Journal(folder, self._on_durable, self.failures.append, self.mended.append)

    def _on_durable(self, places: Iterable[Place]) -> None:
        self.durable.append(list(places))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(RunDir.create(tmp_path, "run"))


async def test_one_commit_serves_all_and_tells_the_last_of_each_agent(kept: Kept) -> None:
    for place in (("a", 1, 0), ("b", 1, 0), ("a", 1, 1)):
        kept.journal.append(repr(place).encode(), place)
    assert kept.durable == []
    await kept.journal.commit()
    assert kept.durable == [[("a", 1, 1), ("b", 1, 0)]]
    assert len(list(kept.folder.records())) == 3


async def test_events_alone_acknowledge_nothing(kept: Kept) -> None:
    kept.journal.event("phase", phase="running")
    await kept.journal.commit()
    assert kept.durable == []
    assert b'"phase":"running"' in kept.folder.events_path.read_bytes()


async def test_commits_by_itself_soon_after_the_first_delta(kept: Kept) -> None:
    serving = asyncio.create_task(kept.journal.serve())
    kept.journal.append(b"x", ("a", 1, 0))
    async with asyncio.timeout(60):
        while not kept.durable:
            await asyncio.sleep(0.01)
    assert kept.durable == [[("a", 1, 0)]]
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_while_it_fails_nothing_is_acknowledged_which_is_said_once_and_then_all_at_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise StorageError("no space left")

    monkeypatch.setattr(kept.folder, "sync", full)
    for seq in range(2):
        kept.journal.append(b"x", ("a", 1, seq))
        await kept.journal.commit()
    assert kept.durable == []
    assert [error.message for error in kept.failures] == ["no space left"]
    monkeypatch.undo()
    await kept.journal.commit()
    assert kept.durable == [[("a", 1, 1)]]
    assert len(kept.mended) == 1
    assert len(list(kept.folder.records())) == 2


async def test_it_takes_in_no_more_than_the_memory_has_room_for(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise StorageError("no space left")

    def has_room() -> bool:
        return kept.journal.has_room

    with monkeypatch.context() as failing:
        failing.setattr(kept.folder, "sync", full)
        kept.journal.append(bytes(900_000), ("a", 1, 0))
        await kept.journal.commit()
        taken = 1
        while has_room():
            kept.journal.append(bytes(900_000), ("a", 1, taken))
            taken += 1
        assert 35 < taken < 40
    await kept.journal.commit()
    assert has_room()
    assert kept.durable == [[("a", 1, taken - 1)]]


async def test_delta_that_comes_during_a_commit_waits_for_the_next(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.journal.append(b"x", ("a", 1, 0))
    sync = kept.folder.sync

    def slow() -> int:
        durable = sync()
        kept.journal._waiting.append((kept.folder.append(b"y"), 1, 0.0, ("a", 1, 1)))
        return durable

    monkeypatch.setattr(kept.folder, "sync", slow)
    await kept.journal.commit()
    assert kept.durable == [[("a", 1, 0)]]
    monkeypatch.undo()
    await kept.journal.commit()
    assert kept.durable[1:] == [[("a", 1, 1)]]


def test_troubles_are_all_counted_and_told_once_a_second() -> None:
    told: list[tuple[str, str, int]] = []
    now_ns = 0
    rejected_input = RejectedInput(lambda *what: told.append(what), lambda: now_ns)
    for n in range(100):
        rejected_input.add("unreadable", f"text {n}")
    rejected_input.add("stranger", "x")
    now_ns = NS_PER_S
    rejected_input.add("unreadable", "y" * 10_000)
    assert rejected_input.counts == {"unreadable": 101, "stranger": 1}
    assert told == [("unreadable", "text 0", 1), ("stranger", "x", 1), ("unreadable", "y" * 500, 100)]
