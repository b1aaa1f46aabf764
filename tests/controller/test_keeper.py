"""What is kept beside the log comes to the same as the log, whatever becomes of the files."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.merging.checkpoint import freeze, read_checkpoint
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.measure.statistics.batches_of_run import recounted, recounted_cells
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode
from loadgen_controller.core.shares import Assignment
from loadgen_controller.run.checkpointer import Checkpointer, Kept
from loadgen_controller.run.failure_files import FailureFolder
from loadgen_controller.run.recovery import merged
from tests.measure.test_cells import KEYS, REGIONS, asked
from tests.support.deltas import FakeAgent

ASSIGNMENT = Assignment(tuple(REGIONS), tuple(REGIONS.values()), (1.0,) * len(REGIONS))


def some(seconds: int, chance: Random) -> list[Delta]:
    """Of three agents, in the order of their seconds."""
    agents = [FakeAgent(name) for name in REGIONS]
    return [
        agent.delta({key: [chance.randrange(1_000_000, 9_000_000) for _ in range(chance.randrange(4))] for key in KEYS})
        for _ in range(seconds)
        for agent in agents
    ]


class Going:
    """A run that goes on in a folder, with a keeper that keeps every 5 deltas."""

    def __init__(self, folder: RunDir, merge: Merge, merged_end: int = 0) -> None:
        self.folder, self.merge = folder, merge
        self.checkpointer = Checkpointer(folder, merge, merged_end, deltas=5)

    @classmethod
    def begin(cls, runs_dir: Path) -> Going:
        merge = Merge()
        merge.kept = []
        return cls(RunDir.create(runs_dir, "run"), merge)

    async def take(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            if self.merge.accept(REGIONS[delta.agent], delta) is not Accepted.MERGED:
                continue
            self.folder.append(encode(delta))
            await self.checkpointer.look()
            self.folder.sync()
            await self.checkpointer.look()


def taken_up(path: Path) -> Going:
    """As `restore` does it."""
    checkpoint = read_checkpoint(path / "checkpoint")
    folder = RunDir.open(path, writable=True, sound_to=0 if checkpoint is None else checkpoint.deltas_end)
    found = merged(folder, ASSIGNMENT, NS_PER_S, checkpoint)
    return Going(folder, found.merge, found.merged_end)


def logged(folder: RunDir) -> list[tuple[str, Delta]]:
    deltas = [message for record in folder.records() if isinstance(message := decode(record), Delta)]
    return [(REGIONS[delta.agent], delta) for delta in deltas]


def same_as_log(going: Going, kept: Kept | None) -> None:
    deltas = logged(going.folder)
    right, _ = recounted(lambda: deltas, end_ns=20 * NS_PER_S)
    full = Merge()
    for region, delta in deltas:
        full.accept(region, delta)
    assert freeze(going.merge) == freeze(full)
    if kept is not None:
        ours, _ = recounted_cells(going.merge, kept.cells, end_ns=20 * NS_PER_S)
        assert list(asked(ours)) == list(asked(right))


async def test_what_was_kept_until_the_end_is_all_of_the_run(tmp_path: Path) -> None:
    going = Going.begin(tmp_path)
    await going.take(some(11, Random(1)))
    kept = await going.checkpointer.finish()
    assert kept is not None
    same_as_log(going, kept)
    going.checkpointer.forget()
    assert {path.name for path in going.folder.path.iterdir()} == {"deltas.log"}


async def test_of_a_short_run_nothing_is_kept(tmp_path: Path) -> None:
    going = Going.begin(tmp_path)
    await going.take(some(1, Random(1)))
    assert await going.checkpointer.finish() is None
    assert {path.name for path in going.folder.path.iterdir()} == {"deltas.log"}


async def test_a_run_taken_up_after_any_cut_of_its_files_comes_to_what_its_log_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the controller was killed while it wrote, and where it is killed again and again."""
    chance, deltas = Random(int(os.environ.get("LOADGEN_CHAOS_SEED", "5"))), some(20, Random(1))
    used = 0
    for number in range(int(os.environ.get("LOADGEN_KEEPER_RUNS", "8"))):
        monkeypatch.setattr(
            "loadgen_controller.run.checkpointer._BYTES", chance.choice([1, 1 << 30])
        )  # sums without a checkpoint
        going = Going.begin(tmp_path / str(number))
        await going.take(deltas[: chance.randrange(4, 40)])
        names = []
        for _ in range(2):
            await going.checkpointer.end()
            going.folder.close()
            names.append(chance.choice(["deltas.log", "checkpoint", "merged.log", "none"]))
            path = going.folder.path / names[-1]
            if path.exists():
                os.truncate(path, chance.randrange(path.stat().st_size + 1))
            going = taken_up(going.folder.path)
            used += going.checkpointer._end > 0
            same_as_log(going, None)
            await going.take(deltas)  # agents send again what they have; what is there already is not taken
        same_as_log(going, None)
        kept = await going.checkpointer.finish()
        try:
            same_as_log(going, kept)
        except StorageError:
            assert "merged.log" in names, "then the log is read"
        going.folder.close()
    assert used > 2, "some are taken up from a checkpoint"


