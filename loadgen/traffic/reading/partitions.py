"""Keeps packed rows in partitions by user, in memory or, above a limit, in a temporary file.

All rows of a user are in the same partition, so finding sessions needs only one partition in memory at a time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import StorageError
from loadgen.traffic.reading.row_batches import PARTITIONS, RowBatch
from loadgen.traffic.rows.packed_rows import unpack
from loadgen.traffic.rows.rows import Rows

__all__ = ["MEMORY_BYTES", "Partitions", "PathNumbers"]

MEMORY_BYTES: Final = 128 << 20


class _Place(NamedTuple):
    """A block in the temporary file."""

    at: int
    length: int


class PathNumbers:
    """The numbers in the table of all paths, by number of one process. Further batches of the process add numbers."""

    def __init__(self) -> None:
        self._parts = [np.zeros(0, np.uint32)]

    def extend(self, numbers: NDArray[np.uint32]) -> None:
        """Add the numbers of new paths."""
        self._parts.append(numbers)

    @property
    def array(self) -> NDArray[np.uint32]:
        """All numbers so far."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]


class Partitions:
    """Rows in partitions by user. Use it in a `with` block, which closes the temporary file.

    The file contains no addresses, agents or paths. The file has no name, so no other program can open it, and the
    system deletes it when this process ends in any way.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._blocks: list[list[tuple[int, bytes | _Place]]] = [[] for _ in range(PARTITIONS)]
        self._paths: list[PathNumbers] = []
        self._kept_bytes = 0
        self._file: BinaryIO | None = None
        self.rows = 0
        self.spooled_bytes = 0

    def add(self, batch: RowBatch, paths: PathNumbers) -> None:
        """Add a batch. paths: of the process that made it, also those of this batch.

        Raises:
            StorageError: the temporary file cannot be written.
        """
        blocks = list(enumerate(batch.blocks))
        size = sum(map(len, batch.blocks))
        kept: list[tuple[int, bytes | _Place]] = [(number, block) for number, block in blocks if block]
        if self._kept_bytes + size > self._memory_bytes:
            kept = self._spooled(kept, b"".join(batch.blocks))
        else:
            self._kept_bytes += size
        for number, block in kept:
            self._blocks[number].append((len(self._paths), block))
        self._paths.append(paths)
        self.rows += batch.rows

    def _spooled(self, blocks: list[tuple[int, bytes | _Place]], data: bytes) -> list[tuple[int, bytes | _Place]]:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="loadgen-traffic-", buffering=0)  # noqa: SIM115
            view = memoryview(data)
            while view:
                view = view[os.write(self._file.fileno(), view) :]
        except OSError as error:
            raise StorageError(
                f"cannot write a temporary file in {tempfile.gettempdir()}: {error.strerror or error}",
                hint="free space there, or set TMPDIR to a folder with more: at most 5 % of the size of the logs",
            ) from error
        places: list[tuple[int, bytes | _Place]] = []
        for number, block in blocks:
            places.append((number, _Place(self.spooled_bytes, len(block))))
            self.spooled_bytes += len(block)
        return places

    def _read(self, block: bytes | _Place) -> bytes:
        if isinstance(block, bytes):
            return block
        assert self._file is not None
        return os.pread(self._file.fileno(), block.length, block.at)

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of each partition. The rows have no order."""
        for blocks in self._blocks:
            parts = []
            for number, block in blocks:
                rows = unpack(self._read(block))
                rows["path"] = self._paths[number].array[rows["path"]]
                parts.append(rows)
            if parts:
                yield np.concatenate(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
