"""Rows are the same after packing; partitions keep them in memory and in a file."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import StorageError
from loadgen.traffic.reading.partitions import Partitions, PathNumbers
from loadgen.traffic.reading.row_batches import BatchBuilder, RowBatch
from loadgen.traffic.rows.packed_rows import pack, unpack
from loadgen.traffic.rows.rows import ROW, Rows, pack_row, rows_of

ROWS = st.tuples(
    *(st.integers(0, 2**64 - 1), st.integers(-(2**62), 2**62), st.floats(width=32), st.integers(0, 2**32 - 1)),
    *(st.integers(0, 2**32 - 1), st.integers(0, 999), st.integers(0, 255), st.integers(0, 255)),
)


def ordered(rows: Rows) -> Rows:
    return rows[np.argsort(rows["user"], kind="stable")]


def made(count: int, seed: int, unit_us: int = 1_000_000) -> Rows:
    random = np.random.default_rng(seed)
    rows = np.zeros(count, ROW)
    rows["user"] = random.integers(0, 2**64, 1 + count // 6, np.uint64)[random.integers(0, 1 + count // 6, count)]
    rows["start"] = 1_795_132_800_000_000 + random.integers(0, 10_000, count) * unit_us
    rows["path"] = random.integers(0, 1_000, count)
    return rows


@given(st.lists(ROWS, min_size=1, max_size=50), st.sampled_from((1, 1_000, 1_000_000)))
def test_packed_rows_are_the_same_rows(values: list[tuple[int, ...]], unit: int) -> None:
    rows = ordered(rows_of([pack_row(user, start // unit * unit, *rest) for user, start, *rest in values]))

    assert unpack(pack(rows)).tobytes() == rows.tobytes()


def test_rows_of_a_usual_log_take_less_than_5_percent_of_its_lines() -> None:
    assert len(pack(ordered(made(4_096, 1)))) < 0.05 * 240 * 4_096


def batch_of(rows: Rows, paths: list[bytes]) -> RowBatch:
    builder = BatchBuilder()
    for path in paths:
        builder.number(path)
    builder.add(rows)
    found = builder.take()
    assert found is not None
    return found


@pytest.mark.parametrize("memory_bytes", [0, 50_000, 1 << 20])
def test_partitions_return_all_rows_with_the_numbers_of_the_table(memory_bytes: int) -> None:
    parts = [made(3_000, seed) for seed in range(4)]
    numbers = [np.random.default_rng(seed).permutation(5_000)[:1_000].astype(np.uint32) for seed in range(4)]

    with Partitions(memory_bytes) as partitions:
        for rows, known in zip(parts, numbers, strict=True):
            table = PathNumbers()
            table.extend(known)
            partitions.add(batch_of(rows, [b"/%d" % n for n in range(1_000)]), table)
        found = list(partitions)
        spooled = partitions.spooled_bytes

    expected = []
    for rows, known in zip(parts, numbers, strict=True):
        rows["path"] = known[rows["path"]]
        expected.append(rows)
    assert sorted(np.concatenate(found).tolist()) == sorted(np.concatenate(expected).tolist())
    users = [set(rows["user"].tolist()) for rows in found]
    assert sum(map(len, users)) == len(set().union(*users))
    assert (spooled > 0) == (memory_bytes < 1 << 20)


def test_a_full_disk_is_an_error_that_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.write", full)

    with Partitions(0) as partitions, pytest.raises(StorageError, match="No space left on device") as error:
        partitions.add(batch_of(made(10, 1), [b"/"] * 10), PathNumbers())

    assert "TMPDIR" in error.value.hint


def test_batches_have_only_new_paths_until_the_numbers_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.traffic.reading.row_batches._PATHS", 4)
    builder, batches, numbers = BatchBuilder(), [], []
    for paths in ([b"/a", b"/b"], [b"/b", b"/c"], [b"/a", b"/d"], [b"/d", b"/a"]):
        numbers.append([builder.number(path) for path in paths])
        builder.add(made(1, 1))
        batches.append(builder.take())

    assert numbers == [[0, 1], [1, 2], [0, 3], [0, 1]]
    found = [(batch.restarts, batch.paths) for batch in batches if batch is not None]
    assert found == [(True, [b"/a", b"/b"]), (False, [b"/c"]), (False, [b"/d"]), (True, [b"/d", b"/a"])]


def test_a_batch_is_full_with_many_rows_many_paths_or_long_paths() -> None:
    rows, paths, long = BatchBuilder(), BatchBuilder(), BatchBuilder()
    rows.add(made(1 << 18, 1))
    for n in range(100_000):
        paths.number(b"/%d" % n)
    for n in range(70):
        long.number(b"/%d/" % n + b"x" * 250_000)

    assert (rows.is_full, paths.is_full, long.is_full, BatchBuilder().is_full) == (True, True, True, False)