async def test_a_checkpoint_that_says_more_than_the_log_is_not_used(tmp_path: Path) -> None:
    going = Going.begin(tmp_path)
    await going.take(some(4, Random(1)))
    going.folder.close()
    os.truncate(going.folder.log_path, going.folder.durable_end // 2)
    going = taken_up(going.folder.path)
    assert going.checkpointer._end == 0
    assert going.merge.waiting == len(logged(going.folder)) > 0
    same_as_log(going, None)


async def test_only_what_is_durable_is_kept(tmp_path: Path) -> None:
    going = Going.begin(tmp_path)
    for delta in some(3, Random(1)):
        going.merge.accept(REGIONS[delta.agent], delta)
        going.folder.append(encode(delta))
        await going.checkpointer.look()
    assert not going.folder.checkpoint_path.exists()
    going.folder.sync()
    await going.checkpointer.look()
    checkpoint = read_checkpoint(going.folder.checkpoint_path)
    assert checkpoint is not None
    assert checkpoint.deltas_end < going.folder.durable_end  # the other four are for the next time
    assert going.merge.waiting == 4


async def test_a_disk_that_refuses_costs_the_sums_and_not_the_run(tmp_path: Path) -> None:
    going = Going.begin(tmp_path)
    await going.take(some(2, Random(1)))
    going.folder.checkpoint_path.unlink()
    going.folder.checkpoint_path.mkdir()
    await going.take(some(6, Random(1)))
    assert going.merge.kept is None
    assert not going.folder.merged_path.exists()
    assert await going.checkpointer.finish() is None
    same_as_log(going, None)


async def test_a_keeper_that_is_ended_while_it_writes_has_written(tmp_path: Path) -> None:
    going = Going.begin(tmp_path)
    for delta in some(3, Random(1)):
        going.merge.accept(REGIONS[delta.agent], delta)
        going.folder.append(encode(delta))
    going.folder.sync()
    looking = asyncio.create_task(going.checkpointer.look())
    await asyncio.sleep(0)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    kept = await going.checkpointer.finish()
    assert kept is not None
    same_as_log(going, kept)


def test_failures_are_counted_on_after_a_restart(tmp_path: Path) -> None:
    failure = Failure("shop", "", "GET /", "http 503", 0, 1, 0, 5)
    first = FailureFolder(tmp_path / "failures", print)
    first.write("a", "eu", [failure] * 3)
    first.settled()
    second = FailureFolder(tmp_path / "failures", print)
    second.take_state(first.state())
    second.write("a", "eu", [replace(failure, n=2)] * 4)
    first.close()
    second.close()
    assert (second.kept, second.left_out) == (5, 2)
    assert len(list((tmp_path / "failures").iterdir())) == 5
