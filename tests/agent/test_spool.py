"""The spool outlives its process, and a disk that is full, gone or damaged costs what was on it and nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.wire.codec import decode, encode
from loadgen_agent.delivery import spool as module
from loadgen_agent.delivery.spool import Leftover, Spool, Spools
from loadgen_agent.delivery.unacknowledged import UnacknowledgedDeltas
from tests.agent.test_backlog import measured
from tests.support.counts import counts_of
from tests.support.deltas import FakeAgent, request_key
from tests.support.small_disk import small_disk


def spool(tmp_path: Path, room_bytes: int = 10**9) -> Spool:
    return Spool(tmp_path / "eu" / "r1" / "7", room_bytes)


def left(tmp_path: Path) -> list[Leftover]:
    spools = Spools(tmp_path, "eu")
    try:
        return spools.leftovers()
    finally:
        spools.close()


def book_of(tmp_path: Path, deltas: list[Delta], room_bytes: int = 10**9) -> UnacknowledgedDeltas:
    book = UnacknowledgedDeltas("r1", "eu", 7, spool(tmp_path), room_bytes)
    for delta in deltas:
        book.keep(delta)
    return book


def sent(book: UnacknowledgedDeltas, most: int = 1000, now_ns: int = 0) -> list[Delta]:
    found: list[Delta] = []
    while len(found) < most and (data := book.next_due(now_ns)) is not None:
        book.was_sent(now_ns)
        delta = decode(data)
        assert isinstance(delta, Delta)
        found.append(delta)
    return found


def handed_over(book: UnacknowledgedDeltas, merge: Merge) -> list[Delta]:
    """To a controller that takes what is next, acknowledges what it has, and no more."""
    taken: list[Delta] = []
    for turn in range(1, 5_000):
        if book.is_empty:
            return taken
        for delta in sent(book, now_ns=turn * 3 * 10**9):
            if merge.accept("eu", delta) is Accepted.MERGED:
                taken.append(delta)
            book.ack(7, merge.next_seq("eu", 7) - 1, turn * 3 * 10**9)
    raise AssertionError("it never comes to an end")


# -- records --------------------------------------------------------------------------------------


def test_what_was_put_is_found_until_it_is_dropped(tmp_path: Path) -> None:
    shelf = spool(tmp_path)
    places = [shelf.put(bytes([n]) * 1_000) for n in range(5)]
    assert [shelf.get(place) for place in places if place is not None] == [bytes([n]) * 1_000 for n in range(5)]
    for place in places:
        assert place is not None
        shelf.drop(place)
    assert shelf.size_bytes == 0
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.spool")) == 0
    shelf.close()
    assert list(tmp_path.rglob("*.spool")) == []


def test_segments_that_hold_nothing_any_more_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEGMENT_BYTES", 3_000)
    shelf = spool(tmp_path)
    places = [shelf.put(b"x" * 1_000) for _ in range(9)]
    assert len(list(tmp_path.rglob("*.spool"))) == 5
    for place in places[:6]:
        assert place is not None
        shelf.drop(place)
    assert len(list(tmp_path.rglob("*.spool"))) == 2
    shelf.close()


def test_no_more_is_taken_than_there_is_room_for(tmp_path: Path) -> None:
    shelf = spool(tmp_path, room_bytes=2_500)
    first = shelf.put(b"x" * 1_000)
    assert first is not None
    assert shelf.put(b"x" * 1_000) is not None
    assert shelf.put(b"x" * 1_000) is None
    shelf.drop(first)
    assert shelf.put(b"x" * 1_000) is not None
    shelf.close()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    shelf = spool(tmp_path)
    shelf.put(b"x")
    (path,) = tmp_path.rglob("*.spool")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    shelf.close()


# -- a full disk ----------------------------------------------------------------------------------


def test_a_disk_that_takes_nothing_leaves_it_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = measured(40)
    book = book_of(tmp_path, run[:10], room_bytes=3_000)
    pwrite = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        if len(data) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    for delta in run[10:]:
        book.keep(delta)
    monkeypatch.undo()
    merge = Merge()
    assert counts_of(handed_over(book, merge)) == counts_of(run)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.process
@pytest.mark.fault("F21", "a real one of 256 KiB")
def test_a_disk_that_is_really_full_costs_time_resolution_and_no_count(disk: Path) -> None:
    agent = FakeAgent("eu", 7)
    keys = [request_key(f"GET /{n}") for n in range(20)]
    times = np.random.default_rng(0).integers(1_000, 60_000_000, (150, len(keys), 150))
    run = [agent.delta(dict(zip(keys, rows.tolist(), strict=True))) for rows in times]
    assert sum(len(encode(delta)) for delta in run) > 500_000
    book = book_of(disk, run, room_bytes=50_000)
    merge = Merge()
    found = handed_over(book, merge)
    assert counts_of(found) == counts_of(run)
    assert len(found) < len(run)
    assert merge.fitness["eu"].intervals == 150


# -- another process ------------------------------------------------------------------------------


def test_the_next_process_finds_what_was_not_delivered_and_it_is_merged_once(tmp_path: Path) -> None:
    run, merge = measured(50), Merge()
    book = book_of(tmp_path, run)
    first = sent(book, most=20)
    for delta in first:
        merge.accept("eu", delta)
    book.ack(7, 14, 0)
    (found,) = left(tmp_path)  # the process was killed
    assert (found.run_id, found.epoch, found.damaged) == ("r1", 7, 0)
    assert [delta.seq for delta in found.deltas] == list(range(15, 50))
    again = handed_over(UnacknowledgedDeltas.left_over("r1", "eu", 7, found.deltas), merge)
    assert counts_of([*first, *again]) == counts_of(run)
    found.remove()
    assert left(tmp_path) == []


def test_joints_and_their_parts_are_told_apart_wherever_the_process_ended(tmp_path: Path) -> None:
    run = measured(60)
    book = book_of(tmp_path, run, room_bytes=0)
    assert book.last_seq == 59
    (found,) = left(tmp_path)
    assert counts_of(found.deltas) == counts_of(run)
    # As if it had ended between writing the joint and striking out its parts.
    joint = join(run[3], run[4])
    assert joint is not None
    other = Spool(tmp_path / "eu" / "r2" / "7")
    for delta in (run[3], run[4], run[5], joint):
        other.put(encode(replace(delta, run_id="r2")))
    second = next(one for one in left(tmp_path) if one.run_id == "r2")
    assert [(d.start_ns, d.end_ns) for d in second.deltas] == [
        (joint.start_ns, joint.end_ns),
        (run[5].start_ns, run[5].end_ns),
    ]


def test_numbers_of_joined_deltas_are_made_up_for(tmp_path: Path) -> None:
    """What was joined before it was sent has left numbers behind that no delta has."""
    run, merge = measured(60), Merge()
    book = UnacknowledgedDeltas("r1", "eu", 7, spool(tmp_path, room_bytes=4_000), room_bytes=1_500)
    for delta in run:
        book.keep(delta)
    assert book.last_seq < 59
    (found,) = left(tmp_path)
    handed_over(UnacknowledgedDeltas.left_over("r1", "eu", 7, found.deltas), merge)
    assert merge.epochs("eu")[0].counters == sum((delta.counters for delta in found.deltas), Counters())


@pytest.mark.fault("F21", "a byte flipped")
def test_a_damaged_record_is_skipped_and_counted(tmp_path: Path) -> None:
    run, merge = measured(20), Merge()
    book_of(tmp_path, run)
    (path,) = tmp_path.rglob("*.spool")
    data = bytearray(path.read_bytes())
    at = -1
    for _ in range(13):
        at = data.index(b"LGsp", at + 1)
    data[at + 60] ^= 0xFF
    path.write_bytes(data[:-7])  # and the last one is torn
    (found,) = left(tmp_path)
    assert found.damaged == 1
    assert [delta.seq for delta in found.deltas] == [*range(12), *range(13, 19)]
    note = "1 records of the agent's spool are damaged: their measurements are lost"
    taken = handed_over(UnacknowledgedDeltas.left_over("r1", "eu", 7, found.deltas, note), merge)
    assert taken[0].health.notes == (note,)
    assert [delta.seq for delta in taken] == list(range(19))
    assert merge.epochs("eu")[0].missing_ns(0, 19 * 10**9) == 10**9


def test_what_is_no_spool_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "eu" / "r1" / "7"
    folder.mkdir(parents=True)
    (folder / "000001.spool").write_bytes(os.urandom(10_000))
    (tmp_path / "eu" / "notes.txt").write_text("mine")
    (found,) = left(tmp_path)
    assert (found.deltas, found.damaged) == ((), 1)


def test_a_folder_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    spools = Spools(tmp_path, "eu")
    with pytest.raises(OSError, match="another agent eu runs"):
        Spools(tmp_path, "eu")
    spools.close()
    Spools(tmp_path, "eu").close()


def test_a_run_s_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    spools = Spools(tmp_path, "eu")
    assert spools.spool("../../etc", 1) is None
    made = spools.spool("20261125-shop-1a2b", 1)
    assert made is not None
    made.close()
    spools.close()
