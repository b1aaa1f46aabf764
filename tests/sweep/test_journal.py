"""The journal of a sweep: what survives a torn line, what damage is refused, and that one process writes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.analysis.factors.order import Planned
from loadgen.errors import StorageError, UsageError
from loadgen.sweep.journal import FILE, RunRecord, check_records, open_journal, read_journal


def record(number: int, **more: object) -> RunRecord:
    return RunRecord(number=number, cell=0, repeat=1, block=1, values={"p99": 1.5, "throughput": None}, **more)  # type: ignore[arg-type]


def stored(folder: Path, *records: RunRecord) -> None:
    with open_journal(folder) as journal:
        for one in records:
            journal.append(one)


def test_journal_gives_back_what_was_stored(tmp_path: Path) -> None:
    records = (record(1, why="slow \x1b[31m\n"), record(2), record(2, attempt=2))
    stored(tmp_path, *records)

    assert read_journal(tmp_path) == records


def test_folder_without_a_journal_has_no_records(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == ()


def test_torn_last_line_is_cut_off_at_each_length(tmp_path: Path) -> None:
    stored(tmp_path, record(1), record(2))
    data = (tmp_path / FILE).read_bytes()
    first = data.index(b"\n") + 1
    for length in range(first, len(data)):
        (tmp_path / FILE).write_bytes(data[:length])
        assert read_journal(tmp_path) == (record(1),)
        stored(tmp_path, record(3))
        assert read_journal(tmp_path) == (record(1), record(3)), "the new line does not continue the torn one"


def test_last_line_whose_beginning_the_disk_lost_is_cut_off(tmp_path: Path) -> None:
    stored(tmp_path, record(1))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"\0" * 60 + b"}\n")

    assert read_journal(tmp_path) == (record(1),)


def test_damage_before_the_last_line_is_an_error_with_its_line(tmp_path: Path) -> None:
    stored(tmp_path, record(1), record(2), record(3))
    lines = (tmp_path / FILE).read_bytes().split(b"\n")
    (tmp_path / FILE).write_bytes(b"\n".join((lines[0], lines[1][:20], *lines[2:])))

    with pytest.raises(StorageError, match=f"{FILE}:2: this line is damaged"):
        read_journal(tmp_path)


def test_run_that_is_stored_twice_is_an_error(tmp_path: Path) -> None:
    stored(tmp_path, record(1), record(1))

    with pytest.raises(StorageError, match="run 1 is in the journal twice"):
        read_journal(tmp_path)


def test_second_process_cannot_conduct_the_same_sweep(tmp_path: Path) -> None:
    with open_journal(tmp_path), pytest.raises(UsageError, match="another process conducts"), open_journal(tmp_path):
        pass


def test_records_of_another_sweep_are_refused_with_their_line(tmp_path: Path) -> None:
    order = (Planned(1, 0, 1, 1), Planned(2, 0, 1, 1))
    check_records(tmp_path, (record(1), record(2), record(2, attempt=2)), order)
    for wrong in (record(3), record(-1), record(2, attempt=7), record(2, is_control=True), replace(record(2), cell=9)):
        with pytest.raises(StorageError, match=r"runs\.jsonl:2: run -?\d is not as the sweep has planned it"):
            check_records(tmp_path, (record(1), wrong), order)
