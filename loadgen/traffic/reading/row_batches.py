"""Collects rows into batches, which go from the intake to the partitions, also from process to process.

Each process has its own numbers of paths, so that processes can parse logs without a common table. After 100,000 paths,
the numbers of a process begin again, so its memory is small.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from loadgen.traffic.names.path_segments import path_of, target_of
from loadgen.traffic.rows.packed_rows import pack
from loadgen.traffic.rows.rows import Rows

__all__ = ["PARTITIONS", "BatchBuilder", "RowBatch"]

PARTITIONS: Final = 64
_SHIFT: Final = np.uint64(58)
_ROWS: Final = 1 << 18
"""Rows of a batch: 8 MB before packing. Twice as many save 0.2 of 5 bytes a row."""
_PATHS: Final = 100_000
_PATH_BYTES: Final = 16 << 20


class RowBatch(msgspec.Struct, frozen=True, tag=True):
    """Rows by partition. All rows of a user are in the same partition.

    restarts: whether the numbers of paths begin again with this batch. If not, they continue those of the batch before.
    paths: without those of batches before, by number. blocks: one for each partition, from `pack`; empty for no rows.
    """

    rows: int
    restarts: bool
    paths: list[bytes]
    blocks: list[bytes]


class BatchBuilder:
    """Collects the rows of one batch after the other. queries: whether their paths keep their queries."""

    def __init__(self, *, queries: bool = False) -> None:
        self._key_of = target_of if queries else path_of
        self._parts: list[Rows] = []
        self._rows = 0
        self._restart()

    def _restart(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._new_paths: list[bytes] = []
        self._path_bytes = 0
        self.restarts = True
        """Whether the numbers of paths begin again with the present batch, so that older numbers are invalid."""

    @property
    def is_full(self) -> bool:
        """Whether the batch should be taken before more lines are read."""
        return self._rows >= _ROWS or self._has_many_paths

    @property
    def _has_many_paths(self) -> bool:
        return len(self._numbers) >= _PATHS or self._path_bytes >= _PATH_BYTES

    def number(self, target: bytes) -> int:
        """Return the number of the path of a request's target."""
        path = self._key_of(target)
        found = self._numbers.get(path)
        if found is None:
            found = self._numbers[path] = len(self._numbers)
            self._new_paths.append(path)
            self._path_bytes += len(path)
        return found

    def add(self, rows: Rows) -> None:
        """Add rows, whose paths have numbers of this builder."""
        self._parts.append(rows)
        self._rows += len(rows)

    def take(self) -> RowBatch | None:
        """Return the batch, and begin the next one; None if it has no rows."""
        if not self._parts:
            return None
        rows = np.concatenate(self._parts)
        rows = rows[np.argsort(rows["user"], kind="stable")]
        first = np.arange(PARTITIONS, dtype=np.uint64) << _SHIFT
        bounds = [*np.searchsorted(rows["user"], first).tolist(), len(rows)]
        blocks = [pack(rows[begin:end]) if begin < end else b"" for begin, end in pairwise(bounds)]
        batch = RowBatch(len(rows), self.restarts, self._new_paths, blocks)
        self._parts, self._rows = [], 0
        if self._has_many_paths:
            self._restart()
        else:
            self._new_paths, self.restarts = [], False
        return batch
