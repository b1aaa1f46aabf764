"""Keeps rows in partitions by user, in memory or, above a limit, in temporary files.

All rows of a user are in the same partition, so finding sessions needs only one partition in memory at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from loadgen.traffic.rows import ROW, Rows

__all__ = ["MEMORY_BYTES", "Partitions"]

PARTITIONS: Final = 64
_SHIFT: Final = np.uint64(58)
MEMORY_BYTES: Final = 128 << 20


class Partitions:
    """Rows in 64 partitions by user. Use it in a `with` block, which deletes the temporary files.

    The files contain no addresses, agents or paths, and are in a private folder of TMPDIR.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._buffers: list[list[Rows]] = [[] for _ in range(PARTITIONS)]
        self._buffered_bytes = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.rows = 0
        self.spooled_bytes = 0

    def add(self, rows: Rows) -> None:
        """Add rows."""
        place = (rows["user"] >> _SHIFT).astype(np.uint8)
        order = np.argsort(place, kind="stable")
        rows = rows[order]
        bounds = np.searchsorted(place[order], np.arange(PARTITIONS + 1))
        for number in range(PARTITIONS):
            if bounds[number] < bounds[number + 1]:
                self._buffers[number].append(rows[bounds[number] : bounds[number + 1]])
        self.rows += len(rows)
        self._buffered_bytes += rows.nbytes
        if self._buffered_bytes > self._memory_bytes:
            self._spool()

    def _spool(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="loadgen-traffic-")
        for number, buffer in enumerate(self._buffers):
            if buffer:
                with self._path(number).open("ab") as file:
                    for rows in buffer:
                        file.write(rows.tobytes())
                buffer.clear()
        self.spooled_bytes += self._buffered_bytes
        self._buffered_bytes = 0

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{number:02}"

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of each partition. The rows have no order."""
        for number, buffer in enumerate(self._buffers):
            parts = list(buffer)
            if self._folder is not None and self._path(number).exists():
                parts.append(np.fromfile(self._path(number), ROW))
            if parts:
                yield np.concatenate(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
